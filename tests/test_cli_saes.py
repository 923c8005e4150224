import anndata
import numpy as np
import pandas as pd
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
