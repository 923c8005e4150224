import importlib
import subprocess
import sys

import anndata
import libpysal
import numpy as np
import pandas as pd
import pytest
from esda.moran import Moran
from libpysal.graph import Graph
from libpysal.weights import W
from scipy import sparse
from scipy.stats import false_discovery_control
from spatial_helpers import moran_by_hand, scattered, shuffles, sparse_features, uneven_graph

import geointerp as gi
from geointerp.errors import InputError
from geointerp.spatial import (
    bivariate_moran,
    correlogram,
    extent,
    geary,
    getis_ord,
    knn,
    local_g,
    local_moran,
    match_regions,
    moran,
    nulls,
)
from geointerp.spatial import table as tables

COLUMNS = ["I", "expected_I", "z", "p", "q", "n_active", "permutations", "reason"]


@pytest.fixture(scope="module")
def world():
    places = scattered(300)
    return places, knn(places)


# ------------------------------------------------------------------------------ Moran's I


def test_moran_known_answers():
    # a ring of alternating values: every neighbour is the opposite, I = -1; halves: 1 - 4 / n
    n = 20
    ring = Graph.from_arrays(
        np.repeat(np.arange(n), 2),
        np.sort((np.arange(n)[:, None] + [-1, 1]) % n).ravel(),
        np.full(2 * n, 0.5),
    )
    features = np.column_stack([np.arange(n) % 2, np.arange(n) < n / 2, np.arange(n) % 2 + 7.0])
    table = moran(features, ring)
    assert list(table.columns) == COLUMNS
    np.testing.assert_allclose(table["I"], [-1, 1 - 4 / n, -1], rtol=1e-14)
    np.testing.assert_array_equal(table["expected_I"], [-1 / 19] * 3)
    assert table["n_active"].tolist() == [10, 10, 20]
    assert table["reason"].isna().all()
    assert table["p"][0] == 1
    assert table["p"][1] < 0.01


def test_moran_of_the_columbus_crimes():
    # Anselin (1988), as given by spdep's moran.test: 0.500189, its deviate 5.5894
    w = libpysal.io.open(libpysal.examples.get_path("columbus.gal")).read()
    w.transform = "r"
    crime = libpysal.io.open(libpysal.examples.get_path("columbus.dbf")).by_col("CRIME")
    row = moran(np.array(crime)[:, None], w).loc[0]
    np.testing.assert_allclose([row["I"], row["z"]], [0.500188557, 5.5893827], rtol=1e-7)
    np.testing.assert_allclose(row["expected_I"], -1 / 48)
    assert row["p"] <= 1e-4


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("directed", [True, False])
def test_moran_agrees_with_esda(seed, directed):
    n = 80
    graph, _ = uneven_graph(n, seed, islands=seed, directed=directed)
    rng = np.random.default_rng(seed)
    features = np.column_stack(
        [
            rng.normal(size=n),
            rng.normal(size=n) + 1e6,
            rng.exponential(size=n) ** 4,
            rng.uniform(size=n) < 0.3,
            sparse_features(n, 1, 12, seed),
            sparse_features(n, 1, 45, seed) * 1e-9,
            sparse_features(n, 1, 20, seed) * rng.choice([-1, 1], size=(n, 1)),
        ]
    )
    for weights in (graph, graph.transform("R")):
        table = moran(features, weights, permutations=1)
        for column, row in zip(features.T, table.itertuples(), strict=True):
            # esda row-standardises by default; its own letter keeps the weights as they are
            exact = Moran(column, weights, transformation=weights.transformation, permutations=0)
            tolerance = {"rtol": 1e-10, "atol": 1e-10 if column.mean() < 1e5 else 1e-9}
            np.testing.assert_allclose(row.I, exact.I, **tolerance)
            np.testing.assert_allclose(row.z, exact.z_rand, **tolerance)
            np.testing.assert_allclose(row.expected_I, exact.EI, rtol=1e-15)


