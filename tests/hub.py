"""A hub on loopback, and a process that has no other."""

import hashlib
import json
import re
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from urllib.parse import quote, unquote

import pytest


def commit(repository, revision):
    """The commit that a revision of a repository is at."""
    return hashlib.sha1(f"{repository}@{revision}".encode()).hexdigest()


class Hub:
    """Serves ``root/owner/name/revision/file`` as the Hugging Face Hub does its files.

    Weights lie behind a redirect there, as here.
    """

    def __init__(self, root):
        self.root = root
        self.asked = []
        self.breaks_off = False
        self.gated = set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                hub.asked.append(self.path)
                hub._answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self._handler = Handler
        self._port = 0
        self.start()

    def start(self):
        # a port once given is kept: clients know the hub by it
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler)
        self._server.daemon_threads = True
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def gone(self):
        self.stop()
        try:
            yield
        finally:
            self.start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self._port}"

    def _answer(self, request):
        path = unquote(request.path.split("?")[0]).removeprefix("/")
        if path.startswith("cdn/"):
            return self._send(request, (self.root / path.removeprefix("cdn/")).read_bytes())
        asked = re.fullmatch(r"(?:api/models/)?([^/]+/[^/]+)(?:/(\w+)/([^/]+)(?:/(.*))?)?", path)
        if asked is None or not (self.root / asked[1]).is_dir():
            return self._refuse(request, "RepoNotFound", 401)
        repository, verb, revision, file = asked.groups()
        if repository in self.gated:
            return self._refuse(request, "GatedRepo", 403)
        names = [folder.name for folder in (self.root / repository).iterdir()]
        of_commit = {commit(repository, name): name for name in names}
        revision = of_commit.get(revision, revision or "main")
        if revision not in names:
            return self._refuse(request, "RevisionNotFound")
        sha = commit(repository, revision)
        folder = self.root / repository / revision
        files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
        if verb == "resolve":
            if file not in files:
                return self._refuse(request, "EntryNotFound", **{"X-Repo-Commit": sha})
            content = files[file].read_bytes()
            about = {"X-Repo-Commit": sha, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
            if not file.endswith((".safetensors", ".npz")):
                return self._send(request, content, **about)
            about |= {"X-Linked-ETag": about["ETag"], "X-Linked-Size": str(len(content))}
            # another host: the client does not follow it when it asks for the headers
            behind = quote(f"cdn/{repository}/{revision}/{file}")
            about["Location"] = f"http://localhost:{self._port}/{behind}"
            return self._send(request, b"", 302, **about)
        if verb == "tree":
            inside = {k: p for k, p in files.items() if k.startswith(f"{file or ''}")}
            if not inside:
                return self._refuse(request, "EntryNotFound")
            tree = [
                {"type": "file", "path": k, "size": p.stat().st_size, "oid": "0" * 40}
                for k, p in inside.items()
            ]
            return self._send(request, json.dumps(tree).encode())
        about = {"id": repository, "sha": sha, "siblings": [{"rfilename": k} for k in files]}
        return self._send(request, json.dumps(about).encode())

    def _refuse(self, request, code, status=404, **headers):
        self._send(request, b"", status, **{"X-Error-Code": code}, **headers)

    def _send(self, request, content, status=200, **headers):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if wanted and status == 200:
            content, status = content[int(wanted[1]) : int(wanted[2]) + 1], 206
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(content[: len(content) // 2] if self.breaks_off else content)


_waits = []


def _hurry():
    # a client that meets no hub asks six times, and waits for longer each time
    time.sleep = _waits.append


def waits():
    """How long the process would have waited since it was last asked, in seconds."""
    found = sum(_waits)
    _waits.clear()
    return found


@contextmanager
def process(hub, home):
    """A process of its own, since the client reads where its hub is when it is imported."""
    settings = {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_hurry) as pool:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN"):
                patch.delenv(name, raising=False)
            for name, value in settings.items():
                patch.setenv(name, value)
            # the process is started now
            pool.submit(int).result()
        yield lambda function, *args, **options: pool.submit(function, *args, **options).result()


def read_sae(acts, *args, **options):
    """What the library's autoencoder makes of activations: features, and the vectors of them."""
    import torch

    import geointerp as gi

    sae = gi.saes.load(*args, **options)
    with torch.no_grad():
        output = sae(torch.from_numpy(acts.values)).numpy()
    return gi.saes.encode(sae, acts).X.toarray(), output


def read_sae_as_peer(acts, *args):
    """The same of sae-lens alone."""
    import torch
    from sae_lens import SAE

    sae = SAE.from_pretrained(*args)
    values = torch.from_numpy(acts.values)
    with torch.no_grad():
        return sae.encode(values).numpy(), sae(values).numpy()


def capture(out, places, *args, **options):
    """A model's revision and the card of its activations."""
    import geointerp as gi

    model = gi.models.load(*args, device="cpu", **options)
    gi.activations.capture(model, places, out=out)
    return model.revision, gi.cards.read(out)["made by"]
