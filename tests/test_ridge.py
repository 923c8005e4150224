import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import geointerp as gi
from geointerp.errors import InputError
from geointerp.probes import RidgeProbe


def data(n=200, d=15, t=2, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, d)) * random.uniform(0.1, 10, d) + 100
    return x, x @ random.normal(size=(d, t)) + random.normal(size=(n, t))


@pytest.mark.parametrize("alpha", [0.1, 10.0, 1e4])
def test_ridge_is_scikit_learns(alpha):
    x, y = data()
    ours = RidgeProbe(alphas=(alpha,)).fit(x, y)
    theirs = make_pipeline(StandardScaler(), Ridge(alpha)).fit(x, y)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-8)
    assert ours.alpha_ == alpha


def test_ridge_with_more_features_than_rows():
    x, y = data(n=20, d=50)
    ours = RidgeProbe(alphas=(3.0,)).fit(x, y)
    theirs = make_pipeline(StandardScaler(), Ridge(3.0)).fit(x, y)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-6)


def test_a_constant_feature_gets_no_weight():
    x, y = data()
    x[:, 3] = 7.1
    probe = RidgeProbe(alphas=(1.0,)).fit(x, y)
    assert (probe.coef_[:, 3] == 0).all()
    rest = np.delete(x, 3, axis=1)
    without = RidgeProbe(alphas=(1.0,)).fit(rest, y)
    np.testing.assert_allclose(probe.predict(x), without.predict(rest), rtol=1e-8)


def test_the_penalty_is_the_one_that_cross_validates_best():
    x, y = data(n=60, d=40, t=1)
    y += 300 * np.random.default_rng(1).normal(size=y.shape)
    probe = RidgeProbe(alphas=(0.1, 1.0, 10.0, 100.0, 1000.0), folds=4, seed=3).fit(x, y)
    order = np.random.default_rng(3).permutation(60)
    errors = {}
    for alpha in probe.alphas:
        errors[alpha] = 0
        for part in np.array_split(order, 4):
            rest = np.setdiff1d(order, part)
            model = make_pipeline(StandardScaler(), Ridge(alpha)).fit(x[rest], y[rest])
            errors[alpha] += ((model.predict(x[part]) - y[part]) ** 2).sum()
    assert probe.alpha_ == min(errors, key=errors.get)
    assert probe.alpha_ not in (0.1, 1.0)


def test_scikit_learn_estimator():
    x, y = data(t=1)
    probe = RidgeProbe(alphas=(1.0, 10.0), folds=3, seed=5)
    copy = clone(probe)
    assert copy.get_params() == probe.get_params()
    assert cross_val_score(probe, x, y.ravel(), cv=4).mean() > 0.9
    assert probe.fit(x, y.ravel()) is probe
    assert probe.coef_.shape == (15,)
    assert probe.score(x, y.ravel()) > 0.9
    with pytest.raises(ValueError, match="15"):
        probe.predict(x[:, :4])
    with pytest.raises(ValueError, match="NaN"):
        probe.fit(np.where(x > 100, np.nan, x), y)
    with pytest.raises(InputError, match="alphas"):
        RidgeProbe(alphas=(0.0,)).fit(x, y)


@pytest.mark.parametrize("t", [1, 2])
def test_a_probe_is_saved_and_read_back(t, tmp_path):
    x, y = data(t=t)
    probe = RidgeProbe(alphas=(1.0, 100.0), folds=4, seed=7).fit(x, y[:, 0] if t == 1 else y)
    probe.save(tmp_path / "probe", {"layer": 3})
    back = RidgeProbe.load(tmp_path / "probe")
    np.testing.assert_array_equal(back.predict(x), probe.predict(x))
    assert back.get_params() == probe.get_params()
    assert back.alpha_ == probe.alpha_
    assert gi.cards.read(tmp_path / "probe")["fitted to"] == {"layer": 3}
    with pytest.raises(InputError, match="exists already"):
        probe.save(tmp_path / "probe")
    (tmp_path / "probe" / "probe.safetensors").write_bytes(b"none")
    with pytest.raises(InputError, match="there is no ridge probe here"):
        RidgeProbe.load(tmp_path / "probe")


def test_moments_of_a_union_are_the_sum():
    x, y = data()
    Moments = gi.probes.moments.Moments
    whole, part, rest = Moments.of(x, y), Moments.of(x[:50], y[:50]), Moments.of(x[50:], y[50:])
    for name in ("n", "x", "y", "xx", "xy", "yy"):
        np.testing.assert_allclose(getattr(whole - part, name), getattr(rest, name), rtol=1e-10)
        np.testing.assert_allclose(getattr(part + rest, name), getattr(whole, name), rtol=1e-10)
    lines = gi.probes.moments.solve(rest, np.array([1.0, 10.0]))
    for a in range(2):
        residual = y[:50] - (x[:50] @ lines.coef[a] + lines.intercept[a])
        np.testing.assert_allclose(
            part.squared_errors(lines)[a], (residual**2).sum(axis=0), rtol=1e-6
        )
