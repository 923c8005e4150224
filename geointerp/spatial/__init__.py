"""Spatial statistics for thousands of features at once: who is whose neighbour, and does it show.

`knn`, `distance_band`, `kernel`, `delaunay` and `contiguity` make the weights, a
`libpysal.graph.Graph` on the places, and `describe` says what they are like; `moran` and its kin
ask of every feature whether places near each other fire it alike, `correlogram` how far apart,
`local_moran` and `local_g` where; `match_regions` which region (`region_of`) it tells best from all
others; `extent` where on the globe it fires, and in how many patches. All take what an SAE's
encoding gives (AnnData) and what anyone else has: a GeoDataFrame, a DataFrame, an array, a Graph
or W of one's own.
"""

from __future__ import annotations

from geointerp.spatial.autocorrelation import geary, getis_ord, join_counts
from geointerp.spatial.bivariate import bivariate_moran
from geointerp.spatial.contiguity import contiguity
from geointerp.spatial.correlogram import correlogram, reach_km
from geointerp.spatial.distance import distance_band, kernel
from geointerp.spatial.extent import extent
from geointerp.spatial.labels import region_of
from geointerp.spatial.local import local_g, local_moran
from geointerp.spatial.moran import moran
from geointerp.spatial.nearest import knn
from geointerp.spatial.regions import match_regions
from geointerp.spatial.summary import describe
from geointerp.spatial.triangulation import delaunay

__all__ = [
    "bivariate_moran",
    "contiguity",
    "correlogram",
    "delaunay",
    "describe",
    "distance_band",
    "extent",
    "geary",
    "getis_ord",
    "join_counts",
    "kernel",
    "knn",
    "local_g",
    "local_moran",
    "match_regions",
    "moran",
    "reach_km",
    "region_of",
]
