"""The notebooks run from top to bottom, and find again the figures that are kept in them."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def printed(notebook):
    """Every number that a cell prints, in order."""
    text = "\n".join(
        output["text"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stdout"
    )
    return [float(n.replace(",", "")) for n in re.findall(r"-?\d[\d,]*\.?\d*(?:e-?\d+)?", text)]


def pictures(notebook):
    return [
        sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
        for cell in notebook.cells
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_finds_again_what_it_shows(path):
    kept = nbformat.read(path, as_version=4)
    assert all(c["execution_count"] for c in kept.cells if c.cell_type == "code")
    fresh = nbformat.read(path, as_version=4)
    NotebookClient(fresh, timeout=300, kernel_name="python3").execute()
    assert pictures(fresh) == pictures(kept)
    assert sum(pictures(kept)) >= 3
    assert len(printed(kept)) > 20
    # another machine rounds otherwise
    assert printed(fresh) == pytest.approx(printed(kept), rel=0.05, abs=0.02)


def test_there_is_a_quickstart():
    assert "quickstart" in [path.stem for path in NOTEBOOKS]
