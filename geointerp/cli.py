"""The shell's door to the library: one command per stage, each writing one artefact."""

from __future__ import annotations

import hashlib
import logging
import sys
from pathlib import Path
from typing import Any, Literal

from geointerp import artefacts
from geointerp.errors import InputError

log = logging.getLogger(__name__)

Split = Literal["random", "block", "country"]


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
    countries: list[str] | None = None,
    limit: int | None = None,
    out: str | None = None,
) -> None:
    """Show what is read from a table of places, and write it as GeoParquet if wanted.

    Args:
        source: geonames, or a .csv, .tsv, .geojson, .gpkg or .parquet file.
        min_population: Keep places with at least so many inhabitants.
        countries: Keep these countries, such as [FR,IT].
        limit: Keep the first so many; GeoNames has the most populous first.
        out: A .parquet file to write.
    """
    from geointerp import places as rooms

    filters: dict[str, Any] = {
        "min_population": min_population,
        "countries": countries,
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


def capture_activations(
    model: str,
    places: str,
    *,
    out: str = "run/activations.zarr",
    template: str = "{name}",
    layers: str = "all",
    site: str = "resid_post",
    pool: str = "last",
    min_population: int | None = None,
    countries: list[str] | None = None,
    limit: int | None = None,
    batch_tokens: int = 8192,
    dtype: str = "float32",
    device: str | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Run every place's prompt through a model and store one vector per layer, resumably.

    Args:
        model: toponym (the embedded one), a local directory, or an id on the Hugging Face Hub.
        places: As for `geointerp places`.
        out: A new folder.
        template: With {name} and other columns of the places.
        layers: all, or block numbers such as 3 or 0,3,-1.
        site: resid_pre, resid_post, attn_out, mlp_in or mlp_out.
        pool: last, mean (of the placename's tokens), prompt_last or prompt_mean.
        min_population: As for `geointerp places`.
        countries: As for `geointerp places`.
        limit: As for `geointerp places`.
        batch_tokens: Tokens that go through the model at once.
        dtype: float32, bfloat16 or float16, for the model's arithmetic.
        device: cpu, cuda, …; cuda if there is one.
        trust_remote_code: Run Python code that comes with the model.
    """
    from geointerp import activations, models
    from geointerp import places as rooms

    artefacts.check_folder(Path(out))
    found = rooms.load(places, min_population=min_population, countries=countries, limit=limit)
    loaded = models.load(model, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
    acts = activations.capture(
        loaded,
        found,
        template=template,
        layers=layers,
        site=site,
        pool=pool,
        out=out,
        batch_tokens=batch_tokens,
    )
    print(f"{out}: {dict(acts.sizes)}")


def probe_layers(
    acts: str,
    *,
    out: str = "run/probe",
    target: str = "coordinates",
    cv: list[Split] | None = None,
    km: float = 500.0,
    buffer_km: float = 0.0,
    controls: bool = True,
    seed: int = 0,
) -> None:
    """Probe every layer for coordinates or another number, beside its controls.

    Args:
        acts: A store that `geointerp capture` wrote.
        out: A new folder for report.csv, predictions.csv and the card.
        target: coordinates, or a numeric column of the places.
        cv: How places are held out; all three if not given, country where there is such a column.
        km: Side of the blocks.
        buffer_km: Training places nearer than this to a test place are left out (block).
        controls: Also probe the untrained model and a bag of the prompt's tokens.
        seed: Of the folds and the untrained weights.
    """
    from geointerp import activations, probes

    _check_seed(seed)
    known: dict[str, tuple[str, Any]] = {
        "random": ("random", probes.RandomKFold(seed=seed)),
        "block": (f"block {km:g} km", probes.BlockKFold(km, buffer_km=buffer_km, seed=seed)),
        "country": ("country", probes.ColumnKFold("country", seed=seed)),
    }
    opened = activations.open(acts)
    artefacts.refuse_existing(Path(out))
    if cv is None:
        cv = ["random", "block", "country"]
        if "country" not in opened.coords:
            cv.remove("country")
            log.info("the places have no column 'country': no countries are held out")
    report = probes.evaluate(
        opened, target=target, cv=dict(known[c] for c in cv), controls=controls, seed=seed
    )
    with artefacts.whole(Path(out)) as part:
        report.save(part)
    print(report.table.round(3).to_string(index=False))


def train_sae(
    acts: str,
    *,
    layer: int,
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
        _layer(activations.open(acts), layer),
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
    sae: str, acts: str, *, layer: int | None = None, out: str = "run/features.h5ad"
) -> None:
    """Encode activations as sparse features, an AnnData file.

    Args:
        sae: A folder with a sparse autoencoder.
        acts: A store that `geointerp capture` wrote.
        layer: Block number; the one that the autoencoder was trained on if not given.
        out: A new .h5ad file.
    """
    from geointerp import activations, cards, saes

    artefacts.refuse_existing(Path(out))
    autoencoder = saes.load(sae)
    if layer is None:
        layer = cards.read(Path(sae)).get("made by", {}).get("layer")
        if layer is None:
            raise InputError(f"{sae}: it does not say of which layer it is; give --layer.")
    features = saes.encode(autoencoder, _layer(activations.open(acts), layer))
    about = {"function": "geointerp.saes.encode", "sae": sae, "activations": acts, "layer": layer}
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
        run: A folder with features.h5ad and moran.csv and, if there, probe/ and sae/.
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
        name: cards.read(folder / name)["figures"]
        for name in ("probe", "sae")
        if (folder / name / "card.json").exists()
    }
    target = Path(out) if out else folder / "atlas"
    rooms.write(encoded, table, out=target, report=report, figures=figures)
    print(target / "index.html")


def predict_ratings(
    model: str,
    places: str,
    *,
    task: str,
    out: str = "run/ratings.csv",
    min_population: int | None = None,
    countries: list[str] | None = None,
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
        "countries": countries,
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


def main(arguments: list[str] | None = None) -> None:
    """The shell's door: see `geointerp.shell.run`."""
    from geointerp import __version__, shell

    shell.run(
        _COMMANDS,
        sys.argv[1:] if arguments is None else arguments,
        version=__version__,
        description="What does a language model know about places, and where inside it?",
    )


def _check_seed(seed: int) -> None:
    """Refuse a seed that numpy or scikit-learn would not take."""
    if not 0 <= seed < 2**32:
        bound = "0 or more" if seed < 0 else "less than 2**32"
        raise InputError(f"seed is {seed}; it must be {bound}.")


def _layer(acts: Any, layer: int) -> Any:
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
    """SHA-256 of what the features hold, in hexadecimal."""
    from scipy import sparse

    matrix = sparse.csr_matrix(features.X)
    digest = hashlib.sha256()
    for part in (matrix.data, matrix.indices, matrix.indptr):
        digest.update(part.tobytes())
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
