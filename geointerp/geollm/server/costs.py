"""Costs: what a run would ask of a server, before it starts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple


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
    """
    requests = sent = 0
    for text, times in asked:
        requests += times
        sent += times * texts * _tokens(text, tokenizer)
    said = requests * length
    cost = math.nan if prices is None else (sent * prices[0] + said * prices[1]) / 1e6
    counted = "as the tokenizer counts" if tokenizer else "a quarter of the characters"
    note = f"prompt tokens are {counted}, without a chat template's; the rest is the most"
    return Estimate(requests, sent, said, cost, note)


def _tokens(text: str, tokenizer: Any) -> int:
    return math.ceil(len(text) / 4) if tokenizer is None else len(tokenizer(text)["input_ids"])
