import json

import endpoints
import geopandas as gpd
import numpy as np
import osm_files
import pandas as pd
import pytest
from cli_helpers import card, fails

import geointerp as gi
from geointerp import cli
from geointerp.cli import ratings

SERVER = ["--server=http://127.0.0.1:9/v1"]


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("name,lat,lon\nAltdorf,46.88,8.64\nBürglen,46.87,8.67\n")
    return path


@pytest.fixture
def osm(tmp_path):
    region = osm_files.Region()
    region.place("Altdorf", 8.64, 46.88, **{"name:en": "Old Village"})
    region.place("Seedorf", 8.61, 46.88)
    return region.write(tmp_path / "uri.osm.pbf", box=(8, 46, 9, 47))


def test_prompts_come_from_a_file_in_the_wanted_language(csv, osm, tmp_path):
    out = tmp_path / "r.csv"
    options = ["--context", str(osm), "--language", "en", "--leave-out", "address,coordinates"]
    cli.main(["predict", "toponym", str(csv), "--task=GDP", "--out", str(out), *options])
    table = pd.read_csv(out, index_col=0)
    assert table["prompt"].iloc[0] == (
        'Nearby Places:\n"\n0.0 km North: Old Village\n2.3 km West: Seedorf\n"\n\n'
        "GDP (On a Scale from 0.0 to 9.9): "
    )
    made = card(tmp_path, "r.csv")
    assert made["attribution"] == "© OpenStreetMap contributors, ODbL 1.0"
    assert (made["context"], made["language"], made["answer"]) == (str(osm), "en", "")
    assert set(table.columns) - {"name", "lon", "lat"} <= set(ratings._RATED)


