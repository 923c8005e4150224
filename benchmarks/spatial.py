"""What do Moran's I and its test cost for thousands of features, here and by esda and scanpy?

Features that fire on 1% of the places, with exponential values, and features that fire everywhere,
on the 8 nearest neighbours of places scattered over the sphere. One in ten sparse features fires
in one patch. Ours is `gi.spatial.moran` as it is called by default: p by the curve of the exact
moments where it holds (for most features that fire everywhere), else 999 permutations or 9,999,
and q. Within regions all have permutations, which is what they cost. esda's `Moran` with 999
permutations takes one variable; it is timed on some and its time multiplied. scanpy's `morans_i`
has no test and no p-value: beside it stands ours with `permutations=0`. Each way is a process of
its own; memory is the peak above what it holds before. Then local Moran's I with 999 permutations,
by esda's `Moran_Local` too.
What was timed is kept in run/spatial and not timed again, whatever the code is then: delete it to
time anew. Writes benchmarks/results/spatial.md.

    pip install scanpy
    python benchmarks/spatial.py
"""

import json
import os
import platform
import subprocess
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jsonargparse import auto_cli
from scipy import sparse

RESULTS = Path(__file__).parent / "results" / "spatial.md"
KEPT = Path("run/spatial")


def world(n: int, seed: int):
    """Places all over the sphere, and their eight nearest neighbours."""
    import geopandas as gpd

    import geointerp as gi

    lon, lat = gi.sphere.lon_lat(np.random.default_rng(seed).standard_normal((n, 3)))
    places = gpd.GeoDataFrame(geometry=gpd.points_from_xy(lon, lat), crs="EPSG:4326")
    return places, gi.spatial.knn(places, k=8)


def features_of(places, count: int, share: float, seed: int):
    """Features by column; of the sparse ones every tenth has its active places in one patch."""
    rng = np.random.default_rng([seed, 1])
    n = len(places)
    if share == 1:
        return rng.normal(size=(n, count))
    from scipy.spatial import cKDTree

    import geointerp as gi

    points = gi.sphere.unit_vectors(lon=places.geometry.x, lat=places.geometry.y)
    tree, active = cKDTree(points), round(share * n)
    rows = []
    for f in range(count):
        patch = f % 10 == 0
        rows.append(
            np.sort(tree.query(points[rng.integers(n)], k=active)[1])
            if patch
            else np.sort(rng.choice(n, active, replace=False))
        )
    starts = np.arange(count + 1) * active
    values = rng.exponential(size=active * count)
    return sparse.csc_array((values, np.concatenate(rows), starts), (n, count))


def ours(features, graph, places) -> int:
    """Moran's I with its whole test."""
    import geointerp as gi

    return int(gi.spatial.moran(features, graph)["permutations"].sum())


def ours_without_draws(features, graph, places) -> None:
    """Moran's I, exact moments, and p where the curve holds."""
    import geointerp as gi

    gi.spatial.moran(features, graph, permutations=0)


def ours_within(features, graph, places) -> int:
    """The same within 50 regions, by permutations alone."""
    import geointerp as gi

    regions = np.random.default_rng(0).integers(0, 50, len(places))
    return int(gi.spatial.moran(features, graph, within=regions)["permutations"].sum())


def esda(features, graph, places) -> int:
    """esda's Moran, one variable after the other, 999 permutations."""
    from esda.moran import Moran

    dense = features.toarray() if sparse.issparse(features) else features
    for column in dense.T:
        Moran(column, graph, permutations=999)
    return 999 * features.shape[1]


def scanpy(features, graph, places) -> None:
    """scanpy's morans_i: the statistic alone."""
    from scanpy.metrics import morans_i

    matrix = sparse.csr_matrix(graph.sparse)
    values = sparse.csr_matrix(features.T) if sparse.issparse(features) else features.T
    morans_i(matrix, values)


def local_ours(features, graph, places) -> None:
    """Local Moran's I at every place, 999 permutations."""
    import geointerp as gi

    gi.spatial.local_moran(features, graph, permutations=999)


def local_esda(features, graph, places) -> None:
    """esda's Moran_Local, one variable after the other, 999 permutations."""
    from esda.moran import Moran_Local

    dense = features.toarray() if sparse.issparse(features) else features
    for column in dense.T:
        Moran_Local(column, graph, permutations=999, seed=0)


