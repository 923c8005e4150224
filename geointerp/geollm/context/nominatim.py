"""Nominatim: OpenStreetMap asked for the address of a point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import ArrayLike

from geointerp.geollm.context.extract import ATTRIBUTION
from geointerp.geollm.context.overpass import Overpass
from geointerp.geollm.web import client as web
from geointerp.geollm.web import replies
from geointerp.geollm.web.client import INTERVAL, MAX_POINTS, Client, Question
from geointerp.geollm.web.trouble import Trouble

# the parts of an address that GeoLLM leaves out: numbers, postcodes, codes, ISO3166-2-lvl4
_LEFT_OUT = ("-", "number", "code")


class Nominatim:
    """OpenStreetMap as it is now, asked as GeoLLM asks it: Nominatim for addresses.

    The address is that of the nearest thing that has one, down to a building (zoom 18), in
    the language of the place, without house number, postcode and codes. Nearby places come
    from an `Overpass`. A point costs two requests.

    Answers are kept for good. Nothing is asked before `address` or `nearby` is called, and
    what a run that failed or was killed had been told, the next is not asked for again.

    Parameters
    ----------
    user_agent : str
        Names your application and how to reach you, by mail or on a page.
    url : str
        A public server, or one of your own.
    overpass : Overpass, optional
        By default the public one, with the same user agent, cache, language and timeout.
    cache : str or Path, optional
        A file in which answers are kept, which several contexts may share; by default
        geointerp/openstreetmap.sqlite in your folder for caches.
    language : str, optional
        A code such as ``"en"``: names are in it where there are such. By default they are in
        the language of the place.
    min_interval : float
        Seconds from the end of a request to the start of the next, whichever thread or process
        of yours on this machine asks; at least 1 for a public server.
    max_points : int
        How many points are asked for in a call, beyond those that are kept; at most 1,000 of a
        public server. `OsmFile` has no limit.
    timeout : float
        Seconds that the server may take to answer.

    Attributes
    ----------
    attribution : str
        "© OpenStreetMap contributors, ODbL 1.0".

    Raises
    ------
    InputError
        A user agent that names no application or no contact; a url that is none; less than a
        second, or more than 1,000 points, for a public server.

    References
    ----------
    OpenStreetMap Foundation, Nominatim Usage Policy: at most one request a second for the
    whole application, an identifying User-Agent, a cache, attribution, no harvest.
    https://operations.osmfoundation.org/policies/nominatim/
    """

    attribution = ATTRIBUTION

    def __init__(
        self,
        *,
        user_agent: str,
        url: str = "https://nominatim.openstreetmap.org",
        overpass: Overpass | None = None,
        cache: str | Path | None = None,
        language: str | None = None,
        min_interval: float = INTERVAL,
        max_points: int = MAX_POINTS,
        timeout: float = 60.0,
    ) -> None:
        self.language = language
        self.client = Client(
            url.rstrip("/") + "/reverse",
            user_agent=user_agent,
            cache=cache,
            min_interval=min_interval,
            max_points=max_points,
            timeout=timeout,
        )
        self.overpass = overpass or Overpass(
            user_agent=user_agent, cache=cache, language=language, timeout=timeout
        )

    def address(self, *, lon: ArrayLike, lat: ArrayLike) -> list[tuple[str, ...]]:
        """The address of every point; an empty tuple where Nominatim knows none, as at sea.

        Parameters
        ----------
        lon, lat : array_like, shape (n,)
            Degrees.

        Returns
        -------
        list of tuple of str, length n

        Raises
        ------
        InputError
            As `Client.ask` does; a point that is not on the globe.
        """
        fields = {"format": "jsonv2", "zoom": "18", "addressdetails": "1"}
        if self.language is not None:
            fields["accept-language"] = self.language
        answers = self.client.ask(
            [
                Question(fields | {"lat": to_lat, "lon": to_lon}, _read)
                for to_lon, to_lat in web.points(lon=lon, lat=lat)
            ]
        )
        return [
            tuple(
                part
                for key, part in parts.items()
                if part.strip() and not any(mark in key for mark in _LEFT_OUT)
            )
            for parts in answers
        ]

    def nearby(self, *, lon: ArrayLike, lat: ArrayLike) -> pd.DataFrame:
        """The ten nearest named places within 100 km of every point, nearest first.

        Parameters
        ----------
        lon, lat : array_like, shape (n,)
            Degrees.

        Returns
        -------
        DataFrame
            As `Overpass.nearby` gives it.
        """
        return self.overpass.nearby(lon=lon, lat=lat)


def _read(told: Any) -> dict[str, str]:
    """The parts of an address, in the order in which Nominatim gives them: from fine to coarse."""
    if told.get("error") == "Unable to geocode":
        return {}
    if "error" in told:
        raise Trouble(f"answers an error ({replies.said(told['error'])})")
    return {key: replies.text(value) for key, value in told["address"].items()}
