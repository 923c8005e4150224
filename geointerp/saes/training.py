"""Train a sparse autoencoder on the activations of one layer."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp import artefacts, cards, progress
from geointerp.activations import prompts_of
from geointerp.errors import InputError
from geointerp.models import chosen_device
from geointerp.saes.files import load, matrix, origin
from geointerp.saes.quality import quality

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

HOLDOUT = 0.1


def train(
    acts: Any,
    *,
    width: int = 1024,
    k: int = 16,
    out: str | Path | None = None,
    steps: int = 1000,
    batch: int = 1024,
    learning_rate: float = 4e-3,
    seed: int = 0,
    device: str | None = None,
) -> Any:
    """Train a TopK sparse autoencoder (Gao et al. 2024) with sae-lens's model and losses.

    A tenth of the places, drawn by the seed, is held out and decides nothing but the
    figures on the card; places with the same prompt, such as namesakes, are on one side.
    Activations are scaled to unit variance for training and the scale is folded into the
    weights. Latents that have not fired for as many places as there are in the training set
    get the auxiliary loss that revives them.

    Parameters
    ----------
    acts : DataArray or array_like, shape (place, hidden)
        Of one layer.
    width : int
        Number of latents.
    k : int
        Latents active at once.
    out : path, optional
        A new folder for `cfg.json`, `sae_weights.safetensors` (sae-lens's format) and the
        card.
    steps, batch : int
        Updates, and places in each.
    learning_rate : float
        Of Adam; warmed up over the first 5% of the steps, to nothing over the last 30%.
    seed : int
    device : str, optional
        ``"cuda"`` if there is one, else ``"cpu"``.

    Returns
    -------
    sae_lens.SAE
        As `load` reads it back from `out`.

    Raises
    ------
    InputError
        `k` or `width` out of range, activations that are not finite or all alike, fewer
        than 20 places, an `out` that exists, a device that is not there, or a training
        that diverged.

    References
    ----------
    Gao et al. 2024, Scaling and evaluating sparse autoencoders, arXiv 2406.04093.
    """
    values = matrix(acts)
    if width < 1 or not 1 <= k <= width:
        raise InputError(f"width is {width} and k is {k}; it must be 1 ≤ k ≤ width.")
    for name, number in (("steps", steps), ("batch", batch)):
        if number < 1:
            raise InputError(f"{name} is {number}; it must be 1 or more.")
    if not 0 < learning_rate < float("inf"):
        raise InputError(f"learning_rate is {learning_rate}; it must be above 0.")
    if (values == values[0]).all():
        raise InputError("all activations are the same; there is nothing to learn.")
    if out is not None:
        artefacts.refuse_existing(Path(out))
    target = chosen_device(device)
    held = held_out(acts, seed)
    training = values[~held]
    if len(training) < 20:
        raise InputError(
            f"there are {len(training)} places to train on, and {held.sum()} held out; "
            "an autoencoder needs 20 at the least."
        )
    if width > len(training):
        log.warning(
            "width %d is more than the %d places to train on; they can't fill it",
            width,
            len(training),
        )
    autoencoder = _fit(training, width, k, steps, batch, learning_rate, seed, target, origin(acts))
    about = {
        "function": "geointerp.saes.train",
        "architecture": "topk",
        "width": width,
        "k": k,
        "steps": steps,
        "batch": batch,
        "learning_rate": learning_rate,
        "seed": seed,
        "training places": len(training),
        "held-out places": int(held.sum()),
        **origin(acts),
    }
    with ExitStack() as stack:
        if out is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "sae"
        else:
            folder = stack.enter_context(artefacts.whole(Path(out)))
        autoencoder.save_inference_model(folder)
        # sae-lens writes its keys in another order each time
        config = folder / "cfg.json"
        read = json.loads(config.read_text("utf-8"))
        config.write_text(json.dumps(read, sort_keys=True), "utf-8")
        trained = load(folder)
        figures = {f"held-out {key}": v for key, v in quality(trained, values[held]).items()}
        cards.write(folder, "Sparse autoencoder", {"made by": about, "figures": figures})
    if figures["held-out explained_variance"] < 0:
        log.warning(
            "on held-out places the autoencoder explains less than their mean does: train longer, "
            "on more places, or with fewer latents"
        )
    return trained


def held_out(acts: Any, seed: int = 0) -> NDArray[np.bool_]:
    """Which places `train` holds out.

    Parameters
    ----------
    acts : DataArray or array_like, shape (place, hidden)
    seed : int

    Returns
    -------
    ndarray of bool, shape (place,)
        A tenth of the prompts, or, where `acts` do not say of which prompts they are, of the
        distinct vectors.
    """
    if "template" not in getattr(acts, "attrs", {}):
        keys = [hashlib.blake2b(row, digest_size=16).digest() for row in matrix(acts)]
    else:
        keys = prompts_of(acts)["prompt"].tolist()
    group, distinct = pd.factorize(np.asarray(keys, dtype=object))
    order = np.random.default_rng(seed).permutation(len(distinct))
    return np.isin(group, order[: max(1, round(HOLDOUT * len(distinct)))])


def _fit(
    values: NDArray[np.float32],
    width: int,
    k: int,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
    device: torch.device,
    about: dict[str, Any],
) -> Any:
    import torch
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.saes.sae import SAEMetadata, TrainStepInput

    mean = values.mean(axis=0, dtype=np.float64)
    spread = float(np.sqrt(((values - mean) ** 2).mean(dtype=np.float64)))
    scale = 1 / spread
    data = torch.from_numpy(values).to(device) * scale
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = TopKTrainingSAEConfig(
            d_in=values.shape[1],
            d_sae=width,
            k=k,
            device=str(device),
            metadata=SAEMetadata(**about),
        )
        autoencoder = TopKTrainingSAE(config)
    autoencoder.b_dec.data = torch.from_numpy((mean * scale).astype(np.float32)).to(device)
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=learning_rate)
    silent = torch.zeros(width, dtype=torch.long, device=device)
    rows = _batches(len(values), batch, seed)
    for step in progress.track(range(steps), "train"):
        share = min((step + 1) / max(1, 0.05 * steps), 1.0, (steps - step) / max(1, 0.3 * steps))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * share
        inputs = data[torch.from_numpy(next(rows)).to(device)]
        output = autoencoder.training_forward_pass(
            TrainStepInput(
                sae_in=inputs,
                coefficients={},
                dead_neuron_mask=silent > len(values),
                n_training_steps=step,
                is_logging_step=False,
            )
        )
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        fired = (output.feature_acts > 0).any(dim=0)
        silent = torch.where(fired, 0, silent + len(inputs))
    if not all(bool(torch.isfinite(p).all()) for p in autoencoder.parameters()):
        raise InputError(
            f"the training diverged: its weights are not finite; learning_rate is {learning_rate}, "
            "make it smaller."
        )
    autoencoder.fold_activation_norm_scaling_factor(scale)
    return autoencoder


def _batches(count: int, size: int, seed: int) -> Any:
    """Rows of full batches without end, every row once a round."""
    random = np.random.default_rng([seed, 1])
    size = min(size, count)
    left = np.empty(0, dtype=np.int64)
    while True:
        while len(left) < size:
            left = np.concatenate([left, random.permutation(count)])
        yield left[:size]
        left = left[size:]
