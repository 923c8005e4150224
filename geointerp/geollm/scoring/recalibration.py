"""Recalibration: ratings in the truth's unit, by a curve learnt elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp.errors import InputError
from geointerp.geollm.scoring.pairs import constant, located, paired

if TYPE_CHECKING:
    import geopandas as gpd
    from sklearn.model_selection import BaseCrossValidator

Floats = NDArray[np.float64]
Curve = Literal["linear", "isotonic"]


def recalibrated(
    ratings: pd.DataFrame | pd.Series,
    truth: pd.Series,
    places: gpd.GeoDataFrame,
    *,
    cv: BaseCrossValidator | None = None,
    how: Curve = "linear",
) -> pd.Series:
    """Ratings in the truth's unit, by a curve learnt from other places than those it is put to.

    Parameters
    ----------
    ratings : DataFrame or Series
        A DataFrame with a column `rating`, or numbers on any scale.
    truth : Series
        As for `score`.
    places : GeoDataFrame
        Of which the splitter reads longitude and latitude or a column.
    cv : splitter, optional
        ``BlockKFold(500)`` if not given. The curve of a fold is learnt from its training
        places that have both a rating and a truth.
    how : {"linear", "isotonic"}
        Least squares, by a straight line or by a rising step curve, which joins training
        ratings by straight lines and is level beyond them.

    Returns
    -------
    Series of float64
        On the index of the ratings; NaN where there is no rating or the splitter tests none.

    Raises
    ------
    InputError
        As `score`; a rated place that is not among the places; a fold with fewer than two
        places to learn from.

    Notes
    -----
    The straight line may turn ratings round; the step curve only rises, and is level where the
    ratings say the opposite of the truth.
    """
    from geointerp.probes.splits import BlockKFold, folds

    if how not in ("linear", "isotonic"):
        raise InputError(f"how is {how!r}; it must be 'linear' or 'isotonic'.")
    rated, known = paired(ratings, truth)
    table = located(places, rated.index)
    found = np.full(len(rated), np.nan)
    given, wanted = rated.to_numpy(), known.to_numpy()
    splitter = BlockKFold(500) if cv is None else cv
    for k, (train, test) in enumerate(folds(table, splitter)):
        train = train[~np.isnan(given[train] + wanted[train])]
        if len(train) < 2:
            raise InputError(
                f"{splitter!r}: fold {k} has {len(train)} place(s) with both a rating and a truth "
                "to learn from; it needs two."
            )
        test = test[~np.isnan(given[test])]
        found[test] = _curve(given[train], wanted[train], given[test], how)
    return pd.Series(found, index=rated.index, name="predicted")


def _curve(given: Floats, wanted: Floats, asked: Floats, how: Curve) -> Floats:
    if how == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        curve = IsotonicRegression(out_of_bounds="clip").fit(given, wanted)
        return curve.predict(asked) if len(asked) else asked
    offset = given - given.mean()
    slope = 0.0 if constant(given) else offset @ (wanted - wanted.mean()) / (offset @ offset)
    return wanted.mean() + slope * (asked - given.mean())
