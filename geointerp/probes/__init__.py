"""Probes: what can be read linearly from activations, and whether to believe it."""

from geointerp.probes import scores
from geointerp.probes.evaluation import Report, evaluate
from geointerp.probes.ridge import RidgeProbe
from geointerp.probes.splits import BlockKFold, ColumnKFold, RandomKFold

__all__ = ["BlockKFold", "ColumnKFold", "RandomKFold", "Report", "RidgeProbe", "evaluate", "scores"]
