from itertools import permutations as every_order

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libpysal.graph import Graph
from scipy import sparse
from scipy.special import perm
from spatial_helpers import (
    geary_by_hand,
    getis_ord_by_hand,
    joins_by_hand,
    moran_by_hand,
    unlike_joins_by_hand,
)

from geointerp.spatial import geary, getis_ord, join_counts, moran
from geointerp.spatial import neighbors as neighborhoods
from geointerp.spatial.moments import of_sum
from geointerp.spatial.motifs import MotifSums, edges_of, motifs
from geointerp.spatial.neighbors import read_graph
from geointerp.spatial.nulls import Null
from geointerp.spatial.packing import pack, powers_of
from geointerp.spatial.statistics import GEARY, GETIS_ORD, JOINS, MORAN, UNLIKE_JOINS
from geointerp.spatial.table import columns, read_features
from geointerp.spatial.testing import exact_moments

BY_HAND = {
    "moran": (MORAN, moran_by_hand),
    "geary": (GEARY, geary_by_hand),
    "getis_ord": (GETIS_ORD, getis_ord_by_hand),
    "joins": (JOINS, joins_by_hand),
    "unlike_joins": (UNLIKE_JOINS, unlike_joins_by_hand),
}


def small_weights(n, rng, islands=True, negative=True):
    """Directed, of all sizes, some below 0, with an island; they add up to more than 0."""
    weights = np.where(rng.uniform(size=(n, n)) < 0.6, rng.uniform(0.1, 2, (n, n)), 0)
    if negative:
        weights = np.where(rng.uniform(size=(n, n)) < 0.2, -weights / 3, weights)
    weights[0, 1] = weights[1, 2] = 4
    if islands:
        weights[n - 1] = weights[:, n - 1] = 0
    np.fill_diagonal(weights, 0)
    return weights


def moments_of(values):
    """Mean, variance, skewness and excess kurtosis of all values there are."""
    z = values - values.mean()
    variance = (z**2).mean()
    return [
        values.mean(),
        variance,
        (z**3).mean() / variance**1.5,
        (z**4).mean() / variance**2 - 3,
    ]


def exact(statistic, x, weights):
    """The same as the library has them, and the statistic itself."""
    features = read_features(np.column_stack([x, x]))  # two features, so that shapes are seen
    graph = Graph.from_sparse(sparse.csr_array(weights), ids=np.arange(len(x)))
    neighbors = read_graph(graph, features)
    (block,) = columns(features.matrix)
    packed, sample = pack(block, statistic, neighbors, Null(neighbors.site, 0))
    found = np.array(exact_moments(statistic, neighbors)(sample))
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    return packed.value[0], found[:, 0]


# ------------------------------------------------------------------------ of the statistics


