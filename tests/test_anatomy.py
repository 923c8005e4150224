"""Every architecture that transformers can build tiny, against its own hidden states."""

import inspect

import architectures
import pytest
import torch

import geointerp as gi
from geointerp import hooks
from geointerp.errors import InputError

# what cannot be read, and why
UNREADABLE = {
    ("masked", "perceiver"): "it reads no tokens but latents, by an argument of another name.",
    ("seq2seq", "pegasus_x"): "it pads every prompt to 64 tokens and gives states of the padding.",
}
# no blocks that a hook could stand on: of these the model's own hidden states are read
WITHOUT_BLOCKS = {
    ("causal", "blt"),
    ("causal", "cpmant"),
    ("causal", "hrm_text"),
    ("causal", "prophetnet"),
    ("causal", "xlm"),
    ("masked", "flaubert"),
    ("masked", "longformer"),
    ("masked", "squeezebert"),
    ("masked", "xlm"),
    ("seq2seq", "led"),
}
TYPES = [
    (kind, model_type)
    for kind in ("causal", "masked", "seq2seq")
    for model_type in getattr(architectures, kind.upper())
    if model_type not in architectures.reason
]


def wrapped(kind, model_type):
    return gi.models.wrap(architectures.tiny(kind, model_type), None, name=model_type)


def inputs_of(model):
    inputs = {"input_ids": architectures.inputs(model.model)["input_ids"]}
    if "use_cache" in inspect.signature(model.backbone.forward).parameters:
        inputs["use_cache"] = False
    return inputs


def states_of(model, inputs):
    output = model.backbone(**inputs, output_hidden_states=True)
    found = getattr(output, "hidden_states", None) or output.encoder_hidden_states
    return [state[0] if isinstance(state, tuple) else state for state in found]


def test_well_over_a_hundred():
    assert len([kind for kind, _ in TYPES if kind == "causal"]) > 150
    assert len([kind for kind, _ in TYPES if kind != "causal"]) > 70
    assert len(UNREADABLE) / len(TYPES) < 0.05


@pytest.mark.parametrize(("kind", "model_type"), TYPES)
def test_resid_post_is_the_models_own_hidden_state(kind, model_type):
    model = wrapped(kind, model_type)
    if (kind, model_type) in UNREADABLE:
        with pytest.raises(InputError):
            model.anatomy  # noqa: B018
        return
    assert (not model.blocks) == ((kind, model_type) in WITHOUT_BLOCKS)
    inputs = inputs_of(model)
    layers = list(range(model.depth))
    with torch.inference_mode():
        # gemma3n has its four streams first
        states = [s.movedim(0, 2) if s.shape[0] == 4 else s for s in states_of(model, inputs)]
        states = [state.flatten(2) for state in states]
        post = hooks.read(model, inputs, layers, "resid_post", lambda _, t: t.clone())
        pre = hooks.read(model, inputs, layers, "resid_pre", lambda _, t: t.clone())
    assert sorted(post) == layers
    for layer in layers:
        assert post[layer].shape == (2, 9, model.hidden)
        # the first state may be the embedding, or the first block's output
        if layer < model.depth - 1:
            assert any(same(post[layer], s) for s in states), layer
            assert same(pre[layer + 1], post[layer]) or model_type == "rwkv", layer
    # the last state is taken after a final norm, where the anatomy says so
    assert same(post[model.depth - 1], states[-1]) != model.anatomy.normed


def same(a, b):
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "model_type"), TYPES)
def test_what_is_added_is_what_the_stream_gains(kind, model_type):
    if (kind, model_type) in UNREADABLE or (kind, model_type) in WITHOUT_BLOCKS:
        return
    model = wrapped(kind, model_type)
    inputs = inputs_of(model)
    for layer in range(model.depth):
        have = [site for site in hooks.SITES if model.anatomy.point(layer, site)]
        with torch.inference_mode():
            seen = {
                site: hooks.read(model, inputs, [layer], site, lambda _, t: t.clone())[layer]
                for site in have
            }
        if "resid_mid" in seen and "attn_out" in seen:
            gained = seen["resid_mid"] - seen["resid_pre"]
            assert aligned(gained, seen["attn_out"]), (layer, "attn_out")


