"""Where a feature clusters: the map of local Moran's I."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geointerp.errors import InputError
from geointerp.plot.globe import IDLE, dots, projected, world

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from geointerp.spatial.located import Places

# warm is high, cold is low, strong is alike: told apart by colour-blind eyes too
CLUSTERS = {
    "HH": ("high among high", "#d7191c"),
    "HL": ("high among low", "#fdae61"),
    "LH": ("low among high", "#74add1"),
    "LL": ("low among low", "#2c5aa0"),
}


def lisa_map(
    local: xr.Dataset, feature: str | int, places: Places, *, ax: Axes | None = None
) -> Axes:
    """Map the clusters and outliers of a feature, by local Moran's I.

    Parameters
    ----------
    local : xarray.Dataset
        As `geointerp.spatial.local_moran` gives it.
    feature : str or int
        As it stands in ``local["feature"]``.
    places : GeoDataFrame, GeoSeries or AnnData
        The places of `local`, in its order.
    ax : Axes, optional

    Returns
    -------
    Axes
        Its first collection of points are the places in no cluster, the others those of
        each kind of cluster that there is, low ones first.

    Raises
    ------
    InputError
        A feature or places that `local` does not hold; a feature that was not tested; a statistic
        without such clusters.

    References
    ----------
    Anselin, L. (1995). Local indicators of spatial association: LISA. Geographical
    Analysis 27(2), 93–115.
    """
    from matplotlib.lines import Line2D

    from geointerp.spatial.located import locate_on_sphere

    if local.attrs.get("statistic") != "local Moran's I":
        raise InputError("a LISA map is of local Moran's I, as spatial.local_moran gives it.")
    names = [str(name) for name in local["feature"].values]
    if str(feature) not in names:
        raise InputError(f"there is no feature {str(feature)!r} among the {len(names)}.")
    index, lon, lat = locate_on_sphere(places)
    if [str(at) for at in index] != [str(at) for at in local["place"].values]:
        raise InputError("places: they are not those of the local statistics, in their order.")
    at = names.index(str(feature))
    if reason := str(local["reason"].values[at]):
        raise InputError(f"feature {str(feature)!r} was not tested: {reason}")
    cluster = local["cluster"].values[:, at]
    points = projected(lon, lat)
    ax = world(ax)
    kinds = {"": ("in no cluster", IDLE), **CLUSTERS}
    keys = []
    for kind in ("", "LL", "LH", "HL", "HH"):
        (told, color), here = kinds[kind], cluster == kind
        if here.any() or not kind:
            look: dict[str, Any] = {"color": color, "label": f"{told} ({here.sum():,})"}
            dots(ax, points[here], size=5 if kind else 0.6, zorder=4 if kind else 3, **look)
            keys.append(Line2D([], [], ls="", marker="o", ms=3.6, **look))
    ax.legend(handles=keys, loc="lower left", frameon=False, fontsize=7, handletextpad=0.2)
    ax.set_title(f"Feature {feature}: clusters at q ≤ {local.attrs['alpha']:g}")
    return ax
