"""Turns: who may ask a host next, among all threads and processes of a user on a machine."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geointerp.errors import InputError
from geointerp.geollm.web.patience import LONGEST_REST

# seconds; a host that asks for more rest may be asked again after so long
_LONGEST_NOTE = 86_400.0
_POLL = 0.02


def cache_folder() -> Path:
    """The user's folder for what can be had again: in XDG_CACHE_HOME, or else in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "geointerp"


class Turns:
    """Turns at a host, one at a time, each with a pause before it.

    Whoever has the turn waits the whole interval before asking. So nobody need know when the
    last request was, not even after a process was killed in the middle of one; from the end of
    one request to the start of the next there is never less than the interval.

    Parameters
    ----------
    host : str
        Its name, and port if it matters.
    interval : float
        Seconds.
    """

    def __init__(self, host: str, interval: float) -> None:
        self._host, self._interval = host, interval

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the turn until the context ends.

        Raises
        ------
        InputError
            If there is no place for a lock.
        """
        from filelock import FileLock

        path = self._file("lock")
        lock = FileLock(path, poll_interval=_POLL)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            raise InputError(
                f"{path}: no lock can be had there ({error}), and without one {self._host} "
                "would be asked too fast; set XDG_CACHE_HOME to a folder of yours."
            ) from error
        try:
            yield
        finally:
            lock.release()
        # long enough for somebody who waits to see it
        time.sleep(2 * _POLL)

    def wait(self) -> None:
        """Return when the host may be asked; to be called in one's turn.

        Raises
        ------
        InputError
            If the host asked for more rest than `LONGEST_REST`.
        """
        left = self._rest() - time.time()
        if left > LONGEST_REST:
            raise InputError(
                f"{self._host}: it asked to be left alone for {left:.0f} s more; start again then."
            )
        time.sleep(max(self._interval, left))

    def rest(self, seconds: float) -> None:
        """Let nobody ask the host for so long, or for a day; to be called in one's turn."""
        until = time.time() + min(seconds, _LONGEST_NOTE)
        self._file("rest").write_text(str(until), "utf-8")

    def _rest(self) -> float:
        """Until when, in seconds since the epoch, since it holds after a restart too."""
        try:
            until = float(self._file("rest").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return 0.0
        # farther off than any that is noted, as when the clock was put back
        return until if until - time.time() < _LONGEST_NOTE + LONGEST_REST else 0.0

    def _file(self, kind: str) -> Path:
        return cache_folder() / "hosts" / f"{re.sub(r'[^a-z0-9.-]', '_', self._host)}.{kind}"
