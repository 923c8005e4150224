"""Readings of a probe: how many components, how many places, which prompt, is it linear?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.model_selection import BaseCrossValidator

from geointerp import progress
from geointerp.errors import InputError
from geointerp.probes import inputs
from geointerp.probes.crossfit import labels
from geointerp.probes.evaluation import evaluate
from geointerp.probes.intervals import Bootstrap, interval
from geointerp.probes.moments import of_parts, solve_components
from geointerp.probes.predictions import Predicted, predict
from geointerp.probes.targets import Target

if TYPE_CHECKING:
    import xarray as xr

_WEIGHT_DECAYS = (0.1, 1.0, 10.0, 100.0)


def by_components(
    acts: xr.DataArray,
    counts: Sequence[int] | None = None,
    *,
    target: str | Target = "coordinates",
    cv: BaseCrossValidator | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """How many principal components of a layer hold the target?

    Regression on the first components of the standardised features, without a penalty. The
    components are those of each training set.

    Parameters
    ----------
    acts : DataArray, dims (place, hidden)
        Of one layer: ``acts.sel(layer=3)``.
    counts : sequence of int, optional
        Numbers of components; powers of two if not given.
    target, cv, seed
        As for `geointerp.probes.evaluate`.

    Returns
    -------
    DataFrame
        A row per number: `components`, the target's scores, `n`, and `low` and `high`, the
        95% interval of the main score over blocks of 500 km.

    Raises
    ------
    InputError
        Activations of several layers; more components than features or training places.
    """
    asked = inputs.question(acts, target, cv, seed)
    n, d = asked.features.shape
    most = min(d, *(len(train) - 1 for train, _ in asked.folds))
    wanted = _wanted(counts, [2**k for k in range(most.bit_length())], most, "components")
    predicted = np.full((len(wanted), n, asked.target.values.shape[1]), np.nan)
    for train, test in progress.track(asked.folds, "components"):
        shift = np.asarray(asked.features[train], np.float64).mean(0)
        own = of_parts(asked.features, asked.target.values, labels([train], n), shift)[0]
        lines = solve_components(own, wanted)
        predicted[:, test] = (asked.features[test] - shift) @ lines.coef + lines.intercept[:, None]
    return pd.DataFrame(
        [
            {"components": count} | row(Predicted.of(asked.target, values), asked.draws)
            for count, values in zip(wanted, predicted, strict=True)
        ]
    )


def by_sample_size(
    acts: xr.DataArray,
    sizes: Sequence[int] | None = None,
    *,
    target: str | Target = "coordinates",
    cv: BaseCrossValidator | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """How many places does the probe need?

    Each fold's test set is predicted from some of its training places, drawn at random; a
    smaller draw is part of a larger one.

    Parameters
    ----------
    acts : DataArray, dims (place, hidden)
        Of one layer: ``acts.sel(layer=3)``.
    sizes : sequence of int, optional
        Numbers of training places, 10 or more; doubling from 50, and all, if not given.
    target, cv, seed
        As for `geointerp.probes.evaluate`.

    Returns
    -------
    DataFrame
        A row per size: `places`, the target's scores, `n`, and `low` and `high`, the 95%
        interval of the main score over blocks of 500 km.

    Raises
    ------
    InputError
        Activations of several layers; more places than a training set has.
    """
    asked = inputs.question(acts, target, cv, seed)
    most = min(len(train) for train, _ in asked.folds)
    if most < 10:
        raise InputError(f"a fold has {most} places to learn from; a sample needs 10 at the least.")
    doubling = [50 * 2**k for k in range(40) if 50 * 2**k < most] + [most]
    wanted = _wanted(sizes, doubling, most, "places", least=10)
    random = np.random.default_rng(seed)
    orders = [random.permutation(train) for train, _ in asked.folds]
    rows = []
    for size in progress.track(wanted, "sample size"):
        folds = [
            (np.sort(order[:size]), test)
            for order, (_, test) in zip(orders, asked.folds, strict=True)
        ]
        rows.append(
            {"places": size} | row(predict(asked.features, asked.target, folds)[0], asked.draws)
        )
    return pd.DataFrame(rows)


def by_prompt(acts: xr.DataArray, **options: Any) -> pd.DataFrame:
    """Which template, or which column of names, holds the target best?

    Parameters
    ----------
    acts : DataArray, dims (prompt, place, layer, hidden)
        Of several templates or columns of names.
    **options
        Of `geointerp.probes.evaluate`.

    Returns
    -------
    DataFrame
        The report's `summary` of each prompt, after its `template` and `names`.

    Raises
    ------
    InputError
        Activations of one prompt.
    """
    if "prompt" not in acts.dims or not {"template", "names"} <= set(acts.coords):
        raise InputError("these are activations of one prompt; capture them with several.")
    found = []
    for number in range(acts.sizes["prompt"]):
        own = acts.isel(prompt=number)
        which = {name: own[name].item() for name in ("template", "names")}
        found.append(evaluate(own, **options).summary.assign(**which))
    table = pd.concat(found, ignore_index=True)
    first = ["template", "names"]
    return table[first + [column for column in table if column not in first]]


def is_it_linear(
    acts: xr.DataArray,
    *,
    units: int = 256,
    target: str | Target = "coordinates",
    cv: BaseCrossValidator | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Does a network with a hidden layer read more than the linear probe?

    scikit-learn's MLPRegressor with one hidden layer of rectified units, on standardised
    features and targets. Its weight decay (0.1, 1, 10 or 100, as scikit-learn counts it) is
    chosen by a fifth of the training places and its end by a tenth, both drawn at random. It
    runs on the CPU, and rounds otherwise with another number of threads.

    Parameters
    ----------
    acts : DataArray, dims (place, hidden)
        Of one layer: ``acts.sel(layer=3)``.
    units : int
        In the hidden layer.
    target, cv, seed
        As for `geointerp.probes.evaluate`.

    Returns
    -------
    DataFrame
        Rows `ridge` and `MLP`: the target's scores, `n`, `low` and `high`; and `gain`, the
        network's main score less the ridge's, with the interval `gain_low` to `gain_high`.

    Raises
    ------
    InputError
        Activations of several layers.
    """
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.model_selection import GridSearchCV, ShuffleSplit
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if units < 1:
        raise InputError(f"units is {units}; it must be 1 or more.")
    asked = inputs.question(acts, target, cv, seed)
    least = min(len(train) for train, _ in asked.folds)
    if least < 50:
        raise InputError(f"a fold has {least} places to learn from; a network needs 50 at least.")
    features = np.asarray(asked.features, np.float32)
    truth = asked.target.values
    # scikit-learn wants one target as a vector
    wanted = truth[:, 0] if truth.shape[1] == 1 else truth
    options = {"early_stopping": True, "max_iter": 1000, "random_state": seed}
    network = MLPRegressor(hidden_layer_sizes=(units,), **options)
    tried = GridSearchCV(
        make_pipeline(StandardScaler(), network),
        {"mlpregressor__alpha": _WEIGHT_DECAYS},
        cv=ShuffleSplit(1, test_size=0.2, random_state=seed),
        scoring="neg_mean_squared_error",
    )
    model = TransformedTargetRegressor(tried, transformer=StandardScaler())
    values = np.full(truth.shape, np.nan)
    for train, test in progress.track(asked.folds, "MLP"):
        model.fit(features[train], wanted[train])
        values[test] = model.predict(features[test]).reshape(-1, truth.shape[1])
    found = {
        "ridge": predict(asked.features, asked.target, asked.folds)[0],
        "MLP": Predicted.of(asked.target, values),
    }
    table = pd.DataFrame([{"probe": name} | row(p, asked.draws) for name, p in found.items()])
    gain = found["MLP"].skill(asked.draws) - found["ridge"].skill(asked.draws)
    main = table[asked.target.main]
    table["gain"] = main - main[0]
    table["gain_low"], table["gain_high"] = [0.0, interval(gain)[0]], [0.0, interval(gain)[1]]
    return table


def row(predicted: Predicted, draws: Bootstrap) -> dict[str, float]:
    """Scores with the interval of the main one."""
    low, high = interval(predicted.skill(draws))
    return predicted.scores | {"low": low, "high": high}


def _wanted(
    given: Sequence[int] | None, usual: list[int], most: int, what: str, least: int = 1
) -> list[int]:
    wanted = usual if given is None else sorted(int(number) for number in given)
    if not wanted or wanted[0] < least or wanted[-1] > most:
        raise InputError(f"{what}: {wanted} were asked for; there can be {least} to {most}.")
    return wanted
