"""Activations of one layer, row by row, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geointerp.activations import about_of
from geointerp.errors import InputError

# read at a time
_BLOCK = 4096


class Rows:
    """Vectors of one layer, read by slices as float32, and seen to be finite.

    Parameters
    ----------
    acts : DataArray or array_like, shape (place, hidden)
        In memory or on disk.
    size : int, optional
        What an autoencoder reads.
    chosen : ndarray of int, shape (row,), optional
        Which of them, in ascending order.

    Raises
    ------
    InputError
        More than one layer; a hidden size other than `size`; on reading, a value that is not
        finite.
    """

    def __init__(
        self, acts: Any, size: int | None = None, chosen: NDArray[np.int64] | None = None
    ) -> None:
        if getattr(acts, "dims", None) is not None and "layer" in acts.dims:
            if acts.sizes["layer"] != 1:
                layers = acts["layer"].values.tolist()
                raise InputError(
                    f"these are activations of layers {layers}: choose one, sel(layer=…)."
                )
            acts = acts.squeeze("layer")
        self._source = acts if hasattr(acts, "shape") else np.asarray(acts)
        if len(self._source.shape) != 2:
            raise InputError(
                f"activations are (place, hidden); these have the shape {self._source.shape}."
            )
        self._chosen = np.arange(self._source.shape[0]) if chosen is None else chosen
        self.shape = (len(self._chosen), self._source.shape[1])
        if size is not None and self.shape[1] != size:
            raise InputError(
                f"the autoencoder reads vectors of {size}; these activations have {self.shape[1]}."
            )

    def __len__(self) -> int:
        return self.shape[0]

    def of(self, chosen: NDArray[np.int64]) -> Rows:
        """Some of these rows, by their numbers in ascending order."""
        return Rows(self._source, None, self._chosen[chosen])

    def __getitem__(self, wanted: slice) -> NDArray[np.float32]:
        """Neighbouring rows, by few reads."""
        numbers = self._chosen[wanted]
        found = np.empty((len(numbers), self.shape[1]), np.float32)
        for start in range(0, len(numbers), _BLOCK):
            some = numbers[start : start + _BLOCK]
            if not len(some):
                break
            first = int(some[0])
            read = np.asarray(self._source[first : int(some[-1]) + 1], np.float32)
            found[start : start + len(some)] = read[some - first]
        bad = ~np.isfinite(found).all(axis=1)
        if bad.any():
            row = int(numbers[np.flatnonzero(bad)[0]])
            raise InputError(f"row {row} of the activations is not finite.")
        return found

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """All rows, some thousand at a time."""
        for start in range(0, len(self), _BLOCK):
            yield self[start : start + _BLOCK]


def origin(acts: Any) -> dict[str, Any]:
    """Where activations of one layer come from, in the words of sae-lens's metadata.

    Returns
    -------
    dict
        Empty for an array that does not say.
    """
    if "model" not in getattr(acts, "attrs", {}) or "layer" not in acts.coords:
        return {}
    attrs = about_of(acts)
    layer = int(np.ravel(acts["layer"].values)[0])
    kept = (
        "site",
        "template",
        "names",
        "pool",
        "weights_sha256",
        "untrained_seed",
        "places_sha256",
    )
    return {
        "model_name": attrs["model"],
        "hook_name": f"blocks.{layer}.{attrs.get('site')}",
        "layer": layer,
        **{key: attrs[key] for key in kept if attrs.get(key) is not None},
    }
