"""A statistic of every feature of a table, and its test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geointerp.spatial import inference, moments, tails
from geointerp.spatial.inference import Options
from geointerp.spatial.motifs import Motif
from geointerp.spatial.neighbors import read_graph
from geointerp.spatial.nulls import Null, Within, read_groups
from geointerp.spatial.packing import Sample, pack
from geointerp.spatial.statistics import Statistic
from geointerp.spatial.table import Features, columns, firing, read_features

if TYPE_CHECKING:
    from libpysal.graph import Graph
    from libpysal.weights import W


def over_features(
    statistic: Statistic,
    features: Features,
    graph: Graph | W,
    *,
    within: Within | None,
    chosen: Options,
    binary: bool = False,
) -> pd.DataFrame:
    """A row per feature: value, expected, z, p, q, n_active, permutations, reason.

    The parameters are those of `moran`, which documents them; where `binary`, only whether a
    feature fires is read.
    """
    table = read_features(features)
    neighbors = read_graph(graph, table)
    groups = None if within is None else read_groups(within, features, neighbors.ids)
    null = Null(neighbors, chosen.seed, groups)
    if binary:
        table = firing(table)
    sums = neighbors.motif_sums() if groups is None else {}

    width = len(table.names)
    value, expected, z, p = np.full((4, width), np.nan)
    n_active, permutations = np.zeros((2, width), dtype=np.int64)
    reasons: list[str | None] = [None] * width
    start = 0
    for block in columns(table.matrix):
        kept = []
        for j, (rows, values) in enumerate(block, start):
            n_active[j] = len(rows)
            reasons[j] = statistic.undefined(values, neighbors.n)
            if reasons[j] is None:
                kept.append(j)
        if kept:
            packed, sample = pack([block[j - start] for j in kept], statistic, neighbors, null)
            value[kept] = packed.value
            of_null = None if groups is not None else _moments(statistic, sample, sums)
            if of_null is not None:
                expected[kept] = of_null.mean
            enough = n_active[kept] >= chosen.min_active
            for j, is_enough in zip(kept, enough, strict=True):
                if not is_enough:
                    reasons[j] = f"It fires on fewer than {chosen.min_active} places."
            tested = np.array(kept)[enough]
            if len(tested):
                found = inference.infer(
                    packed.only(enough),
                    neighbors,
                    null,
                    None if of_null is None else of_null.only(enough),
                    chosen,
                )
                expected[tested], z[tested], p[tested] = found.expected, found.z, found.p
                permutations[tested] = found.permutations
        start += len(block)
    for j, missing in enumerate(np.isnan(p)):
        if missing and reasons[j] is None:
            reasons[j] = "Its p-value needs permutations: the Pearson III curve does not hold."
    result = pd.DataFrame(
        {
            "value": value,
            "expected": expected,
            "z": z,
            "p": p,
            "q": tails.q_values(p),
            "n_active": n_active,
            "permutations": permutations,
            "reason": pd.array(reasons, dtype="string"),
        },
        index=table.names,
    )
    result.attrs = {
        "statistic": statistic.name,
        "null": "permutations of all places" if groups is None else "permutations within regions",
        "permutations": chosen.permutations,
        "max_permutations": chosen.max_permutations,
        "seed": chosen.seed,
        "alternative": chosen.alternative,
        "min_active": chosen.min_active,
        "n_places": neighbors.n,
        "s0": neighbors.s0,
        "n_tested": int((~np.isnan(p)).sum()),
    }
    return result


def _moments(statistic: Statistic, sample: Sample, sums: Mapping[Motif, float]) -> moments.Moments:
    """Exact moments of the statistic over all permutations of the places."""
    pairs = statistic.pairs(sample.spread)
    found = moments.of_neighbors(sums, sample.spread.n, sample.powers, pairs.b)
    sign = np.sign(pairs.factor)
    return found._replace(
        mean=pairs.expected + pairs.factor * found.mean,
        variance=pairs.factor**2 * found.variance,
        skewness=sign * found.skewness,
    )
