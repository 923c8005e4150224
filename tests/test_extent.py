import anndata
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libpysal.graph import Graph
from scipy import sparse
from scipy.sparse.csgraph import connected_components

import geointerp as gi
from geointerp.errors import InputError
from geointerp.spatial import extent, knn

CENTRE = ["lon", "lat", "concentration", "spread_km"]
DEGREE = np.pi * gi.sphere.EARTH_RADIUS_KM / 180


def places_at(lon, lat, index=None, crs="EPSG:4326"):
    return gpd.GeoDataFrame(geometry=gpd.points_from_xy(lon, lat), index=index, crs=crs)


def scattered(n, seed=0):
    rng = np.random.default_rng(seed)
    lon, lat = gi.sphere.lon_lat(rng.standard_normal((n, 3)))
    return places_at(lon, lat, index=rng.permutation(n) + 1000)


def sparse_features(n, width, density, seed):
    rng = np.random.default_rng(seed)
    return np.where(rng.uniform(size=(n, width)) < density, rng.exponential(size=(n, width)), 0)


def path(n):
    """Places in a row, each the neighbour of the one after it, in one direction only."""
    return Graph.from_arrays(
        np.append(np.arange(n - 1), n - 1), np.append(np.arange(1, n), n - 1), [1.0] * (n - 1) + [0]
    )


# ---------------------------------------------------------------------------------- centre


def test_known_answers():
    places = places_at([10, 30, 20, 0, 0], [0, 0, 0, 60, -60])
    features = np.zeros((5, 4))
    features[[0, 1], 0] = 2  # 10° on either side of 20° E
    features[2, 1] = 0.1  # one place
    features[[3, 4], 2] = 1  # 60° on either side of the equator
    features[[0, 1], 3] = [3, 1]
    table = extent(features, places)
    assert list(table.columns) == [*CENTRE, "n_active", "reason"]
    np.testing.assert_allclose(table["lon"][:3], [20, 20, 0], atol=1e-9)
    np.testing.assert_allclose(table["lat"], 0, atol=1e-9)
    np.testing.assert_allclose(table["concentration"][:3], [np.cos(np.pi / 18), 1, 0.5], rtol=1e-14)
    np.testing.assert_allclose(
        table["spread_km"][:3], [10 * DEGREE, 0, 60 * DEGREE], rtol=1e-12, atol=1e-6
    )
    assert table["concentration"].max() <= 1
    assert table["n_active"].tolist() == [2, 1, 2, 2]
    # weights of 3 and 1 at 10° and 30° E: tan of the angle from 10° E is sin 20° / (3 + cos 20°)
    angle = np.degrees(np.arctan2(np.sin(np.pi / 9), 3 + np.cos(np.pi / 9)))
    np.testing.assert_allclose(table["lon"][3], 10 + angle)
    np.testing.assert_allclose(
        table["spread_km"][3], DEGREE * np.sqrt((3 * angle**2 + (20 - angle) ** 2) / 4)
    )
    assert table["reason"].isna().all()


def test_the_date_line_is_no_edge():
    places = places_at([179, -179, 178, -178], [10, 10, -10, -10])
    row = extent(np.ones((4, 1)), places).loc[0]
    assert abs(row["lon"]) > 179.999
    assert abs(row["lat"]) < 0.1
    assert row["spread_km"] < 11 * DEGREE


@pytest.mark.parametrize("pole", [90, -90])
def test_the_poles_are_places_like_others(pole):
    around = places_at([0, 90, 180, -90], [pole * 8 / 9] * 4)
    row = extent(np.ones((4, 1)), around).loc[0]
    np.testing.assert_allclose(row["lat"], pole)
    np.testing.assert_allclose(row["spread_km"], 10 * DEGREE)
    np.testing.assert_allclose(row["concentration"], np.cos(np.pi / 18))
    at = extent(np.ones((3, 1)), places_at([0, 120, -77], [pole] * 3)).loc[0]
    np.testing.assert_allclose([at["lat"], at["concentration"]], [pole, 1])
    np.testing.assert_allclose(at["spread_km"], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("lon", "lat"),
    [
        ([0, 180], [0, 0]),
        ([33.3, -146.7], [51.7, -51.7]),
        ([5, 80], [90, -90]),
        ([0, 120, -120], [0, 0, 0]),
    ],
)
def test_antipodes_have_no_centre(lon, lat):
    table = extent(np.ones((len(lon), 1)), places_at(lon, lat), path(len(lon)))
    row = table.loc[0]
    assert table[["lon", "lat", "spread_km"]].isna().all(axis=None)
    np.testing.assert_allclose(row["concentration"], 0, atol=1e-12)
    assert row["reason"].startswith("It has no centre")
    assert row["largest_patch"] == 1
    almost = extent(np.append(1.001, np.ones(len(lon) - 1))[:, None], places_at(lon, lat)).loc[0]
    np.testing.assert_allclose(almost["lat"], lat[0], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 40), seed=st.integers(0, 10_000), spot=st.floats(1e-4, 3))
