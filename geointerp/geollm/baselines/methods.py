"""Baselines: what coordinates, the map's numbers, the prompt's words and activations tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.dummy import DummyRegressor
from sklearn.utils.validation import check_is_fitted

from geointerp import places as _places
from geointerp import sphere
from geointerp.errors import InputError
from geointerp.geollm.baselines.siren import LocationEncoder
from geointerp.geollm.context.base import NEARBY, RADIUS_KM, Context
from geointerp.geollm.ratings.encoding import texts_of

if TYPE_CHECKING:
    import geopandas as gpd

    from geointerp.models import Model

WITHIN_KM = (1, 5, 10, 25, 50, 100)
_ALPHAS = tuple(10.0**power for power in range(-3, 4))


class Method(NamedTuple):
    """A way to predict: a scikit-learn regressor, and what it is given of each place."""

    estimator: Any
    features: Any


def baselines(
    places: gpd.GeoDataFrame,
    prompts: pd.DataFrame | pd.Series,
    *,
    context: Context | None = None,
    model: Model | None = None,
    encoder: Model | None = None,
    seed: int = 0,
) -> dict[str, Method]:
    """The baselines that a model's ratings stand beside in `compare`.

    Parameters
    ----------
    places : GeoDataFrame
    prompts : DataFrame or Series
        On the places' index, as `geollm.prompts` gives it.
    context : Context, optional
        Whose numbers are boosted; without it that row is left out.
    model : geointerp.models.Model, optional
        Whose activations at the end of the same prompts are read; likewise.
    encoder : geointerp.models.Model, optional
        Whose last layer, averaged over the prompt, is one more embedding of its text;
        likewise.
    seed : int

    Returns
    -------
    dict of str to Method

    Raises
    ------
    InputError
        Prompts that are not on the places' index; what `capture` refuses.
    """
    from geointerp.probes.ridge import RidgeProbe

    lon_lat = np.stack(_places.lon_lat(places), axis=1)
    texts = texts_of(prompts)
    if not texts.index.equals(places.index):
        raise InputError("prompts: their index is not that of the places; make them from these.")
    found = {
        # what an r² means that is near 0: a mean knows nothing, and its r² is not 0 either
        "mean": Method(DummyRegressor(), lon_lat),
        "nearest neighbours": Method(NearestNeighbours(), lon_lat),
        "boosting on coordinates": Method(boosting_on_coordinates(seed=seed), lon_lat),
        "location encoder": Method(LocationEncoder(seed=seed), lon_lat),
    }
    if context is not None:
        # trees read the order alone: what is absent is farther than all that is there
        numbers = context_numbers(places, context).fillna(2 * RADIUS_KM)
        found["boosting on context"] = Method(boosting(seed=seed), numbers.to_numpy())
    found["prompt text, ridge"] = Method(text_ridge(), texts.to_numpy())
    if encoder is not None:
        vectors = read_prompts(encoder, places, texts, layers=-1, pool="prompt_mean")
        found["prompt embedding, ridge"] = Method(RidgeProbe(seed=seed), vectors[:, 0])
    if model is not None:
        vectors = read_prompts(model, places, texts, layers="all", pool="prompt_last")
        found["activations, ridge"] = Method(LayerRidge(seed=seed), vectors)
    return found


class NearestNeighbours(RegressorMixin, BaseEstimator):
    """The mean of the k nearest training places by great circle, each by 1 / its distance.

    Parameters
    ----------
    k : int
        Of fewer training places than this all are neighbours.

    Notes
    -----
    Features are lon and lat in degrees, shape (n, 2). The distance is the chord, whose order
    is that of the great circle; where a training place coincides, it alone counts.
    """

    def __init__(self, k: int = 5) -> None:
        self.k = k

    def fit(self, X: ArrayLike, y: ArrayLike) -> NearestNeighbours:
        """Fit to lon and lat of shape (n, 2) and a target of shape (n,)."""
        from sklearn.neighbors import KNeighborsRegressor

        near = KNeighborsRegressor(min(self.k, len(np.asarray(y))), weights="distance")
        self.neighbours_ = near.fit(unit_vectors(X), y)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict, shape (n,)."""
        check_is_fitted(self)
        return self.neighbours_.predict(unit_vectors(X))


def boosting(*, seed: int = 0) -> Any:
    """Gradient-boosted trees as scikit-learn sets them, on a matrix of numbers."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    # its own early stopping, were there more than 10,000 rows, would hold out rows at random
    return HistGradientBoostingRegressor(early_stopping=False, random_state=seed)


def boosting_on_coordinates(*, seed: int = 0) -> Any:
    """Gradient-boosted trees on lon and lat, shape (n, 2).

    Trees cut along meridians and parallels, and also across the three axes of the unit
    vectors, for which there is neither a date line nor a pole.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    return make_pipeline(FunctionTransformer(_with_unit_vectors), boosting(seed=seed))


