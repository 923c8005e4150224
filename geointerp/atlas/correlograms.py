"""How alike places fire each feature, by their distance, and how far that reaches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp.atlas.rounding import rounded
from geointerp.errors import InputError


class Correlograms(NamedTuple):
    """Moran's I of every feature in every band; NaN where there is none."""

    edges_km: list[float | None]  # B + 1 of them
    moran: NDArray[np.float64]  # shape (features, B)
    expected: NDArray[np.float64]
    z: NDArray[np.float64]
    reach_km: NDArray[np.float64]  # shape (features,); the last edge where it reaches beyond all


def read(table: pd.DataFrame | None, names: pd.Index) -> Correlograms | None:
    """Bring a table of correlograms into the order of the features.

    Parameters
    ----------
    table : DataFrame
        As `geointerp.spatial.correlogram` gives it; features that it lacks have none.
    names : Index
        Of the features.

    Raises
    ------
    InputError
        A column or a band missing, or a feature that is not there.
    """
    if table is None:
        return None
    from geointerp.spatial import reach_km

    wanted = ["feature", "from_km", "to_km", "I", "expected_I", "z"]
    for column in wanted:
        if column not in table.columns:
            raise InputError(
                f"correlograms: there is no column '{column}' in {', '.join(map(str, table))}."
            )
    of = table["feature"].map(str)
    rows = names.get_indexer(of)
    if (rows < 0).any():
        raise InputError(f"correlograms: there is no feature {of[rows < 0].iloc[0]!r}.")
    lower = np.unique(table["from_km"])
    bands = np.searchsorted(lower, table["from_km"])
    upper = table.groupby(bands)["to_km"].agg(["min", "max"])
    edges = np.append(lower, upper["max"].iloc[-1:])
    if (upper["min"] != upper["max"]).any() or (upper["max"].to_numpy() != edges[1:]).any():
        raise InputError("correlograms: the bands of distance don't follow each other.")
    if len(table) != len(lower) * of.nunique() or table.duplicated(["feature", "from_km"]).any():
        raise InputError("correlograms: a feature has a band twice or lacks one.")
    found = np.full((3, len(names), len(lower)), np.nan)
    for values, column in zip(found, wanted[3:], strict=True):
        values[rows, bands] = table[column].to_numpy(float)
    far = reach_km(table.assign(feature=of).sort_values(["feature", "from_km"]))
    km = far.reindex(names).to_numpy(float)
    moran, expected, z = found
    reach = np.where(np.isinf(km), edges[-1], km)
    return Correlograms(rounded(edges, 3), moran, expected, z, reach)
