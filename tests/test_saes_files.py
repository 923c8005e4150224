import inspect
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import synthetic_acts
from hub import Hub, capture, commit, process, read_sae, read_sae_as_peer, waits
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

import geointerp as gi
from geointerp.errors import InputError
from geointerp.saes import hub as published


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A hub, the folder that it serves, and a process that calls with that hub."""
    root = tmp_path_factory.mktemp("hub")
    hub = Hub(root)
    with process(hub, tmp_path_factory.mktemp("home")) as run:
        yield SimpleNamespace(hub=hub, root=root, run=run)
    hub.stop()


def arrays(size=6, width=10, seed=0):
    """A JumpReLU autoencoder; small integers, so that no rounding reaches a threshold."""
    random = np.random.default_rng(seed)
    return {
        "W_enc": random.integers(-2, 3, (size, width)).astype(np.float32),
        "W_dec": random.integers(-2, 3, (width, size)).astype(np.float32),
        "b_enc": random.integers(-2, 3, width).astype(np.float32),
        "b_dec": random.integers(-2, 3, size).astype(np.float32),
        "threshold": random.integers(0, 4, width).astype(np.float32) + np.float32(0.503),
    }


def activations(size=6, n=40):
    acts = synthetic_acts(n=n, hidden=size).sel(layer=1)
    acts.values = np.random.default_rng(1).integers(-3, 4, acts.shape).astype(np.float32)
    return acts


def jumprelu(held, acts, scale=1.0):
    """By hand: features, and the vectors of them, of an autoencoder that reads scaled vectors."""
    held = {k: v.astype(np.float64) for k, v in held.items()}
    latents = scale * acts.values @ held["W_enc"] + held["b_enc"]
    latents = np.where(latents > held["threshold"], np.maximum(latents, 0), 0)
    assert 0.05 < (latents > 0).mean() < 0.95
    return latents, (latents @ held["W_dec"] + held["b_dec"]) / scale


def assert_equal(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-3)


def write_npz(folder, held):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "params.npz", **held)
    return folder


def write_sae_lens(folder, held, dtype="float32", **changes):
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: torch.from_numpy(v).to(getattr(torch, dtype)) for k, v in held.items()}
    save_file(weights, folder / "sae_weights.safetensors")
    size, width = held["W_enc"].shape
    about = {"architecture": "jumprelu", "d_in": size, "d_sae": width, "dtype": dtype}
    about |= {"apply_b_dec_to_input": False, "metadata": {"sae_lens_version": "6.54.0"}}
    (folder / "cfg.json").write_text(json.dumps(about | changes))
    return folder


# folders


@pytest.mark.parametrize("prefix", ["W_", "w_"])
def test_a_folder_as_gemma_scope_is_published(tmp_path, prefix):
    held = arrays()
    named = {k.replace("W_", prefix): v.astype(np.float16) for k, v in held.items()}
    held = {k: v.astype(np.float16) for k, v in held.items()}
    found = read_sae(activations(), write_npz(tmp_path, named))
    assert_equal(found, jumprelu(held, activations()))


def test_vectors_of_attention_are_flat(tmp_path):
    # sae-lens would take the places for heads
    write_sae_lens(tmp_path, arrays(), reshape_activations="hook_z")
    assert_equal(read_sae(activations(), tmp_path), jumprelu(arrays(), activations()))


def test_an_unknown_scale_is_said(tmp_path, caplog):
    gi.saes.load(write_sae_lens(tmp_path / "plain", arrays()))
    assert "scaled" not in caplog.text
    normalised = {"normalize_activations": "expected_average_only_in"}
    gi.saes.load(write_sae_lens(tmp_path / "scaled", arrays(), **normalised))
    assert "scaled: trained on scaled activations" in caplog.text


@pytest.mark.parametrize("name", ["W_enc", "W_dec", "b_enc", "b_dec", "threshold"])
def test_an_array_that_is_missing(tmp_path, name):
    held = arrays()
    del held[name]
    with pytest.raises(InputError, match=rf"params.npz: it holds no {name}\.$"):
        gi.saes.load(write_npz(tmp_path, held))


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("W_dec", (6, 10), r"W_dec is \(6, 10\); with this W_enc it must be \(10, 6\)"),
        ("b_enc", (6,), r"b_enc is \(6,\); with this W_enc it must be \(10,\)"),
        ("b_dec", (1,), r"b_dec is \(1,\); with this W_enc it must be \(6,\)"),
        ("threshold", (), r"threshold is \(\); with this W_enc it must be \(10,\)"),
        ("W_enc", (60,), r"W_enc is \(60,\), not \(input, latent\)"),
    ],
)
def test_an_array_of_another_shape(tmp_path, name, shape, said):
    held = arrays() | {name: np.ones(shape, np.float32)}
    with pytest.raises(InputError, match=said):
        gi.saes.load(write_npz(tmp_path, held))


def test_a_pickle_among_the_arrays_is_not_loaded(tmp_path):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (marker.touch, ())

    write_npz(tmp_path, arrays() | {"threshold": np.array([Evil()] * 10)})
    with pytest.raises(InputError, match="it holds a pickle, which is not loaded"):
        gi.saes.load(tmp_path)
    np.array([Evil()]).dump(tmp_path / "params.npz")
    with pytest.raises(InputError, match="it holds a pickle, which is not loaded"):
        gi.saes.load(tmp_path)
    assert not marker.exists()


def test_files_that_are_broken(tmp_path):
    whole = (write_npz(tmp_path / "npz", arrays()) / "params.npz").read_bytes()
    for content in (b"", whole[:200], whole[:60] + b"?" * 40 + whole[100:], b"nonsense"):
        (tmp_path / "npz" / "params.npz").write_bytes(content)
        with pytest.raises(InputError, match="npz: not a readable sparse autoencoder: "):
            gi.saes.load(tmp_path / "npz")
    held = arrays()
    del held["threshold"]
    with pytest.raises(InputError, match=r"not a readable .*threshold"):
        gi.saes.load(write_sae_lens(tmp_path / "lens", held))
    for text in (
        "[]",
        "null",
        '"jumprelu"',
        "{",
        '{"architecture": "nonsense", "dtype": "float32"}',
        '{"architecture": "jumprelu", "dtype": "float32", "metadata": "none"}',
    ):
        (tmp_path / "lens" / "cfg.json").write_text(text)
        with pytest.raises(
            InputError, match=r"lens: not a readable sparse autoencoder: ."
        ) as caught:
            gi.saes.load(tmp_path / "lens")
        assert "\n" not in str(caught.value)


def test_a_folder_that_holds_none(tmp_path):
    for name in ("cfg.json", "sae_weights.safetensors"):
        folder = write_sae_lens(tmp_path / name, arrays())
        (folder / name).unlink()
        with pytest.raises(InputError, match="no sparse autoencoder here"):
            gi.saes.load(folder)
    with pytest.raises(InputError, match=r"there is no such folder; of a release .* give sae_id"):
        gi.saes.load("gemma-scope-2b-pt-res")
    whole = write_npz(tmp_path / "whole", arrays())
    with pytest.raises(InputError, match="a folder has no revision"):
        gi.saes.load(whole, revision="main")
    with pytest.raises(InputError, match="device 'toaster' is not there"):
        gi.saes.load(whole, device="toaster")


# releases and repositories

EMBEDDINGS = "embedding/width_4k/average_l0_6"


def test_gemma_scope_by_its_release(served, tmp_path):
    # the sizes are those of Gemma 2 2B and of the folder's name; most weights are nought
    held = arrays(2304, 4096)
    for name in ("W_enc", "W_dec"):
        held[name] *= np.random.default_rng(2).random(held[name].shape) < 0.02
    held["W_enc"] *= 8
    repository = "google/gemma-scope-2b-pt-res"
    write_npz(served.root / repository / "main" / EMBEDDINGS, held)
    acts = activations(2304, n=5)
    by_hand = jumprelu(held | {"W_enc": held["W_enc"] / 48, "W_dec": held["W_dec"] * 48}, acts)
    assert_equal(served.run(read_sae_as_peer, acts, "gemma-scope-2b-pt-res", EMBEDDINGS), by_hand)
    assert_equal(served.run(read_sae, acts, "gemma-scope-2b-pt-res", EMBEDDINGS), by_hand)
    assert_equal(served.run(read_sae, acts, repository, EMBEDDINGS), by_hand)
    # by our own reading
    assert_equal(served.run(read_sae, acts, repository, EMBEDDINGS, revision="main"), by_hand)
    assert_equal(read_sae(acts, write_npz(tmp_path / EMBEDDINGS, held)), by_hand)


def test_a_release_at_a_revision(served):
    folder, repository = "layer_12/width_16k/average_l0_82", "google/gemma-scope-2b-pt-res"
    for seed, revision in enumerate(["main", "old"]):
        write_npz(served.root / repository / revision / folder, arrays(seed=seed))
    acts = activations()
    for source in ("gemma-scope-2b-pt-res", repository):
        for seed, revision in enumerate(["main", "old"]):
            found = served.run(read_sae, acts, source, folder, revision=revision)
            assert_equal(found, jumprelu(arrays(seed=seed), acts))


def test_llama_scope_by_its_release(served):
    held, repository, folder = arrays(), "fnlp/Llama3_1-8B-Base-LXR-8x", "Llama3_1-8B-Base-L3R-8x"
    path = served.root / repository / "main" / folder
    (path / "checkpoints").mkdir(parents=True)
    about = {"d_model": 6, "d_sae": 10, "jump_relu_threshold": 0.5, "hook_point_in": "blocks.3"}
    about["dataset_average_activation_norm"] = {"in": 2.0}
    (path / "hyperparams.json").write_text(json.dumps(about))
    weights = {"encoder.weight": held["W_enc"].T, "decoder.weight": held["W_dec"].T}
    weights |= {"encoder.bias": held["b_enc"], "decoder.bias": held["b_dec"]}
    weights = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in weights.items()}
    save_file(weights, path / "checkpoints" / "final.safetensors")
    acts = activations()
    # sae-lens's list says by how much the activations are scaled, the file the threshold
    held["threshold"] = np.full(10, 0.5 * 6**0.5 / 2)
    by_hand = jumprelu(held, acts, scale=20.177339901477833)
    peer = served.run(read_sae_as_peer, acts, "llama_scope_lxr_8x", "l3r_8x")
    assert_equal(peer, by_hand)
    for name in [("llama_scope_lxr_8x", "l3r_8x"), (repository, folder)]:
        assert_equal(served.run(read_sae, acts, *name), peer)
    with pytest.raises(InputError, match="main revision only"):
        served.run(read_sae, acts, "llama_scope_lxr_8x", "l3r_8x", revision="main")


def test_gemma_scope_2_by_its_release(served):
    repository, folder = "google/gemma-scope-2-270m-pt", "resid_post/layer_12_width_16k_l0_big"
    path = served.root / repository / "main" / folder
    path.mkdir(parents=True)
    weights = {k.lower(): torch.from_numpy(v) for k, v in arrays().items()}
    save_file(weights, path / "params.safetensors")
    by_hand = jumprelu(arrays(), activations())
    for name in [
        ("gemma-scope-2-270m-pt-res", "layer_12_width_16k_l0_big"),
        (repository, folder),
    ]:
        assert_equal(served.run(read_sae, activations(), *name), by_hand)


def test_a_folder_that_a_release_lists_is_scaled_as_it_says(served):
    # the files do not say by how much, and sae-lens looks it up by the release only
    repository = "tommmcgrath/gpt2-small-mlp-out-saes"
    folder = "sae_group_gpt2_blocks.0.hook_mlp_out_24576:v1"
    normalised = {"normalize_activations": "expected_average_only_in"}
    write_sae_lens(served.root / repository / "main" / folder, arrays(), **normalised)
    acts = activations()
    release = ("gpt2-small-mlp-tm", "blocks.0.hook_mlp_out")
    peer = served.run(read_sae_as_peer, acts, *release)
    assert np.abs(peer[0] - jumprelu(arrays(), acts)[0]).max() > 0.1
    for name in (release, (repository, folder), (repository, f"{folder}/")):
        assert_equal(served.run(read_sae, acts, *name), peer)
    assert_equal(served.run(read_sae, acts, repository, folder, revision="main"), peer)


def test_repositories_that_no_release_lists(served):
    acts, main = activations(), served.root / "someone/saes/main"
    write_sae_lens(main / "deep/er", arrays(seed=1), dtype="bfloat16")
    write_sae_lens(main, arrays(seed=2))
    write_npz(main / "scope", arrays(seed=3))
    half = {k: torch.from_numpy(v).bfloat16().float().numpy() for k, v in arrays(seed=1).items()}
    for folder, held in [("deep/er", half), (".", arrays(seed=2)), ("scope", arrays(seed=3))]:
        found = served.run(read_sae, acts, "someone/saes", folder)
        assert_equal(found, jumprelu(held, acts))
    assert_equal(
        served.run(read_sae, acts, "someone/saes", "deep/er"),
        served.run(read_sae_as_peer, acts, "someone/saes", "deep/er"),
    )


def test_an_autoencoder_by_its_revision(served):
    acts = activations()
    for seed, revision in enumerate(["main", "abc"]):
        write_sae_lens(served.root / "someone/revised" / revision / "x", arrays(seed=seed))
        wanted = jumprelu(arrays(seed=seed), acts)
        for name in (revision, commit("someone/revised", revision)):
            assert_equal(served.run(read_sae, acts, "someone/revised", "x", revision=name), wanted)
    assert_equal(served.run(read_sae, acts, "someone/revised", "x"), jumprelu(arrays(), acts))
    with pytest.raises(
        InputError, match=r"^someone/revised, x: its repository has no such revision\.$"
    ):
        served.run(read_sae, acts, "someone/revised", "x", revision="xyz")


def test_what_the_hub_does_not_have(served):
    write_npz(served.root / "someone/some/main" / "x", arrays())
    write_npz(served.root / "someone/gated/main" / "x", arrays())
    served.hub.gated.add("someone/gated")
    for source, folder, said in [
        ("someone/none", "x", "someone/none, x: the Hub has no such repository, or it is private"),
        ("someone/gated", "x", "someone/gated, x: its repository asks for an agreement"),
        ("someone/some", "y", "someone/some, y: its repository has no sparse autoencoder there"),
        ("google/gemma-scope-9b-pt-res", "layer_0/width_16k/average_l0_11", "no such repository"),
    ]:
        with pytest.raises(InputError, match=said):
            served.run(read_sae, activations(), source, folder)
    broken = arrays()
    del broken["threshold"]
    write_npz(
        served.root / "google/gemma-scope-2b-pt-res/main" / "embedding/width_4k/average_l0_21",
        broken,
    )
    with pytest.raises(InputError, match=r"average_l0_21: not a readable .*threshold") as caught:
        served.run(
            read_sae, activations(), "gemma-scope-2b-pt-res", "embedding/width_4k/average_l0_21"
        )
    assert "\n" not in str(caught.value)


def test_without_a_network(served):
    acts, waited = activations(), []
    write_npz(served.root / "someone/cached/main/x", arrays())
    served.run(read_sae, acts, "someone/cached", "x")
    with served.hub.gone():
        assert_equal(served.run(read_sae, acts, "someone/cached", "x"), jumprelu(arrays(), acts))
        for name in [
            ("someone/cached", "y"),
            ("gemma-scope-2b-pt-res", "embedding/width_4k/average_l0_44"),
            ("gemma-scope-2-270m-pt-res", "layer_12_width_16k_l0_small"),
        ]:
            served.run(waits)
            with pytest.raises(
                InputError, match=r"it is not in the cache, and the Hub cannot be reached\.$"
            ) as caught:
                served.run(read_sae, acts, *name)
            assert str(caught.value).startswith(", ".join(name))
            waited.append(served.run(waits))
    # the Hub is not waited for again for the second layout
    assert 0 < waited[0] == waited[1]


def test_a_download_that_breaks_off(served):
    acts = activations()
    write_npz(served.root / "someone/broken/main/x", arrays())
    served.hub.breaks_off = True
    try:
        with pytest.raises(InputError, match=r"^someone/broken, x: the download failed: "):
            served.run(read_sae, acts, "someone/broken", "x")
    finally:
        served.hub.breaks_off = False
    assert_equal(served.run(read_sae, acts, "someone/broken", "x"), jumprelu(arrays(), acts))


def test_releases_and_ids_that_there_are_not():
    with pytest.raises(InputError, match=r"neither a release .* there are gemma-scope-2b-pt-res, "):
        gi.saes.load("gemma-scope-2b-pt-re", "layer_3")
    with pytest.raises(InputError, match=r"no 'layer_3'; there are layer_3/width_\S+, .* 311 more"):
        gi.saes.load("gemma-scope-2b-pt-res", "layer_3")
    with pytest.raises(InputError, match=r"no 'nought'; there are blocks.12.hook_resid_post.$"):
        gi.saes.load("gemma-2b-it-res-jb", "nought")


def test_releases_whose_weights_are_pickles_are_refused(served):
    from sae_lens.loading.pretrained_sae_loaders import NAMED_PRETRAINED_SAE_LOADERS as loaders

    unpickle = {
        name for name, loader in loaders.items() if "torch.load" in inspect.getsource(loader)
    }
    assert unpickle == published.PICKLED
    before = len(served.hub.asked)
    for name in [
        ("qwen-scope-3-1.7b-base-w32k-l50", "layer0"),
        ("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50", "layer0.sae.pt"),
    ]:
        with pytest.raises(InputError, match="its weights are pickles"):
            served.run(read_sae, activations(), *name)
    assert len(served.hub.asked) == before


# models, from the same hub


def test_a_model_by_its_revision(served, toponym, few, tmp_path):
    config = LlamaConfig(
        vocab_size=len(toponym.tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    weights = {}
    for seed, revision in enumerate(["main", "abc"]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        model.save_pretrained(served.root / "owner/tiny" / revision)
        toponym.tokenizer.save_pretrained(served.root / "owner/tiny" / revision)
        weights[revision] = gi.models.wrap(model.eval(), toponym.tokenizer).fingerprint
        for name in (revision, commit("owner/tiny", revision)):
            sha, card = served.run(capture, tmp_path / name, few, "owner/tiny", revision=name)
            assert sha == card["revision"] == commit("owner/tiny", revision)
            assert card["weights_sha256"] == weights[revision]
    assert weights["main"] != weights["abc"]
    sha, _ = served.run(capture, tmp_path / "default", few, "owner/tiny")
    assert sha == commit("owner/tiny", "main")
    with pytest.raises(InputError, match="xyz"):
        served.run(capture, tmp_path / "none", few, "owner/tiny", revision="xyz")
    with served.hub.gone():
        sha, _ = served.run(capture, tmp_path / "cached", few, "owner/tiny", revision="abc")
        assert sha == commit("owner/tiny", "abc")
        with pytest.raises(InputError, match=r"model owner/other: .*connect"):
            served.run(capture, tmp_path / "gone", few, "owner/other")
