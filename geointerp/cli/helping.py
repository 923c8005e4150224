"""Help: what the docstrings say of each command, as it is typed in a shell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from jsonargparse import DefaultHelpFormatter

_ELSEWHERE = re.compile(r"^( *)(\w+): As for `geointerp ([\w ]+)`\.( .*)?$", re.MULTILINE)
_OPTION = re.compile(r"--[a-z]\w*\b")


class Formatter(DefaultHelpFormatter):
    """What an option means, and what it is if it is not given; types are told in words."""

    def _get_help_string(self, action: Any) -> str:
        said = action.help or ""
        if not action.option_strings or action.default in (None, "==SUPPRESS=="):
            return said
        return f"{said} (default: %(default)s)"


def functions(commands: dict[str, Any], path: str = "") -> Iterator[tuple[str, Callable]]:
    """Every command with the words that call it, such as "sae train"."""
    for name, command in commands.items():
        if name == "_help":
            continue
        words = f"{path} {name}".strip()
        if isinstance(command, dict):
            yield from functions(command, words)
        else:
            yield words, command


def write_out(commands: dict[str, Any]) -> None:
    """Replace "As for `geointerp places`." in docstrings by what is said there.

    A docstring says an option once; a person who asks for help should not have to ask twice.
    """
    known = dict(functions(commands))
    for function in known.values():
        while _ELSEWHERE.search(function.__doc__ or ""):
            function.__doc__ = _ELSEWHERE.sub(
                lambda found: _said_of(known[found[3]], found[2], found[1]) + (found[4] or ""),
                function.__doc__ or "",
            )


def _said_of(function: Callable, parameter: str, indent: str) -> str:
    """The lines of a docstring that tell of a parameter."""
    lines = (function.__doc__ or "").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{indent}{parameter}: "))
    told = [lines[start]]
    for line in lines[start + 1 :]:
        if not line.startswith(indent + " "):
            break
        told.append(line)
    return "\n".join(told)


def as_typed(text: str) -> str:
    """Help with hyphens in options, and flags that stand alone."""
    text = _OPTION.sub(lambda found: found[0].replace("_", "-"), text)
    text = re.sub(r", --[a-z-]+\+ [A-Z_\[\], .]+$", "", text, flags=re.MULTILINE)
    return text.replace(" {true,false}", "")
