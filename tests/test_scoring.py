import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression

import geointerp as gi
from geointerp import sphere
from geointerp.errors import InputError
from geointerp.geollm.scoring import agreement
from geointerp.probes.intervals import Bootstrap


def world(n=400, seed=0):
    """Places all over the globe, a truth in some unit, and ratings that half know it."""
    random = np.random.default_rng(seed)
    lon, lat = sphere.lon_lat(random.standard_normal((n, 3)))
    places = gpd.GeoDataFrame(
        {"half": np.where(lat > 0, "north", "south"), "urban": random.uniform(size=n) < 0.5},
        geometry=gpd.points_from_xy(lon, lat),
        index=random.permutation(n),
        crs="EPSG:4326",
    )
    known = random.normal(size=n)
    truth = pd.Series(1000 + 50 * known, index=places.index)
    rated = np.clip(5 + known + random.normal(size=n), 0, 9.9)
    return places, truth, pd.Series(rated, index=places.index, name="rating")


# scores


def test_score_of_known_ranks_whatever_the_order_of_the_index():
    ratings = pd.DataFrame({"rating": [1.0, 2, 3, 4]}, index=list("abcd"))
    truth = pd.Series({"d": 400.0, "b": 300, "a": 100, "c": 200, "elsewhere": 1e9})
    found = gi.geollm.score(ratings, truth)
    assert found["spearman"] == pytest.approx(0.8)
    assert found["pearson_r2"] == pytest.approx(0.64)
    assert (found["n"], found["n_missing"], found["reason"]) == (4, 0, "")
    bent = gi.geollm.score(ratings["rating"], pd.Series([-1.0, -10, -100, -1000], list("abcd")))
    assert bent["spearman"] == pytest.approx(-1)
    assert bent["pearson_r2"] == pytest.approx(1543.5**2 / (5 * 701520.75))


def test_missing_truth_is_left_out_and_counted():
    ratings = pd.Series([1.0, 2, 3, 4, 9, np.nan], index=list("abcdef"))
    truth = pd.Series([100.0, 300, 200, 400, np.nan, 1], index=list("abcdef"))
    found = gi.geollm.score(ratings, truth)
    assert (found["n"], found["n_missing"]) == (4, 2)
    assert found["pearson_r2"] == pytest.approx(0.64)


@pytest.mark.parametrize(
    ("ratings", "truth", "reason"),
    [
        ([0.1] * 3 + [0.1 + 1e-16], [1, 2, 3, 4], "the ratings are constant"),
        ([1, 2, 3, 4], [0.0] * 4, "the truth is constant"),
        ([1, 2, 3, 4], [1, 2, np.nan, np.nan], "fewer than 3"),
    ],
)
def test_a_score_that_cannot_be_says_why(ratings, truth, reason):
    found = gi.geollm.score(pd.Series(ratings), pd.Series(truth))
    assert np.isnan(found["spearman"])
    assert np.isnan(found["pearson_r2"])
    assert reason in found["reason"]


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (pd.Series([1.0, 2, 3], index=["a", "b", "z"]), "no 'c' .1 of 3"),
        (pd.Series([1.0, 2, 3, 4], index=["a", "b", "c", "c"]), "'c' more than once"),
        (pd.Series([1.0, -np.inf, 3], index=list("abc")), "row 'b' is -inf"),
        (pd.Series(["1", "two", "3"], index=list("abc")), "not every value is a number"),
        ([1, 2, 3], "truth is a list"),
    ],
)
def test_truth_that_does_not_fit_is_refused(truth, message):
    ratings = pd.DataFrame({"rating": [1.0, 2, 3]}, index=list("abc"))
    with pytest.raises(InputError, match=message):
        gi.geollm.score(ratings, truth)
    with pytest.raises(InputError, match="no column 'rating'"):
        gi.geollm.score(ratings.rename(columns={"rating": "r"}), truth)


# scores with groups, splits and intervals


def test_every_score_is_that_of_its_definition():
    places, truth, ratings = world()
    truth.iloc[3] = np.nan
    ratings.iloc[7] = np.nan
    cv = gi.probes.RandomKFold(4, seed=1)
    table = gi.geollm.scores(ratings, truth, places, by=["half", "urban"], cv=cv)
    assert table["split"].unique().tolist() == ["random"]
    assert table["group"].tolist() == ["", "north", "south", False, True]
    fitted = gi.geollm.recalibrated(ratings, truth, places, cv=cv)
    for row in table.to_dict("records"):
        inside = pd.Series(True, places.index)
        if row["by"]:
            inside = places[row["by"]] == row["group"]
        both = inside & truth.notna() & ratings.notna()
        assert row["n"] == both.sum()
        assert row["n_missing"] == inside.sum() - both.sum()
        first, second = ratings[both], truth[both]
        assert row["pearson"] == pytest.approx(stats.pearsonr(first, second).statistic)
        assert row["pearson_r2"] == pytest.approx(row["pearson"] ** 2)
        assert row["spearman"] == pytest.approx(stats.spearmanr(first, second).statistic)
        off = (fitted - truth)[both]
        assert row["mae"] == pytest.approx(off.abs().mean())
        assert row["rmse"] == pytest.approx(np.sqrt((off**2).mean()))
        for name in ("pearson", "pearson_r2", "spearman", "mae", "rmse"):
            assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
        assert row["reason"] == ""
    # half of the variance is noise: errors are those of the truth's unit, 50 / sqrt(2)
    assert table.loc[0, "rmse"] == pytest.approx(50 / np.sqrt(2), rel=0.1)
    alone = gi.geollm.score(ratings, truth)
    assert table.loc[0, "spearman"] == pytest.approx(alone["spearman"])
    assert table.loc[0, "pearson_r2"] == pytest.approx(alone["pearson_r2"])


