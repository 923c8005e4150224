"""Prompts as GeoLLM writes them: coordinates, address, nearby places, task."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geointerp import places as _places
from geointerp.errors import InputError
from geointerp.geollm.context import Context

if TYPE_CHECKING:
    import geopandas as gpd

# whatever ends a line somewhere (as str.splitlines knows them) and all other control characters
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def prompts(places: gpd.GeoDataFrame, *, task: str, context: Context) -> pd.DataFrame:
    """Write a prompt for every place, to the byte as GeoLLM's own code does.

    Parameters
    ----------
    places : GeoDataFrame
        Points in any CRS; a column `name` is not needed and not used.
    task : str
        What is to be rated, such as ``"Population Density"``. It is taken literally.
    context : Context
        Where addresses and nearby places come from, such as a `Gazetteer`.

    Returns
    -------
    DataFrame
        On the places' index: `prompt`; `address`, "" where the context knows none; and
        `n_nearby`, 0 to 10. Its ``attrs["attribution"]`` says whose data it holds.

    Raises
    ------
    InputError
        An empty task; a place that is no point or has no finite longitude and latitude; a
        table without CRS, without rows or with an index that repeats.

    Notes
    -----
    A point that has fewer than ten named places within 100 km lists those that there are;
    one that has none keeps the empty list, and one without address has the address "None",
    both as GeoLLM's code leaves them.

    References
    ----------
    Manvi, R. et al. (2024). GeoLLM: Extracting Geospatial Knowledge from Large Language
    Models. ICLR. arXiv:2310.06213, section 3.2 and figure 1.
    """
    if not isinstance(task, str) or not task.strip():
        raise InputError(
            f"the task is {task!r}; it must say what to rate, such as 'Population Density'."
        )
    _places.validate(places.assign(name="point"))
    lon, lat = _places.lon_lat(places)
    for bad in np.flatnonzero(~(np.isfinite(lon) & np.isfinite(lat))):
        raise InputError(f"places: row {places.index[bad]!r} has no longitude and latitude.")
    addresses = [", ".join(map(one_line, parts)) for parts in context.address(lon=lon, lat=lat)]
    found = context.nearby(lon=lon, lat=lat)
    around: list[list[tuple[float, str, str]]] = [[] for _ in range(len(places))]
    columns = (found[c] for c in ("point", "distance_km", "direction", "name"))
    for point, km, direction, name in zip(*columns, strict=True):
        around[point].append((km, direction, name))
    table = pd.DataFrame(
        {
            "prompt": [
                layout(lon=lon[i], lat=lat[i], address=addresses[i], nearby=around[i], task=task)
                for i in range(len(places))
            ],
            "address": addresses,
            "n_nearby": [len(rows) for rows in around],
        },
        index=places.index,
    )
    table.attrs["attribution"] = context.attribution
    return table


def layout(
    *, lon: float, lat: float, address: str, nearby: Iterable[tuple[float, str, str]], task: str
) -> str:
    """One prompt from its parts.

    Address and names are made one line each (`one_line`), so that every line of the prompt
    still begins as GeoLLM's does, whatever the map says; quotes stay, as in GeoLLM's.

    Parameters
    ----------
    lon, lat : float
        Degrees; written latitude first, with five decimals.
    address : str
        From fine to coarse; "None" is written where it is empty.
    nearby : iterable of (float, str, str)
        Kilometres, direction and name, in the order in which they are to be written.
    task : str

    Returns
    -------
    str
        It ends with a colon and a space.
    """
    lines = "".join(f"{km:.1f} km {where}: {one_line(name)}\n" for km, where, name in nearby)
    return (
        f"Coordinates: ({lat:.5f}, {lon:.5f})\n\n"
        f'Address: "{one_line(address) or None}"\n\n'
        f'Nearby Places:\n"\n{lines}"\n\n'
        f"{task} (On a Scale from 0.0 to 9.9): "
    )


def one_line(text: str) -> str:
    """The text with every run of line breaks and control characters as one space.

    Nothing else changes: quotes, double spaces and the joiners of Burmese or Persian stay.
    """
    return _BREAKS.sub(" ", text).strip() if _BREAKS.search(text) else text
