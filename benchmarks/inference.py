"""Do the p-values and q-values of Moran's I hold what they promise?

Calibration: features without a pattern, active at 10 to 1,000 of 10,000 cities at random, their
values half-normal above one half, or all equal. How often is p at most 1e-2, 1e-3, 1e-4? Each
batch has permutations of its own, of which there are 99, 999 or 9,999 for features on which the
Pearson III curve does not hold.

Far out: of 1,000 such features, those that the Pearson III curve may give a p of 1e-5 and of 1e-6,
and of these the ten for which it is trusted least. Which share of a million permutations reaches
what the curve gives that p?

Within countries: features that fire on half the cities of two countries at random, so that their
pattern is the countries' names and no more.

Mixtures: in tables of 1,000 features one in ten has a share of its active places in one
patch of three or more. How many of those with q ≤ .05 have none (FDR), and how many patches are
found (power)?

What was done is kept in run/inference and not done again. Writes benchmarks/results/inference.md.

    python benchmarks/inference.py --draws 200000
"""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from jsonargparse import auto_cli
from scipy import sparse
from scipy.stats import pearson3

import geointerp as gi
from geointerp.spatial import curve, inference, testing
from geointerp.spatial.packing import pack
from geointerp.spatial.statistics import MORAN
from geointerp.spatial.table import columns
from geointerp.spatial.tails import follows_pearson3

PLACES = 10_000
ACTIVE = (10, 30, 100, 300, 1000)
LEVELS = (1e-2, 1e-3, 1e-4)
FAR = (1e-5, 1e-6)
FAR_OF = (
    ("half-normal", 150),
    ("half-normal", 300),
    ("half-normal", 1000),
)
KEPT = Path("run/inference")
RESULTS = Path(__file__).parent / "results" / "inference.md"
VALUES = {
    "half-normal": lambda rng, size: 0.5 + np.abs(rng.normal(size=size)),
    "equal": lambda rng, size: np.ones(size),
}


def cities(seed: int):
    """Some of GeoNames' cities, and their eight nearest neighbours."""
    places = gi.places.load("geonames").sample(PLACES, random_state=seed)
    return places, gi.spatial.knn(places, k=8)


def table_of(rows, values) -> sparse.csc_array:
    """Features by column, from their active places and values."""
    starts = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    shape = (PLACES, len(rows))
    return sparse.csc_array((np.concatenate(values), np.concatenate(rows), starts), shape)


def at_random(rng, active: int, width: int, draw) -> sparse.csc_array:
    """Features without a pattern."""
    rows = [np.sort(rng.choice(PLACES, active, replace=False)) for _ in range(width)]
    return table_of(rows, [draw(rng, active) for _ in rows])


def kept(name: str, make) -> dict:
    """What `make` gave, from its file if it is there."""
    file = KEPT / f"{name}.json"
    if not file.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(make()))
        print(name, flush=True)
    return json.loads(file.read_text())


def calibrate(graph, kind: str, active: int, seed: int, width: int = 1000) -> dict:
    """How many of a batch's p are at most each level, and how many are the curve's."""
    rng = np.random.default_rng([seed, active, list(VALUES).index(kind)])
    features = at_random(rng, active, width, VALUES[kind])
    table = gi.spatial.moran(features, graph, permutations=99, seed=seed)
    return {"n": width, "curve": int((table["permutations"] == 0).sum())} | {
        f"{level:g}": int((table["p"] <= level).sum()) for level in LEVELS
    }


def far_out(graph, kind: str, active: int, count: int = 1_000_000) -> dict:
    """How many features the curve serves so far out, and how many permutations reach it for ten."""
    rng = np.random.default_rng([active, list(VALUES).index(kind), 13])
    features = at_random(rng, active, 1000, VALUES[kind])
    chosen = inference.options(
        alternative="greater", grouped=False, permutations=count, max_permutations=count, seed=1
    )
    table, neighbors, null = testing.read(features, graph, None, chosen)
    known = testing.exact_moments(MORAN, neighbors)
    side = np.ones(1)
    left_out = np.full((len(FAR), 1000), np.inf)
    done = 0
    for block in columns(table.matrix):
        packed, sample = pack(block, MORAN, neighbors, null)
        moments = known(sample)
        added = curve.jumps(MORAN, packed, sample, neighbors, moments, np.arange(len(block)))
        enough = ~packed.tied & (packed.joins(neighbors) >= curve.FEWEST_JOINS)
        for at, level in enumerate(FAR):
            z = pearson3.isf(level, moments.skewness)
            here = curve.left_out(z, moments, side, added)
            serves = enough & follows_pearson3(z, moments, "greater")
            serves &= here <= np.log(curve.FACTOR)
            left_out[at, done : done + len(block)] = np.where(serves, here, np.inf)
        done += len(block)
    found = {"of": count}
    for far, level in zip(left_out, FAR, strict=True):
        worst = [
            f for f in np.argsort(-np.where(np.isfinite(far), far, -1))[:10] if far[f] < np.inf
        ]
        found |= {f"served {level:g}": int(np.isfinite(far).sum()), f"worst {level:g}": len(worst)}
        if worst:
            reached = reaching(features[:, worst], graph, level, chosen)
            found[f"{level:g}"] = int(reached.sum())
    return found


