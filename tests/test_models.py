import json

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import geointerp as gi
from geointerp.errors import InputError


def test_the_embedded_model_is_a_local_model_like_any_other(toponym, tmp_path):
    by_path = gi.models.load(str(gi.toponym.directory()), device="cpu")
    assert by_path.fingerprint == toponym.fingerprint
    assert not by_path.model.training


def test_blocks_are_found(model):
    assert model.depth == 3
    assert model.hidden == 32
    output = model.model(
        input_ids=torch.tensor([[1, 5, 7]]), output_hidden_states=True
    ).hidden_states
    # each block maps one hidden state to the next
    caught = {}
    handles = [
        block.register_forward_hook(lambda m, a, out, i=i: caught.__setitem__(i, out))
        for i, block in enumerate(model.blocks)
    ]
    model.model(input_ids=torch.tensor([[1, 5, 7]]))
    for handle in handles:
        handle.remove()
    first = caught[0][0] if isinstance(caught[0], tuple) else caught[0]
    torch.testing.assert_close(first, output[1])


def test_untrained_is_another_and_the_same_by_seed(toponym):
    one, again, other = toponym.untrained(1), toponym.untrained(1), toponym.untrained(2)
    assert one.fingerprint == again.fingerprint
    assert len({one.fingerprint, other.fingerprint, toponym.fingerprint}) == 3
    assert type(one.model) is type(toponym.model)
    weights = toponym.model.state_dict()
    assert all(v.shape == weights[k].shape for k, v in one.model.state_dict().items())


def test_untrained_leaves_the_random_state(toponym):
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    toponym.untrained(1)
    assert torch.rand(1) == before


def test_fingerprint_sees_one_weight(model):
    before = model.fingerprint
    with torch.no_grad():
        next(model.model.parameters()).view(-1)[0] += 1
    assert gi.models.wrap(model.model, model.tokenizer).fingerprint != before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/no/such/folder", "there is no such directory"),
        ("./nowhere", "there is no such directory"),
    ],
)
def test_no_model_there(name, said):
    with pytest.raises(InputError, match=said):
        gi.models.load(name)


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        gi.models.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nonsense"}))
    with pytest.raises(InputError, match=r"^model .*nonsense"):
        gi.models.load(tmp_path)
    with pytest.raises(InputError, match="dtype is 'int4'"):
        gi.models.load("toponym", dtype="int4")


def saved(folder, tokenizer, **changes):
    """A tiny Llama on disk, its config changed after its weights were written."""
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_hidden_layers": 2}, "its files hold no weights for model.layers.1"),
        ({"intermediate_size": 16}, "^model .*mismatch"),
    ],
)
def test_weights_that_do_not_fill_the_model_are_refused(tmp_path, toponym, changes, said):
    # they would be random, and every figure of them wrong
    with pytest.raises(InputError, match=said):
        gi.models.load(saved(tmp_path, toponym.tokenizer, **changes))


def test_an_encoder_without_its_pooler_is_loaded(tmp_path, toponym):
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=64,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    saved = BertForMaskedLM(config)
    saved.save_pretrained(tmp_path)
    toponym.tokenizer.save_pretrained(tmp_path)
    loaded = gi.models.load(tmp_path, device="cpu")
    weight = saved.bert.encoder.layer[0].intermediate.dense.weight
    torch.testing.assert_close(loaded.blocks[0].intermediate.dense.weight, weight)


def test_weights_that_cannot_be_read(tmp_path, toponym):
    folder = saved(tmp_path, toponym.tokenizer)
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(500)
    with pytest.raises(InputError, match=r"^model "):
        gi.models.load(folder)


def test_a_device_that_is_not_there():
    with pytest.raises(InputError, match="device 'toaster' is not there"):
        gi.models.load("toponym", device="toaster")


def test_a_misspelt_folder_is_said_to_be_none():
    with pytest.raises(InputError, match="model toponmy: there is no such folder"):
        gi.models.load("toponmy")


