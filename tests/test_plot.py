import matplotlib

matplotlib.use("Agg")

import anndata
import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import synthetic_acts
from pyproj import Transformer
from scipy import sparse
from shapely import Polygon, union_all

import geointerp as gi
from geointerp import plot
from geointerp.errors import InputError


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def everywhere(n, seed=0):
    rng = np.random.default_rng(seed)
    return gi.sphere.lon_lat(rng.standard_normal((n, 3)))


def features(n=80, seed=0):
    """Feature "a" is zero at every third place, feature "b" everywhere."""
    lon, lat = everywhere(n, seed)
    values = np.random.default_rng(seed + 1).exponential(size=n)
    values[::3] = 0
    matrix = sparse.csr_matrix(np.column_stack([values, np.zeros(n)]).astype(np.float32))
    return anndata.AnnData(
        matrix,
        obs=pd.DataFrame({"name": [f"p{i}" for i in range(n)]}, index=[str(i) for i in range(n)]),
        var=pd.DataFrame(index=["a", "b"]),
        obsm={"spatial": np.column_stack([lon, lat])},
    )


def make_report(n=50):
    rows = []
    for split, top in (("random", 0.9), ("country", 0.6)):
        for layer in (2, 0, 1):
            rows.append(("model", split, layer, top - 0.1 * abs(layer - 1)))
            rows.append(("untrained", split, layer, 0.05 - 0.02 * layer))
        rows.append(("bag of tokens", split, None, top / 2))
    table = pd.DataFrame(rows, columns=["source", "split", "layer", "r2"])
    table["layer"] = table["layer"].astype("Int64")
    lon, lat = everywhere(n)
    to_lon, to_lat = everywhere(n, 7)
    predictions = pd.DataFrame(
        {
            "name": [f"p{i}" for i in range(n)],
            "lon": lon,
            "lat": lat,
            "predicted_lon": to_lon,
            "predicted_lat": to_lat,
            "error_km": gi.sphere.distance_km(lon=lon, lat=lat, to_lon=to_lon, to_lat=to_lat),
        }
    )
    return gi.probes.Report(table, predictions, "coordinates")


def projected(lon, lat):
    return np.stack(plot.equal_earth(lon=lon, lat=lat, center=plot.CENTER), axis=1)


def lightness(colors):
    return np.asarray(colors)[:, :3] @ [0.2126, 0.7152, 0.0722]


def drawn_colors(dots):
    return dots.to_rgba(dots.get_array())


# ---------------------------------------------------------------------------------- projection


@pytest.mark.parametrize("center", [0.0, 11.0, -75.0, 180.0])
def test_equal_earth_is_projs(center):
    lon, lat = everywhere(500)
    theirs = Transformer.from_crs(
        "+proj=longlat +R=1", f"+proj=eqearth +R=1 +lon_0={center}", always_xy=True
    )
    np.testing.assert_allclose(
        plot.equal_earth(lon=lon, lat=lat, center=center), theirs.transform(lon, lat), atol=1e-9
    )


def test_equal_earth_goes_back_and_forth():
    lon, lat = everywhere(500)
    back = Transformer.from_crs("+proj=eqearth +R=1", "+proj=longlat +R=1", always_xy=True)
    across, up = plot.equal_earth(lon=lon, lat=lat)
    np.testing.assert_allclose(back.transform(across, up), (lon, lat), atol=1e-7)


def test_equal_earth_at_its_edges():
    across, up = plot.equal_earth(lon=[180, -180, 0, 0, 0], lat=[0, 0, 90, -90, 0])
    np.testing.assert_allclose(
        across, [2.7066299836960748, -2.7066299836960748, 0, 0, 0], atol=1e-12
    )
    np.testing.assert_allclose(up, [0, 0, 1.3173627591574133, -1.3173627591574133, 0], atol=1e-12)
    # a longitude of the window's edge stays where it is, on either side of another center
    across, _ = plot.equal_earth(lon=[-169.0, 191.0, -170.0, 190.0], lat=[0] * 4, center=11)
    np.testing.assert_allclose(across[0], -across[1])
    np.testing.assert_allclose(across[2], across[3])


