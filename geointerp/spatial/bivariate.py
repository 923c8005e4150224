"""Bivariate Moran's I: features against variables of the map, or against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from geointerp.errors import InputError
from geointerp.spatial.inference import How, options
from geointerp.spatial.moments import Moments, of_sum
from geointerp.spatial.neighbors import Neighbors, read_weights
from geointerp.spatial.nulls import Within
from geointerp.spatial.packing import Sample, powers_of
from geointerp.spatial.statistics import BIVARIATE_MORAN
from geointerp.spatial.table import Features, Table, columns, read_features
from geointerp.spatial.tails import TIE, Alternative, q_values
from geointerp.spatial.testing import Given, MomentsOf, about, over_columns, read

if TYPE_CHECKING:
    from typing import Unpack

    from libpysal.graph import Graph
    from libpysal.weights import W


def bivariate_moran(
    features: Features,
    others: Features | pd.Series,
    graph: Graph | W,
    *,
    within: Within | None = None,
    alternative: Alternative = "two-sided",
    **how: Unpack[How],
) -> pd.DataFrame:
    """Does a feature fire where another variable is high among the neighbours?

    I = n / S0 · Σᵢⱼ wᵢⱼ (xᵢ - x̄)(yⱼ - ȳ) / √(Σᵢ (xᵢ - x̄)² Σᵢ (yᵢ - ȳ)²), x the feature, y the other
    variable, for every pair of the two tables.

    Parameters
    ----------
    features : AnnData, DataFrame, ndarray or scipy sparse matrix, shape (n, F)
    others : the same, or a Series, shape (n, V)
        Variables of the map, such as an elevation or a population density; or other features, such
        as ``features[:, chosen]``.
    graph, within
        As in `moran`.
    alternative : {"two-sided", "greater", "less"}
    **how
        `permutations`, `max_permutations`, `seed`, `min_active`, `threads`, `device`, as in
        `moran`.

    Returns
    -------
    DataFrame
        A row per pair: `feature`, `other`, `I`, `expected_I`, `z`, `p`, `q` (over all pairs),
        `n_active` (of the feature), `permutations`, `reason`; the columns of `moran`.

    Raises
    ------
    InputError
        As `moran`; or `others` with a value that is not finite or a column that is constant.

    Notes
    -----
    The feature is permuted and the other variable stays: a feature without any pattern of its own
    is found related to a smooth map no more often than p says. (esda's `Moran_BV` permutes the
    lagged variable, which makes a smooth one rough; its p-values are then too small.) Two smooth
    maps that have nothing to do with each other are still found related too often. Permutations
    `within` regions take out what the regions have in common, not what is smooth within them.
    A feature that is the other variable itself has an I and no test: `moran` has one.
    Read a small p as a reason to look, not as a proof.

    References
    ----------
    Wartenberg, D. (1985). Multivariate spatial correlation: a method for exploratory
    geographical analysis. Geographical Analysis 17, 263–283.
    Hoeffding, W. (1951). A combinatorial central limit theorem. Annals of Mathematical
    Statistics 22, 558–566: its distribution, a sum over places, under permutation.
    """
    chosen = options(alternative=alternative, grouped=within is not None, **how)
    given = read(features, graph, within, chosen)
    table, neighbors, null = given
    others = others.to_frame() if isinstance(others, pd.Series) else others
    variables = read_features(others, "the others")
    _, weights = read_weights(graph, variables)
    found = []
    start = 0
    for block in columns(variables.matrix):
        for name, column in zip(variables.names[start:], block, strict=False):
            lag = _lag(*column, name, weights, neighbors)
            known = None if null.grouped else _moments(lag)
            # a sum over places: the lag stands where a graph's degrees do, and there are no pairs
            alone = neighbors._replace(
                indptr=np.zeros_like(neighbors.indptr),
                other=neighbors.other[:0],
                weight=neighbors.weight[:0],
                degree=lag,
                total=float(neighbors.n),
            )
            rows = over_columns(BIVARIATE_MORAN, Given(table, alone, null), known, chosen)
            _leave_out_itself(rows, table, column)
            rows.insert(0, "feature", table.names)
            rows.insert(1, "other", name)
            found.append(rows)
        start += len(block)
    if not found:
        raise InputError("others has no column; it holds what the features are compared with.")
    result = pd.concat(found, ignore_index=True)
    result.insert(6, "q", q_values(result["p"].to_numpy()))
    result.attrs = about(BIVARIATE_MORAN.name, result, given, chosen)
    result.attrs["null"] += ", of the feature alone"
    return result.rename(columns={"value": "I", "expected": "expected_I"})


def _leave_out_itself(
    rows: pd.DataFrame, table: Table, column: tuple[NDArray[np.intp], NDArray[np.float64]]
) -> None:
    """No test of a variable against itself: both would be permuted or none."""
    start = 0
    for block in columns(table.matrix):
        for j, (places, values) in enumerate(block, start):
            if np.array_equal(places, column[0]) and np.array_equal(values, column[1]):
                rows.iloc[j, rows.columns.get_indexer(["expected", "z", "p"])] = np.nan
                rows.iloc[j, rows.columns.get_loc("permutations")] = 0
                rows.iloc[j, rows.columns.get_loc("reason")] = "It is the other variable itself."
        start += len(block)


def _lag(
    rows: NDArray[np.intp],
    values: NDArray[np.float64],
    name: object,
    weights: sparse.csr_array,
    neighbors: Neighbors,
) -> NDArray[np.float64]:
    """n / S0 · Σⱼ wᵢⱼ yⱼ of a variable, standardised, by site, less its mean."""
    y = np.zeros(neighbors.n)
    y[rows] = values
    if not np.isfinite(y).all():
        bad = neighbors.ids[~np.isfinite(y)][0]
        raise InputError(f"{name!r} of the others has no finite value at place {bad!r}.")
    if y.min() == y.max():
        raise InputError(f"{name!r} of the others is constant: it is the same at every place.")
    y = y / np.abs(y).max()
    y -= y.mean()
    y /= y.std()
    lag = np.empty(neighbors.n)
    lag[neighbors.site] = neighbors.n / neighbors.s0 * (weights @ y)
    lag -= lag.mean()
    # the same everywhere: what rounding leaves is no pattern (|I| is at most the deviation)
    return lag if lag.std() > TIE * neighbors.total / neighbors.s0 else np.zeros_like(lag)


def _moments(lag: NDArray[np.float64]) -> MomentsOf:
    n, weight_powers = len(lag), powers_of(lag)[:, None]

    few = 2 * len(np.unique(lag)) < n  # a sum of few values, on which no curve holds

    def moments(sample: Sample) -> Moments:
        found = of_sum(n, sample.powers, weight_powers)
        kurtosis = np.full_like(found.kurtosis, np.nan) if few else found.kurtosis
        # Σ a = Σ x = 0: what rounding leaves of the mean is nothing
        return found._replace(
            mean=np.zeros_like(found.mean), variance=found.variance / n**2, kurtosis=kurtosis
        )

    return moments
