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

    before = hooks_on()
    with pytest.raises(RuntimeError, match="inside 2"), hooks.record(model, [0, 1]):
        raise RuntimeError(f"inside {hooks_on() - before}")
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
