"""What every statistic reads: a table of features, a graph of places, and that they agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from geointerp.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData
    from libpysal.graph import Graph
    from libpysal.weights import W

    Features: TypeAlias = AnnData | pd.DataFrame | NDArray | sparse.spmatrix | sparse.sparray

BLOCK_ENTRIES = 4_000_000
"""Columns are worked on in blocks of at most so many numbers (about 50 MB)."""


class Table(NamedTuple):
    """Features by column, whatever they came as."""

    matrix: Any  # ndarray or csc_array of shape (n, F)
    names: pd.Index  # of the features, length F
    places: pd.Index | None  # of the rows, where the input knows them


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


def label(index: pd.Index, row: int | np.integer) -> str:
    """How messages name a place: 5 and 'Paris', not np.int64(5)."""
    return repr(index[row : row + 1].tolist()[0])


def read_features(features: Features) -> Table:
    """Features of shape (n, F) as an ndarray or a csc_array, with the names of both sides."""
    if isinstance(features, pd.DataFrame):
        return Table(_from_frame(features), features.columns, features.index)
    labelled: Any = features
    if hasattr(labelled, "obs_names") and hasattr(labelled, "X"):
        if labelled.X is None:
            raise InputError("the AnnData has no X; it holds the features, places by features.")
        return Table(_from_matrix(labelled.X), labelled.var_names, labelled.obs_names)
    matrix = _from_matrix(features)
    return Table(matrix, pd.RangeIndex(matrix.shape[1]), None)


def _from_frame(frame: pd.DataFrame) -> Any:
    for column, dtype in frame.dtypes.items():
        if not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)):
            raise InputError(f"column {column!r} of the features is of {dtype}, not of numbers.")
    if len(frame.columns) and all(isinstance(t, pd.SparseDtype) for t in frame.dtypes):
        if all(t.fill_value == 0 for t in frame.dtypes):
            return _from_matrix(frame.sparse.to_coo())
        frame = frame.sparse.to_dense()
    if all(isinstance(dtype, np.dtype) for dtype in frame.dtypes):
        return _from_matrix(frame.to_numpy())
    return _from_matrix(frame.to_numpy(dtype=float, na_value=np.nan))


def _from_matrix(matrix: Any) -> Any:
    if hasattr(matrix, "to_memory"):  # of an AnnData that is backed by a file
        matrix = matrix.to_memory()
    if sparse.issparse(matrix):
        columns = sparse.csc_array(matrix, copy=True)
        columns.sum_duplicates()
        columns.eliminate_zeros()
    else:
        columns = np.asarray(matrix)
    if columns.ndim != 2:
        raise InputError(
            f"the features have {columns.ndim} dimension(s); they must be places by features."
        )
    if columns.dtype.kind not in "biuf":
        raise InputError(f"the features are of {columns.dtype}; they must be real numbers.")
    return columns


def read_graph(graph: Graph | W, table: Table) -> Neighbors:
    """Weights of a graph, once it is certain that its places are the rows of the table."""
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
    for bad in np.flatnonzero(weights.diagonal()):
        raise InputError(
            f"place {label(ids, bad)} is its own neighbour in the graph; a statistic of neighbours "
            "takes none (assign_self_weight(0) removes it)."
        )
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


def _weights(graph: Graph | W) -> tuple[pd.Index, sparse.csr_array]:
    from libpysal.graph import Graph
    from libpysal.weights import W

    if isinstance(graph, W):
        return pd.Index(graph.id_order), sparse.csr_array(graph.sparse, dtype=np.float64)
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


def columns(matrix: Any) -> Iterator[list[tuple[NDArray[np.intp], NDArray[np.float64]]]]:
    """Rows and values of the nonzero entries of each column, in blocks of bounded memory."""
    n, width = matrix.shape
    start = 0
    while start < width:
        if sparse.issparse(matrix):
            room = matrix.indptr[start] + BLOCK_ENTRIES
            stop = max(start + 1, int(np.searchsorted(matrix.indptr, room, side="right")) - 1)
            spans = [slice(*matrix.indptr[j : j + 2]) for j in range(start, stop)]
            yield [(matrix.indices[s], matrix.data[s].astype(np.float64)) for s in spans]
        else:
            stop = start + max(1, BLOCK_ENTRIES // max(n, 1))
            block = np.ascontiguousarray(matrix[:, start:stop].T, dtype=np.float64)
            active = [np.flatnonzero(values) for values in block]
            yield [(rows, values[rows]) for rows, values in zip(active, block, strict=True)]
        start = stop
