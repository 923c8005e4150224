"""p by the Pearson III curve: where it serves, and how far out it can be trusted.

A distribution whose first cumulants are the curve's may still have another tail. To first order its
tail at z is the curve's times exp(K(s) - C(s)): K and C are the logarithms of its and of the
curve's moment-generating functions, and s is the saddle point, at which C has the slope z. Mean,
variance and skewness are shared. Of what K and C may differ by, this module counts

- the fourth cumulant, where it is above the curve's; twice, for higher ones that go with it,
- what the few largest values of a feature add beyond the fourth where chance makes two of them
  neighbours, or puts one where much weight meets: rare jumps, of which four moments tell little,
- all that the curve itself has beyond the fourth, which is its own and not the statistic's.

Where these add up to log `FACTOR` the tail may be half as heavy again as the curve's, and p goes no
further out. The weights of the three were set by what permutations give (docs/spatial.md).

References
----------
Daniels, H. E. (1954). Saddlepoint approximations in statistics. Annals of Mathematical Statistics
25, 631–650.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geointerp.spatial.inference import Options
from geointerp.spatial.moments import Moments
from geointerp.spatial.neighbors import Neighbors
from geointerp.spatial.packing import Packed, Sample
from geointerp.spatial.statistics import Statistic
from geointerp.spatial.tails import follows_pearson3, pearson3

FEWEST_JOINS = 8.0
"""Firing neighbours by chance below which a statistic takes too few values for a curve."""

FEWEST_PLACES = 10
"""Places below which there are too few permutations for a curve."""

FACTOR = 1.5
"""How much heavier than the curve's a tail may be, by what the curve leaves out."""

LARGEST = 10
"""Values of a feature that are looked at for jumps."""

_NEAR = 0.01  # p above which no tail is far enough out to be asked
_ATOMS = 32  # numbers that stand for all weights of a graph
_STEPS = 40  # of the search for the furthest z


def by_curve(
    statistic: Statistic,
    packed: Packed,
    sample: Sample,
    neighbors: Neighbors,
    moments: Moments,
    chosen: Options,
) -> NDArray[np.float64]:
    """p of each feature by the Pearson III curve; NaN where permutations are to be asked.

    Further out than the curve can be trusted, p is the last that can be; or NaN, where permutations
    give smaller ones.
    """
    z, alternative = moments.z(packed.value), chosen.alternative
    serves = follows_pearson3(z, moments, alternative) & ~packed.tied
    serves &= neighbors.n >= FEWEST_PLACES
    if statistic.pairs is not None:
        serves &= packed.joins(neighbors) >= FEWEST_JOINS
    p = np.full(z.shape, np.nan)
    p[serves] = pearson3(z[serves], moments.skewness[serves], alternative)
    side = {"greater": 1.0, "less": -1.0}.get(alternative, np.sign(z))
    out = np.flatnonzero((p < _NEAR) & (z * side > 0))
    if len(out):
        side = np.broadcast_to(side, z.shape)[out]
        few = moments.only(out)
        added = jumps(statistic, packed, sample, neighbors, few, out)
        last = furthest(z[out] * side, few, side, added)
        beyond = last < z[out] * side
        out, last = out[beyond], (last * side)[beyond]
        p[out] = pearson3(last, moments.skewness[out], alternative)
        p[out[p[out] * (1 + chosen.max_permutations) > 1]] = np.nan
    return p


class Law(NamedTuple):
    """A distribution on a few numbers, of mean 0."""

    numbers: NDArray[np.float64]
    chances: NDArray[np.float64]


class Jumps(NamedTuple):
    """Independent numbers of one law that add to z, each times a size of its own."""

    sizes: NDArray[np.float64]  # shape (J, F)
    law: Law

    def beyond_fourth(self, s: NDArray[np.float64], side: NDArray[np.float64]) -> NDArray:
        """Their cumulant-generating functions at s beyond the fourth cumulant, those above 0."""
        y = s * side * self.sizes
        numbers, chances = self.law
        second, third, fourth = ((chances * numbers**r).sum() for r in (2, 3, 4))
        lift = np.zeros_like(y)
        for number, chance in zip(numbers, chances, strict=True):
            lift += chance * np.expm1(np.minimum(y * number, 500.0))
        rest = np.log1p(lift)
        rest -= y**2 * (second / 2 + y * (third / 6 + y * (fourth - 3 * second**2) / 24))
        total = np.zeros_like(s)
        for row in np.maximum(rest, 0):  # one after the other: the same sum in any company
            total += row
        return total


