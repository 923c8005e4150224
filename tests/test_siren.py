import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_predict

from geointerp.errors import InputError
from geointerp.geollm import LocationEncoder
from geointerp.geollm.baselines.siren import siren
from geointerp.probes import BlockKFold, RandomKFold
from geointerp.probes.harmonics import real_harmonics


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def globe(n, seed=0):
    random = np.random.default_rng(seed)
    return np.stack(
        [random.uniform(-180, 180, n), np.degrees(np.arcsin(random.uniform(-1, 1, n)))], axis=1
    )


def smooth(lon_lat):
    """A field of the harmonics up to degree 3, and its waves bent."""
    lon, lat = lon_lat.T
    waves = real_harmonics(3, lon=lon, lat=lat)
    weights = np.random.default_rng(1).normal(size=waves.shape[1])
    return 1000 + 50 * np.tanh(waves @ weights)


def r2(truth, found):
    return 1 - ((truth - found) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()


def test_it_finds_a_smooth_field_where_it_was_not_shown():
    where = globe(500)
    field = smooth(where)
    found = cross_val_predict(LocationEncoder(degree=5), where, field, cv=RandomKFold(3))
    assert r2(field, found) > 0.9


def test_it_finds_nothing_in_noise():
    where = globe(300)
    noise = np.random.default_rng(2).normal(size=300)
    cv = BlockKFold(1500, n_splits=3)
    found = cross_val_predict(LocationEncoder(degree=5), where, noise, groups=where, cv=cv)
    # stopped early, it does no worse than a little below the mean
    assert -0.25 < r2(noise, found) < 0.05
    assert LocationEncoder(degree=5).fit(where, noise).epochs_ < 100


def test_the_date_line_is_no_edge():
    where = globe(300)
    encoder = LocationEncoder(degree=4).fit(where, smooth(where))
    for lat in (-60, 0, 45):
        west, east = encoder.predict([[-180 + 1e-9, lat], [180 - 1e-9, lat]])
        assert west == pytest.approx(east, abs=0.01)
    # at a pole every longitude is the same place
    assert np.ptp(encoder.predict([[0, 90], [90, 90], [-123, 90]])) < 0.01


def test_the_same_seed_gives_the_same_and_another_does_not():
    where = globe(120)
    field = smooth(where)
    torch.manual_seed(5)
    first = LocationEncoder(degree=3, seed=1).fit(where, field).predict(where)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.rand(1) == after
    np.testing.assert_array_equal(
        first, clone(LocationEncoder(degree=3, seed=1)).fit(where, field).predict(where)
    )
    other = LocationEncoder(degree=3, seed=2).fit(where, field).predict(where)
    assert np.abs(first - other).max() > 1e-6


def test_the_unit_of_the_target_changes_nothing_else():
    where = globe(150)
    field = smooth(where)
    one = LocationEncoder(degree=3).fit(where, field).predict(where)
    scaled = LocationEncoder(degree=3).fit(where, 1e6 * field - 7).predict(where)
    np.testing.assert_allclose(scaled, 1e6 * one - 7, rtol=1e-5)


def test_weights_begin_as_sitzmann_says_so_that_layers_keep_their_spread():
    torch.manual_seed(0)
    network = siren(16, width=256, depth=4)
    linear = [layer for layer in network if isinstance(layer, torch.nn.Linear)]
    assert float(linear[0].weight.detach().abs().max()) <= 1 / 16
    bound = np.sqrt(6 / 256) / 30
    for layer in linear[1:]:
        assert 0.95 * bound < float(layer.weight.detach().abs().max()) <= bound
    # what enters each further sine has a spread of 1 (Sitzmann et al. 2020, theorem 1.8)
    values = torch.rand(2000, 16) * 2 - 1
    spreads = []
    for layer in network[:-1]:
        values = layer(values)
        if isinstance(layer, torch.nn.Linear):
            spreads.append(float((30 * values).std()))
    assert spreads[1:] == pytest.approx([1, 1, 1], abs=0.15)


def test_a_constant_target_and_two_places_are_predicted():
    where = globe(2)
    np.testing.assert_allclose(
        LocationEncoder(degree=2).fit(where, [3, 3]).predict(where), 3, atol=1
    )


@pytest.mark.parametrize(
    ("options", "columns", "message"),
    [({"degree": 0}, 2, "degree is 0"), ({"depth": 0}, 2, "depth is 0"), ({}, 3, "3 columns")],
)
def test_what_is_no_location_is_refused(options, columns, message):
    with pytest.raises(InputError, match=message):
        LocationEncoder(**options).fit(np.zeros((9, columns)), np.arange(9))
