import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from cli_helpers import card, fails, few_features, mapped_features, read_csv
from shapely.geometry import box

import geointerp as gi
from geointerp import cli


@pytest.fixture
def features(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return few_features(tmp_path / "run")


@pytest.fixture
def mapped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return mapped_features(tmp_path / "run")


def same(found, wanted):
    """Whether two tables hold the same, to the last digit, whatever pandas calls their dtypes."""
    assert found.columns.tolist() == wanted.columns.tolist()
    assert found.index.tolist() == wanted.index.tolist()
    for name in wanted.columns:
        if pd.api.types.is_numeric_dtype(wanted[name]):
            np.testing.assert_array_equal(found[name], wanted[name].to_numpy(float), str(name))
        else:
            assert found[name].fillna("").tolist() == wanted[name].fillna("").tolist()


def test_what_was_not_tested_is_counted(features, capsys):
    cli.main(["moran", "run/features.h5ad", "--min-active=31", "--permutations=9"])
    assert capsys.readouterr().out.splitlines()[-5:] == [
        "2 not tested: It fires on fewer than 31 places.",
        "1 not tested: It fires on no place.",
        "null: permutations of all places",
        "p rests on the Pearson III curve for 0, on permutations for 0",
        "0 of 3 features tested; 0 have q ≤ 0.05",
    ]


def test_moran_within_regions_and_a_distance(mapped, tmp_path, capsys):
    options = {"permutations": 99, "max_permutations": 199, "alternative": "two-sided"}
    given = ["--permutations=99", "--max-permutations=199", "--alternative=two-sided"]
    cli.main(["moran", "run/features.h5ad", "--within=country", "--km=800", *given])
    graph = gi.spatial.distance_band(mapped, km=800).transform("R")
    table = gi.spatial.moran(mapped, graph, within="country", **options)
    assert (tmp_path / "run" / "moran.csv").read_text().startswith("feature,I,")
    same(read_csv("run/moran.csv"), table)
    made = card(tmp_path / "run", "moran.csv")
    wanted = {"km": 800, "within": "country", "seed": 0, "min_active": 10, **options}
    assert made.items() >= (wanted | table.attrs).items()
    assert made["islands"] == len(graph.isolates) > 0
    assert "k" not in made
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{len(graph.isolates)} of {mapped.n_obs} places have no other within 800 km"
    assert said[-4:] == [
        "1 not tested: It fires on no place.",
        "null: permutations within regions, by country",
        "p rests on the Pearson III curve for 0, on permutations for 3",
        "3 of 4 features tested; 1 has q ≤ 0.05",
    ]
    # Italy's feature maps Italy, and nothing finer
    assert (table["q"] <= 0.05).tolist() == [False, True, False, False]


def test_places_without_a_region_are_counted(mapped, tmp_path, capsys):
    districts = np.resize(np.array(["north", "south", "", "north"], object), mapped.n_obs)
    mapped.obs["district"] = districts
    mapped.write_h5ad(tmp_path / "run" / "features.h5ad")
    cli.main(["moran", "run/features.h5ad", "--within=district", "--permutations=9"])
    without = (districts == "").sum()
    said = f"{without} of {mapped.n_obs} places have no district: permuted among themselves"
    assert said in capsys.readouterr().out.splitlines()


def test_moran_over_the_whole_map(mapped, tmp_path, capsys):
    cli.main(["moran", "run/features.h5ad", "--min-active=5"])
    table = gi.spatial.moran(mapped, gi.spatial.knn(mapped, k=8), min_active=5)
    same(read_csv("run/moran.csv"), table)
    curve = (table["permutations"] == 0) & table["q"].notna()
    said = capsys.readouterr().out.splitlines()
    assert said[-3:] == [
        "null: permutations of all places",
        f"p rests on the Pearson III curve for {curve.sum()}, on permutations for "
        f"{3 - curve.sum()}",
        "3 of 4 features tested; 2 have q ≤ 0.05",
    ]
    made = card(tmp_path / "run", "moran.csv")
    assert made["k"] == 8
    assert made["within"] is None
    assert made["max_permutations"] == 9999
    cli.main(["moran", "run/features.h5ad", "--k=3", "--out=run/three.csv"])
    table = gi.spatial.moran(mapped, gi.spatial.knn(mapped, k=3))
    same(read_csv("run/three.csv"), table)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["moran", "--k=8", "--km=100"], "--k and --km both say who is whose neighbour"),
        (["moran", "--km=0.001"], "no place has another within 0.001 km; give a larger --km."),
        (["moran", "--km=-1"], "km is -1.0; it must be a finite number above 0."),
        (["moran", "--within=planet"], "the places have no column 'planet'; they have name, "),
        (["moran", "--within=country", "--permutations=0"], "permutations is 0; within regions"),
        (["moran", "--max-permutations=-1"], "max_permutations is -1; it must be"),
        (["moran", "--alternative=up"], "alternative is 'up'; it must be one of greater, less"),
        (["regions", "--by=planet"], "the places have no column 'planet'; they have name, "),
        (["regions", "--by=country", "--polygons=p.geojson"], "--by and --polygons both say"),
        (["regions", "--column=name"], "only polygons have a column of labels"),
        (["regions", "--polygons=p.geojson"], "p.geojson: there is no such file."),
        (["regions", "--polygons=https://example.org/p.geojson"], "there is no such file."),
        (["regions", "--min-places=0"], "min_places is 0; it must be"),
        (["regions", "--k=1000"], "k = 1000 neighbours each need at least 1001"),
        (["regions", "--seed=-1"], "seed is -1; it must be 0 or more."),
        (["local", "--feature=itly"], "there is no feature 'itly' among the 4; there are 'italy'"),
        (["local", "--feature=italy,9"], "there is no feature '9' among the 4; there are 'italy',"),
        (["local", "--feature=[]"], "--feature names none; write it as 5 or 5,17."),
        (["local", "--feature=italy", "--k=8", "--km=100"], "--k and --km both say"),
        (["local", "--feature=italy", "--alpha=2"], "alpha is 2.0; it must be"),
        (["local"], "--feature is required."),
    ],
)
def test_what_the_statistics_refuse(mapped, tmp_path, capsys, arguments, said):
    command, *options = arguments
    assert said in fails(capsys, command, "run/features.h5ad", *options)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["features.h5ad"]


