"""Who is whose neighbour, as the statistics read it, and that it fits the table of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from geointerp.errors import InputError
from geointerp.spatial.table import Table, label

if TYPE_CHECKING:
    from libpysal.graph import Graph
    from libpysal.weights import W


class Neighbors(NamedTuple):
    """Weights w_ij with the sums that the moments of a statistic need.

    The statistic only meets w_ij + w_ji, so each pair of neighbours is kept once, i < j.
    """

    n: int
    indptr: NDArray[np.int64]  # pairs of place i are at indptr[i]:indptr[i + 1]
    other: NDArray[np.int32]  # j of each pair
    weight: NDArray[np.float64]  # w_ij + w_ji of each pair
    degree: NDArray[np.float64]  # sum over j of w_ij + w_ji, shape (n,)
    s0: float  # sum of all w_ij
    s1: float  # half the sum over i and j of (w_ij + w_ji)²
    s2: float  # sum over i of degree²
    total: float  # sum of all |w_ij|


def read_graph(graph: Graph | W, table: Table) -> Neighbors:
    """Weights of a graph, once it is certain that its places are the rows of the table."""
    ids, weights = read_weights(graph, table)
    n = len(ids)
    refuse_self_weights(ids, weights)
    s0 = float(weights.sum())
    if s0 <= 0:
        raise InputError(
            f"the weights of the graph add up to {s0:g}; places need neighbours of positive weight."
        )
    both = sparse.csr_array(weights + weights.T)
    pairs = sparse.csr_array(sparse.triu(both, k=1))
    pairs.sort_indices()
    degree = np.asarray(both.sum(axis=1), dtype=np.float64).reshape(-1)
    return Neighbors(
        n=n,
        indptr=pairs.indptr.astype(np.int64),
        other=pairs.indices.astype(np.int32),
        weight=pairs.data.astype(np.float64),
        degree=degree,
        s0=s0,
        s1=float((both.data**2).sum() / 2),
        s2=float((degree**2).sum()),
        total=float(np.abs(weights.data).sum()),
    )


def read_weights(graph: Graph | W, table: Table) -> tuple[pd.Index, sparse.csr_array]:
    """Labels and w_ij of a graph whose places are the rows of the table, none of them zero."""
    ids, weights = _weights(graph)
    n = len(ids)
    if table.matrix.shape[0] != n:
        raise InputError(f"the features have {table.matrix.shape[0]} rows, the graph {n} places.")
    if table.places is not None:
        _check_aligned(table.places, ids)
    if n < 4:
        raise InputError(f"the graph has {n} place(s); the moments of the statistic need 4.")
    for bad in np.flatnonzero(~np.isfinite(weights.data)):
        row = np.searchsorted(weights.indptr, bad, side="right") - 1
        raise InputError(f"place {label(ids, row)} has a weight in the graph that is not finite.")
    weights.sum_duplicates()
    weights.eliminate_zeros()
    return ids, weights


def refuse_self_weights(ids: pd.Index, weights: sparse.csr_array) -> None:
    """Raise `InputError` where a place is its own neighbour."""
    for bad in np.flatnonzero(weights.diagonal()):
        raise InputError(
            f"place {label(ids, bad)} is its own neighbour in the graph; a statistic of neighbours "
            "takes none (assign_self_weight(0) removes it)."
        )


def _weights(graph: Graph | W) -> tuple[pd.Index, sparse.csr_array]:
    from libpysal.graph import Graph
    from libpysal.weights import W

    if isinstance(graph, W):
        return pd.Index(graph.id_order), sparse.csr_array(graph.sparse, dtype=np.float64, copy=True)
    if not isinstance(graph, Graph):
        raise InputError(f"the graph is a {type(graph).__name__}; a libpysal Graph or W is needed.")
    # by label: Graph.sparse trusts that the labels' codes are in the order of the places
    ids, adjacency = graph.unique_ids, graph.adjacency
    focal, neighbor = (ids.get_indexer(adjacency.index.get_level_values(i)) for i in (0, 1))
    weights = sparse.coo_array(
        (adjacency.to_numpy(dtype=np.float64), (focal, neighbor)), shape=(len(ids), len(ids))
    )
    return ids, sparse.csr_array(weights)


def _check_aligned(places: pd.Index, ids: pd.Index) -> None:
    if places.equals(ids):
        return
    # AnnData turns every label into a string
    mine, theirs = places.map(str), ids.map(str)
    differ = np.flatnonzero(mine.to_numpy() != theirs.to_numpy())
    for row in differ:
        raise InputError(
            f"row {row} of the features is {label(places, row)}, of the graph {label(ids, row)}; "
            + (
                "they hold the same places in another order: bring the features into the order "
                "of graph.unique_ids."
                if set(mine) == set(theirs)
                else "both must hold the same places in the same order."
            )
        )
