import numpy as np
import pandas as pd
import pytest
from libpysal.graph import Graph
from scipy import sparse
from scipy.stats import norm
from scipy.stats import pearson3 as curve_of
from spatial_helpers import (
    bivariate_by_hand,
    geary_by_hand,
    getis_ord_by_hand,
    joins_by_hand,
    moran_by_hand,
    p_by_hand,
    scattered,
    shuffles,
    sparse_features,
    uneven_graph,
)

from geointerp.spatial import (
    bivariate_moran,
    curve,
    geary,
    getis_ord,
    join_counts,
    knn,
    moran,
    nulls,
    packing,
    tails,
)
from geointerp.spatial import table as tables
from geointerp.spatial.moments import Moments


def with_a_slope(features, graph, **how):
    """The bivariate I, of a variable that rises from the first place to the last."""
    return bivariate_moran(features, np.arange(len(features))[:, None] ** 2.0, graph, **how)


ALL = {
    "moran": moran,
    "geary": geary,
    "getis_ord": getis_ord,
    "join_counts": join_counts,
    "bivariate": with_a_slope,
}
BY_HAND = {
    "moran": moran_by_hand,
    "geary": geary_by_hand,
    "getis_ord": getis_ord_by_hand,
    "bivariate": lambda x, w: bivariate_by_hand(x, np.arange(len(x)) ** 2.0, w),
}
ALIKE = {"moran": "greater", "geary": "less", "getis_ord": "greater", "bivariate": "greater"}


@pytest.fixture(scope="module")
def world():
    places = scattered(300)
    return places, knn(places)


def ring(n):
    """Each place looks at the next two on either side."""
    weights = sum(np.roll(np.eye(n), step, axis=1) for step in (-2, -1, 1, 2))
    return Graph.from_sparse(sparse.csr_array(weights), ids=np.arange(n)), weights


def patch(places, size, values):
    """A feature that fires around one place only."""
    x = np.zeros(len(places))
    x[np.argsort((places.geometry.x**2 + places.geometry.y**2).to_numpy())[:size]] = values
    return x


# ------------------------------------------------------------------------------- curves


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_pearson3_is_that_of_scipy(alternative):
    z, skewness = (grid.ravel() for grid in np.meshgrid(np.linspace(-6, 12, 61), [2, 0.7, 0.05]))
    z, skewness = np.concatenate([z, -z]), np.concatenate([skewness, -skewness])
    above, below = curve_of.sf(z, skewness), curve_of.cdf(z, skewness)
    expected = {
        "greater": above,
        "less": below,
        "two-sided": np.minimum(1, 2 * np.minimum(above, below)),
    }[alternative]
    found = tails.pearson3(z, skewness, alternative)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-300)
    assert (found[np.abs(z) < 3] > 0).any()


def test_pearson3_without_a_skew_is_the_normal_distribution():
    z = np.linspace(-30, 30, 241)
    for skewness in (0.0, 1e-10, -1e-10):
        skew = np.full(241, skewness)
        np.testing.assert_allclose(tails.pearson3(z, skew, "greater"), norm.sf(z), rtol=1e-5)
        np.testing.assert_allclose(tails.pearson3(z, skew, "less"), norm.cdf(z), rtol=1e-5)


@pytest.mark.parametrize(
    ("skewness", "z", "side", "expected"),
    [
        # the density integrated with 40 digits; SciPy gives 4.5e-10 for the sixth
        (0.01, 6, "greater", 1.4019022201122493e-09),
        (0.01, -12, "less", 8.706416709342086e-35),
        (0.001, -6, "less", 9.516967803091505e-10),
        (0.001, 12, "greater", 2.3662458660281948e-33),
        (0.001, 0.5, "greater", 0.30849353101862653),
        (0.0001, -6, "less", 9.830489421282872e-10),
        (-0.0001, 6, "greater", 9.830489421282872e-10),
        (-0.01, 12, "greater", 8.706416709342086e-35),
    ],
)
def test_pearson3_far_out_where_the_skew_is_small(skewness, z, side, expected):
    found = tails.pearson3(np.array([float(z)]), np.array([skewness]), side)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("skewness", [0.02, -0.02])
