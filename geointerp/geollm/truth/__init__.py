"""Truth: what a rating is compared with, from a column, from points or from a raster."""

from geointerp.geollm.truth.sources import from_column, from_points, from_raster

__all__ = ["from_column", "from_points", "from_raster"]
