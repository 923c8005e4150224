import json
import os
import re
import subprocess
import sys

import architectures
import conftest
import numpy as np
import pandas as pd
import pytest

import geointerp as gi
from geointerp import cli
from geointerp.cli import ratings


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


def card(folder, name):
    """What made an artefact that is a single file."""
    return gi.cards.read(folder, stem=f"{name}.card")["made by"]


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


def test_capture_and_encode_from_the_shell(csv, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cli.main(["capture", "toponym", str(csv), "--layers", "3"])
    size = ["--width=16", "--k=2", "--steps=20", "--batch=16"]
    cli.main(["sae", "train", "run/activations.zarr", "--layer=3", *size])
    capsys.readouterr()
    cli.main(["sae", "encode", "run/sae", "run/activations.zarr"])
    cli.main(["moran", "run/features.h5ad", "--k=4", "--min-active", "3"])
    said = capsys.readouterr().out.splitlines()
    table = pd.read_csv("run/moran.csv", index_col=0)
    assert len(table) == 16
    assert table["n_active"].sum() == 60 * 2
    fire, tested = (table["n_active"] > 0).sum(), (table["n_active"] >= 3).sum()
    assert said[1] == f"{fire} of 16 features fire on some place"
    assert said[-1].startswith(f"{tested} of 16 features tested; ")
    made = card(tmp_path / "run", "features.h5ad")
    assert made == {
        "function": "geointerp.saes.encode",
        "sae": "run/sae",
        "activations": "run/activations.zarr",
        "layer": 3,
        "prompt": 0,
    }
    made = card(tmp_path / "run", "moran.csv")
    assert (made["features"], made["k"], made["seed"]) == ("run/features.h5ad", 4, 0)
    assert (made["permutations"], made["min_active"]) == (999, 3)
    assert len(made["features_sha256"]) == 64
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


def listed(monkeypatch, capsys, model, *options):
    """What `geointerp models` prints of a model that is in memory."""
    monkeypatch.setattr(gi.models, "load", lambda *_, **__: model)
    cli.main(["models", "it", *options])
    return capsys.readouterr().out


def rows(text):
    """Site, layers, module and what is read of it, as the listing has them."""
    table = text.split("\n\n")[1].splitlines()
    return [tuple(re.split(r"  +", line)) for line in table]


def test_the_sites_of_a_model(capsys):
    cli.main(["models", "toponym"])
    text = capsys.readouterr().out
    assert text.splitlines()[:5] == [
        "toponym (LlamaForCausalLM)",
        "layers: 6, from 0 to 5",
        "residual stream: 256 values per token, computed in float32",
        "each token sees only what comes before it",
        "its last hidden state is taken after a final norm; resid_post of layer 5 is before "
        "that norm",
    ]
    after = "layers.{0..5}.post_attention_layernorm"
    assert rows(text) == [
        ("site", "layers", "module", "read"),
        ("resid_pre", "0..5", "layers.{0..5}", "input"),
        ("resid_mid", "0..5", after, "input"),
        ("resid_post", "0..5", "layers.{0..5}", "output"),
        ("attn_out", "0..5", "layers.{0..5}.self_attn", "output"),
        ("mlp_in", "0..5", after, "output"),
        ("mlp_out", "0..5", "layers.{0..5}.mlp", "output"),
    ]
    assert "  0..5: self_attn, self_attn.q_proj," in text


def test_every_module_that_is_listed_can_be_a_site(toponym, few, capsys):
    cli.main(["models", "toponym", "--json"])
    about = json.loads(capsys.readouterr().out)
    assert (about["layers"], about["hidden"], about["dtype"]) == (6, 256, "float32")
    assert (about["encoder"], about["normed"]) == (False, True)
    assert list(about["sites"]) == list(gi.hooks.SITES)
    for site, (entry,) in about["sites"].items():
        for layer in entry["layers"]:
            point = toponym.anatomy.point(layer, site)
            assert entry["path"].replace("{0..5}", str(layer)) == point.path
            assert entry["read"] == ("input" if point.before else "output")
    assert {"mlp.act_fn", "mlp.down_proj", "self_attn.q_proj"} <= set(about["modules"])
    for path, layers in about["modules"].items():
        assert layers == list(range(6))
        acts = gi.activations.capture(toponym, few, layers=2, site=path)
        assert np.ptp(acts.values, axis=0).max() > 0


def test_the_sites_of_an_encoder(toponym, monkeypatch, capsys):
    model = conftest.tiny("bert", toponym.tokenizer)
    about = json.loads(listed(monkeypatch, capsys, model, "--json=true"))
    assert (about["encoder"], about["normed"]) == (True, False)
    text = listed(monkeypatch, capsys, model)
    assert "each token sees the whole prompt, as in an encoder" in text
    assert "its last hidden state is resid_post of layer 2; no norm comes after it" in text
    assert ("mlp_out", "0..2", "encoder.layer.{0..2}.output.dense", "output") in rows(text)


def ids(_):
    """A tokenizer for models whose vocabulary is tiny."""
    return {"input_ids": [21, 22, 23, 24, 25, 26, 27, 28]}


@pytest.mark.parametrize(
    ("kind", "model_type", "expected"),
    [
        # layers that differ
        ("causal", "bamba", ("attn_out", "0,2", "layers.{0,2}.mamba", "output")),
        ("causal", "bamba", ("attn_out", "1", "layers.1.self_attn", "output")),
        # attention and MLP at once
        ("causal", "gpt_neox", ("resid_mid", "none")),
        # one module for all layers
        ("masked", "albert", ("resid_pre", "0..2", "encoder.albert_layer_groups.0", "input")),
    ],
)
def test_sites_that_are_not_the_same_in_all_layers(kind, model_type, expected, monkeypatch, capsys):
    model = gi.models.wrap(architectures.tiny(kind, model_type), ids)
    assert expected in rows(listed(monkeypatch, capsys, model))


def test_modules_that_only_some_layers_have(monkeypatch, capsys):
    model = gi.models.wrap(architectures.tiny("causal", "bamba"), ids)
    modules = json.loads(listed(monkeypatch, capsys, model, "--json"))["modules"]
    assert modules["mamba.in_proj"] == [0, 2]
    assert modules["self_attn.q_proj"] == [1]
    text = listed(monkeypatch, capsys, model)
    assert "  0,2: mamba, mamba.in_proj," in text
    assert "  1: self_attn, " in text


def test_a_model_without_blocks(monkeypatch, capsys):
    model = gi.models.wrap(architectures.tiny("masked", "xlm"), ids)
    text = listed(monkeypatch, capsys, model)
    assert "no blocks are found in it: only resid_pre and resid_post are read" in text
    assert "layers: 3, from 0 to 2" in text
    about = json.loads(listed(monkeypatch, capsys, model, "--json"))
    assert about["normed"] is None
    assert about["modules"] == {}
    own = [{"layers": [0, 1, 2], "path": None, "read": "hidden states"}]
    for site, found in about["sites"].items():
        assert found == (own if site in ("resid_pre", "resid_post") else [])


def test_a_model_that_cannot_be_listed(capsys):
    assert "no such directory" in fails(capsys, "models", "./none")
    assert "dtype is 'int3'" in fails(capsys, "models", "toponym", "--dtype", "int3")


def test_a_tokenizer_that_knows_none_of_the_words(monkeypatch, capsys):
    for kind, ahead in (("causal", False), ("masked", True)):
        model = gi.models.wrap(architectures.tiny(kind, "bert"), lambda _: {"input_ids": [0]})
        assert json.loads(listed(monkeypatch, capsys, model, "--json"))["encoder"] == ahead


@pytest.mark.parametrize("command", [["models", "it"], ["capture", "it", "{}", "--out", "{}.zarr"]])
def test_what_a_model_is_loaded_with(command, csv, monkeypatch, capsys):
    def load(name, **options):
        raise gi.errors.InputError(f"{name} with {options}")

    monkeypatch.setattr(gi.models, "load", load)
    command = [part.format(csv) for part in command]
    wanted = {
        "revision": "step3",
        "device": "auto",
        "dtype": "bfloat16",
        "trust_remote_code": True,
    }
    options = ["--revision=step3", "--device=auto", "--dtype=bfloat16", "--trust-remote-code"]
    assert fails(capsys, *command, *options) == f"geointerp: it with {wanted}\n"


@pytest.fixture
def several(csv, tmp_path):
    """A store of two templates under two columns of names."""
    table = pd.read_csv(csv)
    table.assign(local=table["name"].str.upper()).to_csv(csv, index=False)
    settings = tmp_path / "capture.yaml"
    settings.write_text(
        f'model: toponym\nplaces: {csv}\ntemplate: ["{{name}}", "{{name}} is near"]\n'
        f"names: [name, local]\nlayers: '2'\nout: {tmp_path / 'acts.zarr'}\n"
    )
    cli.main(["capture", "--config", str(settings), "--store-dtype=float16"])
    return tmp_path / "acts.zarr"


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


def test_one_of_several_prompts_is_chosen(several, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    size = ["--layer=2", "--width=8", "--k=2", "--steps=5", "--batch=16"]
    probe = ["probe", str(several), "--cv=[random]", "--controls=false"]
    train = ["sae", "train", str(several), *size]
    encode = ["sae", "encode", "run/sae", str(several)]
    for command in (probe, train, encode):
        cli.main([*command, "--prompt=3"])
    acts = gi.activations.open(several).isel(prompt=3).sel(layer=2)
    about = gi.probes.Report.read("run/probe").about
    assert (about["template"], about["names"]) == ("{name} is near", "local")
    made = gi.cards.read(tmp_path / "run" / "sae")["made by"]
    assert (made["template"], made["names"]) == ("{name} is near", "local")
    import anndata

    features = anndata.read_h5ad("run/features.h5ad")
    wanted = gi.saes.encode(gi.saes.load("run/sae"), acts)
    np.testing.assert_array_equal(features.X.toarray(), wanted.X.toarray())
    assert card(tmp_path / "run", "features.h5ad")["prompt"] == 3
    held = (
        "the store holds several prompts, so --prompt chooses: 0 is '{name}' with name, "
        "1 is '{name}' with local, 2 is '{name} is near' with name, "
        "3 is '{name} is near' with local."
    )
    for command in (probe, train, encode):
        other = [*command, f"--out={command[0]}.h5ad"]
        assert fails(capsys, *other) == f"geointerp: {held}\n"
        for number in (4, -1):
            said = fails(capsys, *other, "--prompt", number)
            assert said == f"geointerp: prompt {number}: {held}\n"


def test_the_prompt_of_a_store_that_holds_one(csv, tmp_path, capsys):
    out = tmp_path / "acts.zarr"
    cli.main(["capture", "toponym", str(csv), "--layers=2", "--out", str(out)])
    probe = ["probe", out, "--cv=[random]", "--controls=false", "--out", tmp_path / "probe"]
    said = fails(capsys, *probe, "--prompt=1")
    assert said == "geointerp: prompt 1: the store holds one prompt, 0.\n"
    cli.main([*map(str, probe), "--prompt=0"])
    assert (tmp_path / "probe" / "report.csv").exists()


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


@pytest.mark.parametrize("given", ["NO", "[NO]", "['NO']", "NO,SE", "[NO, SE]", '["NO","SE"]'])
def test_norway_is_a_country(given, capsys):
    cli.main(["places", "geonames", f"--countries={given}", "--limit=500"])
    shown = capsys.readouterr().out
    assert " NO " in shown
    assert (" SE " in shown) == ("SE" in given)


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


def test_an_error_of_the_system_is_one_line(csv, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", "p.parquet")

    monkeypatch.setattr(os, "replace", full)
    said = fails(capsys, "places", csv, "--out", tmp_path / "p.parquet")
    assert said == "geointerp: p.parquet: No space left on device.\n"
    assert [p.name for p in tmp_path.iterdir()] == ["places.csv"]


def test_places_are_written_with_their_card(csv, tmp_path, capsys):
    out = tmp_path / "new" / "p.parquet"
    cli.main(["places", str(csv), "--limit=3", "--out", str(out)])
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert len(gi.places.load(out)) == 3
    assert card(out.parent, out.name)["limit"] == 3
    names = {p.name for p in out.parent.iterdir()}
    assert names == {"p.parquet", "p.parquet.card.json", "p.parquet.card.md"}


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
    assert made["context"] == "nobody"


@pytest.fixture
def features(tmp_path, monkeypatch):
    """Features of sixty places in two columns, one of which fires at one place."""
    import anndata

    rng = np.random.default_rng(0)
    values = np.zeros((60, 3), np.float32)
    values[::2, 0] = 1
    values[:1, 1] = 1
    lon_lat = np.stack([rng.uniform(-180, 180, 60), rng.uniform(-80, 80, 60)], axis=1)
    (tmp_path / "run").mkdir()
    made = anndata.AnnData(values, obsm={"spatial": lon_lat})
    made.write_h5ad(tmp_path / "run" / "features.h5ad")
    monkeypatch.chdir(tmp_path)
    return made


def test_what_was_not_tested_is_counted(features, capsys):
    cli.main(["moran", "run/features.h5ad", "--min-active=31", "--permutations=9"])
    assert capsys.readouterr().out.splitlines()[-5:] == [
        "2 not tested: It fires on fewer than 31 places.",
        "1 not tested: It fires on no place.",
        "null: permutations of all places",
        "p rests on the Pearson III curve for 0, on permutations for 0",
        "0 of 3 features tested; 0 have q ≤ 0.05",
    ]


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


def data_of(page, name="overview"):
    """What a file of an atlas's data holds."""
    text = (page.parent / "data" / f"{name}.js").read_text("ascii")
    return json.loads(json.loads(text[text.index(",") + 1 : text.rindex(")")]))


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


@pytest.fixture
def mapped(tmp_path, monkeypatch):
    """Features of cities: one of a country, one of half a country, one at random, one nowhere."""
    import anndata

    cities = gi.places.load("geonames", min_population=300_000, countries=["FR", "NA", "US", "IT"])
    cities = cities.rename(index=str)
    lon, lat = gi.places.lon_lat(cities)
    country = cities["country"].to_numpy()
    values = np.zeros((len(cities), 4), np.float32)
    values[country == "IT", 0] = 2
    values[(country == "US") & (lon < -100), 1] = 1
    values[:, 2] = np.random.default_rng(0).random(len(cities)) > 0.7
    obs = cities[["name", "country", "admin1", "continent"]]
    made = anndata.AnnData(
        values,
        obs=obs,
        var=pd.DataFrame(index=["italy", "west", "anywhere", "nowhere"]),
        obsm={"spatial": np.column_stack([lon, lat])},
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    made.copy().write_h5ad("run/features.h5ad")
    return made


def read_csv(path, **options):
    """A table as it was written: NA is Namibia, and 3 the name of a feature."""
    options = {"index_col": 0, "dtype": {"feature": str, "place": str}, **options}
    options |= {"keep_default_na": False, "na_values": [""], "float_precision": "round_trip"}
    return pd.read_csv(path, **options)


def same(found, wanted):
    """Whether two tables hold the same, to the last digit, whatever pandas calls their dtypes."""
    assert found.columns.tolist() == wanted.columns.tolist()
    assert found.index.tolist() == wanted.index.tolist()
    for name in wanted.columns:
        if pd.api.types.is_numeric_dtype(wanted[name]):
            np.testing.assert_array_equal(found[name], wanted[name].to_numpy(float), str(name))
        else:
            assert found[name].fillna("").tolist() == wanted[name].fillna("").tolist()


def test_moran_within_regions_and_a_distance(mapped, tmp_path, capsys):
    options = {"permutations": 99, "max_permutations": 199, "alternative": "two-sided"}
    given = ["--permutations=99", "--max-permutations=199", "--alternative=two-sided"]
    cli.main(["moran", "run/features.h5ad", "--within=country", "--km=800", *given])
    graph = gi.spatial.distance_band(mapped, km=800).transform("R")
    table = gi.spatial.moran(mapped, graph, within="country", **options)
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
    import geopandas as gpd
    from shapely.geometry import box

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
    import geopandas as gpd
    from shapely.geometry import box

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


def test_scores(tmp_path, capsys):
    path = tmp_path / "r.csv"
    path.write_text("place,rating,name,truth\n0,1,a,1\n1,2,b,\n2,3,c,10\n3,3.5,d,100\n")
    cli.main(["score", str(path), "--truth=truth", "--log10=true"])
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == ["n: 3", "n_missing: 1", "spearman: 1"]
    score = ["score", path]
    assert "no column 'x'; it has rating, name, truth" in fails(capsys, *score, "--truth=x")
    said = fails(capsys, *score, "--truth=name")
    assert "r.csv: column 'name' is not numeric; it holds 'a'." in said
    path.write_text("place,rating,truth\n0,1,-1\n")
    assert "0 or less" in fails(capsys, *score, "--truth=truth", "--log10=true")
    path.write_text("place,rating,truth\n0,high,1\n")
    assert "column 'rating' is not numeric" in fails(capsys, *score, "--truth=truth")
    path.write_text("")
    assert "not a readable .csv file" in fails(capsys, *score, "--truth=truth")
    assert "Is a directory" in fails(capsys, "score", tmp_path, "--truth=truth")


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
