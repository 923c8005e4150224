"""Activations of one layer, row by row, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geointerp.activations import about_of
from geointerp.errors import InputError

# rows and numbers read at a time, and how far apart rows of one read may lie
_BLOCK, _NUMBERS, _SPAN = 4096, 2**26, 16_384

# TransformerLens's names of sites
_HOOKS = {name: f"hook_{name}" for name in ("resid_pre", "resid_mid", "resid_post")}
_HOOKS |= {"attn_out": "hook_attn_out", "mlp_out": "hook_mlp_out", "mlp_in": "ln2.hook_normalized"}


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
        No dense array of real numbers; more than one layer; a hidden size other than `size`;
        on reading, a value that is not finite.
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
        dims: tuple[Any, ...] = getattr(acts, "dims", ())
        if "place" in dims and dims[0] != "place":
            raise InputError(f"activations are (place, hidden); these are {dims}: transpose them.")
        if hasattr(acts, "tocsr"):
            raise InputError("activations are a sparse matrix; an autoencoder reads dense ones.")
        # tensors and tables, too
        lazy = isinstance(getattr(acts, "dtype", None), np.dtype)
        self._source = acts if lazy else np.asarray(acts)
        if self._source.dtype.kind not in "buif":
            raise InputError(
                f"activations are of {self._source.dtype}; an autoencoder reads real numbers."
            )
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
        start = 0
        while start < len(numbers):
            first = int(numbers[start])
            stop = int(np.searchsorted(numbers, first + _SPAN))
            some = numbers[start:stop]
            read = np.asarray(self._source[first : int(some[-1]) + 1], np.float32)
            found[start:stop] = read[some - first]
            start = stop
        bad = ~np.isfinite(found).all(axis=1)
        if bad.any():
            row = int(numbers[np.flatnonzero(bad)[0]])
            raise InputError(f"row {row} of the activations is not finite.")
        return found

    def blocks(self, width: int = 1) -> Iterator[NDArray[np.float32]]:
        """All rows, some thousand at a time; fewer where `width` numbers will be made of each."""
        count = max(1, min(_BLOCK, _NUMBERS // max(width, self.shape[1])))
        for start in range(0, len(self), count):
            yield self[start : start + count]


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
    layer, site = int(np.ravel(acts["layer"].values)[0]), str(attrs.get("site"))
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
        "hook_name": f"blocks.{layer}.{_HOOKS.get(site, site)}",
        "layer": layer,
        **{key: attrs[key] for key in kept if attrs.get(key) is not None},
    }
