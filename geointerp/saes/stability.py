"""Stability: which latents come back when an autoencoder is trained with another seed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from geointerp.errors import InputError
from geointerp.saes.reading import directions

# of a cosine, in Paulo & Belrose 2025
SHARED = 0.7
_AT_ONCE = 1024


class Stability(NamedTuple):
    """What autoencoders have in common.

    Attributes
    ----------
    latents : DataFrame
        A row per ordered pair of autoencoders and latent of the first: `sae` and `other`, by
        their numbers in the order given; `latent`; `matched`, the latent of the other that it
        is matched with, -1 for none, as where the other has fewer; `cosine` of the two decoder
        rows, NaN for none; `max_cosine`, the greatest with any of the other's.
    pairs : DataFrame
        A row per ordered pair: `sae`, `other`; `matched_cosine`, the mean of `cosine` over
        those that are matched; `mmcs`, the mean of `max_cosine`; `shared`, the share of all of
        the first's latents whose matched cosine is above .7.
    """

    latents: pd.DataFrame
    pairs: pd.DataFrame


def stability(*saes: Any, alive: Sequence[ArrayLike] | None = None) -> Stability:
    """How alike autoencoders are that differ in their seed.

    Each pair's latents are matched one to one such that the cosines of their decoder rows sum
    to the most (the Hungarian method). Paulo & Belrose 2025 match encoders too, and call a
    latent shared if both agree; here the decoder decides alone. The mean of the greatest
    cosines, MMCS (Sharkey et al. 2022), lets several latents go to one.

    Parameters
    ----------
    *saes : sae_lens.SAE
        Two or more, trained on the same activations; their widths may differ.
    alive : sequence of array_like of bool, optional
        For each autoencoder the latents that count, such as
        ``features.var["n_active"] > 0``: what never fires hardly leaves where its seed put it.

    Returns
    -------
    Stability

    Raises
    ------
    InputError
        Fewer than two autoencoders, or of activations of different sizes; masks that do not
        fit, or leave nothing.

    Notes
    -----
    The cosines of a pair take 8 bytes each, 2 GiB for two widths of 16,384; matching these
    takes about half a minute.

    References
    ----------
    Paulo & Belrose 2025, Sparse autoencoders trained on the same data learn different
    features, arXiv 2501.16615.
    Sharkey, Braun & Millidge 2022, Taking features out of superposition with sparse
    autoencoders.
    """
    if len(saes) < 2:
        raise InputError(f"{len(saes)} autoencoder(s) are given; it takes two to compare.")
    sizes = sorted({int(sae.cfg.d_in) for sae in saes})
    if len(sizes) > 1:
        raise InputError(f"the autoencoders read vectors of different sizes: {sizes}.")
    kept = _kept(saes, alive)
    latents = []
    for a, b in itertools.combinations(range(len(saes)), 2):
        # rows no more than columns, or the solver would copy the matrix
        if len(kept[a]) > len(kept[b]):
            a, b = b, a
        latents += _compared((a, b), directions(saes[a])[kept[a]], directions(saes[b])[kept[b]])
    table = pd.concat(latents, ignore_index=True)
    for role, number in (("sae", "latent"), ("other", "matched")):
        for i, rows in enumerate(kept):
            of_i = (table[role] == i) & (table[number] >= 0)
            table.loc[of_i, number] = rows[table.loc[of_i, number]]
    table = table.sort_values(["sae", "other", "latent"], ignore_index=True)
    by_pair = table.assign(shared=table["cosine"] > SHARED).groupby(["sae", "other"])
    pairs = by_pair.agg(
        matched_cosine=("cosine", "mean"), mmcs=("max_cosine", "mean"), shared=("shared", "mean")
    )
    return Stability(table, pairs.reset_index())


def _kept(saes: Sequence[Any], alive: Sequence[ArrayLike] | None) -> list[NDArray[np.int64]]:
    """The numbers of each autoencoder's latents that count."""
    if alive is None:
        return [np.arange(sae.cfg.d_sae) for sae in saes]
    if len(alive) != len(saes):
        raise InputError(f"there are {len(alive)} masks for {len(saes)} autoencoders.")
    found = []
    for i, (sae, mask) in enumerate(zip(saes, alive, strict=True)):
        values = np.asarray(mask)
        if values.shape != (sae.cfg.d_sae,) or values.dtype != bool:
            raise InputError(
                f"alive of autoencoder {i} must be {sae.cfg.d_sae} of True and False; it is of "
                f"{values.dtype} and has the shape {values.shape}."
            )
        if not values.any():
            raise InputError(f"alive of autoencoder {i} leaves no latent.")
        found.append(np.flatnonzero(values))
    return found


def _compared(
    pair: tuple[int, int], rows: NDArray[np.float32], columns: NDArray[np.float32]
) -> list[pd.DataFrame]:
    """The latents of two autoencoders beside each other's, both ways."""
    from scipy.optimize import linear_sum_assignment

    # as the solver wants it: it would copy a matrix to negate it, or to make it float64
    cost = np.empty((len(rows), len(columns)))
    for start in range(0, len(rows), _AT_ONCE):
        cost[start : start + _AT_ONCE] = -(rows[start : start + _AT_ONCE] @ columns.T)
    row, column = linear_sum_assignment(cost)
    found = []
    for (sae, other), mine, theirs, axis in (
        (pair, row, column, 1),
        (pair[::-1], column, row, 0),
    ):
        table = pd.DataFrame(
            {"sae": sae, "other": other, "latent": np.arange(cost.shape[1 - axis])}
        )
        table["matched"] = -1
        table["cosine"] = np.nan
        table.loc[mine, "matched"] = theirs
        table.loc[mine, "cosine"] = -cost[row, column]
        table["max_cosine"] = -cost.min(axis=axis)
        found.append(table)
    return found
