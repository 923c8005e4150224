import gc
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from conftest import synthetic_acts
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import geointerp as gi
from geointerp import sphere
from geointerp.errors import InputError
from geointerp.probes import BlockKFold, ColumnKFold, RandomKFold, RidgeProbe, controls, scores


def data(n=200, d=15, t=2, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, d)) * random.uniform(0.1, 10, d) + 100
    return x, x @ random.normal(size=(d, t)) + random.normal(size=(n, t))


@pytest.mark.parametrize("alpha", [0.1, 10.0, 1e4])
def test_ridge_is_scikit_learns(alpha):
    x, y = data()
    ours = RidgeProbe(alphas=(alpha,)).fit(x, y)
    theirs = make_pipeline(StandardScaler(), Ridge(alpha)).fit(x, y)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-8)
    assert ours.alpha_ == alpha


def test_ridge_with_more_features_than_rows():
    x, y = data(n=20, d=50)
    ours = RidgeProbe(alphas=(3.0,)).fit(x, y)
    theirs = make_pipeline(StandardScaler(), Ridge(3.0)).fit(x, y)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-6)


def test_a_constant_feature_gets_no_weight():
    x, y = data()
    x[:, 3] = 7.1
    probe = RidgeProbe(alphas=(1.0,)).fit(x, y)
    assert (probe.coef_[:, 3] == 0).all()
    rest = np.delete(x, 3, axis=1)
    without = RidgeProbe(alphas=(1.0,)).fit(rest, y)
    np.testing.assert_allclose(probe.predict(x), without.predict(rest), rtol=1e-8)


def test_the_penalty_is_the_one_that_cross_validates_best():
    x, y = data(n=60, d=40, t=1)
    y += 300 * np.random.default_rng(1).normal(size=y.shape)
    probe = RidgeProbe(alphas=(0.1, 1.0, 10.0, 100.0, 1000.0), folds=4, seed=3).fit(x, y)
    order = np.random.default_rng(3).permutation(60)
    errors = {}
    for alpha in probe.alphas:
        errors[alpha] = 0
        for part in np.array_split(order, 4):
            rest = np.setdiff1d(order, part)
            model = make_pipeline(StandardScaler(), Ridge(alpha)).fit(x[rest], y[rest])
            errors[alpha] += ((model.predict(x[part]) - y[part]) ** 2).sum()
    assert probe.alpha_ == min(errors, key=errors.get)
    assert probe.alpha_ not in (0.1, 1.0)


def test_scikit_learn_estimator():
    x, y = data(t=1)
    probe = RidgeProbe(alphas=(1.0, 10.0), folds=3, seed=5)
    copy = clone(probe)
    assert copy.get_params() == probe.get_params()
    assert cross_val_score(probe, x, y.ravel(), cv=4).mean() > 0.9
    assert probe.fit(x, y.ravel()) is probe
    assert probe.coef_.shape == (15,)
    assert probe.score(x, y.ravel()) > 0.9
    with pytest.raises(ValueError, match="15"):
        probe.predict(x[:, :4])
    with pytest.raises(ValueError, match="NaN"):
        probe.fit(np.where(x > 100, np.nan, x), y)
    with pytest.raises(InputError, match="alphas"):
        RidgeProbe(alphas=(0.0,)).fit(x, y)


@pytest.mark.parametrize("t", [1, 2])
def test_a_probe_is_saved_and_read_back(t, tmp_path):
    x, y = data(t=t)
    probe = RidgeProbe(alphas=(1.0, 100.0), folds=4, seed=7).fit(x, y[:, 0] if t == 1 else y)
    probe.save(tmp_path / "probe", {"layer": 3})
    back = RidgeProbe.load(tmp_path / "probe")
    np.testing.assert_array_equal(back.predict(x), probe.predict(x))
    assert back.get_params() == probe.get_params()
    assert back.alpha_ == probe.alpha_
    assert gi.cards.read(tmp_path / "probe")["fitted to"] == {"layer": 3}
    with pytest.raises(InputError, match="exists already"):
        probe.save(tmp_path / "probe")
    (tmp_path / "probe" / "probe.safetensors").write_bytes(b"none")
    with pytest.raises(InputError, match="there is no ridge probe here"):
        RidgeProbe.load(tmp_path / "probe")


