"""GeoLLM: ask a language model to rate places from their map context, and score the ratings.

After Manvi et al. (2024), GeoLLM: Extracting Geospatial Knowledge from Large Language
Models, ICLR, arXiv:2310.06213.
"""

from geointerp.geollm import calibration, truth
from geointerp.geollm.bias import bias_score
from geointerp.geollm.chat import Chat
from geointerp.geollm.context import Context, PlaceIndex
from geointerp.geollm.costs import Estimate
from geointerp.geollm.distribution import distribution
from geointerp.geollm.examples import Examples
from geointerp.geollm.gazetteer import Gazetteer, PlacesTable
from geointerp.geollm.labels import Labels
from geointerp.geollm.nominatim import Nominatim
from geointerp.geollm.osm import OsmFile
from geointerp.geollm.overpass import Overpass
from geointerp.geollm.prompting import prompts
from geointerp.geollm.rating import predict
from geointerp.geollm.recalibration import recalibrated
from geointerp.geollm.scoring import rank_residuals, score, scores
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
    "Labels",
    "Nominatim",
    "OsmFile",
    "Overpass",
    "PlaceIndex",
    "PlacesTable",
    "Server",
    "bias_score",
    "calibration",
    "distribution",
    "predict",
    "prompts",
    "rank_residuals",
    "recalibrated",
    "score",
    "scores",
    "truth",
]
