"""Spherical harmonics as a target: at what resolution is the model's map of the world drawn?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from geointerp import sphere
from geointerp.errors import InputError
from geointerp.probes.targets import Matrix, Target

# a degree is read where more than half of its variance is
_READ = 0.5


class Harmonics(Target):
    """The value of every real spherical harmonic at each place, degree by degree.

    A map drawn with degrees up to ℓ shows nothing smaller than half a wavelength, about
    20,015 km / ℓ. R² by degree, `r2_1` and on, is the share of that degree's variance over
    the places which can be read linearly; the places, not the globe, are what it is over.
    Each degree has its own penalty.

    Parameters
    ----------
    degree : int
        The highest.
    """

    name = "harmonics"

    def __init__(self, degree: int = 12) -> None:
        if degree < 1:
            raise InputError(f"degree is {degree}; it must be 1 or more.")
        self.degree = degree

    def __repr__(self) -> str:
        return f"Harmonics({self.degree})"

    def _learn(self, table: pd.DataFrame) -> None:
        self.values = real_harmonics(self.degree, lon=table["lon"], lat=table["lat"])[:, 1:]
        self._degrees = np.concatenate([[n] * (2 * n + 1) for n in range(1, self.degree + 1)])
        orders = np.concatenate([np.arange(-n, n + 1) for n in range(1, self.degree + 1)])
        self.columns = [f"{n},{m}" for n, m in zip(self._degrees, orders, strict=True)]

    @property
    def groups(self) -> NDArray[np.int64]:
        """The degree of each column, from 0."""
        return self._degrees - 1

    def spectrum(self, predicted: Matrix, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """R² of each degree from 1, shape (degree,)."""
        truth = self.values[rows]
        missed = ((truth - predicted) ** 2).sum(0)
        total = ((truth - truth.mean(0)) ** 2).sum(0)
        return 1 - np.bincount(self.groups, missed) / np.bincount(self.groups, total)

    def skill(self, sums: Matrix) -> Matrix:
        n, (total, squares, missed) = sums[:, :1], np.split(sums[:, 1:], 3, axis=1)
        of_degree = self.groups[:, None] == np.arange(self.degree)
        each = 1 - (missed @ of_degree) / ((squares - total**2 / n) @ of_degree)
        return each.mean(1)

    def scores(self, predicted: Matrix, rows: NDArray[np.int64]) -> dict[str, float]:
        each = self.spectrum(predicted, rows)
        read = int(np.argmin([*(each >= _READ), False]))
        return {
            "r2": float(each.mean()),
            "degree_read": float(read),
            "resolution_km": np.pi * sphere.EARTH_RADIUS_KM / read if read else float("nan"),
        } | {f"r2_{n}": float(value) for n, value in enumerate(each, 1)}

    def details(self, predicted: Matrix, rows: NDArray[np.int64]) -> dict[str, float]:
        return {}


def real_harmonics(degree: int, *, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.float64]:
    """Real, orthonormal spherical harmonics at points.

    Parameters
    ----------
    degree : int
        The highest.
    lon, lat : array_like, shape (n,)
        Degrees.

    Returns
    -------
    ndarray of float64, shape (n, (degree + 1)²)
        Degree by degree, within it by order from -ℓ to ℓ (Dahlen & Tromp 1998, Theoretical
        Global Seismology, eq. B.98, but for signs).
    """
    from scipy.special import sph_harm_y

    angle = np.radians(90 - np.asarray(lat, float))
    turn = np.radians(np.asarray(lon, float))
    columns = []
    for n in range(degree + 1):
        for m in range(-n, n + 1):
            value = sph_harm_y(n, abs(m), angle, turn)
            part = value.real if m >= 0 else value.imag
            columns.append(part * (1 if m == 0 else np.sqrt(2)))
    return np.stack(columns, axis=1)
