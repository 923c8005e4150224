"""Ratings: the whole distribution that a language model gives over 0.0, 0.1, … 9.9."""

from __future__ import annotations

import inspect
import itertools
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp.errors import InputError
from geointerp.progress import track

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    import torch

RATINGS: NDArray[np.float64] = np.arange(100) / 10
_WORDS = [f"{rating:.1f}" for rating in RATINGS]

Ids = tuple[int, ...]


class LanguageModel(Protocol):
    """What is asked of a model here: `geointerp.models.Model` has it."""

    model: Any
    tokenizer: Any


class _Encoded(NamedTuple):
    """The hundred texts of one prompt: the tokens they share, and what each adds."""

    prefix: Ids
    tails: tuple[Ids, ...]


class _Trie(NamedTuple):
    """The tails' proper prefixes, and where each tail token's probability is read.

    `paths` are the longest ones, each a row of tokens after the shared prefix, all of one
    length; `at_root` and `in_path` are columns of numbers: the rating, (the path, the
    position in it,) and the token that comes next.
    """

    paths: NDArray[np.int64]
    at_root: NDArray[np.int64]
    in_path: NDArray[np.int64]


def predict(
    model: LanguageModel,
    prompts: pd.DataFrame | pd.Series,
    *,
    method: str = "expectation",
    batch_size: int = 4,
) -> pd.DataFrame:
    """Let a causal language model rate every prompt.

    Parameters
    ----------
    model : geointerp.models.Model
    prompts : DataFrame or Series
        A DataFrame with a column `prompt`, as `geollm.prompts` gives it, or the prompts
        themselves.
    method : {"expectation"}
        The rating is the mean of `distribution`.
    batch_size : int
        Prompts that go through the model together; only those of equal length do.

    Returns
    -------
    DataFrame
        On the prompts' index: `rating`, the expectation, in [0, 9.9]; `mode`, the most
        probable rating (the lowest of several); `entropy` of the distribution in nats,
        between 0 and ln 100 ≈ 4.605; and `mass`, the probability that the model gives to
        all hundred ratings before they are normalised: where it is small, the model would
        rather have said something that is no rating.

    Raises
    ------
    InputError
        As `distribution`; a method that is not known.
    """
    if method != "expectation":
        raise InputError(f"method is {method!r}; it must be 'expectation'.")
    logs = _log_scores(model, prompts, batch_size)
    table = summary(_normalised(logs))
    table["mass"] = np.exp(np.logaddexp.reduce(logs.to_numpy(), axis=1))
    if (answered := table["mass"].median()) < 0.5:
        log.warning(
            "the model hardly answers with a rating: the probability of one has a median of %.2g",
            answered,
        )
    return table


def distribution(
    model: LanguageModel, prompts: pd.DataFrame | pd.Series, *, batch_size: int = 4
) -> pd.DataFrame:
    """The probability of every rating from 0.0 to 9.9 as a prompt's continuation.

    Parameters
    ----------
    model : geointerp.models.Model
    prompts : DataFrame or Series
        A DataFrame with a column `prompt`, or the prompts themselves.
    batch_size : int
        Prompts that go through the model together; only those of equal length do.

    Returns
    -------
    DataFrame of float64, shape (n, 100)
        On the prompts' index, with the columns 0.0, 0.1, … 9.9; every row sums to 1.

    Raises
    ------
    InputError
        A model that is no causal language model; a prompt that is empty, missing or longer
        than the model's positions; a tokenizer that cannot tell two ratings apart; scores
        that are not finite.

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
    return _normalised(_log_scores(model, prompts, batch_size))


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


def _normalised(logs: pd.DataFrame) -> pd.DataFrame:
    values = logs.to_numpy()
    values = np.exp(values - np.logaddexp.reduce(values, axis=1, keepdims=True))
    # the exponents' rounding, a few parts in 10¹⁵
    values /= values.sum(axis=1, keepdims=True)
    return pd.DataFrame(values, index=logs.index, columns=logs.columns)


def _log_scores(
    model: LanguageModel, prompts: pd.DataFrame | pd.Series, batch_size: int
) -> pd.DataFrame:
    """Log-probability of every rating's tokens after the shared prefix, not normalised."""
    _check_model(model)
    texts = _texts(prompts)
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be 1 or more.")
    limit = getattr(model.model.config.get_text_config(), "max_position_embeddings", None)
    encoded = []
    for row, text in track(texts.items(), "tokenizing", total=len(texts)):
        one = _encode(model.tokenizer, text, row)
        longest = len(one.prefix) + max(map(len, one.tails))
        if limit is not None and longest > limit:
            raise InputError(
                f"prompts: row {row!r} has {longest} tokens with a rating; the model takes {limit}."
            )
        encoded.append(one)
    if encoded:
        _check_causal(model.model, encoded[0].prefix)
    logs = np.full((len(texts), len(RATINGS)), np.nan)
    batches = list(_batches(encoded, batch_size))
    for rows in track(batches, "rating"):
        prefixes = [encoded[row].prefix for row in rows]
        logs[rows] = _score(model.model, prefixes, _trie(encoded[rows[0]].tails))
    for bad in np.flatnonzero(~np.isfinite(logs).all(axis=1)):
        raise InputError(f"prompts: row {texts.index[bad]!r}: the model's scores are not finite.")
    return pd.DataFrame(logs, index=texts.index, columns=RATINGS)


