import os

import pandas as pd
import pytest
from cli_helpers import card, csv_of_cities, data_of, fails, run


@pytest.fixture
def csv(tmp_path):
    return csv_of_cities(tmp_path)


@pytest.mark.long
def test_the_whole_line_from_the_shell(csv, tmp_path):
    def step(*arguments):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    assert "60 places" in step("places", csv)
    step("capture", "toponym", csv, "--template", "{name} is near", "--pool", "prompt_last")
    assert "bag of tokens" in step("probe", "run/activations.zarr", "--km", "1000")
    step("sae", "train", "run/activations.zarr", "--layer", "3", "--width", "32", "--k", "4")
    step("sae", "encode", "run/sae", "run/activations.zarr")
    step("moran", "run/features.h5ad", "--k", "4")
    assert "index.html" in step("atlas", "run")
    step("predict", "toponym", csv, "--task", "Population", "--limit", "20")
    columns = pd.read_csv(tmp_path / "run" / "ratings.csv", index_col=0).columns
    assert {"rating", "mass", "prompt", "name", "population", "lon", "lat"} <= set(columns)
    assert card(tmp_path / "run", "ratings.csv")["task"] == "Population"
    assert "spearman" in step(
        "score", "run/ratings.csv", "--truth", "population", "--log10", "true"
    )
    assert (tmp_path / "run" / "atlas" / "index.html").exists()
    file = data_of(tmp_path / "run" / "atlas" / "index.html", "features-0")
    # found by the command itself, as the run has an autoencoder whose model is at hand
    assert all(len(each) == 10 for each in file["nearest"])
    assert all(len(promoted) == 8 for promoted, _ in file["words"])
    assert not list((tmp_path / "run").glob(".*partial*"))


def test_bad_arguments(csv, tmp_path, capsys):
    out = ["--out", tmp_path / "acts.zarr"]
    capture = ["capture", "toponym", csv, *out]
    assert "no such file" in fails(capsys, "places", tmp_path / "none.csv")
    assert "no column 'planet'" in fails(capsys, *capture, "--template", "{name} on {planet}")
    assert "layer 99" in fails(capsys, *capture, "--layers", "99")
    assert "site is 'nowhere'" in fails(capsys, *capture, "--site", "nowhere")
    assert "no such directory" in fails(capsys, "capture", "./none", csv, *out)
    assert "no store of activations" in fails(capsys, "probe", tmp_path / "none.zarr")
    assert "no moran.csv" in fails(capsys, "atlas", tmp_path)
    assert "there is no such file" in fails(capsys, "score", "none.csv", "--truth=x")
    assert "there is no such file" in fails(capsys, "moran", "none.h5ad")
    assert "must be 1 or more" in fails(capsys, "places", csv, "--limit", "0")
    assert "end its name in .parquet" in fails(capsys, "places", "none.csv", "--out", "p.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["places.csv"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["capture"], "MODEL and PLACES are required."),
        (["capture", "toponym"], "PLACES is required."),
        (["sae", "train"], "ACTS and --layer are required."),
        (["sae", "train", "acts.zarr"], "--layer is required."),
        (["score", "ratings.csv"], "--truth is required."),
    ],
)
def test_what_is_missing_is_called_as_it_is_typed(capsys, arguments, said):
    assert fails(capsys, *arguments) == f"geointerp: {said}\n"


@pytest.mark.parametrize(
    "command",
    [
        ["demo"],
        ["probe", "none.zarr"],
        ["sae", "train", "none.zarr", "--layer=0"],
        ["moran", "none.h5ad"],
        ["regions", "none.h5ad"],
        ["local", "none.h5ad", "--feature=1"],
    ],
)
def test_a_seed_that_is_none(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    said = fails(capsys, *command, "--seed", "-1")
    assert said == "geointerp: seed is -1; it must be 0 or more.\n"
    assert "less than 2**32" in fails(capsys, *command, "--seed", 2**32)
    assert not list(tmp_path.iterdir())


OUTPUTS = [
    ["places", "none.csv", "--out", "{}/p.parquet"],
    ["capture", "none", "none.csv", "--out", "{}/acts.zarr"],
    ["sae", "train", "none.zarr", "--layer=0", "--out", "{}/sae"],
    ["sae", "encode", "none", "none.zarr", "--out", "{}/f.h5ad"],
    ["moran", "none.h5ad", "--out", "{}/deep/m.csv"],
    ["regions", "none.h5ad", "--out", "{}/r.csv"],
    ["local", "none.h5ad", "--feature=1", "--out", "{}/l.csv"],
    ["predict", "none", "none.csv", "--task=X", "--out", "{}/r.csv"],
]


@pytest.mark.parametrize("command", OUTPUTS, ids=lambda command: command[0])
def test_an_output_that_cannot_be_is_refused_before_anything_is_read(
    tmp_path, monkeypatch, capsys, command
):
    (tmp_path / "file").touch()
    said = fails(capsys, *(part.format(tmp_path / "file") for part in command))
    assert "file is a file; choose an output in a folder" in said
    monkeypatch.setattr(os, "access", lambda *_: False)
    said = fails(capsys, *(part.format(tmp_path) for part in command))
    assert "there is no permission to write in" in said
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_an_error_of_the_system_is_one_line(csv, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", "p.parquet")

    monkeypatch.setattr(os, "replace", full)
    said = fails(capsys, "places", csv, "--out", tmp_path / "p.parquet")
    assert said == "geointerp: p.parquet: No space left on device.\n"
    assert [p.name for p in tmp_path.iterdir()] == ["places.csv"]


def test_a_yaml_file_sets_options(csv, tmp_path):
    settings = tmp_path / "s.yaml"
    settings.write_text(f"places: {csv}\nlimit: 3\ncountries: [CN]\n")
    done = run("places", "--config", settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("3 places")


def test_help_comes_from_the_docstrings():
    done = run("capture", "--help")
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    assert "store one vector per layer, resumably." in text
    assert "Tokens that go through the model at once;" in text
    assert "An atlas there is replaced." in " ".join(run("atlas", "--help").stdout.split())
