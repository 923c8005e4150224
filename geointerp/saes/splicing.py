"""Splicing: what a model still predicts when it reads an autoencoder's reconstruction."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from geointerp import hooks, progress
from geointerp.errors import InputError
from geointerp.places import label
from geointerp.prompts import Tokens, pooled_positions, tokenize

if TYPE_CHECKING:
    import torch

    from geointerp.models import Model

    Change = Callable[[torch.Tensor], torch.Tensor]


def loss_recovered(
    sae: Any,
    model: Model,
    prompts: pd.DataFrame,
    *,
    layer: int | None = None,
    site: str | None = None,
    pool: str | None = None,
    batch_size: int = 16,
) -> dict[str, float]:
    """How much of a model's prediction survives the autoencoder in its way.

    The reconstruction takes the activation's place at the tokens that the autoencoder was
    trained on, and at no others, which it has never seen: with the pool "last", at the
    placename's last token. It is compared with the model as it is, and with two ablations of
    the same tokens: zeros, as Rajamanoharan et al. 2024, sae-lens and SAEBench have it, and the
    mean of what is replaced, over all these prompts, which is harder to be better than.

    Parameters
    ----------
    sae : sae_lens.SAE
    model : Model
        A causal language model.
    prompts : DataFrame
        As `geointerp.prompts.render` or `geointerp.activations.prompts_of` gives it: `prompt`
        and, for the pools "last" and "mean", `start` and `end`. Best those that were held out.
    layer : int, optional
    site : str, optional
    pool : {"last", "mean", "prompt_last", "prompt_mean"}, optional
        If not given, those of the activations that the autoencoder was trained on.
        "prompt_mean" is every token but the special ones. For the means, each token is encoded
        by itself; an autoencoder that was trained on means has never seen such vectors either.
    batch_size : int
        Prompts that go through the model together, all of one length, so that none is padded.

    Returns
    -------
    dict of str to float
        `loss`, `loss_spliced`, `loss_zero` and `loss_mean`: mean cross-entropy, in nats, of the
        `n_predicted` tokens that come after the first that is replaced; NaN where none does, as
        with the pool "prompt_last". Special tokens are read but not predicted.
        `kl_spliced`, `kl_zero` and `kl_mean`: mean divergence KL(as it is ‖ replaced) of what
        comes next, in nats, at the first replaced token and all after it.
        `loss_recovered_zero` and `loss_recovered_mean`: the share of what the ablation costs
        that the autoencoder does not, (ablated − spliced) / (ablated − loss): above 1 where
        the reconstruction happens to predict better than the activation, NaN where the ablation
        costs nothing. `kl_recovered_zero` and `kl_recovered_mean`: 1 − spliced / ablated of the
        divergence.

    Raises
    ------
    InputError
        A model without next-token logits, or whose vectors are not as long as the
        autoencoder's; an autoencoder of another model, or that writes to another site than
        it reads; one that does not say its layer, site or pool, which are not given either;
        no prompts, or ones without what the pool needs.

    References
    ----------
    Rajamanoharan et al. 2024, Improving dictionary learning with gated sparse autoencoders,
    arXiv 2404.16014.
    """
    import torch

    from geointerp.sites import describe

    check_predicts(model)
    if describe(model)["encoder"]:
        raise InputError(
            f"{model.name} sees the tokens that it should predict; it is no causal one."
        )
    check_model(sae, model)
    if hasattr(sae.cfg, "d_out"):
        raise InputError("this is a transcoder: it gives back another site than it reads.")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be 1 or more.")
    (layer,) = hooks.chosen_layers(model, _told(sae, "layer", layer))
    site, pool = _told(sae, "site", site), _told(sae, "pool", pool)
    hooks.point(model, layer, site)
    batches = _batches(model, prompts, pool, batch_size)
    mean = _mean(model, batches, layer, site, sae.cfg.d_in)

    def spliced(x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = sae.decode(sae.encode(x.float().to(sae.device)))
        return found

    changes: dict[str, Change] = {
        "spliced": spliced,
        "zero": torch.zeros_like,
        "mean": lambda x: mean.expand_as(x),
    }
    losses, divergences = dict.fromkeys(["plain", *changes], 0.0), dict.fromkeys(changes, 0.0)
    for batch in progress.track(batches, "splice"):
        plain = _predicted(model, batch)
        losses["plain"] += batch.loss(plain)
        for name, change in changes.items():
            with replaced(model, layer, site, batch.changing(change)):
                other = _predicted(model, batch)
            losses[name] += batch.loss(other)
            divergences[name] += float((plain.exp() * (plain - other)).sum(-1).double().sum())
    predicted = sum(int((batch.following >= 0).sum()) for batch in batches)
    positions = sum(len(batch.following) for batch in batches)
    loss = {name: total / predicted if predicted else np.nan for name, total in losses.items()}
    kl = {name: total / positions for name, total in divergences.items()}
    ablated = ("zero", "mean")
    return {
        "loss": loss["plain"],
        **{f"loss_{name}": loss[name] for name in changes},
        **{
            f"loss_recovered_{name}": _share(loss[name], loss["spliced"], loss["plain"])
            for name in ablated
        },
        **{f"kl_{name}": kl[name] for name in changes},
        **{f"kl_recovered_{name}": _share(kl[name], kl["spliced"], 0.0) for name in ablated},
        "n_predicted": float(predicted),
    }


def check_predicts(model: Model) -> None:
    """Raise `InputError` for a model that does not say which token comes next."""
    hf = model.model
    if (
        not getattr(hf, "can_generate", lambda: False)()
        or hf.get_output_embeddings() is None
        or hf.config.is_encoder_decoder
    ):
        raise InputError(
            f"{model.name} ({type(hf).__name__}) does not say which token comes next; this needs "
            "a causal language model."
        )


def check_model(sae: Any, model: Model) -> None:
    """Raise `InputError` if an autoencoder says that it was trained on another model."""
    trained = sae.cfg.metadata.get("weights_sha256")
    if trained is not None and trained != model.fingerprint:
        raise InputError(
            f"the autoencoder was trained on {sae.cfg.metadata.get('model_name')} with "
            f"weights_sha256 {trained!r}; {model.name} has {model.fingerprint!r}."
        )


@contextmanager
def replaced(
    model: Model, layer: int, site: str, write: Callable[[torch.Tensor], None]
) -> Iterator[None]:
    """Change what passes a site of a layer, in every forward pass within the context.

    Parameters
    ----------
    model : Model
    layer : int
    site : str
        As for `geointerp.hooks.record`. In `resid_mid` the sum itself is changed, which both
        the MLP and the rest of the residual stream go on from; elsewhere only what reads the
        module's output, or the module itself where its input is read.
    write : callable
        Called with a tensor of shape (prompt, token, ...), which it is to change in place.

    Raises
    ------
    InputError
        A site that is unknown or that the layer does not have.
    """
    from geointerp.calls import given_to, tensor_of

    p = hooks.point(model, layer, site)
    batch, number = [0], [-1]

    def begin(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        batch[0], number[0] = next(iter(given_to(args, kwargs))).shape[0], -1

    def changed(value: torch.Tensor) -> torch.Tensor:
        import torch

        if site != "resid_mid":
            value = value.clone(memory_format=torch.contiguous_format)
        if p.axes.token < 0:
            write(value.unflatten(0, (batch[0], -1)))
        else:
            write(value.movedim((p.axes.batch, p.axes.token), (0, 1)))
        return value

    def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        number[0] += 1
        if number[0] != p.call:
            return None
        given = [*args, *kwargs.values()]
        index = [i for i, v in enumerate(given) if given_to([v], {})][p.argument]
        given[index] = changed(given[index])
        return tuple(given[: len(args)]), dict(zip(kwargs, given[len(args) :], strict=True))

    def after(module: Any, args: Any, output: Any) -> Any:
        number[0] += 1
        value = tensor_of(output)
        return None if number[0] != p.call or value is None else _with(output, changed(value))

    handles = [model.backbone.register_forward_pre_hook(begin, with_kwargs=True)]
    try:
        if p.before:
            handles.append(p.module.register_forward_pre_hook(before, with_kwargs=True))
        else:
            handles.append(p.module.register_forward_hook(after))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _with(value: Any, tensor: torch.Tensor) -> Any:
    """What a module gave, with another tensor as the first in it."""
    from geointerp.calls import tensor_of

    if isinstance(value, Mapping):
        value = copy.copy(value)
        key = next(k for k, part in value.items() if tensor_of(part) is not None)
        value[key] = _with(value[key], tensor)
        return value
    if isinstance(value, tuple | list):
        parts = list(value)
        first = next(i for i, part in enumerate(parts) if tensor_of(part) is not None)
        parts[first] = _with(parts[first], tensor)
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return tensor


class _Batch(NamedTuple):
    """Prompts of one length.

    Attributes
    ----------
    ids : Tensor of int, shape (prompt, token)
    at : (rows, positions)
        Tokens that are replaced.
    affected : (rows, positions)
        Tokens after which another may be predicted for it.
    following : Tensor of int
        What comes after each of those; -1 after the end of the prompt.
    """

    ids: torch.Tensor
    at: tuple[torch.Tensor, torch.Tensor]
    affected: tuple[torch.Tensor, torch.Tensor]
    following: torch.Tensor

    def changing(self, change: Change) -> Callable[[torch.Tensor], None]:
        """What writes a function of the vectors that are replaced, (vector, hidden)."""

        def write(values: torch.Tensor) -> None:
            found = values[self.at]
            values[self.at] = change(found.flatten(1)).reshape(found.shape).to(values)

        return write

    def loss(self, logs: torch.Tensor) -> float:
        """Summed cross-entropy, from logarithms of probabilities, (affected, vocabulary)."""
        known = self.following >= 0
        return -float(logs[known, self.following[known]].double().sum())


def _batches(model: Model, prompts: pd.DataFrame, pool: str, size: int) -> list[_Batch]:
    """Prompts of equal length together; a token's row and position are those in its batch."""
    tokens = _tokens(model, prompts, pool)
    spans = pooled_positions(tokens, pool)
    lengths = np.array([len(t.ids) for t in tokens])
    found = []
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        for rows in (same[start : start + size] for start in range(0, len(same), size)):
            found.append(_batch(model, [tokens[i] for i in rows], [spans[i] for i in rows]))
    return found


