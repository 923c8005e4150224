"""Log-probabilities as servers give them, and how much of the ratings' distribution they show."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp.geollm.ratings.distribution import summary
from geointerp.geollm.ratings.scale import RATINGS, WORDS

# a rating is given where what was not seen cannot move it by more than this
TOLERANCE = 0.1
# what is not a rating's is not looked at one by one
_SPELLS = frozenset("0123456789. \t\r\n")
# a beginning this improbable is not asked about
_NEGLIGIBLE = 1e-4

_INDEX = {word: i for i, word in enumerate(WORDS)}
_BEGINNINGS = {word[:length] for word in WORDS for length in range(3)}
# after a first digit, the point has at least so much where an answer is gone on with
_POINT = 0.01


class Step(NamedTuple):
    """One token that a server chose, and those that it might have.

    `likely` has the log-probabilities of those among them that a rating could be spelt with;
    `seen` is the probability of all that were told.
    """

    token: str
    likely: dict[str, float]
    seen: float


class Seen(NamedTuple):
    """What of a distribution was seen: each rating's probability, and that of the unknown."""

    ratings: NDArray[np.float64]
    unseen: float


class Spelling(NamedTuple):
    """How a rating may stand after what was sent: white space that must, or may, come first."""

    space: str
    must: bool

    def rating(self, text: str) -> int | None:
        """Which rating a text is; -1 if it may become one; None if it cannot."""
        if not text.startswith(self.space):
            if self.space.startswith(text):
                return -1
            if self.must:
                return None
        text = text.removeprefix(self.space)
        return _INDEX.get(text, -1 if text in _BEGINNINGS else None)

    @property
    def beginnings(self) -> int:
        """How many texts may become a rating: all that a walk could ask about."""
        spaces = {self.space[:length] for length in range(len(self.space) + 1)}
        starts = {self.space} if self.must else {self.space, ""}
        return len(spaces | {start + begun for start in starts for begun in _BEGINNINGS})


def steps(choice: Mapping[str, Any]) -> list[Step] | None:
    """The tokens of a choice; None where the server gives no log-probabilities.

    Both ways of writing them are read: that of chat completions, which llama.cpp uses for
    completions too, and that of OpenAI's completions.

    Raises
    ------
    ValueError
        Log-probabilities that are none.
    """
    told = choice.get("logprobs")
    if not isinstance(told, Mapping):
        return None
    if told.get("content") or (told.get("content") == [] and not _text(choice)):
        rows = [(one["token"], _pairs(one)) for one in told["content"]]
    elif told.get("tokens") and told.get("top_logprobs"):
        rows = list(
            zip(told["tokens"], map(dict.items, map(dict, told["top_logprobs"])), strict=True)
        )
    else:
        return None
    return [_step(token, dict(pairs)) for token, pairs in rows]


def _text(choice: Mapping[str, Any]) -> Any:
    return choice["message"].get("content") if choice.get("message") else choice.get("text")


def _pairs(one: Mapping[str, Any]) -> Any:
    return [(t["token"], t["logprob"]) for t in one.get("top_logprobs") or []]


def _step(token: str, top: dict[str, float]) -> Step:
    for value in top.values():
        # None and NaN are no log-probabilities; rounding may leave a little above 0
        if not isinstance(value, int | float) or not value <= 1e-3:
            raise ValueError(f"{value!r} is no log-probability")
    likely = {t: float(value) for t, value in top.items() if t and _SPELLS.issuperset(t)}
    return Step(str(token), likely, min(1.0, math.fsum(map(math.exp, top.values()))))


def walk(ask: Callable[[str], Sequence[Step]], spelling: Spelling, *, on: bool) -> Seen:
    """Follow every beginning of a rating, the most probable first.

    Parameters
    ----------
    ask : callable
        Takes a beginning, such as "7.", and returns the steps that a server takes after it.
    spelling : Spelling
    on : bool
        Whether `ask` may be called with more than "", the empty beginning.

    Returns
    -------
    Seen
        Probabilities of texts: two ways to split one rating into tokens are summed as far as
        they are seen. Unseen are tokens that were not among those told, and beginnings that
        were not asked about.
    """
    known: dict[str, Step] = {}
    found = np.zeros(len(WORDS))
    unseen = 0.0
    queue = [(0.0, "")]
    while queue:
        log, text = heapq.heappop(queue)
        probability = math.exp(-log)
        if text not in known and (not text or (on and probability >= _NEGLIGIBLE)):
            known |= _path(text, ask(text))
        if text not in known:
            unseen += probability
            continue
        unseen += probability * (1 - known[text].seen)
        for token, value in known[text].likely.items():
            rating = spelling.rating(text + token)
            if rating == -1:
                heapq.heappush(queue, (log - value, text + token))
            elif rating is not None:
                found[rating] += probability * math.exp(value)
    return Seen(found, unseen)


