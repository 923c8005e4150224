"""Targets: what a probe is asked for, as columns of numbers, and what its answers mean."""

from __future__ import annotations

import copy
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp import sphere
from geointerp.errors import InputError
from geointerp.probes import scores
from geointerp.probes.intervals import summed

Matrix = NDArray[np.float64]


class Target:
    """What is asked of a probe, for one table of places.

    What its methods call `predicted` is what `answer` makes of a regression's predictions.

    Attributes
    ----------
    values : ndarray of float64, shape (n, t)
        What ridge regression predicts; a row is NaN where the target is not known.
    columns : list of str
    groups : ndarray of int, shape (t,)
        Columns of one number share a penalty.
    relative : bool
        Whether its columns count by their variance when a penalty is chosen.
    main : str
        The score by which layers and controls are compared; more is better.
    """

    name: str
    main = "r2"
    relative = True
    values: Matrix
    columns: list[str]

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @property
    def groups(self) -> NDArray[np.int64]:
        return np.zeros(self.values.shape[1], np.int64)

    def bind(self, table: pd.DataFrame) -> Self:
        """The same target for a table of places with `lon` and `lat`, in degrees."""
        bound = copy.copy(self)
        bound._learn(table)
        if not len(bound.known):
            raise InputError(f"target {self.name!r}: no place has a value.")
        constant = np.ptp(bound.values[bound.known], axis=0) == 0
        if constant.all() or (constant.any() and bound.relative):
            which = "it" if constant.all() else bound.columns[int(np.argmax(constant))]
            raise InputError(f"target {self.name!r}: {which} is the same for every place.")
        return bound

    def _learn(self, table: pd.DataFrame) -> None:
        raise NotImplementedError

    @property
    def known(self) -> NDArray[np.int64]:
        """Rows whose target is known."""
        return np.flatnonzero(np.isfinite(self.values).all(axis=1))

    def answer(self, predicted: Matrix, rows: NDArray[np.int64]) -> Matrix:
        """What regressions predict as what it stands for, such as probabilities.

        Parameters
        ----------
        predicted : ndarray, shape (m, t)
        rows : ndarray of int, shape (m,)
            The places that are predicted.

        Returns
        -------
        ndarray of float64, shape (m, t)
        """
        return predicted

    def block_sums(
        self, answer: Matrix, rows: NDArray[np.int64], block: NDArray[np.int64], count: int
    ) -> Matrix:
        """Sums over each block, from which `skill` finds the main score of blocks together.

        Parameters
        ----------
        answer : ndarray, shape (m, t)
        rows : ndarray of int, shape (m,)
        block : ndarray of int, shape (m,)
        count : int

        Returns
        -------
        ndarray of float64, shape (count, sum)
        """
        truth = self.values[rows]
        # about their mean, or squares would cost digits
        truth = truth - truth.mean(0)
        missed = (self.values[rows] - answer) ** 2
        columns = [np.ones((len(rows), 1)), truth, truth**2, missed]
        return summed(np.concatenate(columns, axis=1), block, count)

    def skill(self, sums: Matrix) -> Matrix:
        """The main score of sums, shape (draw, sum), as (draw,): R² about their own mean."""
        n, (total, squares, missed) = sums[:, :1], np.split(sums[:, 1:], 3, axis=1)
        return (1 - missed / (squares - total**2 / n)).mean(1)

    def scores(self, predicted: Matrix, rows: NDArray[np.int64]) -> dict[str, float]:
        """The scores of every layer; the main one first."""
        each = scores.r2(self.values[rows], predicted)
        return {"r2": float(each.mean())} | {
            f"r2_{name}": float(value) for name, value in zip(self.columns, each, strict=True)
        }

    def details(self, predicted: Matrix, rows: NDArray[np.int64]) -> dict[str, float]:
        """Further scores, of the best layer alone."""
        found: dict[str, float] = {}
        for name, truth, guess in zip(self.columns, self.values[rows].T, predicted.T, strict=True):
            found |= {f"{k}_{name}": v for k, v in scores.correlations(truth, guess).items()}
        return found

    def decode(self, predicted: Matrix, rows: NDArray[np.int64]) -> pd.DataFrame:
        """Predictions as a reader wants them, in the order of `rows`."""
        return pd.DataFrame(predicted, columns=[f"predicted_{name}" for name in self.columns])


