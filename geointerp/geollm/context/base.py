"""Context: what a map says of a point, its address and the named places around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from geointerp import sphere
from geointerp.errors import InputError

NEARBY = 10
RADIUS_KM = 100.0


@runtime_checkable
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

        Raises
        ------
        InputError
            A point that is not on the globe.
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

        Raises
        ------
        InputError
            A point that is not on the globe.
        """


class PlaceIndex:
    """Named points, found by their distance on the sphere.

    Parameters
    ----------
    names : sequence of str, length m
    lon, lat : array_like, shape (m,)
        Degrees.
    areas : array_like of int, shape (m,), optional
        Where each lies, if a point should find those of its own area alone.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        lon: ArrayLike,
        lat: ArrayLike,
        areas: ArrayLike | None = None,
    ) -> None:
        self.names = np.asarray(names, dtype=object)
        self.lon = np.asarray(lon, float)
        self.lat = np.asarray(lat, float)
        if len(self.names) == 0:
            raise InputError("there are no named places to look among; one is enough.")
        self._tree = cKDTree(_apart(self.lon, self.lat, areas))

    def nearby(
        self,
        *,
        lon: ArrayLike,
        lat: ArrayLike,
        areas: ArrayLike | None = None,
        k: int = NEARBY,
        within_km: float = RADIUS_KM,
    ) -> pd.DataFrame:
        """The nearest named places of every point, nearest first.

        Parameters
        ----------
        lon, lat : array_like, shape (n,)
            Degrees.
        areas : array_like of int, shape (n,), optional
            Where each point lies; to be given if the places' areas were.
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

        Raises
        ------
        InputError
            A point that is not on the globe.
        """
        lon, lat = sphere.on_globe(lon=lon, lat=lat)
        k = min(k, len(self.names))
        # the chord a shade too long, so that rounding loses nobody; distances decide below
        chord = 2 * np.sin(min(within_km / (2 * sphere.EARTH_RADIUS_KM), np.pi / 2)) + 1e-9
        chords, found = self._tree.query(
            _apart(lon, lat, areas), k=np.arange(1, k + 1), distance_upper_bound=chord
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


def _apart(
    lon: NDArray[np.float64], lat: NDArray[np.float64], areas: ArrayLike | None
) -> NDArray[np.float64]:
    """Unit vectors, with a fourth axis along which areas lie farther apart than any chord."""
    vectors = sphere.unit_vectors(lon=lon, lat=lat)
    return vectors if areas is None else np.column_stack([vectors, 3 * np.asarray(areas, float)])
