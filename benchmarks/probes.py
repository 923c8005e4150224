"""What do cross-validated probes of every layer cost, here and by scikit-learn?

Out-of-fold predictions of some targets from every layer, by ridge regression on standardised
features, the penalty chosen within each training set: by `geointerp.probes.crossfit`, by
scikit-learn's GridSearchCV over Ridge with the same inner folds, and by its RidgeCV, which chooses
by leaving out one place at a time. The peers are timed on one layer and their time multiplied; so
is the floor, the products X'X of all layers. How far predictions differ stands beside.
Writes benchmarks/results/probes.md.

    python benchmarks/probes.py --places 20000 --hidden 2048 --layers 12
"""

import os
import time
from pathlib import Path
from statistics import median

import numpy as np
import sklearn
import threadpoolctl
from jsonargparse import auto_cli
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from geointerp.probes import RandomKFold
from geointerp.probes.crossfit import crossfit, plan

RESULTS = Path(__file__).parent / "results" / "probes.md"
ALPHAS = tuple(10.0**power for power in range(-2, 7))


def layer_of(places: int, hidden: int, seed: int) -> np.ndarray:
    """Features whose scales fall off, as a model's do, float32."""
    random = np.random.default_rng(seed)
    scale = 10 ** -np.linspace(0, 2, hidden)
    mixed = random.standard_normal((hidden, hidden)) / np.sqrt(hidden)
    return ((random.standard_normal((places, hidden)) * scale) @ mixed).astype(np.float32)


def by_grid_search(x: np.ndarray, y: np.ndarray, folds: list, label: np.ndarray) -> np.ndarray:
    """scikit-learn, every fit on its own; the other folds try the penalties."""
    found = np.empty_like(y)
    for train, test in folds:
        inner = PredefinedSplit(np.unique(label[train], return_inverse=True)[1])
        model = make_pipeline(StandardScaler(), Ridge())
        search = GridSearchCV(
            model, {"ridge__alpha": ALPHAS}, cv=inner, scoring="neg_mean_squared_error"
        )
        found[test] = search.fit(x[train], y[train]).predict(x[test])
    return found


def by_ridge_cv(x: np.ndarray, y: np.ndarray, folds: list) -> np.ndarray:
    """scikit-learn, one decomposition for all penalties."""
    found = np.empty_like(y)
    for train, test in folds:
        model = make_pipeline(StandardScaler(), RidgeCV(ALPHAS))
        found[test] = model.fit(x[train], y[train]).predict(x[test])
    return found


def seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main(
    places: int = 20_000,
    hidden: int = 2048,
    layers: int = 12,
    targets: int = 3,
    rounds: int = 3,
    peers: bool = True,
    device: str = "cpu",
) -> None:
    """Measure, and write the table.

    Args:
        places: Rows.
        hidden: Columns.
        layers: How many times that.
        targets: Columns to predict.
        rounds: How often this library and the floor are timed.
        peers: Whether scikit-learn is timed.
        device: cpu or cuda, for this library.
    """
    x = layer_of(places, hidden, 0)
    random = np.random.default_rng(1)
    y = x @ random.standard_normal((hidden, targets)) + random.standard_normal((places, targets))
    y = ((y - y.mean(0)) / y.std(0)).astype(np.float64)
    folds = list(RandomKFold(5, seed=0).split(x))
    label = np.empty(places, int)
    for k, (_, test) in enumerate(folds):
        label[test] = k
    # squared errors as they are, as GridSearchCV counts them
    hows = {p: plan(ALPHAS, y, relative=False, products=p, device=device) for p in PRODUCTS}

    double = x.astype(np.float64)
    floor = median(seconds(lambda: double.T @ double) for _ in range(rounds + 1))
    rows = [("the products X'X alone", floor * layers, "")]
    exact = crossfit(x, y, folds, hows["float64"]).predicted
    for name, how in hows.items():
        # layers are alike: one is timed in each round, as many times as there are layers
        taken = median(
            seconds(lambda how=how: [crossfit(x, y, folds, how) for _ in range(layers)])
            for _ in range(rounds)
        )
        far = np.abs(crossfit(x, y, folds, how).predicted - exact).max()
        rows.append((f"geointerp, products in {name}", taken, f"{far:.0e}" if far else ""))
    if peers:
        for name, call in {
            "scikit-learn, RidgeCV": lambda: by_ridge_cv(double, y, folds),
            "scikit-learn, GridSearchCV over Ridge": lambda: by_grid_search(
                double, y, folds, label
            ),
        }.items():
            start = time.perf_counter()
            found = call()
            far = np.abs(found - exact).max()
            rows.append((name, (time.perf_counter() - start) * layers, f"{far:.0e}"))
    own = rows[1][1]
    threads = {
        info["internal_api"]: info["num_threads"] for info in threadpoolctl.threadpool_info()
    }
    lines = [
        "# Probes",
        "",
        "Made by benchmarks/probes.py, which says what is compared.",
        "",
        f"{layers} layers × {len(ALPHAS)} penalties × 5 folds × {targets} targets, {places:,} "
        f"places × {hidden:,}; {cpu()}, threads {threads}, NumPy {np.__version__}, scikit-learn "
        f"{sklearn.__version__}, {device}. Targets have a standard deviation of 1.",
        "",
        "| | seconds | times as long as geointerp | predictions differ by |",
        "|---|--:|--:|--:|",
    ]
    lines += [f"| {name} | {taken:.1f} | {taken / own:.2f} | {far} |" for name, taken, far in rows]
    if device == "cpu":
        lines += ["", "On a GPU: not measured."]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n", "utf-8")
    print(RESULTS.read_text("utf-8"))


PRODUCTS = ("float64", "float32")


def cpu() -> str:
    """The processor's name and how many there are."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(": ")[1] for line in info if line.startswith("model name")), "CPU")
    return f"{os.cpu_count()} × {name}"


if __name__ == "__main__":
    auto_cli(main)
