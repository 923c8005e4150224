"""Ratings of a language model behind an OpenAI-compatible server."""
