"""The ways of asking for a rating."""

from __future__ import annotations

import math

from geointerp.errors import InputError

SCORED = ("expectation", "mode")
METHODS = (*SCORED, "greedy", "sample")


def check(method: str, *, samples: int, temperature: float, max_new_tokens: int, seed: int) -> None:
    """Refuse what `geollm.predict` and `Server.predict` could not follow.

    Raises
    ------
    InputError
        A method that is not known; samples or max_new_tokens below 1; a temperature that is not
        above 0; a seed below 0.
    """
    if method not in METHODS:
        raise InputError(f"method is {method!r}; it must be one of {', '.join(METHODS)}.")
    for name, count in (("samples", samples), ("max_new_tokens", max_new_tokens)):
        if count < 1:
            raise InputError(f"{name} is {count}; it must be 1 or more.")
    if not 0 < temperature < math.inf:
        raise InputError(
            f"temperature is {temperature}; it must be above 0 (method='greedy' is what it "
            "comes to at 0)."
        )
    if seed < 0:
        raise InputError(f"seed is {seed}; it must be 0 or more.")
