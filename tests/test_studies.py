"""Every study, small, on the embedded model: what its docstring says, it shows."""

import importlib.util
from pathlib import Path

import numpy as np
import osm_files
import pandas as pd
import pytest
import torch

import geointerp as gi

ROOT = Path(__file__).parents[1]
FEW = {"min_population": 1_500_000, "seed": 1}


def script(name, folder="probes"):
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def study(name, folder="probes"):
    return getattr(script(name, folder), name)


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


def test_finer_than_regions(tmp_path, capsys):
    out = tmp_path / "new"
    options = {"min_population": 300_000, "width": 64, "k": 8, "steps": 200, "out": str(out)}
    study("finer_than_regions", "analyses")(max_permutations=99, regions=["country"], **options)
    counts = pd.read_csv(out / "counts.csv", index_col=0)
    named = "{name}, {country_name} is near"
    assert counts.columns.tolist() == ["{name} is near", named, "untrained"]
    table = pd.read_csv(out / "features0.csv", index_col=0)
    own = counts["{name} is near"]
    tested = table["q"].notna()
    assert own["features tested"] == tested.sum() > 32
    assert own["q ≤ .05, whole map"] == (table["q"] <= 0.05).sum()
    assert own["q ≤ .05, within country"] == (table["q_within_country"] <= 0.05).sum()
    assert own["median f1, best country"] == table.loc[tested, "f1_country"].median()
    assert own["share in one patch"] == (table.loc[tested, "n_patches"] == 1).mean()
    # names alone tell little, and countries not all
    assert own["median I"] > 10 * counts.loc["median I", "untrained"]
    within = "median I if only country were known"
    assert own["median I"] > own[within] + 0.1 > counts.loc[within, "untrained"] + 0.1
    again = {"sae": str(out / "sae0"), "untrained": False, "templates": ["{name} is near"]}
    options["out"] = str(tmp_path / "again")
    study("finer_than_regions", "analyses")(
        max_permutations=99, regions=["country"], **again, **options
    )
    pd.testing.assert_series_equal(
        pd.read_csv(tmp_path / "again" / "counts.csv", index_col=0)["{name} is near"], own
    )
    assert "{name} is near" in capsys.readouterr().out


def test_sweep(tmp_path, capsys):
    options = {"min_population": 500_000, "architectures": ["topk"], "steps": 100}
    study("sweep", "saes")(
        widths=[64, 512], ks=[4, 32], seeds=[0, 1], out=str(tmp_path / "sweep"), **options
    )
    table = pd.read_csv(tmp_path / "sweep" / "sweep.csv", index_col="sae")["explained_variance"]
    assert len(table) == 8
    assert table["topk-512-32-seed0"] > table["topk-512-4-seed0"]
    assert table["topk-64-32-seed0"] > table["topk-64-4-seed0"]
    assert (tmp_path / "sweep" / "fidelity.png").exists()
    # where half of the latents are active, another seed finds others
    said = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    assert float(said["topk-512-4-seed0"][-1]) > float(said["topk-64-32-seed0"][-1]) + 0.1


def test_de_sabbata_counts_neurons_by_the_areas(capsys):
    module = script("de_sabbata", "saes")
    places = module.of_areas(gi.places.load("geonames", min_population=40_000))
    assert set(places["area"]) == {"GB", "IT", "NY"}
    # the same codes mean other regions elsewhere
    american = set(places.loc[places["country"] == "US", "region"])
    assert american == {"New York", "New Jersey", "Connecticut", "Pennsylvania"}
    assert places.loc[places["name"] == "Turin", "region"].item() == "Piedmont"
    north = places.geometry.y.to_numpy()
    random = np.random.default_rng(0).normal(size=len(places))
    only_italy = np.where(places["area"] == "IT", north, random)
    values = np.stack([north, random, only_italy], axis=1)
    for ours in (False, True):
        assert module.regional(values, places, 0, ours=ours) == (3, 3, 2, 2)


def test_de_sabbata_holds_nothing_out(capsys):
    # the mean over all tokens is that of the model's own pass, with what begins the text
    module = script("de_sabbata", "saes")
    model = gi.models.load("toponym")
    found = module.whole_mean(model, ["Turin, Piedmont"], [1, 4])
    inputs = model.tokenizer("Turin, Piedmont", return_tensors="pt")
    kept = []
    handle = model.blocks[4].mlp.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    with torch.no_grad():
        model.model(**inputs)
    handle.remove()
    assert inputs["input_ids"].shape[1] == kept[0].shape[1]
    np.testing.assert_allclose(found[0, 1], kept[0][0].mean(0), rtol=1e-5, atol=1e-6)
    values = np.random.default_rng(0).normal(size=(100, 16)).astype(np.float32)
    latents = module.published_autoencoder(values, 1, 0)
    assert latents.shape == (100, 128)
    assert ((latents > 0).sum(1) <= 8).all()
    assert (module.published_autoencoder(values, 2, 0) != latents).any()


@pytest.mark.long
def test_geollm_table(tmp_path, monkeypatch):
    run = study("geollm_table", "analyses")
    few = {"sample": 120, "finetuning_sample": 16, "epochs": 1, "block_km": 1500}
    run(out=str(tmp_path), **few)
    table = pd.read_csv(tmp_path / "table.csv", index_col=[0, 1]).T
    assert {"zero-shot", "fine-tuned", "location encoder"} < set(table.index)
    blocks = table[("Population within 25 km", "block 1500 km")]
    # the distances of its neighbours tell most of a place's population; the model nothing
    assert blocks["boosting on context"] > blocks["zero-shot"] + 0.2
    assert len(list((tmp_path / "task0" / "adapters").iterdir())) == 10
    # what is done is not done again
    monkeypatch.setattr(gi.geollm.FinetunedRegressor, "fit", None)
    first = (tmp_path / "table.csv").read_bytes()
    run(out=str(tmp_path), **few)
    assert (tmp_path / "table.csv").read_bytes() == first


def test_region(tmp_path, capsys):
    region = osm_files.Region()
    rng = np.random.default_rng(0)
    for i in range(12):
        region.place(f"Place {i}", *rng.uniform((8.1, 46.1), (8.9, 46.9)), population=str(100 * i))
    region.place("Beyond", 9.2, 46.5)
    osm = region.write(tmp_path / "region.osm.pbf", box=(8, 46, 9, 47))
    points = tmp_path / "points.csv"
    points.write_text(
        "name,lon,lat,people\n" + "".join(f"p{i},8.{i},46.{i},{10**i}\n" for i in range(1, 9))
    )
    study("region", "analyses")(str(osm), out=str(tmp_path / "named"))
    assert capsys.readouterr().out.startswith("12 places")
    named = pd.read_csv(tmp_path / "named" / "ways.csv", index_col=0)
    same = named["rank correlation with all parts"]
    assert same["as GeoLLM"] == pytest.approx(1)
    assert same.drop("as GeoLLM").max() < 1
    study("region", "analyses")(
        str(osm), places=str(points), truth="people", out=str(tmp_path / "own"), sample=5
    )
    own = pd.read_csv(tmp_path / "own" / "ways.csv", index_col=0)
    kept = pd.read_csv(tmp_path / "own" / "ratings.csv", index_col=0)
    assert own["n"].tolist() == [5] * 4
    for way in own.index:
        expected = kept[way].corr(kept["people"], method="spearman")
        assert own.loc[way, "spearman"] == pytest.approx(expected)
    assert len(list((tmp_path / "own").glob("*.png"))) == 4