def test_moran_variance_is_that_of_all_permutations():
    from itertools import permutations as every_order

    graph, weights = uneven_graph(6, 3, islands=1)
    x = np.array([0, 0, 1.0, 3, 0, 7])
    values = [moran_by_hand(np.array(y), weights) for y in every_order(x)]
    row = moran(x[:, None], graph, permutations=1, min_active=1).loc[0]
    np.testing.assert_allclose(np.mean(values), row["expected_I"], rtol=1e-10)
    np.testing.assert_allclose((row["I"] - np.mean(values)) / np.std(values), row["z"], rtol=1e-10)


def test_moran_keeps_its_digits_whatever_the_mean_and_the_unit():
    # every value is a multiple of 2^-20, so that a mean of 2^20 takes nothing from it; and
    # the sparse ones stand on zeros, with as many active as not
    n = 200
    graph, weights = uneven_graph(n, 5)
    rng = np.random.default_rng(5)
    plain = rng.integers(-(2**20), 2**20, n) / 2**20
    half = np.where(np.arange(n) % 2, 1e6 + rng.normal(size=n) * 1e-3, 0)
    features = np.column_stack([plain, plain + 2**20, plain * 1e-300, plain * 1e300, half])
    table = moran(features, graph, permutations=99)
    np.testing.assert_allclose(table["I"][:4], moran_by_hand(plain, weights), rtol=1e-12)
    np.testing.assert_allclose(table["I"][4], moran_by_hand(half / 1e6, weights), rtol=1e-12)
    assert table["z"][:4].round(10).nunique() == 1
    np.testing.assert_allclose(table["p"][:4], table["p"][0], rtol=1e-10)


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_p_is_that_of_a_plain_permutation_test(alternative):
    n, draws, seed = 60, 199, 11
    graph, weights = uneven_graph(n, 2)
    rng = np.random.default_rng(4)
    features = np.column_stack(
        [
            rng.normal(size=n),
            rng.normal(size=n) + 100,
            rng.uniform(size=n) < 0.35,  # ties abound
            sparse_features(n, 2, 15, 8),
            np.where(np.arange(n) % 3 == 0, 0.1, 0.0),
            np.where(np.arange(n) % 5 == 0, 0.1, 0.7),
        ]
    )
    moves = shuffles(graph, draws, seed)
    expected = []
    for x in features.T:
        observed, moved = moran_by_hand(x, weights), []
        for move in moves:
            moved.append(moran_by_hand(move(x), weights))
        greater = (1 + (np.array(moved) >= observed - 1e-9).sum()) / (draws + 1)
        less = (1 + (np.array(moved) <= observed + 1e-9).sum()) / (draws + 1)
        both = min(1, 2 * min(greater, less))
        expected.append({"greater": greater, "less": less, "two-sided": both}[alternative])
    table = moran(
        features,
        graph,
        permutations=draws,
        max_permutations=draws,
        seed=seed,
        alternative=alternative,
    )
    by_curve = table["permutations"] == 0
    assert by_curve.sum() <= 2
    table, expected = table[~by_curve], np.array(expected)[~by_curve]
    np.testing.assert_allclose(table["p"], expected, rtol=1e-14)


@pytest.mark.parametrize("n", [12, 30, 47, 101])
def test_ties_count_as_extreme(n):
    # 0.1 is no binary fraction: the sums of equal permutations differ in their last digits
    everyone = sparse.csr_array(np.ones((n, n)) - np.eye(n))
    graph = Graph.from_sparse(everyone, ids=np.arange(n)).transform("R")
    rng = np.random.default_rng(0)
    values = np.column_stack([np.where(rng.permutation(n) < 10, 0.1, 0), rng.normal(size=n)])
    table = moran(values, graph)
    # all are everyone's neighbours: every permutation gives -1 / (n - 1), and none says anything
    np.testing.assert_allclose(table["I"], -1 / (n - 1), rtol=1e-12)
    assert table["p"].tolist() == [1, 1]
    assert table["z"].isna().all()
    assert moran(values, graph, alternative="less")["p"].tolist() == [1, 1]


