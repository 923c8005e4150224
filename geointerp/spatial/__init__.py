"""Spatial statistics for thousands of features at once: who is whose neighbour, and does it show.

`knn` makes the weights, a `libpysal.graph.Graph` on the places; `moran` asks of every feature
whether places near each other fire it alike, `local_moran` and `local_g` where they do. All take
what an SAE's encoding gives (AnnData) and what anyone else has: a GeoDataFrame, a DataFrame, an
array, a Graph or W of one's own.
"""

from __future__ import annotations

from geointerp.spatial.local import local_g, local_moran
from geointerp.spatial.moran import moran
from geointerp.spatial.weights import knn

__all__ = ["knn", "local_g", "local_moran", "moran"]
