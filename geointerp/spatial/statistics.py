"""The global statistics, each as a sum over pairs of neighbours.

All are a straight line in `cross` (see `_kernels`), on which permutations are counted, and in a
sum Σ t_ij b(z_i, z_j) of one polynomial b of standardised values, whose exact moments are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geointerp.spatial.moments import Polynomial
from geointerp.spatial.table import undefined


class Spread(NamedTuple):
    """What a statistic needs of F features; shape (F,) each, of the scaled values."""

    n: int
    mean: NDArray[np.float64]  # what has to be taken off yet
    squares: NDArray[np.float64]  # Σ (x - mean)²
    s0: float

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation over all n places."""
        return np.sqrt(self.squares / self.n)


class Line(NamedTuple):
    """statistic = offset + slope · cross; shape (F,) each."""

    alpha: NDArray[np.float64]
    beta: NDArray[np.float64]
    slope: NDArray[np.float64]
    offset: NDArray[np.float64]


class Pairs(NamedTuple):
    """statistic = expected + factor · Σ t_ij b(z_i, z_j) over the pairs, z standardised.

    b has the mean 0 over all pairs of places, so that nothing is lost by cancellation.
    """

    expected: NDArray[np.float64]
    factor: NDArray[np.float64]
    b: Polynomial


@dataclass(frozen=True)
class Statistic:
    """One global statistic."""

    name: str
    centred: bool  # a constant added to a feature changes nothing
    line: Callable[[Spread], Line]
    pairs: Callable[[Spread], Pairs] | None  # none of a sum over places, as of a bivariate one
    undefined: Callable[[NDArray[np.float64], int], str | None]


def _is_positive(values: NDArray[np.float64], n: int) -> str | None:
    if reason := undefined(values, n):
        return reason
    if values.min() < 0:
        return "It has negative values: G is defined for values of 0 or more."
    if len(values) == 1:
        return "It fires on one place: G compares products of two."
    if (values / values.max()).sum() < 1 + 1e-6:
        return "It is as good as one place's: all others add up to less than a millionth of it."
    return None


def _fires(values: NDArray[np.float64], n: int) -> str | None:
    if len(values) == n and np.isfinite(values).all():
        return "It fires on every place."
    return undefined(values, n)


_PRODUCT: Polynomial = {(1, 1): 1.0}
_DIFFERENCE: Polynomial = {(2, 0): 1.0, (0, 2): 1.0, (1, 1): -2.0}


def _moran_line(of: Spread) -> Line:
    slope = of.n / (of.s0 * of.squares)
    return Line(-of.mean, np.zeros_like(of.mean), slope, slope * of.mean**2 * of.s0)


def _moran_pairs(of: Spread) -> Pairs:
    one = np.ones_like(of.mean)
    # Σ z_i z_j over i ≠ j is -n
    b = {**_PRODUCT, (0, 0): 1 / (of.n - 1)}
    return Pairs(-one / (of.n - 1), one / of.s0, b)


def _geary_line(of: Spread) -> Line:
    zero = np.zeros_like(of.mean)
    return Line(zero, zero - 0.5, -(of.n - 1) / (of.s0 * of.squares), zero)


def _difference_mean(n: int) -> float:
    """Mean of (z_i - z_j)² over pairs: Σ over i ≠ j is 2n²."""
    return 2 * n / (n - 1)


def _geary_pairs(of: Spread) -> Pairs:
    one = np.ones_like(of.mean)
    b = {**_DIFFERENCE, (0, 0): -_difference_mean(of.n)}
    return Pairs(one, one * (of.n - 1) / (2 * of.s0 * of.n), b)


def _products(of: Spread) -> NDArray[np.float64]:
    """Σ x_i x_j over i ≠ j."""
    return (of.n * of.mean) ** 2 - (of.squares + of.n * of.mean**2)


def _raw_product(of: Spread) -> Polynomial:
    """x_i x_j less its mean, x = mean + deviation · z, in units of deviation²."""
    mean = of.mean / of.deviation
    return {(1, 0): mean, (0, 1): mean, (1, 1): 1.0, (0, 0): 1 / (of.n - 1)}


def _getis_ord_line(of: Spread) -> Line:
    zero = np.zeros_like(of.mean)
    return Line(zero, zero, 1 / _products(of), zero)


def _getis_ord_pairs(of: Spread) -> Pairs:
    expected = np.full_like(of.mean, of.s0 / (of.n * (of.n - 1)))
    return Pairs(expected, of.deviation**2 / _products(of), _raw_product(of))


def _firing(of: Spread) -> NDArray[np.float64]:
    return of.n * of.mean


def _joins_line(of: Spread) -> Line:
    zero = np.zeros_like(of.mean)
    return Line(zero, zero, zero + 0.5, zero)


def _joins_pairs(of: Spread) -> Pairs:
    fires = _firing(of)
    expected = of.s0 / 2 * fires * (fires - 1) / (of.n * (of.n - 1))
    return Pairs(expected, of.deviation**2 / 2, _raw_product(of))


def _unlike_line(of: Spread) -> Line:
    zero = np.zeros_like(of.mean)
    return Line(zero, zero - 0.5, zero - 1.0, zero)


def _unlike_pairs(of: Spread) -> Pairs:
    fires = _firing(of)
    expected = of.s0 * fires * (of.n - fires) / (of.n * (of.n - 1))
    b = {**_DIFFERENCE, (0, 0): -_difference_mean(of.n)}
    return Pairs(expected, of.deviation**2 / 2, b)


def _sum_line(of: Spread) -> Line:
    zero = np.zeros_like(of.mean)
    return Line(zero + 1.0, zero, 1 / (of.n * of.deviation), zero)


MORAN = Statistic("Moran's I", True, _moran_line, _moran_pairs, undefined)
GEARY = Statistic("Geary's C", True, _geary_line, _geary_pairs, undefined)
GETIS_ORD = Statistic("Getis-Ord G", False, _getis_ord_line, _getis_ord_pairs, _is_positive)
JOINS = Statistic("joins of firing places", False, _joins_line, _joins_pairs, _fires)
UNLIKE_JOINS = Statistic("joins of unlike places", False, _unlike_line, _unlike_pairs, _fires)
BIVARIATE_MORAN = Statistic("bivariate Moran's I", True, _sum_line, None, undefined)
