"""Extracts: the named places and administrative boundaries of an OpenStreetMap file.

They are read once and kept beside the file, in a folder of its name and ".geointerp", which is
made anew when the file has changed.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from geointerp import artefacts, cards
from geointerp.errors import InputError
from geointerp.geollm.context.box import Box

if TYPE_CHECKING:
    import geopandas as gpd
    from osmium.osm import TagList

log = logging.getLogger(__name__)

ATTRIBUTION = "© OpenStreetMap contributors, ODbL 1.0"

_FORMAT = 1
_AREAS = ("boundary", "multipolygon")
_NAMES = {"places.parquet", "boundaries.parquet", "card.json", "card.md"}


class Extract(NamedTuple):
    """What was read."""

    places: gpd.GeoDataFrame
    """The nodes with a name and a tag `place`, of any value, as in GeoLLM's query: `name`;
    `names`, the other languages' (JSON, by their code); `place`; and `geometry`. On `osm_id`."""

    boundaries: gpd.GeoDataFrame
    """The named areas with boundary=administrative: `name`, `names`; `admin_level`; `country`,
    ISO 3166-1 alpha-2, where its tags tell; and `geometry`, missing where the file does not hold
    the whole boundary. On `osm_id`, which is negative for a closed way."""

    box: Box | None
    """What the file says it covers; None if it does not say."""


