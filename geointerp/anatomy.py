"""Anatomy: a model's blocks and their parts, found by watching one forward pass.

No table of architectures: the blocks are the modules of one list through which the
residual stream passes, each one's output the next one's input; a block's parts are the
modules whose outputs are seen to be added to the stream, and what is called attention is seen
to carry something from one token to another.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from geointerp.calls import (
    BATCH,
    LENGTH,
    Call,
    Point,
    calls_of,
    is_norm,
    point_at,
    rows_of,
    same,
    tensor_of,
)
from geointerp.errors import InputError
from geointerp.hooks import SITES
from geointerp.parts import by_path, parts_of


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
            parts_of(self._stream(i), b.output, self._inner(b), self._tokens)
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
            return point_at(block, self._stream(layer), before=True)
        if site == "resid_post":
            return point_at(block, block.output)
        if site in SITES:
            return self._found[layer].get(site)
        return by_path(block, self._inner(block), site)

    def _inner(self, block: Call) -> list[Call]:
        return [c for c in self._calls if block.start < c.start and 0 <= c.end < block.end]

    def _stream(self, layer: int) -> torch.Tensor | None:
        """The input of a block that is the residual stream: what the block before gave."""
        inputs = self._layers[layer].inputs
        if self.depth == 1:
            return inputs[0] if inputs else None
        known = max(layer, 1)
        before = self._layers[known - 1].output
        index = [same(v, before) for v in self._layers[known].inputs].index(True)
        return inputs[index] if index < len(inputs) else None


def watch(
    backbone: torch.nn.Module,
    vocabulary: int,
    name: str,
    *,
    avoid: set[int],
    device: torch.device,
) -> Anatomy:
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
    device : torch.device
        Where its inputs go.

    Returns
    -------
    Anatomy

    Raises
    ------
    InputError
        A model that does not run on tokens alone, or has no stream of a vector per token.
    """
    ids = [i for i in range(min(vocabulary, 1000)) if i not in avoid]
    drawn = np.random.default_rng(0).choice(ids, (BATCH, LENGTH))
    inputs: dict[str, Any] = {"input_ids": torch.from_numpy(drawn).to(device)}
    try:
        with torch.inference_mode(), calls_of(backbone) as calls:
            output = _run(backbone, inputs)
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{name}: it does not run on tokens alone: {said}") from error
    states = [s for s in map(rows_of, _states(output)) if s is not None]
    layers = _chain(backbone, calls)
    outputs = [rows_of(c.output) for c in layers]
    if layers and all(o is not None for o in outputs):
        seen = [any(same(o, s) for s in states) for o in outputs]
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


def _chain(backbone: torch.nn.Module, calls: Sequence[Call]) -> list[Call]:
    """The calls of the list of modules that hands one tensor on for the longest time."""
    best: tuple[tuple[int, int], list[Call]] | None = None
    for path, module in backbone.named_modules():
        if not isinstance(module, torch.nn.ModuleList):
            continue
        children = {id(child) for child in module}
        run = [c for c in calls if id(c.module) in children and c.end >= 0]
        if not run or not all(
            any(same(a.output, v) for v in b.inputs) for a, b in itertools.pairwise(run)
        ):
            continue
        key = (run[-1].end - run[0].start, -path.count("."))
        if best is None or key > best[0]:
            best = key, run
    return best[1] if best else []


def _is_normed(last: Call, state: torch.Tensor, calls: Sequence[Call]) -> bool | None:
    if same(rows_of(last.output), state):
        return False
    readers = [c for c in calls if c.start > last.end and is_norm(c)]
    for call in readers:
        if any(same(v, last.output) for v in call.inputs) and same(rows_of(call.output), state):
            return True
    return None
