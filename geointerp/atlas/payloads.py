r"""Data files that a page may load from disk: one call with one text, which only a parser reads.

A page opened from disk may not fetch, but it may load a script. So each file of data is the
script ``geointerpAtlas("name", "…")``, whose second argument is JSON. It is ASCII, and has
``<``, ``>`` and ``&`` as ``\uXXXX``, so that it means the same in any encoding and nothing in HTML.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any


def escaped_json(data: Any) -> str:
    r"""JSON in which nothing means anything to HTML or JavaScript.

    Parameters
    ----------
    data : object
        Of what JSON has; no NaN and no infinity.

    Returns
    -------
    str
        ASCII, with ``<``, ``>`` and ``&`` as ``\uXXXX``.
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", text)


def save(folder: Path, name: str, data: Any) -> None:
    """Write `name`.js into a folder: the call that gives the page this data.

    Parameters
    ----------
    folder : Path
    name : str
        Lower-case letters, digits and hyphens.
    data : object
        As for `escaped_json`.
    """
    text = f'geointerpAtlas("{name}",{json.dumps(escaped_json(data))});\n'
    (folder / f"{name}.js").write_text(text, "ascii", newline="\n")
