"""Maps: where a feature fires, where a probe puts places, what they are rated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp import sphere
from geointerp.errors import InputError
from geointerp.plot.globe import IDLE, arcs, colorbar, colored, diverging, dots, projected, world

if TYPE_CHECKING:
    import anndata
    import geopandas as gpd
    from matplotlib.axes import Axes

    from geointerp.probes import Report


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
        A feature that is not there, or whose activations are not all numbers; no coordinates.
    """
    if "spatial" not in feats.obsm:
        raise InputError("the features have no obsm['spatial'] with longitude and latitude.")
    if str(feature) not in feats.var_names:
        raise InputError(f"there is no feature {str(feature)!r} among the {feats.n_vars}.")
    column = feats.X[:, [feats.var_names.get_loc(str(feature))]]
    values = np.asarray(column.todense() if hasattr(column, "todense") else column).ravel()
    if not np.isfinite(values).all():
        count = np.count_nonzero(~np.isfinite(values))
        raise InputError(f"feature {str(feature)!r} is NaN or infinite at {count:,} place(s).")
    points = projected(*np.asarray(feats.obsm["spatial"], float).T)
    ax = world(ax)
    idle = values == 0
    dots(ax, points[idle], color=IDLE, size=0.6, zorder=3)
    top = max(float(values.max()), 0) or 1.0
    colored(ax, points[~idle], values[~idle], limits=(min(0.0, float(values.min())), top))
    colorbar(ax, "activation")
    ax.set_title(f"Feature {feature}: fires at {(~idle).sum():,} of {len(values):,} places")
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
    table = _located(report)
    ax = _errors(world(ax), table, "predicted_lon", "predicted_lat")
    median = table["error_km"].median()
    ax.set_title(f"Where the probe puts {len(table):,} places: median error {median:,.0f} km")
    return ax


def error_map(report: Report, *, ax: Axes | None = None) -> Axes:
    """Map the places where they are; the colour says how far off the probe puts them.

    Parameters
    ----------
    report : Report
        Of a probe for points.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        A report of another target, which has no predicted positions.
    """
    table = _located(report)
    ax = _errors(world(ax), table, "lon", "lat")
    ax.set_title(f"How far off the probe puts {len(table):,} places")
    return ax


def arrow_map(report: Report, *, places: int = 300, seed: int = 0, ax: Axes | None = None) -> Axes:
    """Draw an arrow from each of some places to where the probe puts it.

    Parameters
    ----------
    report : Report
        Of a probe for points.
    places : int
        How many at most, drawn at random; all of them would cover the map.
    seed : int
        Of the draw.
    ax : Axes, optional

    Returns
    -------
    Axes
        Arrows follow great circles, cut at the edge of the map; their colour is the error.

    Raises
    ------
    InputError
        A report of another target, which has no predicted positions; fewer than one place.
    """
    if places < 1:
        raise InputError(f"places is {places}; it must be 1 or more.")
    table = _located(report)
    shown = table.sample(min(places, len(table)), random_state=seed)
    ends = [
        sphere.unit_vectors(lon=shown[lon], lat=shown[lat].clip(-90, 90))
        for lon, lat in (("lon", "lat"), ("predicted_lon", "predicted_lat"))
    ]
    ax = world(ax)
    errors = shown["error_km"].to_numpy(float)
    arcs(ax, ends[0], ends[1], errors, top=max(float(np.quantile(table["error_km"], 0.98)), 1e-9))
    colorbar(ax, "error, km", extend="max")
    ax.set_title(f"From {len(shown):,} of {len(table):,} places to where the probe puts them")
    return ax


def _located(report: Report) -> pd.DataFrame:
    """The report's predictions, if they are points."""
    wanted = {"predicted_lon", "predicted_lat", "error_km"}
    if not wanted <= set(report.predictions.columns):
        raise InputError(
            "the report has no predicted positions; probe for coordinates, sphere or cells."
        )
    return report.predictions


def _errors(ax: Axes, table: pd.DataFrame, lon: str, lat: str) -> Axes:
    """Draw each place by its error at some columns of positions."""
    errors = table["error_km"].to_numpy(float)
    points = projected(table[lon].to_numpy(float), table[lat].to_numpy(float))
    # the few that are farthest off would leave the scale to themselves
    top = max(float(np.quantile(errors, 0.98)), 1e-9)
    colored(ax, points, errors, limits=(0, top), size=2.5)
    colorbar(ax, "error, km", extend="max")
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
        Ratings of places that are not there, without an index, or no column of that name.
    """
    if isinstance(ratings, pd.DataFrame):
        if "rating" not in ratings.columns:
            raise InputError(f"ratings: there is no column 'rating' in {', '.join(ratings)}.")
        ratings = ratings["rating"]
    ax, points, values = _known(ax, places, ratings, "ratings")
    colored(ax, points, values, limits=(float(values.min()), float(values.max())), size=9)
    colorbar(ax, "rating")
    ax.set_title(f"Ratings of {len(values):,} places")
    return ax


def residual_map(
    places: gpd.GeoDataFrame,
    residuals: pd.Series,
    *,
    label: str = "residual",
    ax: Axes | None = None,
) -> Axes:
    """Map where a model rates places too high, and where too low.

    Parameters
    ----------
    places : GeoDataFrame
        As `geointerp.places.load` gives it.
    residuals : Series
        On the index of `places` or a part of it; above 0, in red, is too high. Such as
        `geointerp.geollm.rank_residuals`, or ``recalibrated - truth``.
    label : str
        What they are and in which unit, beside the scale.
    ax : Axes, optional

    Returns
    -------
    Axes
        Colours are as strong above 0 as below, and at their strongest from the 98th percentile
        of the sizes on. Grey dots are places without a residual.

    Raises
    ------
    InputError
        Residuals of places that are not there, without an index, or none.
    """
    ax, points, values = _known(ax, places, residuals, "residuals")
    # the few that are farthest off would leave the scale to themselves
    limit = max(float(np.quantile(np.abs(values), 0.98)), 1e-9)
    diverging(ax, points, values, limit=limit, size=9)
    colorbar(ax, label, extend="both")
    ax.set_title(f"{(values > 0).sum():,} places too high, {(values < 0).sum():,} too low")
    return ax


def _known(
    ax: Axes | None, places: gpd.GeoDataFrame, values: pd.Series, what: str
) -> tuple[Axes, NDArray[np.float64], NDArray[np.float64]]:
    """Points of the map whose value is a number, and the values; the others drawn, pale."""
    from geointerp.places import lon_lat

    if not isinstance(values, pd.Series):
        raise InputError(
            f"{what} is a {type(values).__name__}; it must be a Series on the index of the places."
        )
    rows = places.index.get_indexer(values.index)
    if (rows < 0).any():
        raise InputError(f"{what}: there is no place '{values.index[rows < 0][0]}'.")
    numbers = values.to_numpy(float)
    known = np.isfinite(numbers)
    if not known.any():
        raise InputError(f"{what}: none of them is a number.")
    ax, points = world(ax), projected(*lon_lat(places))[rows]
    dots(ax, points[~known], color=IDLE, size=1.5, zorder=3)
    return ax, points[known], numbers[known]
