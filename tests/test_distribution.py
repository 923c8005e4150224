import numpy as np
import pandas as pd
import pytest
import torch
from geollm_helpers import KINDS, WORDS, asked, brute_force, random_model, soft, tokenizer

import geointerp as gi
from geointerp.errors import InputError
from geointerp.geollm.ratings.distribution import summary
from geointerp.geollm.ratings.encoding import encode
from geointerp.geollm.ratings.scale import RATINGS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("kind", KINDS)
def test_distribution_agrees_with_brute_force(kind):
    prompts = asked()
    model = random_model("llama", tokenizer(kind))
    found = gi.geollm.distribution(model, prompts)
    assert list(found.index) == list("dbca")
    assert list(found.columns) == [float(word) for word in WORDS]
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=0, atol=1e-12)
    for row, text in prompts["prompt"].items():
        expected = soft(brute_force(model, text))
        assert expected.max() > 0.02 > 0.005 > expected.min()  # not near uniform
        np.testing.assert_allclose(found.loc[row], expected, rtol=0, atol=1e-5)
    assert np.abs(found.loc["d"] - found.loc["c"]).max() > 1e-3


@pytest.mark.parametrize("architecture", ["gpt2", "mistral", "mamba", "falcon_h1"])
def test_distribution_with_absolute_positions_a_window_or_no_cache(architecture):
    prompts = asked()
    model = random_model(architecture, tokenizer("split"))
    found = gi.geollm.distribution(model, prompts[:2])
    for row, text in prompts["prompt"][:2].items():
        expected = soft(brute_force(model, text))
        assert expected.max() > 0.02
        np.testing.assert_allclose(found.loc[row], expected, rtol=0, atol=1e-5)


def test_a_prompt_is_rated_the_same_in_any_batch():
    prompts = asked()
    model = random_model("llama", tokenizer("split"))
    lengths = [len(encode(model.tokenizer, text, 0).prefix) for text in prompts["prompt"]]
    assert lengths[0] == lengths[1] != lengths[3]
    alone = gi.geollm.distribution(model, prompts["prompt"], batch_size=1)
    together = gi.geollm.distribution(model, prompts, batch_size=8)
    backwards = gi.geollm.distribution(model, prompts[::-1], batch_size=8)
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)
    np.testing.assert_allclose(backwards[::-1], alone, rtol=0, atol=1e-6)


def test_prompts_of_one_length_with_different_tails_are_kept_apart():
    model = random_model("llama", tokenizer("merged"))
    prompts = pd.Series({"spaced": "Scale: ", "bare": "Scale:"})
    encoded = [encode(model.tokenizer, text, 0) for text in prompts]
    assert encoded[0].prefix == encoded[1].prefix
    assert encoded[0].tails != encoded[1].tails
    found = gi.geollm.distribution(model, prompts, batch_size=2)
    for row, text in prompts.items():
        expected = soft(brute_force(model, text))
        np.testing.assert_allclose(found.loc[row], expected, rtol=0, atol=1e-5)


def test_expectation_mode_and_entropy_of_known_distributions():
    table = pd.DataFrame(0.0, index=["sure", "torn", "even"], columns=RATINGS)
    table.loc["sure", 7.3] = 1
    table.loc["torn", [1.0, 2.0, 9.9]] = [0.25, 0.25, 0.5]
    table.loc["even"] = 0.01
    found = summary(table)
    np.testing.assert_allclose(found["rating"], [7.3, 0.25 + 0.5 + 4.95, 4.95], atol=1e-12)
    assert found["mode"].tolist() == [7.3, 9.9, 0.0]
    np.testing.assert_allclose(found["entropy"], [0, 1.5 * np.log(2), np.log(100)], atol=1e-12)
    assert list(found.index) == ["sure", "torn", "even"]


def test_scores_that_are_not_finite_are_refused():
    prompts = asked()
    model = random_model("llama", tokenizer("split"))
    with torch.no_grad():
        model.model.model.norm.weight.fill_(torch.nan)
    with pytest.raises(InputError, match=r"row 'd': .* not finite"):
        gi.geollm.predict(model, prompts)
