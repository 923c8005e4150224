"""The checkpoint of a training: one file, whole or not there, that knows whose it is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from geointerp.errors import InputError


class Checkpoint:
    """The state of a training after some step.

    Parameters
    ----------
    path : Path
    about : mapping
        What the run is, flat: from another run's state nothing goes on.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        self._about = json.loads(json.dumps(about))

    def save(self, step: int, state: Mapping[str, torch.Tensor]) -> None:
        """Replace what is there, in one stroke."""
        part = self.path.with_name(f".{self.path.name}.partial")
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        said = {"step": str(step), "about": json.dumps(self._about)}
        part.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, metadata=said)
        os.replace(part, self.path)

    def load(self) -> tuple[int, dict[str, torch.Tensor]] | None:
        """The step and the state; None where there is no file.

        Raises
        ------
        InputError
            It is no checkpoint, or that of another run.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                said = file.metadata() or {}
                step, about = int(said["step"]), json.loads(said["about"])
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise InputError(
                f"{self.path}: not a readable checkpoint; delete it to train from the start."
            ) from error
        for key in {**self._about, **about}:
            if about.get(key) != self._about.get(key):
                raise InputError(
                    f"{self.path}: the checkpoint of another run ({key} {about.get(key)!r}, here "
                    f"{self._about.get(key)!r}); delete it or choose another output."
                )
        return step, state

    def remove(self) -> None:
        """Delete it, if it is there."""
        self.path.unlink(missing_ok=True)
