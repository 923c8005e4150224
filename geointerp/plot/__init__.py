"""Maps and figures: one call each, with projection and coastline built in.

Every function draws into the Axes it is given, or into a new figure, and returns the Axes.
Maps are in Equal Earth, which shows areas as large as they are.
"""

from geointerp.plot.clusters import lisa_map
from geointerp.plot.curves import correlogram, r2_by_layer, recall_area, spectrum
from geointerp.plot.fidelity import fidelity
from geointerp.plot.globe import CENTER, equal_earth, outlines, world, zoom
from geointerp.plot.maps import (
    activation_map,
    arrow_map,
    error_map,
    probe_map,
    rating_map,
    residual_map,
)

__all__ = [
    "CENTER",
    "activation_map",
    "arrow_map",
    "correlogram",
    "equal_earth",
    "error_map",
    "fidelity",
    "lisa_map",
    "outlines",
    "probe_map",
    "r2_by_layer",
    "rating_map",
    "recall_area",
    "residual_map",
    "spectrum",
    "world",
    "zoom",
]
