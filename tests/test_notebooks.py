"""The notebooks run from top to bottom, and find again the figures that are kept in them."""

import re
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import KernelManager
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


@pytest.fixture(scope="module")
def kernel():
    """One for all, as most of a kernel's time goes to imports."""
    manager = KernelManager(kernel_name="python3")
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_finds_again_what_it_shows(path, kernel):
    kept = nbformat.read(path, as_version=4)
    assert all(c["execution_count"] for c in kept.cells if c.cell_type == "code")
    fresh = nbformat.read(path, as_version=4)
    # no name of another notebook's is left, and what was imported is imported still
    fresh.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    NotebookClient(fresh, km=kernel, timeout=300).execute()
    fresh.cells.pop(0)
    assert pictures(fresh) == pictures(kept)
    assert sum(pictures(kept)) >= 3
    assert len(printed(kept)) > 20
    # another machine rounds otherwise
    assert printed(fresh) == pytest.approx(printed(kept), rel=0.05, abs=0.02)


def test_there_is_a_quickstart():
    assert "quickstart" in [path.stem for path in NOTEBOOKS]
