import numpy as np
import pytest
import torch
from geollm_helpers import asked, brute_force, soft, tokenizer
from transformers import (
    BertConfig,
    BertLMHeadModel,
    BertModel,
    T5Config,
    T5ForConditionalGeneration,
)

import geointerp as gi
from geointerp.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


def test_models_that_do_not_say_the_next_token_are_refused():
    prompts = asked()
    words = tokenizer("split")
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    encoder = BertModel(BertConfig(vocab_size=len(words), intermediate_size=8, **small))
    both = T5ForConditionalGeneration(
        T5Config(vocab_size=len(words), d_model=8, d_kv=8, d_ff=8, num_layers=1, num_heads=1)
    )
    for model, name in ((encoder, "BertModel"), (both, "T5ForConditionalGeneration")):
        with pytest.raises(InputError, match=f"{name} .* causal language model"):
            gi.geollm.predict(gi.models.wrap(model.eval(), words), prompts)


def test_an_encoder_under_a_language_modelling_head_is_refused():
    prompts = asked()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer("split")),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.4,
    )
    encoder = gi.models.wrap(BertLMHeadModel(config).eval(), tokenizer("split"))
    with pytest.raises(InputError, match="BertLMHeadModel sees the tokens that come after"):
        gi.geollm.predict(encoder, prompts)
    config.is_decoder = True
    decoder = gi.models.wrap(BertLMHeadModel(config).eval(), tokenizer("split"))
    expected = soft(brute_force(decoder, prompts["prompt"].iloc[0]))
    found = gi.geollm.distribution(decoder, prompts[:1]).iloc[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