def test_the_centre_is_that_of_the_books(n, seed, spot):
    rng = np.random.default_rng(seed)
    lon, lat = gi.sphere.lon_lat(rng.normal(size=3) + spot * rng.normal(size=(n, 3)))
    values = np.where(rng.uniform(size=n) < 0.7, rng.exponential(size=n) + 0.1, 0)
    values[0] = 1
    row = extent(values[:, None], places_at(lon, lat)).loc[0]
    mean = (values[:, None] * gi.sphere.unit_vectors(lon=lon, lat=lat)).sum(axis=0) / values.sum()
    to_lon, to_lat = gi.sphere.lon_lat(mean)
    far = gi.sphere.distance_km(lon=lon, lat=lat, to_lon=to_lon, to_lat=to_lat)
    expected = [to_lon, to_lat, np.linalg.norm(mean), np.sqrt(values @ far**2 / values.sum())]
    np.testing.assert_allclose(row[CENTRE].astype(float), expected, rtol=1e-7, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), power=st.integers(-900, 900))
def test_neither_order_nor_scale_nor_longitude_matter(seed, power):
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(-179, 179, 30), rng.uniform(-80, 80, 30)
    features = sparse_features(30, 3, 0.4, seed)
    graph = knn(places_at(lon, lat), k=3)
    table = extent(features, places_at(lon, lat), graph)
    scaled = extent(features * 2.0**power, places_at(lon, lat), graph)
    pd.testing.assert_frame_equal(scaled, table)
    order = rng.permutation(30)
    moved = places_at(lon[order], lat[order])
    pd.testing.assert_frame_equal(extent(features[order], moved, knn(moved, k=3)), table)
    turned = extent(features, places_at((lon + 70 + 180) % 360 - 180, lat), graph)
    np.testing.assert_allclose((turned["lon"] - table["lon"] - 70) % 360 % 359.9999, 0, atol=1e-3)
    same = table.columns.drop("lon")
    pd.testing.assert_frame_equal(turned[same], table[same])


def test_places_in_any_crs_and_in_an_anndata():
    degrees = places_at([10, 11, 12, 13.5], [50, 51, 49, 50])
    values = np.array([[1.0, 0], [2, 0], [0, 3], [1, 4]])
    expected = extent(values, degrees)
    for crs in ("EPSG:3857", "EPSG:3035"):
        table = extent(values, degrees.to_crs(crs))
        np.testing.assert_allclose(table[CENTRE], expected[CENTRE], rtol=1e-6)
    pd.testing.assert_frame_equal(extent(values, degrees.geometry), expected)
    feats = anndata.AnnData(
        sparse.csr_matrix(values), obsm={"spatial": np.column_stack(gi.places.lon_lat(degrees))}
    )
    table = extent(feats, feats, knn(feats, k=1))
    np.testing.assert_array_equal(table[CENTRE], expected[CENTRE])
    assert table.index.tolist() == ["0", "1"]
    # the features' labels are text, those of the places numbers
    pd.testing.assert_frame_equal(extent(feats, degrees, knn(degrees, k=1)), table)


def test_attrs_hold_what_all_places_give():
    places = gi.places.load("geonames", limit=500)
    table = extent(np.eye(500)[:, :2], places, min_patch=4)
    everywhere = extent(np.ones((500, 1)) * 0.3, places).loc[0]
    assert {k: table.attrs[k] for k in CENTRE} == pytest.approx(everywhere[CENTRE].to_dict())
    assert table.attrs["statistic"] == "extent"
    assert table.attrs["n_places"] == 500
    assert table.attrs["min_patch"] == 4


