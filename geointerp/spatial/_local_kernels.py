"""Compiled loops of the local statistics: one feature a call, without the interpreter's lock."""

from __future__ import annotations

import numpy as np

from geointerp.spatial._kernels import compiled

# Draws are worked on in stretches that stay near the processor.
_STRETCH = 1024

# A profile of fewer places looks at every draw for each; one of more sorts the draws first.
_FEW = 16


@compiled
def lags(values, indptr, indices, weights, lag):  # type: ignore[no-untyped-def]
    """Write into `lag` the sum over j of w_ij x_j of each place i."""
    for i in range(lag.size):
        total = 0.0
        for e in range(indptr[i], indptr[i + 1]):
            total += weights[e] * values[indices[e]]
        lag[i] = total


@compiled
def below(ordered, value):  # type: ignore[no-untyped-def]
    """How many of the ordered numbers are less than `value`; without a branch to guess."""
    base, length = 0, ordered.size
    while length > 0:
        half = (length + 1) // 2
        base += half if ordered[base + half - 1] < value else 0
        length -= half
    return base


@compiled
def count(  # type: ignore[no-untyped-def]
    values, lag, tie,
    drawn, weights, weight_starts, sizes, places, place_starts,
    swap_starts, swap_draw, swap_weight, swap_place,
    at_least, at_most,
):  # fmt: skip
    """Write into `at_least` and `at_most` how many draws are as extreme as the observed lag.

    values, lag : float64, shape (n,); one feature and its lags.
    tie : what counts as equal to a lag whose weights add up to 1.
    drawn, …, swap_place : a `_conditional.Draws`.
    at_least, at_most : int64, shape (n,); those of places without a neighbour are left alone.
    """
    depth, draws = drawn.shape
    around = np.empty((depth, draws))
    for t in range(depth):
        for d in range(draws):
            around[t, d] = values[drawn[t, d]]
    simulated, ordered = np.empty(draws), np.empty(0)
    for g in range(sizes.size):
        first, mine = weight_starts[g], places[place_starts[g] : place_starts[g + 1]]
        for start in range(0, draws, _STRETCH):
            stop = min(start + _STRETCH, draws)
            simulated[start:stop] = 0.0
            for t in range(weight_starts[g + 1] - first):
                weight = weights[first + t]
                for d in range(start, stop):
                    simulated[d] += weight * around[t, d]
        sort = mine.size >= _FEW
        if sort:
            ordered = np.sort(simulated)
        for i in mine:
            low, high = lag[i] - tie * sizes[g], lag[i] + tie * sizes[g]
            over, under = 0, 0
            if sort:
                under = below(ordered, low)
                over = draws - under
                if over > 0 and ordered[under] <= high:  # a tie
                    under = below(ordered, np.nextafter(high, np.inf))
            else:
                for d in range(draws):
                    over += simulated[d] >= low
                    under += simulated[d] <= high
            # where the place itself was drawn, another one stands in
            for e in range(swap_starts[i], swap_starts[i + 1]):
                shared = simulated[swap_draw[e]]
                own = shared + swap_weight[e] * (values[swap_place[e]] - values[i])
                over += (own >= low) - (shared >= low)
                under += (own <= high) - (shared <= high)
            at_least[i], at_most[i] = over, under
