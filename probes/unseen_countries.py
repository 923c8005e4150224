"""Does a probe for coordinates generalise to countries, or continents, that it has not seen?

A probe that has learned where France is can place every French town at its centre. So whole
countries are held out, one by one or in folds, then a probe is fitted to each continent alone and
tried on all others.

In the embedded model countries can be told from their neighbours, continents cannot: R² on the
sphere is .83 with random folds, .59 with one country held out at a time, .50 with five folds of
countries, and -.26 with one continent held out. A probe fitted to one continent is off by 400 to
650 km there, and by thousands elsewhere. There is no one map of the world to be read, in a line at
least, but one that holds where there are places to learn it from.

    python probes/unseen_countries.py --model toponym --template "{name}" --pool last
"""

from pathlib import Path

import geointerp as gi


def unseen_countries(
    model: str = "toponym",
    places: str = "geonames",
    min_population: int | None = 200_000,
    template: str = "{name} is near",
    pool: str = "prompt_last",
    layers: str | int | list[int] = "all",
    out: str = "run/unseen_countries",
    seed: int = 0,
) -> None:
    """Hold out countries and continents.

    Args:
        model: toponym, a local directory or a Hub id.
        places: geonames, or a file with the columns country and continent.
        min_population: Least population, where the places have one.
        template: Of the prompt.
        pool: Which tokens are read.
        layers: all, or numbers such as 3 or [2,3].
        out: A folder for the activations, the report, the tables and the figure.
        seed: Of the folds and the untrained weights.
    """
    import matplotlib

    matplotlib.use("agg")
    loaded = gi.models.load(model)
    table = gi.places.load(places, min_population=min_population)
    folder = Path(out)
    acts = gi.activations.capture(
        loaded, table, template=template, pool=pool, layers=layers, out=folder / "activations.zarr"
    )
    splits = {
        "countries, five folds": gi.probes.ColumnKFold("country", seed=seed),
        "one country at a time": gi.probes.ColumnKFold("country", n_splits=None),
        "one continent at a time": gi.probes.ColumnKFold("continent", n_splits=None),
        "random": gi.probes.RandomKFold(seed=seed),
    }
    report = gi.probes.evaluate(
        acts, target="sphere", cv=splits, model=loaded, seed=seed, out=folder / "probe"
    )
    columns = ["layer", "r2", "low", "high", "best_control", "control", "median_km", "coverage90"]
    print(report.summary.set_index("split")[columns].round(3).to_string())
    figure = gi.plot.error_map(report).get_figure()
    figure.savefig(folder / "error_map.png", dpi=150, bbox_inches="tight")
    print(folder / "error_map.png")

    layer = int(report.best("random")["layer"])
    pairs = gi.probes.between(acts.sel(layer=layer), "continent", target="sphere", seed=seed)
    pairs.to_csv(folder / "between_continents.csv", index=False)
    print(f"\nMedian error in km at layer {layer}, fitted to the row, tried on the column:")
    print(
        pairs.pivot(index="fitted_to", columns="tried_on", values="median_km").round().to_string()
    )


if __name__ == "__main__":
    gi.cli.study(unseen_countries)
