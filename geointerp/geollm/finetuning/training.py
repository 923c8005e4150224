"""Training: steps over prompts with their ratings, in a fixed order, that can be taken up again."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geointerp.errors import InputError
from geointerp.geollm.ratings.causal import Ids
from geointerp.progress import track

if TYPE_CHECKING:
    import torch

    from geointerp.saes.checkpoint import Checkpoint

log = logging.getLogger(__name__)

_WARM_UP = 0.1
_DECAY = 0.01
_CLIP = 1.0


class Example(NamedTuple):
    """The tokens of a prompt, and those that its rating adds."""

    prompt: Ids
    rating: Ids


def train(
    trained: Any,
    examples: list[Example],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    checkpoint: Checkpoint | None,
    device: torch.device,
) -> list[float]:
    """Train in place what of a model is not frozen.

    Parameters
    ----------
    trained : torch.nn.Module
    examples : list of Example
    epochs, batch_size, learning_rate, seed
        As for `finetune`.
    checkpoint : Checkpoint or None
        Where the state is kept after each epoch, and from which it goes on.
    device : torch.device

    Returns
    -------
    list of float
        The mean loss of each epoch, in nats per rating.
    """
    import torch

    weights = [weight for weight in trained.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=_DECAY)
    per_epoch = math.ceil(len(examples) / batch_size)
    start, losses = _restore(checkpoint, weights, optimizer)
    step = start * per_epoch
    trained.train()
    bar = track(range(step, epochs * per_epoch), "fine-tune", total=epochs * per_epoch, done=step)
    for epoch in range(start, epochs):
        # each epoch's own, so that one that is begun again is the same
        order = np.random.default_rng((seed, epoch))
        torch.manual_seed(int(order.integers(2**31)))
        total = 0.0
        for rows in _batches(examples, batch_size, order):
            step = next(bar)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * _factor(step, epochs * per_epoch)
            loss = _loss(trained, [examples[row] for row in rows], device)
            if not torch.isfinite(loss):
                raise InputError(
                    f"the loss of step {step + 1} is {loss.item()}; make learning_rate less than "
                    f"{learning_rate:g}, or load the model in float32."
                )
            (loss / len(rows)).backward()
            torch.nn.utils.clip_grad_norm_(weights, _CLIP)
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item()
        losses.append(total / len(examples))
        log.info("epoch %d of %d: loss %.3f nats", epoch + 1, epochs, losses[-1])
        if checkpoint is not None:
            _keep(checkpoint, epoch + 1, weights, optimizer, losses)
    trained.eval()
    return losses


def _loss(trained: Any, batch: list[Example], device: torch.device) -> torch.Tensor:
    """-log P of the ratings' tokens after their prompts, summed over the batch."""
    import torch

    lengths = [len(one.prompt) + len(one.rating) for one in batch]
    width = max(lengths)
    # padding stands after all that is read, where a causal model does not look
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, one in enumerate(batch):
        ids[row, : lengths[row]] = torch.tensor(one.prompt + one.rating)
        mask[row, : lengths[row]] = 1
    # counted from the end: learned tokens may stand before
    last = width - min(len(one.prompt) for one in batch) + 1
    where = [
        (row, len(one.prompt) - 1 + i - (width - last), token)
        for row, one in enumerate(batch)
        for i, token in enumerate(one.rating)
    ]
    row, position, token = torch.tensor(where, device=device).T
    options: dict[str, Any] = {"attention_mask": mask.to(device), "use_cache": False}
    if _keeps_few(trained):
        options["logits_to_keep"] = last
    logits = trained(input_ids=ids.to(device), **options).logits[:, -last:]
    logits = logits[row.to(logits.device), position.to(logits.device)].float()
    return torch.nn.functional.cross_entropy(logits, token.to(logits.device), reduction="sum")


def _keeps_few(trained: Any) -> bool:
    own = trained.get_base_model() if hasattr(trained, "get_base_model") else trained
    return "logits_to_keep" in inspect.signature(own.forward).parameters


def _batches(
    examples: list[Example], size: int, random: np.random.Generator
) -> Iterator[list[int]]:
    """All rows in random order, those of like length together within stretches of it."""
    order = random.permutation(len(examples))
    stretch = 32 * size
    found = []
    for start in range(0, len(order), stretch):
        near = sorted(order[start : start + stretch], key=lambda row: len(examples[row].prompt))
        found += [[int(r) for r in near[i : i + size]] for i in range(0, len(near), size)]
    for i in random.permutation(len(found)):
        yield found[i]


def _factor(step: int, steps: int) -> float:
    """Of the learning rate: warm-up, then a cosine (Loshchilov & Hutter 2017)."""
    warm = max(1, round(_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _keep(
    checkpoint: Checkpoint, epoch: int, weights: list[Any], optimizer: Any, losses: list[float]
) -> None:
    import torch

    state = {f"weight.{i}": weight for i, weight in enumerate(weights)}
    for i, moments in optimizer.state_dict()["state"].items():
        state |= {f"{name}.{i}": value for name, value in moments.items()}
    checkpoint.save(epoch, {**state, "losses": torch.tensor(losses, dtype=torch.float64)})


def _restore(
    checkpoint: Checkpoint | None, weights: list[Any], optimizer: Any
) -> tuple[int, list[float]]:
    """How many epochs are done, and their losses."""

    saved = None if checkpoint is None else checkpoint.load()
    if checkpoint is None or saved is None:
        return 0, []
    epoch, state = saved
    log.warning("%s: going on after epoch %d", checkpoint.path, epoch)
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        name, _, i = key.rpartition(".")
        if name == "weight":
            weights[int(i)].data.copy_(value)
        elif name:
            moments.setdefault(int(i), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return epoch, state["losses"].tolist()
