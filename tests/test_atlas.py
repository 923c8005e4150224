import json
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
from atlas_helpers import (
    FEATURES,
    FIGURES,
    everything,
    make_features,
    make_report,
    make_table,
    of_block,
    read,
    unpacked,
    written,
)
from scipy import sparse

import geointerp as gi
from geointerp import plot
from geointerp.atlas import packing, places
from geointerp.errors import InputError


@pytest.fixture(scope="module")
def feats():
    return make_features()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("run") / "atlas")


def test_figures_are_the_inputs(folder):
    data = read(folder)["overview"]
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
    assert "/somewhere" not in json.dumps(read(folder))


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
        tiles = [
            t for t in read(tmp_path / first)["overview"]["tiles"] if t["label"].startswith("R²")
        ]
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
    tiles = {tile["label"]: tile["value"] for tile in read(tmp_path / "a")["overview"]["tiles"]}
    assert tiles["R², untrained"] == "0.00"
    assert "R², bag of tokens" not in tiles
    report.table.loc[untrained, "r2"] = -0.5
    gi.atlas.write(feats, make_table(feats), out=tmp_path / "b", report=report)
    tiles = {tile["label"]: tile["value"] for tile in read(tmp_path / "b")["overview"]["tiles"]}
    assert tiles["R², bag of tokens"] == "−0.13"


def test_the_strongest_are_the_significant_by_their_i(folder, feats):
    data = read(folder)
    assert [FEATURES[row] for row in data["strongest"]["rows"]] == ["4", "it's", "0", FEATURES[2]]
    counts = data["overview"]["counts"]
    assert {k: counts[k] for k in ("tested", "significant", "strong", "q")} == {
        "tested": 6,
        "significant": 4,
        "strong": 3,
        "q": 0.05,
    }
    table, shown = make_table(feats), data["features"]
    rounding = {"I": 1e-6, "q": 1e-8, "p": 1e-3, "z": 1e-3, "n_active": 0}
    for column, rtol in rounding.items():
        got = pd.Series(shown[column.removesuffix("_active")], index=FEATURES, dtype=float)
        np.testing.assert_allclose(got, table[column].astype(float), rtol=rtol)
    reasons = [shown["reasons"][code] if code >= 0 else None for code in shown["reason"]]
    assert reasons == [None if pd.isna(r) else r for r in table["reason"]]


def wide_features(n_places=1100, width=150, seed=1, dense=False):
    """More than two files of features and of places, with places far apart in the file."""
    rng = np.random.default_rng(seed)
    matrix = sparse.random(n_places, width, 0.02, format="csr", dtype=np.float32, rng=rng)
    matrix[n_places - 1, 3] = -2.5  # one below zero, after the longest gap
    lon, lat = gi.sphere.lon_lat(rng.standard_normal((n_places, 3)))
    return anndata.AnnData(
        matrix.toarray() if dense else matrix,
        obs=pd.DataFrame({"name": [f"place {i}" for i in range(n_places)]}),
        obsm={"spatial": np.column_stack([lon, lat])},
    )


