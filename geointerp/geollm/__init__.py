"""GeoLLM: ask a language model to rate places from their map context, and score the ratings.

After Manvi et al. (2024), GeoLLM: Extracting Geospatial Knowledge from Large Language
Models, ICLR, arXiv:2310.06213.
"""

from geointerp.geollm import truth
from geointerp.geollm.baselines.methods import Method, baselines
from geointerp.geollm.baselines.siren import LocationEncoder
from geointerp.geollm.context.base import Context, PlaceIndex
from geointerp.geollm.context.gazetteer import Gazetteer
from geointerp.geollm.context.nominatim import Nominatim
from geointerp.geollm.context.osm import OsmFile
from geointerp.geollm.context.overpass import Overpass
from geointerp.geollm.context.table import PlacesTable
from geointerp.geollm.finetuning.finetuned import (
    Finetuned,
    FinetunedRegressor,
    finetune,
    load_finetuned,
)
from geointerp.geollm.prompting.examples import Examples
from geointerp.geollm.prompting.prompts import prompts
from geointerp.geollm.prompting.templates import INSTRUCTIONS, TEMPLATE
from geointerp.geollm.ratings.chat import Chat
from geointerp.geollm.ratings.distribution import distribution
from geointerp.geollm.ratings.predict import predict
from geointerp.geollm.scoring import calibration
from geointerp.geollm.scoring.bias import bias_score
from geointerp.geollm.scoring.comparison import Comparison, compare
from geointerp.geollm.scoring.recalibration import recalibrated
from geointerp.geollm.scoring.scores import rank_residuals, score, scores
from geointerp.geollm.server.costs import Estimate
from geointerp.geollm.server.server import Server
from geointerp.geollm.truth.labels import Labels

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
