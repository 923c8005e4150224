"""How many neurons and features are regional, as De Sabbata et al. count them, and as we do?

De Sabbata, Mizzaro & Roitero 2025: Mistral 7B reads "{name}, {region}" for places of Great Britain,
Italy and four US states. What the MLPs of three layers receive is averaged over all tokens; a
TopK autoencoder, eight times as wide, a sixteenth active, is trained on all places of the middle
layer, 300 times over in batches of 32; a Moran's I of .3 or more at p < .01 in one area counts. As
here, the prompt does not name the region, one token is read, dead latents are revived, a tenth of
the places is held out, and q ≤ .01 counts, two-sided, over all neurons or latents. On the embedded
model 565 of 768 neurons are regional as published, and 51 of 688 latents alive; as here, no neuron
and one of 512 latents: the prompt named the regions, and the model hardly knows them.

    python saes/de_sabbata.py --model mistralai/Mistral-7B-Instruct-v0.2 --places geonames.csv
"""

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import torch

import geointerp as gi
from geointerp import hooks
from geointerp.progress import track


def of_areas(places: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Places of the three areas, with their region's name and the plane of the area."""
    names = pd.read_csv(Path(__file__).with_name("de_sabbata_regions.csv"), dtype=str)
    return places.merge(names, on=["country", "admin1"])


def regional(values: Any, places: gpd.GeoDataFrame, seed: int, *, ours: bool) -> tuple[int, ...]:
    """How many columns there are, ever fire, and cluster in an area, with I ≥ .3 and with any."""
    strong, any_ = np.zeros((2, values.shape[1]), bool)
    for epsg, here in places.groupby("epsg").indices.items():
        some = places.iloc[here]
        graph = gi.spatial.knn(some if ours else some.to_crs(f"EPSG:{epsg}"), k=8)
        way = {"alternative": "two-sided"} if ours else {"min_active": 1}
        table = gi.spatial.moran(values[here], graph, seed=seed, **way)
        low = ((table["q"] <= 0.01) if ours else (table["p"] < 0.01)).to_numpy()
        strong, any_ = strong | (low & (table["I"] >= 0.3).to_numpy()), any_ | low
    alive = np.asarray((values != 0).sum(0)).ravel() > 0
    return values.shape[1], int(alive.sum()), int(strong.sum()), int(any_.sum())


def whole_mean(model: gi.models.Model, prompts: list[str], layers: list[int]) -> np.ndarray:
    """The mean over all tokens of what the MLPs receive, shape (place, layer, hidden)."""
    found = []
    with torch.inference_mode():
        for prompt in prompts:
            inputs = model.tokenizer(prompt, return_tensors="pt").to(model.model.device)
            kept = hooks.read(model, inputs, layers, "mlp_in", lambda _, x: x.float().mean(1)[0])
            found.append(torch.stack([kept[layer] for layer in layers]).cpu().numpy())
    return np.stack(found)


def published_autoencoder(values: np.ndarray, epochs: int, seed: int) -> np.ndarray:
    """Features of the paper's autoencoder: no bias taken off, no revival, nothing held out."""
    torch.manual_seed(seed)
    x, size = torch.from_numpy(values), values.shape[1]
    encoder, decoder = torch.nn.Linear(size, 8 * size), torch.nn.Linear(8 * size, size)

    def encode(some: torch.Tensor) -> torch.Tensor:
        top = encoder(some).topk(size // 2, dim=1)
        return torch.zeros(len(some), 8 * size).scatter(1, top.indices, top.values.relu())

    optimizer = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.2, min_lr=1e-5)
    for _ in track(range(epochs), "train"):
        losses = []
        for rows in torch.randperm(len(x)).split(32):
            latents, some = encode(x[rows]), x[rows]
            missed = (decoder(latents) - some).square().mean(1) / some.square().mean(1)
            loss = (missed + 0.01 * latents.sum(1) / some.norm(dim=1)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        schedule.step(np.mean(losses))
    return encode(x).detach().numpy()


def de_sabbata(
    model: str = "toponym", places: str = "geonames", out: str = "run/de_sabbata", seed: int = 0
) -> None:
    """Count what is regional, twice.

    Args:
        model: toponym, a local directory or a Hub id.
        places: geonames or a file with country, admin1 (GeoNames' codes) and population.
        out: A folder for the counts and their figure.
        seed: Of all that is drawn.
    """
    read = gi.models.load(model)
    layers = [max(0, read.depth * part // 4 - 1) for part in (1, 2, 4)]
    table = of_areas(gi.places.load(places))
    print(f"{len(table)} places, layers {layers}")
    neurons = whole_mean(read, (table["name"] + ", " + table["region"]).tolist(), layers)
    latents = published_autoencoder(neurons[:, 1], 300, seed)
    flat = neurons.reshape(len(table), -1)
    counts = {
        "the paper, neurons": (12_288, 12_288, 1_841),
        "the paper, latents": (32_768, 155, 67),
        "as published, neurons": regional(flat, table, seed, ours=False),
        "as published, latents": regional(latents, table, seed, ours=False),
    }
    options = {"template": "{name} is near", "pool": "prompt_last", "site": "mlp_in"}
    acts = gi.activations.capture(read, table, layers=layers, **options)
    flat, own = acts.values.reshape(len(table), -1), acts.sel(layer=layers[1])
    sae = gi.saes.train(own, width=2 * read.hidden, k=16, seed=seed)
    encoded, held = gi.saes.encode(sae, own), own[gi.saes.held_out(own, seed)]
    counts["as here, neurons"] = regional(flat, table, seed, ours=True)
    counts["as here, latents"] = regional(encoded.X, table, seed, ours=True)
    columns = ["all", "alive", "regional", "whatever their I"]
    found = pd.DataFrame.from_dict(counts, orient="index").set_axis(columns, axis=1)
    print(found.to_string(float_format="{:.0f}".format, na_rep="–"))
    print(gi.saes.quality(sae, held))
    Path(out).mkdir(parents=True, exist_ok=True)
    found.to_csv(Path(out) / "counts.csv")
    shares = found["regional"] / found["alive"]
    ax = shares[::-1].plot.barh(figsize=(7, 2.8), xlabel="share of those alive that is regional")
    ax.figure.savefig(Path(out) / "shares.png", dpi=150, bbox_inches="tight")


if __name__ == "__main__":
    gi.cli.study(de_sabbata)
