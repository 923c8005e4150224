"""What a step of training minimises: sae-lens's losses, those of TopK's kin made sparse."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from geointerp.saes.active import Active, Decoded, PreActivation

# those whose active latents are the largest pre-activations
TOPK = ("topk", "batchtopk", "matryoshka_batchtopk")


class Loss(NamedTuple):
    """A loss, and what was active.

    Attributes
    ----------
    value : Tensor, scalar
    fired : Tensor of bool, shape (latent,)
    active : Tensor, scalar
        Latents above 0, over all rows.
    """

    value: torch.Tensor
    fired: torch.Tensor
    active: torch.Tensor


def loss(
    autoencoder: Any,
    inputs: torch.Tensor,
    *,
    dead: torch.Tensor,
    step: int,
    coefficients: dict[str, float],
) -> Loss:
    """The loss of a batch, as sae-lens's ``training_forward_pass`` has it.

    Parameters
    ----------
    autoencoder : sae_lens.TrainingSAE
    inputs : Tensor, shape (n, d)
    dead : Tensor of bool, shape (latent,)
        Latents to be revived.
    step : int
    coefficients : dict of str to float
        Of sae-lens's penalties.
    """
    if autoencoder.cfg.architecture() in TOPK:
        return _of_topk(autoencoder, inputs, dead)
    from sae_lens.saes.sae import TrainStepInput

    output = autoencoder.training_forward_pass(
        TrainStepInput(
            sae_in=inputs,
            coefficients=coefficients,
            dead_neuron_mask=dead,
            n_training_steps=step,
            is_logging_step=False,
        )
    )
    above = output.feature_acts > 0
    return Loss(output.loss, above.any(0), above.sum())


def _of_topk(autoencoder: Any, inputs: torch.Tensor, dead: torch.Tensor) -> Loss:
    """TopK (Gao et al. 2024), BatchTopK (Bussmann et al. 2024) and Matryoshka (idem 2025).

    Pre-activations are ranked by the length of what they decode to. The lengths cancel where
    values are decoded, so that no gradient goes through them.
    """
    w_enc, b_enc, w_dec, b_dec = (
        getattr(autoencoder, name) for name in ("W_enc", "b_enc", "W_dec", "b_dec")
    )
    with torch.no_grad():
        centred, length = inputs - b_dec, w_dec.norm(dim=1)
        # lengths and biases go into the factors, which are smaller than their product
        factor = torch.cat([w_enc * length, (b_enc * length)[None]])
        rank = (torch.cat([centred, torch.ones_like(centred[:, :1])], 1) @ factor).to(w_enc.dtype)

    def pre_activation(active: Active) -> torch.Tensor:
        pre = rank[active.row, active.latent] / length[active.latent]
        return PreActivation.apply(centred, w_enc, b_enc, b_dec, pre, active)

    active = _active(autoencoder, rank)
    value = pre_activation(active).relu()
    missed = Decoded.apply(value, w_dec, active) + b_dec - inputs
    total = _squares(missed)
    if autoencoder.cfg.architecture() == "matryoshka_batchtopk":
        for width in autoencoder.cfg.matryoshka_widths[:-1]:
            inner = torch.where(active.latent < width, value, 0)
            total = total + _squares(Decoded.apply(inner, w_dec, active) + b_dec - inputs)
    if bool(dead.any()):
        # they learn what the others miss (Gao et al. 2024, appendix A.2)
        number, most = dead.nonzero().squeeze(1), inputs.shape[1] // 2
        best = largest(rank.index_select(1, number), min(most, len(number)))
        revived = Active.of_rows(number[best], len(dead))
        scale = autoencoder.cfg.aux_loss_coefficient * min(len(number) / most, 1.0)
        guess = Decoded.apply(pre_activation(revived), w_dec, revived)
        total = total + scale * _squares(guess + missed.detach())

    above = value.detach() > 0
    if hasattr(autoencoder, "update_topk_threshold"):
        first = float(autoencoder.topk_threshold) == 0
        autoencoder.update_topk_threshold(value.detach() * length[active.latent])
        if first:
            # a mean that began at nothing would be too low for hundreds of steps
            autoencoder.topk_threshold /= autoencoder.cfg.topk_threshold_lr
    fired = torch.zeros_like(dead)
    fired[active.latent[above]] = True
    return Loss(total, fired, above.sum())


def _active(autoencoder: Any, rank: torch.Tensor) -> Active:
    """The k largest of each row, or k times as many as there are rows of the whole batch."""
    n, latents = rank.shape
    k = autoencoder.cfg.k
    if autoencoder.cfg.architecture() == "topk":
        return Active.of_rows(largest(rank, k), latents)
    return Active.of_batch(largest(rank.relu().view(1, -1), int(k * n))[0], n, latents)


def largest(values: torch.Tensor, k: int) -> torch.Tensor:
    """Where the k largest of each row are, in any order: shape (n, k).

    Those are among the groups with the k largest maxima, which are found faster.
    """
    n, count = values.shape
    size = 2
    while count % size == 0 and 3 * k * size * size <= count:
        size *= 2
    size //= 2
    if size < 4:
        return values.topk(k, dim=1, sorted=False).indices
    # a group's members lie far apart, so that neighbours are compared side by side
    apart = count // size
    group = values.view(n, size, apart).amax(1).topk(k, dim=1, sorted=False).indices
    first = torch.arange(0, count, apart, device=values.device)
    candidate = (group[:, None] + first[:, None]).view(n, -1)
    best = values.gather(1, candidate).topk(k, dim=1, sorted=False).indices
    return candidate.gather(1, best)


def _squares(missed: torch.Tensor) -> torch.Tensor:
    return missed.square().sum(1).mean()
