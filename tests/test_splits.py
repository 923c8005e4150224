import numpy as np
import pytest
from conftest import synthetic_acts
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, KFold, cross_val_score

import geointerp as gi
from geointerp import sphere
from geointerp.errors import InputError
from geointerp.probes import BlockKFold, ColumnKFold, RandomKFold, RidgeProbe


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


def test_every_country_is_left_out_once():
    acts = synthetic_acts(n=200)
    cv = ColumnKFold("country", n_splits=None)
    report = gi.probes.evaluate(acts, cv=cv, controls=False)
    folds = report.predictions.join(acts["country"].to_series()).groupby("country")["fold"]
    assert (folds.nunique() == 1).all()
    assert report.predictions["fold"].nunique() == len(folds)
    assert report.best()["r2"] > 0.95


def test_group_k_fold_is_the_peer():
    country = np.repeat(list("abcdefgh"), 5)
    theirs = GroupKFold(4, shuffle=True, random_state=1).split(country, None, country)
    ours = ColumnKFold(n_splits=4, seed=1).split(country, None, country)
    for (_, a), (_, b) in zip(ours, theirs, strict=True):
        assert (a == b).all()
