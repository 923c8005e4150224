"""Maps and figures: one call each, with projection and coastline built in.

Every function draws into the Axes it is given, or into a new figure, and returns the Axes.
Maps are in Equal Earth, which shows areas as large as they are.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from geointerp.errors import InputError

if TYPE_CHECKING:
    import anndata
    import geopandas as gpd
    from matplotlib.axes import Axes

    from geointerp.probes import Report

CENTER = 11.0
"""Central meridian of the maps: the cut at 169° W then runs through the Bering Strait."""

# sequential, monotonic in lightness, alike to colour-blind eyes; pale is little, dark is much
SEQUENTIAL = "magma_r"
# Okabe and Ito (2008), less the yellow, which does not show on white
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
SEA, LAND, BORDER, GRID, IDLE = "#f3f6f8", "#dfdfda", "#ffffff", "#e2e8ec", "#a9b0b5"
_MARKERS = "osD^vPX"
_DASHES = ((0, (5, 2)), (0, (1, 1.6)), (0, (5, 1.5, 1, 1.5)))


def equal_earth(
    *, lon: ArrayLike, lat: ArrayLike, center: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project onto the plane by Equal Earth, which keeps areas.

    Parameters
    ----------
    lon, lat : array_like
        Degrees. Longitudes of exactly `center` ± 180 stay on their side; any others are
        brought into that range.
    center : float
        Central meridian, in degrees.

    Returns
    -------
    across, up : ndarray of float64
        In radii of the sphere: within ±2.7066 and ±1.3174.

    References
    ----------
    Šavrič, B., Patterson, T. and Jenny, B. (2018). The Equal Earth map projection.
    International Journal of Geographical Information Science 33(3), 454–465, equations 5–7.
    """
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    offset = np.asarray(lon, float) - center
    lam = np.radians(np.where(np.abs(offset) > 180, (offset + 180) % 360 - 180, offset))
    theta = np.arcsin(np.sqrt(3) / 2 * np.sin(np.radians(np.asarray(lat, float))))
    slope = 9 * a4 * theta**8 + 7 * a3 * theta**6 + 3 * a2 * theta**2 + a1
    across = 2 * np.sqrt(3) / 3 * lam * np.cos(theta) / slope
    return across, a4 * theta**9 + a3 * theta**7 + a2 * theta**3 + a1 * theta


@functools.lru_cache(maxsize=4)
def outlines(*, center: float = CENTER) -> tuple[NDArray[np.float64], ...]:
    """Outlines of the world's countries, cut where a map around `center` has its edge.

    Parameters
    ----------
    center : float
        Central meridian, in degrees.

    Returns
    -------
    tuple of ndarray of float64, shape (m, 2)
        Closed rings of longitude and latitude, lon within `center` ± 180, no step in any of
        them across the map. Natural Earth 1:110m (public domain).
    """
    from shapely import Polygon, affinity, box, union_all

    text = resources.files("geointerp").joinpath("data/countries_110m.geojson").read_text("utf-8")
    window = box(center - 180, -90, center + 180, 90)
    rings: list[NDArray[np.float64]] = []
    for country in json.loads(text)["features"]:
        for first, *holes in country["geometry"]["coordinates"]:
            polygon = Polygon(_unwrapped(first), [_unwrapped(hole) for hole in holes]).buffer(0)
            turns = [affinity.translate(polygon, xoff=360 * turn) for turn in (-1, 0, 1)]
            # as one, or a shape around the pole would keep a seam where it began
            seen = union_all([turn.intersection(window) for turn in turns])
            for part in getattr(seen, "geoms", [seen]):
                if part.geom_type == "Polygon" and not part.is_empty:
                    rings += [np.asarray(r.coords) for r in (part.exterior, *part.interiors)]
    return tuple(rings)


