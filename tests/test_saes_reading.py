import itertools
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import synthetic_acts, tiny
from scipy import sparse

import geointerp as gi
from geointerp.errors import InputError
from geointerp.saes.reading import (
    activation_histogram,
    neighbours,
    probe_cosines,
    promoted,
    top_places,
)
from geointerp.saes.stability import stability


def autoencoder(rows, **metadata):
    """An autoencoder that writes the given rows."""
    from sae_lens import StandardSAE, StandardSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    rows = torch.as_tensor(np.asarray(rows), dtype=torch.float32)
    width, d = rows.shape
    sae = StandardSAE(StandardSAEConfig(d_in=d, d_sae=width, metadata=SAEMetadata(**metadata)))
    sae.W_dec.data = rows
    return sae.eval()


def cosine(a, b):
    return float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))


@pytest.fixture
def features():
    """Six places and three features."""
    columns = np.array([[0, 3, 0, 1, 3, 0], [1, 0, 3, 5, 8, 8], [0, 0, 0, 0, 0, 0]], np.float32)
    obs = pd.DataFrame({"name": list("ABCDEF"), "country": "X"}, index=list("uvwxyz"))
    lon_lat = np.stack([np.arange(6) * 10.0, np.arange(6) - 3.0], axis=1)
    var = pd.DataFrame(index=["0", "1", "2"])
    return anndata.AnnData(
        sparse.csr_matrix(columns.T), obs=obs, var=var, obsm={"spatial": lon_lat}
    )


def test_top_places_by_hand(features):
    found = top_places(features, 0)
    assert found.index.tolist() == ["v", "y", "x"]
    assert found["name"].tolist() == ["B", "E", "D"]
    assert found["activation"].tolist() == [3, 3, 1]
    assert found["lon"].tolist() == [10, 40, 30]
    assert found["lat"].tolist() == [-2, 1, 0]
    assert top_places(features, 1, n=2)["name"].tolist() == ["E", "F"]
    assert top_places(features, 2).empty
    # a feature keeps its name when some are chosen
    pd.testing.assert_frame_equal(top_places(features[:, ["2", "0"]], 0), found)
    dense = features.copy()
    dense.X = dense.X.toarray()
    pd.testing.assert_frame_equal(top_places(dense, "0"), found)


def test_top_places_of_an_encoding():
    acts = synthetic_acts(n=300).sel(layer=1)
    sae = gi.saes.train(acts, width=8, k=2, steps=20, batch=64)
    features = gi.saes.encode(sae, acts)
    with torch.no_grad():
        values = sae.encode(torch.from_numpy(acts.values)).numpy()
    feature = int(values.max(0).argmax())
    best = int(values[:, feature].argmax())
    first = top_places(features, feature, n=1).iloc[0]
    assert first["name"] == f"p{best}"
    assert first["lon"] == acts["lon"].values[best]
    assert first["lat"] == acts["lat"].values[best]
    assert first["activation"] == pytest.approx(values[best, feature], rel=1e-6)


def test_histogram_by_hand(features):
    found = activation_histogram(features, 1, bins=3)
    np.testing.assert_allclose(found["low"], [0, 1, 2, 4])
    np.testing.assert_allclose(found["high"], [0, 2, 4, 8])
    assert found["count"].tolist() == [1, 1, 1, 3]
    np.testing.assert_allclose(found["share"], [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    found = activation_histogram(features, 1, bins=2, spacing="linear")
    np.testing.assert_allclose(found["high"], [0, 4.5, 8])
    assert found["count"].tolist() == [1, 2, 3]
    # never active, and always the same
    assert activation_histogram(features, 2).to_numpy().tolist() == [[0, 0, 6, 1]]
    same = activation_histogram(features[["v", "y", "z"]], 0)
    assert same.to_numpy().tolist() == [[0, 0, 1, 1 / 3], [3, 3, 2, 2 / 3]]


def test_neighbours_by_hand():
    # lengths do not count, signs do; a row of zeros is near to none
    rows = [[2, 0, 0], [1, 1, 0], [0, 0, 0], [-1, 0, 0], [9, 0, 0], [0, 0, 5]]
    found = neighbours(autoencoder(rows), 0)
    assert found["feature"].tolist() == [4, 1, 2, 5, 3]
    np.testing.assert_allclose(found["cosine"], [1, 0.5**0.5, 0, 0, -1], atol=1e-6)
    assert neighbours(autoencoder(rows), 4, n=2)["feature"].tolist() == [0, 1]


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def normed(model, d):
    """What a final norm makes of the direction d, without its bias; written for each kind."""
    kind = type(model).__name__
    if kind.startswith("GPT2"):
        norm = model.transformer.ln_f
        return (d - d.mean()) / d.std() * norm.weight.detach().double().numpy()
    weight = model.model.norm.weight.detach().double().numpy()
    return d / np.sqrt((d**2).mean()) * (weight + 1 if kind.startswith("Gemma") else weight)


def causal(kind, tokenizer):
    if kind != "gemma2":
        return tiny(kind, tokenizer)
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "head_dim": 16}
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        num_hidden_layers=2,
        num_key_value_heads=2,
        final_logit_softcapping=5.0,
        **sizes,
    )
    return gi.models.wrap(Gemma2ForCausalLM(config).eval(), tokenizer)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma2"])
