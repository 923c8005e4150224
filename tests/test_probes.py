import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from conftest import synthetic_acts
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import geointerp as gi
from geointerp import sphere
from geointerp.errors import InputError
from geointerp.probes import BlockKFold, ColumnKFold, RandomKFold, scores


def test_planted_truth_is_found_and_noise_is_not():
    acts = synthetic_acts()
    splits = {"random": RandomKFold(), "block": BlockKFold(km=1500), "country": ColumnKFold()}
    report = gi.probes.evaluate(acts, cv=splits, controls=False)
    table = report.table.set_index(["split", "layer"])["r2"]
    for split in splits:
        assert table[split, 1] > 0.98
        assert table[split, 0] < 0.02
        assert report.best(split)["layer"] == 1
    assert report.predictions["error_km"].median() < 600
    assert report.predictions.index.tolist() == list(range(300))


def test_evaluate_agrees_with_scikit_learn():
    acts = synthetic_acts(noise=3.0)
    report = gi.probes.evaluate(acts, cv=RandomKFold(seed=4), controls=False, alphas=(10.0,))
    truth = np.stack([acts["lon"].values, acts["lat"].values], axis=1)
    features = acts.sel(layer=1).values.astype(float)
    predicted = np.empty_like(truth)
    for train, test in KFold(5, shuffle=True, random_state=4).split(features):
        model = make_pipeline(StandardScaler(), Ridge(10.0)).fit(features[train], truth[train])
        predicted[test] = model.predict(features[test])
    row = report.best()
    assert row["layer"] == 1
    np.testing.assert_allclose(
        [row["r2_lon"], row["r2_lat"]], scores.r2(truth, predicted), rtol=1e-5
    )
    km = scores.error_km(truth, predicted)
    assert row["median_km"] == pytest.approx(np.median(km), rel=1e-4)
    assert row["mean_km"] == pytest.approx(km.mean(), rel=1e-4)


def test_a_buffered_split_is_scored_without_the_buffer():
    acts = synthetic_acts(noise=2.0)
    splitter = BlockKFold(km=2000, buffer_km=1000)
    report = gi.probes.evaluate(acts, cv=splitter, controls=False, alphas=(5.0,))
    truth = np.stack([acts["lon"].values, acts["lat"].values], axis=1)
    features = acts.sel(layer=1).values.astype(float)
    predicted = np.empty_like(truth)
    for train, test in splitter.split(features, groups=truth):
        model = make_pipeline(StandardScaler(), Ridge(5.0)).fit(features[train], truth[train])
        predicted[test] = model.predict(features[test])
    assert report.best()["r2"] == pytest.approx(scores.r2(truth, predicted).mean(), rel=1e-5)
    assert report.best()["split"] == "block 2000 km, buffer 1000 km"
    assert report.about["splits"] == {
        "block 2000 km, buffer 1000 km": "BlockKFold(km=2000, n_splits=5, buffer_km=1000, seed=0)"
    }


@pytest.mark.parametrize("splits", [2, 3])
def test_few_folds_choose_their_penalty_too(splits):
    # as many features as places in a fold: without a penalty there is nothing but noise
    acts = synthetic_acts(n=120, hidden=60, noise=5.0)
    cv = RandomKFold(splits)
    chosen = gi.probes.evaluate(acts, cv=cv, controls=False).at(1)["r2"]
    least = gi.probes.evaluate(acts, cv=cv, controls=False, alphas=(0.1,)).at(1)["r2"]
    best = max(
        gi.probes.evaluate(acts, cv=cv, controls=False, alphas=(a,)).at(1)["r2"]
        for a in gi.probes.ridge.ALPHAS
    )
    assert least < best - 0.1
    assert chosen > best - 0.05


def test_a_numeric_column_is_a_target():
    report = gi.probes.evaluate(synthetic_acts(), target="population", controls=False)
    # its logarithm is linear in the activations, itself it is not
    assert 0.1 < report.best()["r2_population"] < 0.9
    assert "predicted_population" in report.predictions
    assert "median_km" not in report.table


def test_one_layer_is_enough():
    acts = synthetic_acts()
    whole = gi.probes.evaluate(acts, controls=False).best()
    one = gi.probes.evaluate(acts.sel(layer=1), controls=False).best()
    assert one["r2"] == whole["r2"]
    assert one["layer"] == 1


def test_a_layer_can_be_asked_for():
    report = gi.probes.evaluate(synthetic_acts(), controls=False)
    assert report.at(1)["r2"] == report.best()["r2"]
    assert report.at(0)["r2"] < 0.1
    with pytest.raises(InputError, match=r"no layer 7; it has \[0, 1\]"):
        report.at(7)


