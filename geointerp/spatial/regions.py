"""Which region each feature is about: where it fires, told by its F1 against known regions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from geointerp.errors import InputError
from geointerp.progress import track
from geointerp.spatial.labels import aligned, present
from geointerp.spatial.nulls import Null
from geointerp.spatial.table import (
    Features,
    Table,
    check_whole,
    columns,
    not_finite,
    pack,
    read_features,
    undefined,
)


class _Regions(NamedTuple):
    """Labels of the places as codes of those regions that may be matched."""

    names: NDArray[np.object_]  # of the regions, in the order of their labels, shape (R,)
    codes: NDArray[np.int64]  # of each place; -1 where it is in none of them
    sizes: NDArray[np.int64]  # places in each region


def match_regions(
    features: Features,
    labels: pd.Series | ArrayLike,
    *,
    min_places: int = 5,
    permutations: int = 0,
    seed: int = 0,
) -> pd.DataFrame:
    """Find the region that each feature tells best from the rest of the world.

    For every feature and region the threshold is sought above which the feature's firing
    says "in this region" best, by F1 = 2 · precision · recall / (precision + recall); then the
    region with the highest F1 is taken.

    Parameters
    ----------
    features : AnnData, DataFrame, ndarray or scipy sparse matrix, shape (n, F)
        A row per place, a column per feature, of any real dtype; computed in float64. The time
        it takes follows the number of nonzero entries.
    labels : Series or array_like, shape (n,)
        The region of each place, as `region_of` gives them, in the order of the rows; where
        both have labels of the places, these must be the same. A place whose label is missing
        is in no region, and counts against each.
    min_places : int
        Regions with fewer places are not considered, nor is one that holds all places. Their
        places count against the others.
    permutations : int
        Random permutations of the labels over the places, the same ones for all features; 0
        for no test.
    seed : int
        Of the permutations. The same seed gives the same bytes.

    Returns
    -------
    DataFrame
        A row per feature, on `var_names`, the columns' names or 0, …, F - 1:

        - `region`: label of the region of the highest F1; of two, that of the larger AUC,
          then the one whose label comes first (sorted; by appearance where labels of several
          kinds cannot be sorted). Dtype string where all labels are text, else object.
        - `precision`, float64: share of the region among the places where the feature is at
          its threshold or above.
        - `recall`, float64: share of the region's places where it is so.
        - `f1`, float64: their harmonic mean.
        - `f1_everywhere`, float64: what firing at every place would give for the region.
        - `threshold`, float64: the lowest value that counts as firing; of two that give the
          same F1, the higher.
        - `auc`, float64: probability that the feature is larger at a place of the region than
          at a place outside it, ties one half, over all n places, zeros included (Mann and
          Whitney's U over its maximum).
        - `p`, float64, where `permutations` is not 0: (1 + permutations whose highest F1 is as
          high) / (1 + permutations).
        - `n_active`, int64: places where the feature fires. If it is 0 anywhere, these are the
          places where it is positive, and no threshold goes lower: neither zero nor a negative
          value is firing. If it is 0 nowhere (a dense feature), they are all n places, and
          thresholds run over all its values.
        - `n_region`, Int64: places in the region.
        - `reason`, string: why there is no region, one sentence; missing where there is one.
          Then all else but `n_active` is missing or NaN.

        `attrs` holds `statistic`, `min_places`, `permutations`, `seed`, `n_places`,
        `n_regions` (those considered) and `n_matched`.

    Raises
    ------
    InputError
        Labels that are not of the features' places; labels that cannot be one (a list);
        features that are no numbers; an option out of its range.

    Notes
    -----
    The F1 found is the best over many regions and thresholds, so chance alone lifts it: the more
    so, the more regions and the fewer places the feature fires on. A feature that fires almost
    everywhere, or has no zeros, is matched with a large region by the region's size alone:
    compare `f1` with `f1_everywhere`. A
    feature that fires on one place matches that place's country with a precision of 1. A
    threshold chosen on one half of the places, scored on the other, is free of it. `p` repeats
    the whole search with labels dealt out at random and so allows for the choice, though not for
    this: neighbours fire alike, and a feature that fires in any one corner of the world beats
    labels that are strewn over it. A small p says "not strewn", not "about this region".

    AUC sees the zeros. A feature that fires on a few places of its region and nowhere else has
    an AUC near one half.

    References
    ----------
    van Rijsbergen, C. J. (1979). Information Retrieval, 2nd ed. Butterworths, chapter 7: F1.
    Lipton, Z. C., Elkan, C. and Naryanaswamy, B. (2014). Optimal thresholding of classifiers to
    maximize F1 measure. ECML PKDD 2014, 225–239: the bias of the best threshold.
    Mann, H. B. and Whitney, D. R. (1947). On a test of whether one of two random variables is
    stochastically larger than the other. Annals of Mathematical Statistics 18(1), 50–60.
    Hanley, J. A. and McNeil, B. J. (1982). The meaning and use of the area under a receiver
    operating characteristic (ROC) curve. Radiology 143(1), 29–36.
    Phipson, B. and Smyth, G. K. (2010). Permutation p-values should never be zero.
    Statistical Applications in Genetics and Molecular Biology 9(1), 39: p.
    """
    for word, value, least in (
        ("min_places", min_places, 1),
        ("permutations", permutations, 0),
        ("seed", seed, 0),
    ):
        check_whole(word, value, least)
    table = read_features(features)
    regions = _regions(_labels_of(table, labels), int(min_places))
    found = _match(table, regions, int(min_places), int(permutations), int(seed))
    text = all(isinstance(name, str) for name in regions.names)
    matched = found["code"].to_numpy() >= 0
    region = np.full(len(found), None, dtype=object)
    region[matched] = regions.names[found.loc[matched, "code"]]
    result = found.drop(columns="code")
    result.insert(0, "region", pd.array(region, dtype="string" if text else object))
    result.index = table.names
    result.attrs = {
        "statistic": "best F1",
        "min_places": int(min_places),
        "permutations": int(permutations),
        "seed": int(seed),
        "n_places": table.matrix.shape[0],
        "n_regions": len(regions.names),
        "n_matched": int(matched.sum()),
    }
    return result


def _match(
    table: Table, regions: _Regions, min_places: int, permutations: int, seed: int
) -> pd.DataFrame:
    """All of the result but the names of its regions and features, by the regions' codes."""
    from geointerp.spatial import _firing

    n, width = table.matrix.shape
    null, every = Null(np.arange(n, dtype=np.int32), seed), np.arange(n, dtype=np.int32)
    region = np.full(width, -1, dtype=np.int64)
    hits, fired, n_active = np.zeros((3, width), dtype=np.int64)
    threshold, auc, p = np.full((3, width), np.nan)
    reasons = np.full(width, None, dtype=object)
    start = 0
    for block in columns(table.matrix):
        here = slice(start, start + len(block))
        for j, (_, values) in enumerate(block, start):
            n_active[j] = n if len(values) == n else np.count_nonzero(values > 0)
            reasons[j] = _undefined(values, n_active[j], n)
        kept = [f for f, why in enumerate(reasons[here]) if why is None]
        starts, rows, values = pack([block[f] for f in kept])
        _firing.rank(starts, rows, values)
        at = start + np.array(kept, dtype=np.int64)
        best = [array[at] for array in (region, hits, fired, auc)]
        _firing.match(starts, rows, values, n, regions.codes, regions.sizes, *best)
        region[at], hits[at], fired[at], auc[at] = best
        mine = np.flatnonzero(best[0] >= 0)
        at = at[mine]
        threshold[at] = values[starts[mine] + fired[at] - 1]
        if permutations and len(mine):
            observed = np.zeros(len(kept))
            observed[mine] = 2 * hits[at] / (fired[at] + regions.sizes[region[at]])
            as_high = np.zeros(len(kept), dtype=np.int64)
            ranked = (mine, starts, rows, values, n, regions.codes, regions.sizes)
            for chunk in track(null.chunks(0, permutations), "regions"):
                _firing.count_as_high(null.draw(*chunk, every), *ranked, observed, as_high)
            p[at] = (1 + as_high[mine]) / (1 + permutations)
        start += len(block)

    matched = region >= 0
    nowhere = (
        f"It fires in no region of at least {min_places} places."
        if len(regions.names)
        else f"There is no region of at least {min_places} places, with places outside it."
    )
    reasons[~matched & pd.isna(reasons)] = nowhere
    sizes = np.where(matched, np.append(regions.sizes, 0)[region], 0)
    result = {
        "code": region,
        "precision": hits / np.where(matched, fired, np.nan),
        "recall": hits / np.where(matched, sizes, np.nan),
        "f1": 2 * hits / np.where(matched, fired + sizes, np.nan),
        "f1_everywhere": 2 * sizes / np.where(matched, n + sizes, np.nan),
        "threshold": threshold,
        "auc": auc,
        **({"p": p} if permutations else {}),
        "n_active": n_active,
        "n_region": pd.Series(sizes, dtype="Int64").where(matched),
        "reason": pd.array(reasons, dtype="string"),
    }
    return pd.DataFrame(result)


def _undefined(values: NDArray[np.float64], n_active: int, n: int) -> str | None:
    """Why there is no region for a column with these nonzero values among n, if there is none."""
    if n_active == 0:
        return not_finite(values) or "It fires on no place."
    return undefined(values, n)


def _labels_of(table: Table, labels: Any) -> NDArray[np.object_]:
    n = table.matrix.shape[0]
    objects = present(aligned(labels, n, table.places, "the features", "the features' rows"))
    for row, value in enumerate(objects):
        try:
            hash(value)
        except TypeError as error:
            said = f"the label of row {row} is {value!r}; text or a number names a region."
            raise InputError(said) from error
    return objects


def _regions(labels: NDArray[np.object_], min_places: int) -> _Regions:
    codes, names = pd.factorize(labels)
    try:
        order = sorted(range(len(names)), key=names.__getitem__)
    except TypeError:  # text and numbers, say
        order = list(range(len(names)))
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    kept = [i for i in order if min_places <= sizes[i] < len(labels)]
    recoded = np.full(len(names) + 1, -1)
    recoded[kept] = np.arange(len(kept))
    return _Regions(np.asarray(names, dtype=object)[kept], recoded[codes], sizes[kept])
