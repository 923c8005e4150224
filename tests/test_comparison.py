import subprocess
import sys

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import PredefinedSplit

from geointerp import sphere
from geointerp.errors import InputError
from geointerp.geollm import Method, compare
from geointerp.geollm.baselines.methods import nearest_neighbours, text_ridge
from geointerp.geollm.scoring.comparison import _told
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
    methods = {"near": Method(nearest_neighbours(), WHERE)}
    splits = {"random": RandomKFold(), "blocks": BlockKFold(5000)}
    r2 = compare(PLACES, TRUTH, methods, cv=splits).scores.loc["near"].unstack()["pearson_r2"]
    assert r2["random"] > 0.9
    assert r2["blocks"] < r2["random"] - 0.05


def test_nothing_is_found_in_noise():
    noise = pd.Series(np.random.default_rng(1).normal(size=N), index=INDEX)
    methods = {
        "near": Method(nearest_neighbours(), WHERE),
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


@pytest.mark.parametrize("change", ["truth", "features", "estimator", "folds"])
def test_what_was_predicted_from_something_else_is_not_taken(tmp_path, counted, change):
    cv = {"random": RandomKFold(3)}
    compare(PLACES, TRUTH, {"m": Method(Counted(), WHERE)}, cv=cv, out=tmp_path)
    truth, features, estimator = TRUTH.copy(), WHERE.copy(), Counted()
    if change == "truth":
        truth += 1
    elif change == "features":
        features[:, 0] += 1
    elif change == "estimator":
        estimator = nearest_neighbours(3)
    else:
        cv = {"random": RandomKFold(3, seed=1)}
    method = {"m": Method(estimator, features)}
    here = compare(PLACES, truth, method, cv=cv, out=tmp_path)
    fresh = compare(PLACES, truth, method, cv=cv)
    pd.testing.assert_frame_equal(here.predictions["random"], fresh.predictions["random"])
    assert len(list((tmp_path / "folds").iterdir())) == 6


def test_the_key_of_a_fold_is_the_same_in_another_process():
    code = (
        "from geointerp.geollm.scoring.comparison import _told\n"
        "from geointerp.geollm.baselines.methods import nearest_neighbours, text_ridge\n"
        "print([_told(nearest_neighbours()), _told(text_ridge())])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([_told(nearest_neighbours()), _told(text_ridge())])


# bad input


@pytest.mark.parametrize(
    ("truth", "methods", "message"),
    [
        (TRUTH.where(INDEX != "p3"), {}, "truth: place 'p3' has none"),
        (TRUTH.iloc[1:], {}, "truth: place 'p0' has none"),
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
        compare(PLACES, TRUTH, {}, cv=ColumnKFold("state"))
