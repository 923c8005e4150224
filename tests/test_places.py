import unicodedata

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import Point, Polygon

import geointerp as gi
from geointerp.errors import InputError


def test_an_empty_collection_has_no_places(tmp_path):
    path = tmp_path / "none.geojson"
    path.write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(InputError, match="there are no places in it"):
        gi.places.load(path)


def test_geonames_knows_a_city():
    cities = gi.places.load("geonames", min_population=1_000_000)
    tokyo = cities[cities["name"] == "Tokyo"].iloc[0]
    assert (tokyo["country"], tokyo["timezone"]) == ("JP", "Asia/Tokyo")
    # longitude first
    assert tokyo.geometry.x == pytest.approx(139.69, abs=0.1)
    assert tokyo.geometry.y == pytest.approx(35.69, abs=0.1)
    assert cities["population"].min() >= 1_000_000
    assert cities["population"].is_monotonic_decreasing


def test_geonames_filters():
    french = gi.places.load("geonames", countries=["FR"], limit=3)
    assert french["name"].tolist()[0] == "Paris"
    assert set(french["country"]) == {"FR"}
    assert len(french) == 3


@pytest.mark.parametrize(
    "header",
    ["name,lat,lon", "placename,latitude,longitude", "City,LAT,LNG", "toponym,Latitude,Long"],
)
def test_usual_columns_are_found(tmp_path, header):
    path = tmp_path / "p.csv"
    path.write_text(f"{header}\nLima,-12.05,-77.04\n")
    places = gi.places.load(path)
    assert places["name"].tolist() == ["Lima"]
    assert places.geometry.iloc[0].coords[0] == (-77.04, -12.05)
    assert places.crs == "EPSG:4326"


