"""Where in the model can a place's coordinates be read?

Captures every layer for a template, probes each for longitude and latitude with places, blocks
of 500 km and whole countries held out, beside its controls, and draws R² by layer. On the embedded
model the coordinates are all but absent at the first layer of "{name} is near", where only the word
"near" is read, and are best read from its middle layers on; holding out whole countries costs a
third of R². The nearest control, its own input embeddings, reaches half with random folds and a
quarter with countries held out.

    python probes/where_is_it.py --model toponym --places geonames --min_population 200000
"""

from pathlib import Path

import geointerp as gi


def where_is_it(
    model: str = "toponym",
    places: str = "geonames",
    min_population: int | None = 200_000,
    template: str = "{name} is near",
    pool: str = "prompt_last",
    layers: str | int | list[int] = "all",
    out: str = "run/where_is_it",
    seed: int = 0,
) -> None:
    """Probe every layer for coordinates.

    Args:
        model: toponym, a local directory or a Hub id.
        places: geonames or a file.
        min_population: Least population, where the places have one.
        template: Of the prompt.
        pool: Which tokens are read.
        layers: all, or numbers such as 3 or [2,3].
        out: A folder for the activations, the report and the figure.
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
        "random": gi.probes.RandomKFold(seed=seed),
        "block 500 km": gi.probes.BlockKFold(km=500, seed=seed),
    }
    if "country" in table:
        splits["country"] = gi.probes.ColumnKFold("country", seed=seed)
    report = gi.probes.evaluate(acts, cv=splits, model=loaded, seed=seed, out=folder / "probe")
    print(report.summary.round(3).T.to_string())
    figure = gi.plot.r2_by_layer(report).get_figure()
    figure.savefig(folder / "r2_by_layer.png", dpi=150, bbox_inches="tight")
    print(folder / "r2_by_layer.png")


if __name__ == "__main__":
    gi.cli.study(where_is_it)
