import numpy as np
import pytest
from scipy import special

from geointerp import sphere
from geointerp.probes import Number, scores
from geointerp.probes.intervals import Bootstrap, interval, summed


def points(n=60, seed=0):
    random = np.random.default_rng(seed)
    return np.stack(
        [random.uniform(-180, 180, n), np.degrees(np.arcsin(random.uniform(-1, 1, n)))], axis=1
    )


def test_proximity_error_is_the_share_of_places_predicted_nearer():
    truth, guess = points(), points(seed=1)
    km = sphere.distance_km(
        lon=truth[:, :1], lat=truth[:, 1:], to_lon=guess[:, 0], to_lat=guess[:, 1]
    )
    wanted = (km < np.diag(km)[:, None]).mean(1)
    np.testing.assert_allclose(scores.proximity_error(truth, guess), wanted)
    assert (scores.proximity_error(truth, truth) == 0).all()
    assert 0.3 < scores.proximity_error(points(400), points(400, seed=2)).mean() < 0.6


def test_shares_within():
    found = scores.within_km([0.5, 10, 100, 700, 2000, 9000])
    assert [found[f"within_{km}_km"] for km in (1, 25, 200, 750, 2500)] == pytest.approx(
        [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6]
    )
    assert found["km_25"] == pytest.approx(np.quantile([0.5, 10, 100, 700, 2000, 9000], 0.25))


def test_correlations_known():
    found = scores.correlations([1, 2, 3, 4], [1, 4, 9, 16])
    assert found["spearman"] == found["kendall"] == pytest.approx(1)
    assert found["pearson"] == pytest.approx(0.9843740386976972)
    assert np.isnan(scores.correlations([1, 2], [3, 3])["pearson"])


def test_probabilities_are_sharpened_to_the_truth():
    random = np.random.default_rng(0)
    prior = np.array([0.1, 0.2, 0.3, 0.4])
    raw = prior + 0.1 * random.normal(size=(20_000, 4))
    chance = special.softmax(30 * (raw - prior) + np.log(prior), axis=1)
    truth = (chance.cumsum(1) > random.uniform(size=(20_000, 1))).argmax(1)
    found = scores.probabilities(raw, truth)
    assert np.abs(found - chance).max() < 0.05
    said = scores.of_distribution(found, truth)
    assert said["calibration_error"] < 0.02
    assert said["nll"] == pytest.approx(-np.log(chance[np.arange(20_000), truth]).mean(), rel=1e-3)
    overconfident = scores.of_distribution(special.softmax(120 * raw, axis=1), truth)
    assert overconfident["calibration_error"] > 0.1
    assert overconfident["nll"] > said["nll"]


def test_a_regression_that_knows_nothing_gives_the_shares():
    random = np.random.default_rng(2)
    prior = np.array([0.05, 0.15, 0.8])
    truth = random.choice(3, 5000, p=prior)
    raw = prior + 1e-3 * random.normal(size=(5000, 3))
    found = scores.probabilities(raw, truth)
    said = scores.of_distribution(found, truth)
    assert said["nll"] == pytest.approx(said["nll_prior"], rel=2e-3)
    # one wrong label among many that are told apart is no catastrophe
    told = np.eye(2)[np.r_[np.zeros(20, int), np.ones(20, int)]]
    wrong = np.r_[np.ones(1, int), np.zeros(19, int), np.ones(20, int)]
    said = scores.of_distribution(scores.probabilities(told, wrong), wrong)
    assert said["nll"] < 0.5 * said["nll_prior"]


def test_the_half_that_sharpens_is_not_the_half_that_is_scored():
    raw, truth = np.random.default_rng(1).normal(size=(100, 3)), np.arange(100) % 3
    changed = truth.copy()
    changed[::2] = (truth[::2] + 1) % 3
    one, other = scores.probabilities(raw, truth), scores.probabilities(raw, changed)
    # what is true of the even places does not touch their own distributions
    np.testing.assert_array_equal(one[::2], other[::2])
    assert not np.array_equal(one[1::2], other[1::2])


def test_the_area_searched_until_a_place_is_found():
    chance = np.array([[0.5, 0.3, 0.2]] * 3)
    area = np.array([100.0, 10.0, 5.0])
    # densities .005, .03, .04: the third first, then the second
    found = scores.recall_area(chance, np.array([0, 1, 2]), area)
    assert found.tolist() == [115, 15, 5]