def test_same_seed_same_bytes_with_any_threads_and_chunks(world, monkeypatch):
    _, graph = world
    features = np.column_stack([sparse_features(300, 9, 40, 1), scattered(300, 3).geometry.x])
    first = moran(features, graph, permutations=99, threads=1)
    for threads in (1, 2, 3):
        pd.testing.assert_frame_equal(
            moran(features, graph, permutations=99, threads=threads), first, check_exact=True
        )
    monkeypatch.setattr(tables, "BLOCK_ENTRIES", 130)
    monkeypatch.setattr(nulls, "CHUNK_ENTRIES", 2_000)
    assert len(list(tables.columns(features))) == 10
    for given_as in (features, sparse.csr_array(features)):
        again = moran(given_as, graph, permutations=99, threads=2)
        pd.testing.assert_frame_equal(again, first, check_exact=True)
    other = moran(features, graph, permutations=99, seed=1)
    assert (other["p"] != first["p"]).any()
    assert (other["I"] == first["I"]).all()


def test_under_the_null_p_is_uniform(world):
    _, graph = world
    for active in (10, 30, 300):
        table = moran(sparse_features(300, 600, active, active), graph, permutations=199, seed=3)
        for level in (0.05, 0.2):
            share = (table["p"] <= level).mean()
            assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / 600), (active, level)
        assert (table["q"] < 0.05).sum() <= 1
    lower = moran(sparse_features(300, 600, 30, 5), graph, permutations=199, alternative="less")
    assert 0.01 < (lower["p"] <= 0.05).mean() < 0.09


def test_a_planted_patch_is_found_among_noise(world):
    places, graph = world
    lon, lat = gi.places.lon_lat(places)
    features = sparse_features(300, 40, 20, 6)
    near = np.argsort(gi.sphere.distance_km(lon=lon, lat=lat, to_lon=178, to_lat=-20))[:20]
    features[:, 7] = 0
    features[near, 7] = 1
    table = moran(features, graph)
    assert table["p"][7] == 1e-4
    assert table["permutations"][7] == 9_999
    assert table["I"].idxmax() == 7
    assert table.index[table["q"] < 0.05].tolist() == [7]
    assert moran(features, graph, alternative="less")["p"][7] == 1
    assert moran(features, graph, alternative="two-sided")["p"][7] == 0.0002


def test_what_cannot_be_tested_says_why(world):
    _, graph = world
    features = pd.DataFrame(sparse_features(300, 8, 20, 2), columns=list("abcdefgh"))
    features.index = graph.unique_ids
    features["b"] = 0.0
    features["c"] = 0.1
    features.iloc[3, 3] = np.nan
    features.iloc[4:6, 4] = np.inf
    features["f"] = (np.arange(300) < 9).astype(float)
    features["g"] = 0.0
    features.iloc[5, 6] = 1.0
    table = moran(features, graph)
    assert table.index.tolist() == list("abcdefgh")
    untested = table.loc[list("bcdefg")]
    assert untested[["z", "p", "q"]].isna().all(axis=None)
    assert untested["I"].isna().tolist() == [True, True, True, True, False, False]
    assert untested["reason"].tolist() == [
        "It fires on no place.",
        "It is constant: its value is the same at every place.",
        "It is not finite: 1 of its values are NaN or infinite.",
        "It is not finite: 2 of its values are NaN or infinite.",
        "It fires on fewer than 10 places.",
        "It fires on fewer than 10 places.",
    ]
    assert table.loc[["a", "h"], "reason"].isna().all()
    assert table.loc[["a", "h"], ["z", "p", "q"]].notna().all(axis=None)
    assert table["n_active"].tolist()[:3] == [20, 0, 300]
    # q is over the features that were tested, not over all columns
    p = table.loc[["a", "h"], "p"]
    np.testing.assert_allclose(table.loc[["a", "h"], "q"], false_discovery_control(p))
    assert moran(features, graph, min_active=9).loc["f", "reason"] is pd.NA
    nothing = moran(features[["b", "c"]], graph)
    assert nothing["q"].isna().all()
    assert nothing.attrs["n_tested"] == 0
    assert moran(features[[]], graph).shape == (0, 8)