def _check_model(model: LanguageModel) -> None:
    hf = model.model
    generates = getattr(hf, "can_generate", lambda: False)()
    if not generates or hf.get_output_embeddings() is None or hf.config.is_encoder_decoder:
        raise InputError(
            f"{type(hf).__name__} does not say which token comes next; "
            "ratings need a causal language model."
        )


def _check_causal(hf: Any, ids: Ids) -> None:
    """An encoder under a language-modelling head has a causal model's methods, not its mask."""
    import torch

    whole = torch.tensor([ids], device=hf.device)
    half = (len(ids) + 1) // 2
    with torch.inference_mode():
        before, _ = _forward(hf, whole[:, :half], last=1)
        after, _ = _forward(hf, whole, last=len(ids) - half + 1)
    p, q = (logits.float().softmax(-1) for logits in (before[0, -1], after[0, half - len(ids) - 1]))
    if float((p - q).abs().sum()) / 2 > 0.05:
        raise InputError(
            f"{type(hf).__name__} sees the tokens that come after; ratings need a causal "
            "language model (some encoders become one with is_decoder=True)."
        )


def _texts(prompts: pd.DataFrame | pd.Series) -> pd.Series:
    if isinstance(prompts, pd.DataFrame):
        if "prompt" not in prompts.columns:
            raise InputError(
                f"prompts: there is no column 'prompt'; it has {', '.join(map(str, prompts))}."
            )
        prompts = prompts["prompt"]
    if not isinstance(prompts, pd.Series):
        raise InputError(
            f"prompts is a {type(prompts).__name__}; it must be a DataFrame with a column "
            "'prompt', or a Series."
        )
    for row, text in prompts.items():
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"prompts: row {row!r} is {text!r}; it must be a text.")
    return prompts


def _encode(tokenizer: Any, text: str, row: object) -> _Encoded:
    batch = tokenizer(
        [text + word for word in _WORDS],
        return_attention_mask=False,
        return_token_type_ids=False,
        return_special_tokens_mask=True,
        split_special_tokens=True,
        verbose=False,
    )
    sequences = []
    for ids, special in zip(batch["input_ids"], batch["special_tokens_mask"], strict=True):
        # an end-of-text that the tokenizer adds is not the rating's
        end = len(ids)
        while end and special[end - 1]:
            end -= 1
        sequences.append(tuple(ids[:end]))
    # neighbours in sorted order betray any sequence that begins another, or equals it
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    for a, b in itertools.pairwise(order):
        if sequences[b][: len(sequences[a])] == sequences[a]:
            raise InputError(
                f"prompts: row {row!r}: the tokenizer cannot tell the rating {_WORDS[a]} from "
                f"{_WORDS[b]}; ratings need one that keeps digits apart."
            )
    first, last = sequences[order[0]], sequences[order[-1]]
    shared = 0
    while first[shared] == last[shared]:
        shared += 1
    if shared == 0:
        raise InputError(f"prompts: row {row!r}: no token comes before the rating.")
    return _Encoded(first[:shared], tuple(ids[shared:] for ids in sequences))


def _batches(encoded: list[_Encoded], size: int) -> Iterable[list[int]]:
    """Rows whose prefixes are equally long, so that nothing is padded, and whose tails agree."""
    groups: dict[tuple[int, tuple[Ids, ...]], list[int]] = {}
    for row, one in enumerate(encoded):
        groups.setdefault((len(one.prefix), one.tails), []).append(row)
    for rows in groups.values():
        for start in range(0, len(rows), size):
            yield rows[start : start + size]


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
        logits, cache = _forward(hf, shared, last=1)
        steps = logits[:, -1].float().log_softmax(-1).cpu().numpy()
        scores = steps[:, trie.at_root[:, 1]].astype(np.float64)
        if len(trie.paths) == 0:
            return scores
        paths = torch.from_numpy(trie.paths).to(hf.device)
        n, (rows, width) = len(prefixes), paths.shape
        tails = paths.repeat(n, 1)
        if _repeat(cache, rows):
            logits, _ = _forward(hf, tails, cache=cache, past=shared.shape[1], last=width)
        else:
            whole = torch.cat([shared.repeat_interleave(rows, dim=0), tails], dim=1)
            logits, _ = _forward(hf, whole, last=width)
        steps = logits[:, -width:].float().log_softmax(-1).cpu().numpy()
        steps = steps.reshape(n, rows, width, -1)
        rating, row, position, token = trie.in_path.T
        parts = steps[:, row, position, token].astype(np.float64)
        np.add.at(scores.T, rating, parts.T)
    return scores


def _forward(
    hf: Any, ids: torch.Tensor, *, last: int, cache: Any = None, past: int = 0
) -> tuple[torch.Tensor, Any]:
    """Logits of at least the last so many positions, and the key-value cache if there is one."""
    import torch

    options: dict[str, Any] = {"input_ids": ids, "use_cache": True}
    takes = inspect.signature(hf.forward).parameters
    if "logits_to_keep" in takes:
        options["logits_to_keep"] = last
    if cache is not None:
        options["past_key_values"] = cache
    options["attention_mask"] = torch.ones(
        len(ids), past + ids.shape[1], dtype=torch.long, device=ids.device
    )
    out = hf(**options)
    return out.logits, getattr(out, "past_key_values", None)


def _repeat(cache: Any, times: int) -> bool:
    """Repeat every row of a cache in place; False if it is of a kind that cannot."""
    try:
        cache.batch_repeat_interleave(times)
    except (AttributeError, NotImplementedError):
        return False
    return True
