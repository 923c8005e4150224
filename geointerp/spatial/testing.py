"""A statistic of every feature of a table, and its test."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from geointerp.spatial.curve import by_curve
from geointerp.spatial.inference import Options, infer
from geointerp.spatial.moments import Moments, of_neighbors
from geointerp.spatial.neighbors import Neighbors, read_graph
from geointerp.spatial.nulls import Null, Within, read_groups
from geointerp.spatial.packing import Sample, pack
from geointerp.spatial.statistics import Statistic
from geointerp.spatial.table import Features, Table, columns, read_features
from geointerp.spatial.tails import q_values

if TYPE_CHECKING:
    from libpysal.graph import Graph
    from libpysal.weights import W

MomentsOf: TypeAlias = Callable[[Sample], Moments] | None


class Given(NamedTuple):
    """What a test is of."""

    table: Table
    neighbors: Neighbors
    null: Null


def read(features: Features, graph: Graph | W, within: Within | None, chosen: Options) -> Given:
    """Features, graph and null, once it is certain that they are of the same places."""
    table = read_features(features)
    neighbors = read_graph(graph, table)
    groups = None if within is None else read_groups(within, features, neighbors.ids)
    return Given(table, neighbors, Null(neighbors.site, chosen.seed, groups))


def over_features(
    statistic: Statistic,
    features: Features,
    graph: Graph | W,
    *,
    within: Within | None,
    chosen: Options,
) -> pd.DataFrame:
    """A row per feature: value, expected, z, p, q, n_active, permutations, reason.

    The parameters are those of `moran`, which documents them.
    """
    given = read(features, graph, within, chosen)
    known = None if given.null.grouped else exact_moments(statistic, given.neighbors)
    result = over_columns(statistic, given, known, chosen)
    result.insert(4, "q", q_values(result["p"].to_numpy()))
    result.attrs = about(statistic.name, result, given, chosen)
    return result


def over_columns(
    statistic: Statistic, given: Given, known: MomentsOf, chosen: Options
) -> pd.DataFrame:
    """The same but for q; `known` gives the exact moments over the null, if there are any."""
    table, neighbors, null = given
    width = len(table.names)
    value, expected, z, p = np.full((4, width), np.nan)
    n_active, permutations = np.zeros((2, width), dtype=np.int64)
    reasons: list[str | None] = [None] * width
    stop = 0
    for block in columns(table.matrix):
        start, stop = stop, stop + len(block)
        n_active[start:stop] = [len(rows) for rows, _ in block]
        reasons[start:stop] = [statistic.undefined(values, neighbors.n) for _, values in block]
        kept = [j for j in range(start, stop) if reasons[j] is None]
        if kept:
            packed, sample = pack([block[j - start] for j in kept], statistic, neighbors, null)
            block = []  # its memory is for what is shuffled
            value[kept] = packed.value
            moments, curve = None, np.full(len(kept), np.nan)
            if known is not None:
                moments = known(sample)
                expected[kept] = moments.mean
                curve = by_curve(statistic, packed, sample, neighbors, moments, chosen)
            enough = n_active[kept] >= chosen.min_active
            tested = np.array(kept)[enough]
            if len(tested):
                some = None if moments is None else moments.only(enough)
                packed = packed.only(enough)
                found = infer(packed, neighbors, null, some, curve[enough], chosen)
                expected[tested], z[tested], p[tested], permutations[tested] = found
            del packed  # and for the next block
    for j in range(width):
        if reasons[j] is None and n_active[j] < chosen.min_active:
            reasons[j] = f"It fires on fewer than {chosen.min_active} places."
        elif reasons[j] is None and np.isnan(p[j]):
            reasons[j] = "Its p-value needs permutations: the Pearson III curve does not hold."
    return pd.DataFrame(
        {
            "value": value,
            "expected": expected,
            "z": z,
            "p": p,
            "n_active": n_active,
            "permutations": permutations,
            "reason": pd.array(reasons, dtype="string"),
        },
        index=table.names,
    )


def exact_moments(
    statistic: Statistic, neighbors: Neighbors, *, edges: int = 4
) -> Callable[[Sample], Moments]:
    """The moments of a statistic of neighbours over all permutations of the places.

    With motifs of up to two edges only, mean and variance.
    """
    sums = neighbors.motif_sums(edges)

    def moments(sample: Sample) -> Moments:
        assert statistic.pairs is not None
        pairs = statistic.pairs(sample.spread)
        found = of_neighbors(sums, neighbors.n, sample.powers, pairs.b)
        return Moments(
            mean=pairs.expected + pairs.factor * found.mean,
            variance=pairs.factor**2 * found.variance,
            skewness=np.sign(pairs.factor) * found.skewness,
            kurtosis=found.kurtosis,
        )

    return moments


def about(name: str, result: pd.DataFrame, given: Given, chosen: Options) -> dict[str, Any]:
    """How a table was made, for its attrs."""
    return {
        "statistic": name,
        "null": f"permutations {'within regions' if given.null.grouped else 'of all places'}",
        "permutations": chosen.permutations,
        "max_permutations": chosen.max_permutations,
        "seed": chosen.seed,
        "alternative": chosen.alternative,
        "min_active": chosen.min_active,
        "n_tested": int(result["p"].notna().sum()),
        "n_places": given.neighbors.n,
        "s0": given.neighbors.s0,
    }
