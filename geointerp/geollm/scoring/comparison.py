"""Comparison: a model's ratings beside baselines, predicted out of fold under several splits."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone

from geointerp import artefacts, cards
from geointerp.errors import InputError
from geointerp.geollm.baselines.methods import Method
from geointerp.geollm.scoring.keys import Untold, key
from geointerp.geollm.scoring.pairs import located
from geointerp.geollm.scoring.scores import scores
from geointerp.geollm.truth.labels import numbers
from geointerp.progress import track

if TYPE_CHECKING:
    import geopandas as gpd
    from sklearn.model_selection import BaseCrossValidator

    from geointerp.probes.splits import Fold

log = logging.getLogger(__name__)

FIGURES = tuple(
    name + end
    for name in ("pearson", "pearson_r2", "spearman", "mae", "rmse")
    for end in ("", "_low", "_high")
)


class Comparison(NamedTuple):
    """What `compare` found.

    Attributes
    ----------
    scores : DataFrame
        A row per method; columns are the split and the score.
    predictions : dict of str to DataFrame
        By split: on the places' index, a column per method, each place predicted by what was
        fitted without its fold.
    """

    scores: pd.DataFrame
    predictions: dict[str, pd.DataFrame]


def compare(
    places: gpd.GeoDataFrame,
    truth: pd.Series,
    methods: Mapping[str, Method | pd.Series],
    *,
    cv: BaseCrossValidator | Mapping[str, BaseCrossValidator] | None = None,
    block_km: float = 500.0,
    out: str | Path | None = None,
    seed: int = 0,
) -> Comparison:
    """Predict a truth in several ways, each place by what never saw its fold.

    Parameters
    ----------
    places : GeoDataFrame
    truth : Series
        A finite number for every place, on the places' index.
    methods : mapping of str to Method or Series
        A `Method` (see `baselines`) is fitted to the other folds' places. A Series, on the
        places' index, is taken as it is: ratings that were given without the truth, as a
        zero-shot model gives them.
    cv : splitter, or mapping of label to splitter, optional
        Random folds and blocks if not given.
    block_km : float
        Side of these blocks, and of those that the intervals are drawn over.
    out : path, optional
        A folder for the predictions of every fold, kept as soon as it is done: what stands
        there already, of the same method, features, truth, fold and versions of the
        libraries, is not done again. A method with a lambda, or with another part that no name
        tells, is done anew each time, and a warning is logged. Also `scores.csv`, and a table
        of predictions, truth, lon and lat for each split.
    seed : int
        Of the folds, if none were given, and of the intervals' draws.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        A truth or predictions that are missing, infinite, or not on the places' index;
        features of another length; what a splitter needs and the places lack; a method that
        predicts what is no number.

    Notes
    -----
    Scores are those of `scores`, with 95% intervals over the blocks: `pearson`, `pearson_r2`
    and `spearman`, which forgive any scale, as ratings need, and `mae` and `rmse` in the truth's
    unit. Ratings are brought to that unit by a line fitted to the other folds.
    """
    from geointerp.probes.splits import BlockKFold, RandomKFold, folds, labelled

    if not methods:
        raise InputError("methods is empty; `baselines` gives some.")
    wanted = _whole(truth, places.index, "truth")
    table = located(places, places.index)
    known = {name: _given(name, method, places.index) for name, method in methods.items()}
    if cv is None:
        blocks = BlockKFold(block_km, seed=seed)
        cv = {"random": RandomKFold(seed=seed), f"block {block_km:g} km": blocks}
    folder = None if out is None else Path(out)
    if folder is not None:
        artefacts.check_folder(folder / "folds")
    keys = {name: None if folder is None else _key(name, method) for name, method in known.items()}
    found, rows = {}, []
    for split, splitter in labelled(cv).items():
        parts = list(folds(table, splitter))
        _check_folds(split, parts, len(places))
        columns = {}
        for name, method in known.items():
            is_rating = isinstance(method, pd.Series)
            columns[name] = (
                method
                if isinstance(method, pd.Series)
                else _out_of_fold(method, wanted, parts, (split, name), folder, keys[name])
            )
            options: dict[str, Any] = {"cv": splitter} if is_rating else {"recalibrate": None}
            options |= {"block_km": block_km, "seed": seed}
            own = scores(pd.Series(columns[name]), wanted, places, **options)
            rows.append({"method": name, "split": split} | own[list(FIGURES)].iloc[0].to_dict())
        found[split] = pd.DataFrame(columns)
    scored = _layout(pd.DataFrame(rows))
    if folder is not None:
        made = {
            "function": "geointerp.geollm.compare",
            "n_places": len(table),
            "methods": list(known),
            "block_km": block_km,
            "seed": seed,
        }
        splits = {split: repr(splitter) for split, splitter in labelled(cv).items()}
        _write(scored, found, table, wanted, folder, {"made by": made, "splits": splits})
    return Comparison(scored, found)


def _whole(values: pd.Series, index: pd.Index, what: str) -> pd.Series:
    """Numbers on the places' index, none of them missing."""
    if not isinstance(values, pd.Series):
        raise InputError(f"{what} is a {type(values).__name__}; it must be a Series.")
    known = numbers(values, what)
    absent = index[~index.isin(known.index[known.notna()])]
    if len(absent):
        raise InputError(
            f"{what}: place {absent[0]!r} has none ({len(absent)} of {len(index)}); "
            "leave those places out."
        )
    return known.loc[index]


