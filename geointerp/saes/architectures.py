"""Architectures of sparse autoencoders: sae-lens's own, under one word for how sparse they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ARCHITECTURES = ("topk", "batchtopk", "matryoshka", "jumprelu", "gated", "standard")
# those whose sparsity is what a penalty's coefficient makes of it
PENALISED = {"gated": "l1", "standard": "l1"}
# of sae-lens; here latents of a prefix of the width must do by themselves, an eighth and so on
_MATRYOSHKA = (8, 4, 2, 1)


def build(
    architecture: str,
    *,
    size: int,
    width: int,
    k: float,
    device: torch.device,
    about: dict[str, Any],
) -> Any:
    """An autoencoder before its training, with sae-lens's initial weights.

    Parameters
    ----------
    architecture : str
        One of `ARCHITECTURES`: TopK (Gao et al. 2024), BatchTopK (Bussmann et al. 2024),
        Matryoshka BatchTopK (Bussmann et al. 2025), JumpReLU (Rajamanoharan et al. 2024b) with
        Gemma Scope 2's quadratic loss about the wanted L0, Gated (Rajamanoharan et al. 2024a)
        and Standard, ReLU with an L1 penalty (Bricken et al. 2023).
    size : int
        Of the activations.
    width : int
        Number of latents.
    k : float
        Latents active at once, on average.
    device : torch.device
    about : dict
        sae-lens's metadata.

    Returns
    -------
    sae_lens.TrainingSAE
    """
    import sae_lens
    from sae_lens.saes.sae import SAEMetadata

    shared = {
        "d_in": size,
        "d_sae": width,
        "device": str(device),
        "metadata": SAEMetadata(**about),
    }
    if architecture == "topk":
        return sae_lens.TopKTrainingSAE(sae_lens.TopKTrainingSAEConfig(k=int(k), **shared))
    if architecture == "batchtopk":
        return sae_lens.BatchTopKTrainingSAE(sae_lens.BatchTopKTrainingSAEConfig(k=k, **shared))
    if architecture == "matryoshka":
        widths = sorted({max(1, width // part) for part in _MATRYOSHKA})
        return sae_lens.MatryoshkaBatchTopKTrainingSAE(
            sae_lens.MatryoshkaBatchTopKTrainingSAEConfig(k=k, matryoshka_widths=widths, **shared)
        )
    if architecture == "jumprelu":
        return sae_lens.JumpReLUTrainingSAE(
            sae_lens.JumpReLUTrainingSAEConfig(
                jumprelu_sparsity_loss_mode="quadratic", target_l0=k, **shared
            )
        )
    if architecture == "gated":
        return sae_lens.GatedTrainingSAE(sae_lens.GatedTrainingSAEConfig(**shared))
    return sae_lens.StandardTrainingSAE(sae_lens.StandardTrainingSAEConfig(**shared))
