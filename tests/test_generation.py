import copy

import numpy as np
import pandas as pd
import pytest
import torch
from geollm_helpers import asked, random_model, tokenizer

import geointerp as gi
from geointerp.errors import InputError
from geointerp.geollm import Chat
from geointerp.geollm.ratings.encoding import encode
from geointerp.geollm.ratings.generation import _choose, _draws, generate

pytestmark = pytest.mark.usefixtures("one_thread")


def varied():
    """Prompts that end in other words, the first two of one length in tokens."""
    return asked()["prompt"] + ["Rain: ", "Snow: ", "Q", "4 km "]


def peer(model, text, length):
    """What transformers' own greedy search says, of one prompt alone."""
    ids = torch.tensor([encode(model.tokenizer, text, 0).prefix])
    out = model.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=length, do_sample=False
    )
    return model.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mistral", "mamba", "falcon_h1"])
def test_greedy_text_is_that_of_transformers(architecture):
    prompts = varied()
    model = random_model(architecture, tokenizer("merged"))
    found = generate(model, prompts, max_new_tokens=12)
    assert list(found.index) == list("dbca")
    for row, text in prompts.items():
        assert found[row] == [peer(model, text, 12)]
    assert len({text for (text,) in found}) > 1


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mamba", "falcon_h1"])
@pytest.mark.parametrize("samples", [None, 3])
def test_a_prompt_is_answered_the_same_in_any_company(architecture, samples):
    prompts = varied()
    model = random_model(architecture, tokenizer("split"))
    first, second, *_ = (len(encode(model.tokenizer, text, 0).prefix) for text in prompts)
    assert first == second
    options = {"samples": samples, "max_new_tokens": 10, "seed": 3}
    alone = generate(model, prompts, batch_size=1, **options)
    together = generate(model, prompts, batch_size=8, **options)
    backwards = generate(model, prompts[::-1], batch_size=8, **options)
    assert together.equals(alone)
    assert backwards[::-1].equals(alone)
    assert len({text for texts in alone for text in texts}) > 1


def test_samples_follow_the_seed_and_longer_ones_begin_with_shorter():
    prompts, model = asked(), random_model("llama", tokenizer("split"))
    three = generate(model, prompts, samples=3, max_new_tokens=6, seed=1)
    assert three.equals(generate(model, prompts, samples=3, max_new_tokens=6, seed=1))
    assert not three.equals(generate(model, prompts, samples=3, max_new_tokens=6, seed=2))
    five = generate(model, prompts, samples=5, max_new_tokens=9, seed=1)
    for few, many in zip(three, five, strict=True):
        assert len(few) == 3
        assert len(many) == 5
        assert len(set(many)) > 1
        for short, long in zip(few, many, strict=False):
            # a character that was cut off in its middle reads otherwise
            assert long.startswith(short.rstrip("\ufffd"))


def test_no_two_prompts_nor_samples_share_their_numbers():
    first, other = _draws((5, 6), 3, 100, 0), _draws((5, 7), 3, 100, 0)
    numbers = np.concatenate([first, other, _draws((5, 6), 3, 100, 1)])
    assert np.abs(np.corrcoef(numbers) - np.eye(9)).max() < 0.4
    np.testing.assert_array_equal(_draws((5, 6), 5, 200, 0)[:3, :100], first)


