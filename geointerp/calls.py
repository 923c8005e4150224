"""Calls: every call of a model's modules in one forward pass, with what went in and came out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

# of the tokens that are watched: sizes that no other dimension is likely to have
BATCH, LENGTH = 2, 7


class Axes(NamedTuple):
    """Which dimensions of a tensor are the prompts and the tokens; -1 if they are one."""

    batch: int
    token: int


class Point(NamedTuple):
    """Where something can be read.

    Attributes
    ----------
    path : str
        Of the module, in the model.
    module : torch.nn.Module
    before : bool
        Whether its input is meant rather than its output.
    argument : int
        Which of the tensors that it is given, for an input.
    call : int
        Which of its calls in one forward pass, from 0.
    axes : Axes
        Of what is read there.
    """

    path: str
    module: torch.nn.Module
    before: bool
    argument: int
    call: int
    axes: Axes


@dataclass
class Call:
    """One call of a module in the forward pass that was watched."""

    path: str
    module: torch.nn.Module
    number: int
    start: int
    inputs: list[torch.Tensor]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    end: int = -1
    output: torch.Tensor | None = None


def rows(value: torch.Tensor, axes: Axes, batch: int) -> torch.Tensor:
    """What was read at a point, shape (prompt, token, value).

    Parameters
    ----------
    value : Tensor
    axes : Axes
    batch : int
        Number of prompts, for a tensor that has prompts and tokens in one dimension.
    """
    if axes.token < 0:
        return value.unflatten(0, (batch, -1)).flatten(2)
    if axes != (0, 1):
        value = value.movedim((axes.batch, axes.token), (0, 1))
    return value.flatten(2) if value.dim() != 3 else value


def given_to(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The tensors among a module's arguments."""
    return [v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor)]


def tensor_of(value: Any) -> torch.Tensor | None:
    """The tensor that a module takes or gives first."""
    if isinstance(value, torch.Tensor):
        return value
    if hasattr(value, "values") and callable(value.values):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return next((found for part in value if (found := tensor_of(part)) is not None), None)
    return None


@contextmanager
def calls_of(backbone: torch.nn.Module) -> Iterator[list[Call]]:
    """Every call of every module within the context, in the order of their starts."""
    calls: list[Call] = []
    open_calls: list[Call] = []
    counts: dict[str, int] = {}
    clock = iter(range(1 << 62))

    def before(path: str) -> Any:
        def hook(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            number = counts[path] = counts.get(path, -1) + 1
            # copied: some models add to a tensor in place
            inputs = [v.clone() for v in given_to(args, kwargs)]
            call = Call(path, module, number, next(clock), inputs, args, kwargs)
            calls.append(call)
            open_calls.append(call)

        return hook

    def after(module: torch.nn.Module, args: Any, output: Any) -> None:
        call = open_calls.pop()
        given = tensor_of(output)
        call.end, call.output = next(clock), None if given is None else given.clone()

    handles: list[Any] = []
    try:
        for path, module in backbone.named_modules():
            if path:
                handles.append(module.register_forward_pre_hook(before(path), with_kwargs=True))
                handles.append(module.register_forward_hook(after))
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def point_at(call: Call, value: torch.Tensor | None, *, before: bool = False) -> Point | None:
    """Where a tensor that a call gave, or was given, is read; None if it has no tokens."""
    axes = None if value is None else axes_of(value)
    if axes is None:
        return None
    argument = next((i for i, v in enumerate(call.inputs) if v is value), 0) if before else 0
    return Point(call.path, call.module, before, argument, call.number, axes)


def axes_of(value: torch.Tensor) -> Axes | None:
    """Prompts and tokens among the dimensions of what was watched."""
    shape = tuple(value.shape)
    if shape[:2] == (BATCH, LENGTH):
        return Axes(0, 1)
    if shape[:1] == (BATCH * LENGTH,):
        return Axes(0, -1)
    if shape.count(BATCH) == 1 and shape.count(LENGTH) == 1:
        return Axes(shape.index(BATCH), shape.index(LENGTH))
    return None


def rows_of(value: torch.Tensor | None) -> torch.Tensor | None:
    """What was watched as (prompt, token, value); None if it is no such thing."""
    axes = None if value is None or value.dim() < 2 else axes_of(value)
    return None if axes is None or value is None else rows(value, axes, BATCH)


def same(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    """Whether two tensors are one, bit for bit."""
    if a is None or b is None or a.numel() != b.numel():
        return False
    # blocks may stand on several devices
    return a.shape == b.shape and bool(torch.equal(a, b.to(a.device)))


def is_norm(call: Call) -> bool:
    """Whether a module is a norm, by its type's name and by keeping the shape."""
    # a whole part of a model of that name may bear it too
    if call.output is None or "norm" not in type(call.module).__name__.lower():
        return False
    return any(v.shape == call.output.shape for v in call.inputs)
