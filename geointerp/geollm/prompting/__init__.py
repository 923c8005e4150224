"""Prompts: what is written to the language model about every place."""
