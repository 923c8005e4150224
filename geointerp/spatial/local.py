"""Local statistics of every feature at every place: where is it alike, where hot, where cold?"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from geointerp.errors import InputError
from geointerp.progress import track
from geointerp.spatial import _conditional, tails
from geointerp.spatial.inference import options
from geointerp.spatial.neighbors import read_weights, refuse_self_weights
from geointerp.spatial.table import Features, Table, columns, read_features, undefined

if TYPE_CHECKING:
    import xarray as xr
    from libpysal.graph import Graph
    from libpysal.weights import W

Floats: TypeAlias = NDArray[np.float64]

_NONE = 1e-12  # what is smaller, beside the terms it is the difference of, is rounding


class _Weights(NamedTuple):
    """Weights of the neighbours of each place."""

    ids: pd.Index
    matrix: sparse.csr_array  # w_ij, with nothing where j is i
    total: Floats  # sum over j of w_ij, shape (n,)
    squares: Floats  # sum over j of w_ij², shape (n,)
    sizes: Floats  # sum over j of |w_ij|, shape (n,)


class _Seen(NamedTuple):
    """One feature at all places."""

    values: Floats  # times a power of two
    centred: Floats  # values less their mean
    variance: float  # mean of centred²
    lag: Floats  # sum over j of w_ij centred_j
    at_least: NDArray[np.int64]  # draws whose lag is as large
    at_most: NDArray[np.int64]  # draws whose lag is as small


# of a feature: the statistic, its z, and the number of the cluster each place would be in
_Statistic: TypeAlias = Callable[[_Seen], tuple[Floats, Floats, NDArray[np.int8]]]


class _Test(NamedTuple):
    """Options of the test, checked."""

    permutations: int
    seed: int
    alternative: str
    alpha: float
    threads: int


def local_moran(
    features: Features,
    graph: Graph | W,
    *,
    permutations: int = 9999,
    seed: int = 0,
    alternative: tails.Alternative = "two-sided",
    alpha: float = 0.05,
    threads: int | None = None,
) -> xr.Dataset:
    """Local Moran's I of every feature at every place: which places are like their neighbours?

    Iᵢ = (n - 1) (xᵢ - x̄) Σⱼ wᵢⱼ (xⱼ - x̄) / Σⱼ (xⱼ - x̄)², over all n places.

    Parameters
    ----------
    features : AnnData, DataFrame, ndarray or scipy sparse matrix, shape (n, F)
        A row per place, a column per feature, of any real dtype; computed in float64, one
        dense column at a time.
    graph : libpysal.graph.Graph or libpysal.weights.W
        Weights between the same places in the same order, taken as they are: row-standardise
        them first (`transform`) if they should be; `knn` gives them so. Where the features
        have labels (`obs_names`, index), these must be the graph's.
    permutations : int
        Conditional permutations: a place keeps its value, its neighbours are drawn from the
        n - 1 others without replacement. The same draws serve all places and all features.
    seed : int
        Of the draws, each what ``numpy.random.default_rng(seed).choice(n, k + 1,
        replace=False)`` gives, call after call, with k the largest number of neighbours. The
        same seed gives the same bytes, with any number of threads.
    alternative : {"two-sided", "greater", "less"}
        What the neighbours are: high or low (twice the smaller of the two p-values, at most 1),
        high, or low. It is about Σⱼ wᵢⱼ (xⱼ - x̄), whatever the place's own value; two-sided
        it is a test of Iᵢ as well, for that is the lag times a number no draw changes.
    alpha : float
        Rate of false discoveries among a feature's clusters, were it not clustered elsewhere
        (Notes); 1 names the cluster of every place that has neighbours.
    threads : int, optional
        By default one per core, or as the environment variable ``NUMBA_NUM_THREADS`` says.

    Returns
    -------
    xarray.Dataset
        Dense, with dims `place` (labels of the graph) and `feature` (`var_names`, the columns'
        names or 0, …, F - 1); 40 bytes per place and feature.

        - `I`, float64: 0 for a place without neighbours; NaN where the feature has none (a
          constant, values that are not finite).
        - `z`, float64: Iᵢ less its mean over its exact standard deviation over all conditional
          permutations. Far from normal for sparse features: read p. NaN where Iᵢ cannot vary.
        - `p`, float64: pseudo p-value, (1 + draws as extreme) / (1 + permutations), hence at
          least 1 / (1 + permutations), two-sided twice that. NaN for places without neighbours.
        - `q`, float64: p adjusted over the places of the feature, by Benjamini and Hochberg.
        - `cluster`, string: where q is at most alpha, "HH" (high among high), "LL", "LH" (low
          among high) or "HL" (high among low), by the signs of xᵢ - x̄ and of the lag, 0
          counting as low; "" elsewhere.
        - `reason`, string, of the feature alone: why there is no test; "" where there is one.

        `attrs` holds `statistic`, `permutations`, `seed`, `alternative`, `alpha`, `n_places`
        and `n_tested`, the number of places with neighbours.

    Raises
    ------
    InputError
        Features and graph that don't hold the same places in the same order; fewer than 4
        places; a weight that is not finite, or a place that is its own neighbour; features
        that are no numbers; an option out of its range.

    Notes
    -----
    A place's neighbours are taken for a sample of all other places. Where a feature is
    clustered over the whole map that is not so, p is too small, and more clusters are found than
    alpha promises (Ord and Getis 2001, Testing for local spatial autocorrelation in the presence
    of global autocorrelation, Journal of Regional Science 41, 411–432).

    Beside the result it holds 4 bytes per draw and neighbour of the place that has most, and
    8 more for each thread. Places share the time of a draw when their weights are the same
    numbers, as they are for nearest neighbours; when no two places' are (a distance kernel),
    each of the n places takes its own permutations · neighbours steps.

    A draw whose lag differs from the one observed by less than 1e-10 standard deviations of
    the feature (times Σⱼ ``|wᵢⱼ|``) counts as just as extreme: among sparse features most do. As
    near to 0, xᵢ - x̄ and the lag are 0.

    The smallest p bounds q: among 10,000 places, two-sided, at an alpha of 0.05, nothing is
    found by 999 permutations unless 400 places reach it, by 9,999 unless 40 do.

    esda's `EIc` and `VIc` are of n / (n - 1) times its `Is`; `z` here is of Iᵢ itself.

    References
    ----------
    Anselin, L. (1995). Local indicators of spatial association: LISA. Geographical Analysis
    27(2), 93–115: Iᵢ, its conditional permutation and the four kinds of cluster.
    Sokal, R. R., Oden, N. L. and Thomson, B. A. (1998). Local spatial autocorrelation in a
    biological model. Geographical Analysis 30(4), 331–354, equations A7 and A8: z.
    Phipson, B. and Smyth, G. K. (2010). Permutation p-values should never be zero.
    Statistical Applications in Genetics and Molecular Biology 9(1), 39: p.
    de Castro, M. C. and Singer, B. H. (2006). Controlling the false discovery rate: a new
    application to account for multiple and dependent tests in local statistics of spatial
    association. Geographical Analysis 38(2), 180–208: q.
    """
    test = _read_options(permutations, seed, alternative, alpha, threads)
    table = read_features(features)
    ids, matrix = read_weights(graph, table, at_least=4)
    refuse_self_weights(ids, matrix)
    weights = _sums(ids, matrix)

    def statistic(seen: _Seen) -> tuple[Floats, Floats, NDArray[np.int8]]:
        n, scale = len(ids), tails.TIE * np.sqrt(seen.variance)
        moran = (n - 1) / n * seen.centred * seen.lag / seen.variance
        level = np.abs(seen.centred) <= scale  # with the mean: no draw changes Iᵢ
        high, near_high = (seen.centred > 0) & ~level, seen.lag > scale * weights.sizes
        quadrant = np.select([high & near_high, near_high, ~high], [1, 2, 3], 4)
        side = np.where(level, np.nan, np.sign(seen.centred))
        return moran, side * _z_given_own(seen, weights), quadrant.astype(np.int8)

    return _everywhere(
        table, weights, test, statistic, "I", ["", "HH", "LH", "LL", "HL"], "local Moran's I"
    )


def local_g(
    features: Features,
    graph: Graph | W,
    *,
    star: bool = True,
    permutations: int = 9999,
    seed: int = 0,
    alternative: tails.Alternative = "two-sided",
    alpha: float = 0.05,
    threads: int | None = None,
) -> xr.Dataset:
    """Getis and Ord's local G of every feature at every place: where is it hot, where cold?

    Gᵢ = Σⱼ wᵢⱼ xⱼ / Σⱼ xⱼ with j ≠ i in both sums; Gᵢ* with j = i in both. They are made for
    what is counted from 0, such as activations that are not negative.

    Parameters
    ----------
    features : AnnData, DataFrame, ndarray or scipy sparse matrix, shape (n, F)
        As in `local_moran`.
    graph : libpysal.graph.Graph or libpysal.weights.W
        As in `local_moran`.
    star : bool
        Gᵢ*, in which the place itself counts: with the weight the graph gives it if it gives
        one to any place, else, like esda, with the largest of its neighbours' (1 in a binary
        graph, to a place without neighbours too); if the graph is row-standardised (by its
        `transformation`), it is so again with it: 1 / (c + 1) beside c nearest neighbours.
    permutations, seed, threads
        As in `local_moran`.
    alternative : {"two-sided", "greater", "less"}
        What the neighbours are: hot or cold (twice the smaller of the two p-values, at most 1),
        hot, or cold.
    alpha : float
        Rate of false discoveries among a feature's hot and cold spots, as in `local_moran`.

    Returns
    -------
    xarray.Dataset
        As that of `local_moran`, 48 bytes per place and feature, but for

        - `G`, float64: Gᵢ or Gᵢ*; NaN where what it is divided by is 0.
        - `z`, float64: Σⱼ wᵢⱼ xⱼ less its mean over its standard deviation (Ord and Getis
          1995), the same whatever is added to x. Over all choices of neighbours from the
          others for Gᵢ; over all permutations of all places for Gᵢ*. NaN where it cannot vary.
        - `p`, `q`, float64: of the conditional permutation, as in `local_moran`. The place
          keeps its value, so they are about its neighbours, and the same with star and without.
        - `cluster`, string: where q is at most alpha, "hot" or "cold" as more draws are below
          or above; "" elsewhere.

    Raises
    ------
    InputError
        As `local_moran`; a place may be its own neighbour if star is True.

    Notes
    -----
    z is that of esda's `G_Local` for binary weights. For row-standardised ones esda uses
    the variance of binary weights (Getis and Ord 1992); z here is from Σⱼ wᵢⱼ² (Ord and
    Getis 1995), and hence the same for binary weights and what row-standardising makes of them.
    Memory, time and ties are as in `local_moran`.

    References
    ----------
    Getis, A. and Ord, J. K. (1992). The analysis of spatial association by use of distance
    statistics. Geographical Analysis 24(3), 189–206: G.
    Ord, J. K. and Getis, A. (1995). Local spatial autocorrelation statistics: distributional
    issues and an application. Geographical Analysis 27(4), 286–306: z, for any weights.
    Phipson, B. and Smyth, G. K. (2010). Permutation p-values should never be zero.
    Statistical Applications in Genetics and Molecular Biology 9(1), 39: p.
    de Castro, M. C. and Singer, B. H. (2006). Controlling the false discovery rate: a new
    application to account for multiple and dependent tests in local statistics of spatial
    association. Geographical Analysis 38(2), 180–208: q.
    """
    test = _read_options(permutations, seed, alternative, alpha, threads)
    if not isinstance(star, bool | np.bool_):
        raise InputError(f"star is {star!r}; it must be True or False.")
    table = read_features(features)
    ids, matrix = read_weights(graph, table, at_least=4)
    own = np.zeros(len(ids))
    if star:
        matrix, own = _with_own(matrix, _is_row_standardised(graph))
    else:
        refuse_self_weights(ids, matrix)
    weights = _sums(ids, matrix)

    def statistic(seen: _Seen) -> tuple[Floats, Floats, NDArray[np.int8]]:
        others = seen.values.sum() - (0 if star else seen.values)
        inside = _lag(seen.values, matrix) + own * seen.values
        share = _ratio(inside, np.broadcast_to(others, inside.shape))
        z = _z_of_all(seen, weights, own) if star else _z_given_own(seen, weights)
        more, fewer = seen.at_least < seen.at_most, seen.at_least > seen.at_most
        return share, z, np.select([more, fewer], [1, 2], 0).astype(np.int8)

    name = "Getis and Ord's local G*" if star else "Getis and Ord's local G"
    return _everywhere(table, weights, test, statistic, "G", ["", "hot", "cold"], name)


def _read_options(
    permutations: int, seed: int, alternative: str, alpha: float, threads: int | None
) -> _Test:
    chosen = options(
        alternative=alternative,
        grouped=True,
        permutations=permutations,
        seed=seed,
        threads=threads,
    )
    number = isinstance(alpha, float | int | np.number) and not isinstance(alpha, bool)
    if not number or not 0 < alpha <= 1:
        raise InputError(f"alpha is {alpha!r}; it must be a number above 0 and at most 1.")
    return _Test(chosen.permutations, chosen.seed, alternative, float(alpha), chosen.threads)


def _sums(ids: pd.Index, matrix: sparse.csr_array) -> _Weights:
    total, squares, sizes = (
        np.asarray(terms.sum(axis=1), dtype=np.float64).reshape(-1)
        for terms in (matrix, matrix**2, abs(matrix))
    )
    return _Weights(ids, matrix, total, squares, sizes)


def _is_row_standardised(graph: Graph | W) -> bool:
    from libpysal.weights import W

    return str(graph.transform if isinstance(graph, W) else graph.transformation).upper() == "R"


def _with_own(matrix: sparse.csr_array, row_standardised: bool) -> tuple[sparse.csr_array, Floats]:
    """Weights of the others, and of each place itself, for Gᵢ*."""
    own = matrix.diagonal()
    if own.any():
        others = sparse.csr_array(matrix - sparse.diags_array(own))
        others.eliminate_zeros()
        return others, own
    if (matrix.data == 1).all() and not row_standardised:
        return matrix, np.ones(len(own))
    own = np.asarray(matrix.max(axis=1).todense(), dtype=np.float64).reshape(-1)
    if row_standardised:
        total = np.asarray(matrix.sum(axis=1)).reshape(-1) + own
        scale = np.where(total == 0, 1, total)
        matrix, own = sparse.csr_array(sparse.diags_array(1 / scale) @ matrix), own / scale
    return matrix, own


def _everywhere(
    table: Table,
    weights: _Weights,
    test: _Test,
    statistic: _Statistic,
    letter: str,
    clusters: list[str],
    name: str,
) -> xr.Dataset:
    """Work through the features, one a time on each thread, none knowing of another."""
    import xarray as xr

    n, width = len(weights.ids), len(table.names)
    draws = _conditional.draw(weights.matrix, test.permutations, test.seed)
    tested = weights.matrix.indptr[1:] > weights.matrix.indptr[:-1]
    values, z, p, q = (np.full((width, n), np.nan) for _ in range(4))
    cluster = np.zeros((width, n), dtype=np.int8)

    def work(job: tuple[int, NDArray[np.intp], Floats]) -> str:
        j, rows, entries = job
        reason = undefined(entries, n)
        if reason is not None:
            return reason
        seen = _see(rows, entries, weights, draws)
        values[j], z[j], kind = statistic(seen)
        p[j, tested], q[j, tested] = _p_and_q(seen, tested, test)
        cluster[j] = np.where(q[j] <= test.alpha, kind, 0)
        return ""

    reasons: list[str] = []
    with ThreadPoolExecutor(test.threads) as pool:
        for block in columns(table.matrix):
            jobs = [(len(reasons) + j, *column) for j, column in enumerate(block)]
            reasons += track(pool.map(work, jobs), "local statistics", total=len(jobs))

    cells = {letter: values, "z": z, "p": p, "q": q, "cluster": np.array(clusters)[cluster]}
    return xr.Dataset(
        {
            **{key: (("place", "feature"), cell.T) for key, cell in cells.items()},
            "reason": ("feature", np.array(reasons, dtype=str)),
        },
        coords={"place": weights.ids.rename(None), "feature": table.names.rename(None)},
        attrs={
            "statistic": name,
            "permutations": test.permutations,
            "seed": test.seed,
            "alternative": test.alternative,
            "alpha": test.alpha,
            "n_places": n,
            "n_tested": int(tested.sum()),
        },
    )


def _see(
    rows: NDArray[np.intp], entries: Floats, weights: _Weights, draws: _conditional.Draws
) -> _Seen:
    """Bring a feature to the size of 1, by a power of two and so exactly, centre it, and draw."""
    values = np.zeros(len(weights.ids))
    values[rows] = np.ldexp(entries, -np.frexp(np.abs(entries).max())[1])
    centred = values - values.mean()
    centred -= centred.mean()  # what rounding left of it
    variance = float((centred**2).mean())
    lag = _lag(centred, weights.matrix)
    tails = _conditional.tail_counts(centred, lag, np.sqrt(variance), draws)
    return _Seen(values, centred, variance, lag, *tails)


def _lag(values: Floats, matrix: sparse.csr_array) -> Floats:
    from geointerp.spatial import _local_kernels

    lag = np.empty(len(values))
    _local_kernels.lags(values, matrix.indptr, matrix.indices, matrix.data, lag)
    return lag


def _ratio(above: Floats, under: Floats) -> Floats:
    return np.divide(above, under, out=np.full(len(above), np.nan), where=under != 0)


def _z_given_own(seen: _Seen, weights: _Weights) -> Floats:
    """Deviate of the lag over all choices of the neighbours' values from those of the others.

    The others' mean is -dᵢ / (n - 1), their variance (Σ d² - dᵢ²) / (n - 1) less that squared,
    n / (n - 1) times `others` below; drawn without replacement, Σⱼ wᵢⱼ dⱼ varies by
    ((n - 1) Σⱼ wᵢⱼ² - (Σⱼ wᵢⱼ)²) / (n - 2) times as much.
    """
    n = len(seen.centred)
    others = seen.variance - seen.centred**2 / (n - 1)
    others[others < _NONE * seen.variance] = 0
    spread = weights.squares - weights.total**2 / (n - 1)
    spread[spread < _NONE * weights.squares] = 0
    mean = -weights.total * seen.centred / (n - 1)
    return _ratio(seen.lag - mean, np.sqrt(n / (n - 2) * others * spread))


def _z_of_all(seen: _Seen, weights: _Weights, own: Floats) -> Floats:
    """Deviate of the lag with the place itself, over all permutations (Ord and Getis 1995)."""
    n = len(seen.centred)
    squares = weights.squares + own**2
    spread = n * squares - (weights.total + own) ** 2
    spread[spread < _NONE * n * squares] = 0
    return _ratio(seen.lag + own * seen.centred, np.sqrt(seen.variance * spread / (n - 1)))


def _p_and_q(seen: _Seen, tested: NDArray[np.bool_], test: _Test) -> tuple[Floats, Floats]:
    """Pseudo p-values of the places tested, and adjusted over them (Benjamini and Hochberg).

    p only takes permutations + 1 values: each is adjusted once, p · places / rank, where the
    rank is the number of places with a p as small; then brought down to the least at or above.
    """
    least, most = seen.at_least[tested], seen.at_most[tested]
    extreme = {"greater": least, "less": most}.get(test.alternative, np.minimum(least, most))
    every = np.arange(test.permutations + 1)
    p = tails.pseudo(every, every, np.full_like(every, test.permutations), test.alternative)
    rank = np.cumsum(np.bincount(extreme, minlength=len(every)))
    adjusted = p * len(extreme) / np.maximum(rank, 1)
    q = np.minimum(1, np.minimum.accumulate(adjusted[::-1])[::-1])
    return p[extreme], q[extreme]