def test_both_ways_to_pearson3_meet(skewness):
    z = np.linspace(-7, 7, 57)
    for side in ("greater", "less"):
        one, other = (
            tails.pearson3(z, np.full(57, skewness * f), side) for f in (1 - 1e-9, 1 + 1e-9)
        )
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_the_curve_ends_where_it_ends():
    # of a skewness of 2 it is the exponential distribution, which begins one deviation down
    z = np.array([-1.5, -1.0, 0.0, 2.0])
    skew = np.full(4, 2.0)
    beyond = [1, 1, np.exp(-1), np.exp(-3)]
    np.testing.assert_allclose(tails.pearson3(z, skew, "greater"), beyond, rtol=1e-12)
    np.testing.assert_allclose(tails.pearson3(-z, -skew, "less"), beyond, rtol=1e-12)
    # no p is 0, beyond the end neither
    assert 0 < tails.pearson3(z, skew, "less")[0] < 1e-300


def test_the_curve_is_used_where_the_fourth_moment_is_its_own():
    skewness = np.array([0, 0, 0, 1, 1, 1, 1, np.nan, 0])
    kurtosis = np.array([0, 0.015, -0.03, 1.5, 1.59, 1.41, 1.61, 1, np.nan])
    moments = Moments(skewness, skewness, skewness, kurtosis)
    expected = [True, True, False, True, True, True, False, False, False]
    z = np.full(9, 3.0)
    assert tails.follows_pearson3(z, moments, "greater").tolist() == expected


def test_the_curve_is_used_in_tails_that_are_not_too_skew():
    skewness = np.array([0.9, 1.1, -0.4, -0.4, -0.6, 0.4, -0.9, -0.9])
    z = np.array([3.0, 3.0, 2.0, 2.6, 1.0, -2.0, -3.0, 3.0])
    moments = Moments(skewness, skewness, skewness, 1.5 * skewness**2)
    upper = [True, False, True, False, False, True, False, False]
    assert tails.follows_pearson3(z, moments, "greater").tolist() == upper
    lower = moments._replace(skewness=-skewness)
    assert tails.follows_pearson3(-z, lower, "less").tolist() == upper
    # two-sided, the tail is the one that z is in
    both = [True, False, True, False, False, True, True, False]
    assert tails.follows_pearson3(z, moments, "two-sided").tolist() == both


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_p_of_the_curve_has_the_exact_moments(world, alternative):
    from geointerp.spatial.neighbors import read_graph
    from geointerp.spatial.statistics import GEARY, GETIS_ORD, MORAN
    from geointerp.spatial.table import columns, read_features
    from geointerp.spatial.testing import exact_moments

    _, graph = world
    x = np.random.default_rng(0).uniform(0.5, 1.5, size=(300, 40))
    x *= np.random.default_rng(1).uniform(size=x.shape) < 0.7
    neighbors = read_graph(graph, read_features(x))
    null = nulls.Null(neighbors.site, 0)
    for statistic, function in ((MORAN, moran), (GEARY, geary), (GETIS_ORD, getis_ord)):
        (block,) = columns(x)
        _, sample = packing.pack(block, statistic, neighbors, null)
        skewness = exact_moments(statistic, neighbors)(sample).skewness
        table = function(x, graph, permutations=0, alternative=alternative)
        expected = tails.pearson3(table["z"].to_numpy(), skewness, alternative)
        used = table["p"].notna()
        assert used.sum() > 20
        np.testing.assert_allclose(table["p"][used], expected[used], rtol=1e-9)


# --------------------------------------------------------------------------- the stages


