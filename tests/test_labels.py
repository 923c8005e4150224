import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from geointerp.errors import InputError
from geointerp.geollm import Labels
from geointerp.geollm.ratings.scale import RATINGS

VALUES = arrays.arrays(np.int64, st.integers(2, 300), elements=st.integers(-1000, 1000)).filter(
    lambda a: len(np.unique(a)) > 1
)


def test_quantile_labels_are_geollms():
    """The rule of its create_gpt_finetuning_data.py, in fractions instead of floats."""
    random = np.random.default_rng(0)
    for n in (2, 7, 100, 101, 999, 2000):
        values = random.integers(0, n // 2 + 2, n).astype(float)
        values[:2] = 0, 1
        ours = Labels().fit_transform(values)
        for value, label in zip(values, ours, strict=True):
            ranks = np.flatnonzero(np.sort(values) == value)  # from 0; the mean of them
            expected = (100 * int(ranks.sum())) // (len(ranks) * n) / 10
            assert label == min(expected, 9.9)


def test_a_hundred_distinct_values_use_every_rating_once_and_come_back():
    values = pd.Series(np.random.default_rng(0).permutation(np.arange(100) ** 3.0), name="n")
    scale = Labels().fit(values)
    labels = scale.transform(values)
    assert sorted(labels) == list(RATINGS)
    np.testing.assert_allclose(scale.inverse_transform(labels), values, rtol=1e-12)
    np.testing.assert_allclose(
        Labels(log10=True).fit(values + 1).inverse_transform(labels), values + 1, rtol=1e-9
    )


@given(VALUES)
def test_quantile_labels_keep_order_and_ties_and_forget_the_scale(values):
    labels = Labels().fit_transform(values).to_numpy()
    order = np.argsort(values, kind="stable")
    assert (np.diff(labels[order]) >= 0).all()
    for value in np.unique(values):
        assert len(set(labels[values == value])) == 1
    bent = Labels().fit_transform(np.exp(values / 100))
    np.testing.assert_array_equal(labels, bent)
    np.testing.assert_array_equal(labels, Labels(log10=True).fit_transform(np.exp(values / 100)))


@given(VALUES, st.booleans())
def test_magnitudes_come_back_to_within_half_a_label(values, log10):
    truth = pd.Series(10.0 ** (values / 500) if log10 else values.astype(float))
    scale = Labels("magnitude", log10=log10).fit(truth)
    labels = scale.transform(truth)
    assert set(labels) <= set(RATINGS)
    assert labels[truth.idxmin()] == 0
    assert labels[truth.idxmax()] == 9.9
    there, back = truth, scale.inverse_transform(labels)
    if log10:
        there, back = np.log10(there), np.log10(back)
    assert (there - back).abs().max() <= np.ptp(there) / 99 / 2 + 1e-9


def test_held_out_places_are_labelled_by_the_sample():
    train = pd.Series(np.arange(1.0, 201))
    beyond = pd.Series({"under": -5.0, "over": 1e6, "between": 100.5, "known": 100, "no": np.nan})
    quantile = Labels().fit(train).transform(beyond)
    assert list(quantile.index) == list(beyond.index)
    # 100 of 200 lie below 100.5, 99 below 100
    assert quantile[:4].tolist() == [0.0, 9.9, 5.0, 4.9]
    assert np.isnan(quantile["no"])
    magnitude = Labels("magnitude").fit(train).transform(beyond)
    assert magnitude[:4].tolist() == [0.0, 9.9, 5.0, 4.9]
    assert np.isnan(magnitude["no"])


def test_expectations_between_labels_come_back_in_order_and_inside_the_sample():
    truth = np.random.default_rng(1).lognormal(size=1000)
    for scale in (
        Labels(),
        Labels(log10=True),
        Labels("magnitude"),
        Labels("magnitude", log10=True),
    ):
        back = scale.fit(truth).inverse_transform(np.linspace(0, 9.9, 777))
        assert (np.diff(back) >= 0).all()
        assert back.min() >= truth.min() * (1 - 1e-12)
        assert back.max() <= truth.max() * (1 + 1e-12)
    back = Labels().fit(truth).inverse_transform(pd.Series({"a": 4.95, "b": np.nan}))
    assert back["a"] == pytest.approx(np.median(truth))
    assert np.isnan(back["b"])


def test_missing_values_are_no_part_of_the_sample():
    holed = pd.Series([1.0, np.nan, 2, np.nan, 3, np.nan])
    np.testing.assert_array_equal(
        Labels().fit_transform(holed).dropna(), Labels().fit_transform([1.0, 2, 3])
    )


def test_it_is_cloned_as_scikit_learn_clones():
    copy = clone(Labels("magnitude", log10=True).fit([1.0, 10]))
    assert (copy.kind, copy.log10, hasattr(copy, "sample_")) == ("magnitude", True, False)


@pytest.mark.parametrize(
    ("options", "truth", "message"),
    [
        ({"kind": "rank"}, [1, 2], "kind is 'rank'"),
        ({}, [3.0, 3.0, np.nan], r"1 distinct value"),
        ({}, [np.nan], r"0 distinct value"),
        ({}, [1.0, np.inf], "row 1 is inf"),
        ({"log10": True}, [1.0, 0.0], "row 1 is 0, which has no logarithm"),
        ({}, ["1", "two"], "not every value is a number"),
    ],
)
def test_truth_that_has_no_labels_is_refused(options, truth, message):
    with pytest.raises(InputError, match=message):
        Labels(**options).fit(truth)


@pytest.mark.parametrize("kind", ["quantile", "magnitude"])
def test_labels_are_learnt_before_they_are_given(kind):
    for give in (Labels(kind).transform, Labels(kind).inverse_transform):
        with pytest.raises(NotFittedError, match="Labels instance is not fitted yet"):
            give([1.0, 2.0])
