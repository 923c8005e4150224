"""How many neurons and features are regional, as De Sabbata et al. count them, and as we do?

De Sabbata, Mizzaro & Roitero 2025, Geospatial Mechanistic Interpretability of Large Language
Models: Mistral 7B reads "{name}, {region}" for places of Great Britain, Italy and four states
around New York. What the MLPs of three layers receive is averaged over all tokens, the one that
begins the text too; a TopK autoencoder with eight times as many latents, a sixteenth of them
active, is trained on all places of the middle layer, 300 times over in batches of 32; whatever
has a Moran's I of .3 or more at p < .01 in one of the areas is counted. Then as this library would:
the prompt does not name the region, one token is read, dead latents are revived, a tenth of the
places is held out, and what counts has q ≤ .01, two-sided, over all neurons or latents.

    python saes/de_sabbata.py --model mistralai/Mistral-7B-Instruct-v0.2 --places geonames.csv
"""

from typing import Any

import geopandas as gpd
import numpy as np
import torch
from jsonargparse import auto_cli

import geointerp as gi
from geointerp import hooks
from geointerp.progress import track

# an area's countries or states, and the plane that the paper has its neighbours in
AREAS = {
    "GB": ("country", ["GB"], 27700),
    "IT": ("country", ["IT"], 25832),
    "NY": ("admin1", ["NY", "NJ", "CT", "PA"], 32618),
}
REGIONS = {
    "ENG": "England", "NIR": "Northern Ireland", "SCT": "Scotland", "WLS": "Wales",
    "NY": "New York", "NJ": "New Jersey", "CT": "Connecticut", "PA": "Pennsylvania",
    "01": "Abruzzo", "02": "Basilicata", "03": "Calabria", "04": "Campania",
    "05": "Emilia-Romagna", "06": "Friuli-Venezia Giulia", "07": "Lazio", "08": "Liguria",
    "09": "Lombardy", "10": "Marche", "11": "Molise", "12": "Piedmont", "13": "Apulia",
    "14": "Sardinia", "15": "Sicily", "16": "Tuscany", "17": "Trentino-Alto Adige",
    "18": "Umbria", "19": "Aosta Valley", "20": "Veneto",
}  # fmt: skip
PUBLISHED = "1,841 of 12,288 neurons; 155 of 32,768 latents ever alive, 67 of them (Mistral 7B)"


def of_areas(places: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Places of the three areas, with the area and the region's name."""
    places = places[places["country"].isin(["GB", "IT", "US"])].copy()
    for area, (column, values, _) in AREAS.items():
        american = (places["country"] == "US") == (column == "admin1")
        places.loc[places[column].isin(values) & american, "area"] = area
    places["region"] = places["admin1"].map(REGIONS)
    return places.dropna(subset=["area", "region"]).reset_index(drop=True)


def regional(values: Any, places: gpd.GeoDataFrame, seed: int, *, ours: bool) -> str:
    """How many columns are clustered in at least one area, with I ≥ .3 and with any."""
    strong, any_ = np.zeros((2, values.shape[1]), bool)
    for area, (_, _, plane) in AREAS.items():
        here = np.flatnonzero(places["area"] == area)
        some = places.iloc[here]
        graph = gi.spatial.knn(some if ours else some.to_crs(plane), k=8)
        # so many that a q of .01 can be reached
        way = {"alternative": "two-sided", "permutations": 9999} if ours else {"min_active": 1}
        table = gi.spatial.moran(values[here], graph, seed=seed, **way)
        low = ((table["q"] <= 0.01) if ours else (table["p"] < 0.01)).to_numpy()
        strong, any_ = strong | (low & (table["I"] >= 0.3).to_numpy()), any_ | low
    return f"{strong.sum()} ({any_.sum()} whatever their I)"


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
    with torch.no_grad():
        return encode(x).numpy()


def de_sabbata(
    model: str = "toponym",
    places: str = "geonames",
    layers: list[int] | None = None,
    epochs: int = 300,
    steps: int = 1000,
    seed: int = 0,
) -> None:
    """Count what is regional, twice.

    Args:
        model: toponym, a local directory or a Hub id.
        places: geonames or a file with country, admin1 (GeoNames' codes) and population.
        layers: Block numbers; of a quarter, the half and all of the depth if not given. The
            second is the autoencoders'.
        epochs: Of the paper's autoencoder.
        steps: Updates of ours.
        seed: Of all that is drawn.
    """
    read = gi.models.load(model)
    depth = read.depth
    layers = layers or sorted({max(0, depth // 4 - 1), depth // 2 - 1, depth - 1})
    middle = len(layers) // 2
    table = of_areas(gi.places.load(places))
    prompts = (table["name"] + ", " + table["region"]).tolist()
    print(f"{len(table)} places, layers {layers}")
    print(f"the paper: {PUBLISHED}")
    neurons = whole_mean(read, prompts, layers)
    flat = neurons.reshape(len(table), -1)
    features = published_autoencoder(neurons[:, middle], epochs, seed)
    print(
        f"as published: {regional(flat, table, seed, ours=False)} of {flat.shape[1]} neurons; "
        f"{(features > 0).any(0).sum()} of {features.shape[1]} latents ever alive, "
        f"{regional(features, table, seed, ours=False)} of them"
    )
    acts = gi.activations.capture(
        read, table, template="{name} is near", pool="prompt_last", layers=layers, site="mlp_in"
    )
    flat, own = acts.values.reshape(len(table), -1), acts.sel(layer=layers[middle])
    sae = gi.saes.train(own, width=2 * read.hidden, k=16, steps=steps, seed=seed)
    held = gi.saes.quality(sae, own[gi.saes.held_out(own, seed)])
    encoded = gi.saes.encode(sae, own)
    print(
        f"as here: {regional(flat, table, seed, ours=True)} of {flat.shape[1]} neurons; "
        f"{(encoded.var['n_active'] > 0).sum()} of {encoded.n_vars} latents ever alive, "
        f"{regional(encoded.X, table, seed, ours=True)} of them; on held-out places "
        f"{held['alive']:.0%} alive and {held['explained_variance']:.0%} of the variance explained"
    )


if __name__ == "__main__":
    auto_cli(de_sabbata)
