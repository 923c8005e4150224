"""Generation: what a language model says to a prompt, greedily or sampled."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp.errors import InputError
from geointerp.geollm.ratings import answers
from geointerp.geollm.ratings.causal import Ids, LanguageModel, forward, repeat
from geointerp.geollm.ratings.chat import Chat
from geointerp.geollm.ratings.encoding import ask, batches
from geointerp.progress import track

if TYPE_CHECKING:
    import torch


def generate(
    model: LanguageModel,
    prompts: pd.DataFrame | pd.Series,
    *,
    samples: int | None = None,
    temperature: float = 1.0,
    max_new_tokens: int = 32,
    seed: int = 0,
    batch_size: int = 4,
    chat: Chat | None = None,
) -> pd.Series:
    """The texts with which a causal language model answers every prompt.

    Parameters
    ----------
    model : geointerp.models.Model
    prompts : DataFrame or Series
        A DataFrame with a column `prompt`, or the prompts themselves.
    samples : int, optional
        How many answers to draw; one, greedy, if not given.
    temperature : float
        By which logits are divided before a token is drawn.
    max_new_tokens : int
        Where an answer is cut off.
    seed : int
    batch_size : int
        Prompts that go through the model together, each with all its samples; only those of
        equal length do.
    chat : Chat, optional
        Puts each prompt into the model's chat template first.

    Returns
    -------
    Series of list of str
        On the prompts' index. Each answer begins with the chat's `answer`.

    Raises
    ------
    InputError
        As `distribution`.

    Notes
    -----
    An answer ends at the model's end of text, at `max_new_tokens`, or with the line that gives
    a rating (`answers.end`): what a model that only completes text makes up next is no answer.
    Of the model's own generation settings only its ends of text are used, so that no repetition
    penalty or cut-off of the tail bends what it says; they are not changed either.

    A token is drawn by inverting the cumulative distribution at a number of a generator seeded
    by `seed`, the number of the sample and the prompt's tokens. So a prompt is answered alike
    in any company, and more samples or longer ones begin with the shorter.
    """
    index, encoded = ask(model, prompts, chat, lambda one: max_new_tokens)
    reader = _Reader(model, chat.answer if chat else "")
    said: list[list[str]] = [[]] * len(encoded)
    for rows in track(batches(encoded, batch_size), "asking"):
        prefixes = [encoded[row].prefix for row in rows]
        draws = None
        if samples is not None:
            draws = np.stack([_draws(one, samples, max_new_tokens, seed) for one in prefixes])
        tokens = _continue(model.model, prefixes, draws, temperature, max_new_tokens, reader.whole)
        if tokens is None:
            raise InputError(f"prompts: row {index[rows[0]]!r}: the model's scores are not finite.")
        for row, answered in zip(rows, tokens, strict=True):
            said[row] = [reader.answer(ids) for ids in answered]
    return pd.Series(said, index=index, dtype=object, name="texts")


class _Reader:
    """Reads a model's tokens as an answer of which the beginning was given."""

    def __init__(self, model: LanguageModel, begun: str) -> None:
        self._tokenizer, self._begun = model.tokenizer, begun
        config = getattr(model.model, "generation_config", None)
        own = getattr(config, "eos_token_id", None)
        # a chat model has several, one of them the end of a turn
        found = [*(own if isinstance(own, list) else [own]), model.tokenizer.eos_token_id]
        self._ends = {end for end in found if end is not None}

    def answer(self, ids: list[int]) -> str:
        """What it says, up to the end of the line that gives the rating."""
        text = self._text(list(itertools.takewhile(lambda token: token not in self._ends, ids)))
        return text[: answers.end(text)]

    def whole(self, ids: list[int]) -> bool:
        """Whether its last token ends it: only a line break ends a line."""
        if ids[-1] in self._ends:
            return True
        return "\n" in self._tokenizer.decode(ids[-1:]) and bool(answers.end(self._text(ids)))

    def _text(self, ids: list[int]) -> str:
        said = self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return f"{self._begun}{said}"


def _draws(prefix: Ids, samples: int, length: int, seed: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) that depend on nothing else, shape (samples, length)."""
    digest = hashlib.sha256(np.asarray(prefix, dtype="<i8").tobytes()).digest()
    key = np.frombuffer(digest, dtype="<u4")
    generators = (np.random.default_rng([seed, sample, *key]) for sample in range(samples))
    return np.stack([generator.random(length) for generator in generators])


def _continue(
    hf: Any,
    prefixes: list[Ids],
    draws: NDArray[np.float64] | None,
    temperature: float,
    length: int,
    whole: Callable[[list[int]], bool],
) -> list[list[list[int]]] | None:
    """Tokens after every prefix, once for each of its rows of draws; None if they are no numbers.

    All go on until each was whole once: what follows that means nothing.
    """
    import torch

    start = len(prefixes[0])
    times = 1 if draws is None else draws.shape[1]
    numbers = None if draws is None else torch.from_numpy(draws.reshape(-1, length))
    with torch.inference_mode():
        ids = torch.tensor(prefixes, device=hf.device)
        logits, cache = forward(hf, ids, last=1)
        logits, ids = logits[:, -1].repeat_interleave(times, 0), ids.repeat_interleave(times, 0)
        if times > 1 and not repeat(cache, times):
            cache = None
        done = [False] * len(ids)
        for step in range(length):
            scores = logits.float().cpu()
            if scores.isnan().any():
                return None
            token = _choose(scores, None if numbers is None else numbers[:, step], temperature)
            ids = torch.cat([ids, token[:, None].to(ids.device)], dim=1)
            answered = ids[:, start:].tolist()
            done = [was or whole(one) for was, one in zip(done, answered, strict=True)]
            if all(done) or step == length - 1:
                break
            if cache is None:  # all is read again
                logits, _ = forward(hf, ids, last=1)
            else:
                past = start + step
                logits, cache = forward(hf, ids[:, -1:], cache=cache, past=past, last=1)
            logits = logits[:, -1]
    return [answered[i : i + times] for i in range(0, len(answered), times)]


def _choose(logits: torch.Tensor, numbers: torch.Tensor | None, temperature: float) -> torch.Tensor:
    """The most probable token of every row, or the one at which a number in [0, 1) falls."""
    import torch

    if numbers is None:
        return logits.argmax(-1)
    # the highest to 0 first: a low temperature overflows
    scaled = (logits - logits.max(-1, keepdim=True).values).double() / temperature
    mass = scaled.softmax(-1).cumsum(-1)
    found = torch.searchsorted(mass, numbers[:, None] * mass[:, -1:], right=True)
    return found.squeeze(-1).clamp(max=logits.shape[-1] - 1)
