"""Probes: what can be read linearly from activations, and whether to believe it."""

from geointerp.probes import controls, scores
from geointerp.probes.cells import Cells
from geointerp.probes.evaluation import evaluate
from geointerp.probes.harmonics import Harmonics
from geointerp.probes.report import Report
from geointerp.probes.ridge import RidgeProbe
from geointerp.probes.splits import BlockKFold, ColumnKFold, ColumnSplit, RandomKFold
from geointerp.probes.targets import Category, Coordinates, Number, Sphere

__all__ = [
    "BlockKFold",
    "Category",
    "Cells",
    "ColumnKFold",
    "ColumnSplit",
    "Coordinates",
    "Harmonics",
    "Number",
    "RandomKFold",
    "Report",
    "RidgeProbe",
    "Sphere",
    "controls",
    "evaluate",
    "scores",
]
