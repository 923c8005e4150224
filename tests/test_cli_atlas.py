import pandas as pd
import pytest
from cli_helpers import data_of, fails, few_features, mapped_features, read_csv

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


def test_an_atlas_takes_only_the_table_of_its_features(features, tmp_path, capsys):
    cli.main(["moran", "run/features.h5ad", "--permutations=9"])
    cli.main(["atlas", "run"])
    page = tmp_path / "run" / "atlas" / "index.html"
    before = page.read_bytes()
    page.write_text("old")
    cli.main(["atlas", "run"])  # again, in its place
    assert page.read_bytes() == before
    features.X[2, 0] = 7
    features.write_h5ad("run/features.h5ad")
    said = fails(capsys, "atlas", "run")
    assert "run/moran.csv: it was made from other features than those in run/features.h5ad" in said
    features.X[2, 0] = 1
    features.write_h5ad("run/features.h5ad")
    cli.main(["atlas", "run"])
    features.obsm["spatial"][5, 1] += 0.01  # a place moved
    features.write_h5ad("run/features.h5ad")
    assert "made from other features" in fails(capsys, "atlas", "run")
    (tmp_path / "run" / "moran.csv.card.json").unlink()  # a table made by hand
    cli.main(["atlas", "run"])
    (tmp_path / "run" / "moran.csv").write_text("")
    assert "run/moran.csv: not a readable .csv file" in fails(capsys, "atlas", "run")


def test_an_atlas_keeps_the_ratings_and_the_figures_of_its_run(features, tmp_path):
    run = tmp_path / "run"
    cli.main(["moran", "run/features.h5ad", "--permutations=9"])
    (run / "sae").mkdir()
    gi.cards.write(run / "sae", "Sparse autoencoder", {"figures": {"held-out l0": 4.0}})
    cli.main(["atlas", "run"])
    data = data_of(run / "atlas" / "index.html")
    assert data["ratings"] is None
    assert [card["name"] for card in data["cards"]] == ["moran.csv", "sae"]
    assert data["figures"] == [{"heading": "sae", "rows": [["held-out l0", 4.0]]}]
    ratings = pd.DataFrame({"name": "a", "rating": [9.5, 0.5]}, index=["7", "3"])
    about = {"task": "Rainfall"}
    gi.artefacts.write_file(run / "ratings.csv", ratings.to_csv, "Ratings", about)
    (run / "figures.json").write_text('{"capture": {"places": 60}}')
    cli.main(["atlas", "run"])
    data = data_of(run / "atlas" / "index.html")
    assert data["ratings"] == {
        "task": "Rainfall",
        "at": [7, 3],
        "value": [9.5, 0.5],
        "mass": None,
    }
    # a demo's figures stand for those of the cards
    assert data["figures"] == [{"heading": "capture", "rows": [["places", 60]]}]


def test_an_atlas_shows_the_null_within_regions_and_the_regions(mapped, tmp_path, capsys):
    run = tmp_path / "run"
    given = ["--permutations=99", "--max-permutations=99"]
    mapped.X[mapped.obs["country"] == "NA", 2] = 99
    mapped.copy().write_h5ad("run/features.h5ad")
    cli.main(["moran", "run/features.h5ad", *given])
    cli.main(["atlas", "run"])
    shown = data_of(run / "atlas" / "index.html", "features")
    assert shown["within"] == []
    # the country that each tells best, and how far it reaches, are found where they are not there
    graph = gi.spatial.knn(mapped, k=8)
    matched = gi.spatial.match_regions(mapped, gi.spatial.region_of(mapped, "country"))
    assert shown["precision"] == [
        float(f"{v:.3g}") if v == v else None for v in matched["precision"]
    ]
    spread = gi.spatial.extent(mapped, mapped, graph)["spread_km"]
    assert shown["spread_km"] == [float(f"{v:.3g}") if v == v else None for v in spread]
    reach = gi.spatial.reach_km(gi.spatial.correlogram(mapped, mapped)).clip(upper=6400)
    assert shown["reach_km"] == [float(f"{v:.4g}") if v == v else None for v in reach]
    local = gi.spatial.local_moran(mapped, graph, seed=0)
    file = data_of(run / "atlas" / "index.html", "features-0")
    high = (local["cluster"] == "HH").sum("place").values.tolist()
    # but for the one that fires nowhere
    assert [None if each is None else each[0] for each in file["clusters"]] == [*high[:3], None]
    cli.main(["atlas", "run", "--clusters=1"])
    file = data_of(run / "atlas" / "index.html", "features-0")
    first = read_csv("run/moran.csv")["I"].argmax()
    assert [each is not None for each in file["clusters"]] == [k == first for k in range(4)]
    within = [*given, "--within=country", "--out=run/moran_within.csv"]
    cli.main(["moran", "run/features.h5ad", *within])
    cli.main(["regions", "run/features.h5ad", "--min-places=1"])
    cli.main(["atlas", "run"])
    shown = data_of(run / "atlas" / "index.html", "features")
    table = read_csv("run/moran_within.csv")
    (column,) = shown["within"]
    assert column["by"] == "country"
    assert column["q"] == [float(f"{q:.3g}") if q == q else None for q in table["q"]]
    table = read_csv("run/regions.csv")
    regions = [None if code < 0 else shown["regions"][code] for code in shown["region"]]
    assert regions == ["Italy", "United States", "Namibia", None]
    assert shown["precision"][:2] == [1, 1]
    assert shown["recall"][1] == float(f"{table['recall'].iloc[1]:.3g}")
    # a table of other features, and one that lacks a column
    text = (run / "regions.csv").read_text()
    (run / "regions.csv").write_text(text.replace("recall", "call"))
    assert "regions.csv: there is no column 'recall'" in fails(capsys, "atlas", "run")
    (run / "regions.csv").write_text(text)
    mapped.X[0, 0] = 5
    mapped.write_h5ad("run/features.h5ad")
    (run / "moran.csv.card.json").unlink()
    said = fails(capsys, "atlas", "run")
    assert "run/moran_within.csv: it was made from other features" in said
    assert "delete it and run `geointerp moran --within` again." in said
    (run / "moran_within.csv").unlink()
    said = fails(capsys, "atlas", "run")
    assert "run/regions.csv: it was made from other features" in said