def test_splits_change_errors_and_not_correlations():
    places, truth, ratings = world()
    # north and south are rated by different measures
    ratings = ratings + 3 * (places["half"] == "north")
    cv = {
        "random": gi.probes.RandomKFold(seed=0),
        "half": gi.probes.ColumnKFold("half", n_splits=2),
    }
    table = gi.geollm.scores(ratings, truth, places, cv=cv).set_index("split")
    assert table["spearman"].nunique() == 1
    assert table.loc["half", "mae"] > 1.2 * table.loc["random", "mae"]
    default = gi.geollm.scores(ratings, truth, places)
    assert default["split"].tolist() == ["random", "block 500 km"]
    again = gi.geollm.scores(ratings[::-1], truth, places.to_crs("EPSG:3857"), cv=cv)
    np.testing.assert_allclose(again.set_index("split")["spearman"], table["spearman"])


def test_predictions_in_the_truths_unit_are_taken_as_they_stand():
    places, truth, _ = world(50)
    table = gi.geollm.scores(truth + 7, truth, places, recalibrate=None)
    assert table["split"].tolist() == [""]
    assert table.loc[0, ["mae", "rmse", "mae_low", "mae_high"]].tolist() == pytest.approx([7] * 4)
    assert table.loc[0, "pearson"] == pytest.approx(1)


def test_errors_of_ratings_do_not_hang_on_their_scale():
    places, truth, ratings = world()
    one = gi.geollm.scores(ratings, truth, places)
    other = gi.geollm.scores(pd.DataFrame({"rating": 40 - 3 * ratings}), truth, places)
    np.testing.assert_allclose(one[["mae", "rmse"]], other[["mae", "rmse"]])
    np.testing.assert_allclose(one["pearson"], -other["pearson"])
    with pytest.raises(InputError, match="a column 'rating' has no unit"):
        gi.geollm.scores(ratings.to_frame(), truth, places, recalibrate=None)


def test_groups_that_have_no_scores_say_why():
    places, truth, ratings = world(60)
    places["kind"] = ["few"] * 2 + ["flat"] * 8 + ["none"] * 3 + [None] * 7 + ["rest"] * 40
    ratings[places["kind"] == "flat"] = 5.0
    ratings[places["kind"] == "none"] = np.nan
    table = gi.geollm.scores(ratings, truth, places, by="kind", block_km=3000).set_index("group")
    table = table[table["split"] == "random"]
    assert list(table.index) == ["", "few", "flat", "none", "rest"]
    assert table["n"].tolist() == [57, 2, 8, 0, 40]
    assert table.loc["none", ["n_missing", "n_blocks"]].tolist() == [3, 0]
    reasons = table["reason"]
    assert "fewer than 3" in reasons["few"]
    assert "fewer than 3" in reasons["none"]
    assert reasons["flat"] == "the ratings are constant"
    assert reasons[""] == reasons["rest"] == ""
    assert np.isnan(table.loc["flat", "spearman"])
    # errors are known all the same, but not how sure they are
    assert table.loc["flat", "mae"] > 0
    assert np.isnan(table.loc["flat", "mae_low"])
    assert np.isnan(table.loc["none", "mae"])


# intervals


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3)), min_size=2, max_size=30
    )
)
def test_a_place_that_counts_k_times_is_k_places(rows):
    first, second, times = np.array(rows).T
    weight = times[None].astype(float)
    whole = [np.repeat(values, times).astype(float) for values in (first, second)]
    if times.sum() < 1:
        return
    ranked = agreement.ranks(first.astype(float), weight)[0]
    np.testing.assert_allclose(np.repeat(ranked, times), stats.rankdata(whole[0]))
    found = agreement.pearson(first.astype(float), second.astype(float), weight)[0]
    if min(map(np.ptp, whole)) == 0:
        assert np.isnan(found) or abs(found) <= 1 + 1e-9
    else:
        assert found == pytest.approx(np.corrcoef(*whole)[0, 1], abs=1e-9)


