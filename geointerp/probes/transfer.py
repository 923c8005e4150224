"""Transfer: does a probe fitted to one prompt, language, model or region read another?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import BaseCrossValidator

from geointerp import progress, sphere
from geointerp.errors import InputError
from geointerp.probes import inputs
from geointerp.probes.crossfit import fitted, inner_parts, plan
from geointerp.probes.predictions import Predicted, plan_for, predict
from geointerp.probes.readings import row
from geointerp.probes.ridge import ALPHAS
from geointerp.probes.targets import Matrix, Target

if TYPE_CHECKING:
    import xarray as xr


def transfer(
    acts: xr.DataArray,
    onto: xr.DataArray,
    *,
    target: str | Target = "coordinates",
    cv: BaseCrossValidator | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit a probe to some activations of places, and try it on others of the same places.

    Others are those of another template, of names in another language, or of another model.
    No place that is predicted was seen in any form.

    Parameters
    ----------
    acts, onto : DataArray, dims (place, hidden)
        Each of one layer; places are matched by the index `place`, and those that both have
        are taken.
    target, cv, seed
        As for `geointerp.probes.evaluate`.

    Returns
    -------
    DataFrame
        Rows, by `probe`:

        - `at home`: fitted to `acts`, tried on `acts`.
        - `as it is`: fitted to `acts`, tried on `onto`.
        - `recentred`: the same, each feature of `onto` shifted and scaled to the mean and the
          standard deviation that it has in `acts` over the training places; no target is used.
        - `mapped`: the same, `onto` brought to `acts` by a ridge regression of one upon the
          other over the training places.
        - `its own`: fitted to `onto`, tried on `onto`: what there is to be read.

        with the target's scores, `n`, `low` and `high`; where the target is a point,
        `km_from_home`, the median distance between where the place lands and where it lands at
        home. Activations of unlike width have no rows `as it is` and `recentred`.

    Raises
    ------
    InputError
        Activations of several layers; no place in common.
    """
    common = acts.indexes["place"].intersection(onto.indexes["place"])
    if not len(common):
        raise InputError("the two have no place in common: match them by their index 'place'.")
    home = inputs.question(acts.sel(place=common), target, cv, seed)
    away = inputs.one_layer(onto.sel(place=home.index))
    wanted = np.asarray(home.features, np.float64)
    alike = home.features.shape[1] == away.shape[1]
    names = ["at home", *(["as it is", "recentred"] if alike else []), "mapped"]
    values = {name: np.full(home.target.values.shape, np.nan) for name in names}
    for k, (train, test) in enumerate(progress.track(home.folds, "transfer")):
        parts = inner_parts(k, home.folds)
        fit = fitted(home.features, home.target.values, train, parts, plan_for(home.target))
        tried = {"at home": home.features[test], "as it is": away[test]}
        if alike:
            tried["recentred"] = _recentred(away, home.features, train)[test]
        across = fitted(away, wanted, train, parts, plan(ALPHAS[::3], wanted))
        tried["mapped"] = across.predict(away[test])
        for name in names:
            values[name][test] = fit.predict(tried[name])
    runs = {name: Predicted.of(home.target, found) for name, found in values.items()}
    runs["its own"], _ = predict(away, home.target, home.folds)
    own = runs["at home"]
    rows = [row(run, home.draws) | _km_apart(run, own) for run in runs.values()]
    return pd.DataFrame(rows, index=pd.Index(runs, name="probe")).reset_index()


def between(
    acts: xr.DataArray,
    column: str,
    *,
    target: str | Target = "coordinates",
    least: int = 50,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit a probe to one region's places, and try it on every other's.

    Parameters
    ----------
    acts : DataArray, dims (place, hidden)
        Of one layer: ``acts.sel(layer=3)``.
    column : str
        Of the places, such as ``"continent"``.
    target : str or Target
        As for `geointerp.probes.evaluate`.
    least : int
        Regions of fewer places are left out.
    seed : int
        Of the five random folds by which a region is tried on itself and a penalty chosen.

    Returns
    -------
    DataFrame
        A row per pair: `fitted_to`, `tried_on`, the target's scores and `n`. R² is over the
        region tried on, against the mean of its own places: far below 0 where a region is
        small beside the error.

    Raises
    ------
    InputError
        A column that is not there, or with fewer than two regions of so many places.
    """
    if least < 10:
        raise InputError(f"least is {least}; a region needs 10 places to learn from.")
    asked = inputs.question(acts, target, None, seed)
    if column not in asked.places:
        raise InputError(f"the activations carry no '{column}' along their places.")
    regions = asked.places.groupby(column, sort=True).indices
    regions = {name: rows for name, rows in regions.items() if len(rows) >= least}
    if len(regions) < 2:
        raise InputError(f"'{column}' has {len(regions)} value(s) of {least} places or more.")
    found = []
    random = np.random.default_rng(seed)
    for name, own in progress.track(regions.items(), "regions"):
        parts = np.array_split(random.permutation(own), 5)
        fit = fitted(asked.features, asked.target.values, own, parts, plan_for(asked.target))
        inside = [(np.setdiff1d(own, part), np.sort(part)) for part in parts]
        at_home, _ = predict(asked.features, asked.target, inside)
        for other, rows in regions.items():
            away = Predicted(asked.target, rows, fit.predict(asked.features[rows]))
            run = at_home if other == name else away
            found.append({"fitted_to": name, "tried_on": other} | run.scores)
    return pd.DataFrame(found)


def _recentred(features: Matrix, like: Matrix, rows: NDArray[np.int64]) -> Matrix:
    """Features with the means and standard deviations that others have over some rows."""
    own, wanted = features[rows], like[rows]
    spread = own.std(0)
    factor = np.divide(wanted.std(0), spread, out=np.zeros_like(spread), where=spread > 0)
    return (features - own.mean(0)) * factor + wanted.mean(0)


def _km_apart(run: Predicted, home: Predicted) -> dict[str, float]:
    """How far apart two predictions land, in the median; nothing where they are no points."""
    ends = run.decoded(), home.decoded()
    if "predicted_lon" not in ends[0]:
        return {}
    (lon, lat), (to_lon, to_lat) = (
        end[["predicted_lon", "predicted_lat"]].to_numpy().T for end in ends
    )
    km = sphere.distance_km(lon=lon, lat=lat, to_lon=to_lon, to_lat=to_lat)
    return {"km_from_home": float(np.median(km))}
