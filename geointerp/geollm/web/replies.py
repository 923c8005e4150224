"""Replies: what a server sends, read within bounds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from geointerp.errors import InputError
from geointerp.geollm.prompting.templates import one_line
from geointerp.geollm.web.trouble import Trouble

LARGEST = 64 * 2**20
_LONGEST = 86_400.0


def check_timeout(timeout: float) -> None:
    """Raise `InputError` for seconds in which nothing can be answered, or more than a day."""
    if not 0 < timeout <= _LONGEST:
        raise InputError(
            f"timeout is {timeout!r}; it must be more than 0 s and at most {_LONGEST:g}."
        )


def receive(
    parts: Iterable[bytes], *, start: float, timeout: float, most: int | None = None
) -> bytes:
    """The whole of a reply that is neither too long nor too slow.

    Parameters
    ----------
    parts : iterable of bytes
    start : float
        When it was asked for, by `time.monotonic`.
    timeout : float
        Seconds from then that it may take.
    most : int, optional
        After so many bytes it may be cut off.

    Raises
    ------
    Trouble
    """
    raw = bytearray()
    for part in parts:
        raw += part
        if most is not None and len(raw) > most:
            break
        if len(raw) > LARGEST:
            raise Trouble(f"sends more than {LARGEST // 2**20} MB")
        if time.monotonic() > start + timeout:
            raise Trouble(f"has not done answering after {timeout:g} s")
    return bytes(raw)


def read(raw: bytes | str, reader: Callable[[Any], Any]) -> Any:
    """What a reader makes of a reply in JSON.

    Raises
    ------
    Trouble
        No JSON, or JSON of another shape, of which the reader raises ValueError, TypeError,
        LookupError or AttributeError.
    """
    try:
        return reader(json.loads(raw))
    except InputError:
        raise
    except json.JSONDecodeError:
        raise Trouble("gives no JSON") from None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise Trouble(f"gives an answer of another shape ({type(error).__name__})") from None


def text(value: Any) -> str:
    """A text out of JSON, as a file can hold it; TypeError where it is none."""
    if not isinstance(value, str):
        raise TypeError("no text")
    # half a surrogate pair is no text
    return value.encode("utf-8", "replace").decode()


def said(what: object) -> str:
    """What somebody else says, on one short line."""
    return one_line(str(what))[:200] or type(what).__name__
