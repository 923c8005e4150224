"""The values of features at places, by feature and by place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


class Matrix:
    """Entries that are not zero, to be read by feature or by place.

    Parameters
    ----------
    values : sparse matrix or array_like, shape (places, features)
    """

    def __init__(self, values: Any):
        sparse_one = sparse.issparse(values)
        self._columns = sparse.csc_matrix(values) if sparse_one else np.asarray(values)
        self._rows = sparse.csr_matrix(values) if sparse_one else self._columns
        self.n_places, self.n_features = values.shape

    def of_feature(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Places, rising, and the feature's values there."""
        if isinstance(self._columns, np.ndarray):
            return _entries(self._columns[:, row])
        return _stored(self._columns, row)

    def of_place(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Features, rising, and their values at the place; finite ones alone."""
        if isinstance(self._rows, np.ndarray):
            at, values = _entries(self._rows[row])
        else:
            at, values = _stored(self._rows, row)
        finite = np.isfinite(values)
        return at[finite], values[finite]


def _entries(values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    at = np.flatnonzero(values)
    return at, values[at].astype(np.float64)


def _stored(matrix: Any, major: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    here = slice(matrix.indptr[major], matrix.indptr[major + 1])
    at, values = matrix.indices[here].astype(np.int64), matrix.data[here].astype(np.float64)
    order = np.argsort(at, kind="stable")
    order = order[values[order] != 0]
    return at[order], values[order]
