"""Commands for ratings: predict and score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geointerp import artefacts
from geointerp.cli.reading import countries_of, csv_of, numbers
from geointerp.errors import InputError

# columns that ratings and their prompts add to the places
_RATED = ("rating", "mode", "entropy", "mass", "prompt", "address", "n_nearby")


def predict_ratings(
    model: str,
    places: str,
    *,
    task: str,
    out: str = "run/ratings.csv",
    min_population: int | None = None,
    countries: str | list[str] | None = None,
    limit: int | None = None,
    dtype: str = "float32",
    device: str | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Have a model rate places from 0.0 to 9.9, from GeoLLM prompts with GeoNames context.

    Args:
        model: As for `geointerp capture`.
        places: As for `geointerp places`.
        task: What is rated, such as "Population Density".
        out: A new .csv file, a row per place.
        min_population: As for `geointerp places`.
        countries: As for `geointerp places`.
        limit: As for `geointerp places`.
        dtype: As for `geointerp capture`.
        device: As for `geointerp capture`.
        trust_remote_code: Run Python code that comes with the model.
    """
    from geointerp import geollm, models
    from geointerp import places as rooms

    artefacts.refuse_existing(Path(out))
    filters: dict[str, Any] = {
        "min_population": min_population,
        "countries": countries_of(countries),
        "limit": limit,
    }
    found = rooms.load(places, **filters)
    for column in found.columns.intersection(_RATED):
        raise InputError(
            f"{places}: it has a column '{column}', which the ratings add; rename or drop it."
        )
    asked = geollm.prompts(found, task=task, context=geollm.Gazetteer())
    loaded = models.load(model, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
    ratings = geollm.predict(loaded, asked)
    lon, lat = rooms.lon_lat(found)
    table = found.drop(columns=found.geometry.name).assign(lon=lon, lat=lat)
    about = {
        "function": "geointerp.geollm.predict",
        "model": model,
        "places": places,
        **filters,
        "task": task,
        "dtype": dtype,
        "context": asked.attrs["attribution"],
    }
    artefacts.write_file(Path(out), table.join(ratings).join(asked).to_csv, "Ratings", about)
    print(ratings.describe().to_string())


def score_ratings(ratings: str, *, truth: str, log10: bool = False) -> None:
    """Score ratings against a column of the same file.

    Args:
        ratings: A .csv file that `geointerp predict` wrote.
        truth: Name of a numeric column in it, such as population.
        log10: Take the truth's decimal logarithm first; it must then be above 0.
    """
    import numpy as np

    from geointerp import geollm

    path = Path(ratings)
    if not path.exists():
        raise InputError(f"{path}: there is no such file; `geointerp predict` writes it.")
    table = csv_of(path, keep_default_na=False, na_values=[""])
    rating, known = (numbers(table, column, path) for column in ("rating", truth))
    if log10:
        if (known <= 0).any():
            raise InputError(f"{path}: column '{truth}' has values of 0 or less; they have no log.")
        known = np.log10(known)
    for name, value in geollm.score(rating, known).items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
