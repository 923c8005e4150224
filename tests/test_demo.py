import hashlib
import os
import subprocess
import sys

import pytest


@pytest.mark.long
def test_the_same_bytes_whatever_the_number_of_threads(tmp_path):
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "geointerp", "demo", "--out", str(tmp_path / threads)],
            env=os.environ | {"OMP_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            stdout=subprocess.DEVNULL,
        )
        for threads in ("1", "2")
    ]
    assert [process.wait() for process in running] == [0, 0]
    one, other = (
        {
            str(path.relative_to(tmp_path / threads)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (tmp_path / threads).rglob("*")
            if path.is_file()
        }
        for threads in ("1", "2")
    )
    assert {"figures.json", "atlas/index.html", "sae/sae_weights.safetensors"} <= set(one)
    assert one == other
