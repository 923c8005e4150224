"""The supply of training rows: shuffled batches, from memory or in long reads from disk."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

# what may lie on the device at once, and how much is read from disk for one shuffle
_FITS = 4 * 2**30
_WINDOW = 2**30


class Supply:
    """Batches of a matrix's rows, the same for the same seed, from any step on.

    Each round goes through all rows once in an order of its own. Rows that fit lie on the
    device and are drawn from all over; of a matrix on disk neighbouring rows are read in
    long stretches, in shuffled order, and rows are drawn from a few stretches at a time.

    Parameters
    ----------
    source : array_like, shape (n, d)
        Anything that gives rows by a slice, such as a DataArray on disk.
    rows : ndarray of int, shape (m,)
        Those to be given out, in ascending order.
    batch : int
    seed : int
    device : torch.device
    """

    def __init__(
        self,
        source: Any,
        rows: NDArray[np.int64],
        *,
        batch: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._source, self._rows, self.batch = source, rows, min(batch, len(rows))
        self._seed, self._device = seed, device
        self._width = 4 * source.shape[1]
        self._whole = None
        if len(rows) * self._width <= _FITS:
            self._whole = torch.from_numpy(_read(source, rows)).to(device)

    def __len__(self) -> int:
        """Rows in a round."""
        return len(self._rows)

    def from_step(self, step: int) -> Any:
        """Batches without end, as they come after so many steps.

        Yields
        ------
        Tensor of float32, shape (batch, d), on the device
        """
        given = step * self.batch
        round_, skip = divmod(given, len(self))
        left: list[torch.Tensor] = []
        held = 0
        while True:
            for piece in self._round(round_):
                if skip >= len(piece):
                    skip -= len(piece)
                    continue
                left.append(piece[skip:])
                held += len(piece) - skip
                skip = 0
                while held >= self.batch:
                    whole = torch.cat(left) if len(left) > 1 else left[0]
                    yield whole[: self.batch]
                    left = [whole[self.batch :]]
                    held -= self.batch
            round_ += 1

    def _round(self, number: int) -> Any:
        """All rows once, in pieces."""
        random = np.random.default_rng([self._seed, 1, number])
        if self._whole is not None:
            order = torch.from_numpy(random.permutation(len(self))).to(self._device)
            for start in range(0, len(self), 64 * self.batch):
                yield self._whole[order[start : start + 64 * self.batch]]
            return
        stretch = max(1, _WINDOW // (8 * self._width))
        starts = random.permutation(np.arange(0, len(self), stretch))
        for first in range(0, len(starts), 8):
            rows = np.concatenate(
                [self._rows[s : s + stretch] for s in np.sort(starts[first : first + 8])]
            )
            found = _read(self._source, rows)
            yield torch.from_numpy(found[random.permutation(len(found))]).to(self._device)


def _read(source: Any, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Some rows, by few slices of neighbours."""
    found = np.empty((len(rows), source.shape[1]), np.float32)
    at = 0
    while at < len(rows):
        # as far as a slice holds more wanted rows than others
        stop = min(at + 4096, len(rows))
        first, last = int(rows[at]), int(rows[stop - 1])
        part = np.asarray(source[first : last + 1], np.float32)
        found[at:stop] = part[rows[at:stop] - first]
        at = stop
    return found
