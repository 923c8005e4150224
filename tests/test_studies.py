"""Every study, small, on the embedded model: what its docstring says, it shows."""

import importlib.util
from pathlib import Path

import pandas as pd

STUDIES = Path(__file__).parents[1] / "probes"
FEW = {"min_population": 1_500_000, "seed": 1}


def study(name):
    spec = importlib.util.spec_from_file_location(name, STUDIES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def test_resolution(tmp_path):
    study("resolution")(layers="3", degree=3, out=str(tmp_path), **FEW)
    table = pd.read_csv(tmp_path / "probe" / "report.csv")
    best = table[table["split"] == "random"].set_index("source")
    assert best.loc["model", "r2_1"] > best.loc["model", "r2_3"]
    assert best.loc["model", "r2_1"] > best.loc["input embeddings", "r2_1"] + 0.1
    assert (tmp_path / "spectrum.png").exists()


def test_unseen_countries(tmp_path):
    study("unseen_countries")(layers="3", out=str(tmp_path), **{**FEW, "min_population": 700_000})
    table = pd.read_csv(tmp_path / "probe" / "summary.csv").set_index("split")["r2"]
    assert table["random"] > table["one country at a time"] > table["one continent at a time"]
    pairs = pd.read_csv(tmp_path / "between_continents.csv")
    home = pairs["fitted_to"] == pairs["tried_on"]
    assert pairs[home]["median_km"].max() < pairs[~home]["median_km"].min()


def test_which_names(tmp_path, capsys):
    study("which_names")(layer=3, out=str(tmp_path), **FEW)
    errors = pd.read_csv(tmp_path / "errors_km.csv", index_col=0)
    assert errors["model"].median() < errors.iloc[:, 1].median()
    assert "Median error in km" in capsys.readouterr().out


def test_languages(tmp_path):
    study("languages")(limit=600, scripts=["latin", "cyrillic"], layer=3, out=str(tmp_path))
    table = pd.read_csv(tmp_path / "transfer.csv").set_index(["names", "probe"])
    for script in ("latin", "cyrillic"):
        assert table.loc[(script, "at home"), "r2"] > table.loc[(script, "as it is"), "r2"] + 0.3


def test_how_is_it_held(tmp_path):
    study("how_is_it_held")(layer=3, out=str(tmp_path), **FEW)
    sizes = pd.read_csv(tmp_path / "sample_size.csv")
    assert sizes["r2"].iloc[-1] > sizes["r2"].iloc[0]
    neurons = pd.read_csv(tmp_path / "neurons.csv")
    assert len(neurons) == 256
    assert neurons["r2"][0] > 5 * neurons["shuffled_r2"][0]
