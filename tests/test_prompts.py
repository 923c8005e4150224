import re
import unicodedata

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from geointerp import prompts
from geointerp.errors import InputError


def test_the_span_is_the_name(few):
    table = prompts.render(few, "In {country}, {name} is near")
    assert table.index.tolist() == list("abcde")
    for name, (prompt, start, end) in zip(few["name"], table.itertuples(index=False), strict=True):
        assert prompt[start:end] == name
        assert prompt.endswith(f"{name} is near")


def test_the_span_is_not_found_by_searching(few):
    # the name's text stands in the prompt before the name does
    few["country"] = few["name"]
    table = prompts.render(few, "{country}: {name}")
    name = few["name"].iloc[0]
    assert table["start"].iloc[0] == len(name) + 2


def test_the_last_of_two_occurrences(few):
    table = prompts.render(few, "{name}, yes {name}!")
    prompt, start, end = table.iloc[0]
    assert (start, end) == (len("Toulouse, yes "), len(prompt) - 1)


def test_a_field_is_whatever_a_column_is_called(few):
    named = few.assign(**{"name:fr": "Tolosa", "Local Name!r": "T"})
    rendered = prompts.render(named, "{name:fr}, {Local Name!r}: {name}")
    assert rendered["prompt"].iloc[0] == "Tolosa, T: Toulouse"


def test_braces_can_be_escaped(few):
    assert prompts.render(few, "{{{name}}}")["prompt"].iloc[0] == "{Toulouse}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{name} in {planet}", "no column 'planet'; there are name, country, population"),
        ("{name} at {geometry}", "no column 'geometry'; there are name, country, population"),
        ("near", "no {name} in it"),
        ("{name", "expected '}'"),
        ("{name} {name.__class__}", "no column 'name.__class__'"),
        ("{name} {name!r}", "no column 'name!r'"),
        ("{name:>10}", "no {name} in it"),
        ("{} {name}", "{} names no column"),
    ],
)
def test_bad_templates(few, template, said):
    with pytest.raises(InputError) as caught:
        prompts.render(few, template)
    assert said in str(caught.value)


def test_a_missing_value(few):
    few.loc["b", "country"] = None
    with pytest.raises(InputError, match="place 'b' has no value for 'country'"):
        prompts.render(few, "{name}, {country}")


def test_tokens_of_the_name(few, toponym):
    tokenizer = toponym.tokenizer
    for template in ("{name}", "{name} is near", "near {name}, {country}", "({name})"):
        for name, tokens in zip(
            few["name"], prompts.tokenize(prompts.render(few, template), tokenizer), strict=True
        ):
            inside = tokenizer.decode(tokens.ids[tokens.first : tokens.last + 1])
            before = tokenizer.decode(tokens.ids[: tokens.first])
            after = tokenizer.decode(tokens.ids[tokens.last + 1 :])
            assert name in inside
            assert name[0] not in before.removeprefix("<s>").replace("near", "")
            assert name[-1] not in after.replace("is near", "") or template.count("{") > 1


def test_bos_is_not_the_name(few, toponym):
    for tokens in prompts.tokenize(prompts.render(few, "{name}"), toponym.tokenizer):
        assert tokens.ids[0] == toponym.tokenizer.bos_token_id
        # at most the space that the tokenizer puts before every text stands between
        assert toponym.tokenizer.decode(tokens.ids[1 : tokens.first]).strip() == ""
        assert tokens.first >= 1


@settings(max_examples=60)
@given(name=st.text(min_size=1, max_size=12).filter(lambda s: s.strip()))
def test_any_script(toponym, name):
    # every character of the name is in a token of the span, and none outside it
    import geopandas as gpd

    places = gpd.GeoDataFrame({"name": [name]}, geometry=gpd.points_from_xy([0], [0]), crs=4326)
    table = prompts.render(places, "<{name}>")
    (tokens,) = prompts.tokenize(table, toponym.tokenizer)
    encoded = toponym.tokenizer("<" + name + ">", return_offsets_mapping=True)
    start, end = table["start"].iloc[0], table["end"].iloc[0]
    for position, (a, b) in enumerate(encoded["offset_mapping"]):
        if b > a:
            assert (tokens.first <= position <= tokens.last) == (a < end and b > start)


