from itertools import pairwise

import anndata
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import false_discovery_control
from spatial_helpers import moran_by_hand, p_by_hand, places_at, scattered, sparse_features

import geointerp as gi
from geointerp.errors import InputError
from geointerp.spatial import correlogram, distance_band, moran, nulls, reach_km
from geointerp.spatial import table as tables
from geointerp.spatial.nulls import Null

EDGES = (0, 900, 2500, 5000, 9000, 14000, 21000)
COLUMNS = [
    *["feature", "from_km", "to_km", "pairs", "I", "expected_I", "z", "p", "q"],
    *["n_active", "reason"],
]


def some_features(n, seed):
    """On few places, on most, everywhere about a large mean, with either sign, binary."""
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [
            sparse_features(n, 1, 15, seed),
            sparse_features(n, 1, int(0.8 * n), seed),
            rng.normal(size=n) + 1e4,
            sparse_features(n, 1, 25, seed) * rng.choice([-1, 1], size=(n, 1)),
            rng.uniform(size=n) < 0.3,
        ]
    )


def in_a_plane(n, seed, unit="EPSG:3857"):
    rng = np.random.default_rng(seed)
    return places_at(*rng.uniform(0, 4e6, size=(2, n)), index=rng.permutation(n), crs=unit)


def with_coincident(n, seed):
    places = scattered(n, seed)
    points = places.geometry.to_numpy().copy()
    points[: n // 3] = points[n // 3 : 2 * (n // 3)]
    points[:4] = points[0]
    return gpd.GeoDataFrame(geometry=points, index=places.index, crs=places.crs)


def on_a_grid(n):
    """Places whose distances are the bands' edges themselves."""
    at = np.arange(n)
    return places_at(at % 10 * 1e5, at // 10 * 1e5, crs="EPSG:3857")


KINDS = {
    "sphere": (lambda: scattered(120), EDGES),
    "coincident": (lambda: with_coincident(120, 1), EDGES),
    "coincident, not from 0": (lambda: with_coincident(120, 1), EDGES[1:]),
    "plane": (lambda: in_a_plane(120, 2), (0, 500, 1000, 2500, 6000)),
    "feet": (lambda: in_a_plane(120, 2, "EPSG:2263"), (0, 150, 300, 750, 1800)),
    "grid": (lambda: on_a_grid(100), (0, 100, 200, 300, 500, 1300)),
}


def as_adjacency(places, km, min_km):
    graph = distance_band(places, km=km, min_km=min_km)
    return graph, np.asarray(graph.sparse.todense())


# --------------------------------------------------------------------------- agreement


@pytest.mark.parametrize("kind", KINDS)
def test_every_band_is_morans_i_in_it(kind):
    make, edges = KINDS[kind]
    places = make()
    features = some_features(len(places), 3)
    table = correlogram(features, places, edges_km=edges)
    assert list(table.columns) == COLUMNS
    assert table["feature"].tolist() == np.repeat(range(5), len(edges) - 1).tolist()
    for low, high in pairwise(edges):
        rows = table[(table["from_km"] == low) & (table["to_km"] == high)]
        graph = distance_band(places, km=high, min_km=low)
        expected = moran(features, graph, permutations=1)
        assert (rows["pairs"] == graph.n_edges / 2).all()
        for column in ("I", "expected_I", "z"):
            tolerance = {"rtol": 1e-9, "atol": 1e-9}
            np.testing.assert_allclose(rows[column], expected[column], **tolerance)
        assert rows["n_active"].tolist() == expected["n_active"].tolist()
        assert rows["p"].isna().all()
    assert table["reason"].isna().all()


@pytest.mark.parametrize(
    ("degrees", "first"), [(120, 100), (60, 50), (1, 0.5), (0.22, 0.1), (0.0001, 0.00005)]
)
def test_bands_suit_how_far_apart_places_are(degrees, first):
    # along the equator: a degree is 111.2 km; 64 times the first edge fit into half of all
    lon = np.random.default_rng(0).permutation(np.linspace(0, degrees, 40))
    for places in (places_at(lon, np.zeros(40)), places_at(lon, np.zeros(40)).to_crs(3857)):
        table = correlogram(np.arange(40.0)[:, None], places)
        expected = first * np.array([1, 2, 4, 8, 16, 32, 64])
        np.testing.assert_allclose(table["to_km"], expected)
        np.testing.assert_allclose(table["from_km"], [0, *expected[:-1]])


def test_places_in_one_spot_have_no_bands():
    with pytest.raises(InputError, match="all in one spot"):
        correlogram(np.arange(5.0)[:, None], places_at([8] * 5, [46] * 5))


def test_the_ends_of_a_band():
    # a band holds its upper edge, not its lower one; the first holds coincident places
    places = places_at([0, 0, 1e5, 2e5, 4e5], [0] * 5, crs="EPSG:3857")
    x = np.array([3.0, 1, 0, 0, 5])[:, None]
    pairs = correlogram(x, places, edges_km=(0, 100, 200, 400), min_active=1)["pairs"]
    assert pairs.tolist() == [4, 3, 3]
    pairs = correlogram(x, places, edges_km=(50, 100, 300), min_active=1)["pairs"]
    assert pairs.tolist() == [3, 4]
    pairs = correlogram(x, places, edges_km=(0, 99.999, 200.001), min_active=1)["pairs"]
    assert pairs.tolist() == [1, 6]


def test_the_date_line_is_no_edge():
    lon = np.array([179.0, -179, 178, -178, 177, -177, 176, -176, 175, -175])
    places = places_at(lon, np.zeros(10))
    x = (np.arange(10) < 4).astype(float)[:, None]
    table = correlogram(x, places, edges_km=(0, 250, 1200), min_active=1)
    # two degrees are 222 km
    assert table["pairs"].tolist() == [8 + 6 + 1, 45 - 15]
    moved = correlogram(
        x, places_at(lon % 360 - 180, [0] * 10), edges_km=(0, 250, 1200), min_active=1
    )
    np.testing.assert_allclose(moved["I"], table["I"], rtol=1e-12)


def test_the_widest_band_holds_the_antipode():
    places = places_at([0, 180, 90, -90, 0, 0], [0, 0, 0, 0, 90, -90])
    x = np.array([1.0, 2, 0, 0, 0, 0])[:, None]
    table = correlogram(x, places, edges_km=(0, 10_010, 20_100), min_active=1)
    assert table["pairs"].tolist() == [12, 3]
    np.testing.assert_allclose(table["I"].dot(table["pairs"]) / 15, -1 / 5, rtol=1e-12)


# ------------------------------------------------------------------------------ p-values


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_p_is_that_of_a_plain_permutation_test(alternative, grouped):
    n, draws, seed = 60, 99, 4
    places = with_coincident(n, 2)
    features = some_features(n, 1)
    labels = np.random.default_rng(0).integers(0, 3, n).astype(str) if grouped else None
    edges = (0, 3000, 8000, 20_100)
    table = correlogram(
        features,
        places,
        edges_km=edges,
        within=labels,
        permutations=draws,
        seed=seed,
        alternative=alternative,
    )
    null = Null(np.arange(n, dtype=np.int32), seed, pd.factorize(labels)[0] if grouped else None)
    orders = null.draw(0, draws, np.arange(n, dtype=np.int32))
    for (low, high), rows in table.groupby(["from_km", "to_km"]):
        _, weights = as_adjacency(places, high, low)
        for row, x in zip(rows.itertuples(), features.T, strict=True):
            active = np.flatnonzero(x) if 2 * np.count_nonzero(x) <= n else np.arange(n)
            taken, slots = null.slots(active)
            moved = np.zeros((draws, n))
            moved[np.arange(draws)[:, None], orders[:, slots]] = x[active][taken]
            drawn = np.array([moran_by_hand(y, weights) for y in moved])
            np.testing.assert_allclose(row.p, p_by_hand(row.I, drawn, alternative), rtol=1e-14)
            if grouped:
                np.testing.assert_allclose(row.expected_I, drawn.mean(), rtol=1e-8)
                z = (row.I - drawn.mean()) / drawn.std(ddof=1)
                np.testing.assert_allclose(row.z, z, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(table["q"], false_discovery_control(table["p"]), rtol=1e-14)
    if not grouped:
        without = correlogram(features, places, edges_km=edges)
        pd.testing.assert_frame_equal(
            without.drop(columns=["p", "q"]), table.drop(columns=["p", "q"]), check_exact=True
        )


def test_a_countrys_name_has_no_scale_within_it():
    places = scattered(200)
    country = (places.geometry.x.to_numpy() // 60).astype(int)
    features = np.column_stack([country + 7.0, country == 0])
    over_all = correlogram(features, places, permutations=99, edges_km=(0, 2000))
    assert (over_all["p"] == 0.01).all()
    table = correlogram(features, places, within=country, permutations=99, edges_km=(0, 2000))
    assert (table["p"] == 1).all()
    assert table["z"].isna().all()
    obs = pd.DataFrame({"country": country}, index=places.index.astype(str))
    lon_lat = np.column_stack(gi.places.lon_lat(places))
    labelled = anndata.AnnData(features, obs=obs, obsm={"spatial": lon_lat})
    again = correlogram(labelled, labelled, within="country", permutations=99, edges_km=(0, 2000))
    np.testing.assert_array_equal(again["p"], table["p"])
    np.testing.assert_allclose(again["I"], table["I"], rtol=1e-12)


def test_same_bytes_with_any_threads_blocks_and_chunks(monkeypatch):
    places, features = scattered(100), some_features(100, 0)
    for within in (None, np.arange(100) % 3):
        how = {"within": within, "permutations": 150, "edges_km": EDGES}
        first = correlogram(features, places, threads=1, **how)
        with monkeypatch.context() as patched:
            patched.setattr(tables, "BLOCK_ENTRIES", 150)
            patched.setattr(nulls, "CHUNK_ENTRIES", 1_000)
            for threads in (1, 2):
                again = correlogram(features, places, threads=threads, **how)
                pd.testing.assert_frame_equal(again, first, check_exact=True)
            again = correlogram(sparse.csr_array(features), places, **how)
            pd.testing.assert_frame_equal(again, first, check_exact=True)
        assert (correlogram(features, places, seed=1, **how)["p"] != first["p"]).any()


# --------------------------------------------------------------------------- known shapes


def test_a_patch_reaches_as_far_as_it_is_wide():
    places = scattered(600)
    lon, lat = gi.places.lon_lat(places)
    away = gi.sphere.distance_km(lon=lon, lat=lat, to_lon=10, to_lat=10)
    features = np.column_stack([away < 3000, away < 6000, sparse_features(600, 1, 60, 0)])
    edges = np.arange(0, 20_001, 1000)
    table = correlogram(features, places, edges_km=edges)
    first = table.groupby("feature").first()
    assert (first["z"][:2] > 8).all()
    assert abs(first["z"][2]) < 4
    reach = reach_km(table)
    assert reach[0] < reach[1]
    # a disc's radius and its diameter
    assert 3000 < reach[0] < 6000
    assert 6000 < reach[1] < 12_000


def profile(values, expected=-0.1, feature="a", edges=(0, 100, 300, 700)):
    return pd.DataFrame(
        {
            "feature": feature,
            "from_km": edges[:-1],
            "to_km": edges[1:],
            "I": np.array(values, float),
            "expected_I": expected,
        }
    )


def test_reach_known_answers():
    tables_of = {
        "between": ([0.3, 0.1, -0.3], 350.0),  # 0.2 above at 200 km, 0.2 below at 500
        "at once": ([0.3, -0.1, 0.5], 200.0),
        "nowhere": ([-0.1, 0.5, 0.5], 0.0),
        "below": ([-0.5, 0.5, 0.5], 0.0),
        "never": ([0.5, 0.5, 0.2], np.inf),
        "unknown": ([np.nan, 0.5, -0.5], np.nan),
        "unknown later": ([0.5, np.nan, -0.5], np.nan),
        "unknown too late": ([0.1, -0.5, np.nan], 50 + 150 * 0.2 / 0.6),
    }
    rows = [profile(values, feature=name) for name, (values, _) in tables_of.items()]
    reach = reach_km(pd.concat(rows, ignore_index=True))
    assert reach.index.tolist() == list(tables_of)
    assert reach.name == "reach_km"
    np.testing.assert_allclose(reach, [expected for _, expected in tables_of.values()])
    assert reach_km(profile([1.0, 2, 3])[:0]).empty


# ----------------------------------------------------------------------------- the table


def test_what_cannot_be_tested_says_why():
    places = scattered(40)
    features = pd.DataFrame(sparse_features(40, 6, 15, 0), places.index, list("abcdef"))
    features["b"] = 0.0
    features["c"] = 0.1
    features.iloc[3, 3] = np.nan
    features["e"] = (np.arange(40) < 9).astype(float)
    table = correlogram(features, places, edges_km=(0, 1, 5000, 20_100), permutations=19)
    by_band = table["reason"].fillna("").to_numpy().reshape(6, 3)
    assert (by_band[:, 1] == by_band[:, 2]).all()
    assert by_band[:, 2].tolist() == [
        "",
        "It fires on no place.",
        "It is constant: its value is the same at every place.",
        "It is not finite: 1 of its values are NaN or infinite.",
        "It fires on fewer than 10 places.",
        "",
    ]
    # no pair is so near: there is no I, whatever the feature
    nearest = table[table["to_km"] == 1]
    assert (nearest["pairs"] == 0).all()
    none = "No two places are at such a distance."
    assert by_band[:, 0].tolist() == [none, *by_band[1:5, 1], none]
    assert nearest[["I", "expected_I", "z", "p", "q"]].isna().all(axis=None)
    others = table[table["to_km"] > 1].set_index("feature")
    assert others.loc[["a", "f"], ["I", "expected_I", "z", "p", "q"]].notna().all(axis=None)
    assert others.loc["e", "I"].notna().all()
    assert others.loc["e", ["z", "p", "q"]].isna().all(axis=None)
    assert others.loc[["b", "c", "d"], ["I", "z", "p"]].isna().all(axis=None)
    assert reach_km(table).isna().all()


def test_the_table_says_how_it_was_made():
    places = scattered(40)
    features = sparse_features(40, 2, 15, 0)
    table = correlogram(features, places)
    assert table["from_km"][:7].tolist() == [0, 100, 200, 400, 800, 1600, 3200]
    assert table["to_km"][:7].tolist() == [100, 200, 400, 800, 1600, 3200, 6400]
    table = correlogram(features, places, permutations=19, seed=3, alternative="less")
    assert table.attrs == {
        "statistic": "Moran's I by distance",
        "null": "permutations of all places",
        "permutations": 19,
        "seed": 3,
        "alternative": "less",
        "min_active": 10,
        "n_tested": table["p"].notna().sum(),
        "n_places": 40,
    }
    assert table["pairs"].dtype == table["n_active"].dtype == np.int64
    assert table["reason"].dtype == "string"
    for form in (
        places.geometry,
        anndata.AnnData(
            features,
            obs=pd.DataFrame(index=places.index.astype(str)),
            obsm={"spatial": np.column_stack(gi.places.lon_lat(places))},
        ),
    ):
        again = correlogram(features, form, permutations=19, seed=3, alternative="less")
        np.testing.assert_allclose(again["I"], table["I"], rtol=1e-10)


@pytest.mark.parametrize(
    "edges",
    [
        (),
        (0,),
        (0, 100, 100),
        (0, 200, 100),
        (-1, 100),
        (0, np.inf),
        (0, np.nan, 5),
        ((0, 1), (1, 2)),
    ],
)
def test_edges_that_do_not_rise_are_refused(edges):
    with pytest.raises(InputError, match=r"edges_km is .*rising numbers of kilometres"):
        correlogram(np.ones((40, 1)), scattered(40), edges_km=edges)


@pytest.mark.parametrize(
    ("features", "places", "how", "said"),
    [
        (np.ones((39, 1)), scattered(40), {}, "39 rows, places 40"),
        (np.ones((40, 0)), scattered(40), {}, "no column"),
        (np.ones((3, 1)), scattered(3), {}, "at least 4"),
        (
            pd.DataFrame({"a": range(40)}),
            scattered(40),
            {},
            "row 0 of the features is 0, of places",
        ),
        (np.ones((40, 1)), scattered(40).to_crs(4978), {}, "geocentric"),
        (np.ones((40, 1)), np.ones((40, 2)), {}, "GeoDataFrame"),
        (np.ones((40, 1)), scattered(40), {"within": range(40)}, "permutations is 0"),
        (np.ones((40, 1)), scattered(40), {"permutations": -1}, "permutations is -1"),
        (np.ones((40, 1)), scattered(40), {"alternative": "more"}, "alternative is 'more'"),
        (np.ones((40, 1)), scattered(40), {"seed": -3}, "seed is -3"),
    ],
)
def test_it_says_what_is_wrong(features, places, how, said):
    with pytest.raises(InputError, match=said):
        correlogram(features, places, **how)
