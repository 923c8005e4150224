"""Sums, squares and products of features and targets: all that ridge regression needs.

The moments of a union of rows are the sum of their moments, so that every fold's
training set is the whole minus what it leaves out, and no row is read twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from geointerp import processes
from geointerp.probes.shrinkage import Array, at_once, shrunk

# rows read at a time: many make products fast, few stay in the cache when they are predicted
_ROWS_SUMMED, _ROWS_PREDICTED = 8192, 1024
# of a sum of squares, by what its products are computed in
_ROUNDING = {"float64": 1e-12, "float32": 1e-6}


@dataclass(frozen=True)
class Moments:
    """Moments of some rows of X (n, d) and Y (n, t), in float64, of NumPy or torch.

    Attributes
    ----------
    n : int
    x, y : array, shapes (d,) and (t,)
        Column sums.
    xx, xy, yy : array, shapes (d, d), (d, t) and (t,)
        Sums of products; `yy` of each target with itself.
    noise : array, shape (d,)
        Sums of squares about the mean up to which there may be nothing but rounding, also of
        what was added and taken away again.
    """

    n: int
    x: Array
    y: Array
    xx: Array
    xy: Array
    yy: Array
    noise: Array

    @classmethod
    def of(cls, features: Array, targets: Array, products: str = "float64") -> Moments:
        """Moments of rows; give them centred, or large means cost digits.

        Parameters
        ----------
        features : array of float64, shape (n, d)
        targets : array of float64, shape (n, t)
        products : {"float64", "float32"}
            What products of features with each other are computed in.
        """
        a, b = features, targets
        squares = (a**2).sum(0)
        xx = _squared(a, products)
        # a column's own square is exact, or one that is constant could not be told
        diagonal = list(range(len(squares)))
        xx[diagonal, diagonal] = squares
        return cls(
            len(a), a.sum(0), b.sum(0), xx, a.T @ b, (b * b).sum(0), _ROUNDING[products] * squares
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(*(a + b for a, b in zip(self._all(), other._all(), strict=True)))

    def __sub__(self, other: Moments) -> Moments:
        left = Moments(*(a - b for a, b in zip(self._all(), other._all(), strict=True)))
        return replace(left, noise=self.noise)

    def _all(self) -> tuple[Any, ...]:
        return self.n, self.x, self.y, self.xx, self.xy, self.yy, self.noise

    def squared_errors(self, lines: Lines) -> Array:
        """Residual sum of squares on these rows, shape (penalty, t)."""
        coef, intercept = lines
        product = (coef * self._times(coef)).sum(1)
        return (
            self.yy
            - 2 * (coef * self.xy).sum(1)
            - 2 * intercept * self.y
            + product
            + 2 * intercept * (coef * self.x[:, None]).sum(1)
            + self.n * intercept**2
        )

    def _times(self, coef: Array) -> Array:
        """Products of features times every coefficient, in one product of matrices."""
        penalties, d, t = coef.shape
        flat = coef.swapaxes(0, 1).reshape(d, penalties * t)
        return (self.xx @ flat).reshape(d, penalties, t).swapaxes(0, 1)

    def total_squares(self) -> Array:
        """Sum of squares of each target about its mean, shape (t,)."""
        return self.yy - self.y**2 / self.n


def _squared(a: Array, products: str) -> Array:
    """The products of all columns with each other, in float64."""
    if products == "float64":
        return a.T @ a
    if isinstance(a, np.ndarray):
        single = a.astype(np.float32)
        return (single.T @ single).astype(np.float64)
    single = a.float()
    return (single.T @ single).double()


class Lines(NamedTuple):
    """Linear predictors, one for each penalty.

    Attributes
    ----------
    coef : array, shape (penalty, d, t)
    intercept : array, shape (penalty, t)
    """

    coef: Array
    intercept: Array


def solve(moments: Moments, alphas: ArrayLike) -> Lines:
    """Ridge regression on standardised features for every penalty and target at once.

    The same as scikit-learn's ``make_pipeline(StandardScaler(), Ridge(alpha))`` on the
    rows that the moments are of: features are centred and divided by their standard
    deviation (a constant one is left at zero), the intercept is not penalised (Hastie,
    Tibshirani & Friedman 2009, Elements of Statistical Learning, eq. 3.41-3.44).

    Parameters
    ----------
    moments : Moments
    alphas : array_like, shape (penalty,)
        Each above 0.
    """
    gram, product, inverse = standardised(moments)
    coef = inverse[:, None] * shrunk(gram, product, alphas)
    mean_x, mean_y = moments.x / moments.n, moments.y / moments.n
    return Lines(coef, mean_y - (coef * mean_x[:, None]).sum(1))


def solve_components(moments: Moments, counts: ArrayLike) -> Lines:
    """Regression on the first principal components of standardised features, unpenalised.

    One eigendecomposition serves every number of components (Jolliffe 2002, Principal
    Component Analysis, section 8.1).

    Parameters
    ----------
    moments : Moments
    counts : array_like of int, shape (count,)
        Numbers of components; the lines come in this order. Components without variance
        are left out.
    """
    gram, product, inverse = standardised(moments)
    values, vectors = np.linalg.eigh(on_host(gram))
    values, vectors = values[::-1], vectors[:, ::-1]
    real = values > 1e-10 * values[0]
    along = vectors.T @ on_host(product) * (real / np.where(real, values, 1))[:, None]
    coef = np.stack([vectors[:, :count] @ along[:count] for count in np.asarray(counts)])
    coef = on_host(inverse)[:, None] * coef
    mean_x, mean_y = on_host(moments.x) / moments.n, on_host(moments.y) / moments.n
    return Lines(coef, mean_y - (coef * mean_x[:, None]).sum(1))


def standardised(moments: Moments) -> tuple[Array, Array, Array]:
    """Products of standardised features with themselves and with centred targets.

    Returns
    -------
    gram, product : array, shapes (d, d) and (d, t)
    inverse : array, shape (d,)
        One over each feature's standard deviation; 0 for a constant one.
    """
    mean_x, mean_y = moments.x / moments.n, moments.y / moments.n
    gram = moments.xx - moments.n * mean_x[:, None] * mean_x
    squares = gram.diagonal() / moments.n
    # what rounding leaves of a constant column is no variance
    constant = squares <= moments.noise / moments.n
    inverse = 1 / (squares * ~constant + constant) ** 0.5 * ~constant
    product = inverse[:, None] * (moments.xy - moments.n * mean_x[:, None] * mean_y)
    gram *= inverse[:, None]
    gram *= inverse
    return gram, product, inverse


def solve_rows(features: Array, targets: Array, alphas: ArrayLike) -> Lines:
    """The same as `solve`, from the rows themselves, where they are fewer than their columns.

    By the rows' inner products (Saunders, Gammerman & Vovk 1998, Ridge regression learning
    algorithm in dual variables).

    Parameters
    ----------
    features : array, shape (n, d)
    targets : array, shape (n, t)
    alphas : array_like, shape (penalty,)
    """
    mean_x, mean_y = features.mean(0), targets.mean(0)
    squares = ((features - mean_x) ** 2).mean(0)
    constant = squares <= 1e-12 * (features**2).mean(0)
    inverse = 1 / (squares * ~constant + constant) ** 0.5 * ~constant
    scaled = (features - mean_x) * inverse
    coef = inverse[:, None] * (scaled.T @ shrunk(scaled @ scaled.T, targets - mean_y, alphas))
    return Lines(coef, mean_y - (coef * mean_x[:, None]).sum(1))


def of_parts(
    features: Any,
    targets: NDArray[np.float64],
    parts: NDArray[np.int64],
    shift: NDArray[np.float64],
    device: str = "cpu",
    products: str = "float64",
) -> list[Moments]:
    """Moments of every part of the rows, in one pass over them.

    Processes that `accelerate launch` started read a share each and add up.

    Parameters
    ----------
    features : array_like, shape (n, d)
        Anything that gives rows by a slice, such as a DataArray on disk.
    targets : ndarray, shape (n, t)
    parts : ndarray of int, shape (n,)
        The number of each row's part; -1 for none.
    shift : ndarray, shape (d,)
        Taken off the features; near their mean, or large means cost digits.
    device : str
        Where products are computed.
    products : {"float64", "float32"}
        What they are computed in, block by block; they are added up in float64.

    Returns
    -------
    list of Moments
        Of the features less `shift`.
    """
    found: list[Moments | None] = [None] * (int(parts.max()) + 1)

    def add(part: int, rows: slice, block: Any) -> None:
        own = np.flatnonzero(parts[rows] == part)
        # only the rows that are asked for are made float64
        a, b = np.subtract(block[own], shift, dtype=np.float64), targets[rows][own]
        more = Moments.of(on_device(a, device), on_device(b, device), products)
        before = found[part]
        found[part] = more if before is None else before + more

    for rows in _slices(features.shape[0], _ROWS_SUMMED):
        present = np.unique(parts[rows][parts[rows] >= 0]).tolist()
        if present:
            block = np.asarray(features[rows])
            at_once(partial(add, rows=rows, block=block), present, device)
    d, t = features.shape[1], targets.shape[1]
    empty = Moments.of(on_device(np.zeros((0, d)), device), on_device(np.zeros((0, t)), device))
    return [Moments(*map(processes.total, (m or empty)._all())) for m in found]


def blocks(features: Any, *, share: bool = True) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """This process's share of the rows, or all, a thousand at a time."""
    for rows in _slices(features.shape[0], _ROWS_PREDICTED, share=share):
        block = features[rows]
        yield rows, block if sparse.issparse(block) else np.asarray(block, np.float64)


def _slices(n: int, count: int, *, share: bool = True) -> list[slice]:
    starts: Any = range(0, n, count)
    wanted = processes.share(starts) if share else starts
    return [slice(start, min(start + count, n)) for start in wanted]


def on_device(array: NDArray[np.float64], device: str) -> Array:
    """The array itself on the CPU, else a tensor."""
    if device == "cpu":
        return array
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def on_host(array: Array) -> NDArray[np.float64]:
    """An array of NumPy, wherever it was."""
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()
