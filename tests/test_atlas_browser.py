"""The atlas as a reader has it: opened from disk in headless Chromium, by keys and by pointer."""

import json
import os
import re
import shutil
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import geointerp as gi
from geointerp import plot

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to open pages with")

HOSTILE = [
    "<script>document.title='HACKED'</script>",
    "</script><img src=x onerror=\"document.title='HACKED'\">",
    "{{script}} {{title}} ${document.title='HACKED'} `",
    'O\'Brien & "Söhne" \u2028\u2029 \\u003c \\");document.title="HACKED";("',
    "\u202eright to left\u202e\u2066",
    "a lone \ud800 surrogate",
    "long " * 2000,
    "javascript:document.title='HACKED'",
]
KNOWN = ["São Paulo", "Łódź", "München", "Paris", "Parisot", "Le Paris", "Al-Paris", "Xparis"]
TITLE = "Where? <script>document.title='HACKED'</script>"
WIDTH = 200


def atlas(out, n=400, width=WIDTH, seed=0, scale=1.0, astray=None):
    """Feature 0 fires in a patch, 1 in two far apart, 2 everywhere, 3 nowhere, others anywhere.

    On the whole globe, or on `scale` of it around 10° E, 45° N, with one place that the probe
    puts at `astray`.
    """
    rng = np.random.default_rng(seed)
    lon, lat = gi.sphere.lon_lat(rng.standard_normal((n, 3)))
    if scale < 1:
        lon, lat = 10 + scale * lon, 45 + scale * lat
    near = gi.sphere.distance_km(lon=lon, lat=lat, to_lon=10, to_lat=45)
    lon[np.argmin(near)], lat[np.argmin(near)] = 10.0, 45.0
    values = sparse.random(n, width, 0.05, format="lil", dtype=np.float32, rng=rng)
    values[:, :4] = 0
    patch = near < 2500 * scale
    values[patch, 0] = 1 + rng.uniform(0, 3, patch.sum())
    other = gi.sphere.distance_km(lon=lon, lat=lat, to_lon=-150, to_lat=-40)
    values[patch | (other < 3000), 1] = 2
    values[:, 2] = rng.uniform(0.1, 1, n)
    values[: len(HOSTILE), 4:12] = 9  # the hostile names fire most
    names = HOSTILE + KNOWN + [f"place {i}" for i in range(n - len(HOSTILE) - len(KNOWN))]
    feats = anndata.AnnData(
        values.tocsr(),
        obs=pd.DataFrame(
            {"name": names, "country": rng.choice(["BR", "FR", "<b>XX"], n)},
            index=[str(1000 + i) for i in range(n)],
        ),
        var=pd.DataFrame(index=[str(i) for i in range(width - 1)] + ['"><svg onload=x>']),
        obsm={"spatial": np.column_stack([lon, lat])},
        uns={"activations": {"model": "toponym", "template": "<i>{name}</i>"}},
    )
    graph = gi.spatial.knn(feats, k=6)
    table = gi.spatial.moran(feats, graph, permutations=99, seed=0)
    matched = gi.spatial.match_regions(feats, gi.spatial.region_of(feats, "country"))
    table = table.join(matched[["region", "precision", "recall", "f1"]])
    table["q_within_country"] = np.linspace(0, 1, width)
    table["expected_I_within_country"] = 0.125
    report = probe_report(feats, lon, lat, east=min(8, 400 * scale))
    if astray is not None:
        report.predictions.loc[feats.obs_names[0], ["predicted_lon", "predicted_lat"]] = astray
    ratings = pd.DataFrame({"rating": np.linspace(0, 9.9, 50)}, index=feats.obs_names[:50])
    ratings["mass"] = 0.01
    ratings.attrs["task"] = "Population </script>"
    gi.atlas.write(
        feats,
        table,
        out=out,
        report=report,
        local=gi.spatial.local_moran(feats[:, :20], graph, permutations=99, alpha=1),
        correlograms=gi.spatial.correlogram(feats, feats, edges_km=(0, 1000, 3000, 9000)),
        figures={"sparse <b>autoencoder": {"l0": 15.875, "missing": float("nan")}},
        cards={"moran.csv": {"title": "Moran's I", "made by": {"k": 6, "template": TITLE}}},
        ratings=ratings,
        title=TITLE,
    )
    return feats, table


