import anndata
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libpysal.graph import Graph
from spatial_helpers import WHERE, far_apart, neighbors_of, places_at, places_of, scattered

import geointerp as gi
from geointerp.errors import InputError
from geointerp.spatial import knn


@settings(max_examples=25)
@given(
    n=st.integers(6, 60),
    k=st.integers(1, 5),
    seed=st.integers(0, 10_000),
    where=st.sampled_from(WHERE),
)
def test_knn_is_the_great_circle_order(n, k, seed, where):
    places = places_of(where, n, seed)
    found = neighbors_of(knn(places, k=k))
    far = far_apart(places)
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
