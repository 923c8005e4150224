"""The forward pass: prompts through a model in batches, pooled where the hooks read."""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geointerp import hooks
from geointerp.errors import InputError
from geointerp.prompts import common_length

if TYPE_CHECKING:
    import torch

    from geointerp.models import Model
    from geointerp.prompts import Tokens

log = logging.getLogger(__name__)

# a shorter prefix costs more to carry along than to compute again
_PREFIX = 8
# to go through the weights once more costs about as much as this part of a batch's tokens
_BATCH_SHARE = 16


class Job(NamedTuple):
    """One prompt and what is read of it.

    Attributes
    ----------
    ids : tuple of int
        Its tokens.
    first, last : int
        Positions, both inclusive, whose mean is taken.
    """

    ids: tuple[int, ...]
    first: int
    last: int


def jobs(tokens: Sequence[Tokens], spans: Sequence[tuple[int, int]]) -> list[Job]:
    """Prompts with the span that is pooled of each."""
    return [Job(tuple(t.ids), *span) for t, span in zip(tokens, spans, strict=True)]


class Reader:
    """Runs prompts through a model and pools what is read at a site of each layer.

    Parameters
    ----------
    model : Model
    layers : list of int
    site : str
    prompts : sequence of Job
        All that will be read, here or in other processes. What they begin with alike is
        computed once, what follows the last token that is read is left out where the model
        never looks ahead, and the shortest and the longest show whether padding is harmless.
    batch_tokens : int
        At most so many tokens, padding included, go through the model at once; halved
        whenever a GPU's memory runs out.
    padding_side : {"right", "left"}
        The other side, or none, is taken where the model would read padding on this one; a
        model in which prompts change each other reads them one by one.
    """

    def __init__(
        self,
        model: Model,
        layers: list[int],
        site: str,
        *,
        prompts: Sequence[Job],
        batch_tokens: int,
        padding_side: str = "right",
    ) -> None:
        self.model, self.layers, self.site = model, layers, site
        self.batch_tokens, self._side = batch_tokens, padding_side
        self._accepted = set(inspect.signature(model.backbone.forward).parameters)
        padding = getattr(model.tokenizer, "pad_token_id", None)
        self._padding_id = padding or 0
        self._prefix: _Prefix | None = None
        self._looks_ahead = self._check_order(prompts)
        needed = sorted({self._needed(job).ids for job in prompts}, key=len)
        # a short, a middling and a long one, side by side
        self._sample = list(dict.fromkeys([needed[0], needed[len(needed) // 2], needed[-1]]))
        self._check_company()
        # what the first and the last in order have in common, all have
        length = min(common_length(min(needed), max(needed)), len(needed[0]) - 1)
        if length >= _PREFIX and "past_key_values" in self._accepted:
            self._share_prefix(needed[0][:length])

    @property
    def width(self) -> int:
        """Values per vector."""
        return self._width

    def read(self, wanted: Sequence[Job]) -> NDArray[np.float32]:
        """Vectors of some prompts, shape (prompt, layer, hidden); one pass for equal ones."""
        import torch

        wanted = [self._needed(job) for job in wanted]
        row_of = {job: row for row, job in enumerate(dict.fromkeys(wanted))}
        distinct = list(row_of)
        # a row that is never written must show
        vectors = np.full((len(distinct), len(self.layers), self._width), np.nan, np.float32)
        queue = list(self._batches(distinct))[::-1]
        while queue:
            rows = queue.pop()
            try:
                vectors[rows] = self._pooled([distinct[row] for row in rows]).cpu().numpy()
            except torch.OutOfMemoryError:
                if len(rows) == 1:
                    raise
                torch.cuda.empty_cache()
                self.batch_tokens = max(1, self.batch_tokens // 2)
                log.warning("out of memory: %d tokens at once from here", self.batch_tokens)
                queue += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
        return vectors[[row_of[job] for job in wanted]]

    def _batches(self, wanted: Sequence[Job]) -> Iterator[list[int]]:
        """Prompts of like length together, within the budget of tokens."""
        lengths = np.array([len(job.ids) for job in wanted])
        order = np.argsort(lengths, kind="stable")
        if self._side == "alone":
            heaps = [order[row : row + 1] for row in range(len(order))]
        elif self._side == "none":
            heaps = [order[lengths[order] == length] for length in np.unique(lengths)]
        else:
            heaps = [order]
        for heap in heaps:
            for rows in _runs(lengths[heap], self.batch_tokens):
                yield heap[rows].tolist()

    def _pooled(self, batch: list[Job]) -> torch.Tensor:
        """Vectors of one batch, shape (prompt, layer, hidden), float32, on one device."""
        import torch

        inputs, offset, longest = self._inputs([job.ids for job in batch])
        known = self._prefix.length if self._prefix else 0
        pool = _Pool(batch, offset - known, known, longest)
        with torch.inference_mode():
            seen = hooks.read(self.model, inputs, self.layers, self.site, pool.of)
            vectors = [seen[layer] for layer in self.layers]
            if self._prefix:
                vectors = [
                    vector + pool.of_prefix(self._prefix.states[layer])
                    for layer, vector in zip(self.layers, vectors, strict=True)
                ]
            home = vectors[0].device
            return torch.stack([vector.to(home) for vector in vectors], dim=1)

    def _states(self, prompts: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
        """What is read at the deepest layer, for each prompt's own tokens after the prefix."""
        import torch

        inputs, offset, longest = self._inputs(prompts)
        known = self._prefix.length if self._prefix else 0
        deepest = max(self.layers)
        with torch.inference_mode():
            states = hooks.read(
                self.model,
                inputs,
                [deepest],
                self.site,
                lambda layer, t: _checked(layer, t, longest),
            )[deepest]
        starts = offset.tolist()
        return [
            states[row, start : start + len(ids) - known].float()
            for row, (ids, start) in enumerate(zip(prompts, starts, strict=True))
        ]

    def _inputs(
        self, prompts: Sequence[tuple[int, ...]]
    ) -> tuple[dict[str, Any], NDArray[np.int64], int]:
        """What the model is given, how far each prompt is moved by padding, and the length."""
        import torch

        known = self._prefix.length if self._prefix else 0
        lengths = np.array([len(ids) - known for ids in prompts])
        longest = int(lengths.max())
        offset = longest - lengths if self._side == "left" else np.zeros_like(lengths)
        table = np.full((len(prompts), longest), self._padding_id, dtype=np.int64)
        mask = np.zeros((len(prompts), known + longest), dtype=np.int64)
        mask[:, :known] = 1
        for row, ids in enumerate(prompts):
            start, stop = offset[row], offset[row] + lengths[row]
            table[row, start:stop] = ids[known:]
            mask[row, known + start : known + stop] = 1
        arrays = {"input_ids": table}
        if (lengths < longest).any() or known:
            arrays["attention_mask"] = mask
            if "position_ids" in self._accepted and (self._side == "left" or known):
                # positions count from the prompt's own first token, not from the padding's
                arrays["position_ids"] = np.maximum(np.cumsum(mask, axis=1) - 1, 0)[:, known:]
        inputs: dict[str, Any] = {
            key: torch.from_numpy(array).to(self.model.device) for key, array in arrays.items()
        }
        if self._prefix:
            inputs |= {"past_key_values": self._prefix.cache(len(prompts)), "use_cache": True}
        elif "use_cache" in self._accepted:
            inputs["use_cache"] = False
        return inputs, offset, longest

    def _needed(self, job: Job) -> Job:
        """A prompt without what cannot matter."""
        return job if self._looks_ahead else job._replace(ids=job.ids[: job.last + 1])

    def _check_order(self, prompts: Sequence[Job]) -> bool:
        """Whether a token's vector depends on the tokens after it, or on how many they are."""
        tailed = [job for job in prompts if job.last + 1 < len(job.ids)]
        if not tailed:
            return False
        for job in {
            max(tailed, key=lambda job: (len(job.ids) - job.last, len(job.ids))),
            max(tailed, key=lambda job: (len(job.ids), len(job.ids) - job.last)),
        }:
            before, after = job.ids[: job.last + 1], job.ids[job.last + 1 :]
            others = tuple(token - 1 if token else 1 for token in after)
            whole, changed, cut = (
                self._states([ids])[0][: len(before)] for ids in (job.ids, before + others, before)
            )
            # zero weight is exactly zero: a model that looks ahead, however little, differs
            if not bool((whole == changed).all()) or not self._alike([cut], [whole]):
                return True
        return False

    def _check_company(self) -> None:
        """Find how prompts can go together without changing each other's vectors."""
        alone = [self._states([ids])[0] for ids in self._sample]
        self._width = alone[0].shape[-1]
        others = [[ids[::-1], ids[:1] * len(ids)] for ids in self._sample]
        # beside others of its length, and beside longer and shorter ones too
        level = [
            ([ids, *other], [state])
            for ids, other, state in zip(self._sample, others, alone, strict=True)
        ]
        mixed = [(self._sample + [ids for other in others for ids in other], alone), level[-1]]
        wanted = self._side
        for side in (wanted, *({"right", "left"} - {wanted}), "none"):
            self._side = side
            trials = level if side == "none" else mixed
            if all(self._unchanged(*trial) for trial in trials):
                break
        else:
            self._side = "alone"
        if self._side != wanted:
            put = {
                "none": "prompts of one length go together",
                "alone": "every prompt goes alone",
            }.get(self._side, f"it is put on the {self._side}")
            log.info("%s reads what stands beside a prompt (%s); %s", self.model.name, wanted, put)

    def _unchanged(self, batch: Sequence[tuple[int, ...]], wanted: Sequence[torch.Tensor]) -> bool:
        """Whether the first prompts of a batch have the states that they have alone."""
        try:
            return self._alike(self._states(batch)[: len(wanted)], wanted)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            log.debug("padding on the %s: %s", self._side, error)
            return False

    def _share_prefix(self, ids: tuple[int, ...]) -> None:
        """Compute once what all prompts begin with, if going on from there is the same."""
        plain, side = self._states(self._sample), self._side
        if side == "left":
            # padding between the prefix and the rest would move what a sliding window sees
            self._side = "right"
        try:
            self._prefix = _Prefix.of(self.model, ids, self.layers, self.site)
            if self._alike(self._states(self._sample), [state[len(ids) :] for state in plain]):
                return
        except Exception as error:  # models fail in ways of their own where they have no cache
            log.debug("no shared prefix: %s", error)
        self._prefix, self._side = None, side

    def _alike(self, found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> bool:
        """Whether states, token by token, differ by no more than rounding."""
        bound = 3e-4 if self.model.dtype in ("float32", "float64") else 5e-2
        for a, b in zip(found, wanted, strict=True):
            far = (a - b).norm(dim=-1) / b.norm(dim=-1).clamp_min(1e-12)
            if not bool((far <= bound).all()):
                return False
        return True


def _runs(lengths: NDArray[np.int64], budget: int) -> list[slice]:
    """Cut prompts, the shortest first, into batches that cost least in all.

    A batch costs its tokens, padding included, and some more for each time that the model's
    weights are gone through.
    """
    n, once = len(lengths), budget // _BATCH_SHARE
    cost = np.zeros(n + 1)
    begin = np.zeros(n, np.int64)
    for stop in range(1, n + 1):
        longest = lengths[stop - 1]
        starts = np.arange(max(0, min(stop - 1, stop - budget // longest)), stop)
        tried = cost[starts] + longest * (stop - starts) + once
        best = int(tried.argmin())
        cost[stop], begin[stop - 1] = tried[best], starts[best]
    found: list[slice] = []
    stop = n
    while stop:
        found.append(slice(int(begin[stop - 1]), stop))
        stop = found[-1].start
    return found[::-1]


def _checked(layer: int, tensor: torch.Tensor, length: int) -> torch.Tensor:
    """What was read, if it is a vector per token."""
    if tensor.shape[1] != length:
        raise InputError(
            f"layer {layer} gives {tensor.shape[1]} vectors for {length} tokens; which is whose "
            "is not known."
        )
    return tensor


class _Pool:
    """Means over spans of tokens, in float32, read off one layer at a time."""

    def __init__(self, batch: list[Job], shift: NDArray[np.int64], known: int, length: int) -> None:
        self._length = length
        size = np.array([job.last - job.first + 1 for job in batch])
        first = np.array([max(job.first, known) for job in batch])
        here = np.array([job.last for job in batch]) - first + 1
        steps = np.arange(max(1, here.max()))
        inside = steps < here[:, None]
        self._positions = np.where(inside, (first + shift)[:, None] + steps, 0)
        self._shares = inside / size[:, None]
        ends = np.array([min(job.last + 1, known) for job in batch])
        starts = np.array([job.first for job in batch])
        earlier = np.arange(known)
        within = (earlier >= starts[:, None]) & (earlier < ends[:, None])
        self._prefix_shares = within / size[:, None]
        self._exact = len(steps) == 1 and inside.all() and (size == 1).all()

    def of(self, layer: int, tensor: torch.Tensor) -> torch.Tensor:
        """From what was read, shape (prompt, token, hidden), to (prompt, hidden)."""
        import torch

        tensor = _checked(layer, tensor, self._length)
        at = torch.from_numpy(self._positions).to(tensor.device)
        rows = torch.arange(len(at), device=tensor.device)[:, None]
        # only the span is touched: 0 times a padding's inf would be NaN
        span = tensor[rows, at].float()
        if self._exact:
            return span[:, 0]
        shares = torch.from_numpy(self._shares).to(span)
        return torch.einsum("ps,psh->ph", shares, span)

    def of_prefix(self, states: torch.Tensor) -> torch.Tensor:
        """What the shared prefix adds, from its states, shape (token, hidden)."""
        import torch

        return torch.from_numpy(self._prefix_shares).to(states) @ states


class _Prefix:
    """What all prompts begin with, computed once."""

    def __init__(self, length: int, cache: Any, states: dict[int, torch.Tensor]) -> None:
        self.length, self._cache, self.states = length, cache, states

    @classmethod
    def of(cls, model: Model, ids: tuple[int, ...], layers: list[int], site: str) -> _Prefix:
        import torch
        from transformers import DynamicCache

        config: Any = model.backbone.config
        cache = DynamicCache(config=config)
        inputs = {
            "input_ids": torch.tensor([ids], device=model.device),
            "past_key_values": cache,
            "use_cache": True,
        }
        with torch.inference_mode():
            states = hooks.read(model, inputs, layers, site, lambda _, t: t[0].float().clone())
        return cls(len(ids), cache, states)

    def cache(self, count: int) -> Any:
        """A copy of the keys and values for so many prompts, to go on from."""
        copied = copy.deepcopy(self._cache)
        copied.batch_repeat_interleave(count)
        return copied