def test_equal_earth_keeps_areas_and_order():
    lon, lat = np.meshgrid(np.linspace(-180, 180, 37), np.linspace(-85, 85, 35))
    h = 1e-4
    east = np.subtract(*(plot.equal_earth(lon=lon * 0.99 + s, lat=lat)[0] for s in (h, -h)))
    north = np.subtract(*(plot.equal_earth(lon=lon * 0.99, lat=lat + s)[1] for s in (h, -h)))
    # "up" does not depend on longitude, so that this product is the whole Jacobian
    area = east * north / np.radians(2 * h) ** 2
    np.testing.assert_allclose(area, np.cos(np.radians(lat)), rtol=1e-5)
    assert (east > 0).all()
    assert (north > 0).all()


# ------------------------------------------------------------------------------------- outlines


@pytest.mark.parametrize("center", [plot.CENTER, 0.0, 180.0, -100.0])
def test_outlines_draw_no_streak_across_the_map(center):
    rings = plot.outlines(center=center)
    assert len(rings) > 250
    for ring in rings:
        np.testing.assert_array_equal(ring[0], ring[-1])
        assert np.abs(ring[:, 0] - center).max() <= 180
        far = np.abs(np.diff(ring[:, 0])) > 20
        ends = np.stack([ring[:-1, 1], ring[1:, 1]])[:, far]
        assert (ends == -90).all()  # along the pole and nowhere else


@pytest.mark.parametrize("center", [plot.CENTER, 0.0, 180.0])
def test_outlines_cover_the_land_wherever_they_are_cut(center):
    shapes = []
    for ring in plot.outlines(center=center):
        # the pole is a line on this map, and straight; other edges are short
        shapes.append(
            Polygon(np.stack(plot.equal_earth(lon=ring[:, 0], lat=ring[:, 1], center=center), 1))
        )
    km2 = union_all([shape.buffer(0) for shape in shapes]).area * gi.sphere.EARTH_RADIUS_KM**2
    assert km2 == pytest.approx(147.2e6, rel=0.01)


def test_no_seam_runs_through_antarctica_or_chukotka():
    for ring in plot.outlines(center=11.0):
        along = np.abs(ring[:, 0] - 180) < 1e-9
        assert not (along[:-1] & along[1:] & (np.abs(np.diff(ring[:, 1])) > 1)).any()


def test_world_draws_every_outline_where_it_is():
    ax = plot.world()
    land = ax.collections[2].get_paths()
    rings = plot.outlines()
    assert len(land) == len(rings)
    np.testing.assert_allclose(land[17].vertices[: len(rings[17])], projected(*rings[17].T))
    widest = max(np.abs(np.diff(path.vertices[:, 0])).max() for path in land)
    assert widest < 4.0  # the pole's own line
    assert ax.get_aspect() == 1


# ----------------------------------------------------------------------------------------- maps


def test_activation_map_puts_places_where_they_are_and_colours_by_value():
    feats = features()
    _, ax = plt.subplots()
    assert plot.activation_map(feats, "a", ax=ax) is ax
    values = feats.X[:, 0].toarray().ravel()
    everyone = projected(*feats.obsm["spatial"].T)
    idle, active = ax.collections[-2:]
    np.testing.assert_allclose(idle.get_offsets(), everyone[values == 0])
    order = np.argsort(values[values > 0])
    np.testing.assert_allclose(active.get_offsets(), everyone[values > 0][order])
    np.testing.assert_allclose(active.get_array(), values[values > 0][order])
    shades = lightness(drawn_colors(active))
    assert (np.diff(shades) <= 0).all()  # darker and darker, the strongest on top
    assert shades[0] - shades[-1] > 0.5
    assert active.get_clim() == (0, pytest.approx(values.max()))
    assert "53 of 80" in ax.get_title()


