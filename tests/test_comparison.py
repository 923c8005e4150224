import copy
import functools
import json
import subprocess
import sys

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from geointerp import sphere
from geointerp.errors import InputError
from geointerp.geollm import Method, compare
from geointerp.geollm.baselines.methods import NearestNeighbours, text_ridge
from geointerp.geollm.scoring import keys
from geointerp.geollm.scoring.keys import Untold, key
from geointerp.probes import BlockKFold, ColumnKFold, RandomKFold

random = np.random.default_rng(0)
N = 200
INDEX = pd.Index([f"p{i}" for i in range(N)])
LON, LAT = random.uniform(-180, 180, N), np.degrees(np.arcsin(random.uniform(-1, 1, N)))
WHERE = np.stack([LON, LAT], axis=1)
PLACES = gpd.GeoDataFrame(
    {"country": np.where(LON > 0, "E", np.where(LAT > 0, "NW", "SW"))},
    geometry=gpd.points_from_xy(LON, LAT),
    index=INDEX,
    crs="EPSG:4326",
)
TRUTH = pd.Series(sphere.unit_vectors(lon=LON, lat=LAT) @ [3.0, 1.0, 2.0] + 50, index=INDEX)
LINE = np.stack([TRUTH, random.normal(size=N)], axis=1)


class Counted(RegressorMixin, BaseEstimator):
    """Predicts the training mean; stops after so many fits, as a killed run does."""

    fits = 0
    allowed = 10**9

    def fit(self, X, y):
        if Counted.fits >= Counted.allowed:
            raise KeyboardInterrupt
        Counted.fits += 1
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


@pytest.fixture
def counted(monkeypatch):
    monkeypatch.setattr(Counted, "fits", 0)
    return Counted


def test_what_knows_the_truth_scores_one_and_the_mean_nothing():
    ratings = (100 - TRUTH).rename("rating")
    found = compare(
        PLACES,
        TRUTH,
        {
            "the line": Method(LinearRegression(), LINE),
            "the mean": Method(DummyRegressor(), WHERE),
            "against": ratings,
        },
    )
    scores = found.scores
    assert list(scores.index) == ["the line", "the mean", "against"]
    for split in ("random", "block 500 km"):
        line, mean, against = (scores.loc[name, split] for name in scores.index)
        assert line["pearson_r2"] == pytest.approx(1)
        assert line["mae"] == pytest.approx(0, abs=1e-9)
        assert mean["pearson_r2"] < 0.05
        missed = found.predictions[split]["the mean"] - TRUTH
        assert mean["rmse"] == pytest.approx(np.sqrt((missed**2).mean()))
        assert mean["mae_low"] < mean["mae"] < mean["mae_high"]
        # any scale, and either sign, is forgiven by r²; ranks keep the sign
        assert against["pearson_r2"] == pytest.approx(1)
        assert against["spearman"] == pytest.approx(-1)
        # a line fitted to the other folds brings ratings to the truth's unit
        assert against["mae"] == pytest.approx(0, abs=1e-9)
    assert found.predictions["random"].index.equals(INDEX)
    np.testing.assert_array_equal(found.predictions["random"]["against"], ratings)


def test_each_place_is_predicted_by_the_other_folds_under_each_split():
    cv = {"blocks": BlockKFold(2000, n_splits=4), "country": ColumnKFold("country", n_splits=3)}
    found = compare(PLACES, TRUTH, {"mean": Method(Counted(), WHERE)}, cv=cv)
    for split, groups in (("blocks", WHERE), ("country", PLACES["country"].to_numpy())):
        for train, test in cv[split].split(WHERE, groups=groups):
            expected = TRUTH.to_numpy()[train].mean()
            np.testing.assert_allclose(found.predictions[split]["mean"].iloc[test], expected)


