"""Commands up to the activations: demo, places, models, capture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geointerp import artefacts
from geointerp.cli.reading import check_seed, countries_of, templates_of
from geointerp.errors import InputError


def run_demo(out: str = "run/demo", *, seed: int = 0) -> None:
    """Run the whole line on the embedded model, offline, and write a page to look at.

    Args:
        out: Folder of the run; it must not exist.
        seed: The same seed gives the same figures.
    """
    from geointerp import demo as whole_line

    check_seed(seed)
    whole_line.run(Path(out), seed=seed)


def show_places(
    places: str,
    *,
    min_population: int | None = None,
    countries: str | list[str] | None = None,
    limit: int | None = None,
    out: str | None = None,
    json: bool = False,
) -> None:
    """Show what is read from a table of places, and write it as GeoParquet if wanted.

    Args:
        places: geonames, or a .csv, .tsv, .geojson, .gpkg or .parquet file.
        min_population: Keep places with at least so many inhabitants.
        countries: Keep these countries, such as FR,IT.
        limit: Keep the first so many; GeoNames has the most populous first.
        out: A .parquet file to write.
        json: Print how many there are, and where, as JSON.
    """
    from geointerp import places as rooms

    filters: dict[str, Any] = {
        "min_population": min_population,
        "countries": countries_of(countries),
        "limit": limit,
    }
    if out is not None:
        if Path(out).suffix.lower() != ".parquet":
            raise InputError(f"{out}: places are written as GeoParquet; end its name in .parquet.")
        artefacts.refuse_existing(Path(out))
    found = rooms.load(places, **filters)
    lon, lat = rooms.lon_lat(found)
    _tell(found, lon, lat, json=json)
    if out is not None:
        about = {"function": "geointerp.places.load", "source": places, **filters}
        artefacts.write_file(Path(out), found.to_parquet, "Places", about)
        print(out)


def _tell(found: Any, lon: Any, lat: Any, *, json: bool) -> None:
    """How many places there are, where, and the first of them."""
    from json import dumps

    shared = int(found["name"].duplicated(keep=False).sum())
    if json:
        extent = {"lon": [lon.min(), lon.max()], "lat": [lat.min(), lat.max()]}
        about = {"places": len(found), "share_a_name": shared, **extent}
        print(dumps({**about, "columns": [*map(str, found.columns)]}, indent=2, ensure_ascii=False))
        return
    print(found.drop(columns=found.geometry.name).assign(lon=lon, lat=lat).head(10).to_string())
    print(
        f"{len(found)} places, {shared} share a name with another; "
        f"lon {lon.min():.2f} to {lon.max():.2f}, lat {lat.min():.2f} to {lat.max():.2f}"
    )
    empty = found.isna().sum()
    if empty.any():
        told = (f"{column} {count}" for column, count in empty[empty > 0].items())
        print("empty cells:", ", ".join(told))


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
    layers: str | int | list[int] = "all",
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
    templates = templates_of(template)
    found = rooms.load(
        places, min_population=min_population, countries=countries_of(countries), limit=limit
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
        store_dtype=store_dtype,
        batch_tokens=batch_tokens,
    )
    if processes.is_first():
        print(f"{out}: {dict(acts.sizes)}")
