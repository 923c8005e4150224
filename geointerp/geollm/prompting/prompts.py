"""Prompts as GeoLLM writes them, with parts left out, in other words, or after examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geointerp import places as _places
from geointerp.errors import InputError
from geointerp.geollm.context.base import Context
from geointerp.geollm.prompting import templates
from geointerp.geollm.prompting.examples import Examples

if TYPE_CHECKING:
    import geopandas as gpd


def prompts(
    places: gpd.GeoDataFrame,
    *,
    task: str,
    context: Context,
    template: str | None = None,
    leave_out: str | Sequence[str] = (),
    instruction: str = "",
    examples: Examples | None = None,
) -> pd.DataFrame:
    """Write a prompt for every place, unless told otherwise to the byte as GeoLLM's own code does.

    Parameters
    ----------
    places : GeoDataFrame
        Points in any CRS; a column `name` is not needed and not used.
    task : str
        What is to be rated, such as ``"Population Density"``. It is taken literally.
    context : Context
        Where addresses and nearby places come from, such as a `Gazetteer`.
    template : str, optional
        Words of your own around the fields ``{coordinates}``, "(latitude, longitude)";
        ``{lon}``; ``{lat}``; ``{address}``; ``{nearby}``, a line for each place, every line
        with its line break; ``{task}``, which must be there; and ``{scale}``, "On a Scale from
        0.0 to 9.9". What is put in for a field is never read as a field. GeoLLM's is
        `geollm.TEMPLATE`.
    leave_out : sequence of {"coordinates", "address", "nearby"}
        Sections of GeoLLM's template to go without, heading, quotes and blank line included;
        the others and the task stay as they are. What is not written is not looked up.
    instruction : str
        What stands before everything else, with two blank lines after it, such as
        ``geollm.INSTRUCTIONS["zero-shot"]`` or ``geollm.INSTRUCTIONS["chain-of-thought"]``.
        GeoLLM's template then ends with its colon, without the space.
    examples : Examples, optional
        Other places of known rating to be shown before the question, each as a prompt for the
        same task with its answer behind it and a blank line: "7.3", or, in GeoLLM's template
        under an instruction, " My answer is 7.3.".

    Returns
    -------
    DataFrame
        On the places' index: `prompt`; `address`, "" where the context knows none; and
        `n_nearby`, 0 to 10; these two as far as the prompt holds them. Its
        ``attrs["attribution"]`` says whose data it holds.

    Raises
    ------
    InputError
        An empty task; what is no context; a place that is no point or has no finite longitude and
        latitude; a table without CRS, without rows or with an index that repeats; a template with
        unknown fields or without the task, or beside something to leave out; too few examples.

    Notes
    -----
    A point that has fewer than ten named places within 100 km lists those that there are;
    one that has none keeps the empty list, and one without address has the address "None",
    both as GeoLLM's code leaves them.

    The zero-shot instruction and the layout under it are those of the code for the second
    paper (rohinmanvi/GeoLLM, utils.py); that for chains of thought is this library's own,
    made from it. The layout of examples is this library's own; their answer under an
    instruction is the one that the same code fine-tunes with.

    References
    ----------
    Manvi, R. et al. (2024). GeoLLM: Extracting Geospatial Knowledge from Large Language
    Models. ICLR. arXiv:2310.06213, section 3.2 and figure 1.
    Manvi, R. et al. (2024). Large Language Models are Geographically Biased. ICML.
    arXiv:2402.02680.
    """
    if not isinstance(task, str) or not task.strip():
        raise InputError(
            f"the task is {task!r}; it must say what to rate, such as 'Population Density'."
        )
    if isinstance(context, type) or not isinstance(context, Context):
        raise InputError(
            f"context is a {type(context).__name__}; it must be a Context, such as "
            "OsmFile('region.osm.pbf') or Gazetteer()."
        )
    if template is not None and len(leave_out):
        raise InputError(
            "leave_out is for GeoLLM's own template; leave the fields out of yours instead."
        )
    form = templates.without(leave_out) if template is None else template
    table = _asked(places, task, context, form)
    # in words of one's own a rating follows them directly
    says_so = bool(instruction) and template is None
    if says_so:
        table["prompt"] = table["prompt"].str.rstrip()
    if examples is not None:
        shown = _shown(places, task, context, form, examples, says_so)
        table["prompt"] = shown + table["prompt"]
    if instruction:
        table["prompt"] = instruction.rstrip("\n") + "\n\n\n" + table["prompt"]
    table.attrs["attribution"] = context.attribution
    return table


def _asked(places: gpd.GeoDataFrame, task: str, context: Context, form: str) -> pd.DataFrame:
    """Prompt, address and number of nearby places of every place, by one template."""
    fields = templates.fields(form)
    _places.validate(places.assign(name="point"))
    lon, lat = _places.lon_lat(places)
    for bad in np.flatnonzero(~(np.isfinite(lon) & np.isfinite(lat))):
        raise InputError(f"places: row {places.index[bad]!r} has no longitude and latitude.")
    addresses = [""] * len(places)
    if "address" in fields:
        found = context.address(lon=lon, lat=lat)
        addresses = [", ".join(map(templates.one_line, parts)) for parts in found]
    around: list[list[tuple[float, str, str]]] = [[] for _ in range(len(places))]
    if "nearby" in fields:
        near = context.nearby(lon=lon, lat=lat)
        columns = (near[c] for c in ("point", "distance_km", "direction", "name"))
        for point, km, direction, name in zip(*columns, strict=True):
            around[point].append((km, direction, name))
    texts = []
    for i, address in enumerate(addresses):
        values = templates.written(
            lon=lon[i], lat=lat[i], address=address, nearby=around[i], task=task
        )
        texts.append(templates.fill(form, values))
    return pd.DataFrame(
        {"prompt": texts, "address": addresses, "n_nearby": [len(rows) for rows in around]},
        index=places.index,
    )


def _shown(
    places: gpd.GeoDataFrame,
    task: str,
    context: Context,
    form: str,
    examples: Examples,
    says_so: bool,
) -> list[str]:
    """What every place is shown before its own prompt; whether an answer says that it is one."""
    lon, lat = _places.lon_lat(places)
    chosen = examples.chosen(lon=lon, lat=lat)
    # only those that are shown are looked up
    used, position = np.unique(chosen, return_inverse=True)
    asked = _asked(examples.places.iloc[used], task, context, form)["prompt"]
    ratings = examples.ratings[used]
    texts = [
        f"{text.rstrip()} My answer is {rating:.1f}.\n\n" if says_so else f"{text}{rating:.1f}\n\n"
        for text, rating in zip(asked, ratings, strict=True)
    ]
    return ["".join(texts[i] for i in row) for row in position.reshape(chosen.shape)]
