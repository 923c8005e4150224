"""Ridge regression on sparse counts, such as tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geointerp.probes.moments import Lines
from geointerp.probes.shrinkage import shrunk

# of the residual, relative to the right-hand side
_TOLERANCE = 1e-4
_STEPS = 1000
# rows whose inner products fit into memory, and so few to a target that factors are cheaper
_MOST_ROWS = 16_384
_ROWS_SQUARED_PER_TARGET = 2e6


class Counts:
    """Parts of the rows of a sparse matrix, of which some can be left out of a fit.

    Solved by the rows' inner products where the targets are many for the rows, else by
    conjugate gradients.

    Parameters
    ----------
    features : sparse matrix, shape (n, d)
    targets : ndarray, shape (n, t)
    label : ndarray of int, shape (n,)
        The number of each row's part; -1 for none.
    """

    def __init__(
        self, features: Any, targets: NDArray[np.float64], label: NDArray[np.int64]
    ) -> None:
        self._x, self._y, self._label = sparse.csr_array(features), targets, label
        self.shift = np.zeros(features.shape[1])
        n, t = targets.shape
        self._products = None
        if n <= _MOST_ROWS and n * n <= _ROWS_SQUARED_PER_TARGET * t:
            self._products = (self._x @ self._x.T).toarray()

    def fit(self, alphas: NDArray[np.float64], *without: Any) -> Lines:
        """Regressions on all parts but some, or but some rows."""
        rows = left(self._label, without)
        x, mean_y = self._x[rows], self._y[rows].mean(0)
        mean_x = np.asarray(x.mean(0)).ravel()
        if self._products is not None:
            coef = self._by_rows(rows, x, mean_x, self._y[rows] - mean_y, alphas)
            return Lines(coef, mean_y - np.einsum("d,adt->at", mean_x, coef))
        coef = np.empty((len(alphas), x.shape[1], len(mean_y)))
        start = np.zeros(coef.shape[1:])
        # a larger penalty's answer is near that of the next smaller one
        for i in np.argsort(alphas)[::-1]:
            centred = self._y[rows] - mean_y
            start = coef[i] = _solved(x, mean_x, centred, alphas[i], start)
        return Lines(coef, mean_y - np.einsum("d,adt->at", mean_x, coef))

    def _by_rows(
        self,
        rows: NDArray[np.int64],
        x: Any,
        mean: NDArray[np.float64],
        y: NDArray[np.float64],
        alphas: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """By the rows' inner products, as `geointerp.probes.moments.solve_rows`."""
        assert self._products is not None
        gram = self._products[np.ix_(rows, rows)]
        own = gram.mean(0)
        gram -= own[:, None] + own - own.mean()
        weights = shrunk(gram, y, alphas)
        return np.stack([x.T @ w - mean[:, None] * w.sum(0) for w in weights])

    def squares(self, lines: Lines, part: int) -> NDArray[np.float64]:
        """Squared errors on a part, shape (penalty, t)."""
        rows = np.flatnonzero(self._label == part)
        predicted = (self._x[rows] @ coef for coef in lines.coef)
        missed = [
            ((guess + intercept - self._y[rows]) ** 2).sum(0)
            for guess, intercept in zip(predicted, lines.intercept, strict=True)
        ]
        return np.stack(missed)


def left(label: NDArray[np.int64], without: Any) -> NDArray[np.int64]:
    """Rows of all parts but some, or but some rows."""
    kept = label >= 0
    for item in without:
        if isinstance(item, np.ndarray):
            kept[item] = False
        elif item is not None:
            kept &= label != item
    return np.flatnonzero(kept)


def _solved(
    x: Any,
    mean: NDArray[np.float64],
    y: NDArray[np.float64],
    alpha: float,
    start: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Ridge regression of centred targets on the columns about their mean.

    Conjugate gradients, preconditioned by the diagonal, for all targets at once (Saad 2003,
    Iterative Methods for Sparse Linear Systems, algorithm 9.1).
    """
    transposed = x.T.tocsr()

    def times(w: NDArray[np.float64]) -> NDArray[np.float64]:
        seen = x @ w - mean @ w
        return transposed @ seen - mean[:, None] * seen.sum(0) + alpha * w

    squares = np.asarray(x.multiply(x).sum(0)).ravel() - x.shape[0] * mean**2
    inverse = 1 / (np.maximum(squares, 0) + alpha)[:, None]
    wanted = transposed @ y - mean[:, None] * y.sum(0)
    bound = _TOLERANCE**2 * _dots(wanted, wanted)
    w = start.copy()
    residual = wanted - times(w)
    z = inverse * residual
    direction, product = z, _dots(residual, z)
    for _ in range(_STEPS):
        if (_dots(residual, residual) <= bound).all():
            break
        moved = times(direction)
        step = product / np.maximum(_dots(direction, moved), np.finfo(float).tiny)
        w += step * direction
        residual -= step * moved
        z = inverse * residual
        previous, product = product, _dots(residual, z)
        direction = z + product / np.maximum(previous, np.finfo(float).tiny) * direction
    return w


def _dots(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inner product of each column of one with that of the other."""
    return np.einsum("dt,dt->t", a, b)
