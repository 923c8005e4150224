"""Places and graphs that the tests of spatial share."""

import geopandas as gpd
import numpy as np

import geointerp as gi


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
