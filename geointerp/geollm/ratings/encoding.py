"""Encoding: a prompt in tokens, and what each rating adds to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

import pandas as pd

from geointerp.errors import InputError
from geointerp.geollm.ratings.causal import (
    Ids,
    LanguageModel,
    check_causal,
    check_loaded,
    check_model,
)
from geointerp.geollm.ratings.chat import Chat
from geointerp.geollm.ratings.scale import WORDS
from geointerp.progress import track


class Encoded(NamedTuple):
    """The hundred texts of one prompt: the tokens they share, and what each adds."""

    prefix: Ids
    tails: tuple[Ids, ...]


def ask(
    model: LanguageModel,
    prompts: pd.DataFrame | pd.Series,
    chat: Chat | None,
    room: Callable[[Encoded], int],
) -> tuple[pd.Index, list[Encoded]]:
    """Prompts as a model reads them, once it is sure that it can.

    Parameters
    ----------
    model : geointerp.models.Model
    prompts : DataFrame or Series
        A DataFrame with a column `prompt`, or the prompts themselves.
    chat : Chat or None
    room : callable
        How many tokens will come after a prompt's prefix.

    Returns
    -------
    index : Index
    encoded : list of Encoded

    Raises
    ------
    InputError
        A model that is not loaded, or no causal language model; a prompt that is empty, missing
        or longer than the model's positions; a tokenizer that cannot tell two ratings apart.
    """
    check_loaded(model)
    check_model(model.model)
    texts = texts_of(prompts)
    limit = getattr(model.model.config.get_text_config(), "max_position_embeddings", None)
    encoded = []
    for row, text in track(texts.items(), "tokenizing", total=len(texts)):
        one = encode(model.tokenizer, text, row, chat)
        longest = len(one.prefix) + room(one)
        if limit is not None and longest > limit:
            raise InputError(
                f"prompts: row {row!r} has {longest} tokens with its answer; "
                f"the model takes {limit}."
            )
        encoded.append(one)
    if encoded:
        check_causal(model.model, encoded[0].prefix)
    return texts.index, encoded


def texts_of(prompts: pd.DataFrame | pd.Series) -> pd.Series:
    """The prompts themselves, of a table of them or of themselves.

    Raises
    ------
    InputError
        No column `prompt`; what is no table; a prompt that is empty or missing.
    """
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


def encode(tokenizer: Any, text: str, row: Hashable, chat: Chat | None = None) -> Encoded:
    """A prompt with each of the hundred ratings after it, in tokens.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
    text : str
    row : hashable
        How messages call the prompt.
    chat : Chat, optional

    Returns
    -------
    Encoded
        A prompt's last space may be missing from the prefix: where the tokenizer merges it
        with a digit, it is the tails'.

    Raises
    ------
    InputError
        A tokenizer that cannot tell two ratings apart, or gives no token before them.
    """
    sequences = _plain(tokenizer, text) if chat is None else chat.encode(tokenizer, text, WORDS)
    # neighbours in sorted order betray any sequence that begins another, or equals it
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    for a, b in itertools.pairwise(order):
        if sequences[b][: len(sequences[a])] == sequences[a]:
            raise InputError(
                f"prompts: row {row!r}: the tokenizer cannot tell the rating {WORDS[a]} from "
                f"{WORDS[b]}; ratings need one that keeps digits apart."
            )
    first, last = sequences[order[0]], sequences[order[-1]]
    shared = 0
    while first[shared] == last[shared]:
        shared += 1
    if shared == 0:
        raise InputError(f"prompts: row {row!r}: no token comes before the rating.")
    return Encoded(first[:shared], tuple(ids[shared:] for ids in sequences))


def _plain(tokenizer: Any, text: str) -> list[Ids]:
    """Whatever the text spells, it has no special tokens but those that the tokenizer adds."""
    batch = tokenizer(
        [text + word for word in WORDS],
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
    return sequences


def batches(encoded: list[Encoded], size: int) -> Iterable[list[int]]:
    """Rows whose prefixes are equally long, so that nothing is padded, and whose tails agree.

    Raises
    ------
    InputError
        A size below 1.
    """
    if size < 1:
        raise InputError(f"batch_size is {size}; it must be 1 or more.")
    groups: dict[tuple[int, tuple[Ids, ...]], list[int]] = {}
    for row, one in enumerate(encoded):
        groups.setdefault((len(one.prefix), one.tails), []).append(row)
    return [
        rows[start : start + size]
        for rows in groups.values()
        for start in range(0, len(rows), size)
    ]