def probe(ask: Callable[[str], Sequence[Step]], spelling: Spelling) -> str | None:
    """Find out whether `ask` goes on with a beginning, or begins anew.

    The beginning is the most probable first token that is one and has a digit, or else "5". What
    goes on takes the token after it that it took before, or gives a point to a digit; no answer
    begins with a point.

    Parameters
    ----------
    ask, spelling
        As for `walk`.

    Returns
    -------
    str or None
        The beginning that it does not go on with; None if it goes on.
    """
    taken = ask("")
    likely = taken[0].likely if taken else {}
    begun = {t: value for t, value in likely.items() if t.strip() and spelling.rating(t) == -1}
    text = max(begun, key=begun.__getitem__, default="5")
    followed = len(taken) > 1 and taken[0].token == text
    if not followed:
        text = text.rstrip(".")
    after = ask(text)
    if not after:
        return text
    if followed and after[0].token == taken[1].token:
        return None
    points = (
        math.exp(value)
        for token, value in after[0].likely.items()
        if token.startswith(".") and spelling.rating(text + token) is not None
    )
    return None if sum(points) >= _POINT else text


def _path(text: str, taken: Sequence[Step]) -> dict[str, Step]:
    """What steps tell of the beginnings that they pass through."""
    found: dict[str, Step] = {}
    for step in taken:
        # a token without text, such as an end, changes nothing
        found.setdefault(text, step)
        text += step.token
    return found


def echoed(choices: Sequence[Mapping[str, Any]]) -> list[float] | None:
    """Summed log-probabilities of what a hundred echoed texts do not share.

    Parameters
    ----------
    choices : sequence of mapping, length 100
        In the order of the ratings that their texts end with.

    Returns
    -------
    list of float, length 100; None where the server did not echo the texts.

    Raises
    ------
    ValueError
        Log-probabilities that are none.
    """
    rows = []
    for choice, word in zip(choices, WORDS, strict=True):
        told = choice.get("logprobs") or {}
        tokens = told.get("tokens")
        if not tokens or not "".join(tokens).endswith(word):
            return None
        rows.append((tokens, told["token_logprobs"]))
    shared = 0
    while len({row[0][shared] if shared < len(row[0]) else "" for row in rows}) == 1:
        shared += 1
    scores = []
    for tokens, values in rows:
        tail = values[shared : len(tokens)]
        if len(values) != len(tokens) or not all(isinstance(v, int | float) for v in tail):
            raise ValueError("its tokens and their log-probabilities do not match")
        scores.append(math.fsum(tail))
    if not all(score <= 1e-3 for score in scores):
        raise ValueError("its log-probabilities are above 0")
    return scores


def table(found: Sequence[Seen], index: pd.Index, *, method: str = "expectation") -> pd.DataFrame:
    """Expectation, mode and entropy, each where what was not seen cannot change it much.

    With m the probability seen on ratings, u the unseen and e the expectation of what was
    seen, the expectation of all is within u / (m + u) · max(e, 9.9 − e) of e.

    Parameters
    ----------
    found : sequence of Seen
    index : Index
    method : {"expectation", "mode"}
        Which of the two is the rating.

    Returns
    -------
    DataFrame
        `rating`, `mode`, `entropy`, `mass`, `unseen`, and `reason`, why there is no rating.
    """
    values = np.array([one.ratings for one in found]).reshape(len(found), len(RATINGS))
    unseen = np.array([one.unseen for one in found], dtype=float)
    mass = values.sum(axis=1)
    shares = values / np.where(mass > 0, mass, 1)[:, None]
    rows = summary(pd.DataFrame(shares, index=index, columns=RATINGS))
    farther = np.maximum(rows["rating"], RATINGS[-1] - rows["rating"])
    near = (mass > 0) & (unseen * farther <= TOLERANCE * (mass + unseen))
    second, first = np.sort(values, axis=1)[:, -2:].T
    sure = (mass > 0) & (first - second >= unseen)
    rows.loc[~near, ["rating", "entropy"]] = np.nan
    rows.loc[~sure, "mode"] = np.nan
    rows["mass"], rows["unseen"] = mass, unseen
    if method == "mode":
        rows["rating"], near = rows["mode"], sure
    rows["reason"] = [
        "" if told else f"{m:.2g} of the probability was seen on ratings and {u:.2g} not at all"
        for told, m, u in zip(near, mass, unseen, strict=True)
    ]
    return rows
