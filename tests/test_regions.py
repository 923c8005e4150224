import anndata
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from shapely import Point, box
from sklearn.metrics import precision_recall_curve, roc_auc_score

import geointerp as gi
from geointerp.errors import InputError
from geointerp.spatial import match_regions, region_of
from geointerp.spatial.nulls import Null

COLUMNS = ["region", "precision", "recall", "f1", "f1_everywhere", "threshold", "auc"]
COLUMNS += ["n_active", "n_region"]
FIVE = ["a"] * 5 + ["b"] * 5


def places_at(lon, lat, crs="EPSG:4326", **others):
    return gpd.GeoDataFrame(others, geometry=gpd.points_from_xy(lon, lat), crs=crs)


def squares(*boxes, crs="EPSG:4326", **others):
    return gpd.GeoDataFrame(others, geometry=[box(*b) for b in boxes], crs=crs)


def by_brute_force(values, labels, min_places):
    """The best of all regions and thresholds: F1, then AUC, then the label."""
    fires = values[values > 0] if (values == 0).any() else values
    found = []
    for region in sorted(set(labels) - {None}):
        inside = np.array([label == region for label in labels])
        if not min_places <= inside.sum() < len(values):
            continue
        precision, recall, thresholds = precision_recall_curve(
            inside, values, drop_intermediate=False
        )
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
        auc = roc_auc_score(inside, values)
        for row in zip(f1, precision, recall, thresholds, strict=False):
            if row[3] in fires and row[0] > 0:
                found.append((round(row[0], 12), round(auc, 12), region, *row[1:]))
    if not found:
        return None
    top = max(row[0] for row in found)
    found = [row for row in found if row[0] == top]
    area = max(row[1] for row in found)
    found = [row for row in found if row[1] == area]
    first = min(row[2] for row in found)
    return max((row for row in found if row[2] == first), key=lambda row: row[5])


# ---------------------------------------------------------------------------------- labels


def test_a_column_is_the_labels_and_blanks_are_none():
    places = places_at([0, 1, 2, 3], [0] * 4, country=["DE", None, " ", "NA"])
    places.index = [7, 3, 5, 1]
    found = region_of(places, "country")
    assert found.index.tolist() == [7, 3, 5, 1]
    assert found.tolist() == ["DE", None, None, "NA"]
    assert found.name == "country"
    obs = pd.DataFrame(places.drop(columns="geometry")).set_index(places.index.astype(str))
    obs["country"] = pd.Categorical(obs["country"])
    feats = anndata.AnnData(np.zeros((4, 1)), obs=obs)
    assert region_of(feats, "country").tolist() == ["DE", None, None, "NA"]
    assert region_of(feats, "country").index.tolist() == ["7", "3", "5", "1"]


def test_admin1_codes_that_repeat_are_told_apart_by_their_country():
    places = places_at([0] * 5, [0] * 5, country=["US", "BR", "US", None, "US"])
    assert region_of(places.assign(admin1=["06", "06", None, "06", ""]), "admin1").tolist() == [
        "US.06",
        "BR.06",
        None,
        None,
        None,
    ]
    # a blank makes numbers of a column of codes
    numbers = places.assign(admin1=[6.0, 6, np.nan, 6, 7])
    assert region_of(numbers, "admin1").tolist() == ["US.6", "BR.6", None, None, "US.7"]
    alone = pd.DataFrame({"admin1": ["06", "07"]})
    assert region_of(alone, "admin1").tolist() == ["06", "07"]


def test_continents_are_those_of_the_countries():
    places = places_at([0] * 5, [0] * 5, country=["DE", "NA", "JP", None, "US"])
    expected = ["Europe", "Africa", "Asia", None, "North America"]
    assert region_of(places, "continent").tolist() == expected
    own = places.assign(continent="Gondwana")
    assert region_of(own, "continent").tolist() == ["Gondwana"] * 5
    world = gi.places.load("geonames", min_population=1_000_000)
    made = region_of(world.drop(columns="continent"), "continent")
    assert made.tolist() == world["continent"].tolist()


