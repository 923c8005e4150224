"""Hooks: read a site of chosen blocks while a model runs, and leave the model as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from geointerp.errors import InputError

if TYPE_CHECKING:
    import torch

    from geointerp.calls import Point
    from geointerp.models import Model

    Keep = Callable[[int, torch.Tensor], torch.Tensor]

SITES = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_in", "mlp_out")


def chosen_layers(model: Model, layers: str | int | Sequence[int]) -> list[int]:
    """Layers as a sorted list of block numbers.

    Parameters
    ----------
    layers : "all", int or sequence of int
        Block 0 is the first; negative numbers count from the end.

    Raises
    ------
    InputError
        A layer that the model does not have, or one named twice.
    """
    if isinstance(layers, str):
        if layers == "all":
            return list(range(model.depth))
        try:
            layers = [int(part) for part in layers.split(",")]
        except ValueError:
            raise InputError(f"layers is {layers!r}; it must be 'all' or numbers.") from None
    wanted = [layers] if isinstance(layers, int) else list(layers)
    found = []
    for layer in wanted:
        if not -model.depth <= layer < model.depth:
            raise InputError(
                f"layer {layer}: {model.name} has layers 0 to {model.depth - 1} "
                f"(or -{model.depth} to -1)."
            )
        found.append(layer % model.depth)
    if not found or len(set(found)) < len(found):
        raise InputError(f"layers is {layers!r}; it must name at least one, and none twice.")
    return sorted(found)


def point(model: Model, layer: int, site: str) -> Point:
    """Where a site of a layer is read.

    Parameters
    ----------
    model : Model
    layer : int
    site : str
        As for `record`.

    Raises
    ------
    InputError
        A site that is unknown or that the layer does not have.
    """
    if not model.blocks:
        raise InputError(
            f"{model.name} has no blocks to hook; of it only resid_pre and resid_post are read, "
            "from its own hidden states."
        )
    if site not in SITES and not _is_path(model, layer, site):
        raise InputError(
            f"site is {site!r}; it must be one of {', '.join(SITES)}, or the path of a module in "
            f"a block, such as {_example(model, layer)}."
        )
    found = model.anatomy.point(layer, site)
    if found is None:
        raise InputError(
            f"site {site}: layer {layer} of {model.name} has none; "
            f"`geointerp models {model.name}` lists what there is."
        )
    return found


def check(model: Model, layers: Sequence[int], site: str) -> None:
    """Raise `InputError` for a site that is unknown or that one of the layers does not have."""
    if model.blocks or site not in ("resid_pre", "resid_post"):
        for layer in layers:
            point(model, layer, site)


@contextmanager
def record(
    model: Model,
    layers: Sequence[int],
    site: str = "resid_post",
    *,
    keep: Keep | None = None,
) -> Iterator[dict[int, torch.Tensor]]:
    """Keep what passes a site of each layer, in every forward pass within the context.

    Parameters
    ----------
    model : Model
    layers : sequence of int
        Block numbers.
    site : str
        `resid_pre` is the residual stream as it enters the block, `resid_mid` after
        attention is added to it, and `resid_post` as it leaves the block, before any final
        norm of the model. `attn_out` and `mlp_out` are what is added to it, so that
        ``resid_mid = resid_pre + attn_out`` and, where the block does not norm the sum,
        ``resid_post = resid_mid + mlp_out`` (times the model's own factors, where it has
        any). `mlp_in` is what the MLP receives, after its norm. Anything else is the path of
        a module in the block, with wildcards if wanted, such as ``"mlp.act_fn"``; its output
        is read, or its input as in ``"mlp.down_proj:input"``.
    keep : callable, optional
        Called with the layer and what was read, as soon as it is read; its result is kept
        instead.

    Yields
    ------
    dict of int to Tensor, shape (batch, token, hidden)
        By layer; filled anew by each forward pass. Unless `keep` copies, a model that adds to
        a tensor in place changes what is kept.

    Raises
    ------
    InputError
        A site that is unknown or that a block does not have.
    """
    from geointerp.calls import given_to, rows, tensor_of

    seen: dict[int, torch.Tensor] = {}
    points = {layer: point(model, layer, site) for layer in layers}
    # layers that share one module are told apart by its calls
    counts: dict[tuple[str, bool], int] = {}
    batch = [0]

    def begin(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        seen.clear()
        counts.clear()
        batch[0] = next(iter(given_to(args, kwargs))).shape[0]

    def take(where: tuple[str, bool], given: Sequence[torch.Tensor | None]) -> None:
        number = counts[where] = counts.get(where, -1) + 1
        for layer, p in points.items():
            if (p.path, p.before, p.call) == (*where, number):
                tensor = given[p.argument]
                assert tensor is not None
                tensor = rows(tensor, p.axes, batch[0])
                seen[layer] = keep(layer, tensor) if keep else tensor

    def hooked(where: tuple[str, bool], module: torch.nn.Module) -> Any:
        if where[1]:
            return module.register_forward_pre_hook(
                lambda _, args, kwargs: take(where, given_to(args, kwargs)), with_kwargs=True
            )
        return module.register_forward_hook(lambda _, args, out: take(where, [tensor_of(out)]))

    handles = [model.backbone.register_forward_pre_hook(begin, with_kwargs=True)]
    try:
        for where, module in {(p.path, p.before): p.module for p in points.values()}.items():
            handles.append(hooked(where, module))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


class _Enough(Exception):
    """All that is wanted was read."""


def read(
    model: Model, inputs: dict[str, Any], layers: Sequence[int], site: str, keep: Keep
) -> dict[int, torch.Tensor]:
    """Run a model as far as the deepest wanted layer, and return what was kept.

    Parameters
    ----------
    model : Model
    inputs : dict
        Of the backbone's forward pass.
    layers, site, keep
        As for `record`.

    Returns
    -------
    dict of int to Tensor

    Raises
    ------
    InputError
        A layer that the forward pass leaves out.
    """
    if not model.blocks:
        return _read_states(model, inputs, layers, site, keep)
    wanted = len(layers)

    def keep_and_stop(layer: int, tensor: torch.Tensor) -> torch.Tensor:
        kept[layer] = keep(layer, tensor)
        if len(kept) == wanted:
            raise _Enough
        return kept[layer]

    kept: dict[int, torch.Tensor] = {}
    with record(model, layers, site, keep=keep_and_stop):
        try:
            model.backbone(**inputs)
        except _Enough:
            return kept
    absent = sorted(set(layers) - set(kept))
    raise InputError(f"layer {absent[0]} of {model.name} is left out when it reads a prompt.")


def _read_states(
    model: Model, inputs: dict[str, Any], layers: Sequence[int], site: str, keep: Keep
) -> dict[int, torch.Tensor]:
    """From the model's own hidden states, for models without blocks."""
    check(model, layers, site)
    states = model.backbone(**inputs, output_hidden_states=True, return_dict=True).hidden_states
    return {layer: keep(layer, states[layer + (site == "resid_post")]) for layer in layers}


def _is_path(model: Model, layer: int, site: str) -> bool:
    """Whether a site fits a module of the block."""
    from fnmatch import fnmatchcase

    pattern = site.partition(":")[0]
    names = [name for name, _ in model.blocks[layer].named_modules() if name]
    return any(fnmatchcase(name, pattern) for name in names)


def _example(model: Model, layer: int) -> str:
    return repr([name for name, _ in model.blocks[layer].named_modules() if name][-1])
