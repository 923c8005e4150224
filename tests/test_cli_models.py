import json
import re

import architectures
import conftest
import numpy as np
import pytest
from cli_helpers import csv_of_cities, fails

import geointerp as gi
from geointerp import cli


@pytest.fixture
def csv(tmp_path):
    return csv_of_cities(tmp_path)


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
