"""Weights of a Delaunay triangulation, on the sphere or in a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geointerp.errors import InputError
from geointerp.spatial.located import Located, locate
from geointerp.spatial.table import label
from geointerp.spatial.weights import make_graph

if TYPE_CHECKING:
    from libpysal.graph import Graph

    from geointerp.spatial.located import Places

_FLAT = 1e-10  # of the extent: spots no farther from one plane (or line) have no triangles


def delaunay(places: Places) -> Graph:
    """Join the places that share an edge of their Delaunay triangulation.

    Three spots make a triangle where the circle through them holds no other. In a geographic
    CRS the circles are those of the sphere, and the triangulation has no seam at the date line
    or at a pole: it is the convex hull of the spots in space. Where all places lie within a
    hemisphere, only circles smaller than a hemisphere count, as in STRIPACK, so that the
    places of one country are not joined around the back of the Earth. In a projected CRS the
    triangulation is that of its plane.

    Parameters
    ----------
    places : GeoDataFrame, GeoSeries or AnnData
        n points with a CRS, on a unique index, in four spots or more (three in a plane); or
        features, with longitude and latitude in degrees in the two columns of
        ``obsm["spatial"]``.

    Returns
    -------
    libpysal.graph.Graph
        On the places' index (`obs_names` of an AnnData), in its order. Symmetric and binary:
        every weight is 1, and ``graph.transform("R")`` standardises its rows. Each spot is one
        corner of the triangulation; places in one spot are neighbours of each other and of all
        places in the neighbouring spots. Where more than three spots lie on one empty circle,
        as on a grid, the triangulation is one of several that are equally valid.

    Raises
    ------
    InputError
        No CRS; an index with duplicates; a geometry that is missing or no point; a coordinate
        that is not finite or out of range; too few spots; spots that lie all on one circle of
        the sphere, or on one line of the plane; spots too close together to be told apart.

    References
    ----------
    Renka, R. J. (1997). Algorithm 772: STRIPACK, Delaunay triangulation and Voronoi diagram on
    the surface of a sphere. ACM Transactions on Mathematical Software 23(3), 416–434.

    Brown, K. Q. (1979). Voronoi diagrams from convex hulls. Information Processing Letters
    9(5), 223–228.
    """
    located = locate(places, at_least=3)
    first, spot_of = located.spots()
    needed = 4 if located.on_sphere else 3
    if len(first) < needed:
        raise InputError(
            f"the places lie in {len(first)} spot(s); a triangulation "
            f"{'on the sphere' if located.on_sphere else 'in a plane'} needs {needed}."
        )
    triangles = _on_sphere(located, first) if located.on_sphere else _in_plane(located, first)
    sides = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, ::2]]))
    sides = np.unique(sides, axis=0)
    own = np.repeat(np.arange(len(first))[:, None], 2, axis=1)
    focal, neighbor = _places_of_spots(np.concatenate([sides, sides[:, ::-1], own]), spot_of)
    return make_graph(located.index, focal, neighbor, np.ones(len(focal)))


def _on_sphere(located: Located, first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Corners of the triangles whose empty circle is smaller than a hemisphere."""
    from scipy.spatial import ConvexHull, QhullError

    points = located.points[first]
    solid, middle, blur = points, np.zeros(3), 0.0
    # The hull is the same under every affine map. Where the places are few degrees apart, one
    # that makes their bowl as deep as it is wide keeps the digits which tell near spots apart.
    axes = np.linalg.svd(points.mean(axis=0, keepdims=True))[2]
    axes[0] *= np.sign(points.mean(axis=0) @ axes[0]) or 1
    height, flat = points @ axes[0], points @ axes[1:].T
    if height.min() > 0:
        across = (flat**2).sum(axis=1)
        width = np.sqrt(across.max())
        # the depth 1 - height, without the loss of digits
        solid = np.column_stack([flat / width, across / (1 + height) / width**2])
        middle, blur = np.array([0, 0, 1 / width**2]), 1e-15 / width
    _check_not_flat(solid, blur, "all places lie on one circle of the sphere")
    try:
        hull = ConvexHull(solid)
    except QhullError as error:
        raise InputError(f"the places cannot be triangulated: {_first_line(error)}") from None
    _check_all_used(located, first, hull.vertices)
    # seen from the middle of the Earth, a circle smaller than a hemisphere is a facet's outside
    small = hull.equations[:, :3] @ middle + hull.equations[:, 3] < -1e-12 * (1 + middle[2])
    return hull.simplices[small].astype(np.int64)


def _in_plane(located: Located, first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Corners of the triangles."""
    from scipy.spatial import Delaunay, QhullError

    points = located.points[first]
    _check_not_flat(points, 0.0, "all places lie on one line")
    try:
        triangles = Delaunay(points).simplices
    except QhullError as error:
        raise InputError(f"the places cannot be triangulated: {_first_line(error)}") from None
    _check_all_used(located, first, triangles)
    return triangles.astype(np.int64)


def _check_not_flat(points: NDArray, blur: float, found: str) -> None:
    centred = points - points.mean(axis=0)
    thinnest = np.linalg.svd(centred, full_matrices=False)[2][-1]
    if np.abs(centred @ thinnest).max() <= _FLAT + blur:
        raise InputError(f"{found}; without one off it there are no triangles (knn() needs none).")


def _check_all_used(located: Located, first: NDArray[np.int64], used: NDArray) -> None:
    left = np.ones(len(first), dtype=bool)
    left[used] = False
    for bad in np.flatnonzero(left):
        raise InputError(
            f"place {label(located.index, first[bad])} is so close to another that the "
            "triangulation cannot tell them apart; round the coordinates, so that both are in "
            "one spot."
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _places_of_spots(
    spots: NDArray[np.int64], spot_of: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every pair of places, but of a place and itself, for pairs of spots."""
    by_spot = np.argsort(spot_of, kind="stable")
    counts = np.bincount(spot_of)
    starts = np.cumsum(counts) - counts
    here, there = spots.T
    many = counts[here] * counts[there]
    within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    row, column = np.divmod(within, np.repeat(counts[there], many))
    focal = by_spot[np.repeat(starts[here], many) + row]
    neighbor = by_spot[np.repeat(starts[there], many) + column]
    return focal[focal != neighbor], neighbor[focal != neighbor]
