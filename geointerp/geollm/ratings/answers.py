"""Answers: the rating that a text gives, read strictly."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

_OPENS, _CLOSES = r"\s:*_\"'“‘«`(\[", r"\s)\]*_\"'”’»`"
_SCALE = (
    r"[ \t]*,?[ \t]*(?:/|\bout of\b|\b(?:on|in) (?:a|the) scale (?:from|of) 0\.0 (?:to|-|–))"
    r"[ \t]*9\.9(?![.,]?\d)"
)

_ANSWER = re.compile(rf"\bmy answer is\b[{_OPENS}]*", re.IGNORECASE)
_THE_SCALE = re.compile(_SCALE, re.IGNORECASE)
_SENTENCE_ENDS = re.compile(rf"[.!。]+[{_CLOSES}]*(?=\s|\Z)|\n")
_NUMBER = re.compile(r"(?:(?<!\d)[-+−])?(?:\d+(?:[.,]\d+)*|\.\d+)(?:[eE][-+]?\d+)?")
_RATING = re.compile(r"\d\.\d")

# what may stand on either side of a rating: no unit, no "about", no "up to"
_BEFORE = re.compile(rf"(?:\A|[=\-–—{_OPENS}])\Z")
_AFTER = re.compile(
    rf"[{_CLOSES}]*(?:\Z|[.,;:!(\[—。，]|(?<=\s)(?:[-–]\s"
    r"|(?:because|since|as|for|given|due|based|considering)\b)|(?<=\n))"
)
_JOINED = re.compile(r"\W*(?:(?:to|through|or|and|perhaps|maybe)\W+)?\d", re.IGNORECASE)

# the line in which a rating is given, or a first line that is nothing else
_GIVEN = re.compile(
    rf"(?:{_ANSWER.pattern}[^\n\d]*\d[^\n]*|\A\W*\d\.\d[^\w\n]*(?:{_SCALE}[^\w\n]*)?)(?=\n)",
    re.IGNORECASE,
)


class Answer(NamedTuple):
    """What was read."""

    rating: float  # NaN where there is none
    reason: str  # why there is none; "" where there is one


def read_rating(text: str) -> Answer:
    """Read the one rating that a text gives.

    After the last "My answer is", where a text has it, the sentence must begin with a number,
    and hold no second one that could be meant; else there must be one number in the whole text.
    It must be written as the prompt asks, a digit, a point, a digit, though it may stand in
    quotes or brackets or name its scale, as in "7.3 out of 9.9". Anything else is not guessed
    at: in "between 3.0 and 4.0", "7.3 or 8.0", "7.3 million", "0.7 on a scale from 0.0 to 1.0",
    "7", "10.0" or "-1.5" no rating is read.

    Parameters
    ----------
    text : str

    Returns
    -------
    Answer
        `rating`, from 0.0 to 9.9, NaN where none could be read; `reason`, why, or "".
    """
    answers = list(_ANSWER.finditer(text))
    said = _THE_SCALE.sub("", text[answers[-1].end() :] if answers else text)
    if answers:
        # what a model goes on to say after its answer is no part of it
        said = _SENTENCE_ENDS.split(said, maxsplit=1)[0]
    numbers = list(_NUMBER.finditer(said))
    reason = _objection(said, numbers, bool(answers)) if numbers else _absence(text)
    return Answer(np.nan, reason) if reason else Answer(float(numbers[0].group()), "")


def _absence(text: str) -> str:
    if not text.strip():
        return "it is empty"
    return 'no number follows "My answer is"' if _NUMBER.search(text) else "it gives no number"


def _objection(said: str, numbers: list[re.Match[str]], is_answer: bool) -> str:
    """Why the first number is not the rating, "" if it is."""
    first, *others = numbers
    number, joined = first.group(), _JOINED.match(said, first.end())
    rivals = [
        other.group()
        for i, other in enumerate(others)
        # an answer may give its reasons in numbers
        if not is_answer or (joined and i == 0) or _RATING.fullmatch(other.group())
    ]
    if set(rivals) - {number}:
        rival = next(rival for rival in rivals if rival != number)
        return f"it gives {1 + len(rivals)} numbers, {number} and {rival} …"
    if is_answer and first.start():
        return f'it gives {number}, but not right after "My answer is"'
    if not _RATING.fullmatch(number):
        return f"it gives {number}; a rating is 0.0 to 9.9, with one decimal"
    if not (_BEFORE.search(said[: first.start()]) and _AFTER.match(said, first.end())):
        words = re.search(rf"\S*{re.escape(number)}\S*(?:[ \t]+\S+)?", said)
        return f'it says "{words.group() if words else number}", which may be no rating'
    return ""


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