def _given(name: str, method: Method | pd.Series, index: pd.Index) -> Method | pd.Series:
    if isinstance(method, pd.Series):
        return _whole(method, index, name)
    if not isinstance(method, Method):
        raise InputError(
            f"{name} is a {type(method).__name__}; it must be a Method or a Series of predictions."
        )
    features = method.features
    if isinstance(features, pd.Series | pd.DataFrame):
        if not features.index.equals(index):
            raise InputError(f"{name}: its features are not on the places' index.")
        features = features.to_numpy()
    features = np.asarray(features)
    if len(features) != len(index):
        raise InputError(
            f"{name}: it has features of {len(features)} places; there are {len(index)}."
        )
    return Method(method.estimator, features)


def _key(name: str, method: Method | pd.Series) -> str | None:
    """By which a method is known again; None if it cannot be, or need not."""
    if isinstance(method, pd.Series):
        return None
    try:
        key(method.features)
        return key(method.estimator)
    except Untold as what:
        log.warning("%s holds %s; as another may look the same, its folds are not kept", name, what)
        return None


def _check_folds(split: str, parts: list[Fold], n: int) -> None:
    times = np.bincount(np.concatenate([test for _, test in parts]), minlength=n)
    if (times != 1).any():
        raise InputError(
            f"split '{split}': row {np.flatnonzero(times != 1)[0]} is held out "
            f"{times[times != 1][0]} times; every place must be held out once."
        )


def _out_of_fold(
    method: Method,
    truth: pd.Series,
    parts: list[Fold],
    title: tuple[str, str],
    folder: Path | None,
    known_by: str | None,
) -> pd.Series:
    values, found = truth.to_numpy(), np.full(len(truth), np.nan)

    def predicted(train: NDArray[np.int64], test: NDArray[np.int64]) -> NDArray[np.float64]:
        fitted = clone(method.estimator).fit(method.features[train], values[train])
        return np.asarray(fitted.predict(method.features[test]), float)

    for k, (train, test) in enumerate(track(parts, ", ".join(title))):
        if folder is None or known_by is None:
            found[test] = predicted(train, test)
        else:
            # all that decides it: not the truth of the places that are held out
            own = key(known_by, method.features[train], method.features[test], values[train])
            name = "-".join(map(_slug, title))
            path = folder / "folds" / f"{name}-{k}-{own}.npy"
            found[test] = _kept(path, functools.partial(predicted, train, test))
    for bad in np.flatnonzero(~np.isfinite(found)):
        raise InputError(
            f"{title[1]}, split '{title[0]}': what it predicts of place {truth.index[bad]!r} is "
            f"{found[bad]}."
        )
    return pd.Series(found, index=truth.index)


def _kept(path: Path, make: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
    """An array that a file holds, or that is made and then kept there."""
    if not path.exists():
        values = make()
        with artefacts.whole(path) as part:
            np.save(part, values, allow_pickle=False)
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not readable; delete it to have it made again.") from error


def _layout(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per method in the order given; split and score as columns, splits side by side."""
    wide = rows.pivot(index="method", columns="split", values=list(FIGURES)).swaplevel(axis=1)
    columns = pd.MultiIndex.from_product(
        [rows["split"].unique(), FIGURES], names=["split", "score"]
    )
    return wide.reindex(index=pd.Index(rows["method"].unique(), name="method"), columns=columns)


def _write(
    scored: pd.DataFrame,
    found: Mapping[str, pd.DataFrame],
    table: pd.DataFrame,
    truth: pd.Series,
    folder: Path,
    about: dict[str, Any],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    where = table[["lon", "lat"]].assign(truth=truth)
    _replace(folder / "scores.csv", scored)
    for split, predictions in found.items():
        _replace(folder / _file(split), where.join(predictions))
    sections = about | {"predictions": {split: _file(split) for split in found}}
    cards.write(folder, "Comparison of ways to predict a truth", sections)


def _file(split: str) -> str:
    return f"predictions-{_slug(split)}.csv"


def _slug(title: str) -> str:
    return re.sub(r"\W+", "_", title)


def _replace(path: Path, table: pd.DataFrame) -> None:
    """Write a table in the place of an earlier one, in one stroke."""
    part = path.with_name(f".{path.name}.partial")
    table.to_csv(part)
    os.replace(part, path)