def test_activation_map_of_a_feature_that_never_fires():
    ax = plot.activation_map(features(), "b")
    assert len(ax.collections[-2].get_offsets()) == 80
    assert len(ax.collections[-1].get_offsets()) == 0
    ax.figure.canvas.draw()


def test_activation_map_takes_numbered_features_and_dense_ones():
    feats = features()
    feats.var_names = ["7", "12"]
    feats.X = feats.X.toarray()
    ax = plot.activation_map(feats, 7)
    assert len(ax.collections[-1].get_offsets()) == 53
    with pytest.raises(InputError, match="no feature '0'"):
        plot.activation_map(feats, 0)
    feats.X = feats.X.astype(float)
    feats.X[3] = np.nan
    with pytest.raises(InputError, match="feature '7' is NaN or infinite at 1 place"):
        plot.activation_map(feats, 7)
    del feats.obsm["spatial"]
    with pytest.raises(InputError, match="spatial"):
        plot.activation_map(feats, 7)


def test_probe_map_shows_predictions_by_error():
    report = make_report()
    ax = plot.probe_map(report)
    table = report.predictions.sort_values("error_km")
    dots = ax.collections[-1]
    np.testing.assert_allclose(
        dots.get_offsets(),
        projected(table["predicted_lon"].to_numpy(), table["predicted_lat"].to_numpy()),
    )
    assert (np.diff(lightness(drawn_colors(dots))) <= 0).all()
    assert f"{table['error_km'].median():,.0f} km" in ax.get_title()
    with pytest.raises(InputError, match="coordinates"):
        plot.probe_map(gi.probes.Report(report.table, report.predictions[["name"]], "population"))


def test_error_map_shows_places_where_they_are():
    report = make_report()
    table = report.predictions.sort_values("error_km")
    dots = plot.error_map(report).collections[-1]
    np.testing.assert_allclose(dots.get_offsets(), projected(table["lon"], table["lat"]))
    np.testing.assert_allclose(dots.get_array(), table["error_km"])
    with pytest.raises(InputError, match="coordinates"):
        plot.error_map(gi.probes.Report(report.table, report.predictions[["name"]], "population"))


def test_rating_map_finds_places_by_their_index():
    lon, lat = everywhere(30)
    places = gpd.GeoDataFrame(
        {"name": "x"}, geometry=gpd.points_from_xy(lon, lat), index=range(100, 130), crs=4326
    )
    ratings = pd.DataFrame({"rating": [3.0, np.nan, 9.0, 1.0]}, index=[129, 105, 100, 117])
    for given in (ratings, ratings["rating"]):
        ax = plot.rating_map(places.to_crs("ESRI:54035"), given)
        unknown, dots = ax.collections[-2:]
        everyone = projected(lon, lat)
        np.testing.assert_allclose(unknown.get_offsets(), everyone[[5]], atol=1e-6)
        np.testing.assert_allclose(dots.get_offsets(), everyone[[17, 29, 0]], atol=1e-6)
        assert dots.get_array().tolist() == [1, 3, 9]
        assert dots.get_clim() == (1, 9)
    with pytest.raises(InputError, match="no place '5'"):
        plot.rating_map(places, ratings.set_axis([129, 105, 5, 117]))
    with pytest.raises(InputError, match="no column 'rating'"):
        plot.rating_map(places, ratings.rename(columns={"rating": "other"}))
    with pytest.raises(InputError, match="none of them"):
        plot.rating_map(places, ratings.iloc[[1]])
    with pytest.raises(InputError, match="ratings is a list; it must be a Series on the index"):
        plot.rating_map(places, [1.0] * 30)


