import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import pearson3 as curve_of

from geointerp.spatial import tails
from geointerp.spatial.moments import Moments


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_pearson3_is_that_of_scipy(alternative):
    z, skewness = (grid.ravel() for grid in np.meshgrid(np.linspace(-6, 12, 61), [2, 0.7, 0.05]))
    z, skewness = np.concatenate([z, -z]), np.concatenate([skewness, -skewness])
    above, below = curve_of.sf(z, skewness), curve_of.cdf(z, skewness)
    expected = {
        "greater": above,
        "less": below,
        "two-sided": np.minimum(1, 2 * np.minimum(above, below)),
    }[alternative]
    found = tails.pearson3(z, skewness, alternative)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-300)
    assert (found[np.abs(z) < 3] > 0).any()


def test_pearson3_without_a_skew_is_the_normal_distribution():
    z = np.linspace(-30, 30, 241)
    for skewness in (0.0, 1e-10, -1e-10):
        skew = np.full(241, skewness)
        np.testing.assert_allclose(tails.pearson3(z, skew, "greater"), norm.sf(z), rtol=1e-5)
        np.testing.assert_allclose(tails.pearson3(z, skew, "less"), norm.cdf(z), rtol=1e-5)


@pytest.mark.parametrize(
    ("skewness", "z", "side", "expected"),
    [
        # the density integrated with 40 digits; SciPy gives 4.5e-10 for the sixth
        (0.01, 6, "greater", 1.4019022201122493e-09),
        (0.01, -12, "less", 8.706416709342086e-35),
        (0.001, -6, "less", 9.516967803091505e-10),
        (0.001, 12, "greater", 2.3662458660281948e-33),
        (0.001, 0.5, "greater", 0.30849353101862653),
        (0.0001, -6, "less", 9.830489421282872e-10),
        (-0.0001, 6, "greater", 9.830489421282872e-10),
        (-0.01, 12, "greater", 8.706416709342086e-35),
    ],
)
def test_pearson3_far_out_where_the_skew_is_small(skewness, z, side, expected):
    found = tails.pearson3(np.array([float(z)]), np.array([skewness]), side)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("skewness", [0.02, -0.02])
def test_both_ways_to_pearson3_meet(skewness):
    z = np.linspace(-7, 7, 57)
    for side in ("greater", "less"):
        one, other = (
            tails.pearson3(z, np.full(57, skewness * f), side) for f in (1 - 1e-9, 1 + 1e-9)
        )
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_the_curve_ends_where_it_ends():
    # of a skewness of 2 it is the exponential distribution, which begins one deviation down
    z = np.array([-1.5, -1.0, 0.0, 2.0])
    skew = np.full(4, 2.0)
    beyond = [1, 1, np.exp(-1), np.exp(-3)]
    np.testing.assert_allclose(tails.pearson3(z, skew, "greater"), beyond, rtol=1e-12)
    np.testing.assert_allclose(tails.pearson3(-z, -skew, "less"), beyond, rtol=1e-12)
    # no p is 0, beyond the end neither
    assert 0 < tails.pearson3(z, skew, "less")[0] < 1e-300


def test_the_curve_is_used_where_the_fourth_moment_is_its_own():
    skewness = np.array([0, 0, 0, 1, 1, 1, 1, np.nan, 0])
    kurtosis = np.array([0, 0.015, -0.03, 1.5, 1.59, 1.41, 1.61, 1, np.nan])
    moments = Moments(skewness, skewness, skewness, kurtosis)
    expected = [True, True, False, True, True, True, False, False, False]
    z = np.full(9, 3.0)
    assert tails.follows_pearson3(z, moments, "greater").tolist() == expected


def test_the_curve_is_used_in_tails_that_are_not_too_skew():
    skewness = np.array([0.9, 1.1, -0.4, -0.4, -0.6, 0.4, -0.9, -0.9])
    z = np.array([3.0, 3.0, 2.0, 2.6, 1.0, -2.0, -3.0, 3.0])
    moments = Moments(skewness, skewness, skewness, 1.5 * skewness**2)
    upper = [True, False, True, False, False, True, False, False]
    assert tails.follows_pearson3(z, moments, "greater").tolist() == upper
    lower = moments._replace(skewness=-skewness)
    assert tails.follows_pearson3(-z, lower, "less").tolist() == upper
    # two-sided, the tail is the one that z is in
    both = [True, False, True, False, False, True, True, False]
    assert tails.follows_pearson3(z, moments, "two-sided").tolist() == both


def test_pseudo_p_values():
    at_least, at_most = np.array([0, 99, 40, 99]), np.array([99, 0, 70, 99])
    count = np.full(4, 99)
    assert tails.pseudo(at_least, at_most, count, "greater").tolist() == [0.01, 1, 0.41, 1]
    assert tails.pseudo(at_least, at_most, count, "less").tolist() == [1, 0.01, 0.71, 1]
    assert tails.pseudo(at_least, at_most, count, "two-sided").tolist() == [0.02, 0.02, 0.82, 1]


def test_q_values_leave_out_what_is_not_tested():
    p = np.array([0.01, np.nan, 0.04, 0.03, np.nan, 0.5])
    expected = [0.04, np.nan, 0.16 / 3, 0.16 / 3, np.nan, 0.5]
    np.testing.assert_allclose(tails.q_values(p), expected)
    assert np.isnan(tails.q_values(np.full(3, np.nan))).all()
