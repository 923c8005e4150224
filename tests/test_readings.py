import itertools

import numpy as np
import pytest
import torch
from conftest import synthetic_acts, tiny
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import geointerp as gi
from geointerp.errors import InputError
from geointerp.probes import RandomKFold, RidgeProbe, readings
from geointerp.probes.predictions import predict


def one_layer(values, acts):
    """Activations of one layer with other values."""
    shape = {"place": acts.sizes["place"], "hidden": values.shape[1]}
    found = acts.sel(layer=1).isel(hidden=np.zeros(shape["hidden"], int))
    return found.copy(data=values.astype(np.float32))


def truth_of(acts):
    return np.stack([acts["lon"].values, acts["lat"].values], axis=1)


@pytest.mark.parametrize("counts", [[1, 3, 12], None])
def test_components_are_scikit_learns(counts):
    acts = synthetic_acts(noise=3.0)
    found = gi.probes.by_components(acts.sel(layer=1), counts, seed=4)
    wanted = counts or [1, 2, 4, 8]
    assert found["components"].tolist() == wanted
    x, y = acts.sel(layer=1).values.astype(np.float64), truth_of(acts)
    for count, r2 in zip(wanted, found["r2"], strict=True):
        predicted = np.empty_like(y)
        for train, test in RandomKFold(5, seed=4).split(x):
            model = make_pipeline(StandardScaler(), PCA(count), LinearRegression())
            predicted[test] = model.fit(x[train], y[train]).predict(x[test])
        assert r2 == pytest.approx(r2_score(y, predicted), abs=1e-9)


def test_components_without_variance_add_nothing():
    acts = synthetic_acts(noise=3.0)
    x = acts.sel(layer=1).values
    doubled = one_layer(np.concatenate([x, x], axis=1), acts)
    found = gi.probes.by_components(doubled, [12, 24])
    assert found["r2"][1] == pytest.approx(found["r2"][0], abs=1e-9)


def test_sample_size_ends_in_the_whole_probe():
    acts = synthetic_acts(noise=6.0)
    found = gi.probes.by_sample_size(acts.sel(layer=1), seed=2)
    assert found["places"].tolist() == [50, 100, 200, 240]
    assert (found["n"] == 300).all()
    whole = gi.probes.evaluate(acts.sel(layer=1), controls=False, seed=2)
    assert found["r2"].iloc[-1] == pytest.approx(whole.best()["r2"], abs=1e-9)
    assert found["low"].iloc[-1] == pytest.approx(whole.best()["low"], abs=1e-9)
    few = gi.probes.by_sample_size(acts.sel(layer=1), [10, 240], seed=2)
    assert few["r2"][0] < few["r2"][1] - 0.05


def test_prompts_are_told_apart():
    import xarray as xr

    good, bad = synthetic_acts(noise=0.1), synthetic_acts(noise=0.1)
    bad = bad.copy(data=np.random.default_rng(1).normal(size=bad.shape))
    acts = xr.concat([bad, good], "prompt").assign_coords(
        template=("prompt", ["{name}?", "{name}"]), names=("prompt", ["name", "name"])
    )
    found = gi.probes.by_prompt(acts, controls=False)
    assert found["template"].tolist() == ["{name}?", "{name}"]
    assert found["r2"][0] < 0.05
    assert found["r2"][1] > 0.95
    with pytest.raises(InputError, match="one prompt"):
        gi.probes.by_prompt(good)


def test_what_is_not_linear_is_seen():
    acts = synthetic_acts(n=800)
    random = np.random.default_rng(0)
    x = random.normal(size=(800, 4))
    bent = one_layer(x, acts).assign_coords(size=("place", np.abs(x[:, 0])))
    found = gi.probes.is_it_linear(bent, target="size", units=32).set_index("probe")
    assert found.loc["ridge", "r2"] < 0.1
    assert found.loc["MLP", "r2"] > 0.9
    assert found.loc["MLP", "gain_low"] > 0.7
    assert found.loc["MLP", "gain"] == pytest.approx(
        found.loc["MLP", "r2"] - found.loc["ridge", "r2"]
    )
    straight = bent.assign_coords(size=("place", x[:, 0] + 0.5 * random.normal(size=800)))
    found = gi.probes.is_it_linear(straight, target="size", units=32).set_index("probe")
    assert found.loc["MLP", "gain_low"] < 0.01
    assert found.loc["ridge", "r2"] == pytest.approx(0.8, abs=0.04)


