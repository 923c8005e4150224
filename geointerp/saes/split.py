"""Which places an autoencoder is trained on, and which judge it."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp.activations import prompts_of
from geointerp.errors import InputError
from geointerp.saes.rows import Rows

# of the distinct prompts
HOLDOUT, VALIDATION = 0.1, 0.05


class Split(NamedTuple):
    """Numbers of the places, ascending.

    Attributes
    ----------
    training, validation, held_out : ndarray of int
        What the weights are made of; what stops the training, empty where nothing does; what
        decides nothing but the figures.
    """

    training: NDArray[np.int64]
    validation: NDArray[np.int64]
    held_out: NDArray[np.int64]


def split(acts: Any, seed: int = 0, *, validation: bool = False) -> Split:
    """Divide places by their prompts.

    Parameters
    ----------
    acts : DataArray or array_like, shape (place, hidden)
    seed : int
    validation : bool
        Whether some are to stop the training.

    Returns
    -------
    Split
        Of the distinct prompts, or, where `acts` do not say of which prompts they are, of the
        distinct vectors, a tenth is held out and a twentieth validates.

    Raises
    ------
    InputError
        All are the same.
    """
    if "template" in getattr(acts, "attrs", {}):
        keys = prompts_of(acts)["prompt"].tolist()
    else:
        keys = [
            hashlib.blake2b(row, digest_size=16).digest()
            for block in Rows(acts).blocks()
            for row in block
        ]
    group, distinct = pd.factorize(np.asarray(keys, dtype=object))
    if len(distinct) == 1:
        raise InputError("all activations are the same; there is nothing to learn.")
    if seed < 0:
        raise InputError(f"seed is {seed}; it must be 0 or more.")
    order = np.random.default_rng(seed).permutation(len(distinct))
    first = max(1, round(HOLDOUT * len(distinct)))
    second = first + (max(1, round(VALIDATION * len(distinct))) if validation else 0)
    sides = np.zeros(len(distinct), int)
    sides[order[:second]] = 1
    sides[order[:first]] = 2
    training, validating, held = (np.flatnonzero(sides[group] == side) for side in (0, 1, 2))
    return Split(training, validating, held)


def held_out(acts: Any, seed: int = 0) -> NDArray[np.bool_]:
    """Which places `train` holds out.

    Parameters
    ----------
    acts : DataArray or array_like, shape (place, hidden)
    seed : int

    Returns
    -------
    ndarray of bool, shape (place,)
        A tenth of the prompts, or, where `acts` do not say of which prompts they are, of the
        distinct vectors.
    """
    found = np.zeros(len(acts), bool)
    found[split(acts, seed).held_out] = True
    return found
