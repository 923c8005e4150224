import numpy as np
import pandas as pd
import pytest
from geollm_helpers import points
from hypothesis import given, settings
from hypothesis import strategies as st

import geointerp as gi
from geointerp.errors import InputError

ROW = points(*((lon, 0) for lon in (0, 1, 3, 7, 15, 31)), index=list("abcdef"))
FIVE = pd.Series(5.0, index=ROW.index)


def chosen(places, at, **options):
    examples = gi.geollm.Examples(places, pd.Series(5.0, places.index), **options)
    lon, lat = np.array(at, float).T
    return examples.chosen(lon=lon, lat=lat)


def test_near_ones_end_with_the_nearest_and_far_ones_begin_with_the_farthest():
    assert chosen(ROW, [(2.9, 0)], n=3, choose="near").tolist() == [[0, 1, 2]]
    assert chosen(ROW, [(6.0, 0)], n=3, choose="near").tolist() == [[1, 2, 3]]
    assert chosen(ROW, [(2.9, 0)], n=3, choose="far").tolist() == [[5, 4, 3]]


def test_near_goes_around_the_globe():
    known = points((179, 0), (100, 0), (-178, 0))
    assert chosen(known, [(-179.9, 0)], n=2).tolist() == [[2, 0]]


@settings(max_examples=60)
@given(
    choose=st.sampled_from(["near", "far", "random"]),
    n=st.integers(1, 5),
    seed=st.integers(0, 5),
    at=st.integers(0, 5),
)
def test_a_place_is_never_shown_itself_nor_what_lies_on_it(choose, n, seed, at):
    twice = pd.concat([ROW, ROW.set_index(ROW.index + "2")])
    here = ROW.geometry.iloc[at]
    # a tenth of a metre away is the same place
    found = chosen(twice, [(here.x + 1e-6, here.y)], n=n, choose=choose, seed=seed)[0]
    assert not {at, at + 6} & set(found)
    assert len(set(found)) == n


def test_random_ones_depend_on_seed_and_place_and_not_on_company():
    known = points(*((lon, lat) for lon in range(-90, 91, 30) for lat in range(-60, 61, 30)))
    at = [(5.5, 5.5), (6.5, 5.5), (7.5, 5.5)]
    together = chosen(known, at, n=4, choose="random", seed=1)
    for i in range(3):
        alone = chosen(known, at[i : i + 1], n=4, choose="random", seed=1)[0]
        np.testing.assert_array_equal(together[i], alone)
    assert len({tuple(row) for row in together}) == 3
    assert (together != chosen(known, at, n=4, choose="random", seed=2)).any()
    # any of the 35 may be drawn
    many = chosen(known, [(lon / 7, 1.5) for lon in range(300)], n=4, choose="random")
    counts = np.bincount(many.ravel(), minlength=35)
    assert counts.min() > 10
    assert counts.max() < 70


@pytest.mark.parametrize(
    ("ratings", "options", "message"),
    [
        (FIVE, {"n": 7}, "n is 7; it must be from 1 to the 6 examples"),
        (FIVE, {"n": 0}, "n is 0"),
        (FIVE, {"choose": "nearest"}, "choose is 'nearest'; it must be one of near, far, random"),
        (FIVE, {"seed": -1}, "seed is -1"),
        (FIVE.drop("c"), {}, "rating of row 'c' is missing"),
        (FIVE.where(FIVE.index != "b", np.nan), {}, "rating of row 'b' is nan"),
        (FIVE.where(FIVE.index != "b", 9.91), {}, "rating of row 'b' is 9.91"),
        (FIVE.where(FIVE.index != "b", -0.1), {}, "rating of row 'b' is -0.1"),
        (FIVE.astype(object).where(FIVE.index != "b", "high"), {}, "rating of row 'b' is high"),
        (pd.concat([FIVE, FIVE]), {}, "index holds 'a' more than once"),
        ([5.0] * 6, {}, "ratings is a list"),
    ],
)
def test_examples_that_cannot_be_shown_are_refused(ratings, options, message):
    with pytest.raises(InputError, match=message):
        gi.geollm.Examples(ROW, ratings, **options)


def test_too_few_elsewhere_and_places_that_are_none_are_refused():
    with pytest.raises(InputError, match=r"only 5 lie elsewhere .*0.00000, 1.00000.* n is 6"):
        chosen(ROW, [(0.5, 0), (1, 0)], n=6)
    with pytest.raises(InputError, match="examples: the table has no CRS"):
        gi.geollm.Examples(ROW.set_crs(None, allow_override=True), FIVE)


def test_places_in_metres_are_chosen_alike():
    metres = ROW.to_crs("EPSG:3857")
    for choose in ("near", "far", "random"):
        one, other = (chosen(p, [(2.9, 0)], n=2, choose=choose) for p in (ROW, metres))
        np.testing.assert_array_equal(one, other)
