"""Every architecture that transformers can build tiny, against its own hidden states."""

import contextlib
import inspect

import architectures
import pytest
import torch

import geointerp as gi
from geointerp import hooks, sites
from geointerp.calls import given_to, tensor_of
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
# the last hidden state is neither the last block's output nor a norm of it alone
OTHERWISE = {
    ("causal", "deepseek_v4"): "its several streams are made one before the norm.",
    ("causal", "hy_v4"): "its several streams are made one before the norm.",
    ("causal", "inkling2_text"): "a mix of several blocks' outputs is normed.",
    ("causal", "qwen4_exp"): "its several streams are normed first and then made one.",
    ("causal", "qwen4_exp_text"): "its several streams are normed first and then made one.",
    ("masked", "funnel"): "blocks that pool and a decoder come after those that are read.",
}
# what carries something from one token to another beside attention
MIXED_ELSEWHERE = {
    ("causal", "inkling_text"): "the MLP's output goes through a convolution.",
    ("causal", "longcat_flash"): "a block has two attentions and two MLPs; the first is read.",
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
        with outside(model) as passed:
            model.backbone(**inputs)
        post = hooks.read(model, inputs, layers, "resid_post", lambda _, t: t.clone())
        pre = hooks.read(model, inputs, layers, "resid_pre", lambda _, t: t.clone())
    assert sorted(post) == layers
    for layer in layers:
        assert post[layer].shape == (2, 9, model.hidden)
        # the first state may be the embedding, or the first block's output
        if layer < model.depth - 1:
            assert any(same(post[layer], s) for s in states), layer
            assert same(pre[layer + 1], post[layer]) or model_type == "rwkv", layer
    if not model.blocks:
        assert model.anatomy.normed is None
        return
    last = post[model.depth - 1]
    norms = [
        module
        for module, given, output in passed
        if "norm" in type(module).__name__.lower()
        and any(same(value, last) for value in given)
        and same(output, states[-1])
    ]
    if (kind, model_type) in OTHERWISE:
        assert not norms
        assert not same(last, states[-1])
        assert model.anatomy.normed is None
    elif same(last, states[-1]):
        assert model.anatomy.normed is False
    else:
        assert norms
        assert model.anatomy.normed is True


@contextlib.contextmanager
def outside(model):
    """What each module outside of the blocks is given and gives, in one forward pass."""
    passed = []

    def keep(module, args, kwargs, output):
        output = tensor_of(output)
        if output is not None:
            given = [value.clone() for value in given_to(args, kwargs)]
            passed.append((module, given, output.clone()))

    inner = {id(module) for block in model.blocks for module in block.modules()}
    handles = [
        module.register_forward_hook(keep, with_kwargs=True)
        for module in model.backbone.modules()
        if id(module) not in inner and module is not model.backbone
    ]
    try:
        yield passed
    finally:
        for handle in handles:
            handle.remove()


def same(a, b):
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "model_type"), TYPES)
def test_what_is_added_is_what_the_stream_gains(kind, model_type):
    if (kind, model_type) in UNREADABLE or (kind, model_type) in WITHOUT_BLOCKS:
        return
    model = wrapped(kind, model_type)
    inputs = inputs_of(model)
    changed = {**inputs, "input_ids": inputs["input_ids"].clone()}
    changed["input_ids"][:, 0] += 1
    with torch.inference_mode():
        seen, normed = all_sites(model, inputs)
        silent, _ = all_sites(model, inputs, silence="attn_out")
        if all("attn_out" in at for at in seen.values()):
            # without attention no token hears of another
            other, _ = all_sites(model, changed, silence="attn_out")
            deaf = same(*(each[model.depth - 1]["resid_post"][:, 1:] for each in (silent, other)))
            assert deaf == ((kind, model_type) not in MIXED_ELSEWHERE)
    for layer in range(model.depth):
        at = seen[layer]
        if "attn_out" in at and "resid_mid" in at:
            assert aligned(at["resid_mid"] - at["resid_pre"], at["attn_out"]), layer
            # nothing but this module's output stands between the two
            assert same(silent[layer]["resid_mid"], silent[layer]["resid_pre"]), layer
        elif "attn_out" in at:
            both = at["attn_out"] + at["mlp_out"]
            assert aligned(at["resid_post"] - at["resid_pre"], both), layer
        if "mlp_out" in at and "resid_mid" in at:
            # of a sum that is normed, what the norm is given
            ends = normed.get(layer) or [at["resid_post"]]
            assert any(
                aligned(end - at[start], at["mlp_out"])
                for end in ends
                for start in ("resid_mid", "mlp_in")
                if end.shape == at[start].shape
            ), layer


