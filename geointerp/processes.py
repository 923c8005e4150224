"""Processes: how ``accelerate launch`` and torchrun divide work, as far as capture needs it."""

from __future__ import annotations

import atexit
import functools
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

from geointerp.errors import InputError

T = TypeVar("T")


def share(items: Sequence[T]) -> list[T]:
    """Every n-th item, for the one of n processes that this is."""
    state = _state()
    return list(items) if state is None else list(items[state.process_index :: state.num_processes])


def part() -> slice:
    """Every n-th row of an array, for the one of n processes that this is."""
    state = _state()
    return slice(None) if state is None else slice(state.process_index, None, state.num_processes)


def count() -> int:
    """How many processes there are."""
    state = _state()
    return 1 if state is None else state.num_processes


def gather(items: list[T]) -> list[T]:
    """The items of all processes, in each of them."""
    if _state() is None:
        return items
    from accelerate.utils import gather_object

    return gather_object(items)


def is_first() -> bool:
    """Whether this process does what only one may do."""
    state = _state()
    return state is None or state.is_main_process


def wait() -> None:
    """Go on when every process is here."""
    state = _state()
    if state is not None:
        state.wait_for_everyone()


def total(value: Any) -> Any:
    """The sum of a number, array or tensor over all processes."""
    state = _state()
    if state is None:
        return value
    import numpy as np
    import torch
    import torch.distributed

    tensor = value if isinstance(value, torch.Tensor) else torch.as_tensor(np.asarray(value))
    tensor = tensor.to(state.device)
    torch.distributed.all_reduce(tensor)
    if isinstance(value, torch.Tensor):
        return tensor.to(value.device)
    return tensor.cpu().numpy() if isinstance(value, np.ndarray) else tensor.item()


def _state() -> Any:
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    return None if launched == 1 else _joined(launched)


@functools.cache
def _joined(launched: int) -> Any:
    import torch
    import torch.distributed
    from accelerate import PartialState

    # a process that is done waits for the slowest, however long that takes
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=7))
    if state.num_processes != launched:
        # each would take itself for the only one
        raise InputError(
            f"{launched} processes were launched, but accelerate joins {state.num_processes}."
        )
    # what still listens when Python ends would be terminated, and the run be taken for failed
    atexit.register(torch.distributed.destroy_process_group)
    return state
