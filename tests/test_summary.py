import numpy as np
import pandas as pd
import pytest
from libpysal.graph import Graph
from scipy import sparse
from spatial_helpers import EARTH_KM, dense, far_apart, places_at, scattered, squares

from geointerp.errors import InputError
from geointerp.spatial import contiguity, describe, distance_band, knn

three = places_at([0, 1, 2, 7], [0, 1, 5, 2])
board = squares([0, 1, 2], [0, 1])


def test_describe_a_graph():
    graph = Graph.from_sparse(
        sparse.csr_array(
            np.array(
                [[0, 1, 2, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 4.0], [0] * 5]
            )
        ),
        ids=list("abcde"),
    )
    said = describe(graph)
    assert said.to_dict() == {
        "places": 5,
        "links": 4,
        "pairs": 3,
        "islands": 2,
        "components": 2,
        "min_neighbors": 0,
        "mean_neighbors": 0.8,
        "max_neighbors": 2,
        "self_weights": 0,
        "symmetric": False,
        "row_standardised": False,
    }
    pd.testing.assert_series_equal(describe(graph.to_W()), said)
    assert describe(graph.transform("R"))["row_standardised"]
    places = places_at([0.0, 0, 1, 50, 50], [0, 0, 0, 0, 3], index=list("abcde"))
    degree = np.radians(1) * EARTH_KM
    said = describe(graph, places.iloc[::-1])  # in any order
    assert said["coincident"] == 2
    assert said["median_km"] == pytest.approx(degree / 2)
    assert said["longest_km"] == pytest.approx(3 * degree)
    feet = places_at([0.0, 0, 5280, 0, 0], [0, 0, 0, 0, 0], index=list("abcde"), crs="EPSG:2263")
    assert describe(graph, feet)["longest_km"] == pytest.approx(1.609347, abs=1e-6)


def test_describe_our_graphs():
    places = scattered(100)
    said = describe(knn(places, k=4), places)
    assert said[["links", "min_neighbors", "max_neighbors", "islands"]].tolist() == [400, 4, 4, 0]
    assert not said["symmetric"]
    assert said["row_standardised"]
    band = distance_band(places, km=1500)
    said = describe(band, places)
    far = far_apart(places)[dense(band, places) > 0]
    assert said["symmetric"]
    assert not said["row_standardised"]
    assert said["islands"] == len(band.isolates) > 0
    assert said["components"] == band.n_components
    assert said["median_km"] == pytest.approx(np.median(far))
    assert said["longest_km"] == pytest.approx(far.max())
    nobody = describe(distance_band(places, km=0.1), places)
    assert nobody[["links", "islands", "components", "coincident"]].tolist() == [0, 100, 100, 0]
    assert nobody[["median_km", "longest_km"]].isna().all()
    assert not nobody["row_standardised"]
    own = knn(places, k=4).assign_self_weight()
    assert describe(own)[["links", "self_weights", "max_neighbors"]].tolist() == [400, 100, 4]


@pytest.mark.parametrize(
    ("graph", "places", "said"),
    [
        (np.eye(3), None, "Graph or W is needed"),
        (knn(three, k=1), three.iloc[:3], "there are 3 places, 4 in the graph"),
        (knn(three, k=1), three.set_axis([0, 1, 2, 9]), "place 3 of the graph"),
        (contiguity(board), board, "representative_point"),
    ],
)
def test_describe_says_what_is_wrong(graph, places, said):
    with pytest.raises(InputError, match=said):
        describe(graph, places)
