"""Predictions of places that the probe never saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp.probes import scores
from geointerp.probes.crossfit import Plan, crossfit, labels, plan
from geointerp.probes.intervals import Bootstrap
from geointerp.probes.ridge import ALPHAS
from geointerp.probes.splits import Fold
from geointerp.probes.targets import Matrix, Target


class Predicted(NamedTuple):
    """What was predicted of which places.

    Attributes
    ----------
    target : Target
    rows : ndarray of int, shape (m,)
        Of the table that the target is bound to.
    values : ndarray of float64, shape (m, t)
        The target's answers.
    """

    target: Target
    rows: NDArray[np.int64]
    values: Matrix

    @classmethod
    def of(cls, target: Target, values: Matrix) -> Predicted:
        """From what a regression gives for every place, NaN where it gives nothing."""
        rows = np.flatnonzero(np.isfinite(values).all(axis=1))
        return cls(target, rows, target.answer(values[rows], rows))

    @property
    def scores(self) -> dict[str, float]:
        """The target's scores, and `n`, the number of places predicted."""
        return self.target.scores(self.values, self.rows) | {"n": len(self.rows)}

    def skill(self, draws: Bootstrap) -> Matrix:
        """The main score in each draw of the blocks of these places."""
        sums = self.target.block_sums(self.values, self.rows, draws.block, draws.count)
        return self.target.skill(draws.sums(sums))

    def decoded(self) -> pd.DataFrame:
        """As a reader wants them, a row per place predicted."""
        return self.target.decode(self.values, self.rows)

    def table(self, places: pd.DataFrame, index: pd.Index, folds: list[Fold]) -> pd.DataFrame:
        """The same beside the places themselves, on their index, with their folds.

        Parameters
        ----------
        places : DataFrame
            With `lon`, `lat` and the places' columns.
        index : Index
            Of the places.
        folds : list of (train, test)
        """
        fold = labels([test for _, test in folds], len(places))[self.rows]
        own = places.iloc[self.rows].reset_index(drop=True)
        column = getattr(self.target, "column", None)
        wanted = [c for c in ("name", "lon", "lat", column) if c is not None and c in own]
        table = pd.concat([own[wanted], self.decoded()], axis=1).assign(fold=fold)
        if "error_km" in table:
            table["radius90_km"] = scores.conformal(table["error_km"], fold)[0]
        return table.set_index(index[self.rows].rename("place"))


def predict(
    features: Any,
    target: Target,
    folds: list[Fold],
    alphas: Sequence[float] = ALPHAS,
    device: str = "cpu",
    products: str = "float64",
) -> tuple[Predicted, float]:
    """Every fold's test set, by ridge regression on its training set.

    Parameters
    ----------
    features : array_like, shape (n, d)
        As for `geointerp.probes.crossfit.crossfit`.
    target : Target
        Bound to the same n places.
    folds : list of (train, test)
    alphas : sequence of float
    device, products : str
        See `geointerp.probes.crossfit.Plan`.

    Returns
    -------
    predicted : Predicted
    penalty : float
        The median of those that were taken.
    """
    how = plan_for(target, alphas, device, products)
    found = crossfit(features, target.values, folds, how)
    penalty = float(np.median(how.alphas[found.chosen]))
    return Predicted.of(target, found.predicted), penalty


def plan_for(
    target: Target,
    alphas: Sequence[float] = ALPHAS,
    device: str = "cpu",
    products: str = "float64",
) -> Plan:
    """How a target's regressions are made."""
    return plan(
        alphas,
        target.values,
        groups=target.groups,
        relative=target.relative,
        device=device,
        products=products,
    )
