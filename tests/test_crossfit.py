import subprocess
import sys
import textwrap

import numpy as np
import pytest
import xarray as xr
from scipy import sparse
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, LeaveOneGroupOut, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from geointerp.errors import InputError
from geointerp.probes import moments
from geointerp.probes.crossfit import crossfit, plan
from geointerp.probes.splits import RandomKFold

ALPHAS = [0.1, 1.0, 10.0, 100.0, 1000.0]


def data(n=300, d=20, t=3, noise=5.0, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, d)) * random.uniform(0.1, 10, d) + 100
    # targets of very different sizes
    y = (x[:, :t] @ random.normal(size=(t, t)) + noise * random.normal(size=(n, t))) * [1, 100, 0.1]
    return x, y


def sklearn_fit(alpha, x, y):
    return make_pipeline(StandardScaler(), Ridge(alpha)).fit(x, y)


def nested(x, y, folds, relative=True):
    """The same by scikit-learn, fit by fit."""
    out, chosen = np.full(y.shape, np.nan), []
    for k, (train, test) in enumerate(folds):
        errors = []
        for alpha in ALPHAS:
            missed = 0.0
            for j, (_, part) in enumerate(folds):
                if j != k:
                    model = sklearn_fit(alpha, *(v[np.setdiff1d(train, part)] for v in (x, y)))
                    missed += (((model.predict(x[part]) - y[part]) ** 2).sum(0)).astype(float)
            errors.append((missed / (y[train].var(0) if relative else 1)).sum())
        chosen.append(int(np.argmin(errors)))
        out[test] = sklearn_fit(ALPHAS[chosen[-1]], x[train], y[train]).predict(x[test])
    return out, chosen


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])  # NumPy, and torch
@pytest.mark.parametrize(("n", "d"), [(300, 20), (90, 200)])
def test_nested_cross_validation_is_scikit_learns(n, d, device):
    x, y = data(n, d)
    folds = list(RandomKFold(5, seed=1).split(x))
    wanted, chosen = nested(x, y, folds)
    found = crossfit(x, y, folds, plan(ALPHAS, y, device=device))
    assert found.chosen.ravel().tolist() == chosen
    assert len(set(chosen)) > 1 or n == 300
    np.testing.assert_allclose(found.predicted, wanted, rtol=1e-6)


def test_each_group_of_targets_has_its_own_penalty():
    x, y = data(n=80, d=40)
    y[:, 1] = np.random.default_rng(5).normal(size=80)
    folds = list(RandomKFold(4).split(x))
    together = crossfit(x, y, folds, plan(ALPHAS, y, groups=np.array([0, 1, 0])))
    for g, columns in enumerate([[0, 2], [1]]):
        alone = crossfit(x, y[:, columns], folds, plan(ALPHAS, y[:, columns]))
        np.testing.assert_allclose(together.predicted[:, columns], alone.predicted, rtol=1e-9)
        assert together.chosen[:, g].tolist() == alone.chosen[:, 0].tolist()
    assert together.chosen[:, 1].mean() > together.chosen[:, 0].mean()


def test_squared_errors_as_they_are():
    x, y = data(n=80, d=40)
    y[:, 1] = 1000 * np.random.default_rng(5).normal(size=80)
    folds = list(RandomKFold(4).split(x))
    as_they_are = crossfit(x, y, folds, plan(ALPHAS, y, relative=False)).chosen.ravel().tolist()
    assert as_they_are == nested(x, y, folds, relative=False)[1]
    # the noise, which is large, decides
    assert np.mean(as_they_are) > crossfit(x, y, folds, plan(ALPHAS, y)).chosen.mean()


def test_many_folds_share_a_penalty_that_none_of_them_chose():
    x, y = data(n=120, d=60, noise=2.0)
    folds = list(RandomKFold(30, seed=2).split(x))
    found = crossfit(x, y, folds, plan(ALPHAS, y))
    for k, (train, test) in enumerate(folds):
        model = sklearn_fit(ALPHAS[found.chosen[k, 0]], x[train], y[train])
        np.testing.assert_allclose(found.predicted[test], model.predict(x[test]), rtol=1e-7)
    # whatever a fold holds, its own penalty stays, relative to unit targets
    changed = y.copy()
    changed[folds[7][1]] += 1e4
    again = crossfit(x, changed, folds, plan(ALPHAS, y))
    assert again.chosen[7] == found.chosen[7]
    assert (again.chosen != found.chosen).any()


def test_places_that_no_fold_tests_are_not_predicted():
    x, y = data()
    train, test = np.arange(200), np.arange(200, 260)
    found = crossfit(x, y, [(train, test)], plan([3.0], y)).predicted
    wanted = sklearn_fit(3.0, x[train], y[train]).predict(x[test])
    np.testing.assert_allclose(found[test], wanted, rtol=1e-8)
    assert np.isnan(found[:200]).all()
    assert np.isnan(found[260:]).all()


@pytest.mark.parametrize("n", [300, 15])
def test_single_precision_is_as_near_as_it_says(n):
    x, y = data(n)
    folds = list(RandomKFold(3).split(x))
    exact = crossfit(x, y, folds, plan([1.0], y)).predicted
    single = crossfit(x, y, folds, plan([1.0], y, products="float32")).predicted
    assert (np.abs(single - exact) / y.std(0)).max() < 1e-4
    assert (single != exact).any() or n == 15


