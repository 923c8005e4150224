"""The ridge probe, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from geointerp import artefacts, cards
from geointerp.errors import InputError
from geointerp.probes.crossfit import fitted, plan

ALPHAS = tuple(10.0**power for power in range(-1, 7))


class RidgeProbe(RegressorMixin, BaseEstimator):
    """Linear regression with an L2 penalty on standardised features.

    Parameters
    ----------
    alphas : sequence of float
        Penalties to choose from, as scikit-learn's Ridge counts them. The choice is by
        cross-validation within the rows given to `fit`.
    folds : int
        Of that cross-validation.
    seed : int
        Shuffles the rows into its folds.

    Attributes
    ----------
    coef_ : ndarray of float64, shape (t, d) or (d,)
        In the units of the features as given.
    intercept_ : ndarray of float64, shape (t,), or float
    alpha_ : float
        The penalty chosen.
    n_features_in_ : int

    Notes
    -----
    The same as ``make_pipeline(StandardScaler(), Ridge(alpha_))``.
    """

    def __init__(
        self, alphas: tuple[float, ...] = ALPHAS, *, folds: int = 5, seed: int = 0
    ) -> None:
        self.alphas = alphas
        self.folds = folds
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike) -> RidgeProbe:
        """Fit to features of shape (n, d) and targets of shape (n,) or (n, t)."""
        features, targets = validate_data(
            self, X, y, multi_output=True, y_numeric=True, dtype=(np.float64, np.float32)
        )
        wide = targets.reshape(len(targets), -1).astype(np.float64)
        how = plan(self.alphas, wide)
        if len(how.alphas) > 1 and not 2 <= self.folds <= len(features):
            raise InputError(f"{self.folds} folds of {len(features)} rows: give 2 or more of each.")
        order = np.random.default_rng(self.seed).permutation(len(features))
        parts = np.array_split(order, self.folds)
        fit = fitted(features, wide, order, parts, how)
        self.coef_ = fit.coef.T
        self.intercept_: Any = fit.intercept - fit.shift @ fit.coef
        if targets.ndim == 1:
            self.coef_, self.intercept_ = self.coef_[0], float(self.intercept_[0])
        self.alpha_ = float(how.alphas[fit.chosen[0]])
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict, shape (n,) or (n, t) as the targets were."""
        check_is_fitted(self)
        features = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return features @ self.coef_.T + self.intercept_

    def save(self, folder: str | Path, about: Mapping[str, Any] | None = None) -> None:
        """Write `probe.safetensors` and the card to a new folder.

        Parameters
        ----------
        folder : path
        about : mapping, optional
            What it was fitted to, for the card.
        """
        from safetensors.numpy import save_file

        check_is_fitted(self)
        arrays = {
            "coef": np.ascontiguousarray(self.coef_),
            "intercept": np.atleast_1d(self.intercept_),
            "alpha": np.array([self.alpha_]),
        }
        sections = {
            "made by": {"function": "geointerp.probes.RidgeProbe", **self.get_params()},
            "fitted to": dict(about or {}),
            "figures": {"alpha": self.alpha_},
        }
        with artefacts.whole(Path(folder)) as part:
            part.mkdir()
            save_file(arrays, part / "probe.safetensors")
            cards.write(part, "Ridge probe", sections)

    @classmethod
    def load(cls, folder: str | Path) -> RidgeProbe:
        """Read back what `save` wrote; it predicts the same.

        Raises
        ------
        InputError
            A folder that holds no probe.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        try:
            arrays = load_file(folder / "probe.safetensors")
            made = cards.read(folder)["made by"]
            coef, intercept = arrays["coef"], arrays["intercept"]
            probe = cls(tuple(made["alphas"]), folds=made["folds"], seed=made["seed"])
            probe.alpha_ = float(arrays["alpha"][0])
        except (OSError, KeyError, SafetensorError) as error:
            raise InputError(f"{folder}: there is no ridge probe here.") from error
        probe.coef_, probe.n_features_in_ = coef, coef.shape[-1]
        probe.intercept_ = float(intercept[0]) if coef.ndim == 1 else intercept
        return probe