def test_promoted_by_hand(toponym, kind):
    model = causal(kind, toponym.tokenizer)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.model.parameters():
            p += 0.3 * torch.randn(p.shape, generator=generator)
    rows = drawn(5, 32) + 0.5
    unembedding = model.model.get_output_embeddings().weight.detach().double().numpy()
    logits = unembedding @ normed(model.model, rows[3])
    if kind == "gemma2":
        logits = 5 * np.tanh(logits / 5)
    order = np.argsort(-logits)
    # of whatever site of the stream, and whatever the length of its row
    for scale, site in [(1, "resid_post"), (1e-2, "resid_pre"), (50, "mlp_out")]:
        found = promoted(autoencoder(rows * scale, site=site), model, 3, n=4)
        assert found["side"].tolist() == ["promoted"] * 4 + ["suppressed"] * 4
        assert found["id"].tolist() == [*order[:4], *order[::-1][:4]]
        np.testing.assert_allclose(found["logit"], logits[found["id"]], rtol=1e-3)
        said = [model.tokenizer.decode([i]) for i in found["id"]]
        assert found["token"].tolist() == said


def test_rows_to_spare_are_no_words(toponym):
    from transformers import GPT2Config, GPT2LMHeadModel

    tokens = len(toponym.tokenizer)
    config = GPT2Config(vocab_size=tokens + 8, n_embd=32, n_layer=2, n_head=2, n_positions=32)
    hf = GPT2LMHeadModel(config).eval()
    hf.transformer.wte.weight.data[tokens:] = torch.from_numpy(100 * drawn(8, 32)).float()
    model = gi.models.wrap(hf, toponym.tokenizer)
    found = promoted(autoencoder(drawn(2, 32)), model, 0, n=20)
    assert found["id"].max() < tokens
    assert found["logit"].abs().max() < 5


def test_probe_cosines_by_finite_differences():
    # units of very different sizes, which the probe brings to one
    random = np.random.default_rng(0)
    scale = 10.0 ** np.arange(-2, 4)
    x = random.normal(size=(400, 6)) * scale + 3
    y = (x / scale) @ random.normal(size=(6, 2)) + 0.1 * random.normal(size=(400, 2))
    rows = random.normal(size=(9, 6)) * scale
    rows[4] = 0
    for target in (y, y[:, 0]):
        probe = gi.probes.RidgeProbe().fit(x, target)
        step = np.eye(6) * scale
        slopes = (probe.predict(x[0] + step) - probe.predict(x[0] - step)).T / (2 * scale)
        found = probe_cosines(autoencoder(rows), probe)
        slopes = np.atleast_2d(slopes)
        assert found.columns.tolist() == [f"cosine_{i}" for i in range(len(slopes))]
        for feature, row in enumerate(rows):
            wanted = [cosine(row, slope) if feature != 4 else 0 for slope in slopes]
            np.testing.assert_allclose(found.loc[feature], wanted, atol=1e-6)


