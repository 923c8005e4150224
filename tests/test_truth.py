import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine, from_origin

import geointerp as gi
from geointerp import sphere
from geointerp.errors import InputError
from geointerp.geollm import truth
from geointerp.geollm.truth import rasters


def points(lon, lat, index=None, **columns):
    return gpd.GeoDataFrame(
        columns, geometry=gpd.points_from_xy(lon, lat), index=index, crs="EPSG:4326"
    )


def everywhere(random, n):
    return sphere.lon_lat(random.standard_normal((n, 3)))


# a column


def test_a_column_is_taken_as_it_is_or_by_its_logarithm():
    places = points([1, 2, 3], [4, 5, 6], index=list("abc"), n=["10", None, "1000"])
    found = truth.from_column(places, "n")
    assert found["a"] == 10
    assert np.isnan(found["b"])
    logs = truth.from_column(places, "n", log10=True)
    assert logs[["a", "c"]].tolist() == [1, 3]
    assert logs.attrs == {"source": "column 'n'", "log10": True}
    with pytest.raises(InputError, match="no column 'm'; it has n, geometry"):
        truth.from_column(places, "m")
    with pytest.raises(InputError, match="column 'n': row 'b' is -1, which has no logarithm"):
        truth.from_column(places.assign(n=[1, -1, 2]), "n", log10=True)


# points


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    km=st.sampled_from([0.5, 25.0, 300.0, 5000.0, 30_000.0]),
    spread=st.sampled_from([0.01, 1.0, 20.0, None]),
    itself=st.booleans(),
)
def test_points_are_those_that_looking_at_each_gives(seed, km, spread, itself):
    random = np.random.default_rng(seed)
    n, m = random.integers(1, 30, 2)
    lon, lat = everywhere(random, n + m)
    if spread:
        lon = (random.uniform(-180, 180) + spread * random.normal(size=n + m) + 180) % 360 - 180
        lat = np.clip(random.uniform(-90, 90) + spread * random.normal(size=n + m), -90, 90)
    lon[0], lat[0] = lon[-1], lat[-1]  # one place is a point itself
    value = random.normal(size=m)
    value[random.uniform(size=m) < 0.2] = np.nan
    places = points(lon[:n], lat[:n], index=random.permutation(n))
    others = points(lon[n:], lat[n:], value=value)
    away = sphere.distance_km(lon=lon[:n, None], lat=lat[:n, None], to_lon=lon[n:], to_lat=lat[n:])
    near = (away <= km) & ~np.isnan(value)
    if not itself:
        near &= away > 1e-3
    total = (near * np.nan_to_num(value)).sum(1)
    options = {"km": km, "column": "value", "itself": itself}
    found = truth.from_points(places, others, how="sum", **options)
    assert list(found.index) == list(places.index)
    np.testing.assert_allclose(found, total, rtol=0, atol=1e-9)
    counted = truth.from_points(places, others, how="count", **options)
    np.testing.assert_array_equal(counted, near.sum(1))
    mean = truth.from_points(places, others, how="mean", **options)
    expected = np.where(near.any(1), total / np.maximum(near.sum(1), 1), np.nan)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-9)


def test_a_point_just_as_far_counts_across_the_date_line():
    places, others = points([179.9, 0], [0, 90]), points([-179.9, 77], [0, 89], n=[5, 7])
    reach = float(sphere.distance_km(lon=179.9, lat=0, to_lon=-179.9, to_lat=0))
    assert truth.from_points(places, others, how="sum", km=reach, column="n")[0] == 5
    less = np.nextafter(reach, 0)
    assert truth.from_points(places, others, how="sum", km=less, column="n")[0] == 0
    assert truth.from_points(places, others, how="sum", km=112, column="n")[1] == 7


def test_population_within_25_km_of_paris_and_of_nowhere():
    cities = gi.places.load("geonames", countries=["FR"])
    places = points([2.3488, -125], [48.8534, -48], index=["Paris", "Pacific"])
    found = truth.from_points(places, cities, how="sum", km=25, column="population")
    lon, lat = gi.places.lon_lat(cities)
    away = sphere.distance_km(lon=2.3488, lat=48.8534, to_lon=lon, to_lat=lat)
    assert found["Paris"] == cities["population"][away <= 25].sum() > 5e6
    assert found["Pacific"] == 0
    assert found.attrs["how"] == "sum"
    assert found.attrs["km"] == 25
    metres = truth.from_points(
        places.to_crs("EPSG:3857"),
        cities.to_crs("EPSG:3035"),
        how="sum",
        km=25,
        column="population",
    )
    pd.testing.assert_series_equal(metres, found)


