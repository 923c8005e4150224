import numpy as np
import pytest
from cli_helpers import card, csv_of_cities, fails, store_of_several

import geointerp as gi
from geointerp import cli


@pytest.fixture
def csv(tmp_path):
    return csv_of_cities(tmp_path)


@pytest.fixture
def several(csv):
    return store_of_several(csv)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,lat,lon\nA,91,0\n", "latitude 91"),
        ("name,lat,lon\nA,nan,0\n", "not a number of degrees"),
        ("name,lat,lon\nA,,0\n", "line 2, column 'lat' is empty"),
        ("name;lat;lon\nA;0;0\n", "looks separated by ';'"),
        ("", "it is empty"),
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


@pytest.mark.parametrize("given", ["NO", "[NO]", "['NO']", "NO,SE", "[NO, SE]", '["NO","SE"]'])
def test_norway_is_a_country(given, capsys):
    cli.main(["places", "geonames", f"--countries={given}", "--limit=500"])
    shown = capsys.readouterr().out
    assert " NO " in shown
    assert (" SE " in shown) == ("SE" in given)


def test_places_are_written_with_their_card(csv, tmp_path, capsys):
    out = tmp_path / "new" / "p.parquet"
    cli.main(["places", str(csv), "--limit=3", "--out", str(out)])
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert len(gi.places.load(out)) == 3
    assert card(out.parent, out.name)["limit"] == 3
    names = {p.name for p in out.parent.iterdir()}
    assert names == {"p.parquet", "p.parquet.card.json", "p.parquet.card.md"}


def test_several_templates_and_names(several, csv, tmp_path, capsys):
    acts = gi.activations.open(several)
    assert acts.dims == ("prompt", "place", "layer", "hidden")
    assert acts.dtype == np.float16
    assert acts["template"].values.tolist() == ["{name}"] * 2 + ["{name} is near"] * 2
    assert acts["names"].values.tolist() == ["name", "local"] * 2
    # the same from the command line
    again = ["--template", '["{name}", "{name} is near"]', "--names", "[name,local]"]
    again += ["--layers=2", "--store-dtype=float16", "--out", tmp_path / "again.zarr"]
    cli.main(["capture", "toponym", *map(str, [csv, *again])])
    other = gi.activations.open(tmp_path / "again.zarr")
    assert other.attrs["identity_sha256"] == acts.attrs["identity_sha256"]
    said = fails(capsys, "capture", "toponym", csv, "--store-dtype=int8", "--out", tmp_path / "x")
    assert "it must be 'float32' or 'float16'" in said


@pytest.mark.parametrize(
    "template", ["{name}", "- {name}", "{name}: here", "'{name}'", "a\nb {name}"]
)
def test_a_template_is_taken_as_it_is_typed(template, csv, tmp_path):
    out = tmp_path / "acts.zarr"
    cli.main(["capture", "toponym", str(csv), f"--template={template}", "--out", str(out)])
    assert gi.activations.open(out).attrs["template"] == template


@pytest.mark.parametrize(
    "template", ["[{name}, {name} is near]", "[{name}]", "[]", '["{name}", 1]']
)
def test_a_list_of_templates_that_is_none(template, csv, tmp_path, capsys):
    said = fails(capsys, "capture", "toponym", csv, "--template", template, "--out", tmp_path / "a")
    assert "what begins with [ is a list of templates, each in double quotes" in said
    assert not (tmp_path / "a").exists()


def test_of_several_processes_one_says_what_was_made(csv, tmp_path, monkeypatch, capsys):
    command = ["capture", "toponym", str(csv), "--layers=2", "--out", str(tmp_path / "a.zarr")]
    cli.main(command)
    assert capsys.readouterr().out.endswith("{'place': 60, 'layer': 1, 'hidden': 256}\n")
    monkeypatch.setattr(gi.processes, "is_first", lambda: False)
    cli.main(command)
    assert capsys.readouterr().out == ""


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
