"""What every statistic reads: a table of features, by column, whatever it came as."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from geointerp.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

Features: TypeAlias = "AnnData | pd.DataFrame | NDArray | sparse.spmatrix | sparse.sparray"

BLOCK_ENTRIES = 6_400_000
"""Columns are worked on in blocks of at most so many numbers, 30 to 50 bytes each.

Of 100,000 places that is 64 columns; the values of fewer are too short a line to be worth fetching.
"""


class Table(NamedTuple):
    """Features by column, whatever they came as."""

    matrix: Any  # ndarray or csc_array of shape (n, F)
    names: pd.Index  # of the features, length F
    places: pd.Index | None  # of the rows, where the input knows them
    called: str = "the features"  # in messages


def label(index: pd.Index, row: int | np.integer) -> str:
    """How messages name a place: 5 and 'Paris', not np.int64(5)."""
    return repr(index[row : row + 1].tolist()[0])


def read_features(features: Features, called: str = "the features") -> Table:
    """Features of shape (n, F) as an ndarray or a csc_array, with the names of both sides."""
    if isinstance(features, pd.DataFrame):
        return Table(_from_frame(features, called), features.columns, features.index, called)
    labelled: Any = features
    if hasattr(labelled, "obs_names") and hasattr(labelled, "X"):
        if labelled.X is None:
            raise InputError(f"the AnnData has no X; it holds {called}, places by features.")
        matrix = _from_matrix(labelled.X, called)
        return Table(matrix, labelled.var_names, labelled.obs_names, called)
    matrix = _from_matrix(features, called)
    return Table(matrix, pd.RangeIndex(matrix.shape[1]), None, called)


def check_rows(table: Table, n: int, ids: pd.Index | None, other: str, order: str) -> None:
    """Raise `InputError` unless the rows of the table are the n places that `other` holds.

    `order` names what is in the order that the features should have.
    """
    rows = table.matrix.shape[0]
    if rows != n:
        raise InputError(f"{table.called} have {rows} rows, {other} {n} places.")
    if table.places is not None and ids is not None:
        check_same_places(table.places, ids, table.called, other, order)


def check_same_places(mine: pd.Index, theirs: pd.Index, one: str, other: str, order: str) -> None:
    """Raise `InputError` for the first row in which two tables of one length differ."""
    if mine.equals(theirs):
        return
    # AnnData turns every label into a string
    ours, given = mine.map(str), theirs.map(str)
    for row in np.flatnonzero(ours.to_numpy() != given.to_numpy()):
        said = f"row {row} of {one} is {label(mine, row)}, of {other} {label(theirs, row)}; "
        raise InputError(
            said
            + (
                f"they hold the same places in another order: bring {one} into the order of "
                f"{order}."
                if set(ours) == set(given)
                else "both must hold the same places in the same order."
            )
        )


def _from_frame(frame: pd.DataFrame, called: str) -> Any:
    for column, dtype in frame.dtypes.items():
        if not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)):
            raise InputError(f"column {column!r} of {called} is of {dtype}, not of numbers.")
    if len(frame.columns) and all(isinstance(t, pd.SparseDtype) for t in frame.dtypes):
        if all(t.fill_value == 0 for t in frame.dtypes):
            return _from_matrix(frame.sparse.to_coo(), called)
        frame = frame.sparse.to_dense()
    if len(frame.columns) and all(isinstance(dtype, np.dtype) for dtype in frame.dtypes):
        # by itself pandas makes objects of numbers beside booleans
        return _from_matrix(frame.to_numpy(dtype=np.result_type(*frame.dtypes)), called)
    return _from_matrix(frame.to_numpy(dtype=float, na_value=np.nan), called)


def _from_matrix(matrix: Any, called: str) -> Any:
    if hasattr(matrix, "to_memory"):  # of an AnnData that is backed by a file
        matrix = matrix.to_memory()
    if sparse.issparse(matrix):
        columns = sparse.csc_array(matrix, copy=True)
        columns.sum_duplicates()
        columns.eliminate_zeros()
    else:
        columns = np.asarray(matrix)
    if columns.ndim != 2:
        raise InputError(
            f"{called} have {columns.ndim} dimension(s); they must be places by features."
        )
    if columns.dtype.kind not in "biuf":
        raise InputError(f"{called} are of {columns.dtype}; they must be real numbers.")
    return columns


def firing(table: Table) -> Table:
    """1 where a feature is not zero; what is not finite stays as it is."""
    if sparse.issparse(table.matrix):
        data = table.matrix.data
        ones = sparse.csc_array(table.matrix, copy=True, dtype=np.float64)
        ones.data = np.where(np.isfinite(data), 1.0, data)
    else:
        ones = np.where(np.isfinite(table.matrix), table.matrix != 0, table.matrix).astype(float)
    return table._replace(matrix=ones)


def columns(matrix: Any) -> Iterator[list[tuple[NDArray[np.intp], NDArray[np.float64]]]]:
    """Rows and values of the nonzero entries of each column, in blocks of bounded memory.

    They may be the caller's own array, and are not to be written to.
    """
    n, width = matrix.shape
    start = 0
    while start < width:
        if sparse.issparse(matrix):
            room = matrix.indptr[start] + BLOCK_ENTRIES
            stop = max(start + 1, int(np.searchsorted(matrix.indptr, room, side="right")) - 1)
            spans = [slice(*matrix.indptr[j : j + 2]) for j in range(start, stop)]
            yield [(matrix.indices[s], matrix.data[s].astype(np.float64)) for s in spans]
        else:
            stop = start + max(1, BLOCK_ENTRIES // max(n, 1))
            yield _nonzero(np.ascontiguousarray(matrix[:, start:stop].T, dtype=np.float64))
        start = stop


def _nonzero(block: NDArray[np.float64]) -> list[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Rows and values of a block of features; of those that fire everywhere it is no copy."""
    everywhere = np.arange(block.shape[1])
    everywhere.flags.writeable = block.flags.writeable = False
    active = (np.flatnonzero(values) for values in block)
    return [
        (everywhere, values) if len(rows) == len(everywhere) else (rows, values[rows])
        for rows, values in zip(active, block, strict=True)
    ]


def pack(
    features: list[tuple[NDArray[np.intp], NDArray[np.float64]]],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Features one after the other: f is at starts[f]:starts[f + 1] of rows and values."""
    starts = np.zeros(len(features) + 1, dtype=np.int64)
    np.cumsum([len(rows) for rows, _ in features], out=starts[1:])
    rows = np.concatenate([np.empty(0, np.int32), *(r for r, _ in features)]).astype(np.int32)
    return starts, rows, np.concatenate([np.empty(0), *(v for _, v in features)])


def check_whole(word: str, value: object, least: int) -> None:
    """Raise `InputError` unless an option is a whole number that is large enough."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{word} is {value!r}; it must be a whole number of {least} or more.")


def undefined(values: NDArray[np.float64], n: int) -> str | None:
    """Why no statistic is defined for a column with these nonzero values among n, if it isn't."""
    if len(values) == 0:
        return "It fires on no place."
    if (reason := not_finite(values)) is not None:
        return reason
    if len(values) == n and values.min() == values.max():
        return "It is constant: its value is the same at every place."
    return None


def not_finite(values: NDArray[np.float64]) -> str | None:
    """What is wrong with a column that holds NaN or infinity."""
    bad = int((~np.isfinite(values)).sum())
    return f"It is not finite: {bad} of its values are NaN or infinite." if bad else None
