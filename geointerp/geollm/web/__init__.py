"""Asking other people's servers: in turns, as often as they allow, each question once."""
