"""Moran's I's kin: Geary's C, the general G of Getis and Ord, join counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from geointerp.spatial.inference import How, options
from geointerp.spatial.nulls import Within
from geointerp.spatial.statistics import GEARY, GETIS_ORD, JOINS, UNLIKE_JOINS, Statistic
from geointerp.spatial.table import Features, firing
from geointerp.spatial.tails import Alternative, q_values
from geointerp.spatial.testing import about, exact_moments, over_columns, over_features, read

if TYPE_CHECKING:
    from typing import Unpack

    from libpysal.graph import Graph
    from libpysal.weights import W


def geary(
    features: Features,
    graph: Graph | W,
    *,
    within: Within | None = None,
    alternative: Alternative = "less",
    **how: Unpack[How],
) -> pd.DataFrame:
    """Geary's C of every feature: how far apart are the values of neighbours?

    C = (n - 1) / (2 S0) · Σᵢⱼ wᵢⱼ (xᵢ - xⱼ)² / Σᵢ (xᵢ - x̄)². It is 1 by chance, less where
    neighbours are alike, and heeds differences between neighbours more than Moran's I does.

    Parameters
    ----------
    features, graph, within
        As in `moran`.
    alternative : {"less", "greater", "two-sided"}
        Of C: "less" is neighbours alike.
    **how
        `permutations`, `max_permutations`, `seed`, `min_active`, `threads`, `device`, as in
        `moran`.

    Returns
    -------
    DataFrame
        As of `moran`, with `C` and `expected_C`.

    Raises
    ------
    InputError
        As `moran`.

    References
    ----------
    Geary, R. C. (1954). The contiguity ratio and statistical mapping. The Incorporated
    Statistician 5, 115–145.
    Cliff, A. D. and Ord, J. K. (1981). Spatial Processes: Models and Applications. Pion,
    chapter 2: its mean and its variance under randomisation.
    """
    chosen = options(alternative=alternative, grouped=within is not None, **how)
    found = over_features(GEARY, features, graph, within=within, chosen=chosen)
    return found.rename(columns={"value": "C", "expected": "expected_C"})


def getis_ord(
    features: Features,
    graph: Graph | W,
    *,
    within: Within | None = None,
    alternative: Alternative = "greater",
    **how: Unpack[How],
) -> pd.DataFrame:
    """General G of every feature: do strong activations stand beside strong ones?

    G = Σᵢⱼ wᵢⱼ xᵢ xⱼ / Σᵢ≠ⱼ xᵢ xⱼ, for values of 0 or more. Unlike Moran's I it tells clusters of
    high values (G large) from clusters of low ones (G small). Binary weights, as of
    `distance_band`, are usual.

    Parameters
    ----------
    features, graph, within
        As in `moran`.
    alternative : {"greater", "less", "two-sided"}
        High values cluster, low ones do, or either.
    **how
        `permutations`, `max_permutations`, `seed`, `min_active`, `threads`, `device`, as in
        `moran`.

    Returns
    -------
    DataFrame
        As of `moran`, with `G` and `expected_G`. A feature with negative values, or that fires
        on one place only (to a millionth), has none.

    Raises
    ------
    InputError
        As `moran`.

    References
    ----------
    Getis, A. and Ord, J. K. (1992). The analysis of spatial association by use of distance
    statistics. Geographical Analysis 24, 189–206.
    """
    chosen = options(alternative=alternative, grouped=within is not None, **how)
    found = over_features(GETIS_ORD, features, graph, within=within, chosen=chosen)
    return found.rename(columns={"value": "G", "expected": "expected_G"})


def join_counts(
    features: Features, graph: Graph | W, *, within: Within | None = None, **how: Unpack[How]
) -> pd.DataFrame:
    """Of neighbours, how many both fire a feature, how many do not, how many differ?

    With x = 1 where a feature is not zero and 0 elsewhere: BB = ½ Σᵢⱼ wᵢⱼ xᵢ xⱼ joins of firing
    places, BW = ½ Σᵢⱼ wᵢⱼ (xᵢ - xⱼ)² of unlike ones, WW = S0 / 2 - BB - BW of silent ones.

    Parameters
    ----------
    features, graph, within
        As in `moran`. Weights are usually binary; others count a join by its weight.
    **how
        `permutations`, `max_permutations`, `seed`, `min_active`, `threads`, `device`, as in
        `moran`.

    Returns
    -------
    DataFrame
        A row per feature: `BB`, `BW` and `WW`, float64; `expected_BB`, `z_BB`, `p_BB`, `q_BB`,
        `permutations_BB`, where p is of as many joins of firing places or more; the same for
        `BW`, where p is of as few unlike joins or fewer; `n_active` and `reason`. NaN for a
        feature that fires nowhere or everywhere. p always comes from permutations.

    Raises
    ------
    InputError
        As `moran`.

    References
    ----------
    Cliff, A. D. and Ord, J. K. (1981). Spatial Processes: Models and Applications. Pion,
    chapters 1 and 2.
    """
    sides: tuple[tuple[str, Statistic, Alternative], ...] = (
        ("BB", JOINS, "greater"),
        ("BW", UNLIKE_JOINS, "less"),
    )
    chosen = options(alternative="greater", grouped=within is not None, **how)
    given = read(features, graph, within, chosen)
    given = given._replace(table=firing(given.table))
    counts, tests = {}, []
    for name, statistic, side in sides:
        # no curve holds for what is counted, so mean and variance will do
        known = None if given.null.grouped else exact_moments(statistic, given.neighbors, edges=2)
        found = over_columns(statistic, given, known, chosen._replace(alternative=side))
        counts[name] = found["value"]
        found.insert(4, "q", q_values(found["p"].to_numpy()))
        tests.append(found[["expected", "z", "p", "q", "permutations"]].add_suffix(f"_{name}"))
    counts["WW"] = given.neighbors.s0 / 2 - counts["BB"] - counts["BW"]
    shared = found[["n_active", "reason"]]
    result = pd.concat([pd.DataFrame(counts), *tests, shared], axis=1)
    result.attrs = about("join counts", found, given, chosen)
    result.attrs["alternative"] = "greater for BB, less for BW"
    return result
