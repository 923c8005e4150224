from itertools import pairwise

import anndata
import geopandas as gpd
import libpysal
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from libpysal.graph import Graph
from scipy import sparse
from spatial_helpers import neighbors_of, places_at, scattered

import geointerp as gi
from geointerp.errors import InputError
from geointerp.spatial import (
    contiguity,
    delaunay,
    describe,
    distance,
    distance_band,
    kernel,
    knn,
    moran,
)

EARTH_KM = gi.sphere.EARTH_RADIUS_KM
WHERE = ["sphere", "date line", "north pole", "south pole", "one street", "antipodes"]


def places_of(where, n, seed):
    """Places all over the sphere, or where something might go wrong."""
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(-180, 180, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    if where == "date line":
        lon, lat = 180 - np.abs(rng.normal(0, 2, n)) * rng.choice([1, -1], n), lat / 10
        lon = (lon + 180) % 360 - 180
    elif where == "north pole":
        lat = 90 - rng.uniform(0, 3, n)
    elif where == "south pole":
        lat = -90 + rng.uniform(0, 3, n)
    elif where == "one street":
        lon, lat = 12 + rng.uniform(0, 1e-3, n), 60 + rng.uniform(0, 1e-3, n)
    elif where == "one metre":
        lon, lat = rng.uniform(0, 1e-5, (2, n))
    elif where == "antipodes":
        side = rng.choice([0, 1], n)
        lon, lat = 30 - 180 * side + rng.normal(0, 1, n), (1 - 2 * side) * (20 + lat / 90)
    return places_at(lon, lat, index=rng.permutation(n) + 1000)


def far_apart(places):
    """Kilometres between all places, shape (n, n), by the haversine."""
    lon, lat = gi.places.lon_lat(places)
    return gi.sphere.distance_km(lon=lon[:, None], lat=lat[:, None], to_lon=lon, to_lat=lat)


def dense(graph, places):
    """Weights as an array, in the order of the places, whatever the graph's own order."""
    wide = np.zeros((len(places), len(places)))
    focal, neighbor = (places.index.get_indexer(ids) for ids in graph.index_pairs)
    wide[focal, neighbor] = graph.adjacency.to_numpy()
    return wide


def check_form(graph, places):
    """What every graph of ours promises."""
    assert isinstance(graph, Graph)
    assert list(graph.unique_ids) == list(places.index)
    wide = dense(graph, places)
    np.testing.assert_array_equal(graph.sparse.toarray(), wide)  # libpysal's own reading
    assert not wide.diagonal().any()
    alone = places.index[~wide.any(axis=1)]
    assert list(graph.isolates) == list(alone)
    assert np.count_nonzero(wide) + len(alone) == len(graph.adjacency)  # no zeros but those
    return wide


# -------------------------------------------------------------------------------- nearest


@settings(max_examples=25)
@given(
    n=st.integers(6, 60),
    k=st.integers(1, 5),
    seed=st.integers(0, 10_000),
    where=st.sampled_from(["sphere", "date line", "north pole", "south pole", "one street"]),
)
def test_knn_is_the_great_circle_order(n, k, seed, where):
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(-180, 180, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    if where == "date line":
        lon, lat = 180 - np.abs(rng.normal(0, 2, n)) * rng.choice([1, -1], n), lat / 10
        lon = (lon + 180) % 360 - 180
    elif where == "north pole":
        lat = 90 - rng.uniform(0, 3, n)
    elif where == "south pole":
        lat = -90 + rng.uniform(0, 3, n)
    elif where == "one street":
        lon, lat = 12 + rng.uniform(0, 1e-3, n), 60 + rng.uniform(0, 1e-3, n)
    found = neighbors_of(knn(places_at(lon, lat), k=k))
    far = gi.sphere.distance_km(lon=lon[:, None], lat=lat[:, None], to_lon=lon, to_lat=lat)
    np.fill_diagonal(far, np.inf)
    assert found.shape == (n, k)
    assert all(i not in row and len(set(row)) == k for i, row in enumerate(found.tolist()))
    np.testing.assert_allclose(
        np.sort(np.take_along_axis(far, found, axis=1)), np.sort(far)[:, :k], rtol=1e-6, atol=1e-5
    )


def test_knn_has_no_seam_and_no_pole():
    lon = [179.9, -179.9, 170, 0, 90, 180, -90]
    lat = [0, 0, 0, 89, 89, 89, 88.9]
    found = neighbors_of(knn(places_at(lon, lat), k=1)).ravel()
    assert found[0] == 1
    assert found[1] == 0
    assert found[3] in (4, 6)  # across the pole, not along the meridian
    assert found[6] in (3, 5)


def test_knn_is_row_standardised_on_the_index_in_its_order():
    places = scattered(50)
    graph = knn(places, k=4)
    assert isinstance(graph, Graph)
    assert graph.transformation == "R"
    assert list(graph.unique_ids) == list(places.index)
    assert (graph.adjacency == 0.25).all()
    assert graph.n_edges == 200
    # what libpysal itself makes of it: rows and columns in the order of the places
    dense = graph.sparse.toarray()
    np.testing.assert_array_equal(
        np.sort(neighbors_of(graph)), [np.flatnonzero(row) for row in dense]
    )
    first = graph[places.index[0]]
    lon, lat = gi.places.lon_lat(places)
    far = gi.sphere.distance_km(lon=lon[0], lat=lat[0], to_lon=lon, to_lat=lat)
    assert set(first.index) == set(places.index[np.argsort(far)[1:5]])
    assert graph.sparse.sum() == 50
    far_north = graph.lag(lat)  # libpysal's own use of it
    np.testing.assert_allclose(far_north, lat[neighbors_of(graph)].mean(axis=1))


def test_knn_takes_a_geoseries_and_an_anndata():
    places = scattered(40)
    expected = neighbors_of(knn(places, k=3))
    np.testing.assert_array_equal(neighbors_of(knn(places.geometry, k=3)), expected)
    lon, lat = gi.places.lon_lat(places)
    features = anndata.AnnData(
        np.zeros((40, 1), "f4"),
        obs=pd.DataFrame(index=places.index.astype(str)),
        obsm={"spatial": np.column_stack([lon, lat])},
    )
    graph = knn(features, k=3)
    np.testing.assert_array_equal(neighbors_of(graph), expected)
    assert list(graph.unique_ids) == list(features.obs_names)


def test_knn_coincident_places_are_neighbours_of_each_other_never_of_themselves():
    # seven in one spot, three written differently but in one spot at the pole, one far away
    lon = [5.0] * 7 + [0, 120, -77] + [-170]
    lat = [52.0] * 7 + [90, 90, 90] + [-40]
    found = neighbors_of(knn(places_at(lon, lat), k=2)).tolist()
    assert found[0] == [1, 2]
    assert found[1] == [0, 2]
    assert found[2] == [0, 1]
    assert found[6] == [0, 1]
    assert [sorted(row) for row in found[7:10]] == [[8, 9], [7, 9], [7, 8]]
    assert all(i not in row for i, row in enumerate(found))
    everywhere = neighbors_of(knn(places_at([1.0] * 30, [2.0] * 30), k=3)).tolist()
    assert everywhere[20] == [0, 1, 2]
    assert everywhere[1] == [0, 2, 3]


def test_knn_ties_go_to_the_place_that_comes_first():
    side = np.arange(7.0)
    east, north = (v.ravel() for v in np.meshgrid(side, side))
    order = np.random.default_rng(1).permutation(49)
    east, north = east[order] * 1000, north[order] * 1000
    found = neighbors_of(knn(places_at(east, north, crs="EPSG:3035"), k=6))
    far = np.hypot(east[:, None] - east, north[:, None] - north)
    np.fill_diagonal(far, np.inf)
    expected = np.argsort(far.round(6), axis=1, kind="stable")[:, :6]
    np.testing.assert_array_equal(found, np.sort(expected))
    # a tie of a whole circle: 200 places equally far from the pole
    lon = np.append(np.linspace(-180, 180, 200, endpoint=False), 0)
    lat = np.append(np.full(200, 80.0), 90)
    assert neighbors_of(knn(places_at(lon, lat), k=3))[200].tolist() == [0, 1, 2]


def test_knn_in_a_projected_crs_is_of_the_plane():
    # on Mercator's map the first two are 890 km apart, on the ground 155; the third 334 and 222
    degrees = places_at([0, 8, 0, 60], [80, 80, 82, 0])
    plane = degrees.to_crs("EPSG:3857")
    assert neighbors_of(knn(degrees, k=1))[0] == [1]
    stretched = places_at(plane.geometry.x, plane.geometry.y * 0.5, crs="EPSG:3857")
    assert neighbors_of(knn(stretched, k=1))[0] == [2]
    utm = places_at([500_000, 500_010, 500_000], [0, 0, 9], crs="EPSG:32631")
    assert neighbors_of(knn(utm, k=1)).ravel().tolist() == [2, 0, 0]


@pytest.mark.parametrize(
    ("places", "k", "said"),
    [
        (places_at([0, 1, 2], [0, 1, 2]), 3, "at least 4"),
        (places_at([0], [0]), 2, r"there are 1 place\(s\); k = 2 neighbours each need at least 3"),
        (places_at([], []), 1, "there are 0 place"),
        (places_at([0, 1, 2], [0, 1, 2]), 0, "whole number"),
        (places_at([0, 1, 2], [0, 1, 2]), 1.5, "whole number"),
        (places_at([0, 1, 2], [0, 1, 2], crs=None), 1, "no CRS"),
        (places_at([0, 1, 2], [0, 1, 2], index=["a", "b", "a"]), 1, "'a' more than once"),
        (places_at([0, 1, 2], [0, 91, 2]), 1, "latitude 91"),
        (places_at([0, 1, 999], [0, 1, 2]), 1, "longitude 999"),
        (places_at([0, 1, np.inf], [0, 1, 2]), 1, "not finite"),
        (places_at([0, 1, np.inf], [0, 1, 2], crs="EPSG:3857"), 1, "not finite"),
        (gpd.GeoSeries([None, None], crs="EPSG:4326"), 1, "no geometry"),
        (places_at([0, 1, 2], [0, 1, 2], crs="EPSG:3857").buffer(1), 1, "Polygon"),
        (pd.DataFrame({"lon": [1, 2], "lat": [1, 2]}), 1, "DataFrame"),
        (anndata.AnnData(np.zeros((3, 1), "f4")), 1, "obsm"),
        (anndata.AnnData(np.zeros((3, 1), "f4"), obsm={"spatial": np.zeros((3, 3))}), 1, "columns"),
        (
            anndata.AnnData(np.zeros((2, 1), "f4"), obsm={"spatial": np.array([[1, 95], [2, 2]])}),
            1,
            "95",
        ),
    ],
)
def test_knn_says_what_is_wrong(places, k, said):
    with pytest.raises(InputError, match=said):
        knn(places, k=k)


# ------------------------------------------------------------------------------- distance


@settings(max_examples=60)
@given(
    n=st.integers(2, 60),
    seed=st.integers(0, 10_000),
    where=st.sampled_from(WHERE),
    share=st.floats(0, 1),
    lower=st.floats(0, 0.99),
)
def test_distance_band_is_the_great_circle_matrix(n, seed, where, share, lower):
    places = places_of(where, n, seed)
    far = far_apart(places)
    km = float(np.quantile(far[far > 0], share)) + 1e-4
    for min_km in (0.0, km * lower + 1e-4 if lower else 0.0):
        if min_km >= km:
            continue
        wide = check_form(distance_band(places, km=km, min_km=min_km), places)
        # near the antipode the haversine itself is good to a metre only
        close = 1e-3 * (far > 20_000) + 1e-6
        certain = (np.abs(far - km) > close) & (np.abs(far - min_km) > close)
        expected = (far <= km) & ((far > min_km) | (min_km == 0))
        np.fill_diagonal(expected, False)
        np.testing.assert_array_equal(wide[certain], expected[certain])
        np.testing.assert_array_equal(wide, wide.T)


def test_distance_band_has_no_seam_and_no_pole():
    places = places_at([179.9, -179.9, 0, 180, 0], [0, 0, 89.9, 89.9, -89], index=list("abcde"))
    graph = distance_band(places, km=25)
    assert graph["a"].to_dict() == {"b": 1}
    assert graph["c"].to_dict() == {"d": 1}
    assert graph.isolates.tolist() == ["e"]
    # from pole to pole: everywhere, the antipode too, and beyond it nothing changes
    ends = places_at([0, 0, 50], [90, -90, 0])
    half = np.pi * EARTH_KM
    assert distance_band(ends, km=half).n_edges == 6
    assert distance_band(ends, km=1e9).n_edges == 6
    assert distance_band(ends, km=half - 0.001).n_edges == 4
    assert distance_band(ends, km=half, min_km=half - 0.001).n_edges == 2


def test_distance_band_ends_at_its_ends_exactly():
    degree = np.radians(1) * EARTH_KM
    row = places_at(np.arange(-5.0, 6), np.zeros(11))
    steps = np.abs(np.subtract.outer(np.arange(11), np.arange(11)))
    for upper in range(1, 10):
        wide = dense(distance_band(row, km=upper * degree), row)
        np.testing.assert_array_equal(wide, (steps <= upper) & (steps > 0))
        wide = dense(distance_band(row, km=upper * degree + 1, min_km=upper * degree), row)
        assert not wide.any()
    side = np.arange(7.0) / 10  # tenths are no binary fractions
    east, north = (v.ravel() * 1000 + 4e6 for v in np.meshgrid(side, side))
    grid = places_at(east, north, crs="EPSG:3035")
    cells = np.rint((np.column_stack([east, north]) - 4e6) / 100)
    steps = np.abs(cells[:, None] - cells).sum(axis=2)
    straight = (cells[:, None] == cells).any(axis=2)
    for upper in range(1, 7):
        wide = dense(distance_band(grid, km=upper / 10), grid)
        inside = wide.astype(bool)[straight]
        np.testing.assert_array_equal(inside, ((steps <= upper) & (steps > 0))[straight])


def test_distance_band_coincident_places_are_in_the_band_that_begins_at_none():
    lon = [5.0, 5, 5, 5.1, 0, 120, -77]
    lat = [52.0, 52, 52, 52, 90, 90, 90]
    places = places_at(lon, lat)
    wide = check_form(distance_band(places, km=10), places)
    np.testing.assert_array_equal(wide[:4, :4], 1 - np.eye(4))
    np.testing.assert_array_equal(wide[4:, 4:], 1 - np.eye(3))
    ring = check_form(distance_band(places, km=10, min_km=1e-9), places)
    assert ring[:3, :3].sum() == ring[4:].sum() == 0
    assert ring[:3, 3].all()


@pytest.mark.parametrize(("crs", "metres"), [("EPSG:32631", 1), ("EPSG:2263", 0.3048006096012192)])
def test_in_a_projected_crs_weights_agree_with_libpysal(crs, metres):
    rng = np.random.default_rng(3)
    places = places_at(*rng.uniform(5e5, 5.2e5, (2, 150)), index=rng.permutation(150), crs=crs)
    for units in (700, 3000, 40_000):
        km = units * metres / 1000
        theirs = Graph.build_distance_band(places, units)
        ours = check_form(distance_band(places, km=km), places)
        np.testing.assert_array_equal(ours, dense(theirs, places))
        # libpysal scales two of them, cuts all off at the bandwidth, and takes its distances from
        # sums of squares of large coordinates, which costs them half their digits
        for function, once in [
            ("triangular", 1),
            ("bisquare", 16 / 15),
            ("gaussian", np.sqrt(2 * np.pi)),
            ("exponential", 1),
        ]:
            theirs = dense(Graph.build_kernel(places, function, bandwidth=units), places) * once
            np.fill_diagonal(theirs, 0)
            ours = check_form(kernel(places, km=km, function=function), places)
            inside = far_in_plane(places) < units
            np.testing.assert_allclose(ours[inside], theirs[inside], rtol=1e-6, atol=1e-7)
    ours = check_form(delaunay(places), places)
    np.testing.assert_array_equal(ours, dense(Graph.build_triangulation(places), places))


def far_in_plane(places):
    points = np.column_stack([places.geometry.x, places.geometry.y])
    return np.linalg.norm(points[:, None] - points, axis=2)


FORMULAS = {
    "gaussian": (lambda u: np.exp(-0.5 * u * u), 3),
    "triangular": (lambda u: 1 - u, 1),
    "bisquare": (lambda u: (1 - u * u) * (1 - u * u), 1),
    "exponential": (lambda u: np.exp(-u), 5),
}


@settings(max_examples=60)
@given(
    n=st.integers(4, 50),
    seed=st.integers(0, 10_000),
    where=st.sampled_from(WHERE),
    function=st.sampled_from(list(FORMULAS)),
    k=st.integers(2, 3),
    fixed=st.booleans(),
)
def test_kernel_is_its_formula(n, seed, where, function, k, fixed):
    places = places_of(where, n, seed)
    far = far_apart(places)
    formula, reach = FORMULAS[function]
    kth = np.sort(far, axis=1)[:, k]
    if fixed:
        wide = check_form(kernel(places, km=kth[0], function=function), places)
        np.testing.assert_array_equal(wide, wide.T)
        u = far / kth[0]
    else:
        wide = check_form(kernel(places, k=k, function=function), places)
        u = far / kth[:, None]
    expected = np.where(u <= reach, formula(u), 0)
    np.fill_diagonal(expected, 0)
    # near the antipode the haversine itself is good to a metre only
    certain = (np.abs(u - reach) > 1e-6) & (far < 20_000)
    np.testing.assert_allclose(wide[certain], expected[certain], atol=1e-6)
    if not fixed and reach == 1:
        np.testing.assert_array_equal((wide > 0).sum(axis=1), k - 1)


def test_kernel_known_answers():
    degree = np.radians(1) * EARTH_KM
    row = places_at([0.0, 0, 1, 3, 180], [0] * 5)
    expected = {
        "gaussian": [0, 1, np.exp(-1 / 8), np.exp(-9 / 8), 0],
        "exponential": [0, 1, np.exp(-0.5), np.exp(-1.5), 0],
        "triangular": [0, 1, 0.5, 0, 0],
        "bisquare": [0, 1, 9 / 16, 0, 0],
    }
    for function, weights in expected.items():
        wide = check_form(kernel(row, km=2 * degree, function=function), row)
        np.testing.assert_allclose(wide[0], weights, rtol=1e-12)
        assert not wide[4].any()
    assert kernel(row, km=2 * degree).transformation == "O"
    # the second neighbour of the first is 1° away, of the fourth 3°
    wide = check_form(kernel(row, k=2), row)
    np.testing.assert_allclose(wide[0, :4], [0, 1, np.exp(-0.5), np.exp(-4.5)], rtol=1e-12)
    np.testing.assert_allclose(wide[3, :3], np.exp([-0.5, -0.5, -2 / 9]), rtol=1e-12)


def test_bandwidth_of_a_crowded_spot():
    places = places_at([1.0] * 4 + [2, 3], [1.0] * 4 + [2, 3], index=list("abcdef"))
    with pytest.raises(InputError, match="'a' has 3 or more others in its very spot"):
        kernel(places, k=3)
    wide = check_form(kernel(places, k=4, function="bisquare"), places)
    np.testing.assert_array_equal(wide[:4, :4], 1 - np.eye(4))
    assert not wide[:4, 4:].any()


def test_blocks_change_nothing(monkeypatch):
    places = scattered(80)
    whole = kernel(places, k=7), distance_band(places, km=3000, min_km=500)
    monkeypatch.setattr(distance, "_BLOCK", 37)
    blocks = kernel(places, k=7), distance_band(places, km=3000, min_km=500)
    for one, other in zip(whole, blocks, strict=True):
        pd.testing.assert_series_equal(one.adjacency, other.adjacency, check_exact=True)


def test_weights_take_a_geoseries_and_an_anndata():
    places = scattered(40)
    lon, lat = gi.places.lon_lat(places)
    features = anndata.AnnData(
        np.zeros((40, 1), "f4"),
        obs=pd.DataFrame(index=places.index.astype(str)),
        obsm={"spatial": np.column_stack([lon, lat])},
    )
    for build in (
        lambda p: distance_band(p, km=3000),
        lambda p: kernel(p, k=4),
        delaunay,
    ):
        expected = build(places)
        assert expected.adjacency.equals(build(places.geometry).adjacency)
        graph = build(features)
        np.testing.assert_allclose(graph.sparse.toarray(), expected.sparse.toarray(), rtol=1e-9)
        assert list(graph.unique_ids) == list(features.obs_names)
        assert describe(graph, features)["longest_km"] == pytest.approx(
            describe(graph, places)["longest_km"]
        )


def test_every_weight_can_be_given_to_a_statistic():
    places = scattered(60)
    features = pd.DataFrame({"lat": places.geometry.y})
    for graph in (distance_band(places, km=2500), kernel(places, k=5), delaunay(places)):
        row = moran(features, graph).loc["lat"]
        assert row["I"] > 0.3
        assert row["p"] < 0.01
        assert moran(features, graph.transform("R")).loc["lat", "p"] < 0.01
    with pytest.raises(InputError, match="add up to 0"):
        moran(features, distance_band(places, km=0.1))


# -------------------------------------------------------------------------- triangulation


@settings(max_examples=60)
@given(n=st.integers(5, 40), seed=st.integers(0, 10_000), where=st.sampled_from(WHERE[:4]))
def test_delaunay_circles_hold_no_other_place(n, seed, where):
    # Every three places are tried: they make a triangle where one side of the plane through
    # them, the side away from the middle of the Earth, is empty.
    places = places_of(where, n, seed)
    lon, lat = gi.places.lon_lat(places)
    points = gi.sphere.unit_vectors(lon=lon, lat=lat)
    expected = np.zeros((n, n))
    a, b, c = np.array([(i, j, k) for i in range(n) for j in range(i) for k in range(j)]).T
    normal = np.cross(points[b] - points[a], points[c] - points[a])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    height = (normal * points[a]).sum(axis=1)
    normal *= np.sign(height)[:, None]
    above = points @ normal.T - np.abs(height)
    above[a, np.arange(len(a))] = above[b, np.arange(len(a))] = above[c, np.arange(len(a))] = -1
    empty = (above < 0).all(axis=0)
    for i, j in ((a, b), (b, c), (a, c)):
        expected[i[empty], j[empty]] = expected[j[empty], i[empty]] = 1
    np.testing.assert_array_equal(check_form(delaunay(places), places), expected)


@pytest.mark.parametrize("seed", range(3))
def test_delaunay_covers_the_sphere(seed):
    # Euler: a triangulation of the sphere by n points has 3n - 6 edges
    places = scattered(500, seed)
    assert delaunay(places).n_edges == 2 * (3 * 500 - 6)
    octahedron = places_at([0, 90, 180, -90, 0, 0], [0, 0, 0, 0, 90, -90])
    opposite = np.kron(np.eye(3), np.ones((2, 2)))[[0, 2, 1, 3, 4, 5]][:, [0, 2, 1, 3, 4, 5]]
    np.testing.assert_array_equal(dense(delaunay(octahedron), octahedron), 1 - opposite)


def test_delaunay_does_not_go_around_the_back_of_the_earth():
    square = places_at([0, 1, 1, 0, 0.5], [0, 0, 1, 1, 0.5], index=list("abcde"))
    graph = delaunay(square)
    assert set(graph["a"].index) == {"b", "d", "e"}
    # across the date line and around a pole it is the same square
    moved = places_at([179.5, -179.5, -179.5, 179.5, 180], [0, 0, 1, 1, 0.5], index=list("abcde"))
    np.testing.assert_array_equal(dense(delaunay(moved), moved), dense(graph, square))
    around = places_at([0, 90, 180, -90, 33], [80, 80, 80, 80, 90], index=list("abcde"))
    np.testing.assert_array_equal(dense(delaunay(around), around), dense(graph, square))


@pytest.mark.parametrize("degrees", [1, 1e-2, 1e-4])
def test_delaunay_of_a_small_region_is_that_of_its_map(degrees):
    rng = np.random.default_rng(8)
    places = places_at(*(np.array([[2.5], [48]]) + rng.uniform(0, degrees, (2, 300))))
    lon, lat = places.geometry.x.iloc[0], places.geometry.y.iloc[0]
    # circles stay circles on a stereographic map
    plane = places.to_crs(f"+proj=stere +lat_0={lat} +lon_0={lon} +R=6371008.8 +units=m")
    ours, theirs = dense(delaunay(places), places), dense(delaunay(plane), places)
    differ = np.argwhere(ours != theirs)
    # but the edge of the places is that of great circles, not of the map's straight lines
    rim = shapely.convex_hull(shapely.MultiPoint(np.array(plane.geometry))).exterior
    near_rim = shapely.distance(rim, np.array(plane.geometry)) < 1e-2 * np.sqrt(rim.length**2)
    assert len(differ) <= 4
    assert near_rim[differ].all()


def test_delaunay_of_a_grid_is_a_triangulation():
    lon, lat = (v.ravel() for v in np.meshgrid(np.arange(-180, 180, 20.0), np.arange(-80, 81, 20)))
    places = places_at(lon, lat)
    graph = delaunay(places)
    assert graph.n_edges == 2 * (3 * len(places) - 6)
    wide = dense(graph, places)
    row, column = (lat == 0).nonzero()[0], (lat == 20).nonzero()[0]
    assert wide[row, np.roll(row, 1)].all()  # across the date line as everywhere
    assert wide[row, column].all()


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3035"])
def test_delaunay_coincident_places_share_their_spots_neighbours(crs):
    rng = np.random.default_rng(4)
    where = rng.uniform(1, 60, (2, 12))
    spot = np.array([0, 1, 2, 0, 3, 4, 5, 6, 0, 7, 8, 9, 10, 11, 5])
    once = places_at(*where, crs=crs)
    again = places_at(*where[:, spot], crs=crs, index=rng.permutation(15))
    by_spot = dense(delaunay(once), once) + np.eye(12)
    expected = by_spot[spot][:, spot] - np.eye(15)
    np.testing.assert_array_equal(check_form(delaunay(again), again), expected)
    assert describe(delaunay(again), again)["coincident"] == 5


def test_spots_are_joined_however_they_are_written():
    # the same meridian written twice differs in the last digit, which may round to either side
    lon = np.linspace(-179, -1, 4000)
    lat = np.degrees(np.arcsin(np.linspace(-0.99, 0.99, 4000)))
    places = places_at(np.append(lon, lon + 360), np.append(lat, lat))
    assert describe(distance_band(places, km=1e-4), places)["coincident"] == 8000
    assert neighbors_of(knn(places, k=1)).ravel().tolist() == [*range(4000, 8000), *range(4000)]


# ----------------------------------------------------------------------------- contiguity


def squares(lons, lats, crs="EPSG:4326", index=None):
    shapes = [
        shapely.box(west, south, east, north)
        for south, north in pairwise(lats)
        for west, east in pairwise(lons)
    ]
    return gpd.GeoDataFrame(geometry=shapes, crs=crs, index=index)


@pytest.mark.parametrize("rook", [False, True])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3035"])
def test_contiguity_of_a_board(rook, crs):
    board = squares(np.arange(6), np.arange(5), crs, index=np.random.default_rng(0).permutation(20))
    north, east = np.divmod(np.arange(20), 5)
    up, along = np.abs(north[:, None] - north), np.abs(east[:, None] - east)
    expected = (up + along == 1) if rook else (np.maximum(up, along) == 1)
    wide = check_form(contiguity(board, rook=rook), board)
    np.testing.assert_array_equal(wide, expected)
    theirs = Graph.build_contiguity(board, rook=rook, strict=True)
    np.testing.assert_array_equal(wide, dense(theirs, board))
    wide = check_form(contiguity(board.geometry, rook=rook), board)
    np.testing.assert_array_equal(wide, expected)


@pytest.mark.parametrize("rook", [False, True])
def test_contiguity_agrees_with_libpysal_on_columbus(rook):
    columbus = gpd.read_file(libpysal.examples.get_path("columbus.shp")).set_crs("EPSG:3735")
    ours = contiguity(columbus, rook=rook)
    theirs = Graph.build_contiguity(columbus, rook=rook, strict=True)
    np.testing.assert_array_equal(dense(ours, columbus), dense(theirs, columbus))
    # spdep's poly2nb gives 236 queen links as well
    assert ours.n_edges == (200 if rook else 236)


@pytest.mark.parametrize("first", [-180, 0])
@pytest.mark.parametrize("rook", [False, True])
def test_contiguity_goes_around_the_earth(rook, first):
    belt = squares(np.arange(first, first + 361, 30), [-20, 0, 20])
    wide = check_form(contiguity(belt, rook=rook), belt)
    assert (wide.sum(axis=1) == (3 if rook else 5)).all()
    assert wide[0, 11] == 1
    assert wide[0, 23] == (0 if rook else 1)
    # in a plane there is no such seam
    flat = check_form(contiguity(belt.set_crs("EPSG:3857", allow_override=True), rook=rook), belt)
    assert flat[0, 11] == 0


def test_contiguity_across_the_date_line_needs_no_equal_vertices():
    shapes = gpd.GeoSeries(
        [
            shapely.box(170, 0, 180, 10),
            shapely.box(-180, 5, -170, 20),
            shapely.box(-180, -10, -170, 0),
            shapely.MultiPolygon([shapely.box(175, 20, 180, 30), shapely.box(-180, 20, -179, 30)]),
            shapely.box(181, 30, 185, 35),
            shapely.box(-179, 35, -175, 40),
            shapely.box(100, 0, 110, 10),
        ],
        index=list("abcdefg"),
        crs="EPSG:4326",
    )
    queen, rook = contiguity(shapes), contiguity(shapes, rook=True)
    expected = {"a": "bc", "b": "ad", "c": "a", "d": "b", "e": "f", "f": "e", "g": ""}
    assert {place: "".join(queen[place].index) for place in "abcdefg"} == {
        **expected,
        "d": "be",
        "e": "df",
    }
    expected["c"], expected["a"] = "", "b"
    assert {place: "".join(rook[place].index) for place in "abcdefg"} == expected


def test_contiguity_at_a_pole():
    caps = squares(np.arange(-180, 181, 60), [-90, -80, 80, 90])
    queen, rook = (check_form(contiguity(caps, rook=r), caps) for r in (False, True))
    np.testing.assert_array_equal(queen[:6, :6], 1 - np.eye(6))
    np.testing.assert_array_equal(queen[12:, 12:], 1 - np.eye(6))
    assert (rook[:6, :6].sum(axis=1) == 2).all()
    assert not queen[:6, 12:].any()


def test_contiguity_of_borders_that_do_not_fit():
    shapes = gpd.GeoSeries(
        [
            shapely.box(0, 0, 10, 10),
            shapely.box(10, 2.5, 20, 7.1),  # its corners are no vertices of the first
            shapely.box(9.999, 8, 20, 12),  # overlaps the first
            shapely.box(3, 3, 4, 4),  # lies in the first
            shapely.box(10, 10, 20, 20).difference(shapely.box(10, 10, 12, 13)),
            shapely.box(-5, -5, 0, 0),  # a corner
            shapely.box(-5, 10.001, 5, 15),  # a gap
        ],
        crs="EPSG:3035",
    )
    queen, rook = contiguity(shapes), contiguity(shapes, rook=True)
    assert sorted(queen[0].index) == [1, 2, 3, 5]
    assert sorted(rook[0].index) == [1, 2, 3]
    assert sorted(queen[2].index) == sorted(rook[2].index) == [0, 4]
    assert queen.isolates.tolist() == [6]
    assert rook.isolates.tolist() == [5, 6]


# --------------------------------------------------------------------------------- summary


def test_describe_a_graph():
    graph = Graph.from_sparse(
        sparse.csr_array(
            np.array(
                [[0, 1, 2, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 4.0], [0] * 5]
            )
        ),
        ids=list("abcde"),
    )
    said = describe(graph)
    assert said.to_dict() == {
        "places": 5,
        "links": 4,
        "pairs": 3,
        "islands": 2,
        "components": 2,
        "min_neighbors": 0,
        "mean_neighbors": 0.8,
        "max_neighbors": 2,
        "self_weights": 0,
        "symmetric": False,
        "row_standardised": False,
    }
    pd.testing.assert_series_equal(describe(graph.to_W()), said)
    assert describe(graph.transform("R"))["row_standardised"]
    places = places_at([0.0, 0, 1, 50, 50], [0, 0, 0, 0, 3], index=list("abcde"))
    degree = np.radians(1) * EARTH_KM
    said = describe(graph, places.iloc[::-1])  # in any order
    assert said["coincident"] == 2
    assert said["median_km"] == pytest.approx(degree / 2)
    assert said["longest_km"] == pytest.approx(3 * degree)
    feet = places_at([0.0, 0, 5280, 0, 0], [0, 0, 0, 0, 0], index=list("abcde"), crs="EPSG:2263")
    assert describe(graph, feet)["longest_km"] == pytest.approx(1.609347, abs=1e-6)


def test_describe_our_graphs():
    places = scattered(100)
    said = describe(knn(places, k=4), places)
    assert said[["links", "min_neighbors", "max_neighbors", "islands"]].tolist() == [400, 4, 4, 0]
    assert not said["symmetric"]
    assert said["row_standardised"]
    band = distance_band(places, km=1500)
    said = describe(band, places)
    far = far_apart(places)[dense(band, places) > 0]
    assert said["symmetric"]
    assert not said["row_standardised"]
    assert said["islands"] == len(band.isolates) > 0
    assert said["components"] == band.n_components
    assert said["median_km"] == pytest.approx(np.median(far))
    assert said["longest_km"] == pytest.approx(far.max())
    nobody = describe(distance_band(places, km=0.1), places)
    assert nobody[["links", "islands", "components", "coincident"]].tolist() == [0, 100, 100, 0]
    assert nobody[["median_km", "longest_km"]].isna().all()
    assert not nobody["row_standardised"]
    own = knn(places, k=4).assign_self_weight()
    assert describe(own)[["links", "self_weights", "max_neighbors"]].tolist() == [400, 100, 4]


# ------------------------------------------------------------------------------- bad input

three = places_at([0, 1, 2, 7], [0, 1, 5, 2])
board = squares([0, 1, 2], [0, 1])


@pytest.mark.parametrize(
    "build", [lambda p: distance_band(p, km=5), lambda p: kernel(p, km=5), delaunay]
)
@pytest.mark.parametrize(
    ("places", "said"),
    [
        (three.iloc[:1], "there are 1 place"),
        (three.iloc[:0], "there are 0 place"),
        (three.set_crs(None, allow_override=True), "no CRS"),
        (three.set_axis(list("abca")), "'a' more than once"),
        (places_at([0, 1, 2, np.nan], [0, 91, 2, 3]), "not finite"),
        (places_at([0, 1, 2], [0, 91, 2]), "latitude 91"),
        (gpd.GeoSeries([None, None], crs="EPSG:4326"), "no geometry"),
        (board, "Polygon"),
        (places_at([0, 1, 2], [0, 1, 2], crs="EPSG:4978"), "geocentric"),
        (pd.DataFrame({"lon": [1, 2], "lat": [1, 2]}), "DataFrame"),
    ],
)
def test_weights_say_which_places_are_wrong(build, places, said):
    with pytest.raises(InputError, match=said):
        build(places)


@pytest.mark.parametrize(
    ("build", "options", "said"),
    [
        *((build, {"km": km}, f"km is {km!r}") for build in (distance_band, kernel)
          for km in (0, -1, np.nan, np.inf, True, "5")),
        (distance_band, {"km": 5, "min_km": 5}, "below km"),
        (distance_band, {"km": 5, "min_km": -1}, "0 or more"),
        (distance_band, {"km": 5, "min_km": np.nan}, "0 or more"),
        (kernel, {}, "either km"),
        (kernel, {"km": 5, "k": 5}, "either km"),
        (kernel, {"k": 4}, "at least 5"),
        (kernel, {"k": 0}, "whole number"),
        (kernel, {"k": 2.0}, "whole number"),
        (kernel, {"k": 1, "function": "bisquare"}, "take 2 or more"),
        (kernel, {"km": 5, "function": "cosine"}, "one of gaussian"),
    ],
)  # fmt: skip
def test_weights_say_which_option_is_wrong(build, options, said):
    with pytest.raises(InputError, match=said):
        build(three, **options)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (three.iloc[:3], "3 spot"),
        (places_at([1, 1, 1, 2, 3], [1, 1, 1, 2, 4]), "3 spot"),
        (places_at([1, 1, 1, 2], [1, 1, 1, 2], crs="EPSG:3035"), "2 spot"),
        (places_at(np.arange(-180, 180, 10), [0] * 36), "one circle"),
        (places_at(np.arange(-180, 180, 10), [50] * 36), "one circle"),
        (places_at(np.linspace(2, 3, 50), [50] * 50), "one circle"),
        (places_at(np.linspace(2, 2.0001, 50), [50] * 50), "one circle"),
        (places_at([12.5] * 9, np.linspace(40, 41, 9)), "one circle"),
        (places_at(np.arange(9) * 100 + 5e6, np.arange(9) * 30, crs="EPSG:3035"), "one line"),
        (
            # a crowd within a metre, seen from around the Earth
            pd.concat(
                [scattered(50), places_at(*np.random.default_rng(0).uniform(0, 1e-5, (2, 99)))]
            ),
            "cannot tell them apart",
        ),
    ],
)
def test_delaunay_says_why_there_are_no_triangles(places, said):
    with pytest.raises(InputError, match=said):
        delaunay(places)