def test_a_smooth_truth_is_nearer_at_random_than_over_blocks():
    methods = {"near": Method(NearestNeighbours(), WHERE)}
    splits = {"random": RandomKFold(), "blocks": BlockKFold(5000)}
    r2 = compare(PLACES, TRUTH, methods, cv=splits).scores.loc["near"].unstack()["pearson_r2"]
    assert r2["random"] > 0.9
    assert r2["blocks"] < r2["random"] - 0.05


def test_nothing_is_found_in_noise():
    noise = pd.Series(np.random.default_rng(1).normal(size=N), index=INDEX)
    methods = {
        "near": Method(NearestNeighbours(), WHERE),
        "line": Method(LinearRegression(), LINE),
    }
    scores = compare(PLACES, noise, methods).scores
    # worse than the mean, whose error is the noise's own
    assert (scores.xs("rmse", axis=1, level="score") > 0.99 * noise.std()).all(axis=None)
    assert (scores.xs("pearson_r2", axis=1, level="score") < 0.06).all(axis=None)


# resuming


def test_a_killed_run_goes_on_with_the_folds_it_lacks(tmp_path, counted, monkeypatch):
    methods = {"mean": Method(Counted(), WHERE)}
    whole = compare(PLACES, TRUTH, methods, out=tmp_path / "whole")
    assert counted.fits == 10
    counted.fits = 0
    monkeypatch.setattr(counted, "allowed", 7)
    with pytest.raises(KeyboardInterrupt):
        compare(PLACES, TRUTH, methods, out=tmp_path / "killed")
    monkeypatch.setattr(counted, "allowed", 10)
    again = compare(PLACES, TRUTH, methods, out=tmp_path / "killed")
    assert counted.fits == 10
    pd.testing.assert_frame_equal(again.scores, whole.scores)
    compare(PLACES, TRUTH, methods, out=tmp_path / "killed")
    assert counted.fits == 10
    kept = pd.read_csv(tmp_path / "killed" / "predictions-random.csv", index_col=0)
    assert kept.index.equals(INDEX)
    assert list(kept.columns) == ["lon", "lat", "truth", "mean"]
    np.testing.assert_allclose(kept["mean"], whole.predictions["random"]["mean"])
    read = pd.read_csv(tmp_path / "killed" / "scores.csv", index_col=0, header=[0, 1])
    assert read.loc["mean", ("random", "mae")] == pytest.approx(
        whole.scores.iloc[0]["random"]["mae"]
    )


@pytest.mark.parametrize("change", ["truth", "features", "one", "estimator", "folds"])
def test_what_was_predicted_from_something_else_is_not_taken(tmp_path, counted, change):
    cv = {"random": RandomKFold(3)}
    compare(PLACES, TRUTH, {"m": Method(Counted(), WHERE)}, cv=cv, out=tmp_path)
    truth, features, estimator = TRUTH.copy(), WHERE.copy(), Counted()
    if change == "truth":
        truth += 1
    elif change == "features":
        features[:, 0] += 1
    elif change == "one":
        # it is held out of one fold, and in the others to learn from
        features[7, 1] += 1
    elif change == "estimator":
        estimator = NearestNeighbours(3)
    else:
        cv = {"random": RandomKFold(3, seed=1)}
    method = {"m": Method(estimator, features)}
    here = compare(PLACES, truth, method, cv=cv, out=tmp_path)
    fresh = compare(PLACES, truth, method, cv=cv)
    pd.testing.assert_frame_equal(here.predictions["random"], fresh.predictions["random"])
    assert len(list((tmp_path / "folds").iterdir())) == 6


def test_what_the_features_of_a_held_out_place_decide_is_not_taken_from_others(tmp_path):
    # only the fold in which it is held out learns from the same as before
    table, features = (PLACES[:40], TRUTH[:40]), LINE[:40].copy()
    split = {"half": PredefinedSplit(np.arange(40) % 2)}
    compare(*table, {"m": Method(LinearRegression(), features)}, cv=split, out=tmp_path)
    features[0, 0] += 10
    methods = {"m": Method(LinearRegression(), features)}
    here, fresh = (compare(*table, methods, cv=split, out=out) for out in (tmp_path, None))
    pd.testing.assert_frame_equal(here.predictions["half"], fresh.predictions["half"])


