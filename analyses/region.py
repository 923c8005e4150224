"""What does a model say of the places of one region, and what do its answers rest on?

The named places of an OpenStreetMap file, or points of your own, are rated with prompts that the
file alone tells: as GeoLLM writes them, and with coordinates, address or nearby places left out.
A part without which the ratings stay in the same order is one that they do not rest on. With a
truth, a column of your points or a GeoTIFF such as a map of population, each way is scored.

The embedded model was never taught to rate (see `mass`). Its ratings of Liechtenstein's 82 named
places keep a rank correlation of .62 without coordinates, .46 without the address and .17 without
the nearby places: they follow the longest part of the prompt.

    python analyses/region.py liechtenstein.osm.pbf --model toponym
"""

from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import pandas as pd

import geointerp as gi

WAYS = {
    "as GeoLLM": (),
    "without coordinates": ("coordinates",),
    "without address": ("address",),
    "without nearby places": ("nearby",),
}


def borders(ax: Any, boundaries: gpd.GeoDataFrame) -> None:
    """Draw the region's own borders, which are finer than the world's."""
    for shape in boundaries.geometry.dropna().boundary.explode():
        lon, lat = np.asarray(shape.coords).T
        ax.plot(*gi.plot.equal_earth(lon=lon, lat=lat, center=gi.plot.CENTER), "#8b959b", lw=0.5)


def region(
    osm: str,
    model: str = "toponym",
    task: str = "Population Density",
    places: str | None = None,
    language: str | None = None,
    truth: str | None = None,
    raster: str | None = None,
    how: Literal["sum", "mean"] | None = None,
    km: float = 5.0,
    log10: bool = True,
    sample: int = 500,
    out: str = "run/region",
    seed: int = 0,
) -> None:
    """Rate the places of a region with and without each part of the prompt.

    Args:
        osm: An OpenStreetMap file, such as region.osm.pbf.
        model: toponym, a local directory or a Hub id of a causal language model.
        task: What is rated.
        places: A table of points; the file's named places if not given.
        language: Of the names, such as en.
        truth: A numeric column of the places.
        raster: Instead of a column, a GeoTIFF.
        how: sum or mean of the raster around each place, to be said with it: a rate is never
            summed.
        km: How far around.
        log10: Whether the logarithm of the truth is taken.
        sample: Number of places at most.
        out: A folder for ratings.csv, ways.csv and a map for each way.
        seed: Of the sample.
    """
    import matplotlib

    matplotlib.use("agg")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    context = gi.geollm.OsmFile(osm, language=language)
    points = context.inside if places is None else gi.places.load(places)
    points = points.sample(min(sample, len(points)), random_state=seed)
    if raster is not None and (truth is not None or how is None):
        raise gi.errors.InputError("--raster needs --how, sum or mean, and no --truth beside it.")
    known = None
    if truth is not None:
        known = gi.geollm.truth.from_column(points, truth, log10=log10)
    elif raster is not None:
        known = gi.geollm.truth.from_raster(points, raster, how=how, km=km)["truth"]
        known = np.log10(known.where(known > 0)) if log10 else known
    loaded = gi.models.load(model)
    ratings, rows = {}, {}
    for way, parts in WAYS.items():
        prompts = gi.geollm.prompts(points, task=task, context=context, leave_out=parts)
        rated = gi.geollm.predict(loaded, prompts)
        ratings[way] = rated["rating"]
        rows[way] = {"mass": rated["mass"].median(), "spread": rated["rating"].std()}
        rows[way]["rank correlation with all parts"] = ratings[way].corr(
            ratings["as GeoLLM"], method="spearman"
        )
        if known is not None:
            scores = gi.geollm.score(rated, known)
            rows[way] |= {"spearman": scores["spearman"], "n": scores["n"]}
        ax = gi.plot.zoom(gi.plot.rating_map(points, rated), points)
        borders(ax, context.boundaries)
        ax.figure.savefig(folder / f"{way.replace(' ', '_')}.png", dpi=150, bbox_inches="tight")
    table = pd.DataFrame(rows).T
    table.to_csv(folder / "ways.csv")
    lon, lat = gi.places.lon_lat(points)
    kept = points.drop(columns=points.geometry.name).assign(lon=lon, lat=lat)
    kept.join(pd.DataFrame(ratings)).to_csv(folder / "ratings.csv")
    print(f"{len(points)} places; {context.attribution}")
    print(table.map(lambda value: f"{value:.3g}").to_string())
    print(folder / "ways.csv")


if __name__ == "__main__":
    gi.cli.study(region)
