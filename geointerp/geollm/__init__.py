"""GeoLLM: ask a language model to rate places from their map context, and score the ratings.

After Manvi et al. (2024), GeoLLM: Extracting Geospatial Knowledge from Large Language
Models, ICLR, arXiv:2310.06213.
"""

from geointerp.geollm import calibration, truth
from geointerp.geollm.baselines import Method, baselines
from geointerp.geollm.bias import bias_score
from geointerp.geollm.chat import Chat
from geointerp.geollm.comparison import Comparison, compare
from geointerp.geollm.context import Context, PlaceIndex
from geointerp.geollm.costs import Estimate
from geointerp.geollm.distribution import distribution
from geointerp.geollm.examples import Examples
from geointerp.geollm.finetuning import (
    Finetuned,
    FinetunedRegressor,
    finetune,
    load_finetuned,
)
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
from geointerp.geollm.siren import LocationEncoder
from geointerp.geollm.templates import INSTRUCTIONS, TEMPLATE

__all__ = [
    "INSTRUCTIONS",
    "TEMPLATE",
    "Chat",
    "Comparison",
    "Context",
    "Estimate",
    "Examples",
    "Finetuned",
    "FinetunedRegressor",
    "Gazetteer",
    "Labels",
    "LocationEncoder",
    "Method",
    "Nominatim",
    "OsmFile",
    "Overpass",
    "PlaceIndex",
    "PlacesTable",
    "Server",
    "baselines",
    "bias_score",
    "calibration",
    "compare",
    "distribution",
    "finetune",
    "load_finetuned",
    "predict",
    "prompts",
    "rank_residuals",
    "recalibrated",
    "score",
    "scores",
    "truth",
]
