"""Activations: what a model holds, at chosen layers, when it reads each placename."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp import fingerprint, hooks, processes, progress, prompts, store
from geointerp.errors import InputError
from geointerp.forward import Job, Reader, jobs
from geointerp.places import label, lon_lat, plain, validate

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

    from geointerp.models import Model

log = logging.getLogger(__name__)

_RESERVED = {"hidden", "layer", "names", "place", "prompt", "template"}
_BLOCK_BYTES = 256 * 2**20


def capture(
    model: Model,
    places: gpd.GeoDataFrame,
    *,
    template: str | Sequence[str] = "{name}",
    names: str | Sequence[str] = "name",
    layers: str | int | Sequence[int] = "all",
    site: str = "resid_post",
    pool: str = "last",
    out: str | Path | None = None,
    store_dtype: str = "float32",
    batch_tokens: int | None = None,
    padding_side: str = "right",
) -> xr.DataArray:
    """Run every place's prompt through a model and keep one vector per layer.

    Parameters
    ----------
    model : Model
    places : GeoDataFrame
        As `geointerp.places.load` gives it.
    template : str or sequence of str
        With ``{name}`` and other columns of `places`.
    names : str or sequence of str
        Columns that ``{name}`` is taken from, such as one per language.
    layers : "all", int or sequence of int
        Block numbers from 0; negative ones count from the end.
    site : str
        `resid_pre`, `resid_mid`, `resid_post`, `attn_out`, `mlp_in`, `mlp_out` or a module's
        path in the block; see `geointerp.hooks.record`.
    pool : {"last", "mean", "prompt_last", "prompt_mean"}
        See `geointerp.prompts.pooled_positions`.
    out : path, optional
        A new folder for the store. A capture that was killed is taken up where it
        stopped, and ends in the same bytes; of a finished one only what is damaged is done
        again. Under ``accelerate launch`` each process fills its share. In memory if not
        given.
    store_dtype : {"float32", "float16"}
        Of what is kept. Vectors are averaged in float32, whatever the model computes in.
    batch_tokens : int, optional
        At most so many tokens, padding included, go through the model at once; fewer when a
        GPU's memory runs out. If not given, 8,192 on a GPU, and 1,024 on a CPU, whose caches
        hold no more.
    padding_side : {"right", "left"}
        Changes nothing but rounding: the model is tried first, and where it would read its
        padding, the other side is taken or prompts of one length go together.

    Returns
    -------
    DataArray of float32 or float16, dims (place, layer, hidden)
        With `place` (the index of `places`), `name`, `lon`, `lat`, `layer` and the other
        columns as coordinates; read from disk as it is used when `out` is given. Where several
        templates or columns of names are given it has a first dim `prompt`, with `template`
        and `names` as its coordinates.

    Raises
    ------
    InputError
        For an unknown field, layer, site or pool, a placename that the tokenizer drops, a
        prompt longer than the model reads, activations that are not finite or don't fit the
        dtype, or an `out` that holds something else.
    """
    if not hasattr(model, "backbone"):
        raise InputError(
            f"model is a {type(model).__name__}; geointerp.models.load or wrap makes a model of it."
        )
    places = plain(validate(places))
    for column in sorted(_RESERVED & set(places.columns)):
        raise InputError(
            f"column '{column}' of the places has a name that activations use; rename or drop it."
        )
    if any(module.training for module in model.backbone.modules()):
        raise InputError(f"{model.name} is in training mode, with dropout: call its eval() first.")
    found = hooks.chosen_layers(model, layers)
    if batch_tokens is None:
        batch_tokens = 1024 if model.device.type == "cpu" else 8192
    _check_options(store_dtype, batch_tokens, padding_side)
    # a site that does not exist must be known before a folder is made
    hooks.check(model, found, site)
    variants = list(itertools.product(_listed(template, "template"), _listed(names, "names")))
    asked = [_jobs(model, places, *variant, pool) for variant in variants]
    templates, columns = ([v[i] for v in variants] for i in (0, 1))
    identity = {
        "model": model.name,
        "in_memory": model.in_memory,
        "revision": model.revision,
        "untrained_seed": model.untrained_seed,
        "computed_in": model.dtype,
        "template": templates if len(variants) > 1 else templates[0],
        "names": columns if len(variants) > 1 else columns[0],
        "site": site,
        "pool": pool,
        "layers": found,
        "dtype": store_dtype,
        # they change rounding, and so the bytes
        "batch_tokens": batch_tokens,
        "padding_side": padding_side,
        "n_places": len(places),
        **_digests(model, places, asked),
    }
    reader = functools.cache(
        lambda: Reader(
            model,
            found,
            site,
            prompts=list(itertools.chain(*asked)),
            batch_tokens=batch_tokens,
            padding_side=padding_side,
        )
    )
    if out is not None:
        with store.alone(Path(out)) if processes.is_first() else nullcontext():
            _fill(store.Store(Path(out), identity), reader, asked, places, found)
        return open(out, verify=False)
    rows = _rows(found, reader().width)
    parts = [
        _finite(reader().read(wanted[start : start + rows]), model, places, found, start)
        for wanted in asked
        for start in progress.track(range(0, len(places), rows), "capture")
    ]
    values = store.fitted(np.concatenate(parts), store_dtype)
    shape = (len(variants), len(places), *values.shape[1:])
    return _labelled(values.reshape(shape), places, found, variants, identity)


def open(path: str | Path, *, verify: bool = True) -> xr.DataArray:
    """Open a finished store.

    Parameters
    ----------
    path : path
        The folder that `capture` wrote.
    verify : bool
        Read every vector once and compare it with its checksum. Without it, what is damaged
        is only seen when it is used; the table of places is compared in any case.

    Returns
    -------
    DataArray of float32 or float16, dims (place, layer, hidden)
        As `capture` returns it; values are read from disk when they are used, so that one
        layer of a store larger than memory is ``acts.sel(layer=3).values``.

    Raises
    ------
    InputError
        If the folder is no store, one whose capture was interrupted, or a damaged one.
    """
    import xarray as xr

    path = Path(path)
    identity = store.read_identity(path)
    places = store.read_places(path)
    if verify:
        store.verify(path)
    with warnings.catch_warnings():
        # the card and the table of places stand beside the arrays
        warnings.filterwarnings("ignore", message="Object at .* is not recognized")
        data = xr.open_zarr(path, consolidated=False, chunks=None)
    variants = list(zip(data["template"].values, data["names"].values, strict=True))
    identity["store"] = str(path)
    values = data["activations"].variable
    return _labelled(values, places, identity["layers"], variants, identity)


def places_of(acts: xr.DataArray) -> gpd.GeoDataFrame:
    """The places of activations, as a GeoDataFrame in EPSG:4326.

    Parameters
    ----------
    acts : DataArray
        With `place`, `name`, `lon` and `lat` as coordinates.

    Returns
    -------
    GeoDataFrame
        On the index `place`, with every other coordinate along it as a column.
    """
    import geopandas as gpd

    columns = {
        name: coordinate.values
        for name, coordinate in acts.coords.items()
        if coordinate.dims == ("place",) and name not in ("place", "lon", "lat")
    }
    table = pd.DataFrame(columns, index=acts.indexes["place"])
    points = gpd.points_from_xy(acts["lon"].values, acts["lat"].values)
    return gpd.GeoDataFrame(table, geometry=points, crs="EPSG:4326")


def prompts_of(acts: xr.DataArray) -> pd.DataFrame:
    """The prompts that activations were read from, as `geointerp.prompts.render` gives them.

    Parameters
    ----------
    acts : DataArray
        Of one template.

    Raises
    ------
    InputError
        Activations of several templates.
    """
    about = about_of(acts)
    return prompts.render(_named(places_of(acts), about["names"]), about["template"])


def prompts_held(acts: xr.DataArray) -> str:
    """The prompts of activations of several, by their numbers, in words."""
    pairs = zip(acts["template"].values, acts["names"].values, strict=True)
    return ", ".join(
        f"{i} is '{template}' with {names}" for i, (template, names) in enumerate(pairs)
    )


def about_of(acts: xr.DataArray) -> dict[str, Any]:
    """What activations say of themselves, with the one template that they are of.

    Raises
    ------
    InputError
        Activations of several templates.
    """
    about = {k: v for k, v in acts.attrs.items() if k not in ("store", "format", "identity_sha256")}
    for key in ("template", "names"):
        if key in acts.coords:
            if acts.coords[key].ndim:
                raise InputError(
                    "these are activations of several prompts: choose one, isel(prompt=0); "
                    f"{prompts_held(acts)}."
                )
            about[key] = acts.coords[key].item()
    return {"names": "name", **about}


def _fill(
    filled: store.Store,
    reader: Callable[[], Reader],
    asked: list[list[Job]],
    places: gpd.GeoDataFrame,
    layers: list[int],
) -> None:
    """Compute and write what a store does not hold yet, each process its share."""
    begun = filled.exists
    processes.wait()
    if processes.is_first():
        if begun:
            filled.mend(places)
        else:
            width = reader().width
            filled.create(places, width, _rows(layers, width))
    processes.wait()
    blocks = filled.blocks
    absent = [block for block in processes.share(blocks) if not filled.holds(block)]
    # shared anew, so that no process waits for those whose share was not kept
    left = sorted(processes.gather(absent))
    todo = processes.share(left)
    if begun and processes.is_first():
        total, rest = (sum(b.stop - b.start for b in some) for some in (blocks, left))
        log.info("%s: kept %d of %d prompts from before", filled.out, total - rest, total)
    done = len(processes.share(range(len(blocks) - len(left))))
    with store.Background(filled) as write:
        for block in progress.track(todo, "capture", total=done + len(todo), done=done):
            values = reader().read(asked[block.prompt][block.start : block.stop])
            write(block, _finite(values, reader().model, places, layers, block.start))
    processes.wait()
    if processes.is_first():
        about = {"function": "geointerp.activations.capture", **filled.identity}
        filled.finish({"made by": about})
    processes.wait()


def _jobs(
    model: Model, places: gpd.GeoDataFrame, template: str, column: str, pool: str
) -> list[Job]:
    rendered = prompts.render(_named(places, column), template)
    tokens = prompts.tokenize(rendered, model.tokenizer)
    _check_lengths(model, places, tokens)
    return jobs(tokens, prompts.pooled_positions(tokens, pool))


def _named(places: gpd.GeoDataFrame, column: str) -> gpd.GeoDataFrame:
    """The places under the names of another column."""
    if column == "name":
        return places
    if column not in places.columns:
        raise InputError(f"names: there is no column '{column}' among the places.")
    return validate(places.assign(name=places[column]), f"names from '{column}'")


def _listed(value: str | Sequence[str], option: str) -> list[str]:
    found = [value] if isinstance(value, str) else list(value)
    if not found or len(set(found)) < len(found):
        raise InputError(f"{option} is {found}; it must name at least one, and none twice.")
    return found


def _rows(layers: list[int], width: int) -> int:
    """Places per block: enough for full batches, few enough for memory and for many devices."""
    return max(16, min(1024, _BLOCK_BYTES // (4 * len(layers) * width)))


def _check_options(store_dtype: str, batch_tokens: int, padding_side: str) -> None:
    if store_dtype not in ("float32", "float16"):
        raise InputError(f"store_dtype is {store_dtype!r}; it must be 'float32' or 'float16'.")
    if batch_tokens < 1:
        raise InputError(f"batch_tokens is {batch_tokens}; it must be 1 or more.")
    if padding_side not in ("right", "left"):
        raise InputError(f"padding_side is {padding_side!r}; it must be 'right' or 'left'.")


def _finite(
    values: NDArray[np.float32],
    model: Model,
    places: gpd.GeoDataFrame,
    layers: list[int],
    start: int,
) -> NDArray[np.float32]:
    bad = np.argwhere(~np.isfinite(values).all(axis=2))
    if len(bad):
        row, layer = bad[0]
        advice = {
            "float16": "load the model in bfloat16 or float32",
            "bfloat16": "load the model in float32",
        }.get(model.dtype, "the model gives no number here")
        raise InputError(
            f"place {label(places, start + row)} ({places['name'].iloc[start + row]}), layer "
            f"{layers[layer]}: an activation is not finite; {advice}."
        )
    return values


def _check_lengths(
    model: Model, places: gpd.GeoDataFrame, tokens: Sequence[prompts.Tokens]
) -> None:
    config = getattr(model.backbone, "config", None) or model.model.config
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    longest = max(range(len(tokens)), key=lambda i: len(tokens[i].ids))
    if limit and len(tokens[longest].ids) > limit:
        raise InputError(
            f"place {label(places, longest)} ({places['name'].iloc[longest]}): its prompt has "
            f"{len(tokens[longest].ids)} tokens; {model.name} reads {limit}."
        )


def _digests(model: Model, places: gpd.GeoDataFrame, asked: list[list[Job]]) -> dict[str, str]:
    """SHA-256 of the weights, the config, the table of places and the tokens."""
    table = places.drop(columns=places.geometry.name).to_json(orient="split", default_handler=str)
    digest = hashlib.sha256(json.dumps(json.loads(table), sort_keys=True).encode())
    for shape in (places.geometry.x, places.geometry.y):
        digest.update(shape.to_numpy().tobytes())
    digest.update(str(places.crs.to_wkt()).encode())
    ids = hashlib.sha256(json.dumps([[job.ids for job in wanted] for wanted in asked]).encode())
    return {
        "weights_sha256": model.fingerprint,
        "config_sha256": fingerprint.of_config(model.model),
        "places_sha256": digest.hexdigest(),
        "tokens_sha256": ids.hexdigest(),
    }


def _coordinates(places: gpd.GeoDataFrame, layers: list[int]) -> dict[str, Any]:
    lon, lat = lon_lat(places)
    columns = places.drop(columns=places.geometry.name)
    found: dict[str, Any] = {
        str(name): ("place", values.to_numpy())
        for name, values in columns.items()
        if name not in ("lon", "lat")
    }
    return {
        "place": places.index.to_numpy(),
        "layer": layers,
        "lon": ("place", lon),
        "lat": ("place", lat),
        **found,
    }


def _labelled(
    values: Any,
    places: gpd.GeoDataFrame,
    layers: list[int],
    variants: list[tuple[str, str]],
    identity: dict[str, Any],
) -> xr.DataArray:
    """An array of (prompt, place, layer, hidden) with its coordinates; one prompt is no dim."""
    import xarray as xr

    templates, columns = ([v[i] for v in variants] for i in (0, 1))
    array = xr.DataArray(
        values,
        dims=("prompt", "place", "layer", "hidden"),
        coords={
            **_coordinates(places, layers),
            "template": ("prompt", templates),
            "names": ("prompt", columns),
        },
        name="activations",
        attrs=dict(identity),
    )
    return array.isel(prompt=0) if len(variants) == 1 else array
