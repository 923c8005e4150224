"""Does "Firenze" land where "Florence" does?

Each place is named once as GeoNames names it, once in each of several scripts. A probe fitted to
the first is tried on the others, at places that it has not seen under any name: it shows whether
the model has one map for a place's names or several, and `its own` shows how much is to be read
there at all. GeoNames does not say which language a name is in; one is drawn among those of a
script.

The embedded model learned English names only, and it shows: at layer 3 the probe's R² is .81 at
home, .11 on other Latin names (their own probe: .17), and below 0 in Cyrillic, Arabic and Chinese.

    python probes/languages.py --model toponym --layer 3
"""

from pathlib import Path

import pandas as pd

import geointerp as gi


def draw(whole: pd.DataFrame, file: Path) -> None:
    """R² of each probe on the names of each script."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
    probes = whole.groupby("probe", sort=False)
    for number, (probe, rows) in enumerate(probes):
        at = [place + (number - (len(probes) - 1) / 2) / 8 for place in range(len(rows))]
        reach = (rows["r2"] - rows["low"], rows["high"] - rows["r2"])
        ax.errorbar(at, rows["r2"], reach, fmt="osD^v"[number], capsize=2, label=probe)
    ax.set_xticks(range(whole["names"].nunique()), whole["names"].unique())
    ax.axhline(0, color="#888", linewidth=0.8)
    ax.set(xlabel="names in this script", ylabel="R²")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title="probe")
    figure.savefig(file, dpi=150)


def languages(
    model: str = "toponym",
    limit: int | None = 3000,
    scripts: list[str] = ["latin", "cyrillic", "arabic", "cjk"],  # noqa: B006
    template: str = "{name} is near",
    pool: str = "prompt_last",
    layer: int = -1,
    out: str = "run/languages",
    seed: int = 0,
) -> None:
    """Carry a probe from one script over to others.

    Args:
        model: toponym, a local directory or a Hub id.
        limit: The most populous cities of GeoNames, of which those are taken that have a name
            in every script.
        scripts: By their names in Unicode.
        template: Of the prompt.
        pool: Which tokens are read.
        layer: That is probed.
        out: A folder for the activations, the table and the figure.
        seed: Of the folds and the names.
    """
    loaded = gi.models.load(model)
    table = gi.places.load("geonames", limit=limit)
    for script in scripts:
        table[script] = gi.geonames.other_names(table, script, seed=seed)
    table = table.dropna(subset=scripts)
    folder = Path(out)
    acts = gi.activations.capture(
        loaded,
        table,
        template=template,
        names=["name", *scripts],
        pool=pool,
        layers=layer,
        out=folder / "activations.zarr",
    ).isel(layer=0)
    found = [
        gi.probes.transfer(
            acts.isel(prompt=0), acts.isel(prompt=number), target="sphere", seed=seed
        ).assign(names=script)
        for number, script in enumerate(scripts, 1)
    ]
    whole = pd.concat(found, ignore_index=True)
    whole.to_csv(folder / "transfer.csv", index=False)
    print(f"{len(table)} places with a name in every script")
    columns = ["names", "probe", "r2", "low", "high", "median_km", "km_from_home"]
    print(whole[columns].round(3).to_string(index=False))
    draw(whole, folder / "transfer.png")
    print(folder / "transfer.png")


if __name__ == "__main__":
    gi.cli.study(languages)
