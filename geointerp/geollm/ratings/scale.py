"""The scale: every rating from 0.0 to 9.9, as a number and as it is written."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATINGS: NDArray[np.float64] = np.arange(100) / 10
WORDS = [f"{rating:.1f}" for rating in RATINGS]
