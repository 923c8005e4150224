"""One folder with one self-contained page, written whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
import shutil
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geointerp import cards
from geointerp.atlas import contents
from geointerp.errors import InputError

if TYPE_CHECKING:
    import anndata
    import pandas as pd

    from geointerp.probes import Report

_MAKER = "geointerp.atlas.write"
_FILES = {"index.html", "card.json", "card.md"}


def write(
    feats: anndata.AnnData,
    table: pd.DataFrame,
    *,
    out: str | Path,
    report: Report | None = None,
    figures: Mapping[str, Mapping[str, Any]] | None = None,
    ratings: pd.DataFrame | None = None,
    title: str | None = None,
    maps: int = 24,
    q: float = 0.05,
) -> Path:
    """Write the page of a run: its figures, its probe, and its strongest features on maps.

    Parameters
    ----------
    feats : AnnData
        As `geointerp.saes.encode` gives it: `X` (places × features), `obsm["spatial"]`
        longitude and latitude in degrees; of `obs`, `name` and `country` where they are there.
    table : DataFrame
        As `geointerp.spatial.moran` gives it, a row per feature on `feats.var_names` (as
        text, in any order): `I`, `q`, `n_active`, and where there `z`, `p` and `reason`. The
        page's table of features shows `q_within_country`, or of any other regions, and
        `region`, `precision` and `recall`, as `match_regions` gives them, if they are there.
    out : path
        Folder of the page. An atlas that is there already is replaced.
    report : Report, optional
        As `geointerp.probes.evaluate` gives it: R² by layer and the map of the probe.
    figures : mapping of str to mapping, optional
        Further figures of the run, heading → label → value.
    ratings : DataFrame, optional
        On the places' index (as text, `feats.obs_names`, or some of it): `rating`. What is
        rated is read from ``ratings.attrs["task"]``.
    title : str, optional
        The question at the top; by default what the model knows about places.
    maps : int
        How many features get a map, at most: those with the largest I among the significant.
    q : float
        Significant is what has at most this q.

    Returns
    -------
    Path
        `out`, with `index.html` and the card in it. The page is one file; it makes no
        request, and runs no script and takes no style but its own.

    Raises
    ------
    InputError
        `out` is something other than an atlas; features and table that don't match; a column
        or the coordinates missing; ratings of places that are not there.
    """
    if maps < 0:
        raise InputError(f"maps is {maps}; it must be 0 or more.")
    target = Path(out).resolve()
    _check_target(target)
    data = contents.collect(
        feats,
        table,
        report=report,
        figures=figures or {},
        ratings=ratings,
        title=title,
        maps=maps,
        significant=q,
    )
    page = render(data)
    part = target.with_name(f".{target.name}.partial")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        # a lone surrogate in a name can't be UTF-8, but \udc80 is how JSON writes it
        (part / "index.html").write_bytes(page.encode("utf-8", "backslashreplace"))
        about = {"function": _MAKER, "maps": maps, "q": q, "title": data["title"]}
        counts = {
            "places": len(data["places"]["name"]),
            "features": len(data["features"]["id"]),
            "features tested": data["counts"]["tested"],
            "features significant": data["counts"]["significant"],
            "features with a map": len(data["shown"]),
        }
        cards.write(part, "Feature atlas", {"made by": about, "figures": counts})
        _replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def render(data: Mapping[str, Any]) -> str:
    """The page as text, with data that only JSON's parser ever reads.

    Parameters
    ----------
    data : mapping
        As `geointerp.atlas.contents.collect` gives it.

    Returns
    -------
    str
    """
    assets = resources.files("geointerp.atlas").joinpath("assets")
    text = {
        name: assets.joinpath(name).read_text("utf-8").replace("\r\n", "\n")
        for name in ("page.html", "page.css", "maps.js", "page.js")
    }
    script = text["maps.js"] + text["page.js"]
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(text['page.css'])}; "
        "base-uri 'none'; form-action 'none'"
    )
    slots = {
        "title": html.escape(data["title"]),
        "policy": html.escape(policy, quote=False),
        "style": text["page.css"],
        "script": script,
        "data": escaped_json(data),
    }
    # in one pass, so that no slot is looked for in what was filled into another
    return re.sub(r"\{\{(\w+)\}\}", lambda match: slots[match[1]], text["page.html"])


def escaped_json(data: Any) -> str:
    r"""JSON in which nothing means anything to HTML or JavaScript.

    Parameters
    ----------
    data : object
        Of what JSON has; no NaN and no infinity.

    Returns
    -------
    str
        With ``<``, ``>``, ``&``, U+2028 and U+2029 as ``\uXXXX``.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _check_target(target: Path) -> None:
    """Refuse whatever is there unless it is an atlas, and nothing but one."""
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target}: it is a file; an atlas is a folder.")
    names = {path.name for path in target.iterdir()}
    if not names:
        return
    try:
        card = cards.read(target)
        made_by = card.get("made by", {}).get("function")
    except (OSError, ValueError, AttributeError):
        made_by = None
    if made_by != _MAKER:
        raise InputError(f"{target}: it holds something other than an atlas; choose another out.")
    if names - _FILES:
        raise InputError(
            f"{target}: beside the atlas it holds {min(names - _FILES)}, which would be lost; "
            "move it or choose another out."
        )


def _replace(part: Path, target: Path) -> None:
    """Give the finished folder its name; what had it before goes only when that is done."""
    before = target.with_name(f".{target.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    if target.exists():
        os.replace(target, before)
    try:
        os.replace(part, target)
    except OSError:
        if before.exists():
            os.replace(before, target)
        raise
    shutil.rmtree(before, ignore_errors=True)