def test_moments_of_a_union_are_the_sum():
    x, y = data()
    Moments = gi.probes.moments.Moments
    whole, part, rest = Moments.of(x, y), Moments.of(x[:50], y[:50]), Moments.of(x[50:], y[50:])
    for name in ("n", "x", "y", "xx", "xy", "yy"):
        np.testing.assert_allclose(getattr(whole - part, name), getattr(rest, name), rtol=1e-10)
        np.testing.assert_allclose(getattr(part + rest, name), getattr(whole, name), rtol=1e-10)
    lines = gi.probes.moments.solve(rest, np.array([1.0, 10.0]))
    for a in range(2):
        residual = y[:50] - (x[:50] @ lines.coef[a] + lines.intercept[a])
        np.testing.assert_allclose(
            part.squared_errors(lines)[a], (residual**2).sum(axis=0), rtol=1e-6
        )


def world(n=400, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(-180, 180, n), np.degrees(np.arcsin(random.uniform(-1, 1, n)))


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from([300.0, 1000.0, 2500.0]), st.integers(2, 6))
def test_blocks_partition_the_places(seed, km, n_splits):
    lon, lat = world(120, seed)
    splitter = BlockKFold(km=km, n_splits=n_splits, seed=seed)
    block = splitter.blocks(lon=lon, lat=lat)
    tests = []
    for train, test in splitter.split(lon, groups=np.stack([lon, lat], axis=1)):
        assert not set(train) & set(test)
        assert len(train) + len(test) == 120
        # no block is on both sides
        assert not set(block[train]) & set(block[test])
        tests.append(test)
    assert sorted(np.concatenate(tests)) == list(range(120))


def test_blocks_are_small_and_of_like_area():
    lon, lat = world(200_000)
    splitter = BlockKFold(km=1000)
    block = splitter.blocks(lon=lon, lat=lat)
    counts = np.bincount(block)
    # points are uniform on the sphere, so that their number is the area
    expected = 200_000 * 1e6 / (4 * np.pi * sphere.EARTH_RADIUS_KM**2)
    assert counts.min() > 0.6 * expected
    assert counts.max() < 1.5 * expected
    points = sphere.unit_vectors(lon=lon, lat=lat)
    for b in range(0, len(counts), 40):
        inside = points[block == b]
        chord = np.linalg.norm(inside[:, None] - inside[None], axis=2).max()
        # the diagonal of a square of 1,000 km and what a polar block may add
        assert 2 * sphere.EARTH_RADIUS_KM * np.arcsin(chord / 2) < 2300


def test_the_date_line_is_one_place():
    splitter = BlockKFold(km=500)
    block = splitter.blocks(lon=[180.0, -180.0, 540.0, 10.0], lat=[5.0, 5.0, 5.0, 90.0])
    assert block[0] == block[1] == block[2] != block[3]


def test_the_buffer_keeps_its_distance():
    lon, lat = world(500)
    groups = np.stack([lon, lat], axis=1)
    for train, test in BlockKFold(km=2000, buffer_km=800).split(lon, groups=groups):
        km = sphere.distance_km(
            lon=lon[train][:, None], lat=lat[train][:, None], to_lon=lon[test], to_lat=lat[test]
        )
        assert km.min() >= 800
        left_out = np.setdiff1d(np.arange(500), np.union1d(train, test))
        near = sphere.distance_km(
            lon=lon[left_out][:, None],
            lat=lat[left_out][:, None],
            to_lon=lon[test],
            to_lat=lat[test],
        )
        assert (near.min(axis=1) < 800).all()
        assert len(left_out)


def test_splitters_work_in_cross_val_score():
    lon, lat = world()
    x = np.stack([lon, lat, lon * lat], axis=1)
    country = np.repeat(np.arange(20), 20)
    for splitter, groups in [
        (BlockKFold(km=1000), np.stack([lon, lat], axis=1)),
        (ColumnKFold("country"), country),
        (RandomKFold(seed=1), None),
    ]:
        found = cross_val_score(RidgeProbe(alphas=(1.0,)), x, lat, cv=splitter, groups=groups)
        assert len(found) == 5
        assert found.mean() > 0.9


def test_columns_are_held_out_whole():
    country = np.array(list("aaabbbccddeeffg"))
    for train, test in ColumnKFold("country", n_splits=3, seed=2).split(country, groups=country):
        assert not set(country[train]) & set(country[test])


def test_random_folds_are_scikit_learns():
    ours = [test for _, test in RandomKFold(4, seed=7).split(np.zeros(50))]
    theirs = [t for _, t in KFold(4, shuffle=True, random_state=7).split(np.zeros(50))]
    assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))
    assert clone_of(RandomKFold(4, seed=7)).seed == 7


