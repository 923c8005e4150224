"""Probes: what can be read linearly from activations, and whether to believe it."""

from geointerp.probes.evaluation import Report, evaluate
from geointerp.probes.ridge import RidgeProbe
from geointerp.probes.splits import BlockKFold, ColumnKFold

__all__ = ["BlockKFold", "ColumnKFold", "Report", "RidgeProbe", "evaluate"]
