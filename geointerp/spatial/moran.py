"""Moran's I of every feature, with a permutation test and false discovery rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp.spatial import _permutation
from geointerp.spatial.neighbors import Neighbors, read_graph
from geointerp.spatial.table import Features, columns, read_features, undefined

if TYPE_CHECKING:
    from libpysal.graph import Graph
    from libpysal.weights import W


class _Feature(NamedTuple):
    """One feature, scaled, with its moments."""

    rows: NDArray[np.int32]
    values: NDArray[np.float64]
    mean: float  # over all n places, of what `values` holds
    squares: float  # sum over all n places of (x - mean)²
    kurtosis: float  # n times the sum of (x - mean)⁴ over squares²


def moran(
    features: Features,
    graph: Graph | W,
    *,
    permutations: int = 999,
    seed: int = 0,
    alternative: _permutation.Alternative = "greater",
    min_active: int = 10,
    threads: int | None = None,
) -> pd.DataFrame:
    """Moran's I of every feature: do neighbouring places fire it alike?

    I = n / S0 · Σᵢⱼ wᵢⱼ (xᵢ - x̄)(xⱼ - x̄) / Σᵢ (xᵢ - x̄)², S0 = Σᵢⱼ wᵢⱼ, over all n places,
    those without a neighbour too.

    Parameters
    ----------
    features : AnnData, DataFrame, ndarray or scipy sparse matrix, shape (n, F)
        A row per place, a column per feature, of any real dtype; computed in float64. The time
        it takes follows the number of nonzero entries.
    graph : libpysal.graph.Graph or libpysal.weights.W
        Weights between the same places in the same order, taken as they are: row-standardise
        them first (`transform`) if they should be; `knn` gives them so. Where the features
        have labels (`obs_names`, index), these must be the graph's.
    permutations : int
        Random permutations of the places, the same ones for all features.
    seed : int
        Of the permutations, ``numpy.random.default_rng(seed).permutation(n)`` call after call.
        The same seed gives the same bytes, with any number of threads.
    alternative : {"greater", "less", "two-sided"}
        Neighbours alike (I large), unlike (I small), or either: twice the smaller of the two
        p-values, at most 1.
    min_active : int
        Features that fire on fewer places are not tested.
    threads : int, optional
        By default one per core, or as the environment variable ``NUMBA_NUM_THREADS`` says.

    Returns
    -------
    DataFrame
        A row per feature, on `var_names`, the columns' names or 0, …, F - 1:

        - `I`, float64: NaN where it is not defined (a constant, values that are not finite).
        - `expected_I`, float64: -1 / (n - 1), its mean over all permutations.
        - `z`, float64: (I - expected_I) over its exact standard deviation over all
          permutations ("under randomisation"). For sparse features it is far from normal:
          read p, not z, for significance. NaN where there is no test or I cannot vary.
        - `p`, float64: pseudo p-value, (1 + permutations as extreme) / (1 + permutations),
          hence at least 1 / (1 + permutations); NaN where there is no test.
        - `q`, float64: p adjusted over the features tested, by Benjamini and Hochberg; NaN
          where there is no test.
        - `n_active`, int64: places where the feature is not zero.
        - `reason`, string: why there is no test, one sentence; missing where there is one.

        `attrs` holds `statistic`, `permutations`, `seed`, `alternative`, `min_active`,
        `n_places` and `n_tested`.

    Raises
    ------
    InputError
        Features and graph that don't hold the same places in the same order; fewer than 4
        places; a graph whose weights don't add up to more than 0, with one that is not finite,
        or with a place that is its own neighbour; features that are no numbers; an option out
        of its range.

    Notes
    -----
    A permutation whose I differs from the one observed by less than 1e-10 (times
    Σᵢⱼ |wᵢⱼ| / S0, which is 1 unless weights are negative) counts as just as extreme: for a
    binary feature many permutations are, and rounding must not decide. The p-value only
    grows by it.

    References
    ----------
    Cliff, A. D. and Ord, J. K. (1981). Spatial Processes: Models and Applications. Pion,
    chapter 2: I, its mean and its variance under randomisation.
    Phipson, B. and Smyth, G. K. (2010). Permutation p-values should never be zero.
    Statistical Applications in Genetics and Molecular Biology 9(1), 39: p.
    Cox, D. R. and Hinkley, D. V. (1974). Theoretical Statistics. Chapman and Hall,
    section 3.4: the two-sided p.
    Benjamini, Y. and Hochberg, Y. (1995). Controlling the false discovery rate. Journal of the
    Royal Statistical Society B 57, 289–300: q.
    """
    from scipy.stats import false_discovery_control

    _permutation.check_options(permutations, seed, alternative, min_active, threads)
    table = read_features(features)
    neighbors = read_graph(graph, table)
    draws = _permutation.Permutations(neighbors.n, int(permutations), int(seed))

    width = len(table.names)
    statistic, z, p = np.full((3, width), np.nan)
    n_active = np.zeros(width, dtype=np.int64)
    reasons: list[str | None] = [None] * width
    expected = -1 / (neighbors.n - 1)
    start = 0
    for block in columns(table.matrix):
        tested, kept = [], []
        for j, (rows, values) in enumerate(block, start):
            n_active[j] = len(rows)
            reasons[j] = undefined(values, neighbors.n)
            if reasons[j] is not None:
                continue
            feature = _feature(rows, values, neighbors.n)
            statistic[j] = _moran(feature, neighbors)
            if n_active[j] < min_active:
                reasons[j] = f"It fires on fewer than {min_active} places."
                continue
            deviation = np.sqrt(_variance(feature.kurtosis, neighbors))
            z[j] = (statistic[j] - expected) / deviation if deviation > 0 else np.nan
            tested.append(j)
            kept.append(feature)
        if tested:
            packed = _pack(kept, neighbors)
            tails = _permutation.tail_counts(packed, neighbors, draws, threads)
            p[tested] = _permutation.p_values(*tails, draws.count, alternative)
        start += len(block)

    q = np.full(width, np.nan)
    has_p = ~np.isnan(p)
    if has_p.any():
        q[has_p] = false_discovery_control(p[has_p], method="bh")
    result = pd.DataFrame(
        {
            "I": statistic,
            "expected_I": np.full(width, expected),
            "z": z,
            "p": p,
            "q": q,
            "n_active": n_active,
            "reason": pd.array(reasons, dtype="string"),
        },
        index=table.names,
    )
    result.attrs = {
        "statistic": "Moran's I",
        "permutations": int(permutations),
        "seed": int(seed),
        "alternative": alternative,
        "min_active": int(min_active),
        "n_places": neighbors.n,
        "n_tested": int(has_p.sum()),
    }
    return result


def _feature(rows: NDArray[np.intp], values: NDArray[np.float64], n: int) -> _Feature:
    """Scale a feature and find its moments, without a loss by cancellation.

    I is the same for any multiple of a feature and for any constant added to it. A power of
    two brings values to the size of 1, exactly. Where more than half the places are active the
    column is centred as a whole, which takes out a large mean before anything is squared;
    elsewhere the zeros hold the mean small against the spread: Σ (x - x̄)² is at least half
    of Σ x².
    """
    values = np.ldexp(values, -np.frexp(np.abs(values).max())[1])
    if 2 * len(rows) > n:
        whole = np.zeros(n)
        whole[rows] = values
        whole -= whole.mean()
        whole -= whole.mean()  # what rounding left of it
        rows, values, mean, centred, rest = np.arange(n), whole, 0.0, whole, 0
    else:
        mean = float(values.sum() / n)
        centred, rest = values - mean, n - len(rows)
    squares = float((centred**2).sum() + rest * mean**2)
    fourths = float((centred**4).sum() + rest * mean**4)
    return _Feature(rows.astype(np.int32), values, mean, squares, n * fourths / squares**2)


def _cross(feature: _Feature, neighbors: Neighbors) -> float:
    from geointerp.spatial import _kernels

    return _kernels.cross(
        feature.rows,
        feature.values,
        feature.mean,
        np.arange(neighbors.n, dtype=np.int32),
        neighbors.indptr,
        neighbors.other,
        neighbors.weight,
        neighbors.degree,
        np.zeros(neighbors.n),
    )


def _moran(feature: _Feature, neighbors: Neighbors) -> float:
    numerator = _cross(feature, neighbors) + feature.mean**2 * neighbors.s0
    return neighbors.n / neighbors.s0 * numerator / feature.squares


def _variance(kurtosis: float, neighbors: Neighbors) -> float:
    """Variance of I over all permutations (Cliff and Ord 1981, chapter 2); 0 if it can't vary."""
    n, s0, s1, s2 = float(neighbors.n), neighbors.s0, neighbors.s1, neighbors.s2
    ordinary = n * ((n**2 - 3 * n + 3) * s1 - n * s2 + 3 * s0**2)
    peaked = kurtosis * ((n**2 - n) * s1 - 2 * n * s2 + 6 * s0**2)
    mean_square = (ordinary - peaked) / ((n - 1) * (n - 2) * (n - 3) * s0**2)
    variance = mean_square - 1 / (n - 1) ** 2
    return variance if variance > 1e-12 * mean_square else 0.0


def _pack(features: list[_Feature], neighbors: Neighbors) -> _permutation.Packed:
    sizes = [len(feature.rows) for feature in features]
    # I = n / s0 · (cross + mean² s0) / squares
    units = np.array([feature.squares for feature in features]) * neighbors.total / neighbors.n
    return _permutation.Packed(
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        rows=np.concatenate([feature.rows for feature in features]),
        values=np.concatenate([feature.values for feature in features]),
        means=np.array([feature.mean for feature in features]),
        observed=np.array([_cross(feature, neighbors) for feature in features]),
        ties=_permutation.TIE * units,
    )
