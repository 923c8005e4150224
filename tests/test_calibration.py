import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from geointerp.errors import InputError
from geointerp.geollm import calibration
from geointerp.geollm.ratings.scale import RATINGS


def table(chance):
    return pd.DataFrame(np.atleast_2d(chance), columns=RATINGS)


def forecaster(n, seed=0, sharpened=1.0):
    """Bell-shaped beliefs about places, and truths drawn from them before they were sharpened."""
    random = np.random.default_rng(seed)
    centre, width = random.uniform(1, 9, (n, 1)), random.uniform(0.2, 2, (n, 1))
    chance = np.exp(-(((RATINGS - centre) / width) ** 2) / 2)
    chance /= chance.sum(1, keepdims=True)
    step = (chance.cumsum(1) < random.uniform(size=(n, 1))).sum(1)
    said = chance**sharpened
    return table(said / said.sum(1, keepdims=True)), pd.Series(RATINGS[np.minimum(step, 99)])


# single scores


@given(st.integers(0, 1000), st.integers(0, 99))
def test_crps_is_the_integral_and_the_energy_form(seed, step):
    random = np.random.default_rng(seed)
    chance = random.dirichlet(np.full(100, 0.1))
    found = calibration.crps(table(chance), pd.Series([RATINGS[step]]))[0]
    # E|X - y| - E|X - X'| / 2 (Gneiting & Raftery 2007, eq. 21)
    apart = np.abs(RATINGS[:, None] - RATINGS)
    energy = chance @ apart[step] - chance @ apart @ chance / 2
    assert found == pytest.approx(energy, abs=1e-12)
    fine = np.linspace(-0.05, 9.95, 2001)
    below = np.array([chance[t + 1e-9 >= RATINGS].sum() for t in fine])
    square = (below - (fine + 1e-9 >= RATINGS[step])) ** 2
    assert found == pytest.approx(integrate.trapezoid(square, fine), abs=0.02)


def test_crps_of_a_sure_forecast_is_its_absolute_error():
    sure = table(np.eye(100)[[73, 20]])
    found = calibration.crps(sure, pd.Series([7.3, 9.9]))
    np.testing.assert_allclose(found, [0, 7.9], atol=1e-12)


def test_log_score_is_the_surprise_and_may_be_endless():
    chance = np.zeros((3, 100))
    chance[:, 5], chance[:, 6] = 0.25, 0.75
    found = calibration.log_score(table(chance), pd.Series([0.5, 0.7, np.nan]))
    assert found[0] == pytest.approx(np.log(4))
    assert found[1] == np.inf
    assert np.isnan(found[2])
    assert calibration.summary(table(chance), pd.Series([0.5, 0.7, np.nan]))["log_score"] == np.inf


# the whole


def test_a_calibrated_forecaster_is_told_so():
    said, labels = forecaster(20_000)
    shares = calibration.pit_histogram(said, labels, bins=20)
    assert shares.sum() == pytest.approx(1)
    # each bin's share has a standard error of at most 0.0015
    np.testing.assert_allclose(shares, 0.05, atol=0.006)
    found = calibration.summary(said, labels, levels=(0.5, 0.8, 0.95))
    assert found["coverage_50"] == pytest.approx(0.5, abs=0.015)
    assert found["coverage_80"] == pytest.approx(0.8, abs=0.012)
    assert found["coverage_95"] == pytest.approx(0.95, abs=0.007)
    assert found["pit_error"] < 0.007
    assert found["ece"] < 0.02
    chance = said.to_numpy()
    entropy = -(chance * np.log(np.maximum(chance, 1e-300))).sum(1).mean()
    assert found["log_score"] == pytest.approx(entropy, abs=0.03)
    assert found["crps"] < 0.5 * found["crps_prior"]