def test_labels_of_ones_own_come_back_on_the_places():
    places = places_at([0, 1, 2], [0] * 3)
    places.index = ["p", "q", "r"]
    mine = pd.Series(["x", np.nan, "y"], index=["p", "q", "r"], name="mine")
    for labels in (mine, np.array(["x", None, "y"]), ["x", pd.NA, "y"], pd.array(["x", None, "y"])):
        found = region_of(places, labels)
        assert found.tolist() == ["x", None, "y"]
        assert found.index.tolist() == ["p", "q", "r"]
    assert region_of(places, mine).name == "mine"
    assert region_of(places, [(1, 2), (3, 4), (1, 2)]).tolist() == [(1, 2), (3, 4), (1, 2)]


def test_polygons_the_first_that_covers_a_place_names_it():
    areas = squares((0, 0, 2, 2), (1, 0, 4, 2), (6, 0, 7, 1), area=["one", "two", None])
    places = places_at([1.5, 2, 3, 0, 5, 6.5, 4], [1, 1, 1, 0, 1, 0.5, 2])
    expected = ["one", "one", "two", "one", None, None, "two"]
    assert region_of(places, areas, column="area").tolist() == expected
    turned = areas.iloc[::-1]
    assert region_of(places, turned, column="area").tolist()[:2] == ["two", "two"]
    assert region_of(places.geometry, areas, column="area").tolist() == expected
    lon_lat = np.column_stack(gi.places.lon_lat(places))
    feats = anndata.AnnData(np.zeros((7, 1)), obsm={"spatial": lon_lat})
    assert region_of(feats, areas, column="area").tolist() == expected


def test_polygons_and_places_of_different_crs():
    areas = squares((9, 49, 11, 51), (-180, 60, 180, 90), area=["here", "north"])
    places = places_at([10, 12, 30, 0], [50, 50, 70, 90])
    for there in ("EPSG:4326", "EPSG:3857", "EPSG:3035"):
        found = region_of(places.iloc[:3].to_crs(there), areas, column="area")
        assert found.tolist() == ["here", None, "north"], there
    # the pole has no place on Mercator's map
    flat = squares((9, 49, 11, 51), (-180, 60, 180, 80), area=["here", "north"]).to_crs(3857)
    assert region_of(places, flat, column="area").tolist() == ["here", None, "north", None]


@pytest.mark.parametrize(
    ("by", "column", "said"),
    [
        ("county", None, "no column 'county'; they have name, country"),
        ("geometry", None, "no column 'geometry'"),
        (None, None, "no column None"),
        ("continent", None, "place 1 has the country 'Germany'"),
        ("country", "country", "only polygons"),
        (["x", "y"], None, "2 labels for the 3 places"),
        (pd.Series(["x", "y", "z"], index=[0, 2, 1]), None, "row 1 of the labels is 2, .* order"),
        (pd.Series(["x", "y", "z"], index=[0, 1, 9]), None, "row 2 .* is 9, .* same places"),
        (np.zeros((3, 2)), None, "one dimension"),
        ({"x": 1}, None, "by is a dict"),
        (squares((0, 0, 1, 1), area=["x"]), None, "columns area: say which"),
        (squares((0, 0, 1, 1), area=["x"]), "name", "none is called 'name'"),
        (squares((0, 0, 1, 1), area=["x"], crs=None), "area", "polygons have no CRS"),
        (places_at([0], [0], area=["x"]), "area", "row 0 of the polygons is a Point"),
        (
            gpd.GeoDataFrame({"area": ["x"]}, geometry=[None], crs=4326),
            "area",
            "row 0 of the polygons has no geometry",
        ),
        (gpd.GeoDataFrame({"area": ["x"]}), "area", "polygons have no geometry"),
    ],
)
def test_region_of_says_what_is_wrong(by, column, said):
    places = places_at([0, 1, 2], [0] * 3, name=list("abc"), country=["DE", "Germany", "FR"])
    with pytest.raises(InputError, match=said):
        region_of(places, by, column=column)