def test_transfer_knows_what_was_done_to_the_activations():
    acts = synthetic_acts(noise=0.3)
    home = acts.sel(layer=1)
    x, random = home.values.astype(np.float64), np.random.default_rng(3)

    same = gi.probes.transfer(home, home).set_index("probe")
    for name in ("as it is", "its own"):
        assert same.loc[name, "r2"] == pytest.approx(same.loc["at home", "r2"], abs=1e-9)
    assert same.loc["as it is", "km_from_home"] < 1
    assert same.loc["at home", "r2"] > 0.95

    moved = gi.probes.transfer(home, one_layer(x * 3 + 40, acts)).set_index("probe")
    assert moved.loc["as it is", "r2"] < 0
    assert moved.loc["recentred", "km_from_home"] < 20
    assert moved.loc["recentred", "r2"] == pytest.approx(moved.loc["at home", "r2"], abs=0.01)

    turn = np.linalg.qr(random.normal(size=(12, 12)))[0]
    turned = gi.probes.transfer(home, one_layer(x @ turn, acts)).set_index("probe")
    assert turned.loc["recentred", "r2"] < 0.5
    assert turned.loc["mapped", "r2"] == pytest.approx(turned.loc["at home", "r2"], abs=0.02)

    narrow = one_layer(x @ turn[:, :5], acts)
    assert gi.probes.transfer(home, narrow)["probe"].tolist() == ["at home", "mapped", "its own"]


def test_transfer_sees_no_place_that_it_predicts():
    acts = synthetic_acts(n=100)
    noise = one_layer(np.random.default_rng(0).normal(size=(100, 400)), acts)
    # with more features than places, a place that was seen is known by heart
    found = gi.probes.transfer(noise, noise)
    assert (found["r2"] < 0.2).all()


def test_what_joins_two_sets_is_learned_from_training_places():
    # 400 columns for 80 places: a map that saw the places that it is tried on would fit them
    acts = synthetic_acts(n=100)
    random = np.random.default_rng(0)
    home = one_layer(truth_of(acts) @ random.normal(size=(2, 400)), acts)
    away = one_layer(random.normal(size=(100, 400)), acts)
    found = gi.probes.transfer(home, away).set_index("probe")
    assert found.loc["at home", "r2"] > 0.99
    assert found.loc["mapped", "r2"] < 0.2
    # a shift of the places that are tried, and of none that are learned from
    tested = next(iter(RandomKFold(2, seed=0).split(np.zeros(300))))[1]
    acts = synthetic_acts(noise=0.3)
    home, shift = acts.sel(layer=1), np.zeros((300, 1))
    shift[tested] = 50
    cv = PredefinedSplit(np.where(shift[:, 0] > 0, 0, -1))
    moved = gi.probes.transfer(home, one_layer(home.values + shift, acts), cv=cv)
    assert moved.set_index("probe").loc["recentred", "r2"] < 0


def test_a_region_is_tried_on_places_it_has_not_seen():
    acts = synthetic_acts(n=200)
    side = np.where(acts["lon"].values < 0, "west", "east")
    noise = one_layer(np.random.default_rng(0).normal(size=(200, 500)), acts)
    found = gi.probes.between(noise.assign_coords(side=("place", side)), "side")
    assert (found["r2"] < 0.2).all()


def test_smaller_samples_are_part_of_larger_ones(monkeypatch):
    seen = []

    def spy(features, target, folds):
        seen.append([set(train) for train, _ in folds])
        return predict(features, target, folds)

    monkeypatch.setattr(readings, "predict", spy)
    gi.probes.by_sample_size(synthetic_acts().sel(layer=1), [20, 60, 240])
    for small, large in itertools.pairwise(seen):
        assert all(a < b for a, b in zip(small, large, strict=True))


def test_transfer_matches_places_by_their_index():
    acts = synthetic_acts(noise=0.3)
    home = acts.sel(layer=1)
    shuffled = home.isel(place=np.random.default_rng(0).permutation(300)[:250])
    found = gi.probes.transfer(home, shuffled).set_index("probe")
    assert found.loc["as it is", "n"] == 250
    assert found.loc["as it is", "r2"] == pytest.approx(found.loc["at home", "r2"], abs=1e-9)
    with pytest.raises(InputError, match="no place in common"):
        gi.probes.transfer(home, home.assign_coords(place=home["place"] + 1000))


