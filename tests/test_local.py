from itertools import permutations as every_order

import anndata
import esda
import geopandas as gpd
import libpysal
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from esda.getisord import G_Local
from esda.moran import Moran_Local
from libpysal.graph import Graph
from numba.core.dispatcher import Dispatcher
from scipy import sparse
from scipy.stats import false_discovery_control

import geointerp as gi
from geointerp.errors import InputError
from geointerp.spatial import knn, local_g, local_moran
from geointerp.spatial import table as tables

QUADRANTS = np.array(["", "HH", "LH", "LL", "HL"])  # by esda's numbers


def random_weights(n, seed, islands=3, kind="any"):
    """Weights of all sizes or none but 1, degrees from 1 to many, islands; directed."""
    rng = np.random.default_rng(seed)
    density = rng.uniform(0.01, 0.3, size=(n, 1))
    weights = np.where(rng.uniform(size=(n, n)) < density, rng.uniform(0.1, 2, (n, n)), 0)
    weights[np.arange(n), (np.arange(n) + 1) % n] = 1
    np.fill_diagonal(weights, 0)
    alone = rng.choice(n, islands, replace=False)
    weights[alone] = weights[:, alone] = 0
    if kind != "any":
        weights = (weights > 0) * 1.0
    ids = np.array([f"place {i}" for i in rng.permutation(n)])
    graph = Graph.from_sparse(sparse.csr_array(weights), ids=ids)
    if kind == "row-standardised":
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
        graph = graph.transform("R")
    elif kind == "binary":
        graph = graph.transform("B")
    return graph, weights


def random_features(n, seed):
    rng = np.random.default_rng(seed)
    spikes = np.where(rng.uniform(size=(n, 3)) < 0.2, rng.exponential(size=(n, 3)), 0)
    return np.column_stack(
        [
            rng.normal(size=n) + 3,
            rng.exponential(size=n) ** 3,
            rng.uniform(size=n) < 0.3,
            spikes,
            spikes[:, 0] * 1e-9,
            rng.integers(0, 3, n) * 0.1,
        ]
    )


def stand_in(sequence, place, degree):
    """Who stands around a place: the first of the sequence, the next one for itself."""
    around = list(sequence[:degree])
    if place in around:
        around[around.index(place)] = sequence[degree]
    return around


def p_by_hand(x, weights, draws, seed):
    """The definition, place by place and draw by draw, for each alternative."""
    n = len(x)
    degree = (weights != 0).sum(axis=1)
    rng = np.random.default_rng(seed)
    sequences = [rng.choice(n, degree.max() + 1, replace=False) for _ in range(draws)]
    z = x - x.mean()
    p = {alternative: np.full(n, np.nan) for alternative in ("greater", "less", "two-sided")}
    for i in np.flatnonzero(degree):
        row = np.sort(weights[i][weights[i] != 0])
        lags = np.array([row @ z[stand_in(s, i, degree[i])] for s in sequences])
        observed, tie = weights[i] @ z, 1e-10 * x.std() * np.abs(row).sum()
        p["greater"][i] = greater = (1 + (lags >= observed - tie).sum()) / (1 + draws)
        p["less"][i] = less = (1 + (lags <= observed + tie).sum()) / (1 + draws)
        p["two-sided"][i] = min(1, 2 * min(greater, less))
    return p


def knn_of(n, k=8):
    rng = np.random.default_rng(n)
    places = gpd.GeoSeries.from_xy(rng.uniform(0, 9, n), rng.uniform(0, 9, n), crs="EPSG:3857")
    return knn(places, k=k)


@pytest.fixture(scope="module")
def world():
    lon, lat = gi.sphere.lon_lat(np.random.default_rng(7).standard_normal((300, 3)))
    places = gpd.GeoDataFrame(geometry=gpd.points_from_xy(lon, lat), crs="EPSG:4326")
    places.index = np.random.default_rng(8).permutation(300) + 1000
    return places, knn(places)


