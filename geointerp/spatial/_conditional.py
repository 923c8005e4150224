"""Conditional permutation: what could stand around a place if it alone kept its value.

The neighbours of a place are replaced by as many others, drawn without replacement. Every draw
is a sequence of places, shared by all places and all features. A place of c neighbours takes
the first c of it; where it is itself among them, the one that comes next, the (c + 1)-th, stands
in for it. Each ordered choice of c among the n - 1 others is then as likely as any other, so
that it does not matter which weight goes to which of them: places whose weights are the same
numbers in any order share the draws' lags too, but for the few draws with a stand-in. A feature
costs about draws · c + n · log(draws), where going from place to place costs n · draws · c.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geointerp.spatial.tails import TIE


class Draws(NamedTuple):
    """What is drawn for whom. A profile is a set of weights; k is the size of the largest."""

    drawn: NDArray[np.int32]  # drawn[t, d] is the t-th place of draw d; shape (k + 1, draws)
    weights: NDArray[np.float64]  # of each profile, in order, at weight_starts[g : g + 2]
    weight_starts: NDArray[np.int64]
    sizes: NDArray[np.float64]  # sum of |w| of each profile
    places: NDArray[np.int32]  # that have the profile, at place_starts[g : g + 2]
    place_starts: NDArray[np.int64]
    swap_starts: NDArray[np.int64]  # stand-ins for place i are at swap_starts[i : i + 2]:
    swap_draw: NDArray[np.int32]  # in which draw,
    swap_weight: NDArray[np.float64]  # with which weight,
    swap_place: NDArray[np.int32]  # and who it is


def draw(weights: sparse.csr_array, count: int, seed: int) -> Draws:
    """Draw `count` times for all places, whatever the features.

    A draw is what ``numpy.random.default_rng(seed).choice(n, k + 1, replace=False)`` gives,
    call after call.
    """
    n = weights.shape[0]
    degree = np.diff(weights.indptr)
    deepest = int(degree.max(initial=0))
    rng = np.random.default_rng(seed)
    sequences = np.empty((count, deepest + 1), dtype=np.int32)
    for sequence in sequences:
        sequence[:] = rng.choice(n, deepest + 1, replace=False)

    profiles, places = _profiles(weights)
    lengths = [len(profile) for profile in profiles]
    flat = np.concatenate([*profiles, np.empty(0)])
    weight_starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    profile_of = np.zeros(n, dtype=np.int64)
    for g, members in enumerate(places):
        profile_of[members] = g

    itself, at = sequences[:, :deepest], np.arange(deepest)
    swap_draw, position = np.nonzero(at < degree[itself])
    place = itself[swap_draw, position]
    order = np.argsort(place, kind="stable")
    swap_draw, position, place = swap_draw[order], position[order], place[order]
    return Draws(
        drawn=np.ascontiguousarray(sequences.T),
        weights=flat,
        weight_starts=weight_starts,
        sizes=np.array([np.abs(profile).sum() for profile in profiles]),
        places=np.concatenate([*places, np.empty(0)]).astype(np.int32),
        place_starts=np.concatenate([[0], np.cumsum([len(m) for m in places])]).astype(np.int64),
        swap_starts=np.searchsorted(place, np.arange(n + 1)).astype(np.int64),
        swap_draw=swap_draw.astype(np.int32),
        swap_weight=flat[weight_starts[profile_of[place]] + position],
        swap_place=sequences[swap_draw, degree[place]],
    )


def _profiles(
    weights: sparse.csr_array,
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.intp]]]:
    """Every set of weights that some place has, and the places that have it."""
    profiles, places = [], []
    degree = np.diff(weights.indptr)
    for c in np.unique(degree[degree > 0]):
        alike = np.flatnonzero(degree == c)
        rows = np.sort(weights.data[weights.indptr[alike][:, None] + np.arange(c)], axis=1)
        kinds, kind = np.unique(rows, axis=0, return_inverse=True)
        by_kind = np.argsort(kind.ravel(), kind="stable")
        profiles += list(kinds)
        places += np.split(alike[by_kind], np.cumsum(np.bincount(kind.ravel()))[:-1])
    return profiles, places


def tail_counts(
    values: NDArray[np.float64], lag: NDArray[np.float64], deviation: float, draws: Draws
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count, for each place, the draws whose lag is at least and at most the one observed.

    Parameters
    ----------
    values, lag : ndarray of float64, shape (n,)
        One feature, and the sum over j of w_ij times it.
    deviation : float
        Its standard deviation; lags nearer than `TIE` times this times the sum of |w_ij| are
        equal, and count in both.
    draws : Draws

    Returns
    -------
    at_least, at_most : ndarray of int64, shape (n,)
        0 for places without a neighbour.
    """
    from geointerp.spatial import _local_kernels

    at_least, at_most = np.zeros((2, len(values)), dtype=np.int64)
    _local_kernels.count(values, lag, TIE * deviation, *draws, at_least, at_most)
    return at_least, at_most
