import numpy as np
import pandas as pd
import pytest

import geointerp as gi
from geointerp.errors import InputError

# scores


def test_score_of_known_ranks_whatever_the_order_of_the_index():
    ratings = pd.DataFrame({"rating": [1.0, 2, 3, 4]}, index=list("abcd"))
    truth = pd.Series({"d": 400.0, "b": 300, "a": 100, "c": 200, "elsewhere": 1e9})
    found = gi.geollm.score(ratings, truth)
    assert found["spearman"] == pytest.approx(0.8)
    assert found["pearson_r2"] == pytest.approx(0.64)
    assert (found["n"], found["n_missing"], found["reason"]) == (4, 0, "")
    bent = gi.geollm.score(ratings["rating"], pd.Series([-1.0, -10, -100, -1000], list("abcd")))
    assert bent["spearman"] == pytest.approx(-1)
    assert bent["pearson_r2"] == pytest.approx(1543.5**2 / (5 * 701520.75))


def test_missing_truth_is_left_out_and_counted():
    ratings = pd.Series([1.0, 2, 3, 4, 9, np.nan], index=list("abcdef"))
    truth = pd.Series([100.0, 300, 200, 400, np.nan, 1], index=list("abcdef"))
    found = gi.geollm.score(ratings, truth)
    assert (found["n"], found["n_missing"]) == (4, 2)
    assert found["pearson_r2"] == pytest.approx(0.64)


@pytest.mark.parametrize(
    ("ratings", "truth", "reason"),
    [
        ([0.1] * 3 + [0.1 + 1e-16], [1, 2, 3, 4], "the ratings are constant"),
        ([1, 2, 3, 4], [0.0] * 4, "the truth is constant"),
        ([1, 2, 3, 4], [1, 2, np.nan, np.nan], "fewer than 3"),
    ],
)
def test_a_score_that_cannot_be_says_why(ratings, truth, reason):
    found = gi.geollm.score(pd.Series(ratings), pd.Series(truth))
    assert np.isnan(found["spearman"])
    assert np.isnan(found["pearson_r2"])
    assert reason in found["reason"]


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (pd.Series([1.0, 2, 3], index=["a", "b", "z"]), "no 'c' .1 of 3"),
        (pd.Series([1.0, 2, 3, 4], index=["a", "b", "c", "c"]), "'c' more than once"),
        (pd.Series([1.0, -np.inf, 3], index=list("abc")), "row 'b' is -inf"),
        (pd.Series(["1", "two", "3"], index=list("abc")), "not every value is a number"),
        ([1, 2, 3], "truth is a list"),
    ],
)
def test_truth_that_does_not_fit_is_refused(truth, message):
    ratings = pd.DataFrame({"rating": [1.0, 2, 3]}, index=list("abc"))
    with pytest.raises(InputError, match=message):
        gi.geollm.score(ratings, truth)
    with pytest.raises(InputError, match="no column 'rating'"):
        gi.geollm.score(ratings.rename(columns={"rating": "r"}), truth)
