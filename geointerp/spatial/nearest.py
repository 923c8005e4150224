"""Weights of the nearest: every place and the k places closest to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geointerp.errors import InputError
from geointerp.spatial.located import TIE, Located, locate
from geointerp.spatial.table import check_whole
from geointerp.spatial.weights import make_graph

if TYPE_CHECKING:
    from libpysal.graph import Graph

    from geointerp.spatial.located import Places


def knn(places: Places, *, k: int = 8) -> Graph:
    """Join every place to the k places nearest to it.

    In a geographic CRS the order is that of great-circle distance, without a seam at the
    date line or at a pole; in a projected CRS it is that of distance in its plane. A place is
    never its own neighbour, though others in the very same spot are. Among places equally far
    away, the one that comes first in the table is taken first.

    Parameters
    ----------
    places : GeoDataFrame, GeoSeries or AnnData
        n points with a CRS, on a unique index; or features, with longitude and latitude in
        degrees in the two columns of ``obsm["spatial"]``.
    k : int
        Neighbours of each place, from 1 to n - 1.

    Returns
    -------
    libpysal.graph.Graph
        On the places' index (`obs_names` of an AnnData), in its order. Row-standardised: each
        of the n k weights is 1 / k. Being nearest is not mutual, so the graph is directed.

    Raises
    ------
    InputError
        No CRS; an index with duplicates; a geometry that is missing or no point; a coordinate
        that is not finite or out of range; fewer than k + 1 places; no k of 1 or more.

    References
    ----------
    On the unit sphere the chord grows with the arc, so a k-d tree in three dimensions finds
    great-circle neighbours: Maneewongvatana, S. and Mount, D. M. (1999). Analysis of
    approximate nearest neighbor searching with clustered point sets. arXiv cs/9901013.
    """
    check_whole("k", k, 1)
    located = locate(places)
    n = len(located.index)
    if n < k + 1:
        raise InputError(f"there are {n} place(s); k = {k} neighbours each need at least {k + 1}.")
    neighbors = np.sort(_nearest(located, int(k)), axis=1)
    focal = np.repeat(np.arange(n), k)
    weight = np.full(n * k, 1 / k)
    return make_graph(located.index, focal, neighbors.ravel(), weight, transformation="R")


def _nearest(located: Located, k: int) -> NDArray[np.int64]:
    """Positions of the k nearest of each point but itself; ties go to the lower position."""
    # places in one spot are looked up once, or a thousand of them would crowd out all others
    first, spot_of = located.spots()
    points = located.points
    spots = points[first]
    # the k + 1 nearest of a spot, its own points among them, are one too many for each of
    # its points: it leaves itself out, or the last where it stands further down the table
    nearest = _nearest_of_spots(spots, spot_of, k + 1)[spot_of]
    itself = nearest == np.arange(len(points))[:, None]
    itself[:, -1] |= ~itself.any(axis=1)
    return nearest[~itself].reshape(len(points), k)


def _nearest_of_spots(spots: NDArray, spot_of: NDArray, wanted: int) -> NDArray[np.int64]:
    """Positions of the nearest points of each spot, by distance and then by position."""
    from scipy.spatial import cKDTree

    tree = cKDTree(spots)
    by_spot = np.argsort(spot_of, kind="stable")
    counts = np.bincount(spot_of, minlength=len(spots))
    starts = np.cumsum(counts) - counts
    usable = np.minimum(counts, wanted)  # a spot never gives more than are wanted
    found = np.empty((len(spots), wanted), dtype=np.int64)
    open_rows = np.arange(len(spots))
    depth = wanted + 1
    while len(open_rows):
        depth = min(depth, len(spots))
        distances, candidates = tree.query(spots[open_rows], k=np.arange(1, depth + 1))
        rank = np.cumsum(np.diff(distances, prepend=0, axis=1) > TIE, axis=1)
        # every candidate spot gives its points, in the order of the table
        gives = usable[candidates].ravel()
        row = np.repeat(np.repeat(np.arange(len(open_rows)), depth), gives)
        within = np.arange(len(row)) - np.repeat(np.cumsum(gives) - gives, gives)
        position = by_spot[np.repeat(starts[candidates].ravel(), gives) + within]
        ranks = np.repeat(rank.ravel(), gives)
        order = np.lexsort((position, ranks, row))
        first = np.searchsorted(row, np.arange(len(open_rows)))  # row is sorted already
        taken = order[first[:, None] + np.arange(wanted)]
        # a tie that runs beyond the last candidate needs a deeper look
        done = (ranks[taken[:, -1]] < rank[:, -1]) | (depth == len(spots))
        found[open_rows[done]] = position[taken[done]]
        open_rows = open_rows[~done]
        depth *= 2
    return found
