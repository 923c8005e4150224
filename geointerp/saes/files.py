"""Sparse autoencoders on disk."""

from __future__ import annotations

import json
import logging
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geointerp.errors import InputError
from geointerp.models import chosen_device
from geointerp.saes import hub

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


def load(
    source: str | Path,
    sae_id: str | None = None,
    *,
    revision: str | None = None,
    device: str = "cpu",
) -> Any:
    """Load a sparse autoencoder.

    Parameters
    ----------
    source : str or Path
        A folder that `train` or sae-lens wrote, or that holds a ``params.npz`` of Gemma
        Scope (Lieberum et al. 2024). With `sae_id`: a release that sae-lens knows, or a
        repository on the Hugging Face Hub, ``"owner/name"``; what is not in the cache is
        downloaded.
    sae_id : str, optional
        The id in the release, or the folder in the repository, which holds the same files
        as a local one.
    revision : str, optional
        Branch, tag or commit of the repository.
    device : str

    Returns
    -------
    sae_lens.SAE
        In evaluation mode. Of a release, or a folder that a release lists, it is sae-lens's
        own, its weights scaled as the release says.

    Raises
    ------
    InputError
        A folder, release, id, repository or revision that is not there or holds no sparse
        autoencoder; arrays that are missing or don't fit each other; weights that are
        pickles; a Hub that cannot be reached.
    """
    from huggingface_hub.errors import HTTPError
    from safetensors import SafetensorError

    device = str(chosen_device(device))
    called = str(source) if sae_id is None else f"{source}, {sae_id}"
    try:
        if sae_id is None:
            sae = _from_folder(_folder(source, revision), device)
        else:
            sae = _from_hub(str(source), sae_id, revision, device)
    except InputError:
        raise
    # what sae-lens, numpy, safetensors and the Hub's client raise over files as they may be
    except (
        AttributeError,
        EOFError,
        HTTPError,
        LookupError,
        OSError,
        RuntimeError,
        SafetensorError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        said = hub.said(error)
        if isinstance(error, KeyError):
            said = f"in its configuration {said} is missing or unknown"
        # numpy's words tell how to load one all the same
        if "pickle" in said:
            said = "it holds a pickle, which is not loaded"
        why = hub.reason(error) or f"not a readable sparse autoencoder: {said}"
        raise InputError(f"{called}: {why}.") from error
    if sae.cfg.normalize_activations == "expected_average_only_in":
        log.warning("%s: trained on scaled activations, and it is not said by how much", called)
    # activations are (place, hidden) here, of attention too, not (place, head, hidden)
    sae.turn_off_forward_pass_hook_z_reshaping()
    return sae.eval()


def loaded(sae: Any) -> Any:
    """The autoencoder itself.

    Raises
    ------
    InputError
        Something else, such as the folder that it is in.
    """
    if not hasattr(sae, "cfg"):
        raise InputError(f"{sae!r} is no autoencoder; open it with saes.load first.")
    return sae


def save(autoencoder: Any, folder: Path) -> None:
    """Write `cfg.json` and `sae_weights.safetensors`, as sae-lens has them.

    Parameters
    ----------
    autoencoder : sae_lens.TrainingSAE
    folder : Path
    """
    autoencoder.save_inference_model(folder)
    # sae-lens writes its keys in another order each time
    config = folder / "cfg.json"
    read = json.loads(config.read_text("utf-8"))
    config.write_text(json.dumps(read, sort_keys=True), "utf-8")


def _folder(source: str | Path, revision: str | None) -> Path:
    path = Path(source).expanduser()
    if not path.is_dir():
        raise InputError(
            f"{source}: there is no such folder; of a release or a repository, give sae_id too."
        )
    if revision is not None:
        raise InputError(f"{source}: a folder has no revision; leave it out.")
    return path


def _from_folder(path: Path, device: str) -> Any:
    from sae_lens import SAE

    return SAE.load_from_disk(path, device=device, converter=_read)


def _from_hub(source: str, sae_id: str, revision: str | None, device: str) -> Any:
    from sae_lens import SAE

    def converter(
        repo_id: str, folder_name: str, device: str, force_download: bool, cfg_overrides: Any
    ) -> tuple[dict[str, Any], dict[str, torch.Tensor], None]:
        path = hub.fetch(repo_id, folder_name, _layouts(), revision)
        return *_read(path, device, cfg_overrides), None

    known = hub.listed(source, sae_id)
    if known is None:
        return SAE.from_pretrained(source, sae_id, device=device, converter=converter)
    hub.check(known[0], revision)
    # sae-lens's own loaders know of no revisions
    own = None if revision is None else converter
    return SAE.from_pretrained(*known, device=device, converter=own)


def _layouts() -> dict[tuple[str, ...], Callable[..., tuple[dict[str, Any], Any]]]:
    """The files of an autoencoder, and what reads them."""
    from sae_lens.loading.pretrained_sae_loaders import sae_lens_disk_loader

    return {
        ("cfg.json", "sae_weights.safetensors"): sae_lens_disk_loader,
        ("params.npz",): _gemma_scope,
    }


def _read(
    path: str | Path, device: str = "cpu", cfg_overrides: dict[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The configuration and the weights of an autoencoder, in sae-lens's words."""
    layouts = _layouts()
    for names, loader in layouts.items():
        if all(Path(path, name).exists() for name in names):
            return loader(Path(path), device, cfg_overrides)
    wanted = " nor ".join(" with ".join(names) for names in layouts)
    raise InputError(f"{path}: there is no sparse autoencoder here (neither {wanted}).")


def _gemma_scope(
    path: Path, device: str, cfg_overrides: dict[str, Any] | None
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A JumpReLU autoencoder as Gemma Scope is published, of any size."""
    import torch

    file = path / "params.npz"
    with np.load(file, allow_pickle=False) as opened:
        arrays = {"W_" + k[2:] if k.startswith("w_") else k: opened[k] for k in opened}
    missing = sorted({"W_enc", "W_dec", "b_enc", "b_dec", "threshold"} - set(arrays))
    if missing:
        raise InputError(f"{file}: it holds no {' and no '.join(missing)}.")
    if arrays["W_enc"].ndim != 2:
        raise InputError(f"{file}: W_enc is {arrays['W_enc'].shape}, not (input, latent).")
    size, width = arrays["W_enc"].shape
    shapes = {"W_dec": (width, size), "b_enc": (width,), "b_dec": (size,), "threshold": (width,)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise InputError(
                f"{file}: {name} is {arrays[name].shape}; with this W_enc it must be {shape}."
            )
    weights = {k: torch.from_numpy(v.astype(np.float32)).to(device) for k, v in arrays.items()}
    # embedding/width_4k/average_l0_6 was trained on embeddings that Gemma had not yet scaled
    if path.resolve().parts[-3:-2] == ("embedding",):
        weights["W_enc"] = weights["W_enc"] / size**0.5
        weights["W_dec"] = weights["W_dec"] * size**0.5
    about = {
        "architecture": "jumprelu",
        "d_in": size,
        "d_sae": width,
        "dtype": "float32",
        "device": device,
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
    }
    return {**about, **(cfg_overrides or {})}, weights
