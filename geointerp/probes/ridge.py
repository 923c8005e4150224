"""The ridge probe, as a scikit-learn estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from geointerp.errors import InputError
from geointerp.probes.moments import Moments, best_penalty, solve

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
        alphas = np.asarray(self.alphas, float)
        if alphas.ndim != 1 or not len(alphas) or not (alphas > 0).all():
            raise InputError(f"alphas is {self.alphas!r}; it must be numbers above 0.")
        if len(alphas) > 1 and not 2 <= self.folds <= len(features):
            raise InputError(f"{self.folds} folds of {len(features)} rows: give 2 or more of each.")
        wide = targets.reshape(len(targets), -1).astype(np.float64)
        shift = features.mean(axis=0, dtype=np.float64)
        centred = features - shift
        if len(alphas) == 1:
            train, chosen = Moments.of(centred, wide), 0
        else:
            order = np.random.default_rng(self.seed).permutation(len(features))
            parts = [Moments.of(centred[p], wide[p]) for p in np.array_split(order, self.folds)]
            train = sum(parts[1:], parts[0])
            chosen = best_penalty(train, parts, alphas)
        coef, intercept = solve(train, alphas[chosen : chosen + 1])
        self.coef_ = coef[0].T
        self.intercept_: Any = intercept[0] - shift @ coef[0]
        if targets.ndim == 1:
            self.coef_, self.intercept_ = self.coef_[0], float(self.intercept_[0])
        self.alpha_ = float(alphas[chosen])
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict, shape (n,) or (n, t) as the targets were."""
        check_is_fitted(self)
        features = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return features @ self.coef_.T + self.intercept_