def test_regions_and_extents(mapped, tmp_path, capsys):
    cli.main(["regions", "run/features.h5ad", "--permutations=19", "--min-places=1", "--k=4"])
    labels = gi.spatial.region_of(mapped, "country")
    options = {"permutations": 19, "min_places": 1, "seed": 0}
    matched = gi.spatial.match_regions(mapped, labels, **options)
    where = gi.spatial.extent(mapped, mapped, gi.spatial.knn(mapped, k=4))
    found = read_csv("run/regions.csv")
    same(found[matched.columns], matched)
    same(
        found[where.columns.drop(["n_active", "reason"])],
        where.drop(columns=["n_active", "reason"]),
    )
    assert found["reason_extent"].dropna().to_dict() == {"nowhere": "It fires on no place."}
    assert found["region"].tolist()[:2] == ["IT", "US"]
    made = card(tmp_path / "run", "regions.csv")
    wanted = {"by": "country", "k": 4, "n_matched": 3, "n_regions": 4, **options}
    assert made.items() >= wanted.items()
    assert made["features_sha256"] == cli.spatial.fingerprint(mapped)
    said = capsys.readouterr().out.splitlines()
    order = [line.split()[0] for line in said[1:5]]
    assert order == found.sort_values("f1", ascending=False, kind="stable").index.tolist()
    assert said[-2:] == [
        "1 not matched: It fires on no place.",
        "3 of 4 features matched to one of 4 regions of 1 places or more; "
        f"median F1 {matched['f1'].median():.3f}",
    ]


def test_regions_by_state_and_by_polygons(mapped, tmp_path):
    cli.main(["regions", "run/features.h5ad", "--by=admin1", "--out=run/admin1.csv"])
    labels = gi.spatial.region_of(mapped, "admin1")
    matched = gi.spatial.match_regions(mapped, labels)
    found = read_csv("run/admin1.csv")
    same(found[matched.columns], matched)
    assert found.loc["west", "region"] == "US.CA"
    boxes = gpd.GeoDataFrame(
        {"side": ["west", "east"]}, geometry=[box(-170, 0, -100, 80), box(-100, 0, 170, 80)]
    )
    boxes.set_crs("EPSG:4326").to_file("sides.geojson")
    boxes.set_crs("EPSG:4326").to_parquet("sides.parquet")
    for name in ("sides.geojson", "sides.parquet"):
        out = f"run/{name}.csv"
        given = [f"--polygons={name}", "--column=side", f"--out={out}"]
        cli.main(["regions", "run/features.h5ad", *given])
        assert read_csv(out).loc["west", ["region", "f1"]].tolist() == ["west", 1.0]
        made = card(tmp_path / "run", f"{name}.csv")
        assert (made["by"], made["polygons"], made["column"]) == (None, name, "side")


