"""Scores of predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from geointerp import sphere


def r2(target: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """Coefficient of determination of each target: 1 is perfect, 0 the mean's own.

    Parameters
    ----------
    target, predicted : array_like, shape (n, t)

    Returns
    -------
    ndarray of float64, shape (t,)
        NaN for a constant target.
    """
    truth, guess = np.asarray(target, float), np.asarray(predicted, float)
    total = ((truth - truth.mean(0)) ** 2).sum(0)
    residual = ((truth - guess) ** 2).sum(0)
    return np.where(total > 0, 1 - residual / np.where(total > 0, total, 1), np.nan)


def on_the_globe(lon_lat: ArrayLike) -> NDArray[np.float64]:
    """Predicted longitude and latitude brought back to where they exist.

    Parameters
    ----------
    lon_lat : array_like, shape (n, 2)
        Degrees, of any size.

    Returns
    -------
    ndarray of float64, shape (n, 2)
        Longitude wrapped into [-180, 180), latitude cut off at ±90.
    """
    lon, lat = np.asarray(lon_lat, float).T
    return np.stack([(lon + 180) % 360 - 180, np.clip(lat, -90, 90)], axis=1)


def error_km(target: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """Great-circle distance between true and predicted longitude and latitude.

    Parameters
    ----------
    target, predicted : array_like, shape (n, 2)
        Longitude and latitude in degrees.

    Returns
    -------
    ndarray of float64, shape (n,)
        Kilometres.
    """
    (lon, lat), (to_lon, to_lat) = np.asarray(target, float).T, on_the_globe(predicted).T
    return sphere.distance_km(lon=lon, lat=lat, to_lon=to_lon, to_lat=to_lat)


WITHIN_KM = (1, 25, 200, 750, 2500)


def within_km(km: ArrayLike) -> dict[str, float]:
    """Quantiles of errors, and the share within 1, 25, 200, 750 and 2,500 km.

    The distances are those of street, city, region, country and continent in image
    geolocation (Hays & Efros 2008; Vo, Jacobs & Hays 2017).
    """
    errors = np.asarray(km, float)
    found = {f"km_{q}": float(np.quantile(errors, q / 100)) for q in (10, 25, 75, 90)}
    return found | {f"within_{far}_km": float((errors <= far).mean()) for far in WITHIN_KM}


def correlations(target: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """Pearson's r, Spearman's rho and Kendall's tau-b; NaN where one side is constant."""
    truth, guess = np.asarray(target, float), np.asarray(predicted, float)
    if np.ptp(truth) == 0 or np.ptp(guess) == 0:
        return dict.fromkeys(("pearson", "spearman", "kendall"), float("nan"))
    return {
        "pearson": float(stats.pearsonr(truth, guess).statistic),
        "spearman": float(stats.spearmanr(truth, guess).statistic),
        "kendall": float(stats.kendalltau(truth, guess).statistic),
    }


