"""How good a sparse autoencoder is, on places that it was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from geointerp.errors import InputError
from geointerp.saes.files import loaded
from geointerp.saes.rows import Rows


def quality(sae: Any, acts: Any) -> dict[str, float]:
    """Fidelity and sparsity on given activations.

    Parameters
    ----------
    sae : sae_lens.SAE
    acts : DataArray, array_like or Rows, shape (place, hidden)

    Returns
    -------
    dict of str to float
        `explained_variance`: 1 minus the squared error of the reconstruction over the
        squared distance from these activations' mean, both summed over all dimensions;
        `l0`: mean number of active latents; `alive`: share of latents that fire for at
        least one of these places; `dense`: share that fire for more than a tenth of them;
        `cosine`: mean cosine between activation and reconstruction, both less the mean.

    Raises
    ------
    InputError
        Activations of another size, none, or such as are not finite.
    """
    import torch

    rows = acts if isinstance(acts, Rows) else Rows(acts, loaded(sae).cfg.d_in)
    if not len(rows):
        raise InputError("there are no activations to judge the autoencoder by.")
    mean = sum(block.sum(axis=0, dtype=np.float64) for block in rows.blocks()) / len(rows)
    residual = total = cosine = 0.0
    fired = np.zeros(sae.cfg.d_sae, dtype=np.int64)
    with torch.inference_mode():
        for block in rows.blocks(sae.cfg.d_sae):
            latents = sae.encode(torch.from_numpy(block).to(sae.device))
            output = sae.decode(latents).double().cpu().numpy()
            fired += (latents > 0).sum(dim=0).cpu().numpy()
            residual += float(((block - output) ** 2).sum())
            a, b = block - mean, output - mean
            total += float((a**2).sum())
            norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            cosine += float(((a * b).sum(axis=1) / np.maximum(norms, np.finfo(float).tiny)).sum())
    return {
        "explained_variance": 1 - residual / total if total else float("nan"),
        "l0": float(fired.sum() / len(rows)),
        "alive": float((fired > 0).mean()),
        "dense": float((fired > 0.1 * len(rows)).mean()),
        "cosine": cosine / len(rows),
    }