@pytest.mark.parametrize("dense", [False, True])
def test_files_hold_what_is_not_zero(tmp_path, dense):
    feats = wide_features(dense=dense)
    table = pd.DataFrame(
        {"I": 0.5, "q": 0.01, "n_active": np.asarray((feats.X != 0).sum(axis=0)).ravel()},
        index=feats.var_names,
    )
    gi.atlas.write(feats, table, out=tmp_path / "a")
    data = read(tmp_path / "a")
    wanted = feats.X if dense else feats.X.toarray()
    files = [data[f"features-{i}"] for i in range(3)]
    assert [len(file["rows"]) for file in files] == [64, 64, 22]
    assert data["overview"]["counts"]["block"] == 64
    for file in [*files, data["strongest"]]:
        for k, row in enumerate(file["rows"]):
            got, _ = of_block(file, k, feats.n_obs)
            some = wanted[wanted[:, row] != 0, row]
            half = np.ptp(some) / packing.LEVELS / 2
            np.testing.assert_allclose(got, wanted[:, row], atol=1.001 * half, rtol=1e-9)
            assert ((got != 0) == (wanted[:, row] != 0)).all()
    assert f"features-{3}" not in data
    # of each place, by size whatever the sign, and at most twenty
    for number in range(3):
        file = data[f"places-{number}"]
        read_number, _, _, singles = unpacked(file["bytes"])
        rows = [[read_number() for _ in range(n)] for n in file["n"]]
        shown = singles(sum(file["n"]))
        assert file["first"] == number * places.BLOCK
        at = 0
        for place, chosen in enumerate(rows, file["first"]):
            own = wanted[place]
            ranked = sorted(np.flatnonzero(own), key=lambda f, own=own: (-abs(own[f]), f))
            assert chosen == ranked[: places.STRONGEST]
            np.testing.assert_array_equal(shown[at : at + len(chosen)], own[chosen])
            at += len(chosen)
    assert sum(len(data[f"places-{i}"]["n"]) for i in range(3)) == feats.n_obs
    lon_lat = np.column_stack([data["places"]["lon"], data["places"]["lat"]])
    np.testing.assert_allclose(lon_lat, feats.obsm["spatial"], atol=0.0000501)
    top = [int(np.argmax(wanted[:, row])) for row in range(feats.n_vars)]
    assert data["features"]["top"] == top


def local_of(feats, names=None, **options):
    graph = gi.spatial.knn(feats, k=4)
    chosen = feats if names is None else feats[:, names]
    return gi.spatial.local_moran(chosen, graph, permutations=199, alpha=1, **options)


def test_clusters_are_those_of_local_moran(feats, tmp_path):
    local = local_of(feats)
    parts = (local.isel(feature=slice(i, i + 3)) for i in (0, 3, 6))  # gone through once
    for name, given_ in (("whole", local), ("parts", parts)):
        gi.atlas.write(feats, make_table(feats), out=tmp_path / name, local=given_)
    assert everything(tmp_path / "whole") == everything(tmp_path / "parts")
    data = read(tmp_path / "whole")
    assert data["overview"]["counts"]["alpha"] == 1
    kinds = set()
    for k in range(len(FEATURES)):
        dense, found = of_block(data["features-0"], k, feats.n_obs)
        cluster = local["cluster"].values[:, k]
        kinds |= set(cluster)
        assert found == [
            np.flatnonzero(cluster == kind).tolist() for kind in ("HH", "LL", "LH", "HL")
        ]
        np.testing.assert_allclose(dense, feats.X[:, [k]].toarray().ravel(), atol=1e-4)
    assert {"HH", "LH"} < kinds
    some = local_of(feats, ["4", "0"])
    constant = feats.copy()
    constant.X[:, 4] = 1
    gi.atlas.write(
        constant, make_table(feats), out=tmp_path / "some", local=local_of(constant, ["4"])
    )
    assert read(tmp_path / "some")["features-0"]["clusters"][4].startswith("It is constant")
    gi.atlas.write(feats, make_table(feats), out=tmp_path / "some", local=some)
    found = read(tmp_path / "some")["features-0"]["clusters"]
    assert [isinstance(each, list) for each in found] == [name in ("4", "0") for name in FEATURES]
    other = some.assign_coords(place=feats.obs_names[::-1])
    for wrong, said in (
        (some.assign_coords(feature=["4", "9"]), "no feature '9'"),
        (other, "places are not the features'"),
        (some.assign_attrs(statistic="Getis"), "it is not local Moran's I"),
        ([some, some.assign_attrs(alpha=0.1)], r"several alphas, \[0.1, 1.0\]"),
    ):
        with pytest.raises(InputError, match=said):
            gi.atlas.write(feats, make_table(feats), out=tmp_path / "b", local=wrong)


