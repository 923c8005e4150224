"""Asking: requests to an OpenAI-compatible endpoint, at its pace, until they are answered."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from geointerp.errors import InputError
from geointerp.geollm.prompting.templates import one_line
from geointerp.geollm.server.wire import Api, Body
from geointerp.geollm.web import replies
from geointerp.geollm.web.journal import Journal
from geointerp.geollm.web.patience import Patience
from geointerp.geollm.web.replies import said
from geointerp.geollm.web.trouble import Trouble, passes, retry_after

log = logging.getLogger(__name__)

_EXPLAINED = 10_000
# the client adds the machine's system, and of the environment an organisation, a project and more
_SENT = {
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "user-agent",
    # by which it knows that an answer was streamed
    "x-stainless-raw-response",
}


class Stopped(Exception):
    """The run was given up while this request waited for its turn."""


class Pace:
    """Whose turn it is: requests start at least 60 / `per_minute` seconds apart.

    The first waits as long too: a run that was killed may have asked just before.

    Parameters
    ----------
    per_minute : float, optional
        No limit if not given.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 0.0 if per_minute is None else 60 / per_minute
        self._after = time.monotonic() + self._gap
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        """Return when the next request may go; raise `Stopped` if it never will."""
        while True:
            if stop.is_set():
                raise Stopped
            with self._lock:
                left = self._after - time.monotonic()
                if left <= 0:
                    self._after = time.monotonic() + self._gap
                    return
            stop.wait(left)

    def hold(self, seconds: float) -> None:
        """Let nobody go for so long."""
        with self._lock:
            self._after = max(self._after, time.monotonic() + seconds)


class Asker(AbstractContextManager["Asker"]):
    """Asks an endpoint, and keeps what it answers.

    Parameters
    ----------
    api : Api
    key_name : str, optional
        The environment variable that holds the key.
    pace : Pace
    answers : Journal
    timeout : float
        Seconds that one request may take.

    Attributes
    ----------
    stop : threading.Event
        Set, it lets no request go that is not on its way.
    """

    def __init__(
        self, api: Api, key_name: str | None, pace: Pace, answers: Journal, *, timeout: float
    ) -> None:
        import openai

        self.stop = threading.Event()
        self._api, self._pace, self._answers, self._timeout = api, pace, answers, timeout
        self._key_name, self._key = key_name, key_of(key_name, api.url)
        if self._key and not _private(api.url):
            log.warning(
                "%s is not https: the key in %s goes over the network for anyone to read",
                api.url,
                key_name,
            )
        # ours are the only retries
        self._client = openai.OpenAI(
            base_url=api.url,
            api_key=self._key or "none",
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultHttpxClient(
                # a turn is taken when all is ready: what is late would meet the next one's
                event_hooks={
                    "request": [_bare, lambda _: self._pace.wait(self.stop)],
                    "response": [self._receive],
                }
            ),
        )

    def ask(self, body: Body, read: Callable[[Any], Any], *, draw: int = 0) -> Any:
        """The answer to one request: out of the journal, else from the server.

        Parameters
        ----------
        body : dict
            As the endpoint takes it, `model` and all.
        read : callable
            Takes the server's JSON and returns what is to be kept of it, which JSON can hold;
            raises ValueError where it is no answer, and the request is tried again.
        draw : int
            Tells apart requests that are equal and yet to be asked for each.

        Returns
        -------
        object
            What `read` returned.

        Raises
        ------
        InputError
            A request that the server refuses, or has not answered after `patience.TRIES` tries; a
            journal that was damaged.
        """
        name = self._api.name(body, draw)
        kept = self._answers.get(name)
        if kept is not None:
            return kept
        patience = Patience(self._api.url, name, self._answers.path)
        while True:
            try:
                answer = self._once(body, read)
            except Trouble as trouble:
                rest = patience.bear(trouble)
                # Retry-After speaks to all of us
                self._pace.hold(trouble.wait or 0.0)
                if self.stop.wait(rest):
                    raise Stopped from None
            else:
                self._answers.put(name, answer)
                return answer

    def _once(self, body: Body, read: Callable[[Any], Any]) -> Any:
        import openai

        client = self._client
        resource: Any = client.chat.completions if self._api.chats else client.completions
        named = {"model", "messages", "prompt"}
        try:
            with resource.with_streaming_response.create(
                **{k: v for k, v in body.items() if k in named},
                extra_body={k: v for k, v in body.items() if k not in named},
                extra_headers={
                    "Authorization": f"Bearer {self._key}" if self._key else openai.Omit()
                },
            ) as response:
                raw = response.http_response.extensions["read"]
        except openai.APITimeoutError:
            raise Trouble(f"does not answer within {self._timeout:g} s") from None
        except openai.APIConnectionError as error:
            raise Trouble(f"cannot be reached, or hangs up ({_cause(error)})") from None
        try:
            return replies.read(self._clean(raw), partial(_heard, read))
        except InputError as error:
            raise InputError(f"{self._api.url}: {error}") from None

    def _receive(self, response: Any) -> None:
        """Read an answer as long as it is neither too long nor too slow.

        Whatever is not 200 is refused, redirects too: they could carry the key to another host.
        """
        good = response.status_code == 200
        raw = replies.receive(
            response.iter_bytes(),
            start=time.monotonic(),
            timeout=self._timeout,
            most=None if good else _EXPLAINED,
        )
        if not good:
            raise self._refusal(response, _message(self._clean(raw)))
        response.extensions["read"] = raw

    def _refusal(self, response: Any, message: str) -> Trouble:
        status = response.status_code
        what = f"answers {status}" + (f" ({message})" if message else "")
        if status in (401, 403):
            name = self._key_name
            what += f"; its key is read from {name}" if name else "; it was asked without a key"
        elif status == 404:
            what += "; the url usually ends with /v1"
        return Trouble(
            what,
            passing=passes(status),
            wait=retry_after(response.headers.get("retry-after")),
        )

    def _clean(self, raw: bytes) -> str:
        """Text without the key, which a server may well repeat."""
        text = raw.decode("utf-8", "replace")
        return text.replace(self._key, "[key]") if self._key else text

    def __exit__(self, *_: object) -> None:
        self._client.close()