def test_weights_that_are_not_safetensors_are_not_unpickled(tmp_path, toponym):
    # a pickle in the place of the weights is refused, not loaded
    saved(tmp_path, toponym.tokenizer)
    (tmp_path / "model.safetensors").unlink()
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (marker.touch, ())

    torch.save({"x": Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError):
        gi.models.load(tmp_path)
    assert not marker.exists()


def test_a_model_that_was_trained_on_has_another_fingerprint(gpt2):
    before = gpt2.fingerprint
    assert gpt2.fingerprint == before
    weight = gpt2.blocks[0].mlp.c_proj.bias
    with torch.no_grad():
        weight += 1
    in_place = gpt2.fingerprint
    weight.data[0] += 1
    past_the_version = gpt2.fingerprint
    assert len({before, in_place, past_the_version}) == 3
    with torch.no_grad():
        weight -= 1
    weight.data[0] -= 1
    assert gpt2.fingerprint == before


def test_what_the_config_decides_is_part_of_a_store(few, tmp_path, toponym):
    import copy

    other = copy.deepcopy(toponym.model)
    other.config.rope_parameters["rope_theta"] *= 2
    one, two = (gi.models.wrap(m, toponym.tokenizer) for m in (toponym.model, other))
    gi.activations.capture(one, few, out=tmp_path / "acts.zarr")
    with pytest.raises(InputError, match="with another config"):
        gi.activations.capture(two, few, out=tmp_path / "acts.zarr")


def test_training_mode_is_refused(gpt2, few):
    gpt2.model.train()
    with pytest.raises(InputError, match="training mode"):
        gi.activations.capture(gpt2, few)
    with pytest.raises(InputError, match="training mode"):
        gi.models.wrap(gpt2.model, gpt2.tokenizer)
    assert gpt2.model.training


def test_an_encoder_saved_without_its_decoder(toponym, tmp_path):
    import torch
    from transformers import T5Config, T5EncoderModel

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    saved = T5EncoderModel(T5Config(vocab_size=len(toponym.tokenizer), **sizes)).eval()
    saved.save_pretrained(tmp_path / "t5")
    toponym.tokenizer.save_pretrained(tmp_path / "t5")
    loaded = gi.models.load(tmp_path / "t5", device="cpu")
    ids = torch.tensor([[5, 6, 7]])
    wanted = saved(ids).last_hidden_state
    assert torch.equal(loaded.model(ids).last_hidden_state, wanted)
    assert loaded.depth == 2


def test_a_folder_without_a_tokenizer_is_refused(gpt2, tmp_path):
    gpt2.model.save_pretrained(tmp_path / "bare")
    with pytest.raises(InputError, match="tokenizer"):
        gi.models.load(tmp_path / "bare", device="cpu")


def test_a_folder_is_called_by_where_it_is(toponym, tmp_path, monkeypatch):
    toponym.model.save_pretrained(tmp_path / "it")
    toponym.tokenizer.save_pretrained(tmp_path / "it")
    monkeypatch.chdir(tmp_path)
    names = {gi.models.load(name, device="cpu").name for name in ("it", "./it", tmp_path / "it")}
    assert names == {str(tmp_path / "it")}


def test_learned_prompt_tokens_are_refused(gpt2):
    class Tuned(type(gpt2.model)):
        active_peft_config = type("PromptTuningConfig", (), {"is_prompt_learning": True})()

    tuned = Tuned(gpt2.model.config).eval()
    with pytest.raises(InputError, match="learned tokens"):
        gi.models.wrap(tuned, gpt2.tokenizer)


def test_weights_that_wait_in_memory(toponym, few):
    import copy

    from accelerate import cpu_offload

    whole = gi.activations.capture(toponym, few)
    away = gi.models.wrap(cpu_offload(copy.deepcopy(toponym.model)), toponym.tokenizer)
    assert any(p.is_meta for p in away.model.parameters())
    assert away.fingerprint == toponym.fingerprint
    assert away.device == torch.device("cpu")
    np.testing.assert_array_equal(gi.activations.capture(away, few).values, whole.values)
