"""What README and docs tell people to type exists: names, parameters, commands, options."""

import ast
import functools
import importlib
import inspect
import re
import shlex
import textwrap
from pathlib import Path

import pytest

from geointerp import cli

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "howto").glob("*.md")),
]
FENCED = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^(?: {4}.*)?\n)*^ {4}.*$", re.MULTILINE)


def blocks(page):
    """The blocks of code of a page."""
    text = page.read_text("utf-8")
    fenced = [body for _, body in FENCED.findall(text)]
    rest = FENCED.sub("", text)
    return [textwrap.dedent(block) for block in [*fenced, *INDENTED.findall(rest)]]


def snippets(page):
    """Its Python, in blocks and in the running text."""
    said = re.findall(r"`(gi\.[^`]+)`", FENCED.sub("", page.read_text("utf-8")).replace("\n", " "))
    return [block for block in [*blocks(page), *said] if re.search(r"\bgi\.", block)]


def named(node):
    """What ``gi.room.name`` stands for, or None if the chain begins elsewhere."""
    chain = []
    while isinstance(node, ast.Attribute):
        chain.append(node.attr)
        node = node.value
    if not (isinstance(node, ast.Name) and node.id == "gi"):
        return None
    found = importlib.import_module("geointerp")
    for name in reversed(chain):
        found = getattr(found, name)
    return found


def wrong(code):
    """What of a snippet is not there."""
    tree = ast.parse(re.sub(r", …(?=[)\]}])", "", code).replace("…", "..."))
    for node in ast.walk(tree):
        try:
            found = named(node.func if isinstance(node, ast.Call) else node)
            if found is None or not isinstance(node, ast.Call):
                continue
            given = {word.arg: None for word in node.keywords if word.arg}
            places = [] if any(isinstance(a, ast.Starred) for a in node.args) else node.args
            places = [a for a in places if not (isinstance(a, ast.Constant) and a.value is ...)]
            inspect.signature(found).bind_partial(*places, **given)
        except (AttributeError, TypeError) as error:
            yield f"{ast.unparse(node)}: {error}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_names_what_there_is(page):
    assert [error for code in snippets(page) for error in wrong(code)] == []


def test_a_page_that_is_wrong_is_seen():
    assert len(list(wrong("gi.spatial.moran(feats, graph, permutation=9)"))) == 1
    assert len(list(wrong("table = gi.spatial.morans(feats)"))) == 2
    assert list(wrong("gi.spatial.moran(…, seed=0)")) == []
    assert sum(len(snippets(page)) for page in PAGES) > 30


def commands(page):
    """Its lines for the shell."""
    for block in blocks(page):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            if line.startswith("geointerp ") and "…" not in line:
                yield shlex.split(line, comments=True)[1:]


def read_only(command, typed):
    """The command with its parameters, which does nothing."""

    @functools.wraps(command)
    def nothing(*args, **kwargs):
        typed.append((command, inspect.signature(command).bind(*args, **kwargs)))

    return nothing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_shell_takes_what_is_typed(page, monkeypatch):
    typed = []
    inert = {
        name: {key: part if key == "_help" else read_only(part, typed) for key, part in of.items()}
        if isinstance(of, dict)
        else read_only(of, typed)
        for name, of in cli._COMMANDS.items()
    }
    monkeypatch.setattr(cli, "_COMMANDS", inert)
    wanted = list(commands(page))
    for arguments in wanted:
        cli.main(arguments)
    assert len(typed) == len(wanted)


def test_the_shell_of_the_docs_is_read():
    found = [tuple(arguments[:2]) for page in PAGES for arguments in commands(page)]
    assert len(found) > 20
    assert {("sae", "train"), ("sae", "encode"), ("atlas", "run")} <= set(found)