# ------------------------------------------------------------------------- the statistics


@pytest.mark.parametrize("kind", ["any", "binary", "row-standardised"])
@pytest.mark.parametrize("seed", range(3))
def test_local_moran_agrees_with_esda(kind, seed):
    n = 80
    graph, _ = random_weights(n, seed, kind=kind)
    features = random_features(n, seed)
    local = local_moran(features, graph, permutations=19, alpha=1)
    for j, x in enumerate(features.T):
        exact = Moran_Local(x, graph, transformation=graph.transformation, permutations=0)
        np.testing.assert_allclose(local["I"][:, j], exact.Is, rtol=1e-10, atol=1e-10)
        # esda's moments are those of z lag / m2, n / (n - 1) times its Is
        with np.errstate(invalid="ignore"):
            z = (exact.Is * n / (n - 1) - exact.EIc) / np.sqrt(exact.VIc)
        z[np.abs(exact.z) < 1e-9] = np.nan  # at the mean but for rounding
        np.testing.assert_allclose(local["z"][:, j], z, rtol=1e-10, atol=1e-10)
        cluster = local["cluster"].to_numpy()[:, j]
        seen = cluster != ""
        assert seen.sum() == n - 3
        # where rounding does not decide
        seen &= (np.abs(exact.Is) > 1e-9) & (np.abs(exact.z) > 1e-9)
        assert seen.sum() > 25
        assert cluster[seen].tolist() == QUADRANTS[exact.q[seen]].tolist()


