"""Scores of predictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