def _batch(model: Model, tokens: Sequence[Tokens], spans: Sequence[tuple[int, int]]) -> _Batch:
    import torch

    def index(pairs: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        # on the CPU, from where they index tensors of any device
        rows, positions = torch.tensor(pairs).T
        return rows, positions

    at = [(row, i) for row, (a, b) in enumerate(spans) for i in range(a, b + 1)]
    affected = [
        (row, i)
        for row, (t, (a, _)) in enumerate(zip(tokens, spans, strict=True))
        for i in range(a, t.end + 1)
    ]
    following = [tokens[row].ids[i + 1] if i < tokens[row].end else -1 for row, i in affected]
    return _Batch(
        torch.tensor([t.ids for t in tokens], device=model.device),
        index(at),
        index(affected),
        torch.tensor(following),
    )


def _tokens(model: Model, prompts: pd.DataFrame, pool: str) -> list[Tokens]:
    if not isinstance(prompts, pd.DataFrame) or "prompt" not in prompts:
        raise InputError("prompts must be a DataFrame with a column 'prompt'.")
    if prompts.empty:
        raise InputError("there are no prompts.")
    if not {"start", "end"} <= set(prompts.columns):
        if pool in ("last", "mean"):
            raise InputError(
                f"pool {pool!r} is of the placename's tokens; the prompts have no columns 'start' "
                "and 'end'."
            )
        prompts = prompts.assign(start=0, end=prompts["prompt"].str.len())
    tokens = tokenize(prompts, model.tokenizer)
    limit = getattr(model.model.config.get_text_config(), "max_position_embeddings", None)
    for row, t in enumerate(tokens):
        if limit and len(t.ids) > limit:
            raise InputError(
                f"place {label(prompts, row)}: its prompt has {len(t.ids)} tokens; {model.name} "
                f"reads {limit}."
            )
    return tokens


def _mean(
    model: Model, batches: Sequence[_Batch], layer: int, site: str, size: int
) -> torch.Tensor:
    """The mean of all vectors that are replaced."""
    import torch

    def total(batch: _Batch) -> torch.Tensor:
        def summed(_: int, values: torch.Tensor) -> torch.Tensor:
            if values.shape[-1] != size:
                raise InputError(
                    f"the autoencoder reads vectors of {size}; {site} of layer {layer} of "
                    f"{model.name} has {values.shape[-1]}."
                )
            return values[batch.at].double().sum(0)

        with torch.inference_mode():
            return hooks.read(model, {"input_ids": batch.ids}, [layer], site, summed)[layer]

    totals = torch.stack([total(batch) for batch in batches])
    return totals.sum(0) / sum(len(batch.at[0]) for batch in batches)


def _predicted(model: Model, batch: _Batch) -> torch.Tensor:
    """Logarithms of the probabilities of what comes next, shape (affected, vocabulary)."""
    import torch

    with torch.inference_mode():
        logits = model.model(input_ids=batch.ids).logits
        logs: torch.Tensor = logits[batch.affected].float().log_softmax(-1)
        return logs


def _told(sae: Any, key: str, given: Any) -> Any:
    """What is given or, if nothing is, what the autoencoder says of its activations."""
    found = sae.cfg.metadata.get(key) if given is None else given
    if found is None:
        raise InputError(f"the autoencoder does not say of which {key} it is: give {key}=.")
    return found


def _share(ablated: float, spliced: float, plain: float) -> float:
    return (ablated - spliced) / (ablated - plain) if ablated > plain else np.nan
