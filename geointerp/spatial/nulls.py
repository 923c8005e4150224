"""What chance is: places shuffled over the whole map, or within the regions alone."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from geointerp.errors import InputError
from geointerp.spatial.labels import aligned, present, region_of

Within: TypeAlias = "str | pd.Series | ArrayLike"

CHUNK_ENTRIES = 4_000_000
"""Shuffles are drawn in chunks of at most so many numbers (16 MB)."""


class Null:
    """Shuffles of the places, numbered, the same ones for all features.

    Shuffle number k is drawn from `seed` and k alone, so that it is the same in every chunk, on
    every thread and at every stage of a test. The sites are arranged by group, each group in its
    own stretch, and there shuffled among themselves; the values of a feature in a group go to
    the first of the group's shuffled sites, the slots. The beginning of a shuffle is as random as
    all of it, so no more of it is drawn.

    Parameters
    ----------
    site : ndarray of int32, shape (n,)
        Of each place.
    seed : int
    groups : ndarray of int64, shape (n,), optional
        The group of each place, numbered from 0; one group of all if not given.
    """

    def __init__(
        self, site: NDArray[np.int32], seed: int, groups: NDArray[np.int64] | None = None
    ) -> None:
        self.seed = seed
        self.site = site
        self.grouped = groups is not None
        self._group = np.zeros(len(site), np.int64)
        if groups is not None:
            self._group[site] = groups
        self.arranged = np.argsort(self._group, kind="stable").astype(np.int32)
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(self._group))])

    def slots(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """The order in which the places of a feature take their slots, and the slots."""
        sites = self.site[rows]
        order = np.argsort(self._group[sites], kind="stable")
        group = self._group[sites[order]]
        rank = np.arange(len(sites)) - np.searchsorted(group, group)
        return order, (self._starts[group] + rank).astype(np.int32)

    def draw(self, first: int, stop: int, slots: NDArray[np.int32]) -> NDArray[np.int32]:
        """Shuffles from number `first` to `stop`, filled where `slots` are read.

        Returns
        -------
        ndarray of int32, shape (stop - first, n)
        """
        from geointerp.spatial import _kernels

        group = np.searchsorted(self._starts, slots, side="right") - 1
        wanted = np.zeros(len(self._starts) - 1, np.int64)
        np.maximum.at(wanted, group, slots - self._starts[group] + 1)
        orders = np.zeros((stop - first, len(self.site)), np.int32)
        _kernels.shuffle(self.seed, first, self.arranged, self._starts, wanted, orders)
        return orders

    def chunks(self, first: int, stop: int, threads: int = 1) -> list[tuple[int, int]]:
        """The numbers from `first` to `stop`, in spans whose shuffles fit in memory.

        Each thread has one at least.
        """
        size = max(threads, min(64, CHUNK_ENTRIES // len(self.site)), 1)
        return [(at, min(at + size, stop)) for at in range(first, stop, size)]


def read_groups(within: Within, features: Any, ids: pd.Index) -> NDArray[np.int64]:
    """The group of each place, from the places of an AnnData or from labels."""
    if isinstance(within, str):
        if not hasattr(features, "obs"):
            raise InputError(
                f"within is {within!r}, a column of the places, but the features know no places "
                "(they are no AnnData); give the labels themselves."
            )
        labels: Any = region_of(features, within).to_numpy()
    else:
        labels = within
    labels = present(aligned(labels, len(ids), ids, "the graph", "graph.unique_ids"))
    codes, _ = pd.factorize(labels, use_na_sentinel=False)
    return codes.astype(np.int64)
