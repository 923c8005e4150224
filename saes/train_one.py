"""Which places does a sparse autoencoder's feature stand for?

Trains a TopK autoencoder on one layer of the embedded model, judges it on held-out places, and
lists the features with the largest Moran's I together with the places that fire them most. On the
embedded model nearly every feature is spatially clustered: countries, regions, metropolitan areas.

    python saes/train_one.py --layer 3 --width 1024 --k 16
"""

from pathlib import Path
from typing import Any

import numpy as np

import geointerp as gi


def draw(features: Any, some: list[str], file: Path) -> None:
    """Maps of some features."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    for ax, feature in zip(axes.flat, some, strict=False):
        gi.plot.activation_map(features, feature, ax=ax)
    figure.savefig(file, dpi=110)


def train_one(
    model: str = "toponym",
    places: str = "geonames",
    min_population: int | None = 100_000,
    template: str = "{name} is near",
    pool: str = "prompt_last",
    layer: int = 3,
    width: int = 1024,
    k: int = 16,
    steps: int = 1000,
    top: int = 15,
    out: str = "run/train_one",
    seed: int = 0,
) -> None:
    """Train a sparse autoencoder and list its most clustered features.

    Args:
        model: toponym, a local directory or a Hub id.
        places: geonames or a file.
        min_population: Least population, where the places have one.
        template: Of the prompt.
        pool: Which tokens are read.
        layer: Block number.
        width: Number of latents.
        k: Latents active at once.
        steps: Updates.
        top: Features to list.
        out: A new folder for the autoencoder, the features, their table and maps.
        seed: Of weights, batches, held-out places and permutations.
    """
    folder = Path(out)
    table = gi.places.load(places, min_population=min_population)
    acts = gi.activations.capture(
        gi.models.load(model), table, template=template, pool=pool, layers=layer
    ).sel(layer=layer)
    sae = gi.saes.train(acts, width=width, k=k, steps=steps, out=folder / "sae", seed=seed)
    for name, value in gi.cards.read(folder / "sae")["figures"].items():
        print(f"{name}: {value:.3f}")
    features = gi.saes.encode(sae, acts)
    moran = gi.spatial.moran(features, gi.spatial.knn(table, k=8), seed=seed)
    moran.to_csv(folder / "moran.csv")
    print(f"{(moran['q'] <= 0.05).sum()} of {moran['q'].notna().sum()} features: q ≤ 0.05")
    clustered = moran[moran["q"] <= 0.05].sort_values("I", ascending=False)
    for feature, row in clustered.head(top).iterrows():
        values = features[:, feature].X.toarray().ravel()
        names = ", ".join(table["name"].iloc[np.argsort(-values, kind="stable")[:6]])
        print(f"{feature:>5}  I = {row['I']:.2f}  {row['n_active']:>5} places  {names}")
    draw(features, clustered.index[:4].tolist(), folder / "most_clustered.png")
    print(folder / "most_clustered.png")


if __name__ == "__main__":
    gi.cli.study(train_one)
