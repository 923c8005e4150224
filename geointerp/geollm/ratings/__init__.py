"""Ratings of a local language model: all their probabilities, or what it writes."""
