"""Features under shuffles: by their active places, side by side, or on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from geointerp.spatial.neighbors import Neighbors
from geointerp.spatial.packing import Packed
from geointerp.spatial.table import BLOCK_ENTRIES

_ABREAST = 256  # numbers that go through the graph together: features, or few under some shuffles


class Shuffled:
    """Some features, of which `cross` is asked under shuffles.

    Parameters
    ----------
    packed : Packed
    mine : ndarray of intp, shape (F,)
        Which of the packed features, rising.
    neighbors : Neighbors
    """

    def __init__(self, packed: Packed, mine: NDArray[np.intp], neighbors: Neighbors) -> None:
        self.mine = mine
        self.slots = np.arange(neighbors.n, dtype=np.int32)  # of a shuffle, that are read
        self._line = packed.alpha[mine], packed.beta[mine]
        self._graph = (neighbors.indptr, neighbors.other, neighbors.weight, neighbors.degree)

    def cross(self, orders: NDArray[np.int32]) -> NDArray[np.float64]:
        """`cross` of each feature under each shuffle; shape (shuffles, F)."""
        raise NotImplementedError


def shuffled(
    packed: Packed, mine: NDArray[np.intp], neighbors: Neighbors, device: str
) -> Iterator[list[Shuffled]]:
    """Features in the ways that suit them; what stands in one list fits in memory together."""
    if device == "cpu":
        wide = packed.wide(neighbors.n)[mine]
        few, many = mine[~wide], mine[wide]
        parts: list[Shuffled] = [Sparse(packed, few, neighbors)] if len(few) else []
        parts += [Dense(packed, some, neighbors) for some in _split(many, _ABREAST)]
        yield parts
    else:
        for some in _split(mine, max(1, BLOCK_ENTRIES // neighbors.n)):
            yield [OnDevice(packed, some, neighbors, device)]


def _split(mine: NDArray[np.intp], most: int) -> list[NDArray[np.intp]]:
    return [mine[at : at + most] for at in range(0, len(mine), most)]


class Sparse(Shuffled):
    """Features by their active places."""

    def __init__(self, packed: Packed, mine: NDArray[np.intp], neighbors: Neighbors) -> None:
        super().__init__(packed, mine, neighbors)
        chosen, read = np.zeros(len(packed.observed), bool), np.zeros(neighbors.n, bool)
        chosen[mine] = True
        some = packed.only(chosen)
        self._features = (some.starts, some.slots, some.values)
        read[some.slots] = True
        self.slots = np.flatnonzero(read).astype(np.int32)

    def cross(self, orders: NDArray[np.int32]) -> NDArray[np.float64]:
        """Each feature by itself."""
        from geointerp.spatial import _kernels

        found = np.empty((len(orders), len(self.mine)))
        _kernels.cross_sparse(orders, *self._features, *self._line, *self._graph, found)
        return found


class Dense(Shuffled):
    """Features that fire on most places, side by side, in single precision.

    What it leaves open, whether a shuffle is as extreme as what is observed, is found in double.
    So p is that of double precision. Moments of the shuffles, where none are known, are not: they
    are some 1e-6 of a standard deviation off, and a thousandth where regions hold nearly all of a
    feature's variance.
    """

    def __init__(self, packed: Packed, mine: NDArray[np.intp], neighbors: Neighbors) -> None:
        super().__init__(packed, mine, neighbors)
        self._packed, self._reach = packed, neighbors.reach
        alpha, beta = self._line
        # x = m + c: only the c are shuffled, and little is lost where m is large against them
        mean = np.array([packed.values[packed.span(f)].sum() for f in mine]) / neighbors.n
        paired = mean if len(neighbors.other) else 0 * mean
        total = neighbors.degree.sum()
        self._constant = mean * total * (alpha + beta * mean + paired / 2)
        alpha = alpha + 2 * beta * mean + paired
        self._table = np.empty((neighbors.n, len(mine)), np.float32)
        self.error = np.empty(len(mine))
        largest_error = _single_error(neighbors)
        for column, f in enumerate(mine):
            c = _whole(packed, f, neighbors.n) - mean[column]
            self._table[:, column] = c
            self.error[column] = largest_error(np.abs(c), abs(alpha[column]), abs(beta[column]))
        with np.errstate(over="ignore"):  # what is infinite is found in double
            *line, weight, degree = (
                part.astype(np.float32)
                for part in (alpha, beta, neighbors.weight, neighbors.degree)
            )
        self._single = (*line, neighbors.indptr, neighbors.other, weight, degree)
        self._observed = packed.observed[mine]
        # twice: what is observed, and what m adds, are rounded in double
        self._open = self.error + 2 * packed.ties[mine]

    def cross(self, orders: NDArray[np.int32]) -> NDArray[np.float64]:
        """All of them at once, and again where that leaves something open."""
        from geointerp.spatial import _kernels

        found = np.empty((len(orders), len(self.mine)))
        _kernels.cross_dense(orders, self._table, *self._single, self._reach, _ABREAST, found)
        found += self._constant
        decided = np.abs(found - self._observed) > self._open
        field = np.zeros(len(self._table))
        for r, f in np.argwhere(~(decided & np.isfinite(found))):
            span, line = self._packed.span(self.mine[f]), (part[f] for part in self._line)
            sites, values = orders[r, self._packed.slots[span]], self._packed.values[span]
            found[r, f] = _kernels.cross(sites, values, *line, *self._graph, field)
        return found


class OnDevice(Shuffled):
    """Features side by side on a GPU, which does one thing at a time: its memory is small."""

    def __init__(
        self, packed: Packed, mine: NDArray[np.intp], neighbors: Neighbors, device: str
    ) -> None:
        from geointerp.spatial._torch import Device

        super().__init__(packed, mine, neighbors)
        table = np.stack([_whole(packed, f, neighbors.n) for f in mine], axis=1)
        self._device, self._turn = Device(device, neighbors, table, *self._line), Lock()

    def cross(self, orders: NDArray[np.int32]) -> NDArray[np.float64]:
        """In double precision."""
        with self._turn:
            return self._device.cross(orders)


def _single_error(neighbors: Neighbors) -> Callable[[NDArray[np.float64], float, float], float]:
    """How far `cross` of any shuffle of |c|, in single precision, may be from the true one.

    Each number and each result is rounded by 2⁻²⁴ of itself, or by less than the smallest normal
    number (Higham 2002, Accuracy and Stability of Numerical Algorithms, §2.2 and §3.1), so that
    the sum is, by that and by how often a term is rounded, times Σ of the terms' sizes. Those of
    pairs are at most ½ Σ_i row_i c_i², row_i = Σ_j |t_ij|. No shuffle gives more than both
    sorted (the rearrangement inequality).
    """
    from geointerp.spatial._kernels import SINGLE_ROWS

    single = np.finfo(np.float32)
    most = int(np.diff(neighbors.indptr).max())
    times = (12 + most // 4 + SINGLE_ROWS) * float(single.eps) / 2
    i = np.repeat(np.arange(neighbors.n), np.diff(neighbors.indptr))
    ends, weight = np.concatenate([i, neighbors.other]), np.tile(np.abs(neighbors.weight), 2)
    row = np.sort(np.bincount(ends, weight, minlength=neighbors.n))
    degree = np.sort(np.abs(neighbors.degree))
    smallest = 8 * (len(neighbors.other) + 2 * neighbors.n) * float(single.tiny)
    floor = smallest * (1 + max(row[-1], degree[-1]))

    def error(sizes: NDArray[np.float64], alpha: float, beta: float) -> float:
        sizes = np.sort(sizes)
        squares = sizes**2
        terms = row @ squares / 2 + alpha * (degree @ sizes) + beta * (degree @ squares)
        return float(times / (1 - times) * terms + floor)

    return error


def _whole(packed: Packed, f: np.intp, n: int) -> NDArray[np.float64]:
    """A feature in the order of a shuffle's slots; shape (n,)."""
    whole = np.zeros(n)
    whole[packed.slots[packed.span(f)]] = packed.values[packed.span(f)]
    return whole
