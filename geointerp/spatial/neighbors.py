"""Who is whose neighbour, as the statistics read it, and that it fits the table of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from geointerp.errors import InputError
from geointerp.spatial.motifs import Motif, MotifSums, motifs
from geointerp.spatial.table import Table, check_rows, label

if TYPE_CHECKING:
    from libpysal.graph import Graph
    from libpysal.weights import W

MOST_STEPS = 1e9
"""Two-step paths of a graph beyond which its triangles are not counted (some 10 s, 8 GB)."""


class Neighbors(NamedTuple):
    """Weights w_ij by site.

    The statistics only meet t_ij = w_ij + w_ji, so each pair of neighbours is kept once, i < j.
    Sites are the places in an order in which neighbours stand near each other in memory.
    """

    ids: pd.Index  # of the n places
    site: NDArray[np.int32]  # of each place
    both: sparse.csr_array  # t_ij, by site
    indptr: NDArray[np.int64]  # pairs of site i are at indptr[i]:indptr[i + 1]
    other: NDArray[np.int32]  # j of each pair
    weight: NDArray[np.float64]  # t_ij of each pair
    degree: NDArray[np.float64]  # sum over j of t_ij, shape (n,)
    s0: float  # sum of all w_ij
    total: float  # sum of all |w_ij|

    @property
    def n(self) -> int:
        """Number of places."""
        return len(self.site)

    @property
    def reach(self) -> int:
        """Sites between a place and its furthest neighbour in memory."""
        i = np.repeat(np.arange(self.n), np.diff(self.indptr))
        return int((self.other - i).max(initial=0))

    def motif_sums(self, edges: int = 4) -> dict[Motif, float]:
        """Sums over the motifs of up to so many edges, or of up to two in a graph too dense."""
        sums = MotifSums(self.both)
        steps = float((np.diff(self.both.indptr).astype(float) ** 2).sum())
        most = edges if steps <= MOST_STEPS else min(edges, 2)
        return {motif: sums(motif) for r in range(1, most + 1) for motif in motifs(r)}


def read_graph(graph: Graph | W, table: Table) -> Neighbors:
    """Weights of a graph, once it is certain that its places are the rows of the table."""
    ids, weights = read_weights(graph, table, at_least=4)
    n = len(ids)
    refuse_self_weights(ids, weights)
    s0 = float(weights.sum())
    if s0 <= 0:
        raise InputError(
            f"the weights of the graph add up to {s0:g}; places need neighbours of positive weight."
        )
    both = sparse.csr_array(weights + weights.T)
    both.setdiag(0)  # an island comes as a pair with itself of weight 0
    both.eliminate_zeros()
    order = csgraph.reverse_cuthill_mckee(sparse.csr_matrix(both), symmetric_mode=True)
    both = sparse.csr_array(both[order][:, order])
    site = np.empty(n, dtype=np.int32)
    site[order] = np.arange(n, dtype=np.int32)
    pairs = sparse.csr_array(sparse.triu(both, k=1))
    pairs.sort_indices()
    degree = np.asarray(both.sum(axis=1), dtype=np.float64).reshape(-1)
    return Neighbors(
        ids=ids,
        site=site,
        both=both,
        indptr=pairs.indptr.astype(np.int64),
        other=pairs.indices.astype(np.int32),
        weight=pairs.data.astype(np.float64),
        degree=degree,
        s0=s0,
        total=float(np.abs(weights.data).sum()),
    )


def read_weights(
    graph: Graph | W, table: Table, *, at_least: int = 0
) -> tuple[pd.Index, sparse.csr_array]:
    """Labels and w_ij of a graph whose places are the rows of the table, none of them zero."""
    ids, weights = weights_of(graph)
    check_rows(table, len(ids), ids, "the graph", "graph.unique_ids")
    if len(ids) < at_least:
        raise InputError(
            f"the graph has {len(ids)} place(s); the moments of the statistic need {at_least}."
        )
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


def weights_of(graph: Graph | W) -> tuple[pd.Index, sparse.csr_array]:
    """Labels of the places, and w_ij in their order."""
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
