"""Tables of named places, the user's own, as context."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from geointerp import places as _places
from geointerp.errors import InputError
from geointerp.geollm.context.base import PlaceIndex

ADDRESS_KM = 25.0

_ADDRESS = ("admin2", "admin1", "country")


class PlacesTable:
    """A table of named places as context.

    The address is that of the nearest place, as a table has no outlines to better it: within
    25 km of it, its name and all that its columns say; within 100 km, what the coarsest of
    them says alone; farther, nothing. Near a border it can be wrong.

    Parameters
    ----------
    places : str, Path, DataFrame or GeoDataFrame
        As `geointerp.places.load` takes them.
    address : str or sequence of str, optional
        A column, or columns, that say where a place lies, from fine to coarse; by default those of
        `admin2`, `admin1` and `country` that there are. Empty cells are passed over.
    attribution : str, optional
        Whose data it is and under which licence.

    Attributes
    ----------
    attribution : str
        "" if it is not given.

    Raises
    ------
    InputError
        Places that `geointerp.places.load` refuses; a column that is not there.
    """

    attribution = ""

    def __init__(
        self,
        places: str | Path | pd.DataFrame,
        *,
        address: str | Sequence[str] | None = None,
        attribution: str | None = None,
    ) -> None:
        table = _places.load(places)
        if address is None:
            address = [column for column in _ADDRESS if column in table.columns]
        address = [address] if isinstance(address, str) else address
        for column in address:
            if column not in table.columns:
                raise InputError(
                    f"address: there is no column {column!r}; the places have "
                    f"{', '.join(map(str, table.columns))}."
                )
        if attribution is not None:
            self.attribution = attribution
        lon, lat = _places.lon_lat(table)
        self.index = PlaceIndex(table["name"].tolist(), lon=lon, lat=lat)
        columns = (table[column] for column in address)
        self._parts = [
            ["" if pd.isna(cell) else str(cell) for cell in column] for column in columns
        ]

    def address(self, *, lon: ArrayLike, lat: ArrayLike) -> list[tuple[str, ...]]:
        """The nearest place of every point and where it lies, as far as it can be told.

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
        addresses: list[tuple[str, ...]] = [()] * np.size(lon)
        nearest = self.index.nearby(lon=lon, lat=lat, k=1)
        for row in nearest.itertuples():
            parts = [column[row.place] for column in self._parts]
            parts = [row.name, *parts] if row.distance_km <= ADDRESS_KM else parts[-1:]
            addresses[row.point] = tuple(part for part in parts if part)
        return addresses

    def nearby(self, *, lon: ArrayLike, lat: ArrayLike) -> pd.DataFrame:
        """The ten nearest places within 100 km of every point, nearest first.

        Parameters
        ----------
        lon, lat : array_like, shape (n,)
            Degrees.

        Returns
        -------
        DataFrame
            As `PlaceIndex.nearby` gives it. A place that the point itself is comes first,
            at 0.0 km; GeoLLM's prompts hold it likewise.

        Raises
        ------
        InputError
            A point that is not on the globe.
        """
        return self.index.nearby(lon=lon, lat=lat)