def test_correlograms(feats, tmp_path):
    edges = (0, 1500, 4000, 9000)
    found = gi.spatial.correlogram(feats, feats, edges_km=edges)
    # in any order; of some features alone
    some = found[found["feature"] != "5"].sample(frac=1, random_state=0)
    gi.atlas.write(feats, make_table(feats), out=tmp_path / "a", correlograms=some)
    data = read(tmp_path / "a")
    assert data["features"]["edges_km"] == [0, 1500, 4000, 9000]
    reach = gi.spatial.reach_km(found)
    for k, name in enumerate(FEATURES):
        profile = data["features-0"]["correlogram"][k]
        if name == "5":
            assert profile is data["features"]["reach_km"][k] is None
            continue
        rows = found[found["feature"] == name]
        for got, column in zip(profile, ("I", "expected_I", "z"), strict=True):
            np.testing.assert_allclose(np.array(got, float), rows[column], rtol=6e-3)
        wanted = min(reach[name], 9000)
        assert data["features"]["reach_km"][k] == pytest.approx(wanted, rel=1e-3)
    for wrong, said in (
        (found.drop(columns="z"), "no column 'z'"),
        (found.replace({"feature": {"4": "9"}}), "no feature '9'"),
        (found.drop(index=4), "has a band twice or lacks one"),
        (found.assign(to_km=found["to_km"] + 1), "don't follow each other"),
    ):
        with pytest.raises(InputError, match=said):
            gi.atlas.write(feats, make_table(feats), out=tmp_path / "b", correlograms=wrong)


