"""Ratings, truth and places brought onto one index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp import places as _places
from geointerp.errors import InputError
from geointerp.geollm.truth.labels import numbers

if TYPE_CHECKING:
    import geopandas as gpd


def paired(
    ratings: pd.DataFrame | pd.Series, truth: pd.Series, what: str = "truth"
) -> tuple[pd.Series, pd.Series]:
    """Ratings and truth, or what it is called, as numbers on the index of the ratings."""
    if isinstance(ratings, pd.DataFrame):
        if "rating" not in ratings.columns:
            raise InputError(
                f"ratings: there is no column 'rating'; it has {', '.join(map(str, ratings))}."
            )
        ratings = ratings["rating"]
    for values, name in ((ratings, "ratings"), (truth, what)):
        if not isinstance(values, pd.Series):
            raise InputError(
                f"{name} is a {type(values).__name__}; it must be a Series with an index."
            )
    rated, known = numbers(ratings, "ratings"), numbers(truth, what)
    unknown = rated.index[~rated.index.isin(known.index)]
    if len(unknown):
        raise InputError(
            f"{what}: the index has no '{unknown[0]}' ({len(unknown)} of {len(rated)} rated "
            "places are not in it); it must be the index of the ratings."
        )
    return rated, known.loc[rated.index]


def located(places: gpd.GeoDataFrame, index: pd.Index) -> pd.DataFrame:
    """The places of an index, in its order, with columns of longitude and latitude."""
    if not hasattr(places, "geometry"):
        raise InputError(f"places: a {type(places).__name__} is no GeoDataFrame.")
    _places.validate(places.assign(name="point"))
    rows = places.index.get_indexer(index)
    if (rows < 0).any():
        raise InputError(f"places: there is no place '{index[rows < 0][0]}'.")
    lon, lat = _places.lon_lat(places)
    return places.drop(columns=places.geometry.name).assign(lon=lon, lat=lat).iloc[rows]


def constant(values: NDArray[np.float64]) -> bool:
    """Whether values are all the same."""
    # what rounding leaves of a constant is no variation
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())
