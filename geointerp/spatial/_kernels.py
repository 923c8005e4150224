"""Compiled loops. Their cost follows the places where a feature fires, not the table.

They run without the interpreter's lock. A feature's sums are added up in the same order in
whatever company it is, so that no result depends on the number of threads or on blocks.

The quantity that all of them add up is

    cross = Σ over pairs of t_ij x_i x_j  +  Σ over i of degree_i x_i (alpha + beta x_i),

t_ij = w_ij + w_ji, degree_i = Σ_j t_ij: every statistic here is a straight line in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

SINGLE_ROWS = 16  # sites whose sums are added up in single precision before they join the others


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile, and keep what was compiled where there is a folder to keep it in."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written to
        return numba.njit(nogil=True)(function)


@compiled
def _mixed(z):  # type: ignore[no-untyped-def]
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def shuffle(seed, first, arranged, starts, wanted, orders):  # type: ignore[no-untyped-def]
    """Fill row r of `orders` with shuffle number `first + r`, drawn for itself from the seed.

    arranged, starts : the sites by group; group g stands at starts[g]:starts[g + 1], and there
    its sites are shuffled among themselves.
    wanted : int64, per group; only so many of its shuffled sites are drawn.
    """
    sites = arranged.copy()
    drawn = np.empty(wanted.sum(), dtype=np.int64)
    key = _mixed(np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15))
    for r in range(orders.shape[0]):
        origin = _mixed(key ^ _mixed(np.uint64(first + r) + np.uint64(1)))
        at = 0
        for g in range(wanted.size):
            # each slot has its own number, however many are drawn of the groups before
            state = origin + np.uint64(starts[g]) * np.uint64(0x9E3779B97F4A7C15)
            stop = starts[g + 1]
            for e in range(starts[g], starts[g] + wanted[g]):
                state += np.uint64(0x9E3779B97F4A7C15)
                unit = np.float64(_mixed(state) >> np.uint64(11)) / 9007199254740992.0
                j = e + np.int64(unit * (stop - e))
                sites[e], sites[j] = sites[j], sites[e]
                orders[r, e] = sites[e]
                drawn[at] = j
                at += 1
        # back to where it was, so that a shuffle depends on its number alone
        for g in range(wanted.size - 1, -1, -1):
            for e in range(starts[g] + wanted[g] - 1, starts[g] - 1, -1):
                at -= 1
                j = drawn[at]
                sites[e], sites[j] = sites[j], sites[e]


@compiled
def cross(sites, values, alpha, beta, indptr, other, weight, degree, field):  # type: ignore[no-untyped-def]
    """`cross` of values that stand at sites. `field` holds n zeros, and does so afterwards."""
    for e in range(sites.size):
        field[sites[e]] = values[e]
    total = 0.0
    for e in range(sites.size):
        site = sites[e]
        value = values[e]
        lag = degree[site] * (alpha + beta * value)
        for pair in range(indptr[site], indptr[site + 1]):
            lag += weight[pair] * field[other[pair]]
        total += value * lag
    for e in range(sites.size):
        field[sites[e]] = 0.0
    return total


@compiled
def cross_sparse(  # type: ignore[no-untyped-def]
    orders, starts, slots, values, alphas, betas, indptr, other, weight, degree, found,
):  # fmt: skip
    """Fill found[r, f] with `cross` of feature f under shuffle r.

    starts : feature f is at starts[f]:starts[f + 1] of `slots`, where in a row of `orders` its
    sites stand, and of `values`.
    """
    field = np.zeros(degree.size)
    sites = np.empty(degree.size, dtype=np.int32)
    for r in range(orders.shape[0]):  # features share its first sites, which stay near
        order = orders[r]
        for f in range(starts.size - 1):
            first, size = starts[f], starts[f + 1] - starts[f]
            for e in range(size):
                sites[e] = order[slots[first + e]]
            found[r, f] = cross(
                sites[:size], values[first : first + size], alphas[f], betas[f],
                indptr, other, weight, degree, field,
            )  # fmt: skip


@compiled
def cross_dense(  # type: ignore[no-untyped-def]
    orders, table, alphas, betas, indptr, other, weight, degree, reach, lanes, found,
):  # fmt: skip
    """The same, in single precision, for features that fire almost everywhere, side by side.

    What it costs is the way of the values to the processor. A window goes over the sites and
    holds their values as far as neighbours reach, so that each is fetched once and is near when
    it is met again. Few features have several shuffles beside each other in it.

    table : float32, shape (n, features); row e goes to site order[e].
    reach : neighbours i < j have j - i <= reach.
    lanes : about so many numbers go through the graph together.
    """
    n, width = table.shape
    abreast = min(max(1, lanes // width), orders.shape[0])
    size = 1
    while size < reach + SINGLE_ROWS:
        size *= 2
    last = size - 1  # site i is in row i & last of the window
    window = np.empty((size, abreast * width), dtype=np.float32)
    # a little longer than n, or the rows of a power of two would meet in the cache
    row_of = np.empty((abreast, n + 16), dtype=np.int32)
    alpha, beta, lag, part = np.empty((4, abreast * width), dtype=np.float32)
    total = np.empty(abreast * width)
    for r in range(abreast):
        alpha[r * width : (r + 1) * width] = alphas
        beta[r * width : (r + 1) * width] = betas
    for begin in range(0, orders.shape[0], abreast):
        count = min(abreast, orders.shape[0] - begin)
        wide = count * width
        for r in range(count):
            order = orders[begin + r]
            for e in range(n):
                row_of[r, order[e]] = e
        total[:] = 0.0
        fetched = 0
        for first in range(0, n, SINGLE_ROWS):
            stop = min(first + SINGLE_ROWS, n)
            ahead = min(stop + reach, n)
            for i in range(fetched, ahead):
                for r in range(count):
                    here, there = window[i & last, r * width :], table[row_of[r, i]]
                    for f in range(width):
                        here[f] = there[f]
            fetched = ahead
            part[:] = 0.0
            for i in range(first, stop):
                mine, d = window[i & last], degree[i]
                for f in range(wide):
                    lag[f] = d * (alpha[f] + beta[f] * mine[f])
                pair, end = indptr[i], indptr[i + 1]
                while pair + 3 < end:  # four at once: `lag` is fetched and put back less often
                    a, b = window[other[pair] & last], window[other[pair + 1] & last]
                    c, e = window[other[pair + 2] & last], window[other[pair + 3] & last]
                    u, v, w, z = weight[pair], weight[pair + 1], weight[pair + 2], weight[pair + 3]
                    for f in range(wide):
                        lag[f] += (u * a[f] + v * b[f]) + (w * c[f] + z * e[f])
                    pair += 4
                while pair < end:
                    a, u = window[other[pair] & last], weight[pair]
                    for f in range(wide):
                        lag[f] += u * a[f]
                    pair += 1
                for f in range(wide):
                    part[f] += mine[f] * lag[f]
            for f in range(wide):
                total[f] += part[f]
        for r in range(count):
            for f in range(width):
                found[begin + r, f] = total[r * width + f]


@compiled
def tally(found, observed, ties, at_least, at_most, sums, squares):  # type: ignore[no-untyped-def]
    """Add to the counts how many shuffles, the rows of `found`, are as extreme as the observed.

    sums, squares : of what each shuffle gives less what is observed.
    """
    for r in range(found.shape[0]):
        for f in range(observed.size):
            moved = found[r, f] - observed[f]
            at_least[f] += moved >= -ties[f]
            at_most[f] += moved <= ties[f]
            sums[f] += moved
            squares[f] += moved * moved


@compiled
def _band(limits, square):  # type: ignore[no-untyped-def]
    """The band of a squared distance, or -1: above its lower limit, up to its upper one."""
    if square <= limits[0] or square > limits[limits.size - 1]:
        return -1
    band = 0
    while square > limits[band + 1]:
        band += 1
    return band


@compiled
def pair_degrees(points, limits, first, last, degree):  # type: ignore[no-untyped-def]
    """Add to degree[i, b] how many others are in band b as seen from point i.

    Pairs are those of the points from `first` to `last` with the ones before them.
    """
    dims = points.shape[1]
    for i in range(first, last):
        for j in range(i):
            square = 0.0
            for k in range(dims):
                square += (points[i, k] - points[j, k]) ** 2
            band = _band(limits, square)
            if band >= 0:
                degree[i, band] += 1.0
                degree[j, band] += 1.0


@compiled
def pair_products(sites, values, mean, points, limits, degree, products):  # type: ignore[no-untyped-def]
    """Σ over the pairs of a band of x_i x_j, less mean · Σ x_i degree_i, for each band."""
    products[:] = 0.0
    dims = points.shape[1]
    for e in range(sites.size):
        i = sites[e]
        value = values[e]
        for band in range(products.size):
            products[band] -= mean * value * degree[i, band]
        for f in range(e):
            j = sites[f]
            square = 0.0
            for k in range(dims):
                square += (points[i, k] - points[j, k]) ** 2
            band = _band(limits, square)
            if band >= 0:
                products[band] += value * values[f]


@compiled
def count_pair_products(  # type: ignore[no-untyped-def]
    orders, slots, values, mean, points, limits, degree, observed, ties, at_least, at_most, sums,
    squares,
):  # fmt: skip
    """Add to the counts of each band how many shuffles are as extreme as what is observed."""
    products = np.empty(observed.size)
    sites = np.empty(slots.size, dtype=np.int32)
    for r in range(orders.shape[0]):
        for e in range(slots.size):
            sites[e] = orders[r, slots[e]]
        pair_products(sites, values, mean, points, limits, degree, products)
        for band in range(observed.size):
            moved = products[band] - observed[band]
            at_least[band] += moved >= -ties[band]
            at_most[band] += moved <= ties[band]
            sums[band] += moved
            squares[band] += moved * moved
