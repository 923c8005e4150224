"""Geometry of the sphere: distance, direction, and points as unit vectors.

Degrees go in and come out; radians stay inside a function. The Earth is a sphere
of radius 6371.0088 km, the mean radius of IUGG (Moritz 2000).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geointerp.errors import InputError

EARTH_RADIUS_KM = 6371.0088

COMPASS = (
    "North",
    "North-East",
    "East",
    "South-East",
    "South",
    "South-West",
    "West",
    "North-West",
)


def on_globe(*, lon: ArrayLike, lat: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitudes and latitudes as arrays of one dimension, once it is sure that they are such.

    Parameters
    ----------
    lon, lat : array_like, shape (n,)
        Degrees; single numbers are taken for one point.

    Returns
    -------
    lon, lat : ndarray of float64, shape (n,)

    Raises
    ------
    InputError
        A point that is not on the globe, or has a missing coordinate.
    """
    lon, lat = np.atleast_1d(np.asarray(lon, float)), np.atleast_1d(np.asarray(lat, float))
    for bad in np.flatnonzero(~((np.abs(lon) <= 180) & (np.abs(lat) <= 90))):
        raise InputError(
            f"point {bad}: longitude {lon[bad]:g} and latitude {lat[bad]:g} are not on the globe; "
            "they must lie within ±180 and ±90."
        )
    return lon, lat


def distance_km(
    *, lon: ArrayLike, lat: ArrayLike, to_lon: ArrayLike, to_lat: ArrayLike
) -> NDArray[np.float64]:
    """Great-circle distance by the haversine formula.

    Parameters
    ----------
    lon, lat, to_lon, to_lat : array_like
        Degrees; broadcast against each other.

    Returns
    -------
    ndarray of float64
        Kilometres, between 0 and about 20,015.

    References
    ----------
    Sinnott, R. W. (1984). Virtues of the haversine. Sky and Telescope 68, 159.
    """
    lam1, phi1, lam2, phi2 = (np.radians(np.asarray(v, float)) for v in (lon, lat, to_lon, to_lat))
    h = (
        np.sin((phi2 - phi1) / 2) ** 2
        + np.cos(phi1) * np.cos(phi2) * np.sin((lam2 - lam1) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(h, 0, 1)))


def bearing(
    *, lon: ArrayLike, lat: ArrayLike, to_lon: ArrayLike, to_lat: ArrayLike
) -> NDArray[np.float64]:
    """Initial bearing of the great circle, in degrees clockwise from north, in [0, 360).

    Parameters
    ----------
    lon, lat, to_lon, to_lat : array_like
        Degrees; broadcast against each other.

    Returns
    -------
    ndarray of float64
    """
    lam1, phi1, lam2, phi2 = (np.radians(np.asarray(v, float)) for v in (lon, lat, to_lon, to_lat))
    east = np.sin(lam2 - lam1) * np.cos(phi2)
    north = np.cos(phi1) * np.sin(phi2) - np.sin(phi1) * np.cos(phi2) * np.cos(lam2 - lam1)
    # a tiny negative angle plus 360 rounds to 360 itself, hence the second remainder
    return np.degrees(np.arctan2(east, north)) % 360 % 360


def rhumb_bearing(
    *, lon: ArrayLike, lat: ArrayLike, to_lon: ArrayLike, to_lat: ArrayLike
) -> NDArray[np.float64]:
    """Bearing of the rhumb line, the straight line on Mercator's map, in [0, 360).

    Over long distances this, not the great circle's initial bearing, is what people
    mean by "Tokyo is east of Lisbon". The shorter way around the globe is taken.

    Parameters
    ----------
    lon, lat, to_lon, to_lat : array_like
        Degrees; broadcast against each other; latitudes short of the poles.

    Returns
    -------
    ndarray of float64
    """
    lam1, phi1, lam2, phi2 = (np.radians(np.asarray(v, float)) for v in (lon, lat, to_lon, to_lat))
    east = (lam2 - lam1 + np.pi) % (2 * np.pi) - np.pi
    north = np.arcsinh(np.tan(phi2)) - np.arcsinh(np.tan(phi1))
    return np.degrees(np.arctan2(east, north)) % 360 % 360


def compass(bearing: ArrayLike) -> NDArray[np.int64]:
    """Index into `COMPASS` of the nearest of the eight winds.

    Parameters
    ----------
    bearing : array_like
        Degrees clockwise from north.

    Returns
    -------
    ndarray of int64
        0 for North, 1 for North-East, … 7 for North-West.
    """
    return np.round(np.asarray(bearing, float) / 45).astype(np.int64) % 8


def unit_vectors(*, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.float64]:
    """Points on the unit sphere.

    Straight-line distance between them grows with great-circle distance, so that
    nearest neighbours are found without a seam at the date line or at a pole.

    Parameters
    ----------
    lon, lat : array_like, shape (n,)
        Degrees.

    Returns
    -------
    ndarray of float64, shape (n, 3)
        Towards (0°, 0°), (90° E, 0°) and the north pole.
    """
    lam, phi = np.radians(np.asarray(lon, float)), np.radians(np.asarray(lat, float))
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def lon_lat(vectors: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude, in degrees, of vectors of any length but zero.

    Parameters
    ----------
    vectors : array_like, shape (n, 3)

    Returns
    -------
    lon, lat : ndarray of float64, shape (n,)
        lon in [-180, 180], lat in [-90, 90].
    """
    a, b, c = np.moveaxis(np.asarray(vectors, float), -1, 0)
    return np.degrees(np.arctan2(b, a)), np.degrees(np.arctan2(c, np.hypot(a, b)))
