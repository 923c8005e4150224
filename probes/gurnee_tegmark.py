"""Is the world in this model as Gurnee and Tegmark (2023) found it in Llama-2?

Reruns the world table of "Language Models Represent Space and Time": their places (world_place.csv
of their repository, with its column is_test), the bare name as the prompt, its last token at every
layer, a linear probe for longitude and latitude fitted to the places that are not is_test, R² and
proximity error on those that are. Their figures stand beside: Llama-2's best layers reach a linear
R² of .881 (7B), .896 (13B) and .911 (70B). Two things are not theirs: features are standardised
before the ridge, whose penalty is chosen by five folds of the training places instead of one place
at a time; and the proximity error is on great-circle distances, where theirs had longitude and
latitude exchanged. What they did not report comes with it: the controls, and blocks and whole
countries held out.

On the embedded model, which knows cities and no other places, R² on is_test is .17, and .61 for the
mere letters of the names: whatever is said of these places must first beat their spelling.

    python probes/gurnee_tegmark.py --places world_place.csv --model meta-llama/Llama-2-7b-hf
"""

import re
from pathlib import Path

import pandas as pd

import geointerp as gi

PUBLISHED = {"Llama-2-7B": 0.881, "Llama-2-13B": 0.896, "Llama-2-70B": 0.911}


def as_prompted(name: str) -> str:
    """A name as they wrote it: "Paris (Texas)" and "Paris, Texas" as "Texas's Paris"."""
    inside = re.search(r"\((.*?)\)", name)
    if inside:
        return f"{inside[1]}'s {re.sub(r'[(].*?[)]', '', name)}".strip()
    *front, last = name.split(",")
    return f"{last.strip()}'s {','.join(front)}" if front else name


def gurnee_tegmark(
    places: str = "world_place.csv",
    model: str = "toponym",
    layers: str | int | list[int] = "all",
    out: str = "run/gurnee_tegmark",
    limit: int | None = None,
    seed: int = 0,
) -> None:
    """Probe every layer on their split, and print their figures beside.

    Args:
        places: Their world_place.csv.
        model: toponym, a local directory or a Hub id.
        layers: all, or numbers such as 3 or [2,3].
        out: A folder for the activations, the report and the figure.
        limit: Only so many places, the first.
        seed: Of the folds and the untrained weights.
    """
    import matplotlib

    matplotlib.use("agg")
    loaded = gi.models.load(model)
    table = gi.places.load(places, limit=limit)
    table["name"] = table["name"].map(as_prompted)
    folder = Path(out)
    acts = gi.activations.capture(
        loaded, table, template="{name}", layers=layers, out=folder / "activations.zarr"
    )
    splits = {
        "is_test": gi.probes.ColumnSplit("is_test"),
        "block 500 km": gi.probes.BlockKFold(km=500, seed=seed),
        "country": gi.probes.ColumnKFold("country", seed=seed),
    }
    report = gi.probes.evaluate(acts, cv=splits, model=loaded, seed=seed, out=folder / "probe")
    figure = gi.plot.r2_by_layer(report).get_figure()
    figure.savefig(folder / "r2_by_layer.png", dpi=150, bbox_inches="tight")
    found = report.summary.set_index("split")
    beside = pd.Series(PUBLISHED, name="r2").to_frame().assign(layer="best")
    columns = ["layer", "r2", "low", "high", "best_control", "uplift", "proximity_error"]
    print(pd.concat([found[columns], beside]).round(3).fillna("").to_string())


if __name__ == "__main__":
    gi.cli.study(gurnee_tegmark)
