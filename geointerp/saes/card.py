"""The card of an autoencoder (Mitchell et al. 2019, Model Cards for Model Reporting)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geointerp.saes.rows import origin

if TYPE_CHECKING:
    from geointerp.saes.split import Split
    from geointerp.saes.trainer import Recipe


def describe(
    recipe: Recipe, acts: Any, parts: Split, figures: dict[str, float], run: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """What it is, of which data, how good and what not to take it for.

    Parameters
    ----------
    recipe : Recipe
    acts : DataArray or array_like, shape (place, hidden)
    parts : Split
    figures : dict of str to float
        Of the held-out places.
    run : dict of str to object
        What the recipe does not say of how it was trained.

    Returns
    -------
    dict of str to dict
        The sections of `geointerp.cards.write`.
    """
    data: dict[str, Any] = {
        "training places": len(parts.training),
        "validation places": len(parts.validation),
        "held-out places": len(parts.held_out),
    }
    coords = getattr(acts, "coords", {})
    if "lon" in coords and "lat" in coords:
        for name in ("lon", "lat"):
            low, high = (float(f(coords[name])) for f in (np.min, np.max))
            data[name] = f"{low:.2f} to {high:.2f}"
    if "country" in coords:
        counts = pd.Series(coords["country"].values).value_counts()
        data["countries"] = len(counts)
        data["most places in"] = ", ".join(f"{c} {n}" for c, n in counts.head(5).items())
    firings = len(parts.training) * recipe.k / recipe.width
    return {
        "made by": {"function": "geointerp.saes.train", **recipe.about(), **run, **origin(acts)},
        "data": data,
        "figures": {f"held-out {name}": value for name, value in figures.items()},
        "limits": {
            "prompts": "Of other templates, pools, layers or models it has seen nothing.",
            "places": "It knows what the training places fill: a latent fires for "
            f"{firings:.0f} of them on average.",
            "features": "Another seed gives other latents; see geointerp.saes.stability.",
        },
    }
