"""The wire: what is sent to an OpenAI-compatible endpoint, and what is read of its answer."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from geointerp.errors import InputError
from geointerp.geollm.ratings.scale import WORDS
from geointerp.geollm.server import logprobs
from geointerp.geollm.server.logprobs import Spelling
from geointerp.geollm.web import journal

# a rating is spelt in so many tokens at most: white space, digit, point, digit
STEPS = 4
_LONGEST = 100_000

Body = dict[str, Any]


class Api(NamedTuple):
    """An endpoint as `Server` describes it: where, which model, and what else to say."""

    url: str
    path: str  # "chat/completions" or "completions"
    model: str
    top: int
    extra: Mapping[str, Any]

    @property
    def chats(self) -> bool:
        """Whether prompts are messages."""
        return self.path.startswith("chat")

    def name(self, body: Body, draw: int = 0) -> str:
        """What the answer to a request is filed under, which of several draws it may be."""
        return journal.name(self.url, self.path, body, draw)

    def text(
        self, prompt: str, *, length: int, temperature: float, seed: int | None = None
    ) -> Body:
        """The request for a text; `extra` may keep the seed from the server."""
        return self._body(self._open(prompt), temperature=temperature, max_tokens=length, seed=seed)

    def step(self, prompt: str, beginning: str) -> Body:
        """The request for the tokens that come after a prompt and a rating's beginning."""
        fields = {"temperature": 0.0, "max_tokens": STEPS}
        if not self.chats:
            return self._body(self._open(prompt) + beginning, logprobs=self.top, **fields)
        body = self._body(prompt, logprobs=True, top_logprobs=self.top, **fields)
        if beginning:
            body["messages"] = [*body["messages"], {"role": "assistant", "content": beginning}]
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        return body

    def spelling(self, prompt: str) -> Spelling:
        """How a rating may stand after what `step` sends."""
        if self.chats:
            return Spelling(" ", must=False)
        return Spelling(prompt[len(self._open(prompt)) :], must=True)

    def echo(self, prompt: str) -> Body:
        """The request for the log-probabilities of a prompt's hundred texts."""
        body = self._body(prompt, temperature=0.0, max_tokens=0, echo=True, logprobs=1)
        return body | {"prompt": [prompt + word for word in WORDS]}

    def _open(self, prompt: str) -> str:
        """A prompt that a text can go on from: a tokenizer may merge a last space with a digit."""
        return prompt if self.chats else prompt.rstrip()

    def _body(self, prompt: str, **fields: Any) -> Body:
        asked = (
            {"messages": [{"role": "user", "content": prompt}]}
            if self.chats
            else {"prompt": prompt}
        )
        # JSON knows no numbers of numpy's
        plain = {n: v.item() if isinstance(v, np.generic) else v for n, v in fields.items()}
        body = {"model": self.model, **asked, **plain, **self.extra}
        return {name: value for name, value in body.items() if value is not None}


def checked_url(url: str) -> str:
    """A server's url, without the slash at its end; `InputError` if it is none."""
    if "@" in str(url) or "?" in str(url):
        raise InputError(
            "the url must hold a host and a path alone; a key is read from the environment only."
        )
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except (ValueError, AttributeError):
        host, port = None, None
    if not host or port == 0 or parts.scheme not in ("http", "https") or not _is_word(url):
        raise InputError(f"url is {url!r}; it must be like 'http://localhost:8000/v1'.")
    return url.rstrip("/")


def _is_word(text: str) -> bool:
    return text.isprintable() and " " not in text


def checked_extra(extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """Fields to add to every request; `InputError` for what JSON cannot hold."""
    if extra is not None and not isinstance(extra, Mapping):
        raise InputError(
            f"extra is a {type(extra).__name__}; it must be a mapping, as {{'top_p': 0.5}}."
        )
    fields = dict(extra or {})
    for name, value in fields.items():
        try:
            json.dumps(value, allow_nan=False)
            held = isinstance(name, str)
        except (TypeError, ValueError, RecursionError):
            held = False
        if not held:
            raise InputError(
                f"extra: {name!r} is a {type(value).__name__} that JSON cannot hold; it must be a "
                "text, a plain finite number, True, False, None, or lists and dicts of them."
            )
    return fields


def mixed(seed: int, number: int) -> int:
    """A seed for each sample, which no other seed's samples share; 31 bits, as servers take."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)


def read_text(told: Any) -> str:
    """The text of an answer."""
    choice = _choices(told)[0]
    message = choice.get("message")
    text = choice["text"] if message is None else message.get("content")
    if text is not None and not isinstance(text, str):
        raise ValueError("its text is none")
    # half a surrogate pair is no text that a file could hold
    return (text or "")[:_LONGEST].encode("utf-8", "replace").decode()


def read_steps(told: Any) -> list[Any]:
    """The steps of an answer."""
    steps = logprobs.steps(_choices(told)[0])
    if steps is None:
        raise InputError(
            "the endpoint gives no log-probabilities; method='greedy' and 'sample' need none."
        )
    return steps


def read_echo(told: Any) -> list[float]:
    """The log-probabilities of the hundred ratings."""
    scores = logprobs.echoed(_choices(told))
    if scores is None:
        raise InputError(
            "the endpoint does not give the log-probabilities of a prompt; leave echoes=False."
        )
    return scores


def _choices(told: Any) -> list[Any]:
    choices = told["choices"]
    if not choices:
        raise ValueError("it has no choices")
    return sorted(choices, key=lambda choice: choice.get("index", 0))
