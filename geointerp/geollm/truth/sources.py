"""Sources of truth: a column, points around each place, a raster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from geointerp import places as _places
from geointerp import sphere
from geointerp.errors import InputError
from geointerp.geollm.truth import rasters
from geointerp.geollm.truth.labels import decimal_log, numbers

if TYPE_CHECKING:
    import geopandas as gpd


def from_column(places: pd.DataFrame, column: str, *, log10: bool = False) -> pd.Series:
    """Truth that stands beside the places.

    Parameters
    ----------
    places : DataFrame or GeoDataFrame
    column : str
        Of numbers; missing ones stay missing.
    log10 : bool
        Take the decimal logarithm.

    Returns
    -------
    Series of float64
        On the places' index; its `attrs` say where it is from.

    Raises
    ------
    InputError
        No such column; values that are no numbers, infinite, or with `log10` not above 0.
    """
    values = _column(places, column, "places")
    if log10:
        values = decimal_log(values, f"column '{column}'")
    return _named(values, {"source": f"column '{column}'", "log10": log10})


def from_points(
    places: gpd.GeoDataFrame,
    points: gpd.GeoDataFrame,
    *,
    how: Literal["sum", "mean", "count"],
    km: float,
    column: str | None = None,
    itself: bool = True,
) -> pd.Series:
    """Truth from the points within a great-circle distance of each place.

    ``from_points(places, gi.places.load("geonames"), column="population", how="sum", km=25)``
    is the population of the cities within 25 km.

    Parameters
    ----------
    places, points : GeoDataFrame
        Of points, in any CRS.
    how : {"sum", "mean", "count"}
        What is made of the points. Amounts, such as inhabitants, may be summed; a rate, such
        as a share of votes, may not: take its mean, in which every point counts as much.
        Points whose value is missing are left out.
    km : float
        Radius; a point just as far counts.
    column : str, optional
        Of `points`; not needed to count them all.
    itself : bool
        Whether points at the place itself, within a metre, count: a city's own inhabitants
        among those around it.

    Returns
    -------
    Series of float64
        On the places' index. Where there is no point, 0 for a sum or a count, NaN for a mean.

    Raises
    ------
    InputError
        A `how` that is not known or needs a column; a radius that is not above 0; a column
        that is not there or holds no numbers; tables that hold no points.
    """
    if how not in ("sum", "mean", "count"):
        raise InputError(f"how is {how!r}; it must be 'sum', 'mean' or 'count'.")
    _radius(km)
    if column is None and how != "count":
        raise InputError(f"how is {how!r}, which needs a column of the points.")
    lon, lat = _located(places, "places")
    to_lon, to_lat = _located(points, "points")
    values = np.ones(len(points))
    if column is not None:
        values = _column(points, column, "points").to_numpy()
        known = ~np.isnan(values)
        to_lon, to_lat, values = to_lon[known], to_lat[known], values[known]
    near = _near(lon=lon, lat=lat, to_lon=to_lon, to_lat=to_lat, km=km, itself=itself)
    count = np.asarray(near.sum(axis=1)).ravel()
    found = count if how == "count" else near @ values
    if how == "mean":
        found = np.where(count > 0, found / np.maximum(count, 1), np.nan)
    return _named(
        pd.Series(found, index=places.index),
        {"source": "points", "column": column, "how": how, "km": km, "itself": itself},
    )


def from_raster(
    places: gpd.GeoDataFrame,
    path: str | Path,
    *,
    how: Literal["sum", "mean"],
    km: float,
    band: int = 1,
) -> pd.DataFrame:
    """Truth from the cells of a raster within a great-circle distance of each place.

    Parameters
    ----------
    places : GeoDataFrame
        Of points, in any CRS.
    path : str or Path
        A GeoTIFF, or whatever else GDAL reads, in any CRS. Only windows of it are read.
    how : {"sum", "mean"}
        Amounts per cell, such as inhabitants, may be summed; a rate, a density or a
        temperature may not: take its mean, weighted by the cells' areas on the globe (cosine
        of the latitude, or the inverse of the projection's areal scale). Nothing in a file
        tells the two apart.
    km : float
        Radius. A cell counts, and counts whole, if its centre is as near.
    band : int
        From 1.

    Returns
    -------
    DataFrame
        On the places' index: `truth`, with the band's scale and offset applied; `coverage`,
        the share of the disc's area that has data, below 1 at the raster's edge (there to
        about 0.01) and where its cells say nothing: a sum is then of that share; `n_cells`,
        the cells with data; `reason`, why the truth is NaN, or "".

    Raises
    ------
    InputError
        A `how` that is not known; a radius that is not above 0; places that are none; a file
        that is no raster, is damaged, has no CRS, or lacks the band.

    Notes
    -----
    The date line and the poles are no edges where the raster goes around the globe in whole
    cells, nor in a map that is cut along the date line. Cells are nodata if the file's
    nodata value, mask or alpha says so, or if they are NaN.
    """
    if how not in ("sum", "mean"):
        raise InputError(f"how is {how!r}; it must be 'sum' or 'mean', and a rate is never summed.")
    _radius(km)
    lon, lat = _located(places, "places")
    found, about = rasters.discs(path, lon=lon, lat=lat, km=km, band=band)
    reason = np.where(
        found["n_centres"] == 0,
        f"no cell's centre lies within {km:g} km",
        np.where(found["n_cells"] == 0, f"the raster has no data within {km:g} km", ""),
    )
    columns = {
        "truth": found[how],
        "coverage": found["coverage"],
        "n_cells": found["n_cells"],
        "reason": reason,
    }
    table = pd.DataFrame(columns).set_axis(places.index)
    table.attrs = {"source": str(path), "band": band, "how": how, "km": km, **about}
    return table


def _near(
    *,
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    to_lon: NDArray[np.float64],
    to_lat: NDArray[np.float64],
    km: float,
    itself: bool,
) -> sparse.csr_array:
    """Which points are near which places: 1 where they are, shape (places, points)."""
    # a shade too long, so that rounding loses nobody; distances decide below
    chord = 2 * np.sin(min(km / (2 * sphere.EARTH_RADIUS_KM), np.pi / 2)) + 1e-9
    tree = cKDTree(sphere.unit_vectors(lon=to_lon, lat=to_lat))
    at = sphere.unit_vectors(lon=lon, lat=lat)
    parts = []
    for start in range(0, len(at), 1024):
        found = tree.query_ball_point(at[start : start + 1024], chord)
        sizes = [len(f) for f in found]
        place = np.repeat(np.arange(start, start + len(found)), sizes)
        point = np.fromiter((p for row in found for p in row), np.int64, sum(sizes))
        far = sphere.distance_km(
            lon=lon[place], lat=lat[place], to_lon=to_lon[point], to_lat=to_lat[point]
        )
        kept = (far <= km) & (itself | (far > 1e-3))
        parts.append(np.stack([place[kept], point[kept]]))
    rows, columns = np.concatenate(parts, axis=1)
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(at), len(to_lon)))


def _located(places: gpd.GeoDataFrame, what: str) -> tuple[NDArray, NDArray]:
    if not hasattr(places, "geometry"):
        raise InputError(f"{what}: a {type(places).__name__} is no GeoDataFrame.")
    _places.validate(places.assign(name="point"), what)
    lon, lat = _places.lon_lat(places)
    for bad in np.flatnonzero(~(np.isfinite(lon) & np.isfinite(lat))):
        raise InputError(f"{what}: row {places.index[bad]!r} has no longitude and latitude.")
    return lon, lat


def _column(table: pd.DataFrame, column: str, what: str) -> pd.Series:
    if column not in table.columns:
        raise InputError(
            f"{what}: there is no column '{column}'; it has {', '.join(map(str, table.columns))}."
        )
    return numbers(table[column], f"column '{column}'")


def _radius(km: float) -> None:
    if not 0 < km < np.inf:
        raise InputError(f"km is {km}; the radius must be above 0 and finite.")


def _named(values: pd.Series, about: dict[str, object]) -> pd.Series:
    found = values.rename("truth")
    found.attrs = about
    return found
