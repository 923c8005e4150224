"""Systems (gram + αI) c = product, solved for many penalties α at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgError, lapack, solveh_banded
from threadpoolctl import threadpool_limits

Array = Any  # of NumPy, or of torch on the device that computes
Item = TypeVar("Item")
Result = TypeVar("Result")

# off-diagonals of the band: more cost more to find, fewer read the matrix more often
_BAND = 64
# a reduction to a band costs as much as so many Cholesky factors
_FACTORS = 5


def shrunk(gram: Array, product: Array, alphas: ArrayLike) -> Array:
    """(gram + αI)⁻¹ product for every penalty.

    On the CPU and for many penalties by one reduction to a band, which serves them all; else
    by a Cholesky factor for each.

    Parameters
    ----------
    gram : array of float64, shape (d, d)
        Symmetric, without negative eigenvalues. Overwritten.
    product : array of float64, shape (d, t)
    alphas : array_like, shape (penalty,)
        Each above 0.

    Returns
    -------
    array of float64, shape (penalty, d, t)

    Raises
    ------
    scipy.linalg.LinAlgError
        A penalty is lost in the rounding of `gram`.
    """
    penalties = np.asarray(alphas, float)
    if not isinstance(gram, np.ndarray):
        eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        return torch.stack(
            [
                torch.cholesky_solve(product, torch.linalg.cholesky(gram + alpha * eye))
                for alpha in penalties
            ]
        )
    if len(penalties) > _FACTORS and len(gram) > 2 * _BAND:
        return _by_band(gram, product, penalties)
    return _by_factors(gram, product, penalties)


def _by_factors(
    gram: NDArray[np.float64], product: NDArray[np.float64], alphas: NDArray[np.float64]
) -> NDArray[np.float64]:
    found = np.empty((len(alphas), *product.shape))
    factor = np.empty_like(gram, order="F")
    diagonal = np.arange(len(gram))
    for i, alpha in enumerate(alphas):
        # in place, and only half of it: copies would cost more than the factor
        np.copyto(factor, gram.T)
        factor[diagonal, diagonal] += alpha
        _, found[i], failed = lapack.dposv(factor, product, lower=1, overwrite_a=1)
        if failed:
            raise _lost(alpha)
    return found


def _by_band(
    gram: NDArray[np.float64], product: NDArray[np.float64], alphas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """By an orthogonal similarity Q' gram Q that leaves only a band.

    The same Q serves every penalty, since Q' (gram + αI) Q = Q' gram Q + αI. The reduction is
    the first stage of the two-stage tridiagonalisation of Bischof, Lang & Sun (2000), A
    framework for symmetric band reduction, ACM TOMS 26(4).
    """
    band, reflectors = _reduced(torch.from_numpy(gram))
    turned = torch.from_numpy(product.copy())
    for start, vectors, triangle in reflectors:
        turned[start:] -= vectors @ (triangle.T @ (vectors.T @ turned[start:]))
    found = np.empty((*product.shape, len(alphas)))
    for i, alpha in enumerate(alphas):
        shifted = band.copy()
        shifted[0] += alpha
        try:
            found[..., i] = solveh_banded(
                shifted, turned.numpy(), overwrite_ab=True, lower=True, check_finite=False
            )
        except LinAlgError:
            raise _lost(alpha) from None
    back = torch.from_numpy(found.reshape(len(gram), -1))
    for start, vectors, triangle in reversed(reflectors):
        back[start:] -= vectors @ (triangle @ (vectors.T @ back[start:]))
    return np.ascontiguousarray(np.moveaxis(found, 2, 0))


def _reduced(
    a: torch.Tensor,
) -> tuple[NDArray[np.float64], list[tuple[int, torch.Tensor, torch.Tensor]]]:
    """The band's diagonals, lower first, and I - V T V' of each step with where it begins."""
    reflectors = []
    for left in range(0, len(a) - _BAND, _BAND):
        start = left + _BAND
        panel, tau = torch.geqrf(a[start:, left:start])
        vectors = panel.tril(-1)[:, : len(tau)]
        # a column that is zero already needs no reflection
        vectors.diagonal()[:] = tau != 0
        inverse = (vectors.T @ vectors).triu(1)
        inverse.diagonal()[:] = torch.where(tau != 0, 1 / tau, 1.0)
        eye = torch.eye(len(tau), dtype=a.dtype)
        triangle = torch.linalg.solve_triangular(inverse, eye, upper=True)
        a[start : start + len(tau), left:start] = panel[: len(tau)].triu()

        rest = a[start:, start:]
        turned = vectors @ triangle
        seen = rest @ turned
        seen -= 0.5 * vectors @ (turned.T @ seen)
        rest.addmm_(torch.cat([vectors, seen], 1), torch.cat([seen, vectors], 1).T, alpha=-1)
        reflectors.append((start, vectors, triangle))
    band = np.zeros((_BAND + 1, len(a)))
    for below in range(min(_BAND + 1, len(a))):
        band[below, : len(a) - below] = a.diagonal(-below)
    return band, reflectors


def _lost(alpha: float) -> LinAlgError:
    return LinAlgError(f"the penalty {alpha:g} is too small for these features.")


def at_once(
    call: Callable[[Item], Result], items: Iterable[Item], device: str = "cpu"
) -> list[Result]:
    """Results in the order of the items; on the CPU as many at once as there are threads.

    Several systems side by side, each on one thread, take less time than one after the other
    on all threads.
    """
    wanted, threads = list(items), torch.get_num_threads()
    workers = min(len(wanted), threads)
    if workers < 2 or device != "cpu":
        return [call(item) for item in wanted]
    share = threads // workers
    try:
        with (
            threadpool_limits(share),
            ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,)) as p,
        ):
            return list(p.map(call, wanted))
    finally:
        torch.set_num_threads(threads)
