import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import pearson3 as curve_of
from spatial_helpers import ring, scattered, sparse_features, uneven_graph

from geointerp.spatial import curve, geary, getis_ord, knn, moran, nulls, packing, tails
from geointerp.spatial.moments import Moments


@pytest.fixture(scope="module")
def world():
    places = scattered(300)
    return places, knn(places)


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
@pytest.mark.parametrize("function", [moran, geary, getis_ord])
def test_equal_values_forbid_the_curve(world, function):
    _, graph = world
    binary = (sparse_features(300, 20, 100, 1) > 0).astype(float)
    almost = binary * np.random.default_rng(3).uniform(1, 1.001, size=binary.shape)
    nearly = binary * np.random.default_rng(3).uniform(1 - 1e-6, 1 + 1e-6, size=binary.shape)
    found = [function(x, graph, permutations=0) for x in (binary, nearly, almost)]
    np.testing.assert_allclose(found[0]["z"], found[2]["z"], atol=0.05)
    assert [table["p"].notna().any() for table in found] == [False, False, True]


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
