"""When a training has learned what it can."""

from __future__ import annotations

from collections.abc import Callable

import torch


class Stopping:
    """Early stopping: the least error so far, its weights, and how long ago that was.

    Parameters
    ----------
    patience : int, optional
        So many looks without a lesser error stop the training; without it nothing does.
    """

    def __init__(self, patience: int | None) -> None:
        self._patience = patience
        self._least, self._since = float("inf"), 0
        self.best: dict[str, torch.Tensor] | None = None

    @property
    def stopped(self) -> bool:
        """Whether patience has run out."""
        return self._patience is not None and self._since >= self._patience

    def see(self, error: float, weights: Callable[[], dict[str, torch.Tensor]]) -> None:
        """Take note of an error; the weights are asked for where it is the least."""
        self._since += 1
        if error < self._least:
            self._least, self._since, self.best = error, 0, weights()

    def state(self) -> dict[str, torch.Tensor]:
        """All that `see` changes, under distinct names."""
        found = {"least": torch.tensor(self._least, dtype=torch.float64)}
        found["since"] = torch.tensor(self._since)
        return found | {f"best.{name}": value for name, value in (self.best or {}).items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what `state` gave."""
        self._least, self._since = float(state["least"]), int(state["since"])
        best = {k.removeprefix("best."): v for k, v in state.items() if k.startswith("best.")}
        self.best = best or None
