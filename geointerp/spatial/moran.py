"""Moran's I of every feature, and how sure it is that it is no accident."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from geointerp.spatial.inference import options
from geointerp.spatial.nulls import Within
from geointerp.spatial.statistics import MORAN
from geointerp.spatial.table import Features
from geointerp.spatial.tails import Alternative
from geointerp.spatial.testing import over_features

if TYPE_CHECKING:
    from libpysal.graph import Graph
    from libpysal.weights import W


def moran(
    features: Features,
    graph: Graph | W,
    *,
    within: Within | None = None,
    permutations: int = 999,
    max_permutations: int = 9_999,
    seed: int = 0,
    alternative: Alternative = "greater",
    min_active: int = 10,
    threads: int | None = None,
    device: str = "cpu",
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
    within : str, Series or array of n labels, optional
        Regions. Places are then permuted within their region only, which asks whether a feature
        maps anything finer than the region; a column of `obs` by its name, where the features
        are an AnnData. Places whose label is missing are permuted among themselves. By default
        places are permuted over the whole map, which asks whether it maps anything at all.
    permutations : int
        Random permutations, the same ones for all features, for those whose p does not come from
        the Pearson III curve. 0 for none: their p is then missing.
    max_permutations : int
        Where fewer than 20 permutations are as extreme as the feature, there are ten times as
        many, and again, up to this number; hence
        their p is at least 1 / (1 + max_permutations), and of F features tested 20 F / (1 +
        max_permutations) must be as clear for any to have q ≤ .05. Within regions there is no
        curve, and this is what most of the time goes into. No less than `permutations`.
    seed : int
        Of the permutations. The same seed gives the same bytes, with any number of threads.
    alternative : {"greater", "less", "two-sided"}
        Neighbours alike (I large), unlike (I small), or either: twice the smaller of the two
        p-values, at most 1.
    min_active : int
        Features that fire on fewer places are not tested.
    threads : int, optional
        By default one per core, or as the environment variable ``NUMBA_NUM_THREADS`` says.
    device : str
        "cpu", or a device of torch ("cuda") on which the permutations are counted: the same
        ones, with the same result but for the rounding of z within regions.

    Returns
    -------
    DataFrame
        A row per feature, on `var_names`, the columns' names or 0, …, F - 1:

        - `I`, float64: NaN where it is not defined (a constant, values that are not finite).
        - `expected_I`, float64: its mean over all permutations, -1 / (n - 1); within regions,
          its mean over those drawn.
        - `z`, float64: (I - expected_I) over its standard deviation, the exact one over all
          permutations ("under randomisation") or, within regions, that over those drawn. For
          sparse features I is far from normal: read p, not z, for significance. NaN where
          the feature is not tested or I cannot vary.
        - `p`, float64: by the Pearson III curve where it holds and as far out as it does (see
          Notes), else (1 + permutations as extreme) / (1 + permutations). NaN where there is no
          test.
        - `q`, float64: p adjusted over the features tested, by Benjamini and Hochberg; NaN
          where there is no test.
        - `n_active`, int64: places where the feature is not zero.
        - `permutations`, int64: those on which p rests; 0 where it rests on the curve.
        - `reason`, string: why there is no test, one sentence; missing where there is one.

        `attrs` holds `statistic`, `null`, `permutations`, `max_permutations`, `seed`,
        `alternative`, `min_active`, `n_places` and `n_tested`.

    Raises
    ------
    InputError
        Features and graph that don't hold the same places in the same order; fewer than 4
        places; a graph whose weights don't add up to more than 0, with one that is not finite,
        or with a place that is its own neighbour; features that are no numbers; regions that
        are not the places'; an option out of its range.

    Notes
    -----
    The Pearson III curve has the exact mean, variance and skewness of I over all permutations.
    It is used where the exact excess kurtosis, too, is near the curve's (within 0.02 and a 20th of
    it) and the skewness is at most 1, or 0.5 in the shorter tail and ``|z|`` at most 1 / skewness
    there; and never for features of which fewer than 8 pairs of neighbours would both fire by
    chance or whose values are mostly equal (binary ones), nor among fewer than 10 places: their
    I takes few values. In graphs whose places have thousands of neighbours each, third and fourth
    moments are not computed, and there is no curve.

    Four moments tell little of an event as rare as that the two largest values meet. So p by the
    curve goes no further out than to where the tail may be half as heavy again, by the fourth
    moment, by the ten largest values if they should meet and by what the curve itself has beyond
    the fourth cumulant (`geointerp.spatial.curve` has the formula). A feature beyond has the p of
    that end, or that of permutations where they give smaller ones. Dense features without outliers
    do not come so far; those with a few giant values, and sparse ones of which hardly more than 8
    pairs would both fire by chance, end between 1e-7 and 1e-4.

    A permutation whose I differs from the one observed by less than 1e-10 (times
    Σᵢⱼ ``|wᵢⱼ|`` / S0, which is 1 unless weights are negative) counts as just as extreme: for a
    binary feature many permutations are, and rounding must not decide. The p-value only
    grows by it.

    References
    ----------
    Cliff, A. D. and Ord, J. K. (1981). Spatial Processes: Models and Applications. Pion,
    chapter 2: I, its mean and its variance under randomisation.
    Siemiatycki, J. (1978). Mantel's space-time clustering statistic: computing higher moments
    and a comparison of various data transforms. Journal of Statistical Computation and
    Simulation 7, 13–31: the third and fourth moments.
    Mielke, P. W., Berry, K. J. and Brier, G. W. (1981). Application of multi-response
    permutation procedures … Monthly Weather Review 109, 120–126: the Pearson III curve.
    Phipson, B. and Smyth, G. K. (2010). Permutation p-values should never be zero.
    Statistical Applications in Genetics and Molecular Biology 9(1), 39: p.
    Besag, J. and Clifford, P. (1991). Sequential Monte Carlo p-values. Biometrika 78, 301–304:
    more permutations only for those whose p is small.
    Cox, D. R. and Hinkley, D. V. (1974). Theoretical Statistics. Chapman and Hall,
    section 3.4: the two-sided p.
    Benjamini, Y. and Hochberg, Y. (1995). Controlling the false discovery rate. Journal of the
    Royal Statistical Society B 57, 289–300: q.
    """
    chosen = options(
        permutations=permutations,
        max_permutations=max_permutations,
        seed=seed,
        alternative=alternative,
        min_active=min_active,
        threads=threads,
        device=device,
        grouped=within is not None,
    )
    found = over_features(MORAN, features, graph, within=within, chosen=chosen)
    return found.rename(columns={"value": "I", "expected": "expected_I"})
