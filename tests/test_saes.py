import json

import geopandas as gpd
import numpy as np
import pytest
import torch
from conftest import synthetic_acts

import geointerp as gi
from geointerp.errors import InputError


def dictionary(n=4000, d=24, width=32, active=2, seed=0):
    """Vectors that are sums of a few of known directions."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(width, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    codes = np.zeros((n, width))
    for row in codes:
        row[random.choice(width, active, replace=False)] = random.uniform(1, 2, active)
    return (codes @ directions + 5).astype(np.float32), directions, codes


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    values, directions, _ = dictionary()
    out = tmp_path_factory.mktemp("sae") / "sae"
    options = {"width": 40, "k": 2, "steps": 1500, "batch": 512}
    return gi.saes.train(values, out=out, **options), out, values, directions


def test_a_known_dictionary_is_recovered(trained):
    sae, _, values, directions = trained
    found = sae.W_dec.detach().numpy()
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    assert (directions @ found.T).max(axis=1).mean() > 0.9
    quality = gi.saes.quality(sae, values)
    assert quality["explained_variance"] > 0.85
    assert quality["l0"] <= 2


def test_files_are_sae_lens_own(trained):
    from sae_lens import SAE

    sae, out, values, _ = trained
    for opened in (SAE.load_from_disk(out), gi.saes.load(out)):
        x = torch.from_numpy(values[:500])
        # the same features, to the bit, as the one that training returned
        torch.testing.assert_close(opened.encode(x), sae.encode(x), rtol=0, atol=0)
        torch.testing.assert_close(opened(x), sae(x), rtol=0, atol=0)
    assert json.loads((out / "cfg.json").read_text())["architecture"] == "topk"


def test_the_card_holds_the_held_out_figures(trained):
    sae, out, values, _ = trained
    held = gi.saes.held_out(values, 0)
    card = gi.cards.read(out)
    for name, value in gi.saes.quality(sae, values[held]).items():
        assert card["figures"][f"held-out {name}"] == pytest.approx(value)
    assert card["data"] == {
        "training places": 3600,
        "validation places": 0,
        "held-out places": 400,
    }
    assert card["made by"]["architecture"] == "topk"
    assert "a latent fires for 180 of them on average" in card["limits"]["places"]


def test_quality_by_hand(trained):
    sae, _, values, _ = trained
    x = values[:300].astype(np.float64)
    with torch.no_grad():
        latents = sae.encode(torch.from_numpy(values[:300]))
        output = sae.decode(latents).numpy().astype(np.float64)
    found = gi.saes.quality(sae, values[:300])
    assert found["explained_variance"] == pytest.approx(
        1 - ((x - output) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    )
    active = latents.numpy() > 0
    assert found["l0"] == pytest.approx(active.sum(1).mean())
    assert found["alive"] == pytest.approx(active.any(0).mean())
    assert found["dense"] == pytest.approx((active.mean(0) > 0.1).mean())


def test_the_same_seed_gives_the_same_weights():
    values, *_ = dictionary(n=500)
    options = {"width": 16, "k": 2, "steps": 30, "batch": 64}
    one, again, other = (
        gi.saes.train(values, seed=seed, **options).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert not all(torch.equal(one[k], other[k]) for k in one)


def test_held_out_places_are_not_trained_on():
    values, *_ = dictionary(n=500)
    held = gi.saes.held_out(values, 3)
    assert held.sum() == 50
    changed = values.copy()
    changed[held] += 1e3
    options = {"width": 16, "k": 2, "steps": 20, "batch": 64, "seed": 3}
    one, other = (gi.saes.train(v, **options).state_dict() for v in (values, changed))
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_training_holds_out_what_it_says():
    acts = synthetic_acts(n=200).sel(layer=1)
    names = [f"p{i // 2}" for i in range(200)]
    acts = acts.assign_coords(name=("place", names)).assign_attrs(template="{name}")
    changed = acts.copy(deep=True)
    changed[gi.saes.held_out(acts)] += 1e3
    options = {"width": 16, "k": 2, "steps": 20, "batch": 64}
    one, other = (gi.saes.train(a, **options).state_dict() for a in (acts, changed))
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_namesakes_are_on_one_side():
    # cities of one name have one prompt: held out, it must not be trained on
    acts = synthetic_acts(n=200).sel(layer=1)
    names = [f"p{i // 2}" for i in range(200)]
    acts = acts.assign_coords(name=("place", names)).assign_attrs(template="{name}")
    held = gi.saes.held_out(acts)
    assert held.sum() == 20
    assert not set(acts["name"].values[held]) & set(acts["name"].values[~held])
    # with the country in the prompt they differ
    acts = acts.assign_coords(country=("place", [str(i % 2) for i in range(200)]))
    held = gi.saes.held_out(acts.assign_attrs(template="{name}, {country}"))
    assert len(set(acts["name"].values[held])) > 10


def test_equal_vectors_without_a_prompt_are_on_one_side():
    values = np.repeat(np.random.default_rng(0).normal(size=(100, 4)), 2, axis=0)
    held = gi.saes.held_out(values.astype(np.float32))
    assert held.sum() == 20
    assert (held[::2] == held[1::2]).all()


def test_a_training_that_diverges_writes_nothing(tmp_path):
    values, *_ = dictionary(n=100)
    with pytest.raises(InputError, match=r"the training diverged.*learning_rate is 1e\+30"):
        gi.saes.train(
            values, width=4, k=2, steps=30, batch=16, learning_rate=1e30, out=tmp_path / "sae"
        )
    assert list(tmp_path.iterdir()) == []


def test_what_an_autoencoder_cannot_do_is_said(caplog):
    values = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    gi.saes.train(values, width=100, k=50, steps=1, batch=16)
    assert "width 100 with 50 active at once, for 54 places to train on" in caplog.text
    caplog.clear()
    gi.saes.train(values, width=20, k=2, steps=1, batch=16)
    assert "a latent fires for 5.4 of them on average; they can't fill it" in caplog.text
    caplog.clear()
    gi.saes.train(values, width=4, k=2, steps=200, batch=16)
    assert "can't fill it" not in caplog.text
    gi.saes.train(10 + values, width=4, k=2, steps=1, learning_rate=10, batch=16)
    assert "explains less than their mean does" in caplog.text


def test_activations_of_another_kind_are_refused(gpt2, few, caplog, tmp_path):
    import pandas as pd

    many = gpd.GeoDataFrame(pd.concat([few] * 6, ignore_index=True), crs=few.crs)
    many["name"] += many.index.map(str)
    acts = gi.activations.capture(gpt2, many)
    options = {"width": 8, "k": 2, "steps": 5, "batch": 16}
    gi.saes.train(acts.sel(layer=1), out=tmp_path / "sae", **options)
    sae = gi.saes.load(tmp_path / "sae")
    gi.saes.encode(sae, acts.sel(layer=1))
    with pytest.raises(InputError, match="trained on layer 1; these are of 2"):
        gi.saes.encode(sae, acts.sel(layer=2))
    with pytest.raises(InputError, match="trained on weights_sha256"):
        gi.saes.encode(sae, gi.activations.capture(gpt2.untrained(1), many, layers=1))
    with pytest.raises(InputError, match="trained on site 'resid_post'"):
        gi.saes.encode(sae, gi.activations.capture(gpt2, many, layers=1, site="mlp_out"))
    assert "trained on" not in caplog.text
    other = gi.activations.capture(gpt2, many, layers=1, template="{name}!")
    gi.saes.encode(sae, other)
    assert "trained on template '{name}'; these are of '{name}!'" in caplog.text
    # activations that say little of themselves are taken as they are
    bare = acts.sel(layer=1).assign_attrs({"units": "none"})
    del bare.attrs["model"]
    gi.saes.encode(gi.saes.train(bare, **options), bare)


def test_encoding_is_the_autoencoders_own():
    acts = synthetic_acts(n=3000).sel(layer=1)
    sae = gi.saes.train(acts, width=30, k=3, steps=100, batch=128)
    features = gi.saes.encode(sae, acts)
    with torch.no_grad():
        wanted = sae.encode(torch.from_numpy(acts.values)).numpy()
    np.testing.assert_allclose(features.X.toarray(), wanted, rtol=1e-6)
    assert features.X.dtype == np.float32
    assert features.obs_names.tolist() == [str(i) for i in range(3000)]
    assert features.obs["name"].tolist() == acts["name"].values.tolist()
    np.testing.assert_array_equal(features.obsm["spatial"][:, 0], acts["lon"])
    np.testing.assert_array_equal(features.obsm["spatial"][:, 1], acts["lat"])
    assert features.var["n_active"].tolist() == (wanted > 0).sum(0).tolist()
    np.testing.assert_allclose(features.var["maximum"], wanted.max(0))
    active = wanted[:, 0] > 0
    mean = wanted[active, 0].mean() if active.any() else 0
    assert features.var["mean_active"].iloc[0] == pytest.approx(mean, rel=1e-5)


def test_features_survive_the_disk(tmp_path):
    import anndata

    acts = synthetic_acts(n=100).sel(layer=1)
    features = gi.saes.encode(gi.saes.train(acts, width=8, k=2, steps=5, batch=32), acts)
    features.write_h5ad(tmp_path / "f.h5ad")
    back = anndata.read_h5ad(tmp_path / "f.h5ad")
    assert (back.X != features.X).nnz == 0
    np.testing.assert_array_equal(back.obsm["spatial"], features.obsm["spatial"])


def test_bad_input(tmp_path):
    values, *_ = dictionary(n=100)
    for options, said in [
        ({"width": 0, "k": 1}, "width is 0"),
        ({"width": 4, "k": 5}, "k is 5"),
        ({"width": 4, "k": 0}, "k is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": -1}, "learning_rate is -1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"batch": 0}, "batch is 0"),
        ({"k": 1.5}, "k is 1.5; of a TopK"),
        ({"architecture": "relu"}, "architecture is 'relu'; it must be one of topk, batchtopk"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"patience": 0}, "patience is 0"),
        ({"device": "nowhere"}, "nowhere"),
    ]:
        with pytest.raises(InputError, match=said):
            gi.saes.train(values, **{"width": 4, "k": 2, **options})
    hole = values.copy()
    hole[7, 3] = np.inf
    with pytest.raises(InputError, match="row 7 of the activations is not finite"):
        gi.saes.train(hole, width=4, k=2, out=tmp_path / "sae")
    with pytest.raises(InputError, match="all activations are the same"):
        gi.saes.train(np.ones((50, 4), np.float32), width=4, k=2)
    with pytest.raises(InputError, match="there are 9 places to train on, and 1 held out"):
        gi.saes.train(values[:10], width=4, k=2)
    with pytest.raises(InputError, match=r"layers \[0, 1\]: choose one"):
        gi.saes.train(synthetic_acts(n=50), width=4, k=2)
    (tmp_path / "mine").write_text("x")
    with pytest.raises(InputError, match="exists already"):
        gi.saes.train(values, width=4, k=2, out=tmp_path / "mine")
    with pytest.raises(InputError, match="no sparse autoencoder here"):
        gi.saes.load(tmp_path)
    (tmp_path / "cfg.json").write_text("{}")
    (tmp_path / "sae_weights.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="not a readable sparse autoencoder"):
        gi.saes.load(tmp_path)
    sae = gi.saes.train(values, width=4, k=2, steps=2, batch=16, out=tmp_path / "cut")
    with (tmp_path / "cut" / "sae_weights.safetensors").open("r+b") as file:
        file.truncate(30)
    with pytest.raises(InputError, match="cut: not a readable sparse autoencoder"):
        gi.saes.load(tmp_path / "cut")
    with pytest.raises(InputError, match="reads vectors of 24; these activations have 12"):
        gi.saes.encode(sae, synthetic_acts(n=50).sel(layer=1))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "cfg.json",
        "cut",
        "mine",
        "sae_weights.safetensors",
    ]


def test_what_is_no_autoencoder_and_what_lies_crosswise_is_said(trained, tmp_path):
    _, out, values, _ = trained
    for call in (gi.saes.quality, gi.saes.encode):
        acts = synthetic_acts(n=50).sel(layer=1)
        with pytest.raises(InputError, match=r"sae' is no autoencoder; open it with saes\.load"):
            call(str(out), acts)
    with pytest.raises(InputError, match=r"these are \('hidden', 'place'\): transpose them"):
        gi.saes.train(acts.T, width=4, k=2)
    small = gi.saes.train(acts, width=4, k=2, steps=2, batch=16)
    with pytest.raises(InputError, match="no activations to encode"):
        gi.saes.encode(small, acts[:0])
    with pytest.raises(InputError, match=r"layers \[0, 1\]: choose one"):
        gi.saes.encode(small, synthetic_acts(n=50))
    for options, said in [
        ({"widths": 8}, r"widths is 8; .* \[8\]"),
        ({"architectures": "topk"}, "list"),
    ]:
        with pytest.raises(InputError, match=said):
            gi.saes.sweep(values, out=tmp_path / "no", **options)
    (tmp_path / "cfg.json").write_text("{}")
    (tmp_path / "sae_weights.safetensors").write_bytes(
        (out / "sae_weights.safetensors").read_bytes()
    )
    with pytest.raises(InputError, match=r"in its configuration '.*' is missing or unknown"):
        gi.saes.load(tmp_path)
