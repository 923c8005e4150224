"""Weights by distance: all places within a band of it, or all as it falls off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from geointerp.errors import InputError
from geointerp.spatial.located import TIE, Located, locate
from geointerp.spatial.table import check_whole, label
from geointerp.spatial.weights import make_graph

if TYPE_CHECKING:
    from libpysal.graph import Graph

    from geointerp.spatial.located import Places

Function = Literal["gaussian", "triangular", "bisquare", "exponential"]

_BLOCK = 1_000_000  # pairs that are looked at together


class _Fall(NamedTuple):
    weight: Callable[[NDArray], NDArray]  # of distance in bandwidths
    reach: float  # in bandwidths


_FALLS = {
    "gaussian": _Fall(lambda u: np.exp(-(u**2) / 2), 3),
    "triangular": _Fall(lambda u: 1 - u, 1),
    "bisquare": _Fall(lambda u: (1 - u**2) ** 2, 1),
    "exponential": _Fall(lambda u: np.exp(-u), 5),
}


def distance_band(places: Places, *, km: float, min_km: float = 0.0) -> Graph:
    """Join every place to all others within a distance.

    In a geographic CRS the distance is great-circle, without a seam at the date line or at a
    pole; in a projected CRS it is that of its plane, whose unit the CRS knows.

    Parameters
    ----------
    places : GeoDataFrame, GeoSeries or AnnData
        n ≥ 2 points with a CRS, on a unique index; or features, with longitude and latitude in
        degrees in the two columns of ``obsm["spatial"]``.
    km : float
        Kilometres up to which two places are neighbours. Two exactly so far apart are (to 6 µm
        on the Earth, or 1e-12 of the places' extent in a plane).
    min_km : float
        Kilometres beyond which they are. Two exactly so far apart are not; but with 0, the
        default, places in one spot are neighbours of each other.

    Returns
    -------
    libpysal.graph.Graph
        On the places' index (`obs_names` of an AnnData), in its order. Symmetric and binary,
        the convention for bands: every weight is 1, and ``graph.transform("R")`` standardises
        its rows. A place with no other in its band is kept, as an isolate; `describe` counts
        them. A directed pair takes some 16 bytes, and about twice that while it is made.

    Raises
    ------
    InputError
        No CRS; an index with duplicates; a geometry that is missing or no point; a coordinate
        that is not finite or out of range; fewer than two places; no km above 0; no min_km
        from 0 to below km.

    References
    ----------
    Getis, A. and Ord, J. K. (1992). The analysis of spatial association by use of distance
    statistics. Geographical Analysis 24(3), 189–206.
    """
    _check_km(km)
    if not _is_number(min_km) or not 0 <= min_km < km:
        raise InputError(f"min_km is {min_km!r}; it must be 0 or more, and below km ({km:g}).")
    located = locate(places, at_least=2)
    near = TIE * located.unit_km
    found = []
    for focal, neighbor, far in _within(located, np.full(len(located.index), float(km))):
        # with no lower end even the places of one spot are in the band
        inside = far > min_km + near if min_km > 0 else np.ones(len(far), dtype=bool)
        found.append((focal[inside], neighbor[inside]))
    focal, neighbor = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return make_graph(located.index, focal, neighbor, np.ones(len(focal)))


def kernel(
    places: Places,
    *,
    km: float | None = None,
    k: int | None = None,
    function: Function = "gaussian",
) -> Graph:
    """Join every place to those around it, with weights that fall with distance.

    With distance d and bandwidth b, the weight is, at u = d / b:

    ============= =================== ==================================
    function      weight              up to
    ============= =================== ==================================
    gaussian      exp(-u² / 2)        u = 3, where it is 0.011
    exponential   exp(-u)             u = 5, where it is 0.007
    triangular    1 - u               u = 1, where it is 0
    bisquare      (1 - u²)²           u = 1, where it is 0
    ============= =================== ==================================

    Beyond, it is 0. The bandwidth is one number of kilometres, or each place's own: the
    distance to its k-th neighbour. Distances are as in `distance_band`.

    Parameters
    ----------
    places : GeoDataFrame, GeoSeries or AnnData
        n ≥ 2 points with a CRS, on a unique index; or features, with longitude and latitude in
        degrees in the two columns of ``obsm["spatial"]``.
    km : float, optional
        The bandwidth in kilometres. Either this or `k` is given.
    k : int, optional
        The neighbour, from 1 to n - 1, whose distance is the bandwidth of a place. That
        neighbour itself has weight 0 in a triangular or bisquare kernel, which therefore needs
        a k of 2 or more.
    function : {"gaussian", "triangular", "bisquare", "exponential"}
        How the weight falls.

    Returns
    -------
    libpysal.graph.Graph
        On the places' index (`obs_names` of an AnnData), in its order. A place has no weight on
        itself; another in its very spot has 1. Symmetric where the bandwidth is fixed, directed
        where it adapts to the place that weighs (the focal one). Not row-standardised:
        ``graph.transform("R")`` is. A place with no other in reach is kept, as an isolate.

    Raises
    ------
    InputError
        No CRS; an index with duplicates; a geometry that is missing or no point; a coordinate
        that is not finite or out of range; fewer than two places, or than k + 1; both or
        neither of km and k; no km above 0; a k too small for the function, or for a spot that
        holds more than k places; an unknown function.

    References
    ----------
    Fotheringham, A. S., Brunsdon, C. and Charlton, M. (2002). Geographically Weighted
    Regression: The Analysis of Spatially Varying Relationships. Wiley, section 2.7 (fixed and
    adaptive bandwidths, the Gaussian and the bisquare).
    """
    if function not in _FALLS:
        raise InputError(
            f"function is {function!r}; it must be one of {', '.join(get_args(Function))}."
        )
    if (km is None) == (k is None):
        raise InputError("kernel() takes either km, one bandwidth for all, or k, one a place.")
    fall = _FALLS[function]
    if km is not None:
        _check_km(km)
        located = locate(places, at_least=2)
        bandwidth = np.full(len(located.index), float(km))
    else:
        check_whole("k", k, 1)
        if k == 1 and fall.reach == 1:
            raise InputError(
                f"k is 1; the {function} weight of the k-th neighbour is 0; take 2 or more."
            )
        located = locate(places, at_least=2)
        bandwidth = _adaptive(located, int(k))  # type: ignore[arg-type]
    found = []
    for focal, neighbor, far in _within(located, fall.reach * bandwidth):
        # a tie that is a last digit beyond the reach is at the reach
        weight = fall.weight(np.minimum(far / bandwidth[focal], fall.reach))
        some = weight > TIE
        found.append((focal[some], neighbor[some], weight[some]))
    focal, neighbor, weight = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return make_graph(located.index, focal, neighbor, weight)


def _adaptive(located: Located, k: int) -> NDArray[np.float64]:
    """Kilometres from each place to its k-th neighbour."""
    from scipy.spatial import cKDTree

    n = len(located.index)
    if n < k + 1:
        raise InputError(f"there are {n} place(s); k = {k} neighbours each need at least {k + 1}.")
    # a place is the nearest to itself, or is as near as those in its spot
    _, kth = cKDTree(located.points).query(located.points, k=[k + 1])
    far = located.km(np.arange(n), kth[:, 0])
    for bad in np.flatnonzero(far <= TIE * located.unit_km):
        raise InputError(
            f"place {label(located.index, bad)} has {k} or more others in its very spot, so that "
            f"the bandwidth would be 0 km with k = {k}; take a larger k, or km."
        )
    return far


def _within(
    located: Located, km: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]]:
    """Pairs no farther apart than each place's own km, and how far they are, in blocks."""
    from scipy.spatial import cKDTree

    tree = cKDTree(located.points)
    # a little farther than asked, for the order of rounded chords is not that of distances
    reach = located.straight(km) + 2 * TIE
    counts = tree.query_ball_point(located.points, reach, return_length=True)
    through = np.cumsum(counts)
    start = 0
    while start < len(counts):
        room = through[start] - counts[start] + _BLOCK
        stop = max(start + 1, int(np.searchsorted(through, room, side="right")))
        rows = tree.query_ball_point(
            located.points[start:stop], reach[start:stop], return_sorted=True
        )
        total = int(counts[start:stop].sum())
        neighbor = np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=total)
        focal = np.repeat(np.arange(start, stop, dtype=np.int32), counts[start:stop])
        other = focal != neighbor
        focal, neighbor = focal[other], neighbor[other]
        far = located.km(focal, neighbor)
        inside = far <= km[focal] + TIE * located.unit_km
        yield focal[inside], neighbor[inside], far[inside]
        start = stop


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float | np.integer | np.floating)
        and not isinstance(value, bool)
        and bool(np.isfinite(value))
    )


def _check_km(km: Any) -> None:
    if not _is_number(km) or km <= 0:
        raise InputError(f"km is {km!r}; it must be a finite number above 0.")