def one(way: str, n: int, count: int, share: float, seed: int = 0) -> None:
    """Time one way, after it has been compiled on a small table, and print what it took.

    The global ways give how many permutations they drew, of all features.
    """
    warnings.simplefilter("ignore")
    run = globals()[way]
    few, small = world(2_000, seed)  # enough for what is sparse to be taken for sparse
    run(features_of(few, 2, share, seed), small, few)
    places, graph = world(n, seed)
    features = features_of(places, count, share, seed)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = memory("VmRSS")
    start = time.perf_counter()
    drawn = run(features, graph, places)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "mib": memory("VmHWM") - before, "drawn": drawn}))


def memory(line: str) -> float:
    """What Linux says of this process, in MiB."""
    said = Path("/proc/self/status").read_text().split(f"{line}:")[1]
    return int(said.split()[0]) / 1024


def timed(way: str, n: int, count: int, share: float, beside: int) -> dict:
    """The same in a process of its own, unless it is kept from beside so many features of ours."""
    file = KEPT / f"{way}-{n}-{beside}-{share:g}.json"
    if file.exists():
        return json.loads(file.read_text())
    call = [sys.executable, __file__, "one", way, str(n), str(count), str(share)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(call, capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout.splitlines()[-1])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found))
    return found


def compare(quick: bool = False) -> None:
    """Run all ways and write the table.

    Args:
        quick: The first size, and a sixteenth of the local ones.
    """
    lines = []
    sizes = [(10_000, f, share) for share in (0.01, 1.0) for f in (512, 16_384)]
    sizes += [(100_000, 512, 0.01), (100_000, 16_384, 0.01), (100_000, 512, 1.0)]
    for n, count, share in sizes[:1] if quick else sizes:
        few = {"esda": max(2, 320_000 // n), "scanpy": count}
        what = f"{n:,} places, {count:,} features, {share:.0%} active"
        first = timed("ours", n, count, share, count)
        ways = ["ours", "esda", "ours_without_draws", "scanpy"]
        for way in [*ways, "ours_within"]:
            number = min(count, few.get(way, count))
            took = first if way == "ours" else timed(way, n, number, share, count)
            total = took["seconds"] * count / number
            part = "" if number == count else f" ({number} of them)"
            drawn = "" if took["drawn"] is None else f"{took['drawn'] / number:,.0f}"
            each = f"{took['seconds'] / took['drawn'] * 1e6:,.2f}" if took["drawn"] else ""
            lines.append(
                f"| {what} | {globals()[way].__doc__.rstrip('.')}{part} | {total:,.1f} | "
                f"{total / first['seconds']:,.2f} | {drawn} | {each} | {took['mib']:,.0f} |"
            )
            print(lines[-1], flush=True)
    n, count = 10_000, 512 // (16 if quick else 1)
    for share in (0.01, 1.0):
        mine = timed("local_ours", n, count, share, count)
        theirs = timed("local_esda", n, 4, share, count)
        what = f"{n:,} places, {count} features, {share:.0%} active"
        for way, took, number in (("local_ours", mine, count), ("local_esda", theirs, 4)):
            total = took["seconds"] * count / number
            part = "" if number == count else f" ({number} of them)"
            lines.append(
                f"| {what} | {globals()[way].__doc__.rstrip('.')}{part} | {total:,.1f} | "
                f"{total / mine['seconds']:,.1f} | 999 | | {took['mib']:,.0f} |"
            )
            print(lines[-1], flush=True)
    RESULTS.write_text(page(lines))


def page(lines: list[str]) -> str:
    """The results, in Markdown."""
    known = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in known if "model name" in line]
    cpu = names[0] if names else platform.processor()
    packages = ", ".join(f"{name} {version(name)}" for name in ("numba", "esda", "scanpy"))
    table = "\n".join(lines)
    return f"""# Spatial statistics

Made by benchmarks/spatial.py, which says what is compared.

{os.cpu_count()} × {cpu}; {packages}.
Times are of all features; those of a peer that was timed on some are multiplied. Permutations are
those on which p rests, in the mean of all features: none where the curve holds, 999 or 9,999 else;
empty where there is no test. µs is the time for one feature and one of them, all that is done
besides included.

| | way | seconds | times as long as ours | permutations | µs | MiB above before |
|---|---|--:|--:|--:|--:|--:|
{table}

On a GPU: not measured.
"""


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        way, n, count, share = sys.argv[2:6]
        one(way, int(n), int(count), float(share))
    else:
        auto_cli(compare)