@pytest.mark.parametrize(
    ("polygons", "said"),
    [
        (three, "Point"),
        (board.iloc[:1], "1 polygon"),
        (board.set_crs(None, allow_override=True), "no CRS"),
        (board.set_axis(["a", "a"]), "'a' more than once"),
        (gpd.GeoSeries([board.geometry[0], None], crs="EPSG:4326"), "place 1 has no geometry"),
        (gpd.GeoSeries([board.geometry[0], shapely.Polygon()], crs="EPSG:4326"), "no geometry"),
        (
            gpd.GeoSeries(
                [board.geometry[0], shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])],
                crs="EPSG:4326",
            ),
            "polygon 1 is not valid .*Self-intersection",
        ),
        (squares([0, 1, 2], [80, 91]), "latitude"),
        (squares([0, 1, 400], [0, 1]), "polygon 1 reaches beyond a longitude"),
        (list(board.geometry), "list"),
    ],
)
def test_contiguity_says_what_is_wrong(polygons, said):
    with pytest.raises(InputError, match=said):
        contiguity(polygons)


@pytest.mark.parametrize(
    ("graph", "places", "said"),
    [
        (np.eye(3), None, "Graph or W is needed"),
        (knn(three, k=1), three.iloc[:3], "there are 3 places, 4 in the graph"),
        (knn(three, k=1), three.set_axis([0, 1, 2, 9]), "place 3 of the graph"),
        (contiguity(board), board, "representative_point"),
    ],
)
def test_describe_says_what_is_wrong(graph, places, said):
    with pytest.raises(InputError, match=said):
        describe(graph, places)