def test_tokens_are_drawn_as_often_as_they_are_probable():
    logits = torch.tensor([[0.0, 1.0, -torch.inf, 2.0]])
    numbers = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    for temperature in (0.5, 1.0, 2.0):
        drawn = _choose(logits.expand(10_000, 4), numbers, temperature)
        share = np.bincount(drawn, minlength=4) / 10_000
        expected = (logits[0].double() / temperature).softmax(-1)
        np.testing.assert_allclose(share, expected, atol=2e-4)
    cold = _choose(logits.expand(10_000, 4), numbers, 1e-300)
    assert set(cold.tolist()) == {3}
    assert _choose(logits, None, 1.0).tolist() == [3]
    edges = torch.tensor([0.0, np.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert _choose(torch.tensor([[-torch.inf, 0, 0, -torch.inf]] * 2), edges, 1.0).tolist() == [
        1,
        2,
    ]


def scripted(words, text):
    """A model that says a text after any prompt, token by token, whatever it is given."""
    model = random_model("llama", words)
    says = words(text, add_special_tokens=False)["input_ids"]
    steps = []

    def say(module, inputs, output):
        output[..., :] = 0
        # the check that a model is causal comes before what it is asked
        output[:, -1, says[min(len(steps), len(says) - 1)]] = 9
        steps.append(output.shape[0])
        return output

    def arm(*_):
        model.model.lm_head.register_forward_hook(say)

    return model, arm, steps


@pytest.mark.parametrize(
    ("text", "said", "steps"),
    [
        ("7.3\n\nCoordinates: (1.0, 2.0)", "7.3", 4),
        (" 7.3.\nMy", " 7.3.", 6),
        ("7.3</s>9.9", "7.3", 4),
        ("x\ny 1\n2", "x\ny 1\n" + "2" * 15, 20),
        ("My answer is 7.3.\nNo.\n", "My answer is 7.3.", None),
    ],
)
def test_an_answer_ends_where_it_is_given(text, said, steps, monkeypatch):
    model, arm, seen = scripted(tokenizer("split"), text)
    monkeypatch.setattr("geointerp.geollm.ratings.generation._Reader", hooked(arm))
    found = generate(model, pd.Series(["Scale: "]), max_new_tokens=20)
    assert found[0] == [said]
    assert steps is None or len(seen) == steps


def hooked(arm):
    """The reader of answers, which starts the script when it is made."""
    from geointerp.geollm.ratings.generation import _Reader

    def made(*args):
        arm()
        return _Reader(*args)

    return made


def test_an_answer_that_was_begun_is_part_of_it(monkeypatch):
    words = copy.deepcopy(tokenizer("split"))
    words.chat_template = "{{ messages[0].content }}\n"
    model, arm, seen = scripted(words, "about 7.3.\nand 20 more")
    monkeypatch.setattr("geointerp.geollm.ratings.generation._Reader", hooked(arm))
    chat = Chat(answer="My answer is ")
    found = gi.geollm.predict(model, pd.Series(["a: "]), method="greedy", chat=chat)
    assert found["text"].tolist() == ["My answer is about 7.3."]
    assert len(seen) < 15


def test_all_ends_of_text_that_the_model_has_are_ends(monkeypatch):
    words = tokenizer("split")
    model, arm, seen = scripted(words, "7.3q4")
    model.model.generation_config.eos_token_id = [5, words.convert_tokens_to_ids("q")]
    monkeypatch.setattr("geointerp.geollm.ratings.generation._Reader", hooked(arm))
    assert generate(model, pd.Series(["Scale: "]))[0] == ["7.3"]
    assert len(seen) == 4


def test_the_models_own_settings_neither_bend_nor_change(monkeypatch):
    prompts, model = asked(), random_model("llama", tokenizer("split"))
    plain = generate(model, prompts, max_new_tokens=8)
    own = model.model.generation_config
    own.repetition_penalty, own.suppress_tokens, own.do_sample = 5.0, [5, 6, 7, 8], True
    before, state = copy.deepcopy(own.to_dict()), torch.get_rng_state().clone()
    assert generate(model, prompts, max_new_tokens=8).equals(plain)
    generate(model, prompts, samples=2, max_new_tokens=8)
    assert own.to_dict() == before
    assert torch.equal(torch.get_rng_state(), state)


def test_scores_that_are_no_numbers_are_refused():
    prompts, model = asked(), random_model("llama", tokenizer("split"))
    with torch.no_grad():
        model.model.model.norm.weight.fill_(torch.nan)
    with pytest.raises(InputError, match=r"row 'd': .* not finite"):
        gi.geollm.predict(model, prompts, method="greedy")


def test_the_embedded_model_answers_fifty_places_in_every_way(toponym, cities, caplog):
    prompts = gi.geollm.prompts(cities[:50], task="Population", context=gi.geollm.Gazetteer())
    said = generate(toponym, prompts, max_new_tokens=4, batch_size=8)
    assert list(said.index) == list(cities.index[:50])
    # it completes text, and has never seen a rating
    assert len({text for (text,) in said}) > 10
    words = {word for (text,) in said for word in text.split()}
    assert words & {"north", "south", "east", "west", "of", "km"}