def test_nothing_is_found_in_noise_at_the_rate_promised():
    # of 60 interval, each of 95%, hardly any may lie above zero
    found = 0
    for seed in range(60):
        acts = synthetic_acts(n=150, hidden=6, seed=seed).isel(layer=[0])
        report = gi.probes.evaluate(acts, controls=False, alphas=(1.0, 100.0), seed=seed)
        found += report.summary["low"][0] > 0
    assert found <= 4


def test_a_target_missing_for_some_places_leaves_them_out(caplog):
    acts = synthetic_acts(n=100)
    people = acts["population"].values.copy()
    people[7] = np.nan
    report = gi.probes.evaluate(
        acts.assign_coords(population=("place", people)), target="population", controls=False
    )
    assert "1 of 100 places are left out: no population" in caplog.text
    assert 7 not in report.predictions.index
    assert report.best()["n"] == 99
    assert report.about["places without a target"] == 1


def test_a_split_by_a_column_is_scored_on_what_it_holds_out():
    acts = synthetic_acts(n=200)
    held = np.arange(200) % 4 == 0
    acts = acts.assign_coords(is_test=("place", held))
    report = gi.probes.evaluate(acts, cv=gi.probes.ColumnSplit("is_test"), controls=False)
    assert report.best()["n"] == 50
    assert report.predictions.index.tolist() == np.flatnonzero(held).tolist()
    with pytest.raises(InputError, match="it has 'p0'"):
        gi.probes.evaluate(acts, cv=gi.probes.ColumnSplit("name"), controls=False)
    with pytest.raises(InputError, match="and not all"):
        gi.probes.evaluate(
            acts.assign_coords(is_test=("place", held | True)),
            cv=gi.probes.ColumnSplit("is_test"),
            controls=False,
        )


def test_errors_of_neighbours_are_alike_where_the_map_is_bent():
    acts = synthetic_acts(n=400)
    report = gi.probes.evaluate(acts, controls=False)
    assert report.summary["moran_error"][0] < 0.3
    bent = acts.assign_coords(lon=("place", np.abs(acts["lon"].values)))
    report = gi.probes.evaluate(bent, controls=False)
    assert report.summary["moran_error"][0] > 0.4
    assert report.summary["moran_error_p"][0] < 1e-4


def test_a_report_is_saved_and_read_back(tmp_path):
    acts = synthetic_acts()
    acts["name"] = ("place", ["NA", *acts["name"].values[1:]])
    report = gi.probes.evaluate(acts, controls=False)
    report.save(tmp_path / "probe")
    back = gi.probes.Report.read(tmp_path / "probe")
    pd.testing.assert_frame_equal(back.table, report.table)
    assert back.predictions["name"].iloc[0] == "NA"
    np.testing.assert_allclose(back.predictions["error_km"], report.predictions["error_km"])
    pd.testing.assert_frame_equal(back.summary, report.summary)
    assert (back.target, back.main) == ("coordinates", "r2")
    figures = gi.cards.read(tmp_path / "probe")["figures"]
    assert figures == {"r2, random, layer 1": report.best()["r2"]}
    assert back.predictions.index.equals(report.predictions.index)
    with pytest.raises(InputError, match="exists already"):
        report.save(tmp_path / "probe")


def test_a_report_goes_where_it_is_asked_to_or_is_not_begun(tmp_path):
    acts = synthetic_acts()
    report = gi.probes.evaluate(acts, controls=False, out=tmp_path / "probe")
    pd.testing.assert_frame_equal(gi.probes.Report.read(tmp_path / "probe").table, report.table)
    # before anything else is looked at
    with pytest.raises(InputError, match="exists already"):
        gi.probes.evaluate(acts, target="no such column", out=tmp_path / "probe")


def test_an_index_of_digits_stays_text(tmp_path):
    acts = synthetic_acts(n=60)
    acts = acts.assign_coords(place=[f"{i:05}" for i in range(60)])
    gi.probes.evaluate(acts, controls=False).save(tmp_path / "probe")
    back = gi.probes.Report.read(tmp_path / "probe")
    assert back.predictions.index.tolist()[:2] == ["00000", "00001"]
    (tmp_path / "probe" / "card.json").unlink()
    with pytest.raises(InputError, match="no report of a probe"):
        gi.probes.Report.read(tmp_path / "probe")


