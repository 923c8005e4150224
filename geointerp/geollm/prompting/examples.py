"""Examples: places of known rating that a prompt shows before it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp import places as _places
from geointerp import sphere
from geointerp.errors import InputError

if TYPE_CHECKING:
    import geopandas as gpd

CHOICES = ("near", "far", "random")

# the metre that the coordinates' five decimals can tell
_SAME_KM = 0.001


class Examples:
    """Places with known ratings, from which every prompt is given some (few-shot prompting).

    Near examples tell a model what a nearest-neighbours baseline is told. Where a target
    varies smoothly over space, that baseline belongs beside the scores; and where it is scored
    over blocks that are held out, `min_km` keeps examples as far from a place as these do.

    Parameters
    ----------
    places : GeoDataFrame
        Points in any CRS; a column `name` is not needed and not used.
    ratings : Series
        From 0.0 to 9.9, aligned with `places` by index; written with one decimal. It may hold
        more places, but must hold every one of these.
    n : int
        How many examples each prompt shows.
    choose : {"near", "far", "random"}
        The nearest places to the one that is asked about, the farthest ones, or any.
    seed : int
        For "random". A place's draw depends on it, on where the place is and on the examples,
        not on the other places that are asked about.
    min_km : float
        No place is shown an example that lies nearer to it than this (great circle).

    Raises
    ------
    InputError
        Places that are none; a rating that is missing or out of range; an n that is no whole
        number from 1 to the number of places; a choice that is not known; a `min_km` below 0.
    """

    def __init__(
        self,
        places: gpd.GeoDataFrame,
        ratings: pd.Series,
        *,
        n: int = 3,
        choose: str = "near",
        seed: int = 0,
        min_km: float = 0.0,
    ) -> None:
        if choose not in CHOICES:
            raise InputError(f"choose is {choose!r}; it must be one of {', '.join(CHOICES)}.")
        if seed < 0:
            raise InputError(f"seed is {seed}; it must be 0 or more.")
        if not 0 <= min_km < np.inf:
            raise InputError(f"min_km is {min_km}; it must be 0 or more kilometres.")
        _places.validate(places.assign(name="point"), "examples")
        if not isinstance(n, int | np.integer) or isinstance(n, bool) or not 1 <= n <= len(places):
            raise InputError(
                f"n is {n}; it must be a whole number from 1 to the {len(places)} examples there "
                "are."
            )
        self.places, self.n, self.choose, self.seed = places, n, choose, seed
        self.min_km = min_km
        self.ratings = _aligned(ratings, places)
        self._lon, self._lat = _places.lon_lat(places)

    def chosen(self, *, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.int64]:
        """Which examples each place is shown, in the order in which it is shown them.

        A place is never shown itself, nor an example that lies within a metre of it, or
        nearer to it than `min_km`.

        Parameters
        ----------
        lon, lat : ndarray, shape (m,)
            Degrees.

        Returns
        -------
        ndarray of int64, shape (m, n)
            Positions in `places`. Near ones come last nearest, next to the question; far ones
            come first farthest.

        Raises
        ------
        InputError
            A place from which fewer than n of the examples lie far enough.
        """
        found = np.empty((len(lon), self.n), dtype=np.int64)
        for i, (here_lon, here_lat) in enumerate(zip(lon, lat, strict=True)):
            km = sphere.distance_km(lon=here_lon, lat=here_lat, to_lon=self._lon, to_lat=self._lat)
            elsewhere = np.flatnonzero((km > _SAME_KM) & (km >= self.min_km))
            if len(elsewhere) < self.n:
                where = f"{self.min_km:g} km or more from" if self.min_km else "elsewhere than"
                raise InputError(
                    f"examples: only {len(elsewhere)} lie {where} the place at "
                    f"({here_lat:.5f}, {here_lon:.5f}); n is {self.n}."
                )
            if self.choose == "random":
                # the metre that five decimals can tell, as whole numbers from 0 on
                at = round((here_lon + 180) * 1e5), round((here_lat + 90) * 1e5)
                generator = np.random.default_rng([self.seed, *at])
                found[i] = generator.choice(elsewhere, self.n, replace=False)
                continue
            by_distance = elsewhere[np.argsort(km[elsewhere], kind="stable")]
            near = self.choose == "near"
            found[i] = by_distance[: self.n][::-1] if near else by_distance[::-1][: self.n]
        return found


def _aligned(ratings: pd.Series, places: gpd.GeoDataFrame) -> NDArray[np.float64]:
    if not isinstance(ratings, pd.Series):
        raise InputError(
            f"examples: ratings is a {type(ratings).__name__}; it must be a Series on the places' "
            "index."
        )
    if not ratings.index.is_unique:
        twice = ratings.index[ratings.index.duplicated()][0]
        raise InputError(f"examples: the ratings' index holds {twice!r} more than once.")
    values = pd.to_numeric(ratings.reindex(places.index), errors="coerce").to_numpy(float)
    # 9.95 would be written 10.0, or 9.9, as the computer rounds
    for bad in np.flatnonzero(~((values >= 0) & (values <= 9.9))):
        held = ratings.get(places.index[bad], "missing")
        raise InputError(
            f"examples: the rating of row {places.index[bad]!r} is {held}; it must be a number "
            "from 0.0 to 9.9."
        )
    return values
