import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

import geointerp as gi
from geointerp.errors import InputError
from geointerp.geollm import PlaceIndex


def points(*lon_lat, index=None):
    lon, lat = zip(*lon_lat, strict=True)
    return gpd.GeoDataFrame(geometry=gpd.points_from_xy(lon, lat), index=index, crs="EPSG:4326")


@pytest.fixture(scope="module")
def gazetteer():
    return gi.geollm.Gazetteer()


# context


def test_distance_and_direction_from_zurich_to_its_neighbours():
    towns = {
        "Winterthur": (8.7267, 47.4992, "North-East", 19.5),
        "Zug": (8.5155, 47.1662, "South", 23.6),
        "Baden": (8.3060, 47.4733, "North-West", 20.6),
        "Rapperswil": (8.8171, 47.2266, "South-East", 26.9),
        "Milano": (9.1895, 45.4643, "South", 218.5),
    }
    index = PlaceIndex(
        list(towns), lon=[t[0] for t in towns.values()], lat=[t[1] for t in towns.values()]
    )
    found = index.nearby(lon=[8.5402], lat=[47.3782])
    assert list(found["name"]) == ["Winterthur", "Baden", "Zug", "Rapperswil"]
    for row in found.itertuples():
        lon, lat, direction, km = towns[row.name]
        assert row.direction == direction
        assert row.distance_km == pytest.approx(km, abs=0.1)
        geodesic = Geod(ellps="WGS84").inv(8.5402, 47.3782, lon, lat)[2] / 1000
        assert row.distance_km == pytest.approx(geodesic, rel=0.01)


@settings(max_examples=40)
@given(
    lon=st.floats(-180, 180),
    lat=st.floats(-90, 90),
    seed=st.integers(0, 99),
)
def test_nearby_is_what_looking_at_every_place_gives(lon, lat, seed):
    random = np.random.default_rng(seed)
    count = random.integers(1, 40)
    lons = (lon + random.normal(0, 2, count) + 180) % 360 - 180
    lats = np.clip(lat + random.normal(0, 0.6, count), -90, 90)
    names = [f"p{i}" for i in range(count)]
    found = PlaceIndex(names, lon=lons, lat=lats).nearby(lon=lon, lat=lat)
    km = gi.sphere.distance_km(lon=lon, lat=lat, to_lon=lons, to_lat=lats)
    expected = np.sort(km[km <= 100])[:10]
    np.testing.assert_allclose(found["distance_km"], expected, rtol=0, atol=1e-9)
    assert found["distance_km"].is_monotonic_increasing
    assert [f"p{i}" for i in found["place"]] == list(found["name"])
    np.testing.assert_array_equal(km[found["place"]], found["distance_km"])


@pytest.mark.parametrize(
    ("here", "there", "km", "direction"),
    [
        ((179.9, 0), (-179.9, 0), 22.2, "East"),
        ((-179.9, 0), (179.9, 0), 22.2, "West"),
        ((180, 65), (-180, 65), 0.0, "North"),
        ((0, 89.9), (180, 89.9), 22.2, "North"),
        ((50, 90), (50, 89.9), 11.1, "South"),
        ((50, 90), (-130, 89.9), 11.1, "South"),
        ((50, 90), (140, 89.9), 11.1, "South"),
        ((50, -90), (-40, -89.9), 11.1, "North"),
        ((8, 47), (8, 47), 0.0, "North"),
    ],
)
def test_across_the_date_line_and_at_the_poles(here, there, km, direction):
    found = PlaceIndex(["there"], lon=[there[0]], lat=[there[1]]).nearby(lon=here[0], lat=here[1])
    assert found["distance_km"].round(1).tolist() == [km]
    assert found["direction"].tolist() == [direction]


def test_many_points_at_once_are_as_each_alone(gazetteer):
    lon, lat = np.array([2.35, -125.0, 139.7, 5.52]), np.array([48.86, -48.0, 35.7, 23.4])
    together = gazetteer.nearby(lon=lon, lat=lat)
    for i in range(4):
        alone = gazetteer.nearby(lon=lon[i : i + 1], lat=lat[i : i + 1])
        ours = together[together["point"] == i].drop(columns="point").reset_index(drop=True)
        pd.testing.assert_frame_equal(ours, alone.drop(columns="point"))
    assert together.groupby("point").size().to_dict() == {0: 10, 2: 10, 3: 1}