def aligned(gained, part):
    """Whether one is the other times a number."""
    factor = (gained * part).sum() / (part * part).sum()
    return torch.allclose(gained, factor * part, rtol=1e-3, atol=1e-4 * float(gained.abs().max()))


@pytest.mark.parametrize(
    ("model_type", "paths"),
    [
        (
            "llama",
            ["post_attention_layernorm:input", "self_attn", "post_attention_layernorm", "mlp"],
        ),
        # norms stand between the parts and the sum
        (
            "gemma2",
            [
                "pre_feedforward_layernorm:input",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
            ],
        ),
        (
            "olmo2",
            ["mlp:input", "post_attention_layernorm", "mlp:input", "post_feedforward_layernorm"],
        ),
        ("gpt2", ["ln_2:input", "attn", "ln_2", "mlp"]),
        # attention and MLP side by side: there is no middle
        ("gptj", [None, "attn", "mlp:input", "mlp"]),
        # the MLP has no module of its own
        ("opt", ["final_layer_norm:input", "self_attn", "final_layer_norm", "fc2"]),
        ("mamba", [None, None, None, None]),
    ],
)
def test_sites_by_hand(model_type, paths):
    model = wrapped("causal", model_type)
    for site, path in zip(("resid_mid", "attn_out", "mlp_in", "mlp_out"), paths, strict=True):
        point = model.anatomy.point(1, site)
        if path is None:
            assert point is None, site
            continue
        block = model.anatomy.paths[1]
        assert point is not None, site
        said = point.path.removeprefix(f"{block}.") + (":input" if point.before else "")
        assert said == path, site


def test_sites_of_a_post_norm_encoder():
    model = wrapped("masked", "bert")
    points = [model.anatomy.point(0, s) for s in ("resid_mid", "attn_out", "mlp_in", "mlp_out")]
    assert [p.path.removeprefix("encoder.layer.0.") for p in points] == [
        "attention.output.LayerNorm",
        "attention.output.dense",
        "attention.output.LayerNorm",
        "output.dense",
    ]


def test_layers_that_share_a_module_are_told_apart():
    model = wrapped("masked", "albert")
    assert model.depth == 3
    assert len(set(map(id, model.blocks))) == 1
    inputs = inputs_of(model)
    with torch.inference_mode():
        states = states_of(model, inputs)
        with hooks.record(model, [0, 2]) as seen:
            for _ in range(2):  # anew in each pass
                model.backbone(**inputs)
    torch.testing.assert_close(seen[0], states[1])
    torch.testing.assert_close(seen[2], states[3])


def test_the_encoder_of_an_encoder_decoder():
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=3, num_heads=2)
    t5 = T5ForConditionalGeneration(config).eval()
    model = gi.models.wrap(t5, None)
    assert model.backbone is t5.get_encoder()
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        states = t5.get_encoder()(input_ids=ids, output_hidden_states=True).hidden_states
        seen = hooks.read(model, {"input_ids": ids}, [0, 1], "resid_post", lambda _, t: t.clone())
    torch.testing.assert_close(seen[1], states[2])


def test_a_quantised_model(toponym):
    import copy

    from torch.ao.quantization import quantize_dynamic

    small = quantize_dynamic(copy.deepcopy(toponym.model), {torch.nn.Linear}, dtype=torch.qint8)
    model = gi.models.wrap(small, toponym.tokenizer)
    assert model.depth == 6
    assert len(model.fingerprint) == 64
    assert model.fingerprint != toponym.fingerprint
    places = gi.places.load("geonames", limit=20)
    acts = gi.activations.capture(model, places, layers=3)
    exact = gi.activations.capture(toponym, places, layers=3)
    far = (acts - exact).values
    # rounded to eight bits, and not the same
    assert 0 < (far**2).sum() / (exact.values**2).sum() < 0.05


def test_watching_leaves_no_trace(toponym):
    before = torch.random.get_rng_state()
    gi.models.wrap(toponym.model, toponym.tokenizer).anatomy  # noqa: B018
    assert torch.equal(torch.random.get_rng_state(), before)