def test_permutations_go_on_where_few_are_as_extreme(world):
    places, graph = world
    features = (sparse_features(300, 300, 20, 6) > 0).astype(float)  # binary: no curve
    features[:, 3] = patch(places, 20, 1)
    first = moran(features, graph, max_permutations=999)
    as_extreme = (first["p"] * 1000 - 1).round()
    settled = as_extreme >= tails.ENOUGH
    assert (as_extreme == tails.ENOUGH).any()
    assert as_extreme.between(10, tails.ENOUGH - 1).any()
    table = moran(features, graph)
    assert (table["permutations"] == np.where(settled, 999, 9_999)).all()
    pd.testing.assert_series_equal(table.loc[settled, "p"], first.loc[settled, "p"])
    assert (first["p"][3], table["p"][3]) == (1e-3, 1e-4)
    # and so in the next stage
    as_extreme = (table["p"] * 10_000 - 1).round()
    going_on = ~settled & (as_extreme < tails.ENOUGH)
    assert (~settled & ~going_on).any()
    further = moran(features, graph, max_permutations=99_999)
    expected = np.where(settled, 999, np.where(going_on, 99_999, 9_999))
    assert (further["permutations"] == expected).all()
    pd.testing.assert_series_equal(further.loc[~going_on, "p"], table.loc[~going_on, "p"])
    assert further["p"][3] == 1e-5


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
@pytest.mark.parametrize("kind", ["moran", "geary", "getis_ord", "bivariate"])
def test_the_curve_gives_what_permutations_would(world, kind, alternative):
    # one region of all places is the same null, of which no moments are asked
    _, graph = world
    features = null_features(300, 40, 200, lambda rng, k: rng.uniform(0.2, 1.8, k), 2)
    how = {"alternative": alternative, "seed": 5}
    by_curve = ALL[kind](features, graph, **how)
    drawn = ALL[kind](
        features, graph, within=np.zeros(300), permutations=9_999, max_permutations=9_999, **how
    )
    assert (by_curve["permutations"] == 0).mean() > 0.9
    used = by_curve["permutations"] == 0
    p = by_curve.loc[used, "p"]
    sides = 2 if alternative == "two-sided" else 1
    error = np.sqrt(p / sides * (1 - p / sides) / 9_999)
    assert (np.abs(drawn.loc[used, "p"] - p) < sides * (4 * error + 0.002)).all()
    assert p.min() < 0.1
    assert p.max() > 0.9
    pd.testing.assert_series_equal(p, ALL[kind](features, graph, permutations=0, **how)["p"][used])


def test_stages_end_at_the_number_asked_for(world):
    places, graph = world
    x = np.column_stack([patch(places, 20, 1), patch(places, 25, 2)])
    for first, most, expected in (
        (999, 5_000, 5_000),
        (999, 999, 999),
        (99, 50, 99),
        (9, 999, 999),
        (1, 19, 19),
    ):
        table = moran(x, graph, permutations=first, max_permutations=most)
        assert table["permutations"].tolist() == [expected] * 2
        assert table["p"].tolist() == [1 / (expected + 1)] * 2
        assert table.attrs["max_permutations"] == max(first, most)


@pytest.mark.parametrize("kind", BY_HAND)
@pytest.mark.parametrize("grouped", [False, True])
def test_later_stages_hold_the_earlier_permutations(kind, grouped):
    # p at 999 and at 9,999 by hand, of the same shuffles
    n = 40
    graph, weights = ring(n)
    x = np.zeros(n)
    x[np.r_[20:26, 34:40] if kind == "bivariate" else np.r_[:7, 20:25]] = 1
    labels = np.arange(n) % 2 if grouped else None
    centred = kind != "getis_ord"
    moves = shuffles(graph, 9_999, 3, labels, centred)
    drawn = np.array([BY_HAND[kind](move(x), weights) for move in moves])
    observed = BY_HAND[kind](x, weights)
    for most, count in ((999, 999), (9_999, 9_999)):
        how = {"max_permutations": most, "seed": 3, "alternative": ALIKE[kind]}
        row = ALL[kind](x[:, None], graph, within=labels, **how).loc[0]
        assert p_by_hand(observed, drawn[:999], ALIKE[kind]) < 0.021
        if kind == "bivariate" and not grouped:
            assert row["permutations"] in (0, count)  # the curve may hold for a sum over places
        else:
            assert row["permutations"] == count
        if row["permutations"]:
            expected = p_by_hand(observed, drawn[:count], ALIKE[kind])
            np.testing.assert_allclose(row["p"], expected, rtol=1e-14)
        if grouped:
            z = (observed - drawn[:count].mean()) / drawn[:count].std(ddof=1)
            np.testing.assert_allclose(row["z"], z, rtol=1e-6, atol=1e-6)


