"""The active latents of a batch, and products that touch these alone.

Autograd makes five products of batch, activations and latents of a training step. Only the first,
which finds out which latents are active, needs all latents; the others give the same, but for
rounding, when they are made of the active ones.
"""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F

# that its interface may change; one of its functions is used
warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")


class Active:
    """Which latents are active at which rows of a batch, row after row.

    Parameters
    ----------
    offsets : Tensor of int64, shape (row + 1,)
        Where each row's latents begin.
    latent : Tensor of int64, shape (active,)
    latents : int
        How many there are in all.
    """

    def __init__(self, offsets: torch.Tensor, latent: torch.Tensor, latents: int) -> None:
        self.offsets, self.latent, self.latents = offsets, latent, latents

    @classmethod
    def of_rows(cls, latent: torch.Tensor, latents: int) -> Active:
        """From the numbers of as many latents for each row, shape (row, k)."""
        n, k = latent.shape
        return cls(torch.arange(0, n * k + 1, k, device=latent.device), latent.view(-1), latents)

    @classmethod
    def of_batch(cls, chosen: torch.Tensor, rows: int, latents: int) -> Active:
        """From places in the flattened matrix of rows and latents, shape (active,)."""
        chosen = chosen.sort().values
        row = chosen // latents
        return cls(_starts(row, rows), chosen % latents, latents)

    @cached_property
    def row(self) -> torch.Tensor:
        """The row of each, shape (active,)."""
        numbers = torch.arange(len(self.offsets) - 1, device=self.latent.device)
        return numbers.repeat_interleave(self.offsets.diff(), output_size=len(self.latent))

    @cached_property
    def by_latent(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Their order when sorted by latent, and where each latent begins."""
        order = self.latent.argsort(stable=True)
        return order, _starts(self.latent, self.latents)


def _starts(number: torch.Tensor, count: int) -> torch.Tensor:
    """Where each number begins in a list sorted by it, and the end."""
    starts = torch.zeros(count + 1, dtype=torch.long, device=number.device)
    torch.cumsum(torch.bincount(number, minlength=count), 0, out=starts[1:])
    return starts


def _of_latents(active: Active, weight: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """For each latent the sum of the rows at which it is active, weighted: (latent, d)."""
    order, starts = active.by_latent
    return F.embedding_bag(
        active.row[order], rows, starts[:-1], mode="sum", per_sample_weights=weight[order]
    )


class PreActivation(torch.autograd.Function):
    """Pre-activations of active latents, which were computed before, with their gradients.

    ``apply(centred, w_enc, b_enc, b_dec, pre, active)``, with shapes (n, d), (d, latent),
    (latent,), (d,) and (active,), gives `pre`. `centred` are activations less `b_dec`,
    which has its gradient from here; the activations have none.
    """

    @staticmethod
    def forward(
        ctx: Any, centred: Any, w_enc: Any, b_enc: Any, b_dec: Any, pre: Any, active: Active
    ) -> Any:
        """As they are."""
        ctx.active = active
        ctx.save_for_backward(centred, w_enc)
        return pre.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Gradients of the encoder and of the bias taken off before it."""
        (centred, w_enc), active, of_value = ctx.saved_tensors, ctx.active, gradients[0]
        of_b_enc = _of_latents(active, of_value, torch.ones_like(centred[:, :1]))[:, 0]
        of_w_enc = _of_latents(active, of_value, centred).t()
        return None, of_w_enc, of_b_enc, -(w_enc @ of_b_enc), None, None


class Decoded(torch.autograd.Function):
    """Reconstructions from active latents.

    ``apply(value, w_dec, active)``, with shapes (active,) and (latent, d), gives (n, d).
    """

    @staticmethod
    def forward(ctx: Any, value: Any, w_dec: Any, active: Active) -> Any:
        """Sums of the decoder's rows."""
        ctx.active = active
        ctx.save_for_backward(value, w_dec)
        return F.embedding_bag(
            active.latent, w_dec, active.offsets[:-1], mode="sum", per_sample_weights=value
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Gradients of the values and of the decoder."""
        (value, w_dec), active, g = ctx.saved_tensors, ctx.active, gradients[0].contiguous()
        shape = (len(g), active.latents)
        where = torch.sparse_csr_tensor(
            active.offsets, active.latent, value, shape, check_invariants=False
        )
        of_value = torch.sparse.sampled_addmm(where, g, w_dec.t(), beta=0).values()
        return of_value, _of_latents(active, value, g), None
