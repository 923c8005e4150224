import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import chisquare
from spatial_helpers import scattered, sparse_features, uneven_graph

from geointerp.errors import InputError
from geointerp.spatial import (
    bivariate_moran,
    geary,
    getis_ord,
    join_counts,
    knn,
    moran,
    nulls,
)
from geointerp.spatial.nulls import Null

# ----------------------------------------------------------------------------- shuffles


def every_slot(n):
    return np.arange(n, dtype=np.int32)


def some_groups(n, count, rng):
    """Groups numbered without a gap, of unequal sizes."""
    return np.unique(rng.integers(0, count, n) ** 2, return_inverse=True)[1].astype(np.int64)


def null_of(n, seed, count):
    rng = np.random.default_rng(seed)
    site = rng.permutation(n).astype(np.int32)
    groups = some_groups(n, count, rng) if count > 1 else None
    return Null(site, seed, groups), groups


@given(n=st.integers(4, 40), seed=st.integers(0, 2**62), count=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_each_shuffle_is_a_permutation_that_keeps_to_the_groups(n, seed, count):
    null, groups = null_of(n, seed, count)
    orders = null.draw(3, 10, every_slot(n))
    assert orders.shape == (7, n)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(n), (7, 1)))
    if groups is not None:
        by_site = np.empty(n, int)
        by_site[null.site] = groups
        # the sites stand by group, and shuffled they still do
        np.testing.assert_array_equal(by_site[orders], np.tile(np.sort(groups), (7, 1)))


@given(n=st.integers(4, 40), seed=st.integers(0, 2**62), count=st.integers(1, 6), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_shuffle_is_the_same_however_little_of_it_is_drawn(n, seed, count, data):
    null, _ = null_of(n, seed, count)
    whole = null.draw(0, 12, every_slot(n))
    slots = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1))), np.int32)
    some = null.draw(0, 12, slots)
    np.testing.assert_array_equal(some[:, slots], whole[:, slots])
    # number k is number k, wherever the drawing begins
    first = data.draw(st.integers(0, 11))
    np.testing.assert_array_equal(null.draw(first, 12, every_slot(n)), whole[first:])


def test_no_more_is_drawn_than_is_read():
    null, _ = null_of(30, 0, 1)
    assert (null.draw(0, 50, np.array([0, 4], np.int32))[:, 5:] == 0).all()
    assert (null.draw(0, 50, np.array([0, 4], np.int32))[:, :5] != 0).sum() > 240


def test_seeds_and_numbers_differ():
    n, site = 30, every_slot(30)
    orders = np.concatenate([Null(site, seed).draw(0, 50, site) for seed in (0, 1, 2, 2**62)])
    assert len(np.unique(orders, axis=0)) == 200
    np.testing.assert_array_equal(Null(site, 7).draw(0, 9, site), Null(site, 7).draw(0, 9, site))
    assert n == orders.shape[1]


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_all_permutations_are_as_frequent(seed):
    n, draws = 5, 60_000
    orders = Null(every_slot(n), seed).draw(0, draws, every_slot(n))
    counts = np.unique(orders @ n ** np.arange(n), return_counts=True)[1]
    assert len(counts) == 120
    assert chisquare(counts).pvalue > 1e-4


def test_all_permutations_within_groups_are_as_frequent():
    groups = np.array([1, 0, 1, 0, 1, 2])
    orders = Null(every_slot(6), 3, groups).draw(0, 24_000, every_slot(6))
    counts = np.unique(orders @ 6 ** np.arange(6), return_counts=True)[1]
    assert len(counts) == 2 * 6
    assert chisquare(counts).pvalue > 1e-4


def test_every_site_comes_to_every_slot_and_next_to_every_other():
    n, draws = 20, 40_000
    orders = Null(every_slot(n), 5).draw(0, draws, every_slot(n))
    at = np.array([np.bincount(column, minlength=n) for column in orders.T])
    assert chisquare(at.ravel(), ddof=2 * n - 2).pvalue > 1e-4
    # and where it comes says nothing about the next shuffle
    pairs = np.bincount(orders[:-1, 0] * n + orders[1:, 0], minlength=n * n)
    assert chisquare(pairs).pvalue > 1e-4
    pairs = np.bincount(orders[:, 0] * n + orders[:, 1], minlength=n * n).reshape(n, n)
    assert (np.diag(pairs) == 0).all()
    assert chisquare(pairs[~np.eye(n, dtype=bool)]).pvalue > 1e-4