def make_sae(hidden, latents, seed=0):
    """As much of an autoencoder as its directions need."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    decoder = torch.randn(latents, hidden, generator=generator)
    decoder[3] = 0  # which writes nothing
    return SimpleNamespace(
        W_dec=decoder, cfg=SimpleNamespace(d_sae=latents, d_in=hidden, metadata={})
    )


def test_nearest_features_and_vocabulary_are_those_of_the_autoencoder(feats, tmp_path):
    model = gi.models.load("toponym")
    sae = make_sae(model.hidden, 30)
    rows = [7, 3, 29, 0, 12, 5, 18, 21]
    named = feats.copy()
    named.var_names = [str(row) for row in rows]
    table = make_table(feats).set_axis(named.var_names)
    gi.atlas.write(named, table, out=tmp_path / "a", sae=sae, model=model)
    file = read(tmp_path / "a")["features-0"]
    for k, latent in enumerate(rows):
        near = gi.saes.neighbours(sae, latent, n=30)
        near = near[near["feature"].isin(rows)]
        if latent != 3:  # to which all are as near
            assert [rows[row] for row, _ in file["nearest"][k]] == near["feature"].tolist()
        np.testing.assert_allclose([c for _, c in file["nearest"][k]], near["cosine"], atol=6e-4)
        words = gi.saes.promoted(sae, model, latent, n=8)
        for got, side in zip(file["words"][k], ("promoted", "suppressed"), strict=True):
            wanted = words[words["side"] == side]
            np.testing.assert_allclose([v for _, v in got], wanted["logit"], atol=0.006)
            if latent != 3:
                assert [text for text, _ in got] == wanted["token"].tolist()
    gi.atlas.write(named, table, out=tmp_path / "a", sae=sae)
    assert read(tmp_path / "a")["features-0"]["words"] is None
    with pytest.raises(InputError, match="without their autoencoder"):
        gi.atlas.write(named, table, out=tmp_path / "b", model=model)
    with pytest.raises(InputError, match=r"feature '\d+' is none of its latents, .* 0 to 4"):
        gi.atlas.write(named, table, out=tmp_path / "b", sae=make_sae(model.hidden, 5))


def test_cards_tell_no_folder_of_this_computer(feats, tmp_path):
    cards = {
        "moran.csv": {
            "title": "Moran's I",
            "made by": {"features": "/home/somebody/run/features.h5ad", "k": 8, "of": ["/a/b/c"]},
            "versions": {"python": "3"},
        },
        "<b>": {},
    }
    gi.atlas.write(feats, make_table(feats), out=tmp_path / "a", cards=cards)
    assert read(tmp_path / "a")["overview"]["cards"] == [
        {
            "name": "moran.csv",
            "title": "Moran's I",
            "sections": [
                {
                    "heading": "made by",
                    "rows": [["features", "features.h5ad"], ["k", 8], ["of", "c"]],
                }
            ],
        },
        {"name": "<b>", "title": "<b>", "sections": []},
    ]


def test_outlines_on_the_page_are_the_plots(folder):
    data = read(folder)
    assert len(data["world"]["rings"]) == len(plot.outlines())
    for steps, ring in zip(data["world"]["rings"], plot.outlines(), strict=True):
        points = np.cumsum(np.reshape(steps, (-1, 2)), axis=0) / 100
        np.testing.assert_allclose(points, ring, atol=0.00501)


def test_the_finer_outlines_close_and_lie_on_the_coarse_ones(folder):
    """Land of the finer outlines covers the countries of the coarse ones, but for their shores."""
    from shapely import MultiPolygon, Polygon, union_all

    coast = read(folder)["coast"]
    arcs = [np.cumsum(np.reshape(arc, (-1, 2)), axis=0) / 100 for arc in coast["arcs"]]
    land = []
    for ring in coast["land"]:
        parts = [arcs[i] if i >= 0 else arcs[~i][::-1] for i in ring]
        for part, following in zip(parts, [*parts[1:], parts[0]], strict=True):
            assert np.allclose(part[-1] % 360, following[0] % 360, atol=0.011)
        lon, lat = np.vstack(parts).T
        lon = np.unwrap(lon, period=360)
        if abs(lon[-1] - lon[0]) < 180 and len(lon) > 3:  # not around a pole
            land.append(Polygon(np.column_stack([lon, lat])).buffer(0))
    fine = union_all(land)
    coarse = MultiPolygon(
        [p for p in map(Polygon, plot.outlines()) if p.is_valid and p.bounds[3] < 60]
    ).buffer(0)
    inland = [p for p in coarse.geoms if p.area > 50 and p.bounds[1] > -56]
    assert len(inland) > 5
    for part in inland:
        assert part.intersection(fine).area > 0.95 * part.area


def test_the_probe_and_its_layers(folder, feats):
    data = read(folder)["overview"]
    probe, table = data["probe"], make_report(feats).predictions
    assert probe["at"] == list(range(60))
    assert (probe["layer"], probe["split"]) == (1, "random")
    np.testing.assert_allclose(probe["to_lon"], table["predicted_lon"], atol=0.0000501)
    np.testing.assert_allclose(probe["error"], table["error_km"], atol=0.0501)
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
    probe = read(tmp_path / "a")["overview"]["probe"]
    assert probe["at"] is None
    assert probe["name"] == list(feats.obs["name"])
    np.testing.assert_allclose(probe["lat"], feats.obsm["spatial"][:, 1], atol=0.0000501)
    assert [group["name"] for group in probe["groups"]] == ["all places"]


def test_ratings(folder, feats, tmp_path):
    data = read(folder)["overview"]
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
    data = read(tmp_path / "a")
    assert [FEATURES[row] for row in data["strongest"]["rows"]] == ["1"]
    counts = data["overview"]["counts"]
    assert (counts["significant"], counts["strong"], counts["q"]) == (5, 4, 0.06)
    card = gi.cards.read(tmp_path / "a")
    assert card["figures"]["features significant"] == 5
    assert card["figures"]["features on the first page"] == 1


def test_without_a_report_countries_or_anything_significant(feats, tmp_path):
    bare = feats.copy()
    bare.obs = bare.obs[[]]
    bare.uns = {}
    bare.X = bare.X.toarray()
    table = make_table(feats)[["I", "q", "n_active"]].assign(q=np.nan)
    gi.atlas.write(bare, table, out=tmp_path / "a")
    every = read(tmp_path / "a")
    data = every["overview"]
    assert data["probe"] is data["layers"] is data["ratings"] is None
    assert every["strongest"]["rows"] == data["figures"] == data["cards"] == []
    assert every["places"]["name"] == every["places"]["id"] == list(feats.obs_names)
    assert data["title"] == "What does the model know about places?"
    assert [tile["value"] for tile in data["tiles"]] == ["0"]


def test_a_probe_for_another_target_has_no_map(feats, tmp_path):
    report = make_report(feats)
    other = gi.probes.Report(
        report.table.drop(columns="median_km"), report.predictions[["name"]], "population"
    )
    gi.atlas.write(feats, make_table(feats), out=tmp_path / "a", report=other)
    data = read(tmp_path / "a")["overview"]
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
    assert len(read(tmp_path / "a")["strongest"]["rows"]) == 24
    sizes = {path.stem: path.stat().st_size for path in (tmp_path / "a" / "data").iterdir()}
    # a page and what it opens with, a file of features, and all of it
    opening = sum(sizes[name] for name in ("overview", "places", "features", "world"))
    assert opening + (tmp_path / "a" / "index.html").stat().st_size < 2.5e6
    assert max(size for name, size in sizes.items() if name.startswith("features-")) < 1e5
    assert sum(sizes.values()) < 5e6


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


def more_columns(table):
    """The table with q under two nulls that know regions, and with regions."""
    regions = ["NA", None, "<b>", "US.CA", "FR", None, None, "FR"]
    return table.assign(
        q_within_country=[0.2, 0.3, 0.1, 0.01, 0.00012345, np.nan, np.nan, 0.9],
        q_within_admin1=0.5,
        region=pd.array(regions, dtype="string"),
        z_within_country=2.5,
        expected_I_within_country=0.25,
        precision=[0.12345, np.nan, 0.2, 0.3, 1, np.nan, np.nan, 0],
        recall=[0.7, np.nan, 0.6, 0.5, 1, np.nan, np.nan, 0.1],
    )


def test_the_table_has_other_nulls_and_regions_where_they_are_known(feats, folder, tmp_path):
    table = more_columns(make_table(feats))
    # in any order
    gi.atlas.write(feats, table[::-1], out=tmp_path / "a")
    data = read(tmp_path / "a")
    features = data["features"]
    country, admin1 = features["within"]
    assert country["by"] == "country"
    assert country["q"] == [0.2, 0.3, 0.1, 0.01, 0.00012345, None, None, 0.9]
    assert country["z"] == [2.5] * 8
    assert country["expected_I"] == [0.25] * 8
    assert admin1["expected_I"] is None
    assert country["p"] is None
    assert (admin1["by"], admin1["q"]) == ("admin1", [0.5] * 8)
    regions = [None if code < 0 else features["regions"][code] for code in features["region"]]
    assert regions == ["NA", None, "<b>", "US.CA", "FR", None, None, "FR"]
    assert features["precision"] == [0.123, None, 0.2, 0.3, 1, None, None, 0]
    assert features["recall"] == [0.7, None, 0.6, 0.5, 1, None, None, 0.1]
    assert features["f1"] is features["spread_km"] is None
    assert data["overview"]["counts"]["nulls"] == [
        {"name": "all places", "tested": 6, "significant": 4},
        {"name": "within country", "tested": 6, "significant": 2},
        {"name": "within admin1", "tested": 8, "significant": 0},
    ]
    bare = read(folder)["features"]
    assert (bare["within"], bare["region"]) == ([], None)
    # countries by their names, where that is what the regions are
    coded = table.assign(region=["BR", None, "CA", "XX", None, None, None, "BR"])
    gi.atlas.write(feats, coded, out=tmp_path / "a")
    assert read(tmp_path / "a")["features"]["regions"] == ["Brazil", "Canada", "XX"]
    for wrong, said in (
        (table.drop(columns="recall"), "no column 'recall'"),
        (table.assign(q_within_country="low"), "column 'q_within_country' is not numeric"),
    ):
        with pytest.raises(InputError, match=said):
            gi.atlas.write(feats, wrong, out=tmp_path / "b")
