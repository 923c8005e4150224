"""Cross-fitting: every place is predicted by a ridge regression that never saw its fold."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from geointerp import processes
from geointerp.errors import InputError
from geointerp.models import chosen_device
from geointerp.probes.counts import Counts, left
from geointerp.probes.moments import (
    Lines,
    Moments,
    blocks,
    of_parts,
    on_device,
    on_host,
    solve,
    solve_rows,
)
from geointerp.probes.shrinkage import at_once
from geointerp.probes.splits import Fold, inner_folds

# at most so many parts of the places try the penalties
_PARTS = 5


class Crossfit(NamedTuple):
    """Out-of-fold predictions.

    Attributes
    ----------
    predicted : ndarray of float64, shape (n, t)
        NaN where a place is in no test set.
    chosen : ndarray of int, shape (fold, group)
        Which penalty each fold took for each group of targets.
    """

    predicted: NDArray[np.float64]
    chosen: NDArray[np.int64]


class Fit(NamedTuple):
    """One regression: ``(features - shift) @ coef + intercept``.

    Attributes
    ----------
    coef : ndarray of float64, shape (d, t)
    intercept : ndarray of float64, shape (t,)
    shift : ndarray of float64, shape (d,)
    chosen : ndarray of int, shape (group,)
        The penalty of each group of targets.
    """

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    shift: NDArray[np.float64]
    chosen: NDArray[np.int64]

    def predict(self, block: Any) -> NDArray[np.float64]:
        """Predictions for rows of features, dense or sparse."""
        return block @ self.coef + (self.intercept - self.shift @ self.coef)


class Plan(NamedTuple):
    """How regressions are made.

    Attributes
    ----------
    alphas : ndarray of float64, shape (penalty,)
        Each above 0.
    groups : ndarray of int, shape (t,)
        Targets of one number share a penalty.
    relative : bool
        Whether a squared error counts relative to its target's variance when a penalty is
        chosen; without it as it is, which suits shares that add up to 1.
    device : str
        Where the sums of products are made and solved.
    products : {"float64", "float32"}
        What products of features are computed in; they are added up in float64.
    """

    alphas: NDArray[np.float64]
    groups: NDArray[np.int64]
    relative: bool = True
    device: str = "cpu"
    products: str = "float64"

    def best(self, missed: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.int64]:
        """The penalty of least error for each group, from errors of shape (penalty, t)."""
        if self.relative:
            scale = ((targets - targets.mean(0)) ** 2).sum(0)
            # where a target is the same for all, there is nothing to choose by
            missed = np.divide(missed, scale, out=np.zeros_like(missed), where=scale > 0)
        count = int(self.groups.max()) + 1
        return np.array([missed[:, self.groups == g].sum(1).argmin() for g in range(count)])


def plan(
    alphas: ArrayLike,
    targets: NDArray[np.float64],
    *,
    groups: NDArray[np.int64] | None = None,
    relative: bool = True,
    device: str = "cpu",
    products: str = "float64",
) -> Plan:
    """A plan for some targets; they share a penalty where `groups` is not given.

    Raises
    ------
    InputError
        No penalty or one that is not above 0; a device that is not there; other products.
    """
    penalties = np.asarray(alphas, float)
    if penalties.ndim != 1 or not len(penalties) or not (penalties > 0).all():
        raise InputError(f"alphas is {alphas!r}; it must be numbers above 0.")
    if products not in ("float64", "float32"):
        raise InputError(f"products is {products!r}; it must be 'float64' or 'float32'.")
    if device != "cpu":
        device = str(chosen_device(device))
    shared = np.zeros(targets.shape[1], np.int64) if groups is None else groups
    return Plan(penalties, shared, relative, device, products)


def crossfit(features: Any, targets: NDArray[np.float64], folds: list[Fold], how: Plan) -> Crossfit:
    """Predict each fold's test set from its training set by ridge regression.

    The same as scikit-learn's Ridge on standardised features. The penalty is chosen within
    the training set: each other fold's test set is predicted from the rest, and the least
    squared error wins. More than five folds are dealt into five parts; the folds of one part
    share the penalty that is best among the others.

    Parameters
    ----------
    features : array_like, shape (n, d)
        Or anything that gives rows by a slice; it is read block by block. A sparse matrix is
        taken for counts, and not standardised.
    targets : ndarray of float64, shape (n, t)
    folds : list of (train, test)
        Rows; the test sets are disjoint.
    how : Plan

    Notes
    -----
    One pass makes each part's Gram matrix. The whole less one or two parts is a fold's
    training set, or that without the part that tries its penalties.
    """
    if features.shape[0] != len(targets):
        raise InputError(
            f"there are {features.shape[0]} rows of features for {len(targets)} places."
        )
    tests = [test for _, test in folds]
    fits: list[Fit] = []
    if len(folds) > 2 and all(len(train) + len(test) == len(targets) for train, test in folds):
        dealt = _dealt(tests)
        heaps = [np.concatenate([tests[k] for k in part]) for part in dealt]
        whole = _source(features, targets, _with_rest(heaps, np.arange(len(targets))), how)
        best = _best_of_each(whole, targets, heaps, how)
        part_of = {k: number for number, part in enumerate(dealt) for k in part}

        def final(k: int) -> Fit:
            part = part_of[k]
            without = part if len(dealt[part]) == 1 else tests[k]
            return _fit(whole, without, best[part], how)

        if len(dealt) == len(folds):
            fits = at_once(final, range(len(folds)), how.device)
        else:
            # a fold that is no part is read anew, by all processes in the same order
            fits = [final(k) for k in range(len(folds))]
    else:
        for k in range(len(folds)):
            train, _ = folds[k]
            fits.append(fitted(features, targets, train, inner_parts(k, folds), how))

    fold_of = labels(tests, len(targets))
    predicted = np.zeros_like(targets)
    for rows, block in blocks(features):
        for k in np.unique(fold_of[rows][fold_of[rows] >= 0]).tolist():
            here = np.flatnonzero(fold_of[rows] == k)
            predicted[rows.start + here] = fits[k].predict(block[here])
    predicted = processes.total(predicted)
    predicted[fold_of < 0] = np.nan
    return Crossfit(predicted, np.array([fit.chosen for fit in fits]))


def fitted(
    features: Any,
    targets: NDArray[np.float64],
    rows: NDArray[np.int64],
    parts: list[NDArray[np.int64]],
    how: Plan,
) -> Fit:
    """One regression on some rows, with the penalty by which each part is best predicted.

    Parameters
    ----------
    features, targets, how
        As for `crossfit`.
    rows : ndarray of int
    parts : list of ndarray of int
        Disjoint, of the rows; what is in none of them is in every fit.
    """
    source = _source(features, targets, _with_rest(parts, rows), how)
    best = np.zeros(int(how.groups.max()) + 1, np.int64)
    if len(how.alphas) > 1:
        tries = at_once(
            lambda j: source.squares(source.fit(how.alphas, j), j), range(len(parts)), how.device
        )
        best = how.best(np.sum(tries, axis=0), targets[np.concatenate(parts)])
    return _fit(source, None, best, how)


def _with_rest(parts: list[NDArray[np.int64]], rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The parts, and as one more the rows that are in none."""
    rest = np.setdiff1d(rows, np.concatenate(parts))
    return [*parts, rest] if len(rest) else parts


