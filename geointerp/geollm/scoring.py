"""Scores: how far ratings agree with a truth."""

from __future__ import annotations

import numpy as np
import pandas as pd

from geointerp.errors import InputError
from geointerp.geollm.labels import numbers


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
    if isinstance(ratings, pd.DataFrame):
        if "rating" not in ratings.columns:
            raise InputError(
                f"ratings: there is no column 'rating'; it has {', '.join(map(str, ratings))}."
            )
        ratings = ratings["rating"]
    if not isinstance(truth, pd.Series):
        raise InputError(f"truth is a {type(truth).__name__}; it must be a Series with an index.")
    rated, known = numbers(ratings, "ratings"), numbers(truth, "truth")
    unknown = rated.index[~rated.index.isin(known.index)]
    if len(unknown):
        raise InputError(
            f"truth: the index has no {unknown[0]!r} ({len(unknown)} of {len(rated)} rated "
            "places are not in it); it must be the index of the ratings."
        )
    known = known.loc[rated.index]
    both = (rated.notna() & known.notna()).to_numpy()
    first, second = rated.to_numpy()[both], known.to_numpy()[both]
    spearman, r2, reason = np.nan, np.nan, ""
    if both.sum() < 3:
        reason = "fewer than 3 places have both a rating and a truth"
    elif _constant(first):
        reason = "the ratings are constant"
    elif _constant(second):
        reason = "the truth is constant"
    else:
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


def _constant(values: np.ndarray) -> bool:
    # what rounding leaves of a constant is no variation
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())
