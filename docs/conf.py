"""The site: pages, notebooks, studies and docstrings. `make docs` builds it, offline.

The source is the whole repository, so that the same links lead on in it and on the site.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generated

import geointerp

project = "geointerp"
author = "the geointerp developers"
copyright = "the geointerp developers, BSD-3-Clause"
version = release = geointerp.__version__

root_doc = "docs/index"
exclude_patterns = [
    ".*",
    "build",
    "dist",
    "run",
    "tests",
    "CONTRIBUTING.md",
    "docs/_templates",
    "geointerp/data",
    "*.egg-info",
    "**/.ipynb_checkpoints",
]
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
]
templates_path = [str(Path(__file__).parent / "_templates")]

# notebooks are kept as they were executed
nb_execution_mode = "off"
myst_heading_anchors = 3

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"  # numpydoc says them
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
default_role = "autolink"  # `knn` in a docstring leads to its page

html_theme = "furo"
html_title = "geointerp"
html_theme_options = {"navigation_with_keys": True}
html_show_sourcelink = False
html_copy_source = False


def setup(app: object) -> None:
    """Write the pages that are made from code before any is read."""
    app.connect("config-inited", lambda app, _: generated.write(Path(app.srcdir)))
