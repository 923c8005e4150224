"""Files of features: where each fires, where it clusters, and what else its page shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from geointerp.atlas import packing
from geointerp.atlas.clusters import Clusters
from geointerp.atlas.correlograms import Correlograms
from geointerp.atlas.matrix import Matrix
from geointerp.atlas.rounding import significant

BLOCK = 64
"""Features in a file."""


class Sources(NamedTuple):
    """All that files of features are made from."""

    matrix: Matrix
    clusters: Clusters
    correlograms: Correlograms | None
    nearest: list[Any] | None
    words: list[Any] | None


def block(rows: Sequence[int], sources: Sources) -> dict[str, Any]:
    """What the pages of some features show, for one file.

    Returns
    -------
    dict
        By feature, in the order of `rows`: `at`, where in the bytes it begins; `n`, the places
        it fires on, or None where not all its values are finite; `low` and `high`, its
        smallest and largest value there; `clusters`, how many places are in each kind of
        cluster, or why they were not sought, or None where they were not asked for;
        `correlogram`, I, what is expected, and z by band; `nearest`; `words`.
        `bytes`, base64: of each feature its places (`gaps`), their values (`quantised`), and
        the places of each kind of cluster (`gaps`).
    """
    packed = bytearray()
    columns: dict[str, list[Any]] = {"at": [], "n": [], "low": [], "high": [], "clusters": []}
    for row in rows:
        columns["at"].append(len(packed))
        at, values = sources.matrix.of_feature(row)
        finite = bool(np.isfinite(values).all())
        if not finite:
            at, values = at[:0], values[:0]
        low, high, shares = packing.quantised(values)
        packed += packing.gaps(at) + shares
        found = sources.clusters.get(row)
        counts = [len(places) for places in found] if isinstance(found, list) else found
        for places in found if isinstance(found, list) else ():
            packed += packing.gaps(places)
        columns["n"].append(len(at) if finite else None)
        columns["low"].append(low)
        columns["high"].append(high)
        columns["clusters"].append(counts)
    return {
        "rows": list(rows),
        **columns,
        "correlogram": _profiles(rows, sources.correlograms),
        "nearest": None if sources.nearest is None else [sources.nearest[row] for row in rows],
        "words": None if sources.words is None else [sources.words[row] for row in rows],
        "bytes": packing.text_of(bytes(packed)),
    }


def _profiles(rows: Sequence[int], found: Correlograms | None) -> list[Any] | None:
    if found is None:
        return None
    parts = (found.moran, found.expected, found.z)
    profiles = []
    for row in rows:
        known = np.isfinite(found.moran[row]).any()
        profiles.append([significant(part[row], 3) for part in parts] if known else None)
    return profiles
