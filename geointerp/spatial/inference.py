"""The test of a statistic: what it is, what chance gives, and how far apart they are."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from geointerp.errors import InputError
from geointerp.progress import track
from geointerp.spatial import tails
from geointerp.spatial.moments import Moments
from geointerp.spatial.neighbors import Neighbors
from geointerp.spatial.nulls import Null
from geointerp.spatial.packing import Packed
from geointerp.spatial.table import BLOCK_ENTRIES, check_whole

_ABREAST = 64  # features that fire almost everywhere and go through the graph together


class Options(NamedTuple):
    """How a statistic is tested; `moran` documents them."""

    permutations: int
    max_permutations: int
    seed: int
    alternative: str
    min_active: int
    threads: int
    device: str


class How(TypedDict, total=False):
    """The options that all statistics share."""

    permutations: int
    max_permutations: int
    seed: int
    min_active: int
    threads: int | None
    device: str


def options(
    *,
    alternative: str,
    grouped: bool,
    permutations: int = 999,
    max_permutations: int = 9_999,
    seed: int = 0,
    min_active: int = 10,
    threads: int | None = None,
    device: str = "cpu",
    **unknown: object,
) -> Options:
    """Options that make a test, or an `InputError`."""
    for word in unknown:
        raise TypeError(
            f"there is no option {word!r}; those of a test are {', '.join(How.__annotations__)}."
        )
    from numba import config

    cores: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    threads = cores if threads is None else threads
    whole = {
        "permutations": (permutations, 0),
        "max_permutations": (max_permutations, 0),
        "seed": (seed, 0),
        "min_active": (min_active, 1),
        "threads": (threads, 1),
    }
    for word, (value, least) in whole.items():
        check_whole(word, value, least)
    if seed >= 2**63:
        raise InputError(f"seed is {seed}; it must be below 2**63.")
    if grouped and permutations == 0:
        raise InputError(
            "permutations is 0; within regions, and for local statistics, all comes from "
            "permutations: give a whole number of 1 or more."
        )
    if device != "cpu":
        _check_device(device)
    if alternative not in get_args(tails.Alternative):
        raise InputError(
            f"alternative is {alternative!r}; it must be one of "
            f"{', '.join(get_args(tails.Alternative))}."
        )
    most = max(permutations, max_permutations)
    return Options(
        int(permutations), int(most), int(seed), alternative, int(min_active), threads, device
    )


def _check_device(device: str) -> None:
    """Raise `InputError` for a device on which torch cannot count."""
    import torch

    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(
            f"device is {device!r}, and torch cannot use it: {str(error).splitlines()[0]}"
        ) from error


class Tested(NamedTuple):
    """Of F features; shape (F,) each."""

    expected: NDArray[np.float64]
    z: NDArray[np.float64]
    p: NDArray[np.float64]
    permutations: NDArray[np.int64]  # that p rests on; 0 where it rests on the Pearson III curve


class Counts(NamedTuple):
    """Permutations as extreme as what is observed, and sums of their `cross` less it."""

    at_least: NDArray[np.int64]
    at_most: NDArray[np.int64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def zero(cls, width: int) -> Counts:
        """Of so many features, before the first permutation."""
        return cls(*np.zeros((2, width), dtype=np.int64), *np.zeros((2, width)))

    def moments(
        self, done: NDArray[np.int64], ties: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of `cross` less what is observed."""
        mean, square = self.sums / done, self.squares / done
        variance = square - mean**2
        # all permutations alike: what rounding leaves is not a variance
        variance[variance <= np.maximum(1e-12 * square, ties**2)] = 0
        return mean, np.sqrt(variance * done / np.maximum(done - 1, 1))

    def add(self, others: Counts, at: NDArray[np.intp] | slice) -> None:
        """Add other counts to those of some features."""
        for kept, more in zip(self, others, strict=True):
            kept[at] = kept[at] + more


