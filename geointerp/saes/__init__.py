"""Sparse autoencoders: train, load, judge and read them, in sae-lens's own format."""

from geointerp.saes.encoding import encode
from geointerp.saes.files import load
from geointerp.saes.quality import quality
from geointerp.saes.reading import (
    activation_histogram,
    neighbours,
    probe_cosines,
    promoted,
    top_places,
)
from geointerp.saes.splicing import loss_recovered
from geointerp.saes.split import held_out
from geointerp.saes.stability import Stability, stability
from geointerp.saes.training import sweep, train

__all__ = [
    "Stability",
    "activation_histogram",
    "encode",
    "held_out",
    "load",
    "loss_recovered",
    "neighbours",
    "probe_cosines",
    "promoted",
    "quality",
    "stability",
    "sweep",
    "top_places",
    "train",
]