def test_probe_cosines_find_what_writes_a_coordinate():
    # synthetic places: the direction in which longitude alone moves the activations
    acts = synthetic_acts(n=2000, noise=0.01).sel(layer=1)
    probe = gi.probes.RidgeProbe().fit(
        acts.values, np.stack([acts["lon"].values, acts["lat"].values], axis=1)
    )
    found = probe_cosines(autoencoder(np.vstack([probe.coef_, -probe.coef_[:1]])), probe)
    np.testing.assert_allclose(np.diag(found.to_numpy()), 1, atol=1e-6)
    assert found["cosine_0"][2] == pytest.approx(-1, abs=1e-6)


def matched(a, b):
    """The best one-to-one matching, by trying them all; of each row of a its row of b."""
    cosines = np.array([[cosine(p, q) for q in b] for p in a])
    tries = itertools.permutations(range(len(b)), len(a))
    best = max(tries, key=lambda t: sum(cosines[range(len(a)), t]))
    return list(best), cosines


@pytest.mark.parametrize("widths", [(5, 5), (4, 6), (6, 4)])
def test_stability_by_hand(widths, monkeypatch):
    # a chunk's end inside the matrix
    monkeypatch.setattr(sys.modules["geointerp.saes.stability"], "_AT_ONCE", 3)
    a, b = (drawn(w, 3, seed=3 + i) * 7 for i, w in enumerate(widths))
    latents, pairs = stability(autoencoder(a), autoencoder(b))
    few, many = (0, 1) if widths[0] <= widths[1] else (1, 0)
    best, cosines = matched(*((a, b) if few == 0 else (b, a)))
    # one after the other, each its nearest, would be another matching
    assert best != cosines.argmax(axis=1).tolist()
    of_few = latents[latents["sae"] == few]
    assert of_few["latent"].tolist() == list(range(len(best)))
    assert of_few["matched"].tolist() == best
    wanted = cosines[range(len(best)), best]
    np.testing.assert_allclose(of_few["cosine"], wanted, atol=1e-6)
    np.testing.assert_allclose(of_few["max_cosine"], cosines.max(axis=1), atol=1e-6)
    of_many = latents[latents["sae"] == many]
    inverse = [best.index(i) if i in best else -1 for i in range(cosines.shape[1])]
    assert of_many["matched"].tolist() == inverse
    assert of_many["cosine"].isna().tolist() == [i < 0 for i in inverse]
    np.testing.assert_allclose(of_many["max_cosine"], cosines.max(axis=0), atol=1e-6)
    for sae, axis, width in ((few, 1, len(best)), (many, 0, len(inverse))):
        row = pairs[pairs["sae"] == sae].iloc[0]
        assert row["other"] == 1 - sae
        assert row["matched_cosine"] == pytest.approx(wanted.mean(), abs=1e-6)
        assert row["mmcs"] == pytest.approx(cosines.max(axis=axis).mean(), abs=1e-6)
        assert row["shared"] == pytest.approx((wanted > 0.7).sum() / width)
        assert row["shared"] not in (0, 1)


def test_stability_of_several():
    rows = np.eye(6)
    order = [4, 2, 0, 5, 1, 3]
    # the third knows three of the six, and one of them with a cosine of 0.6
    third = np.array([rows[1], 0.6 * rows[3] + 0.8 * rows[5], rows[0]])
    latents, pairs = stability(*map(autoencoder, (rows, 2 * rows[order], third)))
    assert list(zip(pairs["sae"], pairs["other"], strict=True)) == [
        *itertools.permutations(range(3), 2)
    ]
    shared = pairs.set_index(["sae", "other"])["shared"]
    assert shared[0, 1] == shared[1, 0] == 1
    # latent 5 or 3: the better of its two is above .7
    assert shared[0, 2] == shared[1, 2] == pytest.approx(1 / 2)
    assert shared[2, 0] == shared[2, 1] == 1
    of_1 = latents[(latents["sae"] == 1) & (latents["other"] == 0)]
    assert of_1["matched"].tolist() == order
    np.testing.assert_allclose(of_1["cosine"], 1)


