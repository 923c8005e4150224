import numpy as np
import pandas as pd
import pytest
import torch
from geollm_helpers import WORDS, asked, random_model, tokenizer

import geointerp as gi
from geointerp.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_model_is_left_as_it_was():
    prompts = asked()
    model = random_model("llama", tokenizer("merged"))
    before = model.tokenizer("<s>7.3</s>")["input_ids"], torch.get_rng_state().clone()
    gi.geollm.predict(model, prompts[:1])
    assert model.tokenizer("<s>7.3</s>")["input_ids"] == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert all(parameter.grad is None for parameter in model.model.parameters())


def test_predict_gives_expectation_mode_entropy_and_mass():
    prompts = asked()
    model = random_model("llama", tokenizer("whole"))
    found = gi.geollm.predict(model, prompts, method="expectation")
    assert list(found.index) == list("dbca")
    text = prompts.loc["c", "prompt"]
    ids = model.tokenizer.backend_tokenizer.encode(text).ids
    with torch.inference_mode():
        following = model.model(torch.tensor([ids])).logits[0, -1].double().softmax(-1)
    mine = following[model.tokenizer.convert_tokens_to_ids(WORDS)].numpy()
    assert found.loc["c", "mass"] == pytest.approx(mine.sum(), abs=1e-6)
    mine = mine / mine.sum()
    assert found.loc["c", "rating"] == pytest.approx((mine * np.arange(100) / 10).sum(), abs=1e-4)
    assert found.loc["c", "mode"] == mine.argmax() / 10
    assert found.loc["c", "entropy"] == pytest.approx(-(mine * np.log(mine)).sum(), abs=1e-4)


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        (pd.DataFrame({"text": ["a"]}), {}, "no column 'prompt'; it has text"),
        (["a: "], {}, "prompts is a list"),
        (pd.Series({"n": None}), {}, "row 'n' is None"),
        (pd.Series({"n": "a", "e": " "}), {}, "row 'e' is ' '"),
        (pd.Series(["a: "]), {"method": "guess"}, "method is 'guess'"),
        (pd.Series(["a: "]), {"batch_size": 0}, "batch_size is 0"),
        (pd.Series(["a: "]), {"samples": 0}, "samples is 0"),
        (pd.Series(["a: "]), {"max_new_tokens": 0}, "max_new_tokens is 0"),
        (pd.Series(["a: "]), {"temperature": 0}, "temperature is 0"),
        (pd.Series(["a: "]), {"temperature": np.nan}, "temperature is nan"),
        (pd.Series(["a: "]), {"seed": -1}, "seed is -1"),
        (pd.Series({"n": "a"}), {"method": "greedy", "max_new_tokens": 256}, "row 'n' has 258"),
        (pd.Series(["a: "]), {"method": "sample", "batch_size": 0}, "batch_size is 0"),
    ],
)
def test_bad_questions_are_refused(prompts, options, message):
    with pytest.raises(InputError, match=message):
        gi.geollm.predict(random_model("llama", tokenizer("split")), prompts, **options)


@pytest.mark.parametrize("method", ["expectation", "greedy"])
def test_a_name_is_no_model(method):
    told = (
        r"the model is a str; it must be loaded, as by geointerp\.models\.load, or a geollm\.Server"
    )
    with pytest.raises(InputError, match=told):
        gi.geollm.predict("toponym", pd.Series(["a: "]), method=method)


def test_a_server_has_a_distribution_of_its_own():
    server = gi.geollm.Server("http://127.0.0.1:1/v1", "m")
    with pytest.raises(
        InputError, match="the model is a Server, which has a `distribution` of its"
    ):
        gi.geollm.distribution(server, pd.Series(["a: "]))


def test_the_mode_is_the_rating_when_it_is_asked_for():
    prompts, model = asked(), random_model("llama", tokenizer("split"))
    mean, mode = (gi.geollm.predict(model, prompts, method=m) for m in ("expectation", "mode"))
    assert mode["rating"].equals(mean["mode"])
    assert (mode["rating"] != mean["rating"]).all()
    pd.testing.assert_frame_equal(mode.drop(columns="rating"), mean.drop(columns="rating"))


