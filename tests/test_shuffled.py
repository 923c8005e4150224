"""What features give under shuffles, in single precision and in double."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libpysal.graph import Graph
from scipy import sparse
from spatial_helpers import uneven_graph

from geointerp.spatial import moran, packing, shuffled
from geointerp.spatial.neighbors import read_graph
from geointerp.spatial.nulls import Null
from geointerp.spatial.statistics import BIVARIATE_MORAN, GEARY, GETIS_ORD, MORAN
from geointerp.spatial.table import columns, read_features


def packed_of(matrix, graph, statistic, groups=None):
    table = read_features(matrix)
    neighbors = read_graph(graph, table)
    null = Null(neighbors.site, 0, groups)
    packed, _ = packing.pack(next(columns(table.matrix)), statistic, neighbors, null)
    return packed, neighbors, null


def cross_by_hand(packed, neighbors, orders):
    """Its formula, in double precision."""
    found = np.zeros((len(orders), len(packed.alpha)))
    pairs = neighbors.both.toarray() / 2
    for r, f in np.ndindex(found.shape):
        span, field = packed.span(f), np.zeros(neighbors.n)
        field[orders[r, packed.slots[span]]] = packed.values[span]
        line = packed.alpha[f] + packed.beta[f] * field
        found[r, f] = field @ pairs @ field + field @ (neighbors.degree * line)
    return found


def every(packed):
    return np.arange(len(packed.alpha))


def far_apart(n):
    """A star: whatever the order, some neighbours are far from each other in memory."""
    weights = np.zeros((n, n))
    weights[0, 1:] = weights[1:, 0] = np.linspace(0.5, 2, n - 1)
    return Graph.from_sparse(sparse.csr_array(weights), ids=np.arange(n))


@pytest.mark.parametrize("n", [4, 15, 16, 17, 33, 100])
@pytest.mark.parametrize("kind", ["star", "uneven"])
@pytest.mark.parametrize("statistic", [MORAN, GEARY, GETIS_ORD], ids=lambda s: s.name)
def test_the_sum_is_the_formulas_in_every_way(n, kind, statistic):
    graph = far_apart(n) if kind == "star" else uneven_graph(n, n, islands=n // 10)[0]
    rng = np.random.default_rng(n)
    matrix = rng.exponential(size=(n, 5))
    matrix[: n // 2, 3:] = 0  # not centred by itself
    packed, neighbors, null = packed_of(matrix, graph, statistic)
    orders = null.draw(0, 7, np.arange(n, dtype=np.int32))
    expected = cross_by_hand(packed, neighbors, orders)
    for way, tolerance in (
        (shuffled.Sparse(packed, every(packed), neighbors), 1e-12),
        (shuffled.Dense(packed, every(packed), neighbors), 1e-5),
        (shuffled.OnDevice(packed, every(packed), neighbors, "cpu"), 1e-12),
    ):
        size = tolerance * np.abs(expected).max()
        np.testing.assert_allclose(way.cross(orders), expected, rtol=0, atol=size)


def test_neighbours_that_reach_as_far_as_the_window():
    # a window of 64 rows would hold 48 sites ahead of a stretch of 16, one less than needed
    n, far = 300, 49
    apart = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    weights = np.where((apart > 0) & (apart <= far), 1.0 / np.maximum(apart, 1), 0)
    graph = Graph.from_sparse(sparse.csr_array(weights), ids=np.arange(n))
    matrix = np.random.default_rng(0).normal(size=(n, 3))
    packed, neighbors, null = packed_of(matrix, graph, MORAN)
    assert neighbors.reach == far
    orders = null.draw(0, 5, np.arange(n, dtype=np.int32))
    dense = shuffled.Dense(packed, every(packed), neighbors)
    dense._open[:] = -1
    expected = cross_by_hand(packed, neighbors, orders)
    np.testing.assert_allclose(dense.cross(orders), expected, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(5, 60),
    seed=st.integers(0, 10**6),
    weight=st.sampled_from([1e-44, 1e-30, 1e-6, 1, 1e6, 1e37]),
    level=st.sampled_from([0, 1, 1e6]),
    tail=st.sampled_from([1, 20]),
    statistic=st.sampled_from([MORAN, GEARY, GETIS_ORD]),
)
def test_single_precision_is_as_near_as_it_says(n, seed, weight, level, tail, statistic):
    rng = np.random.default_rng(seed)
    graph, weights = uneven_graph(n, seed, islands=0)
    ids = graph.unique_ids
    graph = Graph.from_sparse(sparse.csr_array(weights * weight), ids=ids)
    matrix = level + rng.exponential(size=(n, 6)) ** tail
    packed, neighbors, null = packed_of(matrix, graph, statistic)
    dense = shuffled.Dense(packed, every(packed), neighbors)
    dense._open = np.full(6, -1.0)  # it leaves nothing open
    orders = null.draw(0, 20, np.arange(n, dtype=np.int32))
    exact = shuffled.Sparse(packed, every(packed), neighbors).cross(orders)
    # double precision rounds too, by far less than what counts as a tie
    assert (np.abs(dense.cross(orders) - exact) <= dense.error + packed.ties).all()


def test_roundings_that_all_go_one_way_stay_within_the_error():
    # two halves, each place the neighbour of all of its own, and every product the same: no
    # rounding makes good for another
    n = 1200
    half = np.arange(n) // (n // 2)
    weights = np.triu(np.where(half[:, None] == half, 1.1, 0), k=1)
    graph = Graph.from_sparse(sparse.csr_array(weights), ids=np.arange(n))
    matrix = np.where(half, 1.1, -1.1)[:, None] * [1, 1.27, 1.6, 0.77]
    packed, neighbors, null = packed_of(matrix, graph, MORAN)
    order, slots = null.slots(np.arange(n))
    orders = np.zeros((1, n), np.int32)
    orders[0, slots] = neighbors.site[order]
    dense = shuffled.Dense(packed, every(packed), neighbors)
    dense._open = np.full(4, -1.0)
    exact = shuffled.Sparse(packed, every(packed), neighbors).cross(orders)
    np.testing.assert_allclose(exact[0], packed.observed, rtol=1e-12)
    share = np.abs(dense.cross(orders) - exact)[0] / dense.error
    assert (share <= 1).all()
    assert share.max() > 0.05  # and it is not much larger than it has to be


@pytest.mark.parametrize("level", [4, 1e6])
@pytest.mark.parametrize("statistic", [MORAN, GEARY, GETIS_ORD], ids=lambda s: s.name)
def test_single_precision_leaves_little_open(statistic, level):
    # however far from zero the values are
    graph, _ = uneven_graph(300, 1, islands=0)
    matrix = level + np.random.default_rng(0).normal(size=(300, 4)).clip(-4)
    packed, neighbors, null = packed_of(matrix, graph, statistic)
    orders = null.draw(0, 200, np.arange(300, dtype=np.int32))
    dense = shuffled.Dense(packed, every(packed), neighbors)
    spread = cross_by_hand(packed, neighbors, orders).std(axis=0)
    assert (dense.error < 3e-2 * spread).all()


def test_shuffles_that_change_nothing_tie_with_what_is_observed():
    # in single precision they give another number, below or above what is observed
    n = 400
    graph, _ = uneven_graph(n, 3, islands=0)
    labels = np.arange(n) % 4
    matrix = np.random.default_rng(0).normal(size=(4, 40))[labels]
    table = moran(matrix, graph, within=labels, permutations=99, max_permutations=99)
    assert (table["p"] == 1).all()
    np.testing.assert_allclose(table["expected_I"], table["I"], rtol=1e-12)


def test_ties_among_whole_numbers_are_counted(monkeypatch):
    # a wide feature of two values ties often, and each tie counts
    n = 300
    graph, _ = uneven_graph(n, 5, islands=0, binary=True)
    labels = np.arange(n) % 3
    matrix = 0.1 * (np.random.default_rng(1).uniform(size=(n, 8)) < 0.3)
    how = {"within": labels, "permutations": 499, "max_permutations": 499}
    wide = moran(matrix, graph, **how)
    monkeypatch.setattr(packing, "_WIDE", 0)
    np.testing.assert_array_equal(wide["p"], moran(matrix, graph, **how)["p"])


@pytest.mark.parametrize("statistic", [MORAN, GEARY, GETIS_ORD], ids=lambda s: s.name)
def test_what_is_infinite_in_single_precision_is_found_in_double(statistic):
    graph, weights = uneven_graph(20, 2, islands=0)
    graph = Graph.from_sparse(sparse.csr_array(weights * 2.0**200), ids=graph.unique_ids)
    matrix = np.random.default_rng(0).exponential(size=(20, 5))
    packed, neighbors, null = packed_of(matrix, graph, statistic)
    orders = null.draw(0, 50, np.arange(20, dtype=np.int32))
    exact = shuffled.Sparse(packed, every(packed), neighbors).cross(orders)
    found = shuffled.Dense(packed, every(packed), neighbors).cross(orders)
    np.testing.assert_allclose(found, exact, rtol=1e-12)


def test_weights_beyond_single_precision_change_no_p():
    n = 60
    graph, weights = uneven_graph(n, 2, islands=0)
    matrix = np.random.default_rng(0).normal(size=(n, 5))
    how = {"within": np.arange(n) % 2, "permutations": 99, "max_permutations": 99}
    plain = moran(matrix, graph, **how)
    for size in (2.0**200, 2.0**-200):
        scaled = Graph.from_sparse(sparse.csr_array(weights * size), ids=graph.unique_ids)
        found = moran(matrix, scaled, **how)
        np.testing.assert_array_equal(found["p"], plain["p"])
        np.testing.assert_allclose(found["z"], plain["z"], rtol=1e-6)


def test_a_lag_that_stands_for_degrees_is_within_the_error():
    # the bivariate statistic has no pairs, and degrees that are not those of its graph
    n = 50
    graph, weights = uneven_graph(n, 4, islands=2)
    graph = Graph.from_sparse(sparse.csr_array(1e9 * weights), ids=graph.unique_ids)
    rng = np.random.default_rng(0)
    matrix = rng.exponential(size=(n, 3))
    matrix[: n // 2] = 0
    table = read_features(matrix)
    neighbors = read_graph(graph, table)._replace(
        indptr=np.zeros(n + 1, np.int64),
        other=np.zeros(0, np.int32),
        weight=np.zeros(0),
        degree=1e6 * rng.normal(size=n),
    )
    null = Null(neighbors.site, 0)
    packed, _ = packing.pack(next(columns(table.matrix)), BIVARIATE_MORAN, neighbors, null)
    orders = null.draw(0, 50, np.arange(n, dtype=np.int32))
    dense = shuffled.Dense(packed, every(packed), neighbors)
    spread = cross_by_hand(packed, neighbors._replace(both=0 * neighbors.both), orders).std(axis=0)
    assert (dense.error < 1e-2 * spread).all()  # whatever the graph's own weights are
    dense._open = np.full(3, -1.0)
    exact = shuffled.Sparse(packed, every(packed), neighbors).cross(orders)
    # double precision rounds too, by far less than what counts as a tie
    assert (np.abs(dense.cross(orders) - exact) <= dense.error + packed.ties).all()
