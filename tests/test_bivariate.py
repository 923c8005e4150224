import anndata
import libpysal
import numpy as np
import pandas as pd
import pytest
from esda.moran import Moran_BV
from libpysal.graph import Graph
from scipy import sparse
from scipy.stats import false_discovery_control
from spatial_helpers import (
    bivariate_by_hand,
    p_by_hand,
    scattered,
    shuffles,
    sparse_features,
    uneven_graph,
)

from geointerp.errors import InputError
from geointerp.spatial import bivariate_moran, knn, moran
from geointerp.spatial import table as tables

COLUMNS = ["feature", "other", "I", "expected_I", "z", "p", "q", "n_active", "permutations"]


def mixed_features(n, seed):
    """Everywhere, on some places with either sign, on most, with ties."""
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [
            rng.normal(size=n) + 50,
            rng.uniform(size=n) < 0.35,
            sparse_features(n, 1, 15, seed) * rng.choice([-1, 1], size=(n, 1)),
            sparse_features(n, 1, int(0.8 * n), seed),
            np.where(np.arange(n) % 3 == 0, 0.1, 0.0),
        ]
    )


def of_the_map(n, seed):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"height": rng.normal(size=n) ** 2 * 1e3, "coast": rng.uniform(size=n) < 0.3}
    )


def test_esdas_own_example():
    # Moran_BV's doctest: 0.156, infant deaths of 1979 beside those of 1974
    path = libpysal.examples.get_path
    w = libpysal.io.open(path("sids2.gal")).read()
    w.transform = "r"
    table = libpysal.io.open(path("sids2.dbf"))
    later, earlier = (np.array(table.by_col[name]) for name in ("SIDR79", "SIDR74"))
    row = bivariate_moran(later[:, None], earlier[:, None], w).loc[0]
    np.testing.assert_allclose(row["I"], Moran_BV(later, earlier, w, permutations=0).I, rtol=1e-12)
    assert round(row["I"], 3) == 0.156
    assert row["p"] < 0.05


@pytest.mark.parametrize("islands", [0, 3])
@pytest.mark.parametrize("directed", [True, False])
def test_it_agrees_with_esda_and_the_books(islands, directed):
    n = 80
    graph, weights = uneven_graph(n, 3, islands=islands, directed=directed)
    features, others = mixed_features(n, 1), of_the_map(n, 2).set_index(graph.unique_ids)
    table = bivariate_moran(features, others, graph, permutations=1)
    rows = bivariate_moran(features, others, graph.transform("R"), permutations=1)
    assert table["feature"].tolist() == [*range(5), *range(5)]
    assert table["other"].tolist() == ["height"] * 5 + ["coast"] * 5
    for row, standard in zip(table.itertuples(), rows.itertuples(), strict=True):
        x, y = features[:, row.feature], others[row.other].to_numpy(float)
        np.testing.assert_allclose(row.I, bivariate_by_hand(x, y, weights), rtol=1e-10)
        # esda divides by the number of places, islands too, and not by the sum of the weights
        peer = Moran_BV(x, y, graph.to_W(), permutations=0).I * n / (n - islands)
        np.testing.assert_allclose(standard.I, peer, rtol=1e-10)


def test_of_a_feature_with_itself_it_is_morans_i():
    graph, _ = uneven_graph(60, 0)
    features = mixed_features(60, 0)
    both = bivariate_moran(features, features, graph, permutations=1)
    same = both[both["feature"] == both["other"]]
    alone = moran(features, graph, permutations=1)
    np.testing.assert_allclose(same["I"], alone["I"], rtol=1e-10)
    assert len(both) == 25


