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

CURVE_TOLERANCE = (0.02, 0.05)
"""How far the kurtosis may be from the Pearson III curve's: so much, and such a share of it."""

LONG_TAIL, SHORT_TAIL = 1.0, 0.5
"""Skewness beyond which the curve is not trusted for the longer and for the shorter tail."""

_LEAST = np.finfo(float).tiny  # no p is 0, however far the curve goes


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

    # a skewness of 0 is the normal distribution, the limit
    bent = np.where(np.abs(skewness) < 1e-9, 1e-9, skewness)
    shape = 4 / bent**2
    rise = np.maximum(bent * z / 2, -1)
    at = shape * (1 + rise)
    # of larger shapes SciPy's series ends too early: it gives a 16th of P(z < -6)
    above, below = np.where(
        shape < 1e4,
        (gammaincc(shape, at), gammainc(shape, at)),
        _near_normal(shape, np.maximum(rise, -0.999)),
    )
    above, below = (np.maximum(tail, _LEAST) for tail in (above, below))
    return _sided(np.where(bent > 0, above, below), np.where(bent > 0, below, above), alternative)


def _near_normal(
    shape: NDArray[np.float64], rise: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Upper and lower tail of a gamma distribution of a large shape, at shape · (1 + rise).

    The first terms of a series that is good for any rise: at a shape of 10,000 eight digits.

    References
    ----------
    Temme, N. M. (1979). The asymptotic expansion of the incomplete gamma functions. SIAM Journal
    on Mathematical Analysis 10, 757–766.
    """
    from scipy.special import erfc

    small = np.abs(rise) < 0.01  # there differences would lose their digits
    some = np.where(small, 1.0, rise)
    series = rise**2 * np.polyval(1 / np.arange(9.0, 1, -1), -rise)
    height = np.where(small, series, some - np.log1p(some))
    eta = np.sign(rise) * np.sqrt(2 * height)
    near = np.polyval([1 / 2835, 1 / 864, -2 / 135, 1 / 12, -1 / 3], eta)
    first = np.where(small, near, 1 / some - 1 / np.where(small, 1.0, eta))
    more = first * np.exp(-shape * height) / np.sqrt(2 * np.pi * shape)
    at = eta * np.sqrt(shape / 2)
    return erfc(at) / 2 + more, erfc(-at) / 2 - more


def follows_pearson3(
    z: NDArray[np.float64], moments: Moments, alternative: str
) -> NDArray[np.bool_]:
    """Where the tail that decides p can be taken for that of the Pearson III curve.

    The curve's excess kurtosis is 1.5 · skewness². A tail heavier or lighter than the curve's,
    as of a feature with few large values, shows in the fourth moment; where the skewness is
    large a fourth moment may agree by accident. The curve's shorter tail ends at z = -2 /
    skewness, which a distribution need not.

    Parameters
    ----------
    z : ndarray of float64, shape (F,)
        Of the statistic, standardised.
    moments : Moments
        Exact ones.
    alternative : {"greater", "less", "two-sided"}
    """
    by_curve = 1.5 * moments.skewness**2
    absolute, share = CURVE_TOLERANCE
    above = {"greater": True, "less": False}.get(alternative, z > 0)
    with np.errstate(invalid="ignore"):
        near = np.abs(moments.kurtosis - by_curve) <= absolute + share * by_curve
        bent = moments.skewness * np.where(above, 1, -1)
        short = (bent >= -SHORT_TAIL) & (np.abs(z * moments.skewness) <= 1)
        return near & np.where(bent > 0, bent <= LONG_TAIL, short)


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
