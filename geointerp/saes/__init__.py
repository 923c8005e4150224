"""Sparse autoencoders: train, load, judge and use them, in sae-lens's own format."""

from geointerp.saes.encoding import encode
from geointerp.saes.files import load
from geointerp.saes.quality import quality
from geointerp.saes.split import held_out
from geointerp.saes.training import sweep, train

__all__ = ["encode", "held_out", "load", "quality", "sweep", "train"]