@pytest.mark.parametrize("kind", ["binary", "row-standardised"])
@pytest.mark.parametrize("star", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_local_g_agrees_with_esda(kind, star):
    n = 80
    graph, _ = random_weights(n, 5, kind=kind)
    binary, _ = random_weights(n, 5, kind="binary")
    features = random_features(n, 5)
    local = local_g(features, graph, star=star, permutations=1)
    for j, x in enumerate(features.T.astype(float)):
        exact = G_Local(x, graph, transform=kind[0], star=star, permutations=0)
        np.testing.assert_allclose(local["G"][:, j], exact.Gs, rtol=1e-10, atol=1e-12)
        # row-standardising changes no deviate (Ord and Getis 1995), though it does esda's
        exact = G_Local(x, binary, transform="b", star=star, permutations=0).Zs
        if kind == "row-standardised":
            exact[np.isnan(local["p"].to_numpy()[:, j])] = np.nan
        np.testing.assert_allclose(local["z"][:, j], exact, rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore")
def test_p_is_near_that_of_esda(world, monkeypatch):
    # to compile its loops for one test takes longer than to run them as they are
    for module in (esda.crand, esda.moran, esda.getisord):
        for name, function in list(vars(module).items()):
            if isinstance(function, Dispatcher):
                monkeypatch.setattr(module, name, function.py_func)
    monkeypatch.setattr(esda.crand, "boolean", bool)
    _, graph = world
    x = np.random.default_rng(2).exponential(size=300)
    x[:40] += 1
    peer = Moran_Local(x, graph, permutations=9999, seed=1, n_jobs=1)
    one_sided = local_moran(x[:, None], graph)["p"].to_numpy()[:, 0] / 2  # esda's is
    assert np.abs(one_sided - peer.p_sim).max() < 0.03
    star = G_Local(x, graph, transform="r", star=None, permutations=9999, seed=1, n_jobs=1)
    hot = local_g(x[:, None], graph)["p"].to_numpy()[:, 0] / 2
    assert np.abs(hot - star.p_sim).max() < 0.03


def test_the_columbus_crimes():
    w = libpysal.io.open(libpysal.examples.get_path("columbus.gal")).read()
    w.transform = "r"
    crime = np.array(libpysal.io.open(libpysal.examples.get_path("columbus.dbf")).by_col("CRIME"))
    local = local_moran(crime[:, None], w, alpha=0.2)
    exact = Moran_Local(crime, w, permutations=0)
    np.testing.assert_allclose(local["I"][:, 0], exact.Is, rtol=1e-10)
    # they add up to the I of spdep's moran.test
    np.testing.assert_allclose(local["I"].sum() / 48, 0.500188557, rtol=1e-7)
    cluster = local["cluster"].to_numpy()[:, 0]
    assert set(cluster[cluster != ""]) == {"HH", "LL"}
    # the core of the city and its outskirts
    assert crime[cluster == "HH"].min() > np.median(crime) > crime[cluster == "LL"].max()


def test_g_of_esdas_own_example():
    points = [(10, 10), (20, 10), (40, 10), (15, 20), (30, 20), (30, 30)]
    w = libpysal.weights.DistanceBand(points, threshold=15, silence_warnings=True)
    y = np.array([2, 3, 3.2, 5, 8, 7])[:, None]
    plain = [-1.0136729, -0.04361589, 1.31558703, -0.31412676, 1.15373986, 1.77833941]
    star = [-1.39727626, -0.28917762, 0.65064964, -0.28917762, 1.23452088, 2.02424331]
    for scale in (1, 3):
        for star_or_not, z in ((False, plain), (True, star)):
            found = local_g(y * scale, w, star=star_or_not, permutations=9)["z"][:, 0]
            np.testing.assert_allclose(found, z, rtol=1e-6)


@pytest.mark.parametrize("kind", ["any", "row-standardised"])
def test_moments_are_those_of_all_permutations(kind):
    n = 7
    graph, weights = random_weights(n, 3, islands=1, kind=kind)
    x = np.array([0, 0, 1.0, 3, 0, 7, 2])
    z = x - x.mean()
    moran = local_moran(x[:, None], graph, permutations=1)["z"].to_numpy()[:, 0]
    plain = local_g(x[:, None], graph, star=False, permutations=1)["z"].to_numpy()[:, 0]
    for i in np.flatnonzero(weights.any(axis=1)):
        others = np.arange(n) != i
        lags = np.array([weights[i, others] @ y for y in every_order(z[others])])
        shares = lags + x.mean() * weights[i].sum()
        for found, all_of_them, observed in (
            (moran[i], z[i] * lags, z[i] * (weights[i] @ z)),
            (plain[i], shares, weights[i] @ x),
        ):
            expected = (observed - all_of_them.mean()) / all_of_them.std()
            np.testing.assert_allclose(found, expected, rtol=1e-10)

    own = np.eye(n) * 0.7
    with_self = Graph.from_sparse(sparse.csr_array(weights + own), ids=graph.unique_ids)
    star = local_g(x[:, None], with_self, permutations=1)
    orders = np.array(list(every_order(x)))
    sums = orders @ (weights + own).T
    expected = ((weights + own) @ x - sums.mean(axis=0)) / sums.std(axis=0)
    np.testing.assert_allclose(star["z"][:, 0], expected, rtol=1e-10)
    np.testing.assert_allclose(star["G"][:, 0], (weights + own) @ x / x.sum(), rtol=1e-12)


def test_the_place_itself_counts_as_its_neighbours_do():
    x = np.array([5.0, 1, 2, 3, 4])
    far = np.array([[0, 2, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 0, 1, 1], [0] * 5, [0, 0, 0, 3, 0]])
    graph = Graph.from_sparse(sparse.csr_array(far * 1.0), ids=range(5))
    own = [2, 1, 1, 0, 3]
    star = local_g(x[:, None], graph, permutations=1)
    np.testing.assert_allclose(star["G"][:, 0], (far @ x + own * x) / 15)
    alike = Graph.from_sparse(sparse.csr_array((far > 0) * 1.0), ids=range(5))
    star = local_g(x[:, None], alike, permutations=1)
    np.testing.assert_allclose(star["G"][:, 0], ((far > 0) @ x + x) / 15)
    star = local_g(x[:, None], alike.transform("R"), permutations=1)
    means = [8 / 3, 3, 15 / 5, 0, 7 / 2]
    np.testing.assert_allclose(star["G"][:, 0], np.array(means) / 15)
    pairs = knn_of(9, k=1)  # every weight is 1, and yet they are row-standardised
    x9 = np.arange(9.0)
    found = local_g(x9[:, None], pairs, permutations=1)["G"][:, 0]
    np.testing.assert_allclose(found, (x9 + pairs.sparse @ x9) / 2 / 36)
    w = alike.to_W()
    w.transform = "r"
    xr.testing.assert_equal(local_g(x[:, None], w, permutations=1), star)


# ---------------------------------------------------------------------------- the test


def test_every_choice_of_neighbours_is_as_likely():
    n, degree, place = 6, 3, 2
    chosen = [tuple(stand_in(s, place, degree)) for s in every_order(range(n), degree + 1)]
    kinds, times = np.unique(chosen, axis=0, return_counts=True)
    assert len(kinds) == 5 * 4 * 3
    assert not (kinds == place).any()
    assert set(times) == {6}


@pytest.mark.parametrize("kind", ["any", "binary", "row-standardised"])
def test_p_is_that_of_a_plain_conditional_permutation_test(kind):
    n, draws, seed = 60, 1100, 11  # more draws than fit one stretch
    graph, weights = random_weights(n, 2, kind=kind)
    features = random_features(n, 4)
    by_hand = [p_by_hand(x, weights, draws, seed) for x in features.T.astype(float)]
    for alternative in ("greater", "less", "two-sided"):
        options = {"permutations": draws, "seed": seed, "alternative": alternative}
        local = local_moran(features, graph, **options)
        hot = local_g(features, graph, **options)
        for j, p in enumerate(by_hand):
            expected = p[alternative]
            np.testing.assert_array_equal(local["p"][:, j], expected)
            np.testing.assert_array_equal(hot["p"][:, j], expected)
            tested = ~np.isnan(expected)
            assert tested.sum() == n - 3
            adjusted = false_discovery_control(expected[tested])
            np.testing.assert_allclose(local["q"][tested, j], adjusted, rtol=1e-14)
            assert local["q"][~tested, j].isnull().all()


@pytest.mark.parametrize("n", [40, 300])
def test_p_of_nearest_neighbours_is_that_of_a_plain_test(n):
    # one set of weights for all, so that draws are sorted and most places share them
    graph = knn_of(n)
    features = random_features(n, 1)[:, [0, 2, 3, 7]]
    local = local_moran(features, graph, permutations=199, seed=3)
    for j, x in enumerate(features.T):
        expected = p_by_hand(x, graph.sparse.toarray(), 199, 3)["two-sided"]
        np.testing.assert_array_equal(local["p"][:, j], expected)


@pytest.mark.parametrize("n", [12, 30, 47])
def test_ties_count_as_extreme(n):
    everyone = sparse.csr_array(np.ones((n, n)) - np.eye(n))
    graph = Graph.from_sparse(everyone, ids=np.arange(n)).transform("R")
    rng = np.random.default_rng(0)
    values = np.column_stack([np.where(rng.permutation(n) < 10, 0.1, 0), rng.normal(size=n)])
    local = local_moran(values, graph, permutations=99)
    assert (local["p"] == 1).all()
    assert local["z"].isnull().all()
    assert (local["cluster"] == "").all()
    # the neighbours of the only place that fires can be nothing but 0
    rng = np.random.default_rng(n)
    alone = local_moran(np.diag(rng.uniform(size=n)), knn_of(n), permutations=99)
    assert (np.diag(alone["p"]) == 1).all()
    assert np.isnan(np.diag(alone["z"])).all()


def test_the_unit_of_the_weights_does_not_matter():
    graph, weights = random_weights(80, 9)
    features = random_features(80, 9)
    local = local_moran(features, graph, permutations=199)
    for unit in (1e-12, 1e12):
        scaled = Graph.from_sparse(sparse.csr_array(weights * unit), ids=graph.unique_ids)
        again = local_moran(features, scaled, permutations=199)
        np.testing.assert_array_equal(again["p"], local["p"])
        np.testing.assert_array_equal(again["cluster"], local["cluster"])
        np.testing.assert_allclose(again["I"], local["I"] * unit, rtol=1e-9)


def test_same_seed_same_bytes_with_any_threads_and_blocks(world, monkeypatch):
    _, graph = world
    features = random_features(300, 3)
    for function in (local_moran, local_g):
        first = function(features, graph, permutations=99, threads=1)
        for threads in (1, 2, 3):
            xr.testing.assert_identical(
                function(features, graph, permutations=99, threads=threads), first
            )
        with monkeypatch.context() as patch:
            patch.setattr(tables, "BLOCK_ENTRIES", 130)
            assert len(list(tables.columns(features))) == 8
            for given in (features, sparse.csr_array(features), sparse.coo_matrix(features)):
                again = function(given, graph, permutations=99, threads=2)
                xr.testing.assert_identical(again, first)
        alone = function(features[:, [4]], graph, permutations=99)
        np.testing.assert_array_equal(alone["p"][:, 0], first["p"][:, 4])
        other = function(features, graph, permutations=99, seed=1)
        assert (other["p"] != first["p"]).any()
        assert (other["z"] == first["z"]).all()


def test_under_the_null_p_is_uniform(world):
    _, graph = world
    rng = np.random.default_rng(6)
    for alternative in ("two-sided", "greater", "less"):
        local = local_moran(
            rng.normal(size=(300, 100)), graph, permutations=199, alternative=alternative
        )
        for level in (0.05, 0.2, 0.5):
            share = float((local["p"] <= level + 1e-9).mean())
            assert abs(share - level) < 0.15 * level, (alternative, level)
        found = (local["cluster"] != "").any("place").mean()
        assert found < 0.12
    spikes = np.where(rng.uniform(size=(300, 100)) < 0.1, 1.0, 0)
    sparse_p = local_moran(spikes, graph, permutations=199)["p"]
    assert 0.005 < (sparse_p <= 0.05).mean() < 0.05


def test_a_planted_patch_is_found_where_it_is(world):
    places, graph = world
    lon, lat = gi.places.lon_lat(places)
    far = gi.sphere.distance_km(lon=lon, lat=lat, to_lon=178, to_lat=-20)
    features = random_features(300, 6)[:, :6]
    patch = np.argsort(far)[:30]
    core = np.argsort(far)[:12]
    features[:, 4] = np.random.default_rng(1).uniform(size=300)
    features[patch, 4] += 2
    features[core[0], 4] = 0  # a hole in it
    local = local_moran(features, graph)
    cluster = local["cluster"].to_numpy()[:, 4]
    assert (cluster[core[1:]] == "HH").all()
    assert cluster[core[0]] == "LH"
    assert not np.isin(cluster[np.argsort(far)[60:]], ["HH", "LH"]).any()
    assert (local["cluster"][:, :4] != "").mean() < 0.01
    hot = local_g(features, graph)["cluster"].to_numpy()[:, 4]
    assert (hot[core] == "hot").all()
    cold = local_g(2 - features, graph)["cluster"].to_numpy()[:, 4]
    assert (cold[core] == "cold").all()
    only_low = local_moran(features, graph, alternative="less")["cluster"].to_numpy()[:, 4]
    assert not np.isin(only_low, ["HH", "LH"]).any()
    counts = [(local_moran(features, graph, alpha=a)["cluster"] != "").sum() for a in (0.01, 0.2)]
    assert counts[0] < (cluster != "").sum() < counts[1]
    assert (np.isin(cluster, ["HH", "LH", "LL", "HL"]) == (local["q"][:, 4] <= 0.05)).all()


# ------------------------------------------------------------------- what goes in and out


@pytest.mark.parametrize("function", [local_moran, local_g])
def test_it_is_labelled(world, function):
    places, graph = world
    frame = pd.DataFrame(random_features(300, 1)[:, :3], index=places.index, columns=list("abc"))
    local = function(frame, graph, permutations=49, seed=5, alpha=0.1, alternative="less")
    letter = "I" if function is local_moran else "G"
    assert list(local) == [letter, "z", "p", "q", "cluster", "reason"]
    assert dict(local.sizes) == {"place": 300, "feature": 3}
    assert local[letter].dims == ("place", "feature")
    assert list(local["place"].values) == list(places.index)
    assert list(local["feature"].values) == ["a", "b", "c"]
    assert all(local[name].dtype == np.float64 for name in (letter, "z", "p", "q"))
    assert local.attrs["permutations"] == 49
    assert local.attrs["alpha"] == 0.1
    assert local.attrs["seed"] == 5
    assert local.attrs["n_tested"] == 300
    data = anndata.AnnData(
        sparse.csr_matrix(frame.to_numpy()),
        obs=pd.DataFrame(index=places.index.astype(str)),
        var=pd.DataFrame(index=list("abc")),
    )
    again = function(data, graph, permutations=49, seed=5, alpha=0.1, alternative="less")
    xr.testing.assert_identical(again, local)


@pytest.mark.parametrize("function", [local_moran, local_g])
def test_what_cannot_be_tested_says_why(function):
    graph, _ = random_weights(60, 3)
    features = random_features(60, 2)
    features[:, 1] = 0
    features[:, 2] = 0.1
    features[4, 3] = np.nan
    features[5, 4] = np.inf
    local = function(features, graph, permutations=19)
    lines = local["reason"].values.tolist()
    assert [line.split(":")[0] for line in lines[:6]] == [
        "",
        "It fires on no place.",
        "It is constant",
        "It is not finite",
        "It is not finite",
        "",
    ]
    for name in ("I" if function is local_moran else "G", "z", "p", "q"):
        assert local[name][:, 1:5].isnull().all()
        assert local[name][:, 5].notnull().sum() >= 57
    assert (local["cluster"][:, 1:5] == "").all()


def test_islands_are_in_no_cluster():
    graph, weights = random_weights(60, 4, islands=5)
    features = random_features(60, 4)
    alone = ~weights.any(axis=1)
    local = local_moran(features, graph, permutations=19, alpha=1)
    assert (local["I"][alone] == 0).all()
    hot = local_g(features, graph, star=False, permutations=19, alpha=1)
    assert (hot["G"][alone] == 0).all()
    for result in (local, hot, local_g(features, graph, permutations=19, alpha=1)):
        assert result["p"].isnull().any("feature").to_numpy().tolist() == alone.tolist()
        assert (result["cluster"][alone] == "").all()
        assert (result["cluster"][~alone] != "").any()
        assert result.attrs["n_tested"] == 55
    nobody = Graph.from_sparse(sparse.csr_array((60, 60)), ids=graph.unique_ids)
    assert local_moran(features, nobody, permutations=9)["p"].isnull().all()


def test_no_digits_are_lost_with_the_mean_and_the_unit():
    n = 90
    graph, _ = random_weights(n, 5)
    plain = np.random.default_rng(5).integers(-(2**20), 2**20, n) / 2**20
    features = np.column_stack([plain, plain + 2**20, plain * 1e-300, plain * 1e300])
    local = local_moran(features, graph, permutations=99)
    for name in ("I", "z", "p"):
        for j in (1, 2, 3):
            np.testing.assert_allclose(local[name][:, j], local[name][:, 0], rtol=1e-10, atol=1e-12)
    ours = local_g(np.column_stack([plain, -plain, plain - 7]), graph, permutations=99)
    np.testing.assert_allclose(ours["z"][:, 1], -ours["z"][:, 0], rtol=1e-10)
    np.testing.assert_allclose(ours["z"][:, 2], ours["z"][:, 0], rtol=1e-10)
    balanced = np.where(np.arange(n) % 2, 1.0, -1.0)[:, None]
    assert local_g(balanced, graph, permutations=9)["G"].isnull().all()


def test_what_is_at_the_mean_but_for_rounding_counts_as_low():
    # in a ring of 0.1, 0.2, 0.3, 0.2, … every second place is at the mean, with a lag of 0
    x = np.tile([0.1, 0.2, 0.3, 0.2], 9)
    weights = np.roll(np.eye(36), 1, axis=1) + np.roll(np.eye(36), -1, axis=1)
    graph = Graph.from_sparse(sparse.csr_array(weights), ids=range(36))
    local = local_moran(x[:, None], graph, permutations=9, alpha=1)
    assert local["z"][1::2].isnull().all()
    assert local["z"][::2].notnull().all()
    assert local["cluster"].to_numpy()[:4, 0].tolist() == ["LL", "LL", "HL", "LL"]


def test_what_goes_in_is_left_as_it_is():
    graph, _ = random_weights(40, 6)
    w = graph.to_W()
    zero = w.neighbors[w.id_order[0]][0]
    w = libpysal.weights.W(
        w.neighbors,
        {i: [x * (j != zero) for j, x in w[i].items()] for i in w.id_order},
        id_order=w.id_order,
        silence_warnings=True,
    )
    features = random_features(40, 6)
    before, weights = features.copy(), w.sparse.copy()
    assert (weights.data == 0).any()
    local_moran(features, w, permutations=9)
    local_g(features, w, permutations=9)
    np.testing.assert_array_equal(features, before)
    assert (w.sparse != weights).nnz == 0
    assert w.sparse.nnz == weights.nnz


GRAPH = random_weights(20, 0, islands=0)[0]
SELF = GRAPH.assign_self_weight(1)


@pytest.mark.parametrize("function", [local_moran, local_g])
@pytest.mark.parametrize(
    ("features", "graph", "options", "said"),
    [
        (np.zeros((19, 2)), GRAPH, {}, "19 rows, the graph 20 places"),
        (np.zeros(20), GRAPH, {}, "1 dimension"),
        (np.zeros((20, 2)), "knn", {}, "a libpysal Graph or W"),
        (pd.DataFrame(np.zeros((20, 1))), GRAPH, {}, "row 0"),
        (np.zeros((20, 2)), GRAPH, {"permutations": 0}, "permutations is 0"),
        (np.zeros((20, 2)), GRAPH, {"permutations": 9.5}, "permutations is 9.5"),
        (np.zeros((20, 2)), GRAPH, {"seed": -1}, "seed is -1"),
        (np.zeros((20, 2)), GRAPH, {"threads": 0}, "threads is 0"),
        (np.zeros((20, 2)), GRAPH, {"alternative": "both"}, "alternative is 'both'"),
        (np.zeros((20, 2)), GRAPH, {"alpha": 0}, "alpha is 0"),
        (np.zeros((20, 2)), GRAPH, {"alpha": 5}, "alpha is 5"),
        (np.zeros((20, 2)), GRAPH, {"alpha": "5%"}, "alpha is '5%'"),
        (np.zeros((20, 2)), GRAPH, {"alpha": np.nan}, "alpha is nan"),
    ],
)
def test_it_says_what_is_wrong(function, features, graph, options, said):
    with pytest.raises(InputError, match=said):
        function(features, graph, **options)


def test_no_place_is_its_own_neighbour_but_with_a_star():
    with pytest.raises(InputError, match="its own neighbour"):
        local_moran(np.eye(20), SELF)
    with pytest.raises(InputError, match="its own neighbour"):
        local_g(np.eye(20), SELF, star=False)
    with pytest.raises(InputError, match="star is"):
        local_g(np.eye(20), GRAPH, star=0.5)
    assert local_g(np.eye(20), SELF, permutations=9)["p"].notnull().all()


def test_no_features_are_no_error():
    local = local_moran(np.zeros((20, 0)), GRAPH, permutations=9)
    assert dict(local.sizes) == {"place": 20, "feature": 0}
