import anndata
import libpysal
import numpy as np
import pandas as pd
import pytest
from esda.geary import Geary
from esda.getisord import G
from esda.join_counts import Join_Counts
from libpysal.graph import Graph
from libpysal.weights import W, lat2W
from scipy import sparse
from scipy.stats import false_discovery_control
from spatial_helpers import (
    geary_by_hand,
    getis_ord_by_hand,
    joins_by_hand,
    moran_by_hand,
    p_by_hand,
    scattered,
    shuffles,
    sparse_features,
    uneven_graph,
    unlike_joins_by_hand,
)

from geointerp.errors import InputError
from geointerp.spatial import geary, getis_ord, join_counts, knn, moran

COLUMNS = ["expected", "z", "p", "q", "n_active", "permutations", "reason"]


def of_joins(name):
    """One half of the table of join counts, with the columns of the others."""

    def half(features, graph, alternative=None, **how):
        table = join_counts(features, graph, **how)
        return table.rename(columns={f"{c}_{name}": c for c in COLUMNS})

    return half


# the function, its statistic's column, that of its mean, the book's formula, and which sides it has
KINDS = {
    "moran": (moran, "I", "expected_I", moran_by_hand, ["greater", "less", "two-sided"]),
    "geary": (geary, "C", "expected_C", geary_by_hand, ["greater", "less", "two-sided"]),
    "getis_ord": (
        getis_ord,
        "G",
        "expected_G",
        getis_ord_by_hand,
        ["greater", "less", "two-sided"],
    ),
    "BB": (of_joins("BB"), "BB", "expected", joins_by_hand, ["greater"]),
    "BW": (of_joins("BW"), "BW", "expected", unlike_joins_by_hand, ["less"]),
}
SIDES = [(kind, side) for kind, (*_, sides) in KINDS.items() for side in sides]


def mixed_features(n, seed):
    """Values of 0 or more: everywhere, on some places, on most, with ties."""
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [
            rng.exponential(size=n),
            rng.uniform(size=n) < 0.35,
            sparse_features(n, 2, 15, seed),
            sparse_features(n, 1, int(0.8 * n), seed),
            np.where(np.arange(n) % 3 == 0, 0.1, 0.0),
            np.where(np.arange(n) % 5 == 0, 0.1, 0.7) * (np.arange(n) % 7 > 0),
        ]
    )


# ------------------------------------------------------------------------- known answers


def test_gearys_c_of_esdas_own_example():
    # Geary's doctest: C = 0.3330108, p_norm = 9.2e-05
    path = libpysal.examples.get_path
    w = libpysal.io.open(path("book.gal")).read()
    w.transform = "r"
    y = np.array(libpysal.io.open(path("book.txt")).by_col["y"])
    row = geary(y[:, None], w).loc[0]
    np.testing.assert_allclose(row["C"], 0.3330108, atol=5e-8)
    np.testing.assert_allclose(row["expected_C"], 1, rtol=1e-14)
    assert row["p"] < 0.001


def test_geary_of_the_columbus_crimes():
    w = libpysal.io.open(libpysal.examples.get_path("columbus.gal")).read()
    w.transform = "r"
    crime = np.array(libpysal.io.open(libpysal.examples.get_path("columbus.dbf")).by_col("CRIME"))
    row = geary(crime[:, None], w).loc[0]
    peer = Geary(crime, w, permutations=0)
    np.testing.assert_allclose([row["C"], row["z"]], [peer.C, peer.z_rand], rtol=1e-10)
    np.testing.assert_allclose(row["C"], geary_by_hand(crime, w.sparse.toarray()), rtol=1e-12)
    np.testing.assert_allclose([row["C"], row["z"]], [0.5405282, -4.7430615], rtol=1e-7)
    assert row["p"] <= 1e-4
    assert geary(crime[:, None], w, alternative="greater")["p"][0] > 0.999


