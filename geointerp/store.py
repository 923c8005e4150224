"""The store: activations on disk, whole or visibly not.

A store is a folder: a Zarr group with `activations` (place, layer, hidden), `layer`,
`name`, `lon` and `lat`; the whole table of places as `places.parquet`; and its card.
While it is being filled it is called ``<name>.partial`` and holds one marker per block
of places that is wholly written. Only when all are does it get its name.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geointerp import cards
from geointerp.errors import InputError
from geointerp.places import lon_lat

if TYPE_CHECKING:
    import geopandas as gpd

FORMAT = "geointerp activations 1"


class Partial:
    """A store being filled, block by block of places.

    Parameters
    ----------
    out : Path
        Its final name.
    identity : mapping
        What makes its contents what they are; kept as the group's attributes.
    places : GeoDataFrame
    layers : list of int
    hidden : int
    rows : int
        Places per block.

    Raises
    ------
    InputError
        If what stands under the unfinished name is of another identity, or no store.
    """

    def __init__(
        self,
        out: Path,
        identity: Mapping[str, Any],
        places: gpd.GeoDataFrame,
        layers: list[int],
        hidden: int,
        rows: int,
    ) -> None:
        self.out = out
        self.path = out.with_name(out.name + ".partial")
        self.identity = dict(identity)
        self._done = self.path / "done"
        self._card = self.path / "card.md"
        if self.path.exists() and any(self.path.iterdir()):
            _refuse_other(self.path, self.identity)
        if self._done.exists() or self._card.exists():
            # what a killed write left under a name of its own
            for stray in self.path.rglob("*.partial"):
                stray.unlink()
        else:
            self._create(places, layers, hidden, rows)

    def _create(self, places: gpd.GeoDataFrame, layers: list[int], hidden: int, rows: int) -> None:
        import zarr

        shutil.rmtree(self.path, ignore_errors=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        group = zarr.open_group(
            self.path, mode="w", zarr_format=3, attributes={"format": FORMAT, **self.identity}
        )
        group.create_array(
            "activations",
            shape=(len(places), len(layers), hidden),
            chunks=(rows, 1, hidden),
            dtype="float32",
            fill_value=float("nan"),
            compressors=None,
            dimension_names=("place", "layer", "hidden"),
        )
        lon, lat = lon_lat(places)
        labels: dict[str, tuple[str, Any]] = {
            "layer": ("layer", np.array(layers, dtype=np.int64)),
            "lon": ("place", lon),
            "lat": ("place", lat),
            "name": ("place", places["name"].to_numpy(dtype=object)),
        }
        for name, (dimension, values) in labels.items():
            kind: Any = str if name == "name" else values.dtype
            array = group.create_array(
                name,
                shape=values.shape,
                chunks=values.shape,
                dtype=kind,
                compressors=None,
                dimension_names=(dimension,),
            )
            array[:] = values
        places.to_parquet(self.path / "places.parquet")
        self._done.mkdir()

    def holds(self, block: int) -> bool:
        """Whether a block is wholly written."""
        # markers go last, when the card is there
        whole = self._card.exists() and not self._done.exists()
        return whole or (self._done / str(block)).exists()

    def write(self, block: int, start: int, values: NDArray[np.float32]) -> None:
        """Write the rows of a block, then mark it as done.

        Parameters
        ----------
        block : int
        start : int
            Row of its first place.
        values : ndarray of float32, shape (rows, layer, hidden)
        """
        import zarr

        array = zarr.open_array(self.path / "activations", mode="r+")
        array[start : start + len(values)] = values
        (self._done / str(block)).touch()

    def finish(self, card: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the card and give the store its name."""
        cards.write(self.path, "Activations", card)
        shutil.rmtree(self._done, ignore_errors=True)
        os.replace(self.path, self.out)


def exists(out: Path, identity: Mapping[str, Any]) -> bool:
    """Whether the whole store is there already.

    Raises
    ------
    InputError
        If something else stands under that name.
    """
    if not out.exists():
        return False
    _refuse_other(out, identity)
    return True


def read_identity(path: Path) -> dict[str, Any]:
    """What made a store.

    Raises
    ------
    InputError
        If the folder is no store, or one that is not finished.
    """
    if not path.exists() and path.with_name(path.name + ".partial").exists():
        raise InputError(f"{path}: its capture was interrupted; run the same command to finish it.")
    try:
        attributes = json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: there is no store of activations here.") from error
    if attributes.get("format") != FORMAT:
        raise InputError(f"{path}: this is no store of the format '{FORMAT}'.")
    if (path / "done").exists():
        raise InputError(f"{path}: this store is not finished; run the same capture again.")
    return attributes


def _refuse_other(path: Path, identity: Mapping[str, Any]) -> None:
    try:
        found = json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: it holds something else; choose another output.") from error
    for key in ("format", *identity):
        wanted = FORMAT if key == "format" else json.loads(json.dumps(identity[key]))
        if found.get(key) != wanted:
            raise InputError(
                f"{path}: it holds another run, with {key} {found.get(key)!r} where this one has "
                f"{wanted!r}; choose another output or delete it."
            )
