"""Places and graphs that the tests of spatial share."""

from itertools import pairwise

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from libpysal.graph import Graph
from scipy import sparse

import geointerp as gi

EARTH_KM = gi.sphere.EARTH_RADIUS_KM
WHERE = ["sphere", "date line", "north pole", "south pole", "one street", "antipodes"]


def places_at(lon, lat, index=None, crs="EPSG:4326"):
    return gpd.GeoDataFrame(geometry=gpd.points_from_xy(lon, lat), index=index, crs=crs)


def scattered(n, seed=0):
    """Places all over the sphere, on an index that is not in the order of its labels."""
    rng = np.random.default_rng(seed)
    lon, lat = gi.sphere.lon_lat(rng.standard_normal((n, 3)))
    return places_at(lon, lat, index=rng.permutation(n) + 1000)


def neighbors_of(graph):
    """Positions of the neighbours of each place."""
    ids = graph.unique_ids
    focal, neighbor = graph.index_pairs
    found = [[] for _ in ids]
    for i, j in zip(ids.get_indexer(focal), ids.get_indexer(neighbor), strict=True):
        found[i].append(j)
    return np.array(found)


def uneven_graph(n, seed, islands=3, directed=True, binary=False):
    """Weights of all sizes, degrees from 1 to many, and places without any neighbour."""
    rng = np.random.default_rng(seed)
    density = rng.uniform(0.01, 0.3, size=(n, 1))
    weights = np.where(rng.uniform(size=(n, n)) < density, rng.uniform(0.1, 2, (n, n)), 0)
    weights[np.arange(n), (np.arange(n) + 1) % n] = 1
    alone = rng.choice(n, islands, replace=False)
    weights[alone] = weights[:, alone] = 0
    np.fill_diagonal(weights, 0)
    if not directed:
        weights = weights + weights.T
    if binary:
        weights = (weights > 0).astype(float)
    ids = np.array([f"place {i}" for i in rng.permutation(n)])
    return Graph.from_sparse(sparse.csr_array(weights), ids=ids), weights


def sparse_features(n, width, active, seed):
    rng = np.random.default_rng(seed)
    matrix = np.zeros((n, width))
    for column in matrix.T:
        column[rng.choice(n, active, replace=False)] = rng.exponential(size=active)
    return matrix


def moran_by_hand(x, weights):
    """I as it is written in the books."""
    z = x - x.mean()
    return len(x) / weights.sum() * (z @ weights @ z) / (z @ z)


def geary_by_hand(x, weights):
    """C as it is written in the books."""
    apart = (x[:, None] - x) ** 2
    z = x - x.mean()
    return (len(x) - 1) / (2 * weights.sum()) * (weights * apart).sum() / (z @ z)


def getis_ord_by_hand(x, weights):
    """G as it is written in the books."""
    products = np.outer(x, x)
    np.fill_diagonal(products, 0)
    return (weights * products).sum() / products.sum()


def joins_by_hand(x, weights):
    """BB: joins of places that both fire."""
    fires = (x != 0).astype(float)
    return (weights * np.outer(fires, fires)).sum() / 2


def unlike_joins_by_hand(x, weights):
    """BW: joins of a place that fires with one that does not."""
    fires = x != 0
    return weights[fires[:, None] != fires].sum() / 2


def bivariate_by_hand(x, y, weights):
    """I of two variables as it is written in the books."""
    x, y = x - x.mean(), y - y.mean()
    return len(x) / weights.sum() * (x @ weights @ y) / np.sqrt((x @ x) * (y @ y))


