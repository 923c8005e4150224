"""Intervals: how far a score would move with other places."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 2000


class Bootstrap:
    """Blocks of places, drawn again and again with replacement.

    Neighbours are alike, so that points drawn one by one would look surer than they are;
    whole blocks are drawn instead (Davison & Hinkley 1997, Bootstrap Methods and their
    Application, section 8.3). Predictions are kept as they are: this is the spread over
    places, not over training sets.

    Parameters
    ----------
    block : array_like of int, shape (n,)
        The block of each place.
    seed : int
    """

    def __init__(self, block: ArrayLike, *, seed: int = 0) -> None:
        _, self._block = np.unique(np.asarray(block), return_inverse=True)
        self.size, self.count = len(self._block), int(self._block.max()) + 1
        random = np.random.default_rng(seed)
        self._times = random.multinomial(
            self.count, np.full(self.count, 1 / self.count), DRAWS
        ).astype(np.float64)

    def skill(self, loss: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
        """``1 - sum(loss) / sum(reference)`` in each draw, shape (draw,)."""
        sums = [
            np.bincount(self._block, np.asarray(v, float), self.count) for v in (loss, reference)
        ]
        lost, at_stake = (self._times @ total for total in sums)
        return 1 - lost / at_stake


def interval(draws: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of draws."""
    low, high = np.nanquantile(np.asarray(draws, float), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
