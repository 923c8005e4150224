import numpy as np
import pandas as pd
import pytest
from conftest import synthetic_acts

import geointerp as gi
from geointerp import sphere
from geointerp.errors import InputError
from geointerp.probes import RandomKFold, targets
from geointerp.probes.cells import Cells, merged, quadtree
from geointerp.probes.harmonics import Harmonics, real_harmonics


def world(n=800, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(-180, 180, n), np.degrees(np.arcsin(random.uniform(-1, 1, n)))


def planted(columns, lon, lat, noise=0.05, hidden=40, seed=1, **coords):
    """Activations whose layer 1 holds some columns linearly, and layer 0 nothing."""
    random = np.random.default_rng(seed)
    acts = synthetic_acts(n=len(lon), hidden=hidden).copy()
    columns = (columns - columns.mean(0)) / columns.std(0)
    held = columns @ random.normal(size=(columns.shape[1], hidden))
    acts.values[:, 0] = random.normal(size=(len(lon), hidden))
    acts.values[:, 1] = held + noise * held.std() * random.normal(size=held.shape)
    placed = {"lon": ("place", lon), "lat": ("place", lat)}
    return acts.assign_coords(placed | {k: ("place", v) for k, v in coords.items()})


def probed(acts, target):
    report = gi.probes.evaluate(acts, target=target, cv=RandomKFold(), controls=False)
    return report, report.at(0), report.at(1)


def test_the_sphere_has_no_seam():
    lon, lat = world()
    acts = planted(sphere.unit_vectors(lon=lon, lat=lat), lon, lat)
    report, noise, found = probed(acts, "sphere")
    assert noise["r2"] < 0.01
    assert found["r2"] > 0.99
    assert found["median_km"] < 300
    seam = report.predictions["lon"].abs() > 175
    assert report.predictions["error_km"][seam].median() < 400
    # as longitude and latitude, the same activations are not linear
    flat, _, degrees = probed(acts, "coordinates")
    assert degrees["median_km"] > 2 * found["median_km"]
    assert flat.predictions["error_km"][seam].median() > 1000


def test_a_category_is_found_and_noise_is_as_good_as_the_most_frequent():
    lon, lat = world()
    codes = np.digitize(lon, [-120, -40, 0, 100])
    labels = np.array(["a", "b", "c", "d", "e"])[codes]
    acts = planted(np.eye(5)[codes], lon, lat, noise=0.2, continent=labels)
    report, noise, found = probed(acts, "continent")
    assert report.main == "accuracy"
    assert found["accuracy"] > 0.99
    assert found["most_frequent"] == pd.Series(labels).value_counts(normalize=True).iloc[0]
    assert noise["accuracy"] < noise["most_frequent"] + 0.03
    assert report.summary["nll"][0] < 0.3 < 1.3 < report.summary["nll_prior"][0]
    assert report.summary["calibration_error"][0] < 0.1
    right = report.predictions["predicted_continent"] == report.predictions["continent"]
    assert right.mean() == pytest.approx(found["accuracy"])


def test_labels_of_few_places_have_no_target(caplog):
    lon, lat = world(100)
    labels = np.array(["a"] * 50 + ["b"] * 45 + ["rare"] * 4 + [None], dtype=object)
    acts = planted(np.eye(2)[(labels == "a").astype(int)], lon, lat, continent=labels)
    report, _, found = probed(acts, "continent")
    assert found["n"] == 95
    assert report.about["places without a target"] == 5
    assert "5 of 100 places are left out: no continent, or one of fewer than 5" in caplog.text
    with pytest.raises(InputError, match=r"2 label\(s\) .* a category|1 label\(s\)"):
        gi.probes.evaluate(acts, target=gi.probes.Category("continent", least=48), controls=False)


def test_a_logarithm():
    lon, lat = world(300)
    people = 10 ** np.random.default_rng(3).uniform(3, 7, 300)
    people[:3] = 0, -1, np.nan
    acts = planted(np.log10(np.where(people > 0, people, 1e4))[:, None], lon, lat, people=people)
    report, noise, found = probed(acts, "log people")
    assert found["r2"] > 0.98
    assert noise["r2"] < 0.02
    assert found["n"] == 297
    assert report.summary["spearman_log10_people"][0] > 0.98
    assert report.predictions["people"].iloc[0] == people[3]


def test_harmonics_are_orthonormal():
    # Gauss and Legendre's points integrate them exactly
    nodes, weights = np.polynomial.legendre.leggauss(12)
    turns = np.arange(24) * 15.0
    lat, lon = (a.ravel() for a in np.meshgrid(np.degrees(np.arcsin(nodes)), turns, indexing="ij"))
    values = real_harmonics(6, lon=lon, lat=lat)
    area = np.repeat(weights, 24) * 2 * np.pi / 24
    np.testing.assert_allclose((values * area[:, None]).T @ values, np.eye(49), atol=1e-12)
    # degree 1 is the unit vector, up to order and size
    vectors = sphere.unit_vectors(lon=lon, lat=lat)
    for column in vectors.T:
        assert np.abs(np.corrcoef(values[:, 1:4].T, column)[-1, :-1]).max() == pytest.approx(1)


def test_the_spectrum_ends_where_the_map_does():
    lon, lat = world(1500)
    known = real_harmonics(3, lon=lon, lat=lat)[:, 1:]
    _, noise, found = probed(planted(known, lon, lat), Harmonics(6))
    assert min(found[f"r2_{n}"] for n in (1, 2, 3)) > 0.95
    assert max(found[f"r2_{n}"] for n in (4, 5, 6)) < 0.02
    assert found["degree_read"] == 3
    assert found["resolution_km"] == pytest.approx(20_015 / 3, abs=1)
    assert max(noise[f"r2_{n}"] for n in range(1, 7)) < 0.02
    assert noise["degree_read"] == 0
    assert np.isnan(noise["resolution_km"])
    # each degree had a penalty of its own
    assert found["r2"] == pytest.approx(np.mean([found[f"r2_{n}"] for n in range(1, 7)]))


def test_a_quadtree_of_one_area_at_each_depth():
    lon, lat = world(3000, seed=5)
    code, area = quadtree(lon=lon, lat=lat, most=50)
    counts = np.bincount(code)
    assert counts.max() <= 50
    assert counts.min() >= 1
    globe = 4 * np.pi * sphere.EARTH_RADIUS_KM**2
    assert area.sum() == pytest.approx(globe, rel=1e-9)  # no cell is empty here
    assert set(np.round(np.log(globe / area) / np.log(4), 9) % 1) == {0}
    # places of one cell lie together
    for cell in range(0, len(area), 7):
        assert np.ptp(lon[code == cell]) <= 360 / 2 ** np.round(
            np.log(globe / area[cell]) / np.log(4)
        )
    # places at one point cannot be told apart
    code, area = quadtree(lon=np.zeros(99), lat=np.zeros(99), most=10)
    assert len(area) == 1


def test_small_cells_are_joined_to_the_nearest():
    lon, lat = np.array([0.0, 1, 50, 51, 52, 53]), np.zeros(6)
    points = sphere.unit_vectors(lon=lon, lat=lat)
    code = np.array([0, 0, 1, 2, 2, 2])
    code, area = merged(code, np.array([10.0, 20, 40]), points, 2)
    assert code.tolist() == [0, 0, 1, 1, 1, 1]
    assert area.tolist() == [10, 60]


def test_labels_are_smoothed_as_pigeons_are():
    table = pd.DataFrame({"lon": [0.0, 0.2, 1.0, 1.2, 9.0, 9.2], "lat": np.zeros(6)})
    cells = Cells(2, least=1, tau_km=75.0)
    bound = cells.bind(table)
    np.testing.assert_allclose(bound.values.sum(1), 1)
    km = sphere.distance_km(lon=0.2, lat=0.0, to_lon=bound.centre[:, 0], to_lat=bound.centre[:, 1])
    own = km[bound.cell[1]]
    weight = np.exp(-(km - own) / 75)
    np.testing.assert_allclose(bound.values[1], weight / weight.sum(), rtol=1e-9)
    hard = Cells(2, least=1, tau_km=0).bind(table).values
    assert sorted(np.unique(hard)) == [0, 1]
    assert (hard.sum(1) == 1).all()
    with pytest.raises(InputError, match="make one cell"):
        Cells(6, least=1).bind(table)
    with pytest.raises(InputError, match="least is 5 and most is 3"):
        Cells(3, least=5)


def test_cells_are_found_and_the_area_to_search_is_small():
    lon, lat = world(1500)
    cells = Cells(80, least=10, tau_km=0)
    bound = cells.bind(pd.DataFrame({"lon": lon, "lat": lat}))
    acts = planted(bound.values, lon, lat, noise=0.3, hidden=60)
    report, noise, found = probed(acts, cells)
    assert found["accuracy"] > 0.95
    assert found["mcfadden_r2"] > 0.7
    assert noise["mcfadden_r2"] < 0.02
    globe = 4 * np.pi * sphere.EARTH_RADIUS_KM**2
    assert report.summary["area50_km2"][0] < globe / 20
    assert found["median_km"] < 2000


@pytest.mark.parametrize(
    ("spec", "kind", "name"),
    [
        ("coordinates", targets.Coordinates, "coordinates"),
        ("population", targets.Number, "population"),
        ("log population", targets.Number, "log10 population"),
        ("country", targets.Category, "country"),
        ("harmonics", Harmonics, "harmonics"),
    ],
)
def test_a_target_by_its_name(spec, kind, name):
    table = pd.DataFrame(
        {
            "lon": [1.0, 2, 3] * 4,
            "lat": [1.0, 5, 3] * 4,
            "population": [1, 2, 3] * 4,
            "country": list("ab") * 6,
        }
    )
    found = targets.of(spec, table)
    assert type(found) is kind
    assert found.name == name


def test_targets_that_are_not_there():
    table = pd.DataFrame({"lon": [1.0, 2], "lat": [1.0, 5], "country": ["a", "b"], "one": [1, 1]})
    for spec, said in [
        ("elevation", "the activations carry country, one; or ask for coordinates"),
        ("log country", "country is not numeric"),
        ("one", "it is the same for every place"),
        (gi.probes.Number("none"), "the activations carry"),
        ("country", r"0 label\(s\) have 5 places"),
    ]:
        with pytest.raises(InputError, match=said):
            targets.of(spec, table)


def test_cells_tell_the_country_of_others():
    lon = np.repeat([-100.0, 10.0, 100.0], 40) + np.tile(np.linspace(0, 5, 40), 3)
    table = pd.DataFrame({"lon": lon, "lat": np.tile(np.linspace(0, 5, 40), 3)})
    table["country"] = np.repeat(["A", "B", "C"], 40)
    # codes that say nothing without the country
    table["admin1"] = "07"
    cells = Cells(40, least=20, tau_km=0).bind(table)
    perfect = 0.97 * np.eye(len(cells.area_km2))[cells.cell] + 0.01
    rows = np.arange(120)
    said = cells.details(perfect, rows)
    assert said["accuracy_country"] == said["accuracy_admin1"] == 1
    wrong = np.roll(perfect, 40, axis=0)
    assert cells.details(wrong, rows)["accuracy_admin1"] == 0
    # of labels that no two places share, none can be told
    alone = Cells(40, least=20, tau_km=0).bind(table.assign(country=[str(i) for i in rows]))
    assert alone.details(perfect, rows)["accuracy_country"] == 0