def test_region_of_says_what_places_lack():
    areas = squares((0, 0, 1, 1), area=["x"])
    with pytest.raises(InputError, match="places have no CRS"):
        region_of(places_at([0], [0], crs=None), areas, column="area")
    with pytest.raises(InputError, match="DataFrame; a GeoDataFrame"):
        region_of(pd.DataFrame({"lon": [0]}), areas, column="area")
    with pytest.raises(InputError, match="list; a GeoDataFrame"):
        region_of([1, 2], "country")
    twice = pd.DataFrame([["DE", "FR"]], columns=["country", "country"])
    with pytest.raises(InputError, match="more than one"):
        region_of(twice, "country")
    with pytest.raises(InputError, match="none at all"):
        region_of(places_at([0], [0]), "country")


# ---------------------------------------------------------------------------------- matches


def test_known_answers():
    labels = ["a"] * 5 + ["b"] * 10
    features = np.zeros((15, 3))
    features[:5, 0] = 1  # all of a, nothing else
    features[5:10, 1] = [5, 4, 3, 2, 1]  # half of b, and below them three of a
    features[:3, 1] = 0.5
    features[:4, 2] = [9, 8, 7, 1]  # three of a, then one of b, then one more of a
    features[7, 2] = 6
    table = match_regions(features, labels)
    assert list(table.columns) == [*COLUMNS, "reason"]
    assert table["region"].tolist() == ["a", "b", "a"]
    np.testing.assert_allclose(table["precision"], [1, 1, 4 / 5])
    np.testing.assert_allclose(table["recall"], [1, 1 / 2, 4 / 5])
    np.testing.assert_allclose(table["f1"], [1, 2 / 3, 4 / 5])
    assert table["threshold"].tolist() == [1, 1, 1]
    # 1: five of b beat all of a, five tie with two of a
    np.testing.assert_allclose(table["auc"][[0, 1]], [1, (25 + 5 * 2 / 2) / 50])
    assert table["n_active"].tolist() == [5, 8, 5]
    assert table["n_region"].tolist() == [5, 10, 5]
    assert table["reason"].isna().all()
    assert table.attrs == {
        "statistic": "best F1",
        "min_places": 5,
        "permutations": 0,
        "seed": 0,
        "n_places": 15,
        "n_regions": 2,
        "n_matched": 3,
    }


def test_equal_values_are_never_parted():
    # with one value the cut is all that fire: 5 of a and 5 of b, not the five that come first
    features = np.append(np.full(10, 0.3), np.zeros(10))[:, None]
    row = match_regions(features, [*FIVE, *["c"] * 10]).loc[0]
    assert (row["region"], row["precision"], row["recall"]) == ("a", 0.5, 1)


def test_ties_go_to_the_larger_auc_and_then_to_the_label():
    labels = [*["b"] * 5, *["a"] * 5, *[None] * 10]
    features = np.zeros((20, 2))
    features[[0, 5]] = 2  # one of a and one of b, which are alike in the first feature
    features[[1, *range(10, 20)], 1] = 1  # another of b, among too many others for a lower cut
    table = match_regions(features, labels)
    assert table["region"].tolist() == ["a", "b"]
    np.testing.assert_allclose(table["f1"], 2 / 7)
    assert table["threshold"].tolist() == [2, 2]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), dense=st.booleans(), seed=st.integers(0, 10_000))
