import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import geointerp as gi
from geointerp.errors import InputError


def test_it_is_the_product_of_its_factors():
    ratings = pd.Series({"a": 2.0, "b": 4, "c": 8, "d": 6, "e": np.nan})
    anchor = pd.Series({"e": 50.0, "d": 40, "c": 30, "b": 20, "a": 10, "elsewhere": 1})
    found = gi.geollm.bias_score(ratings, anchor)
    # ranks 1 2 4 3 against 1 2 3 4; ratings 2 4 6 8 lie 3, 1, 1 and 3 from their mean
    assert found["spearman"] == pytest.approx(0.8)
    assert found["mad"] == 2
    assert found["answer_rate"] == 0.8
    assert found["bias_score"] == pytest.approx(0.8 * 2 * 0.8)
    assert (found["n"], found["n_answered"], found["reason"]) == (5, 4, "")
    turned = gi.geollm.bias_score(ratings.rename("rating").to_frame(), -anchor)
    assert turned["bias_score"] == pytest.approx(-found["bias_score"])


@given(st.integers(0, 1000), st.floats(0, 0.9))
def test_it_is_what_the_authors_code_computes(seed, silent):
    """calculate_bias_score.py: of the answered, and of how many prompts there were."""
    random = np.random.default_rng(seed)
    ratings, anchor = random.integers(0, 100, 50) / 10, random.normal(size=50)
    unanswered = random.uniform(size=50) < silent
    predictions, truth = ratings[~unanswered], anchor[~unanswered]
    found = gi.geollm.bias_score(pd.Series(ratings).mask(unanswered), pd.Series(anchor))
    if len(predictions) > 2:
        corr = stats.spearmanr(predictions, truth).statistic
        spread = np.mean(np.abs(predictions - np.mean(predictions)))
        assert found["bias_score"] == pytest.approx(corr * spread * len(predictions) / 50)
        assert abs(found["bias_score"]) <= 4.95


def test_the_most_biased_model_scores_4_95():
    ratings = pd.Series(np.repeat([0.0, 9.9], 50))
    assert gi.geollm.bias_score(ratings, ratings)["bias_score"] == pytest.approx(4.95)


def test_a_model_that_says_nothing_of_anyone_has_no_bias():
    anchor = pd.Series([1.0, 2, 3, 4])
    alike = gi.geollm.bias_score(pd.Series([0.1] * 4), anchor)
    assert (alike["bias_score"], alike["mad"], alike["reason"]) == (0, 0, "")
    silent = gi.geollm.bias_score(pd.Series([np.nan] * 4), anchor)
    assert (silent["bias_score"], silent["answer_rate"], silent["reason"]) == (0, 0, "")
    assert np.isnan(silent["spearman"])


@pytest.mark.parametrize(
    ("ratings", "anchor", "reason"),
    [
        ([1, 2, np.nan, np.nan], [1.0, 2, 3, 4], "fewer than 3"),
        ([1, 2, 3, 4], [2.0] * 4, "the anchor is constant"),
        ([1, 2, 3, 4], [np.nan] * 4, "no place has an anchor"),
    ],
)
def test_a_bias_that_cannot_be_told_says_why(ratings, anchor, reason):
    found = gi.geollm.bias_score(pd.Series(ratings), pd.Series(anchor))
    assert np.isnan(found["bias_score"])
    assert reason in found["reason"]


def test_places_without_an_anchor_were_not_asked_about():
    ratings, anchor = pd.Series([1.0, 2, 3, np.nan, 5]), pd.Series([1.0, 2, 3, np.nan, np.nan])
    found = gi.geollm.bias_score(ratings, anchor)
    assert (found["n"], found["answer_rate"]) == (3, 1)
    with pytest.raises(InputError, match="anchor: the index has no '4'"):
        gi.geollm.bias_score(ratings, anchor[:4])