def _unwrapped(ring: list[list[float]]) -> NDArray[np.float64]:
    """A ring whose longitudes run on past ±180; around a pole it is closed along the pole."""
    points = np.asarray(ring, float)
    steps = np.diff(points[:, 0])
    steps -= 360 * np.round(steps / 360)
    # rounded, or sums of hundredths would leave a crack where a shape meets itself
    points[1:, 0] = np.round(points[0, 0] + np.cumsum(steps), 6)
    if abs(points[-1, 0] - points[0, 0]) < 180:
        return points
    pole = np.copysign(90, points[:, 1].mean())
    return np.vstack([points, [points[-1, 0], pole], [points[0, 0], pole], points[0]])


def world(ax: Axes | None = None) -> Axes:
    """Draw the empty map that the others draw on: sea, land, borders, every 30th meridian.

    Parameters
    ----------
    ax : Axes, optional

    Returns
    -------
    Axes
        Its data coordinates are those of `equal_earth` with ``center=CENTER``.
    """
    from matplotlib.collections import LineCollection, PolyCollection

    ax = _axes(ax, (7.0, 3.7))
    lats = np.linspace(-90, 90, 91)
    sides = [_projected(np.full(91, CENTER + side), lats) for side in (-180, 180)]
    edge = np.vstack([sides[0], sides[1][::-1]])
    ax.add_collection(PolyCollection([edge], facecolors=SEA, edgecolors="none", zorder=0))
    meridians = [_projected(np.full(91, lon), lats) for lon in range(-150, 181, 30)]
    parallels = [
        _projected(np.array([CENTER - 180, CENTER + 180]), np.full(2, lat))
        for lat in range(-60, 61, 30)
    ]
    grid = LineCollection(meridians + parallels, colors=GRID, linewidths=0.4, zorder=1)
    land = PolyCollection(
        [_projected(*ring.T) for ring in outlines()],
        facecolors=LAND,
        edgecolors=BORDER,
        linewidths=0.3,
        zorder=2,
    )
    frame = PolyCollection([edge], facecolors="none", edgecolors="#b8c2c9", linewidths=0.6)
    frame.set_zorder(5)
    for collection in (grid, land, frame):
        ax.add_collection(collection)
    ax.set_xlim(edge[:, 0].min() - 0.02, edge[:, 0].max() + 0.02)
    ax.set_ylim(edge[:, 1].min() - 0.02, edge[:, 1].max() + 0.02)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def activation_map(feats: anndata.AnnData, feature: str | int, *, ax: Axes | None = None) -> Axes:
    """Map where a feature fires, and how much.

    Parameters
    ----------
    feats : AnnData
        As `geointerp.saes.encode` gives it.
    feature : str or int
        As it stands in `feats.var_names`.
    ax : Axes, optional

    Returns
    -------
    Axes
        Its first collection of points are the places where the feature is 0, the second the
        others, the strongest on top.

    Raises
    ------
    InputError
        A feature that is not there; no coordinates.
    """
    if "spatial" not in feats.obsm:
        raise InputError("the features have no obsm['spatial'] with longitude and latitude.")
    if str(feature) not in feats.var_names:
        raise InputError(f"there is no feature {str(feature)!r} among the {feats.n_vars}.")
    column = feats.X[:, [feats.var_names.get_loc(str(feature))]]
    values = np.asarray(column.todense() if hasattr(column, "todense") else column).ravel()
    points = _projected(*np.asarray(feats.obsm["spatial"], float).T)
    ax = world(ax)
    idle = values == 0
    _dots(ax, points[idle], color=IDLE, size=0.6, zorder=3)
    top = max(float(values.max()), 0) or 1.0
    _colored(ax, points[~idle], values[~idle], limits=(min(0.0, float(values.min())), top))
    _colorbar(ax, "activation")
    ax.set_title(f"Feature {feature}: fires at {(~idle).sum():,} of {len(values):,} places")
    return ax


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

    ax = _axes(ax, (6.0, 3.8))
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
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def probe_map(report: Report, *, ax: Axes | None = None) -> Axes:
    """Map where the probe puts each place; the colour says how far off that is.

    Parameters
    ----------
    report : Report
        Of a probe for coordinates.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        A report of another target, which has no predicted positions.
    """
    wanted = {"predicted_lon", "predicted_lat", "error_km"}
    if not wanted <= set(report.predictions.columns):
        raise InputError("the report has no predicted coordinates; probe for 'coordinates'.")
    table = report.predictions
    ax = world(ax)
    errors = table["error_km"].to_numpy(float)
    points = _projected(
        table["predicted_lon"].to_numpy(float), table["predicted_lat"].to_numpy(float)
    )
    # the few that are farthest off would leave the scale to themselves
    _colored(ax, points, errors, limits=(0, max(float(np.quantile(errors, 0.98)), 1e-9)), size=2.5)
    _colorbar(ax, "error, km", extend="max")
    ax.set_title(
        f"Where the probe puts {len(table):,} places: median error {np.median(errors):,.0f} km"
    )
    return ax


