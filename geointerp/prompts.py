"""Prompts: templates with fields, and which tokens of a prompt are the placename."""

from __future__ import annotations

import logging
import string
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from geointerp.errors import InputError
from geointerp.places import label

if TYPE_CHECKING:
    import geopandas as gpd

log = logging.getLogger(__name__)

_AT_ONCE = 1024


class Tokens(NamedTuple):
    """One prompt as a model reads it.

    Attributes
    ----------
    ids : list of int
        Token ids, with the special tokens that the tokenizer adds.
    first, last : int
        Positions in `ids` of the placename's first and last token, both inclusive.
    begin, end : int
        Positions of the prompt's own first and last token, both inclusive: without the
        special tokens, such as BOS, that the tokenizer adds around it.
    """

    ids: list[int]
    first: int
    last: int
    begin: int
    end: int


def fields(template: str) -> list[str]:
    """The names of the fields in a template, in order.

    Raises
    ------
    InputError
        For unbalanced braces, a field without a name, or a template without ``{name}``.
    """
    found = [field for _, field in parts(template) if field is not None]
    if "" in found:
        raise InputError(f"template {template!r}: {{}} names no column.")
    if "name" not in found:
        raise InputError(f"template {template!r}: there is no {{name}} in it.")
    return found


def parts(template: str) -> list[tuple[str, str | None]]:
    """Literal text, and the field after it if there is one: all that stands between braces.

    Parameters
    ----------
    template : str

    Returns
    -------
    list of (str, str or None)

    Raises
    ------
    InputError
        For unbalanced braces.
    """
    try:
        found = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InputError(f"template {template!r}: {error}; write {{{{ for a brace.") from error
    # a column may be called name:ar
    return [
        (
            text,
            None
            if field is None
            else field + (f"!{conversion}" if conversion else "") + (f":{form}" if form else ""),
        )
        for text, field, form, conversion in found
    ]


def render(places: gpd.GeoDataFrame, template: str = "{name}") -> pd.DataFrame:
    """Fill a template with the columns of every place.

    Parameters
    ----------
    places : GeoDataFrame
    template : str
        With ``{name}`` and, if wanted, other columns: ``"{name}, {country}"``.

    Returns
    -------
    DataFrame
        On the places' index: `prompt`, and `start` and `end`, the half-open span of
        characters of the placename. Where ``{name}`` occurs more than once, the span is
        that of its last occurrence, which alone has the whole prompt before it.

    Raises
    ------
    InputError
        A field that is no column; a place that has no value for a field.
    """
    for field in fields(template):
        # a geometry in a prompt would be the coordinates that are asked for
        if field not in places.columns or field == places.geometry.name:
            known = ", ".join(str(c) for c in places.columns if c != places.geometry.name)
            raise InputError(
                f"template {template!r}: there is no column '{field}'; there are {known}."
            )
        for bad in np.flatnonzero(places[field].isna()):
            raise InputError(
                f"template {template!r}: place {label(places, bad)} has no value for '{field}'."
            )
    pieces = [(text, field or "") for text, field in parts(template)]
    columns = {field: places[field].astype(str).tolist() for _, field in pieces if field}
    rows = []
    for i in range(len(places)):
        prompt, start = "", 0
        for literal, field in pieces:
            prompt += literal
            if field == "name":
                start = len(prompt)
            if field:
                prompt += columns[field][i]
        rows.append((prompt, start, start + len(columns["name"][i])))
    return pd.DataFrame(rows, index=places.index, columns=["prompt", "start", "end"])


def tokenize(prompts: pd.DataFrame, tokenizer: Any) -> list[Tokens]:
    """Encode rendered prompts and find the tokens of each placename.

    A token belongs to the placename when it covers at least one of its characters; it may
    reach further, over the space before the name or the comma after it, and it may be the
    tokenizer's token for the unknown (how many names have one is logged). Which characters a
    token covers is what a fast tokenizer says, and for one written in Python, which does not
    say, what its tokens give back when they are decoded one after the other.

    Parameters
    ----------
    prompts : DataFrame
        As `render` gives it.
    tokenizer : transformers.PreTrainedTokenizerBase

    Returns
    -------
    list of Tokens
        One per prompt, in order.

    Raises
    ------
    InputError
        A placename of which the tokenizer knows nothing, or that holds the text of a special
        token, such as ``</s>``; a tokenizer without offsets whose tokens do not give back the
        prompt.
    """
    found: list[Tokens] = []
    unknown = 0
    # what a tokenizer says of a prompt takes a hundred times what is kept of it
    for start in range(0, len(prompts), _AT_ONCE):
        own = _tokens(prompts.iloc[start : start + _AT_ONCE], tokenizer)
        unknown += sum(tokenizer.unk_token_id in t.ids[t.first : t.last + 1] for t in own)
        found += own
    if unknown and tokenizer.unk_token_id is not None:
        log.warning("%d names hold something that the tokenizer does not know", unknown)
    return found


