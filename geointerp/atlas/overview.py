"""What the run found in all: its figures, its probe, its ratings and its cards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp import cards
from geointerp.atlas.features import STRONG
from geointerp.atlas.places import CONTINENTS, continents
from geointerp.atlas.rounding import plain, rounded, significant
from geointerp.errors import InputError

if TYPE_CHECKING:
    import anndata

    from geointerp.probes import Report

_SPATIAL = ("predicted_lon", "predicted_lat", "error_km")


def collect(
    feats: anndata.AnnData,
    table: pd.DataFrame,
    *,
    found: NDArray[np.intp],
    counts: dict[str, Any],
    report: Report | None,
    figures: Mapping[str, Mapping[str, Any]],
    run_cards: Mapping[str, Mapping[str, Any]],
    ratings: pd.DataFrame | None,
    title: str | None,
) -> dict[str, Any]:
    """Everything on the first page, ready for JSON.

    Parameters
    ----------
    feats, table, report, figures, ratings, title
        As `geointerp.atlas.write` has them, the table in the order of the features.
    found, counts
        As `features.ranked` and `features.counts` give them.
    run_cards : mapping
        `cards` of `geointerp.atlas.write`.
    """
    about = {**(report.about if report else {}), **dict(feats.uns.get("activations", {}))}
    name = _short(about.get("model"))
    return {
        "title": title or f"What does {name or 'the model'} know about places?",
        "about": _about(about, name, feats),
        "counts": counts,
        "tiles": [*_feature_tiles(table, found, counts), *_probe_tiles(report)],
        "layers": _layers(report),
        "probe": _probe(report, feats),
        "figures": [
            {"heading": str(heading), "rows": [[str(k), plain(v)] for k, v in rows.items()]}
            for heading, rows in figures.items()
        ],
        "cards": [_card(str(name), card) for name, card in run_cards.items()],
        "ratings": _ratings(ratings, feats),
        "versions": cards.versions(),
    }


def check_report(feats: anndata.AnnData, report: Report | None) -> None:
    """Refuse a probe of other places or of another model than the features'."""
    origin, about = feats.uns.get("activations", {}), report.about if report else {}
    for key, word in (("places_sha256", "places"), ("weights_sha256", "model")):
        if key in origin and key in about and origin[key] != about[key]:
            raise InputError(f"report: the probe is of other {word} than the features.")


def _layers(report: Report | None) -> dict[str, Any] | None:
    """R² of every source and layer with its interval, a panel per split."""
    if report is None or not len(report.table) or report.main != "r2":
        return None
    table = report.table
    sources = [str(source) for source in dict.fromkeys(table["source"])]
    ends = [column for column in ("low", "high") if column in table.columns]
    splits = []
    for split, rows in table.groupby("split", sort=False):
        lines = {
            source: [
                [None if pd.isna(layer) else int(layer), *significant(scores, 4)]
                for layer, scores in zip(
                    part["layer"], part[["r2", *ends]].to_numpy(float), strict=True
                )
            ]
            for source, part in rows.groupby("source", sort=False)
        }
        splits.append({"name": str(split), "lines": lines})
    return {"target": str(report.target), "sources": sources, "splits": splits}


def _probe(report: Report | None, feats: anndata.AnnData) -> dict[str, Any] | None:
    """Where the probe puts each place that it was asked about."""
    if report is None or not set(_SPATIAL) <= set(report.predictions.columns):
        return None
    table = report.predictions.dropna(subset=list(_SPATIAL))
    if not len(table):
        return None
    best, regions = report.best(), continents(feats)
    rows = feats.obs_names.get_indexer(table.index.map(str))
    ours = bool((rows >= 0).all())
    groups = [regions[row] if row >= 0 else None for row in rows]
    labels = [label for label in CONTINENTS if label in groups]
    if None in groups:
        labels.append("elsewhere" if labels else "all places")
    error = table["error_km"].to_numpy(float)
    member = np.array([labels.index(g) if g is not None else len(labels) - 1 for g in groups])
    return {
        # a place of the features, or a name and a position of its own
        "at": rows.tolist() if ours else None,
        "name": None if ours else [str(name) for name in table["name"]],
        "lon": None if ours else rounded(table["lon"], 4),
        "lat": None if ours else rounded(table["lat"], 4),
        "to_lon": rounded(table["predicted_lon"], 4),
        "to_lat": rounded(table["predicted_lat"], 4),
        "error": rounded(error, 1),
        "radius": rounded(table["radius90_km"], 1) if "radius90_km" in table.columns else None,
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
        "layer": plain(best["layer"]),
        "split": str(best["split"]),
    }


def _ratings(ratings: pd.DataFrame | None, feats: anndata.AnnData) -> dict[str, Any] | None:
    if ratings is None:
        return None
    if "rating" not in ratings.columns:
        raise InputError(f"ratings: there is no column 'rating' in {', '.join(map(str, ratings))}.")
    rows = feats.obs_names.get_indexer(ratings.index.map(str))
    if (rows < 0).any():
        raise InputError(f"ratings: there is no place '{ratings.index[rows < 0][0]}'.")
    values = ratings["rating"].to_numpy(float)
    known = np.isfinite(values)
    return {
        "task": str(ratings.attrs.get("task", "")),
        "at": rows[known].tolist(),
        "value": significant(values[known], 3),
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


def _card(name: str, card: Mapping[str, Any]) -> dict[str, Any]:
    """A card as headings with rows of texts."""
    sections = [
        {"heading": str(heading), "rows": [[str(k), _told(v)] for k, v in rows.items()]}
        for heading, rows in card.items()
        if isinstance(rows, Mapping) and heading != "versions"
    ]
    return {"name": name, "title": str(card.get("title", name)), "sections": sections}


def _told(value: Any) -> Any:
    """A value of a card; of a file of somebody's computer, its name alone."""
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {_told(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(_told(v)) for v in value)
    return _short(value) if isinstance(value, str) else plain(value)


def _two_digits(value: float) -> str:
    """With a minus that is one, and none before 0.00."""
    return f"{round(float(value), 2) + 0:.2f}".replace("-", "−")


def _short(name: Any) -> str | None:
    """A name as it is; of a file or folder of somebody's computer, the last part."""
    if name is None:
        return None
    text = str(name)
    if not re.match(r"(/|~|[A-Za-z]:[\\/])", text):
        return text
    return PureWindowsPath(text).name  # which knows both kinds of slashes