def times(by):
    """A pipeline of a function that has no name of its own."""
    return make_pipeline(FunctionTransformer(lambda v: v * by), LinearRegression())


def scaled(values, by):
    return values * by


@pytest.mark.parametrize(
    ("make", "holds"),
    [
        (times, "<lambda>"),
        (
            lambda by: make_pipeline(
                FunctionTransformer(functools.partial(scaled, by=by)), LinearRegression()
            ),
            "a partial",
        ),
    ],
)
def test_what_no_name_tells_is_done_anew_and_said_once(tmp_path, caplog, make, holds):
    table = PLACES[:40], TRUTH[:40]
    cv = {"halves": RandomKFold(2), "others": RandomKFold(2, seed=1)}
    for by in (1, 0):
        caplog.clear()
        methods = {"m": Method(make(by), LINE[:40]), "mean": Method(Counted(), WHERE[:40])}
        here, fresh = (compare(*table, methods, cv=cv, out=out) for out in (tmp_path, None))
        pd.testing.assert_frame_equal(here.predictions["halves"], fresh.predictions["halves"])
        (said,) = caplog.messages
        assert said.startswith("m holds ")
        assert holds in said
        assert said.endswith("its folds are not kept")
    assert {file.name.split("-")[1] for file in (tmp_path / "folds").iterdir()} == {"mean"}


def own_function(values):
    return values


LONG = np.zeros(2000)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LONG, np.where(np.arange(2000) == 1000, 1, LONG)),
        (LONG, LONG.astype(np.float32)),
        (LONG, LONG.reshape(2, 1000)),
        (np.array(["a", 1.5], object), np.array(["a", "1.5"], object)),
        (1, 1.0),
        (1, True),
        ("1", 1),
        ([1, 2], (1, 2)),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        (NearestNeighbours(3), NearestNeighbours(4)),
        (KFold(3), KFold(4)),
        (KFold(5), RandomKFold(5)),
        (np.log, np.log2),
        (own_function, scaled),
        (LinearRegression(), DummyRegressor()),
        (LinearRegression, LinearRegression()),
        (FunctionTransformer(kw_args={"by": LONG}), FunctionTransformer(kw_args={"by": LONG + 1})),
    ],
)
def test_two_that_differ_have_two_keys(one, other):
    assert key(one) == key(copy.deepcopy(one)) != key(other) == key(copy.deepcopy(other))
    assert key("m", one) != key(one, "m")


@pytest.mark.parametrize("module", [__name__, "__main__"])
def test_classes_of_one_name_in_two_modules_have_two_keys(monkeypatch, module):
    class Twin(LinearRegression):
        pass

    Twin.__qualname__ = Twin.__name__ = "LinearRegression"
    Twin.__module__ = module
    assert Twin().get_params() == (theirs := LinearRegression()).get_params()
    monkeypatch.setattr(sys.modules[module], "LinearRegression", Twin, raising=False)
    if module == "__main__":
        # another script may have one too
        with pytest.raises(Untold, match="LinearRegression, which cannot be imported"):
            key(Twin())
    else:
        assert key(Twin()) != key(theirs)


@pytest.mark.parametrize(
    "value",
    [
        lambda v: v,
        functools.partial(scaled, by=2),
        Counted().fit,
        np.random.default_rng(0),
        np.random.RandomState(0),
        FunctionTransformer(lambda v: v),
        [np.array([object()])],
        {"a": object()},
    ],
)
def test_what_cannot_be_told_has_no_key(value):
    with pytest.raises(Untold):
        key(value)

    class Local(Counted):
        pass

    with pytest.raises(Untold, match=r"<locals>.Local, which cannot be imported"):
        key(Local())