def all_sites(model, inputs, silence=None):
    """Every site of each layer, and what is given to a norm that gives `resid_post`.

    With a site to silence, the module that gives it gives zeros.
    """
    layers = range(model.depth)
    points = {(i, site): model.anatomy.point(i, site) for i in layers for site in hooks.SITES}
    norms = []

    def keep_norm(module, args, kwargs, output):
        pair = [given_to(args, kwargs)[0], tensor_of(output)]
        # some have tokens before prompts
        norms.append([v.transpose(0, 1).clone() if v.shape[0] == 9 else v.clone() for v in pair])

    def zero(module, args, output):
        tensor_of(output).zero_()

    with contextlib.ExitStack() as stack:
        for module in {p.module for (_, site), p in points.items() if p and site == silence}:
            stack.callback(module.register_forward_hook(zero).remove)
        found = {
            site: stack.enter_context(
                hooks.record(
                    model, [i for i in layers if points[i, site]], site, keep=lambda _, t: t.clone()
                )
            )
            for site in hooks.SITES
        }
        for block in set(model.blocks):
            for module in block.modules():
                if type(module).__name__.lower().endswith("norm"):
                    hook = module.register_forward_hook(keep_norm, with_kwargs=True)
                    stack.callback(hook.remove)
        model.backbone(**inputs)
        seen = {i: {site: found[site][i] for site in found if i in found[site]} for i in layers}
    normed = {
        i: [given for given, output in norms if same(output, seen[i]["resid_post"])] for i in layers
    }
    return seen, normed


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


@pytest.mark.parametrize(
    ("kind", "model_type", "layer", "read_instead"),
    [
        # the sum that ends the block, of attention and MLPs in a stream of another width
        ("masked", "mobilebert", 1, "output.bottleneck.dense"),
        # a whole block that several layers share, before the mixer of each
        ("causal", "zamba", 1, "linear"),
        ("causal", "zamba2", 1, "linear"),
        # an embedding of n-grams, before attention
        ("causal", "qwen4_exp_text", 0, "ple"),
        # without its CUDA kernel its attention gives zeros
        ("masked", "mra", 1, "attention.output.dense"),
    ],
)
def test_what_is_added_first_need_not_be_attention(kind, model_type, layer, read_instead):
    model = wrapped(kind, model_type)
    for site in ("resid_mid", "attn_out", "mlp_in", "mlp_out"):
        assert model.anatomy.point(layer, site) is None, site
    assert model.anatomy.point(layer, read_instead) is not None


@pytest.mark.parametrize(
    ("kind", "model_type"),
    [("causal", "llama"), ("causal", "gemma2"), ("masked", "bert"), ("seq2seq", "mt5")],
)
def test_half_precision_has_the_same_sites(kind, model_type):
    full = wrapped(kind, model_type)
    half = gi.models.wrap(architectures.tiny(kind, model_type).bfloat16(), None, name=model_type)
    for layer in range(full.depth):
        for site in hooks.SITES:
            points = [model.anatomy.point(layer, site) for model in (full, half)]
            assert points[0].path == points[1].path, (layer, site)
            assert points[0].before == points[1].before, (layer, site)


def test_the_last_state_that_is_no_norm_of_the_last_block():
    model = wrapped("causal", "inkling2_text")
    about = {"model": "m", "class": "c", "layers": 3, "hidden": 32, "dtype": "float32"}
    about |= {
        "encoder": False,
        "normed": model.anatomy.normed,
        "sites": {},
        "modules": {"mlp": [0]},
    }
    said = list(sites.lines(about))
    assert said[4].startswith("its last hidden state is not seen to be resid_post of layer 2")


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