def rating_map(
    places: gpd.GeoDataFrame, ratings: pd.DataFrame | pd.Series, *, ax: Axes | None = None
) -> Axes:
    """Map the ratings that a language model gave to places.

    Parameters
    ----------
    places : GeoDataFrame
        As `geointerp.places.load` gives it.
    ratings : DataFrame or Series
        On the index of `places` or a part of it; of a DataFrame, the column ``rating``.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        Ratings of places that are not there, or no column of that name.
    """
    from geointerp.places import lon_lat

    if isinstance(ratings, pd.DataFrame):
        if "rating" not in ratings.columns:
            raise InputError(f"ratings: there is no column 'rating' in {', '.join(ratings)}.")
        ratings = ratings["rating"]
    rows = places.index.get_indexer(ratings.index)
    if (rows < 0).any():
        raise InputError(f"ratings: there is no place '{ratings.index[rows < 0][0]}'.")
    values = ratings.to_numpy(float)
    known = np.isfinite(values)
    if not known.any():
        raise InputError("ratings: none of them is a number.")
    points = _projected(*lon_lat(places))[rows]
    ax = world(ax)
    _dots(ax, points[~known], color=IDLE, size=1.5, zorder=3)
    limits = (float(values[known].min()), float(values[known].max()))
    _colored(ax, points[known], values[known], limits=limits, size=9)
    _colorbar(ax, "rating")
    ax.set_title(f"Ratings of {known.sum():,} places")
    return ax


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained", dpi=150)[1]


def _projected(lon: NDArray[Any], lat: NDArray[Any]) -> NDArray[np.float64]:
    return np.stack(equal_earth(lon=lon, lat=lat, center=CENTER), axis=-1)


def _dots(ax: Axes, points: NDArray[np.float64], *, size: float, zorder: int, **how: Any) -> Any:
    # thousands of dots make a vector file slow to open; lines and text stay sharp
    return ax.scatter(
        points[:, 0], points[:, 1], s=size, linewidths=0, zorder=zorder, rasterized=True, **how
    )


def _colored(
    ax: Axes,
    points: NDArray[np.float64],
    values: NDArray[np.float64],
    *,
    limits: tuple[float, float],
    size: float = 5.0,
) -> None:
    import matplotlib
    from matplotlib.colors import ListedColormap

    shades = matplotlib.colormaps[SEQUENTIAL](np.linspace(0.12, 0.95, 256))
    order = np.argsort(values, kind="stable")
    dots = _dots(
        ax, points[order], size=size, zorder=4, c=values[order], cmap=ListedColormap(shades)
    )
    dots.set_clim(*limits)


def _colorbar(ax: Axes, label: str, **how: Any) -> None:
    bar = ax.figure.colorbar(
        ax.collections[-1], ax=ax, orientation="horizontal", shrink=0.4, aspect=40, pad=0.02, **how
    )
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.outline.set_visible(False)