@pytest.mark.parametrize(("sharpened", "sure"), [(5.0, True), (0.2, False)])
def test_too_sure_and_not_sure_enough_are_told_apart(sharpened, sure):
    honest, labels = forecaster(4000)
    said, _ = forecaster(4000, sharpened=sharpened)
    shares = calibration.pit_histogram(said, labels)
    assert (shares.iloc[[0, -1]] > 0.15).all() == sure
    assert (shares.iloc[4:6] > 0.12).all() == (not sure)
    found, best = calibration.summary(said, labels), calibration.summary(honest, labels)
    assert (found["coverage_80"] < 0.65) == sure
    assert (found["coverage_80"] > 0.9) == (not sure)
    assert found["pit_error"] > 0.05 > best["pit_error"]
    # proper scores prefer the honest
    assert found["crps"] > best["crps"]
    assert found["log_score"] > best["log_score"]


def test_ratings_that_are_too_low_pile_up_at_the_right():
    said, labels = forecaster(2000)
    shares = calibration.pit_histogram(said, (labels + 1).clip(upper=9.9).round(1))
    assert shares.iloc[-1] > 3 * shares.iloc[0]
    assert shares.index.tolist() == pytest.approx(np.arange(1, 11) / 10)


def test_pit_of_one_place_is_spread_over_its_own_probability():
    chance = np.zeros(100)
    chance[[10, 20, 30]] = 0.2, 0.5, 0.3
    shares = calibration.pit_histogram(table(chance), pd.Series([2.0]))
    np.testing.assert_allclose(shares, [0, 0] + [0.2] * 5 + [0] * 3, atol=1e-12)
    impossible = calibration.pit_histogram(table(chance), pd.Series([2.5]))
    np.testing.assert_allclose(impossible, [0] * 6 + [1] + [0] * 3, atol=1e-12)
    certain = calibration.pit_histogram(table(np.eye(100)[7]), pd.Series([0.7]))
    np.testing.assert_allclose(certain, 0.1)


def test_the_prior_is_the_labels_own_shares():
    labels = pd.Series([1.0, 1.0, 1.0, 3.0])
    prior = np.zeros((4, 100))
    prior[:, 10], prior[:, 30] = 0.75, 0.25
    found = calibration.summary(table(prior), labels)
    assert found["crps"] == pytest.approx(found["crps_prior"])
    assert found["crps"] == pytest.approx(2 * (0.75 * 0.25**2 + 0.25 * 0.75**2))
    assert found["log_score"] == pytest.approx(found["log_score_prior"])
    assert found["ece"] == pytest.approx(0)


def test_missing_labels_are_left_out_and_counted():
    said, labels = forecaster(50)
    labels[::5] = np.nan
    found = calibration.summary(said, labels)
    assert (found["n"], found["n_missing"]) == (40, 10)
    kept = labels.dropna().index
    again = calibration.summary(said.loc[kept], labels)
    pd.testing.assert_series_equal(found.drop("n_missing"), again.drop("n_missing"))
    assert calibration.crps(said, labels)[::5].isna().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, y: (d.iloc[:, :99], y), "columns must be the ratings"),
        (lambda d, y: (d * 2, y), "row '0' is no distribution"),
        (lambda d, y: (d, y + 0.05), "row '0' is .*, no rating from 0.0 to 9.9"),
        (lambda d, y: (d, y * 0 + 10), "row '0' is 10, no rating"),
        (lambda d, y: (d, y[:2]), "the index has no '2'"),
        (lambda d, y: (d, y * np.nan), "no place of the distribution has one"),
        (lambda d, y: (d.set_axis([0, 0, 1]), y), "its index repeats"),
    ],
)
def test_distributions_and_labels_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        calibration.summary(*change(*forecaster(3)))


def test_levels_and_bins_are_checked():
    with pytest.raises(InputError, match="levels holds 90"):
        calibration.summary(*forecaster(3), levels=[90])
    with pytest.raises(InputError, match="bins is 0"):
        calibration.pit_histogram(*forecaster(3), bins=0)