def inner_parts(k: int, folds: list[Fold]) -> list[NDArray[np.int64]]:
    """The training rows of a fold in at most five parts, by which a penalty is chosen."""
    inner = inner_folds(k, folds)
    return [np.concatenate([inner[j] for j in part]) for part in _dealt(inner)]


def labels(parts: list[NDArray[np.int64]], n: int) -> NDArray[np.int64]:
    """The number of each row's part; -1 for none."""
    found = np.full(n, -1)
    for number, rows in enumerate(parts):
        found[rows] = number
    return found


class _Source(Protocol):
    """Parts of the rows, of which some can be left out of a fit."""

    shift: NDArray[np.float64]

    def fit(self, alphas: NDArray[np.float64], *without: int | NDArray[np.int64] | None) -> Lines:
        """Regressions on all parts but some, or but some rows; of features less `shift`."""

    def squares(self, lines: Lines, part: int) -> NDArray[np.float64]:
        """Squared errors on a part, shape (penalty, t)."""


def _source(
    features: Any, targets: NDArray[np.float64], parts: list[NDArray[np.int64]], how: Plan
) -> _Source:
    label = labels(parts, len(targets))
    if sparse.issparse(features):
        return Counts(features, targets, label)
    if (label >= 0).sum() < features.shape[1]:
        return _Rows(features, targets, label, how.device)
    return _Sums(features, targets, label, how)


