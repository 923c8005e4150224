"""Trouble with a server: what it may be, and how long it wants to be left alone."""

from __future__ import annotations

import email.utils
import math
import time

_PASSING = (408, 409, 425, 429)


class Trouble(Exception):
    """A request that was not answered.

    Parameters
    ----------
    what : str
        Goes on from "the server": "answers 429", say.
    passing : bool
        Whether the same request may be answered another time.
    wait : float, optional
        The seconds that the server asks everybody to wait.
    """

    def __init__(self, what: str, *, passing: bool = True, wait: float | None = None) -> None:
        super().__init__(what)
        self.passing, self.wait = passing, wait


def passes(status: int) -> bool:
    """Whether another try may go otherwise; the rest of 4xx is the request's own fault."""
    return status in _PASSING or status >= 500


def retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
