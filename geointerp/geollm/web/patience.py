"""Patience: how often, and how far apart, a server is asked for what it has not answered."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from geointerp.errors import InputError
from geointerp.geollm.web.trouble import Trouble

log = logging.getLogger(__name__)

TRIES = 7
BACK_OFF = 1.0
LONGEST_REST = 600.0
"""Seconds of rest that are sat out; a server that asks for more is not asked again in this run."""


class Patience:
    """What is left of it with a server that has not answered one question.

    From the first try to the second there are at least `BACK_OFF` seconds, and twice as many
    each time; up to as many again, which the question decides, since those that failed together
    should not come back together; and at least what Retry-After says.

    Parameters
    ----------
    url : str
        How messages call the server.
    name : str
        What the answer will be filed under, in hexadecimal.
    kept : Path or None
        Where answers are kept, if in a file.
    """

    def __init__(self, url: str, name: str, kept: Path | None) -> None:
        self._url, self._name, self._tried = url, name, 0
        self._kept = f"what was answered is kept{f' in {kept}' if kept else ''}"

    def rest(self, trouble: Trouble) -> float:
        """The seconds that the server is to be left alone after a try that had this trouble."""
        share = int(self._name[self._tried : self._tried + 8], 16) / 16**8
        return max(trouble.wait or 0.0, BACK_OFF * 2**self._tried * (1 + share))

    def bear(self, trouble: Trouble) -> float:
        """The same, of a try that ends here.

        Raises
        ------
        InputError
            Trouble that does not pass, the last try, or more rest than `LONGEST_REST`.
        """
        rest = self.rest(trouble)
        self._tried += 1
        if not trouble.passing:
            raise InputError(f"{self._url}: the server {trouble}; {self._kept}.") from None
        if rest > LONGEST_REST:
            raise InputError(
                f"{self._url}: the server {trouble} and asks to be left alone for "
                f"{math.ceil(rest):.15g} s; start again then; {self._kept}."
            ) from None
        if self._tried == TRIES:
            raise InputError(
                f"{self._url}: after {TRIES} tries the server {trouble}; {self._kept}."
            ) from None
        log.info("%s: the server %s (try %d of %d)", self._url, trouble, self._tried, TRIES)
        return rest
