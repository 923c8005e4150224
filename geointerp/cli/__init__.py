"""The shell's door to the library: one command per stage, each writing one artefact."""

from __future__ import annotations

import sys
from typing import Any

from geointerp.cli.capture import capture_activations, list_sites, run_demo, show_places
from geointerp.cli.features import write_atlas
from geointerp.cli.probe import probe_layers
from geointerp.cli.ratings import predict_ratings, score_ratings
from geointerp.cli.saes import encode_places, sweep_saes, train_sae
from geointerp.cli.shell import study
from geointerp.cli.spatial import map_clusters, map_features, match_features

__all__ = ["main", "study"]

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
        "sweep": sweep_saes,
        "encode": encode_places,
    },
    "moran": map_features,
    "regions": match_features,
    "local": map_clusters,
    "atlas": write_atlas,
    "predict": predict_ratings,
    "score": score_ratings,
}

_DESCRIPTION = "What does a language model know about places, and where inside it?"
_LINE = """
the whole line, from places to a page (toponym is the embedded model, geonames the cities of
GeoNames; a model's folder or Hub id and a .csv file of yours do as well):

  geointerp capture toponym geonames --min-population 300000 --template "{name} is near" \\
      --pool prompt_last --out run/activations.zarr
  geointerp probe run/activations.zarr --out run/probe
  geointerp sae train run/activations.zarr --layer 3 --out run/sae
  geointerp sae encode run/sae run/activations.zarr --out run/features.h5ad
  geointerp moran run/features.h5ad --out run/moran.csv
  geointerp atlas run

or all of it at once on the embedded model: geointerp demo
each command says more: geointerp capture --help
"""


def main(arguments: list[str] | None = None) -> None:
    """The shell's door: see `geointerp.cli.shell.run`."""
    from geointerp import __version__
    from geointerp.cli import shell

    shell.run(
        _COMMANDS,
        sys.argv[1:] if arguments is None else arguments,
        version=__version__,
        description=_DESCRIPTION,
        epilog=_LINE,
    )
