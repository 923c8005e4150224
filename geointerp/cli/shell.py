"""The shell: commands parsed from signatures, and one line for whatever is wrong."""

from __future__ import annotations

import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, auto_cli

from geointerp.cli import helping, mistakes
from geointerp.errors import InputError

_NOISY = ("anndata", "httpx", "huggingface_hub", "matplotlib", "sae_lens", "transformers")


def run(
    commands: dict[str, Any], arguments: list[str], *, version: str, description: str, epilog: str
) -> None:
    """Run a command: exit code 0 when its artefact is whole, 2 for bad input.

    Parameters
    ----------
    commands : dict
        Functions by name, or such dicts of them.
    arguments : list of str
        Where there are none, it is told what there is.
    version : str
    description, epilog : str
        What stands above and below the list of commands.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore", category=FutureWarning)
    helping.write_out(commands)
    typed = list(_flagged(arguments, commands)) or ["--help"]
    with _one_line():
        auto_cli(
            commands,
            args=typed,
            parser_class=_parser_of(commands, typed, epilog),
            prog="geointerp",
            allow_abbrev=False,
            version=version,
            description=description,
        )


def study(function: Callable[..., None]) -> None:
    """Run a study with its parameters as options; bad input ends it in one line.

    Parameters
    ----------
    function : callable
        With typed parameters, told in its docstring.
    """
    with _one_line():
        auto_cli(function)


@contextmanager
def _one_line() -> Iterator[None]:
    """End with one line, and no traceback, where the input is wrong."""
    try:
        yield
    except InputError as error:
        _stop(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _stop(f"{where}{error.strerror or error}.")
    except KeyboardInterrupt:
        print("geointerp: interrupted", file=sys.stderr)
        sys.exit(130)


def _parser_of(commands: dict[str, Any], arguments: list[str], epilog: str) -> type[ArgumentParser]:
    class Parser(ArgumentParser):
        """Says what is wrong in one line, and writes options as they are typed."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{"formatter_class": helping.Formatter, **kwargs})

        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            _stop(mistakes.plain(str(message), commands, arguments))

        def format_help(self, *formatter: Any) -> str:
            text = helping.as_typed(super().format_help(*formatter))
            return text + epilog if self.prog == "geointerp" else text

    return Parser


def _flagged(arguments: list[str], commands: dict[str, Any]) -> Iterable[str]:
    """Arguments with underscores in options, as parameters have them, and "=true" after flags."""
    flags = {
        f"--{name}"
        for _, command in helping.functions(commands)
        for name, parameter in inspect.signature(command).parameters.items()
        if parameter.default is False
    }
    for part, after in zip(arguments, [*arguments[1:], ""], strict=False):
        option, equals, value = part.partition("=")
        if option.startswith("--"):
            option = "--" + option[2:].replace("-", "_")
        alone = option in flags and not equals and after not in ("true", "false")
        yield f"{option}=true" if alone else option + equals + value


def _stop(text: str) -> NoReturn:
    """End with one line that says what is wrong with the input."""
    print("geointerp:", *text.split(), file=sys.stderr)
    sys.exit(2)
