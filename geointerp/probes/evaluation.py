"""Cross-validated probes of every layer, beside their controls."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.model_selection import BaseCrossValidator, KFold

from geointerp import progress
from geointerp.activations import about_of
from geointerp.errors import InputError
from geointerp.probes import controls as control
from geointerp.probes import scores
from geointerp.probes.crossfit import crossfit, labels, plan
from geointerp.probes.intervals import Bootstrap, interval
from geointerp.probes.report import MODEL, Report
from geointerp.probes.ridge import ALPHAS
from geointerp.probes.splits import BlockKFold, Fold, RandomKFold
from geointerp.probes.targets import Matrix, Target, of

if TYPE_CHECKING:
    import xarray as xr

    from geointerp.models import Model

log = logging.getLogger(__name__)


def evaluate(
    acts: xr.DataArray,
    *,
    target: str | Target = "coordinates",
    cv: BaseCrossValidator | Mapping[str, BaseCrossValidator] | None = None,
    controls: bool | Sequence[str] = True,
    model: Model | None = None,
    word_vectors: pd.DataFrame | None = None,
    alphas: Sequence[float] = ALPHAS,
    block_km: float = 500.0,
    seed: int = 0,
    device: str = "cpu",
    products: str = "float64",
) -> Report:
    """Probe every layer with ridge regression, cross-validated, and its controls likewise.

    Parameters
    ----------
    acts : DataArray, dims (place, layer, hidden) or (place, hidden)
        As `geointerp.activations.capture` gives it.
    target : str or Target
        ``"coordinates"`` (longitude and latitude in degrees), ``"sphere"`` (unit vectors),
        ``"cells"``, ``"harmonics"``, a column of numbers or labels such as ``"country"``,
        ``"log population"``, or a target of `geointerp.probes` with options of its own.
    cv : splitter, or mapping of label to splitter, optional
        Five random folds if not given.
    controls : bool or sequence of str
        All, none, or those named, of ``geointerp.probes.controls.ALL``.
    model : Model, optional
        Of the activations, for the controls; loaded by its name if not given.
    word_vectors : DataFrame, index of words, optional
        Static vectors, for one more control.
    alphas : sequence of float
        Penalties. Each fold's is chosen within its training set; see
        `geointerp.probes.crossfit.crossfit`.
    block_km : float
        Side of the blocks that the intervals are drawn over.
    seed : int
        Of the random folds, the untrained weights, the shuffle and the intervals.
    device, products : str
        Where sums of products are made and solved, and in "float64" or "float32"; see
        `geointerp.probes.crossfit.Plan`.

    Returns
    -------
    Report
        Of the places whose target is known; how many are left out is logged and kept.

    Raises
    ------
    InputError
        A target that is not there, without a value or constant; fewer places than folds;
        activations that are not finite.
    """
    about = about_of(acts)
    acts, bound, missing = _with_target(_layered(acts), target)
    splits = _splits(RandomKFold(seed=seed) if cv is None else cv)
    folds = {label: _folds(acts, splitter) for label, splitter in splits.items()}
    asked = control.chosen(controls)
    model = control.checked(asked, acts, model)
    options = {"device": device, "products": products}
    runs: list[_Run] = []

    def probe(source: str, layer: int | None, features: Any, target: Target, on: Any) -> None:
        penalties = control.COUNT_ALPHAS if sparse.issparse(features) else alphas
        for label in on:
            how = plan(
                penalties, target.values, groups=target.groups, relative=target.relative, **options
            )
            found = crossfit(features, target.values, folds[label], how)
            runs.append(_Run(source, label, layer, target, found.predicted))

    layers = [int(layer) for layer in acts["layer"].values]
    for layer in progress.track(layers, "probe"):
        probe(MODEL, layer, _finite(acts.sel(layer=layer), layer), bound, folds)
    others = list(control.sources(asked, acts, model, seed))
    if word_vectors is not None:
        others.append((control.VECTORS, control.word_vectors(acts, word_vectors)))
    for name, features in progress.track(others, "controls"):
        if hasattr(features, "dims"):
            for layer in layers:
                probe(name, layer, features.sel(layer=layer).values, bound, folds)
        else:
            probe(name, None, features, bound, folds)
    if control.SHUFFLED in asked:
        order = np.random.default_rng(seed).permutation(acts.sizes["place"])
        shuffled = bound.bind(_table(acts).iloc[order].reset_index(drop=True))
        for label in folds:
            best = _best(runs, MODEL, label).layer
            probe(control.SHUFFLED, best, acts.sel(layer=best).values, shuffled, [label])

    places = _table(acts)
    block = BlockKFold(block_km).blocks(lon=places["lon"], lat=places["lat"])
    draws = Bootstrap(block, seed=seed)
    rows = []
    for run in runs:
        low, high = interval(draws.skill(*run.losses(draws.size)))
        which = {"source": run.source, "split": run.split, "layer": run.layer}
        rows.append(which | run.scores | {"low": low, "high": high})
    first = next(iter(folds))
    summary = [_summary(runs, label, parts, draws, places) for label, parts in folds.items()]
    return Report(
        pd.DataFrame(rows).astype({"layer": "Int64"}),
        _predictions(acts, _best(runs, MODEL, first), folds[first]),
        bound.name,
        pd.DataFrame(summary).astype({"layer": "Int64"}),
        main=bound.main,
        about={
            **about,
            "function": "geointerp.probes.evaluate",
            "target": bound.name,
            "main score": bound.main,
            "places without a target": missing,
            "splits": {label: repr(splitter) for label, splitter in splits.items()},
            "alphas": list(alphas),
            "intervals": f"95%, over {draws.count} blocks of {block_km:g} km",
            "products": products,
            "seed": seed,
        },
    )


class _Run:
    """One source, probed at one layer under one split."""

    def __init__(
        self, source: str, split: str, layer: int | None, target: Target, predicted: Matrix
    ) -> None:
        self.source, self.split, self.layer, self.target = source, split, layer, target
        self.rows = np.flatnonzero(np.isfinite(predicted).all(axis=1))
        self.predicted = predicted[self.rows]
        self.scores = target.scores(self.predicted, self.rows) | {"n": len(self.rows)}

    @property
    def main(self) -> float:
        """The score by which runs are compared."""
        return self.scores[self.target.main]

    def losses(self, n: int) -> tuple[Matrix, Matrix]:
        """What each of n places adds to the main score; nothing where it is not predicted."""
        found = np.zeros((2, n))
        found[:, self.rows] = self.target.losses(self.predicted, self.rows)
        return found[0], found[1]


def _best(runs: list[_Run], source: str, split: str) -> _Run:
    """The run of the layer with the best main score."""
    return max((r for r in runs if (r.source, r.split) == (source, split)), key=lambda r: r.main)


def _summary(
    runs: list[_Run], split: str, folds: list[Fold], draws: Bootstrap, places: pd.DataFrame
) -> dict[str, Any]:
    """The best layer under one split: its main score, its uplift, and all further scores."""
    own = _best(runs, MODEL, split)
    skill = draws.skill(*own.losses(draws.size))
    low, high = interval(skill)
    row = {"split": split, "layer": own.layer, own.target.main: own.main, "low": low, "high": high}
    sources = dict.fromkeys(r.source for r in runs if r.source != MODEL)
    if sources:
        other = max((_best(runs, source, split) for source in sources), key=lambda r: r.main)
        uplift = skill - draws.skill(*other.losses(draws.size))
        low, high = interval(uplift)
        row |= {"best_control": other.source, "control": other.main}
        row |= {"uplift": own.main - other.main, "uplift_low": low, "uplift_high": high}
    row |= {k: v for k, v in own.scores.items() if k not in row}
    row |= own.target.details(own.predicted, own.rows)
    decoded = own.target.decode(own.predicted, own.rows)
    if "error_km" in decoded:
        km = decoded["error_km"].to_numpy()
        radius, coverage = scores.conformal(km, labels([t for _, t in folds], draws.size)[own.rows])
        row |= {
            "radius90_km": float(np.median(radius)),
            "region90_km2": float(scores.cap_km2(np.median(radius))),
            "coverage90": coverage,
        }
        row |= _moran(km, places.iloc[own.rows])
    return row


def _moran(km: Matrix, places: pd.DataFrame) -> dict[str, float]:
    """Moran's I of the errors: do neighbours err alike?"""
    import geopandas as gpd

    from geointerp import spatial

    if len(km) < 30:
        return {}
    points = gpd.points_from_xy(places["lon"], places["lat"])
    located = gpd.GeoDataFrame({"error_km": km}, geometry=points, crs="EPSG:4326")
    found = spatial.moran(located[["error_km"]], spatial.knn(located, k=8), seed=0).iloc[0]
    return {"moran_error": float(found["I"]), "moran_error_p": float(found["p"])}


