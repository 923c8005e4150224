"""Where each feature clusters, kept by the few places that are in a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

KINDS = ("HH", "LL", "LH", "HL")
Clusters = dict[int, list[NDArray[np.int32]] | str]
"""By feature: rows of the places of each of `KINDS`, or why it was not tested."""


def read(
    local: xr.Dataset | Iterable[xr.Dataset] | None, places: pd.Index, names: pd.Index
) -> tuple[Clusters, float | None]:
    """Clusters of the features that local Moran's I was found for.

    Parameters
    ----------
    local : Dataset or iterable of Dataset
        As `geointerp.spatial.local_moran` gives it, of some features each; they are gone through
        once, so that a generator need hold one at a time.
    places, names : Index
        Of the atlas.

    Returns
    -------
    clusters : dict
    alpha : float or None
        Largest q of a cluster.

    Raises
    ------
    InputError
        Another statistic; other places or features than the atlas's; several alphas.
    """
    import xarray as xr

    found: Clusters = {}
    alphas = set()
    labels = [str(label) for label in places]
    for part in [local] if isinstance(local, xr.Dataset) else local or ():
        if part.attrs.get("statistic") != "local Moran's I":
            raise InputError("local: it is not local Moran's I, as spatial.local_moran gives it.")
        if [str(label) for label in part["place"].values] != labels:
            raise InputError("local: its places are not the features', in their order.")
        alphas.add(float(part.attrs["alpha"]))
        rows = names.get_indexer([str(name) for name in part["feature"].values])
        if (rows < 0).any():
            raise InputError(
                f"local: there is no feature {str(part['feature'].values[rows < 0][0])!r}."
            )
        cluster, reasons = part["cluster"].values, part["reason"].values
        for j, row in enumerate(rows.tolist()):
            found[row] = str(reasons[j]) or _kinds(cluster[:, j])
    if len(alphas) > 1:
        raise InputError(f"local: its clusters are at several alphas, {sorted(alphas)}.")
    return found, alphas.pop() if alphas else None


def _kinds(cluster: NDArray[np.str_]) -> list[NDArray[np.int32]]:
    some = np.flatnonzero(cluster != "").astype(np.int32)
    return [some[cluster[some] == kind] for kind in KINDS]
