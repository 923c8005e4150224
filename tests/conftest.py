"""What several tests share: places, the embedded model, and tiny models of random weights."""

import filecmp
import os

# read when transformers is imported
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import geopandas as gpd
import numpy as np
import pytest
import torch
from hypothesis import settings
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

import geointerp as gi

# the same examples in every run; HYPOTHESIS_PROFILE=explore draws new ones
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


# the longest first, as a worker that is given one of them last would leave the other idle
LONGEST = [
    "test_notebooks",
    "test_saes_training",
    "test_studies",
    "test_docs",
    "test_atlas_browser",
    "test_processes",
]


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def toponym():
    return gi.models.load("toponym", device="cpu")


@pytest.fixture(scope="module")
def one_thread():
    """Tiny models gain nothing by a second thread, and wait for it on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def cities():
    """Two hundred large cities, GeoNames."""
    return gi.places.load("geonames", min_population=1_500_000, limit=200)


@pytest.fixture
def few():
    """Five places, on an index of words."""
    return gpd.GeoDataFrame(
        {
            "name": ["Toulouse", "São Paulo", "Zürich", "Llanfairpwllgwyngyll", "東京"],
            "country": ["FR", "BR", "CH", "GB", "JP"],
            "population": [504_078, 12_400_232, 341_730, 3_107, 9_733_276],
        },
        geometry=gpd.points_from_xy(
            [1.444, -46.636, 8.55, -4.2, 139.69], [43.604, -23.547, 47.367, 53.22, 35.69]
        ),
        crs="EPSG:4326",
        index=["a", "b", "c", "d", "e"],
    )


def tiny(kind, tokenizer):
    """A random model of an architecture with absolute or rotary positions, or an encoder."""
    torch.manual_seed(0)
    size = len(tokenizer)
    if kind == "gpt2":
        config = GPT2Config(vocab_size=size, n_embd=32, n_layer=3, n_head=2, n_positions=128)
        model = GPT2LMHeadModel(config)
    elif kind == "llama":
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=size,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=2,
                max_position_embeddings=128,
            )
        )
    else:
        model = BertModel(
            BertConfig(
                vocab_size=size,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=2,
                max_position_embeddings=128,
            )
        )
    return gi.models.wrap(model.eval(), tokenizer)


@pytest.fixture(params=["gpt2", "llama", "bert"])
def model(request, toponym):
    return tiny(request.param, toponym.tokenizer)


@pytest.fixture
def gpt2(toponym):
    return tiny("gpt2", toponym.tokenizer)


def same_tree(a, b):
    """Whether two folders hold the same files, byte by byte."""
    files = sorted(p.relative_to(a) for p in a.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(b) for p in b.rglob("*") if p.is_file())
    return all(filecmp.cmp(a / p, b / p, shallow=False) for p in files)


def synthetic_acts(n=300, layers=2, hidden=12, noise=0.1, seed=0):
    """Activations of places all over the world: layer 0 is noise, the last knows lon and lat."""
    import xarray as xr

    random = np.random.default_rng(seed)
    lon, lat = random.uniform(-180, 180, n), np.degrees(np.arcsin(random.uniform(-1, 1, n)))
    values = random.normal(size=(n, layers, hidden))
    truth = np.stack([lon / 100, lat / 50], axis=1) @ random.normal(size=(2, hidden))
    values[:, -1] = truth + noise * values[:, -1] + 100
    return xr.DataArray(
        values.astype(np.float32),
        dims=("place", "layer", "hidden"),
        coords={
            "place": np.arange(n),
            "layer": np.arange(layers),
            "name": ("place", [f"p{i}" for i in range(n)]),
            "lon": ("place", lon),
            "lat": ("place", lat),
            "country": ("place", [f"c{int(v) // 40}" for v in lon + 180]),
            "population": ("place", np.exp(truth[:, 0])),
        },
    )