def test_regions_with_maps_of_their_own():
    acts = synthetic_acts(n=600)
    side = np.where(acts["lon"].values < 0, "west", "east")
    x = truth_of(acts) * np.where(side == "west", 1, -1)[:, None] / 50
    x = x + 0.01 * np.random.default_rng(0).normal(size=x.shape)
    own = one_layer(x, acts).assign_coords(side=("place", side))
    found = gi.probes.between(own, "side").set_index(["fitted_to", "tried_on"])
    for a, b in ((a, b) for a in ("east", "west") for b in ("east", "west")):
        assert (found.loc[(a, b), "r2"] > 0.99) == (a == b)
        assert found.loc[(a, b), "n"] == (side == b).sum()
    with pytest.raises(InputError, match="no 'planet'"):
        gi.probes.between(own, "planet")
    with pytest.raises(InputError, match="'side' has 0 value"):
        gi.probes.between(own, "side", least=500)


def test_a_planted_neuron_is_found():
    acts = synthetic_acts(n=400)
    x = np.random.default_rng(0).normal(size=(400, 30))
    x[:, 17] = acts["lat"].values ** 3
    x[:, 5] = 2.5
    found = gi.probes.neurons(one_layer(x, acts))
    assert found["neuron"][0] == 17
    assert found["spearman_lat"][0] == pytest.approx(1)
    wanted = [np.corrcoef(x[:, 17], acts[name])[0, 1] ** 2 for name in ("lon", "lat")]
    assert found["r2"][0] == pytest.approx(np.mean(wanted), abs=1e-6)
    assert found["neuron"].iloc[-1] == 5
    assert np.isnan(found["r2"].iloc[-1])
    # among thirty units the best by chance is about what noise gives
    assert found["r2"][1] < 4 * found["shuffled_r2"][0] < 0.1


@pytest.mark.parametrize(
    ("kind", "writes", "reads"),
    [("gpt2", "mlp.c_proj", "mlp.c_fc"), ("llama", "mlp.down_proj", "mlp.up_proj")],
)
def test_neurons_that_point_along_the_probe(toponym, kind, writes, reads):
    model = tiny(kind, toponym.tokenizer)
    width = model.model.config.hidden_size
    probe = RidgeProbe(alphas=(1.0,))
    random = np.random.default_rng(0)
    x = random.normal(size=(200, width))
    probe.fit(x, x @ random.normal(size=(width, 2)))
    wanted = torch.from_numpy(probe.coef_[1]).float() * -4
    with torch.no_grad():
        for path, side in ((writes, "output"), (reads, "input")):
            weight = model.blocks[1].get_submodule(path).weight
            linear = isinstance(model.blocks[1].get_submodule(path), torch.nn.Linear)
            row = weight.T if linear == (side == "output") else weight
            row[7] = wanted
            found = gi.probes.aligned_neurons(probe, model, path, side=side)
            assert len(found) == sum(len(row) for _ in model.blocks)
            own = found[(found["layer"] == 1) & (found["neuron"] == 7)]
            assert own["cosine_1"].item() == pytest.approx(-1, abs=1e-5)
            assert found["cosine_1"].abs().nlargest(2).iloc[1] < 0.9
    with pytest.raises(InputError, match=r"no weights at 'mlp\.nothing'"):
        gi.probes.aligned_neurons(probe, model, "mlp.nothing")
    with pytest.raises(InputError, match="wide at its input"):
        gi.probes.aligned_neurons(probe, model, writes, side="input")


def test_what_cannot_be_read_is_told():
    acts = synthetic_acts()
    with pytest.raises(InputError, match=r"2 layers: choose one, sel\(layer=0\)"):
        gi.probes.by_components(acts)
    with pytest.raises(InputError, match="there can be 1 to 12"):
        gi.probes.by_components(acts.sel(layer=1), [13])
    with pytest.raises(InputError, match="there can be 10 to 240"):
        gi.probes.by_sample_size(acts.sel(layer=1), [5, 100])
    broken = acts.sel(layer=1).copy()
    broken[3, 4] = np.nan
    with pytest.raises(InputError, match="not finite"):
        gi.probes.transfer(acts.sel(layer=1), broken)


def test_too_little_to_read_is_told():
    acts = synthetic_acts(n=12).sel(layer=1)
    with pytest.raises(InputError, match="a sample needs 10"):
        gi.probes.by_sample_size(acts)
    with pytest.raises(InputError, match="a network needs 50"):
        gi.probes.is_it_linear(acts)
    with pytest.raises(InputError, match="units is 0"):
        gi.probes.is_it_linear(acts, units=0)
    with pytest.raises(InputError, match="least is 1"):
        gi.probes.between(acts, "country", least=1)