def test_residual_map_is_pale_at_0_and_as_strong_on_either_side():
    lon, lat = everywhere(200)
    places = gpd.GeoDataFrame(geometry=gpd.points_from_xy(lon, lat), index=range(200), crs=4326)
    residuals = pd.Series(np.random.default_rng(0).normal(size=200) - 0.5, places.index)
    residuals[[7, 8, 9]] = -99, np.nan, 0
    ax = plot.residual_map(places, residuals[::-1], label="difference of ranks")
    unknown, dots = ax.collections[-2:]
    np.testing.assert_allclose(unknown.get_offsets(), projected(lon, lat)[[8]], atol=1e-6)
    order = residuals[::-1].dropna().abs().sort_values(kind="stable").index
    np.testing.assert_allclose(dots.get_offsets(), projected(lon, lat)[order], atol=1e-6)
    np.testing.assert_allclose(dots.get_array(), residuals[order])
    low, high = dots.get_clim()
    assert low == -high
    # one outlier does not take the scale
    assert high == pytest.approx(residuals.abs().quantile(0.98))
    colors = dots.to_rgba([low, low / 2, 0, high / 2, high])
    assert lightness(colors).argmax() == 2
    assert lightness(colors)[[0, 1]] == pytest.approx(lightness(colors)[[4, 3]], abs=0.15)
    assert colors[0, 2] > colors[0, 0]
    assert colors[4, 0] > colors[4, 2]
    high, below = (residuals > 0).sum(), (residuals < 0).sum()
    assert ax.get_title() == f"{high} places too high, {below} too low"
    with pytest.raises(InputError, match="residuals: there is no place '200'"):
        plot.residual_map(places, pd.Series({200: 1.0}))
    with pytest.raises(InputError, match="residuals: none of them"):
        plot.residual_map(places, residuals[[8]])
    for plain in (residuals.tolist(), residuals.to_numpy()):
        with pytest.raises(InputError, match=r"residuals is a .*; it must be a Series"):
            plot.residual_map(places, plain)


# ------------------------------------------------------------------------------------- curves


def test_spectrum_draws_every_source_at_its_best_layer():
    acts = synthetic_acts()
    report = gi.probes.evaluate(
        acts, target=gi.probes.Harmonics(3), controls=["character n-grams", "shuffled targets"]
    )
    ax = plot.spectrum(report)
    lines = {line.get_label(): line.get_ydata() for line in ax.lines if line.get_label()[0] != "_"}
    assert set(lines) == {"model, layer 1", "character n-grams", "shuffled targets, layer 1"}
    best = report.best()
    np.testing.assert_allclose(lines["model, layer 1"], [best[f"r2_{n}"] for n in (1, 2, 3)])
    assert lines["model, layer 1"][0] > 0.4 > 0.1 > lines["shuffled targets, layer 1"].max()
    with pytest.raises(InputError, match="harmonics"):
        plot.spectrum(make_report())


def test_recall_area_counts_places_by_the_area_searched():
    report = make_report(50)
    with pytest.raises(InputError, match="cells"):
        plot.recall_area(report)
    report.predictions["search_km2"] = np.random.default_rng(0).permutation(np.arange(1, 51)) * 10.0
    area, recall = plot.recall_area(report).lines[0].get_data()
    for a, r in zip(area, recall, strict=True):
        assert r == pytest.approx((report.predictions["search_km2"] <= a).mean())


def test_r2_by_layer_draws_the_table():
    _, ax = plt.subplots()
    report = make_report()
    # by country the untrained model comes nearer than the tokens
    near = (report.table["split"] == "country") & (report.table["source"] == "untrained")
    report.table.loc[near, "r2"] += 0.5
    report.table["low"], report.table["high"] = report.table["r2"] - 0.1, report.table["r2"] + 0.1
    assert plot.r2_by_layer(report, ax=ax) is ax
    lines = {line.get_label(): line for line in ax.lines}
    assert set(lines) == {
        "model, random",
        "model, country",
        "bag of tokens, random",
        "untrained, country",
    }
    np.testing.assert_allclose(lines["model, random"].get_xydata(), [[0, 0.8], [1, 0.9], [2, 0.8]])
    np.testing.assert_allclose(
        lines["untrained, country"].get_xydata(), [[0, 0.55], [1, 0.53], [2, 0.51]]
    )
    np.testing.assert_allclose(lines["bag of tokens, random"].get_xydata(), [[0, 0.45], [2, 0.45]])
    assert lines["model, random"].get_color() == lines["bag of tokens, random"].get_color()
    assert lines["model, random"].get_color() != lines["model, country"].get_color()
    assert lines["model, random"].get_linestyle() == "-"
    assert lines["untrained, country"].get_linestyle() != "-"
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.7, 1.0))
    assert [text.get_text() for text in ax.texts] == ["country", "random"]
    low, high = ax.get_ylim()
    assert low < 0
    assert high == 1


