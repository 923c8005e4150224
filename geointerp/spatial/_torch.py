"""The counts of `_kernels`, in torch: for a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geointerp.spatial.neighbors import Neighbors

if TYPE_CHECKING:
    import torch


class Counter:
    """Features on a device, and the shuffles that are counted there.

    Parameters
    ----------
    device : str
    neighbors : Neighbors
    table : ndarray of float64, shape (n, F)
        Features, in the order of a shuffle's slots.
    alphas, betas, observed, ties : ndarray of float64, shape (F,)
    """

    def __init__(
        self,
        device: str,
        neighbors: Neighbors,
        table: NDArray[np.float64],
        alphas: NDArray[np.float64],
        betas: NDArray[np.float64],
        observed: NDArray[np.float64],
        ties: NDArray[np.float64],
    ) -> None:
        import torch

        self._device = device
        self._table, self._alphas, self._betas, self._observed, self._ties = (
            torch.from_numpy(np.ascontiguousarray(part)).to(device)
            for part in (table, alphas, betas, observed, ties)
        )
        self._pairs = torch.sparse_csr_tensor(
            torch.from_numpy(neighbors.indptr),
            torch.from_numpy(neighbors.other.astype(np.int64)),
            torch.from_numpy(neighbors.weight),
            size=(neighbors.n, neighbors.n),
            device=device,
        )
        self._degree = torch.from_numpy(neighbors.degree).to(device)[:, None]

    def count(self, orders: NDArray[np.int32]) -> tuple[NDArray, ...]:
        """How often at least and at most as much as observed, and the sums of what is above it."""
        import torch

        found: list[torch.Tensor] = []
        for order in torch.from_numpy(orders.astype(np.int64)).to(self._device):
            moved = torch.empty_like(self._table)
            moved[order] = self._table
            lag = self._pairs @ moved + self._degree * (self._alphas + self._betas * moved)
            above = (moved * lag).sum(0) - self._observed
            found.append(above)
        above = torch.stack(found)
        return (
            (above >= -self._ties).sum(0).cpu().numpy(),
            (above <= self._ties).sum(0).cpu().numpy(),
            above.sum(0).cpu().numpy(),
            (above * above).sum(0).cpu().numpy(),
        )
