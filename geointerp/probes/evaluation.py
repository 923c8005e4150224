"""Cross-validated probes of every layer, beside their controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.model_selection import BaseCrossValidator

from geointerp import artefacts, progress
from geointerp.activations import about_of
from geointerp.errors import InputError
from geointerp.probes import controls as control
from geointerp.probes import inputs, scores
from geointerp.probes.crossfit import labels
from geointerp.probes.intervals import interval
from geointerp.probes.predictions import Predicted, predict
from geointerp.probes.report import MODEL, Report
from geointerp.probes.ridge import ALPHAS
from geointerp.probes.splits import ColumnKFold, Fold, RandomKFold, labelled
from geointerp.probes.targets import Category, Matrix, Target

if TYPE_CHECKING:
    import xarray as xr

    from geointerp.models import Model


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
    out: str | Path | None = None,
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
        Penalties, of what is not counts. Each fold's is chosen within its training set; see
        `geointerp.probes.crossfit.crossfit`.
    block_km : float
        Side of the blocks that the intervals are drawn over.
    seed : int
        Of the random folds, the untrained weights, the shuffle and the intervals.
    device, products : str
        Where sums of products are made and solved, and in "float64" or "float32"; see
        `geointerp.probes.crossfit.Plan`.
    out : str or Path, optional
        A new folder, in which the report is saved.

    Returns
    -------
    Report
        Of the places whose target is known; how many are left out is logged and kept.

    Raises
    ------
    InputError
        A target that is not there, without a value, or of which a part is constant, also among
        the places that a split tests; fewer places than folds; activations that are not
        finite; an `out` that exists.
    """
    if out is not None:
        artefacts.refuse_existing(Path(out))
    about = about_of(acts)
    acts, bound, missing = inputs.with_target(inputs.layered(acts), target)
    splits = labelled(RandomKFold(seed=seed) if cv is None else cv)
    for label, splitter in splits.items():
        if (
            isinstance(splitter, ColumnKFold)
            and isinstance(bound, Category)
            and splitter.column == bound.column
        ):
            raise InputError(
                f"{label}: whole values of '{bound.column}' are held out; none could be told."
            )
    folds = {label: inputs.folds(acts, splitter) for label, splitter in splits.items()}
    asked = control.chosen(controls, with_vectors=word_vectors is not None)
    model = control.checked(asked, acts, model)
    vectors = []
    if word_vectors is not None:
        vectors.append((control.VECTORS, control.word_vectors(acts, word_vectors)))
    places = inputs.columns(acts)
    draws = {
        label: inputs.bootstrap(places, parts, block_km, seed) for label, parts in folds.items()
    }
    runs: list[_Run] = []
    # of all predictions only the best layer's are kept, and the nearest control's
    best: dict[tuple[str, bool], tuple[_Run, Predicted]] = {}

    def probe(source: str, layer: int | None, features: Any, target: Target, on: Any) -> None:
        penalties = control.COUNT_ALPHAS if sparse.issparse(features) else alphas
        for label in on:
            predicted, penalty = predict(
                features, target, folds[label], penalties, device, products
            )
            found = predicted.scores
            if not np.isfinite(found[target.main]):
                raise InputError(
                    f"{label}: {target.name} is the same for all {len(predicted.rows)} places that "
                    "are tested."
                )
            found["penalty"] = penalty
            run = _Run(source, label, layer, found, predicted.skill(draws[label]), target.main)
            runs.append(run)
            which = label, source == MODEL
            if which not in best or run.main > best[which][0].main:
                best[which] = run, predicted

    layers = [int(layer) for layer in acts["layer"].values]
    for layer in progress.track(layers, "probe"):
        probe(MODEL, layer, inputs.finite(acts.sel(layer=layer), layer), bound, folds)
    # made one by one: some are as large as the activations
    others = chain(control.sources(asked, acts, model, seed), vectors)
    for name, features in progress.track(others, "controls", total=len(asked) + len(vectors)):
        if hasattr(features, "dims"):
            for layer in layers:
                probe(name, layer, features.sel(layer=layer).values, bound, folds)
        else:
            probe(name, None, features, bound, folds)
    if control.SHUFFLED in asked:
        order = np.random.default_rng(seed).permutation(len(places))
        shuffled = bound.bind(places.iloc[order].reset_index(drop=True))
        for label in folds:
            own = best[label, True][0].layer
            probe(control.SHUFFLED, own, acts.sel(layer=own).values, shuffled, [label])

    first = next(iter(folds))
    tables = [
        best[first, of_model][1].table(places, acts.indexes["place"], folds[first])
        if (first, of_model) in best
        else None
        for of_model in (True, False)
    ]
    summary = [_summary(runs, *best[label, True], parts, places) for label, parts in folds.items()]
    report = Report(
        pd.DataFrame([run.row for run in runs]).astype({"layer": "Int64"}),
        tables[0],
        bound.name,
        pd.DataFrame(summary).astype({"layer": "Int64"}),
        main=bound.main,
        control=tables[1],
        about={
            **about,
            "n_places": len(places),
            "layers": layers,
            "function": "geointerp.probes.evaluate",
            "target": bound.name,
            "asked": repr(bound),
            "main score": bound.main,
            "places without a target": missing,
            "splits": {label: repr(splitter) for label, splitter in splits.items()},
            "alphas": list(alphas),
            "alphas of counts": list(control.COUNT_ALPHAS),
            "intervals": f"95%, over blocks of {block_km:g} km",
            "blocks": {label: drawn.count for label, drawn in draws.items()},
            "products": products,
            "seed": seed,
        },
    )
    if out is not None:
        report.save(out)
    return report


class _Run(NamedTuple):
    """How well one source did at one layer under one split."""

    source: str
    split: str
    layer: int | None
    scores: dict[str, float]
    skill: Matrix
    by: str

    @property
    def main(self) -> float:
        """The score by which runs are compared."""
        return self.scores[self.by]

    @property
    def row(self) -> dict[str, Any]:
        low, high = interval(self.skill)
        which = {"source": self.source, "split": self.split, "layer": self.layer}
        return which | self.scores | {"low": low, "high": high}


def _summary(
    runs: list[_Run], own: _Run, predicted: Predicted, folds: list[Fold], places: pd.DataFrame
) -> dict[str, Any]:
    """The best layer under one split: its main score, its uplift, and all further scores."""
    low, high = interval(own.skill)
    row = {"split": own.split, "layer": own.layer, own.by: own.main, "low": low, "high": high}
    others = [run for run in runs if run.split == own.split and run.source != MODEL]
    if others:
        other = max(others, key=lambda run: run.main)
        low, high = interval(own.skill - other.skill)
        row |= {"best_control": other.source, "control": other.main}
        row |= {"uplift": own.main - other.main, "uplift_low": low, "uplift_high": high}
    row |= {k: v for k, v in own.scores.items() if k not in row}
    row |= predicted.target.details(predicted.values, predicted.rows)
    decoded = predicted.decoded()
    if "error_km" in decoded:
        km = decoded["error_km"].to_numpy()
        fold = labels([test for _, test in folds], len(places))[predicted.rows]
        radius, coverage = scores.conformal(km, fold)
        row |= {
            "radius90_km": float(np.median(radius)),
            "region90_km2": float(scores.cap_km2(np.median(radius))),
            "coverage90": coverage,
        }
        row |= _moran(km, places.iloc[predicted.rows])
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
