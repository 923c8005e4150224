import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geointerp.geollm.ratings.answers import end, read_rating, read_ratings


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("7.3", 7.3),
        (" 0.0\n", 0.0),
        ("9.9.", 9.9),
        ("My answer is 4.5.", 4.5),
        ('my answer is: "4.5"', 4.5),
        ("**My answer is 4.5**", 4.5),
        ("My answer is **4.5**", 4.5),
        ("First 3.1 km, then 12 people. My answer is 4.5.", 4.5),
        ("My answer is 1.0? No. My answer is 2.0.", 2.0),
        ("My answer is 2.0.\n\nCoordinates: (1.00000, 2.00000)", 2.0),
        ("My answer is 2.0, out of 9.9", 2.0),
        ("4.5 (yes, 4.5)", 4.5),
        ("(7.3)", 7.3),
        ("**7.3**", 7.3),
        ("`7.3`", 7.3),
        ("7.3/9.9", 7.3),
        ("7.3 out of 9.9.", 7.3),
        ("It is 7.3 on a scale from 0.0 to 9.9.", 7.3),
        ("GDP (On a Scale from 0.0 to 9.9): 7.3", 7.3),
        ("My answer is (7.3).", 7.3),
        ("My answer is: **7.3**", 7.3),
        ("My answer is `7.3`.", 7.3),
        ("My answer is 7.3/9.9.", 7.3),
        ("My answer is **7.3**/9.9", 7.3),
        ("My answer is 9.9 / 9.9.", 9.9),
        ("My answer is 7.3 out of 9.9.", 7.3),
        ("My answer is 7.3 (on a scale from 0.0 to 9.9).", 7.3),
        ("My answer is 7.3 on a scale from 0.0 to 9.9", 7.3),
        ("My answer is:\n\n7.3", 7.3),
        ("My answer is 7.3, since 3,000 people live there.", 7.3),
        ("My answer is 7.3 because it has 2 ports.", 7.3),
        ("My answer is 7.3 – it is a port.", 7.3),
        ("My answer is 7.3. The next town, 8.2 km off, is larger.", 7.3),
    ],
)
def test_a_rating_is_read(text, rating):
    assert read_rating(text) == (rating, "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("I cannot rate people.", "it gives no number"),
        ("My answer is high.", "it gives no number"),
        ("My answer is high: 7.5", 'it gives 7.5, but not right after "My answer is"'),
        ("My answer is about 7.5", 'it gives 7.5, but not right after "My answer is"'),
        ("It is 7.5. My answer is that.", 'no number follows "My answer is"'),
        ("My answer is that.\n7.5", 'no number follows "My answer is"'),
        ("My answer is 3.0-4.0", "it gives 2 numbers, 3.0 and 4.0 …"),
        ("My answer is 3.0 – 4.0.", "it gives 2 numbers, 3.0 and 4.0 …"),
        ("My answer is 3.0 to 4.0.", "it gives 2 numbers, 3.0 and 4.0 …"),
        ("My answer is 7.3 or 8.0.", "it gives 2 numbers, 7.3 and 8.0 …"),
        ("My answer is 7.3, or 8", "it gives 2 numbers, 7.3 and 8 …"),
        ("My answer is 7.3 - 8", "it gives 2 numbers, 7.3 and 8 …"),
        ("My answer is 7.3 and 8.0.", "it gives 2 numbers, 7.3 and 8.0 …"),
        ("My answer is 7.3 (a range of 7.0 to 7.6).", "it gives 3 numbers, 7.3 and 7.0 …"),
        ("My answer is between 3.0 and 4.0.", "it gives 2 numbers, 3.0 and 4.0 …"),
        ("My answer is 0.7 on a scale from 0.0 to 1.0", "it gives 3 numbers, 0.7 and 0.0 …"),
        ("My answer is 1.0? No: 2.0", "it gives 2 numbers, 1.0 and 2.0 …"),
        ("My answer is 7.3/10.", "it gives 2 numbers, 7.3 and 10 …"),
        ("My answer is 7.3 million.", 'it says "7.3 million", which may be no rating'),
        ("My answer is 7.3% of it", 'it says "7.3% of", which may be no rating'),
        ("My answer is 7.3 on a scale of ten", 'it says "7.3 on", which may be no rating'),
        ("My answer is 7.3 out of 10", 'it says "7.3 out", which may be no rating'),
        ("7.3 million", 'it says "7.3 million", which may be no rating'),
        ("~7.3", 'it says "~7.3", which may be no rating'),
        ("7.3-9.9", "it gives 2 numbers, 7.3 and 9.9 …"),
        ("7.3/10", "it gives 2 numbers, 7.3 and 10 …"),
        ("between 3.0 and 4.0", "it gives 2 numbers, 3.0 and 4.0 …"),
        ("7", "it gives 7; a rating is 0.0 to 9.9, with one decimal"),
        ("10.0", "it gives 10.0; a rating is 0.0 to 9.9, with one decimal"),
        ("7.35", "it gives 7.35; a rating is 0.0 to 9.9, with one decimal"),
        ("-1.5", "it gives -1.5; a rating is 0.0 to 9.9, with one decimal"),
        ("−1.5", "it gives −1.5; a rating is 0.0 to 9.9, with one decimal"),
        ("7,3", "it gives 7,3; a rating is 0.0 to 9.9, with one decimal"),
        ("1,234.5", "it gives 1,234.5; a rating is 0.0 to 9.9, with one decimal"),
        (".5", "it gives .5; a rating is 0.0 to 9.9, with one decimal"),
        ("1.5e3", "it gives 1.5e3; a rating is 0.0 to 9.9, with one decimal"),
        ("My answer is 12.5.", "it gives 12.5; a rating is 0.0 to 9.9, with one decimal"),
    ],
)
def test_what_is_no_rating_is_not_guessed_at(text, reason):
    answer = read_rating(text)
    assert math.isnan(answer.rating)
    assert answer.reason == reason


