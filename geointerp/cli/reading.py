"""What commands are given: words, numbers and files, read and checked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from geointerp.errors import InputError


def words(given: str | list[str]) -> list[str]:
    """What may be written as FR,IT, as [FR,IT] or as a list.

    Not left to YAML, for which NO is no country but a no.
    """
    if isinstance(given, list):
        return given
    return [word.strip(" '\"") for word in given.strip(" []").split(",") if word.strip()]


def countries_of(given: str | list[str] | None) -> list[str] | None:
    """Countries as `words`, if any are given."""
    return None if given is None else words(given)


def check_seed(seed: int) -> None:
    """Refuse a seed that numpy or scikit-learn would not take."""
    if not 0 <= seed < 2**32:
        bound = "0 or more" if seed < 0 else "less than 2**32"
        raise InputError(f"seed is {seed}; it must be {bound}.")


def templates_of(template: str | list[str]) -> str | list[str]:
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


def one_prompt(acts: Any, prompt: int | None) -> Any:
    """The activations of one of the prompts that a store holds."""
    from geointerp.activations import prompts_held

    if "prompt" not in acts.dims:
        if prompt not in (None, 0):
            raise InputError(f"prompt {prompt}: the store holds one prompt, 0.")
        return acts
    if prompt is None or not 0 <= prompt < acts.sizes["prompt"]:
        said = "" if prompt is None else f"prompt {prompt}: "
        raise InputError(
            f"{said}the store holds several prompts, so --prompt chooses: {prompts_held(acts)}."
        )
    return acts.isel(prompt=prompt)


def one_layer(acts: Any, layer: int) -> Any:
    """The activations of one of the layers that a store holds."""
    if layer < 0:
        # counted from the last, as capture does
        layer = int(acts["layer"].values[layer]) if -layer <= acts.sizes["layer"] else layer
    if layer not in acts["layer"].values:
        raise InputError(
            f"layer {layer}: the store has layers {', '.join(map(str, acts['layer'].values))}."
        )
    return acts.sel(layer=layer)


def context_of(given: str, *, language: str | None, user_agent: str | None) -> Any:
    """What prompts are written from: GeoNames, a file, or Nominatim."""
    from geointerp import geollm

    if given == "nominatim":
        if user_agent is None:
            raise InputError(
                "--context nominatim needs --user-agent, which names your application and how to "
                'reach you, such as "my study (me@example.org)".'
            )
        return geollm.Nominatim(user_agent=user_agent, language=language)
    if user_agent is not None:
        raise InputError("--user-agent is for --context nominatim; nobody else is asked.")
    if any(part in (".osm", ".pbf") for part in Path(given).suffixes):
        return geollm.OsmFile(given, language=language)
    if language is not None:
        raise InputError(
            "--language is for names in an OpenStreetMap file or at Nominatim; others have one."
        )
    if given == "gazetteer":
        return geollm.Gazetteer()
    return geollm.PlacesTable(given)


def anndata_of(path: Path) -> Any:
    """Features from a file."""
    import anndata

    if not path.exists():
        raise InputError(f"{path}: there is no such file; `geointerp sae encode` writes it.")
    try:
        return anndata.read_h5ad(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a readable .h5ad file.") from error


def polygons_of(path: Path) -> Any:
    """Regions from a file, of which none is fetched from elsewhere."""
    import geopandas as gpd

    if not path.exists():
        raise InputError(f"{path}: there is no such file.")
    parquet = path.suffix.lower() in (".parquet", ".geoparquet")
    try:
        table = gpd.read_parquet(path) if parquet else gpd.read_file(path)
    except Exception as error:
        raise InputError(f"{path}: not a readable file of polygons.") from error
    if not isinstance(table, gpd.GeoDataFrame):
        raise InputError(f"{path}: it has no geometry.")
    return table


def fingerprint(features: Any) -> str:
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


def new_csv(path: Path) -> None:
    """Refuse to write a table over a file, or under a name that says it is something else."""
    from geointerp import artefacts

    if path.suffix.lower() != ".csv":
        raise InputError(f"{path}: a table is written; the name must end in .csv.")
    artefacts.refuse_existing(path)


def csv_of(path: Path, **options: Any) -> Any:
    """A table from a file, on its first column if not told otherwise."""
    import pandas as pd

    try:
        return pd.read_csv(path, **{"index_col": 0, **options})
    except ValueError as error:
        raise InputError(f"{path}: not a readable .csv file.") from error


def numbers(table: Any, column: str, path: Path) -> Any:
    """A column of numbers, NaN where a cell is empty."""
    import pandas as pd

    if column not in table.columns:
        raise InputError(f"{path}: there is no column '{column}'; it has {', '.join(table)}.")
    numbers = pd.to_numeric(table[column], errors="coerce")
    for bad in table.loc[numbers.isna(), column].dropna():
        raise InputError(f"{path}: column '{column}' is not numeric; it holds {bad!r}.")
    return numbers


def points(table: Any, *, lon: Any, lat: Any) -> Any:
    """A table as places."""
    import geopandas as gpd

    return gpd.GeoDataFrame(table, geometry=gpd.points_from_xy(lon, lat), crs="EPSG:4326")
