import copy
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import tiny
from transformers.modeling_outputs import BaseModelOutput

import geointerp as gi
from geointerp.errors import InputError
from geointerp.saes import splicing
from geointerp.saes.splicing import loss_recovered, replaced

TEMPLATE = "The city of {name} is in {country}"
SITES = ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_in", "mlp_out", "mlp.c_fc:input"]


def autoencoder(w_enc, w_dec, b_enc=None, b_dec=None, **metadata):
    """An autoencoder of given weights: ReLU(x W_enc + b_enc) W_dec + b_dec."""
    from sae_lens import StandardSAE, StandardSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    d, width = w_enc.shape
    config = StandardSAEConfig(
        d_in=d, d_sae=width, apply_b_dec_to_input=False, metadata=SAEMetadata(**metadata)
    )
    sae = StandardSAE(config)
    zeros = {"b_enc": torch.zeros(width), "b_dec": torch.zeros(d)}
    given = {"W_enc": w_enc, "W_dec": w_dec, "b_enc": b_enc, "b_dec": b_dec}
    sae.load_state_dict(zeros | {k: v for k, v in given.items() if v is not None})
    return sae.eval()


def perfect(d=32, **metadata):
    eye = torch.eye(d)
    return autoencoder(torch.cat([eye, -eye], 1), torch.cat([eye, -eye]), **metadata)


def random_one(d=32, width=20, **metadata):
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randn(shape, generator=generator) for shape in [(d, width), (width, d), d]]
    return autoencoder(drawn[0] / 3, drawn[1] / 3, b_dec=drawn[2] / 3, **metadata)


