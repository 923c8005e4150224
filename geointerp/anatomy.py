"""Anatomy: a model's blocks and their parts, found by watching one forward pass.

No table of architectures: the blocks are the modules of one list through which the
residual stream passes, each one's output the next one's input; a block's parts are the
modules whose outputs are seen to be added to the stream, and what is called attention is seen
to carry something from one token to another.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from geointerp.errors import InputError
from geointerp.hooks import SITES

# of the tokens that are watched: sizes that no other dimension is likely to have
_BATCH, _LENGTH = 2, 7


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


@dataclass
class Anatomy:
    """What was seen.

    Attributes
    ----------
    blocks : list of torch.nn.Module
        One per layer; the same one several times where layers share their weights; empty
        for a model without such modules, whose own `hidden_states` are then read.
    paths : list of str
    width : int
        The size of the residual stream.
    depth : int
    normed : bool or None
        Whether the model's own last hidden state is taken after a final norm, whose input is
        the last block's output; False if it is that output. None if it is neither, or is not
        known.
    """

    blocks: list[torch.nn.Module]
    paths: list[str]
    width: int
    depth: int
    normed: bool | None
    _calls: list[Call] = field(repr=False)
    _layers: list[Call] = field(repr=False)
    _tokens: torch.Tensor = field(repr=False)

    def __post_init__(self) -> None:
        # at once: it calls modules, which may have hooks later
        self._found = [
            _parts(self._stream(i), b.output, self._inner(b), self._tokens)
            for i, b in enumerate(self._layers)
        ]

    def point(self, layer: int, site: str) -> Point | None:
        """Where a site of a layer is read; None if the layer has no such site.

        Parameters
        ----------
        layer : int
        site : str
            One of `SITES`, or a module's path within the block, with wildcards if wanted,
            whose output is read, or its input if ``:input`` follows.

        Raises
        ------
        InputError
            A path that fits several modules of the block.
        """
        block = self._layers[layer]
        if site == "resid_pre":
            return _point(block, self._stream(layer), before=True)
        if site == "resid_post":
            return _point(block, block.output)
        if site in SITES:
            return self._found[layer].get(site)
        return _by_path(block, self._inner(block), site)

    def _inner(self, block: Call) -> list[Call]:
        return [c for c in self._calls if block.start < c.start and 0 <= c.end < block.end]

    def _stream(self, layer: int) -> torch.Tensor | None:
        """The input of a block that is the residual stream: what the block before gave."""
        inputs = self._layers[layer].inputs
        if self.depth == 1:
            return inputs[0] if inputs else None
        known = max(layer, 1)
        before = self._layers[known - 1].output
        index = [_same(v, before) for v in self._layers[known].inputs].index(True)
        return inputs[index] if index < len(inputs) else None


def watch(backbone: torch.nn.Module, vocabulary: int, name: str, avoid: set[int]) -> Anatomy:
    """Run a few tokens through a model and see what it is made of.

    Parameters
    ----------
    backbone : torch.nn.Module
        Takes `input_ids`.
    vocabulary : int
        Number of token ids.
    name : str
        How messages call the model.
    avoid : set of int
        Ids that mean something of their own, such as padding.

    Returns
    -------
    Anatomy

    Raises
    ------
    InputError
        A model that does not run on tokens alone, or has no stream of a vector per token.
    """
    ids = [i for i in range(min(vocabulary, 1000)) if i not in avoid]
    drawn = np.random.default_rng(0).choice(ids, (_BATCH, _LENGTH))
    device = next(backbone.parameters()).device
    inputs: dict[str, Any] = {"input_ids": torch.from_numpy(drawn).to(device)}
    try:
        with torch.inference_mode(), _calls_of(backbone) as calls:
            output = _run(backbone, inputs)
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{name}: it does not run on tokens alone: {said}") from error
    states = [s for s in map(_rows, _states(output)) if s is not None]
    layers = _chain(backbone, calls)
    outputs = [_rows(c.output) for c in layers]
    if layers and all(o is not None for o in outputs):
        seen = [any(_same(o, s) for s in states) for o in outputs]
        # all but the last, after which a final norm may come
        if not states or all(seen[:-1]):
            with torch.inference_mode():
                return Anatomy(
                    blocks=[c.module for c in layers],
                    paths=[c.path for c in layers],
                    width=int(outputs[0].shape[-1]) if outputs[0] is not None else 0,
                    depth=len(layers),
                    normed=_is_normed(layers[-1], states[-1], calls) if states else None,
                    _calls=calls,
                    _layers=layers,
                    _tokens=inputs["input_ids"],
                )
    if len(states) < 2:
        raise InputError(f"{name}: no blocks are found that pass on a vector per token.")
    width = int(states[-1].shape[-1])
    return Anatomy([], [], width, len(states) - 1, None, calls, [], inputs["input_ids"])


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


def _run(backbone: torch.nn.Module, inputs: dict[str, Any]) -> Any:
    states = {"output_hidden_states": True, "return_dict": True}
    for options in ({**states, "use_cache": False}, states):
        try:
            return backbone(**inputs, **options)
        except TypeError:
            continue
    return backbone(**inputs)


def _states(output: Any) -> list[torch.Tensor]:
    for name in ("hidden_states", "encoder_hidden_states"):
        found = getattr(output, name, None)
        if found is not None:
            states = [tensor_of(s) for s in found]
            return [s for s in states if s is not None]
    return []


@contextmanager
def _calls_of(backbone: torch.nn.Module) -> Iterator[list[Call]]:
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


def _chain(backbone: torch.nn.Module, calls: Sequence[Call]) -> list[Call]:
    """The calls of the list of modules that hands one tensor on for the longest time."""
    best: tuple[tuple[int, int], list[Call]] | None = None
    for path, module in backbone.named_modules():
        if not isinstance(module, torch.nn.ModuleList):
            continue
        children = {id(child) for child in module}
        run = [c for c in calls if id(c.module) in children and c.end >= 0]
        if not run or not all(
            any(_same(a.output, v) for v in b.inputs) for a, b in itertools.pairwise(run)
        ):
            continue
        key = (run[-1].end - run[0].start, -path.count("."))
        if best is None or key > best[0]:
            best = key, run
    return best[1] if best else []


def _is_normed(last: Call, state: torch.Tensor, calls: Sequence[Call]) -> bool | None:
    if _same(_rows(last.output), state):
        return False
    readers = [c for c in calls if c.start > last.end and _is_norm(c)]
    for call in readers:
        if any(_same(v, last.output) for v in call.inputs) and _same(_rows(call.output), state):
            return True
    return None


def _parts(
    start: torch.Tensor | None,
    end: torch.Tensor | None,
    inner: Sequence[Call],
    tokens: torch.Tensor,
) -> dict[str, Point]:
    """The sites of a block that are found by what is added to the residual stream."""
    if start is None or end is None or start.numel() != end.numel():
        return {}
    branches = [c for c in inner if c.output is not None and c.output.numel() == start.numel()]
    for reader in inner:
        if _is_norm(reader) and _same(reader.output, end):
            # it ends the block: the sum that it reads holds the MLP too
            continue
        for value in reader.inputs:
            if value.numel() != start.numel() or _same(value, start):
                continue
            added = _added(start, value, [c for c in branches if c.end < reader.start])
            if added is None or not _is_attention(added, start, end, inner, tokens):
                continue
            found = {
                "resid_mid": _point(reader, value, before=True),
                "attn_out": _point(added, added.output),
                "mlp_in": _mlp_in(reader, value, inner),
                "mlp_out": _mlp_out(reader, value, end, inner, branches),
            }
            return {site: point for site, point in found.items() if point is not None}
    return _parallel(start, end, branches)


def _is_attention(
    added: Call,
    start: torch.Tensor,
    end: torch.Tensor,
    inner: Sequence[Call],
    tokens: torch.Tensor,
) -> bool:
    """Whether what is added comes from a mixer of tokens, with no MLP between."""
    if _mixes(added):
        return not _embeds(added, tokens)
    # a norm of the stream, which in half precision may look like what is added to it
    if any(_same(v, start) for v in added.inputs):
        return False
    # the mixer's own projection or, beside it, a norm
    mixers = [
        c
        for c in inner
        if not _same(c.output, end)
        and (
            c.start < added.start < c.end
            or (c.end < added.start and _is_norm(added) and _gives(c, added))
        )
    ]
    return any(_mixes(c) for c in mixers)


def _mixes(call: Call) -> bool:
    """Whether what a module gives at later tokens changes with what it gets at the first."""

    def turned(value: torch.Tensor) -> torch.Tensor:
        axes = _axes(value)
        if axes is None or not value.is_floating_point() or value.numel() <= _BATCH * _LENGTH:
            return value
        value = value.clone()
        by_token = value.unflatten(0, (_BATCH, -1)) if axes.token < 0 else value
        first = by_token.select(1 if axes.token < 0 else axes.token, 0)
        # not negated, which a product of two gates would undo
        first.copy_(first.flip(-1))
        return value

    return _changes(call, turned)


def _embeds(call: Call, tokens: torch.Tensor) -> bool:
    """Whether a module is given the token ids themselves, and makes use of them."""
    if not any(_same(v, tokens) for v in call.inputs):
        return False
    return _changes(call, lambda v: v.flip(1) if _same(v, tokens) else v)


def _changes(call: Call, change: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    """Whether a module, called anew with other inputs, gives something else at later tokens."""
    given = iter(call.inputs)

    def other(value: Any) -> Any:
        return change(next(given)) if isinstance(value, torch.Tensor) else value

    args = [other(v) for v in call.args]
    kwargs = {name: other(v) for name, v in call.kwargs.items()}
    try:
        again = _rows(tensor_of(call.module(*args, **kwargs)))
    except Exception:
        # called out of turn, a module may do anything
        return False
    was = _rows(call.output)
    if was is None or again is None or was.shape != again.shape or not was.is_floating_point():
        return False
    eps = torch.finfo(was.dtype).eps
    was, again = was[:, 1:].double(), again[:, 1:].double()
    apart = (again - was).norm(dim=-1) / was.norm(dim=-1).clamp_min(1e-12)
    # mixtures of experts round otherwise in other company
    return bool(apart.max() > max(1e-5, 2 * eps))


def _gives(giver: Call, taker: Call) -> bool:
    return any(_same(v, giver.output) for v in taker.inputs)


def _mlp_in(reader: Call, value: torch.Tensor, inner: Sequence[Call]) -> Point | None:
    """After the norm that reads the middle of the stream; that itself, where there is none."""
    readers = [reader, *(c for c in inner if reader.start < c.start and c.end < reader.end)]
    for call in readers:
        if _is_norm(call) and any(_same(v, value) for v in call.inputs):
            return _point(call, call.output)
    return _point(reader, value, before=True)


def _mlp_out(
    reader: Call,
    value: torch.Tensor,
    end: torch.Tensor,
    inner: Sequence[Call],
    branches: Sequence[Call],
) -> Point | None:
    later = [c for c in branches if c.start >= reader.start]
    added = _added(value, end, later)
    if added is None:
        # the sum is normed once more before it leaves the block
        for last in inner:
            if last.start > reader.start and _is_norm(last) and _same(last.output, end):
                base = reader.output if _is_norm(reader) else value
                for summed in last.inputs:
                    if base is not None and summed.numel() == base.numel():
                        added = added or _added(base, summed, later)
    return _point(added, added.output) if added is not None else None


def _parallel(start: torch.Tensor, end: torch.Tensor, branches: Sequence[Call]) -> dict[str, Point]:
    """Attention and MLP that read the same and are added at once."""
    outer = [c for c in branches if not any(o.start < c.start and c.end < o.end for o in branches)]
    for a in outer:
        for m in outer:
            if a is m:
                continue
            assert a.output is not None
            assert m.output is not None
            both = a.output.reshape(start.shape) + m.output.reshape(start.shape)
            if _is_sum(start, end, both) and _mixes(a) and not _mixes(m):
                points = {
                    "attn_out": _point(a, a.output),
                    "mlp_out": _point(m, m.output),
                    "mlp_in": _point(m, m.inputs[0], before=True) if m.inputs else None,
                }
                return {site: point for site, point in points.items() if point is not None}
    return {}


def _added(base: torch.Tensor, total: torch.Tensor, calls: Sequence[Call]) -> Call | None:
    """The outermost call whose output, times some factor, is `total` less `base`."""
    fits = [c for c in calls if c.output is not None and _is_sum(base, total, c.output)]
    return min(fits, key=lambda c: (c.path.count("."), c.start)) if fits else None


def _is_sum(base: torch.Tensor, total: torch.Tensor, part: torch.Tensor) -> bool:
    a, b = base.double().flatten(), total.double().flatten()
    try:
        c = part.reshape(base.shape).double().flatten()
    except RuntimeError:
        return False
    square = float(c @ c)
    factor = float((b - a) @ c) / square if square else 0.0
    if abs(factor) < 1e-3:
        return False
    rounding = torch.finfo(total.dtype).eps * (a.abs() + b.abs() + (factor * c).abs())
    close = (b - a - factor * c).abs() <= 8 * rounding
    return bool(close.double().mean() > 0.99)


def _by_path(block: Call, inner: Sequence[Call], site: str) -> Point | None:
    from fnmatch import fnmatchcase

    pattern, _, side = site.partition(":")
    if side not in ("", "input"):
        raise InputError(f"site {site!r}: after a module's path there can only be ':input'.")
    fits = [c for c in inner if fnmatchcase(c.path.removeprefix(block.path + "."), pattern)]
    if len({c.path for c in fits}) > 1:
        raise InputError(
            f"site {site!r}: it fits {fits[0].path}, {fits[1].path} and perhaps more; "
            "a site is one module of each block."
        )
    if not fits:
        return None
    call = fits[0]
    value = next(iter(call.inputs), None) if side else call.output
    return _point(call, value, before=bool(side))


def _point(call: Call, value: torch.Tensor | None, *, before: bool = False) -> Point | None:
    axes = None if value is None else _axes(value)
    if axes is None:
        return None
    argument = next((i for i, v in enumerate(call.inputs) if v is value), 0) if before else 0
    return Point(call.path, call.module, before, argument, call.number, axes)


def _axes(value: torch.Tensor) -> Axes | None:
    """Prompts and tokens among the dimensions of what was watched."""
    shape = tuple(value.shape)
    if shape[:2] == (_BATCH, _LENGTH):
        return Axes(0, 1)
    if shape[:1] == (_BATCH * _LENGTH,):
        return Axes(0, -1)
    if shape.count(_BATCH) == 1 and shape.count(_LENGTH) == 1:
        return Axes(shape.index(_BATCH), shape.index(_LENGTH))
    return None


def _rows(value: torch.Tensor | None) -> torch.Tensor | None:
    axes = None if value is None or value.dim() < 2 else _axes(value)
    return None if axes is None or value is None else rows(value, axes, _BATCH)


def _same(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    if a is None or b is None or a.numel() != b.numel():
        return False
    return a.shape == b.shape and bool(torch.equal(a, b))


def _is_norm(call: Call) -> bool:
    # a whole part of a model of that name may bear it too
    if call.output is None or "norm" not in type(call.module).__name__.lower():
        return False
    return any(v.shape == call.output.shape for v in call.inputs)