def test_all_points_may_be_counted_without_a_column():
    found = truth.from_points(points([0], [0]), points([0, 1, 5], [0, 0, 0]), how="count", km=200)
    assert found.tolist() == [2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": "median", "km": 1}, "how is 'median'"),
        ({"how": "sum", "km": 1}, "needs a column"),
        ({"how": "count", "km": 0}, "km is 0"),
        ({"how": "count", "km": np.inf}, "km is inf"),
        ({"how": "sum", "km": 1, "column": "x"}, "points: there is no column 'x'"),
        ({"how": "sum", "km": 1, "column": "word"}, "column 'word': not every value is a number"),
    ],
)
def test_points_that_cannot_be_asked_so_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        truth.from_points(points([0], [0]), points([0], [0], word=["a"]), **options)


def test_there_is_no_default_for_how():
    with pytest.raises(TypeError, match="how"):
        truth.from_points(points([0], [0]), points([0], [0], n=[1]), km=1, column="n")
    with pytest.raises(TypeError, match="how"):
        truth.from_raster(points([0], [0]), "x.tif", km=1)


# rasters


def write(path, values, transform, crs, **more):
    values = np.asarray(values)
    values = values if values.ndim == 3 else values[None]
    count, height, width = values.shape
    tags = {name: more.pop(name) for name in ("scales", "offsets", "units") if name in more}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=count,
        dtype=values.dtype,
        transform=transform,
        crs=crs,
        **more,
    ) as file:
        file.write(values)
        for name, value in tags.items():
            setattr(file, name, value)
    return path


def brute(path, lon, lat, km):
    """Sum, mean and cells with data, looking at every cell of the raster."""
    with rasterio.open(path) as file:
        values = file.read(1).astype(float)
        rows, columns = np.mgrid[: file.height, : file.width]
        across, up = np.reshape(
            rasterio.transform.xy(file.transform, rows, columns), (2, *rows.shape)
        )
        crs = pyproj.CRS.from_wkt(file.crs.to_wkt())
    to = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    to_lon, to_lat = (np.where(np.isinf(v), np.nan, v) for v in to.transform(across, up))
    area = np.cos(np.radians(to_lat))
    if not crs.is_geographic:
        area = 1 / pyproj.Proj(crs).get_factors(to_lon, to_lat).areal_scale
    rows = []
    for at_lon, at_lat in zip(lon, lat, strict=True):
        away = sphere.distance_km(lon=at_lon, lat=at_lat, to_lon=to_lon, to_lat=to_lat)
        near = (away <= km) & np.isfinite(values)
        if near.any():
            mean = np.average(values[near], weights=area[near])
            rows.append([values[near].sum(), mean, near.sum()])
        else:
            rows.append([np.nan, np.nan, 0])
    return np.array(rows)


GRIDS = {
    "globe": ("EPSG:4326", from_origin(-180, 90, 2, 2), (90, 180), 6000),
    "from 0 to 360": ("EPSG:4326", from_origin(0, 90, 3, 3), (60, 120), 6000),
    "upside down": ("EPSG:4326", Affine(2, 0, -180, 0, 2, -90), (90, 180), 6000),
    "a region in degrees": ("EPSG:4326", from_origin(170, 20, 0.5, 0.25), (160, 60), 300),
    "uneven steps": ("EPSG:4326", from_origin(-180, 84, 0.7, 1.1), (140, 500), 700),
    "turned": ("EPSG:4326", Affine(0.5, 0.1, 10, -0.1, -0.5, 50), (40, 60), 300),
    "Mercator": (
        "EPSG:3857",
        from_origin(-20_037_508.342789, 2e7, 667_916.944760, 5e5),
        (80, 60),
        3000,
    ),
    "fine Mercator": (
        "EPSG:3857",
        from_origin(-20_037_508.342789, 1.1e7, 4_007.5016685578, 1.5e5),
        (30, 10_000),
        1200,
    ),
    "equal area cylinder": (
        "EPSG:6933",
        from_origin(-17_367_530.445, 7_314_540, 694_701.2178, 365_727),
        (40, 50),
        4000,
    ),
    "Mollweide": ("ESRI:54009", from_origin(-18_040_000, 9_020_000, 4.1e5, 4.1e5), (44, 88), 4000),
    "UTM": ("EPSG:32633", from_origin(3e5, 5.4e6, 1000, 2000), (50, 70), 25),
    "north pole": ("EPSG:3995", from_origin(-4e6, 4e6, 1e5, 1e5), (80, 80), 1500),
    "Europe": ("EPSG:3035", from_origin(2.5e6, 5.5e6, 5e4, 5e4), (80, 100), 400),
}


