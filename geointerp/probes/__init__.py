"""Probes: what can be read linearly from activations, and whether to believe it."""

from geointerp.probes import controls, scores
from geointerp.probes.cells import Cells
from geointerp.probes.evaluation import evaluate
from geointerp.probes.harmonics import Harmonics
from geointerp.probes.neurons import aligned_neurons, neurons
from geointerp.probes.readings import by_components, by_prompt, by_sample_size, is_it_linear
from geointerp.probes.report import Report
from geointerp.probes.ridge import RidgeProbe
from geointerp.probes.splits import BlockKFold, ColumnKFold, ColumnSplit, RandomKFold
from geointerp.probes.targets import Category, Coordinates, Number, Sphere
from geointerp.probes.transfer import between, transfer

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
    "aligned_neurons",
    "between",
    "by_components",
    "by_prompt",
    "by_sample_size",
    "controls",
    "evaluate",
    "is_it_linear",
    "neurons",
    "scores",
    "transfer",
]
