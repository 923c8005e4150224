"""The shell's door to the library: one command per stage, each writing one artefact."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from geointerp.cli.capture import capture_activations, list_sites, run_demo, show_places
from geointerp.cli.features import write_atlas
from geointerp.cli.probe import probe_layers
from geointerp.cli.ratings import predict_ratings, score_ratings
from geointerp.cli.saes import encode_places, sweep_saes, train_sae
from geointerp.cli.spatial import map_clusters, map_features, match_features

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