def test_the_key_of_a_model_is_of_its_weights_its_config_and_its_tokenizer(gpt2):
    told = key(gpt2)
    # what it read last is no part of it
    gpt2.tokenizer(["a", "a longer text"], padding=True, truncation=True, max_length=4)
    assert key(copy.deepcopy(gpt2)) == told
    weights, config, words, template = (copy.deepcopy(gpt2) for _ in range(4))
    weights.model.transformer.h[0].ln_1.bias.data[0] += 1
    config.model.config.layer_norm_epsilon = 0.5
    words.tokenizer.add_tokens(["Rome"])
    template.tokenizer.chat_template = "{{ messages }}"
    changed = [key(model) for model in (weights, config, words, template)]
    assert len({told, *changed}) == 5


@pytest.mark.parametrize("package", ["geointerp", "scikit-learn", "torch"])
def test_another_version_of_a_library_is_another_key(monkeypatch, package):
    before, versions = key(1), keys.cards.versions()
    monkeypatch.setattr(keys.cards, "versions", lambda: versions | {package: "0.0"})
    assert key(1) != before


def test_the_key_is_the_same_in_another_process():
    code = (
        "from geointerp.geollm.scoring.keys import key\n"
        "from geointerp.geollm.baselines.methods import NearestNeighbours, text_ridge\n"
        "print(key(NearestNeighbours(), text_ridge(), {'b', 'a', 'c'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == key(NearestNeighbours(), text_ridge(), {"a", "b", "c"})


def test_no_key_is_made_where_nothing_is_kept(monkeypatch):
    monkeypatch.setattr("geointerp.geollm.scoring.comparison.key", None)
    compare(PLACES, TRUTH, {"m": Method(times(1), WHERE)}, cv=RandomKFold(3))


def test_the_card_says_what_was_compared(tmp_path):
    cv = {"random": RandomKFold(3, seed=4), "blocks": BlockKFold(2000)}
    methods = {"mean": Method(Counted(), WHERE), "rated": TRUTH}
    compare(PLACES, TRUTH, methods, cv=cv, block_km=1000, out=tmp_path, seed=5)
    card = json.loads((tmp_path / "card.json").read_text("utf-8"))
    assert card["made by"] == {
        "function": "geointerp.geollm.compare",
        "n_places": N,
        "methods": ["mean", "rated"],
        "block_km": 1000,
        "seed": 5,
    }
    assert card["splits"] == {split: repr(splitter) for split, splitter in cv.items()}


# bad input


@pytest.mark.parametrize(
    ("truth", "methods", "message"),
    [
        (TRUTH.where(INDEX != "p3"), {"m": TRUTH}, "truth: place 'p3' has none"),
        (TRUTH.iloc[1:], {"m": TRUTH}, "truth: place 'p0' has none"),
        (TRUTH, {}, "methods is empty"),
        (TRUTH, {"m": Method(Counted(), WHERE[1:])}, "m: it has features of 199 places"),
        (TRUTH, {"m": WHERE}, "m is a ndarray"),
        (TRUTH, {"m": TRUTH.iloc[:5]}, "m: place 'p5' has none"),
        (
            TRUTH,
            {"m": Method(Counted(), pd.DataFrame(WHERE))},
            "m: its features are not on the places' index",
        ),
    ],
)
def test_what_does_not_fit_is_refused(truth, methods, message):
    with pytest.raises(InputError, match=message):
        compare(PLACES, truth, methods)


def test_a_split_must_hold_out_every_place_once():
    half = PredefinedSplit(np.repeat([-1, 0], 100))
    with pytest.raises(InputError, match="row 0 is held out 0 times"):
        compare(PLACES, TRUTH, {"m": Method(Counted(), WHERE)}, cv={"half": half})
    with pytest.raises(InputError, match="the places carry no 'state'"):
        compare(PLACES, TRUTH, {"m": TRUTH}, cv=ColumnKFold("state"))