def clone_of(splitter):
    return type(splitter)(splitter.n_splits, seed=splitter.seed)


def test_splitters_say_what_they_miss():
    lon, lat = world(50)
    groups = np.stack([lon, lat], axis=1)
    with pytest.raises(InputError, match="needs groups: an array of lon and lat"):
        next(BlockKFold().split(lon))
    with pytest.raises(InputError, match="lie in 1 block"):
        next(BlockKFold(km=500).split(lon, groups=np.zeros((50, 2))))
    with pytest.raises(InputError, match="buffer_km is -1"):
        next(BlockKFold(buffer_km=-1).split(lon, groups=groups))
    with pytest.raises(InputError, match="km is 0"):
        next(BlockKFold(km=0).split(lon, groups=groups))
    with pytest.raises(InputError, match="no place is that far"):
        list(BlockKFold(km=500, buffer_km=30_000).split(lon, groups=groups))
    with pytest.raises(InputError, match="has 1 value"):
        next(ColumnKFold().split(lon, groups=["x"] * 50))
    with pytest.raises(
        InputError, match=r"'country': 2 place\(s\) have no value, the first in row 1"
    ):
        next(ColumnKFold(n_splits=2).split(lon, groups=["x", None, "y", float("nan")]))


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


def test_the_model_beats_its_controls_only_when_it_knows(toponym, cities):
    acts = gi.activations.capture(toponym, cities, template="{name} is near", pool="prompt_last")
    report = gi.probes.evaluate(acts, model=toponym)
    best = {source: report.best(source=source)["r2"] for source in report.table["source"].unique()}
    # the template holds nothing but the name
    assert set(best) == {"model", *controls.ALL} - {controls.REST}
    assert best["model"] > 0.6
    assert best["untrained"] < 0.3
    assert max(best[c] for c in (controls.TOKENS, controls.NGRAMS, controls.EMBEDDINGS)) < 0.5
    assert best["shuffled targets"] < 0.05
    row = report.summary.iloc[0]
    assert row["best_control"] == max(set(best) - {"model"}, key=best.get)
    assert row["uplift"] == pytest.approx(best["model"] - best[row["best_control"]])
    assert 0 < row["uplift_low"] < row["uplift"] < row["uplift_high"]
    # the untrained model's own control is itself
    random = toponym.untrained(0)
    empty = gi.activations.capture(random, cities, template="{name} is near", pool="prompt_last")
    again = gi.probes.evaluate(empty, model=random, seed=0)
    assert again.best(source="model")["r2"] == again.best(source="untrained")["r2"]


def test_controls_find_the_model_by_its_name(toponym, few):
    acts = gi.activations.capture(toponym, few)
    assert controls.model_of(acts).fingerprint == toponym.fingerprint
    acts.attrs["weights_sha256"] = "0"
    with pytest.raises(InputError, match="are not those"):
        controls.model_of(acts)


def test_controls_need_to_know_what_they_are_controls_of(toponym, few):
    acts = gi.activations.capture(toponym, few)
    assert controls.model_of(acts, toponym) is toponym
    with pytest.raises(InputError, match="weights of toponym are not those"):
        controls.model_of(acts, toponym.untrained(1))
    for key in ("template", "site", "pool", "model", "weights_sha256"):
        partial = acts.assign_attrs({})
        del partial.attrs[key]
        with pytest.raises(InputError, match=f"do not say of which {key}"):
            controls.model_of(partial, toponym)


def test_controls_compute_as_the_activations_did(few):
    half = gi.models.load("toponym", device="cpu", dtype="bfloat16")
    acts = gi.activations.capture(half, few, layers=0)
    assert controls.model_of(acts).fingerprint == half.fingerprint


def test_bag_of_tokens_counts(toponym, few):
    acts = gi.activations.capture(toponym, few, template="{name} {name}")
    counts = controls.bag_of_tokens(acts, toponym)
    assert counts.shape[0] == 5
    lengths = [len(toponym.tokenizer(f"{n} {n}")["input_ids"]) for n in few["name"]]
    assert counts.sum(axis=1).ravel().tolist() == lengths


