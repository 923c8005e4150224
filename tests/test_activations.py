import filecmp
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import geointerp as gi
from geointerp import prompts, store
from geointerp.errors import InputError


def alone(model, places, template, layer):
    """The vector of each placename's last token, one prompt at a time, without hooks."""
    rows = []
    for tokens in prompts.tokenize(prompts.render(places, template), model.tokenizer):
        with torch.no_grad():
            states = model.model(
                input_ids=torch.tensor([tokens.ids]), output_hidden_states=True
            ).hidden_states
        rows.append(states[layer + 1][0, tokens.last].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("padding_side", ["right", "left"])
@pytest.mark.parametrize("batch_tokens", [1, 40, 8192])
def test_one_prompt_is_the_same_alone_and_in_any_batch(model, few, padding_side, batch_tokens):
    template = "{name}, {country} is near"
    acts = gi.activations.capture(
        model, few, template=template, padding_side=padding_side, batch_tokens=batch_tokens
    )
    for layer in (0, 1):
        np.testing.assert_allclose(
            acts.sel(layer=layer).values, alone(model, few, template, layer), rtol=1e-4, atol=1e-5
        )


def test_pools(gpt2, few):
    template = "{name} is near"
    found = {
        pool: gi.activations.capture(gpt2, few, template=template, pool=pool, layers=1).values[:, 0]
        for pool in ("last", "mean", "prompt_last", "prompt_mean")
    }
    tokens = prompts.tokenize(prompts.render(few, template), gpt2.tokenizer)
    for row, t in enumerate(tokens):
        with torch.no_grad():
            states = gpt2.model(input_ids=torch.tensor([t.ids]), output_hidden_states=True)
        state = states.hidden_states[2][0].numpy()
        wanted = {
            "last": state[t.last],
            "mean": state[t.first : t.last + 1].mean(axis=0),
            "prompt_last": state[-1],
            # without BOS
            "prompt_mean": state[1:].mean(axis=0),
        }
        for pool, vector in wanted.items():
            np.testing.assert_allclose(found[pool][row], vector, rtol=1e-4, atol=1e-5)


def test_labels(gpt2, few):
    acts = gi.activations.capture(gpt2, few, layers=[2, 0])
    assert acts.dims == ("place", "layer", "hidden")
    assert acts["layer"].values.tolist() == [0, 2]
    assert acts["place"].values.tolist() == list("abcde")
    np.testing.assert_allclose(acts["lon"], few.geometry.x)
    np.testing.assert_allclose(acts["lat"], few.geometry.y)
    assert acts["name"].values.tolist() == few["name"].tolist()
    assert acts["country"].values.tolist() == few["country"].tolist()
    back = gi.activations.places_of(acts)
    assert back.index.tolist() == list("abcde")
    assert back.geometry.iloc[1].coords[0] == pytest.approx((-46.636, -23.547))


def test_a_store_reads_back(gpt2, few, tmp_path):
    memory = gi.activations.capture(gpt2, few)
    stored = gi.activations.capture(gpt2, few, out=tmp_path / "acts.zarr")
    np.testing.assert_array_equal(stored.values, memory.values)
    assert not (tmp_path / "acts.zarr.partial").exists()
    opened = gi.activations.open(tmp_path / "acts.zarr")
    for name in ("place", "name", "lon", "lat", "country", "population"):
        assert opened[name].values.tolist() == memory[name].values.tolist()
    assert opened.attrs["template"] == "{name}"
    card = gi.cards.read(tmp_path / "acts.zarr")
    assert card["made by"]["weights_sha256"] == gpt2.fingerprint


def test_projected_places_are_stored_in_degrees(gpt2, few, tmp_path):
    acts = gi.activations.capture(gpt2, few.to_crs(3857), layers=0, out=tmp_path / "a.zarr")
    np.testing.assert_allclose(acts["lon"], few.geometry.x, atol=1e-6)


def test_a_finished_store_is_not_done_again(gpt2, few, tmp_path, caplog):
    out = tmp_path / "acts.zarr"
    gi.activations.capture(gpt2, few, out=out)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    with caplog.at_level("INFO"):
        gi.activations.capture(gpt2, few, out=out)
    assert "all 5 places were there already" in caplog.text
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before


def test_another_run_is_refused_with_the_difference_named(gpt2, few, tmp_path):
    out = tmp_path / "acts.zarr"
    gi.activations.capture(gpt2, few, out=out)
    for change, said in [
        ({"template": "{name}!"}, "template '{name}' where this one has '{name}!'"),
        ({"layers": 0}, r"layers [0, 1, 2] where this one has [0]"),
        ({"pool": "mean"}, "pool 'last' where"),
        ({"site": "attn_out"}, "site 'resid_post' where"),
        ({"batch_tokens": 99}, "batch_tokens 8192 where"),
        ({"padding_side": "left"}, "padding_side 'right' where"),
    ]:
        with pytest.raises(InputError) as caught:
            gi.activations.capture(gpt2, few, out=out, **change)
        assert said in str(caught.value)
    with pytest.raises(InputError, match="untrained_seed None where this one has 3"):
        gi.activations.capture(gpt2.untrained(3), few, out=out)
    with pytest.raises(InputError, match="places_sha256"):
        gi.activations.capture(gpt2, few.assign(population=1), out=out)
    with torch.no_grad():
        gpt2.blocks[0].mlp.c_proj.bias += 1
    changed = gi.models.wrap(gpt2.model, gpt2.tokenizer)
    with pytest.raises(InputError, match="weights_sha256"):
        gi.activations.capture(changed, few, out=out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="it holds something else"):
        gi.activations.capture(gpt2, few, out=other)
    assert (other / "thesis.txt").read_text() == "mine"


def test_a_foreign_folder_of_the_unfinished_name_is_not_touched(gpt2, few, tmp_path):
    foreign = tmp_path / "acts.zarr.partial"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="partial: it holds something else"):
        gi.activations.capture(gpt2, few, out=tmp_path / "acts.zarr")
    assert (foreign / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("at", ["replace", "rmtree", "open_group"])
def test_a_kill_at_the_start_or_the_end_loses_nothing(gpt2, few, tmp_path, monkeypatch, caplog, at):
    import zarr

    class Killed(BaseException):
        pass

    def dies(path, *args, **kwargs):
        mine = {"replace": "killed.zarr.partial", "rmtree": "done", "open_group": path.name}
        if path.name != mine[at] or at == "open_group":
            real(path, *args, **kwargs)
        if path.name == mine[at]:
            raise Killed

    where = {"replace": store.os, "rmtree": store.shutil, "open_group": zarr}[at]
    real = getattr(where, at)
    gi.activations.capture(gpt2, few, out=tmp_path / "whole.zarr")
    out = tmp_path / "killed.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(where, at, dies)
        with pytest.raises(Killed):
            gi.activations.capture(gpt2, few, out=out)
    assert not out.exists()
    with caplog.at_level("INFO"):
        gi.activations.capture(gpt2, few, out=out)
    assert f"kept {0 if at == 'open_group' else 5} of 5 places" in caplog.text
    assert same_tree(tmp_path / "whole.zarr", out)


def test_bad_input_leaves_nothing_behind(gpt2, few, tmp_path):
    out = tmp_path / "acts.zarr"
    for bad in (
        {"layers": 9},
        {"site": "resid"},
        {"pool": "max"},
        {"template": "{planet}"},
        {"template": "{name}" + " near" * 200},
        {"padding_side": "top"},
    ):
        with pytest.raises(InputError):
            gi.activations.capture(gpt2, few, out=out, **bad)
    assert list(tmp_path.iterdir()) == []


def test_not_finite(gpt2, few):
    with torch.no_grad():
        gpt2.blocks[1].mlp.c_proj.weight.fill_(float("inf"))
    with pytest.raises(InputError, match=r"layer 1: an activation is not finite"):
        gi.activations.capture(gpt2, few)


def test_no_store_there(tmp_path):
    with pytest.raises(InputError, match="no store of activations"):
        gi.activations.open(tmp_path / "none.zarr")
    (tmp_path / "x.zarr.partial").mkdir()
    with pytest.raises(InputError, match="its capture was interrupted"):
        gi.activations.open(tmp_path / "x.zarr")


CAPTURE = """
import logging, sys, time
import geointerp as gi
from geointerp import store
logging.basicConfig(level=logging.INFO, format="%(message)s")
out, pause = sys.argv[1], float(sys.argv[2])
write = store.Partial.write
def slow(self, *args):
    write(self, *args)
    time.sleep(pause)
store.Partial.write = slow
gi.activations._BLOCK_BYTES = 1
places = gi.places.load("geonames", limit=200)
gi.activations.capture(gi.models.load("toponym", device="cpu"), places, out=out)
"""


def same_tree(a: Path, b: Path) -> bool:
    files = sorted(p.relative_to(a) for p in a.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(b) for p in b.rglob("*") if p.is_file())
    return all(filecmp.cmp(a / p, b / p, shallow=False) for p in files)


def test_killed_and_started_again(tmp_path):
    whole, killed = tmp_path / "whole.zarr", tmp_path / "killed.zarr"
    script = tmp_path / "capture.py"
    script.write_text(CAPTURE)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(out, pause):
        return subprocess.Popen(
            [sys.executable, script, out, str(pause)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    assert start(whole, 0).wait() == 0
    process = start(killed, 0.3)
    done = tmp_path / "killed.zarr.partial" / "done"
    while not (done.exists() and len(list(done.iterdir())) >= 3):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(list(done.iterdir()))
    assert not killed.exists()
    # a write that was cut short leaves a file under a name of its own
    (tmp_path / "killed.zarr.partial" / "activations" / "c" / "0.abc.partial").write_text("half")
    log = start(killed, 0).communicate()[1]
    assert f"kept {16 * kept} of 200 places" in log
    assert same_tree(whole, killed)
