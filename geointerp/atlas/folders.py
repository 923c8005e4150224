"""The folder of an atlas: replaced whole or not at all, and nothing else is."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geointerp import cards
from geointerp.errors import InputError

MAKER = "geointerp.atlas.write"
DATA = "data"
_FILES = {"index.html", "card.json", "card.md", DATA}
_PAYLOAD = re.compile(r"[a-z0-9-]+\.js")


def check(target: Path) -> None:
    """Refuse whatever is there unless it is an atlas, and nothing but one."""
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target}: it is a file; an atlas is a folder.")
    names = {path.name for path in target.iterdir()}
    if not names:
        return
    try:
        card = cards.read(target)
        made_by = card.get("made by", {}).get("function")
    except (OSError, ValueError, AttributeError):
        made_by = None
    if made_by != MAKER:
        raise InputError(f"{target}: it holds something other than an atlas; choose another out.")
    strange = names - _FILES
    if (target / DATA).is_dir():
        inside = {path.name for path in (target / DATA).iterdir()}
        strange |= {f"{DATA}/{name}" for name in inside if not _PAYLOAD.fullmatch(name)}
    if strange:
        raise InputError(
            f"{target}: beside the atlas it holds {min(strange)}, which would be lost; "
            "move it or choose another out."
        )


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """A folder to write to, which becomes `target` when the context ends without an error.

    What had the name before goes only when that is done, and stays if an error ends the context.
    """
    part = target.with_name(f".{target.name}.partial")
    shutil.rmtree(part, ignore_errors=True)
    (part / DATA).mkdir(parents=True)
    try:
        yield part
        _rename(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _rename(part: Path, target: Path) -> None:
    before = target.with_name(f".{target.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    if target.exists():
        os.replace(target, before)
    try:
        os.replace(part, target)
    except OSError:
        if before.exists():
            os.replace(before, target)
        raise
    shutil.rmtree(before, ignore_errors=True)
