"""How the tests of the shell call it, and the files of places and features that they share."""

import json
import os
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest

import geointerp as gi
from geointerp import cli


def run(*arguments, cwd=None):
    """The command as a shell runs it."""
    return subprocess.run(
        [sys.executable, "-m", "geointerp", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def fails(capsys, *arguments):
    """The one line on standard error of a command that exits with 2."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(a) for a in arguments])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("geointerp: ")
    assert said.count("\n") == 1
    return said


def card(folder, name):
    """What made an artefact that is a single file."""
    return gi.cards.read(folder, stem=f"{name}.card")["made by"]


def read_csv(path, **options):
    """A table as it was written: NA is Namibia, and 3 the name of a feature."""
    options = {"index_col": 0, "dtype": {"feature": str, "place": str}, **options}
    options |= {"keep_default_na": False, "na_values": [""], "float_precision": "round_trip"}
    return pd.read_csv(path, **options)


def data_of(page, name="overview"):
    """What a file of an atlas's data holds."""
    text = (page.parent / "data" / f"{name}.js").read_text("ascii")
    return json.loads(json.loads(text[text.index(",") + 1 : text.rindex(")")]))


def csv_of_cities(folder):
    """Sixty large cities, in a file."""
    path = folder / "places.csv"
    table = gi.places.load("geonames", min_population=3_000_000)
    table = table.assign(lon=table.geometry.x, lat=table.geometry.y).drop(columns="geometry")
    table.head(60).to_csv(path, index=False)
    return path


def store_of_several(csv):
    """A store of two templates under two columns of names, beside the places."""
    table = pd.read_csv(csv)
    table.assign(local=table["name"].str.upper()).to_csv(csv, index=False)
    settings, out = csv.with_name("capture.yaml"), csv.with_name("acts.zarr")
    settings.write_text(
        f'model: toponym\nplaces: {csv}\ntemplate: ["{{name}}", "{{name}} is near"]\n'
        f"names: [name, local]\nlayers: '2'\nout: {out}\n"
    )
    cli.main(["capture", "--config", str(settings), "--store-dtype=float16"])
    return out


def few_features(run):
    """Features of sixty places in two columns, one of which fires at one place."""
    rng = np.random.default_rng(0)
    values = np.zeros((60, 3), np.float32)
    values[::2, 0] = 1
    values[:1, 1] = 1
    lon_lat = np.stack([rng.uniform(-180, 180, 60), rng.uniform(-80, 80, 60)], axis=1)
    made = anndata.AnnData(values, obsm={"spatial": lon_lat})
    run.mkdir()
    made.write_h5ad(run / "features.h5ad")
    return made


def mapped_features(run):
    """Features of cities: one of a country, one of half a country, one at random, one nowhere."""
    cities = gi.places.load("geonames", min_population=300_000, countries=["FR", "NA", "US", "IT"])
    cities = cities.rename(index=str)
    lon, lat = gi.places.lon_lat(cities)
    country = cities["country"].to_numpy()
    values = np.zeros((len(cities), 4), np.float32)
    values[country == "IT", 0] = 2
    values[(country == "US") & (lon < -100), 1] = 1
    values[:, 2] = np.random.default_rng(0).random(len(cities)) > 0.7
    made = anndata.AnnData(
        values,
        obs=cities[["name", "country", "admin1", "continent"]],
        var=pd.DataFrame(index=["italy", "west", "anywhere", "nowhere"]),
        obsm={"spatial": np.column_stack([lon, lat])},
    )
    run.mkdir()
    made.copy().write_h5ad(run / "features.h5ad")
    return made
