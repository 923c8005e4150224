"""The command that probes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from geointerp import artefacts
from geointerp.cli.reading import check_seed, one_prompt, words
from geointerp.errors import InputError

log = logging.getLogger(__name__)


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
    json: bool = False,
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
        json: Print the summary as JSON.
    """
    from geointerp import activations, probes
    from geointerp.models import chosen_device

    check_seed(seed)
    chosen_device(device)
    opened = one_prompt(activations.open(acts), prompt)
    artefacts.refuse_existing(Path(out))  # before what follows is said
    if cv is None:
        held_out = ["random", "block", "country"]
        if target == "country":
            held_out.remove("country")
        elif "country" not in opened.coords:
            held_out.remove("country")
            log.info("the places have no column 'country': no countries are held out")
        elif len(set(opened["country"].values)) < 5:
            held_out.remove("country")
            log.info("the places lie in too few countries for any to be held out")
    else:
        held_out = words(cv)
    splits = dict(_split(word, opened, km, buffer_km, seed) for word in held_out)
    report = probes.evaluate(
        opened, target=target, cv=splits, controls=controls, device=device, seed=seed, out=out
    )
    if json:
        print(report.summary.to_json(orient="records", indent=2, double_precision=15))
        return
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
