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

WGS84 = Geod(ellps="WGS84")


@pytest.fixture(scope="module")
def gazetteer():
    return gi.geollm.Gazetteer()


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
        geodesic = WGS84.inv(8.5402, 47.3782, lon, lat)[2] / 1000
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


@settings(max_examples=200)
@given(
    lon=st.floats(-180, 180),
    lat=st.floats(-89, 89),
    azimuth=st.floats(0, 360),
    metres=st.floats(10, 99_000),
)
def test_distance_is_within_a_hundredth_of_the_geodesic_and_the_direction_right(
    lon, lat, azimuth, metres
):
    to_lon, to_lat, _ = WGS84.fwd(lon, lat, azimuth, metres)
    found = PlaceIndex(["there"], lon=[to_lon], lat=[to_lat]).nearby(lon=lon, lat=lat)
    assert found["distance_km"].item() == pytest.approx(metres / 1000, rel=0.01)
    # the ellipsoid's bearing differs by up to 0.2°: beside a wind's edge either wind is right
    winds = {gi.sphere.COMPASS[round((azimuth + turn) % 360 / 45) % 8] for turn in (-0.25, 0, 0.25)}
    assert found["direction"].item() in winds


def table(**columns):
    """Four villages along the equator, 10 km apart, and what else is said of them."""
    lon = np.array([0.0, 0.09, 0.18, 0.27])
    names = ["Ah", "Bee", "Cee", "Dee"]
    return pd.DataFrame({"name": names, "lon": lon, "lat": 0.0, **columns})


def test_a_table_of_the_users_own_is_a_context():
    own = table(
        admin2=["P", "P", None, "Q"], admin1=["R", np.nan, "S", ""], country=["T", "T", "T", None]
    )
    told = gi.geollm.PlacesTable(own, attribution="mine, CC0")
    lon, lat = [0.001, 0.09, 0.18, 0.27, 0.09, 0.27, 0.0], [0, 0, 0, 0.2, 0.5, -0.5, 1]
    assert told.address(lon=lon, lat=lat) == [
        ("Ah", "P", "R", "T"),
        ("Bee", "P", "T"),
        ("Cee", "S", "T"),
        ("Dee", "Q"),  # 22 km off
        ("T",),  # 56 km off: the country alone
        (),  # 56 km off: no country
        (),  # 111 km off
    ]
    near = told.nearby(lon=lon, lat=lat)
    assert near[near["point"] == 1]["name"].tolist() == ["Bee", "Ah", "Cee", "Dee"]
    assert near[near["point"] == 1]["distance_km"].round(1).tolist() == [0, 10.0, 10.0, 20.0]
    assert near[near["point"] == 1]["direction"].tolist() == ["North", "West", "East", "East"]
    assert told.attribution == "mine, CC0"


def test_the_columns_of_an_address_are_those_that_are_asked_for_in_that_order():
    own = table(valley=list("abcd"), country="T", zone=[1, 2, 3, 4])
    told = gi.geollm.PlacesTable(own, address=["zone", "valley"])
    assert told.address(lon=[0.09, 0.09], lat=[0, 0.5]) == [("Bee", "2", "b"), ("b",)]
    assert gi.geollm.PlacesTable(own).address(lon=[0.09], lat=[0]) == [("Bee", "T")]
    bare = gi.geollm.PlacesTable(table())
    assert bare.address(lon=[0.09, 0.09], lat=[0, 0.5]) == [("Bee",), ()]
    assert bare.attribution == ""
    for one in ("country", ["country"], ("country",)):
        named = gi.geollm.PlacesTable(own, address=one)
        assert named.address(lon=[0.09], lat=[0]) == [("Bee", "T")]
    with pytest.raises(InputError, match="no column 'c'; the places have name"):
        gi.geollm.PlacesTable(own, address="c")
    with pytest.raises(InputError, match="no column 'vally'; the places have name, valley"):
        gi.geollm.PlacesTable(own, address=["vally"])


def test_a_table_is_read_from_a_file_and_from_any_crs(tmp_path):
    own = table(country="Côte d'Ivoire")
    own.to_csv(tmp_path / "own.csv", index=False)
    metres = gpd.GeoDataFrame(
        own[["name", "country"]], geometry=gpd.points_from_xy(own.lon, own.lat), crs="EPSG:4326"
    ).to_crs("EPSG:3857")
    for source in (tmp_path / "own.csv", str(tmp_path / "own.csv"), metres):
        told = gi.geollm.PlacesTable(source)
        assert told.address(lon=[0.18], lat=[0.01]) == [("Cee", "Côte d'Ivoire")]
    with pytest.raises(InputError, match="no such file"):
        gi.geollm.PlacesTable(tmp_path / "other.csv")


@pytest.mark.parametrize(("lon", "lat"), [(0, 91), (0, -91), (181, 0), (np.nan, 0), (0, np.nan)])
def test_points_that_are_not_on_the_globe_are_refused(lon, lat):
    told = gi.geollm.PlacesTable(table())
    for ask in (told.address, told.nearby, told.index.nearby):
        with pytest.raises(InputError, match=r"point 1: longitude .* are not on the globe"):
            ask(lon=[0, lon], lat=[0, lat])
        ask(lon=[180, -180, 0], lat=[90, -90, 0])


def test_places_of_another_area_are_not_found():
    lon, areas = np.linspace(0, 0.2, 21), np.arange(21) % 3 - 1
    index = PlaceIndex([f"p{i}" for i in range(21)], lon=lon, lat=np.zeros(21), areas=areas)
    found = index.nearby(lon=[0.101, 0.101, 0.101], lat=[0, 0, 0], areas=[-1, 0, 1], k=2)
    assert found["name"].tolist() == ["p9", "p12", "p10", "p13", "p11", "p8"]
    assert index.nearby(lon=[0.1], lat=[0], areas=[2]).empty