def test_g_of_esdas_own_example():
    # G's doctest: G = 0.557, p_norm = 0.173
    points = [(10, 10), (20, 10), (40, 10), (15, 20), (30, 20), (30, 30)]
    w = libpysal.weights.DistanceBand(points, threshold=15)
    y = np.array([2, 3, 3.2, 5, 8, 7])
    row = getis_ord(y[:, None], w, min_active=1).loc[0]
    peer = G(y, w, permutations=0)
    np.testing.assert_allclose([row["G"], row["expected_G"]], [peer.G, peer.EG], rtol=1e-12)
    np.testing.assert_allclose(row["z"], peer.z_norm, rtol=1e-10)
    assert round(row["G"], 3) == 0.557


def test_joins_of_esdas_own_example():
    # Join_Counts' doctest: a board of four by four, its upper half silent
    y = np.repeat([0.0, 1], 8)
    row = join_counts(y[:, None], lat2W(4, 4), min_active=1).loc[0]
    assert [row["BB"], row["WW"], row["BW"]] == [10, 10, 4]
    # of 24 joins, so many are expected by drawing 8 of 16 places without putting back
    np.testing.assert_allclose(row["expected_BB"], 24 * 8 / 16 * 7 / 15, rtol=1e-12)
    np.testing.assert_allclose(row["expected_BW"], 24 * 2 * 8 / 16 * 8 / 15, rtol=1e-12)
    assert row["p_BB"] < 0.01
    assert row["p_BW"] < 0.01


def test_a_ring_of_opposites_and_of_halves():
    n = 20
    ring = Graph.from_arrays(
        np.repeat(np.arange(n), 2),
        np.sort((np.arange(n)[:, None] + [-1, 1]) % n).ravel(),
        np.ones(2 * n),
    )
    x = np.column_stack([np.arange(n) % 2, np.arange(n) < n / 2]).astype(float)
    np.testing.assert_allclose(geary(x, ring)["C"], [19 / 10, 19 * 2 / 10 / n], rtol=1e-14)
    np.testing.assert_allclose(getis_ord(x, ring)["G"], [0, 18 / 90], rtol=1e-14)
    table = join_counts(x, ring)
    assert table["BB"].tolist() == [0, 9]
    assert table["BW"].tolist() == [20, 2]
    assert table["WW"].tolist() == [0, 9]
    assert table["p_BB"][0] == table["p_BW"][0] == 1
    assert max(table["p_BB"][1], table["p_BW"][1]) < 0.01
    assert geary(x, ring)["p"][0] == 1
    assert geary(x, ring, alternative="greater")["p"][0] < 0.001


# ---------------------------------------------------------------------------- agreement


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("directed", [True, False])
def test_geary_agrees_with_esda(seed, directed):
    graph, _ = uneven_graph(80, seed, islands=seed, directed=directed)
    rng = np.random.default_rng(seed)
    features = np.column_stack([rng.normal(size=80), mixed_features(80, seed)])
    features = np.column_stack([features, features[:, 0] + 1e4, features[:, 3] * 1e-9])
    for weights in (graph, graph.transform("R"), graph.transform("B")):
        table = geary(features, weights, permutations=1)
        for x, row in zip(features.T, table.itertuples(), strict=True):
            # of a Graph with islands it takes too many weights; "o" leaves them as they are
            peer = Geary(x, weights.to_W(), transformation="o", permutations=0)
            np.testing.assert_allclose(row.C, peer.C, rtol=1e-10)
            np.testing.assert_allclose(row.z, peer.z_rand, rtol=1e-10, atol=1e-10)
            np.testing.assert_allclose((row.C - 1) / row.z, peer.seC_rand, rtol=1e-10)
            np.testing.assert_allclose(row.expected_C, peer.EC, rtol=1e-14)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("directed", [True, False])