def test_every_form_of_features_gives_the_same(world):
    _, graph = world
    values = sparse_features(300, 5, 30, 9).astype("f4")
    values[:, 4] += 1
    expected = moran(values, graph, permutations=49)
    names = [f"latent {j}" for j in range(5)]
    frame = pd.DataFrame(values, index=graph.unique_ids, columns=names)
    stored = sparse.csc_array(values)
    stored.data[3] = 0  # an explicit zero is no activity
    zeroed = moran(stored.toarray(), graph, permutations=49)
    pd.testing.assert_frame_equal(moran(stored, graph, permutations=49), zeroed)
    assert stored.nnz == np.count_nonzero(values)  # and the caller's matrix is left as it was
    forms = {
        "csr": sparse.csr_array(values),
        "csc": sparse.csc_matrix(values),
        "coo": sparse.coo_array(values),
        "frame": frame,
        "sparse frame": frame.astype(pd.SparseDtype("f4", 0)),
        "nullable frame": frame.astype("Float32"),
    }
    for kind in (np.asarray, sparse.csr_matrix):
        forms[kind.__name__] = anndata.AnnData(
            kind(values),
            obs=pd.DataFrame(index=graph.unique_ids.astype(str)),
            var=pd.DataFrame(index=names),
        )
    for form, features in forms.items():
        table = moran(features, graph, permutations=49)
        if not form.startswith(("cs", "coo")) or form == "csr_matrix":
            assert table.index.tolist() == names, form
        np.testing.assert_array_equal(table[COLUMNS[:-1]], expected[COLUMNS[:-1]], err_msg=form)
    view = moran(forms["csr_matrix"][:, [4, 2]], graph, permutations=49)
    assert view["I"].tolist() == expected["I"][[4, 2]].tolist()


@pytest.mark.parametrize(
    "of",
    [
        lambda features, places, graph: moran(features, graph, permutations=9),
        lambda features, places, graph: moran(features, graph, within=places.index % 7),
        lambda features, places, graph: geary(features, graph, permutations=9),
        lambda features, places, graph: getis_ord(features, graph, permutations=9),
        lambda features, places, graph: bivariate_moran(features, features, graph, permutations=9),
        lambda features, places, graph: local_moran(features, graph, permutations=9),
        lambda features, places, graph: local_g(features, graph, permutations=9),
        lambda features, places, graph: correlogram(features, places, permutations=9),
        lambda features, places, graph: match_regions(features, places.index % 7, permutations=9),
        lambda features, places, graph: extent(features, places, graph),
    ],
)
def test_features_are_left_as_they_are(world, of):
    # in columns that fire everywhere they are read where they lie
    features = np.asfortranarray(np.random.default_rng(0).uniform(1, 2, size=(300, 3)))
    before = features.copy()
    of(features, *world)
    assert (features == before).all()
    assert features.flags.writeable


def test_a_w_gives_what_its_graph_gives():
    graph, _ = uneven_graph(40, 7)
    features = pd.DataFrame(sparse_features(40, 3, 12, 0), index=graph.unique_ids)
    w = graph.to_W()
    assert isinstance(w, W)
    pd.testing.assert_frame_equal(moran(features, w), moran(features, graph))
    w.transform = "r"
    pd.testing.assert_frame_equal(moran(features, w), moran(features, graph.transform("R")))


def test_a_graph_whose_labels_are_coded_in_another_order():
    # is_sorted=True promises an order of codes that from_arrays does not give
    ids = np.array(["c", "a", "d", "b", "e"])
    focal = np.repeat(ids, 2)
    neighbor = np.array(["a", "e", "c", "d", "a", "b", "d", "e", "b", "c"])
    careless = Graph.from_arrays(focal, neighbor, np.ones(10), is_sorted=True)
    x = np.array([1.0, 2, 4, 8, 16])
    weights = np.zeros((5, 5))
    weights[[0, 0, 1, 1, 2, 2, 3, 3, 4, 4], [1, 4, 0, 2, 1, 3, 2, 4, 3, 0]] = 1
    table = moran(pd.DataFrame({"x": x}, index=ids), careless, permutations=9, min_active=1)
    np.testing.assert_allclose(table.loc["x", "I"], moran_by_hand(x, weights), rtol=1e-14)


