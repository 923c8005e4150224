"""Ratings: what a model, here or on a server, says of every prompt, as numbers."""

from __future__ import annotations

import logging
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from geointerp.errors import InputError
from geointerp.geollm.ratings import methods
from geointerp.geollm.ratings.answers import read_ratings
from geointerp.geollm.ratings.causal import LanguageModel
from geointerp.geollm.ratings.chat import Chat
from geointerp.geollm.ratings.distribution import log_scores, normalised, summary
from geointerp.geollm.ratings.generation import generate

log = logging.getLogger(__name__)


@runtime_checkable
class Rater(Protocol):
    """Whatever rates prompts by itself, as a `Server` does."""

    def predict(
        self,
        prompts: pd.DataFrame | pd.Series,
        *,
        method: str,
        samples: int,
        temperature: float,
        max_new_tokens: int,
        seed: int,
    ) -> pd.DataFrame:
        """As `geollm.predict`."""


def predict(
    model: LanguageModel | Rater,
    prompts: pd.DataFrame | pd.Series,
    *,
    method: str = "expectation",
    samples: int = 5,
    temperature: float = 1.0,
    max_new_tokens: int = 32,
    seed: int = 0,
    batch_size: int = 4,
    chat: Chat | None = None,
) -> pd.DataFrame:
    """Let a causal language model rate every prompt.

    Parameters
    ----------
    model : geointerp.models.Model or Server
    prompts : DataFrame or Series
        A DataFrame with a column `prompt`, as `geollm.prompts` gives it, or the prompts
        themselves.
    method : {"expectation", "mode", "greedy", "sample"}
        The mean or the mode of `distribution`; or the rating read from the text with which
        the model answers, the most probable at each token, or the mean over `samples` of them.
    samples : int
        Texts to draw for each prompt. For "sample" alone, as are temperature and seed.
    temperature : float
        By which logits are divided before a token is drawn; 1 samples as the model says.
    max_new_tokens : int
        Where a text is cut off. Chains of thought need a few hundred.
    seed : int
        With the same seed a prompt draws the same texts, in whatever company.
    batch_size : int
        Prompts that go through the model together; only those of equal length do.
    chat : Chat, optional
        Puts each prompt into the model's chat template first. A server does so by itself.

    Returns
    -------
    DataFrame
        On the prompts' index. For "expectation" and "mode": `rating`, in [0, 9.9]; `mode`, the
        most probable rating (the lowest of several); `entropy` of the distribution in nats,
        between 0 and ln 100 ≈ 4.605; and `mass`, the probability that the model gives to all
        hundred ratings before they are normalised: where it is small, the model would rather
        have said something that is no rating. For "greedy" and "sample": `rating`, NaN where
        none could be read; `text`, the answer, or the list of them; `n_read`, how many gave a
        rating; and `reason`, why the others gave none, "" if all did.

    Raises
    ------
    InputError
        As `distribution`; a method that is not known; samples or max_new_tokens below 1; a
        temperature that is not above 0; a seed below 0; a chat for a server.

    See Also
    --------
    geointerp.geollm.ratings.answers.read_rating : how a rating is read.
    geointerp.geollm.ratings.generation.generate : how a text is made, and where it ends.
    """
    asked: dict[str, Any] = {"samples": samples, "temperature": temperature}
    asked |= {"max_new_tokens": max_new_tokens, "seed": seed}
    methods.check(method, **asked)
    if isinstance(model, Rater):
        if chat is not None:
            raise InputError("a server applies its model's chat template itself; leave chat out.")
        return model.predict(prompts, method=method, **asked)
    if method in methods.SCORED:
        return _by_distribution(
            log_scores(model, prompts, batch_size=batch_size, chat=chat), method
        )
    if method == "greedy":
        asked["samples"] = None
    texts = generate(model, prompts, batch_size=batch_size, chat=chat, **asked)
    return _by_text(texts, method)


def _by_distribution(logs: pd.DataFrame, method: str) -> pd.DataFrame:
    table = summary(normalised(logs))
    if method == "mode":
        table["rating"] = table["mode"]
    table["mass"] = np.exp(np.logaddexp.reduce(logs.to_numpy(), axis=1))
    if (answered := table["mass"].median()) < 0.5:
        log.warning(
            "the model hardly answers with a rating: the probability of one has a median of %.2g",
            answered,
        )
    return table


def _by_text(texts: pd.Series, method: str) -> pd.DataFrame:
    table = read_ratings(texts)
    table.insert(1, "text", [text for (text,) in texts] if method == "greedy" else texts)
    read, asked = int(table["n_read"].sum()), int(texts.map(len).sum())
    if 2 * read < asked:
        log.warning("of %d answers only %d give a rating", asked, read)
    return table