def jumps(
    statistic: Statistic,
    packed: Packed,
    sample: Sample,
    neighbors: Neighbors,
    moments: Moments,
    chosen: NDArray[np.intp],
) -> list[Jumps]:
    """What the largest values of some features move their z by, as chance places them."""
    n = neighbors.n
    top = packed.largest(sample.spread, chosen, LARGEST)
    places = law(neighbors.degree - neighbors.degree.mean(), n)
    deviation = np.sqrt(moments.variance)
    if statistic.pairs is None:
        return [Jumps(top / (n * deviation), places)]
    pairs = statistic.pairs(sample.spread)
    scale = pairs.factor[chosen] / deviation

    def coefficient(a: int, b: int) -> NDArray[np.float64]:
        return np.broadcast_to(pairs.b.get((a, b), 0.0), pairs.factor.shape)[chosen]

    i, j = np.triu_indices(LARGEST, 1)
    found = [
        Jumps(scale * coefficient(1, 1) * top[i] * top[j], law(neighbors.weight, n * (n - 1) // 2))
    ]
    one, two = coefficient(1, 0), coefficient(2, 0)
    if one.any() or two.any():
        found.append(Jumps(scale * (one * top + two * (top**2 - 1)), places))
    return found


def law(numbers: NDArray[np.float64], among: int) -> Law:
    """That of a number drawn from these and zeros, so many in all.

    Numbers that are nearly equal are taken together, for the one among them furthest from 0.
    """
    low, high = numbers.min(), numbers.max()
    stretch = np.zeros(len(numbers), dtype=int)
    if high > low:
        stretch = np.minimum((numbers - low) * (_ATOMS / (high - low)), _ATOMS - 1).astype(int)
    many = np.bincount(stretch, minlength=_ATOMS)
    some = np.flatnonzero(many)
    parts = (numbers[stretch == at] for at in some)
    ends = np.array([part[np.abs(part).argmax()] for part in parts])
    ends = np.append(ends, 0.0)
    chances = np.append(many[some], among - len(numbers)) / among
    return Law(ends - (chances * ends).sum(), chances)


def furthest(
    z: NDArray[np.float64],
    moments: Moments,
    side: NDArray[np.float64],
    added: Sequence[Jumps],
) -> NDArray[np.float64]:
    """z, or less: as far out as a tail is at most `FACTOR` times the curve's.

    Parameters
    ----------
    z : ndarray of float64, shape (F,)
        Above 0 and into the tail, be it the upper or the lower one.
    moments : Moments
    side : ndarray of float64, shape (F,)
        1 for the upper tail and -1 for the lower.
    added : sequence of Jumps
    """
    last = z.copy()
    short = np.flatnonzero(left_out(z, moments, side, added) > np.log(FACTOR))
    if not len(short):
        return last
    moments, side = moments.only(short), side[short]
    added = [one._replace(sizes=one.sizes[:, short]) for one in added]
    low, high = np.zeros(len(short)), z[short]
    for _ in range(_STEPS):
        middle = (low + high) / 2
        good = left_out(middle, moments, side, added) <= np.log(FACTOR)
        low, high = np.where(good, middle, low), np.where(good, high, middle)
    last[short] = low
    return last


def left_out(
    z: NDArray[np.float64],
    moments: Moments,
    side: NDArray[np.float64],
    added: Sequence[Jumps],
) -> NDArray[np.float64]:
    """Logarithm of the factor by which a tail may be heavier than the curve's, shape (F,)."""
    skewness = moments.skewness * side
    rise = np.maximum(skewness * z / 2, -0.999)
    s = z / (1 + rise)
    fourth = np.maximum(moments.kurtosis - 1.5 * skewness**2, 0) * s**4 / 24
    # the curve's own beyond the fourth: s² Σ aᵏ⁻² / k over k ≥ 5, a = s · skewness / 2
    a = rise / (1 + rise)
    small = np.abs(a) < 0.05  # there differences would lose their digits
    some = np.where(small, 1.0, a)
    far = (np.log1p(rise) - a * (1 + a * (1 / 2 + a * (1 / 3 + a / 4)))) / some**2
    own = s**2 * np.abs(np.where(small, a**3 * np.polyval(1 / np.arange(12.0, 4, -1), a), far))
    total = 2 * fourth + own
    for jump in added:
        total = total + jump.beyond_fourth(s, side)
    return total