def test_draws_are_scored_as_scipy_scores_the_places_drawn():
    random = np.random.default_rng(0)
    block = random.integers(0, 12, 80)
    first, second = random.integers(0, 9, 80) / 1.0, random.normal(size=80)
    draws = Bootstrap(block, seed=3)
    drawn = [np.repeat(np.arange(80), times[draws.block].astype(int)) for times in draws.times]
    rho = [stats.spearmanr(first[rows], second[rows]).statistic for rows in drawn]
    mae = [np.abs(second[rows]).mean() for rows in drawn]
    found = agreement.correlations(first, second, draws)
    low, high = np.quantile(rho, [0.025, 0.975])
    assert (found["spearman_low"], found["spearman_high"]) == pytest.approx((low, high))
    found = agreement.errors(second, draws)
    low, high = np.quantile(mae, [0.025, 0.975])
    assert (found["mae_low"], found["mae_high"]) == pytest.approx((low, high))


def test_intervals_know_that_neighbours_are_alike():
    places, truth, ratings = world(300)
    # every place ten times over, within a kilometre
    rows = np.repeat(np.arange(300), 10)
    many = places.iloc[rows].reset_index(drop=True)
    ten = (values.iloc[rows].reset_index(drop=True) for values in (ratings, truth))
    one = gi.geollm.scores(ratings, truth, places).loc[0]
    other = gi.geollm.scores(*ten, many).loc[0]
    assert other["n"] == 3000
    width = one["spearman_high"] - one["spearman_low"]
    assert other["spearman_high"] - other["spearman_low"] == pytest.approx(width, rel=0.1)
    assert one["spearman"] == pytest.approx(other["spearman"])


# recalibration


@pytest.mark.parametrize("how", ["linear", "isotonic"])
def test_recalibration_is_learnt_from_the_other_folds(how):
    places, truth, ratings = world(200)
    ratings = ratings.round(1)
    truth.iloc[5] = np.nan
    cv = gi.probes.BlockKFold(2000, seed=2)
    found = gi.geollm.recalibrated(ratings, truth, places, cv=cv, how=how)
    lon, lat = gi.places.lon_lat(places)
    for train, test in cv.split(np.zeros(200), None, np.stack([lon, lat], 1)):
        train = train[train != 5]
        column, wanted = ratings.to_numpy()[:, None], truth.to_numpy()
        if how == "linear":
            curve = LinearRegression().fit(column[train], wanted[train])
            expected = curve.predict(column[test])
        else:
            curve = IsotonicRegression(out_of_bounds="clip").fit(column[train], wanted[train])
            expected = curve.predict(column[test].ravel())
        np.testing.assert_allclose(found.to_numpy()[test], expected)
    # what is true of a place does not touch its own prediction
    changed = truth.copy()
    changed.iloc[17] += 1e6
    other = gi.geollm.recalibrated(ratings, changed, places, cv=cv, how=how)
    assert other.iloc[17] == found.iloc[17]
    assert (other != found).any()


def test_ratings_that_are_constant_are_recalibrated_to_the_mean():
    places, truth, ratings = world(40)
    cv = gi.probes.RandomKFold(2, seed=0)
    found = gi.geollm.recalibrated(ratings * 0 + 5, truth, places, cv=cv)
    for train, test in cv.split(np.zeros(40)):
        np.testing.assert_allclose(found.to_numpy()[test], truth.to_numpy()[train].mean())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recalibrate": "cubic"}, "how is 'cubic'"),
        ({"by": "nothing"}, "places: there is no column 'nothing'"),
        ({"cv": {}}, "cv holds no split"),
        ({"cv": gi.probes.ColumnKFold("nothing")}, "carry no 'nothing'"),
        ({"recalibrate": None, "cv": gi.probes.RandomKFold()}, "recalibrate=None drop it"),
        ({"places": "half"}, "a str is no GeoDataFrame"),
        ({"cv": gi.probes.RandomKFold(41)}, "there are only 40 places"),
    ],
)
def test_scores_that_cannot_be_are_refused(change, message):
    places, truth, ratings = world(40)
    given = {"predictions": ratings, "truth": truth, "places": places} | change
    with pytest.raises(InputError, match=message):
        gi.geollm.scores(**given)


def test_places_and_truths_that_are_not_there_are_named():
    places, truth, ratings = world(40)
    gone = ratings.index[3]
    with pytest.raises(InputError, match=f"there is no place '{gone}'"):
        gi.geollm.scores(ratings, truth, places.drop(index=gone))
    unknown = truth.where(truth.index == gone)
    with pytest.raises(InputError, match=r"fold 0 has [01] place\(s\) with both"):
        gi.geollm.recalibrated(ratings, unknown, places)


# residuals of ranks


def test_rank_residuals_say_who_is_overrated():
    ratings = pd.Series({"a": 9.0, "b": 1, "c": 5, "d": 5, "e": np.nan})
    truth = pd.Series({"a": 10.0, "b": 40, "c": 20, "d": 30, "e": 50})
    found = gi.geollm.rank_residuals(ratings, truth)
    assert found[:4].tolist() == pytest.approx([0.75, -0.75, 0.125, -0.125])
    assert np.isnan(found["e"])
    bent = gi.geollm.rank_residuals(np.exp(ratings), np.log(truth))
    pd.testing.assert_series_equal(bent, found)
