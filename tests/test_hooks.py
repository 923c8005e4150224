import pytest
import torch

from geointerp import hooks
from geointerp.errors import InputError

IDS = torch.tensor([[1, 50, 60, 70]])


def test_resid_post_is_the_models_own_hidden_state(model):
    with torch.no_grad(), hooks.record(model, [0, 1, 2]) as seen:
        states = model.model(input_ids=IDS, output_hidden_states=True).hidden_states
    for layer in (0, 1):
        torch.testing.assert_close(seen[layer], states[layer + 1], rtol=0, atol=0)
    # the last hidden state is taken after the final norm, where there is one
    final = getattr(model.model.base_model, "norm", getattr(model.model.base_model, "ln_f", None))
    last = final(seen[2]) if final is not None else seen[2]
    torch.testing.assert_close(last, states[3])


def test_resid_pre_is_the_resid_post_before(model):
    with torch.no_grad(), hooks.record(model, [1, 2], "resid_pre") as pre:
        model.model(input_ids=IDS)
        with hooks.record(model, [0, 1]) as post:
            model.model(input_ids=IDS)
    torch.testing.assert_close(pre[1], post[0], rtol=0, atol=0)
    torch.testing.assert_close(pre[2], post[1], rtol=0, atol=0)


def test_the_parts_add_up(toponym):
    # pre-norm blocks: what leaves is what entered plus attention plus MLP
    found = {}
    for site in ("resid_pre", "attn_out", "mlp_out", "resid_post"):
        with torch.no_grad(), hooks.record(toponym, [2], site) as seen:
            toponym.model(input_ids=IDS)
        found[site] = seen[2]
    total = found["resid_pre"] + found["attn_out"] + found["mlp_out"]
    torch.testing.assert_close(total, found["resid_post"], rtol=1e-4, atol=1e-4)


def test_mlp_in_makes_mlp_out(toponym):
    with torch.no_grad(), hooks.record(toponym, [1], "mlp_in") as before:
        toponym.model(input_ids=IDS)
    with torch.no_grad(), hooks.record(toponym, [1], "mlp_out") as after:
        toponym.model(input_ids=IDS)
        again = toponym.blocks[1].mlp(before[1])
    torch.testing.assert_close(again, after[1])


def test_the_model_is_left_as_it_was(model):
    def hooks_on():
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.model.modules())

    # transformers leaves hooks of its own when it is first asked for hidden states
    model.model(input_ids=IDS, output_hidden_states=True)
    assert model.depth == 3
    before = hooks_on()
    with pytest.raises(RuntimeError, match="inside 3"), hooks.record(model, [0, 1]):
        # one on the backbone, one on each block
        raise RuntimeError(f"inside {hooks_on() - before}")
    hooks.read(model, {"input_ids": IDS}, [0], "mlp_in", lambda _, tensor: tensor)
    with pytest.raises(InputError), hooks.record(model, [0], "nowhere"):
        pass
    assert hooks_on() == before


def test_layers(model):
    assert hooks.chosen_layers(model, "all") == [0, 1, 2]
    assert hooks.chosen_layers(model, -1) == [2]
    assert hooks.chosen_layers(model, [2, 0]) == [0, 2]
    assert hooks.chosen_layers(model, "0,-1") == [0, 2]
    for layers, said in [
        (3, "layer 3: GPT2LMHeadModel|layer 3: "),
        ([0, -4], "layer -4"),
        ("last", "must be 'all' or numbers"),
        ([], "at least one"),
        ([0, -3], "none twice"),
    ]:
        with pytest.raises(InputError, match=said):
            hooks.chosen_layers(model, layers)


def test_a_site_that_is_none(model):
    wanted = "site is 'resid'; it must be one of resid_pre"
    with pytest.raises(InputError, match=wanted), hooks.record(model, [0], "resid"):
        pass


def test_the_middle_of_the_stream(toponym):
    found = {}
    for site in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"):
        with torch.no_grad(), hooks.record(toponym, [2], site) as seen:
            toponym.model(input_ids=IDS)
        found[site] = seen[2]
    torch.testing.assert_close(found["resid_mid"], found["resid_pre"] + found["attn_out"])
    torch.testing.assert_close(found["resid_post"], found["resid_mid"] + found["mlp_out"])


def test_a_module_of_the_block_is_a_site(toponym):
    block = toponym.blocks[1]
    both = hooks.record(toponym, [1], "mlp_in"), hooks.record(toponym, [1], "mlp.down_proj:input")
    with torch.no_grad(), both[0] as entered, both[1] as inner:
        toponym.model(input_ids=IDS)
        gated = block.mlp.act_fn(block.mlp.gate_proj(entered[1])) * block.mlp.up_proj(entered[1])
    # wider than the stream
    assert inner[1].shape == (1, 4, 768)
    torch.testing.assert_close(inner[1], gated)
    both = hooks.record(toponym, [1], "*.o_proj"), hooks.record(toponym, [1], "attn_out")
    with torch.no_grad(), both[0] as by_pattern, both[1] as by_name:
        toponym.model(input_ids=IDS)
    torch.testing.assert_close(by_pattern[1], by_name[1])


def test_bad_paths(toponym):
    for site, said in [
        ("mlp.*_proj", "it fits .*gate_proj, .*up_proj and perhaps more"),
        ("mlp.down_proj:output", "there can only be ':input'"),
        ("mlp.none", r"or the path of a module in a block, such as '"),
    ]:
        with pytest.raises(InputError, match=said), hooks.record(toponym, [1], site):
            pass


def test_reading_stops_when_all_is_read(toponym):
    ran = []
    handles = [
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
        for i, block in enumerate(toponym.blocks)
    ]
    with torch.no_grad():
        seen = hooks.read(toponym, {"input_ids": IDS}, [0, 2], "resid_post", lambda _, t: t.clone())
        states = toponym.model(input_ids=IDS, output_hidden_states=True).hidden_states
    for handle in handles:
        handle.remove()
    # the third block's own hook comes after ours, which ends the pass
    assert ran[:2] == [0, 1]
    assert ran[2:] in ([0, 1, 2, 3, 4, 5], [2, 0, 1, 2, 3, 4, 5])
    torch.testing.assert_close(seen[0], states[1])
    torch.testing.assert_close(seen[2], states[3])
