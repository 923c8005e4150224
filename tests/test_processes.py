"""Several processes make what one makes, and those that are killed go on where they stopped."""

import random
import shutil
import time

import forked
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import same_tree
from forked import Started
from safetensors.torch import load_file

import geointerp as gi


@pytest.fixture(scope="module")
def places():
    return gi.places.load("geonames", limit=400)


@pytest.fixture(scope="module")
def whole(places, tmp_path_factory):
    """The store that one process makes and that of two, and how long their writing took."""
    folder, seconds = tmp_path_factory.mktemp("whole"), {}
    for processes in (1, 2):
        out = folder / f"{processes}.zarr"
        running = Started(
            forked.capture, places, out, processes=processes, log=folder / f"{processes}.log"
        )
        began = running.until(unfinished(out).exists)
        seconds[processes] = running.until(out.exists) - began
        running.end()
    return folder, seconds


def unfinished(out):
    return out.with_name(f"{out.name}.partial")


def test_two_processes_give_the_store_of_one(whole):
    folder, _ = whole
    assert same_tree(folder / "1.zarr", folder / "2.zarr")


def kill_and_go_on(whole, places, tmp_path, processes, trials, seed=0):
    folder, seconds = whole
    length, draw = seconds[processes], random.Random(seed)
    written = []
    for trial in range(trials):
        out = tmp_path / f"{trial}.zarr"
        start = {"processes": processes, "log": tmp_path / f"{trial}.log"}
        kills = 0
        while kills < 2:  # the second time it is killed while it goes on
            running = Started(forked.capture, places, out, **start)
            running.until(unfinished(out).exists)
            time.sleep(draw.random() * length)
            running.kill()
            if out.exists():  # too late
                shutil.rmtree(out)
                kills, length = 0, 0.8 * length
            else:
                kills += 1
        chunks = (unfinished(out) / "activations").rglob("*")
        written.append(sum(path.is_file() for path in chunks))
        Started(forked.capture, places, out, **start).end()
        assert same_tree(folder / f"{processes}.zarr", out), trial
    # kills that came when nothing, or everything, was done would show nothing
    assert len({count for count in written if count}) > trials // 4


@pytest.mark.parametrize("processes", [1, 2])
def test_a_capture_that_was_killed_goes_on(whole, places, tmp_path, processes):
    kill_and_go_on(whole, places, tmp_path, processes, trials=2)


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 2])
def test_a_capture_that_was_killed_twenty_times_goes_on(whole, places, tmp_path, processes):
    kill_and_go_on(whole, places, tmp_path, processes, trials=20, seed=processes)


def test_two_processes_share_what_is_left_by_one(whole, places, tmp_path):
    folder, _ = whole
    out, told = tmp_path / "some.zarr", tmp_path / "told"
    shutil.copytree(folder / "1.zarr", out)
    # those that the second of two processes made
    for number in range(1, 25, 2):
        shutil.rmtree(out / "activations" / "c" / "0" / str(number))
    told.mkdir()
    log = tmp_path / "log"
    Started(forked.capture_and_tell, places, out, told, processes=2, log=log).end()
    written = [[int(line) for line in path.read_text().split()] for path in told.iterdir()]
    assert sorted(written) == [list(range(1, 25, 4)), list(range(3, 25, 4))]
    assert same_tree(folder / "1.zarr", out)


def test_a_training_that_was_killed_goes_on_to_the_same_bits(tmp_path):
    checkpoint, log, steps = tmp_path / "sae.checkpoint", tmp_path / "log", 1000
    Started(forked.train, tmp_path / "whole", steps, log=tmp_path / "whole.log").end()

    def written():
        return checkpoint.stat().st_mtime_ns if checkpoint.exists() else None

    for _ in range(2):
        before = written()
        running = Started(forked.train, tmp_path / "sae", steps, log=log)
        running.until(lambda before=before: written() != before)
        running.kill()
        assert not (tmp_path / "sae").exists()
    assert log.read_text().count("going on from step") == 1
    Started(forked.train, tmp_path / "sae", steps, log=log).end()
    assert log.read_text().count("going on from step") == 2
    one, other = (
        (tmp_path / out / "sae_weights.safetensors").read_bytes() for out in ("whole", "sae")
    )
    assert one == other


def test_two_processes_train_one_autoencoder(tmp_path):
    for name, processes in (("one", 1), ("two", 2)):
        log = tmp_path / f"{name}.log"
        Started(forked.sweep, tmp_path / name, processes=processes, log=log).end()
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"one", "two"}
    tables = [
        pd.read_csv(tmp_path / name / "sweep.csv", index_col="sae") for name in ("one", "two")
    ]
    np.testing.assert_allclose(tables[0]["l0"], tables[1]["l0"], rtol=0.1)
    for sae in tables[0].index:
        one, two = (
            load_file(tmp_path / name / sae / "sae_weights.safetensors") for name in ("one", "two")
        )
        for name in one:
            if "batchtopk" in sae:
                # each process takes the largest of its own rows
                flat = one[name].flatten(), two[name].flatten()
                assert torch.nn.functional.cosine_similarity(*flat, dim=0) > 0.95
            else:
                torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-4)
