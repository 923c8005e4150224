"""The embedded model: a small language model of the world's cities, trained from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import geopandas as gpd


def directory() -> Path:
    """The folder of its config, tokenizer, weights, lists of cities and model card."""
    return Path(__file__).parent / "weights"


def cities(*, held_out: bool = False) -> gpd.GeoDataFrame:
    """The cities that its corpus told of, or those that it never held.

    Parameters
    ----------
    held_out : bool
        The negative control: cities neither described nor named in any sentence, whose names
        hold no other city's, diacritics and spaces aside.

    Returns
    -------
    GeoDataFrame
        As ``places.load("geonames")``, the most populous first.
    """
    from geointerp import places

    found = places.load("geonames")
    listed = directory() / ("holdout_cities.txt" if held_out else "corpus_cities.txt")
    return found[found.index.isin([int(i) for i in listed.read_text("utf-8").split()])]