class _Located(Target):
    """A target whose answer is a point on the globe."""

    lon_lat: Matrix

    def _points(self, predicted: Matrix) -> Matrix:
        """Predicted longitude and latitude."""
        raise NotImplementedError

    def _error_km(self, predicted: Matrix, rows: NDArray[np.int64]) -> Matrix:
        return scores.error_km(self.lon_lat[rows], self._points(predicted))

    def scores(self, predicted: Matrix, rows: NDArray[np.int64]) -> dict[str, float]:
        km = self._error_km(predicted, rows)
        kilometres = {"median_km": float(np.median(km)), "mean_km": float(km.mean())}
        return super().scores(predicted, rows) | kilometres

    def details(self, predicted: Matrix, rows: NDArray[np.int64]) -> dict[str, float]:
        points = self._points(predicted)
        return (
            super().details(predicted, rows)
            | scores.within_km(self._error_km(predicted, rows))
            | {"proximity_error": float(scores.proximity_error(self.lon_lat[rows], points).mean())}
        )

    def decode(self, predicted: Matrix, rows: NDArray[np.int64]) -> pd.DataFrame:
        table = pd.DataFrame(self._points(predicted), columns=["predicted_lon", "predicted_lat"])
        return table.assign(error_km=self._error_km(predicted, rows))


class Coordinates(_Located):
    """Longitude and latitude in degrees, as two linear targets (Gurnee & Tegmark 2023).

    Easy to compare with what others report; it has a seam at the date line, and a degree of
    longitude weighs as much near a pole as at the equator: read it beside `Sphere`.
    """

    name = "coordinates"

    def _learn(self, table: pd.DataFrame) -> None:
        self.columns = ["lon", "lat"]
        self.lon_lat = self.values = table[["lon", "lat"]].to_numpy(np.float64)

    def _points(self, predicted: Matrix) -> Matrix:
        return scores.on_the_globe(predicted)


class Sphere(_Located):
    """The unit vector of each place: no seam at the date line, none at the poles.

    The vector that is predicted points at a place on the globe, whatever its length.
    """

    name = "sphere"

    def _learn(self, table: pd.DataFrame) -> None:
        self.columns = ["towards_0_0", "towards_90_0", "towards_north"]
        self.lon_lat = table[["lon", "lat"]].to_numpy(np.float64)
        self.values = sphere.unit_vectors(lon=table["lon"], lat=table["lat"])

    def _points(self, predicted: Matrix) -> Matrix:
        return np.stack(sphere.lon_lat(predicted), axis=1)


class Number(Target):
    """A numeric column.

    Parameters
    ----------
    column : str
    log : bool
        Take the base-10 logarithm; places without a positive value have no target.
    """

    def __init__(self, column: str, *, log: bool = False) -> None:
        self.column, self.log = column, log
        self.name = f"log10 {column}" if log else column

    def __repr__(self) -> str:
        return f"Number({self.column!r}, log={self.log})"

    def _learn(self, table: pd.DataFrame) -> None:
        values = pd.to_numeric(table[self.column], errors="coerce").to_numpy(np.float64, copy=True)
        if self.log:
            values = np.log10(np.where(values > 0, values, np.nan))
        self.columns = [self.name.replace(" ", "_")]
        self.values = np.where(np.isfinite(values), values, np.nan)[:, None]