class _Sums:
    """Parts as their moments, for rows in plenty."""

    def __init__(
        self, features: Any, targets: NDArray[np.float64], label: NDArray[np.int64], how: Plan
    ) -> None:
        self._features, self._targets, self._how = features, targets, how
        _, first = next(iter(blocks(features, share=False)))
        self.shift = first.mean(0)
        self._parts = self._of(label)
        self._whole = sum(self._parts[1:], self._parts[0])

    def _of(self, label: NDArray[np.int64]) -> list[Moments]:
        where = {"device": self._how.device, "products": self._how.products}
        return of_parts(self._features, self._targets, label, self.shift, **where)

    def fit(self, alphas: NDArray[np.float64], *without: Any) -> Lines:
        left = self._whole
        for item in without:
            if isinstance(item, np.ndarray):
                left = left - self._of(labels([item], len(self._targets)))[0]
            elif item is not None:
                left = left - self._parts[item]
        return solve(left, alphas)

    def squares(self, lines: Lines, part: int) -> NDArray[np.float64]:
        return on_host(self._parts[part].squared_errors(lines))


class _Rows:
    """Parts as their rows, for fewer rows than features."""

    def __init__(
        self, features: Any, targets: NDArray[np.float64], label: NDArray[np.int64], device: str
    ) -> None:
        values = np.asarray(features, np.float64)
        self.shift = values.mean(0)
        self._x, self._y = on_device(values - self.shift, device), on_device(targets, device)
        self._label = label

    def fit(self, alphas: NDArray[np.float64], *without: Any) -> Lines:
        rows = left(self._label, without)
        return solve_rows(self._x[rows], self._y[rows], alphas)

    def squares(self, lines: Lines, part: int) -> NDArray[np.float64]:
        rows = np.flatnonzero(self._label == part)
        # an axis for the targets, beside that of the penalties
        missed = self._x[rows] @ lines.coef + lines.intercept[:, None] - self._y[rows]
        return on_host((missed**2).sum(1))


def _dealt(parts: list[NDArray[np.int64]]) -> list[list[int]]:
    """Numbers of the parts in at most five heaps of like size, the largest first."""
    if len(parts) <= _PARTS:
        return [[k] for k in range(len(parts))]
    heaps: list[list[int]] = [[] for _ in range(_PARTS)]
    sizes = [0] * _PARTS
    for k in np.argsort([-len(part) for part in parts], kind="stable").tolist():
        least = int(np.argmin(sizes))
        heaps[least].append(k)
        sizes[least] += len(parts[k])
    return heaps


def _best_of_each(
    source: _Source,
    targets: NDArray[np.float64],
    parts: list[NDArray[np.int64]],
    how: Plan,
) -> list[NDArray[np.int64]]:
    """The penalties for the rest of each part: those that predict its other parts best."""
    numbers = range(len(parts))
    if len(how.alphas) == 1:
        return [np.zeros(int(how.groups.max()) + 1, np.int64) for _ in numbers]

    def tried(pair: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        # without both, it is the fit that tries b for the rest of a, and a for the rest of b
        a, b = pair
        lines = source.fit(how.alphas, a, b)
        return source.squares(lines, b), source.squares(lines, a)

    pairs = list(itertools.combinations(numbers, 2))
    missed: list[Any] = [0.0] * len(parts)
    for (a, b), (of_a, of_b) in zip(pairs, at_once(tried, pairs, how.device), strict=True):
        missed[a] = missed[a] + of_a
        missed[b] = missed[b] + of_b
    rest = [np.concatenate([parts[j] for j in numbers if j != k]) for k in numbers]
    return [how.best(missed[k], targets[rest[k]]) for k in numbers]


def _fit(source: _Source, without: Any, best: NDArray[np.int64], how: Plan) -> Fit:
    """The regression without some rows, each group of targets at its penalty."""
    used, which = np.unique(best, return_inverse=True)
    lines = source.fit(how.alphas[used], without)
    targets = np.arange(len(how.groups))
    coef = on_host(lines.coef)[which[how.groups], :, targets].T
    return Fit(coef, on_host(lines.intercept)[which[how.groups], targets], source.shift, best)
