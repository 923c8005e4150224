"""Causal language models: what is asked of one here, and how tokens go through it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol

from geointerp.errors import InputError

if TYPE_CHECKING:
    import torch

Ids = tuple[int, ...]


class LanguageModel(Protocol):
    """What is asked of a model here: `geointerp.models.Model` has it."""

    model: Any
    tokenizer: Any


def check_loaded(model: Any) -> None:
    """Raise `InputError` for what is no loaded model, such as a model's name or a `Server`."""
    if hasattr(model, "model") and hasattr(model, "tokenizer"):
        return
    kind = type(model).__name__
    if callable(getattr(model, "distribution", None)):
        raise InputError(
            f"the model is a {kind}, which has a `distribution` of its own; call that, or give a "
            "model that is loaded, as by geointerp.models.load."
        )
    raise InputError(
        f"the model is a {kind}; it must be loaded, as by geointerp.models.load, or a "
        "geollm.Server that rates prompts by itself."
    )


def check_model(hf: Any) -> None:
    """Raise `InputError` for what is no causal language model by its class."""
    generates = getattr(hf, "can_generate", lambda: False)()
    if not generates or hf.get_output_embeddings() is None or hf.config.is_encoder_decoder:
        raise InputError(
            f"{type(hf).__name__} does not say which token comes next; "
            "ratings need a causal language model."
        )


def check_causal(hf: Any, ids: Ids) -> None:
    """An encoder under a language-modelling head has a causal model's methods, not its mask."""
    import torch

    whole = torch.tensor([ids], device=hf.device)
    half = (len(ids) + 1) // 2
    with torch.inference_mode():
        before, _ = forward(hf, whole[:, :half], last=1)
        after, _ = forward(hf, whole, last=len(ids) - half + 1)
    p, q = (logits.float().softmax(-1) for logits in (before[0, -1], after[0, half - len(ids) - 1]))
    if float((p - q).abs().sum()) / 2 > 0.05:
        raise InputError(
            f"{type(hf).__name__} sees the tokens that come after; ratings need a causal "
            "language model (some encoders become one with is_decoder=True)."
        )


def forward(
    hf: Any, ids: torch.Tensor, *, last: int, cache: Any = None, past: int = 0
) -> tuple[torch.Tensor, Any]:
    """Logits of at least the last so many positions, and the key-value cache if there is one."""
    import torch

    options: dict[str, Any] = {"input_ids": ids, "use_cache": True}
    takes = inspect.signature(hf.forward).parameters
    if "logits_to_keep" in takes:
        options["logits_to_keep"] = last
    if cache is not None:
        options["past_key_values"] = cache
    options["attention_mask"] = torch.ones(
        len(ids), past + ids.shape[1], dtype=torch.long, device=ids.device
    )
    out = hf(**options)
    return out.logits, getattr(out, "past_key_values", None)


def repeat(cache: Any, times: int) -> bool:
    """Repeat every row of a cache in place; False if it is of a kind that cannot."""
    # of a layer with both attention and a recurrent state, transformers repeats the former alone
    if any(hasattr(layer, "conv_states") for layer in getattr(cache, "layers", ())):
        return False
    try:
        cache.batch_repeat_interleave(times)
    except (AttributeError, NotImplementedError):
        return False
    return True
