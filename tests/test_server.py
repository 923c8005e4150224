import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from endpoints import Reply, fail, say, serving

import geointerp as gi
from geointerp.errors import InputError
from geointerp.geollm.server import asking
from geointerp.geollm.web import patience, replies
from geointerp.geollm.web.journal import Journal

KEY = "sk-not-to-be-seen-anywhere-4f1d"


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def _hurried(monkeypatch):
    monkeypatch.setattr(patience, "BACK_OFF", 0.002)


def numbered(n):
    """Prompts that a scripted server can answer by their number."""
    return pd.Series([f"place {i}" for i in range(n)], index=[f"p{i}" for i in range(n)])


def rating_of(prompt):
    return int(prompt.split()[1]) % 100 / 10


def well(request):
    return say(f"{rating_of(request.prompt):.1f}")


# what a server may do to one


def test_nothing_is_lost_nor_asked_too_fast(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "BACK_OFF", 0.1)
    whole = say("7.3").raw
    troubles = {
        1: lambda r: fail(429, wait="1.0"),
        2: lambda r: fail(500),
        4: lambda r: Reply(b"<html>garbage"),
        5: lambda r: Reply(whole[:40]),
        6: lambda r: Reply(whole[:40], claims=len(whole)),
        7: lambda r: None,
        8: lambda r: Reply(b'{"choices": []}'),
        9: lambda r: Reply(b'{"choices": [{"message": {"content": 7.3}}]}'),
        11: lambda r: fail(503, wait="-1"),
        12: lambda r: (time.sleep(0.6), well(r))[1],
    }
    good = Counter()

    def answer(request):
        trouble = troubles.pop(len(log), None)
        reply = trouble(request) if trouble else well(request)
        if reply and reply.status == 200 and reply.raw == well(request).raw:
            good[request.prompt] += 1
        return reply

    with serving(answer) as (url, log):
        server = gi.geollm.Server(url, "m", per_minute=240, concurrency=4, journal=tmp_path / "j")
        asked = numbered(12)
        ratings = server.predict(asked, method="greedy")
    assert not troubles
    assert ratings["rating"].tolist() == asked.map(rating_of).tolist()
    assert ratings.index.equals(asked.index)
    assert good == Counter(asked), "each was answered, and none a second time"
    # one in a quarter of a second: on a busy machine it may be late on its way, but never early
    late = 0.4
    times = np.array([one.time for one in log])
    for n in range(1, len(times)):
        assert (times[n:] - times[:-n]).min() > n * 0.25 - late
    # Retry-After holds everybody, but for who set out before it came
    after = times - times[0]
    assert not ((after > late) & (after < 0.99)).any()


@pytest.mark.parametrize("wait", ["0", "Wed, 21 Oct 2015 07:28:00 GMT", "0.06"])
def test_who_says_retry_at_once_is_asked_less_and_less_all_the_same(monkeypatch, wait):
    monkeypatch.setattr(patience, "BACK_OFF", 0.03)
    told = r"after 7 tries the server answers 429 \(busy\)"
    with (
        serving(lambda r: fail(429, wait=wait)) as (url, log),
        pytest.raises(InputError, match=told),
    ):
        gi.geollm.Server(url, "m").predict(numbered(1), method="greedy")
    gaps = np.diff([one.time for one in log])
    assert len(gaps) == 6
    assert (gaps >= 0.03 * 2.0 ** np.arange(6)).all()


def test_pace_is_kept_to_the_instant(monkeypatch):
    now = [100.0]

    class Stop(threading.Event):
        def wait(self, timeout=None):
            # a clock that wakes its sleepers a little early
            now[0] += max(timeout * 0.9, 1e-6)
            return False

    monkeypatch.setattr(asking.time, "monotonic", lambda: now[0])
    pace, stop, went = asking.Pace(120), Stop(), []
    for i in range(20):
        pace.wait(stop)
        went.append(now[0])
        if i == 9:
            pace.hold(7)
    assert went[0] >= 100.5, "one that was killed may have asked just before"
    gaps = np.diff(went)
    assert (gaps >= 0.5 - 1e-9).all()
    assert gaps[9] >= 7
    assert np.delete(gaps, 9).max() < 0.6
    stop.set()
    with pytest.raises(asking.Stopped):
        pace.wait(stop)


