"""GeoLLM: ask a language model to rate places from their map context, and score the ratings.

After Manvi et al. (2024), GeoLLM: Extracting Geospatial Knowledge from Large Language
Models, ICLR, arXiv:2310.06213.
"""

from geointerp.geollm.context import Context, Gazetteer, PlaceIndex
from geointerp.geollm.prompting import prompts
from geointerp.geollm.rating import distribution, predict
from geointerp.geollm.scoring import score

__all__ = [
    "Context",
    "Gazetteer",
    "PlaceIndex",
    "distribution",
    "predict",
    "prompts",
    "score",
]
