"""Compiled loops. Their cost follows the places where a feature fires, not the table.

They run without the interpreter's lock, each call on one thread and every feature within one
call, so that no result depends on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written to
        return numba.njit(nogil=True)(function)


@_compiled
def cross(rows, values, mean, sites, indptr, other, weight, degree, field):  # type: ignore[no-untyped-def]
    """Sum of w_ij x_i x_j less mean times the sum of x_i degree_i, with x moved to `sites`.

    It is the numerator of Moran's I but for mean² S0, which no permutation changes.
    `field` holds n zeros, and does so again afterwards.
    """
    for e in range(rows.size):
        field[sites[rows[e]]] = values[e]
    total = 0.0
    everywhere = rows.size == field.size  # then the sites' own order is the quick one in memory
    for e in range(rows.size):
        site = e if everywhere else sites[rows[e]]
        lag = -mean * degree[site]
        for pair in range(indptr[site], indptr[site + 1]):
            lag += weight[pair] * field[other[pair]]
        total += field[site] * lag
    for e in range(rows.size):
        field[sites[rows[e]]] = 0.0
    return total


@_compiled
def count(  # type: ignore[no-untyped-def]
    moves, mine, starts, rows, values, means, observed, ties,
    indptr, other, weight, degree, at_least, at_most,
):  # fmt: skip
    """Add to `at_least` and `at_most` how many of `moves` are as extreme as what is observed.

    moves : int32, shape (P, n); the value of place i goes to place moves[p, i].
    mine : int64; the features to work on.
    starts, rows, values, means : the features' active places and values, one after the other.
    observed, ties : of each feature, its `cross`, and what counts as equal to it.
    """
    field = np.zeros(moves.shape[1])
    for p in range(moves.shape[0]):
        sites = moves[p]
        for f in mine:
            span = slice(starts[f], starts[f + 1])
            moved = cross(
                rows[span], values[span], means[f], sites, indptr, other, weight, degree, field
            )
            at_least[f] += moved >= observed[f] - ties[f]
            at_most[f] += moved <= observed[f] + ties[f]