def reaching(features, graph, level: float, chosen: inference.Options) -> np.ndarray:
    """How many permutations of each feature reach what the curve gives p = level."""
    table, neighbors, null = testing.read(features, graph, None, chosen)
    (block,) = columns(table.matrix)
    packed, sample = pack(block, MORAN, neighbors, null)
    moments = testing.exact_moments(MORAN, neighbors)(sample)
    value = moments.mean + pearson3.isf(level, moments.skewness) * np.sqrt(moments.variance)
    packed = packed._replace(observed=(value - packed.offset) / packed.slope)
    no_curve = np.full(len(block), np.nan)
    p = inference.infer(packed, neighbors, null, None, no_curve, chosen).p
    return np.round(p * (chosen.max_permutations + 1) - 1)


def regional(places, graph, seed: int, width: int = 1000) -> dict:
    """The same for features that are two countries' names and no more, under both nulls."""
    rng = np.random.default_rng([seed, 7])
    country = pd.factorize(places["country"])[0]
    large = np.flatnonzero(np.bincount(country) >= 20)
    inside = [np.isin(country, rng.choice(large, 2, replace=False)) for _ in range(width)]
    rows = [np.flatnonzero(i & (rng.random(PLACES) < 0.5)) for i in inside]
    features = table_of(rows, [rng.exponential(size=len(r)) for r in rows])
    found = {"n": width}
    for name, within in (("whole", None), ("within", places["country"].to_numpy())):
        table = gi.spatial.moran(features, graph, within=within, seed=seed)
        found |= {f"{name} {level:g}": int((table["p"] <= level).sum()) for level in LEVELS}
        found[f"{name} q"] = int((table["q"] <= 0.05).sum())
    return found


def mixture(places, graph, seed: int, width: int = 1000) -> dict:
    """A table in which one feature in ten has a patch."""
    from scipy.spatial import cKDTree

    rng = np.random.default_rng([seed, 11])
    points = gi.sphere.unit_vectors(lon=places.geometry.x, lat=places.geometry.y)
    tree = cKDTree(points)
    rows, planted = [], []
    for f in range(width):
        active = int(rng.choice(ACTIVE))
        share = float(rng.choice(SHARES)) if f % 10 == 0 else 0.0
        size = round(share * active)
        if size < 3:
            size, share = 0, 0.0
        patch = tree.query(points[rng.integers(PLACES)], k=max(size, 1))[1] if size else []
        patch = np.atleast_1d(patch).astype(int)
        others = np.setdiff1d(np.arange(PLACES), patch)
        chosen = rng.choice(others, active - size, replace=False)
        rows.append(np.sort(np.concatenate([patch, chosen])).astype(int))
        planted.append((active, share))
    values = [rng.exponential(size=len(r)) for r in rows]
    table = gi.spatial.moran(table_of(rows, values), graph, seed=seed)
    found = (table["q"] <= 0.05).to_numpy()
    null = np.array([share == 0 for _, share in planted])
    cells = [(*cell, bool(f)) for cell, f in zip(planted, found, strict=True) if cell[1] > 0]
    return {"found": int(found.sum()), "false": int((found & null).sum()), "cells": cells}


SHARES = (1.0, 0.5, 0.3, 0.2, 0.1)