def test_a_server_is_asked_once_and_its_answers_are_kept(csv, tmp_path, capsys):
    out = tmp_path / "r.csv"
    with endpoints.serving(lambda request: endpoints.say("My answer is 7.3")) as (url, log):
        command = ["predict", "some-model", str(csv), "--task=GDP", "--server", url]
        command += ["--method=greedy", "--instruction=zero-shot"]
        cli.main([*command, "--out", str(out), "--estimate", "--prices=[2,4]"])
        told = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
        assert (told["requests"], told["completion_tokens"]) == ("2", "64")
        cost = (2 * float(told["prompt_tokens"]) + 4 * 64) / 1e6
        assert float(told["cost"]) == pytest.approx(cost)
        assert not log
        assert not out.exists()
        cli.main([*command, "--out", str(out)])
        assert pd.read_csv(out)["rating"].tolist() == [7.3, 7.3]
        assert len(log) == 2
        assert all(asked.prompt.startswith("You will be given data") for asked in log)
        # the same again, into another file: the journal has it all
        again = ["--out", str(tmp_path / "s.csv"), "--journal", f"{out}.answers.sqlite"]
        cli.main([*command, *again])
        assert len(log) == 2
    made = card(tmp_path, "r.csv")
    assert (made["model"], made["server"], made["method"]) == ("some-model", url, "greedy")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([*SERVER, "--chat"], "--chat is for a local model"),
        (["--estimate"], "--estimate is for a server; say which by --server."),
        (["--key=KEY"], "--key is for a server"),
        (["--journal=j.sqlite"], "--journal is for a server"),
        (["--prices=1,2"], "--prices is for a server"),
        ([*SERVER, "--prices=1,2"], "--prices is for --estimate"),
        ([*SERVER, "--estimate", "--prices=1"], "--prices is 1; it must be two numbers"),
        ([*SERVER, "--estimate", "--prices=-1,2"], "--prices is -1,2; prices are 0 or more."),
        ([*SERVER, "--answer=My answer is "], "--answer is for a local model"),
        ([*SERVER, "--key=NO_SUCH_KEY"], "the environment has no variable NO_SUCH_KEY"),
        (["--answer=My answer is "], "--answer begins the assistant's answer in a chat"),
        (["--per-minute=3"], "--per-minute is for a server"),
        (["--method=mean"], "method is 'mean'; it must be one of"),
        (["--instruction=zero-shoot"], "did you mean zero-shot?"),
        (["--language=en"], "--language is for names in an OpenStreetMap file"),
        (["--user-agent=me"], "--user-agent is for --context nominatim"),
        (["--out=r.txt"], "r.txt: a table is written; the name must end in .csv."),
        (["--context=nominatim"], "--context nominatim needs --user-agent"),
        (["--context=none.osm.pbf"], "none.osm.pbf: there is no such file."),
        (["--context=none.csv"], "no such file"),
        (["--leave-out=adress"], "leave_out holds 'adress'"),
        (["--seed=-1"], "seed is -1"),
    ],
)
def test_what_predict_refuses(csv, tmp_path, capsys, monkeypatch, options, said):
    never_asked(monkeypatch)
    out = tmp_path / "r.csv"
    assert said in fails(capsys, "predict", "none", csv, "--task=X", "--out", out, *options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.csv"]


def never_asked(monkeypatch):
    """What is refused is refused before the places are looked up, which may take hours."""

    def asked(*_, **__):
        raise AssertionError("the context was asked")

    for name in ("address", "nearby"):
        monkeypatch.setattr(gi.geollm.Gazetteer, name, asked)


def test_a_model_without_a_chat_template_is_refused_at_once(csv, capsys, monkeypatch):
    never_asked(monkeypatch)
    assert "no chat template" in fails(capsys, "predict", "toponym", csv, "--task=X", "--chat")


def test_a_region_is_scored_over_smaller_blocks(tmp_path, capsys):
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(9.4, 9.7, 60), rng.uniform(47, 47.3, 60)
    table = pd.DataFrame({"rating": lon * 10 % 9, "truth": lon, "lon": lon, "lat": lat})
    path = tmp_path / "r.csv"
    table.to_csv(path, index=False)
    command = ["score", path, "--truth=truth", "--by=all"]
    said = fails(capsys, *command)
    assert "lie in 1 block(s) of 500 km" in said
    km = said.split("smaller, of ")[1].split()[0]
    cli.main([*map(str, command), "--json", "--block-km", km])
    told = pd.DataFrame(json.loads(capsys.readouterr().out))
    assert told["split"].tolist() == ["random", f"block {km} km"]
    assert (told["n_blocks"] >= 10).all()
    assert told["spearman_low"].notna().all()
    said = fails(capsys, "score", path, "--truth=truth", "--by=distrct")
    assert said.strip().endswith("there is no column 'distrct'; it has rating, truth, lon, lat.")


@pytest.mark.parametrize("column", ratings._RATED)
def test_ratings_take_no_column_of_the_places(tmp_path, capsys, column):
    path = tmp_path / "p.csv"
    path.write_text(f"name,lat,lon,{column}\nLima,-12,-77,1\n")
    said = fails(capsys, "predict", "none", path, "--task=X", "--out", tmp_path / "r.csv")
    assert f"it has a column '{column}', which the ratings add" in said


def test_predict_adds_what_it_says(tmp_path, capsys, monkeypatch):
    path, out = tmp_path / "p.csv", tmp_path / "r.csv"
    path.write_text("name,lat,lon\n1770,-24,152\n")
    monkeypatch.setattr(gi.geollm.Gazetteer, "attribution", "nobody")
    cli.main(["predict", "toponym", str(path), "--task=Population", "--out", str(out)])
    table = pd.read_csv(out, index_col=0)
    added = ["rating", "mode", "entropy", "mass", "prompt", "address", "n_nearby"]
    assert table.columns.tolist() == ["name", "lon", "lat", *added]
    assert set(added) <= set(ratings._RATED)
    made = card(tmp_path, "r.csv")
    assert (made["model"], made["places"], made["task"]) == ("toponym", str(path), "Population")
    assert (made["context"], made["attribution"]) == ("gazetteer", "nobody")


def test_scores(tmp_path, capsys):
    path = tmp_path / "r.csv"
    path.write_text("place,rating,name,truth\n0,1,a,1\n1,2,b,\n2,3,c,10\n3,3.5,d,100\n")
    cli.main(["score", str(path), "--truth=truth", "--log10=true"])
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == ["n: 3", "n_missing: 1", "spearman: 1"]
    score = ["score", path]
    assert "no column 'x'; it has place, rating, name, truth" in fails(capsys, *score, "--truth=x")
    said = fails(capsys, *score, "--truth=name")
    assert "r.csv: column 'name' is not numeric; it holds 'a'." in said
    path.write_text("place,rating,truth\n0,1,-1\n")
    assert "0 or less" in fails(capsys, *score, "--truth=truth", "--log10=true")
    path.write_text("place,rating,truth\n0,high,1\n")
    assert "column 'rating' is not numeric" in fails(capsys, *score, "--truth=truth")
    path.write_text("")
    assert "not a readable .csv file" in fails(capsys, *score, "--truth=truth")
    assert "Is a directory" in fails(capsys, "score", tmp_path, "--truth=truth")


def test_scores_as_json(tmp_path, capsys):
    path = tmp_path / "r.csv"
    path.write_text("place,rating,population\na,1.0,10\nb,2.0,100\nc,3.0,1000\nd,,5\n")
    cli.main(["score", str(path), "--truth=population", "--log10", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["n"], told["n_missing"], told["spearman"]) == (3, 1, pytest.approx(1))


def test_scores_by_group_are_those_of_the_library(tmp_path, capsys):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "lon": rng.uniform(-180, 180, 80),
            "lat": rng.uniform(-60, 60, 80),
            "half": np.repeat(["a", "b"], 40),
            "rating": rng.uniform(0, 9.9, 80),
        }
    )
    table["truth"] = table["rating"] + rng.normal(size=80)
    path = tmp_path / "r.csv"
    table.to_csv(path)
    cli.main(["score", str(path), "--truth=truth", "--by=half", "--json", "--seed=3"])
    told = pd.DataFrame(json.loads(capsys.readouterr().out))
    places = gpd.GeoDataFrame(
        table, geometry=gpd.points_from_xy(table["lon"], table["lat"]), crs="EPSG:4326"
    )
    expected = gi.geollm.scores(table["rating"], table["truth"], places, by="half", seed=3)
    assert told["group"].tolist() == ["", "a", "b"] * 2
    for column in ("n", "spearman", "spearman_low", "mae", "mae_high"):
        np.testing.assert_allclose(told[column], expected[column], rtol=1e-9)