# ---------------------------------------------------------------------------------- patches


def test_patches_of_a_row_of_places():
    places = places_at(np.arange(12), np.zeros(12))
    features = np.zeros((12, 4))
    features[[0, 1, 2, 3, 5, 6, 7, 9, 10], 0] = 1  # 4, 3 and 2 places
    features[::2, 1] = 1
    features[:, 2] = 1
    table = extent(features, places, path(12))
    columns = [*CENTRE, "n_active", "n_patches", "largest_patch", "in_patches", "reason"]
    assert list(table.columns) == columns
    assert table["n_patches"].tolist() == [2, 0, 1, 0]
    np.testing.assert_allclose(table["largest_patch"], [4 / 9, 1 / 6, 1, np.nan])
    np.testing.assert_allclose(table["in_patches"], [7 / 9, 0, 1, np.nan])
    assert extent(features, places, path(12), min_patch=2)["n_patches"].tolist() == [3, 0, 1, 0]
    assert extent(features, places, path(12), min_patch=1)["n_patches"].tolist() == [3, 6, 1, 0]
    # a W says the same, and neither negative weights nor those that cancel part neighbours
    pd.testing.assert_frame_equal(extent(features, places, path(12).to_W()), table)
    weights = np.diag(np.ones(11), 1) - np.diag(np.ones(11), -1)
    both = Graph.from_sparse(sparse.csr_array(weights), ids=np.arange(12))
    pd.testing.assert_frame_equal(extent(features, places, both), table)


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(4, 60),
    degree=st.floats(0.2, 4),
    density=st.floats(0.05, 1),
    least=st.integers(1, 5),
    seed=st.integers(0, 10_000),
)
def test_patches_agree_with_scipy(n, degree, density, least, seed):
    rng = np.random.default_rng(seed)
    weights = np.where(rng.uniform(size=(n, n)) < degree / n, rng.normal(size=(n, n)), 0)
    np.fill_diagonal(weights, 0)
    weights[0, 1] = 1
    places = scattered(n, seed)
    graph = Graph.from_sparse(sparse.csr_array(weights), ids=places.index.to_numpy())
    features = sparse_features(n, 6, density, seed + 1) * rng.choice([1, 1, 1, -1], size=(n, 6))
    table = extent(features, places, graph, min_patch=least)
    for values, row in zip(features.T, table.itertuples(), strict=True):
        fires = values > 0
        assert row.n_active == fires.sum()
        if not fires.any():
            assert row.n_patches == 0
            continue
        _, patch = connected_components(weights[fires][:, fires] != 0, directed=False)
        sizes = np.bincount(patch)
        assert row.n_patches == (sizes >= least).sum()
        np.testing.assert_allclose(row.largest_patch, sizes.max() / fires.sum())
        np.testing.assert_allclose(row.in_patches, sizes[sizes >= least].sum() / fires.sum())


def test_two_far_corners_are_two_patches():
    places = gi.places.load("geonames", limit=2000)
    values = places["country"].isin(["JP", "BR"]).to_numpy(float)[:, None]
    row = extent(values, places, knn(places, k=6)).loc[0]
    assert row["in_patches"] > 0.95
    assert row["n_patches"] <= 4
    one = extent((places["country"] == "JP").to_numpy(float)[:, None], places).loc[0]
    assert one["spread_km"] < 1000 < 5000 < row["spread_km"]
    assert 125 < one["lon"] < 145
    assert one["concentration"] > 0.99 > 0.7 > row["concentration"]


# ---------------------------------------------------------------------------------- input


