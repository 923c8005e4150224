"""The web: public servers of maps, asked by their rules and for each thing once."""

from __future__ import annotations

import http.client
import logging
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from geointerp import sphere
from geointerp.errors import InputError
from geointerp.geollm.web import journal, replies
from geointerp.geollm.web.journal import Journal
from geointerp.geollm.web.patience import Patience
from geointerp.geollm.web.replies import said
from geointerp.geollm.web.trouble import Trouble, passes, retry_after
from geointerp.geollm.web.turns import Turns, cache_folder
from geointerp.progress import track

log = logging.getLogger(__name__)

INTERVAL = 1.0
MAX_POINTS = 1000

# run for everybody on donated machines
_PUBLIC = (
    "openstreetmap.org",
    "overpass-api.de",
    "overpass.kumi.systems",
    "overpass.private.coffee",
    "overpass.osm.ch",
    "openstreetmap.fr",
    "maps.mail.ru",
)

_CONTACT = re.compile(r"[^\s@<>()]+@[^\s@<>()]+\.\w+|https?://[^\s/<>()]+\.\w\S*")
_LIBRARY = re.compile(
    r"(python(-requests|-urllib|-httpx)?|requests|urllib3?|httpx|aiohttp|geopy|osmnx|overpy|curl"
    r"|wget|mozilla|java|okhttp|go-http-client)\s*(/|\(|$)",
    re.IGNORECASE,
)


class Question(NamedTuple):
    """What a server is asked.

    Parameters
    ----------
    fields : dict of str to str
        The query of the address.
    read : callable
        Takes the server's JSON and returns what is to be kept of it, which JSON can hold but
        is not None. Raises `Trouble`, or ValueError, TypeError, LookupError or AttributeError
        where the JSON is of another shape; then it is asked again.
    """

    fields: dict[str, str]
    read: Callable[[Any], Any]


class Client:
    """Asks a server one thing at a time, by the rules of public ones, and keeps the answers.

    Whatever number of clients, threads and processes of a user ask a host from one machine,
    from the end of a request to the start of the next there are at least `min_interval`
    seconds.

    Parameters
    ----------
    url : str
    user_agent : str
        Names the application and how to reach whoever runs it, by mail or on a page.
    cache : str or Path, optional
        A file in which answers are kept for good, each as it comes. By default
        geointerp/openstreetmap.sqlite in the user's folder for caches.
    min_interval : float
        Seconds, at least 1 for a public server.
    max_points : int
        How many things are asked for in a call, beyond those that are kept; at most 1,000 of
        a public server.
    timeout : float
        Seconds that a server may be silent, or take to answer; a day at most.

    Raises
    ------
    InputError
        A user agent that names no application or no contact; a url that is none; less than a
        second, or more than 1,000 points, for a public server; a timeout that is none.
    """

    def __init__(
        self,
        url: str,
        *,
        user_agent: str,
        cache: str | Path | None = None,
        min_interval: float = INTERVAL,
        max_points: int = MAX_POINTS,
        timeout: float = 60.0,
    ) -> None:
        _check_user_agent(user_agent)
        replies.check_timeout(timeout)
        self.url, self.user_agent, self.timeout = url, user_agent, timeout
        self.cache = cache_folder() / "openstreetmap.sqlite" if cache is None else Path(cache)
        self.host, self.public = _host(url)
        least, most = (INTERVAL, MAX_POINTS) if self.public else (0.0, math.inf)
        why = f", as {self.host} is there for everybody" if self.public else ""
        if not least <= min_interval < math.inf:
            raise InputError(
                f"min_interval is {min_interval!r}; it must be at least {least:g} s{why}."
            )
        if not 1 <= max_points <= most:
            raise InputError(f"max_points is {max_points!r}; it must be from 1 to {most:g}{why}.")
        self.min_interval, self.max_points = min_interval, max_points
        self._turns = Turns(self.host, min_interval)
        self._opener = urllib.request.build_opener(_Stay)
        self._opener.addheaders = [("User-Agent", user_agent)]

    def ask(self, questions: Sequence[Question]) -> list[Any]:
        """The answers: those that are kept, and for the others the server is asked.

        Parameters
        ----------
        questions : sequence of Question, length n

        Returns
        -------
        list of object, length n
            What their `read` returned, as JSON gives it back.

        Raises
        ------
        InputError
            More questions than `max_points` without a kept answer; a server that refuses one,
            or has not answered it after `patience.TRIES` tries; a cache that is none.
        """
        names = [journal.name(self.url, question.fields) for question in questions]
        with Journal(self.cache) as kept:
            asked = dict(zip(names, questions, strict=True))
            missing = {name: asked[name] for name in asked if kept.get(name) is None}
            self._announce(len(missing))
            for name in track(missing, f"asking {self.host}"):
                self._fetch(name, missing[name], kept)
            return [kept.get(name) for name in names]

    def _announce(self, count: int) -> None:
        """Say what is to come; refuse a harvest."""
        if count > self.max_points:
            raise InputError(
                f"{self.host}: {count:,} points are to be asked for, and at most "
                f"{self.max_points:,} are in a call; OsmFile has no limit, nor has a server of "
                "your own with another max_points."
            )
        if count:
            log.info(
                "%s: %d requests, which takes %.0f s at least",
                self.host,
                count,
                count * self.min_interval,
            )

    def _fetch(self, name: str, question: Question, kept: Journal) -> None:
        """Have an answer kept, whatever number of tries it takes."""
        patience = Patience(self.url, name, self.cache)
        while True:
            with self._turns.alone():
                # another process may have asked meanwhile
                if kept.get(name) is not None:
                    return
                self._turns.wait()
                try:
                    answer = self._once(question)
                except Trouble as trouble:
                    if trouble.passing:
                        self._turns.rest(patience.rest(trouble))
                    patience.bear(trouble)
                else:
                    kept.put(name, answer)
                    return

    def _once(self, question: Question) -> Any:
        try:
            raw = self._receive(f"{self.url}?{urllib.parse.urlencode(question.fields)}")
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error) from None
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            if isinstance(cause, TimeoutError):
                raise Trouble(f"does not answer within {self.timeout:g} s") from None
            raise Trouble(f"cannot be reached, or hangs up ({said(cause)})") from None
        return replies.read(raw, question.read)

    def _receive(self, url: str) -> bytes:
        start = time.monotonic()
        with self._opener.open(url, timeout=self.timeout) as response:
            parts = iter(partial(response.read1, 2**16), b"")
            return replies.receive(parts, start=start, timeout=self.timeout)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: nobody should learn from a server where users' points are."""

    def redirect_request(self, *_: Any) -> None:
        return None


