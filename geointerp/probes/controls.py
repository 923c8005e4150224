"""Controls: what a probe reaches without the knowledge that it is said to find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import Ridge

from geointerp import models, prompts
from geointerp.errors import InputError

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

    from geointerp.models import Model

TOKEN_ALPHAS = (0.1, 1.0, 10.0, 100.0)


def model_of(acts: xr.DataArray, model: Model | None = None) -> Model:
    """The model that activations came from: the one given, or loaded by the name they carry.

    Raises
    ------
    InputError
        If they do not say what they are of, or the weights are others.
    """
    for key in ("model", "weights_sha256", "template", "site", "pool"):
        if key not in acts.attrs:
            raise InputError(
                f"these activations do not say of which {key} they are, and the controls need it: "
                "give controls=False."
            )
    if model is None:
        model = models.load(acts.attrs["model"], dtype=acts.attrs.get("computed_in", "float32"))
        if acts.attrs.get("untrained_seed") is not None:
            model = model.untrained(acts.attrs["untrained_seed"])
    if model.fingerprint != acts.attrs["weights_sha256"]:
        raise InputError(f"the weights of {model.name} are not those the activations came from.")
    return model


def untrained(acts: xr.DataArray, places: gpd.GeoDataFrame, model: Model, seed: int) -> Any:
    """The same prompts through the same architecture with random weights.

    Returns
    -------
    DataArray, as `acts`
    """
    from geointerp import activations

    return activations.capture(
        model.untrained(seed),
        places,
        template=acts.attrs["template"],
        layers=[int(layer) for layer in np.atleast_1d(acts["layer"].values)],
        site=acts.attrs["site"],
        pool=acts.attrs["pool"],
    )


def bag_of_tokens(acts: xr.DataArray, places: gpd.GeoDataFrame, model: Model) -> sparse.csr_matrix:
    """How often each token occurs in each prompt.

    Returns
    -------
    csr_matrix of float64, shape (place, token)
        Only tokens that occur, in the order of their ids.
    """
    tokens = prompts.tokenize(prompts.render(places, acts.attrs["template"]), model.tokenizer)
    columns = np.concatenate([t.ids for t in tokens])
    rows = np.repeat(np.arange(len(tokens)), [len(t.ids) for t in tokens])
    _, columns = np.unique(columns, return_inverse=True)
    ones = np.ones(len(rows))
    return sparse.csr_matrix((ones, (rows, columns)), shape=(len(tokens), columns.max() + 1))


def predict_from_tokens(
    counts: sparse.csr_matrix,
    targets: NDArray[np.float64],
    folds: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> NDArray[np.float64]:
    """Out-of-fold ridge predictions from sparse counts.

    The penalty of each fold is the one that predicts the next fold best from the rest
    of the training set.

    Returns
    -------
    ndarray of float64, shape (n, t)
        NaN where a place is in no test set.
    """
    predicted = np.full(targets.shape, np.nan)
    for k, (train, test) in enumerate(folds):
        inner = np.intersect1d(folds[(k + 1) % len(folds)][1], train)
        rest = np.setdiff1d(train, inner)
        errors = [
            ((_fit(counts[rest], targets[rest], a).predict(counts[inner]) - targets[inner]) ** 2)
            .mean(axis=0)
            .sum()
            for a in TOKEN_ALPHAS
        ]
        best = TOKEN_ALPHAS[int(np.argmin(errors))]
        predicted[test] = _fit(counts[train], targets[train], best).predict(counts[test])
    return predicted


def _fit(counts: sparse.csr_matrix, targets: NDArray[np.float64], alpha: float) -> Ridge:
    return Ridge(alpha, solver="sparse_cg", tol=1e-4).fit(counts, targets)
