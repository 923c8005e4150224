"""The shell: commands parsed from signatures, and one line for whatever is wrong."""

from __future__ import annotations

import functools
import inspect
import logging
import operator
import os
import sys
import warnings
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, auto_cli

from geointerp.errors import InputError

_NOISY = ("anndata", "httpx", "huggingface_hub", "matplotlib", "sae_lens", "transformers")


def run(commands: dict[str, Any], arguments: list[str], *, version: str, description: str) -> None:
    """Run a command: exit code 0 when its artefact is whole, 2 for bad input.

    Parameters
    ----------
    commands : dict
        Functions by name, or such dicts of them.
    arguments : list of str
    version, description : str
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        auto_cli(
            commands,
            args=[_underscored(part) for part in arguments],
            parser_class=_parser_of(commands),
            prog="geointerp",
            allow_abbrev=False,
            version=version,
            description=description,
        )
    except InputError as error:
        _stop(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _stop(f"{where}{error.strerror or error}.")
    except KeyboardInterrupt:
        print("geointerp: interrupted", file=sys.stderr)
        sys.exit(130)


def _parser_of(commands: dict[str, Any]) -> type[ArgumentParser]:
    class Parser(ArgumentParser):
        """Says what is wrong in one line."""

        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            _, missing, keys = str(message).partition("the following arguments are required: ")
            if missing:
                words = [_as_typed(key, commands) for key in keys.split(", ")]
                message = f"{' and '.join(words)} {'is' if len(words) == 1 else 'are'} required."
            _stop(str(message))

    return Parser


def _underscored(part: str) -> str:
    """Options may be written either way: --min-population, --min_population."""
    option, equals, value = part.partition("=")
    if not option.startswith("--"):
        return part
    return "--" + option[2:].replace("-", "_") + equals + value


def _as_typed(key: str, commands: dict[str, Any]) -> str:
    """How a parameter is written in the shell, from its path: sae.train.layer is --layer."""
    *path, name = key.split(".")
    function: Any = functools.reduce(operator.getitem, path, commands)
    option = inspect.signature(function).parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    return "--" + name.replace("_", "-") if option else name.upper()


def _stop(text: str) -> NoReturn:
    """End with one line that says what is wrong with the input."""
    print("geointerp:", *text.split(), file=sys.stderr)
    sys.exit(2)
