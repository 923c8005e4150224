import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_predict

import geointerp as gi
from geointerp import sphere
from geointerp.errors import InputError
from geointerp.geollm.baselines.methods import (
    LayerRidge,
    NearestNeighbours,
    boosting_on_coordinates,
    context_numbers,
    read_prompts,
    text_ridge,
)
from geointerp.probes import BlockKFold, RandomKFold

random = np.random.default_rng(0)
N = 240
WHERE = np.stack(
    [random.uniform(-180, 180, N), np.degrees(np.arcsin(random.uniform(-1, 1, N)))], axis=1
)
SMOOTH = 10 * sphere.unit_vectors(lon=WHERE[:, 0], lat=WHERE[:, 1]) @ [1.0, -2.0, 3.0] + 100


def places(lon_lat, **columns):
    lon, lat = np.asarray(lon_lat, float).T
    return gpd.GeoDataFrame(columns, geometry=gpd.points_from_xy(lon, lat), crs="EPSG:4326")


def r2(truth, found):
    return 1 - ((truth - found) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()


class Told:
    """A context of a few named places, whose address has as many parts as it is told."""

    attribution = "nobody"

    def __init__(self, lon_lat, parts=()):
        lon, lat = np.asarray(lon_lat, float).T
        self.index = gi.geollm.PlaceIndex([f"n{i}" for i in range(len(lon))], lon=lon, lat=lat)
        self.parts = parts

    def address(self, *, lon, lat):
        return [tuple(self.parts)] * len(lon)

    def nearby(self, *, lon, lat):
        return self.index.nearby(lon=lon, lat=lat)


# on coordinates


@pytest.mark.parametrize("make", [NearestNeighbours, boosting_on_coordinates])
def test_a_smooth_field_is_found_and_noise_is_not(make):
    found = cross_val_predict(make(), WHERE, SMOOTH, cv=RandomKFold(4))
    assert r2(SMOOTH, found) > 0.85
    noise = np.random.default_rng(3).normal(size=N)
    found = cross_val_predict(make(), WHERE, noise, groups=WHERE, cv=BlockKFold(1500, n_splits=4))
    assert r2(noise, found) < 0.05


def test_neighbours_are_the_nearest_by_great_circle():
    # near a pole, and across the date line, degrees would say otherwise
    known = np.array([[0, 89.0], [180, 89.0], [10, 80.0], [179.5, 0.0], [-170.0, 0.0]])
    value = np.arange(5.0)
    one = NearestNeighbours(1).fit(known, value)
    asked = np.array([[175, 89.5], [-179.9, 0.0], [60, 89.0]])
    km = sphere.distance_km(
        lon=asked[:, :1], lat=asked[:, 1:], to_lon=known[:, 0], to_lat=known[:, 1]
    )
    assert km.argmin(axis=1).tolist() == [1, 3, 0]
    np.testing.assert_allclose(one.predict(asked), [1, 3, 0])


def test_neighbours_weigh_by_distance_and_a_coincident_one_counts_alone():
    both = NearestNeighbours(2).fit([[0, 0], [3, 0]], [0.0, 3.0])
    assert both.predict([[1, 0]])[0] == pytest.approx(1, abs=1e-3)
    assert both.predict([[3, 0]])[0] == pytest.approx(3)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_of_few_places_all_are_neighbours(count):
    known, value = WHERE[:count], SMOOTH[:count]
    found = NearestNeighbours().fit(known, value).predict(WHERE[10:20])
    chords = np.linalg.norm(
        sphere.unit_vectors(lon=WHERE[10:20, 0], lat=WHERE[10:20, 1])[:, None]
        - sphere.unit_vectors(lon=known[:, 0], lat=known[:, 1]),
        axis=2,
    )
    np.testing.assert_allclose(found, (value / chords).sum(1) / (1 / chords).sum(1))


# on the context's numbers


def test_context_numbers_are_distances_counts_and_parts():
    # along a meridian one degree is 111.195 km
    named = [[0, 0.04], [0, -0.2], [0, 0.8], [0, 5]]
    table = context_numbers(places([[0, 0], [90, 45]]), Told(named, ("town", "land")))
    near = table.iloc[0]
    np.testing.assert_allclose(
        near[["km_1", "km_2", "km_3"]], 111.1951 * np.array([0.04, 0.2, 0.8]), rtol=1e-5
    )
    assert near[[f"km_{i}" for i in range(4, 11)]].isna().all()
    assert near[[f"within_{k}_km" for k in (1, 5, 10, 25, 50, 100)]].tolist() == [0, 1, 1, 2, 2, 3]
    assert table["address_parts"].tolist() == [2, 2]
    alone = table.iloc[1]
    assert alone.filter(like="km_").isna().all()
    assert alone.filter(like="within").sum() == 0


def test_context_numbers_stand_on_the_places_own_index_and_take_ten_at_most():
    named = [[0, 0.01 * i] for i in range(1, 15)]
    here = places([[0, 0]]).set_axis(["here"])
    table = context_numbers(here, Told(named))
    assert table.loc["here", "within_100_km"] == 10
    assert table.loc["here", "km_10"] == pytest.approx(11.1195, rel=1e-4)


# on words


def test_words_that_tell_the_truth_are_read_and_others_are_not():
    draw = np.random.default_rng(4)
    towns = draw.choice(["Berg", "Stad", "Lund", "Holm"], N)
    texts = np.array([f"Address: {town} {i}\n\nRating: " for i, town in enumerate(towns)], object)
    truth = pd.Series(towns).map({"Berg": 1.0, "Stad": 5, "Lund": 9, "Holm": 2}).to_numpy()
    found = cross_val_predict(text_ridge(), texts, truth, cv=RandomKFold(4))
    assert r2(truth, found) > 0.95
    noise = draw.normal(size=N)
    assert r2(noise, cross_val_predict(text_ridge(), texts, noise, cv=RandomKFold(4))) < 0.05


# on activations


def test_the_layer_is_chosen_by_the_training_places_alone():
    draw = np.random.default_rng(5)
    vectors = draw.normal(size=(N, 3, 6))
    truth = draw.normal(size=N)
    train, test = np.arange(N) < 160, np.arange(N) >= 160
    vectors[train, 1, 0] = truth[train] + 0.1 * draw.normal(size=train.sum())
    # in the last layer only the held-out places tell theirs: who looks takes it
    vectors[test, 2, 0] = truth[test]
    fitted = LayerRidge().fit(vectors[train], truth[train])
    assert fitted.layer_ == 1
    assert r2(truth[test], fitted.predict(vectors[test])) < 0.1
    vectors[:, 1, 0] = truth
    found = cross_val_predict(clone(LayerRidge()), vectors, truth, cv=RandomKFold(4))
    assert r2(truth, found) > 0.95


def test_activations_without_layers_are_refused():
    with pytest.raises(InputError, match=r"\(3, 2\)"):
        LayerRidge().fit(np.zeros((3, 2)), np.zeros(3))


def test_prompts_are_read_at_their_end(model):
    where = places([[0, 0], [1, 1], [2, 2]]).set_axis(["a", "b", "c"])
    texts = pd.Series(["Rate Rome: ", "Rate\nOslo, by the sea: ", "Rate Rome: "], index=where.index)
    vectors = read_prompts(model, where, texts)
    assert vectors.shape == (3, 3, 32)
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)
    import torch

    ids = model.tokenizer(texts["b"], return_special_tokens_mask=True)
    last = max(i for i, special in enumerate(ids["special_tokens_mask"]) if not special)
    with torch.inference_mode():
        out = model.backbone(torch.tensor([ids["input_ids"]]), output_hidden_states=True)
    # after the first block, which no final norm follows
    np.testing.assert_allclose(vectors[1, 0], out.hidden_states[1][0, last], atol=1e-5)


