"""Encode activations as sparse features with their tables."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from geointerp.errors import InputError
from geointerp.saes.files import loaded
from geointerp.saes.rows import Rows, origin

if TYPE_CHECKING:
    import anndata

log = logging.getLogger(__name__)


def encode(sae: Any, acts: Any) -> anndata.AnnData:
    """What each latent holds of each place.

    Parameters
    ----------
    sae : sae_lens.SAE
    acts : DataArray, dims (place, hidden)
        Of the layer that the autoencoder was trained on.

    Returns
    -------
    AnnData
        `X`: csr_matrix of float32, (place, latent); `obs`: name and every other
        coordinate of the places; `obsm["spatial"]`: lon, lat in degrees; `var`: for each
        latent `n_active`, `mean_active` and `maximum`; `uns`: where it all comes from.
        The index of `obs` is `acts`'s, as text, as AnnData has it.

    Raises
    ------
    InputError
        Activations that do not say of which places they are; of another size, model, site or
        layer than it was trained on; of several layers; or that are not finite.
    """
    import anndata
    import torch

    from geointerp.activations import about_of, places_of

    if "lon" not in getattr(acts, "coords", {}):
        raise InputError(
            "these activations do not say of which places they are; encode a DataArray as "
            "activations.capture gives it."
        )
    rows = Rows(acts, loaded(sae).cfg.d_in)
    if not len(rows):
        raise InputError("there are no activations to encode.")
    _check_origin(sae, acts)
    parts = []
    with torch.inference_mode():
        for block in rows.blocks(sae.cfg.d_sae):
            latents = sae.encode(torch.from_numpy(block).to(sae.device))
            parts.append(sparse.csr_matrix(latents.float().cpu().numpy()))
    features = sparse.vstack(parts, format="csr")
    counts = np.diff(features.tocsc().indptr)
    sums = np.asarray(features.sum(axis=0)).ravel()
    places = places_of(acts)
    obs = pd.DataFrame(places.drop(columns="geometry"))
    obs.index = obs.index.map(str)
    var = pd.DataFrame(
        {
            "n_active": counts,
            "mean_active": np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0),
            "maximum": np.asarray(features.max(axis=0).todense()).ravel(),
        },
        index=pd.Index([str(i) for i in range(features.shape[1])], name="feature"),
    )
    lon_lat = np.stack([acts["lon"].values, acts["lat"].values], axis=1)
    source = {k: v for k, v in about_of(acts).items() if v is not None}
    return anndata.AnnData(
        features, obs=obs, var=var, obsm={"spatial": lon_lat}, uns={"activations": source}
    )


def _check_origin(sae: Any, acts: Any) -> None:
    """Refuse another model, site or layer; say when the prompts were others."""
    found = origin(acts)
    for key in ("weights_sha256", "site", "layer", "template", "pool"):
        trained = sae.cfg.metadata.get(key)
        if trained is None or key not in found or found[key] == trained:
            continue
        said = f"the autoencoder was trained on {key} {trained!r}; these are of {found[key]!r}"
        if key not in ("template", "pool"):
            raise InputError(f"{said}.")
        log.warning("%s", said)
