"""The shell's door to the library: one command per stage, each writing one artefact."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geointerp import artefacts
from geointerp.errors import InputError

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)


def run_demo(out: str = "run/demo", *, seed: int = 0) -> None:
    """Run the whole line on the embedded model, offline, and write a page to look at.

    Args:
        out: Folder of the run; it must not exist.
        seed: The same seed gives the same figures.
    """
    from geointerp import demo as whole_line

    _check_seed(seed)
    whole_line.run(Path(out), seed=seed)


def show_places(
    source: str,
    *,
    min_population: int | None = None,
    countries: str | list[str] | None = None,
    limit: int | None = None,
    out: str | None = None,
) -> None:
    """Show what is read from a table of places, and write it as GeoParquet if wanted.

    Args:
        source: geonames, or a .csv, .tsv, .geojson, .gpkg or .parquet file.
        min_population: Keep places with at least so many inhabitants.
        countries: Keep these countries, such as FR,IT.
        limit: Keep the first so many; GeoNames has the most populous first.
        out: A .parquet file to write.
    """
    from geointerp import places as rooms

    filters: dict[str, Any] = {
        "min_population": min_population,
        "countries": _countries(countries),
        "limit": limit,
    }
    if out is not None:
        if Path(out).suffix.lower() != ".parquet":
            raise InputError(f"{out}: places are written as GeoParquet; end its name in .parquet.")
        artefacts.refuse_existing(Path(out))
    found = rooms.load(source, **filters)
    lon, lat = rooms.lon_lat(found)
    print(found.drop(columns=found.geometry.name).assign(lon=lon, lat=lat).head(10).to_string())
    print(
        f"{len(found)} places, {found['name'].duplicated(keep=False).sum()} share a name with "
        f"another; lon {lon.min():.2f} to {lon.max():.2f}, lat {lat.min():.2f} to {lat.max():.2f}"
    )
    if out is not None:
        about = {"function": "geointerp.places.load", "source": source, **filters}
        artefacts.write_file(Path(out), found.to_parquet, "Places", about)
        print(out)


def list_sites(
    model: str,
    *,
    json: bool = False,
    revision: str | None = None,
    dtype: str = "float32",
    device: str | None = None,
    trust_remote_code: bool = False,
) -> None:
    """List what can be read of a model: its layers, and where each site of them is.

    Args:
        model: As for `geointerp capture`.
        json: Print it as JSON.
        revision: As for `geointerp capture`.
        dtype: As for `geointerp capture`.
        device: As for `geointerp capture`.
        trust_remote_code: Run Python code that comes with the model.
    """
    from json import dumps

    from geointerp import models, sites

    loaded = models.load(
        model,
        revision=revision,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    about = sites.describe(loaded)
    print(dumps(about, indent=2, ensure_ascii=False) if json else "\n".join(sites.lines(about)))


def capture_activations(
    model: str,
    places: str,
    *,
    out: str = "run/activations.zarr",
    template: str | list[str] = "{name}",
    names: list[str] | str = "name",
    layers: str = "all",
    site: str = "resid_post",
    pool: str = "last",
    store_dtype: str = "float32",
    min_population: int | None = None,
    countries: str | list[str] | None = None,
    limit: int | None = None,
    batch_tokens: int | None = None,
    revision: str | None = None,
    dtype: str = "float32",
    device: str | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Run every place's prompt through a model and store one vector per layer, resumably.

    Args:
        model: toponym (the embedded one), a local directory, or an id on the Hugging Face Hub.
        places: As for `geointerp places`.
        out: A new folder.
        template: With {name} and other columns of the places; several as
            '["{name}", "{name} is near"]'.
        names: Column that {name} is taken from; several as [name,local].
        layers: all, or block numbers such as 3 or 0,3,-1.
        site: resid_pre, resid_mid, resid_post, attn_out, mlp_in, mlp_out, or the path of a
            module in each block, such as mlp.act_fn or mlp.down_proj:input; `geointerp models`
            lists them.
        pool: last, mean (of the placename's tokens), prompt_last or prompt_mean.
        store_dtype: float32 or float16, of what is stored.
        min_population: As for `geointerp places`.
        countries: As for `geointerp places`.
        limit: As for `geointerp places`.
        batch_tokens: Tokens that go through the model at once; if not given, 8192 on a GPU
            and 1024 on a CPU.
        revision: Branch, tag or commit of a model on the Hub.
        dtype: float32, bfloat16 or float16, for the model's arithmetic.
        device: cpu, cuda, …, or auto to spread a model over all GPUs; cuda if there is one.
        trust_remote_code: Run Python code that comes with the model.
    """
    from geointerp import activations, models, processes
    from geointerp import places as rooms

    artefacts.check_folder(Path(out))
    templates = _templates(template)
    found = rooms.load(
        places, min_population=min_population, countries=_countries(countries), limit=limit
    )
    loaded = models.load(
        model,
        revision=revision,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    acts = activations.capture(
        loaded,
        found,
        template=templates,
        names=names,
        layers=layers,
        site=site,
        pool=pool,
        out=out,
        dtype=store_dtype,
        batch_tokens=batch_tokens,
    )
    if processes.is_first():
        print(f"{out}: {dict(acts.sizes)}")


def probe_layers(
    acts: str,
    *,
    out: str = "run/probe",
    prompt: int | None = None,
    target: str = "coordinates",
    cv: str | list[str] | None = None,
    km: float = 500.0,
    buffer_km: float = 0.0,
    controls: bool | list[str] = True,
    device: str = "cpu",
    seed: int = 0,
) -> None:
    """Probe every layer for coordinates or something else, beside its controls.

    Args:
        acts: A store that `geointerp capture` wrote.
        out: A new folder for report.csv, summary.csv, predictions.csv and the card.
        prompt: Number of the prompt, from 0, where the store holds several.
        target: coordinates, sphere, cells, harmonics, a column of the places, or "log COLUMN".
        cv: How places are held out, such as random,block,country (taken if not given); random,
            block, a column whose values are held out whole, leave-one-COLUMN, or a column of
            true and false that says which places are.
        km: Side of the blocks.
        buffer_km: Training places nearer than this to a test place are left out (block).
        controls: true, false, or some of untrained, input embeddings, bag of tokens, character
            n-grams, without the name, shuffled targets, as in "[untrained,bag of tokens]".
        device: Where the regressions are solved, cpu or cuda.
        seed: Of the folds, the untrained weights, the shuffle and the intervals.
    """
    from geointerp import activations, probes
    from geointerp.models import chosen_device

    _check_seed(seed)
    chosen_device(device)
    opened = _prompt(activations.open(acts), prompt)
    artefacts.refuse_existing(Path(out))
    if cv is None:
        words = ["random", "block", "country"]
        if "country" not in opened.coords:
            words.remove("country")
            log.info("the places have no column 'country': no countries are held out")
        elif len(set(opened["country"].values)) < 5:
            words.remove("country")
            log.info("the places lie in too few countries for any to be held out")
    else:
        words = _words(cv)
    splits = dict(_split(word, opened, km, buffer_km, seed) for word in words)
    report = probes.evaluate(
        opened, target=target, cv=splits, controls=controls, device=device, seed=seed
    )
    report.save(out)
    kept = ["source", "split", "layer", report.main, "low", "high", "median_km", "n"]
    table = report.table[[column for column in kept if column in report.table]]
    print(table.round(3).to_string(index=False))
    for row in report.summary.to_dict("records"):
        line = f"{row['split']}: layer {row['layer']}, {report.main} {row[report.main]:.3f}"
        line += f" [{row['low']:.3f}, {row['high']:.3f}]"
        if "uplift" in row:
            line += f"; {row['uplift']:+.3f} [{row['uplift_low']:+.3f}, {row['uplift_high']:+.3f}]"
            line += f" over the nearest control, {row['best_control']}"
        print(line)


def _split(word: str, acts: Any, km: float, buffer_km: float, seed: int) -> tuple[str, Any]:
    """The splitter that a word of --cv stands for, under the label it has in the report."""
    from geointerp import probes

    if word == "random":
        return word, probes.RandomKFold(seed=seed)
    if word == "block":
        label = f"block {km:g} km" + (f", buffer {buffer_km:g} km" if buffer_km else "")
        return label, probes.BlockKFold(km, buffer_km=buffer_km, seed=seed)
    column = word.removeprefix("leave-one-")
    columns = [str(name) for name, c in acts.coords.items() if c.dims == ("place",)]
    if column not in columns:
        known = ", ".join(c for c in columns if c not in ("place", "name", "lon", "lat"))
        raise InputError(
            f"cv {word!r}: it must be random, block, a column or leave-one-COLUMN; there are "
            f"{known}."
        )
    if column != word:
        return word, probes.ColumnKFold(column, n_splits=None, seed=seed)
    if acts[column].dtype == bool:
        return word, probes.ColumnSplit(column)
    return word, probes.ColumnKFold(column, seed=seed)


def train_sae(
    acts: str,
    *,
    layer: int,
    prompt: int | None = None,
    out: str = "run/sae",
    width: int = 1024,
    k: int = 16,
    steps: int = 1000,
    batch: int = 1024,
    learning_rate: float = 4e-3,
    seed: int = 0,
    device: str | None = None,
) -> None:
    """Train a sparse autoencoder on one layer's activations, in sae-lens's format.

    Args:
        acts: A store that `geointerp capture` wrote.
        layer: Block number.
        prompt: As for `geointerp probe`.
        out: A new folder.
        width: Number of latents.
        k: Latents active at once.
        steps: Updates.
        batch: Places in each.
        learning_rate: Of Adam.
        seed: Of the weights, the batches and the held-out places.
        device: cpu, cuda, …; cuda if there is one.
    """
    from geointerp import activations, cards, saes

    _check_seed(seed)
    artefacts.check_folder(Path(out))
    saes.train(
        _layer(_prompt(activations.open(acts), prompt), layer),
        width=width,
        k=k,
        out=out,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
    )
    for name, value in cards.read(Path(out))["figures"].items():
        print(f"{name}: {value:.4g}")


def encode_places(
    sae: str,
    acts: str,
    *,
    layer: int | None = None,
    prompt: int | None = None,
    out: str = "run/features.h5ad",
) -> None:
    """Encode activations as sparse features, an AnnData file.

    Args:
        sae: A folder with a sparse autoencoder.
        acts: A store that `geointerp capture` wrote.
        layer: Block number; the one that the autoencoder was trained on if not given.
        prompt: As for `geointerp probe`.
        out: A new .h5ad file.
    """
    from geointerp import activations, cards, saes

    artefacts.refuse_existing(Path(out))
    autoencoder = saes.load(sae)
    if layer is None:
        layer = cards.read(Path(sae)).get("made by", {}).get("layer")
        if layer is None:
            raise InputError(f"{sae}: it does not say of which layer it is; give --layer.")
    opened = _prompt(activations.open(acts), prompt)
    features = saes.encode(autoencoder, _layer(opened, layer))
    about = {
        "function": "geointerp.saes.encode",
        "sae": sae,
        "activations": acts,
        "layer": layer,
        "prompt": prompt or 0,
    }
    artefacts.write_file(Path(out), features.write_h5ad, "Features", about)
    fire = int((features.var["n_active"] > 0).sum())
    print(f"{out}: {features.n_obs} places, {features.n_vars} features, {features.X.nnz} active")
    print(f"{fire} of {features.n_vars} features {'fires' if fire == 1 else 'fire'} on some place")


def map_features(
    features: str,
    *,
    out: str = "run/moran.csv",
    k: int = 8,
    permutations: int = 999,
    min_active: int = 10,
    seed: int = 0,
) -> None:
    """Moran's I of every feature on great-circle neighbours, with q-values.

    Args:
        features: A .h5ad file that `geointerp sae encode` wrote.
        out: A new .csv file, a row per feature.
        k: Nearest neighbours.
        permutations: Of the permutation test.
        min_active: Features that fire on fewer places are not tested.
        seed: Of the permutations.
    """
    from geointerp import spatial

    _check_seed(seed)
    artefacts.refuse_existing(Path(out))
    encoded = _anndata(Path(features))
    options: dict[str, Any] = {
        "permutations": permutations,
        "min_active": min_active,
        "seed": seed,
    }
    table = spatial.moran(encoded, spatial.knn(encoded, k=k), **options)
    about = {
        "function": "geointerp.spatial.moran",
        "features": features,
        "features_sha256": _fingerprint(encoded),
        "k": k,
        **options,
    }
    artefacts.write_file(Path(out), table.to_csv, "Moran's I of every feature", about)
    print(table.sort_values("I", ascending=False).head(10).to_string())
    for reason, count in table["reason"].value_counts().items():
        print(f"{count} not tested: {reason}")
    tested, found = table["q"].notna().sum(), (table["q"] <= 0.05).sum()
    print(
        f"{tested} of {len(table)} features tested; "
        f"{found} {'has' if found == 1 else 'have'} q ≤ 0.05"
    )


def write_atlas(run: str, *, out: str | None = None) -> None:
    """Write the page of a run: its figures, its probe, and its strongest features on maps.

    An atlas that is there already is replaced: the page is made anew from what the run holds.

    Args:
        run: A folder with features.h5ad, moran.csv and, if there, probe/, sae/ and ratings.csv.
        out: Folder of the page; RUN/atlas if not given. An atlas there is replaced.
    """
    from geointerp import atlas as rooms
    from geointerp import cards, probes

    folder = Path(run)
    table_at, features_at = folder / "moran.csv", folder / "features.h5ad"
    if not table_at.exists():
        raise InputError(f"{folder}: there is no moran.csv in it; `geointerp moran` writes it.")
    table = _csv(table_at, dtype={0: str}).rename(index=str)
    encoded = _anndata(features_at)
    made_from = artefacts.read_card(table_at).get("made by", {}).get("features_sha256")
    if made_from not in (None, _fingerprint(encoded)):
        raise InputError(
            f"{table_at}: it was made from other features than those in {features_at}; "
            "delete it and run `geointerp moran` again."
        )
    report = probes.Report.read(folder / "probe") if (folder / "probe").exists() else None
    figures = {
        name: cards.read(folder / name).get("figures", {})
        for name in ("probe", "sae")
        if (folder / name / "card.json").exists()
    }
    if (folder / "figures.json").exists():
        # a demo's, which are more
        figures = json.loads((folder / "figures.json").read_text("utf-8"))
    ratings = None
    if (folder / "ratings.csv").exists():
        ratings = _csv(folder / "ratings.csv", dtype={0: str}).rename(index=str)
        made_by = artefacts.read_card(folder / "ratings.csv").get("made by", {})
        ratings.attrs["task"] = made_by.get("task", "")
    target = Path(out) if out else folder / "atlas"
    rooms.write(encoded, table, out=target, report=report, figures=figures, ratings=ratings)
    print(target / "index.html")


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
        "countries": _countries(countries),
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
    table = _csv(path, keep_default_na=False, na_values=[""])
    rating, known = (_numbers(table, column, path) for column in ("rating", truth))
    if log10:
        if (known <= 0).any():
            raise InputError(f"{path}: column '{truth}' has values of 0 or less; they have no log.")
        known = np.log10(known)
    for name, value in geollm.score(rating, known).items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")


# functions are not called as the rooms are: the parser looks their names up in the package,
# which would import the room
_COMMANDS: dict[str, Any] = {
    "demo": run_demo,
    "places": show_places,
    "models": list_sites,
    "capture": capture_activations,
    "probe": probe_layers,
    "sae": {
        "_help": "Train and use sparse autoencoders.",
        "train": train_sae,
        "encode": encode_places,
    },
    "moran": map_features,
    "atlas": write_atlas,
    "predict": predict_ratings,
    "score": score_ratings,
}


# columns that ratings and their prompts add to the places
_RATED = ("rating", "mode", "entropy", "mass", "prompt", "address", "n_nearby")

# options that are true where they stand alone
_FLAGS = ("--json", "--trust-remote-code")


def main(arguments: list[str] | None = None) -> None:
    """The shell's door: see `geointerp.shell.run`."""
    from geointerp import __version__, shell

    shell.run(
        _COMMANDS,
        list(_flagged(sys.argv[1:] if arguments is None else arguments)),
        version=__version__,
        description="What does a language model know about places, and where inside it?",
    )


def _flagged(arguments: list[str]) -> Iterable[str]:
    """Arguments with "=true" after the flags."""
    for part, after in zip(arguments, [*arguments[1:], ""], strict=True):
        alone = part.replace("_", "-") in _FLAGS and after not in ("true", "false")
        yield f"{part}=true" if alone else part


def _words(given: str | list[str]) -> list[str]:
    """What may be written as FR,IT, as [FR,IT] or as a list.

    Not left to YAML, for which NO is no country but a no.
    """
    if isinstance(given, list):
        return given
    return [word.strip(" '\"") for word in given.strip(" []").split(",") if word.strip()]


def _countries(given: str | list[str] | None) -> list[str] | None:
    return None if given is None else _words(given)


def _check_seed(seed: int) -> None:
    """Refuse a seed that numpy or scikit-learn would not take."""
    if not 0 <= seed < 2**32:
        bound = "0 or more" if seed < 0 else "less than 2**32"
        raise InputError(f"seed is {seed}; it must be {bound}.")


def _templates(template: str | list[str]) -> str | list[str]:
    """One template as it is, or several from a JSON array of them."""
    found: Any = template
    if isinstance(template, str):
        if not template.startswith("["):
            return template
        try:
            found = json.loads(template)
        except ValueError:
            found = None
    if not found or not all(isinstance(each, str) for each in found):
        raise InputError(
            f"template {template}: what begins with [ is a list of templates, each in double "
            'quotes, such as \'["{name}", "{name} is near"]\'.'
        )
    return found


def _prompt(acts: Any, prompt: int | None) -> Any:
    """The activations of one of the prompts that a store holds."""
    if "prompt" not in acts.dims:
        if prompt not in (None, 0):
            raise InputError(f"prompt {prompt}: the store holds one prompt, 0.")
        return acts
    if prompt is None or not 0 <= prompt < acts.sizes["prompt"]:
        pairs = zip(acts["template"].values, acts["names"].values, strict=True)
        held = ", ".join(f"{i} is '{t}' with {names}" for i, (t, names) in enumerate(pairs))
        said = "" if prompt is None else f"prompt {prompt}: "
        raise InputError(f"{said}the store holds several prompts, so --prompt chooses: {held}.")
    return acts.isel(prompt=prompt)


def _layer(acts: Any, layer: int) -> Any:
    if layer < 0:
        # counted from the last, as capture does
        layer = int(acts["layer"].values[layer]) if -layer <= acts.sizes["layer"] else layer
    if layer not in acts["layer"].values:
        raise InputError(
            f"layer {layer}: the store has layers {', '.join(map(str, acts['layer'].values))}."
        )
    return acts.sel(layer=layer)


def _anndata(path: Path) -> Any:
    import anndata

    if not path.exists():
        raise InputError(f"{path}: there is no such file; `geointerp sae encode` writes it.")
    try:
        return anndata.read_h5ad(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a readable .h5ad file.") from error


def _fingerprint(features: Any) -> str:
    """SHA-256 of what the features hold, of which places and where, in hexadecimal."""
    import numpy as np
    from scipy import sparse

    matrix = sparse.csr_matrix(features.X)
    digest = hashlib.sha256()
    for part in (matrix.data, matrix.indices, matrix.indptr, features.obsm["spatial"]):
        digest.update(np.ascontiguousarray(part).tobytes())
    for names in (features.obs_names, features.var_names):
        digest.update("\n".join(names).encode())
    return digest.hexdigest()


def _csv(path: Path, **options: Any) -> Any:
    import pandas as pd

    try:
        return pd.read_csv(path, index_col=0, **options)
    except ValueError as error:
        raise InputError(f"{path}: not a readable .csv file.") from error


def _numbers(table: Any, column: str, path: Path) -> Any:
    """A column of numbers, NaN where a cell is empty."""
    import pandas as pd

    if column not in table.columns:
        raise InputError(f"{path}: there is no column '{column}'; it has {', '.join(table)}.")
    numbers = pd.to_numeric(table[column], errors="coerce")
    for bad in table.loc[numbers.isna(), column].dropna():
        raise InputError(f"{path}: column '{column}' is not numeric; it holds {bad!r}.")
    return numbers


if __name__ == "__main__":
    main()
