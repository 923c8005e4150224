"""Seeded permutations, shared by all features, and the p-values they give."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from geointerp.errors import InputError
from geointerp.spatial.neighbors import Neighbors
from geointerp.spatial.table import check_whole

Alternative = Literal["greater", "less", "two-sided"]

CHUNK_ENTRIES = 16_000_000
"""Permutations are drawn in chunks of at most so many numbers (64 MB)."""

_BURST = 64  # permutations between two looks at the keyboard

TIE = 1e-10
"""Statistics nearer than this, on the scale of I, count as equal."""


class Packed(NamedTuple):
    """Features one after the other, each by its active places."""

    starts: NDArray[np.int64]  # feature f is at starts[f]:starts[f + 1]; shape (F + 1,)
    rows: NDArray[np.int32]
    values: NDArray[np.float64]
    means: NDArray[np.float64]  # over all n places, of what `values` holds; shape (F,)
    observed: NDArray[np.float64]  # `cross` where the values stand; shape (F,)
    ties: NDArray[np.float64]  # shape (F,)


class Permutations:
    """`count` permutations of n places, the same however they are read.

    They are what ``numpy.random.default_rng(seed).permutation(n)`` gives, call after call; the
    value of place i goes to place ``permutation[i]``.
    """

    def __init__(self, n: int, count: int, seed: int) -> None:
        self.n, self.count, self.seed = n, count, seed
        self._all: NDArray[np.int32] | None = None

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        if self._all is not None:
            yield self._all
            return
        rng = np.random.default_rng(self.seed)
        size = max(1, CHUNK_ENTRIES // self.n)
        for start in range(0, self.count, size):
            rows = min(size, self.count - start)
            chunk = np.empty((rows, self.n), dtype=np.int32)
            for row in chunk:
                row[:] = rng.permutation(self.n)
            if rows == self.count:
                self._all = chunk
            yield chunk


def check_options(
    permutations: int, seed: int, alternative: str, min_active: int, threads: int | None
) -> None:
    """Raise `InputError` for options of a permutation test that make none."""
    whole = {
        "permutations": (permutations, 1),
        "seed": (seed, 0),
        "min_active": (min_active, 1),
    }
    if threads is not None:
        whole["threads"] = (threads, 1)
    for word, (value, least) in whole.items():
        check_whole(word, value, least)
    if alternative not in get_args(Alternative):
        raise InputError(
            f"alternative is {alternative!r}; it must be one of {', '.join(get_args(Alternative))}."
        )


def tail_counts(
    packed: Packed, neighbors: Neighbors, permutations: Permutations, threads: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the permutations at least and at most as large as observed, for each feature.

    Returns
    -------
    at_least, at_most : ndarray of int64, shape (F,)
        Ties count in both.
    """
    from numba import config

    from geointerp.spatial import _kernels

    at_least, at_most = np.zeros((2, len(packed.means)), dtype=np.int64)
    # each thread has its own features, dealt out by size
    by_size = np.argsort(-np.diff(packed.starts), kind="stable")
    cores: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    threads = max(1, min(threads or cores, len(by_size)))
    with ThreadPoolExecutor(threads) as pool:
        for moves in (c[i : i + _BURST] for c in permutations for i in range(0, len(c), _BURST)):
            jobs = [
                pool.submit(
                    _kernels.count,
                    moves,
                    by_size[t::threads].copy(),
                    *packed,
                    neighbors.indptr,
                    neighbors.other,
                    neighbors.weight,
                    neighbors.degree,
                    at_least,
                    at_most,
                )
                for t in range(threads)
            ]
            for job in jobs:
                job.result()
    return at_least, at_most


def p_values(
    at_least: NDArray[np.int64], at_most: NDArray[np.int64], count: int, alternative: str
) -> NDArray[np.float64]:
    """Pseudo p-values, (1 + as extreme) / (1 + permutations); never 0.

    Parameters
    ----------
    at_least, at_most : ndarray of int64, shape (F,)
    count : int
        Number of permutations.
    alternative : {"greater", "less", "two-sided"}
        Two-sided is twice the smaller of the two, at most 1.

    Returns
    -------
    ndarray of float64, shape (F,)

    References
    ----------
    Phipson, B. and Smyth, G. K. (2010). Permutation p-values should never be zero.
    Statistical Applications in Genetics and Molecular Biology 9(1), 39.
    Cox, D. R. and Hinkley, D. V. (1974). Theoretical Statistics, section 3.4: twice the smaller.
    """
    greater, less = (1 + at_least) / (1 + count), (1 + at_most) / (1 + count)
    if alternative == "two-sided":
        return np.minimum(1, 2 * np.minimum(greater, less))
    return greater if alternative == "greater" else less
