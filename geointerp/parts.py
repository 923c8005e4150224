"""Parts: which modules of a block are its attention and its MLP, by what the stream gains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from geointerp.calls import (
    BATCH,
    LENGTH,
    Call,
    Point,
    axes_of,
    is_norm,
    point_at,
    rows_of,
    same,
    tensor_of,
)
from geointerp.errors import InputError


def parts_of(
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
        if is_norm(reader) and same(reader.output, end):
            # it ends the block: the sum that it reads holds the MLP too
            continue
        for value in reader.inputs:
            if value.numel() != start.numel() or same(value, start):
                continue
            added = _added(start, value, [c for c in branches if c.end < reader.start])
            if added is None or not _is_attention(added, start, end, inner, tokens):
                continue
            found = {
                "resid_mid": point_at(reader, value, before=True),
                "attn_out": point_at(added, added.output),
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
    if any(same(v, start) for v in added.inputs):
        return False
    # the mixer's own projection or, beside it, a norm
    mixers = [
        c
        for c in inner
        if not same(c.output, end)
        and (
            c.start < added.start < c.end
            or (c.end < added.start and is_norm(added) and _gives(c, added))
        )
    ]
    return any(_mixes(c) for c in mixers)


def _mixes(call: Call) -> bool:
    """Whether what a module gives at later tokens changes with what it gets at the first."""

    def turned(value: torch.Tensor) -> torch.Tensor:
        axes = axes_of(value)
        if axes is None or not value.is_floating_point() or value.numel() <= BATCH * LENGTH:
            return value
        value = value.clone()
        by_token = value.unflatten(0, (BATCH, -1)) if axes.token < 0 else value
        first = by_token.select(1 if axes.token < 0 else axes.token, 0)
        # not negated, which a product of two gates would undo
        first.copy_(first.flip(-1))
        return value

    return _changes(call, turned)


def _embeds(call: Call, tokens: torch.Tensor) -> bool:
    """Whether a module is given the token ids themselves, and makes use of them."""
    if not any(same(v, tokens) for v in call.inputs):
        return False
    return _changes(call, lambda v: v.flip(1) if same(v, tokens) else v)


def _changes(call: Call, change: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    """Whether a module, called anew with other inputs, gives something else at later tokens."""
    given = iter(call.inputs)

    def other(value: Any) -> Any:
        return change(next(given)) if isinstance(value, torch.Tensor) else value

    args = [other(v) for v in call.args]
    kwargs = {name: other(v) for name, v in call.kwargs.items()}
    try:
        again = rows_of(tensor_of(call.module(*args, **kwargs)))
    except Exception:
        # called out of turn, a module may do anything
        return False
    was = rows_of(call.output)
    if was is None or again is None or was.shape != again.shape or not was.is_floating_point():
        return False
    eps = torch.finfo(was.dtype).eps
    was, again = was[:, 1:].double(), again[:, 1:].double()
    apart = (again - was).norm(dim=-1) / was.norm(dim=-1).clamp_min(1e-12)
    # mixtures of experts round otherwise in other company
    return bool(apart.max() > max(1e-5, 2 * eps))


def _gives(giver: Call, taker: Call) -> bool:
    return any(same(v, giver.output) for v in taker.inputs)


def _mlp_in(reader: Call, value: torch.Tensor, inner: Sequence[Call]) -> Point | None:
    """After the norm that reads the middle of the stream; that itself, where there is none."""
    readers = [reader, *(c for c in inner if reader.start < c.start and c.end < reader.end)]
    for call in readers:
        if is_norm(call) and any(same(v, value) for v in call.inputs):
            return point_at(call, call.output)
    return point_at(reader, value, before=True)


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
            if last.start > reader.start and is_norm(last) and same(last.output, end):
                base = reader.output if is_norm(reader) else value
                for summed in last.inputs:
                    if base is not None and summed.numel() == base.numel():
                        added = added or _added(base, summed, later)
    return point_at(added, added.output) if added is not None else None


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
                    "attn_out": point_at(a, a.output),
                    "mlp_out": point_at(m, m.output),
                    "mlp_in": point_at(m, m.inputs[0], before=True) if m.inputs else None,
                }
                return {site: point for site, point in points.items() if point is not None}
    return {}


def _added(base: torch.Tensor, total: torch.Tensor, calls: Sequence[Call]) -> Call | None:
    """The outermost call whose output, times some factor, is `total` less `base`."""
    fits = [c for c in calls if c.output is not None and _is_sum(base, total, c.output)]
    return min(fits, key=lambda c: (c.path.count("."), c.start)) if fits else None


def _is_sum(base: torch.Tensor, total: torch.Tensor, part: torch.Tensor) -> bool:
    if part.numel() != base.numel():
        return False
    # blocks may stand on several devices
    a, b, c = (v.to(base.device, torch.float64).flatten() for v in (base, total, part))
    square = float(c @ c)
    factor = float((b - a) @ c) / square if square else 0.0
    if abs(factor) < 1e-3:
        return False
    rounding = torch.finfo(total.dtype).eps * (a.abs() + b.abs() + (factor * c).abs())
    close = (b - a - factor * c).abs() <= 8 * rounding
    return bool(close.double().mean() > 0.99)


def by_path(block: Call, inner: Sequence[Call], site: str) -> Point | None:
    """Where a module of a block is read, by its path there."""
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
    return point_at(call, value, before=bool(side))
