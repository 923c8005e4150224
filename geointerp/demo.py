"""The whole line on the embedded model, as a script would write it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import geointerp as gi
from geointerp import artefacts
from geointerp.probes import Report

log = logging.getLogger(__name__)

TEMPLATE = "{name} is near"
WIDTH, K = 1024, 16
RATED = 300


def run(out: Path, *, seed: int = 0) -> dict[str, dict[str, float]]:
    """Run everything, write it to a folder, and print the figures.

    Parameters
    ----------
    out : Path
        A new folder; it gets `activations.zarr`, `probe/`, `sae/`, `features.h5ad`,
        `moran.csv`, `moran_within.csv`, `regions.csv`, `ratings.csv`, `figures.json` and
        `atlas/index.html`.
    seed : int

    Returns
    -------
    dict of str to dict of str to float
        The figures, by stage.
    """
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    try:
        # the figures must not depend on how many cores there are
        torch.set_num_threads(1)
        with threadpool_limits(1), artefacts.whole(out) as part:
            part.mkdir()
            figures = _stages(part, seed)
    finally:
        torch.set_num_threads(threads)
    _print(figures, out / "atlas" / "index.html")
    return figures


def _stages(part: Path, seed: int) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, float]] = {}

    model = gi.models.load("toponym")
    cities, control = gi.toponym.cities(), gi.toponym.cities(held_out=True)
    log.info("%d cities of the model's corpus, %d that it never held", len(cities), len(control))

    log.info("activations: %r and '{name}', every layer", TEMPLATE)
    acts = gi.activations.capture(
        model, cities, template=TEMPLATE, pool="prompt_last", out=part / "activations.zarr"
    )
    bare = gi.activations.capture(model, cities, template="{name}")
    unheard = gi.activations.capture(model, control, template=TEMPLATE, pool="prompt_last")

    log.info("probe: ridge to coordinates at every layer, and its controls")
    splits = {
        "random": gi.probes.RandomKFold(seed=seed),
        "block 500 km": gi.probes.BlockKFold(km=500, seed=seed),
        "country": gi.probes.ColumnKFold("country", seed=seed),
    }
    report = gi.probes.evaluate(acts, cv=splits, model=model, seed=seed)
    report.save(part / "probe")
    bare_report = gi.probes.evaluate(bare, cv=splits, controls=False, seed=seed)
    layer = int(report.best()["layer"])
    figures["probe"] = _probe_figures(report, bare_report, acts, unheard, layer)

    log.info("sparse autoencoder: %d latents, %d active, layer %d", WIDTH, K, layer)
    sae = gi.saes.train(acts.sel(layer=layer), width=WIDTH, k=K, out=part / "sae", seed=seed)
    figures["sparse autoencoder"] = gi.cards.read(part / "sae")["figures"]
    features = gi.saes.encode(sae, acts.sel(layer=layer))
    about = {"function": "geointerp.saes.encode", "layer": layer, "seed": seed}
    # written from a copy: AnnData turns columns of text into categories as it writes
    artefacts.write_file(
        part / "features.h5ad", features.copy().write_h5ad, "Sparse features", about
    )

    log.info("Moran's I of every feature, 999 permutations")
    graph = gi.spatial.knn(cities, k=8)
    title, about = "Moran's I of every feature", {"function": "geointerp.spatial.moran", "k": 8}
    table = gi.spatial.moran(features, graph, permutations=999, seed=seed)
    artefacts.write_file(
        part / "moran.csv", table.rename_axis("feature").to_csv, title, about | table.attrs
    )

    log.info("the same within countries, and the country that each feature tells best")
    within = gi.spatial.moran(
        features, graph, within="country", permutations=999, max_permutations=999, seed=seed
    )
    about |= {"within": "country", **within.attrs}
    artefacts.write_file(
        part / "moran_within.csv", within.rename_axis("feature").to_csv, title, about
    )
    matched = gi.spatial.match_regions(features, gi.spatial.region_of(features, "country"))
    about = {"function": "geointerp.spatial.match_regions", "by": "country", **matched.attrs}
    artefacts.write_file(
        part / "regions.csv",
        matched.rename_axis("feature").to_csv,
        "Country that each feature tells best",
        about,
    )
    figures["spatial"] = {
        "features tested": int(table["q"].notna().sum()),
        "features with q ≤ 0.05": int((table["q"] <= 0.05).sum()),
        "features with I ≥ 0.3 and q ≤ 0.05": int(
            ((table["I"] >= 0.3) & (table["q"] <= 0.05)).sum()
        ),
        "largest I with q ≤ 0.05": float(table.loc[table["q"] <= 0.05, "I"].max()),
        "features with q ≤ 0.05 within countries": int((within["q"] <= 0.05).sum()),
        "median F1 with the best country": float(matched["f1"].median()),
    }

    log.info("GeoLLM: %d places rated for their population", RATED)
    rated = cities.sample(RATED, random_state=seed)
    prompts = gi.geollm.prompts(rated, task="Population", context=gi.geollm.Gazetteer())
    ratings = gi.geollm.predict(model, prompts)
    about = {"function": "geointerp.geollm.predict", "model": model.name, "task": "Population"}
    rows = rated.drop(columns="geometry").join(ratings)
    artefacts.write_file(part / "ratings.csv", rows.to_csv, "Ratings", about)
    truth = np.log10(rated["population"])
    ratings.attrs["task"] = "Population"
    figures["GeoLLM, log10 population"] = {
        **_numbers(gi.geollm.score(ratings, truth)),
        "median probability of a rating at all": float(ratings["mass"].median()),
    }

    log.info("the atlas: where each feature clusters, how far it reaches, what it promotes")
    (part / "figures.json").write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    where = gi.spatial.extent(features, features, graph)
    shown = table.join(
        within[["expected_I", "z", "p", "q"]].rename(columns="{}_within_country".format)
    )
    shown = shown.join(matched[["region", "precision", "recall", "f1"]])
    shown = shown.join(where[["spread_km", "n_patches", "largest_patch"]])
    some = (features[:, first : first + 256] for first in range(0, WIDTH, 256))
    gi.atlas.write(
        features,
        shown,
        out=part / "atlas",
        report=report,
        local=(gi.spatial.local_moran(each, graph, seed=seed) for each in some),
        correlograms=gi.spatial.correlogram(features, features),
        sae=sae,
        model=model,
        figures=figures,
        cards=gi.cards.read_all(part),
        ratings=ratings,
    )
    return figures


def _probe_figures(
    report: Report, bare: Report, acts: Any, unheard: Any, layer: int
) -> dict[str, float]:
    top = report.summary.iloc[0]
    lon_lat = [np.stack([a["lon"].values, a["lat"].values], axis=1) for a in (acts, unheard)]
    probe = gi.probes.RidgeProbe().fit(acts.sel(layer=layer).values, lon_lat[0])
    never = gi.probes.scores.r2(lon_lat[1], probe.predict(unheard.sel(layer=layer).values))
    return {
        f"R², '{TEMPLATE}', layer {layer}": float(report.at(layer, "random")["r2"]),
        "  median error, km": float(report.at(layer, "random")["median_km"]),
        "  with blocks of 500 km held out": float(report.at(layer, "block 500 km")["r2"]),
        "  with countries held out": float(report.at(layer, "country")["r2"]),
        "  places the corpus never held": float(never.mean()),
        f"  nearest control, {top['best_control']}": float(top["control"]),
        "  untrained model, best layer": float(report.best("random", "untrained")["r2"]),
        "R², '{name}', best layer": float(bare.best("random")["r2"]),
    }


def _numbers(scores: pd.Series) -> dict[str, float]:
    return {str(name): float(v) for name, v in scores.items() if isinstance(v, int | float)}


def _number(value: float) -> str:
    if float(value).is_integer() or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) >= 0.001 else f"{value:.2g}"


def _print(figures: dict[str, dict[str, float]], page: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table("figure", "value", title="What the embedded model knows of places")
    shown.columns[1].justify = "right"
    for stage, rows in figures.items():
        shown.add_section()
        shown.add_row(f"[bold]{stage}[/bold]", "")
        for name, value in rows.items():
            shown.add_row(name, _number(value))
    console = Console(width=80)
    console.print(shown)
    console.print(f"Open {page}", soft_wrap=True, highlight=False)
