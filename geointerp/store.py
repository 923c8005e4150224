"""The store: activations on disk, whole or visibly not. docs/store.md fixes the format.

While it is being filled a store is called ``<name>.partial``. Its unit is the block: one
prompt template, `rows` places, all layers; a block is done when the chunk of each of its
layers is there and its checksum holds. Only when all blocks are done does the store get
its name.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geointerp import cards
from geointerp.errors import InputError
from geointerp.places import lon_lat, validate

if TYPE_CHECKING:
    import geopandas as gpd

log = logging.getLogger(__name__)

FORMAT = "geointerp activations 3"


class Block(NamedTuple):
    """Some places under one prompt template: what is computed and written at once."""

    prompt: int
    number: int
    start: int
    stop: int


class Store:
    """A store being filled or mended, block by block.

    Parameters
    ----------
    out : Path
        Its final name.
    identity : mapping
        What makes its contents what they are; kept as the group's attributes.

    Attributes
    ----------
    path : Path
        Where it is now.

    Raises
    ------
    InputError
        If what stands under either name is of another identity, or no store.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any]) -> None:
        self.out = out
        self.identity = {**identity, "identity_sha256": _digest(identity)}
        empty = out.is_dir() and not any(out.iterdir())
        self.path = out if out.exists() and not empty else _unfinished(out)
        begun = self.path.exists() and [p for p in self.path.iterdir() if p.suffix != ".partial"]
        if begun or self.path == out:
            _refuse_other(self.path, self.identity)

    @property
    def exists(self) -> bool:
        """Whether there is a store to go on with."""
        # the hash of the table is written last
        return self.path == self.out or _TABLE_HASH in _attributes(self.path)

    def create(
        self,
        places: gpd.GeoDataFrame,
        width: int,
        rows: int,
    ) -> None:
        """Lay out an empty store.

        Parameters
        ----------
        places : GeoDataFrame
        width : int
            Values per vector.
        rows : int
            Places per block.
        """
        try:
            self._lay_out(places, width, rows)
        except Exception:
            # one that could not be laid out must not be taken for one to go on with
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def _lay_out(self, places: gpd.GeoDataFrame, width: int, rows: int) -> None:
        import zarr
        from zarr.codecs import Crc32cCodec

        shutil.rmtree(self.path, ignore_errors=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        group = zarr.open_group(
            self.path, mode="w", zarr_format=3, attributes={"format": FORMAT, **self.identity}
        )
        group.create_array(
            "activations",
            shape=(
                len(prompts_of(self.identity)),
                len(places),
                len(self.identity["layers"]),
                width,
            ),
            chunks=(1, min(rows, len(places)), 1, width),
            dtype=self.identity["dtype"],
            # a row that is never written must show
            fill_value=float("nan"),
            dimension_names=("prompt", "place", "layer", "hidden"),
            compressors=[Crc32cCodec()],
        )
        self._write_labels(places)
        self._write_table(places)

    def mend(self, places: gpd.GeoDataFrame) -> None:
        """Remove what a killed write left under a name of its own, and redo damaged labels."""
        for stray in self.path.rglob("*.partial"):
            stray.unlink()
        if _wrong_label(self.path, places) is not None:
            self._write_labels(places)
        if not _holds_table(self.path):
            self._write_table(places)

    def _write_labels(self, places: gpd.GeoDataFrame) -> None:
        """Write the small arrays that say what the axes are."""
        import zarr
        from zarr.codecs import Crc32cCodec

        group = zarr.open_group(self.path, mode="r+")
        for name, (dimension, values) in _labels(self.identity, places).items():
            kind: Any = str if values.dtype == object else values.dtype
            shutil.rmtree(self.path / name, ignore_errors=True)
            array = group.create_array(
                name,
                shape=values.shape,
                chunks=values.shape,
                dtype=kind,
                dimension_names=(dimension,),
                compressors=[Crc32cCodec()],
            )
            array[:] = values

    def _write_table(self, places: gpd.GeoDataFrame) -> None:
        import zarr

        table = self.path / _TABLE
        partial = _unfinished(table)
        places.to_parquet(partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, table)
        zarr.open_group(self.path, mode="r+").attrs[_TABLE_HASH] = _file_hash(table)

    @property
    def blocks(self) -> list[Block]:
        """All blocks, in order."""
        n_prompts, n_places, *_ = self._shape
        return [
            Block(prompt, number, start, min(start + self._rows, n_places))
            for prompt in range(n_prompts)
            for number, start in enumerate(range(0, n_places, self._rows))
        ]

    def holds(self, block: Block) -> bool:
        """Whether a block is wholly written and undamaged."""
        return all(_intact(path) for path in self._chunks(block))

    def write(self, block: Block, values: NDArray[Any]) -> None:
        """Write the rows of a block.

        Parameters
        ----------
        block : Block
        values : ndarray, shape (rows, layer, hidden)

        Raises
        ------
        InputError
            If the disk does not take it, or the dtype of the store does not hold it.
        """
        import zarr

        stored = fitted(values, self.identity["dtype"])
        array = zarr.open_array(self.path / "activations", mode="r+")
        try:
            array[block.prompt, block.start : block.stop] = stored
        except OSError as error:
            raise InputError(
                f"{self.out}: {error.strerror or error}; what is whole is kept, so make room and "
                "run the same capture again."
            ) from error

    def finish(self, card: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the card, and give the store its name."""
        absent = [p for block in self.blocks for p in self._chunks(block) if not p.exists()]
        if absent:
            raise InputError(f"{self.out}: {len(absent)} chunks are not written; run it again.")
        if self.path != self.out or not (self.path / "card.json").exists():
            cards.write(self.path, "Activations", card)
        if self.path != self.out:
            os.replace(self.path, self.out)

    @property
    def _shape(self) -> list[int]:
        return _layout(self.path)["shape"]

    @property
    def _rows(self) -> int:
        return _layout(self.path)["chunk_grid"]["configuration"]["chunk_shape"][1]

    def _chunks(self, block: Block) -> list[Path]:
        """The files of a block, one per layer."""
        root = self.path / "activations" / "c" / str(block.prompt) / str(block.number)
        return [root / str(layer) / "0" for layer in range(self._shape[2])]


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other captures off a store, where the file system knows locks.

    Raises
    ------
    InputError
        If another capture is at it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    path = out.with_name(f".{out.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{out}: another capture is writing it.") from None
        except OSError as error:
            log.debug("%s: no lock: %s", path, error)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


class Background:
    """Writes blocks in a thread of its own, while the next ones are computed.

    Parameters
    ----------
    filled : Store
    """

    def __init__(self, filled: Store) -> None:
        self._filled = filled
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def __enter__(self) -> Callable[[Block, NDArray[Any]], None]:
        return self._write

    def __exit__(self, *error: object) -> None:
        try:
            self._settle()
        finally:
            self._thread.shutdown()

    def _write(self, block: Block, values: NDArray[Any]) -> None:
        # one block waits at the most, so that memory stays small
        self._settle()
        self._last = self._thread.submit(self._filled.write, block, values)

    def _settle(self) -> None:
        if self._last is not None:
            last, self._last = self._last, None
            last.result()


def fitted(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Values in another dtype.

    Raises
    ------
    InputError
        If one does not fit it.
    """
    with np.errstate(over="ignore"):
        stored = values.astype(dtype, copy=False)
    if not np.isfinite(stored).all():
        raise InputError(
            f"an activation of {np.abs(values).max():.3g} does not fit {dtype}; store float32."
        )
    return stored


def read_identity(path: Path) -> dict[str, Any]:
    """What made a store.

    Raises
    ------
    InputError
        If the folder is no store, or one that is not finished.
    """
    if not path.exists() and _unfinished(path).exists():
        raise InputError(f"{path}: its capture was interrupted; run the same command to finish it.")
    attributes = _attributes(path)
    if not attributes:
        raise InputError(f"{path}: there is no store of activations here.")
    if attributes.get("format") != FORMAT:
        raise InputError(f"{path}: this is no store of the format '{FORMAT}'.")
    if path.name.endswith(".partial"):
        raise InputError(f"{path}: this store is not finished; run the same capture again.")
    # it tells files apart, not captures
    return {k: v for k, v in attributes.items() if k != _TABLE_HASH}


def read_places(path: Path) -> gpd.GeoDataFrame:
    """The table of places of a store.

    Raises
    ------
    InputError
        If it is missing, changed, or no table of the places of this store.
    """
    import geopandas as gpd

    table = path / _TABLE
    if not _holds_table(path):
        raise InputError(
            f"{table}: this table is missing or not as it was written; run the same capture again "
            "to make it anew."
        )
    try:
        places = gpd.read_parquet(table)
    except Exception as error:
        said = str(error).partition("\n")[0]
        raise InputError(
            f"{table}: not readable as GeoParquet ({said}); write the store anew."
        ) from error
    validate(places, str(table))
    count = _layout(path)["shape"][1]
    if len(places) != count:
        raise InputError(
            f"{table}: it has {len(places)} rows for the {count} places of the store; write the "
            "store anew."
        )
    wrong = _wrong_label(path, places)
    if wrong is not None:
        raise InputError(
            f"{path / wrong}: this array is missing or not as it was written; run the same capture "
            "again to make it anew."
        )
    return places


def prompts_of(identity: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Template, and the column that the name is taken from, of each prompt of a store."""
    templates, columns = (
        [identity[key]] if isinstance(identity[key], str) else list(identity[key])
        for key in ("template", "names")
    )
    return list(zip(templates, columns, strict=True))


def verify(path: Path) -> None:
    """Read every chunk of activations and compare it with its checksum.

    Raises
    ------
    InputError
        For the first chunk that is missing or damaged.
    """
    identity = {k: v for k, v in read_identity(path).items() if k not in _ADDED}
    opened = Store(path, identity)
    for block in opened.blocks:
        for layer, chunk in zip(identity["layers"], opened._chunks(block), strict=True):
            if not _intact(chunk):
                raise InputError(
                    f"{chunk}: this chunk (places in rows {block.start} to {block.stop - 1}, layer "
                    f"{layer}) is missing or damaged; run the same capture again to make it anew."
                )


_ADDED = ("format", "identity_sha256")
_TABLE = "places.parquet"
_TABLE_HASH = "places_parquet_sha256"


def _layout(path: Path) -> dict[str, Any]:
    """What Zarr says of the activations' array."""
    about = path / "activations" / "zarr.json"
    try:
        return json.loads(about.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{about}: this file is missing or damaged; delete the store and capture anew."
        ) from error


def _labels(identity: Mapping[str, Any], places: gpd.GeoDataFrame) -> dict[str, tuple[str, Any]]:
    """The arrays along the axes: by name, the axis and the values."""
    prompts = prompts_of(identity)
    lon, lat = lon_lat(places)
    return {
        "template": ("prompt", np.array([template for template, _ in prompts], dtype=object)),
        "names": ("prompt", np.array([column for _, column in prompts], dtype=object)),
        "layer": ("layer", np.array(identity["layers"], dtype=np.int64)),
        "lon": ("place", lon),
        "lat": ("place", lat),
        "name": ("place", places["name"].to_numpy(dtype=object)),
    }


def _wrong_label(path: Path, places: gpd.GeoDataFrame) -> str | None:
    """The first array along an axis that is not what it should be."""
    import zarr

    for name, (_, values) in _labels(_attributes(path), places).items():
        try:
            found = np.asarray(zarr.open_array(path / name, mode="r")[:])
        except Exception:  # whatever zarr makes of a damaged file
            return name
        same = found.shape == values.shape and (
            # another PROJ may round otherwise
            np.allclose(found, values, rtol=0, atol=1e-9)
            if values.dtype == np.float64
            else (found == values).all()
        )
        if not same:
            return name
    return None


def _holds_table(path: Path) -> bool:
    """Whether the table of places is there and as it was written."""
    try:
        return _file_hash(path / _TABLE) == _attributes(path).get(_TABLE_HASH)
    except OSError:
        return False


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _attributes(path: Path) -> dict[str, Any]:
    """The attributes of a group; none where there is no group."""
    try:
        return json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]
    except (OSError, ValueError, KeyError):
        return {}


def _intact(chunk: Path) -> bool:
    """Whether a chunk is there and ends in the CRC-32C of what comes before."""
    import google_crc32c

    try:
        data = chunk.read_bytes()
    except OSError:
        return False
    return len(data) > 4 and google_crc32c.value(data[:-4]) == int.from_bytes(data[-4:], "little")


def _unfinished(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def _digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _refuse_other(path: Path, identity: Mapping[str, Any]) -> None:
    found = _attributes(path)
    if not found:
        raise InputError(f"{path}: it holds something else; choose another output.")
    for key in ("format", *identity):
        wanted = FORMAT if key == "format" else json.loads(json.dumps(identity[key]))
        if found.get(key) != wanted:
            what = _HASHED.get(key, f"with {key} {found.get(key)!r} where this one has {wanted!r}")
            raise InputError(
                f"{path}: it holds another run, {what}; choose another output or delete it."
            )


_HASHED = {
    "weights_sha256": "of a model with other weights",
    "config_sha256": "of a model with another config",
    "places_sha256": "of another table of places",
    "tokens_sha256": "of other tokens for the same prompts",
}