def test_namibia_and_a_village_called_none(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("name,country,lat,lon\nNone,NA,1,2\nNA,NA,3,4\n")
    places = gi.places.load(path)
    assert places["name"].tolist() == ["None", "NA"]
    assert places["country"].tolist() == ["NA", "NA"]


def test_names_and_codes_of_digits_are_text(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("City,lat,lng,State,Pop\n1770,-24.2,151.9,04,7\n007,1e1,+2.5,05,8\n")
    places = gi.places.load(path, min_population=8)
    assert gi.places.load(path)["name"].tolist() == ["1770", "007"]
    assert gi.places.load(path)["admin1"].tolist() == ["04", "05"]
    assert places["name"].tolist() == ["007"]
    assert places.geometry.iloc[0].coords[0] == (2.5, 10.0)
    assert places["population"].tolist() == [8]


@pytest.mark.parametrize("kind", ["geojson", "gpkg", "parquet"])
def test_geographic_files(tmp_path, few, kind):
    path = tmp_path / f"p.{kind}"
    few.to_parquet(path) if kind == "parquet" else few.reset_index(drop=True).to_file(path)
    places = gi.places.load(path)
    assert places["name"].tolist() == few["name"].tolist()
    np.testing.assert_allclose(places.geometry.x, few.geometry.x)
    np.testing.assert_allclose(places.geometry.y, few.geometry.y)


def test_plain_parquet(tmp_path):
    path = tmp_path / "p.parquet"
    pd.DataFrame({"city": ["Lima"], "lat": [-12.05], "lng": [-77.04]}).to_parquet(path)
    assert gi.places.load(path).geometry.iloc[0].coords[0] == (-77.04, -12.05)


def test_a_geodataframe_keeps_its_index_and_crs(few):
    projected = few.to_crs("EPSG:3857")
    places = gi.places.load(projected)
    assert places.index.tolist() == list("abcde")
    assert places.crs == "EPSG:3857"
    lon, lat = gi.places.lon_lat(places)
    np.testing.assert_allclose(lon, few.geometry.x, atol=1e-6)
    np.testing.assert_allclose(lat, few.geometry.y, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,lat,lon\nA,91,0\n", "line 2 (A) has the latitude 91; it must lie within ±90"),
        ("name,lat,lon\nA,0,0\nB,0,-180.5\n", "line 3 (B) has the longitude -180.5"),
        # neither a blank line nor a name on two lines makes one lose count
        ('name,lat,lon\n\n"A\n1",0,0\n\nB,0,-181\n', "line 6 (B) has the longitude -181"),
        ('name,lat,lon\n\n"A\n1",0,0\n"B\n2",x,0\n', "line 5, column 'lat': 'x' is not"),
        ("name,lat,lon\nA,0,nan\n", "line 2, column 'lon': 'nan' is not a number of degrees"),
        ("name,lat,lon\nA,,0\n", "line 2, column 'lat' is empty."),
        ("name,lat,lon\nA,0,0\nB,12°N,0\n", "line 3, column 'lat': '12°N' is not a number"),
        ("name,lat,lon\nA,inf,0\n", "no finite latitude"),
        ("name,lat,lon\n,1,0\n", "line 2 has no name"),
        ("name,lat,lon\n  ,1,0\n", "line 2 has no name"),
        ("lat,lon\n1,0\n", "no column of names"),
        ("name,country\nA,FR\n", "no column of lon"),
        ("name,lat,lon\n", "there are no places"),
        ("", "it is empty"),
        ("name;lat;lon\nA;1,5;2,5\n", "it looks separated by ';'; save it with ','"),
        ("name\tlat\tlon\nA\t1\t2\n", r"it looks separated by '\t'; save it with ','"),
        ("name,lat,lon\nA,1,5,2,5\n", "its rows have more fields than its header"),
        ('name,lat,lon\n"A,1,2\n', "not readable as .csv"),
    ],
)
def test_bad_tables(tmp_path, text, said):
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        gi.places.load(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_in_another_encoding(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes("name,lat,lon\nZürich,47,8\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"p\.csv: it is not UTF-8"):
        gi.places.load(path)


def test_a_tsv_of_commas(tmp_path):
    path = tmp_path / "p.tsv"
    path.write_text("name,lat,lon\nLima,-12,-77\n")
    with pytest.raises(InputError, match=r"separated by ','; save it with '\\t'"):
        gi.places.load(path)
    path.write_text(path.read_text().replace(",", "\t"))
    assert gi.places.load(path)["name"].tolist() == ["Lima"]


def test_rows_of_a_file_that_has_no_lines_go_by_their_index(tmp_path):
    path = tmp_path / "p.parquet"
    table = pd.DataFrame({"name": ["Lima", None], "lat": [1.0, 2.0], "lon": [3.0, 4.0]}, list("ab"))
    table.to_parquet(path)
    with pytest.raises(InputError, match="row 'b' has no name"):
        gi.places.load(path)
    table.assign(lat=[1.0, None]).to_parquet(path)
    with pytest.raises(InputError, match="row 'b', column 'lat' is empty"):
        gi.places.load(path)


def test_a_line_is_the_same_after_a_filter(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("name,lat,lon,pop\nA,0,0,1\nB,0,0,2\nC,99,0,3\n")
    with pytest.raises(InputError, match=r"line 4 \(C\)"):
        gi.places.load(path, min_population=2)


def test_bad_sources(tmp_path, few):
    for source, said in [
        (tmp_path / "none.csv", "no such file"),
        (tmp_path, "ends in one of"),
        (few.set_crs(None, allow_override=True), "no CRS"),
        (few.rename(columns={"name": "what"}), "no column of names"),
        (few.assign(geometry=Polygon([(0, 0), (1, 0), (1, 1)])), "is a Polygon"),
        (few.assign(geometry=Point()), "no geometry"),
        (few.assign(name=[None, *"bcde"]), "row 'a' has no name"),
        (few.set_index(pd.Index([1, 1, 2, 3, 4])), "the index holds 1 more than once"),
        (few.iloc[:0], "no places"),
    ]:
        with pytest.raises(InputError, match=said):
            gi.places.load(source)


def test_filters_that_cannot_be(few):
    with pytest.raises(InputError, match="no place has the country 'XX'"):
        gi.places.load(few, countries=["FR", "XX"])
    with pytest.raises(InputError, match="no column 'population'"):
        gi.places.load(few.drop(columns="population"), min_population=5)
    with pytest.raises(InputError, match="limit is 0"):
        gi.places.load(few, limit=0)
    with pytest.raises(InputError, match="no places"):
        gi.places.load(few, min_population=10**9)


def test_the_callers_table_is_left_alone(few):
    before = few.rename(columns={"name": "city"})
    gi.places.load(before)
    assert "city" in before.columns
    assert isinstance(before, gpd.GeoDataFrame)


def test_other_names_are_in_their_script_and_not_the_same():
    places = gi.places.load("geonames", limit=300)
    greek = gi.geonames.other_names(places, "greek")
    named = dict(zip(places["name"], greek, strict=True))
    assert greek.index.equals(places.index)
    assert named["Moscow"] == "Μόσχα"
    latin = gi.geonames.other_names(places, "latin", seed=1)
    for own, other in zip(places["name"], latin, strict=True):
        if other is not None:
            assert other.casefold() != own.casefold()
            assert other.isascii() or "LATIN" in {unicodedata.name(c)[:5] for c in other}
            assert not other.isupper()
    # one place's name depends on no other place
    assert gi.geonames.other_names(places.tail(50), "latin", seed=1).equals(latin.tail(50))
    assert not gi.geonames.other_names(places, "latin", seed=2).equals(latin)
    with pytest.raises(InputError, match="no place has a name in it"):
        gi.geonames.other_names(places, "klingon")
    with pytest.raises(InputError, match="GeoNames' own places"):
        gi.geonames.other_names(places.reset_index(drop=True), "greek")


def test_a_data_frame_with_lon_and_lat_is_a_table_of_places():
    table = pd.DataFrame({"City": ["Toulouse"], "Longitude": [1.44], "lat": [43.6], "code": [7]})
    places = gi.places.load(table)
    assert places["name"].tolist() == ["Toulouse"]
    assert (places.geometry.x.item(), places.geometry.y.item()) == (1.44, 43.6)
    with pytest.raises(InputError, match="the DataFrame: there is no column of lat"):
        gi.places.load(table.drop(columns="lat"))
