"""Pages made from code: a page for each study, from its docstring, and one for the shell."""

from __future__ import annotations

import ast
from pathlib import Path

ROOMS = {
    "probes": "What do the activations know?",
    "saes": "What do their parts stand for?",
    "analyses": "What do features and ratings say?",
}


def write(root: Path) -> None:
    """Write docs/studies/ and docs/shell.md anew, touching only what changed."""
    docs = root / "docs"
    pages = {docs / "studies" / "index.md": _index(root), docs / "shell.md": _shell()}
    for room in ROOMS:
        for script in sorted((root / room).glob("*.py")):
            pages[docs / "studies" / f"{room}_{script.stem}.md"] = _study(script, docs)
    (docs / "studies").mkdir(exist_ok=True)
    for page, text in pages.items():
        if not page.exists() or page.read_text("utf-8") != text:
            page.write_text(text, "utf-8")
    for old in set((docs / "studies").glob("*.md")) - set(pages):
        old.unlink()


def _index(root: Path) -> str:
    lines = ["# Studies", "", "One question each, asked of any model by a short script.", ""]
    for room, title in ROOMS.items():
        names = sorted(script.stem for script in (root / room).glob("*.py"))
        lines += ["```{toctree}", f":caption: {title}", ":maxdepth: 1", ""]
        lines += [*(f"{room}_{name}" for name in names), "```", ""]
    return "\n".join(lines)


def _study(script: Path, docs: Path) -> str:
    """Question, answer, figures if there are any, and the script."""
    source = script.read_text("utf-8")
    tree = ast.parse(source)
    told = ast.get_docstring(tree) or ""
    code = "\n".join(source.splitlines()[tree.body[0].end_lineno or 0 :]).strip()
    question, _, answer = told.partition("\n")
    room = script.parent.name
    figures = sorted((docs / "images" / "studies").glob(f"{room}_{script.stem}*.png"))
    lines = [f"# {question}", "", *_paragraphs(answer)]
    for figure in figures:
        lines += [f"![{question}](../images/studies/{figure.name})", ""]
    lines += ["## The script", "", f"[{room}/{script.name}](../../{room}/{script.name})", ""]
    return "\n".join([*lines, "```python", code, "```", ""])


def _paragraphs(text: str) -> list[str]:
    """Text as it stands, its indented blocks fenced."""
    lines: list[str] = []
    fenced = False
    for line in text.splitlines():
        code = line.startswith("    ")
        if line and code != fenced:
            lines.append("```text" if code else "```")
            fenced = code
        lines.append(line.removeprefix("    ") if code else line)
    return [*lines, "```", ""] if fenced else [*lines, ""]


def _shell() -> str:
    """What --help says, of every command."""
    import contextlib
    import io
    import os

    from geointerp import cli
    from geointerp.cli import _COMMANDS, helping

    os.environ["COLUMNS"] = "90"
    lines = ["# The shell", "", "What `--help` says.", ""]
    for words in ["", *(name for name, _ in helping.functions(_COMMANDS))]:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            cli.main([*words.split(), "--help"])
        lines += [f"## geointerp {words}".rstrip(), "", "```text", said.getvalue().rstrip()]
        lines += ["```", ""]
    return "\n".join(lines)
