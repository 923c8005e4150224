"""Settlements: which one a point belongs to, of each rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from geointerp.geollm.context.base import PlaceIndex

if TYPE_CHECKING:
    import geopandas as gpd

# how far one reaches in km, and the admin_level of areas of its rank: Nominatim's
# reverse_place_diameter (from 0.02° to 0.16°) and address-levels.json
_KINDS = {
    "city": (17.8, 8),
    "town": (8.9, 8),
    "village": (4.45, 8),
    "borough": (8.9, 9),
    "suburb": (4.45, 10),
    "hamlet": (2.2, 10),
    "quarter": (2.2, 11),
    "neighbourhood": (2.2, 11),
}


class Settlements:
    """Cities, towns, villages and their parts.

    Parameters
    ----------
    places : GeoDataFrame, length m
        `name`; `place`, the kind as OpenStreetMap has it, those that are no settlements passed
        over; and points in EPSG:4326.
    areas : array_like of int, shape (m,)
        The finest area around each place; -1 for none.
    """

    def __init__(self, places: gpd.GeoDataFrame, areas: ArrayLike) -> None:
        areas = np.asarray(areas)
        self._kinds: dict[str, PlaceIndex] = {}
        for kind in _KINDS:
            rows = (places["place"] == kind).to_numpy()
            if rows.any():
                points = places.geometry[rows]
                self._kinds[kind] = PlaceIndex(
                    places["name"][rows].tolist(), lon=points.x, lat=points.y, areas=areas[rows]
                )

    def around(self, *, lon: ArrayLike, lat: ArrayLike, areas: ArrayLike) -> pd.DataFrame:
        """Of each rank the nearest settlement that reaches as far as the point, in its own area.

        Parameters
        ----------
        lon, lat : array_like, shape (n,)
            Degrees.
        areas : array_like of int, shape (n,)
            The finest area around each point; -1 for none.

        Returns
        -------
        DataFrame
            `point`, the position of the point; `level`, the admin_level of areas of its rank;
            `name`.
        """
        found = [pd.DataFrame({"point": [], "level": [], "name": [], "distance_km": []})]
        for kind, index in self._kinds.items():
            reach, level = _KINDS[kind]
            near = index.nearby(lon=lon, lat=lat, areas=areas, k=1, within_km=reach)
            found.append(near.assign(level=level)[list(found[0])])
        table = pd.concat(found[1:] or found).sort_values("distance_km", kind="stable")
        return table.drop_duplicates(["point", "level"]).drop(columns="distance_km")
