import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy.linalg import LinAlgError
from threadpoolctl import threadpool_info, threadpool_limits

from geointerp.probes import shrinkage
from geointerp.probes.shrinkage import at_once, shrunk

MANY = 10.0 ** np.arange(-2, 6)  # for these by a band, for fewer by factors


def system(d, rank=None, t=3, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(rank or 2 * d, d)) * 10.0 ** random.uniform(-1, 1, d)
    return x.T @ x, x.T @ random.normal(size=(len(x), t))


def by_eigenvectors(gram, product, alphas):
    values, vectors = np.linalg.eigh(gram)
    return np.stack([vectors @ ((vectors.T @ product) / (values + a)[:, None]) for a in alphas])


def assert_near(found, wanted):
    for a in range(len(wanted)):
        np.testing.assert_allclose(found[a], wanted[a], rtol=0, atol=1e-8 * np.abs(wanted[a]).max())


# with and without a last panel that is narrower than the band, and one row only below it
@pytest.mark.parametrize("d", [129, 192, 200, 256, 321])
@pytest.mark.parametrize("rank", [None, 50])
def test_a_band_serves_every_penalty(d, rank):
    gram, product = system(d, rank)
    wanted = by_eigenvectors(gram, product, MANY)
    found = shrunk(gram.copy(), product, MANY)
    assert_near(found, wanted)
    assert_near(np.stack([shrunk(gram.copy(), product, [alpha])[0] for alpha in MANY]), wanted)


def test_the_reduction_is_an_orthogonal_similarity():
    gram, _ = system(300)
    band, _ = shrinkage._reduced(torch.from_numpy(gram.copy()))
    full = np.zeros((300, 300))
    for below, diagonal in enumerate(band):
        full += np.diag(diagonal[: 300 - below], -below)
    full += np.tril(full, -1).T
    wanted = np.linalg.eigvalsh(gram)
    np.testing.assert_allclose(np.linalg.eigvalsh(full), wanted, atol=1e-12 * wanted[-1])


def test_columns_of_zeros_and_of_equals():
    gram, product = system(200)
    gram[:, 20:150] = gram[20:150] = 0
    product[20:150] = 0
    gram[160], product[160] = gram[161], product[161]
    gram[:, 160] = gram[:, 161]
    gram[160, 160] = gram[161, 161]
    found = shrunk(gram.copy(), product, MANY)
    wanted = by_eigenvectors(gram, product, MANY)
    assert_near(found, wanted)
    assert np.abs(found[:, 20:150]).max() < 1e-10 * np.abs(wanted).max()


@pytest.mark.parametrize("alphas", [[1e-30], [1e-30, *MANY]])
def test_a_penalty_that_rounding_swallows_is_named(alphas):
    gram, product = system(200)
    # no sum of squares: what a Gram matrix that cancelled to nothing may look like
    gram -= 1.01 * np.linalg.eigvalsh(gram)[0] * np.eye(200)
    with pytest.raises(LinAlgError, match="1e-30 is too small"):
        shrunk(gram, product, alphas)


def test_calls_side_by_side_come_back_in_order_and_leave_the_threads_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with threadpool_limits(4):
            meeting = threading.Barrier(4)

            def call(item):
                meeting.wait(timeout=60)  # only passed where four are there at once
                blas = {i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"}
                return item, torch.get_num_threads(), blas

            found = at_once(call, range(8))
            assert [item for item, _, _ in found] == list(range(8))
            assert {threads for _, threads, _ in found} == {1}
            assert all(blas == {1} for _, _, blas in found)
            with ThreadPoolExecutor() as another:
                assert another.submit(torch.ones(9).sum().item).result() == 9
                assert another.submit(torch.get_num_threads).result() == 4
            assert torch.get_num_threads() == 4
            assert all(i["num_threads"] == 4 for i in threadpool_info() if i["user_api"] == "blas")
            with pytest.raises(ZeroDivisionError):
                at_once(lambda item: 1 / item, [1, 0])
            assert torch.get_num_threads() == 4
            # another device computes one after the other, with all threads
            assert at_once(lambda _: torch.get_num_threads(), range(3), "cuda:0") == [4, 4, 4]
    finally:
        torch.set_num_threads(before)