def test_r2_by_layer_keeps_labels_apart_and_takes_a_model_alone():
    report = make_report()
    table = report.table[report.table["source"] == "model"].copy()
    table["r2"] = 0.5
    ax = plot.r2_by_layer(gi.probes.Report(table, report.predictions, "coordinates"))
    heights = sorted(text.xy[1] for text in ax.texts)
    assert np.diff(heights).min() > 0.04
    assert len(ax.lines) == 2


def test_fidelity_joins_what_is_of_one_kind():
    table = pd.DataFrame(
        {
            "architecture": ["topk", "topk", "standard", "topk"],
            "width": [64, 64, 64, 128],
            "seed": 0,
            "l0": [16.0, 4.0, 8.0, 4.0],
            "explained_variance": [0.8, 0.6, 0.5, 0.7],
        }
    )
    ax = plot.fidelity(table)
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert lines["topk, 64"].get_xdata().tolist() == [4, 16]
    assert lines["topk, 64"].get_ydata().tolist() == [0.6, 0.8]
    assert lines["topk, 64"].get_color() == lines["topk, 128"].get_color()
    assert lines["topk, 64"].get_marker() != lines["topk, 128"].get_marker()
    # whatever comes first
    again = plot.fidelity(table[::-1]).get_lines()
    colours = {line.get_label(): line.get_color() for line in again}
    assert colours["standard, 64"] == lines["standard, 64"].get_color()
    with pytest.raises(InputError, match="no column 'l0'"):
        plot.fidelity(table.drop(columns="l0"))
    with pytest.raises(InputError, match="no autoencoder"):
        plot.fidelity(table[:0])


def seen():
    """Places on a grid in Europe where a corner fires, and its local Moran's I."""
    lon, lat = (at.ravel() for at in np.meshgrid(np.arange(10.0), np.arange(40.0, 50.0)))
    places = gpd.GeoDataFrame(
        geometry=gpd.points_from_xy(lon, lat), crs="EPSG:4326", index=[f"p{i}" for i in range(100)]
    )
    fires = ((lon < 4) & (lat < 44)).astype(float)
    table = pd.DataFrame({"a": fires, "b": 0.0}, index=places.index)
    return places, table, gi.spatial.local_moran(table, gi.spatial.knn(places, k=4))


def test_clusters_are_drawn_where_they_are():
    places, _, local = seen()
    ax = plot.lisa_map(local, "a", places)
    cluster = local["cluster"].sel(feature="a").values
    labelled = [c for c in ax.collections if not c.get_label().startswith("_")]
    drawn = {c.get_label(): c.get_offsets() for c in labelled}
    high = drawn[f"high among high ({(cluster == 'HH').sum()})"]
    assert (cluster == "HH").sum() > 8
    lon, lat = gi.places.lon_lat(places)
    expected = projected(lon[cluster == "HH"], lat[cluster == "HH"])
    np.testing.assert_allclose(np.sort(high, axis=0), np.sort(expected, axis=0))
    assert f"in no cluster ({(cluster == '').sum()})" in drawn
    assert sum(map(len, drawn.values())) == len(places)
    # the legend names what is drawn
    assert sorted(text.get_text() for text in ax.get_legend().get_texts()) == sorted(drawn)


