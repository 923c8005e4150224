"""What does it cost to train a sparse autoencoder, here and by its peers?

A TopK autoencoder on the same activations in the same batches: by this library, by sae-lens's
`SAETrainer.fit()`, by dictionary_learning's `trainSAE()` and by EleutherAI's sparsify, whose
`SparseCoder` is stepped as its Trainer does, since that one reads from language models alone. Each
way is in saes_ways.py; warm-up, decay and revival of dead latents are set alike. Each run is a
process of its own; peak memory is above what it holds before. Learning rates are tried for each,
and the one that explains most of the held-out tenth counts. Adds to benchmarks/results/saes.md.

    pip install --no-deps eai-sparsify dictionary-learning; pip install schedulefree
    python benchmarks/saes.py --acts run/acts.zarr --layer 3 --width 4096 --k 32
"""

import importlib.util
import json
import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import numpy as np
import saes_ways
import torch
from jsonargparse import auto_cli
from saes_ways import Task

RESULTS = Path(__file__).parent / "results"
WAYS = {
    "geointerp": "geointerp",
    "sae_lens": "sae-lens, SAETrainer.fit()",
    "dictionary_learning": "dictionary_learning, trainSAE()",
    "sparsify": "sparsify, SparseCoder",
    "floor": "the encoder's product alone",
}
PACKAGES = {"sae_lens": "sae-lens", "dictionary_learning": "dictionary-learning"}
PACKAGES |= {"sparsify": "eai-sparsify"}


def activations(acts: str | None, layer: int, places: int, hidden: int) -> np.ndarray:
    """Of a store, or random with scales that fall off; of unit variance about their mean."""
    if acts is not None:
        import geointerp as gi

        values = np.asarray(gi.activations.open(acts).sel(layer=layer), np.float32)
    else:
        random = np.random.default_rng(0)
        scale = 10 ** -np.linspace(0, 2, hidden)
        mixed = random.standard_normal((hidden, hidden)) / np.sqrt(hidden)
        values = (random.standard_normal((places, hidden)) * scale) @ mixed
    # about their mean: where the decoder's bias begins is not what is compared
    values = values - values.mean(0, dtype=np.float64)
    order = np.random.default_rng(0).permutation(len(values))
    return (values / values.std()).astype(np.float32)[order]


def one(
    way: str,
    *,
    acts: str | None,
    layer: int,
    places: int,
    hidden: int,
    width: int,
    k: int,
    batch: int,
    steps: int,
    learning_rate: float,
    device: str,
) -> dict[str, float]:
    """Train once in this process."""
    values = activations(acts, layer, places, hidden)
    held, rest = values[: len(values) // 10], values[len(values) // 10 :]
    method = getattr(saes_ways, way)
    # what is imported and allocated once is not of the training; small, for the peak of memory
    small = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)
    method(Task(small, 32, 4, 16, 4, learning_rate, device))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 1024
    task = Task(rest, width, k, batch, steps, learning_rate, device)
    seconds, reconstruct = method(task)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if device != "cpu":
        peak = torch.cuda.max_memory_allocated() / 1024
    with torch.no_grad():
        inputs = torch.from_numpy(held).to(device)
        missed = (reconstruct(inputs) - inputs).double().square().sum()
        total = (inputs - inputs.mean(0)).double().square().sum()
    return {
        "seconds": seconds,
        "memory": (peak - before) / 1024,
        "explained": 1 - float(missed / total),
    }


def main(
    acts: str | None = None,
    layer: int = 3,
    places: int = 20_000,
    hidden: int = 2048,
    width: int = 4096,
    k: int = 32,
    batch: int = 1024,
    steps: int = 500,
    rates: list[float] = [4e-3, 1e-3, 3e-4],  # noqa: B006
    rounds: int = 2,
    device: str = "cpu",
    only: str | None = None,
    out: str = "saes.md",
) -> None:
    """Measure, and write the table.

    Args:
        acts: A store of activations; random ones if not given.
        layer: Of the store.
        places: Rows of random activations.
        hidden: Columns of random activations.
        width: Number of latents.
        k: Latents active at once.
        batch: Rows of a step.
        steps: Steps.
        rates: Learning rates to be tried.
        rounds: How often the best of them is timed.
        device: cpu or cuda.
        only: One way, in this process; prints what it measured.
        out: Name of the table.
    """
    given = {
        "acts": acts, "layer": layer, "places": places, "hidden": hidden, "width": width, "k": k,
        "batch": batch, "steps": steps, "device": device,
    }  # fmt: skip
    if only is not None:
        print(json.dumps(one(only, **given, learning_rate=rates[0])))
        return

    def run(way: str, rate: float) -> dict[str, float]:
        options = [f"--{name}={value}" for name, value in given.items() if value is not None]
        command = [sys.executable, __file__, *options, f"--only={way}", f"--rates=[{rate}]"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{way}: {done.stderr.strip().splitlines()[-1]}")
        return json.loads(done.stdout.strip().splitlines()[-1])

    best: dict[str, tuple[float, dict[str, float]]] = {}
    ways = [way for way in WAYS if way not in PACKAGES or importlib.util.find_spec(way)]
    for way in ways:
        for rate in rates if way != "floor" else rates[:1]:
            found = run(way, rate)
            print(way, rate, found, flush=True)
            if way not in best or found["explained"] > best[way][1]["explained"]:
                best[way] = rate, found
    timed: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (rate, _) in best.items():
            timed[way].append(run(way, rate))
    middle = {
        way: {name: median(found[name] for found in runs) for name in runs[0]}
        for way, runs in timed.items()
    }
    own = middle["geointerp"]["seconds"]
    shape = (
        f"layer {layer} of {Path(acts).name}, {size(acts)}"
        if acts
        else f"{places:,} random rows × {hidden:,}"
    )
    lines = [
        f"{shape}; width {width:,}, k {k}, batches of {batch:,}, {steps} steps; {machine(device)}, "
        f"{torch.get_num_threads()} thread(s), {versions()}.",
        "",
        "| | seconds | samples/s | times as long as geointerp | peak memory, MiB | held-out "
        "variance explained | learning rate |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for way, found in middle.items():
        explained = f"{found['explained']:.4f}" if way != "floor" else ""
        rate = f"{best[way][0]:g}" if way != "floor" else ""
        lines.append(
            f"| {WAYS[way]} | {found['seconds']:.1f} | {steps * batch / found['seconds']:,.0f} | "
            f"{found['seconds'] / own:.2f} | {found['memory']:.0f} | {explained} | {rate} |"
        )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / out
    head = ["# Sparse autoencoders", "", "Made by benchmarks/saes.py, which says what is compared."]
    before = path.read_text("utf-8") if path.exists() else "\n".join(head) + "\n"
    path.write_text(before + "\n" + "\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines))


def size(acts: str) -> str:
    """How many vectors a store has, and of what length."""
    import geointerp as gi

    sizes = gi.activations.open(acts).sizes
    return f"{sizes['place']:,} × {sizes['hidden']}"


def machine(device: str) -> str:
    """The processor's or the accelerator's name."""
    if device != "cpu":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.split(": ")[1] for line in lines if line.startswith("model name"))
    return f"{os.cpu_count()} × {next(named, platform.machine())}"


def versions() -> str:
    """Of torch and the peers."""
    found = [f"torch {torch.__version__}"]
    for package in PACKAGES.values():
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


if __name__ == "__main__":
    auto_cli(main)
