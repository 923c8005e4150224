"""Bytes for the page: which places a feature fires on, and how strongly, in about three each."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

LEVELS = 65535


def varints(values: NDArray[np.integer]) -> bytes:
    """Whole numbers of 0 or more, seven bits a byte, the lowest first (LEB128).

    Parameters
    ----------
    values : ndarray of int, shape (n,)
        Below 2**35.

    Returns
    -------
    bytes
        The highest bit of a byte says that its number goes on in the next.
    """
    whole = np.asarray(values).astype(np.uint64)
    longest = np.array([1 << 7 * k for k in range(1, 5)], np.uint64)
    lengths = 1 + np.searchsorted(longest, whole, side="right")
    starts = np.cumsum(lengths) - lengths
    packed = np.zeros(int(lengths.sum()), np.uint8)
    for k in range(int(lengths.max(initial=0))):
        longer = lengths > k
        seven = (whole[longer] >> np.uint64(7 * k) & np.uint64(127)).astype(np.uint8)
        more = (lengths[longer] > k + 1).astype(np.uint8)
        packed[starts[longer] + k] = seven | more << 7
    return packed.tobytes()


def gaps(rows: NDArray[np.integer]) -> bytes:
    """Rising row numbers as `varints` of each less the one before it."""
    return varints(np.diff(rows, prepend=0))


def quantised(values: NDArray[np.floating]) -> tuple[float, float, bytes]:
    """Values as shares of their range, in steps of 1 / 65535.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
        Finite.

    Returns
    -------
    low, high : float
        The smallest and the largest, 0 if there are none.
    packed : bytes
        Two for each value, the low one first.
    """
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    share = (values - low) / (high - low) if high > low else np.ones(len(values))
    return low, high, np.round(share * LEVELS).astype("<u2").tobytes()


def singles(values: NDArray[np.floating]) -> bytes:
    """Values in single precision, four bytes each, the low one first."""
    return np.asarray(values).astype("<f4").tobytes()


def text_of(packed: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(packed).decode("ascii")