@pytest.mark.parametrize("kind", GRIDS)
def test_a_raster_gives_what_looking_at_every_cell_gives(kind, tmp_path):
    crs, transform, shape, km = GRIDS[kind]
    random = np.random.default_rng(0)
    values = random.lognormal(size=shape)
    values[random.uniform(size=shape) < 0.1] = np.nan
    path = write(tmp_path / "a.tif", values, transform, crs)
    # places on the raster, at its seams, and all over the globe
    rows, columns = random.integers(0, shape[0], 30), random.integers(0, shape[1], 30)
    to = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lon, lat = to.transform(*(rasterio.transform.xy(transform, rows, columns)))
    known = np.isfinite(lon)
    lon, lat = (np.asarray(lon)[known] + 180) % 360 - 180, np.asarray(lat)[known]
    far_lon, far_lat = everywhere(random, 10)
    seam_lat = random.uniform(-70, 70, 4)
    # so far from the date line that slivers of the disc lie beyond it
    wide = np.degrees(np.arcsin(min(1, 2 * np.sin(km / 6371))))
    sliver = 180 - wide * np.array([0.845, 0.868, 0.99])
    lon = np.concatenate([lon, far_lon, [179.99, -179.99, 180, -180], [0, 120, 33]])
    lat = np.concatenate([lat, far_lat, seam_lat, [90, -90, 88]])
    lon, lat = np.concatenate([lon, sliver, -sliver]), np.append(lat, [60.0] * 6)
    places = points(lon, lat, index=random.permutation(len(lon)))
    expected = brute(path, lon, lat, km)
    assert (expected[:, 2] > 0).sum() > 10
    for how, column in (("sum", 0), ("mean", 1)):
        found = truth.from_raster(places, path, how=how, km=km)
        assert list(found.index) == list(places.index)
        np.testing.assert_array_equal(found["n_cells"], expected[:, 2])
        np.testing.assert_allclose(found["truth"], expected[:, column], rtol=1e-9)
        assert (found["coverage"] <= 1 + 1e-12).all()
        assert ((found["reason"] == "") == (found["n_cells"] > 0)).all()


def test_what_has_no_data_is_no_part_of_sum_or_mean_and_is_told(tmp_path):
    values = np.array([[1, 2, -99], [4, 5, 6], [7, -99, 9]], np.int16)
    path = write(
        tmp_path / "a.tif", values, from_origin(0, 3, 1, 1), "EPSG:4326",
        nodata=-99, scales=(0.5,), offsets=(10,), units=("persons",),
    )  # fmt: skip
    places = points([1.5, 2.5, 0.5, 90], [1.5, 2.5, 2.5, 0], index=list("mnwf"))
    found = truth.from_raster(places, path, how="sum", km=1000)
    known = np.array([1, 2, 4, 5, 6, 7, 9]) / 2 + 10
    np.testing.assert_allclose(found["truth"][:3], known.sum())
    assert found["n_cells"].tolist() == [7, 7, 7, 0]
    # the raster covers 0.035 of a disc of 1,000 km, and two of its nine cells say nothing
    share = 9 * 111.195**2 * 7 / 9 / (np.pi * 1000**2)
    np.testing.assert_allclose(found["coverage"], [share, share, share, 0], atol=0.005)
    assert found["reason"].tolist() == ["", "", "", "no cell's centre lies within 1000 km"]
    assert found.attrs["units"] == "persons"
    assert found.attrs["how"] == "sum"
    near = truth.from_raster(places, path, how="mean", km=30)
    assert near["truth"][["m", "w"]].tolist() == [12.5, 10.5]
    assert near["coverage"][["m", "w"]].tolist() == [1, 1]
    assert near.loc["n", "reason"] == "the raster has no data within 30 km"
    off = truth.from_raster(points([1.0], [1.0]), path, how="mean", km=30)
    assert np.isnan(off["truth"][0])
    assert off.loc[0, "reason"] == "no cell's centre lies within 30 km"


def test_an_amount_of_one_for_each_square_kilometre_sums_to_the_area(tmp_path):
    """And a raster that ends in the middle of a disc covers half of it."""
    square = np.ones((400, 400), np.float32)
    path = write(tmp_path / "a.tif", square, from_origin(5e5, 5.2e6, 1000, 1000), "EPSG:32633")
    to = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    lon, lat = to.transform([7e5, 5e5, 5e5], [5e6, 5e6, 5.2e6])
    found = truth.from_raster(points(lon, lat), path, how="sum", km=60)
    np.testing.assert_allclose(found["coverage"], [1, 0.5, 0.25], atol=0.01)
    # the sphere's kilometre, and the grid's, are each off by less than 0.5%
    np.testing.assert_allclose(found["truth"], np.pi * 60**2 * np.array([1, 0.5, 0.25]), rtol=0.01)


