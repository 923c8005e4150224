"""Controls: what a probe reaches without the knowledge that it is said to find."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import Ridge

from geointerp import models, prompts
from geointerp.errors import InputError
from geointerp.probes.splits import inner_folds

if TYPE_CHECKING:
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
        if acts.attrs.get("in_memory"):
            raise InputError("the model of these activations was in memory: give model=.")
        model = models.load(
            acts.attrs["model"],
            revision=acts.attrs.get("revision"),
            dtype=acts.attrs.get("computed_in", "float32"),
        )
        if acts.attrs.get("untrained_seed") is not None:
            model = model.untrained(acts.attrs["untrained_seed"])
    if model.fingerprint != acts.attrs["weights_sha256"]:
        raise InputError(f"the weights of {model.name} are not those the activations came from.")
    return model


def untrained(acts: xr.DataArray, model: Model, seed: int) -> xr.DataArray:
    """The same prompts through the same architecture with random weights.

    Returns
    -------
    DataArray, as `acts`
    """
    from geointerp import activations

    about = activations.about_of(acts)
    return activations.capture(
        model.untrained(seed),
        activations.places_of(acts),
        template=about["template"],
        names=about["names"],
        layers=[int(layer) for layer in np.atleast_1d(acts["layer"].values)],
        site=about["site"],
        pool=about["pool"],
        **{key: about[key] for key in ("batch_tokens", "padding_side") if key in about},
    )


def bag_of_tokens(acts: xr.DataArray, model: Model) -> sparse.csr_matrix:
    """How often each token occurs in each prompt.

    Returns
    -------
    csr_matrix of float64, shape (place, token)
        Only tokens that occur, in the order of their ids.
    """
    from geointerp import activations

    tokens = prompts.tokenize(activations.prompts_of(acts), model.tokenizer)
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

    The penalty of each fold is chosen as that of the model's own probe: by predicting each
    other fold from the rest of the training set, each target relative to its variance.

    Returns
    -------
    ndarray of float64, shape (n, t)
        NaN where a place is in no test set.
    """
    predicted = np.full(targets.shape, np.nan)
    for k, (train, test) in enumerate(folds):
        errors = np.zeros(len(TOKEN_ALPHAS))
        for part in inner_folds(k, folds):
            rest = np.setdiff1d(train, part)
            for i, alpha in enumerate(TOKEN_ALPHAS):
                missed = _fit(counts[rest], targets[rest], alpha).predict(counts[part])
                missed = (missed - targets[part]) ** 2 / targets[train].var(axis=0)
                errors[i] += missed.sum()
        best = TOKEN_ALPHAS[int(np.argmin(errors))]
        predicted[test] = _fit(counts[train], targets[train], best).predict(counts[test])
    return predicted


def _fit(counts: sparse.csr_matrix, targets: NDArray[np.float64], alpha: float) -> Ridge:
    return Ridge(alpha, solver="sparse_cg", tol=1e-4).fit(counts, targets)
