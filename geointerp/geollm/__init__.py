"""GeoLLM: ask a language model to rate places from their map context, and score the ratings.

After Manvi et al. (2024), GeoLLM: Extracting Geospatial Knowledge from Large Language
Models, ICLR, arXiv:2310.06213.
"""

from geointerp.geollm import truth
from geointerp.geollm.chat import Chat
from geointerp.geollm.context import Context, PlaceIndex
from geointerp.geollm.costs import Estimate
from geointerp.geollm.distribution import distribution
from geointerp.geollm.examples import Examples
from geointerp.geollm.gazetteer import Gazetteer, PlacesTable
from geointerp.geollm.osm import OsmFile
from geointerp.geollm.labels import Labels
from geointerp.geollm.prompting import prompts
from geointerp.geollm.rating import predict
from geointerp.geollm.scoring import score
from geointerp.geollm.server import Server
from geointerp.geollm.templates import INSTRUCTIONS, TEMPLATE

__all__ = [
    "INSTRUCTIONS",
    "TEMPLATE",
    "Chat",
    "Context",
    "Estimate",
    "Examples",
    "Gazetteer",
    "OsmFile",
    "Labels",
    "PlaceIndex",
    "PlacesTable",
    "Server",
    "distribution",
    "predict",
    "prompts",
    "score",
    "truth",
]
