"""Where on the globe each feature fires: its centre, its spread and its patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from geointerp import sphere
from geointerp.spatial.located import locate_on_sphere
from geointerp.spatial.neighbors import read_weights
from geointerp.spatial.table import (
    Features,
    check_rows,
    check_whole,
    columns,
    not_finite,
    pack,
    read_features,
)

if TYPE_CHECKING:
    import geopandas as gpd
    from anndata import AnnData
    from libpysal.graph import Graph
    from libpysal.weights import W


def extent(
    features: Features,
    places: gpd.GeoDataFrame | gpd.GeoSeries | AnnData,
    graph: Graph | W | None = None,
    *,
    min_patch: int = 3,
) -> pd.DataFrame:
    """Centre and spread of each feature on the sphere, and the patches in which it fires.

    A feature fires where it is positive; neither zero nor a negative value counts.

    Parameters
    ----------
    features : AnnData, DataFrame, ndarray or scipy sparse matrix, shape (n, F)
        A row per place, a column per feature, of any real dtype; computed in float64. The time
        it takes follows the number of nonzero entries.
    places : GeoDataFrame, GeoSeries or AnnData
        The same n places in the same order: points in any CRS, or longitude and latitude in
        degrees in ``obsm["spatial"]``.
    graph : libpysal.graph.Graph or libpysal.weights.W, optional
        Who is whose neighbour among these places, such as `knn` gives. Two places are joined if
        either has the other with a weight that is not 0.
    min_patch : int
        Places that a connected component needs to be called a patch.

    Returns
    -------
    DataFrame
        A row per feature, on `var_names`, the columns' names or 0, …, F - 1:

        - `lon`, `lat`, float64: the centre, in degrees (WGS 84): the direction of the mean of
          the places' unit vectors, weighted by the feature's values.
        - `concentration`, float64: length of that mean vector, 1 where all is in one spot, 0
          where it balances out around the globe.
        - `spread_km`, float64: root of the mean squared great-circle distance to the centre,
          weighted alike; kilometres.
        - `n_active`, int64: places where the feature fires.
        - `n_patches`, Int64, with a graph: connected components of `min_patch` places or more
          among the places where it fires.
        - `largest_patch`, float64, with a graph: share of these places in the largest component
          (be it smaller than `min_patch`).
        - `in_patches`, float64, with a graph: share of these places in patches.
        - `reason`, string: why there is no centre, one sentence; missing where there is one.

        NaN where a quantity is not defined. `attrs` holds `statistic`, `n_places`, `min_patch`,
        and of all n places, equally weighted, `lon`, `lat`, `concentration` and `spread_km`.

    Raises
    ------
    InputError
        Features, places and graph that don't hold the same places in the same order; places
        without a CRS, with a geometry that is missing or no point, or with a coordinate out of
        range; a weight in the graph that is not finite; features that are no numbers; a
        `min_patch` out of its range.

    Notes
    -----
    Places are themselves clustered: cities are many in Europe and in China, and few at sea. A
    feature that fires at random has the spread of all places, not that of the sphere, and its
    centre is theirs. So compare with `attrs`, and the patches of a dense feature with care: fire
    on most places, and most neighbours fire.

    The centre of a feature that fires in two far places lies between them, where it may not fire
    at all. A low `concentration` and several patches tell.

    References
    ----------
    Mardia, K. V. and Jupp, P. E. (2000). Directional Statistics. Wiley, chapter 9: mean direction
    and mean resultant length on the sphere.
    Tarjan, R. E. and van Leeuwen, J. (1984). Worst-case analysis of set union algorithms. Journal
    of the ACM 31(2), 245–281: the components.
    """
    check_whole("min_patch", min_patch, 1)
    table = read_features(features)
    index, lon, lat = locate_on_sphere(places)
    check_rows(table, len(index), index, "the places", "the places' rows")
    pairs = None
    if graph is not None:
        _, weights = read_weights(graph, table._replace(places=index))
        pairs = _pairs(weights)
    points = sphere.unit_vectors(lon=lon, lat=lat)
    result = _extents(table.matrix, points, pairs, int(min_patch))
    result.index = table.names
    everywhere = _extents(np.ones((len(index), 1)), points, None, int(min_patch))
    result.attrs = {
        "statistic": "extent",
        "n_places": len(index),
        "min_patch": int(min_patch),
        **everywhere.loc[0, ["lon", "lat", "concentration", "spread_km"]].map(float).to_dict(),
    }
    return result


def _pairs(weights: sparse.csr_array) -> sparse.csr_array:
    """Each pair of neighbours once, whatever its weights and their direction."""
    joined = sparse.csr_array(weights != 0, dtype=np.int8)
    pairs = sparse.csr_array(sparse.triu(joined + joined.T, k=1))
    pairs.sort_indices()
    return pairs


def _extents(
    matrix: sparse.csc_array | NDArray,
    points: NDArray[np.float64],
    pairs: sparse.csr_array | None,
    min_patch: int,
) -> pd.DataFrame:
    from geointerp.spatial import _firing

    n, width = matrix.shape
    mean, spread = np.full((width, 3), np.nan), np.full(width, np.nan)
    n_active, count, largest, inside = np.zeros((4, width), dtype=np.int64)
    reasons = np.full(width, None, dtype=object)
    finite = np.ones(width, dtype=bool)
    start = 0
    for block in columns(matrix):
        kept, firing = [], []
        for j, (rows, values) in enumerate(block, start):
            fires = values > 0
            n_active[j] = np.count_nonzero(fires)
            reasons[j] = not_finite(values)
            finite[j] = reasons[j] is None
            if not finite[j]:
                continue
            if not n_active[j]:
                reasons[j] = "It fires on no place."
            else:
                kept.append(j)
                firing.append((rows[fires], values[fires]))
        starts, sites, values = pack(firing)
        at = np.array(kept, dtype=np.int64)
        found = np.zeros((len(at), 3)), np.zeros(len(at))
        _firing.centre(starts, sites, values, points, *found)
        mean[at], spread[at] = found
        if pairs is not None:
            counts = np.zeros((3, len(at)), dtype=np.int64)
            indptr, other = pairs.indptr.astype(np.int64), pairs.indices.astype(np.int32)
            _firing.patches(starts, sites, indptr, other, n, min_patch, *counts)
            count[at], largest[at], inside[at] = counts
        start += len(block)

    length = np.sqrt((mean**2).sum(axis=1))
    pointed = ~np.isnan(spread)
    reasons[~pointed & ~np.isnan(length)] = (
        "It has no centre: the places where it fires balance out around the globe."
    )
    lon, lat = sphere.lon_lat(mean)
    result = {
        "lon": np.where(pointed, lon, np.nan),
        "lat": np.where(pointed, lat, np.nan),
        "concentration": np.minimum(length, 1),
        "spread_km": sphere.EARTH_RADIUS_KM * spread,
        "n_active": n_active,
    }
    if pairs is not None:
        some = np.where(finite & (n_active > 0), n_active, np.nan)
        result["n_patches"] = pd.Series(count, dtype="Int64").where(finite)
        result["largest_patch"] = largest / some
        result["in_patches"] = inside / some
    return pd.DataFrame({**result, "reason": pd.array(reasons, dtype="string")})
