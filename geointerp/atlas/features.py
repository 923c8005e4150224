"""The table of features, by column, and what it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geointerp.atlas.places import countries, ids
from geointerp.atlas.rounding import significant, texts
from geointerp.errors import InputError

if TYPE_CHECKING:
    import anndata
    from numpy.typing import NDArray

    from geointerp.atlas.correlograms import Correlograms
    from geointerp.atlas.matrix import Matrix

STRONG = 0.3
"""A Moran's I from which neighbours fire a feature so much alike that a map shows it."""

_WITHIN = "q_within_"
_MATCHED = ("precision", "recall", "f1")
_DIGITS = {"I": 6, "expected_I": 4, "z": 4, "p": 3, "q": 8}
_NULL = ("expected_I", "z", "p", "q")
_EXTENT = ("spread_km", "n_patches", "largest_patch")


def aligned(feats: anndata.AnnData, table: pd.DataFrame) -> pd.DataFrame:
    """The table in the order of the features, its columns checked."""
    for column in ("I", "q", "n_active", *(("precision", "recall") if "region" in table else ())):
        if column not in table.columns:
            raise InputError(
                f"table: there is no column '{column}' in {', '.join(map(str, table))}."
            )
    for column in _numeric(table):
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise InputError(f"table: column '{column}' is not numeric.")
    table = table.set_axis(table.index.map(str), axis=0)
    if not table.index.is_unique:
        raise InputError(f"table: feature {table.index[table.index.duplicated()][0]!r} is twice.")
    if not feats.var_names.is_unique:
        raise InputError("features: two of them have the same name in var_names.")
    strange = set(table.index) ^ set(feats.var_names)
    if strange:
        raise InputError(
            f"table: {len(strange)} feature(s) are in only one of features and table, "
            f"{min(strange)!r} for one."
        )
    return table.loc[feats.var_names]


def _numeric(table: pd.DataFrame) -> list[str]:
    wanted = ["I", "expected_I", "z", "p", "q", "n_active", *_EXTENT]
    wanted += _MATCHED if "region" in table else []
    wanted += [f"{told}_within_{by}" for by in _regions(table) for told in _NULL]
    return [column for column in wanted if column in table.columns]


def _regions(table: pd.DataFrame) -> list[str]:
    """What the nulls permute within."""
    names = map(str, table.columns)
    return [name.removeprefix(_WITHIN) for name in names if name.startswith(_WITHIN)]


def ranked(table: pd.DataFrame, q: float) -> NDArray[np.intp]:
    """Rows of the significant features, the largest I first."""
    found = np.flatnonzero((table["q"] <= q) & np.isfinite(table["I"]))
    return found[np.argsort(-table["I"].to_numpy(float)[found], kind="stable")]


def check_finite(matrix: Matrix, found: NDArray[np.intp], names: pd.Index) -> None:
    """Refuse significant features that hold what is no number."""
    for row in found.tolist():
        if not np.isfinite(matrix.of_feature(row)[1]).all():
            raise InputError(f"feature {names[row]!r} is significant, but not finite.")


def counts(table: pd.DataFrame, q: float) -> dict[str, Any]:
    """How many features are significant, under each null."""
    found = ranked(table, q)
    nulls = [("all places", table["q"])]
    nulls += [(f"within {by}", table[f"{_WITHIN}{by}"]) for by in _regions(table)]
    return {
        "tested": int(table["q"].notna().sum()),
        "significant": len(found),
        "strong": int((table["I"].to_numpy(float)[found] >= STRONG).sum()),
        "q": q,
        "nulls": [
            {"name": name, "tested": int(of.notna().sum()), "significant": int((of <= q).sum())}
            for name, of in nulls
        ],
    }


def columns(
    feats: anndata.AnnData,
    table: pd.DataFrame,
    matrix: Matrix,
    correlograms: Correlograms | None,
) -> dict[str, Any]:
    """All that the table of features shows and is searched by.

    Returns
    -------
    dict
        Of columns, each as long as there are features or None: `id` and numbers by the names of
        `table`; `within`, expected I, z, p and q under each null that knows regions; `region`
        as a code into `regions`, -1 for none; `top`, the place it fires most, -1 for none;
        `reason`.
    """

    def numbers(column: str, digits: int) -> list[float | None] | None:
        return significant(table[column], digits) if column in table.columns else None

    kinds, names = pd.factorize(table.get("region", pd.Series([None] * len(table))))
    reasons, why = pd.factorize(table.get("reason", pd.Series([None] * len(table))))
    return {
        "id": ids(table.index),
        "n": [int(n) for n in table["n_active"]],
        # what the page compares with a threshold is rounded where it is shown
        **{column: numbers(column, digits) for column, digits in _DIGITS.items()},
        **{column: numbers(column, 3) for column in (*_MATCHED, *_EXTENT)},
        "within": [
            {"by": by, **{c: numbers(f"{c}_within_{by}", _DIGITS[c]) for c in _NULL}}
            for by in _regions(table)
        ],
        "region": kinds.tolist() if "region" in table.columns else None,
        "regions": _told(feats, texts(names)),
        "reason": reasons.tolist(),
        "reasons": texts(why),
        "reach_km": None if correlograms is None else significant(correlograms.reach_km, 4),
        "edges_km": None if correlograms is None else correlograms.edges_km,
        "top": [_top(matrix, row) for row in range(matrix.n_features)],
    }


def _told(feats: anndata.AnnData, regions: list[str | None]) -> list[str | None]:
    """Regions by their names where they are the places' countries."""
    codes = set(texts(feats.obs["country"])) if "country" in feats.obs.columns else set()
    if not codes.issuperset(regions):
        return regions
    known = countries()
    return [known[code]["name"] if code in known else code for code in regions]


def _top(matrix: Matrix, row: int) -> int:
    at, values = matrix.of_feature(row)
    return int(at[np.argmax(values)]) if len(at) and np.isfinite(values).all() else -1