def probe_report(feats, lon, lat, east=8):
    rows = [
        ("model", split, k, 0.5 + k / 10, 0.4, 0.7) for split in ("random", "block") for k in (0, 1)
    ]
    rows += [("bag of tokens", split, None, 0.3, 0.2, 0.4) for split in ("random", "block")]
    scores = pd.DataFrame(rows, columns=["source", "split", "layer", "r2", "low", "high"])
    scores = scores.assign(layer=scores["layer"].astype("Int64"), median_km=800.0)
    to_lon, to_lat = lon + east, np.clip(lat - east / 2, -90, 90)
    predictions = pd.DataFrame(
        {
            "name": feats.obs["name"].to_numpy(),
            "lon": lon,
            "lat": lat,
            "predicted_lon": to_lon,
            "predicted_lat": to_lat,
            "error_km": gi.sphere.distance_km(lon=lon, lat=lat, to_lon=to_lon, to_lat=to_lat),
            "radius90_km": 187.5 * east,
        },
        index=feats.obs_names,
    )
    return gi.probes.Report(scores, predictions, "coordinates")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "atlas"
    return out, *atlas(out)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Where screenshots are kept: $GEOINTERP_SCREENSHOTS, or the tests' own folder."""
    named = os.environ.get("GEOINTERP_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Reader:
    """A tab that says what went wrong in it and what it asked for."""

    def __init__(self, browser, folder, **options):
        options = {
            "viewport": {"width": 1280, "height": 900},
            "reduced_motion": "reduce",
            **options,
        }
        self.page = browser.new_page(**options)
        self.folder, self.said, self.asked, self.failed = folder, [], [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", lambda request: self.failed.append(request.url))

    def go(self, link=""):
        self.page.goto("about:blank")
        self.page.goto((self.folder / "index.html").as_uri() + link)
        self.page.wait_for_selector("html[data-ready]")
        return self

    def follow(self, link):
        self.page.evaluate("(link) => { location.hash = link; }", link)
        self.page.wait_for_selector(f"html[data-view='{link}']")

    def until(self, script):
        """Wait for what the policy would not let Playwright's own waiting ask for."""
        self.page.evaluate(
            f"""async () => {{
              for (let turn = 0; !({script}); turn++) {{
                if (turn > 1000) throw new Error("it never came");
                await new Promise((done) => setTimeout(done, 20));
              }}
            }}"""
        )

    def texts(self, selector):
        return self.page.locator(selector).all_inner_texts()

    def text(self, selector):
        return self.page.locator(selector).first.inner_text()

    def column(self, n):
        return self.texts(f"#rows tr:not(.space) td:nth-child({n})")

    def focused(self):
        return self.page.evaluate(
            "document.activeElement.innerText?.trim() || document.activeElement.id"
        )


@pytest.fixture
def reader(browser, made):
    readers = []

    def opened(link="", folder=made[0], **options):
        readers.append(Reader(browser, folder, **options))
        return readers[-1].go(link)

    yield opened
    for each in readers:
        assert each.said == []
        own = each.folder.as_uri() + "/"
        assert {url for url in each.asked if not url.startswith(own)} <= {"about:blank"}
        each.page.close()


def test_the_first_view_is_the_overview(reader, made, pictures):
    tab = reader()
    assert tab.page.title() == TITLE
    assert tab.text("#title") == TITLE
    assert tab.texts("#nav a") == ["Overview", "Features", "Places", "Ratings", "Cards"]
    tab.page.locator("#cards").scroll_into_view_if_needed()
    tab.page.wait_for_selector("#cards .card canvas[data-dots]")
    strongest = made[2][made[2]["q"] <= 0.05].sort_values("I", ascending=False)
    cards = tab.texts("#cards h3")
    assert cards == [f"Feature {name}" for name in strongest.index[: len(cards)]]
    assert tab.page.get_attribute("#probe-map", "data-dots") == "400"
    assert tab.text("#probe-median").startswith("Layer 1, held out: random; median error over 400")
    assert "block" in tab.text("#charts")
    assert tab.page.locator("#charts svg path.band").count() == 4
    assert [row.split("\t")[1:3] for row in tab.texts("#nulls tbody tr")] == [
        [f"{made[2]['q'].notna().sum()}", f"{(made[2]['q'] <= 0.05).sum()}"],
        ["200", "10"],
    ]
    assert tab.texts("#groups dd") == ["15.88", "not known"]
    tab.page.evaluate("scrollTo(0, 0)")
    tab.page.screenshot(path=pictures / "overview.png")
    tab.page.click("#by-error")
    assert "error, km" in tab.text("#probe-legend")
    tab.page.click("#show-true")
    assert tab.page.get_attribute("#show-true", "aria-pressed") == "true"


def test_search_sort_and_filter(reader, made, pictures):
    table = made[2]
    tab = reader("#features")
    shown = tab.column(1)
    ranked = table.sort_values("I", ascending=False, kind="stable").index.tolist()
    assert shown == ranked[: len(shown)]
    assert 20 < len(shown) < 60  # not all two hundred
    heads = [word.strip(" ↓↑") for word in tab.texts("#columns th")]
    tab.page.screenshot(path=pictures / "features.png")

    def click(word):
        tab.page.click(f"#columns th:nth-child({heads.index(word) + 1}) button")
        return tab.column(heads.index(word) + 1)

    counts = [int(n) for n in click("fires at")]
    assert counts[0] == table["n_active"].max()
    assert counts == sorted(counts, reverse=True)
    assert click("fires at")[0] == "0"
    assert tab.page.get_attribute("#columns th[aria-sort]", "aria-sort") == "ascending"
    assert click("region")[0] == "<b>XX"
    # what is not known comes last, either way
    click("Moran’s I")
    for _ in range(2):
        tab.page.evaluate("document.getElementById('table').scrollTop = 1e9")
        tab.until("document.querySelector('#rows tr:last-child td a')")
        assert tab.column(heads.index("Moran’s I") + 1)[-1] == "–"
        click("Moran’s I")

    # by placename without its accents, by region, by number
    top = np.array(made[1].obs["name"])[made[1].X.toarray().argmax(axis=0)]
    for text, wanted in (("sao paulo", top == "São Paulo"), ("france", table["region"] == "FR")):
        tab.page.fill("#search", text)
        assert tab.text("#count").startswith(f"{int(np.sum(wanted))} of 200")
    tab.page.fill("#search", "199")
    assert tab.text("#count").startswith("0 of")
    tab.page.fill("#search", "onload")
    assert tab.column(1) == ['"><svg onload=x>']
    tab.page.fill("#search", "")
    tab.page.click("#filters summary")
    for field, value, wanted in (
        ("#least-i", "0.2", table["I"] >= 0.2),
        ("#most-q", "0.1", table["q"] <= 0.1),
        ("#least-n", "25", table["n_active"] >= 25),
        ("#most-n", "12", table["n_active"] <= 12),
    ):
        tab.page.fill(field, value)
        assert tab.text("#count") == f"{wanted.sum()} of 200 features"
        tab.page.click("#reset")
    tab.page.fill("#most-q", "0.1")
    tab.page.select_option("#null", "1")
    assert tab.text("#count") == f"{(table['q_within_country'] <= 0.1).sum()} of 200 features"
    tab.page.click("#reset")
    label = f"France ({(table['region'] == 'FR').sum()})"
    tab.page.select_option("#region", label=label)
    assert tab.text("#count") == f"{(table['region'] == 'FR').sum()} of 200 features"
    tab.page.click("#reset")
    tab.page.select_option("#tested", "no")
    assert tab.text("#count") == f"{table['q'].isna().sum()} of 200 features"
    tab.page.click("#reset")
    tab.page.fill("#least-km", "9000")
    reach = gi.spatial.reach_km(
        gi.spatial.correlogram(made[1], made[1], edges_km=(0, 1000, 3000, 9000))
    )
    assert tab.text("#count") == f"{np.isinf(reach).sum()} of 200 features"


def test_a_feature_has_a_link_maps_and_numbers(reader, made, pictures):
    _, feats, table = made
    tab = reader("#feature=0")
    assert tab.page.title() == f"Feature 0 · {TITLE}"
    maps = tab.page.locator(".maps canvas.map")
    tab.until("document.querySelectorAll('.maps canvas.map[data-dots]').length === 2")
    tab.page.screenshot(path=pictures / "feature-regional.png", full_page=True)
    column = feats.X[:, 0].toarray().ravel()
    # one patch fills a part of the world, two patches far apart need all of it
    assert [maps.nth(i).get_attribute("data-view") for i in (0, 1)] == ["region", "region"]
    top = feats.obs["name"].iloc[np.argsort(-column, kind="stable")[:3]].tolist()
    label = maps.nth(0).get_attribute("aria-label")
    assert label.startswith("Regional map of feature")
    assert [name in label for name in top] == [True] * 3
    names = tab.texts(".parts .top .name > bdi")
    assert names[:3] == top
    values = [float(v) for v in tab.texts(".parts .top .number")]
    np.testing.assert_allclose(values, np.sort(column)[::-1][: len(values)], atol=0.0051)
    facts = tab.text("#view-feature .facts")
    assert f"Moran’s I {table.loc['0', 'I']:.3f}" in facts
    nulls = [row.split("\t") for row in tab.texts("#view-feature tbody tr")]
    assert [row[0] for row in nulls] == ["all places", "within country"]
    assert nulls[1][1] == "0.125"
    assert nulls[1][4:] == ["0.000", "yes"]
    assert f"{table.loc['0', 'precision']:.2f}" in tab.texts("#view-feature .pairs dd")
    profile = tab.page.locator("svg[aria-label^='Correlogram']")
    assert profile.locator("circle").count() == 3
    assert len(re.findall("[ML]", profile.locator("path.expected").get_attribute("d"))) == 3
    assert "Above its expectation up to 9,000 km." in tab.text("#view-feature .parts")
    assert tab.page.locator("svg[aria-label^='Histogram'] rect").count() > 3
    tab.page.click("#view-feature .switch button >> nth=1")
    tab.page.wait_for_selector(".maps canvas.map[data-view='world']")
    tab.page.screenshot(path=pictures / "feature-world.png", full_page=True)
    tab.page.click("#view-feature .switch button >> nth=0")

    tab.follow("#feature=1")
    tab.page.wait_for_selector(".maps canvas.map[data-view='world']")
    assert tab.page.locator("#view-feature .switch").count() == 0
    tab.follow("#feature=3")
    assert "It fires nowhere." in tab.text("#view-feature")
    assert "It fires on no place." in tab.text("#view-feature .facts")
    found = gi.spatial.correlogram(feats, feats, edges_km=(0, 1000, 3000, 9000))
    reach = gi.spatial.reach_km(found)
    name = reach[(reach > 0) & (reach < 9000)].index[0]
    tab.follow(f"#feature={name}")
    km = round(float(f"{reach[name]:.4g}"))
    said = f"I first falls to its expectation at about {km:,} km."
    assert said in tab.text("#view-feature .parts")
    # clusters that were not sought, and a name that is no markup
    tab.follow("#feature=30")
    assert maps.count() == 1
    assert "They were sought for other features" in tab.text("#view-feature .maps")
    tab.page.evaluate("location.hash = Atlas.hash('feature', 199)")
    tab.until("document.querySelector('#view-feature h1').innerText.includes('svg')")
    assert tab.text("#view-feature h1") == 'Feature "><svg onload=x>'
    tab.page.go_back()
    tab.page.wait_for_selector("html[data-view='#feature=30']")
    assert tab.text("#view-feature h1") == "Feature 30"
    tab.page.evaluate("location.hash = '#feature=nonesuch'")
    tab.page.wait_for_selector("#trouble:not([hidden])")
    assert "There is no feature" in tab.text("#trouble")


def test_a_place_is_found_as_people_type_it(reader, made, pictures):
    _, feats, _ = made
    tab = reader("#places")
    box = tab.page.locator("#place-search")
    for text, wanted in (("sao", ["São Paulo"]), ("LODZ", ["Łódź"]), ("munchen", ["München"])):
        box.fill(text)
        assert tab.texts("#suggestions li > bdi") == wanted
    # itself, beginnings, beginnings of a word, anything
    box.fill("paris")
    assert tab.texts("#suggestions li > bdi") == KNOWN[3:]
    box.fill("nowhere at all")
    assert tab.text("#place-count") == "No place has such a name."
    box.fill("sao p")
    box.press("ArrowDown")
    assert box.get_attribute("aria-activedescendant") == "offer-0"
    box.press("Enter")
    row = len(HOSTILE)
    tab.page.wait_for_selector(f"html[data-view='#place={1000 + row}']")
    assert tab.text("#places-title") == "São Paulo"
    assert tab.focused() == "São Paulo"
    column = feats.X[row].toarray().ravel()
    order = np.argsort(-column, kind="stable")[:20]
    wanted = [f"Feature {feats.var_names[f]}" for f in order if column[f] > 0]
    assert tab.texts("#place tbody th") == wanted
    km = gi.sphere.distance_km(
        **dict(zip(("lon", "lat"), feats.obsm["spatial"][row], strict=True)),
        to_lon=feats.obsm["spatial"][row, 0] + 8,
        to_lat=feats.obsm["spatial"][row, 1] - 4,
    )
    assert f"{round(float(km))} km" in tab.text("#place .legend")
    assert "1,500 km" in tab.text("#place .legend")
    tab.page.wait_for_selector("#place canvas[data-dots='2']")
    tab.page.screenshot(path=pictures / "place.png", full_page=True)
    tab.page.click("#place tbody a >> nth=0")
    tab.page.wait_for_selector(f"html[data-view='#feature={feats.var_names[order[0]]}']")
    # and back, by what it fires
    tab.follow("#feature=0")
    tab.page.click(".parts .top a >> nth=0")
    tab.page.wait_for_selector("#view-places:not([hidden])")
    strongest = feats.obs["name"].iloc[feats.X[:, 0].toarray().argmax()]
    assert tab.text("#places-title") == strongest


def test_by_keys_alone(reader, made):
    _, _, table = made
    ranked = table.sort_values("I", ascending=False, kind="stable").index.tolist()
    tab = reader()
    keys = tab.page.keyboard

    keys.press("Tab")
    assert tab.focused() == "Skip to the findings"
    keys.press("Enter")
    assert tab.page.evaluate("document.activeElement.id") == "main"
    keys.press("Shift+Tab")
    while tab.focused() != "Features":
        keys.press("Shift+Tab")
    keys.press("Enter")
    tab.page.wait_for_selector("html[data-view='#features']")
    assert tab.focused() == "Features"  # its heading
    keys.press("/")
    assert tab.focused() == "search"
    while tab.page.evaluate("!document.activeElement.closest('#rows')"):
        keys.press("Tab")
    assert tab.focused() == ranked[0]
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    assert tab.focused() == ranked[2]
    for _ in range(5):
        keys.press("PageDown")
    assert tab.focused() == ranked[2 + 5 * 15]
    assert tab.page.evaluate("document.querySelectorAll('#rows tr').length") < 70
    keys.press("End")
    assert tab.focused() == ranked[-1]
    keys.press("Home")
    assert tab.focused() == ranked[0]
    keys.press("Enter")
    tab.page.wait_for_selector("#view-feature:not([hidden])")
    assert tab.text("#view-feature h1") == f"Feature {ranked[0]}"
    for step, at in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        keys.press(step)
        tab.until(
            f"document.querySelector('#view-feature h1').innerText === 'Feature {ranked[at]}'"
        )
    # on a map from place to place, and into one
    tab.page.wait_for_selector(".maps canvas.map[data-dots]")
    while tab.page.evaluate("document.activeElement.tagName") != "CANVAS":
        keys.press("Tab")
    keys.press("ArrowRight")
    tip = tab.page.locator("#tip")
    assert "activation" in tip.inner_text()
    first = tip.inner_text()
    keys.press("ArrowDown")
    assert tip.inner_text() != first
    keys.press("Escape")
    assert not tip.is_visible()
    keys.press("ArrowRight")
    keys.press("Enter")
    tab.page.wait_for_selector("#view-places:not([hidden])")


@pytest.mark.parametrize(
    ("scheme", "width", "height"),
    [
        ("light", 1280, 900),
        ("dark", 1280, 900),
        ("light", 360, 700),
        # what is dark sets colours, what is narrow sizes: each is seen above
        pytest.param("dark", 360, 700, marks=pytest.mark.long),
    ],
)
def test_the_views_that_can_be_seen_can_be_read(reader, made, pictures, scheme, width, height):
    """axe-core finds nothing serious or critical in any view, light, dark or narrow."""
    from axe_playwright_python.sync_playwright import Axe

    views = ["#overview", "#features", "#feature=0", "#place=1008", "#places", "#ratings", "#cards"]
    tab = reader(color_scheme=scheme, viewport={"width": width, "height": height})
    for view in views:
        tab.follow(view)
        if view == "#overview":
            tab.page.wait_for_selector("#cards .card")
            tab.page.evaluate("document.querySelectorAll('details').forEach((d) => d.open = true)")
        if view == "#features":
            tab.page.evaluate("document.getElementById('filters').open = true")
        name = re.sub(r"\W+", "-", view).strip("-")
        tab.page.screenshot(path=pictures / f"{name}-{scheme}-{width}.png")
        # nothing is wider than the window
        wide_ones = tab.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide_ones <= 0, view
        found = Axe().run(tab.page).response["violations"]
        bad = [
            (each["id"], each["nodes"][0]["html"][:200], each["nodes"][0]["failureSummary"])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert bad == [], view


def test_the_maps_are_dark_in_the_dark(reader):
    colours = []
    for scheme in ("light", "dark"):
        tab = reader("#feature=2", color_scheme=scheme)
        tab.page.wait_for_selector(".maps canvas.map[data-dots]")
        colours.append(
            tab.page.evaluate(
                """() => {
                  const map = document.querySelector(".maps canvas.map");
                  const pen = map.getContext("2d");
                  const pixels = pen.getImageData(0, 0, map.width, map.height).data;
                  const grey = [];
                  for (let i = 0; i < pixels.length; i += 4)
                    if (pixels[i + 3] === 255) grey.push(pixels[i] + pixels[i + 1] + pixels[i + 2]);
                  const paper = getComputedStyle(document.body).backgroundColor.match(/\\d+/g);
                  return [grey.sort((a, b) => a - b)[grey.length >> 1] / 3, Number(paper[0])];
                }"""
            )
        )
    (light_map, light_paper), (dark_map, dark_paper) = colours
    assert light_map > 200 > 80 > dark_map
    assert light_paper > 240 > 40 > dark_paper


def test_hostile_names_are_inert(reader, made):
    tab = reader("#places")
    for row, name in enumerate(HOSTILE):
        tab.page.evaluate("(row) => { location.hash = Atlas.hash('place', row); }", row)
        tab.page.wait_for_selector(f"html[data-view='#place={1000 + row}']")
        shown = tab.page.evaluate("document.getElementById('places-title').textContent")
        assert shown == (name if len(name) < 90 else name[:89] + "…")
        assert tab.page.evaluate(f"Atlas.data.places.name[{row}]") == name
    for feature in range(4, 12):
        tab.follow(f"#feature={feature}")
    for view in ("#overview", "#ratings", "#cards", "#features"):
        tab.follow(view)
    tab.page.fill("#search", "<script>")
    assert tab.page.title() == f"Features · {TITLE}"
    tags = tab.page.evaluate(
        "[...new Set([...document.querySelectorAll('*')].map((e) => e.localName))]"
    )
    assert not set(tags) & {"img", "b-xx", "i-name"}
    assert tab.page.locator("script").count() == 1
    handlers = "[...document.querySelectorAll('*')].flatMap((e) => e.getAttributeNames())"
    assert not [name for name in tab.page.evaluate(handlers) if name.startswith("on")]
    # an override of direction ends with the name
    written = "[...document.querySelectorAll('bdi')].map((e) => getComputedStyle(e).unicodeBidi)"
    assert {word.split("-")[0] for word in tab.page.evaluate(written)} == {"isolate"}


def test_a_file_of_data_can_do_nothing_but_hand_over_its_text(reader, made, tmp_path):
    folder = tmp_path / "atlas"
    shutil.copytree(made[0], folder)
    text = json.dumps(json.dumps({"title": "x", "evil": "</script>"}))
    (folder / "data" / "features-1.js").write_text(
        f'geointerpAtlas("features-1", {text}); geointerpAtlas("overview", {text});'
        'geointerpAtlas("features-1", {toString() { document.title = "HACKED"; }});'
    )
    tab = reader("#feature=0", folder=folder)
    tab.page.evaluate("location.hash = '#feature=70'")
    tab.page.wait_for_selector("#trouble:not([hidden])")
    assert tab.page.evaluate("Atlas.data.overview.title") == TITLE
    assert tab.page.title() == f"Feature atlas · {TITLE}"
    # nor can it take the place of what reads it
    assert (
        tab.page.evaluate("() => { window.geointerpAtlas = 1; return typeof geointerpAtlas; }")
        == "function"
    )
    (folder / "data" / "features-1.js").unlink()
    lost = Reader(tab.page.context.browser, folder).go("#feature=70")
    lost.page.wait_for_selector("#trouble:not([hidden])")
    assert "data/features-1.js can’t be read" in lost.text("#trouble")
    lost.follow("#feature=0")
    assert not lost.page.locator("#trouble").is_visible()
    lost.page.close()


def test_the_policy_stops_what_is_not_the_folders(browser, made, tmp_path):
    folder = tmp_path / "atlas"
    shutil.copytree(made[0], folder)
    page = folder / "index.html"
    inline = "<script>document.title='HACKED'</script><img src='https://example.org/x.png'>"
    page.write_text(page.read_text("utf-8").replace("</body>", inline + "</body>"), "utf-8")
    tab = Reader(browser, folder).go()
    tab.page.evaluate(
        """() => new Promise((done) => {
          const script = document.createElement("script");
          script.src = "https://example.org/x.js"; script.onerror = done;
          document.head.append(script);
        })"""
    )
    assert tab.page.title() == TITLE
    assert len(tab.said) == 3
    assert all("Content Security Policy" in line for line in tab.said)
    assert sorted(tab.failed) == ["https://example.org/x.js", "https://example.org/x.png"]
    tab.page.close()


def test_it_opens_from_a_server_too(browser, made):
    import functools
    import http.server
    import threading

    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=made[0])
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/"
        page = browser.new_page()
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(address + "index.html#feature=0")
        page.wait_for_selector(".maps canvas.map[data-dots]")
        assert [line for line in said if "favicon" not in line and "404" not in line] == []
        page.close()
    finally:
        server.shutdown()


def test_maps_project_as_the_plots_do(reader, made):
    _, feats, _ = made
    lon, lat = feats.obsm["spatial"].T
    tab = reader("#feature=0")
    world = np.array(tab.page.evaluate("[...Atlas.theWorld().places()]")).reshape(-1, 2)
    across, up = plot.equal_earth(lon=lon, lat=lat, center=plot.CENTER)
    np.testing.assert_allclose(world, np.column_stack([across, -up]), atol=2e-4)
    # Lambert's azimuthal projection, from its definition: the chord to the centre is kept
    region = tab.page.evaluate(
        """async () => {
          const view = await Atlas.fittedTo(await Atlas.feature(0));
          const box = [view.left, view.top, view.wide, view.high];
          return { spots: [...view.places()], center: view.center, box };
        }"""
    )
    spots = np.array(region["spots"]).reshape(-1, 2) + region["box"][:2]
    km = gi.sphere.distance_km(
        lon=lon, lat=lat, to_lon=region["center"][0], to_lat=region["center"][1]
    )
    chord = 2 * np.sin(km / gi.sphere.EARTH_RADIUS_KM / 2)
    np.testing.assert_allclose(np.hypot(*spots.T), chord, atol=2e-4)
    bearing = gi.sphere.bearing(
        lon=region["center"][0], lat=region["center"][1], to_lon=lon, to_lat=lat
    )
    far = (chord > 0.05) & (chord < 1.9)
    turned = (
        np.degrees(np.arctan2(spots[far, 0], -spots[far, 1])) - bearing[far] + 180
    ) % 360 - 180
    np.testing.assert_allclose(turned, 0, atol=0.3)
    # nine tenths and more of the activation are in the picture
    column = feats.X[:, 0].toarray().ravel()
    inside = (np.abs(spots - region["box"][:2]) < region["box"][2:]).all(axis=1)
    assert column[inside].sum() >= 0.93 * column.sum()


def test_one_is_not_many(browser, made, tmp_path):
    _, feats, table = made
    lonely = feats[:, :1].copy()
    lonely.X = sparse.csr_matrix(([1.0], ([20], [0])), shape=lonely.shape)
    table = table.loc[["0"], ["I", "q", "n_active"]].assign(q=0.01, I=0.5, n_active=1)
    gi.atlas.write(lonely, table, out=tmp_path / "a")
    tab = Reader(browser, tmp_path / "a").go()
    tab.page.wait_for_selector("#cards .card")
    text = tab.text("main")
    assert "1\nfeature clusters on the map" in text
    assert "Of 1 feature tested, 1 has q ≤ 0.05; here it is." in text
    assert tab.texts("#nav a") == ["Overview", "Features", "Places"]
    tab.follow("#feature=0")
    text += tab.text("main") + tab.page.locator(".maps canvas.map").get_attribute("aria-label")
    assert "fires at 1 place, most at" in text
    assert not re.search(r"\b1 (places|features|have)\b", text)
    table = table.assign(q=np.nan, I=-0.0004)
    gi.atlas.write(lonely, table, out=tmp_path / "a")
    tab.go()
    tab.until("document.getElementById('shown-note').innerText")
    assert "No feature was tested; the table says why." in tab.text("main")
    tab.follow("#feature=0")
    assert "Moran’s I 0.000" in tab.text("#view-feature .facts")
    assert tab.said == []
    tab.page.close()


@pytest.mark.parametrize("astray", [None, (-100.0, -40.0)])
def test_a_table_of_a_part_of_the_world_fills_its_maps(browser, tmp_path, pictures, astray):
    atlas(tmp_path / "a", n=120, width=40, scale=0.02, astray=astray)
    tab = Reader(browser, tmp_path / "a").go()
    tab.page.locator("#shown-note").scroll_into_view_if_needed()
    tab.page.wait_for_selector("#cards .card canvas[data-dots]")
    views = tab.page.eval_on_selector_all("#cards canvas", "all => all.map((c) => c.dataset.view)")
    assert set(views) == {"region"}
    # what the probe puts elsewhere is on its map too
    seen = tab.page.get_attribute("#probe-map", "data-view")
    assert seen == ("region" if astray is None else "world")
    label = tab.page.get_attribute("#probe-map", "aria-label")
    assert label.startswith("Regional map of 120 places" if astray is None else "World map")
    assert tab.page.get_attribute("#cards canvas", "aria-label").startswith("Regional map")
    tab.page.evaluate("scrollTo(0, 0)")
    tab.page.screenshot(path=pictures / f"overview-{seen}.png", full_page=True)
    tab.follow("#ratings")
    tab.page.wait_for_selector("#ratings-map canvas[data-dots]")
    assert tab.page.get_attribute("#ratings-map canvas", "data-view") == "region"
    # every place of the table lies in the picture
    inside = tab.page.evaluate(
        "[...Atlas.filling.places()].every((v, i) =>"
        " Math.abs(v) < (i % 2 ? Atlas.filling.high : Atlas.filling.wide))"
    )
    assert inside
    assert tab.said == []
    tab.page.close()


def test_what_a_map_leaves_out_is_counted_and_passed_over(reader, made):
    _, feats, _ = made
    tab = reader("#feature=0")
    tab.until("document.querySelectorAll('.maps canvas.map[data-dots]').length === 2")
    maps, notes = tab.page.locator(".maps canvas.map"), tab.page.locator(".maps figure > .note")
    spots, *sides = tab.page.evaluate(
        """async () => {
          const view = await Atlas.fittedTo(await Atlas.feature(0));
          return [[...view.places()], view.wide, view.high];
        }"""
    )
    inside = (np.abs(np.reshape(spots, (-1, 2))) <= sides).all(axis=1)
    fires = feats.X[:, 0].toarray().ravel() != 0
    within, out = int((fires & inside).sum()), int((fires & ~inside).sum())
    assert out == 1
    assert maps.nth(0).get_attribute("data-dots") == str(within)
    assert notes.nth(0).inner_text() == f"1 of its {within + 1} places lies outside this map."
    sizes = [int(n.replace(",", "")) for n in tab.texts(".maps .legend b")]
    assert tab.texts(".maps .legend li")[-1].split("\n") == ["in no cluster", str(sizes[-1])]
    assert sum(sizes) == feats.n_obs
    dots = int(maps.nth(1).get_attribute("data-dots"))
    left, all_of_them = sum(sizes[:4]) - dots, sum(sizes[:4])
    assert 0 < dots <= inside.sum()
    assert notes.nth(1).inner_text() == (
        f"{left} of its {all_of_them} places in clusters lie outside this map."
    )
    maps.nth(0).focus()
    told = []
    for _ in range(within + 1):
        tab.page.keyboard.press("ArrowRight")
        told.append(tab.text("#tip"))
    assert len(set(told)) == within
    assert told[-1] == told[0]  # once around
    tab.page.click("#view-feature .switch button >> nth=1")
    tab.page.wait_for_selector(".maps canvas.map[data-view='world']")
    assert maps.nth(0).get_attribute("data-dots") == str(within + 1)
    assert not notes.nth(0).is_visible()
    assert not notes.nth(1).is_visible()
    tab.page.click("#view-feature .switch button >> nth=0")
    assert notes.nth(0).is_visible()


def test_a_table_of_one_town_fills_its_maps_without_outlines(browser, tmp_path, pictures):
    feats, _ = atlas(tmp_path / "a", n=300, width=40, scale=0.0003)
    tab = Reader(browser, tmp_path / "a").go()
    tab.page.locator("#shown-note").scroll_into_view_if_needed()
    tab.page.wait_for_selector("#cards .card canvas[data-dots]")
    assert 20 < tab.page.evaluate("Atlas.filling.km") < 40
    spots = np.reshape(tab.page.evaluate("[...Atlas.filling.places()]"), (-1, 2))
    wide, high = tab.page.evaluate("[Atlas.filling.wide, Atlas.filling.high]")
    assert (np.ptp(spots, axis=0) > [0.15 * 2 * wide, 0.2 * 2 * high]).all()
    # land alone under the dots
    colours = tab.page.evaluate(
        """() => {
          const drawn = new Set(), pen = { fillRect() { drawn.add(this.fillStyle); } };
          Atlas.filling.draw(pen, () => drawn.add("a line"));
          return [[...drawn], [Atlas.css("--land")]];
        }"""
    )
    assert colours[0] == colours[1]
    tab.page.evaluate("scrollTo(0, 0)")
    tab.page.screenshot(path=pictures / "town-overview.png", full_page=True)
    tab.follow("#place=1020")
    tab.page.wait_for_selector("#place canvas[data-dots='2']")
    assert tab.page.evaluate("document.querySelector('#place canvas').chart.view.km") < 100
    lon, lat = np.round(feats.obsm["spatial"][20], 4)
    assert f"{lat:g}° N, {lon:g}° E" in tab.text("#place .facts")
    tab.page.screenshot(path=pictures / "town-place.png", full_page=True)
    # nor is more of the world shown where the probe's circle or the probe is missing
    for without in ("Atlas.data.overview.probe.radius", "Atlas.data.overview.probe"):
        tab.go().page.evaluate(f"{without} = null")
        tab.follow("#place=1020")
        assert tab.page.evaluate("document.querySelector('#place canvas').chart.view.km") < 100
    tab.follow("#feature=0")
    tab.page.wait_for_selector(".maps canvas.map[data-dots]")
    tab.page.screenshot(path=pictures / "town-feature.png", full_page=True)
    assert tab.said == []
    tab.page.close()


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Tiny activations beside huge ones and what is no number; one layer; names alike."""
    rng = np.random.default_rng(3)
    n = 60
    lon, lat = gi.sphere.lon_lat(rng.standard_normal((n, 3)))
    lon[0], lat[0] = plot.CENTER + 178, 0.0
    values = np.zeros((n, 3), np.float32)
    values[:30, 0] = 0.00123 * np.arange(1, 31)
    values[:30, 1] = 5000
    values[:5, 2] = [1, np.nan, 2, 3, np.inf]
    names = ["At the edge", "Springfield", "Springfield", "Nuku’alofa", "Hawaiʻi"]
    feats = anndata.AnnData(
        values,
        obs=pd.DataFrame(
            {"name": names + [f"place {i}" for i in range(5, n)], "country": "US"},
            index=[str(i) for i in range(n)],
        ),
        var=pd.DataFrame(index=["0", "1", "2"]),
        obsm={"spatial": np.column_stack([lon, lat])},
    )
    table = pd.DataFrame(
        {"I": [0.5, 0.4, np.nan], "q": [0.05004, 0.01, np.nan], "n_active": [30, 30, 5]},
        index=feats.var_names,
    )
    table["reason"] = pd.array([None, None, "Its values are not all finite."], "string")
    table["spread_km"], table["n_patches"], table["largest_patch"] = 1234.0, 3, 0.5
    report = probe_report(feats, lon, lat, east=2)
    report.table = report.table[report.table["layer"].fillna(0) == 0].reset_index(drop=True)
    to = ["predicted_lon", "predicted_lat"]
    report.predictions.loc["0", to] = plot.CENTER - 178, 0.0
    report.predictions.loc["5", "error_km"] = 15_000.0
    out = tmp_path_factory.mktemp("odd") / "atlas"
    ratings = pd.DataFrame({"rating": np.arange(7.0)}, index=feats.obs_names[:7])
    gi.atlas.write(feats, table, out=out, report=report, ratings=ratings)
    return out


def test_small_activations_and_those_that_are_no_numbers(reader, odd):
    tab = reader("#feature=0", folder=odd)
    assert tab.texts(".parts .top .number")[:2] == ["0.0369", "0.0357"]
    # q is .05004: shown as .050, but not at most that
    assert tab.texts("#view-feature tbody tr")[0].split("\t")[-2:] == ["0.050", "no"]
    parts = tab.text("#view-feature .parts")
    assert "How far it spreads" in parts
    assert "1,230 km" in parts
    tab.follow("#place=0")
    assert tab.texts("#place td.meter") == ["5,000", "1", "0.00123"]
    tab.follow("#feature=2")
    assert "It fires nowhere" not in tab.text("#view-feature")
    assert "Some of its activations are no finite numbers" in tab.text("#view-feature")
    assert "are no finite numbers" in tab.page.get_attribute(".maps canvas", "aria-label")
    tab.follow("#features")
    tab.page.click("#filters summary")
    tab.page.fill("#most-q", "0.05")
    assert tab.text("#count") == "1 of 3 features"


def test_the_probe_of_one_layer(reader, odd):
    tab = reader(folder=odd)
    level = tab.page.locator("#charts path.line[stroke-dasharray='2 4']").first
    ends = [float(x) for x in re.findall(r"[ML]([\d.]+)", level.get_attribute("d"))]
    assert ends == [34, 260]
    assert tab.texts("#probe-legend span")[1].startswith("≥ ")
    # a way over the map's edge does not cross the map
    tab.page.locator("#probe-map").scroll_into_view_if_needed()
    tab.page.wait_for_selector("#probe-map[data-dots='60']")
    middle = """() => {
      const map = document.getElementById("probe-map"), line = document.createElement("canvas");
      line.width = 1; line.height = map.height;
      const pen = line.getContext("2d");
      pen.drawImage(map, -Math.round(map.width / 2), 0);
      return pen.getImageData(0, 0, 1, line.height).data.join();
    }"""
    before = tab.page.evaluate(middle)
    tab.page.evaluate("document.getElementById('probe-map').chart.mark(0)")
    assert "At the edge" in tab.text("#tip")
    assert tab.page.evaluate(middle) == before


def test_names_alike_are_told_apart_and_apostrophes_are_one(reader, odd):
    tab = reader("#places", folder=odd)
    box = tab.page.locator("#place-search")
    box.fill("springfield")
    places = tab.page.evaluate("[1, 2].map(Atlas.where)")
    assert tab.texts("#suggestions li small") == [f"United States, {where}" for where in places]
    for text, wanted in (
        ("nuku'a", "Nuku’alofa"),
        ("nukuʻa", "Nuku’alofa"),
        ("hawai'i", "Hawaiʻi"),
    ):
        box.fill(text)
        assert tab.texts("#suggestions li > bdi") == [wanted]
    assert tab.texts("#suggestions li small") == ["United States"]


def test_few_ratings_and_views_with_nothing_in_them(reader, odd):
    tab = reader("#ratings", folder=odd)
    assert tab.texts("#ratings-table h2") == ["Highest", "Lowest"]
    assert tab.texts("#ratings-table .number") == ["6", "5", "4", "3", "0", "1", "2"]
    tab.follow("#cards")
    assert tab.page.locator("#view-overview").is_visible()
    # a click on a dot opens its place
    tab.follow("#feature=1")
    tab.page.wait_for_selector(".maps canvas[data-dots]")
    at = tab.page.evaluate(
        """() => {
          const { dots, scale, ratio, canvas } = document.querySelector(".maps canvas").chart;
          const box = canvas.getBoundingClientRect(), [a, d] = dots.at(0);
          return [box.left + box.width / 2 + (a * scale) / ratio,
                  box.top + box.height / 2 + (d * scale) / ratio];
        }"""
    )
    tab.page.mouse.move(*at)
    tab.page.mouse.click(*at)
    tab.page.wait_for_selector("#view-places:not([hidden])")
    assert tab.text("#places-title") == "At the edge"


def test_from_feature_to_feature_the_reader_begins_at_the_top(reader):
    tab = reader("#feature=0", viewport={"width": 1280, "height": 400})
    tab.page.locator(".parts .top a").first.focus()
    tab.page.evaluate("scrollTo(0, 600)")
    tab.follow("#feature=1")
    assert tab.focused() == "Feature 1"
    assert tab.page.evaluate("scrollY") == 0
    # but who steps with the buttons stays on them
    tab.page.locator("#after").focus()
    tab.page.evaluate("scrollTo(0, 100)")
    before = tab.text("#view-feature h1")
    tab.page.keyboard.press("Enter")
    tab.until(f"document.querySelector('#view-feature h1').innerText !== '{before}'")
    assert tab.page.evaluate("document.activeElement.id") == "after"
    assert tab.page.evaluate("scrollY") == 100


def test_a_file_of_data_that_broke_off_is_named(browser, made, tmp_path):
    folder = tmp_path / "atlas"
    shutil.copytree(made[0], folder)
    path = folder / "data" / "features-1.js"
    path.write_bytes(path.read_bytes()[:500])
    tab = Reader(browser, folder).go("#feature=70")
    tab.page.wait_for_selector("#trouble:not([hidden])")
    assert tab.text("#trouble") == "data/features-1.js is not whole"
    path = folder / "data" / "places.js"
    path.write_bytes(path.read_bytes()[:500])
    tab.page.goto("about:blank")
    tab.page.goto((folder / "index.html").as_uri())
    tab.page.wait_for_selector("#trouble:not([hidden])")
    assert tab.text("#trouble").startswith("data/places.js is not whole")
    tab.page.close()
