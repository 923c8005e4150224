"""Distributions: what a language model gives to each of the ratings 0.0, 0.1, … 9.9."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp.errors import InputError
from geointerp.geollm.ratings.causal import Ids, LanguageModel, forward, repeat
from geointerp.geollm.ratings.chat import Chat
from geointerp.geollm.ratings.encoding import ask, batches
from geointerp.geollm.ratings.scale import RATINGS
from geointerp.progress import track


class _Trie(NamedTuple):
    """The tails' proper prefixes, and where each tail token's probability is read.

    `paths` are the longest ones, each a row of tokens after the shared prefix, all of one
    length; `at_root` and `in_path` are columns of numbers: the rating, (the path, the
    position in it,) and the token that comes next.
    """

    paths: NDArray[np.int64]
    at_root: NDArray[np.int64]
    in_path: NDArray[np.int64]


def distribution(
    model: LanguageModel,
    prompts: pd.DataFrame | pd.Series,
    *,
    batch_size: int = 4,
    chat: Chat | None = None,
) -> pd.DataFrame:
    """The probability of every rating from 0.0 to 9.9 as a prompt's continuation.

    Parameters
    ----------
    model : geointerp.models.Model
    prompts : DataFrame or Series
        A DataFrame with a column `prompt`, or the prompts themselves.
    batch_size : int
        Prompts that go through the model together; only those of equal length do.
    chat : Chat, optional
        Puts each prompt into the model's chat template first.

    Returns
    -------
    DataFrame of float64, shape (n, 100)
        On the prompts' index, with the columns 0.0, 0.1, … 9.9; every row sums to 1.

    Raises
    ------
    InputError
        A model that is no causal language model; a prompt that is empty, missing or longer
        than the model's positions; a tokenizer that cannot tell two ratings apart, or that has
        no chat template for the `chat`; scores that are not finite.

    Notes
    -----
    Prompt and rating are encoded as one text, a hundred texts for a prompt, so that digits
    may be whole, split, or merged with the space before them. With p the tokens that all
    hundred begin with and t(r) the rest of rating r's,

        P(r) ∝ exp Σᵢ log P(tᵢ(r) | p, t₁(r), …, tᵢ₋₁(r)),

    normalised over the hundred. That is the probability of the tokenizer's own spelling of
    the rating, whatever would follow it ("7.3" also begins "7.35"); other spellings of the
    same text are not summed. p goes through the model once; then the distinct proper
    prefixes of the t(r) go through it in one batch that takes up from p's key-value cache.
    A model without such a cache reads p again for each. Log-softmax is taken in float32;
    a model in bfloat16 is as exact as its logits.

    In the prompt, text that spells one of the tokenizer's special tokens is read as text.
    """
    return normalised(log_scores(model, prompts, batch_size=batch_size, chat=chat))


def summary(probabilities: pd.DataFrame) -> pd.DataFrame:
    """Expectation, mode and entropy of distributions over ratings.

    Parameters
    ----------
    probabilities : DataFrame, shape (n, m)
        Columns are ratings; rows sum to 1.

    Returns
    -------
    DataFrame
        On the same index: `rating` (expectation), `mode`, `entropy` in nats.
    """
    from scipy.special import entr

    values = probabilities.to_numpy(float)
    ratings = probabilities.columns.to_numpy(float)
    return pd.DataFrame(
        {
            "rating": values @ ratings,
            "mode": ratings[values.argmax(axis=1)],
            "entropy": entr(values).sum(axis=1),
        },
        index=probabilities.index,
    )


def normalised(logs: pd.DataFrame) -> pd.DataFrame:
    """Exponentials of log-scores, divided by their sum over each row."""
    values = logs.to_numpy()
    values = np.exp(values - np.logaddexp.reduce(values, axis=1, keepdims=True))
    # the exponents' rounding, a few parts in 10¹⁵
    values /= values.sum(axis=1, keepdims=True)
    return pd.DataFrame(values, index=logs.index, columns=logs.columns)


def log_scores(
    model: LanguageModel,
    prompts: pd.DataFrame | pd.Series,
    *,
    batch_size: int,
    chat: Chat | None,
) -> pd.DataFrame:
    """Log-probability of every rating's tokens after the shared prefix, not normalised.

    As `distribution`; over the hundred their exponentials sum to the `mass` of `predict`.
    """
    index, encoded = ask(model, prompts, chat, lambda one: max(map(len, one.tails)))
    logs = np.full((len(encoded), len(RATINGS)), np.nan)
    for rows in track(batches(encoded, batch_size), "rating"):
        prefixes = [encoded[row].prefix for row in rows]
        logs[rows] = _score(model.model, prefixes, _trie(encoded[rows[0]].tails))
    for bad in np.flatnonzero(~np.isfinite(logs).all(axis=1)):
        raise InputError(f"prompts: row {index[bad]!r}: the model's scores are not finite.")
    return pd.DataFrame(logs, index=index, columns=RATINGS)


def _trie(tails: tuple[Ids, ...]) -> _Trie:
    inner = sorted({tail[:-1] for tail in tails if len(tail) > 1})
    # in sorted order, what begins another path stands right before one that it begins
    paths = [
        path
        for path, following in itertools.zip_longest(inner, inner[1:], fillvalue=())
        if following[: len(path)] != path
    ]
    where = {
        path[:depth]: row for row, path in enumerate(paths) for depth in range(1, len(path) + 1)
    }
    width = max(map(len, paths), default=0)
    # what stands after a path is never seen from it: its last token again will do
    table = [path + path[-1:] * (width - len(path)) for path in paths]
    at_root = [(rating, tail[0]) for rating, tail in enumerate(tails)]
    in_path = [
        (rating, where[tail[:depth]], depth - 1, tail[depth])
        for rating, tail in enumerate(tails)
        for depth in range(1, len(tail))
    ]
    return _Trie(
        np.array(table, dtype=np.int64).reshape(len(paths), width),
        np.array(at_root, dtype=np.int64).reshape(-1, 2),
        np.array(in_path, dtype=np.int64).reshape(-1, 4),
    )


def _score(hf: Any, prefixes: list[Ids], trie: _Trie) -> NDArray[np.float64]:
    """Summed log-probabilities of the tails, shape (len(prefixes), 100)."""
    import torch

    with torch.inference_mode():
        shared = torch.tensor(prefixes, device=hf.device)
        logits, cache = forward(hf, shared, last=1)
        steps = logits[:, -1].float().log_softmax(-1).cpu().numpy()
        scores = steps[:, trie.at_root[:, 1]].astype(np.float64)
        if len(trie.paths) == 0:
            return scores
        paths = torch.from_numpy(trie.paths).to(hf.device)
        n, (rows, width) = len(prefixes), paths.shape
        tails = paths.repeat(n, 1)
        if repeat(cache, rows):
            logits, _ = forward(hf, tails, cache=cache, past=shared.shape[1], last=width)
        else:
            whole = torch.cat([shared.repeat_interleave(rows, dim=0), tails], dim=1)
            logits, _ = forward(hf, whole, last=width)
        steps = logits[:, -width:].float().log_softmax(-1).cpu().numpy()
        steps = steps.reshape(n, rows, width, -1)
        rating, row, position, token = trie.in_path.T
        parts = steps[:, row, position, token].astype(np.float64)
        np.add.at(scores.T, rating, parts.T)
    return scores
