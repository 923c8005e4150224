"""Sums, squares and products of features and targets: all that ridge regression needs.

The moments of a union of rows are the sum of their moments, so that every fold's
training set is the whole minus what it leaves out, and no row is read twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Moments of some rows of X (n, d) and Y (n, t), all in float64.

    Attributes
    ----------
    n : int
    x, y : ndarray, shapes (d,) and (t,)
        Column sums.
    xx, xy, yy : ndarray, shapes (d, d), (d, t) and (t,)
        Sums of products; `yy` of each target with itself.
    """

    n: int
    x: Array
    y: Array
    xx: Array
    xy: Array
    yy: Array

    @classmethod
    def of(cls, features: ArrayLike, targets: ArrayLike) -> Moments:
        """Moments of rows; give them centred, or large means cost digits.

        Parameters
        ----------
        features : array_like, shape (n, d)
        targets : array_like, shape (n, t)
        """
        a, b = np.asarray(features, np.float64), np.asarray(targets, np.float64)
        return cls(len(a), a.sum(0), b.sum(0), a.T @ a, a.T @ b, (b * b).sum(0))

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.n + other.n,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
            self.yy + other.yy,
        )

    def __sub__(self, other: Moments) -> Moments:
        return Moments(
            self.n - other.n,
            self.x - other.x,
            self.y - other.y,
            self.xx - other.xx,
            self.xy - other.xy,
            self.yy - other.yy,
        )

    def squared_errors(self, lines: Lines) -> Array:
        """Residual sum of squares on these rows, shape (penalty, t)."""
        coef, intercept = lines
        product = np.einsum("adt,adt->at", coef, np.matmul(self.xx, coef))
        return (
            self.yy
            - 2 * np.einsum("adt,dt->at", coef, self.xy)
            - 2 * intercept * self.y
            + product
            + 2 * intercept * np.einsum("adt,d->at", coef, self.x)
            + self.n * intercept**2
        )

    def total_squares(self) -> Array:
        """Sum of squares of each target about its mean, shape (t,)."""
        return self.yy - self.y**2 / self.n


class Lines(NamedTuple):
    """Linear predictors, one for each penalty.

    Attributes
    ----------
    coef : ndarray, shape (penalty, d, t)
    intercept : ndarray, shape (penalty, t)
    """

    coef: Array
    intercept: Array


def solve(moments: Moments, alphas: Array) -> Lines:
    """Ridge regression on standardised features for every penalty and target at once.

    The same as scikit-learn's ``make_pipeline(StandardScaler(), Ridge(alpha))`` on the
    rows that the moments are of: features are centred and divided by their standard
    deviation (a constant one is left at zero), the intercept is not penalised. One
    eigendecomposition serves every penalty (Hastie, Tibshirani & Friedman 2009,
    Elements of Statistical Learning, eq. 3.44-3.47).

    Parameters
    ----------
    moments : Moments
    alphas : ndarray, shape (penalty,)
        Each above 0.
    """
    mean_x, mean_y = moments.x / moments.n, moments.y / moments.n
    covariance = moments.xx - moments.n * np.outer(mean_x, mean_x)
    variance = np.diag(covariance) / moments.n
    # what rounding leaves of a constant column is no variance
    floor = 1e-12 * np.maximum(np.diag(moments.xx) / moments.n, np.finfo(float).tiny)
    inverse = np.where(variance > floor, 1 / np.sqrt(np.maximum(variance, floor)), 0.0)
    gram = covariance * np.outer(inverse, inverse)
    values, vectors = np.linalg.eigh(gram)
    product = inverse[:, None] * (moments.xy - moments.n * np.outer(mean_x, mean_y))
    projected = vectors.T @ product
    shrunk = projected / (np.maximum(values, 0)[None, :, None] + alphas[:, None, None])
    coef = inverse[:, None] * np.matmul(vectors, shrunk)
    return Lines(coef, mean_y - np.einsum("d,adt->at", mean_x, coef))


def best_penalty(train: Moments, parts: list[Moments], alphas: Array) -> int:
    """Which penalty predicts the parts best, each from the rest of the training set.

    Parameters
    ----------
    train : Moments
    parts : list of Moments
        Disjoint subsets of the training rows.
    alphas : ndarray, shape (penalty,)

    Returns
    -------
    int
        Index into `alphas`: the least squared error, each target relative to its variance.
    """
    errors = np.zeros(len(alphas))
    scale = np.maximum(train.total_squares(), np.finfo(float).tiny)
    for part in parts:
        errors += (part.squared_errors(solve(train - part, alphas)) / scale).sum(axis=1)
    return int(np.argmin(errors))
