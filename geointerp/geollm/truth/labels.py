"""Labels: a truth as ratings from 0.0 to 9.9, and the way back."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from geointerp.errors import InputError
from geointerp.geollm.ratings.scale import RATINGS

KINDS = ("quantile", "magnitude")


class Labels(BaseEstimator):
    """A truth as ratings, by its ranks or by its magnitudes, learnt from a sample.

    Parameters
    ----------
    kind : {"quantile", "magnitude"}
        ``"quantile"``: GeoLLM's labels. With n places in the sample and m the mean rank, from
        0, of the places that share a value, the label is ⌊100 m / n⌋ / 10: the ratings are used
        evenly, equal values share a label, and how far apart two values lie is lost.
        ``"magnitude"``: 9.9 (v - least) / (greatest - least), to the nearest 0.1. Differences
        are kept, and where a few values dwarf the others, those others share a few labels.
    log10 : bool
        Take the decimal logarithm first, and its inverse last. Of a truth above 0 whose
        magnitudes are many, such as a population, this keeps ratios. Quantile labels are the
        same with it and without; their way back is then drawn straight between logarithms.

    Attributes
    ----------
    sample_ : ndarray of float64
        What the scale was learnt from: sorted, its logarithms if `log10`.

    Notes
    -----
    Learn it from the training places alone; held-out places beyond their range get 0.0 or 9.9.

    References
    ----------
    Manvi, R. et al. (2024). GeoLLM: Extracting Geospatial Knowledge from Large Language
    Models. ICLR. arXiv:2310.06213; its code's ``create_gpt_finetuning_data.py``, in which a
    product that rounds to just below a whole number may fall one label lower than here.

    Examples
    --------
    >>> import pandas as pd
    >>> population = pd.Series([100.0, 2_000, 2_000, 50_000, 8_000_000])
    >>> Labels().fit_transform(population).tolist()
    [0.0, 3.0, 3.0, 6.0, 8.0]
    >>> Labels("magnitude", log10=True).fit_transform(population).tolist()
    [0.0, 2.6, 2.6, 5.4, 9.9]
    """

    def __init__(
        self, kind: Literal["quantile", "magnitude"] = "quantile", *, log10: bool = False
    ) -> None:
        self.kind = kind
        self.log10 = log10

    def fit(self, truth: pd.Series | ArrayLike) -> Labels:
        """Learn the scale from a sample; missing values are left out.

        Parameters
        ----------
        truth : Series or array_like of float, shape (n,)

        Raises
        ------
        InputError
            A kind that is not known; values that are no numbers, infinite, or with `log10` not
            above 0; fewer than two distinct ones.
        """
        if self.kind not in KINDS:
            raise InputError(f"kind is {self.kind!r}; it must be one of {', '.join(KINDS)}.")
        values = self._forward(truth).to_numpy()
        values = np.sort(values[~np.isnan(values)])
        if not len(values) or values[0] == values[-1]:
            raise InputError(
                f"truth: {len(np.unique(values))} distinct value(s); labels need two or more."
            )
        self.sample_ = values
        return self

    def transform(self, truth: pd.Series | ArrayLike) -> pd.Series:
        """The label of each place.

        Parameters
        ----------
        truth : Series or array_like of float, shape (n,)

        Returns
        -------
        Series of float64
            Each one of 0.0, 0.1, … 9.9, on the index of `truth`; NaN where it is missing.

        Raises
        ------
        InputError
            As `fit`.
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        values = self._forward(truth)
        known = values.notna().to_numpy()
        found, sample = values.to_numpy()[known], self.sample_
        if self.kind == "quantile":
            below, upto = (np.searchsorted(sample, found, side) for side in ("left", "right"))
            # in whole numbers, or a label would hang on the last bit
            step = 50 * (2 * below + np.maximum(upto - below - 1, 0)) // len(sample)
        else:
            share = (found - sample[0]) / (sample[-1] - sample[0])
            step = np.rint(99 * np.clip(share, 0, 1)).astype(np.int64)
        labels = np.full(len(values), np.nan)
        labels[known] = RATINGS[np.minimum(step, 99)]
        return pd.Series(labels, index=values.index, name="label")

    def fit_transform(self, truth: pd.Series | ArrayLike) -> pd.Series:
        """`fit`, then `transform` of the same places."""
        return self.fit(truth).transform(truth)

    def inverse_transform(self, ratings: pd.Series | ArrayLike) -> pd.Series:
        """Ratings in the truth's own unit.

        Parameters
        ----------
        ratings : Series or array_like of float, shape (n,)
            Labels, or anything between them, such as expectations.

        Returns
        -------
        Series of float64
            On the index of `ratings`. Of quantile labels: the sample's quantile at the middle
            of the label, (rating + 0.05) / 10, by Hazen's rule (Hyndman & Fan 1996, type 5), so
            that of a hundred distinct values each comes back. Of magnitudes: the straight line
            back. With `log10`, ten to the power of that.

        Raises
        ------
        InputError
            Values that are no numbers or infinite.
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        values = numbers(ratings, "ratings")
        rated = values.to_numpy()
        if self.kind == "quantile":
            shares = np.clip((np.nan_to_num(rated) + 0.05) / 10, 0, 1)
            back = np.quantile(self.sample_, shares, method="hazen")
        else:
            back = self.sample_[0] + rated / RATINGS[-1] * (self.sample_[-1] - self.sample_[0])
        back = np.where(np.isnan(rated), np.nan, back)
        return pd.Series(10**back if self.log10 else back, index=values.index, name="truth")

    def _forward(self, truth: pd.Series | ArrayLike) -> pd.Series:
        values = numbers(truth, "truth")
        return decimal_log(values, "truth") if self.log10 else values


def numbers(values: pd.Series | ArrayLike, what: str) -> pd.Series:
    """Values as float64 on their index; missing ones may be among them, infinite ones not."""
    series = values if isinstance(values, pd.Series) else pd.Series(np.asarray(values))
    if not series.index.is_unique:
        twice = series.index[series.index.duplicated()][0]
        raise InputError(f"{what}: the index holds {twice!r} more than once.")
    try:
        found = pd.to_numeric(series).astype(float)
    except (ValueError, TypeError) as error:
        raise InputError(f"{what}: not every value is a number: {error}.") from error
    for bad in np.flatnonzero(np.isinf(found)):
        raise InputError(
            f"{what}: row {series.index[bad]!r} is {found.iloc[bad]}; "
            "it must be finite, or missing."
        )
    return found


def decimal_log(values: pd.Series, what: str) -> pd.Series:
    """Decimal logarithms of values above 0; missing ones stay missing."""
    for bad in np.flatnonzero(values <= 0):
        raise InputError(
            f"{what}: row {values.index[bad]!r} is {values.iloc[bad]:g}, which has no logarithm; "
            "it must be above 0."
        )
    return np.log10(values)
