"""How much of the activations is kept, for how few latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geointerp.errors import InputError
from geointerp.plot.curves import HUES
from geointerp.plot.globe import axes
from geointerp.saes.architectures import ARCHITECTURES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MARKERS = "osD^vPX"


def fidelity(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Plot explained variance against L0 on held-out places: a sparsity–fidelity curve.

    A colour is an architecture, a marker a width; autoencoders of one architecture, width and
    seed are joined.

    Parameters
    ----------
    table : DataFrame
        As `geointerp.saes.sweep` gives it: columns ``architecture``, ``width``, ``seed``,
        ``l0`` and ``explained_variance``.
    ax : Axes, optional

    Returns
    -------
    Axes
        Each line is labelled ``"<architecture>, <width>"``.

    Raises
    ------
    InputError
        A column is missing, or there is no row.
    """
    wanted = ["architecture", "width", "seed", "l0", "explained_variance"]
    missing = [name for name in wanted if name not in table]
    if missing:
        raise InputError(f"the table has no column {missing[0]!r}; saes.sweep gives one that has.")
    if not len(table):
        raise InputError("the table has no autoencoder.")
    ax = axes(ax, (5.2, 3.8))
    # an architecture has one colour in every figure
    known = dict.fromkeys([*ARCHITECTURES, *table["architecture"]])
    hues = dict(zip(known, HUES, strict=False))
    markers = dict(zip(sorted(set(table["width"])), _MARKERS, strict=False))
    said = set()
    for (architecture, width, _), rows in table.groupby(
        ["architecture", "width", "seed"], sort=False
    ):
        rows = rows.sort_values("l0")
        label = f"{architecture}, {width:,}"
        ax.plot(
            rows["l0"],
            rows["explained_variance"],
            color=hues.get(architecture, HUES[-1]),
            marker=markers.get(width, "o"),
            markersize=5,
            linewidth=1.4,
            # seeds of one kind share an entry
            label=f"_{label}" if label in said else label,
        )
        said.add(label)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_xlabel("latents active at once (L0)")
    ax.set_ylabel("held-out variance explained")
    # beside the curves, which may be anywhere
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    ax.spines[["top", "right"]].set_visible(False)
    return ax