def test_chunks_follow_each_other(monkeypatch):
    null, _ = null_of(30, 0, 1)
    assert null.chunks(0, 999)[0] == (0, 64)
    assert null.chunks(0, 999, threads=100)[0] == (0, 100)
    for entries in (1, 100, 4_000_000):
        monkeypatch.setattr(nulls, "CHUNK_ENTRIES", entries)
        chunks = null.chunks(5, 200)
        assert [n for chunk in chunks for n in range(*chunk)] == list(range(5, 200))
        assert max(stop - at for at, stop in chunks) == max(1, min(64, entries // 30))


def test_values_take_the_first_slots_of_their_group():
    null = Null(np.array([2, 0, 1, 4, 3], np.int32), 0, np.array([0, 1, 1, 0, 1]))
    order, slots = null.slots(np.array([0, 2, 4]))
    # group 0 has the slots 0 and 1, group 1 the slots 2, 3 and 4
    assert order.tolist() == [0, 1, 2]
    assert slots.tolist() == [0, 2, 3]
    order, slots = null.slots(np.array([1, 2, 3]))
    assert order.tolist() == [2, 0, 1]
    assert slots.tolist() == [0, 2, 3]


# ------------------------------------------------------------------------ within regions


@pytest.fixture(scope="module")
def countries():
    """300 places, in 12 countries that lie side by side."""
    places = scattered(300)
    slices = (places.geometry.x.to_numpy() // 30).astype(int)
    return knn(places), np.array([f"country {s:+}" for s in slices]), places


QUICK = {"permutations": 99, "max_permutations": 999}


def test_a_countrys_name_is_not_a_map(countries):
    graph, country, _ = countries
    strength = {name: 1.5 + i for i, name in enumerate(np.unique(country))}
    names = np.array([strength[name] for name in country])
    features = np.column_stack([names, country == country[0], names * (names > 6)])
    # over the whole map the name looks like one
    assert (moran(features, graph, **QUICK)["p"] < 0.002).all()
    statistics = {moran: "I", geary: "C", getis_ord: "G"}
    for function, letter in statistics.items():
        for alternative in ("greater", "less", "two-sided"):
            table = function(features, graph, within=country, alternative=alternative, **QUICK)
            assert table["p"].tolist() == [1, 1, 1]
            assert table["z"].isna().all()
            np.testing.assert_allclose(table[f"expected_{letter}"], table[letter], rtol=1e-10)
    table = join_counts(features[:, 1:], graph, within=country, **QUICK)
    assert (table[["p_BB", "p_BW"]] == 1).all(axis=None)
    assert table[["z_BB", "z_BW"]].isna().all(axis=None)
    height = np.random.default_rng(0).normal(size=(300, 1))
    table = bivariate_moran(features, height, graph, within=country, **QUICK)
    assert table["p"].tolist() == [1, 1, 1]
    assert table["z"].isna().all()


def test_a_patch_inside_a_country_is_found(countries):
    graph, country, places = countries
    home = np.flatnonzero(country == pd.Series(country).mode()[0])
    by_latitude = home[np.argsort(places.geometry.y.to_numpy()[home])]
    features = sparse_features(300, 10, 40, 1)
    features[:, 4] = 0
    features[by_latitude[: len(home) // 2], 4] = 1
    for function in (moran, geary, getis_ord):
        table = function(features, graph, within=country, permutations=99)
        assert table.index[table["q"] < 0.02].tolist() == [4]
        assert table["permutations"][4] == 9_999
    table = join_counts(features, graph, within=country, permutations=99)
    assert table.index[table["q_BB"] < 0.02].tolist() == [4]
    assert table.index[table["q_BW"] < 0.02].tolist() == [4]


def test_missing_labels_are_a_group_of_their_own(countries):
    graph, country, _ = countries
    features = sparse_features(300, 5, 40, 1)
    named = pd.Series(country, graph.unique_ids)
    named[country == country[0]] = "nowhere"
    expected = moran(features, graph, within=named, **QUICK)
    for blank in (None, np.nan, pd.NA, " ", ""):
        labels = named.where(named != "nowhere", blank)
        assert (labels != named).any()
        again = moran(features, graph, within=labels, **QUICK)
        pd.testing.assert_frame_equal(again, expected)
    # a feature that is "has no label" is constant in every group
    alone = (named == "nowhere").to_numpy(float)[:, None]
    table = moran(alone, graph, within=named.where(named != "nowhere"), **QUICK)
    assert table["p"].tolist() == [1]
    assert table["z"].isna().all()


def test_only_which_places_share_a_label_matters(countries):
    graph, country, _ = countries
    features = sparse_features(300, 5, 40, 1)
    expected = moran(features, graph, within=country, **QUICK)
    codes = pd.factorize(country)[0]
    for labels in (
        list(country),
        codes,
        codes * -1.5,
        pd.Series(codes, graph.unique_ids),
        pd.Categorical(country),
        pd.Index(country),
        pd.array(country, dtype="string"),
    ):
        pd.testing.assert_frame_equal(moran(features, graph, within=labels, **QUICK), expected)
    other = moran(features, graph, within=np.roll(country, 1), **QUICK)
    assert (other["expected_I"] != expected["expected_I"]).all()
    assert expected.attrs["null"] == "permutations within regions"


def test_one_group_of_all_is_the_whole_map(countries):
    graph, _, _ = countries
    features = sparse_features(300, 5, 40, 1) > 0  # binary: p rests on permutations
    how = {"permutations": 199, "max_permutations": 199}
    whole = moran(features, graph, **how)
    within = moran(features, graph, within=["all"] * 300, **how)
    assert within["p"].tolist() == whole["p"].tolist()
    np.testing.assert_allclose(within["z"], whole["z"], atol=0.5)
    np.testing.assert_allclose(within["expected_I"], whole["expected_I"], atol=0.02)


def test_groups_of_one_place_each_leave_nothing_to_permute(countries):
    graph, _, _ = countries
    table = moran(sparse_features(300, 2, 40, 1), graph, within=np.arange(300), **QUICK)
    assert table["p"].tolist() == [1, 1]
    assert table["z"].isna().all()


FUNCTIONS = {
    "moran": moran,
    "geary": geary,
    "getis_ord": getis_ord,
    "join_counts": join_counts,
    "bivariate_moran": lambda features, graph, **how: bivariate_moran(
        features, np.arange(300.0)[:, None], graph, **how
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_column_of_the_places_names_the_regions(countries, name):
    function = FUNCTIONS[name]
    graph, country, _ = countries
    features = sparse_features(300, 3, 40, 1)
    obs = pd.DataFrame({"country": country}, index=graph.unique_ids.astype(str))
    labelled = anndata.AnnData(sparse.csr_matrix(features), obs=obs)
    expected = function(features, graph, within=country, **QUICK)
    found = function(labelled, graph, within="country", **QUICK)
    numbers = expected.select_dtypes("number")
    np.testing.assert_array_equal(found[numbers.columns][numbers.columns[2:]], numbers.iloc[:, 2:])
    if name == "moran":
        places = labelled.obs_names
        by_place = function(labelled, graph, within=pd.Series(country, places), **QUICK)
        pd.testing.assert_frame_equal(by_place, found)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_labels_that_do_not_fit_are_refused(countries, name):
    function = FUNCTIONS[name]
    graph, country, _ = countries
    features = sparse_features(300, 3, 40, 1)
    obs = pd.DataFrame({"country": country}, index=graph.unique_ids.astype(str))
    labelled = anndata.AnnData(features, obs=obs)
    for given_as, within, said in (
        (features, pd.Series(country, graph.unique_ids)[::-1], "labels .* another order"),
        (features, pd.Series(country), "row 0 of the labels is 0, of the graph"),
        (features, country[1:], "299 labels for the 300 places"),
        (features, "country", "no AnnData"),
        (labelled, "continents", "no column 'continents'; they have country"),
        (features, np.array([country, country]).T, "one dimension"),
        (features, 3, "labels are a int"),
    ):
        with pytest.raises(InputError, match=said):
            function(given_as, graph, within=within)


def test_a_graphs_own_order_of_places_is_kept():
    # sites are an arrangement of places; the labels are those of the places
    graph, _ = uneven_graph(60, 1)
    groups = np.random.default_rng(0).integers(0, 3, 60)
    features = np.column_stack([groups + 1.0, groups == 1])
    table = moran(features, graph, within=groups, **QUICK)
    assert table["p"].tolist() == [1, 1]
    assert (moran(features, graph, within=np.roll(groups, 1), **QUICK)["z"].notna()).all()
