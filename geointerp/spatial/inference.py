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
from geointerp.spatial.shuffled import Shuffled, shuffled
from geointerp.spatial.table import check_whole


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

    def add(self, cross: NDArray[np.float64], at: NDArray[np.intp], packed: Packed) -> None:
        """Add what permutations of some features give; shape (permutations, some)."""
        from geointerp.spatial import _kernels

        mine = [part[at] for part in self]
        _kernels.tally(cross, packed.observed[at], packed.ties[at], *mine)
        for kept, more in zip(self, mine, strict=True):
            kept[at] = more


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
            span = int(done[left[0]]), upto
            for features in shuffled(packed, left, neighbors, chosen.device):
                _count(features, packed, null, span, counts, pool, chosen.threads)
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
    features: Sequence[Shuffled],
    packed: Packed,
    null: Null,
    span: tuple[int, int],
    counts: Counts,
    pool: ThreadPoolExecutor,
    threads: int,
) -> None:
    """Draw the permutations of a span, chunk by chunk, and add them to the counts of features."""
    slots = np.unique(np.concatenate([some.slots for some in features]))
    for chunk in track(null.chunks(*span, threads), f"permutations to {span[1]:,}"):
        parts = [p for p in np.array_split(np.arange(*chunk), threads) if len(p)]
        orders = list(pool.map(lambda part: null.draw(part[0], part[-1] + 1, slots), parts))
        for some in features:
            # one after the other, so that sums depend on no chunk and no thread
            for found in pool.map(some.cross, orders):
                counts.add(found, some.mine, packed)