def test_features_are_read_block_by_block(tmp_path, monkeypatch):
    x, y = data()
    folds = list(RandomKFold(5).split(x))
    whole = crossfit(x, y, folds, plan(ALPHAS, y)).predicted
    xr.DataArray(x, dims=("place", "hidden")).to_dataset(name="x").to_zarr(tmp_path / "x.zarr")
    lazy = xr.open_zarr(tmp_path / "x.zarr", chunks=None)["x"]
    read = []
    monkeypatch.setattr(moments, "_ROWS_SUMMED", 64)
    monkeypatch.setattr(moments, "_ROWS_PREDICTED", 48)

    class Watched:
        shape = lazy.shape

        def __getitem__(self, rows):
            read.append(rows.stop - rows.start)
            return lazy[rows]

    found = crossfit(Watched(), y, folds, plan(ALPHAS, y)).predicted
    np.testing.assert_allclose(found, whole, rtol=1e-9)
    assert set(read) == {64, 300 % 64, 48, 300 % 48}


@pytest.mark.parametrize(("rows", "within"), [(16_384, 1e-8), (0, 5e-3)])
def test_counts_are_scikit_learns_ridge(monkeypatch, rows, within):
    # by the rows' inner products, and by conjugate gradients
    monkeypatch.setattr("geointerp.probes.counts._MOST_ROWS", rows)
    random = np.random.default_rng(0)
    counts = sparse.csr_array(random.poisson(0.2, size=(200, 350)).astype(float))
    y = counts[:, :30] @ random.normal(size=(30, 3)) + random.normal(size=(200, 3)) + 50
    folds = list(KFold(5, shuffle=True, random_state=1).split(y))
    found = crossfit(counts, y, folds, plan([0.1, 1.0, 10.0], y))
    dense = counts.toarray()
    for k, (train, test) in enumerate(folds):
        model = Ridge([0.1, 1.0, 10.0][found.chosen[k, 0]]).fit(dense[train], y[train])
        np.testing.assert_allclose(found.predicted[test], model.predict(dense[test]), atol=within)


def test_two_processes_add_up(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        import numpy as np
        from geointerp import processes
        from geointerp.probes import moments
        from geointerp.probes.crossfit import crossfit, plan
        from geointerp.probes.splits import RandomKFold

        moments._ROWS_SUMMED = moments._ROWS_PREDICTED = 50
        random = np.random.default_rng(0)
        x = random.normal(size=(300, 20))
        y = x[:, :2] + random.normal(size=(300, 2))
        found = crossfit(x, y, list(RandomKFold(5).split(x)), plan([1.0, 100.0], y))
        if processes.is_first():
            np.save(sys.argv[1], found.predicted)
        """)
    )
    alone = [sys.executable, str(script), str(tmp_path / "one.npy")]
    subprocess.run(alone, check=True, capture_output=True)
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--standalone",
    ]
    together = [*launch, str(script), str(tmp_path / "two.npy")]
    subprocess.run(together, check=True, capture_output=True)
    one, two = (np.load(tmp_path / f"{name}.npy") for name in ("one", "two"))
    np.testing.assert_allclose(two, one, rtol=1e-10)


def by_scikit_learn(x, y, folds, alpha):
    predicted = np.full_like(y, np.nan)
    for train, test in folds:
        model = make_pipeline(StandardScaler(), Ridge(alpha))
        predicted[test] = model.fit(x[train], y[train]).predict(x[test])
    return predicted


@pytest.mark.parametrize("d", [10, 80])
def test_rows_that_are_never_tested_are_learned_from(d):
    random = np.random.default_rng(0)
    x = random.normal(size=(400, d))
    y = x[:, :2] + random.normal(size=(400, 2))
    fold = np.full(400, -1)
    fold[:60] = np.repeat([0, 1, 2], 20)
    folds = list(PredefinedSplit(fold).split(x))
    wanted = by_scikit_learn(x, y, folds, 10.0)
    for chosen in (folds, folds[:2]):
        found = crossfit(x, y, chosen, plan([10.0], y)).predicted
        seen = np.isfinite(found[:, 0])
        assert seen.sum() == 20 * len(chosen)
        np.testing.assert_allclose(found[seen], wanted[seen], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("products", ["float64", "float32"])
@pytest.mark.parametrize("groups", [4, 8])
def test_features_of_one_held_out_group_alone(products, groups):
    # as units that fire in one country only: in the training set they are constant
    random = np.random.default_rng(1)
    group = np.repeat(np.arange(groups), 600 // groups)
    x = random.normal(size=(len(group), 3 * groups + 5))
    x[:, : 3 * groups] *= 3 * (group[:, None] == np.repeat(np.arange(groups), 3))
    x[:, : 3 * groups] += 0.7
    y = x @ random.normal(size=(x.shape[1], 2)) + random.normal(size=(len(group), 2))
    folds = list(LeaveOneGroupOut().split(x, y, group))
    found = crossfit(x, y, folds, plan([1.0], y, products=products)).predicted
    wanted = by_scikit_learn(x, y, folds, 1.0)
    np.testing.assert_allclose(found, wanted, atol=1e-8 if products == "float64" else 1e-3)


def test_features_must_be_those_of_the_places():
    with pytest.raises(InputError, match="12 rows of features for 300 places"):
        crossfit(np.zeros((12, 300)), np.zeros((300, 2)), [], plan([1.0], np.zeros((300, 2))))