def test_without_permutations_only_the_curve_gives_p(world):
    places, graph = world
    rng = np.random.default_rng(0)
    features = np.column_stack(
        [
            rng.normal(size=300),
            rng.uniform(size=300) < 0.4,  # binary
            np.where(rng.uniform(size=300) < 0.4, rng.integers(1, 4, 300), 0),  # mostly equal
            sparse_features(300, 1, 10, 0),  # 1.3 joins by chance
            sparse_features(300, 1, 17, 4) ** 2,  # a kurtosis that is not the curve's
            (rng.permutation(300) < 5) * rng.uniform(size=300),
        ]
    )
    table = moran(features, graph, permutations=0)
    assert (table["permutations"] == 0).all()
    assert table["p"].notna().tolist() == [True, *[False] * 5]
    needs = "Its p-value needs permutations: the Pearson III curve does not hold."
    too_few = "It fires on fewer than 10 places."
    assert table["reason"].fillna("").tolist() == ["", *[needs] * 4, too_few]
    assert table["z"].notna().tolist() == [*[True] * 5, False]
    assert table["q"].notna().sum() == 1
    joins = join_counts(features[:, 1:3], graph, permutations=0)
    assert joins[["p_BB", "p_BW"]].isna().all(axis=None)
    assert (joins["reason"] == needs).all()
    # with permutations those have p, and where the curve holds it serves
    table = moran(features, graph)
    assert table["p"].notna().tolist() == [*[True] * 5, False]
    assert (table["permutations"][1:5] > 0).all()
    smooth = places.geometry.y.to_numpy()[:, None]
    found = moran(smooth, graph)
    assert found["permutations"][0] == 0
    assert 0 < found["p"][0] < 1e-6
    pd.testing.assert_series_equal(found["p"], moran(smooth, graph, permutations=0)["p"])


@pytest.fixture
def lenient(monkeypatch):
    """Any moments will do for a curve."""
    monkeypatch.setattr(tails, "CURVE_TOLERANCE", (100.0, 100.0))
    monkeypatch.setattr(tails, "LONG_TAIL", 100.0)
    monkeypatch.setattr(tails, "SHORT_TAIL", 100.0)


@pytest.mark.usefixtures("lenient")
def test_few_joins_forbid_the_curve(world):
    # of the graph's 1,382 pairs 7.4 are expected to fire with 22 active places, 8.1 with 23
    _, graph = world
    for active, at_all in ((22, False), (23, True)):
        features = sparse_features(300, 20, active, 1)
        assert moran(features, graph, permutations=0)["p"].notna().any() == at_all


@pytest.mark.usefixtures("lenient")
def test_few_places_forbid_the_curve():
    # of nine there are 362,880 permutations, and a curve has no end
    for n, at_all in ((9, False), (10, True)):
        features = np.random.default_rng(0).uniform(1, 2, size=(n, 20))
        table = moran(features, ring(n)[0], permutations=0, min_active=5)
        assert table["p"].notna().any() == at_all


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("kind", ["moran", "geary", "getis_ord"])
def test_equal_values_forbid_the_curve(world, kind):
    _, graph = world
    binary = (sparse_features(300, 20, 100, 1) > 0).astype(float)
    almost = binary * np.random.default_rng(3).uniform(1, 1.001, size=binary.shape)
    nearly = binary * np.random.default_rng(3).uniform(1 - 1e-6, 1 + 1e-6, size=binary.shape)
    found = [ALL[kind](x, graph, permutations=0) for x in (binary, nearly, almost)]
    np.testing.assert_allclose(found[0]["z"], found[2]["z"], atol=0.05)
    assert [table["p"].notna().any() for table in found] == [False, False, True]


# ------------------------------------------------------------------------------ far out


def only(value):
    return np.array([float(value)])


def moments_of(skewness=0.0, excess=0.0):
    """Of a distribution whose kurtosis is above the curve's."""
    return Moments(only(0), only(1), only(skewness), only(1.5 * skewness**2 + excess))


def last_z(z, moments, side=1, added=()):
    return curve.furthest(only(z), moments, only(side), added)[0]


def test_a_normal_tail_is_trusted_all_the_way():
    assert last_z(38, moments_of()) == 38
    assert last_z(4, moments_of(excess=-1.0)) == 4


@pytest.mark.parametrize("side", [1, -1])
def test_how_far_a_fourth_moment_lets_the_curve_go(side):
    # 2 · 0.02 · z⁴ / 24 is log 1.5 at z = 3.95
    end = (12 * np.log(1.5) / 0.02) ** 0.25
    assert last_z(3.9, moments_of(excess=0.02), side) == 3.9
    np.testing.assert_allclose(last_z(9, moments_of(excess=0.02), side), end, rtol=1e-9)


