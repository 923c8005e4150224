"""How good a sparse autoencoder is, on places that it was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from geointerp.saes.files import matrix

CHUNK = 2048


def quality(sae: Any, acts: Any) -> dict[str, float]:
    """Fidelity and sparsity on given activations.

    Parameters
    ----------
    sae : sae_lens.SAE
    acts : DataArray or array_like, shape (place, hidden)

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
        Activations of another size, or that are not finite.
    """
    import torch

    values = matrix(acts, sae.cfg.d_in)
    mean = values.mean(axis=0, dtype=np.float64)
    residual, cosines = 0.0, []
    fired = np.zeros(sae.cfg.d_sae, dtype=np.int64)
    with torch.inference_mode():
        for start in range(0, len(values), CHUNK):
            inputs = torch.from_numpy(values[start : start + CHUNK]).to(sae.device)
            latents = sae.encode(inputs)
            output = sae.decode(latents).double().cpu().numpy()
            fired += (latents > 0).sum(dim=0).cpu().numpy()
            truth = values[start : start + CHUNK].astype(np.float64)
            residual += float(((truth - output) ** 2).sum())
            a, b = truth - mean, output - mean
            norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            cosines.append((a * b).sum(axis=1) / np.maximum(norms, np.finfo(float).tiny))
    total = float(((values - mean) ** 2).sum(dtype=np.float64))
    return {
        "explained_variance": 1 - residual / total if total else float("nan"),
        "l0": float(fired.sum() / len(values)),
        "alive": float((fired > 0).mean()),
        "dense": float((fired > 0.1 * len(values)).mean()),
        "cosine": float(np.concatenate(cosines).mean()),
    }