def test_a_lisa_map_refuses_what_is_none():
    places, table, local = seen()
    with pytest.raises(InputError, match="no feature 'z' among the 2"):
        plot.lisa_map(local, "z", places)
    with pytest.raises(InputError, match="feature 'b' was not tested: It fires on no place"):
        plot.lisa_map(local, "b", places)
    with pytest.raises(InputError, match="not those of the local statistics"):
        plot.lisa_map(local, "a", places.iloc[::-1])
    hot = gi.spatial.local_g(table, gi.spatial.knn(places, k=4), permutations=99)
    with pytest.raises(InputError, match="local Moran"):
        plot.lisa_map(hot, "a", places)


def test_a_correlogram_has_its_steps_and_what_chance_gives():
    places, table, _ = seen()
    bands = gi.spatial.correlogram(table, places, edges_km=(0, 150, 400, 900))
    ax = plot.correlogram(bands, "a")
    of_a = bands[bands["feature"] == "a"]
    chance, found = (step.get_data() for step in ax.patches)
    np.testing.assert_allclose(found.values, of_a["I"])
    np.testing.assert_allclose(found.edges, [0, 150, 400, 900])
    np.testing.assert_allclose(chance.values, -1 / 99)
    high = ax.collections[0].get_paths()[0].vertices[:, 1].max()
    spread = (2 * (of_a["I"] - of_a["expected_I"]) / of_a["z"]).abs()
    assert high == pytest.approx((of_a["expected_I"] + spread).max())
    with pytest.raises(InputError, match="no feature 'z'"):
        plot.correlogram(bands, "z")
    with pytest.raises(InputError, match="feature b: It fires on no place"):
        plot.correlogram(bands, "b")


def test_arrows_lead_from_places_to_where_the_probe_puts_them():
    report = make_report(50)
    ax = plot.arrow_map(report, places=20, seed=3)
    shown = report.predictions.sample(20, random_state=3)
    (starts,) = [c for c in ax.collections if len(c.get_offsets()) == 20]
    at = projected(shown["lon"], shown["lat"])
    np.testing.assert_allclose(np.sort(starts.get_offsets(), axis=0), np.sort(at, axis=0))
    to = projected(shown["predicted_lon"], shown["predicted_lat"])
    heads = np.array([arrow.xy for arrow in ax.texts])
    assert len(heads) == 20
    np.testing.assert_allclose(np.sort(heads, axis=0), np.sort(to, axis=0), atol=1e-9)
    # none goes right across the map where a great circle leaves it at one side
    ways = [p.vertices for c in ax.collections[-2:] for p in c.get_paths() if len(p.vertices) > 1]
    assert max(np.hypot(*np.diff(way, axis=0).T).max() for way in ways) < 0.5
    with pytest.raises(InputError, match="places is 0"):
        plot.arrow_map(report, places=0)


def test_a_map_is_narrowed_to_its_places():
    places, _, local = seen()
    ax = plot.zoom(plot.lisa_map(local, "a", places), places, margin=0.2)
    points = projected(*gi.places.lon_lat(places))
    low, high = points.min(axis=0), points.max(axis=0)
    around = 0.2 * (high - low).max()
    np.testing.assert_allclose(ax.get_xlim(), (low[0] - around, high[0] + around))
    np.testing.assert_allclose(ax.get_ylim(), (low[1] - around, high[1] + around))


@pytest.mark.parametrize(("degrees", "shown"), [(3, False), (6, True)])
def test_a_map_of_a_few_kilometres_has_no_outlines_of_the_world(degrees, shown):
    # 3 degrees of latitude are 334 km, 6 are 667
    lat = np.array([45, 45 + degrees])
    places = gpd.GeoSeries(gpd.points_from_xy([10, 10], lat), crs="EPSG:4326")
    ax = plot.zoom(plot.world(), places)
    sea, grid, land, frame = ax.collections
    assert [sea.get_visible(), land.get_visible()] == [shown, shown]
    assert grid.get_visible()
    assert frame.get_visible()
