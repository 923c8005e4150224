"""Sites: what can be read of a model, listed layer by layer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from geointerp import hooks

if TYPE_CHECKING:
    from geointerp.models import Model


def describe(model: Model) -> dict[str, Any]:
    """What can be read of a model, and where.

    Parameters
    ----------
    model : Model

    Returns
    -------
    dict
        Of `model`, `class`, `layers` (how many), `hidden`, `dtype`; `encoder`, whether what a
        token holds depends on those after it; `normed`, whether the model's own last hidden
        state is the last layer's `resid_post` after a final norm rather than that itself, None
        where it is neither or is not known; `sites`, for each a
        list of `layers`, `path` and `read` ("input", "output" or "hidden states"); and
        `modules`, the layers of every further path that can be given as a site.
    """
    layers = range(model.depth)
    own = [{"layers": list(layers), "path": None, "read": "hidden states"}]
    sites = {
        site: _places_of(model, site)
        if model.blocks
        else own * (site in ("resid_pre", "resid_post"))
        for site in hooks.SITES
    }
    modules: dict[str, list[int]] = {}
    for layer, block in enumerate(model.blocks):
        for name, _ in block.named_modules():
            if name and model.anatomy.point(layer, name):
                modules.setdefault(name, []).append(layer)
    return {
        "model": model.name,
        "class": type(model.model).__name__,
        "layers": model.depth,
        "hidden": model.hidden,
        "dtype": model.dtype,
        "encoder": _looks_ahead(model),
        "normed": model.anatomy.normed,
        "sites": sites,
        "modules": modules,
    }


def _places_of(model: Model, site: str) -> list[dict[str, Any]]:
    """Where a site is: an entry for all layers whose paths differ only by the block's number."""
    found: dict[tuple[str, str, str], dict[int, str]] = {}
    for layer in range(model.depth):
        point = model.anatomy.point(layer, site)
        if point is None:
            continue
        block = model.anatomy.paths[layer]
        stem, _, number = block.rpartition(".")
        inside = f"{point.path}.".startswith(f"{block}.")
        key = (stem, point.path[len(block) :]) if inside else ("", point.path)
        read = "input" if point.before else "output"
        found.setdefault((*key, read), {})[layer] = number if inside else ""
    entries = []
    for (stem, rest, read), numbers in found.items():
        several = sorted({int(number) for number in numbers.values() if number})
        path = f"{stem}.{_braced(several)}{rest}" if several else rest
        entries.append({"layers": list(numbers), "path": path, "read": read})
    return entries


def _looks_ahead(model: Model) -> bool:
    """Whether what a token holds depends on the tokens after it, as in an encoder."""
    import torch

    # twice, and perhaps another token, where a tokenizer knows nothing of these words
    ids = 2 * model.tokenizer("Lima is near Quito")["input_ids"]
    other = next(token for token in (*ids, 0, 1) if token != ids[-1])
    seen = [
        hooks.read(
            model,
            {"input_ids": torch.tensor([[*ids[:-1], last]], device=model.device)},
            [model.depth - 1],
            "resid_post",
            lambda _, tensor: tensor[0, : len(ids) - 1].double().clone(),
        )[model.depth - 1]
        for last in (ids[-1], other)
    ]
    apart = (seen[0] - seen[1]).norm(dim=-1) / seen[0].norm(dim=-1).clamp_min(1e-12)
    return bool(apart.max() > (1e-5 if model.dtype == "float32" else 2e-2))


def lines(about: dict[str, Any]) -> Iterator[str]:
    """What `describe` found, to read.

    Parameters
    ----------
    about : dict
    """
    last = about["layers"] - 1
    yield f"{about['model']} ({about['class']})"
    yield f"layers: {about['layers']}, from 0 to {last}"
    yield f"residual stream: {about['hidden']} values per token, computed in {about['dtype']}"
    yield (
        "each token sees the whole prompt, as in an encoder"
        if about["encoder"]
        else "each token sees only what comes before it"
    )
    if not about["modules"]:
        yield (
            "no blocks are found in it: only resid_pre and resid_post are read, from its own "
            "hidden states, of which the last may be taken after a final norm"
        )
        return
    post = f"resid_post of layer {last}"
    yield {
        True: f"its last hidden state is taken after a final norm; {post} is before that norm",
        False: f"its last hidden state is {post}; no norm comes after it",
        None: f"its last hidden state is not seen to be {post}, with a final norm or without",
    }[about["normed"]]
    rows = [("site", "layers", "module", "read")]
    for site, entries in about["sites"].items():
        rows += [(site, _ranges(e["layers"]), e["path"], e["read"]) for e in entries]
        if not entries:
            rows.append((site, "none", "", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield ""
    for row in rows:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()
    yield ""
    yield "modules of a block that can be a site too, or their inputs, as in mlp:input:"
    by_layers: dict[str, list[str]] = {}
    for name, layers in about["modules"].items():
        by_layers.setdefault(_ranges(layers), []).append(name)
    for layers, names in by_layers.items():
        yield from textwrap.wrap(
            f"{layers}: {', '.join(names)}",
            100,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
            break_long_words=False,
        )


def _ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers in short: 0..3,5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}..{r[-1]}" for r in runs)


def _braced(numbers: list[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{{{_ranges(numbers)}}}"