def test_getis_ord_agrees_with_esda(seed, directed):
    # esda makes the weights binary, whatever they were
    graph, _ = uneven_graph(80, seed, islands=seed, directed=directed)
    graph = graph.transform("B")
    features = mixed_features(80, seed)
    features = np.column_stack([features, features[:, 2] * 1e-9, features[:, 0] + 5])
    table = getis_ord(features, graph, permutations=1)
    for x, row in zip(features.T, table.itertuples(), strict=True):
        peer = G(x, graph, permutations=0)
        np.testing.assert_allclose(row.G, peer.G, rtol=1e-10)
        np.testing.assert_allclose(row.expected_G, peer.EG, rtol=1e-12)
        # esda's variance is a difference of two large numbers, and has fewer digits
        np.testing.assert_allclose((row.G - row.expected_G) ** 2 / row.z**2, peer.VG, rtol=1e-7)
        np.testing.assert_allclose(row.z, peer.z_norm, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("directed", [True, False])
def test_join_counts_agree_with_esda(seed, directed):
    graph, _ = uneven_graph(80, seed, islands=seed, directed=directed, binary=True)
    rng = np.random.default_rng(seed)
    features = (rng.uniform(size=(80, 4)) < [0.2, 0.4, 0.6, 0.9]).astype(float)
    table = join_counts(features, graph, permutations=1)
    # what fires stronger fires: only zero or not is read
    strong = join_counts(features * rng.normal(size=features.shape), graph, permutations=1)
    pd.testing.assert_frame_equal(strong, table)
    for x, row in zip(features.T, table.itertuples(), strict=True):
        peer = Join_Counts(x, graph, permutations=0)
        np.testing.assert_allclose(
            [row.BB, row.WW, row.BW], [peer.bb, peer.ww, peer.bw], rtol=1e-10
        )
        np.testing.assert_allclose(row.BB + row.WW + row.BW, peer.J, rtol=1e-14)


def test_weights_that_are_not_binary_count_as_they_weigh():
    graph, weights = uneven_graph(40, 2)
    features = mixed_features(40, 1)
    table = join_counts(features, graph, permutations=1, min_active=1)
    for x, row in zip(features[:, 1:].T, table[1:].itertuples(), strict=True):
        np.testing.assert_allclose(row.BB, joins_by_hand(x, weights), rtol=1e-12)
        np.testing.assert_allclose(row.BW, unlike_joins_by_hand(x, weights), rtol=1e-12)
        np.testing.assert_allclose(row.WW, joins_by_hand(1.0 - (x != 0), weights), rtol=1e-12)
    for x, g in zip(features.T, getis_ord(features, graph, permutations=1)["G"], strict=True):
        np.testing.assert_allclose(g, getis_ord_by_hand(x, weights), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_no_digits_are_lost_with_the_unit(kind):
    function, name, _, _, _ = KINDS[kind]
    graph, _ = uneven_graph(60, 3)
    x = mixed_features(60, 3)[:, [2, 4]]
    plain, small, large = (function(x * f, graph, permutations=99) for f in (1, 1e-300, 1e300))
    for other in (small, large):
        np.testing.assert_allclose(other[name], plain[name], rtol=1e-12)
        np.testing.assert_allclose(other["z"], plain["z"], rtol=1e-9)
        assert other["p"].tolist() == pytest.approx(plain["p"].tolist(), rel=1e-9)


def test_geary_keeps_its_digits_whatever_the_mean():
    # multiples of 2^-20, so that a mean of 2^20 takes nothing from them
    graph, weights = uneven_graph(200, 5)
    x = np.random.default_rng(5).integers(-(2**20), 2**20, 200) / 2**20
    table = geary(np.column_stack([x, x + 2**20]), graph, permutations=99)
    np.testing.assert_allclose(table["C"], geary_by_hand(x, weights), rtol=1e-12)
    np.testing.assert_allclose(table["z"][1], table["z"][0], rtol=1e-9)


# ----------------------------------------------------------------------------- p-values


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(("kind", "side"), SIDES)
def test_p_is_that_of_a_plain_permutation_test(kind, side, grouped):
    function, name, mean, by_hand, _ = KINDS[kind]
    n, draws, seed = 60, 199, 11
    graph, weights = uneven_graph(n, 2)
    features = mixed_features(n, 4)
    groups = np.random.default_rng(1).integers(0, 4, n)
    centred = kind in ("moran", "geary")
    moves = shuffles(graph, draws, seed, groups if grouped else None, centred)
    labels = np.array(["DE", "FR", "IT", "ES"])[groups]
    how = {"permutations": draws, "max_permutations": draws, "seed": seed, "alternative": side}
    table = function(features, graph, within=labels if grouped else None, **how)
    by_permutations = table[table["permutations"] == draws]
    assert len(by_permutations) >= (7 if grouped else 4) - ("B" in kind)
    for row in by_permutations.itertuples():
        x = features[:, row.Index]
        drawn = np.array([by_hand(move(x), weights) for move in moves])
        for move in moves[:5]:
            # nothing leaves its group
            if grouped:
                for group in range(4):
                    stays = np.sort(move(x)[groups == group]), np.sort(x[groups == group])
                    np.testing.assert_array_equal(*stays)
            else:
                np.testing.assert_array_equal(np.sort(move(x)), np.sort(x))
        observed = by_hand(x, weights)
        np.testing.assert_allclose(getattr(row, name), observed, rtol=1e-12)
        np.testing.assert_allclose(row.p, p_by_hand(observed, drawn, side), rtol=1e-14)
        if grouped:
            np.testing.assert_allclose(getattr(row, mean), drawn.mean(), rtol=1e-6, atol=1e-8)
            z = (observed - drawn.mean()) / drawn.std(ddof=1)
            np.testing.assert_allclose(row.z, z, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_q_is_p_adjusted(kind):
    function = KINDS[kind][0]
    graph, _ = uneven_graph(60, 2)
    table = function(sparse_features(60, 12, 12, 3), graph, permutations=99)
    np.testing.assert_allclose(table["q"], false_discovery_control(table["p"]), rtol=1e-14)


def test_a_planted_patch_is_found_among_noise():
    places = scattered(300)
    graph = knn(places)
    features = sparse_features(300, 30, 20, 6)
    centre = np.argsort(places.geometry.x + places.geometry.y).to_numpy()[:20]
    features[:, 7] = 0
    features[centre, 7] = np.random.default_rng(0).uniform(1, 2, 20)
    for function in (geary, getis_ord, of_joins("BB"), of_joins("BW")):
        table = function(features, graph)
        assert table.index[table["q"] < 0.01].tolist() == [7]
    # what is strong stands alone: G is small where only weak places are neighbours
    assert getis_ord(features, graph, alternative="less")["p"][7] > 0.99
    assert geary(features, graph, alternative="greater")["p"][7] > 0.99


# -------------------------------------------------------------------------- the tables


def test_the_tables_say_how_they_were_made():
    graph, _ = uneven_graph(40, 0)
    features = pd.DataFrame(sparse_features(40, 2, 12, 0), graph.unique_ids, ["a", "b"])
    names = {geary: ("Geary's C", "C", "less"), getis_ord: ("Getis-Ord G", "G", "greater")}
    for function, (statistic, letter, alternative) in names.items():
        table = function(features, graph, permutations=19, seed=3)
        assert list(table.columns) == [letter, f"expected_{letter}", *COLUMNS[1:]]
        assert table.index.tolist() == ["a", "b"]
        assert table.attrs["statistic"] == statistic
        assert table.attrs["alternative"] == alternative
        assert table.attrs["null"] == "permutations of all places"
        assert (table.attrs["permutations"], table.attrs["seed"]) == (19, 3)
        assert table.attrs["n_tested"] == table["p"].notna().sum()
    table = join_counts(features, graph, permutations=19, within=np.arange(40) % 2)
    halves = [f"{c}_{half}" for half in ("BB", "BW") for c in [*COLUMNS[:4], "permutations"]]
    assert list(table.columns) == ["BB", "BW", "WW", *halves, "n_active", "reason"]
    assert table.attrs["statistic"] == "join counts"
    assert table.attrs["null"] == "permutations within regions"


def test_what_has_no_statistic_says_why():
    graph, _ = uneven_graph(40, 0)
    features = sparse_features(40, 9, 12, 0)
    features[:, 1] = 0
    features[:, 2] = 0.1
    features[np.flatnonzero(features[:, 3])[0], 3] = -1e-9
    features[2:4, 4] = np.nan
    features[1:, 5] = 0
    features[0, 5] = 2
    features[:, 6] = np.arange(1, 41)
    features[:, 7] = 0
    features[:12, 7] = [1e5, *[1e-6] * 11]
    features[:, 8] = np.arange(40) < 3
    g = getis_ord(features, graph)
    assert g["reason"].fillna("").tolist() == [
        "",
        "It fires on no place.",
        "It is constant: its value is the same at every place.",
        "It has negative values: G is defined for values of 0 or more.",
        "It is not finite: 2 of its values are NaN or infinite.",
        "It fires on one place: G compares products of two.",
        "",
        "It is as good as one place's: all others add up to less than a millionth of it.",
        "It fires on fewer than 10 places.",
    ]
    joins = join_counts(features, graph)
    assert joins["reason"].fillna("").tolist() == [
        "",
        "It fires on no place.",
        "It fires on every place.",
        "",
        "It is not finite: 2 of its values are NaN or infinite.",
        "It fires on fewer than 10 places.",
        "It fires on every place.",
        "",
        "It fires on fewer than 10 places.",
    ]
    untested = g["reason"].notna()
    assert g.loc[untested, ["z", "p", "q"]].isna().all(axis=None)
    assert g.loc[untested, "G"].isna().tolist() == [True] * 6 + [False]
    assert g.loc[~untested, ["G", "z", "p", "q"]].notna().all(axis=None)
    undefined = [1, 2, 4, 6]
    assert joins.loc[undefined, ["BB", "BW", "WW", "z_BB", "p_BW"]].isna().all(axis=None)
    assert joins.loc[[5, 8], ["BB", "BW", "WW"]].notna().all(axis=None)
    assert joins.loc[[5, 8], ["p_BB", "p_BW", "z_BB", "z_BW"]].isna().all(axis=None)
    assert joins["n_active"].tolist() == [12, 0, 40, 12, *joins["n_active"][4:5], 1, 40, 12, 3]
    assert geary(features, graph)["reason"].isna().tolist()[3]


def test_every_form_of_features_gives_the_same():
    graph, _ = uneven_graph(40, 0)
    values = sparse_features(40, 4, 12, 0)
    stored = sparse.csc_array(values)
    stored.data[3] = 0  # an explicit zero is no activity
    labelled = anndata.AnnData(values, obs=pd.DataFrame(index=graph.unique_ids))
    for function in (geary, getis_ord, join_counts):
        expected = function(values, graph, permutations=49)
        for features in (sparse.csr_array(values), labelled):
            again = function(features, graph, permutations=49)
            np.testing.assert_array_equal(
                again.select_dtypes("number"), expected.select_dtypes("number")
            )
        zeroed = function(stored.toarray(), graph, permutations=49)
        pd.testing.assert_frame_equal(function(stored, graph, permutations=49), zeroed)
        w = graph.to_W()
        assert isinstance(w, W)
        pd.testing.assert_frame_equal(function(values, w, permutations=49), expected)


@pytest.mark.parametrize("function", [moran, geary, getis_ord, join_counts])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"alternative": "lesser"}, "alternative is 'lesser'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "below 2"),
        ({"seed": 1.0}, "seed is 1.0"),
        ({"permutations": True}, "permutations is True"),
        ({"max_permutations": -1}, "max_permutations is -1"),
        ({"min_active": 0}, "min_active is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"within": np.zeros(40), "permutations": 0}, "permutations is 0"),
    ],
)
def test_it_says_which_option_is_wrong(function, how, said):
    graph, _ = uneven_graph(40, 0)
    if function is join_counts and "alternative" in how:
        return
    with pytest.raises(InputError, match=said):
        function(sparse_features(40, 1, 12, 0), graph, **how)
