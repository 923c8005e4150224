"""Commands for ratings: predict and score."""

from __future__ import annotations

import math
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from geointerp import artefacts
from geointerp.cli.reading import (
    check_seed,
    context_of,
    countries_of,
    csv_of,
    new_csv,
    numbers,
    points,
    words,
)
from geointerp.errors import InputError

# columns that ratings and their prompts add to the places
_RATED = (
    *("rating", "mode", "entropy", "mass", "unseen", "text", "n_read", "reason"),
    *("prompt", "address", "n_nearby"),
)


def predict_ratings(
    model: str,
    places: str,
    *,
    task: str,
    out: str = "run/ratings.csv",
    context: str = "gazetteer",
    language: str | None = None,
    user_agent: str | None = None,
    leave_out: str | list[str] = "",
    instruction: str = "",
    method: str = "expectation",
    samples: int = 5,
    temperature: float = 1.0,
    max_new_tokens: int = 32,
    chat: bool = False,
    answer: str = "",
    server: str | None = None,
    endpoint: str = "chat",
    key: str | None = None,
    journal: str | None = None,
    per_minute: float | None = None,
    estimate: bool = False,
    prices: str | None = None,
    min_population: int | None = None,
    countries: str | list[str] | None = None,
    limit: int | None = None,
    dtype: str = "float32",
    device: str | None = None,
    trust_remote_code: bool = False,
    seed: int = 0,
) -> None:
    """Have a model rate places from 0.0 to 9.9, from GeoLLM prompts with map context.

    Args:
        model: As for `geointerp capture`. With --server, the model's name there.
        places: As for `geointerp places`.
        task: What is rated, such as "Population Density".
        out: A new .csv file, a row per place.
        context: gazetteer (the cities of GeoNames), an OpenStreetMap file such as
            region.osm.pbf, another table of named places, or nominatim, which is asked over
            the network, a place in two seconds.
        language: Of names in an OpenStreetMap file or at Nominatim, such as en.
        user_agent: For nominatim, names your application and how to reach you.
        leave_out: Of coordinates, address and nearby, what the prompt goes without.
        instruction: Before the prompt, zero-shot, chain-of-thought or a text of your own.
        method: expectation or mode of the whole distribution over ratings, or greedy or sample,
            which read a rating in what the model writes.
        samples: Texts for each place (sample).
        temperature: Of the samples.
        max_new_tokens: Length of a text at most (greedy, sample).
        chat: Put the prompt into the model's chat template; a server does so by itself.
        answer: How the assistant's answer begins (chat), such as "My answer is ".
        server: Address of an OpenAI-compatible server, such as http://localhost:8000/v1.
        endpoint: chat or completions, of the server.
        key: Name of the environment variable that holds the server's key, if it wants one.
        journal: A file in which the server's answers are kept as they come, so that none is
            asked for twice; the name of --out with .answers.sqlite if not given.
        per_minute: Requests to the server, at most.
        estimate: Say what is still to be asked of the server, and ask nothing.
        prices: For the estimate, of a million tokens of prompts and of answers, as 0.15,0.60.
        min_population: As for `geointerp places`.
        countries: As for `geointerp places`.
        limit: As for `geointerp places`.
        dtype: As for `geointerp capture`.
        device: As for `geointerp capture`.
        trust_remote_code: Run Python code that comes with the model.
        seed: Of the samples.
    """
    from geointerp import geollm, models
    from geointerp import places as gazetteers
    from geointerp.geollm.prompting import templates
    from geointerp.geollm.ratings import methods

    check_seed(seed)
    new_csv(Path(out))
    local: dict[str, Any] = {"--chat": chat, "--answer": answer}
    remote: dict[str, Any] = {
        "--estimate": estimate,
        "--key": key,
        "--journal": journal,
        "--prices": prices,
    }
    remote |= {"--per-minute": per_minute}
    _check_together(local, remote, at_server=server is not None)
    if answer and not chat:
        raise InputError("--answer begins the assistant's answer in a chat; give --chat too.")
    if prices is not None and not estimate:
        raise InputError("--prices is for --estimate; give that too.")
    costs = _prices(prices)
    options: dict[str, Any] = {"method": method, "seed": seed, "samples": samples}
    options |= {"temperature": temperature, "max_new_tokens": max_new_tokens}
    methods.check(**options)
    templates.without(words(leave_out))
    before = _instruction(instruction)
    filters: dict[str, Any] = {
        "min_population": min_population,
        "countries": countries_of(countries),
        "limit": limit,
    }
    found = gazetteers.load(places, **filters)
    for column in found.columns.intersection(_RATED):
        raise InputError(
            f"{places}: it has a column '{column}', which the ratings add; rename or drop it."
        )
    around = context_of(context, language=language, user_agent=user_agent)
    # all that can be refused is refused before the places are looked up, which may take hours
    if server is None:
        loaded: Any = models.load(
            model, device=device, dtype=dtype, trust_remote_code=trust_remote_code
        )
        options["chat"] = geollm.Chat(answer=answer) if chat else None
        if chat:
            options["chat"].render(loaded.tokenizer, "")
    else:
        loaded = geollm.Server(
            server,
            model,
            key=key,
            endpoint=endpoint,
            per_minute=per_minute,
            journal=journal or f"{out}.answers.sqlite",
        )
        if not estimate:
            loaded.check_key()
    asked = geollm.prompts(
        found, task=task, context=around, leave_out=words(leave_out), instruction=before
    )
    if estimate:
        for name, value in loaded.estimate(asked, prices=costs, **options)._asdict().items():
            print(f"{name}: {value}")
        return
    ratings = geollm.predict(loaded, asked, **options)
    lon, lat = gazetteers.lon_lat(found)
    table = found.drop(columns=found.geometry.name).assign(lon=lon, lat=lat)
    about = {
        "function": "geointerp.geollm.predict",
        "model": model,
        "server": server,
        "places": places,
        **filters,
        "task": task,
        **{name: value for name, value in options.items() if name != "chat"},
        "chat": chat,
        "answer": answer,
        "endpoint": endpoint if server is not None else None,
        "leave_out": leave_out,
        "instruction": instruction,
        "dtype": dtype,
        "context": context,
        "language": language,
        "attribution": asked.attrs["attribution"],
    }
    artefacts.write_file(Path(out), table.join(ratings).join(asked).to_csv, "Ratings", about)
    print(ratings.describe().to_string())
    print(out)


