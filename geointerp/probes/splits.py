"""Splits of places into folds: scikit-learn splitters that know where places are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from sklearn.model_selection import (
    BaseCrossValidator,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
)

from geointerp import sphere
from geointerp.errors import InputError

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


def inner_folds(k: int, folds: list[Fold]) -> list[NDArray[np.int64]]:
    """The training rows of a fold in parts, by which a penalty is chosen.

    The parts are the other folds' test sets, as far as they are in the training set, so that
    what is held out together there is held out together here; five random ones where there
    are fewer than two of those.

    Parameters
    ----------
    k : int
    folds : list of (train, test)
    """
    train, _ = folds[k]
    parts = [np.intersect1d(test, train) for j, (_, test) in enumerate(folds) if j != k]
    parts = [part for part in parts if len(part)]
    if len(parts) > 1:
        return parts
    return np.array_split(np.random.default_rng(0).permutation(train), min(5, len(train)))


def folds(places: pd.DataFrame, splitter: BaseCrossValidator) -> list[Fold]:
    """The splitter's folds of places; no place is tested twice.

    Parameters
    ----------
    places : DataFrame
        With the columns that the splitter reads, such as `lon` and `lat`.
    splitter : BaseCrossValidator

    Raises
    ------
    InputError
        A column that is not there; too few places; test sets that overlap.
    """
    groups = None
    reads = getattr(splitter, "reads", ())
    for name in reads:
        if name not in places.columns:
            raise InputError(f"{splitter!r}: the places carry no '{name}'.")
    if reads:
        groups = places[reads[0] if len(reads) == 1 else list(reads)].to_numpy()
    elif isinstance(splitter, (GroupKFold, GroupShuffleSplit, LeaveOneGroupOut)):
        raise InputError(f"{splitter!r} needs groups: take ColumnKFold, which names a column.")
    count = len(places)
    if count < splitter.get_n_splits(np.zeros(count), None, groups):
        raise InputError(f"{splitter!r}: there are only {count} places.")
    found = [
        (np.asarray(a), np.asarray(b)) for a, b in splitter.split(np.zeros(count), None, groups)
    ]
    least = min(len(train) for train, _ in found)
    if least < 2:
        raise InputError(f"{splitter!r}: a fold has {least} place(s) to learn from.")
    tested = np.bincount(np.concatenate([test for _, test in found]), minlength=count)
    if tested.max() > 1:
        raise InputError(f"{splitter!r}: its test sets must hold no place twice.")
    return found


def labelled(
    cv: BaseCrossValidator | Mapping[str, BaseCrossValidator],
) -> Mapping[str, BaseCrossValidator]:
    """Splitters by what they are called in tables; a single one is called by what it is."""
    named = cv if isinstance(cv, Mapping) else {_label(cv): cv}
    if not named:
        raise InputError("cv holds no split; give one or more.")
    for splitter in named.values():
        if not hasattr(splitter, "split") or isinstance(splitter, str):
            raise InputError(f"cv holds {splitter!r}; it must be a scikit-learn splitter.")
    return named


class RandomKFold(KFold):
    """Hold out places at random: scikit-learn's KFold, shuffled by a seed.

    Parameters
    ----------
    n_splits : int
    seed : int

    Notes
    -----
    Places near a training place are easy to predict: read it beside `BlockKFold`.
    """

    def __init__(self, n_splits: int = 5, *, seed: int = 0) -> None:
        self.seed = seed
        _check_count(n_splits)
        super().__init__(n_splits, shuffle=True, random_state=seed)

    def __repr__(self) -> str:
        return f"RandomKFold(n_splits={self.n_splits}, seed={self.seed})"


class BlockKFold(BaseCrossValidator):
    """Hold out whole blocks of the Earth's surface, of about the same area.

    The sphere is cut into bands of latitude and each band into equal blocks, as many as
    bring their area nearest to `km` by `km`. Blocks are dealt to the folds at random, larger ones
    first, each to the fold that has the fewest places so far.

    Parameters
    ----------
    km : float
        Side of a block.
    n_splits : int
    buffer_km : float
        Training places nearer than this to a test place are left out (great circle).
    seed : int

    Notes
    -----
    `groups` is the array of lon and lat, in degrees, shape (n, 2), as in
    ``cross_val_score(probe, features, target, groups=lonlat, cv=BlockKFold(km=500))``.
    After Roberts et al. 2017, Cross-validation strategies for data with temporal,
    spatial, hierarchical, or phylogenetic structure.
    """

    reads = ("lon", "lat")

    def __init__(
        self, km: float = 500.0, *, n_splits: int = 5, buffer_km: float = 0.0, seed: int = 0
    ) -> None:
        self.km = km
        self.n_splits = n_splits
        self.buffer_km = buffer_km
        self.seed = seed

    def __repr__(self) -> str:
        buffer = f", buffer_km={self.buffer_km:g}" if self.buffer_km else ""
        return f"BlockKFold(km={self.km:g}, n_splits={self.n_splits}{buffer}, seed={self.seed})"

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """The number of folds."""
        return self.n_splits

    def blocks(self, *, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.int64]:
        """The block of each place, numbered from 0 in an arbitrary order.

        Parameters
        ----------
        lon, lat : array_like, shape (n,)
            Degrees.
        """
        if not self.km > 0:
            raise InputError(f"km is {self.km}; the side of a block must be above 0.")
        if not self.buffer_km >= 0:
            raise InputError(f"buffer_km is {self.buffer_km}; it must be 0 or more.")
        band_count = max(1, round(np.pi * sphere.EARTH_RADIUS_KM / self.km))
        edges = np.linspace(-90, 90, band_count + 1)
        height = np.diff(np.sin(np.radians(edges)))
        area = 2 * np.pi * sphere.EARTH_RADIUS_KM**2 * height
        per_band = np.maximum(1, np.round(area / self.km**2)).astype(np.int64)
        band = np.clip(
            np.searchsorted(edges, np.asarray(lat, float), "right") - 1, 0, band_count - 1
        )
        turn = (np.asarray(lon, float) + 180) % 360 / 360
        column = np.minimum((turn * per_band[band]).astype(np.int64), per_band[band] - 1)
        first = np.concatenate([[0], np.cumsum(per_band)[:-1]])
        return np.unique(first[band] + column, return_inverse=True)[1]

    def _such_as(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> str:
        """The side of blocks of which there are twice as many as folds, if halving finds one."""
        for halvings in range(1, 12):
            km = self.km / 2**halvings
            count = len(np.unique(BlockKFold(km).blocks(lon=lon, lat=lat)))
            if count >= 2 * self.n_splits:
                return f", of {km:.2g} km say,"
        return ""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """Yield the rows of training and test set of every fold."""
        _check_count(self.n_splits)
        if groups is None or np.ndim(groups) != 2 or np.shape(groups)[1] != 2:
            raise InputError("BlockKFold needs groups: an array of lon and lat, shape (n, 2).")
        lon, lat = np.asarray(groups, float).T
        block = self.blocks(lon=lon, lat=lat)
        sizes = np.bincount(block)
        if len(sizes) < self.n_splits:
            smaller = self._such_as(lon, lat)
            raise InputError(
                f"the places lie in {len(sizes)} block(s) of {self.km:g} km; {self.n_splits} "
                f"folds need as many: make the blocks smaller{smaller} or the folds fewer."
            )
        order = np.random.default_rng(self.seed).permutation(len(sizes))
        order = order[np.argsort(-sizes[order], kind="stable")]
        fold_of, filled = np.zeros(len(sizes), dtype=np.int64), np.zeros(self.n_splits)
        for b in order:
            fold_of[b] = np.argmin(filled)
            filled[fold_of[b]] += sizes[b]
        fold = fold_of[block]
        points = sphere.unit_vectors(lon=lon, lat=lat)
        for k in range(self.n_splits):
            test = np.flatnonzero(fold == k)
            train = np.flatnonzero(fold != k)
            if self.buffer_km > 0:
                chord = 2 * np.sin(min(self.buffer_km / sphere.EARTH_RADIUS_KM, np.pi) / 2)
                near, _ = cKDTree(points[test]).query(points[train])
                train = train[near >= chord]
                if not len(train):
                    raise InputError(
                        f"buffer_km is {self.buffer_km:g}: no place is that far from fold {k}."
                    )
            yield train, test


class ColumnKFold(BaseCrossValidator):
    """Hold out whole countries, or whole groups of any other column.

    Parameters
    ----------
    column : str
    n_splits : int or None
        None holds out one group at a time: leave one country out.
    seed : int

    Notes
    -----
    scikit-learn's GroupKFold, shuffled, or LeaveOneGroupOut, with the column's values as
    `groups`. Each fold has as many countries as the others, not as many places.
    """

    def __init__(self, column: str = "country", *, n_splits: int | None = 5, seed: int = 0) -> None:
        self.column = column
        self.n_splits = n_splits
        self.seed = seed

    @property
    def reads(self) -> tuple[str]:
        """The coordinate that `groups` is made of."""
        return (self.column,)

    def __repr__(self) -> str:
        return f"ColumnKFold({self.column!r}, n_splits={self.n_splits}, seed={self.seed})"

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """The number of folds."""
        if self.n_splits is None:
            return len(np.unique(_whole(groups, self.column)))
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """Yield the rows of training and test set of every fold."""
        if self.n_splits is not None:
            _check_count(self.n_splits)
        values = _whole(groups, self.column)
        found = len(np.unique(values))
        if found < (self.n_splits or 2):
            raise InputError(
                f"column '{self.column}' has {found} value(s); {self.n_splits or 2} folds need as "
                "many."
            )
        if self.n_splits is None:
            splitter: Any = LeaveOneGroupOut()
        else:
            splitter = GroupKFold(self.n_splits, shuffle=True, random_state=self.seed)
        yield from splitter.split(np.zeros(len(values)), None, values)


class ColumnSplit(BaseCrossValidator):
    """Hold out the places that a column says, once, such as Gurnee and Tegmark's `is_test`.

    Parameters
    ----------
    column : str
        Of true and false.
    """

    def __init__(self, column: str = "is_test") -> None:
        self.column = column

    @property
    def reads(self) -> tuple[str]:
        """The coordinate that `groups` is made of."""
        return (self.column,)

    def __repr__(self) -> str:
        return f"ColumnSplit({self.column!r})"

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """The number of folds: one."""
        return 1

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """Yield the rows of the training and the test set."""
        values = _whole(groups, self.column)
        strange = set(np.unique(values)) - {"True", "False", "1", "0", "1.0", "0.0"}
        if strange:
            raise InputError(
                f"column '{self.column}' says which places are held out, so it must be true or "
                f"false; it has {str(sorted(strange)[0])!r}."
            )
        held = np.isin(values, ["True", "1", "1.0"])
        if held.all() or not held.any():
            raise InputError(f"column '{self.column}': it must hold out some places, and not all.")
        yield np.flatnonzero(~held), np.flatnonzero(held)


def _check_count(n_splits: int) -> None:
    if n_splits < 2:
        raise InputError(f"n_splits is {n_splits}; it must be 2 or more.")


def _whole(groups: Any, column: str) -> NDArray[np.str_]:
    """The values of a column as text, none of them missing."""
    if groups is None:
        raise InputError(f"a split by '{column}' needs groups: the values of that column.")
    missing = np.flatnonzero(pd.isna(np.asarray(groups, dtype=object)))
    if len(missing):
        raise InputError(
            f"column '{column}': {len(missing)} place(s) have no value, the first in row "
            f"{missing[0]}; fill or drop them."
        )
    return np.asarray(groups, dtype=str)


def _label(splitter: BaseCrossValidator) -> str:
    km = getattr(splitter, "km", None)
    if km is not None:
        buffer = getattr(splitter, "buffer_km", 0)
        return f"block {km:g} km" + (f", buffer {buffer:g} km" if buffer else "")
    column = getattr(splitter, "column", None)
    if column is not None:
        return str(column)
    if isinstance(splitter, KFold):
        return "random"
    return re.sub(r"(?<!^)(?=[A-Z])", " ", type(splitter).__name__).lower()
