"""How extreme a value is among what chance gives: p-values and q-values."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geointerp.spatial.moments import Moments

Alternative = Literal["greater", "less", "two-sided"]

TIE = 1e-10
"""Statistics nearer than this, on the scale of I, count as equal."""

ENOUGH = 20
"""With so many permutations as extreme a pseudo p-value is taken as it is."""

CURVE_TOLERANCE = (0.05, 0.1)
"""How far the kurtosis may be from the Pearson III curve's: so much, and such a share of it."""

SHORT_TAIL = 0.5
"""Skewness beyond which the curve is not trusted for the shorter tail."""


def pseudo(
    at_least: NDArray[np.int64],
    at_most: NDArray[np.int64],
    count: NDArray[np.int64],
    alternative: str,
) -> NDArray[np.float64]:
    """Pseudo p-values, (1 + as extreme) / (1 + permutations); never 0.

    Parameters
    ----------
    at_least, at_most, count : ndarray of int64, shape (F,)
        Permutations that give as much or more, as much or less, and all; ties count in both.
    alternative : {"greater", "less", "two-sided"}
        Two-sided is twice the smaller of the two, at most 1.

    Returns
    -------
    ndarray of float64, shape (F,)

    References
    ----------
    Phipson, B. and Smyth, G. K. (2010). Permutation p-values should never be zero.
    Statistical Applications in Genetics and Molecular Biology 9(1), 39.
    Cox, D. R. and Hinkley, D. V. (1974). Theoretical Statistics, section 3.4: twice the smaller.
    """
    return _sided((1 + at_least) / (1 + count), (1 + at_most) / (1 + count), alternative)


def pearson3(
    z: NDArray[np.float64], skewness: NDArray[np.float64], alternative: str
) -> NDArray[np.float64]:
    """p-values by the Pearson III curve, the gamma distribution moved and, if need be, mirrored.

    Parameters
    ----------
    z, skewness : ndarray of float64, shape (F,)
        Of the statistic, standardised, and of its distribution.
    alternative : {"greater", "less", "two-sided"}

    Returns
    -------
    ndarray of float64, shape (F,)

    References
    ----------
    Mielke, P. W., Berry, K. J. and Brier, G. W. (1981). Application of multi-response
    permutation procedures for examining seasonal changes in monthly mean sea-level pressure
    patterns. Monthly Weather Review 109, 120–126: the curve for permutation tests.
    """
    from scipy.special import gammainc, gammaincc

    # a skewness of 0 is the normal distribution, the limit: below 1e-5 they agree to 1e-4 of p
    bent = np.where(np.abs(skewness) < 1e-5, 1e-5, skewness)
    shape = 4 / bent**2
    at = np.maximum(shape + np.sqrt(shape) * np.sign(bent) * z, 0)
    above, below = gammaincc(shape, at), gammainc(shape, at)
    return _sided(np.where(bent > 0, above, below), np.where(bent > 0, below, above), alternative)


def follows_pearson3(moments: Moments, above: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a tail of the null distribution is that of its Pearson III curve.

    The curve's excess kurtosis is 1.5 · skewness². A tail heavier or lighter than the curve's, as
    of a feature with few large values, shows in the fourth moment; and the shorter of two tails
    that differ much, where a sparse feature has no neighbours that fire at all, is no curve's.

    Parameters
    ----------
    moments : Moments
        Exact ones.
    above : ndarray of bool, shape (F,)
        Whether the upper tail is meant.
    """
    by_curve = 1.5 * moments.skewness**2
    absolute, share = CURVE_TOLERANCE
    with np.errstate(invalid="ignore"):
        near = np.abs(moments.kurtosis - by_curve) <= absolute + share * by_curve
        long = (moments.skewness > 0) == above
        return near & (long | (np.abs(moments.skewness) <= SHORT_TAIL))


def q_values(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """p adjusted for the false discovery rate over all that are not NaN.

    References
    ----------
    Benjamini, Y. and Hochberg, Y. (1995). Controlling the false discovery rate. Journal of the
    Royal Statistical Society B 57, 289–300.
    """
    from scipy.stats import false_discovery_control

    q = np.full(p.shape, np.nan)
    tested = ~np.isnan(p)
    if tested.any():
        q[tested] = false_discovery_control(p[tested], method="bh")
    return q


def _sided(
    greater: NDArray[np.float64], less: NDArray[np.float64], alternative: str
) -> NDArray[np.float64]:
    if alternative == "two-sided":
        return np.minimum(1, 2 * np.minimum(greater, less))
    return greater if alternative == "greater" else less
