"""Loopback endpoints for tests: scripted ones, and ones that speak from a known distribution."""

import http.server
import json
import math
import threading
import time
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import NamedTuple


class Request(NamedTuple):
    """What a server's log holds of a request."""

    time: float
    path: str
    authorization: str | None
    body: dict
    headers: Mapping = MappingProxyType({})

    @property
    def prompt(self):
        messages = self.body.get("messages")
        return messages[0]["content"] if messages else self.body["prompt"]


class Reply(NamedTuple):
    """What a server sends: `claims` is the length that it announces, if not the true one."""

    raw: bytes
    status: int = 200
    headers: tuple = ()
    claims: int | None = None


def say(text, **choice):
    """A good answer."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "text": text, "finish_reason": "stop", **choice}
    return Reply(json.dumps({"object": "chat.completion", "choices": [choice]}).encode())


def fail(status, *, wait=None, said="busy"):
    """An answer with an error status."""
    headers = () if wait is None else (("Retry-After", str(wait)),)
    return Reply(json.dumps({"error": {"message": said}}).encode(), status, headers)


@contextmanager
def serving(answer):
    """Serve `answer`, a function of a Request that returns a Reply, or None to hang up.

    Yields the url and the log, to which requests are added as they arrive.
    """
    log = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self):
            now = time.monotonic()
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = self.headers.get("Authorization")
            request = Request(now, self.path, key, body, dict(self.headers))
            log.append(request)
            reply = answer(request)
            self.close_connection = reply is None or reply.claims is not None
            if reply is None:
                return
            self.send_response(reply.status)
            for header, value in reply.headers:
                self.send_header(header, value)
            length = len(reply.raw) if reply.claims is None else reply.claims
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(reply.raw)

        def handle(self):
            # by a client that was killed
            with suppress(ConnectionError):
                super().handle()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", log
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Speaker:
    """A language model with a known distribution over what comes after any prompt.

    Parameters
    ----------
    texts : dict of str to float
        Whole answers and their probabilities.
    split : callable
        An answer's tokens.
    style : {"chat", "legacy", "content"}
        How log-probabilities are written.
    prefills : bool
        Whether a chat goes on with an assistant's message.
    """

    def __init__(self, texts, split, style, *, prefills=True):
        self.answers = [(split(text), p) for text, p in texts.items()]
        self.style, self.prefills = style, prefills

    def __call__(self, request):
        body = request.body
        if self.style == "chat":
            begun = "".join(m["content"] for m in body["messages"][1:]) if self.prefills else ""
            top = body["top_logprobs"]
        else:
            begun, top = body["prompt"].split("PROMPT", 1)[1], body["logprobs"]
        steps = []
        for _ in range(body["max_tokens"]):
            after = self.after(begun)
            if not after:
                break
            ranked = sorted(after.items(), key=lambda one: -one[1])
            steps.append((ranked[0][0], [(t, math.log(p)) for t, p in ranked[:top]]))
            begun += ranked[0][0]
        return say("".join(token for token, _ in steps), logprobs=self.write(steps))

    def after(self, begun):
        """Tokens that come after a beginning, or what is left of one in which it ends."""
        found = {}
        for tokens, p in self.answers:
            for i in range(len(tokens)):
                before, whole = "".join(tokens[:i]), "".join(tokens[: i + 1])
                if before == begun or (before < begun < whole and whole.startswith(begun)):
                    after = whole[len(begun) :]
                    found[after] = found.get(after, 0) + p
        total = sum(found.values())
        return {token: p / total for token, p in found.items()}

    def write(self, steps):
        if self.style == "legacy":
            return {
                "tokens": [token for token, _ in steps],
                "token_logprobs": [top[0][1] for _, top in steps],
                "top_logprobs": [dict(top) for _, top in steps],
            }
        return {
            "content": [
                {
                    "token": token,
                    "logprob": top[0][1],
                    "top_logprobs": [{"token": t, "logprob": p} for t, p in top],
                }
                for token, top in steps
            ]
        }
