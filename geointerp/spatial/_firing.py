"""Compiled loops over the places where a feature fires: which region, and how many patches.

Features come one after the other, each by its entries that are not zero: feature f is at
``starts[f]:starts[f + 1]``. What is of a region stands at its code; a place in none has -1.
"""

from __future__ import annotations

import numpy as np

from geointerp.spatial._kernels import compiled


@compiled
def rank(starts, rows, values):  # type: ignore[no-untyped-def]
    """Bring the entries of each feature into falling order of value, in place."""
    for f in range(starts.size - 1):
        span = slice(starts[f], starts[f + 1])
        order = np.argsort(-values[span])
        rows[span] = rows[span][order]
        values[span] = values[span][order]


@compiled
def tied_until(values, first, last):  # type: ignore[no-untyped-def]
    """Where the run of values equal to the first of them ends."""
    end = first + 1
    while end < last and values[end] == values[first]:
        end += 1
    return end


@compiled
def match(starts, rows, values, n, codes, sizes, region, hits, fired, auc):  # type: ignore[no-untyped-def]
    """Fill `region` (-1 for none), `hits`, `fired` and `auc` of ranked features.

    hits, fired : places of the region above the best threshold, and places above it in all.
    """
    inside, at, best_hits = np.zeros((3, sizes.size), dtype=np.int64)
    ranks = np.zeros(sizes.size, dtype=np.int64)  # twice the sum of the ranks from below
    best = np.zeros(sizes.size)
    for f in range(starts.size - 1):
        first, last = starts[f], starts[f + 1]
        zeros = n - (last - first)
        for e in range(first, last):
            code = codes[rows[e]]
            if code >= 0:
                inside[code] = ranks[code] = 0
                best[code] = 0.0
        e, positive = first, 0
        while e < last:
            end = tied_until(values, e, last)
            fires = values[e] > 0 or zeros == 0
            above = e - first
            if values[e] > 0:
                positive = end - first
            else:
                above += zeros
            twice = 2 * (n - above) - (end - e) + 1
            for i in range(e, end):
                code = codes[rows[i]]
                if code >= 0:
                    inside[code] += 1
                    ranks[code] += twice
            if fires:
                for i in range(e, end):
                    code = codes[rows[i]]
                    if code >= 0:
                        score = 2 * inside[code] / (end - first + sizes[code])
                        if score > best[code]:
                            best[code], at[code], best_hits[code] = score, end - first, inside[code]
            e = end
        twice = 2 * (n - positive) - zeros + 1
        region[f] = -1
        for e in range(first, last):
            code = codes[rows[e]]
            if code < 0 or best[code] == 0 or code == region[f]:
                continue
            size = sizes[code]
            below = ranks[code] + twice * (size - inside[code]) - size * (size + 1)
            area = below / (2 * size * (n - size))
            won = region[f]
            if (
                won < 0
                or best[code] > best[won]
                or (best[code] == best[won] and (area > auc[f] or (area == auc[f] and code < won)))
            ):
                region[f], auc[f] = code, area
                hits[f], fired[f] = best_hits[code], at[code]


@compiled
def count_as_high(moves, mine, starts, rows, values, n, codes, sizes, observed, as_high):  # type: ignore[no-untyped-def]
    """Add to `as_high` in how many of `moves` the best F1 is no less than `observed`.

    moves : int32, shape (P, n); place i gets the label of place moves[p, i].
    mine : int64; the features to work on, ranked.
    """
    inside = np.zeros(sizes.size, dtype=np.int64)
    moved = np.empty_like(codes)
    for p in range(moves.shape[0]):
        for i in range(n):
            moved[i] = codes[moves[p, i]]
        for f in mine:
            first, last = starts[f], starts[f + 1]
            zeros = n - (last - first)
            for e in range(first, last):
                code = moved[rows[e]]
                if code >= 0:
                    inside[code] = 0
            e, high = first, False
            while e < last and not high and (values[e] > 0 or zeros == 0):
                end = tied_until(values, e, last)
                for i in range(e, end):
                    code = moved[rows[i]]
                    if code >= 0:
                        inside[code] += 1
                for i in range(e, end):
                    code = moved[rows[i]]
                    if code >= 0:
                        high |= 2 * inside[code] / (end - first + sizes[code]) >= observed[f]
                e = end
            as_high[f] += high


@compiled
def centre(starts, rows, values, points, mean, spread):  # type: ignore[no-untyped-def]
    """Fill in the weighted mean of unit vectors, and the root mean squared angle to it.

    The entries must be positive. `spread` is NaN where the mean vector has no direction, that
    is, is no longer than 1e-12.
    """
    for f in range(starts.size - 1):
        first, last = starts[f], starts[f + 1]
        largest = values[first:last].max()
        total = 0.0
        for e in range(first, last):
            weight = values[e] / largest
            total += weight
            for k in range(3):
                mean[f, k] += weight * points[rows[e], k]
        mean[f] /= total
        a, b, c = mean[f]
        if np.sqrt(a * a + b * b + c * c) <= 1e-12:
            spread[f] = np.nan
            continue
        squares = 0.0
        for e in range(first, last):
            u, v, w = points[rows[e]]
            across = np.sqrt((b * w - c * v) ** 2 + (c * u - a * w) ** 2 + (a * v - b * u) ** 2)
            squares += values[e] / largest * np.arctan2(across, a * u + b * v + c * w) ** 2
        spread[f] = np.sqrt(squares / total)


@compiled
def root_of(parent, place):  # type: ignore[no-untyped-def]
    """The place that stands for the patch of a place; the way there is halved."""
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


@compiled
def patches(starts, rows, indptr, other, n, least, count, largest, inside):  # type: ignore[no-untyped-def]
    """Fill in how many patches of `least` places or more, and how many places are in them.

    indptr, other : pairs of neighbours, each of them once.
    largest : places in the largest component, be it a patch or not.
    """
    parent = np.full(n, -1)
    size = np.zeros(n, dtype=np.int64)
    for f in range(starts.size - 1):
        firing = rows[starts[f] : starts[f + 1]]
        for place in firing:
            parent[place] = place
            size[place] = 1
        for place in firing:
            for pair in range(indptr[place], indptr[place + 1]):
                if parent[other[pair]] < 0:
                    continue
                one, two = root_of(parent, place), root_of(parent, other[pair])
                if one != two:
                    if size[one] < size[two]:
                        one, two = two, one
                    parent[two] = one
                    size[one] += size[two]
        for place in firing:
            if parent[place] == place:
                largest[f] = max(largest[f], size[place])
                if size[place] >= least:
                    count[f] += 1
                    inside[f] += size[place]
        for place in firing:
            parent[place] = -1
