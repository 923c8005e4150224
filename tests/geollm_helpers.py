"""Prompts, tokenizers and tiny models that the tests of geollm share."""

import functools

import geopandas as gpd
import numpy as np
import pandas as pd
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    FalconH1Config,
    FalconH1ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

import geointerp as gi
from geointerp.geollm.ratings.scale import RATINGS

WORDS = [f"{r:.1f}" for r in RATINGS]
TEXT = [f"Population Density (On a Scale from 0.0 to 9.9): {word}" for word in WORDS]
KINDS = ["whole", "split", "merged", "uneven"]


def points(*lon_lat, index=None):
    lon, lat = zip(*lon_lat, strict=True)
    return gpd.GeoDataFrame(geometry=gpd.points_from_xy(lon, lat), index=index, crs="EPSG:4326")


class Told:
    """A context that says what it is told, of every point."""

    attribution = "nobody"

    def __init__(self, address, nearby):
        self.parts, self.rows = address, nearby

    def address(self, *, lon, lat):
        return [self.parts] * len(lon)

    def nearby(self, *, lon, lat):
        rows = [(i, *row) for i in range(len(lon)) for row in self.rows]
        return pd.DataFrame(rows, columns=["point", "distance_km", "direction", "name"])


def asked():
    """Four prompts, the first two of one length in tokens."""
    told = Told(("Uíge", "Angola"), [(3.4, "North-East", "Kimbala")])
    places = points((14.9, -5.8), (14.9, -5.9), (7.25, 43.7), (-101.125, 43.7), index=list("dbca"))
    return gi.geollm.prompts(places, task="Population Density", context=told)


@functools.cache
def tokenizer(kind):
    """Byte-level BPE that keeps ratings whole, splits them, merges the space, or varies."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    before = {
        "whole": pre_tokenizers.Split(Regex(r"\d\.\d"), "isolated"),
        "split": pre_tokenizers.Digits(individual_digits=True),
        "merged": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        "uneven": pre_tokenizers.Split(Regex(r"\d\.\d"), "isolated"),
    }[kind]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = before if kind == "merged" else pre_tokenizers.Sequence([before, level])
    made.decoder = decoders.ByteLevel()
    # the uneven one has seen a few ratings, over and over
    texts = [f"{TEXT[73]} {TEXT[4]} {WORDS[5]}"] * 50 if kind == "uneven" else TEXT
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        min_frequency=1 if kind == "whole" else 2,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    single = "<s> $A </s>" if kind == "uneven" else "<s> $A"
    made.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")


def random_model(kind, words):
    """Random weights that are large, so that ratings differ and positions matter."""
    size = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": len(words)}
    size |= {"eos_token_id": words.eos_token_id, "bos_token_id": words.bos_token_id}
    heads = {"intermediate_size": 64, "num_attention_heads": 4, "initializer_range": 0.4}
    torch.manual_seed(0)
    if kind == "gpt2":
        config = GPT2Config(
            vocab_size=len(words),
            n_embd=32,
            n_layer=2,
            n_head=2,
            initializer_range=0.2,
            eos_token_id=words.eos_token_id,
        )
        return gi.models.wrap(GPT2LMHeadModel(config).eval(), words)
    if kind == "mistral":  # looks back 8 tokens only
        config = MistralConfig(**size, **heads, num_key_value_heads=2, sliding_window=8)
        return gi.models.wrap(MistralForCausalLM(config).eval(), words)
    if kind == "mamba":  # has no key-value cache
        config = MambaConfig(**size, state_size=4, initializer_range=0.4)
        return gi.models.wrap(MambaForCausalLM(config).eval(), words)
    if kind == "falcon_h1":  # has one beside a recurrent state
        state = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 4}
        more = {"num_key_value_heads": 2, "mamba_chunk_size": 16}
        config = FalconH1Config(**size, **heads, **state, **more)
        return gi.models.wrap(FalconH1ForCausalLM(config).eval(), words)
    config = LlamaConfig(**size, **heads, max_position_embeddings=256)
    return gi.models.wrap(LlamaForCausalLM(config).eval(), words)


def brute_force(model, text):
    """Log-probability of the whole text with each rating, one by one, with no cache."""
    logs = []
    for word in WORDS:
        ids = model.tokenizer.backend_tokenizer.encode(text + word).ids
        ids = ids[:-1] if ids[-1] == 1 else ids
        with torch.inference_mode():
            steps = model.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        logs.append(sum(steps[i, after].item() for i, after in enumerate(ids[1:])))
    return np.array(logs)


def soft(logs):
    return np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum()
