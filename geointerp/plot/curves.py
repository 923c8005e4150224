"""Curves: how well each layer, or each degree of detail, is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from geointerp.errors import InputError
from geointerp.plot.globe import axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from geointerp.probes import Report

# Okabe and Ito (2008), less the yellow, which does not show on white
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = "osD^vPX"
_DASHES = ((0, (5, 2)), (0, (1, 1.6)), (0, (5, 1.5, 1, 1.5)))


def r2_by_layer(report: Report, *, ax: Axes | None = None) -> Axes:
    """Plot how well each layer predicts, under every split, beside the best control.

    A colour is a split; solid lines are the model with its 95% interval, broken ones the
    control that comes nearest to it there. A source without layers is a level line.

    Parameters
    ----------
    report : Report
        As `geointerp.probes.evaluate` gives it.
    ax : Axes, optional

    Returns
    -------
    Axes
        Each line is labelled ``"<source>, <split>"``.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    ax = axes(ax, (6.0, 3.8))
    table = report.table
    layers = table["layer"].dropna().astype(int)
    span = (int(layers.min()), int(layers.max())) if len(layers) else (0, 1)
    splits = list(dict.fromkeys(table["split"]))
    nearest = {split: report.nearest_control(split) for split in splits}
    sources = ["model", *dict.fromkeys(name for name in nearest.values() if name is not None)]
    ends: list[tuple[float, str, str]] = []
    lowest = 0.0
    for i, split in enumerate(splits):
        hue, marker = HUES[i % len(HUES)], _MARKERS[i % len(_MARKERS)]
        for source in ("model", nearest[split]):
            rows = table[(table["split"] == split) & (table["source"] == source)]
            if not len(rows):
                continue
            level = rows["layer"].isna().all()
            rows = rows if level else rows.sort_values("layer")
            heights = rows[report.main].to_numpy(float)
            heights = np.repeat(heights[:1], 2) if level else heights
            lowest = min(lowest, float(np.nanmin(heights)))
            style: dict[str, Any] = {"linewidth": 1.8, "marker": marker, "markersize": 5}
            at = span if level else rows["layer"].to_numpy(int)
            if source == "model":
                ends.append((float(heights[-1]), str(split), hue))
                if {"low", "high"} <= set(rows):
                    band = (rows[side].to_numpy(float) for side in ("low", "high"))
                    ax.fill_between(at, *band, color=hue, alpha=0.15, linewidth=0)
            else:
                dashes = _DASHES[sources.index(str(source)) % 3 - 1]
                style = {"linewidth": 1.0, "linestyle": dashes}
            if level and span[0] == span[1]:
                ax.axhline(heights[0], color=hue, label=f"{source}, {split}", **style)
            else:
                ax.plot(at, heights, color=hue, label=f"{source}, {split}", **style)
    ax.set_ylim(min(-0.02, max(lowest, -0.5) - 0.05), 1)
    # labels at the lines' right ends, far enough from each other to be read
    height = -np.inf
    for end, split, hue in sorted(ends):
        height = max(end, height + 0.055 * np.ptp(ax.get_ylim()))
        ax.annotate(
            split,
            (1.01, height),
            xycoords=("axes fraction", "data"),
            color=hue,
            va="center",
            annotation_clip=False,
        )
    keys = [Line2D([], [], color="#333", linewidth=1.8, marker="o", markersize=5)]
    keys += [
        Line2D([], [], color="#333", linewidth=1, linestyle=_DASHES[i % 3 - 1])
        for i in range(1, len(sources))
    ]
    ax.legend(
        keys, sources, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), fontsize=9
    )
    ax.set_xlabel("layer")
    ax.set_ylabel("R²" if report.main == "r2" else report.main.replace("_", " "))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if span[0] == span[1]:
        ax.set_xlim(span[0] - 1, span[0] + 1)
    _plain(ax)
    return ax