def infer(
    packed: Packed,
    neighbors: Neighbors,
    null: Null,
    moments: Moments | None,
    curve: NDArray[np.float64],
    chosen: Options,
) -> Tested:
    """How unlikely each feature's statistic is under a null.

    Where the Pearson III curve gives p it is taken. All others are tested on the first
    permutations, and where fewer than `tails.ENOUGH` are as extreme as the feature on ten times
    as many, and again. Such a p is not too small on average: whether p ≤ u is decided, for any u,
    at one number of permutations (Besag and Clifford 1991, Sequential Monte Carlo p-values,
    Biometrika 78).

    Parameters
    ----------
    packed : Packed
    neighbors : Neighbors
    null : Null
    moments : Moments, optional
        Exact ones of the statistic over the null, where they are known.
    curve : ndarray of float64, shape (F,)
        p by their Pearson III curve; NaN where it does not hold.
    chosen : Options
    """
    width = len(packed.observed)
    counts, done = Counts.zero(width), np.zeros(width, np.int64)
    upto = chosen.permutations
    left = np.flatnonzero(np.isnan(curve))[: None if upto else 0]
    with ThreadPoolExecutor(chosen.threads) as pool:
        while len(left):
            _count(packed, left, neighbors, null, (int(done[left[0]]), upto), counts, pool, chosen)
            done[left] = upto
            few = _fewest(counts, packed.slope, chosen.alternative) < tails.ENOUGH
            left = left[few[left]]
            if upto == chosen.max_permutations:
                break
            upto = min(10 * (upto + 1) - 1, chosen.max_permutations)
    pseudo = tails.pseudo(*_by_statistic(counts, packed.slope), done, chosen.alternative)
    p = np.where(done > 0, pseudo, curve)
    if moments is not None:
        return Tested(moments.mean, moments.z(packed.value), p, done)
    above, spread = counts.moments(done, packed.ties)
    drawn = Moments(
        mean=packed.value + packed.slope * above,
        variance=(packed.slope * spread) ** 2,
        skewness=np.full(width, np.nan),
        kurtosis=np.full(width, np.nan),
    )
    return Tested(drawn.mean, drawn.z(packed.value), p, done)


def _fewest(counts: Counts, slope: NDArray[np.float64], alternative: str) -> NDArray[np.int64]:
    """How many permutations are as extreme, in the direction that p looks."""
    more, less = _by_statistic(counts, slope)
    return {"greater": more, "less": less, "two-sided": np.minimum(more, less)}[alternative]


