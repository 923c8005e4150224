"""Exact moments of a statistic of neighbours over all permutations of the places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from geointerp.spatial.motifs import Component, Motif, edges_of, motifs

Polynomial: TypeAlias = Mapping[tuple[int, int], float | NDArray[np.float64]]
"""b(u, v) = Σ coefficient · uᵃ vᵇ by (a, b), symmetric in u and v; a coefficient per feature."""


class Moments(NamedTuple):
    """Of one quantity for each of F features; shape (F,) each."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    skewness: NDArray[np.float64]
    kurtosis: NDArray[np.float64]  # the excess over the normal distribution's 3

    def z(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values, standardised; NaN where there is no variance."""
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (value - self.mean) / np.sqrt(self.variance)
        return np.where(self.variance > 0, z, np.nan)

    def only(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Moments:
        """Of some of the features."""
        return Moments(*(part[chosen] for part in self))


def of_neighbors(
    motif_sums: Mapping[Motif, float], n: int, powers: NDArray[np.float64], pair: Polynomial
) -> Moments:
    """Moments of Σ t_ij b(x_i, x_j) over the pairs of places, the values x permuted.

    Parameters
    ----------
    motif_sums : mapping
        The sums of every motif of one to two or of one to four edges; with two, skewness
        and kurtosis are NaN.
    n : int
        Number of places.
    powers : ndarray of float64, shape (9, F)
        Σ_i x_iʳ for r = 0, …, 8.
    pair : polynomial
        b.

    Returns
    -------
    Moments

    References
    ----------
    Siemiatycki, J. (1978). Mantel's space-time clustering statistic: computing higher moments
    and a comparison of various data transforms. Journal of Statistical Computation and
    Simulation 7, 13–31: moments of this kind by patterns of edges.
    """
    among = _Apart(n, powers)
    width = powers.shape[1]
    raw, size = np.full((4, width), np.nan), np.zeros(width)
    for order in range(1, 5):
        if all(motif in motif_sums for motif in motifs(order)):
            raw[order - 1] = 0
            for motif, ways in motifs(order).items():
                expected, largest = _expected(edges_of(motif), pair, among)
                raw[order - 1] += ways * motif_sums[motif] * expected
                if order == 2:
                    size += np.abs(ways * motif_sums[motif]) * largest
    return _central(raw, size)


def of_sum(n: int, powers: NDArray[np.float64], weight_powers: NDArray[np.float64]) -> Moments:
    """Moments of Σ_i a_i x_i over the permutations of x, where Σ a = Σ x = 0.

    Parameters
    ----------
    n : int
    powers, weight_powers : ndarray of float64, shape (9, F)
        Σ_i x_iʳ and Σ_i a_iʳ.

    References
    ----------
    Hoeffding, W. (1951). A combinatorial central limit theorem. Annals of Mathematical
    Statistics 22, 558–566: such sums. Their moments follow from those of sampling without
    replacement.
    """
    values, weights = _Apart(n, powers), _Apart(n, weight_powers)
    # partitions of r into parts, and the number of ways to deal r factors so
    ways: dict[int, dict[tuple[int, ...], int]] = {
        1: {(1,): 1},
        2: {(2,): 1, (1, 1): 1},
        3: {(3,): 1, (1, 2): 3, (1, 1, 1): 1},
        4: {(4,): 1, (1, 3): 4, (2, 2): 3, (1, 1, 2): 6, (1, 1, 1, 1): 1},
    }
    raw = np.stack(
        [
            sum(
                (many * values.mean(parts) * weights.total(parts) for parts, many in split.items()),
                np.zeros(powers.shape[1]),
            )
            for split in ways.values()
        ]
    )
    return _central(raw, raw[1])


class _Apart:
    """Sums of products of powers of x over places that all differ."""

    def __init__(self, n: int, powers: NDArray[np.float64]) -> None:
        self._n, self._powers = n, powers
        self._totals: dict[tuple[int, ...], NDArray[np.float64]] = {}

    def total(self, exponents: tuple[int, ...]) -> NDArray[np.float64]:
        """Σ x_iᵃ x_jᵇ … over all ordered ways to choose different i, j, …"""
        if not exponents:
            return np.ones(self._powers.shape[1])
        if exponents not in self._totals:
            first, rest = exponents[0], exponents[1:]
            found = self._powers[first] * self.total(rest)
            for i, other in enumerate(rest):
                merged = tuple(sorted((*rest[:i], first + other, *rest[i + 1 :])))
                found = found - self.total(merged)
            self._totals[exponents] = found
        return self._totals[exponents]

    def mean(self, exponents: tuple[int, ...]) -> NDArray[np.float64]:
        """Its mean over those ways; 0 where there are none."""
        ways = float(np.prod([float(self._n - i) for i in range(len(exponents))]))
        total = self.total(exponents)
        return total / ways if ways > 0 else np.zeros_like(total)


def _expected(
    edges: Component, pair: Polynomial, among: _Apart
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of the product of b over a motif's edges, its vertices' values drawn apart.

    And the same of the absolute values of its terms, which says what rounding leaves of it.
    """
    size = 1 + max(max(edge) for edge in edges)
    terms: dict[tuple[int, ...], float | NDArray[np.float64]] = {(0,) * size: 1.0}
    for a, b in edges:
        larger: dict[tuple[int, ...], float | NDArray[np.float64]] = {}
        for exponents, coefficient in terms.items():
            for (at_a, at_b), factor in pair.items():
                raised = list(exponents)
                raised[a] += at_a
                raised[b] += at_b
                key = tuple(raised)
                larger[key] = larger.get(key, 0.0) + coefficient * factor
        terms = larger
    together: dict[tuple[int, ...], float | NDArray[np.float64]] = {}
    for exponents, coefficient in terms.items():
        kept = tuple(sorted(e for e in exponents if e))
        together[kept] = together.get(kept, 0.0) + coefficient
    value, size = np.zeros((2, *among.mean(()).shape))
    for exponents, coefficient in together.items():
        term = coefficient * among.mean(exponents)
        value, size = value + term, size + np.abs(term)
    return value, size


def _central(raw: NDArray[np.float64], size: NDArray[np.float64]) -> Moments:
    """Central moments of raw ones; `size` is that of the terms of the second."""
    first, second, third, fourth = raw
    variance = second - first**2
    # a statistic that cannot vary: what rounding leaves is not a variance
    variance = np.where(variance > 1e-12 * size, variance, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = (third - 3 * first * second + 2 * first**3) / variance**1.5
        kurtosis = (
            fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
        ) / variance**2 - 3
    skewness[variance == 0] = kurtosis[variance == 0] = np.nan
    return Moments(first, variance, skewness, kurtosis)
