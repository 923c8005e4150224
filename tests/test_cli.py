import json
import os
import subprocess
import sys

import pandas as pd
import pytest

import geointerp as gi
from geointerp import cli


def run(*arguments, cwd=None):
    """The command as a shell runs it."""
    return subprocess.run(
        [sys.executable, "-m", "geointerp", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def fails(capsys, *arguments):
    """The one line on standard error of a command that exits with 2."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(a) for a in arguments])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("geointerp: ")
    assert said.count("\n") == 1
    return said


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "places.csv"
    table = gi.places.load("geonames", min_population=3_000_000)
    table = table.assign(lon=table.geometry.x, lat=table.geometry.y).drop(columns="geometry")
    table.head(60).to_csv(path, index=False)
    return path


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
    assert "spearman" in step(
        "score", "run/ratings.csv", "--truth", "population", "--log10", "true"
    )
    assert (tmp_path / "run" / "atlas" / "index.html").stat().st_size > 100_000
    assert not list((tmp_path / "run").glob(".*partial*"))


def test_capture_and_encode_from_the_shell(csv, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cli.main(["capture", "toponym", str(csv), "--layers", "3"])
    size = ["--width=16", "--k=2", "--steps=20", "--batch=16"]
    cli.main(["sae", "train", "run/activations.zarr", "--layer=3", *size])
    cli.main(["sae", "encode", "run/sae", "run/activations.zarr"])
    cli.main(["moran", "run/features.h5ad", "--k=4", "--min-active", "3"])
    table = pd.read_csv("run/moran.csv", index_col=0)
    assert len(table) == 16
    assert table["n_active"].sum() == 60 * 2
    capsys.readouterr()
    # nothing is overwritten
    for again in (
        ["sae", "train", "run/activations.zarr", "--layer=3"],
        ["sae", "encode", "run/sae", "run/activations.zarr"],
        ["moran", "run/features.h5ad"],
    ):
        assert "exists already" in fails(capsys, *again)
    assert "has layers 3" in fails(capsys, "sae", "train", "run/activations.zarr", "--layer=1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,lat,lon\nA,91,0\n", "latitude 91"),
        ("name,lat,lon\nA,nan,0\n", "not a number of degrees"),
        ("name,lat,lon\n,0,0\n", "has no name"),
        ("name,country\nA,FR\n", "no column of lon"),
        ("name,lat,lon\n", "no places"),
    ],
)
def test_bad_places(tmp_path, capsys, text, said):
    path = tmp_path / "p.csv"
    path.write_text(text)
    out = tmp_path / "acts.zarr"
    assert said in fails(capsys, "capture", "toponym", path, "--out", out)
    assert said in fails(capsys, "places", path, "--out", tmp_path / "p.parquet")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.csv"]


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
    assert "invalid choice: 'nonsense'" in fails(capsys, "nonsense")
    assert "places" in fails(capsys, "capture", "toponym")
    assert "there is no such file" in fails(capsys, "score", "none.csv", "--truth=x")
    assert "there is no such file" in fails(capsys, "moran", "none.h5ad")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["places.csv"]


def test_an_output_that_holds_another_run(csv, tmp_path, capsys):
    out = tmp_path / "acts.zarr"
    cli.main(["capture", "toponym", str(csv), "--out", str(out), "--layers=0", "--limit=5"])
    said = fails(capsys, "capture", "toponym", csv, "--out", out, "--layers=1", "--limit=5")
    assert "it holds another run, with layers [0] where this one has [1]" in said
    assert gi.activations.open(out)["layer"].values.tolist() == [0]


def test_a_name_that_vanishes(tmp_path, capsys):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    plain = Tokenizer(models.WordLevel({"[UNK]": 0, "Lima": 1}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path / "model"
    PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]").save_pretrained(folder)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=2,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
        )
    ).save_pretrained(folder)
    (tmp_path / "p.csv").write_text("name,lat,lon\nLima,0,0\nQuito,0,0\n")
    said = fails(capsys, "capture", folder, tmp_path / "p.csv", "--out", tmp_path / "acts.zarr")
    assert "place 1: the tokenizer keeps nothing of its name 'Quito'" in said
    assert not list(tmp_path.glob("acts*"))


def test_a_yaml_file_sets_options(csv, tmp_path):
    settings = tmp_path / "s.yaml"
    settings.write_text(f"source: {csv}\nlimit: 3\ncountries: [CN]\n")
    done = run("places", "--config", settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("3 places")


def test_help_comes_from_the_docstrings():
    done = run("capture", "--help")
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    assert "store one vector per layer, resumably." in text
    assert "Tokens that go through the model at once." in text


def test_a_failed_write_leaves_nothing(tmp_path):
    def writer(path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cli._write(tmp_path / "x.csv", writer)
    assert list(tmp_path.iterdir()) == []
    cli._write(tmp_path / "y.json", lambda p: p.write_text(json.dumps(1)))
    assert [p.name for p in tmp_path.iterdir()] == ["y.json"]