@pytest.mark.parametrize("skewness", [0.05, 0.4, 0.9])
def test_what_the_curve_has_beyond_the_fourth_cumulant(skewness):
    # the (k)th cumulant of the curve is (k - 1)! (skewness / 2)ᵏ⁻²
    z = 5.0
    s = z / (1 + skewness * z / 2)
    k = np.arange(5, 4000)
    expected = (s**2 * (skewness * s / 2) ** (k - 2.0) / k).sum()
    for side in (1, -1):
        found = curve.left_out(only(z), moments_of(side * skewness), only(side), ())
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_what_a_rare_jump_adds():
    # one chance in a thousand of a jump by 2, and the four cumulants it has
    jump = curve.Jumps(np.full((1, 1), 2.0), curve.law(np.ones(3), 3000))
    k = [0.002, *[0.0] * 3]
    draws = np.array([2.0, 0.0]), np.array([0.001, 0.999])
    centred = draws[0] - k[0]
    k[1], k[2], fourth = ((draws[1] * centred**r).sum() for r in (2, 3, 4))
    k[3] = fourth - 3 * k[1] ** 2
    for z in (1.0, 3.0, 4.5):
        whole = np.log((draws[1] * np.exp(z * centred)).sum())
        expected = whole - k[1] * z**2 / 2 - k[2] * z**3 / 6 - k[3] * z**4 / 24
        found = curve.left_out(only(z), moments_of(), only(1), [jump])
        np.testing.assert_allclose(found, expected, rtol=1e-8)
        assert curve.left_out(only(z), moments_of(), only(-1), [jump]) == 0


def test_weights_are_summed_up_by_few_numbers():
    # the same where they are few; and where many are taken together for one, it is further out
    found = curve.law(np.array([0.125, 0.25, 0.125]), 10)
    np.testing.assert_allclose(found.numbers + 0.05, [0.125, 0.25, 0])
    assert found.chances.tolist() == [0.2, 0.1, 0.7]
    many = np.random.default_rng(0).normal(size=5000)
    few = curve.law(many, 5000)
    assert len(few.numbers) < 40
    for s in (1.0, 3.0):
        further = np.log((few.chances * np.exp(s * few.numbers)).sum() / np.exp(s * many).mean())
        assert 0 < further < s * np.ptp(many) / 32


