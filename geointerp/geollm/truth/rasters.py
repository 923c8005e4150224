"""Rasters, read within a distance of places on the sphere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp import sphere
from geointerp.errors import InputError
from geointerp.progress import track

if TYPE_CHECKING:
    import pyproj
    from affine import Affine
    from rasterio.io import DatasetReader

Floats = NDArray[np.float64]
Cells = NDArray[np.int64]
Window = tuple[Cells, Cells]

# cells held in memory at once
_AT_ONCE = 1 << 22
# points of a disc by which its share on the raster is told
_POINTS = 500


def discs(
    path: str | Path, *, lon: Floats, lat: Floats, km: float, band: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Sum and mean of a raster's cells around each place, and how much of that has data.

    Parameters
    ----------
    path : str or Path
    lon, lat : ndarray of float64, shape (n,)
        Degrees, WGS 84.
    km : float
        Great-circle radius. A cell is in the disc if its centre is.
    band : int
        From 1.

    Returns
    -------
    table : DataFrame, n rows
        `sum` and `mean`, the latter weighted by the cells' areas on the globe, NaN without data;
        `coverage`, the share of the disc's area that has data, to about 0.01 at an edge;
        `n_cells`, the cells with data; `n_centres`, those with data or without.
    about : dict
        The band's `description` and `units`, None where the file does not say.

    Raises
    ------
    InputError
        A file that is no raster or damaged, has no CRS, or lacks the band.
    """
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.open(path) as source:
            if not 1 <= band <= source.count:
                raise InputError(f"{path}: there is no band {band}; it has {source.count}.")
            about = {"description": source.descriptions[band - 1], "units": source.units[band - 1]}
            lattice = _lattice(source, path)
            lon, lat = lattice.globe(lon, lat)
            rows: list[Any] = [None] * len(lon)
            # neighbours after each other, for GDAL keeps what it read last
            order = np.lexsort((lon, np.round(lat)))
            for i in track(order, "raster", total=len(order)):
                rows[i] = _disc(lattice, band, lon=lon[i], lat=lat[i], km=km)
    except RasterioError as error:
        raise InputError(f"{path}: not readable as a raster: {error}".splitlines()[0]) from error
    return pd.DataFrame(rows, columns=["sum", "mean", "coverage", "n_cells", "n_centres"]), about


