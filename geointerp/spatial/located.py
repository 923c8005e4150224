"""Where places are, as points among which straight lines give the order of distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

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

Places: TypeAlias = "gpd.GeoDataFrame | gpd.GeoSeries | AnnData"

TIE = 1e-12
"""In units of the sphere's radius (6 µm on the Earth) or, in a plane, of the places' extent:
distances that differ by no more are a tie, and places no farther apart are in one spot."""

_BLOCK = 1_000_000  # pairs that are measured at a time


class Located(NamedTuple):
    """Places as points of size one among which straight lines give the order of distances."""

    index: pd.Index
    points: NDArray[np.float64]  # shape (n, 3) on the unit sphere or (n, 2) in a plane
    unit_km: float  # kilometres to the sphere's radius, or to the plane's unit

    @property
    def on_sphere(self) -> bool:
        """Whether distances are great-circle, not those of a plane."""
        return self.points.shape[1] == 3

    def straight(self, km: NDArray | float) -> NDArray[np.float64]:
        """Length of the straight line between points so many kilometres apart."""
        units = np.asarray(km, dtype=float) / self.unit_km
        return 2 * np.sin(np.minimum(units, np.pi) / 2) if self.on_sphere else units

    def km(self, focal: NDArray, neighbor: NDArray) -> NDArray[np.float64]:
        """Kilometres between pairs of places, given by position."""
        found = np.empty(len(focal))
        for start in range(0, len(focal), _BLOCK):
            block = slice(start, start + _BLOCK)
            here, there = self.points[focal[block]], self.points[neighbor[block]]
            units = np.linalg.norm(here - there, axis=1)
            if self.on_sphere:  # the chord alone would be blind near the antipode
                units = 2 * np.arctan2(units, np.linalg.norm(here + there, axis=1))
            found[block] = units * self.unit_km
        return found

    def spots(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Position of the first place of each spot, and the spot of each place."""
        from scipy import sparse
        from scipy.sparse.csgraph import connected_components
        from scipy.spatial import cKDTree

        _, first, spot_of = np.unique(
            np.round(self.points / TIE) + 0.0, axis=0, return_index=True, return_inverse=True
        )
        spot_of = spot_of.reshape(-1)
        # places a last digit apart may have been rounded to either side
        a, b = cKDTree(self.points[first]).query_pairs(TIE, output_type="ndarray").T
        if len(a):
            joined = sparse.coo_array((np.ones(len(a)), (a, b)), shape=(len(first), len(first)))
            spot_of = connected_components(joined, directed=False)[1][spot_of]
            _, first = np.unique(spot_of, return_index=True)
        return first.astype(np.int64), spot_of.astype(np.int64)


def locate(places: Places, *, at_least: int = 0) -> Located:
    """Find the places, once it is certain that each has a place on the sphere or in its plane."""
    located = _locate(places)
    if len(located.index) < at_least:
        raise InputError(
            f"there are {len(located.index)} place(s); neighbours need at least {at_least}."
        )
    return located


def _locate(places: Places) -> Located:
    import geopandas as gpd

    if isinstance(places, gpd.GeoDataFrame | gpd.GeoSeries):
        index, shapes = places.index, places.geometry
        check_index(index)
        check_points(shapes)
        if not shapes.crs.is_geographic:
            plane = np.column_stack([shapes.x, shapes.y])
            _check_finite(index, plane)
            plane = plane - plane.min(axis=0, initial=np.inf)
            extent = max(plane.max(initial=0.0), np.finfo(float).tiny)
            metres = shapes.crs.axis_info[0].unit_conversion_factor
            return Located(index, plane / extent, extent * metres / 1000)
    index, lon, lat = locate_on_sphere(places)
    return Located(index, sphere.unit_vectors(lon=lon, lat=lat), sphere.EARTH_RADIUS_KM)


def locate_on_sphere(places: Places) -> tuple[pd.Index, NDArray, NDArray]:
    """Index of the places, and their longitude and latitude in degrees, from any CRS."""
    import geopandas as gpd

    if isinstance(places, gpd.GeoDataFrame | gpd.GeoSeries):
        index, shapes = places.index, places.geometry
        check_index(index)
        check_points(shapes)
        if shapes.crs.axis_info[0].unit_name == "degree":
            _check_degrees(index, shapes.x.to_numpy(), shapes.y.to_numpy())
        lon, lat = lon_lat(places)
    elif hasattr(places, "obsm") and hasattr(places, "obs_names"):
        index = places.obs_names
        check_index(index)
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


def check_index(index: pd.Index) -> None:
    """Refuse an index on which a place would not be one row."""
    if isinstance(index, pd.MultiIndex):
        raise InputError("the places have an index of several levels; reset_index() it to one.")
    if not index.is_unique:
        twice = label(index, int(np.argmax(index.duplicated())))
        raise InputError(f"the index of the places holds {twice} more than once.")


def check_shapes(shapes: gpd.GeoSeries) -> None:
    """Refuse shapes without a CRS, or with a row that has none."""
    if shapes.crs is None:
        raise InputError("the places have no CRS; set_crs('EPSG:4326') if they are lon and lat.")
    if shapes.crs.is_geocentric:
        raise InputError(
            "the CRS of the places is geocentric; to_crs('EPSG:4326') gives lon and lat."
        )
    for bad in np.flatnonzero(shapes.isna() | shapes.is_empty):
        raise InputError(f"place {label(shapes.index, bad)} has no geometry.")


def check_points(shapes: gpd.GeoSeries) -> None:
    """Refuse shapes without a CRS, and all that are no points."""
    check_shapes(shapes)
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