@given(st.integers(0, 99), st.text(alphabet="abc .,!?\n\"'*", max_size=20))
def test_every_rating_comes_back(tenths, rest):
    said = f"My answer is {tenths / 10:.1f}"
    assert read_rating(f"{rest} {said}").rating == tenths / 10


@given(st.text(max_size=60))
def test_whatever_the_text_there_is_a_rating_or_a_reason(text):
    rating, reason = read_rating(text)
    assert math.isnan(rating) == bool(reason)
    assert math.isnan(rating) or round(rating * 10) in range(100)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("7.3\n\nCoordinates: (1.0, 2.0)", "7.3"),
        (' "7.3".\n', ' "7.3".'),
        ("\n 7.3\n8.0", "\n 7.3"),
        (
            "Near 2 rivers.\nMy answer is 7.3.\nMy answer is 1.0.",
            "Near 2 rivers.\nMy answer is 7.3.",
        ),
        ("My answer is 1.0? No: 2.0\n3.0", "My answer is 1.0? No: 2.0"),
        ("my answer is about 7\n\n", "my answer is about 7"),
        ("-1.5\n", "-1.5"),
        ("7.3/9.9\n8.0/9.9", "7.3/9.9"),
        ("**7.3** out of 9.9.\nNear", "**7.3** out of 9.9."),
        ("7.3 on a scale from 0.0 to 9.9\nNear", "7.3 on a scale from 0.0 to 9.9"),
        ("My answer is:\n\n7.3\nMy answer is 1.0", "My answer is:\n\n7.3"),
    ],
)
def test_an_answer_ends_with_the_line_that_gives_it(text, answer):
    assert text[: end(text)] == answer
    assert end(text) < len(text)


FORMS = ["7.3", "(7.3)", "**7.3**", "`7.3`.", "7.3/9.9", "7.3 out of 9.9.", "7", "7.35", "7.3 "]


@pytest.mark.parametrize("begun", ["", "My answer is ", "Near 3 km. My answer is:\n"])
@pytest.mark.parametrize("form", [*FORMS, "7.3 on a scale from 0.0 to 9.9"])
def test_what_is_read_of_an_answer_is_not_changed_by_what_comes_after_its_end(begun, form):
    alone, more = read_rating(begun + form), f"{begun}{form}\n\nCoordinates: (1.0, 2.0)"
    assert math.isnan(alone.rating) == ("3" not in form or "5" in form)
    if begun or not math.isnan(alone.rating):
        assert more[: end(more)] == begun + form
        np.testing.assert_equal(read_rating(more[: end(more)]), alone)


@pytest.mark.parametrize(
    "text", ["", "7.3", "My answer is 7.3.", "Near 3 km\nand", "7 km\n7.3\n", "My answer is:\n"]
)
def test_an_answer_that_may_go_on_has_no_end(text):
    assert end(text) is None


def test_several_texts_give_the_mean_of_those_that_can_be_read():
    texts = pd.Series({"b": ["1.0", "2.5", "x", "12"], "a": ["y"], "c": ["0.0"]})
    found = read_ratings(texts)
    assert list(found.index) == ["b", "a", "c"]
    assert found.loc["b"].tolist() == [
        1.75,
        2,
        "1 of 4: it gives no number; 1 of 4: it gives 12; a rating is 0.0 to 9.9, with one decimal",
    ]
    assert math.isnan(found.loc["a", "rating"])
    assert found.loc["a", "reason"] == "it gives no number"
    assert found.loc["c"].tolist() == [0.0, 1, ""]
    assert read_ratings(texts.iloc[:0]).columns.tolist() == ["rating", "n_read", "reason"]