# together


def test_each_baseline_predicts_out_of_fold_and_sees_nothing_of_the_fold(gpt2):
    draw = np.random.default_rng(6)
    where = places(WHERE[:60])
    towns = draw.choice(["Berg", "Stad", "Lund"], 60)
    prompts = pd.Series([f"Address: {town} {i}\n\nRating: " for i, town in enumerate(towns)])
    truth = SMOOTH[:60] + pd.Series(towns).map({"Berg": 0, "Stad": 9, "Lund": -9}).to_numpy()
    context = Told(WHERE[:60] + 0.01, ("land",))
    methods = gi.geollm.baselines(where, prompts, context=context, model=gpt2, encoder=gpt2)
    assert set(methods) == {
        "mean",
        "nearest neighbours",
        "boosting on coordinates",
        "boosting on context",
        "location encoder",
        "prompt text, ridge",
        "prompt embedding, ridge",
        "activations, ridge",
    }
    train, test = next(iter(RandomKFold(5).split(truth)))
    changed = truth.copy()
    changed[test] = draw.normal(1e6, 1e5, size=len(test))
    for name, (estimator, features) in methods.items():
        features = np.asarray(features)

        def out_of_fold(values, estimator=estimator, features=features):
            return cross_val_predict(estimator, features, values, cv=[(train, test), (test, train)])

        first = out_of_fold(truth)
        np.testing.assert_array_equal(out_of_fold(truth), first, err_msg=name)
        # the fold's own truths move what is said of others, and nothing that is said of it
        other = out_of_fold(changed)
        np.testing.assert_array_equal(other[test], first[test], err_msg=name)
        assert np.abs(other[train] - first[train]).max() > 1e3, name


def test_without_a_context_or_a_model_their_rows_are_left_out():
    where = places(WHERE[:5])
    prompts = pd.Series(["Rate: "] * 5)
    assert set(gi.geollm.baselines(where, prompts)) == {
        "mean",
        "nearest neighbours",
        "boosting on coordinates",
        "location encoder",
        "prompt text, ridge",
    }
    with pytest.raises(InputError, match="index is not that of the places"):
        gi.geollm.baselines(where, prompts.iloc[::-1])
