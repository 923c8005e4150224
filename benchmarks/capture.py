"""What does a capture cost over the forward pass itself, and what do its peers cost?

One vector per layer for prompts "{name}, {country} is near", from a model with random weights: of
the last token of the placename, or of the prompt. Each way to read them is in capture_ways.py: its
peers both as their documentation shows them and at their best. All are first seen to give the same
vectors, then timed in interleaved rounds; peak memory is that of a process of its own, above what
it holds with the model loaded and used once. Writes benchmarks/results/capture.md.

    pip install ".[bench]"
    python benchmarks/capture.py --model gpt2-small --places 1000 --rounds 5
"""

import json
import os
import subprocess
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import torch
from capture_ways import Task, bare, captured, plain_loop, run_with_cache, trace
from jsonargparse import auto_cli

MODELS = {"gpt2-small": "12 layers × 768, as GPT-2", "1b": "16 layers × 2048, as Llama 3.2 1B"}
POOLS = {"last": "the placename's last token", "prompt_last": "the prompt's last token"}
RESULTS = Path(__file__).parent / "results" / "capture.md"
BARE = "bare forward pass"
DISK = "capture, all layers, to disk"
MIDDLE = "capture, one middle layer, to disk"
METHODS = {
    BARE: bare,
    DISK: captured,
    MIDDLE: lambda task: captured(task, layers=task.model.depth // 2),
    "TransformerLens `run_with_cache`": run_with_cache,
    "TransformerLens at its best": partial(run_with_cache, best=True),
    "nnsight `trace`": trace,
    "nnsight at its best": partial(trace, best=True),
    "`output_hidden_states=True`": plain_loop,
    "the same at its best": partial(plain_loop, best=True),
}


def check(task: Task) -> dict[str, float]:
    """The greatest relative difference of each method's vectors from those of the plain loop."""
    whole, found = plain_loop(task), {}
    for name, method in METHODS.items():
        if name == BARE:
            continue
        values = np.asarray(method(task))
        wanted = whole[:, [task.model.depth // 2]] if name == MIDDLE else whole
        if values.shape[1] > 1:  # the last of transformers' states comes after the final norm
            values, wanted = values[:, :-1], wanted[:, :-1]
        far = np.linalg.norm(values - wanted, axis=2) / np.linalg.norm(wanted, axis=2)
        found[name] = float(far.max())
        if not found[name] <= (1e-4 if task.dtype == "float32" else 5e-2):
            raise SystemExit(f"{name}: its vectors differ by {found[name]:.1e}; nothing is timed.")
    return found


def timings(task: Task, rounds: int) -> dict[str, list[float]]:
    """Seconds by method and round; each round in an order of its own."""
    found = {name: [] for name in METHODS}
    for number in range(rounds):
        for name in np.random.default_rng(number).permutation(list(METHODS)):
            task.folder.cleanup()
            Path(task.folder.name).mkdir()
            start = time.perf_counter()
            METHODS[name](task)
            found[name].append(time.perf_counter() - start)
            print(f"{number + 1}/{rounds} {name}: {found[name][-1]:.1f} s", file=sys.stderr)
    return found


def peak(task: Task, name: str) -> float:
    """MiB above what this process holds after a first use, at the most: a GPU's, or main memory."""
    METHODS[name](task.of(32))
    if name == BARE:
        task.prepared  # noqa: B018
    if task.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        METHODS[name](task)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = status("VmRSS")
    kept = METHODS[name](task)
    found = status("VmHWM") - before
    del kept
    return found


def status(key: str) -> float:
    """MiB, by the kernel's own count."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def peak_elsewhere(name: str, setting: dict[str, object]) -> float:
    """The same in a process of its own."""
    command = [sys.executable, __file__, f"--memory_of={name}"]
    command += [f"--{key}={value}" for key, value in setting.items()]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def section(setting: dict, rounds: int) -> str:
    """Measure one model and pool."""
    task = Task(**setting)
    with torch.inference_mode():
        differences, taken = check(task), timings(task, rounds)
    n = len(task.places)
    del task
    lines = [
        f"{n} prompts, {setting['dtype']}, up to {setting['batch_tokens']} tokens at once, "
        f"medians of {rounds} rounds.",
        "",
        "| | prompts/s | times bare | peak memory, MiB | differs by |",
        "|---|--:|--:|--:|--:|",
    ]
    for name in METHODS:
        ratios = [b / own for b, own in zip(taken[BARE], taken[name], strict=True)]
        lines.append(
            f"| {name} | {n / median(taken[name]):.1f} | {median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) | {peak_elsewhere(name, setting):.0f} | "
            + (f"{differences[name]:.0e} |" if name in differences else "|")
        )
    return "\n".join(lines)


def growth(setting: dict, counts: list[int]) -> str:
    """Peak memory of a capture by the number of places."""
    lines = ["| places | peak memory, MiB |", "|--:|--:|"]
    for count in counts:
        lines.append(f"| {count} | {peak_elsewhere(DISK, setting | {'places': count}):.0f} |")
    return "\n".join(lines)


def machine(device: str) -> str:
    """What it was measured on and with."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(": ")[1] for line in info if line.startswith("model name")), "CPU")
    parts = [f"{cpu}, {torch.get_num_threads()} threads of {os.cpu_count()}"]
    parts += [torch.cuda.get_device_name()] if device == "cuda" else []
    tools = ("torch", "transformers", "transformer-lens", "nnsight")
    return ", ".join(parts + [f"{tool} {version(tool)}" for tool in tools])


def main(
    model: str = "all",
    places: int = 1000,
    rounds: int = 5,
    device: str | None = None,
    dtype: str = "float32",
    pool: str = "all",
    batch_tokens: int | None = None,
    memory_of: str | None = None,
) -> None:
    """Measure, and write the tables.

    Args:
        model: gpt2-small, 1b, or all; tables of the other one are kept.
        places: How many prompts.
        rounds: How often each method is timed.
        device: cpu or cuda; if not given, cpu for gpt2-small and cuda for 1b.
        dtype: float32, bfloat16 or float16.
        pool: last (of the placename), prompt_last, or all.
        batch_tokens: At once, for every method; if not given, 1024 on a CPU, 8192 on a GPU.
        memory_of: Only print the peak memory of this method, as JSON.
    """
    text = RESULTS.read_text("utf-8") if RESULTS.exists() else ""
    found = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    for kind, about in MODELS.items():
        where = device or ("cpu" if kind == "gpt2-small" else "cuda")
        setting = {"model": kind, "places": places, "device": where, "dtype": dtype}
        setting["batch_tokens"] = batch_tokens or (1024 if where == "cpu" else 8192)
        if memory_of and kind == model:
            with torch.inference_mode():
                print(json.dumps(peak(Task(**setting, pool=pool), memory_of)))
            return
        able = where == "cpu" or torch.cuda.is_available()
        for name, read in POOLS.items():
            title = f"{kind}, {about}: {read}"
            if model in ("all", kind) and pool in ("all", name) and able:
                asked = setting | {"pool": name}
                found[title] = f"\n{machine(where)}.\n{section(asked, rounds)}\n"
                write(found)
            found.setdefault(title, "\nNot measured: no GPU.\n")
        title = f"{kind}: memory by the number of places"
        if model in ("all", kind) and able:
            asked = setting | {"pool": "prompt_last"}
            found[title] = f"\n{growth(asked, [2 * places, 4 * places, 8 * places])}\n"
        found.setdefault(title, "\nNot measured: no GPU.\n")
    write(found)
    print(RESULTS.read_text("utf-8"))


def write(found: dict[str, str]) -> None:
    """Write all sections, those of earlier runs too."""
    head = "# Capture\n\nMade by benchmarks/capture.py, which says what is compared.\n"
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(head + "".join(f"\n## {k}\n{v}" for k, v in found.items()), "utf-8")


if __name__ == "__main__":
    auto_cli(main)
