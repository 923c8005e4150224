"""Does the atlas stay quick at 16,384 features × 20,000 places?

Features that fire on 1% of the places, each in patches and strewn, with their clusters,
correlograms, regions, nulls and nearest features, are written as an atlas; Chromium opens it from
disk. The first view is timed from the start of navigation to the frame in which the overview with
its map and the table stand; a change of feature from the key to the frame in which its maps are
drawn; a place from its name to the frame with its features. Made-up values: how quick it is does
not depend on what they mean. Keeps benchmarks/results/atlas.md.

    python benchmarks/atlas.py --features 16384 --places 20000
"""

import platform
import resource
import shutil
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import anndata
import numpy as np
import pandas as pd
import xarray as xr
from jsonargparse import auto_cli
from playwright.sync_api import sync_playwright
from scipy import sparse

import geointerp as gi

RESULTS = Path(__file__).parent / "results"
COUNTRIES = ["BR", "CN", "DE", "EG", "FR", "IN", "JP", "NG", "RU", "US"]
CHANGES, LOOKUPS = 30, 10


def planted(features: int, places: int, share: float, seed: int) -> anndata.AnnData:
    """Features that fire around one to three centres, and a tenth of the time anywhere."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((places, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    lon, lat = gi.sphere.lon_lat(points)
    n = round(share * places)
    rows = []
    for _ in range(features):
        centres = points[rng.integers(places, size=rng.integers(1, 4))]
        nearness = (points @ centres.T).max(axis=1)
        patch = np.argpartition(-nearness, n)[: n - n // 10]
        rows.append(np.unique(np.concatenate([patch, rng.integers(places, size=n // 10)])))
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    at = np.concatenate(rows)
    values = rng.gamma(2, 1, len(at)).astype(np.float32)
    matrix = sparse.csc_matrix((values, at, indptr), shape=(places, features)).tocsr()
    names = [f"Sankt Something {i}" for i in range(places)]
    country = np.array(COUNTRIES)[((lon + 180) // 36.0001).astype(int)]
    return anndata.AnnData(
        matrix,
        obs=pd.DataFrame({"name": names, "country": country}, index=list(map(str, range(places)))),
        var=pd.DataFrame(index=[str(i) for i in range(features)]),
        obsm={"spatial": np.column_stack([lon, lat])},
        uns={"activations": {"model": "synthetic", "template": "{name}"}},
    )


def clusters(feats: anndata.AnnData, seed: int):
    """Where it fires, high among high; as many around it, low among high: the size of a result."""
    rng = np.random.default_rng(seed)
    columns = feats.X.tocsc()
    for first in range(0, feats.n_vars, 256):
        names = feats.var_names[first : first + 256]
        kinds = np.full((feats.n_obs, len(names)), "", dtype="<U2")
        for j in range(len(names)):
            at = columns.indices[columns.indptr[first + j] : columns.indptr[first + j + 1]]
            kinds[rng.integers(feats.n_obs, size=len(at)), j] = "LH"
            kinds[at, j] = "HH"
        yield xr.Dataset(
            {
                "cluster": (("place", "feature"), kinds),
                "reason": ("feature", np.full(len(names), "")),
            },
            coords={"place": feats.obs_names, "feature": names},
            attrs={"statistic": "local Moran's I", "alpha": 0.05},
        )


def written(feats: anndata.AnnData, out: Path, seed: int) -> float:
    """Seconds that the atlas takes, beside what the statistics take."""
    rng = np.random.default_rng(seed)
    width = feats.n_vars
    table = pd.DataFrame(
        {
            "I": rng.uniform(-0.1, 1, width),
            "expected_I": -1 / (feats.n_obs - 1),
            "z": rng.uniform(0, 90, width),
            "p": rng.uniform(0, 0.1, width),
            "q": rng.uniform(0, 0.1, width),
            "n_active": np.diff(feats.X.tocsc().indptr),
            "q_within_country": rng.uniform(0, 1, width),
            "z_within_country": rng.uniform(0, 9, width),
            "p_within_country": rng.uniform(0, 1, width),
            "region": rng.choice(COUNTRIES, width),
            "precision": rng.uniform(0, 1, width),
            "recall": rng.uniform(0, 1, width),
            "f1": rng.uniform(0, 1, width),
            "spread_km": rng.uniform(100, 9000, width),
        },
        index=feats.var_names,
    )
    bands = [0, 100, 200, 400, 800, 1600, 3200, 6400]
    correlograms = pd.DataFrame(
        {
            "feature": np.repeat(feats.var_names.to_numpy(), 7),
            "from_km": np.tile(bands[:-1], width),
            "to_km": np.tile(bands[1:], width),
            "I": rng.uniform(-0.1, 1, 7 * width),
            "expected_I": -1 / (feats.n_obs - 1),
            "z": rng.uniform(-3, 90, 7 * width),
        }
    )
    lon, lat = feats.obsm["spatial"].T
    to_lon = lon + rng.normal(0, 9, len(lon))
    to_lat = np.clip(lat + rng.normal(0, 9, len(lat)), -90, 90)
    predictions = pd.DataFrame(
        {
            "name": feats.obs["name"],
            "lon": lon,
            "lat": lat,
            "predicted_lon": to_lon,
            "predicted_lat": to_lat,
            "error_km": gi.sphere.distance_km(lon=lon, lat=lat, to_lon=to_lon, to_lat=to_lat),
            "radius90_km": 2500.0,
        }
    )
    layers = pd.DataFrame(
        {"source": "model", "split": "random", "layer": range(6), "r2": np.linspace(0.1, 0.9, 6)}
    )
    report = gi.probes.Report(layers.assign(median_km=1000.0), predictions, "coordinates")
    start = time.perf_counter()
    gi.atlas.write(
        feats,
        table,
        out=out,
        report=report,
        local=clusters(feats, seed),
        correlograms=correlograms,
    )
    return time.perf_counter() - start


def timed(page: Path, chromium: str, seed: int) -> dict[str, list[float]]:
    """Milliseconds of each view, as the browser counts them."""
    rng = np.random.default_rng(seed)
    seen: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(3):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.add_init_script(CLOCK)
            tab.goto(page.as_uri())
            seen.setdefault("first view", []).append(tab.evaluate("first()"))
        tab.goto(page.as_uri() + "#features")
        tab.wait_for_selector("#rows a")
        n = tab.evaluate("Atlas.data.features.n.length")
        # one after the other, as the next key does, and anywhere, which no reading ahead helps
        tab.evaluate("changed(Atlas.hash('feature', 0))")
        for _ in range(CHANGES):
            link = tab.evaluate("document.getElementById('after').hash")
            seen.setdefault("next feature", []).append(tab.evaluate("(to) => changed(to)", link))
            tab.wait_for_timeout(400)
        for row in rng.integers(n, size=CHANGES).tolist():
            took = tab.evaluate("(row) => changed(Atlas.hash('feature', row))", row)
            seen.setdefault("any feature", []).append(took)
            tab.wait_for_timeout(400)
        count = tab.evaluate("Atlas.data.places.name.length")
        for row in rng.integers(count, size=LOOKUPS).tolist():
            seen.setdefault("place typed, suggestions", []).append(
                tab.evaluate("(text) => typed(text)", f"sankt something {row}")
            )
            took = tab.evaluate("(row) => changed(Atlas.hash('place', row))", row)
            seen.setdefault("place", []).append(took)
        seen["sort"] = [tab.evaluate("sorted()") for _ in range(10)]
        seen["memory, MB"] = [tab.evaluate("performance.memory.usedJSHeapSize / 1e6")]
        browser.close()
    return seen


# two frames after the last map was drawn, what was drawn is on the screen
CLOCK = """
const frame = () => new Promise((done) => requestAnimationFrame(done));
const drawn = (maps) => maps.length > 0 && maps.every((map) => map.dataset.dots !== undefined);
(async () => {
  for (;;) {
    await frame();
    const map = document.getElementById("probe-map");
    if (document.documentElement?.dataset.ready && map?.dataset.dots) break;
  }
  await frame();
  window.firstView = performance.now();
})();
window.first = async () => {
  while (window.firstView === undefined) await frame();
  return window.firstView;
};
window.changed = async (hash) => {
  const start = performance.now();
  location.hash = hash;
  for (;;) {
    await frame();
    const maps = [...document.querySelectorAll(".view:not([hidden]) .maps canvas.map")];
    if (document.documentElement.dataset.view === hash && drawn(maps)) break;
  }
  await frame();
  return performance.now() - start;
};
window.typed = async (text) => {
  const start = performance.now(), box = document.getElementById("place-search");
  box.value = text; box.dispatchEvent(new Event("input"));
  await frame(); await frame();
  return performance.now() - start;
};
window.sorted = async () => {
  if (location.hash !== "#features") {
    location.hash = "#features";
    await frame(); await frame(); await frame();
  }
  const heads = document.querySelectorAll("#columns button"), start = performance.now();
  heads[Math.floor(Math.random() * heads.length)].click();
  await frame(); await frame();
  return performance.now() - start;
};
"""


def main(
    features: int = 16_384,
    places: int = 20_000,
    share: float = 0.01,
    chromium: str | None = None,
    out: str | None = None,
    seed: int = 0,
) -> None:
    """Write an atlas, open it and say how long things take.

    Args:
        features: How many.
        places: How many.
        share: Of the places that a feature fires on.
        chromium: Its program; that of Debian's package if not given.
        out: Folder to keep the atlas in.
        seed: Of the values.
    """
    program = chromium or shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise SystemExit("there is no chromium; say where with --chromium.")
    folder = Path(out or tempfile.mkdtemp()) / "atlas"
    feats = planted(features, places, share, seed)
    took = written(feats, folder, seed)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    seen = timed(folder / "index.html", program, seed)
    lines = [
        "# The atlas",
        "",
        f"{features:,} features × {places:,} places at {share:.0%} active, opened from disk by "
        f"headless Chromium through Playwright {version('playwright')} at 1280 × 900; "
        f"{platform.machine()}, no GPU. `python benchmarks/atlas.py`",
        "",
        f"Written in {took:.0f} s, beside what the statistics take; the process held "
        f"{memory:,.0f} MB at most. {size:.1f} MB in {len(files)} files.",
        "",
        "| | median, ms | most, ms | of |",
        "|---|---|---|---|",
    ]
    for name, values in seen.items():
        lines.append(f"| {name} | {median(values):.0f} | {max(values):.0f} | {len(values)} |")
    text = "\n".join(lines) + "\n"
    (RESULTS / "atlas.md").write_text(text, "utf-8")
    print(text)
    if out is None:
        shutil.rmtree(folder.parent)


if __name__ == "__main__":
    auto_cli(main)
