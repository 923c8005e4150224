"""Sparse autoencoders on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geointerp.activations import about_of
from geointerp.errors import InputError


def load(source: str | Path, sae_id: str | None = None, *, device: str = "cpu") -> Any:
    """Load a sparse autoencoder.

    Parameters
    ----------
    source : str or Path
        A folder that `train` or sae-lens wrote; or, with `sae_id`, a release that
        sae-lens knows, which is downloaded if it is not in the cache.
    sae_id : str, optional
    device : str

    Returns
    -------
    sae_lens.SAE

    Raises
    ------
    InputError
        A folder that is not there or holds no sparse autoencoder.
    """
    from sae_lens import SAE
    from safetensors import SafetensorError

    if sae_id is not None:
        return SAE.from_pretrained(str(source), sae_id, device=device)
    path = Path(source)
    for name in ("cfg.json", "sae_weights.safetensors"):
        if not (path / name).exists():
            raise InputError(f"{path}: there is no sparse autoencoder here (no {name}).")
    try:
        return SAE.load_from_disk(path, device=device).eval()
    except (ValueError, KeyError, RuntimeError, OSError, SafetensorError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: not a readable sparse autoencoder: {said}") from error


def matrix(acts: Any, size: int | None = None) -> NDArray[np.float32]:
    """Activations of one layer as a matrix of float32, shape (place, hidden).

    Raises
    ------
    InputError
        More than one layer; a hidden size other than `size`; a value that is not finite.
    """
    if getattr(acts, "dims", None) is not None and "layer" in acts.dims:
        if acts.sizes["layer"] != 1:
            layers = acts["layer"].values.tolist()
            raise InputError(f"these are activations of layers {layers}: choose one, sel(layer=…).")
        acts = acts.squeeze("layer")
    values = np.ascontiguousarray(np.asarray(acts, dtype=np.float32))
    if values.ndim != 2:
        raise InputError(f"activations are (place, hidden); these have the shape {values.shape}.")
    if size is not None and values.shape[1] != size:
        raise InputError(
            f"the autoencoder reads vectors of {size}; these activations have {values.shape[1]}."
        )
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise InputError(f"row {row} of the activations is not finite.")
    return values


def origin(acts: Any) -> dict[str, Any]:
    """Where activations of one layer come from, in the words of sae-lens's metadata.

    Returns
    -------
    dict
        Empty for an array that does not say.
    """
    if "model" not in getattr(acts, "attrs", {}) or "layer" not in acts.coords:
        return {}
    attrs = about_of(acts)
    layer = int(np.ravel(acts["layer"].values)[0])
    kept = (
        "site",
        "template",
        "names",
        "pool",
        "weights_sha256",
        "untrained_seed",
        "places_sha256",
    )
    return {
        "model_name": attrs["model"],
        "hook_name": f"blocks.{layer}.{attrs.get('site')}",
        "layer": layer,
        **{key: attrs[key] for key in kept if attrs.get(key) is not None},
    }