def _disc(
    lattice: _Lattice, band: int, *, lon: float, lat: float, km: float
) -> tuple[float, float, float, int, int]:
    points = _spread(lon=lon, lat=lat, km=km)
    total = weighted = known = whole = 0.0
    n_cells = n_centres = 0
    for rows, columns in lattice.windows(points, lon=lon, lat=lat, km=km):
        for part in np.array_split(rows, max(1, -(-len(rows) * len(columns) // _AT_ONCE))):
            to_lon, to_lat = lattice.centres(part, columns)
            inside = sphere.distance_km(lon=lon, lat=lat, to_lon=to_lon, to_lat=to_lat) <= km
            if not inside.any():
                continue
            values = lattice.read(band, part, columns)[inside]
            area = lattice.area(to_lon[inside], to_lat[inside])
            has = np.isfinite(values)
            total += values[has].sum()
            weighted += (values * area)[has].sum()
            known += area[has].sum()
            whole += area.sum()
            n_cells += int(has.sum())
            n_centres += len(values)
    if not n_cells:
        return np.nan, np.nan, 0.0, 0, n_centres
    coverage = lattice.holds(*points[:, :_POINTS]).mean() * known / whole
    return total, weighted / known, coverage, n_cells, n_centres


class _Lattice(ABC):
    """The cells of a raster, and where they are.

    Parameters
    ----------
    source : DatasetReader
    crs : pyproj.CRS
    """

    def __init__(self, source: DatasetReader, crs: pyproj.CRS) -> None:
        self.source = source
        self.affine, self.inverse = source.transform, ~source.transform
        self.height, self.width = source.height, source.width

    @abstractmethod
    def globe(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        """Longitude and latitude, given in WGS 84, as `centres` has them."""

    @abstractmethod
    def position(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        """Column and row of points, not whole."""

    @abstractmethod
    def windows(self, points: Floats, *, lon: float, lat: float, km: float) -> Iterator[Window]:
        """Rows and columns that hold every centre of a disc, each once, and others."""

    @abstractmethod
    def centres(self, rows: Cells, columns: Cells) -> tuple[Floats, Floats]:
        """Longitude and latitude of each cell, shape (rows, columns); NaN off the map."""

    @abstractmethod
    def area(self, lon: Floats, lat: Floats) -> Floats:
        """The area of cells on the globe, in any unit."""

    def holds(self, lon: Floats, lat: Floats) -> NDArray[np.bool_]:
        """Whether points lie on the raster."""
        column, row = self.position(lon, lat)
        return (column >= 0) & (column < self.width) & (row >= 0) & (row < self.height)

    def plane(self, rows: Cells, columns: Cells) -> tuple[Floats, Floats]:
        """The cells' centres in the raster's own coordinates, shape (rows, columns)."""
        return _mapped(self.affine, *np.meshgrid(columns + 0.5, rows + 0.5))

    def read(self, band: int, rows: Cells, columns: Cells) -> Floats:
        """The cells' values with scale and offset, NaN where there is no data."""
        from rasterio.windows import Window

        pieces = []
        for piece in np.split(columns, np.flatnonzero(np.diff(columns) != 1) + 1):
            window = Window(piece[0], rows[0], len(piece), len(rows))
            found = self.source.read(band, window=window, masked=True)
            pieces.append(found.astype(np.float64).filled(np.nan))
        values = np.concatenate(pieces, axis=1)
        return values * self.source.scales[band - 1] + self.source.offsets[band - 1]


def _mapped(affine: Affine, first: Any, second: Any) -> tuple[Floats, Floats]:
    """Points on the other side of an affine map."""
    return (
        affine.a * first + affine.b * second + affine.c,
        affine.d * first + affine.e * second + affine.f,
    )


def _stretch(positions: Floats, size: int) -> Cells:
    """The rows, or the columns, of a raster from the least position to the greatest."""
    least, most = positions.min(), positions.max()
    more = 1 + 0.01 * (most - least)
    first, last = np.clip([least - more, most + more], 0, size)
    return np.arange(int(np.floor(first)), int(np.ceil(last)))


class _Degrees(_Lattice):
    """A raster in longitude and latitude."""

    def __init__(self, source: DatasetReader, crs: pyproj.CRS) -> None:
        import pyproj

        super().__init__(source, crs)
        self._to = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
        if self.affine.b == self.affine.d == 0:
            # some files hold their first columns again at their end
            self.width = min(source.width, int(360 / abs(self.affine.a) + 0.1))
        self._middle = float(_mapped(self.affine, self.width / 2, self.height / 2)[0])

    def globe(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        return self._to.transform(lon, lat)

    def position(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        # the raster may call 350° what others call -10°
        lon = self._middle + (lon - self._middle + 180) % 360 - 180
        return _mapped(self.inverse, lon, lat)

    def windows(self, points: Floats, *, lon: float, lat: float, km: float) -> Iterator[Window]:
        angle = km / sphere.EARTH_RADIUS_KM
        tall, wide = np.degrees(angle), 180.0
        if abs(lat) + tall < 90:
            wide = np.degrees(np.arcsin(np.sin(angle) / np.cos(np.radians(lat))))
        south, north = max(lat - tall, -90), min(lat + tall, 90)
        columns, rows = [], []
        for turn in (-360, 0, 360):
            sides = [lon + turn - wide, lon + turn + wide]
            across, down = _mapped(self.inverse, *np.meshgrid(sides, [south, north]))
            columns.append(_stretch(across, self.width))
            rows.append(_stretch(down, self.height))
        yield np.unique(np.concatenate(rows)), np.unique(np.concatenate(columns))

    def centres(self, rows: Cells, columns: Cells) -> tuple[Floats, Floats]:
        lon, lat = self.plane(rows, columns)
        return lon, np.where(np.abs(lat) <= 90, lat, np.nan)

    def area(self, lon: Floats, lat: Floats) -> Floats:
        return np.cos(np.radians(lat))


class _Projected(_Lattice):
    """A raster in a plane."""

    def __init__(self, source: DatasetReader, crs: pyproj.CRS) -> None:
        import pyproj

        super().__init__(source, crs)
        self._to = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
        self._factors = pyproj.Proj(crs)

    def globe(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        return lon, lat

    def position(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        east, north = self._to.transform(lon, lat)
        off = ~(np.isfinite(east) & np.isfinite(north))
        return _mapped(self.inverse, np.where(off, np.nan, east), np.where(off, np.nan, north))

    def windows(self, points: Floats, *, lon: float, lat: float, km: float) -> Iterator[Window]:
        columns, rows = self.position(*points)
        known = ~np.isnan(columns)
        if not known.any():
            return
        down, columns = _stretch(rows[known], self.height), np.sort(columns[known])
        cut = int(np.argmax(np.diff(columns))) + 1
        if 2 * (columns[cut] - columns[cut - 1]) <= columns[-1] - columns[0]:
            yield down, _stretch(columns, self.width)
            return
        # the map's own edge runs through the disc: either part goes on to the raster's edge
        left = np.append(columns[:cut], min(0, columns[0]))
        right = np.append(columns[cut:], max(self.width, columns[-1]))
        yield down, _stretch(left, self.width)
        yield down, _stretch(right, self.width)

    def centres(self, rows: Cells, columns: Cells) -> tuple[Floats, Floats]:
        plane = self.plane(rows, columns)
        lon, lat = self._to.transform(*plane, direction="INVERSE")
        # beyond its edge a map begins anew, or says nothing; what comes back elsewhere is off it
        back = self._to.transform(lon, lat)
        near = 1e-3 * min(
            np.hypot(self.affine.a, self.affine.d), np.hypot(self.affine.b, self.affine.e)
        )
        with np.errstate(invalid="ignore"):
            on = np.hypot(back[0] - plane[0], back[1] - plane[1]) < near
        return np.where(on, lon, np.nan), np.where(on, lat, np.nan)

    def area(self, lon: Floats, lat: Floats) -> Floats:
        scale = np.asarray(self._factors.get_factors(lon, lat, errcheck=False).areal_scale)
        known = np.isfinite(scale) & (scale > 0)
        return np.where(known, 1 / np.where(known, scale, 1), 0.0)


def _lattice(source: DatasetReader, path: str | Path) -> _Lattice:
    import pyproj
    from pyproj.exceptions import ProjError

    if source.crs is None:
        raise InputError(f"{path}: the raster has no CRS, so nobody knows where its cells are.")
    try:
        crs = pyproj.CRS.from_wkt(source.crs.to_wkt())
        in_degrees = crs.is_geographic and crs.axis_info[0].unit_name == "degree"
        return (_Degrees if in_degrees else _Projected)(source, crs)
    except ProjError as error:
        raise InputError(
            f"{path}: its CRS cannot be turned into longitude and latitude: {error}".splitlines()[0]
        ) from error


def _spread(*, lon: float, lat: float, km: float) -> Floats:
    """Longitude and latitude of points of a disc, shape (2, n).

    The first of them are spread evenly, along a spiral; then come its edge and the poles in it.
    """
    lam, phi = np.radians(lon), np.radians(lat)
    east = np.array([-np.sin(lam), np.cos(lam), 0])
    north = np.array([-np.sin(phi) * np.cos(lam), -np.sin(phi) * np.sin(lam), np.cos(phi)])
    reach = min(km / sphere.EARTH_RADIUS_KM, np.pi)
    # of a cap, what is even in height is even in area (Archimedes)
    drop = 2 * np.sin(reach / 2) ** 2 * (np.arange(_POINTS) + 0.5) / _POINTS
    # between points on the edge itself the disc would bulge; these lie a little beyond it
    angle = np.append(2 * np.arcsin(np.sqrt(drop / 2)), np.full(64, 1.01 * reach))[:, None]
    golden = np.pi * (3 - np.sqrt(5))
    way = np.append(golden * np.arange(_POINTS), 2 * np.pi * np.arange(64) / 64)[:, None]
    ahead = np.cos(way) * north + np.sin(way) * east
    points = np.stack(
        sphere.lon_lat(
            np.cos(angle) * sphere.unit_vectors(lon=lon, lat=lat) + np.sin(angle) * ahead
        )
    )
    turn = np.linspace(-180, 180, 17)
    poles = [[turn, np.full(17, p)] for p in (-90, 90) if abs(p - lat) <= np.degrees(reach)]
    return np.concatenate([points, *poles], axis=1)