class Scripted:
    """A tokenizer's model that answers with a script, whatever it is asked."""

    def __init__(self, monkeypatch, texts):
        def generate(model, prompts, **options):
            self.options = options
            return pd.Series([texts[i] for i in prompts.index], index=prompts.index, dtype=object)

        monkeypatch.setattr("geointerp.geollm.ratings.predict.generate", generate)


def test_texts_become_ratings_and_what_cannot_be_read_is_said(monkeypatch, caplog):
    texts = {"a": ["7.3"], "b": ["My answer is 4.5."], "c": ["a lot"]}
    script = Scripted(monkeypatch, texts)
    found = gi.geollm.predict(None, pd.Series(texts).map(str), method="greedy", seed=7)
    assert list(found.columns) == ["rating", "text", "n_read", "reason"]
    assert found["rating"].tolist()[:2] == [7.3, 4.5]
    assert np.isnan(found.loc["c", "rating"])
    assert found["n_read"].tolist() == [1, 1, 0]
    assert found["reason"].tolist() == ["", "", "it gives no number"]
    assert found["text"].tolist() == ["7.3", "My answer is 4.5.", "a lot"]
    assert script.options["samples"] is None
    assert script.options["seed"] == 7
    assert not caplog.messages


def test_the_rating_of_samples_is_the_mean_of_those_that_were_read(monkeypatch, caplog):
    texts = {"a": ["1.0", "x", "2.0", "x", "99"], "b": ["x"] * 5}
    script = Scripted(monkeypatch, texts)
    found = gi.geollm.predict(None, pd.Series(texts).map(str), method="sample")
    assert found.loc["a", "rating"] == 1.5
    assert found.loc["a", "n_read"] == 2
    assert found.loc["a", "reason"] == (
        "2 of 5: it gives no number; 1 of 5: it gives 99; a rating is 0.0 to 9.9, with one decimal"
    )
    assert found.loc["a", "text"] == texts["a"]
    assert np.isnan(found.loc["b", "rating"])
    assert script.options["samples"] == 5
    assert caplog.messages == ["of 10 answers only 2 give a rating"]


def test_what_rates_by_itself_is_asked_to(monkeypatch):
    class Server:
        def predict(self, prompts, *, method, samples, temperature, max_new_tokens, seed):
            return prompts, method, samples, temperature, max_new_tokens, seed

    given = {"samples": 3, "temperature": 0.5, "max_new_tokens": 9, "seed": 2}
    said = gi.geollm.predict(Server(), "prompts", method="sample", **given)
    assert said == ("prompts", "sample", 3, 0.5, 9, 2)
    with pytest.raises(InputError, match="leave chat out"):
        gi.geollm.predict(Server(), "prompts", chat=gi.geollm.Chat())
    with pytest.raises(InputError, match="temperature is 0"):
        gi.geollm.predict(Server(), "prompts", temperature=0)


def test_greedy_text_and_the_mode_agree_where_the_model_gives_a_rating():
    """Ratings are single tokens here, and the model is made to say nothing else."""
    prompts = pd.Series([f"{task}: " for task in ("GDP", "Population", "Rain", "Scale", "Q")])
    words = tokenizer("whole")
    model = random_model("llama", words)
    ratings = set(words.convert_tokens_to_ids(WORDS))

    def only_ratings(module, inputs, output):
        others = [i for i in range(output.shape[-1]) if i not in ratings]
        output[..., others] = -1e4
        return output

    model.model.lm_head.register_forward_hook(only_ratings)
    mode = gi.geollm.predict(model, prompts, method="mode")
    greedy = gi.geollm.predict(model, prompts, method="greedy", max_new_tokens=1)
    assert greedy["rating"].equals(mode["mode"])
    assert greedy["rating"].nunique() > 1
    many = {"samples": 400, "max_new_tokens": 1}
    sampled = gi.geollm.predict(model, prompts, method="sample", **many)
    mean = gi.geollm.predict(model, prompts, method="expectation")
    distribution = gi.geollm.distribution(model, prompts)
    squares = distribution @ (distribution.columns.to_numpy() ** 2)
    error = np.sqrt((squares - mean["rating"] ** 2) / 400)
    assert ((sampled["rating"] - mean["rating"]).abs() < 3.5 * error).all()
    assert (sampled["n_read"] == 400).all()