def _bare(request: Any) -> None:
    """Leave off the headers that nobody asked to send."""
    for name in set(request.headers) - _SENT:
        del request.headers[name]


def _heard(read: Callable[[Any], Any], told: Any) -> Any:
    """What is read of an answer; some servers send errors with status 200."""
    if isinstance(told, Mapping) and told.get("error"):
        raise Trouble(f"answers an error ({_message(json.dumps(told))})")
    return read(told)


def _message(text: str) -> str:
    """What a server says of an error, on one short line."""
    try:
        told: Any = json.loads(text)
        while isinstance(told, Mapping):
            told = told.get("error", told.get("message", told.get("detail", "")))
        text = str(told)
    except (ValueError, RecursionError):
        pass
    return one_line(text)[:200].rstrip(". ")


def _cause(error: BaseException) -> str:
    """The first cause of an error, in its own words."""
    while error.__cause__ is not None:
        error = error.__cause__
    return said(error)


def key_of(name: str | None, url: str) -> str | None:
    """The key that the environment has under a name."""
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise InputError(
            f"the environment has no variable {_said(name)}, where the key of {url} is read from; "
            "set it, or leave the key out (key=None) for a server that wants none."
        )
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"the environment's {name} is no key: it has characters other than ASCII.")
    return key


def _said(name: str) -> str:
    """The name of a variable, but not a key that was given in its place."""
    plain = len(name) <= 40 and name.upper() == name and name.isidentifier()
    return name if plain else "of that name, which must be a name as OPENAI_API_KEY is"


def _private(url: str) -> bool:
    """Whether nobody on the way can read along."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return parts.scheme == "https" or loopback