def test_conformal_regions_hold_what_they_promise():
    random = np.random.default_rng(0)
    km = random.exponential(500, 5000)
    radius, coverage = scores.conformal(km, np.arange(5000) % 5, 0.9)
    assert coverage == pytest.approx(0.9, abs=0.01)
    assert radius.mean() == pytest.approx(500 * np.log(10), rel=0.05)
    # of one fold there are no others to say how far errors reach
    radius, coverage = scores.conformal(km, np.zeros(5000, int))
    assert np.isnan(radius).all()
    assert np.isnan(coverage)
    # a fold unlike the others is not covered
    odd = np.r_[km, km[:500] + 5000]
    radius, _ = scores.conformal(odd, np.r_[np.arange(5000) % 5, [5] * 500])
    assert (odd > radius)[5000:].all()
    assert scores.cap_km2(np.pi / 2 * sphere.EARTH_RADIUS_KM) == pytest.approx(
        2 * np.pi * sphere.EARTH_RADIUS_KM**2
    )


def skill(draws, loss):
    sums = draws.sums(summed(np.stack([loss, np.ones(len(loss))], 1), draws.block, draws.count))
    return 1 - sums[:, 0] / sums[:, 1]


def test_intervals_over_blocks_are_as_wide_as_blocks_make_them():
    random = np.random.default_rng(0)
    block = np.repeat(np.arange(400), 10)
    # places of a block are wholly alike
    loss = np.repeat(random.uniform(size=400), 10)
    low, high = interval(skill(Bootstrap(block, seed=1), loss))
    wanted = 2 * 1.96 * loss[::10].std() / np.sqrt(400)
    assert high - low == pytest.approx(wanted, rel=0.1)
    assert low < 1 - loss.mean() < high
    narrow = interval(skill(Bootstrap(np.arange(4000), seed=1), loss))
    assert narrow[1] - narrow[0] == pytest.approx(wanted / np.sqrt(10), rel=0.1)
    assert interval(skill(Bootstrap(block, seed=1), loss)) == (low, high)


def test_intervals_of_few_blocks_are_not_given():
    loss = np.random.default_rng(0).uniform(size=90)
    assert np.isnan(interval(skill(Bootstrap(np.arange(90) % 9), loss))).all()
    assert np.isfinite(interval(skill(Bootstrap(np.arange(90) % 10), loss))).all()


def test_intervals_hold_the_truth_as_often_as_they_say():
    # R² of places that are alike within their blocks, of unequal size
    random = np.random.default_rng(5)

    def places(blocks):
        size = random.integers(5, 40, blocks)
        block = np.repeat(np.arange(blocks), size)
        truth = (random.normal(size=blocks)[block] + random.normal(size=len(block)))[:, None]
        error = 0.6 * random.normal(size=blocks)[block] + 0.5 * random.normal(size=len(block))
        return block, truth, truth + error[:, None]

    def bound(truth):
        target = Number("size")
        target.values, target.columns = truth, ["size"]
        return target

    def sums(block, truth, guess, count):
        return bound(truth).block_sums(guess, np.arange(len(truth)), block, count)

    _, truth, guess = places(40_000)
    wanted = scores.r2(truth, guess)[0]
    held = 0
    for seed in range(300):
        block, truth, guess = places(60)
        draws = Bootstrap(block, seed=seed)
        found = bound(truth).skill(draws.sums(sums(block, truth, guess, draws.count)))
        low, high = interval(found)
        held += low <= wanted <= high
        if seed == 0:
            whole = bound(truth).skill(sums(np.zeros_like(block), truth, guess, 1))[0]
            assert whole == pytest.approx(scores.r2(truth, guess)[0], abs=1e-12)
    # 95% is said; of so few blocks a little less is held
    assert 0.87 <= held / 300 <= 0.975


def test_scores_known_answers():
    truth = np.array([[0.0, 10.0], [2.0, 10.0], [4.0, 10.0]])
    guess = np.array([[0.0, 9.0], [2.0, 9.0], [1.0, 9.0]])
    found = scores.r2(truth, guess)
    assert found[0] == pytest.approx(1 - 9 / 8)
    assert np.isnan(found[1])
    lon_lat = np.array([[179.0, 0.0], [0.0, 80.0]])
    predicted = np.array([[181.0, 0.0], [0.0, 95.0]])
    np.testing.assert_allclose(scores.on_the_globe(predicted), [[-179, 0], [0, 90]])
    np.testing.assert_allclose(scores.error_km(lon_lat, predicted), [222.4, 1111.9], atol=0.1)