def test_bad_activations():
    acts = synthetic_acts(n=40)
    missing = acts.copy(data=np.where(np.arange(12) == 3, np.nan, acts.values))
    with pytest.raises(InputError, match="cv holds no split"):
        gi.probes.evaluate(acts, cv={}, controls=False)
    with pytest.raises(InputError, match="layer 0: an activation of place 0 is not finite"):
        gi.probes.evaluate(missing, controls=False)
    with pytest.raises(InputError, match="only 3 places"):
        gi.probes.evaluate(acts[:3], controls=False)
    with pytest.raises(
        InputError, match="target 'elevation': the activations carry name, country, population; or"
    ):
        gi.probes.evaluate(acts, target="elevation", controls=False)
    with pytest.raises(InputError, match="target 'name': 0 label"):
        gi.probes.evaluate(acts, target="name", controls=False)
    same = acts.assign_coords(population=("place", np.ones(40)))
    with pytest.raises(InputError, match="the same for every place"):
        gi.probes.evaluate(same, target="population", controls=False)
    with pytest.raises(InputError, match="control 'bow' is unknown; there are untrained"):
        gi.probes.evaluate(acts, controls=["bow"])
    level = acts.assign_coords(lat=("place", np.zeros(40)))
    with pytest.raises(InputError, match="lat is the same for every place"):
        gi.probes.evaluate(level, controls=False)
    near = np.linspace(0, 1, 40)
    one = acts.assign_coords(lon=("place", near), lat=("place", near))
    with pytest.raises(InputError, match=r"the places lie in 1 block\(s\) of 5000 km"):
        gi.probes.evaluate(one, cv=BlockKFold(km=5000), controls=False)
    with pytest.raises(InputError, match="do not say of which model"):
        gi.probes.evaluate(acts)
    with pytest.raises(InputError, match="carry no 'admin1'"):
        gi.probes.evaluate(acts, cv=ColumnKFold("admin1"), controls=False)
    from sklearn.model_selection import ShuffleSplit

    with pytest.raises(InputError, match="must hold no place twice"):
        gi.probes.evaluate(acts, cv=ShuffleSplit(2, test_size=0.8, random_state=0), controls=False)


def test_geography_through_the_country_alone_falls_with_the_country():
    # the activation is a code of the country and nothing else
    random = np.random.default_rng(0)
    acts = synthetic_acts(n=600)
    lon, lat = acts["lon"].values, acts["lat"].values
    country = np.digitize(lon, np.linspace(-180, 180, 21)) * 10 + np.digitize(lat, [-30, 0, 30])
    codes = random.normal(size=(300, 64))
    acts = acts.isel(layer=[0], hidden=0).expand_dims(hidden=64, axis=2).copy()
    acts.values[:] = codes[country][:, None]
    acts = acts.assign_coords(country=("place", [f"c{c}" for c in country]))
    splits = {"random": RandomKFold(), "country": ColumnKFold()}
    report = gi.probes.evaluate(acts, cv=splits, controls=False)
    assert report.best("random")["r2"] > 0.6
    assert report.best("country")["r2"] < 0.1


def test_predictions_can_be_mapped():
    report = gi.probes.evaluate(synthetic_acts(), controls=False)
    frame = gpd.GeoDataFrame(
        report.predictions,
        geometry=gpd.points_from_xy(report.predictions["lon"], report.predictions["lat"]),
        crs=4326,
    )
    km = sphere.distance_km(
        lon=frame.geometry.x,
        lat=frame.geometry.y,
        to_lon=frame["predicted_lon"],
        to_lat=frame["predicted_lat"],
    )
    np.testing.assert_allclose(km, frame["error_km"])


def test_the_order_of_dims_changes_nothing():
    acts = synthetic_acts(n=60, hidden=60)
    one = gi.probes.evaluate(acts, controls=False)
    other = gi.probes.evaluate(acts.transpose("hidden", "layer", "place"), controls=False)
    pd.testing.assert_frame_equal(one.table, other.table)
    with pytest.raises(InputError, match="have dims"):
        gi.probes.evaluate(acts.expand_dims("prompt"), controls=False)


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda a: a.assign_coords(lon=a["lon"].where(a["place"] != 3)), {}, "1 place.* no lon"),
        (lambda a: a.assign_coords(lat=a["lat"] + 100), {}, "no lat within ±90°"),
        (lambda a: a.drop_vars("place"), {}, "need the coordinate 'place'"),
        (lambda a: a.assign_coords(place=np.zeros(300, int)), {}, "names each place once"),
        (lambda a: a.drop_vars("layer").assign_attrs(model="m"), {}, "of which layer they are"),
        (lambda a: a, {"alphas": ()}, "numbers above 0"),
        (lambda a: a, {"alphas": (0.0, 1.0)}, "numbers above 0"),
        (lambda a: a, {"products": "int8"}, "products is 'int8'"),
        (lambda a: a, {"device": "nowhere"}, "device 'nowhere' is not there"),
        (lambda a: a, {"cv": "block"}, "must be a scikit-learn splitter"),
        (lambda a: a, {"cv": GroupKFold(3)}, "take ColumnKFold"),
        (lambda a: a, {"cv": BlockKFold(n_splits=1)}, "n_splits is 1"),
        (lambda a: a, {"cv": ColumnKFold(n_splits=0)}, "n_splits is 0"),
        (lambda a: a, {"target": 3}, "target is 3"),
    ],
)
def test_one_sentence_for_what_cannot_be_probed(change, options, said):
    with pytest.raises(InputError, match=said):
        gi.probes.evaluate(change(synthetic_acts()), controls=False, **options)