def text_ridge() -> Any:
    """Ridge regression on what words and letters a prompt holds, shape (n,) of str.

    TF-IDF of words and pairs of them, and of three to five letters within a word, each the
    20,000 most frequent of those in two prompts or more; the penalty is chosen by
    leave-one-out within the training places.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline, make_union

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, max_features=20_000)
    letters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=2, max_features=20_000
    )
    return make_pipeline(make_union(words, letters), RidgeCV(_ALPHAS))


class LayerRidge(RegressorMixin, BaseEstimator):
    """A ridge probe of the layer from which most is read within the training places.

    Parameters
    ----------
    folds : int
        Of the cross-validation that chooses the layer, at random among the rows given to
        `fit`; the probe's penalty is chosen within each as `RidgeProbe` does.
    seed : int

    Attributes
    ----------
    layer_ : int
        Position along the second axis.
    probe_ : RidgeProbe
    """

    def __init__(self, *, folds: int = 5, seed: int = 0) -> None:
        self.folds = folds
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike) -> LayerRidge:
        """Fit to activations of shape (n, layer, hidden) and a target of shape (n,)."""
        from sklearn.model_selection import KFold, cross_val_predict

        from geointerp.probes.ridge import RidgeProbe
        from geointerp.probes.scores import r2

        vectors, target = _three_way(X), np.asarray(y, float)
        probe = RidgeProbe(seed=self.seed)
        cv = KFold(self.folds, shuffle=True, random_state=self.seed)
        skill = [
            float(r2(target[:, None], cross_val_predict(probe, layer, target, cv=cv)[:, None])[0])
            for layer in np.moveaxis(vectors, 1, 0)
        ]
        self.layer_ = int(np.nanargmax(skill)) if np.isfinite(skill).any() else 0
        self.probe_ = probe.fit(vectors[:, self.layer_], target)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict, shape (n,)."""
        check_is_fitted(self)
        return self.probe_.predict(_three_way(X)[:, self.layer_])


def context_numbers(places: gpd.GeoDataFrame, context: Context) -> pd.DataFrame:
    """What a context says of places in numbers, without a name.

    Parameters
    ----------
    places : GeoDataFrame
    context : Context

    Returns
    -------
    DataFrame of float64
        On the places' index: `km_1` to `km_10`, the distances of the nearest named places,
        NaN where there are fewer within 100 km; `within_1_km` to `within_100_km`, how many of
        these ten lie so near; `address_parts`, how many names the address has.
    """
    lon, lat = _places.lon_lat(places)
    found = context.nearby(lon=lon, lat=lat)
    rank = found.groupby("point").cumcount()
    near = rank < NEARBY
    km = np.full((len(places), NEARBY), np.nan)
    km[found["point"][near], rank[near]] = found["distance_km"][near]
    columns: dict[str, Any] = {f"km_{i + 1}": km[:, i] for i in range(NEARBY)}
    columns |= {f"within_{far}_km": (km <= far).sum(axis=1) for far in WITHIN_KM}
    columns["address_parts"] = [len(parts) for parts in context.address(lon=lon, lat=lat)]
    return pd.DataFrame(columns, index=places.index).astype(float)


def read_prompts(
    model: Model,
    places: gpd.GeoDataFrame,
    prompts: pd.Series,
    *,
    layers: str | int | Sequence[int] = "all",
    pool: str = "prompt_last",
) -> NDArray[np.float32]:
    """Activations of whole prompts, shape (n, layer, hidden).

    Parameters
    ----------
    model : geointerp.models.Model
    places : GeoDataFrame
    prompts : Series
        On the places' index.
    layers, pool
        As for `geointerp.activations.capture`.
    """
    from geointerp import activations

    # the prompt stands where a placename would, and is read by its last token or the mean
    named = places[[places.geometry.name]].assign(name=prompts)
    return activations.capture(model, named, layers=layers, pool=pool).to_numpy()


def unit_vectors(lon_lat: ArrayLike) -> NDArray[np.float64]:
    """Lon and lat in degrees, shape (n, 2), as points on the unit sphere, shape (n, 3)."""
    lon, lat = np.asarray(lon_lat, float).T
    return sphere.unit_vectors(lon=lon, lat=lat)


def _with_unit_vectors(lon_lat: ArrayLike) -> NDArray[np.float64]:
    return np.hstack([np.asarray(lon_lat, float), unit_vectors(lon_lat)])


def _three_way(activations: ArrayLike) -> NDArray[Any]:
    values = np.asarray(activations)
    if values.ndim != 3:
        raise InputError(
            f"activations have the shape {values.shape}; it must be (place, layer, hidden)."
        )
    return values