def spectrum(report: Report, *, split: str | None = None, ax: Axes | None = None) -> Axes:
    """Plot how much of each degree of the spherical harmonics is read.

    The model at its best layer, beside every control at its own. The upper axis is the size
    of what a degree shows, half a wavelength.

    Parameters
    ----------
    report : Report
        Of a probe for ``"harmonics"``.
    split : str, optional
        The report's first if not given.
    ax : Axes, optional

    Returns
    -------
    Axes
        Each line is labelled by its source.

    Raises
    ------
    InputError
        A report of another target; a split that it does not have.
    """
    from geointerp.sphere import EARTH_RADIUS_KM

    columns = [c for c in report.table if re.fullmatch(r"r2_[0-9]+", str(c))]
    if not columns:
        raise InputError("the report has no R² by degree; probe for 'harmonics'.")
    degrees = np.array([int(column.removeprefix("r2_")) for column in columns])
    ax = axes(ax, (7.5, 3.8))
    for i, source in enumerate(dict.fromkeys(report.table["source"])):
        best = report.best(split, source)
        own = {"linewidth": 1.8, "markersize": 5} if i == 0 else {"linewidth": 1, "markersize": 3}
        look: dict[str, Any] = {"color": HUES[i % len(HUES)], "marker": _MARKERS[i % len(_MARKERS)]}
        name = source if best.isna()["layer"] else f"{source}, layer {best['layer']}"
        ax.plot(degrees, best[columns].to_numpy(float), label=name, **look, **own)
    ax.axhline(0, color="#999", linewidth=0.8, zorder=0)
    ax.set_ylim(-0.3, 1)
    ax.set_xlabel("degree of the spherical harmonics")
    ax.set_ylabel("R²")
    half_km = np.pi * EARTH_RADIUS_KM
    upper = ax.secondary_xaxis("top")
    upper.set_xlabel("half a wavelength, km")
    shown = [n for n in (1, 3, 6, 12, 18, 24, 30) if n <= degrees.max()]
    upper.set_xticks(shown, [f"{half_km / n:,.0f}" for n in shown])
    _plain(ax)
    # beside the curves, which may be anywhere
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax


def recall_area(report: Report, *, ax: Axes | None = None) -> Axes:
    """Plot the share of places found against the area that had to be searched for each.

    Parameters
    ----------
    report : Report
        Of a probe for ``"cells"``.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        A report of another target.
    """
    if "search_km2" not in report.predictions:
        raise InputError("the report has no areas to be searched; probe for 'cells'.")
    area = np.sort(report.predictions["search_km2"].to_numpy(float))
    recall = np.arange(1, len(area) + 1) / len(area)
    ax = axes(ax, (5.0, 3.8))
    ax.plot(area, recall, color=HUES[0], linewidth=1.8, label="model")
    for share in (0.5, 0.9):
        at = float(np.quantile(area, share))
        ax.plot([at, at], [0, share], color="#999", linewidth=0.8)
        ax.annotate(
            f"{share:.0%}: {float(f'{at / 1e6:.3g}'):,g} million km² ",
            (at, share),
            fontsize=8,
            ha="right",
            va="bottom",
            color="#555",
        )
    ax.set_xscale("log")
    ax.set_ylim(0, 1)
    ax.set_xlabel("area searched, km²")
    ax.set_ylabel("share of places found")
    _plain(ax)
    return ax


def correlogram(table: pd.DataFrame, feature: str | int, *, ax: Axes | None = None) -> Axes:
    """Plot Moran's I of a feature against the distance between places.

    Parameters
    ----------
    table : DataFrame
        As `geointerp.spatial.correlogram` gives it.
    feature : str or int
        As it stands in the column `feature`.
    ax : Axes, optional

    Returns
    -------
    Axes
        A step for each band; the broken line is what chance gives, the band around it two
        standard deviations of it, over all permutations of the places.

    Raises
    ------
    InputError
        A feature that is not there, or that has no I in any band.
    """
    rows = table[table["feature"].astype(str) == str(feature)]
    if not len(rows):
        raise InputError(f"there is no feature {str(feature)!r} in the correlograms.")
    if not rows["I"].notna().any():
        raise InputError(f"feature {feature}: {rows['reason'].iloc[0]}")
    found, expected = (rows[column].to_numpy(float) for column in ("I", "expected_I"))
    # z is I less its expectation over its standard deviation
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = 2 * np.abs((found - expected) / rows["z"].to_numpy(float))
    edges = np.append(rows["from_km"].to_numpy(float), rows["to_km"].to_numpy(float)[-1])
    ax = axes(ax, (5.0, 3.4))
    ax.fill_between(
        edges,
        np.append(expected - spread, (expected - spread)[-1]),
        np.append(expected + spread, (expected + spread)[-1]),
        step="post",
        color="#d9dee2",
        linewidth=0,
    )
    ax.stairs(expected, edges, baseline=None, color="#999", linewidth=0.8, linestyle="--")
    ax.stairs(found, edges, baseline=None, color=HUES[0], linewidth=1.8)
    ax.set_xscale("symlog", linthresh=max(edges[1], 1.0), linscale=0.3)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_xticks(edges[1:], [f"{edge:,.0f}" for edge in edges[1:]])
    ax.minorticks_off()
    ax.set_xlabel("distance between places, km")
    ax.set_ylabel("Moran\u2019s I")
    ax.set_title(f"Feature {feature}: how far places are alike")
    _plain(ax)
    return ax


def _plain(ax: Axes) -> None:
    """Level lines behind the curves, and no frame above and to the right."""
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