def test_agrees_with_sklearn(data, dense, seed):
    rng = np.random.default_rng(seed)
    n = data.draw(st.integers(6, 60))
    levels = data.draw(st.sampled_from([2, 4, 1000]))
    labels = rng.choice(np.array(["a", "b", "c", "dd", None], dtype=object), n)
    values = rng.integers(-levels, levels + 1, n) / 4
    if dense:
        values[values == 0] = 0.1
    else:
        values[rng.uniform(size=n) < 0.6] = 0
    row = match_regions(values[:, None], labels, min_places=2).loc[0]
    expected = by_brute_force(values, labels, 2)
    if expected is None or np.ptp(values) == 0:
        assert pd.isna(row["region"])
        assert pd.notna(row["reason"])
        return
    f1, auc, region, precision, recall, threshold = expected
    assert row["region"] == region
    np.testing.assert_allclose(
        row[["f1", "auc", "precision", "recall", "threshold"]].astype(float),
        [f1, auc, precision, recall, threshold],
        rtol=1e-9,
    )
    assert row["n_region"] == sum(label == region for label in labels)
    assert row["n_active"] == (n if (values != 0).all() else (values > 0).sum())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_neither_order_nor_scale_nor_names_matter(seed):
    rng = np.random.default_rng(seed)
    n = 50
    features = np.where(rng.uniform(size=(n, 4)) < 0.3, rng.integers(1, 5, (n, 4)), 0.0)
    labels = rng.choice(["a", "b", "c"], n)
    table = match_regions(features, labels)
    order = rng.permutation(n)
    pd.testing.assert_frame_equal(match_regions(features[order], labels[order]), table)
    scaled = match_regions(features * 2.0**-40, labels)
    np.testing.assert_array_equal(scaled["threshold"], table["threshold"] * 2.0**-40)
    pd.testing.assert_frame_equal(scaled.drop(columns="threshold"), table.drop(columns="threshold"))
    numbers = match_regions(features, np.where(labels == "a", 1, np.where(labels == "b", 2, 3)))
    assert numbers["region"].map({1: "a", 2: "b", 3: "c"}).tolist() == table["region"].tolist()
    assert numbers["region"].dtype == object


def test_zero_and_less_is_no_firing_where_a_feature_has_zeros():
    # b is told best by "not above zero"; but that is where the feature does not fire
    values = np.array([3.0, 2, 1, 1, 0, 0, 0, 0, -1, -1])
    row = match_regions(values[:, None], FIVE).loc[0]
    assert (row["region"], row["threshold"], row["n_active"]) == ("a", 1, 4)
    assert match_regions(-values[:, None], FIVE).loc[0, "n_active"] == 2


def test_a_dense_feature_is_cut_below_zero_too():
    values = -np.arange(1.0, 11)
    row = match_regions(values[:, None], FIVE).loc[0]
    assert (row["region"], row["f1"], row["threshold"], row["auc"]) == ("a", 1, -5, 1)


def test_places_of_no_region_count_against_all():
    values = np.zeros(20)
    values[:10] = 1
    labels = ["a"] * 5 + [None] * 15
    row = match_regions(values[:, None], labels).loc[0]
    assert (row["precision"], row["recall"]) == (0.5, 1)
    np.testing.assert_allclose(row["auc"], (5 * 10 + 5 * 5 / 2) / (5 * 15))
    # and so do those of regions that are too small
    small = match_regions(values[:, None], ["a"] * 5 + [f"r{i}" for i in range(15)]).loc[0]
    assert small["precision"] == 0.5
    assert small["auc"] == row["auc"]


def test_what_has_no_region_says_why():
    features = pd.DataFrame(np.zeros((15, 6)), columns=list("abcdef"))
    features["b"] = 0.1
    features.iloc[3, 2] = np.nan
    features.iloc[4:6, 3] = np.inf
    features.iloc[12:, 4] = 1.0
    features.iloc[:, 5] = [-1.0, *[0] * 14]
    labels = ["a"] * 5 + ["b"] * 5 + ["c"] * 3 + [None] * 2
    table = match_regions(features, labels, permutations=9)
    assert table["reason"].tolist() == [
        "It fires on no place.",
        "It is constant: its value is the same at every place.",
        "It is not finite: 1 of its values are NaN or infinite.",
        "It is not finite: 2 of its values are NaN or infinite.",
        "It fires in no region of at least 5 places.",
        "It fires on no place.",
    ]
    undefined = ["region", "precision", "recall", "f1", "threshold", "auc", "p", "n_region"]
    assert table[undefined].isna().all(axis=None)
    assert table["n_active"].tolist() == [0, 15, 0, 2, 3, 0]
    assert table.attrs["n_matched"] == 0
    features["e"] = np.arange(15) % 2
    for none in ([None] * 15, ["everywhere"] * 15, list("abcdefghijklmno")):
        lost = match_regions(features, none)
        assert lost.loc["e", "reason"].startswith("There is no region of at least 5 places")
        assert lost.attrs["n_regions"] == 0
    assert match_regions(features, labels, min_places=3).loc["e", "region"] is not None
    assert match_regions(features[[]], labels).shape == (0, 10)
    empty = match_regions(np.zeros((0, 2)), [], permutations=9)
    assert empty["reason"].tolist() == ["It fires on no place."] * 2


