"""Features one after the other, each by its active places, ready to be shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geointerp.spatial.neighbors import Neighbors
from geointerp.spatial.nulls import Null
from geointerp.spatial.statistics import Spread, Statistic
from geointerp.spatial.tails import TIE

_WIDE = 8  # features that fire on more than an eighth of all places take every place with them


class Packed(NamedTuple):
    """F features and, for each, the line that leads from its `cross` to the statistic."""

    starts: NDArray[np.int64]  # feature f is at starts[f]:starts[f + 1]; shape (F + 1,)
    slots: NDArray[np.int32]  # where in a shuffle its sites stand
    values: NDArray[np.float64]
    alpha: NDArray[np.float64]
    beta: NDArray[np.float64]
    slope: NDArray[np.float64]
    offset: NDArray[np.float64]
    observed: NDArray[np.float64]  # `cross` where the values stand
    ties: NDArray[np.float64]
    active: NDArray[np.int64]  # places where it fires
    tied: NDArray[np.bool_]  # most of its values are equal to others

    @property
    def value(self) -> NDArray[np.float64]:
        """The statistic, shape (F,)."""
        return self.offset + self.slope * self.observed

    def span(self, f: int | np.integer) -> slice:
        """Where feature f is in `slots` and `values`."""
        return slice(self.starts[f], self.starts[f + 1])

    def only(self, chosen: NDArray[np.bool_]) -> Packed:
        """Some of the features."""
        if chosen.all():
            return self
        sizes = np.diff(self.starts)
        entries = np.repeat(chosen, sizes)
        rest = {name: getattr(self, name)[chosen] for name in self._fields[3:]}
        starts = np.concatenate([[0], np.cumsum(sizes[chosen])])
        return Packed(starts, self.slots[entries], self.values[entries], **rest)

    def joins(self, neighbors: Neighbors) -> NDArray[np.float64]:
        """How many pairs of neighbours would both fire by chance."""
        return len(neighbors.other) * (self.active / neighbors.n) ** 2

    def wide(self, n: int) -> NDArray[np.bool_]:
        """Which features fire on so many of n places that sparseness no longer pays."""
        return np.diff(self.starts) * _WIDE > n

    def largest(self, spread: Spread, chosen: NDArray[np.intp], count: int) -> NDArray[np.float64]:
        """The values furthest from the mean of some features, standardised; (count, features)."""
        found = np.zeros((count, len(chosen)))
        for column, f in zip(found.T, chosen, strict=True):
            values = self.values[self.span(f)]
            silent = np.zeros(min(count, spread.n - len(values)))
            z = (np.concatenate([values, silent]) - spread.mean[f]) / spread.deviation[f]
            order = np.argpartition(-np.abs(z), count - 1)[:count]
            column[:] = np.sort(z[order])
        return found


class Sample(NamedTuple):
    """The values of F features, for the moments of a statistic."""

    spread: Spread
    powers: NDArray[np.float64]  # Σ zʳ over all places, z standardised, r = 0, …, 8; (9, F)


def pack(
    columns: Sequence[tuple[NDArray[np.intp], NDArray[np.float64]]],
    statistic: Statistic,
    neighbors: Neighbors,
    null: Null,
) -> tuple[Packed, Sample]:
    """Scale features, deal out their slots and find their sums."""
    from geointerp.spatial import _kernels

    n, width = neighbors.n, len(columns)
    mean, squares = np.zeros((2, width))
    powers = np.empty((9, width))
    tied, starts = np.zeros(width, bool), np.zeros(width + 1, np.int64)
    room = sum(n if 2 * len(rows) > n else len(rows) for rows, _ in columns)
    sites, slots, values = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room)
    for f, (rows, raw) in enumerate(columns):
        feature = scale(rows, raw, n, centred=statistic.centred)
        rows, scaled = feature.rows, feature.values
        mean[f], squares[f] = feature.mean, feature.squares
        powers[:, f] = feature.powers(n)
        tied[f] = mostly_equal(scaled, np.sqrt(feature.squares / n))
        starts[f + 1] = starts[f] + len(rows)
        span = slice(starts[f], starts[f + 1])
        order, slots[span] = null.slots(rows)
        sites[span], values[span] = neighbors.site[rows][order], scaled[order]
    spread = Spread(n, mean, squares, neighbors.s0)
    line = statistic.line(spread)
    field = np.zeros(n)
    graph = (neighbors.indptr, neighbors.other, neighbors.weight, neighbors.degree)
    observed = np.empty(width)
    for f in range(width):
        span = slice(starts[f], starts[f + 1])
        standing = sites[span], values[span], line.alpha[f], line.beta[f]
        observed[f] = _kernels.cross(*standing, *graph, field)
    if statistic.pairs is None:
        size = spread.deviation  # a sum of values, not of products
    else:
        size = squares / n + (0 if statistic.centred else mean**2)
    packed = Packed(
        starts=starts,
        slots=slots[: starts[-1]],
        values=values[: starts[-1]],
        observed=observed,
        ties=TIE * neighbors.total * size,
        active=np.array([len(rows) for rows, _ in columns]),
        tied=tied,
        **line._asdict(),
    )
    return packed, Sample(spread, powers)


def mostly_equal(values: NDArray[np.float64], deviation: float) -> bool:
    """Whether most of the values are equal to others, to a thousandth of how dense they stand."""
    gaps = np.diff(np.sort(values))
    apart = 1 + np.count_nonzero(gaps > deviation / (1000 * len(values)))
    return bool(2 * apart < len(values))


class Scaled(NamedTuple):
    """One feature, scaled."""

    rows: NDArray[np.intp]
    values: NDArray[np.float64]
    mean: float  # over all places, of what `values` holds
    squares: float  # Σ (x - mean)² over all places

    def powers(self, n: int) -> NDArray[np.float64]:
        """Σ zʳ over n places, z standardised, r = 0, …, 8."""
        deviation = np.sqrt(self.squares / n)
        silent = powers_of(np.array([-self.mean / deviation]))
        return powers_of((self.values - self.mean) / deviation) + (n - len(self.rows)) * silent


def scale(rows: NDArray[np.intp], values: NDArray[np.float64], n: int, *, centred: bool) -> Scaled:
    """Scale a feature, without a loss by cancellation.

    A power of two brings values to the size of 1, exactly. Where a feature fires on more than
    half the places and a constant added to it changes nothing (`centred`), it is centred as a
    whole, which takes out a large mean before anything is squared; elsewhere the zeros hold the
    mean small against the spread: Σ (x - x̄)² is at least half of Σ x².
    """
    values = np.ldexp(values, 1 - np.frexp(np.abs(values).max())[1])  # 1 stays 1
    if centred and 2 * len(rows) > n:
        whole = np.zeros(n)
        whole[rows] = values
        whole -= whole.mean()
        whole -= whole.mean()  # what rounding left of it
        return Scaled(np.arange(n), whole, 0.0, float((whole**2).sum()))
    mean = float(values.sum() / n)
    squares = float(((values - mean) ** 2).sum() + (n - len(rows)) * mean**2)
    return Scaled(rows, values, mean, squares)


def powers_of(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Σ zʳ for r = 0, …, 8."""
    sums = np.empty(9)
    power = np.ones_like(z)
    for r in range(9):
        sums[r] = power.sum()
        power *= z
    return sums