def test_what_has_no_centre_says_why():
    places = scattered(10)
    features = pd.DataFrame(np.zeros((10, 4)), columns=list("abcd"), index=places.index)
    features.iloc[3, 1] = np.nan
    features.iloc[4:6, 2] = [np.inf, -np.inf]
    features["d"] = -1.0
    table = extent(features, places, knn(places, k=2))
    assert table["reason"].tolist() == [
        "It fires on no place.",
        "It is not finite: 1 of its values are NaN or infinite.",
        "It is not finite: 2 of its values are NaN or infinite.",
        "It fires on no place.",
    ]
    assert table[[*CENTRE, "largest_patch", "in_patches"]].isna().all(axis=None)
    assert table["n_patches"].fillna(-1).tolist() == [0, -1, -1, 0]
    assert table["n_active"].tolist() == [0, 0, 1, 0]
    assert extent(features[[]], places).shape == (0, 6)


def test_every_form_of_features_gives_the_same(monkeypatch):
    from geointerp.spatial import table as tables

    places = scattered(60)
    values = sparse_features(60, 7, 0.2, 4).astype("f4")
    values[:, 3] -= 0.5
    values[:, 5] = 0
    graph = knn(places, k=3)
    expected = extent(values, places, graph)
    frame = pd.DataFrame(values, index=places.index)
    for features in (sparse.csr_array(values), sparse.csc_matrix(values), frame):
        pd.testing.assert_frame_equal(extent(features, places, graph), expected)
    pd.testing.assert_frame_equal(
        extent(values, places), expected.drop(columns=["n_patches", "largest_patch", "in_patches"])
    )
    monkeypatch.setattr(tables, "BLOCK_ENTRIES", 50)
    for features in (sparse.csr_array(values), values):
        pd.testing.assert_frame_equal(extent(features, places, graph), expected)


FIVE = places_at(range(5), range(5))


@pytest.mark.parametrize(
    ("features", "places", "graph", "said"),
    [
        (np.ones((4, 1)), FIVE, None, "4 rows, the places 5 places"),
        (np.ones((5, 1)), FIVE, path(6), "5 rows, the graph 6 places"),
        (
            pd.DataFrame(np.ones((5, 1)), index=range(4, -1, -1)),
            FIVE,
            None,
            "row 0 of the features is 4, of the places 0; .* another order",
        ),
        (
            np.ones((5, 1)),
            FIVE.set_axis(range(1, 6)),
            path(5),
            "row 0 of the features is 1, of the graph 0; both must",
        ),
        (np.ones((5, 1)), FIVE.set_crs(None, allow_override=True), None, "no CRS"),
        (np.ones((5, 1)), FIVE.to_crs(3857).buffer(1), None, "is a Polygon"),
        (np.ones((5, 1)), places_at(range(5), [0, 1, 2, 95, 0]), None, "place 3 .* latitude 95"),
        (np.ones((5, 1)), pd.DataFrame({"lon": range(5)}), None, "DataFrame; a GeoDataFrame"),
        (anndata.AnnData(np.ones((5, 1))), anndata.AnnData(np.ones((5, 1))), None, "obsm"),
        (np.ones((5, 1)), FIVE, sparse.eye_array(5), "Graph or W is needed"),
        (np.full((5, 1), "a"), FIVE, None, "real numbers"),
    ],
)
def test_extent_says_what_is_wrong(features, places, graph, said):
    with pytest.raises(InputError, match=said):
        extent(features, places, graph)


@pytest.mark.parametrize("least", [0, 2.5, True, None])
def test_extent_says_which_option_is_wrong(least):
    with pytest.raises(InputError, match=f"min_patch is {least}"):
        extent(np.ones((5, 1)), FIVE, min_patch=least)


def test_extent_of_a_graph_that_is_not_finite():
    weights = np.diag(np.ones(4), 1)
    weights[2, 3] = np.inf
    with pytest.raises(InputError, match="place 2 has a weight"):
        extent(
            np.ones((5, 1)), FIVE, Graph.from_sparse(sparse.csr_array(weights), ids=np.arange(5))
        )


def test_one_place_is_as_concentrated_as_can_be_and_no_more():
    places = scattered(20_000)
    table = extent(sparse.eye_array(20_000) * 0.3, places)
    assert table["concentration"].max() == 1  # rounding does not lift it above
    np.testing.assert_allclose(table["concentration"], 1, rtol=1e-14)
    np.testing.assert_allclose(table["spread_km"], 0, atol=1e-6)
    np.testing.assert_allclose(table["lat"], gi.places.lon_lat(places)[1], atol=1e-9)