def _layered(acts: xr.DataArray) -> xr.DataArray:
    """Activations with a dim of layers, checked."""
    if "place" not in acts.dims or "hidden" not in acts.dims:
        raise InputError(f"activations have dims (place, layer, hidden); these have {acts.dims}.")
    if "layer" in acts.dims:
        return acts
    layer = acts.coords["layer"].values if "layer" in acts.coords else 0
    return acts.drop_vars("layer", errors="ignore").expand_dims(layer=[int(layer)], axis=1)


def _table(acts: xr.DataArray) -> pd.DataFrame:
    """The coordinates along `place` as columns, in order."""
    return pd.DataFrame(
        {str(k): c.values for k, c in acts.coords.items() if c.dims == ("place",) and k != "place"}
    )


def _with_target(acts: xr.DataArray, spec: str | Target) -> tuple[xr.DataArray, Target, int]:
    """Activations of the places whose target is known, the target, and how many are not."""
    table = _table(acts)
    for name in ("lon", "lat"):
        if name not in table:
            raise InputError(f"the activations carry no {name!r} along their places.")
    bound = of(spec, table)
    missing = len(table) - len(bound.known)
    if not missing:
        return acts, bound, 0
    log.warning("%d of %d places have no target %r: left out", missing, len(table), bound.name)
    acts = acts.isel(place=bound.known)
    return acts, bound.bind(_table(acts)), missing


