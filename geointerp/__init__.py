"""geointerp: what a language model knows about places, where inside it, and whether it is used.

The way of the data: `places` → `prompts` → `activations` → `probes`, `saes` → `spatial` →
`atlas`; and beside it `geollm`. Each room is imported when it is first named, so that
``import geointerp`` is quick.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__version__ = "0.1.0"

_ROOMS = (
    "activations",
    "atlas",
    "cards",
    "cli",
    "demo",
    "errors",
    "geonames",
    "geollm",
    "hooks",
    "models",
    "places",
    "plot",
    "probes",
    "prompts",
    "saes",
    "spatial",
    "sphere",
    "toponym",
)

__all__ = ["__version__", *_ROOMS]


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
