"""Servers: ratings from a language model behind any OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from geointerp.errors import InputError
from geointerp.geollm.ratings import methods
from geointerp.geollm.ratings.answers import end, read_ratings
from geointerp.geollm.ratings.encoding import texts_of
from geointerp.geollm.ratings.scale import RATINGS, WORDS
from geointerp.geollm.server import costs, logprobs, wire
from geointerp.geollm.server.asking import Asker, Pace, key_of
from geointerp.geollm.server.costs import Estimate
from geointerp.geollm.server.logprobs import Seen, Step
from geointerp.geollm.web import replies
from geointerp.geollm.web.journal import Journal
from geointerp.progress import track

T = TypeVar("T")


class Server:
    """A language model behind an OpenAI-compatible endpoint.

    vLLM, llama.cpp, `transformers serve`, or a commercial one. Nothing goes over the
    network before `predict` or `distribution` is called.

    Parameters
    ----------
    url : str
        Up to and with "/v1", such as ``"http://localhost:8000/v1"``.
    model : str
        As the server calls it.
    key : str, optional
        The name of the environment variable that holds the key. The key itself is read when
        a run starts, goes into the Authorization header and nowhere else. None sends none.
    endpoint : {"chat", "completions"}
        "chat" sends the prompt as a user's message, "completions" as text to go on with.
    concurrency : int
        Requests on their way at a time.
    per_minute : float, optional
        Requests, retries among them, start at least 60 / `per_minute` seconds apart; the first
        waits as long, so that this holds over a restart. The limit is this object's: two
        objects, or two processes, keep two.
    journal : path-like, optional
        A SQLite file in which answers are kept as they come, and looked up before anything is
        asked. What decides an answer decides whether it is found: url, endpoint, model, prompt,
        method, options, seed and number of the sample. If not given, answers are kept as long
        as this object is.
    top : int
        Log-probabilities asked for at each token. vLLM and OpenAI's chat give 20 at most,
        OpenAI's completions 5; a server refuses more than it has.
    continues : bool
        Whether a chat goes on with an assistant's message that is left open, as vLLM's and
        llama.cpp's do (OpenAI's does not). It is tested on the first prompt, in one request.
    echoes : bool
        Whether completions give the log-probabilities of the prompt itself (``echo``), as
        vLLM's do. Then every rating is scored exactly.
    timeout : float
        Seconds that one request may take.
    extra : mapping, optional
        More fields for every request, such as ``{"reasoning_effort": "low"}``; None takes one
        away: ``{"max_tokens": None, "max_completion_tokens": 16}``.

    Raises
    ------
    InputError
        A url that is none, or holds a password; numbers out of range; options that do not go
        together; an extra that JSON cannot hold.

    Notes
    -----
    Answers 408, 409, 425, 429 and 5xx, timeouts, cut connections and answers that are no
    answers are tried again, seven times in all, 1 to 2 s later and then twice as long each time;
    Retry-After is honoured, by all requests together, where it is longer. A request that still
    has no answer ends the run in one sentence, as does a rest of more than ten minutes; what was
    answered is in the journal, and the same call goes on from there. So does a run that was
    killed: only requests that were on their way are asked again. Rows with equal prompts share
    their answers.

    "completions" leaves white space at the end of a prompt off and counts it as the rating's
    own, since many tokenizers merge it with the digit that follows; an echo needs no such care.

    How the distribution over ratings is had:

    - ``endpoint="completions", echoes=True``: one request a prompt holds its hundred texts, and
      each rating is scored as `geollm.distribution` does it.
    - ``endpoint="completions"`` or ``continues=True``: the beginnings of ratings are followed
      token by token through the `top` log-probabilities, in 1 request a prompt for tokenizers
      that keep ratings whole, and mostly 10 for those that split digits: one for each beginning
      that is not on the way of an answer before, 21 at most, one more for each character of
      white space at the prompt's end, or 42 over a chat, which may put a space first.
    - ``endpoint="chat"`` alone: one request a prompt. A tokenizer that splits "7.3" then shows
      the decimals of one first digit only.

    What such a walk did not see is never taken for nothing. `mass` is the probability that was
    seen on ratings, `unseen` that of tokens and beginnings which were not told and might be
    ratings, and the expectation can be off by `unseen` / (`mass` + `unseen`) times the farther
    end of the scale. Where that is more than 0.1 there is no rating, but a reason.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = "OPENAI_API_KEY",
        endpoint: str = "chat",
        concurrency: int = 4,
        per_minute: float | None = None,
        journal: str | Path | None = None,
        top: int = 20,
        continues: bool = False,
        echoes: bool = False,
        timeout: float = 120.0,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.url, self.model, self.key = wire.checked_url(url), model, key
        if endpoint not in ("chat", "completions"):
            raise InputError(f"endpoint is {endpoint!r}; it must be 'chat' or 'completions'.")
        if continues and endpoint != "chat":
            raise InputError("continues is for endpoint='chat'; completions always go on.")
        if echoes and endpoint != "completions":
            raise InputError("echoes is for endpoint='completions'; a chat does not echo.")
        replies.check_timeout(timeout)
        for what, value in {"concurrency": concurrency, "top": top}.items():
            if not value > 0:
                raise InputError(f"{what} is {value}; it must be more than 0.")
        if per_minute is not None and not per_minute > 0:
            raise InputError(f"per_minute is {per_minute}; it must be more than 0, or None.")
        self.endpoint, self.concurrency, self.journal = endpoint, concurrency, journal
        self.top, self.continues, self.echoes = top, continues, echoes
        self.timeout, self.extra = timeout, wire.checked_extra(extra)
        self._pace = Pace(per_minute)
        self._memory = Journal()

    def __repr__(self) -> str:
        return f"Server({self.url!r}, {self.model!r}, endpoint={self.endpoint!r})"

    def check_key(self) -> None:
        """Refuse a key that the environment does not hold, before any work is done.

        Raises
        ------
        InputError
            No such variable, or one that holds no key.
        """
        key_of(self.key, self.url)

    def predict(
        self,
        prompts: pd.DataFrame | pd.Series,
        *,
        method: str = "expectation",
        samples: int = 5,
        temperature: float = 1.0,
        max_new_tokens: int = 32,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Have the model rate every prompt.

        Parameters
        ----------
        prompts : DataFrame or Series
            A DataFrame with a column `prompt`, or the prompts themselves.
        method : {"expectation", "mode", "greedy", "sample"}
            "expectation" and "mode" need log-probabilities; "greedy" reads the rating out of
            one text, "sample" out of several.
        samples : int
            Texts a prompt, for "sample".
        temperature : float
            Of "sample".
        max_new_tokens : int
            Length of a text.
        seed : int
            Sent with every sample, mixed with its number; a server may ignore it. It always
            decides which answers of the journal are this run's.

        Returns
        -------
        DataFrame
            On the prompts' index, as `geollm.predict` gives it, with two more columns for
            "expectation" and "mode": `unseen`, and `reason`, why there is no rating, or "".

        Raises
        ------
        InputError
            As the class says; an endpoint that gives no log-probabilities; a prompt that is
            empty or missing; a key that is not in the environment; a journal that is none.
        """
        methods.check(
            method,
            samples=samples,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            seed=seed,
        )
        texts = texts_of(prompts)
        if method in methods.SCORED:
            return logprobs.table(self._seen(texts), texts.index, method=method)
        requests_of = partial(self._requests, method, samples, temperature, max_new_tokens, seed)
        wanted = {text: requests_of(text) for text in texts.unique()}
        with self._asker() as asker:
            tasks = {
                (text, number): partial(asker.ask, body, wire.read_text, draw=draw)
                for text, requests in wanted.items()
                for number, (body, draw) in enumerate(requests)
            }
            found = self._gather(asker, tasks, texts)
        # a model that completes text goes on with the next prompt of its own making
        cut = {name: text[: end(text)] for name, text in found.items()}
        rows = [[cut[text, number] for number in range(len(wanted[text]))] for text in texts]
        said = pd.Series(rows, index=texts.index, dtype=object)
        table = read_ratings(said)
        table.insert(1, "text", [text for (text,) in said] if method == "greedy" else said)
        return table

    def distribution(self, prompts: pd.DataFrame | pd.Series) -> pd.DataFrame:
        """The probability of every rating from 0.0 to 9.9, as far as the endpoint shows it.

        Parameters
        ----------
        prompts : DataFrame or Series
            A DataFrame with a column `prompt`, or the prompts themselves.

        Returns
        -------
        DataFrame of float64, shape (n, 100)
            On the prompts' index, with the columns 0.0, 0.1, … 9.9; a row sums to 1, or is NaN
            where `predict` gives no expectation.

        Raises
        ------
        InputError
            As `predict`.
        """
        texts = texts_of(prompts)
        found = self._seen(texts)
        known = logprobs.table(found, texts.index)["rating"].notna()
        values = np.array([one.ratings for one in found]).reshape(len(found), len(RATINGS))
        shares = pd.DataFrame(values, index=texts.index, columns=RATINGS)
        return shares.div(shares.sum(axis=1), axis=0).where(known, axis=0)

    def estimate(
        self,
        prompts: pd.DataFrame | pd.Series,
        *,
        method: str = "expectation",
        samples: int = 5,
        temperature: float = 1.0,
        max_new_tokens: int = 32,
        seed: int = 0,
        tokenizer: Any = None,
        prices: tuple[float, float] | None = None,
    ) -> Estimate:
        """What `predict` with the same arguments would still ask for; nothing is asked.

        Parameters
        ----------
        prompts, method, samples, temperature, max_new_tokens, seed
            As for `predict`.
        tokenizer : transformers tokenizer, optional
            The model's, to count tokens with; else four characters are taken for one, which
            is too few for scripts other than Latin.
        prices : (float, float), optional
            Of a million prompt tokens and of a million completion tokens. None are known here.

        Returns
        -------
        Estimate
            Of a walk, at most: a request for each beginning of a rating.

        Raises
        ------
        InputError
            As `predict`, but for the server's part; prices that are not two numbers from 0 on.
        """
        methods.check(
            method,
            samples=samples,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            seed=seed,
        )
        new = self.journal is not None and not Path(self.journal).exists()
        unique = texts_of(prompts).unique()
        # an estimate leaves no file behind
        with Journal() if new else self._answers() as answers:
            if method not in methods.SCORED:
                of = partial(self._requests, method, samples, temperature, max_new_tokens, seed)
                asked = [(text, self._left(answers, of(text))) for text in unique]
                texts, length = 1, max_new_tokens
            elif self.echoes:
                echo = self._api.echo
                asked = [(t + WORDS[0], self._left(answers, [(echo(t), 0)])) for t in unique]
                texts, length = len(WORDS), 0
            else:
                begun = WORDS[0][:2] if self._goes_on else ""
                asked = [
                    (
                        text + begun,
                        self._left_to_walk(answers, text, probes=self.continues and not i),
                    )
                    for i, text in enumerate(unique)
                ]
                texts, length = 1, wire.STEPS
        return costs.estimate(asked, texts=texts, length=length, tokenizer=tokenizer, prices=prices)

    def _left(self, answers: Journal, requests: list[tuple[wire.Body, int]]) -> int:
        """How many requests have no answer yet."""
        return sum(answers.get(self._api.name(*request)) is None for request in requests)

    def _left_to_walk(self, answers: Journal, text: str, *, probes: bool) -> int:
        """How many requests a prompt's walk, and the probe before it, have yet to make at most."""

        def ask(beginning: str) -> list[Step]:
            kept = answers.get(self._api.name(self._api.step(text, beginning)))
            if kept is None:
                raise LookupError
            return [Step(*step) for step in kept]

        spelling = self._api.spelling(text)
        try:
            if probes:
                logprobs.probe(ask, spelling)
            logprobs.walk(ask, spelling, on=self._goes_on)
        except LookupError:
            # each is asked about a beginning, and never twice about one
            return spelling.beginnings if self._goes_on else 1
        return 0

    @property
    def _api(self) -> wire.Api:
        path = "chat/completions" if self.endpoint == "chat" else "completions"
        return wire.Api(self.url, path, self.model, self.top, self.extra)

    @property
    def _goes_on(self) -> bool:
        return self.continues or self.endpoint == "completions"

    def _requests(
        self, method: str, samples: int, temperature: float, length: int, seed: int, text: str
    ) -> list[tuple[wire.Body, int]]:
        """The requests for one prompt's texts, each with what tells it from its like.

        `extra` may take the seed away, which decides all the same which answers are meant.
        """
        write = partial(self._api.text, text, length=length)
        if method == "greedy":
            return [(write(temperature=0.0), 0)]
        draws = [wire.mixed(seed, number) for number in range(samples)]
        return [(write(temperature=temperature, seed=draw), draw) for draw in draws]

    def _seen(self, texts: pd.Series) -> list[Seen]:
        """What of every prompt's distribution the endpoint shows."""
        unique = texts.unique()
        with self._asker() as asker:
            if self.continues and len(unique):
                self._check_continues(asker, unique[0])
            see = self._scored if self.echoes else self._walk
            tasks = {(text, 0): partial(see, asker, text) for text in unique}
            found = self._gather(asker, tasks, texts)
        return [found[text, 0] for text in texts]

    def _scored(self, asker: Asker, text: str) -> Seen:
        scores = asker.ask(self._api.echo(text), wire.read_echo)
        return Seen(np.exp(scores), 0.0)

    def _walk(self, asker: Asker, text: str) -> Seen:
        ask = partial(self._steps, asker, text)
        return logprobs.walk(ask, self._api.spelling(text), on=self._goes_on)

    def _steps(self, asker: Asker, text: str, beginning: str) -> list[Step]:
        steps = asker.ask(self._api.step(text, beginning), wire.read_steps)
        return [Step(*step) for step in steps]

    def _check_continues(self, asker: Asker, text: str) -> None:
        """A chat that begins anew would give probabilities of something else."""
        begun = logprobs.probe(partial(self._steps, asker, text), self._api.spelling(text))
        if begun is not None:
            raise InputError(
                f"{self.url}: the chat does not go on with {begun!r} as an assistant's message "
                "left open; leave continues=False."
            )

    def _answers(self) -> AbstractContextManager[Journal]:
        return nullcontext(self._memory) if self.journal is None else Journal(self.journal)

    @contextmanager
    def _asker(self) -> Iterator[Asker]:
        with (
            self._answers() as answers,
            Asker(self._api, self.key, self._pace, answers, timeout=self.timeout) as asker,
        ):
            yield asker

    def _gather(
        self, asker: Asker, tasks: Mapping[tuple[str, int], Callable[[], T]], texts: pd.Series
    ) -> dict[tuple[str, int], T]:
        """Do all tasks, so many at a time; an error ends those that have not begun."""
        failed: list[tuple[str, BaseException]] = []

        def done_or_stopped(text: str, task: Callable[[], T]) -> T:
            try:
                return task()
            except BaseException as error:
                failed.append((text, error))
                # here, or this worker's next task begins before anybody looks
                asker.stop.set()
                raise

        with ThreadPoolExecutor(self.concurrency) as pool:
            futures = {
                pool.submit(done_or_stopped, name[0], task): name for name, task in tasks.items()
            }
            try:
                done = as_completed(futures)
                for future in track(done, f"asking {self.model}", total=len(futures)):
                    future.result()
            except BaseException:
                asker.stop.set()
                pool.shutdown(cancel_futures=True)
                if not (failed and isinstance(failed[0][1], InputError)):
                    raise
                text, first = failed[0]
                row = texts.index[texts == text][0]
                raise InputError(f"prompts: row {row!r}: {first}") from None
        return {name: future.result() for future, name in futures.items()}
