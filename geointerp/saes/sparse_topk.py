"""Forward and backward pass of TopK autoencoders that cost what is active, not what is not.

Of five products of batch, activations and latents that autograd makes of a step of training, only
the first, which finds out which latents are active, needs them all. The rest is done for the
active ones alone, with the same result but for rounding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F


class SparseTopK(torch.autograd.Function):
    """The reconstruction, less the decoder's bias, from the latents chosen by `choose`.

    ``apply(x, W_enc, b_enc, W_dec, choose)`` takes activations less the bias, shape (n, d), and
    gives the reconstruction (n, d), the active latents' values and numbers, each (n, k), and all
    pre-activations (n, latent), through which no gradient goes. `choose` takes the
    pre-activations and gives numbers and a mask of those that count, each (n, k).
    """

    @staticmethod
    def forward(ctx: Any, x: Any, w_enc: Any, b_enc: Any, w_dec: Any, choose: Any) -> Any:
        pre = torch.addmm(b_enc, x, w_enc)
        number = choose(pre)
        value = pre.gather(1, number).relu_()
        n, k = number.shape
        starts = torch.arange(0, n * k, k, device=x.device)
        out = F.embedding_bag(
            number.view(-1), w_dec, starts, mode="sum", per_sample_weights=value.view(-1)
        )
        ctx.save_for_backward(x, number, value, w_dec)
        ctx.mark_non_differentiable(number, pre)
        return out, value, number, pre

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, number, value, w_dec = ctx.saved_tensors
        g = gradients[0].contiguous()
        n, k = number.shape
        of_value = torch.empty_like(value)
        # the decoder's rows of so many places as fit into a cache of some size
        at_once = max(1, 2**22 // (k * x.shape[1]))
        for start in range(0, n, at_once):
            some = slice(start, start + at_once)
            rows = w_dec[number[some].reshape(-1)].view(-1, k, x.shape[1])
            of_value[some] = torch.bmm(rows, g[some].unsqueeze(2)).squeeze(2)
        of_value = torch.where(value > 0, of_value, 0)
        by_latent = _by_latent(number, len(w_dec))
        of_b_enc = torch.zeros(len(w_dec), device=x.device, dtype=x.dtype)
        of_b_enc.index_add_(0, number.view(-1), of_value.view(-1))
        return None, by_latent(of_value, x).t(), of_b_enc, by_latent(value, g), None


def _by_latent(number: torch.Tensor, latents: int) -> Any:
    """Sums over places, for each latent, of its weight there times a row: (latent, d)."""
    n, k = number.shape
    flat = number.view(-1)
    order = torch.argsort(flat, stable=True)
    ends = torch.zeros(latents + 1, dtype=torch.long, device=flat.device)
    ends[1:] = torch.bincount(flat, minlength=latents).cumsum(0)
    place = order // k

    def summed(weight: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        sparse = torch.sparse_csr_tensor(
            ends, place, weight.view(-1)[order], (latents, n), check_invariants=False
        )
        return sparse @ rows

    return summed