def proximity_error(target: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """Share of places that are predicted nearer to a place than it is itself.

    0 is perfect, 0.5 is chance (Gurnee & Tegmark 2023, section 3.3). Theirs was measured on
    distances with longitude and latitude exchanged.

    Parameters
    ----------
    target, predicted : array_like, shape (n, 2)
        Longitude and latitude in degrees.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    truth = sphere.unit_vectors(lon=np.asarray(target)[:, 0], lat=np.asarray(target)[:, 1])
    guess = sphere.unit_vectors(lon=np.asarray(predicted)[:, 0], lat=np.asarray(predicted)[:, 1])
    found = np.empty(len(truth))
    for start in range(0, len(truth), 1024):
        rows = slice(start, start + 1024)
        # the larger the cosine, the nearer on the sphere; its own is among them, bit for bit
        cosine = truth[rows] @ guess.T
        own = cosine[np.arange(len(cosine)), np.arange(len(truth))[rows]]
        found[rows] = (cosine > own[:, None]).mean(1)
    return found


def probabilities(predicted: ArrayLike, truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """What a regression on 0 and 1 predicts, as a distribution over the columns.

    A softmax of what exceeds a column's mean prediction, on top of that mean as its prior, so
    that a regression that knows nothing gives the columns' shares. It is sharpened by the
    factor under which the true columns are most likely (Guo et al. 2017, On calibration of
    modern neural networks), mixed with a touch of the prior, so that no column is impossible.
    Means and factor of every other place are those of the places between.

    Parameters
    ----------
    predicted : ndarray, shape (n, t)
    truth : ndarray of int, shape (n,)
        The true column.

    Returns
    -------
    ndarray of float64, shape (n, t)
    """
    raw = np.asarray(predicted, float)
    found = np.empty_like(raw)
    halves = [np.arange(len(raw)) % 2 == half for half in (0, 1)]
    for here, other in zip(halves, halves[::-1], strict=True):
        between = np.flatnonzero(other if other.any() else here)
        touch = 1 / (len(between) + 1)
        prior = np.maximum(raw[between].mean(0), touch / raw.shape[1])
        prior /= prior.sum()
        # one number needs no more places to be found
        tried = between[:: max(1, len(between) // 5000)]
        excess, own = raw[tried] - prior, truth[tried]

        def surprise(log_factor: float, excess: Any = excess, own: Any = own) -> float:
            scaled = np.exp(log_factor) * excess + np.log(prior)  # noqa: B023
            right = scaled[np.arange(len(scaled)), own]
            chance = np.exp(right - special.logsumexp(scaled, axis=1))
            return float(-np.log((1 - touch) * chance + touch * prior[own]).mean())  # noqa: B023

        best = optimize.minimize_scalar(surprise, bounds=(-5, 7), method="bounded").x
        shares = special.softmax(np.exp(best) * (raw[here] - prior) + np.log(prior), axis=1)
        found[here] = (1 - touch) * shares + touch * prior
    return found


def of_distribution(chance: ArrayLike, truth: NDArray[np.int64]) -> dict[str, float]:
    """Negative log-likelihood in nats, that of the columns' own shares, and calibration.

    `calibration_error` is the mean distance between confidence and accuracy over 15 bins of
    confidence, weighted by their places (Guo et al. 2017, eq. 3).
    """
    shares = np.asarray(chance, float)
    prior = np.bincount(truth, minlength=shares.shape[1]) / len(truth)
    confidence, right = shares.max(1), shares.argmax(1) == truth
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = np.abs(np.bincount(bins, confidence, 15) - np.bincount(bins, right, 15))
    return {
        "nll": float(-np.log(shares[np.arange(len(truth)), truth]).mean()),
        "nll_prior": float(-np.log(prior[truth]).mean()),
        "calibration_error": float(gaps.sum() / len(truth)),
    }


def recall_area(
    chance: ArrayLike, truth: NDArray[np.int64], area_km2: ArrayLike
) -> NDArray[np.float64]:
    """The area to be searched until each place is found, densest cells first.

    Sorted, it is the curve of recall against area: the k-th of n values is the area at
    recall k / n.

    Parameters
    ----------
    chance : array_like, shape (n, cell)
    truth : ndarray of int, shape (n,)
    area_km2 : array_like, shape (cell,)

    Returns
    -------
    ndarray of float64, shape (n,)
        Square kilometres, with the whole of the true cell.
    """
    area = np.asarray(area_km2, float)
    density = np.asarray(chance, float) / area
    own = density[np.arange(len(truth)), truth][:, None]
    return ((density > own) * area).sum(1) + area[truth]


def conformal(
    km: ArrayLike, folds: NDArray[np.int64], level: float = 0.9
) -> tuple[NDArray[np.float64], float]:
    """Radius that holds a place with a given probability, and how often it did.

    Each fold's radius is the quantile of the errors in all others (split conformal
    prediction by folds; Vovk 2015, Cross-conformal predictors). The promise holds for places
    like the others: held-out countries may not be.

    Parameters
    ----------
    km : array_like, shape (n,)
        Out-of-fold errors.
    folds : ndarray of int, shape (n,)
    level : float

    Returns
    -------
    radius_km : ndarray of float64, shape (n,)
    coverage : float
        Share of places within their radius. Both are NaN where there is one fold only.
    """
    errors = np.asarray(km, float)
    if len(np.unique(folds)) < 2:
        return np.full_like(errors, np.nan), float("nan")
    radius = np.empty_like(errors)
    for fold in np.unique(folds):
        others = errors[folds != fold]
        rank = min(len(others), int(np.ceil((len(others) + 1) * level)))
        radius[folds == fold] = np.sort(others)[rank - 1]
    return radius, float((errors <= radius).mean())


def cap_km2(radius_km: ArrayLike) -> NDArray[np.float64]:
    """Area of the part of the globe within a great-circle radius, in square kilometres."""
    r = sphere.EARTH_RADIUS_KM
    return 2 * np.pi * r**2 * (1 - np.cos(np.minimum(np.asarray(radius_km, float) / r, np.pi)))