def test_latents_that_count_keep_their_numbers():
    a, b = drawn(6, 3), drawn(7, 3, seed=1)
    masks = [np.array([0, 1, 1, 0, 1, 1], bool), np.array([1, 1, 0, 1, 0, 1, 1], bool)]
    latents, pairs = stability(autoencoder(a), autoencoder(b), alive=masks)
    kept = [np.flatnonzero(mask) for mask in masks]
    best, cosines = matched(a[kept[0]], b[kept[1]])
    of_a = latents[latents["sae"] == 0]
    assert of_a["latent"].tolist() == kept[0].tolist()
    assert of_a["matched"].tolist() == kept[1][best].tolist()
    of_b = latents[latents["sae"] == 1]
    assert of_b["latent"].tolist() == kept[1].tolist()
    mine = dict(zip(kept[1][best], kept[0], strict=True))
    assert of_b["matched"].tolist() == [mine.get(number, -1) for number in kept[1]]
    assert pairs["mmcs"].tolist() == pytest.approx(
        [cosines.max(axis=1).mean(), cosines.max(axis=0).mean()], abs=1e-6
    )


def test_bad_features(features):
    for call in (top_places, activation_histogram):
        with pytest.raises(InputError, match=r"feature 3: .* these are 0 to 2"):
            call(features, 3)
        with pytest.raises(InputError, match="feature -1"):
            call(features, -1)
    with pytest.raises(InputError, match="n is 0"):
        top_places(features, 0, n=0)
    with pytest.raises(InputError, match="spacing is 'cubic'"):
        activation_histogram(features, 0, spacing="cubic")
    with pytest.raises(InputError, match="bins is 0"):
        activation_histogram(features, 0, bins=0)
    with pytest.raises(InputError, match="there are no places"):
        activation_histogram(features[:0], 0)
    nameless = features.copy()
    del nameless.obs["name"]
    with pytest.raises(InputError, match="obs has no column 'name'"):
        top_places(nameless, 0)
    nowhere = features.copy()
    del nowhere.obsm["spatial"]
    with pytest.raises(InputError, match=r"no obsm\['spatial'\]"):
        top_places(nowhere, 0)


def test_bad_autoencoders(gpt2, toponym):
    sae = autoencoder(drawn(4, 32))
    for feature in (4, -1):
        with pytest.raises(InputError, match=rf"feature {feature}: .* features 0 to 3"):
            neighbours(sae, feature)
        with pytest.raises(InputError, match=rf"feature {feature}: .* features 0 to 3"):
            promoted(sae, gpt2, feature)
    with pytest.raises(InputError, match="n is 0"):
        neighbours(sae, 0, n=0)
    with pytest.raises(InputError, match="n is -1"):
        promoted(sae, gpt2, 0, n=-1)
    with pytest.raises(InputError, match="vectors of 32; toponym has a residual stream of 256"):
        promoted(sae, toponym, 0)
    with pytest.raises(InputError, match="site 'mlp_in', which is not part of the residual"):
        promoted(autoencoder(drawn(4, 32), site="mlp_in"), gpt2, 0)
    with pytest.raises(InputError, match="does not say which token comes next"):
        promoted(sae, tiny("bert", gpt2.tokenizer), 0)
    with pytest.raises(InputError, match="weights_sha256 'ab'"):
        promoted(autoencoder(drawn(4, 32), weights_sha256="ab"), gpt2, 0)
    probe = gi.probes.RidgeProbe().fit(drawn(30, 5), drawn(30, 2))
    with pytest.raises(InputError, match="vectors of 32; the probe is 5 wide"):
        probe_cosines(sae, probe)
    with pytest.raises(InputError, match=r"1 autoencoder\(s\) are given"):
        stability(sae)
    with pytest.raises(InputError, match=r"different sizes: \[5, 32\]"):
        stability(sae, autoencoder(drawn(4, 5)))
    with pytest.raises(InputError, match="1 masks for 2"):
        stability(sae, sae, alive=[np.ones(4, bool)])
    with pytest.raises(InputError, match="alive of autoencoder 1 must be 4 of True and False"):
        stability(sae, sae, alive=[np.ones(4, bool), np.arange(4)])
    with pytest.raises(InputError, match="alive of autoencoder 0 leaves no latent"):
        stability(sae, sae, alive=[np.zeros(4, bool), np.ones(4, bool)])
