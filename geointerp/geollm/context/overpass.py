"""Overpass: OpenStreetMap asked for the places and boundaries around a point."""

from __future__ import annotations

import math
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from geointerp.geollm.context.base import NEARBY, RADIUS_KM, PlaceIndex
from geointerp.geollm.context.extract import ATTRIBUTION
from geointerp.geollm.web import client as web
from geointerp.geollm.web import replies
from geointerp.geollm.web.client import INTERVAL, MAX_POINTS, Client, Question
from geointerp.geollm.web.trouble import Trouble

# half of GeoLLM's sample prompts have their tenth place within 5 km, seven of eight within 20 km
_WIDENING_KM = (5, 20, RADIUS_KM)

_HEAD = "[out:json][timeout:25];"


class Overpass:
    """OpenStreetMap as it is now, asked through the Overpass API.

    Nearby are the nodes with a name and a tag `place`, whatever its value, as in GeoLLM's own
    query. A point costs one request for them, in which the server looks within 5 km, then
    20 km, then 100 km, until it has ten; and another for its address.

    The address has every area with boundary=administrative, a name and an admin_level that
    contains the point, from fine to coarse; of several parts in a row of one name, one is
    written. There are no settlements, streets and houses in it: `Nominatim` has them.

    Answers are kept for good. Nothing is asked before `address` or `nearby` is called, and
    what a run that failed or was killed had been told, the next is not asked for again.

    Parameters
    ----------
    user_agent : str
        Names your application and how to reach you, by mail or on a page.
    url : str
        The interpreter of a public server, or of one of your own.
    cache : str or Path, optional
        A file in which answers are kept, which several contexts may share; by default
        geointerp/openstreetmap.sqlite in your folder for caches.
    language : str, optional
        A code such as ``"en"``: names are those of `name:en` where there is one. By default
        they are in the language of the place.
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
    Overpass API User's Manual, The Commons: at most about 10,000 requests a day.
    https://dev.overpass-api.de/overpass-doc/en/preface/commons.html
    """

    attribution = ATTRIBUTION

    def __init__(
        self,
        *,
        user_agent: str,
        url: str = "https://overpass-api.de/api/interpreter",
        cache: str | Path | None = None,
        language: str | None = None,
        min_interval: float = INTERVAL,
        max_points: int = MAX_POINTS,
        timeout: float = 60.0,
    ) -> None:
        self.language = language
        self.client = Client(
            url,
            user_agent=user_agent,
            cache=cache,
            min_interval=min_interval,
            max_points=max_points,
            timeout=timeout,
        )

    def address(self, *, lon: ArrayLike, lat: ArrayLike) -> list[tuple[str, ...]]:
        """The administrative areas of every point, from fine to coarse.

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
        questions = [
            _question(
                f"is_in({to_lat},{to_lon})->.a;"
                'area.a["boundary"="administrative"]["name"]["admin_level"];out tags;',
                _areas,
            )
            for to_lon, to_lat in web.points(lon=lon, lat=lat)
        ]
        answers = self.client.ask(questions)
        called = ([self._called(names) for _, names in areas] for areas in answers)
        return [tuple(name for name, _ in groupby(names)) for names in called]

    def nearby(self, *, lon: ArrayLike, lat: ArrayLike) -> pd.DataFrame:
        """The ten nearest named places within 100 km of every point, nearest first.

        Parameters
        ----------
        lon, lat : array_like, shape (n,)
            Degrees.

        Returns
        -------
        DataFrame
            As `PlaceIndex.nearby` gives it, but `place` is the node's id in OpenStreetMap.

        Raises
        ------
        InputError
            As `Client.ask` does; a point that is not on the globe.
        """
        lon, lat = np.atleast_1d(np.asarray(lon, float)), np.atleast_1d(np.asarray(lat, float))
        asked = web.points(lon=lon, lat=lat)
        questions = [
            _question(_around(to_lon, to_lat), partial(_nearest, lon=to_lon, lat=to_lat))
            for to_lon, to_lat in asked
        ]
        tables = [_table([(0, 0.0, 0.0, "")], lon=[], lat=[])]
        for point, rows in enumerate(self.client.ask(questions)):
            if rows:
                named = [(*row[:3], self._called(row[3])) for row in rows]
                table = _table(named, lon=lon[point], lat=lat[point])
                tables.append(table.assign(point=point))
        return pd.concat(tables, ignore_index=True)

    def _called(self, names: dict[str, str]) -> str:
        return names.get(f"name:{self.language}") or names["name"]


def _question(query: str, read: Any) -> Question:
    return Question({"data": _HEAD + query}, partial(_elements, read=read))


def _around(lon: str, lat: str) -> str:
    """A query for the places around a point, in a circle that is widened until it has ten."""
    near, *wider = (
        f'node(around:{km * 1000:.0f},{lat},{lon})["place"]["name"];' for km in _WIDENING_KM
    )
    return near + "".join(f"if(count(nodes)<{NEARBY}){{{node}}};" for node in wider) + "out;"


def _elements(told: Any, *, read: Any) -> Any:
    """What is kept of an answer, if it is whole: one that ran out of time has status 200 too."""
    remark = replies.text(told.get("remark", ""))
    if "error" in remark:
        raise Trouble(f"answers in part ({replies.said(remark)})")
    return read(told["elements"])


def _areas(elements: list[Any]) -> list[Any]:
    """Of areas the admin_level and names, from fine to coarse."""
    found = []
    for element in elements:
        level = element["tags"]["admin_level"]
        if level.isdecimal():
            found.append((int(level), _names(element["tags"])))
    return sorted(found, key=lambda area: -area[0])


def _nearest(elements: list[Any], *, lon: str, lat: str) -> list[Any]:
    """Of the ten nearest nodes the id, longitude, latitude and names."""
    nodes = {node["id"]: node for node in elements}
    rows = [
        (id, _degrees(n["lon"]), _degrees(n["lat"]), _names(n["tags"])) for id, n in nodes.items()
    ]
    if not rows:
        return []
    kept = _table([(*row[:3], "") for row in rows], lon=float(lon), lat=float(lat))["place"]
    return [row for row in rows if row[0] in set(kept)]


def _table(
    rows: list[tuple[int, float, float, str]], *, lon: ArrayLike, lat: ArrayLike
) -> pd.DataFrame:
    """Nodes around points, `place` their id."""
    ids, lons, lats, names = zip(*rows, strict=True)
    table = PlaceIndex(names, lon=lons, lat=lats).nearby(lon=lon, lat=lat)
    return table.assign(place=np.asarray(ids, np.int64)[table["place"]])


def _names(tags: dict[str, Any]) -> dict[str, str]:
    """The name in every language."""
    names = {key: replies.text(value) for key, value in tags.items() if key.startswith("name:")}
    return {"name": replies.text(tags["name"]), **names}


def _degrees(value: Any) -> float:
    if not math.isfinite(value):
        raise ValueError("no degrees")
    return float(value)
