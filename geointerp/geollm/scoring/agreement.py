"""Agreement of predictions with a truth, and how far it moves with other blocks of places."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from geointerp.probes.intervals import FEWEST, Bootstrap, interval, summed

Floats = NDArray[np.float64]

# draws whose ranks are made at once, times places
_AT_ONCE = 1 << 21


def correlations(given: Floats, known: Floats, draws: Bootstrap | None) -> dict[str, float]:
    """Pearson's r, its square and Spearman's rho, each with its interval.

    Parameters
    ----------
    given, known : ndarray of float64, shape (n,)
    draws : Bootstrap or None
        Of the blocks of these places; None where there is no correlation: all is NaN.
    """
    r = rho = r_drawn = rho_drawn = np.full(1, np.nan)
    if draws is not None:
        # the whole is the draw that holds every block once
        r, rho = _both(given, known, draws.block, np.ones((1, draws.count)))
        if draws.count >= FEWEST:
            r_drawn, rho_drawn = _both(given, known, draws.block, draws.times)
    return _told(
        {
            "pearson": (r, r_drawn),
            "pearson_r2": (r**2, r_drawn**2),
            "spearman": (rho, rho_drawn),
        }
    )


def _both(
    given: Floats, known: Floats, block: NDArray[np.int64], times: Floats
) -> tuple[Floats, Floats]:
    """Pearson's r and Spearman's rho of draws that hold each block so many times."""
    r, rho = [], []
    step = max(1, _AT_ONCE // len(given))
    for start in range(0, len(times), step):
        weight = np.take(times[start : start + step], block, axis=1)
        r.append(pearson(given, known, weight))
        rho.append(pearson(ranks(given, weight), ranks(known, weight), weight))
    return np.concatenate(r), np.concatenate(rho)


def errors(error: Floats, draws: Bootstrap | None) -> dict[str, float]:
    """Mean absolute error and root of the mean squared error, each with its interval.

    Parameters
    ----------
    error : ndarray of float64, shape (n,)
        NaN for a place that is not tested.
    draws : Bootstrap or None
        Of the blocks of these places; None if there are none.
    """
    if draws is None or np.isnan(error).all():
        nothing = np.full(1, np.nan)
        return _told({"mae": (nothing, nothing), "rmse": (nothing, nothing)})
    known = ~np.isnan(error)
    sums = np.stack([known, np.abs(error), error**2], axis=1)
    of_blocks = summed(np.where(known[:, None], sums, 0), draws.block, draws.count)

    values, drawn = _means(of_blocks.sum(0)), _means(draws.sums(of_blocks))
    return _told({"mae": (values[0], drawn[0]), "rmse": (values[1], drawn[1])})


def _means(sums: Floats) -> tuple[Floats, Floats]:
    """Mean absolute error and root mean square, from counts and sums; NaN of nothing."""
    count, absolute, square = np.atleast_2d(sums).T
    count = np.where(count > 0, count, np.nan)
    return absolute / count, np.sqrt(square / count)


def pearson(first: Floats, second: Floats, weight: Floats) -> Floats:
    """Pearson's r of places that count so many times.

    Parameters
    ----------
    first, second : ndarray of float64, shape (n,) or (draw, n)
    weight : ndarray of float64, shape (draw, n)

    Returns
    -------
    ndarray of float64, shape (draw,)
        NaN where either is constant.
    """
    share = weight / weight.sum(1, keepdims=True)
    first = first - (share * first).sum(1, keepdims=True)
    second = second - (share * second).sum(1, keepdims=True)
    spread = (share * first**2).sum(1) * (share * second**2).sum(1)
    product = (share * first * second).sum(1)
    return np.where(spread > 0, product / np.sqrt(np.where(spread > 0, spread, 1)), np.nan)


def ranks(values: Floats, weight: Floats) -> Floats:
    """Mean ranks, from 1, of values of which each is there so many times.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
    weight : ndarray of float64, shape (draw, n)

    Returns
    -------
    ndarray of float64, shape (draw, n)
    """
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    upto = np.cumsum(weight[:, order], axis=1)[:, np.cumsum(size) - 1]
    below = np.concatenate([np.zeros((len(weight), 1)), upto[:, :-1]], axis=1)
    return ((below + upto + 1) / 2)[:, group]


def _told(found: Mapping[str, tuple[Floats, Floats]]) -> dict[str, float]:
    """Each measure with the limits of its interval beside it."""
    told: dict[str, float] = {}
    for name, (value, drawn) in found.items():
        low, high = interval(drawn)
        told |= {name: float(value[0]), f"{name}_low": low, f"{name}_high": high}
    return told