def _check_together(local: dict[str, Any], remote: dict[str, Any], *, at_server: bool) -> None:
    """Refuse options that only a server, or only a local model, could follow."""
    for option, given in (local if at_server else remote).items():
        if given and at_server:
            raise InputError(
                f"{option} is for a local model; a server's chat endpoint is one by itself."
            )
        if given:
            raise InputError(f"{option} is for a server; say which by --server.")


def _prices(given: str | None) -> tuple[float, float] | None:
    """Two prices, written 0.15,0.60."""
    if given is None:
        return None
    try:
        prompts, answers = (float(word) for word in words(given))
    except ValueError:
        raise InputError(f"--prices is {given}; it must be two numbers, as 0.15,0.60.") from None
    if not (0 <= prompts < math.inf and 0 <= answers < math.inf):
        raise InputError(f"--prices is {given}; prices are 0 or more.")
    return prompts, answers


def _instruction(given: str) -> str:
    """One of GeoLLM's instructions by its name, or the user's own words."""
    from geointerp import geollm

    if " " not in given.strip():
        for near in get_close_matches(given, geollm.INSTRUCTIONS, 1, 0.7):
            if near != given:
                raise InputError(
                    f"--instruction is {given}; did you mean {near}? Words of your own have spaces."
                )
    return geollm.INSTRUCTIONS.get(given, given)


def score_ratings(
    ratings: str,
    *,
    truth: str,
    log10: bool = False,
    by: str | list[str] | None = None,
    block_km: float = 500.0,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Score ratings against a column of the same file, by region and with intervals if wanted.

    Args:
        ratings: A .csv file that `geointerp predict` wrote.
        truth: Name of a numeric column in it, such as population.
        log10: Take the truth's decimal logarithm first; it must then be above 0.
        by: all, or columns of the file such as country,urban, for a row per group with intervals
            over blocks, and errors after a line learnt on other places.
        block_km: Side of these blocks; of a small region, smaller ones.
        seed: Of the intervals and of random folds.
        json: Print them as JSON.
    """
    import numpy as np

    from geointerp import geollm

    check_seed(seed)
    path = Path(ratings)
    if not path.exists():
        raise InputError(f"{path}: there is no such file; `geointerp predict` writes it.")
    table = csv_of(path, index_col=False, keep_default_na=False, na_values=[""])
    table = table.loc[:, ~table.columns.str.startswith("Unnamed: ")]
    rating, known = (numbers(table, column, path) for column in ("rating", truth))
    if log10:
        if (known <= 0).any():
            raise InputError(f"{path}: column '{truth}' has values of 0 or less; they have no log.")
        known = np.log10(known)
    if by is not None:
        lon, lat = (numbers(table, column, path) for column in ("lon", "lat"))
        places = points(table, lon=lon, lat=lat)
        groups = [] if by == "all" else words(by)
        for column in groups:
            if column not in table.columns:
                raise InputError(
                    f"{path}: there is no column '{column}'; it has {', '.join(table)}."
                )
        scores = geollm.scores(rating, known, places, by=groups, block_km=block_km, seed=seed)
        print(
            scores.to_json(orient="records", indent=2, double_precision=15)
            if json
            else scores.round(3).to_string(index=False)
        )
        return
    scores = geollm.score(rating, known)
    if json:
        print(scores.to_json(indent=2))
        return
    for name, value in scores.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
