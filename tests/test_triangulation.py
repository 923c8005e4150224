import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from spatial_helpers import WHERE, check_form, dense, neighbors_of, places_at, places_of, scattered

import geointerp as gi
from geointerp.errors import InputError
from geointerp.spatial import delaunay, describe, distance_band, knn

three = places_at([0, 1, 2, 7], [0, 1, 5, 2])


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
