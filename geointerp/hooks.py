"""Hooks: read a site of chosen blocks while a model runs, and leave the model as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from geointerp.errors import InputError

if TYPE_CHECKING:
    import torch

    from geointerp.models import Model

SITES = ("resid_pre", "resid_post", "attn_out", "mlp_in", "mlp_out")

_ATTENTION = ("self_attn", "attn", "attention", "self_attention", "attention_layer")
_MLP = ("mlp", "feed_forward", "ffn", "block_sparse_moe", "ff")


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


@contextmanager
def record(
    model: Model, layers: Sequence[int], site: str = "resid_post"
) -> Iterator[dict[int, torch.Tensor]]:
    """Keep what passes a site of each layer, in every forward pass within the context.

    Parameters
    ----------
    model : Model
    layers : sequence of int
        Block numbers.
    site : str
        `resid_pre` is the residual stream as it enters the block and `resid_post` as it
        leaves it, before any final norm of the model; `attn_out` and `mlp_out` are what
        attention and MLP give, before they are added to it; `mlp_in` is what the MLP
        receives.

    Yields
    ------
    dict of int to Tensor, shape (batch, token, hidden)
        By layer; filled anew by each forward pass. Nothing of it is copied.

    Raises
    ------
    InputError
        A site that is unknown or that a block does not have.
    """
    seen: dict[int, torch.Tensor] = {}
    handles = []
    try:
        for layer in layers:
            module, before = _locate(model, layer, site)
            hook: Any = _reader(seen, layer)
            if before:
                handles.append(module.register_forward_pre_hook(_before(hook), with_kwargs=True))
            else:
                handles.append(module.register_forward_hook(_after(hook)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _locate(model: Model, layer: int, site: str) -> tuple[torch.nn.Module, bool]:
    """The module of a site, and whether its input is meant rather than its output."""
    if site not in SITES:
        raise InputError(f"site is {site!r}; it must be one of {', '.join(SITES)}.")
    block = model.blocks[layer]
    if site.startswith("resid"):
        return block, site == "resid_pre"
    children = dict(block.named_children())
    for name in _ATTENTION if site == "attn_out" else _MLP:
        if name in children:
            return children[name], site == "mlp_in"
    raise InputError(
        f"site {site}: layer {layer} of {model.name} has no such part; "
        f"its parts are {', '.join(children)}."
    )


def _reader(seen: dict[int, torch.Tensor], layer: int) -> Any:
    def keep(value: Any) -> None:
        seen[layer] = value[0] if isinstance(value, tuple | list) else value

    return keep


def _before(keep: Any) -> Any:
    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(args[0] if args else kwargs["hidden_states"])

    return hook


def _after(keep: Any) -> Any:
    def hook(module: Any, args: Any, output: Any) -> None:
        keep(output)

    return hook