@pytest.mark.parametrize("kind", ["moran", "geary", "getis_ord", "bivariate"])
def test_jumps_are_what_moves_z(kind):
    # of ten places the ten largest values are all, and from one order to another z moves by theirs
    from geointerp.spatial import statistics
    from geointerp.spatial.neighbors import read_graph
    from geointerp.spatial.table import columns, read_features
    from geointerp.spatial.testing import exact_moments

    graph, _ = uneven_graph(10, 1, islands=1)
    rng = np.random.default_rng(0)
    x = rng.exponential(size=(10, 1))
    lag = rng.normal(size=10)
    lag -= lag.mean()
    statistic = getattr(statistics, kind.upper() if kind != "bivariate" else "BIVARIATE_MORAN")
    neighbors = read_graph(graph, read_features(x))
    if kind == "bivariate":
        nobody = {"indptr": np.zeros_like(neighbors.indptr), "other": neighbors.other[:0]}
        neighbors = neighbors._replace(**nobody, weight=neighbors.weight[:0], degree=lag)
        moments = Moments(only(0), only(0.01), only(0), only(0))
    found = []
    for values in (x, x[::-1], rng.permutation(x)):
        (block,) = columns(values)
        null = nulls.Null(neighbors.site, 0)
        packed, sample = packing.pack(block, statistic, neighbors, null)
        if kind != "bivariate":
            moments = exact_moments(statistic, neighbors)(sample)
        added = curve.jumps(statistic, packed, sample, neighbors, moments, np.arange(1))
        rank = np.empty(10, dtype=int)
        rank[neighbors.site] = np.argsort(np.argsort(values[:, 0]))
        moved = 0.0
        if kind != "bivariate":
            size = np.zeros((10, 10))
            size[np.triu_indices(10, 1)] = added.pop(0).sizes[:, 0]
            both = neighbors.both.toarray()
            moved += ((size + size.T)[rank][:, rank] * both).sum() / 2
        if kind != "moran":
            moved += added.pop(0).sizes[rank, 0] @ neighbors.degree
        assert not added
        found.append((moments.z(packed.value)[0], moved))
    z, moved = np.array(found).T
    assert np.abs(np.diff(z)).max() > 0.1
    np.testing.assert_allclose(np.diff(moved), np.diff(z), rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def giants():
    """A feature that follows the latitude, but for two far-off places where it is very strong."""
    places = scattered(10_000)
    rng = np.random.default_rng(0)
    x = np.empty((10_000, 1))
    order = np.argsort(places.geometry.y.to_numpy() + 130 * rng.normal(size=10_000))
    x[order, 0] = np.sort(rng.normal(size=10_000))
    x[[0, np.argmax(np.abs(places.geometry.x - places.geometry.x.iloc[0]))]] = 20
    return x, knn(places)


def test_two_giants_get_no_p_that_their_meeting_decides(giants):
    from geointerp.spatial.neighbors import read_graph
    from geointerp.spatial.statistics import MORAN
    from geointerp.spatial.table import columns, read_features
    from geointerp.spatial.testing import exact_moments

    x, graph = giants
    found, plain = (
        moran(v, graph, permutations=999, max_permutations=999) for v in (x, np.fmin(x, 4))
    )
    assert found["z"][0] > 15
    assert plain["p"][0] < 1e-20
    assert found["p"][0] > 1e-5
    assert (found["permutations"][0], plain["permutations"][0]) == (0, 0)
    neighbors = read_graph(graph, read_features(x))
    (block,) = columns(x)
    sample = packing.pack(block, MORAN, neighbors, nulls.Null(neighbors.site, 0))[1]
    moments = exact_moments(MORAN, neighbors)(sample)
    skewness = moments.skewness[0]
    assert tails.follows_pearson3(only(6), moments, "greater")[0]
    # how often the two are neighbours and z then reaches a level, beside what the others do
    jumps = neighbors.weight * ((20 - x.mean()) / x.std()) ** 2 / neighbors.s0
    jumps = jumps / np.sqrt(moments.variance[0])

    def by_meeting(z):
        return norm.sf(z - jumps).sum() / (10_000 * 9_999 / 2)

    assert by_meeting(curve_of.isf(1e-6, skewness)) > 0.9e-6
    assert by_meeting(curve_of.isf(1e-7, skewness)) > 1.5e-7
    assert by_meeting(curve_of.isf(found["p"][0], skewness)) < 0.5 * found["p"][0]


def test_where_the_curve_ends_permutations_are_asked_if_they_go_on(giants):
    x, graph = giants
    rows = [moran(x, graph, max_permutations=most).loc[0] for most in (999, 9_999)]
    assert rows[0]["permutations"] == 0
    assert 1e-4 < rows[0]["p"] < 1e-3
    assert rows[1][["p", "permutations"]].tolist() == [1e-4, 9_999]
    unknown = moran(x, graph, permutations=0).loc[0]
    assert np.isnan(unknown["p"])
    assert "Pearson III" in unknown["reason"]


# -------------------------------------------------------------------------- calibration


def null_features(n, width, active, draw, seed):
    rng = np.random.default_rng(seed)
    features = np.zeros((n, width))
    for column in features.T:
        column[rng.choice(n, active, replace=False)] = draw(rng, active)
    return features


def assert_nominal(p, levels=(0.01, 0.001)):
    for level in levels:
        sigma = np.sqrt(level * (1 - level) / len(p))
        share = (p <= level).mean()
        slack = min(0.3 * level, 0.02)
        assert abs(share - level) < slack + 4 * sigma, (level, share)


@pytest.fixture(scope="module")
def large():
    return knn(scattered(2000))


@pytest.mark.parametrize("kind", ["moran", "geary", "getis_ord", "bivariate"])
@pytest.mark.parametrize(
    ("active", "draw", "least"),
    [
        (1000, lambda rng, k: np.abs(rng.normal(size=k)) + 0.5, 0.99),
        (500, lambda rng, k: rng.uniform(0.8, 1.2, size=k), 0.99),
    ],
)
def test_the_curves_p_is_nominal_under_the_null(large, kind, active, draw, least):
    features = null_features(2000, 3000, active, draw, active)
    for alternative in ("greater", "less"):
        table = ALL[kind](features, large, permutations=0, alternative=alternative)
        p = table["p"].dropna()
        assert len(p) >= least * 3000
        assert_nominal(p, (0.8, 0.5, 0.2, 0.05, 0.01, 0.001))


@pytest.mark.parametrize("kind", ["moran", "geary", "getis_ord", "join_counts"])
def test_p_of_binary_features_is_never_too_small(large, kind):
    features = null_features(2000, 1000, 60, lambda rng, k: np.ones(k), 1)
    table = ALL[kind](features, large, permutations=99, max_permutations=999)
    for p in (table[c] for c in table if c in ("p", "p_BB", "p_BW")):
        assert p.notna().all()
        for level in (0.05, 0.01, 0.002):
            assert (p <= level).mean() < level + 4 * np.sqrt(level / 1000), (p.name, level)
        assert (p <= 0.5).mean() > 0.3


def test_z_is_standardised(large):
    features = null_features(2000, 2000, 80, lambda rng, k: rng.exponential(size=k), 4)
    for kind in ("moran", "geary", "getis_ord", "bivariate"):
        z = ALL[kind](features, large, permutations=0)["z"]
        assert abs(z.mean()) < 4 / np.sqrt(2000), kind
        assert abs(z.std() - 1) < 0.1, kind


# ------------------------------------------------------------------------ the same bytes


def mixed_company(n, seed):
    """Sparse features and wide ones, of more than an eighth of the places."""
    rng = np.random.default_rng(seed)
    few = [sparse_features(n, 1, active, seed) for active in (12, 14, 20, 25, 30)]
    many = [sparse_features(n, 1, active, seed) for active in (n // 4, n // 2, n - 20)]
    return np.column_stack([*few, *many, rng.exponential(size=n), few[2] > 0])


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_same_bytes_with_any_threads_blocks_and_chunks(world, monkeypatch, kind, grouped):
    _, graph = world
    features = mixed_company(300, 1)
    how = {"within": np.arange(300) % 3 if grouped else None, "permutations": 199}
    first = ALL[kind](features, graph, threads=1, **how)
    pd.testing.assert_frame_equal(
        ALL[kind](features, graph, threads=2, **how), first, check_exact=True
    )
    monkeypatch.setattr(tables, "BLOCK_ENTRIES", 650)
    monkeypatch.setattr(nulls, "CHUNK_ENTRIES", 5_000)
    for threads in (1, 3):
        again = ALL[kind](features, graph, threads=threads, **how)
        pd.testing.assert_frame_equal(again, first, check_exact=True)
    other = ALL[kind](features, graph, seed=1, **how)
    p = [c for c in first if c in ("p", "p_BB")]
    assert (other[p] != first[p]).any(axis=None)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("kind", ["moran", "geary", "getis_ord", "bivariate"])
def test_a_feature_alone_is_what_it_is_in_company(world, kind, grouped):
    # no number of a feature but q depends on who is tested beside it
    _, graph = world
    features = mixed_company(300, 2)
    how = {"within": np.arange(300) % 3 if grouped else None, "permutations": 99}
    together = ALL[kind](features, graph, **how).drop(columns="q")
    for f in (0, 4, 6, 9):
        alone = ALL[kind](features[:, [f]], graph, **how).drop(columns="q")
        expected = together.loc[[f]].reset_index(drop=True)
        if kind == "bivariate":
            expected["feature"] = 0
        pd.testing.assert_frame_equal(alone, expected, check_exact=True)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_side_by_side_or_by_active_places_is_the_same(world, monkeypatch, kind, grouped):
    # n / 8 active places are few, one more is many
    _, graph = world
    features = mixed_company(300, 3)
    how = {"within": np.arange(300) % 3 if grouped else None, "permutations": 299}
    found = {}
    for word, share in (("all few", 0), ("all many", 10**6)):
        monkeypatch.setattr(packing, "_WIDE", share)
        found[word] = ALL[kind](features, graph, **how)
    few, many = found.values()
    for column in few.select_dtypes("number"):
        exactly = column.startswith(("p", "q", "n_active"))
        tolerance = {"rtol": 0 if exactly else 1e-12, "atol": 0 if exactly else 1e-12}
        if column.startswith("z"):
            tolerance["rtol"] = 1e-10
        if grouped and column.startswith(("z", "expected")):  # from draws in single precision
            tolerance = {"rtol": 1e-6, "atol": 1e-5}
        np.testing.assert_allclose(many[column], few[column], **tolerance, err_msg=column)


def test_what_is_wide():
    starts = np.array([0, 37, 75, 112, 412])
    packed = packing.Packed(starts, *[np.zeros(0)] * 10)
    assert packed.wide(300).tolist() == [False, True, False, True]


def test_more_than_go_abreast(world, monkeypatch):
    from geointerp.spatial import shuffled

    _, graph = world
    features = sparse_features(300, 137, 120, 0)
    how = {"permutations": 99, "within": np.zeros(300), "max_permutations": 99}
    whole = moran(features, graph, **how)
    assert (whole["permutations"] > 0).all()
    for width in (5, 37, 1000):  # by the processor's vectors, and what is over
        monkeypatch.setattr(shuffled, "_ABREAST", width)
        pd.testing.assert_frame_equal(moran(features, graph, **how), whole, check_exact=True)


# ------------------------------------------------------------------------------ devices


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_torch_counts_the_same(world, kind, grouped):
    _, graph = world
    features = mixed_company(300, 4)
    how = {"within": np.arange(300) % 3 if grouped else None, "permutations": 199}
    expected = ALL[kind](features, graph, **how)
    # "cpu" is the compiled loops, "cpu:0" is torch on the same processor
    found = ALL[kind](features, graph, device="cpu:0", **how)
    for column in expected.select_dtypes("number"):
        exactly = column.startswith(("p", "q", "n_active"))
        np.testing.assert_allclose(
            found[column],
            expected[column],
            rtol=0 if exactly else 1e-6 if grouped else 1e-9,
            atol=0 if exactly else 1e-5 if grouped else 1e-12,
            err_msg=column,
        )
    pd.testing.assert_series_equal(found["reason"], expected["reason"])


def test_the_device_is_asked(world, monkeypatch):
    from geointerp.spatial import _torch

    _, graph = world
    asked = []

    class Device(_torch.Device):
        def __init__(self, device, *given):
            asked.append(device)
            super().__init__(device, *given)

    monkeypatch.setattr(_torch, "Device", Device)
    moran(sparse_features(300, 2, 20, 0), graph, permutations=9, max_permutations=9)
    assert asked == []
    how = {"permutations": 9, "max_permutations": 9, "device": "cpu:0"}
    moran(sparse_features(300, 2, 20, 0), graph, **how)
    assert asked == ["cpu:0"]


# ------------------------------------------------------------------------- known answers


def test_an_option_that_is_not_one_is_named():
    for function in (geary, getis_ord, join_counts):
        with pytest.raises(TypeError, match=r"no option 'permutation'; .* permutations, max_perm"):
            function(np.zeros((4, 1)), ring(6)[0], permutation=9)


def test_pseudo_p_values():
    at_least, at_most = np.array([0, 99, 40, 99]), np.array([99, 0, 70, 99])
    count = np.full(4, 99)
    assert tails.pseudo(at_least, at_most, count, "greater").tolist() == [0.01, 1, 0.41, 1]
    assert tails.pseudo(at_least, at_most, count, "less").tolist() == [1, 0.01, 0.71, 1]
    assert tails.pseudo(at_least, at_most, count, "two-sided").tolist() == [0.02, 0.02, 0.82, 1]


def test_q_values_leave_out_what_is_not_tested():
    p = np.array([0.01, np.nan, 0.04, 0.03, np.nan, 0.5])
    expected = [0.04, np.nan, 0.16 / 3, 0.16 / 3, np.nan, 0.5]
    np.testing.assert_allclose(tails.q_values(p), expected)
    assert np.isnan(tails.q_values(np.full(3, np.nan))).all()


@pytest.mark.parametrize("grouped", [False, True])
def test_joins_are_counted_exactly(grouped):
    # counts of pairs are whole numbers, of which many draws give the same
    graph, weights = uneven_graph(40, 3, binary=True)
    x = (np.random.default_rng(0).uniform(size=40) < 0.4).astype(float)
    labels = np.arange(40) % 2 if grouped else None
    moves = shuffles(graph, 999, 0, labels, centred=False)
    drawn = np.array([joins_by_hand(move(x), weights) for move in moves])
    observed = joins_by_hand(x, weights)
    assert (drawn == observed).sum() > 20
    table = join_counts(x[:, None] * 0.1, graph, within=labels, max_permutations=999)
    assert table["p_BB"][0] == (1 + (drawn >= observed).sum()) / 1000
