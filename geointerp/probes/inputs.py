"""What a probe is given: activations, a target and folds, checked and fitted to each other."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import BaseCrossValidator

from geointerp.errors import InputError
from geointerp.probes import splits
from geointerp.probes.intervals import FEWEST, Bootstrap
from geointerp.probes.splits import BlockKFold, Fold, RandomKFold
from geointerp.probes.targets import Matrix, Target, of

if TYPE_CHECKING:
    import xarray as xr

log = logging.getLogger(__name__)


def layered(acts: xr.DataArray) -> xr.DataArray:
    """Activations as (place, layer, hidden), checked."""
    if not hasattr(acts, "dims"):
        raise InputError(
            f"activations are a DataArray of xarray's; this is a {type(acts).__name__}."
        )
    if not {"place", "hidden"} <= set(acts.dims) <= {"place", "layer", "hidden"}:
        raise InputError(f"activations have dims (place, layer, hidden); these have {acts.dims}.")
    if "place" not in acts.indexes or not acts.indexes["place"].is_unique:
        raise InputError("activations need the coordinate 'place', which names each place once.")
    if "layer" in acts.dims and "layer" in acts.coords:
        return acts.transpose("place", "layer", "hidden")
    if "layer" not in acts.coords and "model" in acts.attrs:
        raise InputError("the activations do not say of which layer they are: keep 'layer'.")
    acts = acts.transpose("place", *(["layer"] if "layer" in acts.dims else []), "hidden")
    if "layer" in acts.dims:
        return acts.assign_coords(layer=np.arange(acts.sizes["layer"]))
    layer = acts.coords["layer"].values if "layer" in acts.coords else 0
    return acts.drop_vars("layer", errors="ignore").expand_dims(layer=[int(layer)], axis=1)


def columns(acts: xr.DataArray) -> pd.DataFrame:
    """The coordinates along `place` as columns, in order."""
    return pd.DataFrame(
        {str(k): c.values for k, c in acts.coords.items() if c.dims == ("place",) and k != "place"}
    )


def with_target(acts: xr.DataArray, spec: str | Target) -> tuple[xr.DataArray, Target, int]:
    """Activations of the places whose target is known, the target, and how many are not."""
    table = columns(acts)
    for name in ("lon", "lat"):
        if name not in table:
            raise InputError(f"the activations carry no {name!r} along their places.")
    for name, most in (("lon", 180), ("lat", 90)):
        bad = np.flatnonzero(~(table[name].abs() <= most))
        if len(bad):
            raise InputError(
                f"{len(bad)} place(s) have no {name} within ±{most}°, the first in row {bad[0]}."
            )
    bound = of(spec, table)
    missing = len(table) - len(bound.known)
    if not missing:
        return acts, bound, 0
    least = getattr(bound, "least", 0) if hasattr(bound, "column") else 0
    rare = f", or one of fewer than {least} places" if least else ""
    log.warning("%d of %d places are left out: no %s%s", missing, len(table), bound.name, rare)
    acts = acts.isel(place=bound.known)
    return acts, bound.bind(columns(acts)), missing


def finite(features: xr.DataArray, layer: int) -> Matrix:
    """The values of one layer."""
    values = features.values
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        place = features.indexes["place"][bad[0]]
        raise InputError(f"layer {layer}: an activation of place {place} is not finite.")
    return values


def one_layer(acts: xr.DataArray) -> Matrix:
    """The values of activations that are of one layer."""
    acts = layered(acts)
    layers = acts["layer"].values
    if len(layers) > 1:
        raise InputError(
            f"these are activations of {len(layers)} layers: choose one, sel(layer={layers[0]})."
        )
    return finite(acts.isel(layer=0), int(layers[0]))


def folds(acts: xr.DataArray, splitter: BaseCrossValidator) -> list[Fold]:
    """The splitter's folds of the places; no place is tested twice."""
    return splits.folds(columns(acts), splitter)


class Question(NamedTuple):
    """One layer, what is asked of it, and of which places.

    Attributes
    ----------
    features : ndarray of float32 or float64, shape (n, d)
    target : Target
        Bound to the places.
    folds : list of (train, test)
    draws : Bootstrap
        Of the blocks of the places that are tested.
    places : DataFrame
        Columns along the places.
    index : Index
        Of the places.
    """

    features: Any
    target: Target
    folds: list[Fold]
    draws: Bootstrap
    places: pd.DataFrame
    index: pd.Index


def question(
    acts: xr.DataArray,
    target: str | Target,
    cv: BaseCrossValidator | None,
    seed: int,
    block_km: float = 500.0,
) -> Question:
    """Activations of one layer with a target and folds; five random ones if not given."""
    acts, bound, _ = with_target(layered(acts), target)
    places = columns(acts)
    parts = folds(acts, RandomKFold(seed=seed) if cv is None else cv)
    draws = bootstrap(places, parts, block_km, seed)
    return Question(one_layer(acts), bound, parts, draws, places, acts.indexes["place"])


def bootstrap(places: pd.DataFrame, parts: list[Fold], block_km: float, seed: int) -> Bootstrap:
    """Draws of the blocks of the places that are tested, in order."""
    tested = np.sort(np.concatenate([test for _, test in parts]))
    block = BlockKFold(block_km).blocks(lon=places["lon"], lat=places["lat"])[tested]
    found = Bootstrap(block, seed=seed)
    if found.count < FEWEST:
        log.warning(
            "the places that are tested lie in %d block(s) of %g km: too few for intervals",
            found.count,
            block_km,
        )
    return found