def test_the_table_says_how_it_was_made(world):
    _, graph = world
    table = moran(sparse_features(300, 2, 5, 0), graph, permutations=19, seed=5, alternative="less")
    assert table.attrs == {
        "statistic": "Moran's I",
        "null": "permutations of all places",
        "permutations": 19,
        "max_permutations": 9_999,
        "seed": 5,
        "alternative": "less",
        "min_active": 10,
        "n_places": 300,
        "s0": 300.0,
        "n_tested": 0,
    }
    assert table.dtypes.astype(str).tolist() == [*["float64"] * 5, "int64", "int64", "string"]


def _weights_with(**changes):
    weights = np.ones((12, 12)) - np.eye(12)
    if "own" in changes:
        weights[4, 4] = 1
    if "infinite" in changes:
        weights[2, 5] = np.inf
    if "nothing" in changes:
        weights[:] = 0
    if "less" in changes:
        weights = -weights
    return Graph.from_sparse(sparse.csr_array(weights), ids=np.arange(12))


@pytest.mark.parametrize(
    ("features", "graph", "said"),
    [
        (np.ones((11, 2)), _weights_with(), "11 rows, the graph 12 places"),
        (np.ones(12), _weights_with(), "1 dimension"),
        (np.ones((12, 2), complex), _weights_with(), "complex"),
        (np.full((12, 2), "a"), _weights_with(), "real numbers"),
        (pd.DataFrame({"a": ["b"] * 12}), _weights_with(), "column 'a'"),
        (pd.DataFrame({"a": range(12)}, index=range(1, 13)), _weights_with(), "row 0 .* 1, of"),
        (pd.DataFrame({"a": range(12)}, index=range(11, -1, -1)), _weights_with(), "another order"),
        (
            anndata.AnnData(np.ones((12, 1)), obs=pd.DataFrame(index=[*"0132456789", "10", "11"])),
            _weights_with(),
            "row 2 .* '3', .* 2;",
        ),
        (anndata.AnnData(obs=pd.DataFrame(index=list("abc"))), _weights_with(), "no X"),
        (np.ones((12, 2)), _weights_with(own=True), "place 4 is its own neighbour"),
        (np.ones((12, 2)), _weights_with(infinite=True), "place 2 has a weight"),
        (np.ones((12, 2)), _weights_with(nothing=True), "add up to 0"),
        (np.ones((12, 2)), _weights_with(less=True), "add up to -132"),
        (np.ones((12, 2)), sparse.csr_array(np.ones((12, 12))), "Graph or W is needed"),
        (np.ones((3, 2)), Graph.from_dicts({0: [1], 1: [2], 2: [0]}), "3 place"),
        (np.ones((1, 2)), Graph.from_dicts({0: []}), "1 place"),
    ],
)
def test_moran_says_what_is_wrong(features, graph, said):
    with pytest.raises(InputError, match=said):
        moran(features, graph)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"permutations": -1}, "permutations is -1"),
        ({"permutations": 0, "within": np.zeros(12)}, "permutations is 0"),
        ({"permutations": 9.5}, "permutations is 9.5"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": None}, "seed is None"),
        ({"alternative": "lesser"}, "'lesser'"),
        ({"min_active": 0}, "min_active is 0"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_moran_says_which_option_is_wrong(option, said):
    with pytest.raises(InputError, match=said):
        moran(np.ones((12, 2)), _weights_with(), **option)


def test_the_room_opens_without_the_heavy_packages():
    code = (
        "import sys, geointerp.spatial;"
        "print([m for m in ('numba', 'libpysal', 'esda', 'anndata', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_kernels_compile_where_nothing_can_be_cached(monkeypatch):
    import numba

    from geointerp.spatial import _kernels

    plain = numba.njit

    def njit(*args, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return plain(*args, **options)

    monkeypatch.setattr(numba, "njit", njit)
    try:
        importlib.reload(_kernels)
        table = moran(sparse_features(12, 1, 6, 0), _weights_with(), permutations=9, min_active=2)
        assert table["p"][0] == 1
    finally:
        monkeypatch.undo()
        importlib.reload(_kernels)
