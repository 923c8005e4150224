"""The embedded model: a small language model of the world's cities, trained from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import geopandas as gpd


def directory() -> Path:
    """The folder of its config, tokenizer, weights, hold-out list and model card."""
    return Path(__file__).parent / "weights"


def cities(*, held_out: bool = False) -> gpd.GeoDataFrame:
    """The cities that its corpus told of, or those that it never held.

    Parameters
    ----------
    held_out : bool
        The negative control: a tenth of GeoNames' cities with 45,000 inhabitants or more,
        neither described nor named in any sentence.

    Returns
    -------
    GeoDataFrame
        As ``places.load("geonames")``, the most populous first.
    """
    from geointerp import places
    from geointerp.toponym.facts import MIN_POPULATION

    found = places.load("geonames", min_population=MIN_POPULATION)
    listed = (directory() / "holdout.txt").read_text("utf-8").split()
    return found[found.index.isin([int(i) for i in listed]) == held_out]
