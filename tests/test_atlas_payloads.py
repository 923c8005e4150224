import base64
import hashlib
import html
import re

import numpy as np
import pytest
from atlas_helpers import (
    FEATURES,
    make_features,
    make_table,
    page_of,
    payload,
    read,
    unpacked,
    written,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import geointerp as gi
from geointerp.atlas import packing, payloads


@pytest.fixture(scope="module")
def feats():
    return make_features()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("run") / "atlas")


def test_nothing_comes_from_outside(folder):
    assert {path.name for path in folder.iterdir()} == {
        "index.html",
        "data",
        "card.json",
        "card.md",
    }
    text, page = page_of(folder)
    for tag, attrs in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "source", "video")
        for name, value in attrs.items():
            assert name not in ("src", "srcset", "action", "data", "background", "style")
            assert not name.startswith("on")
            assert name != "href" or value.startswith("#")
    assert "@import" not in text
    assert "url(" not in text
    assert not re.search(r"\b(fetch|XMLHttpRequest|import)\s*\(|innerHTML|outerHTML|eval\(", text)
    # the only address in the file is the name of SVG
    assert set(re.findall(r"https?://[^\s\"'<]*", text)) == {"http://www.w3.org/2000/svg"}


def test_policy_lets_only_the_folders_own_scripts_and_style_run(folder):
    _, page = page_of(folder)
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    for rule, tag, more in (("script-src", "script", " 'self'"), ("style-src", "style", "")):
        (body,) = [body for t, _, body in page.inside if t == tag]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'{more}"
    assert set(rules) == {"default-src", "base-uri", "form-action", "script-src", "style-src"}


def test_hostile_text_stays_in_the_data_and_comes_back_exactly(folder, feats):
    text, page = page_of(folder)
    data = read(folder)  # which checks that each file is one call with two texts
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert data["places"]["name"] == list(feats.obs["name"])
    assert data["features"]["id"] == FEATURES
    for word in ("alert(1)", "HACKED", "onerror", "onload", "東京", "Brien"):
        assert word not in text
    for path in (folder / "data").iterdir():
        assert not set(path.read_text("ascii")) & set("<>&")


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=[])))
def test_a_payload_is_one_call_with_texts_whatever_it_holds(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp()
    payloads.save(folder, "any", {text: [text]})
    assert payload(folder / "any.js") == {text: [text]}
    assert not set((folder / "any.js").read_text("ascii")) & set("<>&")


def test_a_title_of_ones_own_is_text(feats, tmp_path):
    title = "</title><script>alert(1)</script> & {{script}}"
    gi.atlas.write(feats, make_table(feats), out=tmp_path / "a", title=title)
    text, page = page_of(tmp_path / "a")
    assert read(tmp_path / "a")["overview"]["title"] == title
    assert html.escape(title) in text
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert next(body for tag, _, body in page.inside if tag == "title") == title


@given(st.lists(st.integers(0, 2**35 - 1), max_size=50))
def test_varints_come_back(numbers):
    packed = base64.b64encode(packing.varints(np.array(numbers, dtype=np.int64)))
    number, *_ = unpacked(packed)
    assert [number() for _ in numbers] == numbers
    assert packing.varints(np.array([0, 127, 128, 300])) == b"\x00\x7f\x80\x01\xac\x02"


@given(st.lists(st.floats(-1e6, 1e6), max_size=50))
def test_values_come_back_within_half_a_step(numbers):
    given_ = np.array(numbers, dtype=float)
    low, high, packed = packing.quantised(given_)
    _, _, values, _ = unpacked(base64.b64encode(packed))
    step = (high - low) / packing.LEVELS
    np.testing.assert_allclose(
        values(len(given_), low, high), given_, atol=0.5001 * step, rtol=1e-12
    )
