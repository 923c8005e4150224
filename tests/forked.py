"""Processes forked from one that has imported what is heavy: however many, they import it once.

What they do stands here, as they import this file anew.
"""

import logging
import multiprocessing
import os
import socket
import time

_FORKSERVER = multiprocessing.get_context("forkserver")
_HEAVY = [
    "accelerate",
    "geopandas",
    "sae_lens",
    "transformers.models.llama.modeling_llama",
    "xarray",
    "zarr",
]


class Started:
    """Processes that do the same work; ``processes`` of them as torchrun would start them."""

    def __init__(self, work, *arguments, processes=1, log):
        _FORKSERVER.set_forkserver_preload(_HEAVY)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        self._log = log
        self._all = []
        for rank in map(str, range(processes)):
            launched = {"WORLD_SIZE": str(processes), "RANK": rank, "LOCAL_RANK": rank}
            launched |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            given = (launched if processes > 1 else {}, log, work, arguments)
            self._all.append(_FORKSERVER.Process(target=_do, args=given))
        for process in self._all:
            process.start()

    def kill(self):
        for process in self._all:
            process.kill()
        for process in self._all:
            process.join()

    def end(self):
        for process in self._all:
            process.join()
        assert [process.exitcode for process in self._all] == [0] * len(self._all), self._said()

    def until(self, seen):
        """The time at which something was seen, or the end of the work."""
        while not seen() and any(process.is_alive() for process in self._all):
            time.sleep(0.001)
        assert seen(), self._said()
        return time.monotonic()

    def _said(self):
        return self._log.read_text()


def _do(launched, log, work, arguments):
    import torch

    os.environ.update(launched)
    torch.set_num_threads(1)
    logging.basicConfig(filename=log, level="WARNING")
    try:
        work(*arguments)
    except BaseException:
        logging.exception("it broke off")
        raise


def capture(places, out):
    import geointerp as gi
    from geointerp import activations

    activations._BLOCK_BYTES = 1
    gi.activations.capture(gi.models.load("toponym", device="cpu"), places, out=out)


def capture_and_tell(places, out, told):
    """Each block that is written, in a file of each process."""
    from geointerp import store

    write = store.Store.write

    def tell(filled, block, values):
        with (told / str(os.getpid())).open("a") as file:
            file.write(f"{block.number}\n")
        write(filled, block, values)

    store.Store.write = tell
    capture(places, out)


def train(out, steps):
    import numpy as np

    import geointerp as gi
    from geointerp.saes import training

    training._CHECKPOINT = 50
    values = np.random.default_rng(0).normal(size=(3000, 16)).astype(np.float32)
    gi.saes.train(values, width=64, k=4, steps=steps, batch=256, out=out)


def sweep(out):
    import numpy as np

    import geointerp as gi

    random = np.random.default_rng(0)
    values = random.normal(size=(600, 16)) @ random.normal(size=(16, 16))
    gi.saes.sweep(
        values.astype(np.float32),
        architectures=["topk", "batchtopk", "standard"],
        widths=[32],
        ks=[4],
        steps=30,
        batch=101,
        out=out,
    )
    assert gi.saes.train(values, width=8, k=2, steps=2).cfg.d_sae == 8