def test_the_prompt_without_the_name_tells_what_the_rest_gives_away(toponym):
    places = gi.places.load("geonames", limit=300)
    places = places[places.groupby("country")["country"].transform("size") > 9]
    template = "{country}: {name}"
    acts = gi.activations.capture(toponym, places, template=template, layers=[1, 2])
    rest = controls.without_the_name(acts, toponym)
    # two places of one country have the same prompt
    one, two = np.flatnonzero(places["country"].to_numpy() == "IN")[:2]
    np.testing.assert_array_equal(rest.values[one], rest.values[two])
    report = gi.probes.evaluate(acts, controls=[controls.REST], model=toponym)
    assert report.best(source=controls.REST)["r2"] > 0.5
    assert report.summary["best_control"][0] == controls.REST
    bare = gi.activations.capture(toponym, places[:5], template="{name}", layers=1)
    assert controls.without_the_name(bare, toponym) is None


def test_input_embeddings_are_the_mean_over_the_name(toponym, few):
    acts = gi.activations.capture(toponym, few, template="in {name} now")
    found = controls.input_embeddings(acts, toponym)
    (tokens, *_) = gi.prompts.tokenize(gi.prompts.render(few, "in {name} now"), toponym.tokenizer)
    table = toponym.model.get_input_embeddings().weight.detach().numpy()
    wanted = table[tokens.ids[tokens.first : tokens.last + 1]].mean(0)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-6)


def test_character_ngrams_are_counted():
    acts = synthetic_acts(n=4).assign_coords(name=("place", ["Aba", "Abo", "Zug", "zug"]))
    counts = controls.character_ngrams(acts)
    # " ", " a", " ab", "a", "ab", "b" of the first; the whole of the last two is one
    assert (counts.toarray()[2] == counts.toarray()[3]).all()
    assert counts[[0]].multiply(counts[[1]]).sum() > 0
    assert counts[[0]].multiply(counts[[2]]).nnz == 1  # the space before the name
    assert counts.toarray()[0].max() >= 2  # two a


def test_word_vectors_are_one_more_control():
    acts = synthetic_acts(n=200)
    truth = np.stack([acts["lon"].values, acts["lat"].values], axis=1)
    vectors = pd.DataFrame(truth, index=[str(name).upper() for name in acts["name"].values])
    named = acts.assign_coords(name=("place", [f"{n.upper()}" for n in acts["name"].values]))
    report = gi.probes.evaluate(named, controls=[], word_vectors=vectors)
    assert report.best(source=controls.VECTORS)["r2"] > 0.99
    two = acts.assign_coords(name=("place", ["Saint-Paul", "SAINT x", *acts["name"].values[2:]]))
    pair = pd.DataFrame([[1.0, 2], [3, 4]], index=["saint", "Paul"])
    assert controls.word_vectors(two, pair)[:3].tolist() == [[2, 3], [1, 2], [0, 0]]
    with pytest.raises(InputError, match="no word of any name"):
        controls.word_vectors(acts, pair)


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


def test_every_country_is_left_out_once():
    acts = synthetic_acts(n=200)
    cv = ColumnKFold("country", n_splits=None)
    report = gi.probes.evaluate(acts, cv=cv, controls=False)
    folds = report.predictions.join(acts["country"].to_series()).groupby("country")["fold"]
    assert (folds.nunique() == 1).all()
    assert report.predictions["fold"].nunique() == len(folds)
    assert report.best()["r2"] > 0.95


def test_errors_of_neighbours_are_alike_where_the_map_is_bent():
    acts = synthetic_acts(n=400)
    report = gi.probes.evaluate(acts, controls=False)
    assert report.summary["moran_error"][0] < 0.3
    bent = acts.assign_coords(lon=("place", np.abs(acts["lon"].values)))
    report = gi.probes.evaluate(bent, controls=False)
    assert report.summary["moran_error"][0] > 0.4
    assert report.summary["moran_error_p"][0] < 1e-4


def test_the_untrained_control_is_read_as_the_activations_were(toponym, few):
    options = {"site": "attn_out", "pool": "mean", "template": "in {name}", "batch_tokens": 64}
    acts = gi.activations.capture(toponym, few, layers=[1, 4], **options)
    control = controls.untrained(acts, toponym, 3)
    assert control.attrs["untrained_seed"] == 3
    assert {key: control.attrs[key] for key in options} == options
    wanted = gi.activations.capture(toponym.untrained(3), few, layers=[1, 4], **options)
    np.testing.assert_array_equal(control.values, wanted.values)