def loud(model):
    """Weights so large that what is replaced makes a difference."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in model.model.parameters():
            p += 0.2 * torch.randn(p.shape, generator=generator)
    return model


@pytest.fixture
def prompts(few):
    return gi.prompts.render(few, TEMPLATE)


def hooked(gpt2, layer, site, change):
    """A hook, written for GPT-2 alone, that puts `change` of the stream in its place."""
    block = gpt2.transformer.h[layer]

    def tensor(out):
        return out[0] if isinstance(out, tuple) else out

    def put(out, new):
        return (new, *out[1:]) if isinstance(out, tuple) else new

    def on_input(module, args):
        return (change(args[0]), *args[1:])

    def on_output(module, args, out):
        return put(out, change(tensor(out)))

    if site == "resid_mid":
        entered = []
        block.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
        # what attention must add, so that the sum is the one wanted
        return block.attn.register_forward_hook(
            lambda _, args, out: put(out, change(entered[-1] + tensor(out)) - entered[-1])
        )
    module, before = {
        "resid_pre": (block, True),
        "resid_post": (block, False),
        "attn_out": (block.attn, False),
        "mlp_in": (block.mlp, True),
        "mlp_out": (block.mlp, False),
        "mlp.c_fc:input": (block.mlp, True),
    }[site]
    if before:
        return module.register_forward_pre_hook(on_input)
    return module.register_forward_hook(on_output)


def by_hand(wrapped, sae, rendered, layer, site, pool):
    """All figures again, a prompt at a time."""
    tokens = gi.prompts.tokenize(rendered, wrapped.tokenizer)
    spans = {
        "last": lambda t: [t.last],
        "mean": lambda t: list(range(t.first, t.last + 1)),
        "prompt_last": lambda t: [t.end],
        "prompt_mean": lambda t: list(range(t.begin, t.end + 1)),
    }
    at = [spans[pool](t) for t in tokens]

    def run(change):
        logs = []
        for t, where in zip(tokens, at, strict=True):
            hf = copy.deepcopy(wrapped.model)

            def other(stream, where=where):
                stream = stream.clone()
                stream[0, where] = change(stream[0, where])
                return stream

            hooked(hf, layer, site, other)
            with torch.no_grad():
                logs.append(hf(torch.tensor([t.ids])).logits[0].double().log_softmax(-1))
        return logs

    seen = []

    def look(x):
        seen.append(x)
        return x

    def reconstruct(x):
        return (x @ sae.W_enc + sae.b_enc).relu() @ sae.W_dec + sae.b_dec

    plain = run(look)
    mean = torch.cat(seen).mean(0)
    logs = {
        "": plain,
        "_spliced": run(reconstruct),
        "_zero": run(torch.zeros_like),
        "_mean": lambda: None,
    }
    logs["_mean"] = run(lambda x: mean.expand_as(x))
    found = {}
    for name, each in logs.items():
        losses, divergences = [], []
        for t, where, log, own in zip(tokens, at, each, plain, strict=True):
            for i in range(where[0], t.end + 1):
                divergences.append(float((own[i].exp() * (own[i] - log[i])).sum()))
                if i < t.end:
                    losses.append(-float(log[i, t.ids[i + 1]]))
        found[f"loss{name}"] = np.mean(losses) if losses else math.nan
        found[f"kl{name}"] = np.mean(divergences)
        found["n_predicted"] = len(losses)
    return found


@pytest.mark.parametrize("pool", ["last", "mean", "prompt_last", "prompt_mean"])
def test_figures_by_hand(gpt2, prompts, pool):
    sae = random_one(layer=1, site="resid_post", pool=pool)
    wanted = by_hand(loud(gpt2), sae, prompts, 1, "resid_post", pool)
    found = loss_recovered(sae, gpt2, prompts)
    for name in ("", "_spliced", "_zero", "_mean"):
        assert found[f"loss{name}"] == pytest.approx(wanted[f"loss{name}"], rel=1e-5, nan_ok=True)
    for name in ("_spliced", "_zero", "_mean"):
        assert found[f"kl{name}"] == pytest.approx(wanted[f"kl{name}"], rel=1e-4)
    assert found["n_predicted"] == wanted["n_predicted"]
    assert (pool == "prompt_last") == (found["n_predicted"] == 0)
    for name in ("zero", "mean"):
        gap = wanted[f"loss_{name}"] - wanted["loss"]
        share = (wanted[f"loss_{name}"] - wanted["loss_spliced"]) / gap if gap > 0 else math.nan
        assert found[f"loss_recovered_{name}"] == pytest.approx(share, rel=1e-3, nan_ok=True)
        share = 1 - wanted["kl_spliced"] / wanted[f"kl_{name}"]
        assert found[f"kl_recovered_{name}"] == pytest.approx(share, rel=1e-3)


@pytest.mark.parametrize("site", SITES)
def test_every_site_by_hand(gpt2, prompts, site):
    sae = random_one()
    wanted = by_hand(loud(gpt2), sae, prompts, 1, site, "last")
    found = loss_recovered(sae, gpt2, prompts, layer=1, site=site, pool="last")
    for name in ("loss_spliced", "loss_zero", "loss_mean"):
        assert found[name] == pytest.approx(wanted[name], rel=1e-5)
        # a splice that does nothing would not be seen otherwise
        assert abs(found[name] - found["loss"]) > 1e-3


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("site", SITES[:-1])
def test_a_perfect_autoencoder_recovers_all(toponym, prompts, kind, site):
    model = loud(tiny(kind, toponym.tokenizer))
    found = loss_recovered(perfect(), model, prompts, layer=-2, site=site, pool="prompt_mean")
    assert found["loss_spliced"] == pytest.approx(found["loss"], abs=1e-5)
    assert found["kl_spliced"] == pytest.approx(0, abs=1e-6)
    assert min(found["kl_zero"], found["kl_mean"]) > 1e-2
    assert found["kl_recovered_zero"] == pytest.approx(1, abs=1e-4)
    assert found["kl_recovered_mean"] == pytest.approx(1, abs=1e-4)


def test_a_trained_model_loses_by_ablation(toponym, cities):
    # it has learned from such sentences
    prompts = gi.prompts.render(cities[:20], "{name} keeps the time of {timezone}.")
    layer = {"layer": 1, "site": "resid_post", "pool": "last"}
    found = loss_recovered(perfect(toponym.hidden), toponym, prompts, **layer)
    assert found["loss_zero"] > found["loss"]
    assert found["loss_mean"] > found["loss"]
    assert found["loss_recovered_zero"] == pytest.approx(1, abs=1e-4)
    assert found["loss_recovered_mean"] == pytest.approx(1, abs=1e-4)
    nothing = autoencoder(torch.zeros(toponym.hidden, 4), torch.zeros(4, toponym.hidden))
    found = loss_recovered(nothing, toponym, prompts, **layer)
    assert found["loss_recovered_zero"] == pytest.approx(0, abs=1e-6)
    assert found["kl_recovered_zero"] == pytest.approx(0, abs=1e-6)
    assert found["kl_spliced"] == pytest.approx(found["kl_zero"])
    assert found["kl_zero"] != pytest.approx(found["kl_mean"], rel=0.01)


def test_what_costs_nothing_has_no_share():
    assert math.isnan(splicing._share(2.0, 3.0, 2.0))
    assert math.isnan(splicing._share(1.0, 3.0, 2.0))
    assert splicing._share(4.0, 2.5, 2.0) == 0.75


def test_company_changes_nothing(gpt2, prompts):
    options = {"layer": 1, "site": "resid_mid", "pool": "mean"}
    shuffled = pd.concat([prompts, prompts.iloc[::-1]])
    one, many, twice = (
        loss_recovered(random_one(), loud(copy.deepcopy(gpt2)), p, batch_size=size, **options)
        for p, size in [(prompts, 1), (prompts, 64), (shuffled, 3)]
    )
    assert twice.pop("n_predicted") == 2 * one["n_predicted"] == 2 * many["n_predicted"]
    for name in twice:
        assert many[name] == pytest.approx(one[name], rel=1e-5, nan_ok=True)
        assert twice[name] == pytest.approx(one[name], rel=1e-5, nan_ok=True)


def test_special_tokens_are_not_predicted(gpt2, prompts):
    from tokenizers.processors import TemplateProcessing

    loud(gpt2)
    options = {"layer": 1, "site": "resid_post", "pool": "last"}
    wanted = loss_recovered(random_one(), gpt2, prompts, **options)
    tokenizer = copy.deepcopy(gpt2.tokenizer)
    marks = [(mark, tokenizer.convert_tokens_to_ids(mark)) for mark in ("<s>", "</s>")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=marks
    )
    assert tokenizer("Lima")["input_ids"][-1] == marks[1][1]
    closed = gi.models.wrap(gpt2.model, tokenizer)
    found = loss_recovered(random_one(), closed, prompts, **options)
    # no token looks ahead, so that one at the end is as good as none
    assert found == pytest.approx(wanted, rel=1e-5, nan_ok=True)


def test_prompts_without_places_are_read_whole(gpt2, prompts):
    options = {"layer": 1, "site": "resid_post"}
    bare = prompts[["prompt"]]
    for pool in ("prompt_last", "prompt_mean"):
        wanted = loss_recovered(random_one(), loud(gpt2), prompts, pool=pool, **options)
        found = loss_recovered(random_one(), gpt2, bare, pool=pool, **options)
        assert found == pytest.approx(wanted, nan_ok=True)
    with pytest.raises(InputError, match="no columns 'start' and 'end'"):
        loss_recovered(random_one(), gpt2, bare, pool="mean", **options)


def test_the_model_is_left_as_it_was(gpt2, prompts):
    ids = torch.tensor([gpt2.tokenizer("Lima is in Peru")["input_ids"]])
    with torch.no_grad():
        before = gpt2.model(ids).logits
    loss_recovered(random_one(), gpt2, prompts, layer=1, site="resid_mid", pool="last")

    def fail(values):
        raise KeyError

    with pytest.raises(KeyError), replaced(gpt2, 1, "resid_post", fail):
        gpt2.model(ids)
    with torch.no_grad():
        torch.testing.assert_close(gpt2.model(ids).logits, before, rtol=0, atol=0)


def test_what_blocks_share_is_replaced_in_one(toponym):
    from transformers import AlbertConfig, AlbertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    config = AlbertConfig(
        vocab_size=len(toponym.tokenizer), num_hidden_layers=3, embedding_size=32, **sizes
    )
    model = gi.models.wrap(AlbertModel(config).eval(), toponym.tokenizer)
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    with (
        torch.inference_mode(),
        replaced(model, 1, "resid_post", lambda values: values.fill_(7)),
        gi.hooks.record(model, [0, 1, 2]) as seen,
    ):
        # twice, as the calls of each forward pass are counted anew
        for _ in range(2):
            model.model(ids)
            assert [bool((seen[i] == 7).all()) for i in range(3)] == [False, True, False]


def test_the_stream_is_replaced_at_its_sites_alone(gpt2):
    # the norm before the MLP is given the very tensor that the stream goes on with
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    block = gpt2.model.transformer.h[1]
    with torch.no_grad():
        entered = gpt2.model.transformer(ids, output_hidden_states=True).hidden_states[1]
        mid = entered + block.attn(block.ln_1(entered))[0]
        of_seven = block.mlp(block.ln_2(torch.full_like(mid, 7)))
    for site, base in (("ln_2:input", mid), ("resid_mid", torch.full_like(mid, 7))):
        with torch.inference_mode(), replaced(gpt2, 1, site, lambda values: values.fill_(7)):
            states = gi.hooks.read(
                gpt2, {"input_ids": ids}, [1], "resid_post", lambda _, values: values.clone()
            )
        torch.testing.assert_close(states[1], base + of_seven)


def test_the_first_tensor_of_what_a_module_gives():
    class Pair(NamedTuple):
        nothing: None
        both: tuple

    old, new, other = torch.zeros(2), torch.ones(2), torch.full((2,), 2.0)
    assert splicing._with(old, new) is new
    assert splicing._with([None, (old, other)], new) == [None, (new, other)]
    pair = splicing._with(Pair(None, (old, other)), new)
    assert pair == Pair(None, (new, other))
    assert pair.both[0] is new
    output = BaseModelOutput(last_hidden_state=old, hidden_states=(other,))
    changed = splicing._with(output, new)
    assert changed.last_hidden_state is new
    assert changed[0] is new
    assert changed.hidden_states[0] is other
    assert output.last_hidden_state is old


def test_bad_input(gpt2, prompts, toponym):
    from sae_lens import Transcoder, TranscoderConfig
    from transformers import BertConfig, BertForMaskedLM, BertLMHeadModel

    def asked(sae=None, model=gpt2, rendered=prompts, **options):
        options = {"layer": 1, "site": "resid_post", "pool": "last", **options}
        return loss_recovered(perfect() if sae is None else sae, model, rendered, **options)

    asked()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(toponym.tokenizer), num_hidden_layers=2, **sizes)
    masked = gi.models.wrap(BertForMaskedLM(config).eval(), gpt2.tokenizer)
    for model in (masked, tiny("bert", gpt2.tokenizer)):
        with pytest.raises(InputError, match="does not say which token comes next"):
            asked(model=model)
    encoder = gi.models.wrap(BertLMHeadModel(config).eval(), gpt2.tokenizer)
    with pytest.raises(InputError, match="sees the tokens that it should predict"):
        asked(model=encoder)
    with pytest.raises(InputError, match=r"reads vectors of 16; resid_post of layer 1 .* has 32"):
        asked(perfect(16))
    with pytest.raises(InputError, match="trained on Other with weights_sha256 'ab'"):
        asked(perfect(weights_sha256="ab", model_name="Other"))
    asked(perfect(weights_sha256=gpt2.fingerprint))
    with pytest.raises(InputError, match="a transcoder"):
        asked(Transcoder(TranscoderConfig(32, 4, apply_b_dec_to_input=False, d_out=32)))
    for key in ("layer", "site", "pool"):
        with pytest.raises(InputError, match=f"of which {key} it is: give {key}="):
            asked(**{key: None})
    with pytest.raises(InputError, match="layer 7"):
        asked(layer=7)
    with pytest.raises(InputError, match="pool is 'first'"):
        asked(pool="first")
    with pytest.raises(InputError, match="site is 'resid_past'"):
        asked(site="resid_past")
    with pytest.raises(InputError, match="batch_size is 0"):
        asked(batch_size=0)
    with pytest.raises(InputError, match="there are no prompts"):
        asked(rendered=prompts[:0])
    with pytest.raises(InputError, match="a DataFrame with a column 'prompt'"):
        asked(rendered=["Lima"])
    long = prompts.assign(prompt=prompts["prompt"] + " and" * 200)
    with pytest.raises(InputError, match=r"place 'a': its prompt has 2\d\d tokens; .* reads 128"):
        asked(rendered=long)
