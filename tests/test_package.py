"""The package as a whole: what importing it costs, and what it may do."""

import ast
import subprocess
import sys
from pathlib import Path

import geointerp as gi

ROOT = Path(gi.__file__).parent


def test_importing_it_loads_nothing_heavy():
    code = "import sys, geointerp; print(*sorted(m.split('.')[0] for m in sys.modules))"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert not loaded & {"torch", "transformers", "sae_lens", "geopandas", "numpy", "numba"}


def test_every_room_is_there():
    for room in gi._ROOMS:
        assert getattr(gi, room).__doc__
    assert set(gi._ROOMS) <= set(dir(gi))


def test_nothing_unpickles_and_nobody_is_trusted():
    for path in ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {a.name.split(".")[0] for a in node.names}
                names.add((getattr(node, "module", "") or "").split(".")[0])
                assert not names & {"pickle", "joblib", "dill", "cloudpickle"}, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) != ("torch", "load"), path
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert not isinstance(node.value, ast.Constant) or node.value.value is False, path


def test_the_library_does_not_import_the_studies():
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").split(".")[0] not in {"probes", "saes", "analyses"}


def test_studies_are_short_and_say_what_they_ask():
    studies = [p for d in ("probes", "saes", "analyses") for p in (ROOT.parent / d).glob("*.py")]
    assert {p.parent.name for p in studies} == {"probes", "saes", "analyses"}
    for path in studies:
        text = path.read_text("utf-8")
        assert len(text.splitlines()) <= 130, path
        assert ast.get_docstring(ast.parse(text)).splitlines()[0].endswith("?"), path
