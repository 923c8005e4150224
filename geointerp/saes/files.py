"""Sparse autoencoders on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