def _finite(features: xr.DataArray, layer: int) -> Matrix:
    values = features.values
    if not np.isfinite(values).all():
        raise InputError(f"layer {layer}: an activation is not finite.")
    return values


def _splits(
    cv: BaseCrossValidator | Mapping[str, BaseCrossValidator],
) -> Mapping[str, BaseCrossValidator]:
    splits = cv if isinstance(cv, Mapping) else {_label(cv): cv}
    if not splits:
        raise InputError("cv holds no split; give one or more.")
    return splits


def _folds(acts: xr.DataArray, splitter: BaseCrossValidator) -> list[Fold]:
    count = acts.sizes["place"]
    groups = None
    reads = getattr(splitter, "reads", ())
    for name in reads:
        if name not in acts.coords:
            raise InputError(f"{splitter!r}: the activations carry no '{name}'.")
    if reads:
        columns = [acts[name].values for name in reads]
        groups = columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
    if count < splitter.get_n_splits(np.zeros(count), None, groups):
        raise InputError(f"{splitter!r}: there are only {count} places.")
    folds = [
        (np.asarray(a), np.asarray(b)) for a, b in splitter.split(np.zeros(count), None, groups)
    ]
    tested = np.bincount(np.concatenate([test for _, test in folds]), minlength=count)
    if tested.max() > 1:
        raise InputError(f"{splitter!r}: its test sets must hold no place twice.")
    return folds


def _predictions(acts: xr.DataArray, run: _Run, folds: list[Fold]) -> pd.DataFrame:
    """The best layer's predictions, as a reader wants them."""
    decoded = run.target.decode(run.predicted, run.rows)
    fold = labels([test for _, test in folds], acts.sizes["place"])[run.rows]
    own = _table(acts).iloc[run.rows].reset_index(drop=True)
    column = getattr(run.target, "column", None)
    wanted = [c for c in ("name", "lon", "lat", column) if c is not None and c in own]
    table = pd.concat([own[wanted], decoded], axis=1).assign(fold=fold)
    if "error_km" in table:
        table["radius90_km"] = scores.conformal(table["error_km"], fold)[0]
    return table.set_index(acts.indexes["place"][run.rows].rename("place"))


def _label(splitter: BaseCrossValidator) -> str:
    km = getattr(splitter, "km", None)
    if km is not None:
        buffer = getattr(splitter, "buffer_km", 0)
        return f"block {km:g} km" + (f", buffer {buffer:g} km" if buffer else "")
    column = getattr(splitter, "column", None)
    if column is not None:
        return str(column)
    if isinstance(splitter, KFold):
        return "random"
    return re.sub(r"(?<!^)(?=[A-Z])", " ", type(splitter).__name__).lower()