CLIENT = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
import pandas as pd
import geointerp as gi
url, model, key, journal, endpoint, concurrency, method, prompts = sys.argv[1:9]
server = gi.geollm.Server(
    url, model, key=key or None, journal=journal, endpoint=endpoint, concurrency=int(concurrency)
)
server.predict(pd.read_json(prompts, typ="series"), method=method)
"""


def start_client(url, model, key, journal, endpoint, concurrency, method, prompts, log):
    """A run in a process of its own, so that it can be killed."""
    arguments = (url, model, key, journal, endpoint, concurrency, method, prompts)
    with open(log, "w") as out:
        return subprocess.Popen(
            [sys.executable, "-c", CLIENT, *map(str, arguments)],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OPENAI_LOG": "debug"},
        )


def test_killed_in_the_middle_it_goes_on_without_asking_twice(tmp_path):
    asked, held, go = numbered(30), [], threading.Event()

    def answer(request):
        if len(log) > 12 and not go.is_set():
            held.append(request.prompt)
            go.wait(60)
        if len(log) == 5:
            return fail(500, said=f"I was told {request.authorization}")
        return say(f"{rating_of(request.prompt):.1f}, {request.authorization}")

    asked.to_json(tmp_path / "prompts.json")
    with serving(answer) as (url, log):
        client = start_client(
            url,
            "m",
            "OPENAI_API_KEY",
            tmp_path / "journal",
            "chat",
            3,
            "greedy",
            tmp_path / "prompts.json",
            tmp_path / "log",
        )
        try:
            # when all three wait, all that was answered before is kept
            deadline = time.monotonic() + 60
            while len(held) < 3 and client.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
        finally:
            client.send_signal(signal.SIGKILL)
            client.wait()
        assert len(held) == 3
        go.set()
        before = len(log)
        server = gi.geollm.Server(url, "m", journal=tmp_path / "journal")
        assert server.estimate(asked, method="greedy").requests == 30 - 11
        assert len(log) == before, "an estimate asks nothing"
        ratings = server.predict(asked, method="greedy")
        assert len(log) == before + 30 - 11
        again = server.predict(asked, method="greedy")
        assert len(log) == before + 30 - 11, "the second time nothing is asked"
    assert ratings["rating"].tolist() == asked.map(rating_of).tolist()
    pd.testing.assert_frame_equal(ratings, again)
    twice = {prompt for prompt, n in Counter(one.prompt for one in log[:before]).items() if n > 1}
    assert len(twice) == 1, "the one that was answered with 500"
    total = Counter(one.prompt for one in log)
    assert {p for p, n in total.items() if n > 1} == twice | set(held)
    assert {one.authorization for one in log} == {f"Bearer {KEY}"}
    # neither in the journal nor in logs at their most talkative, though the server repeats it
    assert ratings["text"].str.contains("Bearer [key]", regex=False).all()
    for path in tmp_path.rglob("*"):
        assert KEY.encode() not in path.read_bytes(), path


def test_a_journal_is_hit_by_nothing_but_the_same_question(tmp_path):
    def ask(url, method="sample", prompts=("place 1", "place 1", "place 2"), **options):
        mine = options.keys() & {"model", "endpoint", "extra"}
        about = {"model": "m", **{name: options.pop(name) for name in mine}}
        before = len(log)
        server = gi.geollm.Server(url, key=None, journal=tmp_path / "deep" / "journal", **about)
        server.predict(pd.Series(prompts), method=method, **{"samples": 2, **options})
        return len(log) - before

    with serving(well) as (url, log):
        assert ask(url) == 4, "rows with one prompt share its answers"
        assert ask(url) == 0
        assert ask(url, samples=3) == 2, "more samples begin with the fewer"
        seeds = [one.body["seed"] for one in log if one.prompt == "place 1"]
        assert len(set(seeds)) == 3
        assert ask(url, seed=1) == 4
        assert not set(seeds) & {one.body["seed"] for one in log[-4:]}
        assert ask(url, temperature=0.5) == 4
        assert ask(url, max_new_tokens=5) == 4
        assert ask(url, model="other") == 4
        assert ask(url, endpoint="completions") == 4
        assert ask(url, extra={"top_p": 0.5}) == 4
        assert ask(url, method="greedy") == 2
        assert ask(url.replace("127.0.0.1", "localhost")) == 4
        assert ask(url, prompts=["place 1", "place 3"]) == 2
        assert {one.authorization for one in log} == {None}, "key=None sends none"


@pytest.mark.parametrize("seed", [None, 7])
def test_samples_are_told_apart_where_the_server_is_not_told_their_seeds(tmp_path, seed):
    def ask(seed):
        server = gi.geollm.Server(url, "m", journal=tmp_path / "journal", extra=extra)
        left = server.estimate(numbered(1), method="sample", samples=3, seed=seed).requests
        before = len(log)
        table = server.predict(numbered(1), method="sample", samples=3, seed=seed)
        assert left == len(log) - before
        return table["text"].iloc[0]

    extra = {"seed": seed}
    with serving(lambda r: say(f"{len(log) / 10:.1f}")) as (url, log):
        first, second = ask(1), ask(2)
        assert sorted(first + second) == ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6"]
        assert ask(1) == first
        assert ask(2) == second
        assert {one.body.get("seed") for one in log} == {seed}


def test_nothing_of_the_environment_is_sent_but_the_key(monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-of-mine")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Own: of-mine\nAuthorization: Bearer of-mine")
    with serving(well) as (url, log):
        for key, endpoint in ((None, "chat"), ("OPENAI_API_KEY", "chat"), (None, "completions")):
            server = gi.geollm.Server(url, "m", key=key, endpoint=endpoint)
            server.predict(numbered(1), method="greedy")
    assert [one.authorization for one in log] == [None, f"Bearer {KEY}", None]
    for one in log:
        assert "of-mine" not in str(one.headers)
        assert {name.lower() for name in one.headers} <= asking._SENT


def test_texts_are_read_as_those_of_a_local_model():
    said = {
        "place 0": "My answer is 3.4.\nCoordinates: 5.5",
        "place 1": "between 3.0 and 4.0",
        "place 2": "",
        "place 3": "7.3, <script>alert('{x}')</script>\ud800",
        "place 4": "9" * 3_000_000,
    }
    with serving(lambda r: say(said[r.prompt])) as (url, log):
        server = gi.geollm.Server(url, "m")
        greedy = gi.geollm.predict(server, numbered(5), method="greedy")
        sampled = gi.geollm.predict(server, numbered(2), method="sample", samples=3)
    assert greedy["rating"].fillna(-1).tolist() == [3.4, -1, -1, 7.3, -1]
    assert greedy["n_read"].tolist() == [1, 0, 0, 1, 0]
    assert greedy["reason"].tolist()[1:3] == ["it gives 2 numbers, 3.0 and 4.0 …", "it is empty"]
    assert greedy["text"].tolist()[:4] == [
        "My answer is 3.4.",
        "between 3.0 and 4.0",
        "",
        "7.3, <script>alert('{x}')</script>?",
    ]
    assert greedy["text"].str.len().max() == 100_000
    assert list(greedy) == ["rating", "text", "n_read", "reason"]
    assert sampled["text"].tolist()[0] == ["My answer is 3.4."] * 3
    assert sampled["rating"].fillna(-1).tolist() == [3.4, -1]
    assert sampled["reason"].tolist()[1] == "3 of 3: it gives 2 numbers, 3.0 and 4.0 …"
    assert log[0].body["temperature"] == 0
    assert log[-1].body["temperature"] == 1


@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize(
    ("reply", "times", "sentence"),
    [
        (fail(500), 7, "after 7 tries the server answers 500 (busy)"),
        (fail(401, said=f"no {KEY}"), 1, "401 (no [key]); its key is read from OPENAI_API_KEY"),
        (fail(404), 1, "answers 404 (busy); the url usually ends with /v1"),
        (fail(400, said="x\n" * 900), 1, "answers 400 (" + "x " * 99 + "x)"),
        (fail(307, said=""), 1, "the server answers 307"),
        (Reply(b"[" * 100_000), 7, "after 7 tries the server gives"),
        (Reply(b"{}"), 7, "gives an answer of another shape (KeyError)"),
        (Reply(b'{"error": {"message": "upstream"}}'), 7, "answers an error (upstream)"),
        (Reply(b"x" * 90_000, 502), 7, "answers 502 (xxxxx"),
        (fail(429, wait=3600), 1, "answers 429 (busy) and asks to be left alone for 3600 s; start"),
        (fail(429, wait="1e300"), 1, "asks to be left alone for 1e+300 s; start again then"),
        (None, 7, "after 7 tries the server cannot be reached, or hangs up ("),
    ],
)
def test_what_is_not_answered_ends_in_one_sentence(tmp_path, reply, times, sentence):
    with serving(lambda r: reply if r.prompt == "place 1" else well(r)) as (url, log):
        server = gi.geollm.Server(url, "m", concurrency=1, journal=tmp_path / "journal")
        with pytest.raises(InputError) as caught:
            server.predict(numbered(2), method="greedy")
        assert sum(one.prompt == "place 1" for one in log) == times
        before = len(log)
        server.predict(numbered(1), method="greedy")
        assert len(log) == before, "what was answered is kept"
    told = str(caught.value)
    assert told.startswith(f"prompts: row 'p1': {url}: ")
    assert sentence in told
    assert told.endswith(f"what was answered is kept in {tmp_path / 'journal'}.")
    assert len(told) < 600
    assert "\n" not in told
    assert KEY not in told
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.usefixtures("_hurried")
def test_an_answer_is_neither_too_long_nor_too_slow(monkeypatch):
    monkeypatch.setattr(replies, "LARGEST", 2**20)
    monkeypatch.setattr(patience, "TRIES", 2)
    much = "after 2 tries the server sends more than 1 MB"
    with serving(lambda r: Reply(b" " * 2**22)) as (url, _), pytest.raises(InputError, match=much):
        gi.geollm.Server(url, "m").predict(numbered(1), method="greedy")
    with serving(lambda r: (time.sleep(0.5), well(r))[1]) as (url, log):
        server = gi.geollm.Server(url, "m", timeout=0.1)
        with pytest.raises(InputError, match=r"the server does not answer within 0\.1 s"):
            server.predict(numbered(1), method="greedy")
        assert len(log) == 2


@pytest.mark.usefixtures("_hurried")
def test_without_a_journal_the_server_itself_remembers():
    bad = {"place 3"}
    with serving(lambda r: fail(400) if r.prompt in bad else well(r)) as (url, log):
        server = gi.geollm.Server(url, "m", concurrency=1)
        with pytest.raises(InputError, match=r"answers 400 \(busy\); what was answered is kept\.$"):
            server.predict(numbered(5), method="greedy")
        bad.clear()
        assert server.predict(numbered(5), method="greedy")["n_read"].sum() == 5
    asked = [one.prompt for one in log]
    assert asked[:5] == ["place 0", "place 1", "place 2", "place 3", "place 3"]
    assert asked[5:] == ["place 4"]


@pytest.mark.usefixtures("_hurried")
def test_a_server_that_is_not_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(InputError, match=r"cannot be reached, or hangs up \(.*refused"):
        gi.geollm.Server(url, "m").predict(numbered(1), method="greedy")


def test_a_redirect_is_not_followed():
    with (
        serving(well) as (elsewhere, there),
        serving(lambda r: Reply(b"", 307, [("Location", f"{elsewhere}/chat/completions")])) as (
            url,
            _,
        ),
        pytest.raises(InputError, match="answers 307"),
    ):
        gi.geollm.Server(url, "m").predict(numbered(1), method="greedy")
    assert not there


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"url": "localhost:8000"}, "url is 'localhost:8000'; it must be like"),
        ({"url": f"http://u:{KEY}@host/v1"}, "the url must hold a host and a path alone"),
        ({"url": f"http://host/v1?key={KEY}"}, "the url must hold a host and a path alone"),
        ({"endpoint": "responses"}, "endpoint is 'responses'"),
        ({"echoes": True}, "echoes is for endpoint='completions'"),
        ({"continues": True, "endpoint": "completions"}, "continues is for endpoint='chat'"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"per_minute": 0}, "per_minute is 0"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"timeout": float("inf")}, "timeout is inf"),
        ({"url": "http://localhost:abc/v1"}, "url is 'http://localhost:abc/v1'; it must be like"),
        ({"url": "http://[::1/v1"}, "url is 'http://[::1/v1'; it must be like"),
        ({"url": "http://local host/v1"}, "url is 'http://local host/v1'; it must be like"),
        ({"url": None}, "url is None; it must be like"),
        ({"extra": {"seed": np.int64(3)}}, "extra: 'seed' is a int64 that JSON cannot hold"),
        ({"extra": {"top_p": float("nan")}}, "extra: 'top_p' is a float that JSON cannot hold"),
        ({"extra": {"stop": {"a"}}}, "extra: 'stop' is a set that JSON cannot hold"),
        ({"extra": {3: 3}}, "extra: 3 is a int that JSON cannot hold"),
        ({"extra": [("top_p", 0.5)]}, "extra is a list; it must be a mapping"),
    ],
)
def test_a_server_that_cannot_be(change, sentence):
    with pytest.raises(InputError) as caught:
        gi.geollm.Server(**{"url": "http://127.0.0.1:1/v1", "model": "m", **change})
    assert sentence in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_run_that_cannot_begin_asks_nothing(tmp_path, monkeypatch):
    (tmp_path / "table.csv").write_text("name\n" * 1000)
    import sqlite3

    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE theirs (a)")
    other.close()
    before = (tmp_path / "other.db").read_bytes()
    with serving(well) as (url, log):

        def ask(prompts=("a",), *, method="greedy", samples=1, seed=0, **options):
            gi.geollm.Server(url, "m", **options).predict(
                pd.Series(prompts), method=method, samples=samples, seed=seed
            )

        with pytest.raises(InputError, match=r"table\.csv: not usable as a journal"):
            ask(journal=tmp_path / "table.csv")
        with pytest.raises(InputError, match=r"other\.db: a database, but no journal"):
            ask(journal=tmp_path / "other.db")
        with pytest.raises(InputError, match="row 1 is ' '; it must be a text"):
            ask(["a", " "])
        with pytest.raises(InputError, match="method is 'best'"):
            ask(method="best")
        with pytest.raises(InputError, match="samples is 0"):
            ask(method="sample", samples=0)
        with pytest.raises(InputError, match="seed is -1"):
            ask(method="sample", seed=-1)
        with pytest.raises(InputError, match="the environment has no variable NO_SUCH_KEY"):
            ask(key="NO_SUCH_KEY")
        for key in (KEY, "AIzaSyB0123456789abcdefghijklmnopqrstuv", "A" * 60):
            with pytest.raises(InputError, match="which must be a name as OPENAI") as caught:
                ask(key=key)
            assert key not in str(caught.value)
            assert key[4:] not in str(caught.value)
        monkeypatch.setenv("BAD_KEY", "ключ")
        with pytest.raises(InputError, match="BAD_KEY is no key") as caught:
            ask(key="BAD_KEY")
        assert "ключ" not in str(caught.value)
        assert not log
    assert (tmp_path / "other.db").read_bytes() == before


@pytest.mark.parametrize("method", ["greedy", "expectation"])
def test_a_damaged_journal_is_told_of_in_one_sentence(tmp_path, method):
    path, asked = tmp_path / "journal", numbered(300)
    with serving(well) as (url, log):
        server = gi.geollm.Server(url, "m", journal=path)
        server.predict(asked, method="greedy")
        # all but the page that says what it is
        path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096))
        told = rf"^(prompts: row '\w+': )?{path}: not readable as a journal: [^.]+\.$"
        before = len(log)
        with pytest.raises(InputError, match=told):
            server.predict(asked, method=method)
        with pytest.raises(InputError, match=told):
            server.estimate(asked, method=method)
        assert len(log) == before
    with Journal(tmp_path / "other") as journal:
        journal.put("a", 1)
        journal._base.execute("UPDATE answers SET answer = '[1, '")
        with pytest.raises(InputError, match="other: not readable as a journal"):
            journal.get("a")


@pytest.mark.parametrize("prices", [0.15, (0.15,), (0.15, -0.6), (0.15, float("nan")), "12"])
def test_prices_that_are_none(prices):
    server = gi.geollm.Server("http://127.0.0.1:1/v1", "m")
    with pytest.raises(InputError, match=r"^prices is .* it must be two numbers from 0 on"):
        server.estimate(numbered(1), method="greedy", prices=prices)


def test_numbers_of_numpy_are_sent_as_numbers():
    with serving(lambda r: say("7.3", logprobs={"content": []})) as (url, log):
        server = gi.geollm.Server(url, "m", top=np.int64(5))
        server.predict(
            numbered(1),
            method="sample",
            samples=np.int64(1),
            temperature=np.float32(0.5),
            max_new_tokens=np.int64(9),
            seed=np.int64(3),
        )
        with pytest.raises(InputError, match="gives no log-probabilities"):
            server.predict(numbered(1))
    body = log[0].body
    assert (body["temperature"], body["max_tokens"]) == (0.5, 9)
    assert log[1].body["top_logprobs"] == 5


def test_a_key_in_the_clear_is_warned_of(caplog, monkeypatch):
    monkeypatch.setattr(patience, "TRIES", 1)
    for url, warned in {
        "http://127.0.0.1:1/v1": False,
        "http://[::1]:1/v1": False,
        "http://localhost:1/v1": False,
        "https://geointerp.invalid/v1": False,
        "http://geointerp.invalid/v1": True,
    }.items():
        caplog.clear()
        server = gi.geollm.Server(url, "m", timeout=2)
        with caplog.at_level(logging.WARNING), pytest.raises(InputError):
            server.predict(numbered(1), method="greedy")
        assert ("anyone to read" in caplog.text) == warned
        assert KEY not in caplog.text
        assert KEY not in repr(server) + repr(vars(server))


def test_an_estimate_is_what_a_run_asks_for(tmp_path, toponym):
    asked, price = numbered(10), (2.0, 8.0)
    with serving(well) as (url, log):
        server = gi.geollm.Server(url, "m", journal=tmp_path / "journal")
        cost = server.estimate(asked, method="sample", samples=3, max_new_tokens=20, prices=price)
        assert not log
        assert not list(tmp_path.iterdir())
        # "place 7" has 7 characters: 2 tokens, if four are one
        assert cost[:3] == (30, 60, 600)
        assert cost.cost == pytest.approx((60 * 2 + 600 * 8) / 1e6)
        assert "a quarter of the characters" in cost.note
        server.predict(asked[:4], method="sample", samples=3, max_new_tokens=20)
        assert len(log) == 12
        left = server.estimate(asked, method="sample", samples=3, max_new_tokens=20)
        assert left.requests == 18
        assert np.isnan(left.cost)
        exact = server.estimate(asked, method="greedy", tokenizer=toponym.tokenizer)
        lengths = [len(toponym.tokenizer(text)["input_ids"]) for text in asked]
        assert exact[:3] == (10, sum(lengths), 320)
        assert server.estimate(asked)[:3] == (10, 20, 40), "a chat alone is asked once"
        going = gi.geollm.Server(url, "m", continues=True)
        assert going.estimate(asked)[:3] == (420, 1260, 1680), "at most"
        echoing = gi.geollm.Server(url, "m", endpoint="completions", echoes=True)
        assert echoing.estimate(asked)[:3] == (10, 3000, 0)


def echo_of(model):
    """Completions that echo, from a local model, as vLLM writes them."""
    import torch

    def answer(request):
        assert request.body["max_tokens"] == 0
        assert request.body["echo"]
        batch = model.tokenizer(request.body["prompt"], return_tensors="pt").input_ids
        with torch.inference_mode():
            logs = model.model(batch).logits.log_softmax(-1)
        scores = logs[:, :-1].gather(2, batch[:, 1:, None])[..., 0]
        choices = []
        for i, ids in enumerate(batch):
            told = {
                "tokens": [model.tokenizer.decode(one) for one in ids],
                "token_logprobs": [None, *scores[i].tolist()],
            }
            choices.append({"index": i, "text": request.body["prompt"][i], "logprobs": told})
        return Reply(json.dumps({"choices": choices[::-1]}).encode())

    return answer


def test_an_echo_is_scored_as_a_local_model_is(toponym, tmp_path):
    asked = pd.Series(["Population (from 0.0 to 9.9): ", "Zürich 東京 is"], ["a", "b"])
    local = gi.geollm.predict(toponym, asked)
    with serving(echo_of(toponym)) as (url, log):
        server = gi.geollm.Server(
            url, "m", endpoint="completions", echoes=True, journal=tmp_path / "journal"
        )
        remote = server.predict(asked)
        shares = server.distribution(asked)
    assert len(log) == 2
    assert (remote["unseen"] == 0).all()
    assert (remote["reason"] == "").all()
    np.testing.assert_allclose(shares, gi.geollm.distribution(toponym, asked), atol=1e-5)
    pd.testing.assert_frame_equal(remote[list(local)], local, rtol=1e-4)
    with serving(lambda r: say("7.3")) as (url, _):
        server = gi.geollm.Server(url, "m", endpoint="completions", echoes=True)
        with pytest.raises(InputError, match="the endpoint does not give the log-prob"):
            server.predict(asked)


# transformers serve


@pytest.fixture(scope="module")
def served(tmp_path_factory, toponym):
    """The embedded model behind `transformers serve`: its url, name and log."""
    folder = tmp_path_factory.mktemp("served")
    toponym.model.save_pretrained(folder / "model")
    toponym.tokenizer.save_pretrained(folder / "model")
    (folder / "model" / "chat_template.jinja").write_text(TEMPLATE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = Path(sys.executable).with_name("transformers")
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            [command, "serve", folder / "model", "--host", "127.0.0.1", "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_DISABLE_UPDATE_CHECK": "1", "OMP_NUM_THREADS": "1"},
        )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield f"{url}/v1", str(folder / "model"), folder / "log"
    finally:
        process.terminate()
        process.wait(30)


TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %} The rating is"


def requests_in(log):
    return log.read_text().count('"POST /v1/')


@contextmanager
def templated(model):
    before = model.tokenizer.chat_template
    model.tokenizer.chat_template = TEMPLATE
    try:
        yield model
    finally:
        model.tokenizer.chat_template = before


def test_a_real_server_answers_as_the_local_model_does(served, toponym, cities):
    url, name, log = served
    asked = gi.geollm.prompts(
        cities[:2], task="Population Density", context=gi.geollm.Gazetteer(min_population=15000)
    )
    run = {"method": "greedy", "max_new_tokens": 8}
    chat = gi.geollm.Server(url, name, key=None)
    completions = gi.geollm.Server(url, name, key=None, endpoint="completions")
    remote, plain = chat.predict(asked, **run), completions.predict(asked, **run)
    with templated(toponym):
        local = gi.geollm.predict(toponym, asked, chat=gi.geollm.Chat(), **run)
    pd.testing.assert_frame_equal(remote, local)
    pd.testing.assert_frame_equal(plain, gi.geollm.predict(toponym, asked, **run))
    assert remote["text"].nunique() > 1
    assert not remote["text"].equals(plain["text"])
    assert requests_in(log) >= 4
    for server in (chat, completions):
        with pytest.raises(InputError, match="the endpoint gives no log-probabilities; method='g"):
            server.predict(asked[:1])


def test_a_real_server_is_not_asked_twice_by_a_client_that_was_killed(served, tmp_path):
    url, name, log = served
    asked = pd.Series([f"Place number {i} is near" for i in range(16)])
    asked.to_json(tmp_path / "prompts.json")
    arguments = (url, name, "", tmp_path / "journal", "completions", 1, "greedy")
    client = start_client(*arguments, tmp_path / "prompts.json", tmp_path / "log")
    server = gi.geollm.Server(
        url, name, key=None, endpoint="completions", journal=tmp_path / "journal"
    )
    try:
        deadline = time.monotonic() + 60
        while server.estimate(asked, method="greedy").requests > 12:
            assert client.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        client.send_signal(signal.SIGKILL)
        client.wait()
    # the one that was on its way
    deadline = time.monotonic() + 30
    left = server.estimate(asked, method="greedy").requests
    while requests_in(log) < len(asked) - left and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    before = requests_in(log)
    assert 0 < left <= 12
    ratings = server.predict(asked, method="greedy")
    assert requests_in(log) - before == left
    again = server.predict(asked, method="greedy")
    assert requests_in(log) - before == left
    pd.testing.assert_frame_equal(ratings, again)
    assert (ratings["text"] != "").all()


def test_a_journal_takes_answers_from_many_at_a_time(tmp_path):
    def write(journal, start):
        for i in range(start, 200, 4):
            journal.put(f"n{i}", {"i": i})

    with Journal(tmp_path / "journal") as one, Journal(tmp_path / "journal") as other:
        threads = [
            threading.Thread(target=write, args=(journal, start))
            for start, journal in enumerate([one, other, one, other])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [one.get(f"n{i}") for i in range(200)] == [{"i": i} for i in range(200)]
        assert other.get("n200") is None
