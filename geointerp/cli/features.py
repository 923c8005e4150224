"""The command that writes the atlas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from geointerp import artefacts
from geointerp.cli.reading import anndata_of, csv_of, fingerprint
from geointerp.errors import InputError


def write_atlas(run: str, *, out: str | None = None) -> None:
    """Write the page of a run: its figures, its probe, and its strongest features on maps.

    An atlas that is there already is replaced: the page is made anew from what the run holds.

    Args:
        run: A folder with features.h5ad, moran.csv and, if there, moran_within.csv (which
            `geointerp moran --within` wrote), regions.csv, probe/, sae/ and ratings.csv.
        out: Folder of the page; RUN/atlas if not given. An atlas there is replaced.
    """
    from geointerp import atlas as rooms
    from geointerp import cards, probes

    folder = Path(run)
    table_at, features_at = folder / "moran.csv", folder / "features.h5ad"
    if not table_at.exists():
        raise InputError(f"{folder}: there is no moran.csv in it; `geointerp moran` writes it.")
    encoded = anndata_of(features_at)
    table = _table(table_at, encoded, features_at, "moran", [])
    within_at, regions_at = folder / "moran_within.csv", folder / "regions.csv"
    if within_at.exists():
        within = _table(within_at, encoded, features_at, "moran --within", ["q"])
        by = artefacts.read_card(within_at).get("made by", {}).get("within") or "regions"
        table[f"q_within_{by}"] = within["q"]
    if regions_at.exists():
        scores = ["region", "precision", "recall"]
        matched = _table(regions_at, encoded, features_at, "regions", scores)
        table = table.drop(columns=scores, errors="ignore").join(matched[scores])
    report = probes.Report.read(folder / "probe") if (folder / "probe").exists() else None
    figures = {
        name: cards.read(folder / name).get("figures", {})
        for name in ("probe", "sae")
        if (folder / name / "card.json").exists()
    }
    if (folder / "figures.json").exists():
        # a demo's, which are more
        figures = json.loads((folder / "figures.json").read_text("utf-8"))
    ratings = None
    if (folder / "ratings.csv").exists():
        ratings = csv_of(folder / "ratings.csv", dtype={0: str}).rename(index=str)
        made_by = artefacts.read_card(folder / "ratings.csv").get("made by", {})
        ratings.attrs["task"] = made_by.get("task", "")
    target = Path(out) if out else folder / "atlas"
    rooms.write(encoded, table, out=target, report=report, figures=figures, ratings=ratings)
    print(target / "index.html")


def _table(path: Path, features: Any, features_at: Path, command: str, columns: list[str]) -> Any:
    """A table of the features from a file, unless it was made from others."""
    # Namibia's code is NA
    options = {"dtype": {0: str, "region": str}, "keep_default_na": False, "na_values": [""]}
    table = csv_of(path, **options).rename(index=str)
    for column in columns:
        if column not in table.columns:
            raise InputError(f"{path}: there is no column '{column}'; it has {', '.join(table)}.")
    made_from = artefacts.read_card(path).get("made by", {}).get("features_sha256")
    if made_from not in (None, fingerprint(features)):
        raise InputError(
            f"{path}: it was made from other features than those in {features_at}; "
            f"delete it and run `geointerp {command}` again."
        )
    return table
