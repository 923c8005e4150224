"""What a graph of neighbours is like, before a statistic is made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from geointerp.errors import InputError
from geointerp.spatial.located import locate
from geointerp.spatial.neighbors import weights_of
from geointerp.spatial.table import label

if TYPE_CHECKING:
    from libpysal.graph import Graph
    from libpysal.weights import W

    from geointerp.spatial.located import Located, Places


def describe(graph: Graph | W, places: Places | None = None) -> pd.Series:
    """Say how many neighbours places have, and whether that is what a statistic expects.

    Parameters
    ----------
    graph : libpysal.graph.Graph or libpysal.weights.W
        On n places, of `knn` and its kin or of one's own.
    places : GeoDataFrame, GeoSeries or AnnData, optional
        The same n places as points, in any order, for what is known only from where they are.

    Returns
    -------
    Series of object
        - ``places``: n.
        - ``links``: weights other than 0, of one place on another; a pair that is mutual has two.
        - ``pairs``: unordered pairs of places with a link in either direction.
        - ``islands``: places with no neighbour of their own.
        - ``components``: groups of places with no link between them, islands included.
        - ``min_neighbors``, ``mean_neighbors``, ``max_neighbors``: over all n places.
        - ``self_weights``: places with a weight on themselves, which is not counted above.
        - ``symmetric``: whether every weight equals that in the other direction.
        - ``row_standardised``: whether the weights of every place but the islands add up to 1.

        and, where places are given,

        - ``coincident``: places that share their spot with another.
        - ``median_km``, ``longest_km``: of the links, great-circle, or in the plane of a
          projected CRS; NaN if there are none.

    Raises
    ------
    InputError
        Neither Graph nor W; places that cannot be located, or that are not those of the graph.
    """
    ids, weights = weights_of(graph)
    n = len(ids)
    focal, neighbor = weights.nonzero()
    others = focal != neighbor
    focal, neighbor = focal[others], neighbor[others]
    counts = np.bincount(focal, minlength=n)
    links = sparse.csr_array((np.ones(len(focal)), (focal, neighbor)), shape=(n, n))
    sums = np.asarray(weights.sum(axis=1)).reshape(-1)
    difference = (weights - weights.T).data
    said: dict[str, Any] = {
        "places": n,
        "links": len(focal),
        "pairs": sparse.triu(links + links.T, k=1).nnz,
        "islands": int((counts == 0).sum()),
        "components": int(sparse.csgraph.connected_components(links, directed=False)[0])
        if n
        else 0,
        "min_neighbors": int(counts.min(initial=n)),
        "mean_neighbors": float(counts.mean()) if n else np.nan,
        "max_neighbors": int(counts.max(initial=0)),
        "self_weights": int(np.count_nonzero(weights.diagonal())),
        "symmetric": bool(
            (np.abs(difference) <= 1e-12 * np.abs(weights.data).max(initial=0)).all()
        ),
        "row_standardised": bool(len(focal)) and bool(np.allclose(sums[counts > 0], 1, rtol=1e-9)),
    }
    if places is not None:
        located = locate(places)
        rows = _rows(located, ids)
        said["coincident"] = _coincident(located)
        far = located.km(rows[focal], rows[neighbor])
        said["median_km"] = float(np.median(far)) if len(far) else np.nan
        said["longest_km"] = float(far.max()) if len(far) else np.nan
    return pd.Series(said, dtype=object)


def _coincident(located: Located) -> int:
    if not len(located.index):
        return 0
    _, spot_of = located.spots()
    return int((np.bincount(spot_of)[spot_of] > 1).sum())


def _rows(located: Located, ids: pd.Index) -> NDArray[np.int64]:
    """Position among the places of each place of the graph."""
    index = located.index
    if len(index) != len(ids):
        raise InputError(f"there are {len(index)} places, {len(ids)} in the graph.")
    rows = index.get_indexer(ids)
    if (rows < 0).any():  # AnnData turns every label into a string
        rows = index.map(str).get_indexer(ids.map(str))
    for bad in np.flatnonzero(rows < 0):
        raise InputError(f"place {label(ids, bad)} of the graph is not among the places.")
    return rows.astype(np.int64)