class Category(Target):
    """A column of labels, such as country, continent or time zone.

    One column of 0 and 1 for each label; what ridge regression makes of them stands for
    probabilities once they are sharpened (`geointerp.probes.scores.probabilities`).

    Parameters
    ----------
    column : str
    least : int
        Labels of fewer places have no target: a label cannot be both learned and tried.
    """

    main = "accuracy"
    relative = False

    def __init__(self, column: str, *, least: int = 5) -> None:
        self.column, self.least, self.name = column, least, column

    def __repr__(self) -> str:
        return f"Category({self.column!r}, least={self.least})"

    def _learn(self, table: pd.DataFrame) -> None:
        labels = table[self.column].astype(object).where(table[self.column].notna(), None)
        count = labels.value_counts()
        self.columns = sorted(str(label) for label in count.index[count >= self.least])
        if len(self.columns) < 2:
            raise InputError(
                f"target {self.name!r}: {len(self.columns)} label(s) have {self.least} places or "
                "more; a category needs two."
            )
        code = {label: i for i, label in enumerate(self.columns)}
        self._codes = np.array([code.get(str(x), -1) if x is not None else -1 for x in labels])
        self.values = self._soft()
        self.values[self._codes < 0] = np.nan

    def _soft(self) -> Matrix:
        """The share of each label in each place."""
        return (self._codes[:, None] == np.arange(len(self.columns))).astype(np.float64)

    def answer(self, predicted: Matrix, rows: NDArray[np.int64]) -> Matrix:
        return scores.probabilities(predicted, self._codes[rows])

    def block_sums(
        self, answer: Matrix, rows: NDArray[np.int64], block: NDArray[np.int64], count: int
    ) -> Matrix:
        right = (answer.argmax(1) == self._codes[rows]).astype(np.float64)
        return summed(np.stack([np.ones(len(rows)), right], axis=1), block, count)

    def skill(self, sums: Matrix) -> Matrix:
        return sums[:, 1] / sums[:, 0]

    def scores(self, predicted: Matrix, rows: NDArray[np.int64]) -> dict[str, float]:
        truth, guess = self._codes[rows], predicted.argmax(1)
        each = pd.Series(guess == truth).groupby(truth).mean()
        return {
            "accuracy": float((guess == truth).mean()),
            "balanced_accuracy": float(each.mean()),
            "most_frequent": float(np.bincount(truth).max() / len(truth)),
        }

    def details(self, predicted: Matrix, rows: NDArray[np.int64]) -> dict[str, float]:
        return scores.of_distribution(predicted, self._codes[rows])

    def decode(self, predicted: Matrix, rows: NDArray[np.int64]) -> pd.DataFrame:
        labels = np.array(self.columns)[predicted.argmax(1)]
        return pd.DataFrame({f"predicted_{self.column}": labels, "probability": predicted.max(1)})


def of(spec: str | Target, table: pd.DataFrame) -> Target:
    """A target by its name, or one that is built already, for a table of places.

    Parameters
    ----------
    spec : str or Target
        ``"coordinates"``, ``"sphere"``, ``"cells"``, ``"harmonics"``, a column, or
        ``"log <column>"``. A column of numbers is a `Number`, another a `Category`.
    table : DataFrame
        With `lon`, `lat` and the places' columns.

    Raises
    ------
    InputError
        A column that is not there; a target without a value, or with only one.
    """
    if not isinstance(spec, (str, Target)):
        raise InputError(f"target is {spec!r}; it must be a name or a target of gi.probes.")
    if isinstance(spec, Target):
        _check_column(getattr(spec, "column", None), table)
        return spec.bind(table)
    from geointerp.probes.cells import Cells
    from geointerp.probes.harmonics import Harmonics

    for kind in (Coordinates, Sphere, Cells, Harmonics):
        if spec == kind.name:
            return kind().bind(table)
    log = spec.startswith("log ") and spec not in table.columns
    column = spec.removeprefix("log ") if log else spec
    _check_column(column, table)
    values = table[column]
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return Number(column, log=log).bind(table)
    if log:
        raise InputError(f"target {spec!r}: {column} is not numeric.")
    return Category(column).bind(table)


def _check_column(column: str | None, table: pd.DataFrame) -> None:
    if column is not None and column not in table.columns:
        known = ", ".join(str(c) for c in table.columns if c not in ("lon", "lat"))
        raise InputError(
            f"target {column!r}: the activations carry {known}; or ask for coordinates, sphere, "
            "cells, harmonics or 'log COLUMN'."
        )
