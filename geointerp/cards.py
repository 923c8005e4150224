"""Cards: the JSON and Markdown that stand beside every artefact.

A card says what made the artefact, from what, with which versions and seed, and how
good it is (Mitchell et al. 2019, Model Cards for Model Reporting). It holds no date, so
that the same run writes the same bytes.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geointerp.errors import InputError

_PACKAGES = (
    "geointerp",
    "torch",
    "transformers",
    "sae-lens",
    "numpy",
    "numba",
    "libpysal",
    "scikit-learn",
    "zarr",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a figure."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def write(
    folder: Path, title: str, sections: Mapping[str, Mapping[str, Any]], *, stem: str = "card"
) -> None:
    """Write `card.json` and `card.md` into a folder.

    Parameters
    ----------
    folder : Path
    title : str
        What the artefact is, in a few words.
    sections : mapping of str to mapping
        Such as ``{"made by": {...}, "figures": {...}}``; the versions are added.
    stem : str
        What the two files are called before .json and .md. That of an artefact which is a
        single file is its name and ".card", such as ``"moran.csv.card"``.
    """
    sections = {**sections, "versions": versions()}
    (folder / f"{stem}.json").write_text(
        json.dumps({"title": title, **sections}, indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
    lines = [f"# {title}", ""]
    for heading, rows in sections.items():
        lines += [f"## {heading[:1].upper()}{heading[1:]}", "", "| | |", "|---|---|"]
        lines += [f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items()]
        lines.append("")
    (folder / f"{stem}.md").write_text("\n".join(lines), "utf-8")


def read(folder: Path, *, stem: str = "card") -> dict[str, Any]:
    """The card of an artefact, or an empty dict where it has none.

    Parameters
    ----------
    folder : Path
    stem : str
        As for `write`.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        A file that is not JSON, or not a JSON object.
    """
    path = folder / f"{stem}.json"
    if not path.exists():
        return {}
    try:
        card = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not a readable card: {error}.") from error
    if not isinstance(card, dict):
        raise InputError(f"{path}: not a card; one is a JSON object.")
    return card


def read_all(folder: Path) -> dict[str, dict[str, Any]]:
    """The cards of all artefacts that lie in a folder, by the names of these.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    dict of str to dict
    """
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name.endswith(".card.json"):
            found[path.name.removesuffix(".card.json")] = read(folder, stem=path.stem)
        elif (path / "card.json").exists():
            found[path.name] = read(path)
    return found


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
