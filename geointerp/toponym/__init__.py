"""The embedded model: a small language model of the world's cities, trained from nothing."""

from pathlib import Path


def directory() -> Path:
    """The folder of its config, tokenizer, weights and model card."""
    return Path(__file__).parent / "weights"
