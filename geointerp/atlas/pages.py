"""One folder with one page and its data, which opens from disk, written whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geointerp import cards as card_files
from geointerp.atlas import (
    blocks,
    clusters,
    directions,
    features,
    folders,
    outlines,
    overview,
    payloads,
    places,
)
from geointerp.atlas import (
    correlograms as profiles,
)
from geointerp.atlas.matrix import Matrix
from geointerp.errors import InputError
from geointerp.progress import track

if TYPE_CHECKING:
    import anndata
    import pandas as pd
    import xarray as xr

    from geointerp.models import Model
    from geointerp.probes import Report

_SCRIPTS = (
    "tools",
    "data",
    "globe",
    "maps",
    "charts",
    "overview",
    "table",
    "feature",
    "place",
    "page",
)


def write(
    feats: anndata.AnnData,
    table: pd.DataFrame,
    *,
    out: str | Path,
    report: Report | None = None,
    local: xr.Dataset | Iterable[xr.Dataset] | None = None,
    correlograms: pd.DataFrame | None = None,
    sae: Any = None,
    model: Model | None = None,
    figures: Mapping[str, Mapping[str, Any]] | None = None,
    cards: Mapping[str, Mapping[str, Any]] | None = None,
    ratings: pd.DataFrame | None = None,
    title: str | None = None,
    maps: int = 24,
    q: float = 0.05,
) -> Path:
    """Write the atlas of a run: its findings, and a page of every feature and every place.

    Parameters
    ----------
    feats : AnnData
        As `geointerp.saes.encode` gives it: `X` (places × features), `obsm["spatial"]`
        longitude and latitude in degrees; of `obs`, `name` and `country` where they are there.
    table : DataFrame
        As `geointerp.spatial.moran` gives it, a row per feature on `feats.var_names` (as
        text, in any order): `I`, `q`, `n_active`, and where there `expected_I`, `z`, `p` and
        `reason`. Shown and searched too, if they are there: `q_within_country`, or of any
        other regions, with its `expected_I_within_country`, `z_within_country` and
        `p_within_country`; `region`, `precision`, `recall` and `f1`, as `match_regions` gives
        them; `spread_km`, `n_patches` and `largest_patch`, as `extent` does.
    out : path
        Folder of the atlas. One that is there already is replaced.
    report : Report, optional
        As `geointerp.probes.evaluate` gives it: R² by layer, and where the probe puts places.
    local : Dataset or iterable of Dataset, optional
        As `geointerp.spatial.local_moran` gives it, of all features or of some: the maps of
        clusters. A generator of some features at a time need never hold them all.
    correlograms : DataFrame, optional
        As `geointerp.spatial.correlogram` gives it, of all features or of some.
    sae : sae_lens.SAE, optional
        Whose latents the features are, by their names: for each feature those that write most
        nearly the same.
    model : Model, optional
        Beside `sae`, whose model it is: the words that each feature promotes.
    figures : mapping of str to mapping, optional
        Further figures of the run, heading → label → value.
    cards : mapping of str to mapping, optional
        Cards of the run's artefacts by their names, as `geointerp.cards.read` gives them. Of a
        path on this computer the page has the last part alone.
    ratings : DataFrame, optional
        On the places' index (as text, `feats.obs_names`, or some of it): `rating`. What is
        rated is read from ``ratings.attrs["task"]``.
    title : str, optional
        The question at the top; by default what the model knows about places.
    maps : int
        How many features the first page shows on maps, at most: those with the largest I among
        the significant.
    q : float
        Significant is what has at most this q.

    Returns
    -------
    Path
        `out`, with `index.html`, its `data` and the card in it. It opens from disk, makes no
        request but for its own data, and runs no script and takes no style but its own.

    Raises
    ------
    InputError
        `out` is something other than an atlas; features and table that don't match; a column
        or the coordinates missing; ratings, clusters or correlograms of what is not there.

    Notes
    -----
    On a feature's page a value is within 1 / 131,070 of the feature's range of what it is in
    `feats`, on a place's it is in single precision; a coordinate is within 0.00005°. A place and
    feature that is not zero takes four to six bytes there, besides its clusters; each of a place's
    twenty strongest features another eight.
    """
    if maps < 0:
        raise InputError(f"maps is {maps}; it must be 0 or more.")
    if model is not None and sae is None:
        raise InputError(
            "model: what features promote is not known without their autoencoder, sae."
        )
    target = Path(out).resolve()
    folders.check(target)
    overview.check_report(feats, report)
    table = features.aligned(feats, table)
    found = features.ranked(table, q)
    matrix = Matrix(feats.X)
    features.check_finite(matrix, found, table.index)
    where = places.columns(feats)
    alike = profiles.read(correlograms, feats.var_names)
    first_page = overview.collect(
        feats,
        table,
        found=found,
        counts=features.counts(table, q),
        report=report,
        figures=figures or {},
        run_cards=cards or {},
        ratings=ratings,
        title=title,
    )
    nearest = None if sae is None else directions.nearest(sae, feats.var_names)
    words = None if model is None else directions.words(sae, model, feats.var_names)
    local_moran, alpha = clusters.read(local, feats.obs_names, feats.var_names)
    sources = blocks.Sources(matrix, local_moran, alike, nearest, words)
    first_page["counts"] |= {"alpha": alpha, "block": blocks.BLOCK, "place_block": places.BLOCK}

    with folders.replaced(target) as part:
        data = part / folders.DATA
        payloads.save(data, "overview", first_page)
        payloads.save(data, "places", where)
        payloads.save(data, "features", features.columns(feats, table, matrix, alike))
        payloads.save(data, "world", outlines.world())
        payloads.save(data, "coast", outlines.coast())
        payloads.save(data, "strongest", blocks.block(found[:maps].tolist(), sources))
        for first in track(range(0, feats.n_vars, blocks.BLOCK), "features of the atlas"):
            rows = range(first, min(first + blocks.BLOCK, feats.n_vars))
            payloads.save(data, f"features-{first // blocks.BLOCK}", blocks.block(rows, sources))
        for first in track(range(0, feats.n_obs, places.BLOCK), "places of the atlas"):
            payloads.save(data, f"places-{first // places.BLOCK}", places.block(matrix, first))
        (part / "index.html").write_bytes(
            # a lone surrogate can't be UTF-8
            render(first_page["title"]).encode("utf-8", "replace")
        )
        about = {"function": folders.MAKER, "maps": maps, "q": q, "title": first_page["title"]}
        figures_of_it = {
            "places": feats.n_obs,
            "features": feats.n_vars,
            "features tested": first_page["counts"]["tested"],
            "features significant": first_page["counts"]["significant"],
            "features on the first page": min(maps, len(found)),
            "features with clusters sought": len(local_moran),
        }
        card_files.write(part, "Feature atlas", {"made by": about, "figures": figures_of_it})
    return target


def render(title: str) -> str:
    """The page as text, without its data.

    Parameters
    ----------
    title : str

    Returns
    -------
    str
    """
    assets = resources.files("geointerp.atlas").joinpath("assets")

    def text(name: str) -> str:
        return assets.joinpath(name).read_text("utf-8").replace("\r\n", "\n")

    style = text("page.css")
    script = "".join(text(f"{name}.js") for name in _SCRIPTS)
    policy = (
        # what stands in the page, and scripts from the folder that it is in
        f"default-src 'none'; script-src {_hash(script)} 'self'; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    slots = {
        "title": html.escape(title),
        "policy": html.escape(policy, quote=False),
        "style": style,
        "script": script,
    }
    # in one pass, so that no slot is looked for in what was filled into another
    return re.sub(r"\{\{(\w+)\}\}", lambda match: slots[match[1]], text("page.html"))


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
