"""OpenStreetMap files as context, with no network."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from geointerp import sphere
from geointerp.errors import InputError
from geointerp.geollm.context import extract
from geointerp.geollm.context.base import NEARBY, RADIUS_KM, PlaceIndex
from geointerp.geollm.context.boundaries import COUNTRY, containing, countries
from geointerp.geollm.context.box import Box
from geointerp.geollm.context.settlements import Settlements

if TYPE_CHECKING:
    import geopandas as gpd

log = logging.getLogger(__name__)

# for rounding: a millimetre
_EDGE_KM = 1e-6


class OsmFile:
    """A file of OpenStreetMap as context, with no network.

    Nearby are the nodes with a name and a tag `place`, whatever its value, as in GeoLLM's own
    query: villages, but also localities and countries.

    The address has every area with boundary=administrative that contains the point, from fine
    to coarse, and before the areas of its rank the nearest settlement (neighbourhood or
    quarter; suburb or hamlet; borough; village, town or city), if the point is in its reach,
    2.2 km to 17.8 km, and the finest area around it is also the point's. Ranks and reaches are
    those of Nominatim, which GeoLLM asks; there are no streets and houses. Of two parts in a
    row of one name, one is written, while GeoLLM's addresses hold both.

    A file holds the whole boundary of few areas that reach beyond it. The others are left out
    of addresses, but for the country: where an area in it tells (ISO3166-2=DE-BY), it is named
    as the file names it or else, in English, as GeoNames does.

    Parameters
    ----------
    path : str or Path
        .osm.pbf, or .osm, .osm.gz, .osm.bz2 … Its places and boundaries are read once and kept
        beside it, in a folder of its name and ".geointerp"; where that cannot be, they are held
        in memory, and a warning is logged.
    language : str, optional
        A code such as ``"en"``: names are those of `name:en` where there is one. By default
        they are in the language of the place.

    Attributes
    ----------
    attribution : str
        "© OpenStreetMap contributors, ODbL 1.0".
    places, boundaries : GeoDataFrame
        As `geointerp.geollm.context.extract.Extract` describes them.
    extent : Box
        West, south, east and north, in degrees, as the file's header has it or else of its
        places and boundaries. A file may hold places beyond it; `inside` are the others.

    Raises
    ------
    InputError
        A file that is not there, is no OSM file, is cut off or has no named place; a language
        in which no place has a name.

    Notes
    -----
    What lies beyond the file is not known: if the edge of its extent is nearer to a point than
    its tenth place, a warning is logged with the number of such points. An extract that was cut
    along a border is smaller than its box; then there are more of them.
    """

    attribution = extract.ATTRIBUTION

    def __init__(self, path: str | Path, *, language: str | None = None) -> None:
        self.path = Path(path)
        self.places, self.boundaries, box = extract.load(self.path)
        if self.places.empty:
            raise InputError(f"{path}: no node in it has both a place=* and a name=*.")
        if language is not None:
            theirs = _names_in(self.places, language)
            if theirs.isna().all():
                raise InputError(f"{path}: no place in it has a name:{language}.")
            self.places = self.places.assign(name=theirs.fillna(self.places["name"]))
            theirs = _names_in(self.boundaries, language)
            self.boundaries = self.boundaries.assign(name=theirs.fillna(self.boundaries["name"]))
        self.extent = box or _bounds(self.places, self.boundaries)
        # of a file without a box nobody knows where it ends
        self._beyond_km = 0.0 if box else RADIUS_KM
        lon, lat = self.places.geometry.x.to_numpy(), self.places.geometry.y.to_numpy()
        self.index = PlaceIndex(self.places["name"].tolist(), lon=lon, lat=lat)
        areas = _finest(containing(self.boundaries, lon=lon, lat=lat), len(lon))
        self._settlements = Settlements(self.places, areas)
        self._countries = countries(self.boundaries)

    @property
    def inside(self) -> gpd.GeoDataFrame:
        """Those of `places` that lie within `extent`, also where that crosses the date line."""
        points = self.places.geometry
        return self.places[self.extent.inside_km(lon=points.x, lat=points.y) >= -_EDGE_KM]

    def address(self, *, lon: ArrayLike, lat: ArrayLike) -> list[tuple[str, ...]]:
        """The settlements and areas of every point, from fine to coarse.

        Parameters
        ----------
        lon, lat : array_like, shape (n,)
            Degrees.

        Returns
        -------
        list of tuple of str, length n

        Raises
        ------
        InputError
            A point that is not on the globe, or outside the file's extent.
        """
        lon, lat = self._checked(lon, lat)
        around = containing(self.boundaries, lon=lon, lat=lat)
        around["name"] = self.boundaries["name"].to_numpy(object)[around["area"]]
        near = self._settlements.around(lon=lon, lat=lat, areas=_finest(around, len(lon)))
        # within a rank, settlements come before areas
        parts = pd.concat([near, around, self._told(around)])[["point", "level", "name"]]
        parts = parts.sort_values(["point", "level"], ascending=[True, False], kind="stable")
        addresses: list[list[str]] = [[] for _ in lon]
        for point, name in zip(parts["point"], parts["name"], strict=True):
            if name not in addresses[point][-1:]:
                addresses[point].append(name)
        nowhere = addresses.count([])
        if nowhere:
            log.warning(
                "%d of %d points have no address: %s holds in whole no area that they are in",
                nowhere,
                len(addresses),
                self.path,
            )
        return [tuple(address) for address in addresses]

    def nearby(self, *, lon: ArrayLike, lat: ArrayLike) -> pd.DataFrame:
        """The ten nearest named places within 100 km of every point, nearest first.

        Parameters
        ----------
        lon, lat : array_like, shape (n,)
            Degrees.

        Returns
        -------
        DataFrame
            As `PlaceIndex.nearby` gives it; `place` is a position in `places`.

        Raises
        ------
        InputError
            A point that is not on the globe, or outside the file's extent.
        """
        lon, lat = self._checked(lon, lat)
        found = self.index.nearby(lon=lon, lat=lat)
        last = np.full(len(lon), RADIUS_KM)
        tenth = found[found.groupby("point").cumcount() == NEARBY - 1]
        last[tenth["point"]] = tenth["distance_km"]
        unsure = int((self.extent.inside_km(lon=lon, lat=lat) < last).sum())
        if unsure:
            log.warning(
                "at least %d of %d points are nearer to the edge of %s than to their tenth place: "
                "what places there are beyond it is not known",
                unsure,
                len(lon),
                self.path,
            )
        return found

    def _checked(
        self, lon: ArrayLike, lat: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        lon, lat = sphere.on_globe(lon=lon, lat=lat)
        off = -self.extent.inside_km(lon=lon, lat=lat)
        outside = np.flatnonzero(off > self._beyond_km + _EDGE_KM)
        for point in outside:
            far = f" by more than {self._beyond_km:g} km" if self._beyond_km else ""
            raise InputError(
                f"{self.path}: point {point} at longitude {lon[point]:.5f} and latitude "
                f"{lat[point]:.5f} lies outside its extent{far}, "
                f"{self.extent}; so do {len(outside)} of {len(lon)} points."
            )
        return lon, lat

    def _told(self, around: pd.DataFrame) -> pd.DataFrame:
        """The country of points that lie in none, as the areas around them tell it."""
        codes = around.assign(code=self.boundaries["country"].to_numpy(object)[around["area"]])
        codes = codes[codes["code"].isin(list(self._countries))].drop_duplicates("point")
        abroad = around.loc[around["level"] == COUNTRY, "point"]
        codes = codes[~codes["point"].isin(abroad)]
        return codes.assign(level=COUNTRY, name=codes["code"].map(self._countries))


def _finest(around: pd.DataFrame, count: int) -> NDArray[np.int64]:
    """The position of the finest area around each point; -1 for none."""
    finest = np.full(count, -1)
    first = around.drop_duplicates("point")
    finest[first["point"]] = first["area"]
    return finest


def _bounds(*tables: gpd.GeoDataFrame) -> Box:
    bounds = np.array([table.total_bounds for table in tables])
    return Box(*np.nanmin(bounds[:, :2], axis=0), *np.nanmax(bounds[:, 2:], axis=0))


def _names_in(table: gpd.GeoDataFrame, language: str) -> pd.Series:
    return table["names"].map(lambda names: json.loads(names).get(language)).astype(object)
