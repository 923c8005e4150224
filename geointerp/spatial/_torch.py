"""The `cross` of `_kernels`, in torch: for a GPU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geointerp.spatial.neighbors import Neighbors


class Device:
    """Features on a device, where they are shuffled.

    Parameters
    ----------
    device : str
    neighbors : Neighbors
    table : ndarray of float64, shape (n, F)
        Features, in the order of a shuffle's slots.
    alphas, betas : ndarray of float64, shape (F,)
    """

    def __init__(
        self,
        device: str,
        neighbors: Neighbors,
        table: NDArray[np.float64],
        alphas: NDArray[np.float64],
        betas: NDArray[np.float64],
    ) -> None:
        import torch

        self._device = device
        self._table, self._alphas, self._betas = (
            torch.from_numpy(np.ascontiguousarray(part)).to(device)
            for part in (table, alphas, betas)
        )
        self._pairs = torch.sparse_csr_tensor(
            torch.from_numpy(neighbors.indptr),
            torch.from_numpy(neighbors.other.astype(np.int64)),
            torch.from_numpy(neighbors.weight),
            size=(neighbors.n, neighbors.n),
            device=device,
        )
        self._degree = torch.from_numpy(neighbors.degree).to(device)[:, None]

    def cross(self, orders: NDArray[np.int32]) -> NDArray[np.float64]:
        """`cross` of every feature under every shuffle; shape (shuffles, F)."""
        import torch

        found: list[torch.Tensor] = []
        for order in torch.from_numpy(orders.astype(np.int64)).to(self._device):
            moved = torch.empty_like(self._table)
            moved[order] = self._table
            lag = self._pairs @ moved + self._degree * (self._alphas + self._betas * moved)
            found.append((moved * lag).sum(0))
        return torch.stack(found).cpu().numpy()
