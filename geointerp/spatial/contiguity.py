"""Weights of polygons that touch."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geointerp.errors import InputError
from geointerp.spatial.located import check_index, check_shapes
from geointerp.spatial.table import label
from geointerp.spatial.weights import make_graph

if TYPE_CHECKING:
    import geopandas as gpd
    from libpysal.graph import Graph


def contiguity(polygons: gpd.GeoDataFrame | gpd.GeoSeries, *, rook: bool = False) -> Graph:
    """Join the polygons that share a point of their boundaries, or an edge.

    What is shared is found by geometry, not by equal vertices: a border may have a vertex on
    one side only. Polygons that overlap, as borders drawn twice do, are neighbours too; two
    with the slightest gap between them are not. On polygons that tile their plane this is
    `libpysal.graph.Graph.build_contiguity` with ``strict=True``, which drops those that overlap.

    In a geographic CRS, polygons that touch across the date line (one ends at 180°, another at
    -180°) are neighbours, and so are all that reach the same pole, which is a point: by queen,
    not by rook. A polygon around a pole that is not drawn down to it does not reach it.

    Parameters
    ----------
    polygons : GeoDataFrame or GeoSeries
        n ≥ 2 valid Polygons or MultiPolygons with a CRS, on a unique index.
    rook : bool
        Whether neighbours must share more than single points (rook contiguity). By default a
        corner is enough (queen contiguity).

    Returns
    -------
    libpysal.graph.Graph
        On the polygons' index, in its order. Symmetric and binary: every weight is 1, and
        ``graph.transform("R")`` standardises its rows. A polygon that touches no other is kept,
        as an isolate.

    Raises
    ------
    InputError
        No CRS; an index with duplicates; a geometry that is missing, invalid or no polygon; a
        longitude beyond ±360 or latitude beyond ±90 in a geographic CRS; fewer than two.

    References
    ----------
    Cliff, A. D. and Ord, J. K. (1981). Spatial Processes: Models and Applications. Pion.

    Clementini, E., Di Felice, P. and van Oosterom, P. (1993). A small set of formal topological
    relationships suitable for end-user interaction. SSD '93, LNCS 692, 277–295.
    """
    import geopandas as gpd
    import shapely

    if not isinstance(polygons, gpd.GeoDataFrame | gpd.GeoSeries):
        raise InputError(
            f"polygons are a {type(polygons).__name__}; a GeoDataFrame or GeoSeries is needed."
        )
    index = polygons.index
    check_index(index)
    check_shapes(polygons.geometry)
    shapes = np.asarray(polygons.geometry.array)
    _check_polygons(polygons.geometry)
    if len(index) < 2:
        raise InputError(f"there are {len(index)} polygon(s); neighbours need at least 2.")
    pairs = [_touching(shapes, shapes, rook)]
    crs = polygons.crs
    if crs.is_geographic:
        turn = round(2 * np.pi / crs.axis_info[0].unit_conversion_factor, 9)
        bounds = shapely.bounds(shapes)
        _check_bounds(polygons.geometry, bounds * 360 / turn)
        for turns in range(1, int((bounds[:, 2].max() - bounds[:, 0].min()) / turn) + 1):
            pairs.append(_across(shapes, bounds, turns * turn, rook))
        if not rook:
            for pole in (bounds[:, 3] >= turn / 4, bounds[:, 1] <= -turn / 4):
                there = list(combinations(np.flatnonzero(pole), 2))
                pairs.append(np.array(there, dtype=np.int64).reshape(-1, 2))
    both = np.sort(np.concatenate(pairs), axis=1)
    both = np.unique(both[both[:, 0] != both[:, 1]], axis=0)
    focal, neighbor = np.concatenate([both, both[:, ::-1]]).T
    return make_graph(index, focal, neighbor, np.ones(len(focal)))


def _across(shapes: NDArray, bounds: NDArray, shift: float, rook: bool) -> NDArray[np.int64]:
    """Pairs of shapes that touch once the western ones are moved a full turn to the east."""
    import shapely

    west = np.flatnonzero(bounds[:, 0] + shift <= bounds[:, 2].max())
    east = np.flatnonzero(bounds[:, 2] >= bounds[:, 0].min() + shift)
    moved = shapely.transform(shapes[west], lambda vertices: vertices + np.array([shift, 0]))
    found = _touching(moved, shapes[east], rook)
    return np.column_stack([west[found[:, 0]], east[found[:, 1]]])


def _touching(some: NDArray, others: NDArray, rook: bool) -> NDArray[np.int64]:
    """Positions of pairs, one shape of either side, that share a point, or more than points."""
    import shapely

    # "intersects" is true of all that touch or overlap
    here, there = shapely.STRtree(others).query(some, predicate="intersects")
    if some is others:
        here, there = here[here < there], there[here < there]
    if rook:
        edge = shapely.relate_pattern(some[here], others[there], "****1****")
        edge |= shapely.relate_pattern(some[here], others[there], "T********")
        here, there = here[edge], there[edge]
    return np.column_stack([here, there]).astype(np.int64)


def _check_polygons(shapes: gpd.GeoSeries) -> None:
    import shapely

    kinds = shapes.geom_type
    for bad in np.flatnonzero(~kinds.isin(["Polygon", "MultiPolygon"])):
        raise InputError(
            f"place {label(shapes.index, bad)} is a {kinds.iloc[bad]}; contiguity is of polygons "
            "(distance_band() and knn() take points)."
        )
    for bad in np.flatnonzero(~shapes.is_valid):
        reason = shapely.is_valid_reason(shapes.iloc[bad])
        raise InputError(
            f"polygon {label(shapes.index, bad)} is not valid ({reason}); make_valid() mends it."
        )


def _check_bounds(shapes: gpd.GeoSeries, degrees: NDArray) -> None:
    for bad in np.flatnonzero(np.abs(degrees[:, 1::2]).max(axis=1) > 90 + 1e-9):
        raise InputError(
            f"polygon {label(shapes.index, bad)} reaches beyond a latitude of ±90 "
            "(the order is lon, lat)."
        )
    for bad in np.flatnonzero(np.abs(degrees[:, ::2]).max(axis=1) > 360 + 1e-9):
        raise InputError(f"polygon {label(shapes.index, bad)} reaches beyond a longitude of ±360.")
