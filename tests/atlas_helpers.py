"""Features, a run and a reader of the files that the tests of the atlas share."""

import base64
import json
import re
from html.parser import HTMLParser

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

import geointerp as gi
from geointerp.atlas import packing

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
        "1": (0.9, 0.05004, None),
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


CALL = re.compile(r'geointerpAtlas\("([a-z0-9-]+)",("(?:[^"\\]|\\.)*")\);\n', re.ASCII)


def payload(path):
    """What a file of data gives the page, if it is one call with texts and nothing else."""
    text = path.read_bytes().decode("ascii")
    called = CALL.fullmatch(text)
    assert called, path
    assert called[1] == path.stem
    return json.loads(json.loads(called[2]))


def read(folder):
    """All data of an atlas, by the names of its files."""
    return {path.stem: payload(path) for path in (folder / "data").iterdir()}


def page_of(folder):
    text = (folder / "index.html").read_text("utf-8")
    return text, Parsed(text)


def unpacked(packed, at=0):
    """Readers of what packing.py writes, from a place in the bytes on."""
    data, at = base64.b64decode(packed), [at]

    def number():
        value = shift = 0
        while True:
            byte = data[at[0]]
            at[0] += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def rising(n):
        return np.cumsum([number() for _ in range(n)]).astype(int)

    def values(n, low, high):
        shares = np.frombuffer(data, "<u2", n, at[0]) / packing.LEVELS
        at[0] += 2 * n
        return low + shares * (high - low)

    def singles(n):
        return np.frombuffer(data, "<f4", n, at[0])

    return number, rising, values, singles


def of_block(block, k, n_places):
    """A feature of a file: its values everywhere, and its clusters."""
    _, rising, values, _ = unpacked(block["bytes"], block["at"][k])
    at = rising(block["n"][k])
    dense = np.zeros(n_places)
    dense[at] = values(block["n"][k], block["low"][k], block["high"][k])
    counts = block["clusters"][k]
    found = counts if not isinstance(counts, list) else [rising(n).tolist() for n in counts]
    return dense, found


def written(out):
    """An atlas of everything that it can be given."""
    feats = make_features()
    ratings = pd.DataFrame({"rating": [1.5, np.nan, 7.0]}, index=[1002, 1003, 1005])
    ratings["mass"] = [0.01, 0.5, 0.02]
    ratings.attrs["task"] = "Population </script>"
    table = make_table(feats).iloc[::-1]
    made = gi.atlas.write(
        feats, table, out=out, report=make_report(feats), figures=FIGURES, ratings=ratings
    )
    assert made == out
    return out


def everything(folder):
    """Each file and folder below, with the bytes that it holds."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(folder.rglob("*"))
    }
