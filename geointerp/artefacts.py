"""Artefacts: a file or folder that stands under its name only when it is whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geointerp import cards
from geointerp.errors import InputError


def refuse_existing(out: Path) -> None:
    """Raise `InputError` where something stands under a name, or nothing can be written."""
    if out.exists():
        raise InputError(f"{out}: it exists already; choose another output or delete it.")
    check_folder(out)


def check_folder(out: Path) -> None:
    """Raise `InputError` where the folder of an output is none, or takes no file."""
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise InputError(f"{out}: {folder} is a file; choose an output in a folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{out}: there is no permission to write in {folder}.")


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A place to write to, which becomes `out` when the context ends without an error.

    Parameters
    ----------
    out : Path
        A file or folder that does not exist; the folders above it are made.

    Yields
    ------
    Path
        A path of the same name in an empty, hidden folder beside `out`. What else is written
        into that folder comes to lie beside `out` just before it does. Nothing is left if an
        error ends the context.

    Raises
    ------
    InputError
        If something stands under the name, or nothing can be written there.
    """
    refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{out.name}.", suffix=".partial", dir=out.parent
    ) as scratch:
        part = Path(scratch) / out.name
        yield part
        # nothing is overwritten that came to stand there meanwhile
        refuse_existing(out)
        for made in sorted(part.parent.iterdir(), key=part.__eq__):
            os.replace(made, out.parent / made.name)


def write_file(
    out: Path, writer: Callable[[Path], object], title: str, about: Mapping[str, Any]
) -> None:
    """Write an artefact that is a single file, with its card beside it.

    Parameters
    ----------
    out : Path
        A file that does not exist.
    writer : callable
        Called with a path to write to.
    title : str
        What it is, for the card.
    about : mapping
        What it was made by.
    """
    with whole(out) as part:
        writer(part)
        cards.write(part.parent, title, {"made by": about}, stem=_card(out))


def read_card(out: Path) -> dict[str, Any]:
    """The card of a single file, or an empty dict where it has none."""
    return cards.read(out.parent, stem=_card(out))


def _card(out: Path) -> str:
    return f"{out.name}.card"