def load(path: Path) -> Extract:
    """What an OSM file holds, from the folder beside it if that is of this file.

    Parameters
    ----------
    path : Path
        .osm.pbf, or .osm, .osm.gz, .osm.bz2 … as libosmium reads them.

    Returns
    -------
    Extract

    Raises
    ------
    InputError
        A file that is not there or is no OSM file.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    stat = path.stat()
    made_from = {
        "file": path.name,
        "bytes": stat.st_size,
        "modified_ns": stat.st_mtime_ns,
        "format": _FORMAT,
    }
    folder = path.with_name(f"{path.name}.geointerp")
    kept = _kept(folder, made_from)
    if kept is not None:
        return kept
    extract = read(path)
    cut = extract.boundaries.loc[extract.boundaries.geometry.isna(), "name"]
    if len(cut):
        log.warning(
            "%s holds %d of its %d administrative boundaries in part only, such as that of %s; "
            "addresses do without them",
            path,
            len(cut),
            len(extract.boundaries),
            cut.iloc[0],
        )
    _keep(extract, folder, made_from)
    return extract


def read(path: Path) -> Extract:
    """Read an OSM file from end to end.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Extract

    Raises
    ------
    InputError
        A file that is no OSM file, or is cut off.
    """
    try:
        places = _places(path)
        return Extract(places, _boundaries(path), _box(path, places))
    except RuntimeError as error:
        raise InputError(f"{path}: not readable as an OpenStreetMap file: {error}.") from error


def _box(path: Path, places: gpd.GeoDataFrame) -> Box | None:
    import osmium

    box = osmium.FileProcessor(path, osmium.osm.NOTHING).header.box()
    if not box.valid():
        return None
    low, high = box.bottom_left, box.top_right
    # libosmium sorts the sides, also those of a box across the date line: the places tell
    boxes = Box(low.lon, low.lat, high.lon, high.lat), Box(high.lon, low.lat, low.lon, high.lat)
    lon, lat = places.geometry.x, places.geometry.y
    return max(boxes, key=lambda box: int((box.inside_km(lon=lon, lat=lat) >= 0).sum()))


def _places(path: Path) -> gpd.GeoDataFrame:
    import geopandas as gpd
    import osmium

    named = osmium.FileProcessor(path, osmium.osm.NODE)
    for key in ("place", "name"):
        named = named.with_filter(osmium.filter.KeyFilter(key))
    rows = [
        (node.id, *_called(node.tags), node.tags["place"], node.lon, node.lat)
        for node in named
        if isinstance(node, osmium.osm.Node) and node.location.valid() and node.tags["name"].strip()
    ]
    table = pd.DataFrame(rows, columns=["osm_id", "name", "names", "place", "lon", "lat"])
    points = gpd.points_from_xy(table.pop("lon"), table.pop("lat"))
    return gpd.GeoDataFrame(table.set_index("osm_id"), geometry=points, crs="EPSG:4326")


def _boundaries(path: Path) -> gpd.GeoDataFrame:
    import geopandas as gpd
    import osmium
    import shapely

    wkb = osmium.geom.WKBFactory()
    rows: dict[int, list[Any]] = {}
    shapes: dict[int, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        part = Path(scratch) / "boundaries.osm.pbf"
        _copy_boundaries(path, part)
        found = osmium.FileProcessor(part).with_areas(_administrative())
        for thing in found.with_filter(_administrative()):
            tags = thing.tags
            if isinstance(thing, osmium.osm.Area):
                key = -thing.orig_id() if thing.from_way() else thing.orig_id()
            elif isinstance(thing, osmium.osm.Relation) and tags.get("type") in _AREAS:
                key = thing.id
            else:
                continue
            name, level = tags.get("name") or "", tags.get("admin_level") or ""
            if not (name.strip() and level.isdecimal()):
                continue
            rows[key] = [*_called(tags), int(level), _country(tags)]
            # there are no rings where they do not close
            if isinstance(thing, osmium.osm.Area) and thing.num_rings()[0]:
                shape = shapely.from_wkb(bytes.fromhex(wkb.create_multipolygon(thing)))
                shapes[key] = shapely.make_valid(shape)
    table = pd.DataFrame.from_dict(
        rows, orient="index", columns=["name", "names", "admin_level", "country"]
    )
    table.index.name = "osm_id"
    return gpd.GeoDataFrame(table, geometry=[shapes.get(key) for key in rows], crs="EPSG:4326")


def _copy_boundaries(path: Path, part: Path) -> None:
    """Write the boundaries with their ways and nodes into a file of their own.

    Areas need the location of every node of a file in memory: of a country's that is much, of
    its boundaries' little.
    """
    import osmium

    wanted = osmium.IdTracker()
    lines = osmium.FileProcessor(path, osmium.osm.WAY | osmium.osm.RELATION)
    for thing in lines.with_filter(_administrative()):
        if isinstance(thing, osmium.osm.Relation):
            wanted.add_relation(thing.id)
            wanted.add_references(thing)
        elif isinstance(thing, osmium.osm.Way) and thing.is_closed():
            wanted.add_way(thing.id)
    wanted.complete_backward_references(path)
    with osmium.SimpleWriter(part) as writer:
        osmium.apply(path, wanted.id_filter(), writer)


def _administrative() -> Any:
    import osmium

    return osmium.filter.TagFilter(("boundary", "administrative"))


def _called(tags: TagList) -> tuple[str, str]:
    """The name, and the names in other languages as JSON."""
    others = {tag.k[5:]: tag.v for tag in tags if tag.k.startswith("name:")}
    return tags["name"], json.dumps(others, ensure_ascii=False)


def _country(tags: TagList) -> str:
    """A country's own code, or that with which its part's begins: DE-BY is in DE."""
    keys = ("ISO3166-1:alpha2", "ISO3166-1", "ISO3166-2")
    return next((tags[key][:2] for key in keys if key in tags), "")


def _kept(folder: Path, made_from: dict[str, Any]) -> Extract | None:
    """What the folder holds, if it was made from this file."""
    import geopandas as gpd

    try:
        card = cards.read(folder)
        if card.get("made from") != made_from:
            return None
        places, boundaries = (
            gpd.read_parquet(folder / f"{name}.parquet") for name in ("places", "boundaries")
        )
        box = card["holds"]["extent"]
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s is damaged and made anew: %s", folder, error)
        return None
    return Extract(places, boundaries, Box(*box) if box else None)


def _keep(extract: Extract, folder: Path, made_from: dict[str, Any]) -> None:
    try:
        artefacts.check_folder(folder)
        if folder.is_dir() and {file.name for file in folder.iterdir()} <= _NAMES:
            shutil.rmtree(folder)
        with artefacts.whole(folder) as part:
            part.mkdir()
            extract.places.to_parquet(part / "places.parquet")
            extract.boundaries.to_parquet(part / "boundaries.parquet")
            holds = {
                "places": len(extract.places),
                "boundaries": len(extract.boundaries),
                "whole boundaries": int(extract.boundaries.geometry.notna().sum()),
                "extent": extract.box,
                "attribution": ATTRIBUTION,
            }
            sections = {"made from": made_from, "holds": holds}
            cards.write(part, f"Places and boundaries of {made_from['file']}", sections)
    except (InputError, OSError) as error:
        log.warning("what was read of %s is not kept: %s", made_from["file"], error)