@pytest.mark.parametrize("name", BY_HAND)
@settings(max_examples=20, deadline=None)
@given(n=st.integers(4, 6), seed=st.integers(0, 10**6), island=st.booleans(), less=st.booleans())
def test_moments_are_those_of_all_permutations(name, n, seed, island, less):
    statistic, by_hand = BY_HAND[name]
    rng = np.random.default_rng(seed)
    weights = small_weights(n, rng, island, less)
    if "joins" in name:
        x = (rng.permutation(n) < rng.integers(1, n)).astype(float)
    else:
        # (G loses digits where one value outdoes all others a thousandfold)
        x = np.where(rng.permutation(n) < rng.integers(2, n + 1), rng.uniform(0.1, 3, n), 0)
        x = x - rng.integers(0, 2) * 0.7 * (x != 0) if name != "getis_ord" else x
    values = np.array([by_hand(np.array(y), weights) for y in every_order(x)])
    value, found = exact(statistic, x, weights)
    np.testing.assert_allclose(value, values[0], rtol=1e-10, atol=1e-12)
    expected = moments_of(values) if np.ptp(values) > 1e-9 else [values[0], 0, np.nan, np.nan]
    np.testing.assert_allclose(found[:2], expected[:2], rtol=1e-8, atol=1e-13)
    np.testing.assert_allclose(found[2:], expected[2:], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", BY_HAND)
def test_moments_of_seven_places(name):
    statistic, by_hand = BY_HAND[name]
    weights = small_weights(7, np.random.default_rng(4))
    binary = np.array([0, 1.0, 1, 0, 1, 0, 0])
    x = binary if "joins" in name else np.array([0, 2.5, 0, 0.3, 1, 0, 7])
    values = np.array([by_hand(np.array(y), weights) for y in every_order(x)])
    _, found = exact(statistic, x, weights)
    np.testing.assert_allclose(found, moments_of(values), rtol=1e-8)


@given(n=st.integers(4, 6), seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_moments_of_a_sum_are_those_of_all_permutations(n, seed):
    rng = np.random.default_rng(seed)
    x, a = rng.exponential(size=(2, n)) ** 2
    x, a = x - x.mean(), a - a.mean()
    values = np.array([a @ np.array(y) for y in every_order(x)])
    found = np.array(of_sum(n, powers_of(x)[:, None], powers_of(a)[:, None]))[:, 0]
    np.testing.assert_allclose(found[0], 0, atol=1e-13)
    np.testing.assert_allclose(found[1:], moments_of(values)[1:], rtol=1e-8, atol=1e-8)


def complete(n):
    weights = np.ones((n, n)) - np.eye(n)
    return Graph.from_sparse(sparse.csr_array(weights), ids=np.arange(n))


@pytest.mark.parametrize("n", [12, 31, 50])
def test_what_cannot_vary_has_no_z(n):
    # all are everyone's neighbours, so that every permutation is the same
    rng = np.random.default_rng(n)
    features = np.column_stack([rng.permutation(n) < 10, rng.exponential(size=(n, 2)) + 0.1])
    for name, statistic in (("I", moran), ("C", geary), ("G", getis_ord)):
        for how in ({}, {"within": np.arange(n) % 2, "max_permutations": 999}):
            table = statistic(features, complete(n), **how)
            np.testing.assert_allclose(table[name], table[f"expected_{name}"], rtol=1e-12)
            assert table["z"].isna().all(), name
            assert (table["p"] == 1).all(), name
    table = join_counts(features[:, :1], complete(n), max_permutations=999)
    np.testing.assert_allclose(table[["expected_BB", "expected_BW"]], table[["BB", "BW"]])
    assert table[["z_BB", "z_BW"]].isna().all(axis=None)
    assert (table[["p_BB", "p_BW"]] == 1).all(axis=None)
    assert table[["BB", "BW"]].to_numpy().tolist() == [[45, 10 * (n - 10)]]
    for name in ("moran", "geary", "getis_ord"):
        weights = np.ones((n, n)) - np.eye(n)
        assert exact(BY_HAND[name][0], features[:, 1], weights)[1][1] == 0


def test_a_graph_too_dense_for_triangles_has_a_z_and_no_curve(monkeypatch):
    rng = np.random.default_rng(0)
    weights = (rng.uniform(size=(60, 60)) < 0.2) * (1 - np.eye(60))
    graph = Graph.from_sparse(sparse.csr_array(weights), ids=np.arange(60))
    features = rng.normal(size=(60, 5))
    exactly = moran(features, graph, permutations=0)
    assert exactly["p"].notna().all()
    monkeypatch.setattr(neighborhoods, "MOST_STEPS", 1e3)
    table = moran(features, graph, permutations=0)
    np.testing.assert_allclose(table["z"], exactly["z"], rtol=1e-12)
    assert table["p"].isna().all()
    assert table["reason"].str.startswith("Its p-value needs permutations").all()


# ---------------------------------------------------------------------------------- motifs


def test_there_are_as_many_motifs_as_multigraphs():
    # https://oeis.org/A050535: multigraphs with r edges, without loops or lone vertices
    assert [len(motifs(edges)) for edges in (1, 2, 3, 4)] == [1, 3, 8, 23]
    assert {len(edges_of(motif)) for motif in motifs(3)} == {3}


@pytest.mark.parametrize("edges", [1, 2, 3, 4])
@pytest.mark.parametrize("islands", [True, False])
def test_motif_sums_are_those_over_all_placements(edges, islands):
    n = 8  # four edges apart have so many ends
    weights = small_weights(n, np.random.default_rng(edges), islands)
    both = weights + weights.T
    sums = MotifSums(sparse.csr_array(both))
    for motif in motifs(edges):
        drawn = edges_of(motif)
        size = 1 + max(max(edge) for edge in drawn)
        placed = np.array(list(every_order(range(n), size)))
        assert len(placed) == perm(n, size)
        products = np.prod([both[placed[:, a], placed[:, b]] for a, b in drawn], axis=0)
        rounding = 1e-13 * np.abs(both).sum() ** edges
        np.testing.assert_allclose(sums(motif), products.sum(), atol=rounding, err_msg=motif)


@pytest.mark.parametrize("edges", [1, 2, 3, 4])
def test_every_tuple_of_edges_is_counted_once(edges):
    weights = small_weights(9, np.random.default_rng(7))
    both = weights + weights.T
    sums = MotifSums(sparse.csr_array(both))
    total = sum(ways * sums(motif) for motif, ways in motifs(edges).items())
    np.testing.assert_allclose(total, weights.sum() ** edges, rtol=1e-11)


@pytest.mark.parametrize("seed", range(6))
def test_a_feature_of_one_place_has_no_joins_and_no_z(seed):
    weights = small_weights(6, np.random.default_rng(seed), islands=False)
    graph = Graph.from_sparse(sparse.csr_array(weights), ids=np.arange(6))
    table = join_counts(np.eye(6), graph, min_active=1, max_permutations=999)
    np.testing.assert_allclose(table["expected_BB"], 0, atol=1e-14)
    assert (table["p_BB"] == 1).all()
    assert table["z_BB"].isna().all()
    assert table["z_BW"].notna().all()
