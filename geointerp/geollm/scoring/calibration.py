"""Calibration: whether a distribution over ratings is as sure as it is right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp.errors import InputError
from geointerp.geollm.ratings.scale import RATINGS
from geointerp.geollm.truth.labels import numbers

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]


def summary(
    distribution: pd.DataFrame, labels: pd.Series, *, levels: Sequence[float] = (0.5, 0.8, 0.9)
) -> pd.Series:
    """How good a distribution over ratings is, in scores that ask for honesty.

    Parameters
    ----------
    distribution : DataFrame of float64, shape (n, 100)
        As `geollm.distribution` gives it.
    labels : Series
        The truth as ratings, as `geollm.Labels` gives it, on the index of the distribution or
        more; missing where there is no truth.
    levels : sequence of float
        Of the central intervals whose coverage is told.

    Returns
    -------
    Series of float64
        `n` and `n_missing`, places with and without a label; `crps`, in ratings, and
        `log_score`, in nats, means over places, less is better (see `crps` and `log_score`);
        `crps_prior` and `log_score_prior`, those of the labels' own shares, which know no place;
        `ece`, the expected calibration error: the mean distance between the probability
        of the most probable rating and how often it is right, over 15 bins of that
        probability, weighted by their places; `pit_error`, the mean distance between u and
        the mean of Fᵢ(u) over u = 0.01, … 0.99 (see `pit_histogram`), at most ½; and
        `coverage_50` and so on, the share of truths in the central interval of that level,
        from the same curve: below the level, the distributions are too sure.

    Raises
    ------
    InputError
        Columns that are not the hundred ratings; rows that do not sum to 1; an index that
        repeats or does not match; labels that are no ratings; no place with a label.

    Notes
    -----
    The labels' scale must not have been learnt from these places if the model was trained on
    it. The prior's scores are in sample, which flatters them where places are few.

    References
    ----------
    Gneiting, T. and Raftery, A. E. (2007). Strictly proper scoring rules, prediction, and
    estimation. Journal of the American Statistical Association 102, 359-378.
    Czado, C., Gneiting, T. and Held, L. (2009). Predictive model assessment for count data.
    Biometrics 65, 1254-1261.
    Guo, C. et al. (2017). On calibration of modern neural networks. ICML, eq. 3.
    """
    from geointerp.probes import scores

    for level in levels:
        if not 0 < level < 1:
            raise InputError(f"levels holds {level}; a level lies between 0 and 1.")
    chance, step, _ = _known(distribution, labels)
    # a true rating that was held impossible has an infinite log score
    with np.errstate(divide="ignore"):
        of = scores.of_distribution(chance, step)
    prior = np.bincount(step, minlength=len(RATINGS)) / len(step)
    found = {
        "n": len(step),
        "n_missing": len(distribution) - len(step),
        "crps": _crps(chance, step).mean(),
        "crps_prior": _crps(np.broadcast_to(prior, chance.shape), step).mean(),
        "log_score": of["nll"],
        "log_score_prior": of["nll_prior"],
        "ece": of["calibration_error"],
    }
    at = np.arange(1, 100) / 100
    found["pit_error"] = np.abs(_mean_pit(chance, step, at) - at).mean()
    for level in levels:
        low, high = _mean_pit(chance, step, np.array([(1 - level) / 2, (1 + level) / 2]))
        found[f"coverage_{100 * level:g}"] = high - low
    return pd.Series(found, dtype=np.float64)


def crps(distribution: pd.DataFrame, labels: pd.Series) -> pd.Series:
    """Continuous ranked probability score of each place, in ratings; less is better.

    Parameters
    ----------
    distribution, labels
        As for `summary`.

    Returns
    -------
    Series of float64
        On the index of the distribution; NaN where there is no label. Of a distribution that
        is sure of one rating, it is the absolute error.

    Notes
    -----
    ∫ (F(t) - 1{y ≤ t})² dt = 0.1 Σ (F(r) - 1{y ≤ r})² over the ratings r = 0.0, … 9.8
    (Gneiting & Raftery 2007, eq. 20), also called the ranked probability score.
    """
    chance, step, where = _known(distribution, labels)
    return pd.Series(_crps(chance, step), index=where, name="crps").reindex(distribution.index)


def log_score(distribution: pd.DataFrame, labels: pd.Series) -> pd.Series:
    """Less the log-probability of each place's label, in nats; less is better.

    Parameters
    ----------
    distribution, labels
        As for `summary`.

    Returns
    -------
    Series of float64
        On the index of the distribution; infinite where the truth was held impossible, NaN
        where there is no label.
    """
    chance, step, where = _known(distribution, labels)
    with np.errstate(divide="ignore"):
        surprise = -np.log(chance[np.arange(len(step)), step])
    return pd.Series(surprise, index=where, name="log_score").reindex(distribution.index)


def pit_histogram(distribution: pd.DataFrame, labels: pd.Series, *, bins: int = 10) -> pd.Series:
    """Histogram of where truths lie in their distributions: flat if those are calibrated.

    Parameters
    ----------
    distribution, labels
        As for `summary`.
    bins : int

    Returns
    -------
    Series of float64, shape (bins,)
        The share of each bin, on its upper edge; they sum to 1. High at both ends: too sure;
        high in the middle: not sure enough; high at the right: the ratings are too low.

    Notes
    -----
    Ratings are discrete, and so the probability integral transform is spread over the truth's
    own probability instead of drawn from it: bin j holds the mean over places of
    Fᵢ(j / J) - Fᵢ((j - 1) / J), where Fᵢ(u) = (u - P(r < y)) / P(r = y), cut off at 0 and 1
    (Czado, Gneiting & Held 2009, eq. 2). A calibrated forecaster's is flat in expectation.
    """
    if bins < 1:
        raise InputError(f"bins is {bins}; it must be 1 or more.")
    chance, step, _ = _known(distribution, labels)
    edges = np.arange(bins + 1) / bins
    return pd.Series(
        np.diff(_mean_pit(chance, step, edges)), index=pd.Index(edges[1:], name="pit"), name="share"
    )


def _crps(chance: Floats, step: Steps) -> Floats:
    above = np.arange(len(RATINGS) - 1) >= step[:, None]
    return 0.1 * ((chance.cumsum(1)[:, :-1] - above) ** 2).sum(1)


def _mean_pit(chance: Floats, step: Steps, at: Floats) -> Floats:
    """The mean over places of Fᵢ(u), for each u."""
    own = chance[np.arange(len(step)), step][:, None]
    upto = chance.cumsum(1)[np.arange(len(step)), step][:, None]
    spread = np.clip((at - (upto - own)) / np.where(own > 0, own, 1), 0, 1)
    # a truth held impossible lies at one point; rows sum to 1 but for rounding
    found = np.where(own > 0, spread, at >= upto).mean(0)
    return np.where(at >= 1, 1.0, np.where(at <= 0, 0.0, found))


def _known(distribution: pd.DataFrame, labels: pd.Series) -> tuple[Floats, Steps, pd.Index]:
    """Probabilities and the true rating's place among the hundred, where there is a label."""
    if list(distribution.columns) != list(RATINGS):
        raise InputError("distribution: its columns must be the ratings 0.0, 0.1, … 9.9, in order.")
    if not distribution.index.is_unique:
        raise InputError("distribution: its index repeats; reset_index() it.")
    chance = distribution.to_numpy(float)
    wrong = ~(np.isclose(chance.sum(1), 1, rtol=0, atol=1e-6) & (chance >= 0).all(1))
    if wrong.any():
        row = distribution.index[wrong][0]
        raise InputError(f"distribution: row '{row}' is no distribution: it must sum to 1.")
    found = numbers(labels, "labels")
    absent = ~distribution.index.isin(found.index)
    if absent.any():
        raise InputError(f"labels: the index has no '{distribution.index[absent][0]}'.")
    found = found.loc[distribution.index]
    known = found.notna().to_numpy()
    step = np.rint(10 * found.to_numpy()[known])
    off = (np.abs(10 * found[known] - step) > 1e-6) | (step < 0) | (step >= len(RATINGS))
    if off.any():
        bad = found[known][off]
        raise InputError(
            f"labels: row '{bad.index[0]}' is {bad.iloc[0]:g}, no rating from 0.0 to 9.9; "
            "geollm.Labels makes ratings of a truth."
        )
    if not len(step):
        raise InputError("labels: no place of the distribution has one.")
    return chance[known], step.astype(np.int64), distribution.index[known]
