"""Which names carry their place, and which does the model know?

What a probe reads from activations it could often read from the name alone: "-grad" is Russian, and
"Ouled" Algerian. So place by place the probe's error is set beside that of the control that comes
nearest, with blocks of 500 km held out.

In the embedded model at layer 3 the nearest control is its own input embeddings. The model's
median error is less than half of theirs on every continent but Europe and Oceania, which it
misplaces altogether, and it is nearer for four cities of five in Asia and Europe, nine of ten in
Africa and the Americas.

    python probes/which_names.py --model toponym --layer 3 --by continent
"""

from pathlib import Path

import pandas as pd

import geointerp as gi


def draw(medians: pd.DataFrame, nearest: str, file: Path) -> None:
    """The median errors of the model and of the nearest control, side by side."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    rows = medians.sort_values("model", ascending=False)
    figure, ax = plt.subplots(figsize=(6, 1 + 0.35 * len(rows)), layout="constrained")
    ax.hlines(range(len(rows)), rows["model"], rows[nearest], color="#bbb", zorder=1)
    for source, marker in (("model", "o"), (nearest, "D")):
        ax.scatter(rows[source], range(len(rows)), marker=marker, label=source)
    ax.set_yticks(range(len(rows)), [f"{by} ({n})" for by, n in rows["places"].items()])
    ax.set_xlabel("median error, km")
    ax.set_xlim(left=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    figure.savefig(file, dpi=150)


def which_names(
    model: str = "toponym",
    places: str = "geonames",
    min_population: int | None = 200_000,
    template: str = "{name} is near",
    pool: str = "prompt_last",
    layer: int = -1,
    by: str = "continent",
    out: str = "run/which_names",
    seed: int = 0,
) -> None:
    """Compare errors, place by place.

    Args:
        model: toponym, a local directory or a Hub id.
        places: geonames or a file.
        min_population: Least population, where the places have one.
        template: Of the prompt.
        pool: Which tokens are read.
        layer: That is probed.
        by: Column of the places that they are grouped by.
        out: A folder for the activations, the report, the table and the figure.
        seed: Of the folds and the untrained weights.
    """
    loaded = gi.models.load(model)
    table = gi.places.load(places, min_population=min_population)
    folder = Path(out)
    acts = gi.activations.capture(
        loaded, table, template=template, pool=pool, layers=layer, out=folder / "activations.zarr"
    )
    cv = gi.probes.BlockKFold(km=500, seed=seed)
    report = gi.probes.evaluate(
        acts, target="sphere", cv=cv, model=loaded, seed=seed, out=folder / "probe"
    )
    nearest = report.nearest_control()
    km = {"model": report.predictions["error_km"], nearest: report.control["error_km"]}
    errors = pd.DataFrame(km).assign(name=table["name"], **{by: table[by]})
    errors.to_csv(folder / "errors_km.csv")
    medians = errors.groupby(by)[list(km)].median()
    nearer = errors["model"] < errors[nearest]
    medians["share where the model is nearer"] = nearer.groupby(errors[by]).mean()
    medians["places"] = errors.groupby(by).size()
    print(f"Median error in km, blocks of 500 km held out, by {by}:")
    print(medians.round(2).sort_values("model").to_string())
    draw(medians, nearest, folder / "errors.png")
    print(folder / "errors.png")
    gain = (errors[nearest] - errors["model"]).sort_values()
    for title, rows in {"known": gain[::-1], "better guessed than known": gain}.items():
        print(f"\n{title}:", ", ".join(errors["name"][rows.index[:15]]))


if __name__ == "__main__":
    gi.cli.study(which_names)
