"""Neurons: which single units of a model go along with a target, or write towards it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.utils.validation import check_is_fitted

from geointerp.errors import InputError
from geointerp.probes import inputs
from geointerp.probes.ridge import RidgeProbe
from geointerp.probes.targets import Target

if TYPE_CHECKING:
    import xarray as xr

    from geointerp.models import Model


# units, so that their ranks take little memory
_AT_ONCE = 256


def neurons(
    acts: xr.DataArray, *, target: str | Target = "coordinates", seed: int = 0
) -> pd.DataFrame:
    """How well each unit of a layer, alone, goes along with the target.

    For an MLP's neurons, capture the site after its activation function, such as
    ``site="mlp.act_fn"`` or ``"mlp.down_proj:input"``.

    Parameters
    ----------
    acts : DataArray, dims (place, hidden)
        Of one layer: ``acts.sel(layer=3)``.
    target, seed
        As for `geointerp.probes.evaluate`.

    Returns
    -------
    DataFrame
        A row per unit, the best first: `neuron`; `r2`, the mean over the target's columns of
        the squared correlation, over the places it is computed from; `shuffled_r2`, the
        greatest that any unit has with the places' targets shuffled (too little to judge by: it
        forgets that neighbours are alike); Spearman's rho with
        each column. A constant unit has none (Gurnee & Tegmark 2023, section 5).

    Raises
    ------
    InputError
        Activations of several layers.
    """
    acts, bound, _ = inputs.with_target(inputs.layered(acts), target)
    features, values = inputs.one_layer(acts), bound.values
    order = np.random.default_rng(seed).permutation(len(features))
    ranks = stats.rankdata(values, axis=0)
    parts = []
    for start in range(0, features.shape[1], _AT_ONCE):
        units = features[:, start : start + _AT_ONCE]
        part = pd.DataFrame({"r2": _squared(units, values)})
        part["shuffled_r2"] = _squared(units, values[order])
        rho = _correlations(stats.rankdata(units, axis=0), ranks)
        names = [f"spearman_{name}" for name in bound.columns]
        parts.append(pd.concat([part, pd.DataFrame(rho, columns=names)], axis=1))
    table = pd.concat(parts, ignore_index=True)
    table["shuffled_r2"] = table["shuffled_r2"].max()
    table.insert(0, "neuron", np.arange(len(table)))
    return table.sort_values("r2", ascending=False, kind="stable", ignore_index=True)


def aligned_neurons(
    probe: RidgeProbe, model: Model, path: str, *, side: str = "output"
) -> pd.DataFrame:
    """How far each neuron's weights point along a probe's directions, in every layer.

    A neuron writes its column of the output projection to the residual stream, and reads it
    by its row of the input projection; one that handles what the probe found should point
    along its direction (Gurnee & Tegmark 2023, section 5).

    Parameters
    ----------
    probe : RidgeProbe
        Fitted to the residual stream.
    model : Model
    path : str
        Of a linear module in each block, such as ``"mlp.down_proj"`` or ``"mlp.up_proj"``.
    side : {"output", "input"}
        Which side of it is the residual stream.

    Returns
    -------
    DataFrame
        A row per layer and neuron: `layer`, `neuron`, `cosine_0` and on for each target. Two
        random directions of width d have a cosine of about 1 / sqrt(d).

    Raises
    ------
    InputError
        A path that is not a linear module as wide as the probe on that side.
    """
    if side not in ("output", "input"):
        raise InputError(f"side is {side!r}; it must be 'output' or 'input'.")
    check_is_fitted(probe)
    directions = np.atleast_2d(probe.coef_)
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    found = []
    for layer, block in enumerate(model.blocks):
        weights = _weights(model, layer, block, path, side)
        if weights.shape[1] != directions.shape[1]:
            raise InputError(
                f"{path} of layer {layer} is {weights.shape[1]} wide at its {side}; the probe is "
                f"{directions.shape[1]}."
            )
        norms = np.linalg.norm(weights, axis=1, keepdims=True)
        cosines = np.divide(weights, norms, out=np.zeros_like(weights), where=norms > 0)
        table = pd.DataFrame(cosines @ directions.T).add_prefix("cosine_")
        table.insert(0, "neuron", np.arange(len(weights)))
        table.insert(0, "layer", layer)
        found.append(table)
    return pd.concat(found, ignore_index=True)


def _weights(model: Model, layer: int, block: object, path: str, side: str) -> np.ndarray:
    """Each neuron's weights to or from the residual stream, shape (neuron, hidden)."""
    from operator import attrgetter

    import torch

    try:
        module = attrgetter(path)(block)
        weight = module.weight
    except AttributeError:
        raise InputError(f"layer {layer} of {model.name} has no weights at '{path}'.") from None
    if weight.ndim != 2 or not weight.is_floating_point():
        raise InputError(f"'{path}' of layer {layer} is no matrix of numbers: {type(module)}.")
    # torch's Linear keeps (output, input), GPT-2's Conv1D (input, output)
    first = "output" if isinstance(module, torch.nn.Linear) else "input"
    values = weight.detach().double().cpu().numpy()
    return values.T if first == side else values


def _squared(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean squared correlation of each feature with the columns of values."""
    return (_correlations(features, values) ** 2).mean(1)


def _correlations(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Pearson's r of every feature with every column, NaN for a constant one."""
    a, b = (
        np.asarray(m, np.float64) - np.mean(m, axis=0, dtype=np.float64) for m in (features, values)
    )
    norms = np.linalg.norm(a, axis=0)[:, None] * np.linalg.norm(b, axis=0)
    return np.divide(a.T @ b, norms, out=np.full(norms.shape, np.nan), where=norms > 0)
