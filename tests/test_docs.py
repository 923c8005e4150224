"""The site is whole: every link leads somewhere, and no page asks anybody for anything."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as `make docs` builds it, where every warning is an error."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "--keep-going", "-W", "-c", "docs"]
    done = subprocess.run(
        [*command, "-d", out / "doctrees", ".", out / "html"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out / "html"


def test_every_study_and_room_has_its_page(site):
    for room in ("probes", "saes", "analyses"):
        for script in (ROOT / room).glob("*.py"):
            assert (site / "docs" / "studies" / f"{room}_{script.stem}.html").exists()
    for name in ("spatial.moran", "probes.BlockKFold", "geollm.prompts", "plot.activation_map"):
        page = (site / "docs" / "api" / f"geointerp.{name}.html").read_text("utf-8")
        assert "Parameters" in page


def test_every_link_within_the_site_leads_somewhere(site):
    pages = {page: page.read_text("utf-8") for page in site.rglob("*.html")}
    anchors = {page: set(re.findall(r'\bid="([^"]+)"', text)) for page, text in pages.items()}
    broken = []
    for page, text in pages.items():
        for link in re.findall(r'(?:href|src)="([^"]+)"', text):
            target, _, anchor = link.replace("%20", " ").partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            at = (page.parent / target.partition("?")[0]).resolve() if target else page
            if not at.exists() or (anchor and at in anchors and anchor not in anchors[at]):
                broken.append((page.relative_to(site), link))
    assert len(pages) > 100
    assert not broken


def test_no_page_asks_anybody_for_anything(site):
    fetched = re.compile(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="(?:https?:)?//[^"]*"')
    styles = re.compile(
        r'<link\b(?=[^>]*rel="(?:stylesheet|icon|preload)")[^>]*href="(?:https?:)?//'
    )
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        assert not fetched.findall(text) + styles.findall(text), page
