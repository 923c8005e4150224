import numpy as np
import pandas as pd
import pytest
from spatial_helpers import (
    bivariate_by_hand,
    geary_by_hand,
    getis_ord_by_hand,
    joins_by_hand,
    moran_by_hand,
    p_by_hand,
    ring,
    scattered,
    shuffles,
    sparse_features,
    uneven_graph,
)

from geointerp.spatial import (
    bivariate_moran,
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


def patch(places, size, values):
    """A feature that fires around one place only."""
    x = np.zeros(len(places))
    x[np.argsort((places.geometry.x**2 + places.geometry.y**2).to_numpy())[:size]] = values
    return x


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
    features = sparse_features(300, 265, 120, 0)
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


# ------------------------------------------------------------------- options, and by hand


def test_an_option_that_is_not_one_is_named():
    for function in (geary, getis_ord, join_counts):
        with pytest.raises(TypeError, match=r"no option 'permutation'; .* permutations, max_perm"):
            function(np.zeros((4, 1)), ring(6)[0], permutation=9)


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
