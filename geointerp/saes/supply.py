"""The supply of training rows: shuffled batches, from memory or in long reads from disk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from geointerp.saes.rows import Rows

# what may lie on the device at once, and how much is read from disk for one shuffle, in bytes
_FITS = 4 * 2**30
_WINDOW = 2**30
# long reads that are shuffled together
_STRETCHES = 8


class Supply:
    """Batches of rows, the same for the same seed, from any step on.

    Each round goes through all rows once in an order of its own. Rows that fit lie on the
    device and are drawn from all over; of more than that neighbours are read in long
    stretches, in shuffled order, and rows are drawn from a few stretches at a time.

    Parameters
    ----------
    rows : Rows
    batch : int
        All rows, where there are fewer.
    seed : int
    device : torch.device
    """

    def __init__(self, rows: Rows, *, batch: int, seed: int, device: torch.device) -> None:
        self._rows, self._batch = rows, min(batch, len(rows))
        self._seed, self._device = seed, device
        self._bytes = 4 * rows.shape[1]
        self._whole = None
        if len(rows) * self._bytes <= _FITS:
            self._whole = torch.from_numpy(rows[:]).to(device)

    def from_step(self, step: int) -> Iterator[torch.Tensor]:
        """Batches without end, as they come after so many steps.

        Yields
        ------
        Tensor of float32, shape (batch, d), on the device
        """
        number, skip = divmod(step * self._batch, len(self._rows))
        left: list[torch.Tensor] = []
        held = 0
        while True:
            for piece in self._round(number):
                if skip >= len(piece):
                    skip -= len(piece)
                    continue
                left.append(piece[skip:])
                held += len(piece) - skip
                skip = 0
                while held >= self._batch:
                    joined = torch.cat(left) if len(left) > 1 else left[0]
                    yield joined[: self._batch]
                    left = [joined[self._batch :]]
                    held -= self._batch
            number += 1

    def _round(self, number: int) -> Iterator[torch.Tensor]:
        """All rows once, in pieces."""
        random = np.random.default_rng([self._seed, 1, number])
        if self._whole is not None:
            order = torch.from_numpy(random.permutation(len(self._rows))).to(self._device)
            for some in order.split(64 * self._batch):
                yield self._whole[some]
            return
        stretch = max(1, _WINDOW // (_STRETCHES * self._bytes))
        starts = random.permutation(np.arange(0, len(self._rows), stretch))
        for first in range(0, len(starts), _STRETCHES):
            together = np.sort(starts[first : first + _STRETCHES])
            found = np.concatenate([self._rows[s : s + stretch] for s in together])
            yield torch.from_numpy(found[random.permutation(len(found))]).to(self._device)
