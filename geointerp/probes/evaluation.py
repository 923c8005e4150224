"""Cross-validated probes of every layer, beside their controls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import BaseCrossValidator, KFold

from geointerp import artefacts, cards, progress
from geointerp.errors import InputError
from geointerp.probes import controls as control
from geointerp.probes import scores
from geointerp.probes.moments import Moments, best_penalty, solve
from geointerp.probes.ridge import ALPHAS
from geointerp.probes.splits import Fold, RandomKFold, inner_folds

if TYPE_CHECKING:
    import xarray as xr

    from geointerp.models import Model

MODEL, UNTRAINED, TOKENS = "model", "untrained", "bag of tokens"


@dataclass
class Report:
    """What the probes found.

    Attributes
    ----------
    table : DataFrame
        A row per source, split and layer: `source` ("model", "untrained", "bag of
        tokens"), `split`, `layer` (missing for the bag of tokens), `r2` (the mean over
        targets) and one `r2_<target>` each; for coordinates `median_km` and `mean_km`,
        great-circle errors; `n`, the number of places predicted.
    predictions : DataFrame
        Out-of-fold predictions on the places' index, for coordinates: `name`, `lon`,
        `lat`, `predicted_lon`, `predicted_lat`, `error_km`; of the layer that is best
        under the first split.
    target : str
    about : dict
        What was probed and how, for the card.
    """

    table: pd.DataFrame
    predictions: pd.DataFrame
    target: str
    about: dict[str, Any] = field(default_factory=dict)

    def best(self, split: str | None = None, source: str = MODEL) -> pd.Series:
        """The row of the best layer of a source; under the first split if none is named."""
        rows = self._rows(split, source)
        return rows.loc[rows["r2"].idxmax()]

    def at(self, layer: int, split: str | None = None, source: str = MODEL) -> pd.Series:
        """The row of a layer of a source; under the first split if none is named."""
        rows = self._rows(split, source)
        if layer not in rows["layer"].tolist():
            raise InputError(f"the report has no layer {layer}; it has {rows['layer'].tolist()}.")
        return rows[rows["layer"] == layer].iloc[0]

    def _rows(self, split: str | None, source: str) -> pd.DataFrame:
        split = split or self.table["split"].iloc[0]
        rows = self.table[(self.table["split"] == split) & (self.table["source"] == source)]
        if not len(rows):
            raise InputError(f"the report has no '{source}' under the split '{split}'.")
        return rows

    @classmethod
    def read(cls, folder: str | Path) -> Report:
        """Read back what `save` wrote."""
        folder = Path(folder)
        about = cards.read(folder).get("made by", {})
        if not (folder / "report.csv").exists() or "target" not in about:
            raise InputError(f"{folder}: there is no report of a probe here.")
        table = pd.read_csv(folder / "report.csv", dtype={"layer": "Int64"})
        # a place may be called "NA"
        predictions = pd.read_csv(
            folder / "predictions.csv",
            index_col="place",
            keep_default_na=False,
            na_values=[""],
            dtype={"place": str},
        )
        # "00001" is no number, unless it was one
        if about["place_dtype"].startswith("int"):
            predictions.index = predictions.index.astype(about["place_dtype"])
        return cls(table, predictions, about["target"], about)

    def save(self, folder: str | Path) -> None:
        """Write `report.csv`, `predictions.csv` and the card to a new folder."""
        layer = int(self.best()["layer"])
        figures = {
            f"R², {split}, layer {layer}": float(self.at(layer, split)["r2"])
            for split in self.table["split"].unique()
        }
        about = {**self.about, "place_dtype": str(self.predictions.index.dtype)}
        with artefacts.whole(Path(folder)) as part:
            part.mkdir()
            self.table.to_csv(part / "report.csv", index=False)
            self.predictions.to_csv(part / "predictions.csv", index_label="place")
            sections = {"made by": about, "figures": figures}
            cards.write(part, f"Probe for {self.target}", sections)


def evaluate(
    acts: xr.DataArray,
    *,
    target: str = "coordinates",
    cv: BaseCrossValidator | Mapping[str, BaseCrossValidator] | None = None,
    controls: bool = True,
    model: Model | None = None,
    alphas: tuple[float, ...] = ALPHAS,
    seed: int = 0,
) -> Report:
    """Probe every layer with ridge regression, cross-validated, and its controls likewise.

    Parameters
    ----------
    acts : DataArray, dims (place, layer, hidden) or (place, hidden)
        As `geointerp.activations.capture` gives it.
    target : str
        ``"coordinates"``: longitude and latitude in degrees, as two linear targets; or the
        name of a numeric coordinate of `acts` along `place`, such as ``"population"``.
    cv : splitter, or mapping of label to splitter, optional
        Five random folds if not given.
    controls : bool
        Also probe the same architecture untrained, and a bag of the prompt's tokens.
    model : Model, optional
        Of the activations, for the controls; loaded by its name if not given.
    alphas : sequence of float
        Penalties. Each fold's is chosen within its training set, by predicting each other
        fold's places from the rest.
    seed : int
        Of the random folds and the untrained weights.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        A target that is not there, not numeric, missing for some place or constant; fewer
        places than folds; activations that are not finite.
    """
    from geointerp.activations import about_of

    about = about_of(acts)
    if "place" not in acts.dims or "hidden" not in acts.dims:
        raise InputError(f"activations have dims (place, layer, hidden); these have {acts.dims}.")
    if "layer" not in acts.dims:
        layer = acts.coords["layer"].values if "layer" in acts.coords else 0
        acts = acts.drop_vars("layer", errors="ignore").expand_dims(layer=[int(layer)], axis=1)
    names, targets = _targets(acts, target)
    if cv is None:
        cv = RandomKFold(seed=seed)
    splits = cv if isinstance(cv, Mapping) else {_label(cv): cv}
    if not splits:
        raise InputError("cv holds no split; give one or more.")
    folds = {label: _folds(acts, splitter) for label, splitter in splits.items()}

    rows: list[dict[str, Any]] = []
    out_of_fold: dict[tuple[str, int], NDArray[np.float64]] = {}
    sources = {MODEL: acts}
    if controls:
        model = control.model_of(acts, model)
        sources[UNTRAINED] = control.untrained(acts, model, seed)
    steps = [(source, int(layer)) for source in sources for layer in acts["layer"].values]
    for source, layer in progress.track(steps, "probe"):
        features = sources[source].sel(layer=layer).values
        if not np.isfinite(features).all():
            raise InputError(f"layer {layer}: an activation is not finite.")
        for label, parts in folds.items():
            predicted = _out_of_fold(features, targets, parts, np.asarray(alphas, float))
            rows.append(_row(source, label, layer, names, targets, predicted))
            if source == MODEL:
                out_of_fold[label, layer] = predicted
    if controls and model is not None:
        counts = control.bag_of_tokens(acts, model)
        for label, parts in folds.items():
            predicted = control.predict_from_tokens(counts, targets, parts)
            rows.append(_row(TOKENS, label, None, names, targets, predicted))

    table = pd.DataFrame(rows)
    table["layer"] = table["layer"].astype("Int64")
    about = {
        **about,
        "function": "geointerp.probes.evaluate",
        "target": target,
        "splits": {label: repr(splitter) for label, splitter in splits.items()},
        "alphas": list(alphas),
        "seed": seed,
    }
    report = Report(table, pd.DataFrame(), target, about)
    first = next(iter(splits))
    report.predictions = _predictions(
        acts, target, names, targets, out_of_fold[first, int(report.best(first)["layer"])]
    )
    return report


def _targets(acts: xr.DataArray, target: str) -> tuple[list[str], NDArray[np.float64]]:
    names = ["lon", "lat"] if target == "coordinates" else [target]
    for name in names:
        if name not in acts.coords or acts[name].dims != ("place",):
            known = ", ".join(str(n) for n, c in acts.coords.items() if c.dims == ("place",))
            raise InputError(f"target {name!r}: the activations carry {known}.")
        if not np.issubdtype(acts[name].dtype, np.number):
            raise InputError(f"target {name!r}: it is not numeric.")
        missing = int(np.sum(~np.isfinite(acts[name].values.astype(float))))
        if missing:
            raise InputError(
                f"target {name!r}: {missing} place(s) have no finite value; drop them."
            )
        if np.ptp(acts[name].values) == 0:
            raise InputError(f"target {name!r}: it is the same for every place.")
    return names, np.stack([acts[name].values.astype(float) for name in names], axis=1)


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
    if not np.array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(count)):
        raise InputError(f"{splitter!r}: its test sets must hold every place once.")
    return folds


def _out_of_fold(
    features: NDArray[Any], targets: NDArray[np.float64], folds: list[Fold], alphas: NDArray[Any]
) -> NDArray[np.float64]:
    """Predictions for every place from folds that it is not in, shape (n, t)."""
    centred = features - features.mean(axis=0, dtype=np.float64)
    tests = [Moments.of(centred[test], targets[test]) for _, test in folds]
    whole = sum(tests[1:], tests[0])
    predicted = np.empty_like(targets)
    for k, (train, test) in enumerate(folds):
        buffered = np.setdiff1d(np.arange(len(targets)), np.union1d(train, test))
        moments = whole - tests[k]
        parts = tests[:k] + tests[k + 1 :]
        if len(buffered) or len(parts) < 2:
            inner = inner_folds(k, folds)
            parts = [Moments.of(centred[rows], targets[rows]) for rows in inner]
        if len(buffered):
            moments = moments - Moments.of(centred[buffered], targets[buffered])
        best = best_penalty(moments, parts, alphas) if len(alphas) > 1 else 0
        coef, intercept = solve(moments, alphas[best : best + 1])
        predicted[test] = centred[test] @ coef[0] + intercept[0]
    return predicted


def _row(
    source: str,
    split: str,
    layer: int | None,
    names: list[str],
    targets: NDArray[np.float64],
    predicted: NDArray[np.float64],
) -> dict[str, Any]:
    each = scores.r2(targets, predicted)
    row: dict[str, Any] = {"source": source, "split": split, "layer": layer, "r2": each.mean()}
    row |= {f"r2_{name}": value for name, value in zip(names, each, strict=True)}
    if names == ["lon", "lat"]:
        km = scores.error_km(targets, predicted)
        row |= {"median_km": float(np.median(km)), "mean_km": float(km.mean())}
    return row | {"n": len(targets)}


def _predictions(
    acts: xr.DataArray,
    target: str,
    names: list[str],
    targets: NDArray[np.float64],
    predicted: NDArray[np.float64],
) -> pd.DataFrame:
    table = pd.DataFrame(index=acts.indexes["place"])
    for name in ("name", "lon", "lat", *([] if target == "coordinates" else [target])):
        if name in acts.coords:
            table[name] = acts[name].values
    if target == "coordinates":
        table[["predicted_lon", "predicted_lat"]] = scores.on_the_globe(predicted)
        table["error_km"] = scores.error_km(targets, predicted)
    else:
        table[f"predicted_{names[0]}"] = predicted[:, 0]
    return table


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