def test_gazetteers_address_goes_from_fine_to_coarse_as_far_as_it_can_be_told(gazetteer):
    # Florence and Austin; 66 km north of Alice Springs; the South Pacific; and Neuchâtel,
    # whose canton has the code of Nebraska
    lon, lat = [11.25, -97.74, 133.88, -125, 6.93], [43.80, 30.27, -23.10, -48, 46.99]
    assert gazetteer.address(lon=lon, lat=lat) == [
        ("Florence", "Italy"),
        ("Austin", "Texas", "United States"),
        ("Australia",),
        (),
        ("Neuchâtel", "Switzerland"),
    ]
    near = gazetteer.nearby(lon=lon, lat=lat)
    assert near[near["point"] == 2]["name"].tolist() == ["Alice Springs"]
    assert near[near["point"] == 2]["direction"].tolist() == ["South"]


def test_gazetteer_has_four_sizes_and_says_whose_data_it_is(gazetteer):
    assert gazetteer.attribution == "GeoNames, CC BY 4.0"
    assert len(gi.geollm.Gazetteer(min_population=15000).index.names) < len(gazetteer.index.names)
    with pytest.raises(InputError, match="min_population is 1234"):
        gi.geollm.Gazetteer(min_population=1234)


# scores


def test_score_of_known_ranks_whatever_the_order_of_the_index():
    ratings = pd.DataFrame({"rating": [1.0, 2, 3, 4]}, index=list("abcd"))
    truth = pd.Series({"d": 400.0, "b": 300, "a": 100, "c": 200, "elsewhere": 1e9})
    found = gi.geollm.score(ratings, truth)
    assert found["spearman"] == pytest.approx(0.8)
    assert found["pearson_r2"] == pytest.approx(0.64)
    assert (found["n"], found["n_missing"], found["reason"]) == (4, 0, "")
    bent = gi.geollm.score(ratings["rating"], pd.Series([-1.0, -10, -100, -1000], list("abcd")))
    assert bent["spearman"] == pytest.approx(-1)
    assert bent["pearson_r2"] == pytest.approx(1543.5**2 / (5 * 701520.75))


def test_missing_truth_is_left_out_and_counted():
    ratings = pd.Series([1.0, 2, 3, 4, 9, np.nan], index=list("abcdef"))
    truth = pd.Series([100.0, 300, 200, 400, np.nan, 1], index=list("abcdef"))
    found = gi.geollm.score(ratings, truth)
    assert (found["n"], found["n_missing"]) == (4, 2)
    assert found["pearson_r2"] == pytest.approx(0.64)


@pytest.mark.parametrize(
    ("ratings", "truth", "reason"),
    [
        ([0.1] * 3 + [0.1 + 1e-16], [1, 2, 3, 4], "the ratings are constant"),
        ([1, 2, 3, 4], [0.0] * 4, "the truth is constant"),
        ([1, 2, 3, 4], [1, 2, np.nan, np.nan], "fewer than 3"),
    ],
)
def test_a_score_that_cannot_be_says_why(ratings, truth, reason):
    found = gi.geollm.score(pd.Series(ratings), pd.Series(truth))
    assert np.isnan(found["spearman"])
    assert np.isnan(found["pearson_r2"])
    assert reason in found["reason"]


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (pd.Series([1.0, 2, 3], index=["a", "b", "z"]), "no 'c' .1 of 3"),
        (pd.Series([1.0, 2, 3, 4], index=["a", "b", "c", "c"]), "'c' more than once"),
        (pd.Series([1.0, -np.inf, 3], index=list("abc")), "row 'b' is -inf"),
        (pd.Series(["1", "two", "3"], index=list("abc")), "not every value is a number"),
        ([1, 2, 3], "truth is a list"),
    ],
)
def test_truth_that_does_not_fit_is_refused(truth, message):
    ratings = pd.DataFrame({"rating": [1.0, 2, 3]}, index=list("abc"))
    with pytest.raises(InputError, match=message):
        gi.geollm.score(ratings, truth)
    with pytest.raises(InputError, match="no column 'rating'"):
        gi.geollm.score(ratings.rename(columns={"rating": "r"}), truth)
