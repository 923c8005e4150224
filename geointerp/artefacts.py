"""Artefacts: a file or folder that stands under its name only when it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geointerp.errors import InputError


def refuse_existing(out: Path) -> None:
    """Raise `InputError` where something stands under a name, or nothing can be written."""
    if out.exists():
        raise InputError(f"{out}: it exists already; choose another output or delete it.")
    above = next(p for p in out.absolute().parents if p.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"{out}: nothing can be written in {above}; choose another output.")


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A hidden name to write to, which becomes `out` when the context ends without an error.

    Parameters
    ----------
    out : Path
        A file or folder that does not exist; the folders above it are made.

    Yields
    ------
    Path
        Beside `out`, of the same suffix; nothing stands there yet. It is removed if an
        error ends the context.

    Raises
    ------
    InputError
        If something stands under the name, or nothing can be written there.
    """
    refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.stem}.partial{out.suffix}")
    _remove(part)
    try:
        yield part
        os.replace(part, out)
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
