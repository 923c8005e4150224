"""Answers: the rating that a text gives, read strictly."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

_ANSWER = re.compile(r"\bmy answer is\b[\s:*\"'“]*", re.IGNORECASE)
_NUMBER = re.compile(r"[-+−]?(?:\d+(?:[.,]\d+)*|\.\d+)(?:[eE][-+]?\d+)?")

# the line in which a rating is given, or a first line that is nothing else
_GIVEN = re.compile(
    r"(?:\bmy answer is\b[^\n\d]*\d[^\n]*|\A\W*\d\.\d[^\w\n]*)(?=\n)", re.IGNORECASE
)


class Answer(NamedTuple):
    """What was read."""

    rating: float  # NaN where there is none
    reason: str  # why there is none; "" where there is one


def read_rating(text: str) -> Answer:
    """Read the one rating that a text gives.

    After the last "My answer is", where a text has it, else in the whole text, there must be one
    number, written as the prompt asks: a digit, a point, a digit. Anything else is not guessed
    at: in "between 3.0 and 4.0", "7", "10.0" or "-1.5" no rating is read.

    Parameters
    ----------
    text : str

    Returns
    -------
    Answer
        `rating`, from 0.0 to 9.9, NaN where none could be read; `reason`, why, or "".
    """
    answers = list(_ANSWER.finditer(text))
    if answers:
        # what a model goes on to say after its answer is no part of it
        text = text[answers[-1].end() :].split("\n", 1)[0]
        found = _NUMBER.match(text)
        numbers = [found.group()] if found else []
    else:
        numbers = _NUMBER.findall(text)
    if not numbers:
        return Answer(np.nan, "it gives no number" if text.strip() else "it is empty")
    if len(set(numbers)) > 1:
        return Answer(np.nan, f"it gives {len(numbers)} numbers, {numbers[0]} and {numbers[1]} …")
    if not re.fullmatch(r"\d\.\d", numbers[0]):
        return Answer(np.nan, f"it gives {numbers[0]}; a rating is 0.0 to 9.9, with one decimal")
    return Answer(float(numbers[0]), "")


def end(text: str) -> int | None:
    """Where the line ends that gives the rating, if one does and has ended.

    That is a line with "My answer is" and a number after it, or a first line with nothing but
    a rating. A model that completes text goes on with the next prompt of its own making.

    Parameters
    ----------
    text : str

    Returns
    -------
    int or None
        How many characters of the text are the answer.
    """
    given = _GIVEN.search(text)
    return given.end() if given else None


def read_ratings(texts: pd.Series) -> pd.DataFrame:
    """Read the ratings that several texts give of each place.

    Parameters
    ----------
    texts : Series of sequence of str

    Returns
    -------
    DataFrame
        On the same index: `rating`, the mean of those that could be read, NaN if none could;
        `n_read`, how many could; and `reason`, why the others could not, "" if all could:
        "it gives no number", or of several texts "2 of 5: it gives no number".
    """
    rows = []
    for several in texts:
        read = [read_rating(text) for text in several]
        ratings = [answer.rating for answer in read if not answer.reason]
        rows.append(
            (
                float(np.mean(ratings)) if ratings else np.nan,
                len(ratings),
                _reasons([answer.reason for answer in read]),
            )
        )
    return pd.DataFrame(rows, index=texts.index, columns=["rating", "n_read", "reason"])


def _reasons(reasons: Sequence[str]) -> str:
    if len(reasons) == 1:
        return reasons[0]
    counts = Counter(reason for reason in reasons if reason)
    return "; ".join(
        f"{count} of {len(reasons)}: {reason}" for reason, count in counts.most_common()
    )
