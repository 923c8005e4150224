"""Activations: what a model holds, at chosen layers, when it reads each placename."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geointerp import hooks, progress, prompts, store
from geointerp.errors import InputError
from geointerp.places import label, lon_lat, validate

if TYPE_CHECKING:
    import geopandas as gpd
    import torch
    import xarray as xr

    from geointerp.models import Model

log = logging.getLogger(__name__)

_BLOCK_BYTES = 64 * 2**20


def capture(
    model: Model,
    places: gpd.GeoDataFrame,
    *,
    template: str = "{name}",
    layers: str | int | Sequence[int] = "all",
    site: str = "resid_post",
    pool: str = "last",
    out: str | Path | None = None,
    batch_tokens: int = 8192,
    padding_side: str = "right",
) -> xr.DataArray:
    """Run every place's prompt through a model and keep one vector per layer.

    Parameters
    ----------
    model : Model
    places : GeoDataFrame
        As `geointerp.places.load` gives it.
    template : str
        With ``{name}`` and other columns of `places`.
    layers : "all", int or sequence of int
        Block numbers from 0; negative ones count from the end.
    site : {"resid_pre", "resid_post", "attn_out", "mlp_in", "mlp_out"}
        See `geointerp.hooks.record`.
    pool : {"last", "mean", "prompt_last", "prompt_mean"}
        See `geointerp.prompts.pooled_positions`.
    out : path, optional
        A new folder for the store. A capture that was killed is taken up where it
        stopped, and ends in the same bytes; a finished one is not done again. In
        memory if not given.
    batch_tokens : int
        At most so many tokens, padding included, go through the model at once.
    padding_side : {"right", "left"}
        Changes nothing but rounding.

    Returns
    -------
    DataArray of float32, dims (place, layer, hidden)
        With `place` (the index of `places`), `name`, `lon`, `lat`, `layer` and the other
        columns as coordinates; read from disk as it is used when `out` is given.

    Raises
    ------
    InputError
        For an unknown field, layer, site or pool, a placename that the tokenizer drops, a
        prompt longer than the model reads, activations that are not finite, or an `out`
        that holds something else.
    """
    validate(places)
    found = hooks.chosen_layers(model, layers)
    tokens = prompts.tokenize(prompts.render(places, template), model.tokenizer)
    spans = prompts.pooled_positions(tokens, pool)
    if padding_side not in ("right", "left"):
        raise InputError(f"padding_side is {padding_side!r}; it must be 'right' or 'left'.")
    _check_lengths(model, places, tokens)
    # a site that does not exist must be known before a folder is made
    with hooks.record(model, found, site):
        pass
    identity = {
        **_identity(model, places, tokens, template, found, site, pool),
        # they change rounding, and so the bytes
        "batch_tokens": batch_tokens,
        "padding_side": padding_side,
    }
    if out is not None and store.exists(Path(out), identity):
        log.info("%s: all %d places were there already", out, len(places))
        return open(out)

    reader = _Reader(model, found, site, batch_tokens, padding_side)
    rows = max(16, min(1024, _BLOCK_BYTES // (4 * len(found) * model.hidden)))
    starts = range(0, len(places), rows)
    if out is None:
        blocks = progress.track(starts, "capture")
        parts = [reader.read(tokens[a : a + rows], spans[a : a + rows]) for a in blocks]
        values = _finite(np.concatenate(parts), places, found, 0)
        return _labelled(values, places, found, identity)

    partial = store.Partial(Path(out), identity, places, found, model.hidden, rows)
    todo = [(b, a) for b, a in enumerate(starts) if not partial.holds(b)]
    kept = len(places) - sum(min(rows, len(places) - a) for _, a in todo)
    log.info("%s: kept %d of %d places from before", out, kept, len(places))
    for b, a in progress.track(todo, "capture", total=len(starts), done=len(starts) - len(todo)):
        values = reader.read(tokens[a : a + rows], spans[a : a + rows])
        partial.write(b, a, _finite(values, places, found, a))
    partial.finish({"made by": {"function": "geointerp.activations.capture", **identity}})
    return open(out)


def open(path: str | Path) -> xr.DataArray:
    """Open a finished store.

    Parameters
    ----------
    path : path
        The folder that `capture` wrote.

    Returns
    -------
    DataArray of float32, dims (place, layer, hidden)
        As `capture` returns it; values are read from disk when they are used.

    Raises
    ------
    InputError
        If the folder is no store, or one whose capture was interrupted.
    """
    import geopandas as gpd
    import xarray as xr

    path = Path(path)
    identity = store.read_identity(path)
    places = gpd.read_parquet(path / "places.parquet")
    with warnings.catch_warnings():
        # the card and the table of places stand beside the arrays
        warnings.filterwarnings("ignore", message="Object at .* is not recognized")
        data = xr.open_zarr(path, consolidated=False, chunks=None)
    array = data["activations"].assign_coords(_coordinates(places, data["layer"].values.tolist()))
    array.attrs = {**identity, "store": str(path)}
    return array


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
    import pandas as pd

    columns = {
        name: coordinate.values
        for name, coordinate in acts.coords.items()
        if coordinate.dims == ("place",) and name not in ("place", "lon", "lat")
    }
    table = pd.DataFrame(columns, index=acts.indexes["place"])
    points = gpd.points_from_xy(acts["lon"].values, acts["lat"].values)
    return gpd.GeoDataFrame(table, geometry=points, crs="EPSG:4326")


class _Reader:
    """Runs prompts through a model and pools the recorded sites."""

    def __init__(
        self, model: Model, layers: list[int], site: str, batch_tokens: int, padding_side: str
    ) -> None:
        self.model, self.layers, self.site = model, layers, site
        self.batch_tokens, self.left = batch_tokens, padding_side == "left"
        # the backbone alone: no vocabulary projection
        self.backbone = model.model.base_model
        accepted = inspect.signature(self.backbone.forward).parameters
        self.takes_positions = "position_ids" in accepted
        self.fixed = {"use_cache": False} if "use_cache" in accepted else {}
        self.pad = model.tokenizer.pad_token_id or 0

    def read(
        self, tokens: Sequence[prompts.Tokens], spans: Sequence[tuple[int, int]]
    ) -> NDArray[np.float32]:
        """Vectors of some prompts, shape (prompt, layer, hidden)."""
        shape = (len(tokens), len(self.layers), self.model.hidden)
        # a row that is never written must show
        values = np.full(shape, np.nan, dtype=np.float32)
        for rows in self._batches([len(t.ids) for t in tokens]):
            batch = self._forward([tokens[i].ids for i in rows], [spans[i] for i in rows])
            values[rows] = batch.float().cpu().numpy()
        return values

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        """Prompts of like length together, within the budget of tokens."""
        batch: list[int] = []
        for i in np.argsort(lengths, kind="stable").tolist():
            if batch and lengths[i] * (len(batch) + 1) > self.batch_tokens:
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def _forward(self, ids: list[list[int]], spans: list[tuple[int, int]]) -> torch.Tensor:
        import torch

        longest = max(map(len, ids))
        table = np.full((len(ids), longest), self.pad, dtype=np.int64)
        mask = np.zeros((len(ids), longest), dtype=np.int64)
        first = np.zeros(len(ids), dtype=np.int64)
        for row, prompt in enumerate(ids):
            first[row] = longest - len(prompt) if self.left else 0
            table[row, first[row] : first[row] + len(prompt)] = prompt
            mask[row, first[row] : first[row] + len(prompt)] = 1
        device = self.model.model.device
        inputs = {
            "input_ids": torch.from_numpy(table).to(device),
            "attention_mask": torch.from_numpy(mask).to(device),
            **self.fixed,
        }
        if self.left and self.takes_positions:
            # positions count from the prompt's own first token, not from the padding's
            positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
            inputs["position_ids"] = torch.from_numpy(positions).to(device)
        with torch.inference_mode(), hooks.record(self.model, self.layers, self.site) as seen:
            self.backbone(**inputs)
            place = torch.arange(longest, device=device)
            bounds = (
                torch.tensor(spans, device=device) + torch.from_numpy(first).to(device)[:, None]
            )
            inside = (place >= bounds[:, :1]) & (place <= bounds[:, 1:])
            share = (inside / inside.sum(dim=1, keepdim=True)).float()
            # masked, not multiplied: 0 times a padding's inf would be NaN
            pooled = [
                torch.einsum(
                    "pt,pth->ph", share, seen[layer].float().masked_fill(~inside[..., None], 0)
                )
                for layer in self.layers
            ]
            return torch.stack(pooled, dim=1)


def _finite(
    values: NDArray[np.float32], places: gpd.GeoDataFrame, layers: list[int], start: int
) -> NDArray[np.float32]:
    bad = np.argwhere(~np.isfinite(values).all(axis=2))
    if len(bad):
        row, layer = bad[0]
        raise InputError(
            f"place {label(places, start + row)} ({places['name'].iloc[start + row]}), layer "
            f"{layers[layer]}: an activation is not finite; load the model in float32."
        )
    return values


def _check_lengths(
    model: Model, places: gpd.GeoDataFrame, tokens: Sequence[prompts.Tokens]
) -> None:
    limit = getattr(model.model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(range(len(tokens)), key=lambda i: len(tokens[i].ids))
    if limit and len(tokens[longest].ids) > limit:
        raise InputError(
            f"place {label(places, longest)}: its prompt has {len(tokens[longest].ids)} tokens; "
            f"{model.name} reads {limit}."
        )


def _identity(
    model: Model,
    places: gpd.GeoDataFrame,
    tokens: Sequence[prompts.Tokens],
    template: str,
    layers: list[int],
    site: str,
    pool: str,
) -> dict[str, Any]:
    table = places.drop(columns=places.geometry.name).to_json(orient="split", default_handler=str)
    digest = hashlib.sha256(json.dumps(json.loads(table), sort_keys=True).encode())
    for shape in (places.geometry.x, places.geometry.y):
        digest.update(shape.to_numpy().tobytes())
    digest.update(str(places.crs.to_wkt()).encode())
    ids = hashlib.sha256(json.dumps([t.ids for t in tokens]).encode())
    return {
        "model": model.name,
        "untrained_seed": model.untrained_seed,
        "weights_sha256": model.fingerprint,
        "template": template,
        "site": site,
        "pool": pool,
        "layers": layers,
        "dtype": "float32",
        "computed_in": str(model.model.dtype).removeprefix("torch."),
        "n_places": len(places),
        "places_sha256": digest.hexdigest(),
        "tokens_sha256": ids.hexdigest(),
    }


def _coordinates(places: gpd.GeoDataFrame, layers: list[int]) -> dict[str, Any]:
    lon, lat = lon_lat(places)
    columns = places.drop(columns=places.geometry.name)
    found: dict[str, Any] = {
        str(name): ("place", values.to_numpy())
        for name, values in columns.items()
        if name not in ("place", "layer", "hidden", "lon", "lat")
    }
    return {
        "place": places.index.to_numpy(),
        "layer": layers,
        "lon": ("place", lon),
        "lat": ("place", lat),
        **found,
    }


def _labelled(
    values: NDArray[np.float32], places: gpd.GeoDataFrame, layers: list[int], identity: Any
) -> xr.DataArray:
    import xarray as xr

    return xr.DataArray(
        values,
        dims=("place", "layer", "hidden"),
        coords=_coordinates(places, layers),
        name="activations",
        attrs=dict(identity),
    )