def points(*, lon: ArrayLike, lat: ArrayLike) -> list[tuple[str, str]]:
    """Points as servers are asked for them, to a centimetre, as OpenStreetMap holds its own.

    Parameters
    ----------
    lon, lat : array_like, shape (n,)
        Degrees.

    Returns
    -------
    list of (str, str), length n
        Longitude and latitude; equal points are equal here.

    Raises
    ------
    InputError
        A point that is not on the globe.
    """
    # no minus before a zero
    rounded = (np.round(values, 7) + 0.0 for values in sphere.on_globe(lon=lon, lat=lat))
    return list(zip(*([f"{value:.7f}" for value in values] for values in rounded), strict=True))


def _refusal(error: urllib.error.HTTPError) -> Trouble:
    """What a status other than 200 says."""
    what = f"answers {error.code}"
    if 300 <= error.code < 400:
        what += f" and points to {said(error.headers.get('Location'))}, which is not followed"
    elif error.code == 403:
        what += ": it has blocked this application, whose user_agent or use breaks its policy; read"
        what += " https://operations.osmfoundation.org/policies/nominatim/ or its like"
    return Trouble(
        what,
        passing=passes(error.code),
        wait=retry_after(error.headers.get("Retry-After")),
    )


def _host(url: str) -> tuple[str, bool]:
    """The host of a url, and whether it is a public server, whose many names count as one."""
    try:
        parts = urllib.parse.urlsplit(url)
        name, port = parts.hostname or "", parts.port
    except (ValueError, AttributeError):
        parts, name, port = urllib.parse.urlsplit(""), "", None
    if parts.scheme not in ("http", "https") or not name or parts.query or "@" in parts.netloc:
        raise InputError(
            f"url is {url!r}; it must be that of a server, such as "
            "'https://nominatim.openstreetmap.org', without password or query."
        )
    name = name.rstrip(".")
    for public in _PUBLIC:
        if name == public or name.endswith(f".{public}"):
            return public, True
    return (name if port is None else f"{name}:{port}"), False


def _check_user_agent(user_agent: str) -> None:
    right = (
        "it must name your application and how to reach you, such as "
        "'my-study/1.0 (jane@university.edu)'; the servers block who does not."
    )
    if not (isinstance(user_agent, str) and user_agent.isascii() and user_agent.isprintable()):
        raise InputError(f"user_agent is {user_agent!r}, no line of ASCII; {right}")
    if not _CONTACT.search(user_agent):
        raise InputError(f"user_agent is {user_agent!r}, which holds no contact; {right}")
    if not re.search("[A-Za-z]{2}", _CONTACT.sub("", user_agent)) or _LIBRARY.match(user_agent):
        raise InputError(f"user_agent is {user_agent!r}, which names no application; {right}")