def test_a_model_in_memory_is_not_looked_up(gpt2, few):
    acts = gi.activations.capture(gpt2, few)
    with pytest.raises(InputError, match="was in memory: give model="):
        controls.model_of(acts)
    assert controls.model_of(acts, gpt2) is gpt2


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
    lon, lat = world(600)
    country = np.digitize(lon, np.linspace(-180, 180, 21)) * 10 + np.digitize(lat, [-30, 0, 30])
    codes = random.normal(size=(300, 64))
    acts = synthetic_acts(n=600).isel(layer=[0]).copy()
    acts = acts.isel(hidden=0, drop=True).expand_dims(hidden=64, axis=2).copy()
    acts.values[:] = codes[country][:, None]
    acts = acts.assign_coords(
        lon=("place", lon), lat=("place", lat), country=("place", [f"c{c}" for c in country])
    )
    splits = {"random": RandomKFold(), "country": ColumnKFold()}
    report = gi.probes.evaluate(acts, cv=splits, controls=False)
    assert report.best("random")["r2"] > 0.6
    assert report.best("country")["r2"] < 0.1


def test_group_k_fold_is_the_peer():
    country = np.repeat(list("abcdefgh"), 5)
    theirs = GroupKFold(4, shuffle=True, random_state=1).split(country, None, country)
    ours = ColumnKFold(n_splits=4, seed=1).split(country, None, country)
    for (_, a), (_, b) in zip(ours, theirs, strict=True):
        assert (a == b).all()


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


def test_the_nearest_controls_predictions_stand_beside(tmp_path):
    acts = synthetic_acts()
    # names that tell on which side of Greenwich a place is
    names = np.where(acts["lon"].values < 0, "west", "eastern")
    acts = acts.assign_coords(name=("place", names))
    asked = ["character n-grams", "shuffled targets"]
    report = gi.probes.evaluate(acts, controls=asked)
    assert report.nearest_control() == "character n-grams"
    r2 = scores.r2(report.control[["lon"]], report.control[["predicted_lon"]])[0]
    assert r2 == pytest.approx(report.best(source="character n-grams")["r2_lon"])
    assert report.control.index.equals(report.predictions.index)
    report.save(tmp_path / "probe")
    back = gi.probes.Report.read(tmp_path / "probe")
    pd.testing.assert_frame_equal(back.control, report.control)
    alone = gi.probes.evaluate(acts, controls=False)
    assert alone.control is None
    alone.save(tmp_path / "alone")
    assert gi.probes.Report.read(tmp_path / "alone").control is None


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


def test_names_of_a_control_are_those_of_the_prompt():
    acts = synthetic_acts()
    acts.attrs |= {"names": "local"}
    acts = acts.assign_coords(local=("place", [f"{'uvw'[i % 3] * 4}" for i in range(300)]))
    assert controls.character_ngrams(acts).shape[1] < 40
    vectors = pd.DataFrame({"a": [1.0, 2.0]}, index=["uuuu", "vvvv"])
    assert controls.word_vectors(acts, vectors)[:3, 0].tolist() == [1, 2, 0]


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


def test_word_vectors_are_checked():
    acts = synthetic_acts(n=20)
    good = pd.DataFrame({"a": [1.0, 2.0]}, index=["p1", "p2"])
    for bad, said in (
        (good.replace(2.0, np.nan), "finite"),
        (good.astype(str), "finite"),
        (pd.concat([good, good]), "once"),
        ({"p1": [1.0]}, "DataFrame"),
    ):
        with pytest.raises(InputError, match=said):
            controls.word_vectors(acts, bad)
    with pytest.raises(InputError, match="needs the option word_vectors"):
        gi.probes.evaluate(acts, controls=["word vectors"])
    named = gi.probes.evaluate(acts, controls=["word vectors"], word_vectors=good)
    assert named.nearest_control() == "word vectors"


def test_a_large_control_lies_on_disk_and_tells_the_same(toponym, cities, monkeypatch):
    acts = gi.activations.capture(toponym, cities.iloc[:60], layers=[1, 3])
    in_memory = controls.untrained(acts, toponym, 0)
    monkeypatch.setattr(controls, "_IN_MEMORY", 0)
    on_disk = controls.untrained(acts, toponym, 0)
    folder = Path(on_disk.attrs["folder"].name)
    assert (folder / "activations.zarr").exists()
    np.testing.assert_array_equal(on_disk.sel(layer=3).values, in_memory.sel(layer=3).values)
    del on_disk
    gc.collect()
    assert not folder.exists()
