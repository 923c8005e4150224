import anndata
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from spatial_helpers import places_at, scattered, squares

import geointerp as gi
from geointerp.errors import InputError
from geointerp.spatial import delaunay, describe, distance_band, kernel, moran

three = places_at([0, 1, 2, 7], [0, 1, 5, 2])
board = squares([0, 1, 2], [0, 1])


def test_weights_take_a_geoseries_and_an_anndata():
    places = scattered(40)
    lon, lat = gi.places.lon_lat(places)
    features = anndata.AnnData(
        np.zeros((40, 1), "f4"),
        obs=pd.DataFrame(index=places.index.astype(str)),
        obsm={"spatial": np.column_stack([lon, lat])},
    )
    for build in (
        lambda p: distance_band(p, km=3000),
        lambda p: kernel(p, k=4),
        delaunay,
    ):
        expected = build(places)
        assert expected.adjacency.equals(build(places.geometry).adjacency)
        graph = build(features)
        np.testing.assert_allclose(graph.sparse.toarray(), expected.sparse.toarray(), rtol=1e-9)
        assert list(graph.unique_ids) == list(features.obs_names)
        assert describe(graph, features)["longest_km"] == pytest.approx(
            describe(graph, places)["longest_km"]
        )


def test_every_weight_can_be_given_to_a_statistic():
    places = scattered(60)
    features = pd.DataFrame({"lat": places.geometry.y})
    for graph in (distance_band(places, km=2500), kernel(places, k=5), delaunay(places)):
        row = moran(features, graph).loc["lat"]
        assert row["I"] > 0.3
        assert row["p"] < 0.01
        assert moran(features, graph.transform("R")).loc["lat", "p"] < 0.01
    with pytest.raises(InputError, match="add up to 0"):
        moran(features, distance_band(places, km=0.1))


@pytest.mark.parametrize(
    "build", [lambda p: distance_band(p, km=5), lambda p: kernel(p, km=5), delaunay]
)
@pytest.mark.parametrize(
    ("places", "said"),
    [
        (three.iloc[:1], "there are 1 place"),
        (three.iloc[:0], "there are 0 place"),
        (three.set_crs(None, allow_override=True), "no CRS"),
        (three.set_axis(list("abca")), "'a' more than once"),
        (places_at([0, 1, 2, np.nan], [0, 91, 2, 3]), "not finite"),
        (places_at([0, 1, 2], [0, 91, 2]), "latitude 91"),
        (gpd.GeoSeries([None, None], crs="EPSG:4326"), "no geometry"),
        (board, "Polygon"),
        (places_at([0, 1, 2], [0, 1, 2], crs="EPSG:4978"), "geocentric"),
        (pd.DataFrame({"lon": [1, 2], "lat": [1, 2]}), "DataFrame"),
    ],
)
def test_weights_say_which_places_are_wrong(build, places, said):
    with pytest.raises(InputError, match=said):
        build(places)


@pytest.mark.parametrize(
    ("build", "options", "said"),
    [
        *((build, {"km": km}, f"km is {km!r}") for build in (distance_band, kernel)
          for km in (0, -1, np.nan, np.inf, True, "5")),
        (distance_band, {"km": 5, "min_km": 5}, "below km"),
        (distance_band, {"km": 5, "min_km": -1}, "0 or more"),
        (distance_band, {"km": 5, "min_km": np.nan}, "0 or more"),
        (kernel, {}, "either km"),
        (kernel, {"km": 5, "k": 5}, "either km"),
        (kernel, {"k": 4}, "at least 5"),
        (kernel, {"k": 0}, "whole number"),
        (kernel, {"k": 2.0}, "whole number"),
        (kernel, {"k": 1, "function": "bisquare"}, "take 2 or more"),
        (kernel, {"km": 5, "function": "cosine"}, "one of gaussian"),
    ],
)  # fmt: skip
def test_weights_say_which_option_is_wrong(build, options, said):
    with pytest.raises(InputError, match=said):
        build(three, **options)