def test_a_name_that_vanishes(few, toponym):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordLevel({"[UNK]": 0, "Toulouse": 1, "near": 2}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]")
    with pytest.raises(InputError, match="place 'b': the tokenizer keeps nothing of its name 'São"):
        prompts.tokenize(prompts.render(few, "{name} near"), tokenizer)


def test_the_special_tokens_of_an_encoder_are_in_no_pool(few):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[CLS]", "[SEP]", "Toulouse", "is", "near"]
    plain = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="near"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, cls_token="[CLS]", sep_token="[SEP]"
    )
    (tokens,) = prompts.tokenize(prompts.render(few.iloc[:1], "{name} is near"), tokenizer)
    assert tokens.ids == [0, 2, 3, 4, 1]
    assert prompts.pooled_positions([tokens], "prompt_last") == [(3, 3)]
    assert prompts.pooled_positions([tokens], "prompt_mean") == [(1, 3)]


def test_a_name_is_never_read_as_a_special_token(few, toponym):
    few.loc["c", "name"] = "Zür</s>ich"
    with pytest.raises(InputError, match="place 'c': its name 'Zür</s>ich' holds '</s>'"):
        prompts.tokenize(prompts.render(few, "{name}"), toponym.tokenizer)


def test_special_tokens_of_every_sort_are_seen(few, toponym):
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    # as GPT-2's: the token for the end is the one for the unknown, and others are added
    plain = Tokenizer.from_str(toponym.tokenizer.backend_tokenizer.to_str())
    plain.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    plain.add_special_tokens([AddedToken("<|eot_id|>", special=True)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, eos_token="<|endoftext|>", unk_token="<|endoftext|>"
    )
    for text in ("<|endoftext|>", "<|eot_id|>"):
        few.loc["c", "name"] = f"Zür{text}ich"
        with pytest.raises(InputError, match="which the tokenizer reads as a special token"):
            prompts.tokenize(prompts.render(few, "{name}"), tokenizer)


# characters of one piece that a reader sees
WHOLE = st.characters(exclude_categories=["C", "M"]).filter(
    lambda c: (
        unicodedata.normalize("NFKD", c.casefold()).isprintable()
        and not any(map(unicodedata.combining, unicodedata.normalize("NFKD", c)))
    )
)


@pytest.mark.parametrize("text", ["</s>", "<pad>", "<extra_id_7>"])
def test_special_tokens_of_a_tokenizer_that_does_not_mark_them(few, text):
    from transformers import ByT5Tokenizer

    few.loc["c", "name"] = f"Zür {text}"
    with pytest.raises(InputError, match="which the tokenizer reads as a special token"):
        prompts.tokenize(prompts.render(few, "in {name}"), ByT5Tokenizer())


@settings(max_examples=60)
@given(name=st.text(WHOLE, min_size=1, max_size=8).filter(lambda s: s.strip()))
@example(name="a</sb>")
def test_a_tokenizer_of_bytes_without_offsets(name):
    # its tokens are the bytes of UTF-8, so that most names are split inside characters
    import geopandas as gpd
    from transformers import ByT5Tokenizer

    places = gpd.GeoDataFrame({"name": [name]}, geometry=gpd.points_from_xy([0], [0]), crs=4326)
    table = prompts.render(places, "in {name}, near")
    tokenizer = ByT5Tokenizer()
    assume(not any(special in name for special in tokenizer.all_special_tokens))
    (tokens,) = prompts.tokenize(table, tokenizer)
    start, length = len(b"in "), len(name.encode())
    # a space at an end of the name may be left to the token beside it
    first = start + len(name) - len(name.lstrip())
    assert tokens.first in range(start, first + 1)
    inside = name.rstrip().encode()
    assert tokens.last >= start + len(inside) - 1
    assert tokens.last < start + length
    assert (tokens.begin, tokens.end) == (0, len(tokens.ids) - 2)


def test_a_slow_tokenizer_that_folds_case_and_diacritics(few):
    from transformers import PythonBackend

    class Folding(PythonBackend):
        """Words in lower case without diacritics, cut after three letters."""

        def __init__(self, **options):
            self.words = {"[UNK]": 0}
            super().__init__(unk_token="[UNK]", **options)

        vocab_size = property(lambda self: len(self.words))

        def get_vocab(self):
            return dict(self.words)

        def _tokenize(self, text, **_):
            found = []
            for word in re.findall(r"\w+|[^\w\s]", lowered(text)):
                found += [word[:3], *(f"##{word[a : a + 3]}" for a in range(3, len(word), 3))]
            for piece in found:
                self.words.setdefault(piece, len(self.words))
            return found

        def _convert_token_to_id(self, token):
            return self.words.get(token, 0)

        def _convert_id_to_token(self, index):
            return list(self.words)[index]

        def convert_tokens_to_string(self, tokens):
            return " ".join(tokens).replace(" ##", "")

    def lowered(text):
        parts = unicodedata.normalize("NFKD", text.lower())
        return "".join(c for c in parts if not unicodedata.combining(c))

    few = few.iloc[:4]
    tokenizer = Folding()
    found = prompts.tokenize(prompts.render(few, "{country}: {name} is near"), tokenizer)
    said = [tokenizer.decode(t.ids[t.first : t.last + 1]) for t in found]
    assert said == ["toulouse", "sao paulo", "zurich", "llanfairpwllgwyngyll"]


def test_pools(few, toponym):
    (tokens, *_) = prompts.tokenize(prompts.render(few, "{name} is near"), toponym.tokenizer)
    size = len(tokens.ids)
    positions = {
        pool: prompts.pooled_positions([tokens], pool)[0]
        for pool in ("last", "mean", "prompt_last", "prompt_mean")
    }
    assert positions == {
        "last": (tokens.last, tokens.last),
        "mean": (1, tokens.last),
        "prompt_last": (size - 1, size - 1),
        # BOS is in no mean
        "prompt_mean": (1, size - 1),
    }
    assert tokens.last == size - 3
    with pytest.raises(InputError, match="pool is 'max'"):
        prompts.pooled_positions([tokens], "max")


def test_what_the_tokenizer_does_not_know_is_part_of_a_name(few, caplog):
    from tokenizers import Tokenizer, models
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = ["[UNK]", "Party", "Town", "near"]
    plain = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    plain.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]")
    for name, span in (("Ⅻ Town", (0, 1)), ("Town Ⅻ", (0, 1)), ("Party Ⅻ Town", (0, 2))):
        rendered = prompts.render(few.iloc[:1].assign(name=name), "{name} near")
        (tokens,) = prompts.tokenize(rendered, tokenizer)
        assert (tokens.first, tokens.last) == span
    assert "1 names hold something that the tokenizer does not know" in caplog.text


def test_a_mark_for_a_space_says_nothing_of_a_name(few):
    from tokenizers import Tokenizer, decoders, models
    from tokenizers.pre_tokenizers import Metaspace
    from transformers import PreTrainedTokenizerFast

    # as SentencePiece without bytes: 北京 is the mark for the space before it, and the unknown
    vocabulary = [("<unk>", 0.0), ("▁", -1.0), ("▁P", -1.0), ("a", -1.0), ("r", -1.0)]
    plain = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    plain.pre_tokenizer = Metaspace()
    plain.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>")
    for template in ("{name}", "Par {name}"):
        rendered = prompts.render(few.iloc[:1].assign(name="北京"), template)
        with pytest.raises(InputError, match="keeps nothing of its name '北京'"):
            prompts.tokenize(rendered, tokenizer)
    rendered = prompts.render(few.iloc[:1].assign(name="Par京"), "{name}")
    (tokens,) = prompts.tokenize(rendered, tokenizer)
    assert tokens.ids[tokens.first : tokens.last + 1] == [2, 3, 4, 0]
