"""Spatial weights: which places are neighbours, as a `libpysal.graph.Graph`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from libpysal.graph import Graph


def make_graph(
    index: pd.Index,
    focal: NDArray[np.integer],
    neighbor: NDArray[np.integer],
    weight: NDArray[np.float64],
    *,
    transformation: str = "O",
) -> Graph:
    """Graph on all places of the index, in its order, of pairs given once each by position."""
    from libpysal.graph import Graph

    n = len(index)
    # a place without neighbours is kept as a pair with itself of weight 0
    alone = np.flatnonzero(np.bincount(focal, minlength=n) == 0)
    if len(alone):
        focal, neighbor = np.append(focal, alone), np.append(neighbor, alone)
        weight = np.append(weight, np.zeros(len(alone)))
    key = focal.astype(np.int64) * n + neighbor
    if np.any(key[1:] < key[:-1]):
        order = np.argsort(key)
        focal, neighbor, weight = focal[order], neighbor[order], weight[order]
    # Graph wants rows and codes alike in the order of the places, which from_arrays would lose
    pairs = pd.MultiIndex(
        levels=[index, index], codes=[focal, neighbor], names=["focal", "neighbor"]
    )
    adjacency = pd.Series(weight, index=pairs, name="weight")
    return Graph(adjacency, transformation=transformation, is_sorted=True)