def test_a_mean_weighs_cells_by_their_area(tmp_path):
    """The mean of cos² over the globe is 2/3 by area, 1/2 by cells."""
    lat = np.arange(89.5, -90, -1)
    values = np.tile(np.cos(np.radians(lat))[:, None] ** 2, (1, 360))
    path = write(tmp_path / "a.tif", values, from_origin(-180, 90, 1, 1), "EPSG:4326")
    whole = truth.from_raster(points([12], [34]), path, how="mean", km=20_100)
    assert whole.loc[0, "truth"] == pytest.approx(2 / 3, abs=1e-4)
    assert whole.loc[0, "n_cells"] == 360 * 180
    assert whole.loc[0, "coverage"] == pytest.approx(1)


def test_columns_that_a_file_holds_twice_count_once(tmp_path):
    once = np.random.default_rng(0).uniform(size=(18, 36))
    twice = np.concatenate([once, once[:, :1]], axis=1)
    where = from_origin(-185, 90, 10, 10), "EPSG:4326"
    places = points([180, -180, 175], [0, 0, 60])
    one = truth.from_raster(places, write(tmp_path / "1.tif", once, *where), how="sum", km=3000)
    two = truth.from_raster(places, write(tmp_path / "2.tif", twice, *where), how="sum", km=3000)
    pd.testing.assert_frame_equal(one, two)
    assert (one["n_cells"] > 10).all()


def test_a_huge_raster_is_read_where_the_places_are(tmp_path, monkeypatch):
    """400,000 by 200,000 cells of which one tile is written; all of it would be 320 GB."""
    path = tmp_path / "huge.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=400_000, height=200_000, count=2, dtype="float32",
        crs="EPSG:4326", transform=from_origin(-180, 90, 0.0009, 0.0009), tiled=True,
        sparse_ok=True, BIGTIFF="YES", nodata=-1,
    ) as file:  # fmt: skip
        file.write(np.full((256, 256), 3, np.float32), 2, window=((256, 512), (512, 768)))
    lon, lat = -180 + 0.0009 * 640, 90 - 0.0009 * 384
    sizes, plain = [], rasters._Lattice.read

    def counted(self, band, rows, columns):
        sizes.append(len(rows) * len(columns))
        return plain(self, band, rows, columns)

    monkeypatch.setattr(rasters._Lattice, "read", counted)
    found = truth.from_raster(points([lon, 50], [lat, 10]), path, how="mean", km=0.2, band=2)
    assert found.loc[0, "truth"] == pytest.approx(3)
    assert found.loc[1, "reason"] == "the raster has no data within 0.2 km"
    assert len(sizes) == 2
    assert max(sizes) < 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": "median"}, "a rate is never summed"),
        ({"band": 2}, "there is no band 2; it has 1"),
        ({"band": 0}, "there is no band 0"),
        ({"km": -1}, "km is -1"),
    ],
)
def test_a_raster_that_cannot_be_asked_so_is_refused(options, message, tmp_path):
    path = write(tmp_path / "a.tif", np.ones((2, 2)), from_origin(0, 2, 1, 1), "EPSG:4326")
    with pytest.raises(InputError, match=message):
        truth.from_raster(points([1], [1]), path, **({"how": "mean", "km": 100} | options))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_files_that_are_no_rasters_are_refused(tmp_path):
    place = points([1], [1])
    with pytest.raises(InputError, match=r"none.tif: not readable as a raster"):
        truth.from_raster(place, tmp_path / "none.tif", how="sum", km=1)
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(InputError, match=r"text.tif: not readable as a raster") as told:
        truth.from_raster(place, tmp_path / "text.tif", how="sum", km=1)
    assert "\n" not in str(told.value)
    bare = write(tmp_path / "bare.tif", np.ones((2, 2)), from_origin(0, 2, 1, 1), None)
    with pytest.raises(InputError, match="no CRS"):
        truth.from_raster(place, bare, how="sum", km=1)
    whole = write(
        tmp_path / "cut.tif", np.ones((500, 500)), from_origin(0, 2, 0.004, 0.004), "EPSG:4326"
    )
    whole.write_bytes(whole.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"cut.tif: not readable as a raster"):
        truth.from_raster(points([1], [0.1]), whole, how="sum", km=10)
    with pytest.raises(InputError, match="places: the table has no CRS"):
        truth.from_raster(place.set_crs(None, allow_override=True), bare, how="sum", km=1)
