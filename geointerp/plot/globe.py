"""The world in Equal Earth, and what is drawn upon it."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geointerp import sphere

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from geointerp.spatial.located import Places

CENTER = 11.0
"""Central meridian of the maps: the cut at 169° W then runs through the Bering Strait."""

# sequential, monotonic in lightness, alike to colour-blind eyes; pale is little, dark is much
SEQUENTIAL = "magma_r"
# two such, from pale in the middle: blue is below nought, red above
DIVERGING = "RdBu_r"
SEA, LAND, BORDER, GRID, IDLE = "#f3f6f8", "#dfdfda", "#ffffff", "#e2e8ec", "#a9b0b5"

OUTLINED = 500 / sphere.EARTH_RADIUS_KM
"""Width of the least map, in radii, that shows coasts and borders."""


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

    ax = axes(ax, (7.0, 3.7))
    lats = np.linspace(-90, 90, 91)
    sides = [projected(np.full(91, CENTER + side), lats) for side in (-180, 180)]
    edge = np.vstack([sides[0], sides[1][::-1]])
    sea = PolyCollection([edge], facecolors=SEA, edgecolors="none", zorder=0)
    meridians = [projected(np.full(91, lon), lats) for lon in range(-150, 181, 30)]
    parallels = [
        projected(np.array([CENTER - 180, CENTER + 180]), np.full(2, lat))
        for lat in range(-60, 61, 30)
    ]
    grid = LineCollection(meridians + parallels, colors=GRID, linewidths=0.4, zorder=1)
    land = PolyCollection(
        [projected(*ring.T) for ring in outlines()],
        facecolors=LAND,
        edgecolors=BORDER,
        linewidths=0.3,
        zorder=2,
    )
    frame = PolyCollection([edge], facecolors="none", edgecolors="#b8c2c9", linewidths=0.6)
    frame.set_zorder(5)
    for collection in (sea, grid, land, frame):
        ax.add_collection(collection)
    for collection in (sea, land):
        collection.set_gid("outlines")
    ax.set_xlim(edge[:, 0].min() - 0.02, edge[:, 0].max() + 0.02)
    ax.set_ylim(edge[:, 1].min() - 0.02, edge[:, 1].max() + 0.02)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def zoom(ax: Axes, places: Places, *, margin: float = 0.1) -> Axes:
    """Show only the part of a map in which places lie.

    A map of less than 500 km has neither coasts nor borders: those of 1:110 million are some 20 km
    off.
    The projection stays that of the world, which keeps areas but slants what lies far from its
    central meridian; places on both sides of its edge, at 169° W, get the whole width.

    Parameters
    ----------
    ax : Axes
        Of any map here.
    places : GeoDataFrame, GeoSeries or AnnData
    margin : float
        What is shown around them, as a share of their extent.

    Returns
    -------
    Axes
    """
    from geointerp.spatial.located import locate_on_sphere

    _, lon, lat = locate_on_sphere(places)
    points = projected(lon, lat)
    low, high = points.min(axis=0), points.max(axis=0)
    # a single place is shown with some 5 km around it
    around = max(float((high - low).max()) * margin, 0.0008)
    ax.set_xlim(low[0] - around, high[0] + around)
    ax.set_ylim(low[1] - around, high[1] + around)
    for collection in ax.collections:
        if collection.get_gid() == "outlines":
            collection.set_visible(bool((high - low).max() >= OUTLINED))
    return ax


def axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The Axes themselves, or those of a new figure of some inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained", dpi=150)[1]


def projected(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.float64]:
    """Points of the map, shape (n, 2)."""
    return np.stack(equal_earth(lon=lon, lat=lat, center=CENTER), axis=-1)


def dots(ax: Axes, points: NDArray[np.float64], *, size: float, zorder: int, **how: Any) -> Any:
    """Draw dots without outlines."""
    # thousands of dots make a vector file slow to open; lines and text stay sharp
    return ax.scatter(
        points[:, 0], points[:, 1], s=size, linewidths=0, zorder=zorder, rasterized=True, **how
    )


def colored(
    ax: Axes,
    points: NDArray[np.float64],
    values: NDArray[np.float64],
    *,
    limits: tuple[float, float],
    size: float = 5.0,
) -> None:
    """Draw dots in the colours of their values, the greatest on top."""
    order = np.argsort(values, kind="stable")
    drawn = dots(ax, points[order], size=size, zorder=4, c=values[order], cmap=_shades())
    drawn.set_clim(*limits)


def diverging(
    ax: Axes,
    points: NDArray[np.float64],
    values: NDArray[np.float64],
    *,
    limit: float,
    size: float = 5.0,
) -> None:
    """Draw dots in colours that say which side of 0 their values are on, the farthest on top."""
    order = np.argsort(np.abs(values), kind="stable")
    drawn = dots(ax, points[order], size=size, zorder=4, c=values[order], cmap=DIVERGING)
    drawn.set_clim(-limit, limit)


def colorbar(ax: Axes, label: str, **how: Any) -> None:
    """Draw the scale of what was coloured last."""
    bar = ax.figure.colorbar(
        ax.collections[-1], ax=ax, orientation="horizontal", shrink=0.4, aspect=40, pad=0.02, **how
    )
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.outline.set_visible(False)


def arcs(
    ax: Axes,
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
    values: NDArray[np.float64],
    *,
    top: float,
) -> None:
    """Draw arrows along great circles in the colours of their values, from 0 to `top`.

    `starts` and `ends` are unit vectors, shape (n, 3), and no two of them antipodes.
    """
    from matplotlib.collections import LineCollection

    share = np.linspace(0, 1, 65)[:, None, None]
    angle = 2 * np.arcsin(np.clip(np.linalg.norm(starts - ends, axis=1) / 2, 0, 1))[:, None]
    scale = np.where(angle > 1e-9, np.sin(angle), 1)
    ways = np.where(angle > 1e-9, np.sin((1 - share) * angle), 1 - share) * starts
    ways = (ways + np.where(angle > 1e-9, np.sin(share * angle), share) * ends) / scale
    lon, lat = sphere.lon_lat(ways.reshape(-1, 3))
    points = projected(lon, lat).reshape(*ways.shape[:2], 2).transpose(1, 0, 2)
    # the greatest on top
    order = np.argsort(values, kind="stable")
    pieces, colors = [], []
    for way, value in zip(points[order], values[order], strict=True):
        cuts = np.flatnonzero(np.abs(np.diff(way[:, 0])) > 1) + 1
        parts = [part for part in np.split(way, cuts) if len(part) > 1]
        pieces += parts
        colors += [value] * len(parts)
    lines = LineCollection(pieces, array=np.array(colors), cmap=_shades(), linewidths=0.7, zorder=4)
    lines.set_clim(0, top)
    heads = [(way[-1], way[-1] - way[-3]) for way in points[order]]
    for (at, toward), color in zip(heads, lines.cmap(values[order] / top), strict=True):
        if np.hypot(*toward) < 1:
            ax.annotate(
                "",
                at,
                at - toward,
                arrowprops={"arrowstyle": "-|>", "color": color, "lw": 0.5, "mutation_scale": 5},
                zorder=4,
            )
    dots(ax, points[:, 0], color="#3b4248", size=1.2, zorder=4)
    ax.add_collection(lines)


def _shades() -> Any:
    """The sequential colours, without the palest and the darkest."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap(matplotlib.colormaps[SEQUENTIAL](np.linspace(0.12, 0.95, 256)))
