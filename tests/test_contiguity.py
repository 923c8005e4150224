import geopandas as gpd
import libpysal
import numpy as np
import pytest
import shapely
from libpysal.graph import Graph
from spatial_helpers import check_form, dense, places_at, squares

from geointerp.errors import InputError
from geointerp.spatial import contiguity

three = places_at([0, 1, 2, 7], [0, 1, 5, 2])
board = squares([0, 1, 2], [0, 1])


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
