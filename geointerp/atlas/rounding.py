"""Numbers for the page: no more digits than can be seen, and nothing that JSON lacks."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike


def rounded(values: ArrayLike, digits: int) -> list[float | None]:
    """Numbers to so many decimals; None where one is not finite."""
    kept = np.round(np.asarray(values, float), digits)
    if digits > 0:
        return [float(v) if math.isfinite(v) else None for v in kept]
    return [int(v) if math.isfinite(v) else None for v in kept]


def significant(values: ArrayLike, digits: int) -> list[float | None]:
    """Numbers to so many significant digits; None where one is not finite."""
    return [
        float(f"{v:.{digits}g}") if math.isfinite(v) else None
        for v in np.asarray(values, float).tolist()
    ]


def plain(value: Any) -> Any:
    """A value that JSON has: a whole number, a number, a truth, a text or nothing."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return None if value is None or value is pd.NA else str(value)


def texts(values: Any) -> list[str | None]:
    """Texts; None where one is missing."""
    return [None if pd.isna(value) else str(value) for value in values]
