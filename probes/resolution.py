"""At what resolution is a model's map of the world drawn?

Probes for every spherical harmonic up to some degree: degree 1 tells hemispheres apart, degree 12
shows what is 1,700 km wide. A degree is read where half of its variance over the places is.

In the embedded model all twelve are, with random folds, from .84 for the first down to .51; with
blocks of 500 km held out six are, which is a resolution of 3,300 km. Its input embeddings fall from
.43 to .08.

    python probes/resolution.py --model toponym --degree 12
"""

from pathlib import Path

import geointerp as gi


def resolution(
    model: str = "toponym",
    places: str = "geonames",
    min_population: int | None = 200_000,
    template: str = "{name} is near",
    pool: str = "prompt_last",
    layers: str | int | list[int] = "all",
    degree: int = 12,
    out: str = "run/resolution",
    seed: int = 0,
) -> None:
    """Probe for spherical harmonics, and draw R² by degree.

    Args:
        model: toponym, a local directory or a Hub id.
        places: geonames or a file.
        min_population: Least population, where the places have one.
        template: Of the prompt.
        pool: Which tokens are read.
        layers: all, or numbers such as 3 or [2,3].
        degree: The highest.
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
    report = gi.probes.evaluate(
        acts,
        target=gi.probes.Harmonics(degree),
        cv={
            "random": gi.probes.RandomKFold(seed=seed),
            "block 500 km": gi.probes.BlockKFold(km=500, seed=seed),
        },
        model=loaded,
        seed=seed,
        out=folder / "probe",
    )
    columns = ["layer", "r2", "low", "high", "degree_read", "resolution_km", "uplift"]
    print(report.summary.set_index("split")[columns].round(2).T.to_string())
    figure = gi.plot.spectrum(report).get_figure()
    figure.savefig(folder / "spectrum.png", dpi=150, bbox_inches="tight")
    print(folder / "spectrum.png")


if __name__ == "__main__":
    gi.cli.study(resolution)