@pytest.mark.parametrize(
    "names",
    [
        ["=1+1", '<script>"x"</script>'],
        ["nan", "None"],
        [True, False],
        [1, "1"],
        [("a", 1), ("a", 2)],
        [pd.Timestamp("2020-01-01"), pd.Timestamp("2021-01-01")],
        ["İstanbul\u0000", "a,b\nc"],
        [-1, 0],
    ],
)
def test_hostile_labels_are_only_names(names):
    labels = np.empty(12, dtype=object)
    labels[:5], labels[5:10] = [names[0]] * 5, [names[1]] * 5
    if isinstance(names[0], tuple):
        labels = [names[0]] * 5 + [names[1]] * 5 + [None] * 2
    features = np.zeros((12, 2))
    features[:5, 0] = features[5:10, 1] = 1
    found = match_regions(features, labels)["region"].tolist()
    assert found == names
    assert [type(name) for name in found] == [type(name) for name in names]


def test_every_form_of_features_and_labels_gives_the_same():
    rng = np.random.default_rng(3)
    values = np.where(rng.uniform(size=(60, 5)) < 0.3, rng.exponential(size=(60, 5)), 0)
    values = values.astype("f4")
    values[:, 4] += 1
    ids = rng.permutation(60) + 100
    labels = pd.Series(rng.choice(["x", "y", "z"], 60), index=ids)
    expected = match_regions(values, labels.to_numpy())
    names = [f"latent {j}" for j in range(5)]
    frame = pd.DataFrame(values, index=ids, columns=names)
    feats = anndata.AnnData(
        sparse.csr_matrix(values),
        obs=pd.DataFrame({"r": labels.tolist()}, index=ids.astype(str)),
        var=pd.DataFrame(index=names),
    )
    stored = sparse.csc_array(values)
    stored.data[0] = 0  # an explicit zero is no activity
    pd.testing.assert_frame_equal(
        match_regions(stored, labels), match_regions(stored.toarray(), labels)
    )
    for features in (frame, feats, frame.astype(pd.SparseDtype("f4", 0)), sparse.csr_array(values)):
        for regions in (
            labels,
            labels.tolist(),
            labels.astype("category"),
            labels.astype("string"),
        ):
            table = match_regions(features, regions)
            if not sparse.issparse(features):
                assert table.index.tolist() == names
            pd.testing.assert_frame_equal(table.reset_index(drop=True), expected)
    pd.testing.assert_frame_equal(
        match_regions(feats, region_of(feats, "r")), expected.set_axis(names)
    )
    assert (frame.to_numpy() == values).all()


def test_blocks_do_not_change_the_result(monkeypatch):
    from geointerp.spatial import table as tables

    rng = np.random.default_rng(5)
    values = np.where(rng.uniform(size=(80, 30)) < 0.2, rng.exponential(size=(80, 30)), 0)
    values[:, 7] = 0
    labels = rng.choice(list("abcd"), 80)
    expected = match_regions(values, labels, permutations=19)
    monkeypatch.setattr(tables, "BLOCK_ENTRIES", 100)
    for features in (values, sparse.csr_array(values)):
        pd.testing.assert_frame_equal(match_regions(features, labels, permutations=19), expected)