def _by_statistic(
    counts: Counts, slope: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Permutations whose statistic, not whose `cross`, is at least and at most as large."""
    rising = slope > 0
    return (
        np.where(rising, counts.at_least, counts.at_most),
        np.where(rising, counts.at_most, counts.at_least),
    )


def _count(
    packed: Packed,
    left: NDArray[np.intp],
    neighbors: Neighbors,
    null: Null,
    span: tuple[int, int],
    counts: Counts,
    pool: ThreadPoolExecutor,
    chosen: Options,
) -> None:
    """Add the permutations of a span to the counts of the features that are left."""
    if chosen.device != "cpu":
        size = max(1, BLOCK_ENTRIES // neighbors.n)
        for at in range(0, len(left), size):
            one = _OnDevice(packed, left[at : at + size], neighbors, chosen.device)
            _run([one], np.arange(neighbors.n, dtype=np.int32), null, span, pool, chosen)
            counts.add(one.found, one.mine)
        return
    wide = packed.wide(neighbors.n)[left]
    few, many = left[~wide], left[wide]
    # each thread has its own features, dealt out by size
    by_size = few[np.argsort(-np.diff(packed.starts)[few], kind="stable")]
    dealt = (by_size[t :: chosen.threads] for t in range(chosen.threads))
    tasks: list[_Task] = [_Sparse(packed, mine, neighbors) for mine in dealt if len(mine)]
    for at in range(0, len(many), _ABREAST):
        tasks.append(_Abreast(packed, many[at : at + _ABREAST], neighbors))
    slots = np.arange(neighbors.n, dtype=np.int32) if len(many) else _slots(packed, few)
    _run(tasks, slots, null, span, pool, chosen)
    for task in tasks:
        counts.add(task.found, task.mine)


def _run(
    tasks: Sequence[_Task],
    slots: NDArray[np.int32],
    null: Null,
    span: tuple[int, int],
    pool: ThreadPoolExecutor,
    chosen: Options,
) -> None:
    """Draw the permutations of a span, chunk by chunk, and have every task count them."""
    for chunk in track(null.chunks(*span), f"permutations to {span[1]:,}"):
        parts = [p for p in np.array_split(np.arange(*chunk), chosen.threads) if len(p)]
        drawn = [pool.submit(null.draw, part[0], part[-1] + 1, slots) for part in parts]
        orders = np.concatenate([job.result() for job in drawn])
        for job in [pool.submit(task.count, orders) for task in tasks]:
            job.result()


def _slots(packed: Packed, mine: NDArray[np.intp]) -> NDArray[np.int32]:
    spans = zip(packed.starts[mine], packed.starts[mine + 1], strict=True)
    return np.unique(np.concatenate([packed.slots[a:b] for a, b in spans]))


class _Task:
    """Some features, and what was found of them so far."""

    def __init__(self, packed: Packed, mine: NDArray[np.intp], neighbors: Neighbors) -> None:
        self.mine, self.found = mine, Counts.zero(len(mine))
        self._line = tuple(
            part[mine] for part in (packed.alpha, packed.beta, packed.observed, packed.ties)
        )
        self._graph = (neighbors.indptr, neighbors.other, neighbors.weight, neighbors.degree)

    def count(self, orders: NDArray[np.int32]) -> None:
        """Count the shuffles of a chunk."""
        raise NotImplementedError


class _Sparse(_Task):
    """Features by their active places."""

    def __init__(self, packed: Packed, mine: NDArray[np.intp], neighbors: Neighbors) -> None:
        super().__init__(packed, mine, neighbors)
        spans = [slice(packed.starts[f], packed.starts[f + 1]) for f in mine]
        self._starts = np.concatenate([[0], np.cumsum([s.stop - s.start for s in spans])])
        self._slots = np.concatenate([packed.slots[s] for s in spans])
        self._values = np.concatenate([packed.values[s] for s in spans])

    def count(self, orders: NDArray[np.int32]) -> None:
        from geointerp.spatial import _kernels

        features = (self._starts, self._slots, self._values)
        _kernels.count_sparse(orders, *features, *self._line, *self._graph, *self.found)


class _Abreast(_Task):
    """Features that fire on most places, side by side."""

    def __init__(self, packed: Packed, mine: NDArray[np.intp], neighbors: Neighbors) -> None:
        super().__init__(packed, mine, neighbors)
        self._table = _table(packed, mine, neighbors.n)

    def count(self, orders: NDArray[np.int32]) -> None:
        from geointerp.spatial import _kernels

        _kernels.count_dense(orders, self._table, *self._line, *self._graph, *self.found)


class _OnDevice(_Task):
    """Features side by side on a GPU."""

    def __init__(
        self, packed: Packed, mine: NDArray[np.intp], neighbors: Neighbors, device: str
    ) -> None:
        from geointerp.spatial._torch import Counter

        super().__init__(packed, mine, neighbors)
        table = _table(packed, mine, neighbors.n)
        self._counter = Counter(device, neighbors, table, *self._line)

    def count(self, orders: NDArray[np.int32]) -> None:
        self.found.add(Counts(*self._counter.count(orders)), slice(None))


def _table(packed: Packed, mine: NDArray[np.intp], n: int) -> NDArray[np.float64]:
    """Features side by side, in the order of a shuffle's slots; shape (n, features)."""
    table = np.zeros((n, len(mine)))
    for column, f in enumerate(mine):
        span = slice(packed.starts[f], packed.starts[f + 1])
        table[packed.slots[span], column] = packed.values[span]
    return table
