import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libpysal.graph import Graph
from spatial_helpers import (
    EARTH_KM,
    WHERE,
    check_form,
    dense,
    far_apart,
    places_at,
    places_of,
    scattered,
)

from geointerp.errors import InputError
from geointerp.spatial import delaunay, distance, distance_band, kernel


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