def test_moments_are_those_of_all_permutations():
    from itertools import permutations as every_order

    graph, weights = uneven_graph(6, 3, islands=1)
    x, y = np.array([0, 0, 1.0, 3, 0, 7]), np.array([2.0, 0, 1, 1, 5, 3])
    values = [bivariate_by_hand(np.array(z), y, weights) for z in every_order(x)]
    row = bivariate_moran(x[:, None], y[:, None], graph, min_active=1).loc[0]
    np.testing.assert_allclose([np.mean(values), row["expected_I"]], 0, atol=1e-14)
    np.testing.assert_allclose(row["z"], row["I"] / np.std(values), rtol=1e-10)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_p_is_that_of_a_plain_permutation_test(alternative, grouped):
    # the feature is permuted, the other variable stays
    n, draws, seed = 60, 199, 5
    graph, weights = uneven_graph(n, 2)
    features, others = mixed_features(n, 4), of_the_map(n, 6).set_index(graph.unique_ids)
    labels = np.random.default_rng(1).integers(0, 4, n).astype(str) if grouped else None
    moves = shuffles(graph, draws, seed, labels)
    table = bivariate_moran(
        features,
        others,
        graph,
        within=labels,
        permutations=draws,
        max_permutations=draws,
        seed=seed,
        alternative=alternative,
    )
    counted = table[table["permutations"] == draws]
    assert len(counted) >= (10 if grouped else 5)
    for row in counted.itertuples():
        x, y = features[:, row.feature], others[row.other].to_numpy(float)
        drawn = np.array([bivariate_by_hand(move(x), y, weights) for move in moves])
        np.testing.assert_allclose(row.p, p_by_hand(row.I, drawn, alternative), rtol=1e-14)
        if grouped:
            np.testing.assert_allclose(row.expected_I, drawn.mean(), rtol=1e-6, atol=1e-8)
            z = (row.I - drawn.mean()) / drawn.std(ddof=1)
            np.testing.assert_allclose(row.z, z, rtol=1e-6, atol=1e-6)


def test_a_feature_without_a_pattern_is_related_to_a_smooth_map_as_often_as_p_says():
    places = scattered(400)
    graph = knn(places)
    smooth = (places.geometry.y**2).rename("latitude")
    few = sparse_features(400, 800, 60, 1)
    many = np.random.default_rng(2).exponential(size=(400, 800)) * (few == 0)
    counted = {"permutations": 199, "max_permutations": 199}
    many[many > 2] = 2.0
    for features, how, least in ((few, counted, 0.99), (many, {"permutations": 0}, 0.5)):
        p = bivariate_moran(features, smooth, graph, **how)["p"]
        assert p.notna().mean() > least
        for level in (0.01, 0.1):
            sigma = np.sqrt(level * (1 - level) / p.notna().sum())
            assert abs((p.dropna() <= level).mean() - level) < 4 * sigma, (how, level)


def test_a_feature_of_the_heights_is_found():
    places = scattered(400)
    graph = knn(places)
    latitude = places.geometry.y.to_numpy()
    features = sparse_features(400, 20, 40, 3)
    north = np.argsort(latitude)[-60:]
    features[:, 4] = 0
    features[north[::2], 4] = 1
    table = bivariate_moran(features, latitude[:, None], graph)
    assert table.index[table["q"] < 0.01].tolist() == [4]
    assert table["I"][4] > 0
    low = bivariate_moran(features, -latitude[:, None], graph)
    np.testing.assert_allclose(low["I"], -table["I"], rtol=1e-12)
    np.testing.assert_allclose(low["p"], table["p"], rtol=1e-9)
    # north of everywhere, but nothing more: within zones of latitude there is no relation left
    zones = pd.qcut(latitude, 60, labels=False)
    assert bivariate_moran(features[:, [4]], latitude[:, None], graph, within=zones)["p"][0] > 0.01


def test_what_cannot_vary_has_no_z_and_is_no_find():
    # each place looks at one of each of three kinds: the lag is the same everywhere
    n = 42
    ahead = (np.arange(n)[:, None] + [1, 2, 3]) % n
    graph = Graph.from_arrays(np.repeat(np.arange(n), 3), ahead.ravel(), np.ones(3 * n))
    others = np.random.default_rng(0).uniform(size=(3, 20))[np.arange(n) % 3]
    features = mixed_features(n, 0)
    table = bivariate_moran(features, others, graph)
    np.testing.assert_allclose(table[["I", "expected_I"]], 0, atol=1e-12)
    assert table["z"].isna().all()
    assert (table["p"] == 1).all()
    assert bivariate_moran(features, others, graph, permutations=0)["p"].isna().all()
    by_group = bivariate_moran(features, others, graph, within=np.arange(n) % 2, permutations=99)
    assert by_group["z"].isna().all()


