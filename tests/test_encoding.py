import pandas as pd
import pytest
from geollm_helpers import TEXT, random_model, tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import geointerp as gi
from geointerp.errors import InputError
from geointerp.geollm.ratings.encoding import encode

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("kind", "pieces"),
    [
        ("whole", ["7.3"]),
        ("split", ["7", ".", "3"]),
        ("merged", ["Ġ7", ".", "3"]),
        ("uneven", ["7.3"]),
    ],
)
def test_the_tokenizers_do_with_digits_what_they_are_for(kind, pieces):
    words = tokenizer(kind)
    tokens = words.backend_tokenizer.encode("Scale: 7.3", add_special_tokens=False).tokens
    assert tokens[-len(pieces) :] == pieces
    tails = encode(words, "Scale: ", 0).tails
    lengths = {len(tail) for tail in tails}
    assert lengths == {"whole": {1}, "split": {3}, "merged": {3}, "uneven": {1, 2, 3}}[kind]


def test_special_tokens_in_a_name_are_text():
    words = tokenizer("split")
    text = "a town named </s><s> (On a Scale from 0.0 to 9.9): "
    assert words(text)["input_ids"].count(1) == 1  # it would end the text
    prefix = encode(words, text, 0).prefix
    assert prefix[0] == 0
    assert not {0, 1} & set(prefix[1:])
    assert words.decode(prefix[1:]) == text


def test_an_end_of_text_that_the_tokenizer_adds_is_not_scored():
    words = tokenizer("uneven")
    assert words("7.3")["input_ids"][-1] == 1
    assert not any(1 in tail for tail in encode(words, "Scale: ", 0).tails)


def test_a_prompt_longer_than_the_models_positions_is_named():
    model = random_model("llama", tokenizer("split"))
    prompts = pd.Series({"short": TEXT[0][:-3], "long": "q" * 250 + ": "})
    model.model.config.max_position_embeddings = 255
    with pytest.raises(InputError, match=r"row 'long' has 256 tokens .* takes 255"):
        gi.geollm.predict(model, prompts)
    model.model.config.max_position_embeddings = 256
    assert len(gi.geollm.predict(model, prompts)) == 2


def test_a_tokenizer_that_mixes_ratings_up_is_refused():
    blind = Tokenizer(models.WordLevel({"[UNK]": 0, "rate": 1, ":": 2}, unk_token="[UNK]"))
    blind.pre_tokenizer = pre_tokenizers.Whitespace()
    words = PreTrainedTokenizerFast(tokenizer_object=blind, unk_token="[UNK]")
    with pytest.raises(InputError, match=r"row 'r'.* cannot tell the rating \d\.\d from \d\.\d"):
        gi.geollm.predict(random_model("llama", words), pd.Series({"r": "rate: "}))
