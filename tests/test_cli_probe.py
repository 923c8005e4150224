import json

import pandas as pd
import pytest
from cli_helpers import csv_of_cities, fails

import geointerp as gi
from geointerp import cli


@pytest.fixture
def csv(tmp_path):
    return csv_of_cities(tmp_path)


def test_the_prompt_of_a_store_that_holds_one(csv, tmp_path, capsys):
    out = tmp_path / "acts.zarr"
    cli.main(["capture", "toponym", str(csv), "--layers=2", "--out", str(out)])
    probe = ["probe", out, "--cv=[random]", "--controls=false", "--out", tmp_path / "probe"]
    said = fails(capsys, *probe, "--prompt=1")
    assert said == "geointerp: prompt 1: the store holds one prompt, 0.\n"
    cli.main([*map(str, probe), "--prompt=0"])
    assert (tmp_path / "probe" / "report.csv").exists()


def test_without_countries_none_are_held_out(csv, tmp_path, capsys, caplog):
    table = pd.read_csv(csv).drop(columns="country")
    table.to_csv(csv, index=False)
    store, out = tmp_path / "acts.zarr", tmp_path / "probe"
    cli.main(["capture", "toponym", str(csv), "--layers=2", "--device=cpu", "--out", str(store)])
    with caplog.at_level("INFO"):
        cli.main(["probe", str(store), "--km=1000", "--controls=false", "--out", str(out)])
    assert "no column 'country': no countries are held out" in caplog.text
    assert gi.probes.Report.read(out).table["split"].tolist() == ["random", "block 1000 km"]
    # asked for, it is missed
    said = fails(capsys, "probe", store, "--cv", "[country]", "--controls=false")
    assert "cv 'country': it must be random, block, a column" in said


def test_of_one_country_none_are_held_out(csv, tmp_path, capsys, caplog):
    pd.read_csv(csv).assign(country="CN").to_csv(csv, index=False)
    store, out = tmp_path / "acts.zarr", tmp_path / "probe"
    cli.main(["capture", "toponym", str(csv), "--layers=2", "--device=cpu", "--out", str(store)])
    with caplog.at_level("INFO"):
        cli.main(["probe", str(store), "--km=1000", "--controls=false", "--out", str(out)])
    assert "the places lie in too few countries for any to be held out" in caplog.text
    assert gi.probes.Report.read(out).table["split"].tolist() == ["random", "block 1000 km"]
    # asked for, it is an error
    said = fails(capsys, "probe", store, "--cv", "[country]", "--controls=false")
    assert "country" in said


def test_folds_may_be_named_plainly(csv, tmp_path, capsys):
    store = tmp_path / "acts.zarr"
    cli.main(["capture", "toponym", str(csv), "--layers=2", "--device=cpu", "--out", str(store)])
    probe = ["probe", str(store), "--controls=false", "--out", str(tmp_path / "probe")]
    assert "cv 'foo': it must be random, block, a column or leave" in fails(
        capsys, *probe, "--cv=foo"
    )
    assert "cv holds no split" in fails(capsys, *probe, "--cv=[]")
    cli.main([*probe, "--cv=block,random", "--km=1000", "--buffer-km=10"])
    report = gi.probes.Report.read(tmp_path / "probe")
    assert report.table["split"].tolist() == ["block 1000 km, buffer 10 km", "random"]


def test_places_and_probes_as_json(csv, tmp_path, capsys):
    cli.main(["places", str(csv), "--limit=7", "--json"])
    told = json.loads(capsys.readouterr().out)
    places = gi.places.load(csv).head(7)
    assert (told["places"], told["share_a_name"]) == (7, 0)
    assert told["lon"] == [places.geometry.x.min(), places.geometry.x.max()]
    assert told["columns"] == [*places.columns]
    cli.main(["capture", "toponym", str(csv), "--layers=2", "--out", str(tmp_path / "a.zarr")])
    capsys.readouterr()
    out = tmp_path / "probe"
    cli.main(["probe", str(tmp_path / "a.zarr"), "--cv=random", "--out", str(out), "--json"])
    (row,) = json.loads(capsys.readouterr().out)
    report = gi.probes.Report.read(out)
    assert (row["split"], row["layer"]) == ("random", 2)
    assert row["r2"] == pytest.approx(report.best("random")["r2"], rel=1e-12)