def main(draws: int = 200_000, tables: int = 40, seed: int = 0) -> None:
    """Calibrate, mix, and write what was found.

    Args:
        draws: Null features for each number of active places and kind of value, at least.
        tables: Tables of 1,000 features of which some have a patch.
        seed: Of all that is drawn.
    """
    places, graph = cities(seed)
    rows = []
    for kind in VALUES:
        for active in ACTIVE:
            for b in range(draws // 1000):
                kept(f"{kind}-{active}-{b}", partial(calibrate, graph, kind, active, b))
            # what was drawn beyond them counts too
            files = sorted(KEPT.glob(f"{kind}-{active}-*.json"))
            batches = [json.loads(file.read_text()) for file in files]
            total = pd.DataFrame(batches).sum()
            row = {"values": kind, "active": active, "draws": total["n"]}
            row["by the curve"] = f"{total['curve'] / total['n']:.0%}"
            for level in LEVELS:
                row[f"p ≤ {level:g}"] = f"{total[f'{level:g}'] / total['n'] / level:.2f}"
            rows.append(row)
    batches = [kept(f"regional-{b}", partial(regional, places, graph, b)) for b in range(10)]
    region = pd.DataFrame(batches).sum()
    mixed = [kept(f"mixture-{b}", partial(mixture, places, graph, b)) for b in range(tables)]
    tails = []
    for kind, active in FAR_OF:
        found = kept(f"reach-{kind}-{active}", partial(far_out, graph, kind, active))
        row = {"values": kind, "active": active}
        for at in (f"{level:g}" for level in FAR):
            drawn = found["of"] * found[f"worst {at}"]
            row[f"reach {at}"] = f"{found[f'served {at}'] / 1000:.1%}"
            row[f"share / {at}"] = f"{found[at] / drawn / float(at):.2f}" if drawn else "–"
        tails.append(row)
    rate = np.mean([m["false"] / max(m["found"], 1) for m in mixed])
    error = np.std([m["false"] / max(m["found"], 1) for m in mixed]) / np.sqrt(len(mixed))
    planted = [cell for m in mixed for cell in m["cells"]]
    cells = pd.DataFrame(planted, columns=["active", "share", "found"])
    power = cells.pivot_table(index="active", columns="share", values="found").round(2)
    many = cells.groupby(["active", "share"]).size().min()
    print(pd.DataFrame(rows).to_string(), region, rate, error, power, many, sep="\n")
    null = (pd.DataFrame(rows), pd.DataFrame(tails))
    RESULTS.write_text(page(*null, region, rate, error, power, many, tables))


def markdown(frame: pd.DataFrame) -> str:
    """A table."""
    lines = [frame.columns, ["--:"] * len(frame.columns), *frame.astype(object).to_numpy()]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def page(rows, tails, region, rate, error, power, many, tables) -> str:
    """The results, in Markdown."""
    n = region["n"]
    within = [f"{region[f'within {level:g}'] / n / level:.2f}" for level in LEVELS]
    power = power[sorted(power.columns, reverse=True)]
    power.columns = [f"{share:.0%}" for share in power.columns]
    return f"""# What Moran's I's p- and q-values promise, and hold

`python benchmarks/inference.py`; {PLACES:,} of GeoNames' cities, 8 nearest neighbours,
`gi.spatial.moran`, its options the default ones. Shares are divided by the level: 1 is as promised.

## Features without a pattern

{markdown(rows)}

Permutations began with 99, not 999, which changes no p below .02. With 200,000 draws the standard
error of the last three columns is about .02, .07 and .22, and somewhat more where p comes from
permutations, which a batch of 1,000 features shares. Half-normal features of 300 places were drawn
further because the first 200,000 gave 1.50 in the last column.

## Far out

Of 1,000 features, those that the curve may give a p of 1e-5 or 1e-6; and the share of a million
permutations each of the ten among them for which it is trusted least that reach it, divided by p.

{markdown(tails)}

The standard error is about .1 and .3.

## Features that are two countries' names and no more

{n:,.0f} features that fire on half the cities of two countries at random. Over the whole map
{region["whole 0.001"] / n:.1%} have p ≤ .001 and {region["whole q"] / n:.1%} q ≤ .05 (in tables of
1,000); within countries the share of p ≤ .01, .001 and .0001 is {within[0]}, {within[1]} and
{within[2]} times the level, and {region["within q"]:.0f} of {n:,.0f} have q ≤ .05.

## Tables of 1,000 features, one in ten with a patch

In {tables} tables {rate:.3f} ± {error:.3f} of the features with q ≤ .05 had no pattern (at most
.045 is promised, nine in ten having none). Found at q ≤ .05, by the number of active places and
the share of them in one patch of three or more, the others being anywhere (exponential values; at
least {many} features a cell):

{markdown(power.reset_index().fillna("–"))}
"""


if __name__ == "__main__":
    auto_cli(main)
