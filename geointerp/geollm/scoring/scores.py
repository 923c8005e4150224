"""Scores: how far ratings and predictions agree with a truth, where, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp.errors import InputError
from geointerp.geollm.scoring.pairs import constant, located, paired
from geointerp.geollm.scoring.recalibration import Curve, recalibrated

if TYPE_CHECKING:
    import geopandas as gpd
    from sklearn.model_selection import BaseCrossValidator

Floats = NDArray[np.float64]


def score(ratings: pd.DataFrame | pd.Series, truth: pd.Series) -> pd.Series:
    """Compare ratings with a truth by rank and by line.

    Ratings live on 0.0 to 9.9 and the truth on a scale of its own, so only measures that
    no change of scale touches are given.

    Parameters
    ----------
    ratings : DataFrame or Series
        A DataFrame with a column `rating`, as `predict` gives it, or the ratings alone.
    truth : Series
        Numbers, aligned with `ratings` by their index. It may hold more places; it must
        hold every rated one, with a missing value where there is no truth.

    Returns
    -------
    Series
        `n`, the places compared; `n_missing`, those left out because their truth or their
        rating is missing; `spearman`, the rank correlation; `pearson_r2`, the square of
        Pearson's r, which GeoLLM reports and which has lost r's sign; `reason`, why the
        scores are NaN, or "".

    Raises
    ------
    InputError
        No column `rating`; an index that repeats or does not match; values that are no
        numbers, or infinite.

    References
    ----------
    Manvi, R. et al. (2024). GeoLLM: Extracting Geospatial Knowledge from Large Language
    Models. ICLR. arXiv:2310.06213 (Pearson's r²).
    Spearman, C. (1904). The proof and measurement of association between two things.
    American Journal of Psychology 15, 72-101.
    """
    rated, known = paired(ratings, truth)
    both = (rated.notna() & known.notna()).to_numpy()
    first, second = rated.to_numpy()[both], known.to_numpy()[both]
    spearman, r2, reason = np.nan, np.nan, _reason(first, second)
    if not reason:
        from scipy import stats

        spearman = float(stats.spearmanr(first, second).statistic)
        r2 = float(np.corrcoef(first, second)[0, 1] ** 2)
    return pd.Series(
        {
            "n": int(both.sum()),
            "n_missing": int((~both).sum()),
            "spearman": spearman,
            "pearson_r2": r2,
            "reason": reason,
        },
        dtype=object,
    )


def scores(
    predictions: pd.DataFrame | pd.Series,
    truth: pd.Series,
    places: gpd.GeoDataFrame,
    *,
    by: str | Sequence[str] = (),
    recalibrate: Curve | None = "linear",
    cv: BaseCrossValidator | Mapping[str, BaseCrossValidator] | None = None,
    block_km: float = 500.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores of all places and of groups of them, under one split or several, with intervals.

    Parameters
    ----------
    predictions : DataFrame or Series
        Ratings, in a DataFrame's column `rating` or alone; or predictions in the truth's unit,
        with ``recalibrate=None``.
    truth : Series
        As for `score`.
    places : GeoDataFrame
        All that are predicted, and any others.
    by : str or sequence of str
        Columns of the places, such as ``"continent"`` or one that is true of cities: a row for
        each of their values. Places without a value are in no group.
    recalibrate : {"linear", "isotonic"} or None
        Ratings have no unit, so that the errors of ratings are those of `recalibrated`.
        None says that the predictions are in the truth's unit already, made without the
        truth of the places they are of: their errors are taken as they stand.
    cv : splitter, or mapping of label to splitter, optional
        By which ratings are recalibrated; random folds and blocks if not given. With
        ``recalibrate=None`` it is of no use and must not be given.
    block_km : float
        Side of the blocks that the intervals are drawn over, and of those that are held out if
        `cv` is not given. A region needs smaller ones: ten blocks for an interval.
    seed : int
        Of the random folds, if none were given, and of the draws.

    Returns
    -------
    DataFrame
        A row per split and group, `split`, `by` and `group` naming them: all places come first,
        with "" for both. `n` and `n_missing` as in `score`; `n_blocks`, the blocks that the
        places lie in; then `pearson` (r), `pearson_r2`, `spearman`, `mae` and `rmse`, the
        latter two in the truth's unit, each with the limits of its 95% interval,
        `pearson_low`, `pearson_high` and so on; and `reason`, why the correlations are NaN, or
        "". Correlations are of the predictions as they were given, the same under
        every split. Intervals are NaN where places lie in fewer than ten blocks.

    Raises
    ------
    InputError
        As `recalibrated`; a column that is not there; a DataFrame of ratings with
        ``recalibrate=None``.

    Notes
    -----
    Intervals are percentiles of 2,000 draws of blocks with replacement (Davison & Hinkley 1997,
    section 8.3; see `geointerp.probes.intervals`), ranks being made anew in every draw. They
    say how the scores would move with other places, the predictions staying what they are.
    r² is squared draw by draw, so that its interval is never below 0.

    References
    ----------
    Roberts, D. R. et al. (2017). Cross-validation strategies for data with temporal, spatial,
    hierarchical, or phylogenetic structure. Ecography 40, 913-929.
    """
    from geointerp.geollm.scoring import agreement
    from geointerp.probes.intervals import Bootstrap
    from geointerp.probes.splits import BlockKFold, RandomKFold, labelled

    given, known = paired(predictions, truth)
    table = located(places, given.index)
    errors: dict[str, Floats] = {}
    if recalibrate is None:
        if isinstance(predictions, pd.DataFrame):
            raise InputError(
                "predictions: a column 'rating' has no unit; give recalibrate 'linear' or "
                "'isotonic', or a Series in the truth's unit."
            )
        if cv is not None:
            raise InputError("cv splits places for recalibration; with recalibrate=None drop it.")
        errors[""] = (given - known).to_numpy()
    else:
        blocks = BlockKFold(block_km, seed=seed)
        splits = {"random": RandomKFold(seed=seed), f"block {block_km:g} km": blocks}
        for label, splitter in labelled(splits if cv is None else cv).items():
            fitted = recalibrated(given, known, places, cv=splitter, how=recalibrate)
            errors[label] = (fitted - known).to_numpy()
    block = BlockKFold(block_km).blocks(lon=table["lon"], lat=table["lat"])
    both = (given.notna() & known.notna()).to_numpy()
    rows: dict[str, list[dict[str, Any]]] = {label: [] for label in errors}
    for column, value, inside in _groups(table, [by] if isinstance(by, str) else by):
        kept = inside[both[inside]]
        pair = given.to_numpy()[kept], known.to_numpy()[kept]
        about = {"by": column, "group": value, "n": len(kept), "n_missing": len(inside) - len(kept)}
        reason = _reason(*pair)
        draws = Bootstrap(block[kept], seed=seed) if len(kept) else None
        about["n_blocks"] = 0 if draws is None else draws.count
        # the same under every split
        correlations = agreement.correlations(*pair, None if reason else draws)
        for label, error in errors.items():
            off = agreement.errors(error[kept], draws)
            rows[label].append({"split": label} | about | correlations | off | {"reason": reason})
    return pd.DataFrame([row for of_split in rows.values() for row in of_split])


def rank_residuals(ratings: pd.DataFrame | pd.Series, truth: pd.Series) -> pd.Series:
    """How much higher each place stands among the ratings than it does among the truth.

    Parameters
    ----------
    ratings, truth
        As for `score`.

    Returns
    -------
    Series of float64
        On the index of the ratings: the place's rank by rating less its rank by truth, as a
        share of the places that have both, between -1 and 1; ties share a mean rank. NaN where
        either is missing. Their mean is 0.
    """
    rated, known = paired(ratings, truth)
    both = rated.notna() & known.notna()
    ranks = [values.where(both).rank() for values in (rated, known)]
    return ((ranks[0] - ranks[1]) / max(int(both.sum()), 1)).rename("rank_residual")


def _groups(table: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str, Any, NDArray]]:
    """All places, and those of each value of some columns: a name, the value, the rows."""
    found: list[tuple[str, Any, NDArray]] = [("", "", np.arange(len(table)))]
    for column in columns:
        if column not in table.columns:
            raise InputError(f"places: there is no column '{column}' to score by.")
        inside = table.reset_index(drop=True).groupby(column, observed=True).indices
        found += [(column, value, rows) for value, rows in inside.items()]
    return found


def _reason(rated: Floats, known: Floats) -> str:
    """Why two columns have no correlation, or nothing."""
    if len(rated) < 3:
        return "fewer than 3 places have both a rating and a truth"
    if constant(rated):
        return "the ratings are constant"
    return "the truth is constant" if constant(known) else ""