def shuffles(graph, count, seed, within=None, centred=True):
    """What a test's permutations do to a feature, one function each.

    `within`: labels, which are numbered in the order in which they come.
    `centred`: of statistics that do not heed a constant added to the feature.
    """
    from geointerp.spatial import nulls
    from geointerp.spatial.neighbors import read_graph
    from geointerp.spatial.table import read_features

    n = len(graph.unique_ids)
    neighbors = read_graph(graph, read_features(np.ones((n, 1))))
    groups = None if within is None else pd.factorize(within, use_na_sentinel=False)[0]
    null = nulls.Null(neighbors.site, seed, groups)
    orders = null.draw(0, count, np.arange(n, dtype=np.int32))

    def mover(order):
        def move(x):
            # the active places take the first slots of their group, and the others the rest
            whole = centred and 2 * np.count_nonzero(x) > n
            active = np.arange(n) if whole else np.flatnonzero(x)
            taken, slots = null.slots(active)
            by_site = np.zeros(n)
            by_site[order[slots]] = x[active][taken]
            return by_site[neighbors.site]

        return move

    return [mover(order) for order in orders]


def p_by_hand(observed, drawn, alternative):
    """The share of draws that are as extreme, with what is observed among them."""
    drawn = np.asarray(drawn)
    greater = (1 + (drawn >= observed - 1e-9).sum()) / (1 + len(drawn))
    less = (1 + (drawn <= observed + 1e-9).sum()) / (1 + len(drawn))
    both = min(1, 2 * min(greater, less))
    return {"greater": greater, "less": less, "two-sided": both}[alternative]


def places_of(where, n, seed):
    """Places all over the sphere, or where something might go wrong."""
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(-180, 180, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    if where == "date line":
        lon, lat = 180 - np.abs(rng.normal(0, 2, n)) * rng.choice([1, -1], n), lat / 10
        lon = (lon + 180) % 360 - 180
    elif where == "north pole":
        lat = 90 - rng.uniform(0, 3, n)
    elif where == "south pole":
        lat = -90 + rng.uniform(0, 3, n)
    elif where == "one street":
        lon, lat = 12 + rng.uniform(0, 1e-3, n), 60 + rng.uniform(0, 1e-3, n)
    elif where == "one metre":
        lon, lat = rng.uniform(0, 1e-5, (2, n))
    elif where == "antipodes":
        side = rng.choice([0, 1], n)
        lon, lat = 30 - 180 * side + rng.normal(0, 1, n), (1 - 2 * side) * (20 + lat / 90)
    return places_at(lon, lat, index=rng.permutation(n) + 1000)


def far_apart(places):
    """Kilometres between all places, shape (n, n), by the haversine."""
    lon, lat = gi.places.lon_lat(places)
    return gi.sphere.distance_km(lon=lon[:, None], lat=lat[:, None], to_lon=lon, to_lat=lat)


def dense(graph, places):
    """Weights as an array, in the order of the places, whatever the graph's own order."""
    wide = np.zeros((len(places), len(places)))
    focal, neighbor = (places.index.get_indexer(ids) for ids in graph.index_pairs)
    wide[focal, neighbor] = graph.adjacency.to_numpy()
    return wide


def check_form(graph, places):
    """What every graph of ours promises."""
    assert isinstance(graph, Graph)
    assert list(graph.unique_ids) == list(places.index)
    wide = dense(graph, places)
    np.testing.assert_array_equal(graph.sparse.toarray(), wide)  # libpysal's own reading
    assert not wide.diagonal().any()
    alone = places.index[~wide.any(axis=1)]
    assert list(graph.isolates) == list(alone)
    assert np.count_nonzero(wide) + len(alone) == len(graph.adjacency)  # no zeros but those
    return wide


def squares(lons, lats, crs="EPSG:4326", index=None):
    shapes = [
        shapely.box(west, south, east, north)
        for south, north in pairwise(lats)
        for west, east in pairwise(lons)
    ]
    return gpd.GeoDataFrame(geometry=shapes, crs=crs, index=index)


def ring(n):
    """Each place looks at the next two on either side."""
    weights = sum(np.roll(np.eye(n), step, axis=1) for step in (-2, -1, 1, 2))
    return Graph.from_sparse(sparse.csr_array(weights), ids=np.arange(n)), weights
