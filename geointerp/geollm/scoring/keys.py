"""Keys: by which predictions that were kept are known to be of the same method and places."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from pathlib import PurePath
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator

from geointerp import cards, fingerprint
from geointerp.models import Model

_PACKAGES = ("geointerp", "numpy", "scikit-learn", "torch", "transformers")
_PLAIN = (bool, int, float, complex, str, bytes, slice, range, np.generic, np.dtype, PurePath)


class Untold(Exception):
    """A value that no words tell from every other; it says which."""


def key(*parts: Any) -> str:
    """What decides predictions, in 16 hexadecimal digits.

    The same in another process, and another with other versions of the libraries.

    Parameters
    ----------
    *parts : estimators, arrays, models, and numbers, texts, lists and dicts of them

    Raises
    ------
    Untold
        A function or a class that cannot be imported by its name, such as a lambda, or what
        stands in a script or a notebook; an object of a kind that is not known here.
    """
    versions = cards.versions()
    told = [{name: versions[name] for name in _PACKAGES}, *map(_told, parts)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _told(value: Any) -> Any:
    """A value in words, as JSON holds them."""
    if value is None or isinstance(value, _PLAIN):
        return [type(value).__name__, repr(value)]
    # of their own type alone: what is derived from them may hold more
    if type(value) in (list, tuple):
        return [type(value).__name__, *map(_told, value)]
    if type(value) in (set, frozenset):
        return [type(value).__name__, *sorted(map(_told, value), key=json.dumps)]
    if type(value) is dict:
        return ["dict", *sorted(([_told(k), _told(v)] for k, v in value.items()), key=json.dumps)]
    if type(value) is np.ndarray:
        return [value.dtype.str, list(value.shape), _of_array(value)]
    if isinstance(value, Model):
        return _of_model(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return _name(value)
    if hasattr(value, "get_params"):
        return [_name(type(value)), _told(value.get_params(deep=False))]
    if isinstance(value, BaseCrossValidator):
        return [_name(type(value)), _told(vars(value))]
    raise Untold(f"a {type(value).__name__}")


def _of_array(values: np.ndarray) -> Any:
    if values.dtype.hasobject:
        return _told(values.tolist())
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _of_model(model: Model) -> list[Any]:
    if not getattr(model.tokenizer, "is_fast", False):
        raise Untold(f"a {type(model.tokenizer).__name__}, which is written in Python")
    tokenizer = json.loads(model.tokenizer.backend_tokenizer.to_str())
    # they are those of the last text that it read
    state = {k: v for k, v in tokenizer.items() if k not in ("padding", "truncation")}
    told = [state, model.tokenizer.chat_template, model.tokenizer.special_tokens_map]
    return [
        _name(type(model)),
        model.fingerprint,
        fingerprint.of_config(model.model),
        hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest(),
    ]


def _name(value: Any) -> str:
    """The name by which a function or class is imported."""
    module, name = getattr(value, "__module__", None), value.__qualname__
    try:
        found = functools.reduce(getattr, name.split("."), sys.modules.get(module or ""))
    except AttributeError:
        found = None
    # in a script or a notebook another may bear it tomorrow
    if found is not value or module == "__main__":
        raise Untold(f"{name}, which cannot be imported")
    return f"{module}.{name}"
