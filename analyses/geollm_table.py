"""How true are a model's ratings, before and after fine-tuning, beside what needs no model?

GeoLLM's table for any model: tasks × ways to predict, Pearson's r², each place predicted by what
was fitted without its fold, at random and by blocks of 500 km. Where places are the GeoNames
cities, one truth is there offline: the logarithm of the population within 25 km. Of 2,000 cities:

    Pearson's r²                  random   blocks of 500 km
    the embedded model, zero-shot .00      .00
    mean                          .00      .00
    nearest neighbours            .44      .05
    boosting on coordinates       .34      .04
    location encoder              .18      .05
    boosting on context           .61      .60
    prompt text, ridge            .68      .56
    activations, ridge            .11      .08
    the embedded model, LoRA      .02      .01

The embedded model, 6 million weights that were never taught to rate, loses to every baseline but
the mean; fine-tuned on 400 places of each fold it still answers all but at random. Fine-tuning
takes most of an hour on one core and is left out by `--finetuning none`.

    python analyses/geollm_table.py --model toponym
"""

import logging
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

import geointerp as gi

KM = 25.0  # around each city, whose people are the truth


def with_population(cities: Any) -> Any:
    """Cities with log10 of the summed population of all GeoNames cities around each."""
    # suburbs that GeoNames lists by themselves count beside their city
    everyone = gi.places.load("geonames", min_population=500)
    options = {"column": "population", "how": "sum", "km": KM}
    around = gi.geollm.truth.from_points(cities, everyone, **options)
    return cities.assign(log10_population_25_km=np.log10(around))


def zero_shot(model: Any, prompts: pd.DataFrame, folder: Path) -> pd.Series:
    """The model's own ratings, kept in a file of this model and these prompts."""
    asked = [model.fingerprint, *prompts["prompt"]]
    file = folder / f"zero_shot-{sha256(repr(asked).encode()).hexdigest()[:16]}.csv"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        gi.geollm.predict(model, prompts).to_csv(file.with_suffix(".partial"))
        file.with_suffix(".partial").replace(file)
    return pd.Series(pd.read_csv(file)["rating"].to_numpy(), index=prompts.index)


def geollm_table(
    model: str = "toponym",
    tasks: dict[str, str] = {"Population within 25 km": "log10_population_25_km"},  # noqa: B006
    places: str = "geonames",
    min_population: int | None = 5000,
    sample: int = 2000,
    block_km: float = 500,
    finetuning: Literal["lora", "prompt", "bitfit", "full", "none"] = "lora",
    labels: Literal["quantile", "magnitude"] = "quantile",
    finetuning_sample: int = 400,
    epochs: int = 3,
    learning_rate: float = 2e-3,
    out: str = "run/geollm_table",
    seed: int = 0,
) -> None:
    """Predict each task's truth in every way, and write the table.

    Args:
        model: toponym, a local directory or a Hub id of a causal language model.
        tasks: What is rated, each with the column of the places that is its truth.
        places: geonames, or a file with the tasks' columns.
        min_population: Least population, where the places have one.
        sample: Number of places.
        block_km: Side of the blocks that are held out.
        finetuning: What is trained, or none.
        labels: How the truth becomes ratings.
        finetuning_sample: Train on so many of each fold's places at most.
        epochs: Passes over them.
        learning_rate: The greatest one.
        out: A folder; what is done there of the same run is not done again.
        seed: Of the sample, the folds and the training.
    """
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("geointerp").setLevel(logging.INFO)
    folder, loaded = Path(out), gi.models.load(model)
    table = gi.places.load(places, min_population=min_population)
    table = table.sample(min(sample, len(table)), random_state=seed)
    if places == "geonames":
        table = with_population(table)
    # no place is learnt from whose 25 km share people with a held-out one's
    blocks = gi.probes.BlockKFold(block_km, buffer_km=2 * KM, seed=seed)
    cv = {"random": gi.probes.RandomKFold(seed=seed), f"block {block_km:g} km": blocks}
    context = gi.geollm.Gazetteer()
    rows: dict[tuple[str, str], pd.Series] = {}
    for number, (task, column) in enumerate(tasks.items()):
        own, truth = folder / f"task{number}", table[column]
        prompts = gi.geollm.prompts(table, task=task, context=context)
        methods: dict[str, Any] = {"zero-shot": zero_shot(loaded, prompts, own)}
        methods |= gi.geollm.baselines(table, prompts, context=context, model=loaded, seed=seed)
        if finetuning != "none":
            steps: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate}
            how: dict[str, Any] = {"method": finetuning, "labels": labels, "seed": seed, **steps}
            tuned = gi.geollm.FinetunedRegressor(
                loaded, out=own / "adapters", sample=finetuning_sample, **how
            )
            methods["fine-tuned"] = gi.geollm.Method(tuned, prompts["prompt"])
        found = gi.geollm.compare(table, truth, methods, cv=cv, out=own, seed=seed)
        ends = [c for c in found.scores if c[1].endswith(("low", "high"))]
        shown = found.scores.drop(columns=ends)
        print(f"{task}: {len(table)} places\n{shown.round(3).to_string()}\n")
        r2 = found.scores.xs("pearson_r2", axis=1, level="score")
        rows |= {(task, split): r2[split] for split in r2}
    pearson = pd.DataFrame(rows).T.rename_axis(["task", "split"])
    pearson.to_csv(folder / "table.csv")
    bars = pearson.set_axis(pearson.index.map(", ".join)).T[::-1]
    ax = bars.plot.barh(figsize=(8, 4), width=0.8, xlim=(0, 1), xlabel="Pearson's r²")
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    ax.figure.savefig(folder / "table.png", dpi=150, bbox_inches="tight")
    print(f"Pearson's r²\n{pearson.round(2).to_string()}")


if __name__ == "__main__":
    gi.cli.study(geollm_table)
