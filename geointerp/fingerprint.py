"""Fingerprints: by which two models are told apart that bear one name."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def of_weights(model: Any) -> str:
    """SHA-256 over names, shapes and bytes of the weights, in hexadecimal."""
    digest = hashlib.sha256()
    for name, value in sorted(_weights(model).items()):
        digest.update(name.encode())
        _hash(value, digest)
    return digest.hexdigest()


def of_config(model: Any) -> str:
    """SHA-256 over what else decides its vectors: the config, and adapters switched on or off."""
    config: Any = getattr(model, "config", None)
    read = config.to_dict() if hasattr(config, "to_dict") else {}
    # where it came from, and who wrote it
    told = {k: v for k, v in read.items() if k not in ("_name_or_path", "transformers_version")}
    # of peft's layers; transformers' models have methods of these names
    adapters = {
        name: [module.disable_adapters, list(module.active_adapters)]
        for name, module in model.named_modules()
        if isinstance(getattr(module, "disable_adapters", None), bool)
    }
    attention = getattr(config, "_attn_implementation", None)
    text = json.dumps([told, attention, adapters], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def trace(model: Any) -> list[Any] | None:
    """What changes when a weight does, quickly read; None where that cannot be told."""
    import torch

    found: list[Any] = []
    for name, value in model.state_dict().items():
        if not isinstance(value, torch.Tensor) or value.is_quantized or value.is_meta:
            return None
        try:
            # the sum sees what is written through .data, which the version does not
            half = value.dtype in (torch.float16, torch.bfloat16)
            parts = value.detach().reshape(-1).split(1 << 22)
            total = sum(float(part.sum(dtype=torch.float32 if half else None)) for part in parts)
            found.append((name, value.data_ptr(), value._version, total))
        except (RuntimeError, TypeError):
            return None
    return found


def _weights(model: Any) -> dict[str, Any]:
    """The state dict, with what waits outside of the device fetched."""
    weights = model.state_dict()
    if any(getattr(value, "is_meta", False) for value in weights.values()):
        from accelerate.utils.modeling import get_state_dict_offloaded_model

        weights = get_state_dict_offloaded_model(model)
    return weights


def _hash(value: Any, digest: Any) -> None:
    """Add a value of a state dict to a digest: a tensor, or what torch packs of several."""
    import torch

    if isinstance(value, tuple | list):
        for part in value:
            _hash(part, digest)
    elif not isinstance(value, torch.Tensor):
        digest.update(repr(value).encode())
    elif value.is_quantized:
        digest.update(repr(value.qscheme()).encode())
        per_channel = value.qscheme() == torch.per_channel_affine
        scales = value.q_per_channel_scales() if per_channel else torch.tensor(value.q_scale())
        for part in (value.int_repr(), scales):
            _hash(part, digest)
    else:
        digest.update(f"{tuple(value.shape)}{value.dtype}".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