def test_the_table():
    graph, _ = uneven_graph(50, 0)
    features = pd.DataFrame(mixed_features(50, 0), graph.unique_ids, list("abcde"))
    features["b"] = 0.0
    features["c"] = 2.0
    features["d"] = (np.arange(50) < 9) * 1.0
    height = of_the_map(50, 1)["height"]
    height.index = graph.unique_ids
    table = bivariate_moran(features, height, graph, permutations=99)
    assert list(table.columns) == [*COLUMNS, "reason"]
    assert table["reason"].fillna("").tolist() == [
        "",
        "It fires on no place.",
        "It is constant: its value is the same at every place.",
        "It fires on fewer than 10 places.",
        "",
    ]
    tested = table[table["reason"].isna()]
    assert (tested["expected_I"] == 0).all()
    np.testing.assert_allclose(tested["q"], false_discovery_control(tested["p"]), rtol=1e-14)
    assert table.attrs["statistic"] == "bivariate Moran's I"
    assert table.attrs["n_tested"] == 2
    assert table.attrs["alternative"] == "two-sided"
    assert table.attrs["n_places"] == 50
    labelled = anndata.AnnData(features)
    for again in (labelled, sparse.csr_array(features.to_numpy())):
        for other in (height, height.to_frame(), height.to_numpy()[:, None]):
            one = bivariate_moran(again, other, graph, permutations=99)
            np.testing.assert_array_equal(one[COLUMNS[2:]], table[COLUMNS[2:]])


def test_blocks_do_not_change_the_result(monkeypatch):
    graph, _ = uneven_graph(50, 0)
    features = mixed_features(50, 0)
    others = of_the_map(50, 1).set_index(graph.unique_ids)
    whole = bivariate_moran(features, others, graph, permutations=99)
    monkeypatch.setattr(tables, "BLOCK_ENTRIES", 60)
    in_blocks = bivariate_moran(features, others, graph, permutations=99, threads=2)
    pd.testing.assert_frame_equal(in_blocks, whole, check_exact=True)


def test_neither_unit_nor_mean_of_the_other_matters():
    graph, _ = uneven_graph(50, 0)
    features, y = mixed_features(50, 0), np.random.default_rng(0).integers(-(2**20), 2**20, 50)
    others = np.column_stack([y / 2**20, y / 2**20 + 2**20, y * 1e-300, y * 1e300])
    table = bivariate_moran(features, others, graph, permutations=99)
    found = table["I"].to_numpy().reshape(4, 5)
    np.testing.assert_allclose(found[1:], found[:1].repeat(3, 0), rtol=1e-9)


GRAPH, _ = uneven_graph(40, 0)
X = sparse_features(40, 1, 12, 0)
ORDERED = pd.Series(np.arange(40.0), index=GRAPH.unique_ids, name="y")


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (np.where(np.arange(40) == 5, np.nan, 1.0)[:, None], "0 of the others has no finite value"),
        (pd.DataFrame({"a": range(40), "b": [np.inf] * 40}), "'b' of the others .* at place"),
        (pd.DataFrame({"h": [3.0] * 40}), "'h' of the others is constant"),
        (np.zeros((40, 1)), "0 of the others is constant"),
        (np.ones((40, 0)), "others has no column"),
        (np.arange(40), "the others have 1 dimension"),
        (np.ones((39, 1)), "the others have 39 rows"),
        (ORDERED[::-1], "row 0 of the others .* another order: bring the others into"),
        (pd.Series(["a"] * 40, GRAPH.unique_ids, name="k"), "'k' of the others .* not of numbers"),
        (np.ones((40, 1), complex), "the others are of complex128"),
    ],
)
def test_it_says_what_is_wrong_with_the_others(others, said):
    if isinstance(others, pd.DataFrame):
        others.index = GRAPH.unique_ids
    with pytest.raises(InputError, match=said):
        bivariate_moran(X, others, GRAPH)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"alternative": "more"}, "alternative is 'more'"),
        ({"seed": -1}, "seed is -1"),
        ({"within": np.zeros(40), "permutations": 0}, "permutations is 0"),
    ],
)
def test_it_says_which_option_is_wrong(how, said):
    with pytest.raises(InputError, match=said):
        bivariate_moran(X, ORDERED, GRAPH, **how)
