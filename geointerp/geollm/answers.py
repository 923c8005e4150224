"""Answers: the rating that a text gives, read strictly."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

_ANSWER = re.compile(r"\bmy answer is\b[\s:*\"'“]*", re.IGNORECASE)
_NUMBER = re.compile(r"[-+−]?(?:\d+(?:[.,]\d+)*|\.\d+)(?:[eE][-+]?\d+)?")


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
        return Answer(np.nan, f"it gives {numbers[0]}, which is no rating from 0.0 to 9.9")
    return Answer(float(numbers[0]), "")
