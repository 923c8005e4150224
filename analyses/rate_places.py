"""How well do a model's own ratings of places follow a real column?

Writes a GeoLLM prompt for each of a sample of cities, with GeoNames context, takes the expectation
over the ratings 0.0 to 9.9, and scores it against the logarithm of the population. The embedded
model was never taught to rate: it is near zero, as it should be, and all but never answers with a
rating (see the column `mass`).

    python analyses/rate_places.py --model toponym --sample 300
"""

from pathlib import Path

import numpy as np

import geointerp as gi


def rate_places(
    model: str = "toponym",
    task: str = "Population",
    truth: str = "population",
    sample: int = 300,
    min_population: int = 45_000,
    out: str = "run/rate_places",
    seed: int = 0,
) -> None:
    """Rate a sample of cities and score the ratings.

    Args:
        model: toponym, a local directory or a Hub id of a causal language model.
        task: What is rated.
        truth: A positive numeric column of the places.
        sample: Number of cities.
        min_population: Least population.
        out: A folder for ratings.csv and ratings.png.
        seed: Of the sample.
    """
    import matplotlib

    matplotlib.use("agg")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    cities = gi.places.load("geonames", min_population=min_population)
    cities = cities.sample(sample, random_state=seed)
    prompts = gi.geollm.prompts(cities, task=task, context=gi.geollm.Gazetteer())
    ratings = gi.geollm.predict(gi.models.load(model), prompts)
    print(prompts["prompt"].iloc[0])
    print(gi.geollm.score(ratings, np.log10(cities[truth])).to_string())
    print(f"median probability of answering with a rating: {ratings['mass'].median():.2g}")
    cities.drop(columns="geometry").join(ratings).to_csv(folder / "ratings.csv")
    figure = gi.plot.rating_map(cities, ratings).get_figure()
    figure.savefig(folder / "ratings.png", dpi=150, bbox_inches="tight")
    print(folder / "ratings.png")


if __name__ == "__main__":
    gi.cli.study(rate_places)
