"""Costs: what a run would ask of a server, before it starts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from geointerp.errors import InputError


class Estimate(NamedTuple):
    """What a run would ask for at most, but for what a chat template adds and for retries.

    `requests` not yet answered, their `prompt_tokens` and `completion_tokens`, their `cost` in
    the currency of the prices (NaN without any), and a `note` that says how they were counted.
    """

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    note: str


def estimate(
    asked: Iterable[tuple[str, int]],
    *,
    texts: int,
    length: int,
    tokenizer: Any,
    prices: tuple[float, float] | None,
) -> Estimate:
    """Add requests up.

    Parameters
    ----------
    asked : iterable of (str, int)
        Texts, and how many requests send each.
    texts : int
        How many texts as long as that one a request has.
    length : int
        The most tokens that may answer a request.
    tokenizer : transformers tokenizer, optional
    prices : (float, float), optional
        Of a million prompt tokens and of a million completion tokens.

    Returns
    -------
    Estimate

    Raises
    ------
    InputError
        Prices that are not two numbers from 0 on.
    """
    _check(prices)
    requests = sent = 0
    for text, times in asked:
        requests += times
        sent += times * texts * _tokens(text, tokenizer)
    said = requests * length
    cost = math.nan if prices is None else (sent * prices[0] + said * prices[1]) / 1e6
    counted = "as the tokenizer counts" if tokenizer else "a quarter of the characters"
    note = f"prompt tokens are {counted}, without a chat template's; the rest is the most"
    return Estimate(requests, sent, said, cost, note)


def _check(prices: Any) -> None:
    if prices is None:
        return
    pair = isinstance(prices, Sequence) and len(prices) == 2
    if not (pair and all(isinstance(one, int | float) and 0 <= one < math.inf for one in prices)):
        raise InputError(
            f"prices is {prices!r}; it must be two numbers from 0 on, of a million prompt tokens "
            "and of a million completion tokens, as (0.15, 0.60)."
        )


def _tokens(text: str, tokenizer: Any) -> int:
    return math.ceil(len(text) / 4) if tokenizer is None else len(tokenizer(text)["input_ids"])