def test_a_split_whose_tested_places_are_all_alike_is_told():
    acts = synthetic_acts()
    held = np.zeros(300, bool)
    held[7] = True
    split = gi.probes.ColumnSplit("held")
    with pytest.raises(InputError, match="the same for all 1 places"):
        gi.probes.evaluate(acts.assign_coords(held=("place", held)), cv=split, controls=False)
    with pytest.raises(InputError, match=r"a fold has 1 place\(s\) to learn from"):
        gi.probes.evaluate(acts.assign_coords(held=("place", ~held)), cv=split, controls=False)


def test_places_of_few_blocks_get_no_interval(caplog):
    acts = synthetic_acts()
    near = acts.assign_coords(
        lon=("place", acts["lon"].values / 100), lat=("place", acts["lat"].values / 100)
    )
    report = gi.probes.evaluate(near, controls=False)
    assert report.best()["r2"] > 0.9
    assert report.table[["low", "high"]].isna().all().all()
    assert "too few for intervals" in caplog.text


def test_the_penalty_that_was_taken_is_told():
    found = gi.probes.evaluate(synthetic_acts(), controls=False, alphas=(0.1, 1e6)).table
    assert found["penalty"].tolist() == [1e6, 0.1]


def test_the_summary_is_what_its_predictions_make_of_it():
    acts = synthetic_acts(n=400, noise=3.0)
    options = {"controls": ["shuffled targets"], "block_km": 2000, "seed": 3}
    report = gi.probes.evaluate(acts, target="log population", **options)
    table, row = report.predictions, report.summary.iloc[0]
    truth = np.log10(acts["population"].values)[:, None]
    guess = table[["predicted_log10_population"]]
    block = BlockKFold(2000).blocks(lon=table["lon"], lat=table["lat"])
    draws = np.random.default_rng(0).integers(0, block.max() + 1, (4000, block.max() + 1))
    found = []
    for drawn in draws[:400]:
        rows = np.concatenate([np.flatnonzero(block == b) for b in drawn])
        found.append(scores.r2(truth[rows], guess.to_numpy()[rows]).mean())
    low, high = np.quantile(found, [0.025, 0.975])
    assert row["low"] == pytest.approx(low, abs=0.02)
    assert row["high"] == pytest.approx(high, abs=0.02)
    assert row["high"] - row["low"] == pytest.approx(high - low, rel=0.15)
    assert report.about["blocks"] == {"random": block.max() + 1}
    assert report.best(source="shuffled targets")["layer"] == report.best()["layer"] == 1
    report = gi.probes.evaluate(acts, **options)
    table, row = report.predictions, report.summary.iloc[0]
    radius, coverage = scores.conformal(table["error_km"], table["fold"], 0.9)
    np.testing.assert_allclose(table["radius90_km"], radius)
    assert row["coverage90"] == pytest.approx(coverage) == pytest.approx(0.9, abs=0.03)
    assert row["region90_km2"] == pytest.approx(scores.cap_km2(np.median(radius)))


def test_an_uplift_over_the_same_features_is_nothing():
    acts = synthetic_acts(noise=3.0)
    names = [f"p{i}" for i in range(300)]
    same = pd.DataFrame(acts.sel(layer=1).values, index=names)
    row = gi.probes.evaluate(acts, controls=False, word_vectors=same).summary.iloc[0]
    assert row["best_control"] == "word vectors"
    # interval and score are of differences, place by place
    for name in ("uplift", "uplift_low", "uplift_high"):
        assert abs(row[name]) < 1e-6
    assert row["high"] - row["low"] > 0.01


def test_the_card_says_of_which_split_an_uplift_is(tmp_path):
    acts = synthetic_acts(noise=2.0)
    cv = {"random": RandomKFold(), "block": BlockKFold(3000)}
    report = gi.probes.evaluate(acts, cv=cv, controls=["character n-grams"])
    report.save(tmp_path / "probe")
    figures = gi.cards.read(tmp_path / "probe")["figures"]
    for row in report.summary.to_dict("records"):
        said = f"r2, {row['split']}, above the nearest control, {row['best_control']}"
        assert figures[said] == pytest.approx(row["uplift"])
    with pytest.raises(InputError, match="no split 'foo'; it has random, block"):
        report.nearest_control("foo")


def test_labels_that_are_held_out_whole_cannot_be_asked_for():
    with pytest.raises(InputError, match="whole values of 'country' are held out"):
        gi.probes.evaluate(
            synthetic_acts(), target="country", cv=ColumnKFold("country"), controls=False
        )
