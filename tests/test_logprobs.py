import json
import re

import numpy as np
import pandas as pd
import pytest
from endpoints import Request, Speaker, say, serving
from hypothesis import given
from hypothesis import strategies as st

import geointerp as gi
from geointerp.errors import InputError
from geointerp.geollm.server import logprobs
from geointerp.geollm.web import patience


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")


@pytest.fixture
def _hurried(monkeypatch):
    monkeypatch.setattr(patience, "BACK_OFF", 0.002)


_random = np.random.default_rng(0)
_peaked = np.exp(-((np.arange(100) / 10 - 6.4) ** 2)) + 0.002 * _random.random(100)
SPOKEN = {f"{r / 10:.1f}": 0.9 * p / _peaked.sum() for r, p in enumerate(_peaked)}
SPOKEN |= {"I would say": 0.06, "10": 0.02, "73": 0.02}
EXPECTED = sum(float(text) * p for text, p in SPOKEN.items() if text[1:2] == ".") / 0.9

SPLITS = {
    "digits": list,
    "whole": lambda text: [text],
    "point with the first": lambda text: [text[:2], *text[2:]],
    "point with the second": lambda text: [text[:1], text[1:]],
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("way", ["chat", "legacy", "content", "spaced"])
def test_a_distribution_is_walked_whatever_the_tokens(split, way):
    """The expectation of the whole distribution from the twenty likeliest tokens at a time."""
    # where a space is merged with the digit, or a token of its own
    lead = " " if way == "spaced" else ""
    parts = SPLITS[split]

    def tokens(text):
        first, *rest = parts(text)
        return [lead + first, *rest]

    speaker = Speaker(SPOKEN, tokens, "legacy" if way == "spaced" else way)
    whole = split == "whole"
    options = {"continues": True} if way == "chat" else {"endpoint": "completions"}
    with serving(speaker) as (url, log):
        server = gi.geollm.Server(url, "m", top=103 if whole else 20, **options)
        asked = pd.Series(["PROMPT" + lead], index=["a"])
        most = server.estimate(asked).requests
        ratings = server.predict(asked)
        assert server.estimate(asked).requests == 0
    row = ratings.loc["a"]
    assert row["rating"] == pytest.approx(EXPECTED, abs=2e-4)
    assert row["mass"] == pytest.approx(0.9, abs=1e-3)
    assert row["unseen"] < 1e-3
    assert row["mode"] == 6.4
    assert row["reason"] == ""
    assert row["mass"] + row["unseen"] >= 0.9 - 1e-9
    assert most == {"chat": 42, "spaced": 22}.get(way, 21)
    assert len(log) <= ((2 if way == "chat" else 1) if whole else 13)
    assert {one.body["temperature"] for one in log} == {0}


@pytest.mark.parametrize(
    ("most", "space", "must"),
    [(21, "", True), (22, " ", True), (23, "\n ", True), (42, " ", False)],
)
def test_a_walk_and_its_probe_ask_no_more_than_is_said(most, space, must):
    """Where no beginning is the most probable token, so that no answer tells of two."""
    spelling, asked = logprobs.Spelling(space, must=must), []

    def ask(beginning):
        asked.append(beginning)
        likely = {t: np.log(0.3 if t in space else 0.06) for t in space + "0123456789."}
        return [logprobs.Step("My", likely, 0.98), logprobs.Step(" answer", {}, 1.0)]

    if not must:
        logprobs.probe(ask, spelling)
    logprobs.walk(ask, spelling, on=True)
    assert len(set(asked)) == most
    assert spelling.beginnings == most


ANEW = {"My answer": 0.4} | {text: 0.6 * p / 0.9 for text, p in SPOKEN.items() if text[1:2] == "."}


@pytest.mark.parametrize("split", ["digits", "point with the first", "point with the second"])
@pytest.mark.parametrize("texts", [ANEW, {"My answer": 1.0 - 1e-9, "7.3": 1e-9}, SPOKEN])
def test_whether_a_chat_goes_on_is_always_found_out(texts, split):
    """Also where it says something else first, or no rating is among what it might say."""

    def tokens(text):
        return SPLITS[split](text) if text[0].isdigit() else [text]

    rated = sum(p for text, p in texts.items() if re.fullmatch(r"\d\.\d", text))
    prompt = pd.Series(["PROMPT"])
    with serving(Speaker(texts, tokens, "chat")) as (url, log):
        server = gi.geollm.Server(url, "m", continues=True, top=1 if rated < 0.1 else 20)
        if rated > 0.1:
            assert server.predict(prompt)["mass"].iloc[0] == pytest.approx(rated, abs=1e-3)
        asked = len(log)
        assert server.estimate(prompt).requests == (0 if rated > 0.1 else 42)
    assert asked <= 13
    with serving(Speaker(texts, tokens, "chat", prefills=False)) as (url, log):
        server = gi.geollm.Server(url, "m", continues=True, top=1 if rated < 0.1 else 20)
        with pytest.raises(InputError, match=r"does not go on with '[5-7]"):
            server.predict(prompt)
        assert len(log) == 2


def test_an_estimate_counts_a_probe_that_is_yet_to_come():
    with serving(Speaker(SPOKEN, list, "chat")) as (url, log):
        server = gi.geollm.Server(url, "m", continues=True)
        server.predict(pd.Series(["one", "other"]))
        assert server.estimate(pd.Series(["one", "other"])).requests == 0
        before = len(log)
        assert server.estimate(pd.Series(["other"])).requests >= 1
        server.predict(pd.Series(["other"]))
        assert len(log) == before + 1, "the other's walk is kept, but it was not the first"
        assert server.estimate(pd.Series(["other"])).requests == 0


def test_an_answer_that_ends_at_once_is_not_taken_for_one_without_log_probabilities():
    def answer(request):
        begun = "".join(m["content"] for m in request.body["messages"][1:])
        after = {"": {"7": 0.6, "8": 0.4}, "7": {".": 1.0}, "7.": {"3": 1.0}}.get(begun, {})
        top = [{"token": t, "logprob": np.log(p)} for t, p in after.items()]
        content = [{"token": t["token"], "top_logprobs": top} for t in top[:1]]
        return say(content[0]["token"] if content else "", logprobs={"content": content})

    with serving(answer) as (url, _):
        row = gi.geollm.Server(url, "m", continues=True).predict(pd.Series(["PROMPT"])).iloc[0]
    assert row["mass"] == pytest.approx(0.6)
    assert row["unseen"] == pytest.approx(0.4)


def test_what_a_chat_alone_does_not_show_is_said():
    with serving(Speaker(SPOKEN, list, "chat")) as (url, log):
        server = gi.geollm.Server(url, "m")
        expectation = server.predict(pd.Series(["PROMPT"]))
        mode = server.predict(pd.Series(["PROMPT"]), method="mode")
        shares = server.distribution(pd.Series(["PROMPT"]))
    sixes = sum(p for text, p in SPOKEN.items() if text.startswith("6."))
    row = expectation.iloc[0]
    assert len(log) == 1, "what is known of a prompt serves every method"
    assert row["mass"] == pytest.approx(sixes)
    assert row["unseen"] == pytest.approx(0.94 - sixes), "10 and 73 begin as ratings do"
    assert np.isnan(row["rating"])
    assert np.isnan(row["mode"])
    assert np.isnan(row["entropy"])
    assert re.fullmatch(
        r"0\.\d+ of the probability was seen on ratings and 0\.\d+ not at all", row["reason"]
    )
    assert mode["reason"].iloc[0] == row["reason"]
    assert shares.isna().all(axis=None)


def test_a_chat_that_begins_anew_is_found_out():
    with serving(Speaker(SPOKEN, list, "chat", prefills=False)) as (url, _):
        server = gi.geollm.Server(url, "m", continues=True)
        with pytest.raises(InputError, match="does not go on with '6' as an assistant's message"):
            server.predict(pd.Series(["PROMPT"]))


@given(
    st.lists(st.floats(0.001, 1), min_size=100, max_size=100),
    st.floats(0, 0.8),
    st.sampled_from(sorted(SPLITS)),
    st.integers(3, 60),
    st.booleans(),
)
def test_the_truth_is_never_farther_than_said(weights, other, split, top, on):
    """Whatever was not seen, mass and expectation lie within the bounds given."""
    weights = np.array(weights) ** 3
    truth = (1 - other) * weights / weights.sum()
    texts = {f"{r / 10:.1f}": p for r, p in enumerate(truth)} | ({"x": other} if other else {})
    speaker = Speaker(texts, SPLITS[split], "legacy")

    def ask(beginning):
        body = {"prompt": "PROMPT" + beginning, "logprobs": top, "max_tokens": 4}
        reply = json.loads(speaker(Request(0.0, "", None, body)).raw)
        return logprobs.steps(reply["choices"][0])

    seen = logprobs.walk(ask, logprobs.Spelling("", must=True), on=on)
    assert (seen.ratings <= truth + 1e-9).all()
    assert seen.ratings.sum() - 1e-9 <= 1 - other <= seen.ratings.sum() + seen.unseen + 1e-9
    row = logprobs.table([seen], pd.RangeIndex(1)).iloc[0]
    expected = truth @ np.arange(100) / 10 / truth.sum()
    assert np.isnan(row["rating"]) or abs(row["rating"] - expected) <= logprobs.TOLERANCE + 1e-9
    assert np.isnan(row["mode"]) or truth[round(row["mode"] * 10)] >= truth.max() - 1e-9


def test_mode_and_expectation_each_stand_where_they_are_sure():
    far, sure = np.zeros(100), np.zeros(100)
    far[[10, 80]] = 0.45
    sure[50] = 0.6
    seen = [logprobs.Seen(far, 1e-3), logprobs.Seen(sure, 0.3), logprobs.Seen(np.zeros(100), 0.0)]
    expectation = logprobs.table(seen, pd.Index(["a", "b", "c"]))
    mode = logprobs.table(seen, pd.Index(["a", "b", "c"]), method="mode")
    assert expectation["rating"].round(6).fillna(-1).tolist() == [4.5, -1, -1]
    assert mode["rating"].fillna(-1).tolist() == [-1, 5.0, -1]
    assert (expectation["reason"] == "").tolist() == [True, False, False]
    assert (mode["reason"] == "").tolist() == [False, True, False]


@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize("value", [0.5, "x", None, float("nan")])
def test_log_probabilities_that_are_none(monkeypatch, value):
    monkeypatch.setattr(patience, "TRIES", 2)
    told = {"content": [{"token": "7.3", "top_logprobs": [{"token": "7.3", "logprob": value}]}]}
    shape = "after 2 tries the server gives an answer of another shape"
    answer = say("7.3", logprobs=told)
    with serving(lambda r: answer) as (url, _), pytest.raises(InputError, match=shape):
        gi.geollm.Server(url, "m").predict(pd.Series(["place 0"]))


def test_a_token_without_text_ends_nothing():
    """An end of text, which some servers write as "", is no way on to a rating."""
    seven = logprobs.Step("7", {"7": np.log(0.5)}, 0.75)
    end = logprobs.Step("", {".": np.log(0.4)}, 0.9)
    after = logprobs.Step(".", {".": 0.0}, 1.0)
    three = logprobs.Step("3", {"3": 0.0}, 1.0)
    taken = {"": [seven, end, after], "7.": [three]}
    seen = logprobs.walk(taken.__getitem__, logprobs.Spelling("", must=True), on=True)
    assert seen.ratings[73] == pytest.approx(0.5 * 0.4)
    assert seen.ratings.sum() == pytest.approx(0.5 * 0.4)
    assert seen.unseen == pytest.approx(0.25 + 0.5 * 0.1)
    told = {"content": [{"token": "", "top_logprobs": [{"token": "", "logprob": -0.1}]}]}
    (step,) = logprobs.steps({"logprobs": told})
    assert step.likely == {}
    assert step.seen == pytest.approx(np.exp(-0.1))
