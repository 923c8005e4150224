"""The command that writes the atlas, of all that a run folder holds."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geointerp import artefacts
from geointerp.cli.reading import anndata_of, check_seed, csv_of, fingerprint
from geointerp.errors import InputError

log = logging.getLogger(__name__)

_TOLD = ("region", "precision", "recall", "f1", "spread_km", "n_patches", "largest_patch")
_AT_ONCE = 256  # features whose clusters are sought at a time: 40 bytes per place each


def write_atlas(
    run: str,
    *,
    out: str | None = None,
    model: str | None = None,
    title: str | None = None,
    clusters: int | None = None,
    seed: int = 0,
) -> None:
    """Write the atlas of a run: its findings, and a page of every feature and every place.

    What is missing and quickly found is found: where each feature clusters, how far its likeness
    reaches, the country it tells best, and, if there is sae/, which features write the same and
    which words they promote. An atlas that is there already is replaced.

    Args:
        run: A folder with features.h5ad, moran.csv and, if there, moran_within.csv and others
            whose names begin so (which `geointerp moran --within` wrote), regions.csv, probe/,
            sae/, ratings.csv and the cards of all these.
        out: Folder of the atlas; RUN/atlas if not given. An atlas there is replaced.
        model: Folder or Hub id of the model that the features are of, for the words they
            promote. If not given, that of the run, where it lies on this computer.
        title: The question at the top of the page.
        clusters: How many features get a map of clusters, those with the largest I first; all
            if not given.
        seed: Of the permutations that clusters are told from chance by.
    """
    from geointerp import atlas as rooms
    from geointerp import cards, probes, spatial

    check_seed(seed)
    if clusters is not None and clusters < 0:
        raise InputError(f"clusters is {clusters}; it must be 0 or more.")
    folder = Path(run)
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder.")
    table_at, features_at = folder / "moran.csv", folder / "features.h5ad"
    if not table_at.exists():
        raise InputError(f"{folder}: there is no moran.csv in it; `geointerp moran` writes it.")
    encoded = anndata_of(features_at)
    table = _table(table_at, encoded, features_at, "moran", [])
    table = _with_nulls(table, folder, encoded, features_at)
    report = probes.Report.read(folder / "probe") if (folder / "probe").exists() else None
    ratings = _ratings(folder / "ratings.csv")
    graph = _neighbours(encoded, table_at)
    table = _with_regions(table, folder / "regions.csv", encoded, features_at, graph)
    sae, reader = _read_by(folder / "sae", encoded, model)
    target = Path(out) if out else folder / "atlas"
    rooms.write(
        encoded,
        table,
        out=target,
        report=report,
        local=_clusters(encoded, table, graph, clusters, seed),
        correlograms=spatial.correlogram(encoded, encoded),
        sae=sae,
        model=reader,
        figures=_figures(folder),
        cards={name: card for name, card in cards.read_all(folder).items() if name != "atlas"},
        ratings=ratings,
        title=title,
    )
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


def _with_nulls(table: Any, folder: Path, encoded: Any, features_at: Path) -> Any:
    """The table with what was found under nulls that know regions."""
    for path in sorted(folder.glob("moran_within*.csv")):
        within = _table(path, encoded, features_at, "moran --within", ["q"])
        by = artefacts.read_card(path).get("made by", {}).get("within") or "regions"
        for told in ("q", "z", "p", "expected_I"):
            if told in within.columns:
                table[f"{told}_within_{by}"] = within[told]
    return table


def _with_regions(table: Any, path: Path, encoded: Any, features_at: Path, graph: Any) -> Any:
    """The table with the region that each feature tells best, and where it fires."""
    from geointerp import spatial

    if path.exists():
        found = _table(path, encoded, features_at, "regions", ["region", "precision", "recall"])
    else:
        found = spatial.extent(encoded, encoded, graph)
        if "country" in encoded.obs.columns:
            matched = spatial.match_regions(encoded, spatial.region_of(encoded, "country"))
            found = found.drop(columns="reason").join(matched.drop(columns="n_active"))
    found = found[[column for column in _TOLD if column in found.columns]]
    return table.drop(columns=found.columns, errors="ignore").join(found)


def _neighbours(encoded: Any, table_at: Path) -> Any:
    """The graph that the table was made with, as its card says."""
    from geointerp import spatial

    made_by = artefacts.read_card(table_at).get("made by", {})
    if made_by.get("km") is not None:
        return spatial.distance_band(encoded, km=made_by["km"]).transform("R")
    return spatial.knn(encoded, k=min(made_by.get("k") or 8, encoded.n_obs - 1))


def _clusters(encoded: Any, table: Any, graph: Any, most: int | None, seed: int) -> Iterator[Any]:
    """Local Moran's I of the features with the largest I, some at a time."""
    from geointerp import spatial
    from geointerp.progress import track

    ranked = table["I"].dropna().sort_values(ascending=False, kind="stable").index[:most]
    names = encoded.var_names[encoded.var_names.isin(ranked)]
    for first in track(range(0, len(names), _AT_ONCE), "clusters"):
        chosen = encoded[:, names[first : first + _AT_ONCE]]
        yield spatial.local_moran(chosen, graph, seed=seed)


def _read_by(folder: Path, encoded: Any, named: str | None) -> tuple[Any, Any]:
    """The autoencoder of the run and the model that it reads, where they can be had."""
    from geointerp import models, saes

    if not (folder / "sae_weights.safetensors").exists():
        if named is not None:
            raise InputError(f"{folder}: there is no autoencoder in it, so --model says nothing.")
        return None, None
    sae = saes.load(folder)
    name = named or encoded.uns.get("activations", {}).get("model")
    here = name is not None and (name == "toponym" or Path(name).is_dir())
    if named is None and not here:
        log.info("no promoted vocabulary: %s is not on this computer; --model says where", name)
        return sae, None
    model = models.load(name)
    try:
        saes.reading.direct_logits(sae, model, [0])
    except InputError as error:
        if named is not None:
            raise
        log.info("no promoted vocabulary: %s", error)
        return sae, None
    return sae, model


def _figures(folder: Path) -> dict[str, Any]:
    """Figures of the run: those of its probe and its autoencoder, or a demo's, which are more."""
    from geointerp import cards

    if (folder / "figures.json").exists():
        return json.loads((folder / "figures.json").read_text("utf-8"))
    return {
        name: cards.read(folder / name).get("figures", {})
        for name in ("probe", "sae")
        if (folder / name / "card.json").exists()
    }


def _ratings(path: Path) -> Any:
    if not path.exists():
        return None
    ratings = csv_of(path, dtype={0: str}).rename(index=str)
    ratings.attrs["task"] = artefacts.read_card(path).get("made by", {}).get("task", "")
    return ratings
