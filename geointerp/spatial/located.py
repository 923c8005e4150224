"""Where places are, as points among which straight lines give the order of distances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp import sphere
from geointerp.errors import InputError
from geointerp.places import lon_lat
from geointerp.spatial.table import label

if TYPE_CHECKING:
    import geopandas as gpd
    from anndata import AnnData


def locate(places: gpd.GeoDataFrame | gpd.GeoSeries | AnnData) -> tuple[pd.Index, NDArray]:
    """Index of the places, and points of size one among which straight lines give the order."""
    import geopandas as gpd

    if isinstance(places, gpd.GeoDataFrame | gpd.GeoSeries):
        index, shapes = places.index, places.geometry
        _check_index(index)
        check_points(shapes)
        if not shapes.crs.is_geographic:
            plane = np.column_stack([shapes.x, shapes.y])
            _check_finite(index, plane)
            plane = plane - plane.min(axis=0, initial=np.inf)
            return index, plane / max(plane.max(initial=0.0), np.finfo(float).tiny)
    index, lon, lat = locate_on_sphere(places)
    return index, sphere.unit_vectors(lon=lon, lat=lat)


def locate_on_sphere(
    places: gpd.GeoDataFrame | gpd.GeoSeries | AnnData,
) -> tuple[pd.Index, NDArray, NDArray]:
    """Index of the places, and their longitude and latitude in degrees, from any CRS."""
    import geopandas as gpd

    if isinstance(places, gpd.GeoDataFrame | gpd.GeoSeries):
        index, shapes = places.index, places.geometry
        _check_index(index)
        check_points(shapes)
        if shapes.crs.axis_info[0].unit_name == "degree":
            _check_degrees(index, shapes.x.to_numpy(), shapes.y.to_numpy())
        lon, lat = lon_lat(places)
    elif hasattr(places, "obsm") and hasattr(places, "obs_names"):
        index = places.obs_names
        _check_index(index)
        if "spatial" not in places.obsm:
            raise InputError("the AnnData has no obsm['spatial']; it holds lon and lat of places.")
        degrees = np.asarray(places.obsm["spatial"], dtype=float)
        if degrees.ndim != 2 or degrees.shape[1] != 2:
            raise InputError(
                f"obsm['spatial'] has shape {degrees.shape}; it must have two columns, lon and lat."
            )
        lon, lat = degrees.T
    else:
        raise InputError(
            f"places are a {type(places).__name__}; a GeoDataFrame, GeoSeries or AnnData is needed."
        )
    _check_degrees(index, lon, lat)
    return index, lon, lat


def _check_index(index: pd.Index) -> None:
    if isinstance(index, pd.MultiIndex):
        raise InputError("the places have an index of several levels; reset_index() it to one.")
    if not index.is_unique:
        twice = label(index, int(np.argmax(index.duplicated())))
        raise InputError(f"the index of the places holds {twice} more than once.")


def check_points(shapes: gpd.GeoSeries) -> None:
    """Raise `InputError` unless shapes are points with a CRS."""
    if shapes.crs is None:
        raise InputError("the places have no CRS; set_crs('EPSG:4326') if they are lon and lat.")
    for bad in np.flatnonzero(shapes.isna() | shapes.is_empty):
        raise InputError(f"place {label(shapes.index, bad)} has no geometry.")
    for bad in np.flatnonzero(shapes.geom_type != "Point"):
        raise InputError(
            f"place {label(shapes.index, bad)} is a {shapes.iloc[bad].geom_type}; places are "
            "points (representative_point() gives one)."
        )


def _check_finite(index: pd.Index, points: NDArray) -> None:
    for bad in np.flatnonzero(~np.isfinite(points).all(axis=1)):
        raise InputError(f"place {label(index, bad)} has a coordinate that is not finite.")


def _check_degrees(index: pd.Index, lon: NDArray, lat: NDArray) -> None:
    _check_finite(index, np.column_stack([lon, lat]))
    for bad in np.flatnonzero(np.abs(lat) > 90):
        raise InputError(
            f"place {label(index, bad)} has the latitude {lat[bad]:g}; it must lie within ±90 "
            "(the order is lon, lat)."
        )
    for bad in np.flatnonzero(np.abs(lon) > 360):
        raise InputError(
            f"place {label(index, bad)} has the longitude {lon[bad]:g}; it must lie within ±360."
        )
