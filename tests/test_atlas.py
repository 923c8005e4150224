import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import geointerp as gi
from geointerp import plot
from geointerp.atlas import pages
from geointerp.errors import InputError

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<img src=x onerror=\"document.title='HACKED'\">",
    "{{script}} {{data}}",
    "<!--<script>",
    'O\'Brien & "Söhne" \u2028\u2029 \\u003c',
    "NA",
    "東京",
]
FEATURES = ["0", "1", '"><svg onload=document.title="HACKED">', "it's", "4", "5", "6", "7"]
FIGURES = {
    "sparse autoencoder": {"held-out explained_variance": 0.81234, "l0": 15.875, "latents": 1024},
    "GeoLLM <b>": {"  Spearman": -0.2134, "missing": float("nan"), "task": "Population & more"},
}


def make_features(n=60, seed=0):
    rng = np.random.default_rng(seed)
    lon, lat = gi.sphere.lon_lat(rng.standard_normal((n, 3)))
    matrix = sparse.random(n, len(FEATURES), 0.4, format="lil", dtype=np.float32, rng=rng)
    matrix[0, :] = 5  # the hostile names fire everything most
    matrix[1, :] = 4
    matrix[2, :] = 3
    names = HOSTILE + [f"place {i}" for i in range(n - len(HOSTILE))]
    obs = pd.DataFrame(
        {"name": names, "country": ["BR", "XX", None, "CA"] * (n // 4)},
        index=[str(1000 + i) for i in range(n)],
    )
    return anndata.AnnData(
        matrix.tocsr(),
        obs=obs,
        var=pd.DataFrame(index=FEATURES),
        obsm={"spatial": np.column_stack([lon, lat])},
        uns={"activations": {"model": "/somewhere/else/toponym", "template": "<i>{name}</i>"}},
    )


def make_table(feats):
    """Strongest first: 4, it's, 0, the hostile one; the others don't count."""
    rows = {
        "0": (0.5, 0.01, None),
        "1": (0.9, 0.051, None),
        FEATURES[2]: (0.29, 0.05, None),
        "it's": (0.6, 0.001, None),
        "4": (0.8, 0.02, None),
        "5": (0.95, np.nan, "It fires on 3 places, fewer than 10."),
        "6": (np.nan, np.nan, "It is constant: its value is the same at every place."),
        "7": (-0.1, 1.0, None),
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["I", "q", "reason"])
    table["reason"] = table["reason"].astype("string")
    table["p"], table["z"], table["expected_I"] = table["q"] / 2, table["I"] * 100, -0.01
    table["n_active"] = np.diff(feats.X.tocsc().indptr)
    return table


def make_report(feats, names=True):
    rows = [("model", "random", 0, 0.5, 900.0), ("model", "random", 1, 0.8912, 412.4)]
    rows += [("model", "country", 0, 0.3, 2000.0), ("model", "country", 1, 0.25, 2100.0)]
    rows += [
        ("untrained", s, k, 0.02 + k / 10, 5000.0) for s in ("random", "country") for k in (0, 1)
    ]
    rows += [("bag of tokens", s, None, 0.43, 3000.0) for s in ("random", "country")]
    table = pd.DataFrame(rows, columns=["source", "split", "layer", "r2", "median_km"])
    table["layer"] = table["layer"].astype("Int64")
    lon, lat = feats.obsm["spatial"].T
    predictions = pd.DataFrame(
        {
            "name": feats.obs["name"].to_numpy(),
            "lon": lon,
            "lat": lat,
            "predicted_lon": -lon,
            "predicted_lat": lat,
            "error_km": gi.sphere.distance_km(lon=lon, lat=lat, to_lon=-lon, to_lat=lat),
        },
        index=feats.obs_names.astype(int) if names else range(len(lon)),
    )
    return gi.probes.Report(table, predictions, "coordinates")


class Parsed(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.inside, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style", "title"):
            self.open.append((tag, dict(attrs)))
            self.inside.append([tag, dict(attrs), ""])

    def handle_endtag(self, tag):
        if self.open and self.open[-1][0] == tag:
            self.open.pop()

    def handle_data(self, data):
        if self.open:
            self.inside[-1][2] += data


def read(folder):
    text = (folder / "index.html").read_text("utf-8")
    page = Parsed(text)
    blocks = [body for tag, attrs, body in page.inside if attrs.get("id") == "data"]
    assert len(blocks) == 1
    return text, page, json.loads(blocks[0])


@pytest.fixture(scope="module")
def feats():
    return make_features()


@pytest.fixture(scope="module")
def folder(feats, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "atlas"
    ratings = pd.DataFrame({"rating": [1.5, np.nan, 7.0]}, index=[1002, 1003, 1005])
    ratings["mass"] = [0.01, 0.5, 0.02]
    ratings.attrs["task"] = "Population </script>"
    made = gi.atlas.write(
        feats,
        make_table(feats).iloc[::-1],
        out=out,
        report=make_report(feats),
        figures=FIGURES,
        ratings=ratings,
    )
    assert made == out
    return out


# ------------------------------------------------------------------------------- one safe file


def test_nothing_comes_from_outside(folder):
    assert {path.name for path in folder.iterdir()} == {"index.html", "card.json", "card.md"}
    text, page, _ = read(folder)
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


def test_policy_lets_only_the_pages_own_script_and_style_run(folder):
    _, page, _ = read(folder)
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    bodies = {
        "script-src": [b for t, a, b in page.inside if t == "script" and "type" not in a],
        "style-src": [b for t, a, b in page.inside if t == "style"],
    }
    for rule, (body,) in bodies.items():
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert set(rules) == {"default-src", "base-uri", "form-action", *bodies}


def test_hostile_text_stays_in_the_data_and_comes_back_exactly(folder, feats):
    text, page, data = read(folder)
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert data["places"]["name"] == list(feats.obs["name"])
    assert data["features"]["id"] == FEATURES
    start = text.index('id="data">') + len('id="data">')
    block = text[start : text.index("</script>", start)]
    assert not re.search("[<>&\u2028\u2029]", block)
    rest = text[:start] + text[start + len(block) :]
    for word in ("alert(1)", "HACKED", "onerror", "onload", "東京", "Brien"):
        assert word in block
        assert word not in rest


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=[])))
def test_escaped_json_means_nothing_to_html_and_the_same_to_json(text):
    escaped = pages.escaped_json({text: [text]})
    assert not set(escaped) & set("<>&\u2028\u2029")
    encoded = escaped.encode("utf-8", "backslashreplace").decode()
    assert json.loads(encoded) == {text: [text]}


def test_a_title_of_ones_own_is_text(feats, tmp_path):
    title = "</title><script>alert(1)</script> & {{data}}"
    gi.atlas.write(feats, make_table(feats), out=tmp_path / "a", title=title)
    text, page, data = read(tmp_path / "a")
    assert data["title"] == title
    assert html.escape(title) in text
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert next(body for tag, _, body in page.inside if tag == "title") == title


# ------------------------------------------------------------------------------------- contents


def test_figures_are_the_inputs(folder):
    _, _, data = read(folder)
    shown = {group["heading"]: dict(group["rows"]) for group in data["figures"]}
    expected = {heading: dict(rows) for heading, rows in FIGURES.items()}
    expected["GeoLLM <b>"]["missing"] = None
    assert shown == expected
    tiles = [(tile["value"], tile["label"]) for tile in data["tiles"]]
    assert tiles == [
        ("3", "features cluster on the map"),
        ("0.80", "largest Moran’s I"),
        ("0.89", "R², best layer"),
        ("412 km", "median error"),
        ("0.25", "R²"),
        ("0.43", "R², bag of tokens"),
    ]
    assert data["tiles"][0]["note"] == "I ≥ 0.3 and q ≤ 0.05; q alone: 4 of 6 tested"
    assert data["tiles"][4]["note"] == "held out: country; layer 1"
    assert data["title"] == "What does toponym know about places?"
    assert ["prompt", "<i>{name}</i>"] in data["about"]
    assert "/somewhere" not in json.dumps(data)


def test_every_split_is_told_of_the_layer_that_is_best_under_the_first(feats, tmp_path):
    report = make_report(feats)
    country = report.table[report.table["split"] == "country"]
    block = country.assign(split="block", r2=country["r2"] / 10)
    # best: layer 1 at random, layer 0 by country and by block
    report.table = pd.concat([report.table, block], ignore_index=True)
    for first, layer, values in (
        ("random", 1, {"random": "0.89", "country": "0.25", "block": "0.03"}),
        ("country", 0, {"country": "0.30", "block": "0.03", "random": "0.50"}),
    ):
        ordered = report.table.sort_values(
            "split", key=lambda s, first=first: s != first, kind="stable"
        )
        told = gi.probes.Report(ordered, report.predictions, "coordinates")
        gi.atlas.write(feats, make_table(feats), out=tmp_path / first, report=told)
        tiles = [t for t in read(tmp_path / first)[2]["tiles"] if t["label"].startswith("R²")]
        tiles = [t for t in tiles if "control" not in t["note"]]
        assert [t["label"] for t in tiles] == ["R², best layer", "R²", "R²"]
        assert {t["note"]: t["value"] for t in tiles} == {
            f"held out: {split}; layer {layer}": value for split, value in values.items()
        }


def test_figures_below_zero_have_a_minus_and_zero_has_none(feats, tmp_path):
    report = make_report(feats)
    untrained = report.table["source"] == "untrained"
    report.table.loc[untrained, "r2"] = -0.004
    report.table.loc[report.table["layer"].isna(), "r2"] = -0.126
    gi.atlas.write(feats, make_table(feats), out=tmp_path / "a", report=report)
    tiles = {tile["label"]: tile["value"] for tile in read(tmp_path / "a")[2]["tiles"]}
    assert tiles["R², untrained"] == "0.00"
    assert "R², bag of tokens" not in tiles
    report.table.loc[untrained, "r2"] = -0.5
    gi.atlas.write(feats, make_table(feats), out=tmp_path / "b", report=report)
    tiles = {tile["label"]: tile["value"] for tile in read(tmp_path / "b")[2]["tiles"]}
    assert tiles["R², bag of tokens"] == "−0.13"


def test_the_strongest_are_the_significant_by_their_i(folder, feats):
    _, _, data = read(folder)
    ids = [FEATURES[feature["row"]] for feature in data["shown"]]
    assert ids == ["4", "it's", "0", FEATURES[2]]
    assert data["counts"] == {"tested": 6, "significant": 4, "strong": 3, "q": 0.05}
    table = make_table(feats)
    for key, column in (("I", "I"), ("q", "q"), ("p", "p"), ("z", "z"), ("n", "n_active")):
        got = pd.Series(data["features"][key], index=FEATURES, dtype=float)
        np.testing.assert_allclose(got, table[column].astype(float), rtol=1e-3)
    assert data["features"]["reason"] == [None if pd.isna(r) else r for r in table["reason"]]


def test_maps_hold_what_is_not_zero_strongest_first(folder, feats):
    _, _, data = read(folder)
    for feature in data["shown"]:
        column = feats.X[:, feature["row"]].toarray().ravel()
        got = np.zeros(len(column))
        got[feature["at"]] = feature["value"]
        np.testing.assert_allclose(got, column, rtol=5e-3)
        assert len(feature["at"]) == (column != 0).sum()
        assert (np.diff(feature["value"]) <= 0).all()
        total = column.sum()
        by_code = {"BR": "Brazil", "CA": "Canada", "XX": "XX"}
        for code, share in feature["countries"]:
            named = data["places"]["countries"][code]
            rows = feats.obs["country"].map(by_code, na_action="ignore") == named
            assert share == pytest.approx(column[rows].sum() / total, abs=6e-4)
    lon_lat = np.column_stack([data["places"]["lon"], data["places"]["lat"]])
    np.testing.assert_allclose(lon_lat, feats.obsm["spatial"], atol=0.00501)


def test_outlines_on_the_page_are_the_plots(folder):
    _, _, data = read(folder)
    assert len(data["world"]) == len(plot.outlines())
    for steps, ring in zip(data["world"], plot.outlines(), strict=True):
        points = np.cumsum(np.reshape(steps, (-1, 2)), axis=0) / 100
        np.testing.assert_allclose(points, ring, atol=0.00501)


def test_the_probe_and_its_layers(folder, feats):
    _, _, data = read(folder)
    probe, table = data["probe"], make_report(feats).predictions
    assert probe["at"] == list(range(60))
    assert (probe["layer"], probe["split"]) == (1, "random")
    np.testing.assert_allclose(probe["to_lon"], table["predicted_lon"], atol=0.00501)
    np.testing.assert_allclose(probe["error"], table["error_km"], atol=0.501)
    assert probe["median"] == pytest.approx(table["error_km"].median(), abs=0.06)
    names = [group["name"] for group in probe["groups"]]
    assert names == ["North America", "South America", "elsewhere"]
    country = feats.obs["country"].to_numpy()
    by_name = {"CA": "North America", "BR": "South America"}
    assert [names[g] for g in probe["group"]] == [by_name.get(c, "elsewhere") for c in country]
    for i, group in enumerate(probe["groups"]):
        member = np.array(probe["group"]) == i
        assert group["n"] == member.sum()
        assert group["median"] == pytest.approx(table["error_km"][member].median(), abs=0.06)
    lines = {s["name"]: s["lines"] for s in data["layers"]["splits"]}
    assert data["layers"]["sources"] == ["model", "untrained", "bag of tokens"]
    assert lines["random"]["model"] == [[0, 0.5], [1, 0.8912]]
    assert lines["country"]["bag of tokens"] == [[None, 0.43]]


@pytest.mark.parametrize(
    ("key", "said"), [("places_sha256", "other places"), ("weights_sha256", "other model")]
)
def test_a_probe_of_something_else_is_refused(feats, tmp_path, key, said):
    feats = feats.copy()
    feats.uns["activations"] = {**feats.uns.get("activations", {}), key: "a"}
    report = make_report(feats)
    report.about[key] = "b"
    with pytest.raises(InputError, match=f"the probe is of {said} than the features"):
        gi.atlas.write(feats, make_table(feats), out=tmp_path / "atlas", report=report)
    assert not (tmp_path / "atlas").exists()


def test_a_probe_of_other_places_brings_its_own(feats, tmp_path):
    report = make_report(feats, names=False)
    gi.atlas.write(feats, make_table(feats), out=tmp_path / "a", report=report)
    probe = read(tmp_path / "a")[2]["probe"]
    assert probe["at"] is None
    assert probe["name"] == list(feats.obs["name"])
    np.testing.assert_allclose(probe["lat"], feats.obsm["spatial"][:, 1], atol=0.00501)
    assert [group["name"] for group in probe["groups"]] == ["all places"]


def test_ratings(folder, feats, tmp_path):
    _, _, data = read(folder)
    assert data["ratings"] == {
        "task": "Population </script>",
        "at": [2, 5],
        "value": [1.5, 7.0],
        "mass": 0.02,
    }
    with pytest.raises(InputError, match="no place '7'"):
        gi.atlas.write(
            feats,
            make_table(feats),
            out=tmp_path / "a",
            ratings=pd.DataFrame({"rating": [1.0]}, index=[7]),
        )
    assert not list(tmp_path.iterdir())


def test_the_cap_on_maps_is_counted(feats, tmp_path):
    gi.atlas.write(feats, make_table(feats), out=tmp_path / "a", maps=1, q=0.06)
    data = read(tmp_path / "a")[2]
    assert [FEATURES[feature["row"]] for feature in data["shown"]] == ["1"]
    assert data["counts"] == {"tested": 6, "significant": 5, "strong": 4, "q": 0.06}
    card = gi.cards.read(tmp_path / "a")
    assert card["figures"]["features significant"] == 5
    assert card["figures"]["features with a map"] == 1


def test_without_a_report_countries_or_anything_significant(feats, tmp_path):
    bare = feats.copy()
    bare.obs = bare.obs[[]]
    bare.uns = {}
    bare.X = bare.X.toarray()
    table = make_table(feats)[["I", "q", "n_active"]].assign(q=np.nan)
    gi.atlas.write(bare, table, out=tmp_path / "a")
    data = read(tmp_path / "a")[2]
    assert data["probe"] is data["layers"] is data["ratings"] is None
    assert data["shown"] == data["figures"] == []
    assert data["places"]["name"] == list(feats.obs_names)
    assert data["title"] == "What does the model know about places?"
    assert [tile["value"] for tile in data["tiles"]] == ["0"]


def test_a_probe_for_another_target_has_no_map(feats, tmp_path):
    report = make_report(feats)
    other = gi.probes.Report(
        report.table.drop(columns="median_km"), report.predictions[["name"]], "population"
    )
    gi.atlas.write(feats, make_table(feats), out=tmp_path / "a", report=other)
    data = read(tmp_path / "a")[2]
    assert data["probe"] is None
    assert data["layers"]["target"] == "population"
    assert "median error" not in [tile["label"] for tile in data["tiles"]]


def test_a_large_run_is_a_modest_file(tmp_path):
    n, width = 13_500, 1024
    rng = np.random.default_rng(0)
    lon, lat = gi.sphere.lon_lat(rng.standard_normal((n, 3)))
    names = [f"São Something {i}" for i in range(n)]
    feats = anndata.AnnData(
        sparse.random(n, width, 0.02, format="csr", dtype=np.float32, rng=rng),
        obs=pd.DataFrame({"name": names, "country": "BR"}, index=[str(i) for i in range(n)]),
        var=pd.DataFrame(index=[str(i) for i in range(width)]),
        obsm={"spatial": np.column_stack([lon, lat])},
    )
    table = pd.DataFrame(
        {"I": rng.uniform(size=width), "z": 1.0, "p": 0.001, "q": 0.001, "n_active": 270},
        index=feats.var_names,
    )
    gi.atlas.write(feats, table, out=tmp_path / "a", report=make_report(feats))
    assert len(read(tmp_path / "a")[2]["shown"]) == 24
    assert (tmp_path / "a" / "index.html").stat().st_size < 2e6


# ------------------------------------------------------------------------------- whole or not


def everything(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize(
    "files",
    [
        {"results.csv": "a,b\n"},
        {"index.html": "<p>my homepage</p>"},
        {"card.json": '{"made by": {"function": "geointerp.saes.train"}}', "index.html": ""},
        {"card.json": "[not json", "index.html": ""},
        {"card.json": "[1]", "index.html": ""},
    ],
)
def test_another_run_is_refused_and_left_alone(feats, tmp_path, files):
    out = tmp_path / "out"
    out.mkdir()
    for name, text in files.items():
        (out / name).write_text(text)
    before = everything(tmp_path)
    with pytest.raises(InputError, match="other than an atlas"):
        gi.atlas.write(feats, make_table(feats), out=out)
    assert everything(tmp_path) == before


def test_an_atlas_is_replaced_unless_something_lies_beside_it(feats, tmp_path):
    out = tmp_path / "deep" / "atlas"
    gi.atlas.write(feats, make_table(feats), out=out, title="first")
    gi.atlas.write(feats, make_table(feats), out=out, title="second")
    assert read(out)[2]["title"] == "second"
    assert [path.name for path in out.parent.iterdir()] == ["atlas"]
    (out / "notes.txt").write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(InputError, match=r"notes\.txt, which would be lost"):
        gi.atlas.write(feats, make_table(feats), out=out, title="third")
    with pytest.raises(InputError, match="is a file"):
        gi.atlas.write(feats, make_table(feats), out=out / "notes.txt")
    assert everything(tmp_path) == before


def test_an_empty_folder_is_filled(feats, tmp_path):
    gi.atlas.write(feats, make_table(feats), out=tmp_path)
    assert read(tmp_path)[2]["features"]["id"] == FEATURES


@pytest.mark.parametrize("breaks", ["cards.write", "os.replace"])
def test_a_failure_midway_leaves_the_former_atlas(feats, tmp_path, monkeypatch, breaks):
    out = tmp_path / "atlas"
    gi.atlas.write(feats, make_table(feats), out=out, title="first")
    before = everything(tmp_path)
    real = pages.os.replace

    def fail(*arguments):
        if breaks == "os.replace" and ".partial" not in str(arguments[0]):
            return real(*arguments)
        raise OSError("no space left on device")

    monkeypatch.setattr(pages.cards if "cards" in breaks else pages.os, breaks.split(".")[1], fail)
    with pytest.raises(OSError, match="no space"):
        gi.atlas.write(feats, make_table(feats), out=out, title="second")
    assert everything(tmp_path) == before


def test_the_same_input_gives_the_same_bytes(feats, tmp_path):
    for name in "ab":
        gi.atlas.write(feats, make_table(feats), out=tmp_path / name, report=make_report(feats))
    assert everything(tmp_path / "a") == everything(tmp_path / "b")


def test_what_does_not_fit_together_is_said(feats, tmp_path):
    table = make_table(feats)
    nowhere = feats.copy()
    nowhere.obsm["spatial"][7, 1] = 91
    strange = feats.copy()
    strange.X[0, 4] = np.inf
    wrong = [
        (feats, table.drop(columns="q"), "no column 'q'"),
        (feats, table.assign(I="high"), "column 'I' is not numeric"),
        (feats, table.drop(index="0"), "'0' for one"),
        (feats, pd.concat([table, table.loc[["1"]]]), "'1' is twice"),
        (nowhere, table, "place '1007'"),
        (strange, table, "'4' is significant, but not finite"),
    ]
    for given_feats, given_table, message in wrong:
        with pytest.raises(InputError, match=message):
            gi.atlas.write(given_feats, given_table, out=tmp_path / "a")
    with pytest.raises(InputError, match="maps is -1"):
        gi.atlas.write(feats, table, out=tmp_path / "a", maps=-1)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------- in a browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to open the page with")


def opened(path, tmp_path):
    """The page's DOM after its script has run, and what the console said."""
    quiet = ["quic", "no-first-run", "background-networking", "component-update", "sync", "gpu"]
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            *(f"--{'' if flag.startswith('no-') else 'disable-'}{flag}" for flag in quiet),
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=3000",
            "--window-size=1280,6000",
            "--enable-logging=stderr",
            "--v=0",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, said


def asked(folder, script, tmp_path):
    """What a script finds on the page, as the JSON it makes of `seen`."""
    text = (folder / "index.html").read_text("utf-8")
    ending = f"""<script>{{
        const seen = {{}};
        {script}
        document.body.dataset.seen = JSON.stringify(seen);
      }}</script></body>"""
    # the policy would not let this script run, which another test relies on
    copy = tmp_path / "copy.html"
    copy.write_text(re.sub("<meta http-equiv[^>]*>", "", text).replace("</body>", ending), "utf-8")
    source, said = opened(copy, tmp_path)
    assert said == []
    return json.loads(next(a["data-seen"] for t, a in Dom(source).tags if t == "body"))


class Dom(HTMLParser):
    """Text and attributes of the page as the browser has it; scripts left out."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.quiet = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.quiet = tag in ("script", "style")
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self.quiet = False

    def handle_data(self, data):
        if not self.quiet and data.strip():
            self.text.append(data.strip())


@browser
def test_the_page_in_a_browser(folder, feats, tmp_path):
    source, said = opened(folder / "index.html", tmp_path)
    assert said == []
    dom = Dom(source)
    assert ("html", {"lang": "en", "data-ready": "yes"}) in dom.tags
    assert "<title>What does toponym know about places?</title>" in source
    # no name became an element
    assert not [attrs for _, attrs in dom.tags if any(name.startswith("on") for name in attrs)]
    assert "img" not in [tag for tag, _ in dom.tags]
    assert [tag for tag, _ in dom.tags].count("script") == 2
    assert HOSTILE[0] in dom.text
    assert HOSTILE[2] in dom.text
    assert f"Feature {FEATURES[2]}" in dom.text
    assert "Population & more" in dom.text
    # a drawn map per feature shown, with as many dots as the feature has places, and a text
    cards = [attrs["id"] for tag, attrs in dom.tags if attrs.get("class") == "card"]
    assert cards == ["f4", "f3", "f0", "f2"]
    maps = [attrs for tag, attrs in dom.tags if tag == "canvas" and attrs.get("class") == "map"]
    assert len(maps) == 4 + 3  # and the probe's, the ratings' and the enlarged one
    active = np.diff(feats.X.tocsc().indptr)
    dots = {attrs.get("aria-label", "").partition(":")[0]: attrs.get("data-dots") for attrs in maps}
    for row in (4, 3, 0, 2):
        assert dots[f"World map of Feature {FEATURES[row]}"] == str(active[row])
    assert sum(attrs.get("data-dots") == "60" for attrs in maps) == 1
    # the figures, as they are read
    assert "Unlike a correlation it may exceed 1." in " ".join(" ".join(dom.text).split())
    for word in ("0.89", "412 km", "0.8123", "15.88", "1,024", "-0.2134", "0.800", "0.020"):
        assert word in dom.text
    assert "here they all are." in " ".join(dom.text)


@browser
def test_the_table_sorts_and_the_maps_project_as_the_plots_do(folder, feats, tmp_path):
    script = """
        const column = (n) => [...document.querySelectorAll(`#rows td:nth-child(${n})`)]
          .map((cell) => cell.textContent);
        const click = (n) => document.querySelectorAll("#columns button")[n].click();
        Object.assign(seen, { positions: Atlas.positions, reasons: column(7), byI: column(1) });
        seen.notes = ["within-note", "match-note"].map((id) => document.getElementById(id).hidden);
        click(1); seen.up = column(1);
        click(5); seen.byCount = column(6);
        const filter = document.getElementById("filter");
        filter.value = "untested"; filter.dispatchEvent(new Event("input"));
        seen.untested = column(1);"""
    seen = asked(folder, script, tmp_path)
    lon, lat = feats.obsm["spatial"].T
    across, up = plot.equal_earth(lon=lon, lat=lat, center=plot.CENTER)
    np.testing.assert_allclose(seen["positions"], np.column_stack([across, -up]), atol=2e-4)
    # what has no I comes last, either way
    ranked = ["5", "1", "4", "it's", "0", FEATURES[2], "7"]
    assert seen["byI"] == [*ranked, "6"]
    assert seen["up"] == [*ranked[::-1], "6"]
    assert seen["notes"] == [True, True]
    assert seen["reasons"][0] == "It fires on 3 places, fewer than 10."
    counts = [int(n) for n in seen["byCount"]]
    assert counts == sorted(counts, reverse=True)
    assert sorted(seen["untested"]) == ["5", "6"]


def more_columns(table):
    """The table with q under two nulls that know regions, and with regions."""
    regions = ["NA", None, "<b>", "US.CA", "FR", None, None, "FR"]
    return table.assign(
        q_within_country=[0.2, 0.3, 0.1, 0.01, 0.00012345, np.nan, np.nan, 0.9],
        q_within_admin1=0.5,
        region=pd.array(regions, dtype="string"),
        precision=[0.12345, np.nan, 0.2, 0.3, 1, np.nan, np.nan, 0],
        recall=[0.7, np.nan, 0.6, 0.5, 1, np.nan, np.nan, 0.1],
    )


def test_the_table_has_other_nulls_and_regions_where_they_are_known(feats, folder, tmp_path):
    table = more_columns(make_table(feats))
    # in any order
    gi.atlas.write(feats, table[::-1], out=tmp_path / "a")
    features = read(tmp_path / "a")[2]["features"]
    assert features["within"] == [
        {"by": "country", "q": [0.2, 0.3, 0.1, 0.01, 0.000123, None, None, 0.9]},
        {"by": "admin1", "q": [0.5] * 8},
    ]
    assert features["matched"] == {
        "region": ["NA", None, "<b>", "US.CA", "FR", None, None, "FR"],
        "precision": [0.123, None, 0.2, 0.3, 1, None, None, 0],
        "recall": [0.7, None, 0.6, 0.5, 1, None, None, 0.1],
    }
    bare = read(folder)[2]["features"]
    assert (bare["within"], bare["matched"]) == ([], None)
    for wrong, said in (
        (table.drop(columns="recall"), "no column 'recall'"),
        (table.assign(q_within_country="low"), "column 'q_within_country' is not numeric"),
    ):
        with pytest.raises(InputError, match=said):
            gi.atlas.write(feats, wrong, out=tmp_path / "b")


@browser
def test_the_table_shows_other_nulls_and_regions(feats, tmp_path):
    gi.atlas.write(feats, more_columns(make_table(feats)), out=tmp_path / "a")
    script = """
        const column = (n) => [...document.querySelectorAll(`#rows td:nth-child(${n})`)]
          .map((cell) => cell.textContent);
        const click = (n) => document.querySelectorAll("#columns button")[n].click();
        seen.heads = [...document.querySelectorAll("#columns button")].map((b) => b.textContent);
        seen.notes = ["within-note", "match-note"].map((id) => document.getElementById(id).hidden);
        click(5); seen.within = column(6);
        click(8); seen.regions = column(9); seen.precision = column(10);"""
    seen = asked(tmp_path / "a", script, tmp_path)
    assert seen["heads"] == [
        "feature",
        "Moran’s I ↓",
        "z",
        "p",
        "q",
        "q within country",
        "q within admin1",
        "places it fires at",
        "region",
        "precision",
        "recall",
        "why not tested",
    ]
    assert seen["notes"] == [False, False]
    assert seen["within"] == ["1.2e-4", "0.010", "0.100", "0.200", "0.300", "0.900", "–", "–"]
    assert seen["regions"] == ["<b>", "FR", "FR", "NA", "US.CA", "", "", ""]
    assert seen["precision"][:5] == ["0.20", "1.00", "0.00", "0.12", "0.30"]


@browser
def test_no_tile_is_empty_and_no_switch_has_one_button(folder, feats, tmp_path):
    script = """
        const all = (what) => [...document.querySelectorAll(what)];
        const area = (node) => node.offsetWidth * node.offsetHeight;
        seen.area = area(document.getElementById("tiles"));
        seen.covered = all("#tiles li").reduce((sum, tile) => sum + area(tile), 0);
        seen.buttons = all(".switch").filter((group) => group.offsetParent)
          .map((group) => [...group.children].filter((button) => button.offsetParent).length);"""
    seen = asked(folder, script, tmp_path)
    assert seen["covered"] > 0.97 * seen["area"]
    assert seen["buttons"] == [2, 2]
    report = make_report(feats, names=False)
    gi.atlas.write(feats, make_table(feats), out=tmp_path / "a", report=report)
    assert asked(tmp_path / "a", script, tmp_path)["buttons"] == [2]


@browser
def test_one_is_not_many(feats, tmp_path):
    table = make_table(feats).assign(q=np.nan, n_active=1)
    table.loc["4", "q"] = 0.01
    lonely = feats.copy()
    lonely.X = np.zeros(feats.shape, np.float32)
    lonely.X[7, 4] = 1
    gi.atlas.write(lonely, table, out=tmp_path / "a")
    source, said = opened(tmp_path / "a" / "index.html", tmp_path)
    assert said == []
    text = " ".join(Dom(source).text)
    assert "1 feature clusters on the map" in text
    assert "Of 1 feature tested, 1 has q ≤ 0.05; here it is." in text
    assert "fires at 1 place, most at 東京" in source
    assert not re.search(r"\b1 (places|features|have)\b", source.partition("<script")[0])


@browser
def test_a_bare_page_in_a_browser(feats, tmp_path):
    table = make_table(feats)[["I", "q", "n_active"]].assign(q=np.nan)
    table.loc["0", "I"], table.loc["1", "I"] = -0.0004, -0.5004
    gi.atlas.write(feats, table, out=tmp_path / "a")
    source, said = opened(tmp_path / "a" / "index.html", tmp_path)
    assert said == []
    assert 'data-ready="yes"' in source
    text = Dom(source).text
    assert "No feature was tested; the table says why." in text
    assert {"0.000", "−0.500"} < set(text)
    assert not {"-0.000", "−0.000"} & set(text)
    hidden = {a["id"] for t, a in Dom(source).tags if t == "section" and "hidden" in a}
    assert hidden == {"probe", "layers", "ratings", "figures"}


@browser
def test_the_policy_stops_a_script_that_is_not_the_pages(folder, tmp_path):
    text = (folder / "index.html").read_text("utf-8")
    copy = tmp_path / "copy.html"
    copy.write_text(
        text.replace("</body>", "<script>document.title='HACKED'</script></body>"), "utf-8"
    )
    source, said = opened(copy, tmp_path)
    assert "<title>HACKED" not in source
    assert 'data-ready="yes"' in source
    assert any("Content Security Policy" in line for line in said)