def test_p_is_that_of_a_plain_permutation_test():
    rng = np.random.default_rng(8)
    n, draws = 40, 60
    labels = rng.choice(np.array(["a", "b", "c", None], dtype=object), n)
    features = np.where(rng.uniform(size=(n, 6)) < 0.4, rng.integers(1, 4, (n, 6)), 0.0)
    features[:, 3] = rng.normal(size=n)
    features[:, 4] = labels == "b"
    features[2:, 5] = -1  # what is below zero fires in no permutation either
    features[:2, 5] = [0, 3]
    table = match_regions(features, labels, permutations=draws, seed=4)
    every = np.arange(n, dtype=np.int32)
    moves = Null(every, seed=4).draw(0, draws, every)
    shuffled = [match_regions(features, labels[move])["f1"].fillna(0) for move in moves]
    expected = (1 + sum((f1 >= table["f1"]).astype(int) for f1 in shuffled)) / (1 + draws)
    np.testing.assert_allclose(table["p"], expected, rtol=1e-14)
    assert table["p"][4] == 1 / 61
    assert table["p"][:4].min() > 0.02
    assert 0.1 < table["p"][5] < 1
    again = match_regions(features, labels, permutations=draws, seed=4)
    pd.testing.assert_frame_equal(again, table)
    other = match_regions(features, labels, permutations=draws, seed=5)
    assert (other["p"] != table["p"]).any()


def test_the_country_of_a_feature_that_fires_in_it():
    places = gi.places.load("geonames", limit=3000)
    country = region_of(places, "country")
    rng = np.random.default_rng(0)
    values = sparse.random(3000, 40, density=0.01, rng=rng).toarray()
    values[:, 7] = np.where(country == "JP", rng.uniform(1, 2, 3000), values[:, 7])
    table = match_regions(values, country)
    assert table.loc[7, "region"] == "JP"
    assert table.loc[7, "f1"] == 1
    assert table["f1"].drop(7).max() < 0.5


@pytest.mark.parametrize(
    ("features", "labels", "options", "said"),
    [
        (np.ones((10, 1)), FIVE[:9], {}, "9 labels for the 10 places of the features"),
        (np.ones((10, 1)), "country", {}, "labels are a str"),
        (np.ones((10, 1)), np.zeros((10, 2)), {}, "one dimension"),
        (np.ones((10, 1)), pd.DataFrame({"a": FIVE}), {}, "labels are a DataFrame"),
        (np.ones((10, 1)), set(FIVE), {}, "labels are a set"),
        (np.ones((10, 1)), [["a"], *FIVE[1:]], {}, r"label of row 0 is \['a'\]"),
        (
            pd.DataFrame(np.ones((10, 1))),
            pd.Series(FIVE, index=range(9, -1, -1)),
            {},
            "row 0 of the labels is 9, of the features 0; .* another order",
        ),
        (
            anndata.AnnData(np.ones((10, 1))),
            pd.Series(FIVE, index=range(1, 11)),
            {},
            "row 0 of the labels is 1, of the features '0'; both must",
        ),
        (np.ones(10), FIVE, {}, "1 dimension"),
        (np.full((10, 1), "a"), FIVE, {}, "real numbers"),
        (np.ones((10, 1)), FIVE, {"min_places": 0}, "min_places is 0"),
        (np.ones((10, 1)), FIVE, {"permutations": -1}, "permutations is -1"),
        (np.ones((10, 1)), FIVE, {"permutations": True}, "permutations is True"),
        (np.ones((10, 1)), FIVE, {"seed": None}, "seed is None"),
    ],
)
def test_match_regions_says_what_is_wrong(features, labels, options, said):
    with pytest.raises(InputError, match=said):
        match_regions(features, labels, **options)


def test_a_point_is_no_place_where_it_is_empty():
    areas = squares((0, 0, 1, 1), area=["x"])
    with pytest.raises(InputError, match="place 1 has no geometry"):
        region_of(gpd.GeoSeries([Point(0, 0), None], crs=4326), areas, column="area")
