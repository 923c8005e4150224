import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geointerp import sphere

LONS = st.floats(-180, 180)
LATS = st.floats(-89.9, 89.9)


def test_published_distance():
    # JFK to LAX, 3,974 km on the sphere; the city halls of New York and Los Angeles, 3,936 km
    km = sphere.distance_km(lon=-74.0060, lat=40.7128, to_lon=-118.2437, to_lat=34.0522)
    assert km == pytest.approx(3936, abs=5)


def test_lon_and_lat_are_not_exchanged():
    one = sphere.distance_km(lon=0, lat=60, to_lon=10, to_lat=60)
    other = sphere.distance_km(lon=60, lat=0, to_lon=60, to_lat=10)
    assert one == pytest.approx(555.8, abs=1)
    assert other == pytest.approx(1111.9, abs=1)


def test_half_the_globe():
    km = sphere.distance_km(lon=10, lat=20, to_lon=-170, to_lat=-20)
    assert km == pytest.approx(np.pi * sphere.EARTH_RADIUS_KM)


@given(LONS, LATS, LONS, LATS)
def test_distance_agrees_with_unit_vectors(lon, lat, to_lon, to_lat):
    a, b = sphere.unit_vectors(lon=[lon, to_lon], lat=[lat, to_lat])
    chord = np.linalg.norm(a - b)
    km = sphere.distance_km(lon=lon, lat=lat, to_lon=to_lon, to_lat=to_lat)
    expected = 2 * sphere.EARTH_RADIUS_KM * np.arcsin(min(1, chord / 2))
    assert km == pytest.approx(expected, abs=0.2)


@given(LONS, LATS)
def test_unit_vectors_and_back(lon, lat):
    back_lon, back_lat = sphere.lon_lat(sphere.unit_vectors(lon=[lon], lat=[lat]))
    assert back_lat[0] == pytest.approx(lat, abs=1e-9)
    assert np.cos(np.radians(back_lon[0] - lon)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("to_lon", "to_lat", "wind"),
    [
        (0, 1, "North"),
        (1, 1, "North-East"),
        (1, 0, "East"),
        (1, -1, "South-East"),
        (0, -1, "South"),
        (-1, -1, "South-West"),
        (-1, 0, "West"),
        (-1, 1, "North-West"),
    ],
)
def test_eight_winds(to_lon, to_lat, wind):
    for bearing in (sphere.bearing, sphere.rhumb_bearing):
        degrees = bearing(lon=0, lat=0, to_lon=to_lon, to_lat=to_lat)
        assert sphere.COMPASS[sphere.compass(degrees)] == wind


def test_rhumb_line_is_what_maps_show():
    # Lisbon and New York: due west on the map, north-west by the great circle's first bearing
    places = {"lon": -9.14, "lat": 38.72, "to_lon": -74.0, "to_lat": 40.71}
    assert sphere.COMPASS[sphere.compass(sphere.rhumb_bearing(**places))] == "West"
    assert sphere.COMPASS[sphere.compass(sphere.bearing(**places))] == "North-West"


def test_across_the_date_line():
    for bearing in (sphere.bearing, sphere.rhumb_bearing):
        assert bearing(lon=179, lat=0, to_lon=-179, to_lat=0) == pytest.approx(90)
    km = sphere.distance_km(lon=179, lat=0, to_lon=-179, to_lat=0)
    assert km == pytest.approx(222.4, abs=0.1)


@given(LONS, LATS, LONS, LATS)
def test_bearings_are_in_range(lon, lat, to_lon, to_lat):
    for bearing in (sphere.bearing, sphere.rhumb_bearing):
        assert 0 <= bearing(lon=lon, lat=lat, to_lon=to_lon, to_lat=to_lat) < 360
