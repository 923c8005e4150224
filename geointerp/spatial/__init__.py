"""Spatial statistics for thousands of features at once: who is whose neighbour, and does it show.

`knn` makes the weights, a `libpysal.graph.Graph` on the places; `moran` asks of every feature
whether places near each other fire it alike; `match_regions` which region (`region_of`) it tells
best from all others; `extent` where on the globe it fires, and in how many patches. All take
what an SAE's encoding gives (AnnData) and what anyone else has: a GeoDataFrame, a DataFrame, an
array, a Graph or W of one's own.
"""

from __future__ import annotations

from geointerp.spatial.extent import extent
from geointerp.spatial.labels import region_of
from geointerp.spatial.moran import moran
from geointerp.spatial.regions import match_regions
from geointerp.spatial.weights import knn

__all__ = ["extent", "knn", "match_regions", "moran", "region_of"]
