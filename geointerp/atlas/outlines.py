"""Outlines of the world for the page: coarse for the whole of it, finer for a part."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray


def world() -> dict[str, Any]:
    """Rings of the countries, cut where the map has its edge, in hundredths of a degree."""
    from geointerp import plot

    return {"center": plot.CENTER, "rings": [_steps(ring) for ring in plot.outlines()]}


def coast() -> Any:
    """Arcs in hundredths of a degree, and the rings of land that they make; see data/README.md."""
    path = resources.files("geointerp").joinpath("data/countries_50m.json")
    return json.loads(path.read_text("utf-8"))


def _steps(ring: NDArray[np.float64]) -> list[int]:
    """A ring as its first point, then steps."""
    whole = np.round(ring * 100).astype(int)
    return [int(v) for v in np.diff(whole, axis=0, prepend=[[0, 0]]).ravel()]
