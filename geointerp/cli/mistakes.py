"""Mistakes: what is wrong with a command, in a sentence, with the nearest right word."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable
from typing import Any

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list[str]": "a list such as [a,b]",
}


def plain(message: str, commands: dict[str, Any], arguments: list[str]) -> str:
    """What the parser says, in words of the shell.

    Parameters
    ----------
    message : str
        As jsonargparse words it.
    commands : dict
        Functions by name, or such dicts of them.
    arguments : list of str
        What was typed.

    Returns
    -------
    str
        A sentence.
    """
    path, command = called(commands, arguments)
    named = f"`{' '.join(['geointerp', *path])}`"
    for pattern, say in (
        (r"invalid choice: '(.*?)' \(choose from", _no_command),
        (r'expected ".*subcommand" to be one of', _which_command),
        (r"arguments are required: (.*)", _required),
        (r"unrecognized arguments: ([^-].*)", _too_many),
        (r"unrecognized arguments: (--[^\s=]+)", _unknown),
        (r"does not accept option '(.*?)'", _unknown),
        (r"argument (--\w+)\S*: expected one argument", _no_value),
        (r'Parser key "([\w.]+)":.*Given value: (.*)', _wrong_kind),
    ):
        if found := re.search(pattern, message, re.DOTALL):
            return say(*found.groups(), named=named, command=command)
    return message


def called(commands: dict[str, Any], arguments: list[str]) -> tuple[list[str], Any]:
    """The words that lead to a command, and the command, or the dict where they end."""
    path: list[str] = []
    command: Any = commands
    for word in arguments:
        if not isinstance(command, dict):
            break
        if word in command and word != "_help":
            path.append(word)
            command = command[word]
    return path, command


def nearest(word: str, right: Iterable[str]) -> str:
    """ "; did you mean …?", or nothing where no word is near."""
    near = difflib.get_close_matches(word, list(right), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _no_command(word: str, *, named: str, command: Any) -> str:
    if callable(command):
        return f"{word!r} comes before {named}; its options come after it."
    known = [name for name in command if name != "_help"]
    hint = nearest(word, known) or f"; it must be one of {', '.join(known)}."
    return f"{named} has no command {word!r}{hint}"


def _which_command(*, named: str, command: Any) -> str:
    known = [name for name in command if name != "_help"]
    return f"{named} needs a command: {', '.join(known)}."


def _required(keys: str, *, named: str, command: Any) -> str:
    words = [_as_typed(key.split(".")[-1], command) for key in keys.split(", ")]
    return f"{' and '.join(words)} {'is' if len(words) == 1 else 'are'} required."


def _too_many(words: str, *, named: str, command: Any) -> str:
    return f"{words.split()[0]!r} is more than {named} takes; `--help` lists what it does."


def _unknown(word: str, *, named: str, command: Any) -> str:
    parameters = inspect.signature(command).parameters if callable(command) else {}
    bare = word.removeprefix("--").replace("_", "-")
    options = [name.replace("_", "-") for name in parameters]
    hint = nearest(bare, options).replace("mean ", "mean --") or "; `--help` lists its options."
    return f"{named} has no option --{bare}{hint}"


def _no_value(option: str, *, named: str, command: Any) -> str:
    return f"{option.replace('_', '-')} needs a value."


def _wrong_kind(key: str, given: str, *, named: str, command: Any) -> str:
    name = key.split(".")[-1]
    kinds = str(inspect.signature(command).parameters[name].annotation).split(" | ")
    wanted = " or ".join(_KINDS[kind] for kind in kinds if kind in _KINDS) or "a text"
    return f"{_as_typed(name, command)} is {given.strip()!r}; it must be {wanted}."


def _as_typed(name: str, command: Any) -> str:
    """How a parameter is written: --min-population, or PLACES where it stands alone."""
    kind = inspect.signature(command).parameters[name].kind
    option = kind is inspect.Parameter.KEYWORD_ONLY
    return "--" + name.replace("_", "-") if option else name.upper()