def test_polygons_that_are_none(mapped, tmp_path, capsys):
    boxes = gpd.GeoDataFrame({"side": ["west"]}, geometry=[box(-170, 0, -100, 80)])
    boxes.to_parquet("nowhere.parquet")
    pd.DataFrame({"side": ["west"]}).to_csv("table.csv")
    (tmp_path / "broken.geojson").write_text("{")
    regions = ["regions", "run/features.h5ad", "--column=side"]
    said = fails(capsys, *regions, "--polygons=nowhere.parquet")
    assert "the polygons have no CRS" in said
    said = fails(capsys, *regions, "--polygons=broken.geojson")
    assert said == "geointerp: broken.geojson: not a readable file of polygons.\n"
    assert "table.csv: it has no geometry." in fails(capsys, *regions, "--polygons=table.csv")
    boxes.set_crs("EPSG:4326").to_file("sides.geojson")
    said = fails(capsys, "regions", "run/features.h5ad", "--polygons=sides.geojson")
    assert "the polygons have the columns side: say which column names them" in said
    said = fails(capsys, *regions[:2], "--polygons=sides.geojson", "--column=half")
    assert "none is called 'half'" in said
    boxes.assign(geometry=boxes.centroid).set_crs("EPSG:4326").to_file("points.geojson")
    said = fails(capsys, *regions, "--polygons=points.geojson")
    assert "row 0 of the polygons is a Point." in said
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["features.h5ad"]


def test_local_moran_of_chosen_features(mapped, tmp_path, capsys):
    options = {"permutations": 999, "alternative": "greater", "alpha": 0.1, "seed": 3}
    given = ["--permutations=999", "--alternative=greater", "--alpha=0.1", "--seed=3"]
    cli.main(["local", "run/features.h5ad", "--feature=west,nowhere,italy,west", *given])
    found = read_csv("run/local.csv", index_col=None)
    columns = ["feature", "place", "name", "lon", "lat", "I", "z", "p", "q", "cluster"]
    assert found.columns.tolist() == columns
    chosen = ["west", "nowhere", "italy"]
    assert found["feature"].tolist() == np.repeat(chosen, mapped.n_obs).tolist()
    local = gi.spatial.local_moran(mapped[:, chosen], gi.spatial.knn(mapped, k=8), **options)
    for name in chosen:
        rows = found[found["feature"] == name].set_index("place")
        assert rows.index.tolist() == mapped.obs_names.tolist()
        assert rows["name"].tolist() == mapped.obs["name"].tolist()
        np.testing.assert_array_equal(rows[["lon", "lat"]], mapped.obsm["spatial"])
        for key in ("I", "z", "p", "q"):
            np.testing.assert_array_equal(rows[key], local[key].sel(feature=name))
        clusters = rows["cluster"].fillna("").tolist()
        assert clusters == local["cluster"].sel(feature=name).values.tolist()
    made = card(tmp_path / "run", "local.csv")
    assert made.items() >= {"feature": chosen, "k": 8, **options}.items()
    said = capsys.readouterr().out.splitlines()
    high = (local["cluster"].sel(feature="west") == "HH").values
    assert high.sum() > 5
    assert said[0].startswith(f"feature west: {high.sum()} HH, ")
    strongest = np.argmax(np.where(high, local["I"].sel(feature="west"), -np.inf))
    assert said[1].startswith(f"  HH, largest I first: {mapped.obs['name'].iloc[strongest]}, ")
    assert "feature nowhere not tested: It fires on no place." in said
    # within a distance
    cli.main(["local", "run/features.h5ad", "--feature=west", "--km=800", "--out=run/km.csv"])
    graph = gi.spatial.distance_band(mapped, km=800).transform("R")
    local = gi.spatial.local_moran(mapped[:, ["west"]], graph)
    rows = read_csv("run/km.csv", index_col=None)
    np.testing.assert_array_equal(rows["I"], local["I"].values[:, 0])


def test_places_without_names_are_called_by_their_index(features):
    cli.main(["local", "run/features.h5ad", "--feature", "0", "--permutations=9"])
    found = read_csv("run/local.csv", index_col=None)
    assert found["name"].astype(str).tolist() == features.obs_names.tolist()


def test_two_features_of_one_name(features, capsys):
    features.var_names = ["a", "a", "b"]
    features.write_h5ad("run/features.h5ad")
    said = fails(capsys, "local", "run/features.h5ad", "--feature=b")
    assert said == "geointerp: two features are called 'a'.\n"


def test_a_table_is_not_written_under_another_name(tmp_path, capsys):
    for command in (["moran", "f.h5ad"], ["regions", "f.h5ad"], ["local", "f.h5ad", "--feature=1"]):
        said = fails(capsys, *command, "--out", tmp_path / "m.txt")
        assert said.strip().endswith("m.txt: a table is written; the name must end in .csv.")