def _tokens(prompts: pd.DataFrame, tokenizer: Any) -> list[Tokens]:
    fast = bool(getattr(tokenizer, "is_fast", False))
    encoded = tokenizer(
        prompts["prompt"].tolist(),
        return_offsets_mapping=fast,
        return_special_tokens_mask=True,
        return_attention_mask=False,
    )
    unknown = tokenizer.unk_token_id
    added = tokenizer.added_tokens_decoder
    # some tokenizers do not mark their own end of text as special
    marks = set(tokenizer.all_special_ids)
    special = {i: str(token) for i, token in added.items() if token.special or i in marks}
    found = []
    for i, (start, end) in enumerate(zip(prompts["start"], prompts["end"], strict=True)):
        ids = encoded["input_ids"][i]
        own = [t for t, added in enumerate(encoded["special_tokens_mask"][i]) if not added]
        if fast:
            offsets = encoded["offset_mapping"][i]
        else:
            text = prompts["prompt"].iloc[i]
            decoded = _offsets([ids[t] for t in own], text, tokenizer)
            if decoded is None:
                raise InputError(
                    f"place {label(prompts, i)}: the tokens of {text!r} do not give it back, and "
                    f"{type(tokenizer).__name__} gives no offsets; load a fast tokenizer."
                )
            offsets = dict(zip(own, decoded, strict=True))
        covering = [t for t in own if offsets[t][0] < end and offsets[t][1] > start]
        name = prompts["prompt"].iloc[i][start:end]
        for t in covering:
            # a token for the unknown is special too, but no name holds its text
            if ids[t] in special and special[ids[t]] in name:
                raise InputError(
                    f"place {label(prompts, i)}: its name {name!r} holds {special[ids[t]]!r}, "
                    "which the tokenizer reads as a special token."
                )
        known = [ids[t] for t in covering if ids[t] != unknown]
        # beside the unknown a mark for the space before it says nothing
        if not known or (len(known) < len(covering) and not tokenizer.decode(known).strip()):
            raise InputError(
                f"place {label(prompts, i)}: the tokenizer keeps nothing of its name {name!r}."
            )
        found.append(Tokens(ids, covering[0], covering[-1], own[0], own[-1]))
    return found


def _offsets(ids: list[int], text: str, tokenizer: Any) -> list[tuple[int, int]] | None:
    """Which characters each token covers, from what the tokens decode to one after the other.

    Case, diacritics and spaces, which tokenizers change, are not compared. A token that
    ends inside a character covers it. None if the tokens do not give back the text.
    """
    folded = [(part, at) for at, character in enumerate(text) for part in _fold(character)]
    whole = "".join(part for part, _ in folded)

    said = [
        tokenizer.decode(ids[:count], clean_up_tokenization_spaces=False)
        for count in range(len(ids) + 1)
    ]
    ends = [common_length(_fold(part), whole) for part in said]
    if ends[-1] < len(whole):
        return None
    at = [*(at for _, at in folded), len(text)]
    found = []
    for t in range(len(ids)):
        start, end = ends[t], ends[t + 1]
        if end == start < len(whole) and not said[t + 1][len(said[t]) :].isspace():
            # the character that this token begins is only whole with the next
            end += 1
        # a space by itself covers nothing, where the character before it ends
        bare = at[start - 1] + 1 if start else 0
        found.append((at[start], at[end - 1] + 1) if end > start else (bare, bare))
    return found


def common_length(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How many leading items two sequences have in common."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (m, n) in pairs if m != n), min(len(a), len(b)))


def _fold(text: str) -> str:
    """Text without what tokenizers change."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in parts if not unicodedata.combining(c) and not c.isspace())


def pooled_positions(tokens: Sequence[Tokens], pool: str) -> list[tuple[int, int]]:
    """First and last position, both inclusive, of the tokens that make each vector.

    Parameters
    ----------
    tokens : sequence of Tokens
    pool : {"last", "mean", "prompt_last", "prompt_mean"}
        The last token of the placename; the mean over its tokens; the last token of the
        prompt; the mean over the prompt's tokens. The special tokens around a prompt are in
        none: with BOS in the mean, every place would share one huge vector.
    """
    spans = {
        "last": lambda t: (t.last, t.last),
        "mean": lambda t: (t.first, t.last),
        "prompt_last": lambda t: (t.end, t.end),
        "prompt_mean": lambda t: (t.begin, t.end),
    }
    if pool not in spans:
        raise InputError(f"pool is {pool!r}; it must be one of {', '.join(spans)}.")
    return [spans[pool](t) for t in tokens]
