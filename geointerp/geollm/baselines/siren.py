"""A location encoder: spherical harmonics into a network of sines."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from geointerp.errors import InputError

_W0 = 30.0
_LEARNING_RATE = 1e-3
_DECAY = 1e-3
_BATCH = 256
_EPOCHS = 400
_PATIENCE = 30


class LocationEncoder(RegressorMixin, BaseEstimator):
    """A number from longitude and latitude, by spherical harmonics and a SIREN.

    Parameters
    ----------
    degree : int
        Of the harmonics: what is finer than about 20,000 km / degree is the network's own.
    width : int
        Of each hidden layer.
    depth : int
        Hidden layers.
    block_km : float
        Side of the blocks of training places that say when to stop.
    seed : int
        Of the weights, the batches and the blocks.

    Attributes
    ----------
    epochs_ : int
        After how many passes the blocks held out were predicted best; the network that
        predicts was then trained for as many on all places given to `fit`.

    Notes
    -----
    The target is standardised; AdamW; a fifth of the training places, in whole blocks where
    there are five or more, is held out to choose the number of epochs, 400 at most. Weights
    begin as Sitzmann et al. say: uniform within ±1/n in the first layer and
    ±√(6/n)/ω₀ in the others, with ω₀ = 30; so do biases, as Rußwurm et al. have them.

    References
    ----------
    Rußwurm, M. et al. (2024). Geographic location encoding with spherical harmonics and
    sinusoidal representation networks. ICLR. arXiv:2310.06743.
    Sitzmann, V. et al. (2020). Implicit neural representations with periodic activation
    functions. NeurIPS. arXiv:2006.09661, section 3.2.
    """

    def __init__(
        self,
        degree: int = 10,
        *,
        width: int = 64,
        depth: int = 2,
        block_km: float = 500.0,
        seed: int = 0,
    ) -> None:
        self.degree = degree
        self.width = width
        self.depth = depth
        self.block_km = block_km
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike) -> LocationEncoder:
        """Fit to lon and lat in degrees, shape (n, 2), and a target, shape (n,)."""
        for name in ("degree", "width", "depth"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be 1 or more.")
        lon_lat, target = validate_data(self, X, y, y_numeric=True, dtype=np.float64)
        if lon_lat.shape[1] != 2:
            raise InputError(f"X has {lon_lat.shape[1]} columns; they must be lon and lat.")
        target = target.astype(np.float64)
        inputs = self._inputs(lon_lat)
        train, held = self._held_out(lon_lat)
        _, self.epochs_ = self._train(inputs[train], target[train], inputs[held], target[held])
        self._network, _ = self._train(inputs, target, epochs=self.epochs_)
        self._mean, self._scale = _standard(target)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict, shape (n,)."""
        import torch

        check_is_fitted(self)
        lon_lat = validate_data(self, X, dtype=np.float64, reset=False)
        with torch.inference_mode():
            found = self._network(torch.from_numpy(self._inputs(lon_lat)))[:, 0].double().numpy()
        return found * self._scale + self._mean

    def _inputs(self, lon_lat: NDArray[np.float64]) -> NDArray[np.float32]:
        from geointerp.probes.harmonics import real_harmonics

        lon, lat = lon_lat.T
        return real_harmonics(self.degree, lon=lon, lat=lat).astype(np.float32)

    def _held_out(self, lon_lat: NDArray[np.float64]) -> Any:
        """The rows that are trained on and those that say when to stop."""
        from geointerp.probes.splits import BlockKFold, RandomKFold

        if len(lon_lat) < 5:
            rows = np.arange(len(lon_lat))
            return rows, rows
        lon, lat = lon_lat.T
        blocks = BlockKFold(self.block_km, seed=self.seed)
        enough = len(np.unique(blocks.blocks(lon=lon, lat=lat))) >= blocks.n_splits
        splitter = blocks if enough else RandomKFold(seed=self.seed)
        return next(iter(splitter.split(lon_lat, groups=lon_lat)))

    def _train(
        self,
        inputs: NDArray[np.float32],
        target: NDArray[np.float64],
        held_inputs: NDArray[np.float32] | None = None,
        held_target: NDArray[np.float64] | None = None,
        *,
        epochs: int = _EPOCHS,
    ) -> tuple[Any, int]:
        """A network, and after how many epochs the places held out were predicted best."""
        import torch

        mean, scale = _standard(target)
        given = torch.from_numpy(inputs)
        wanted = torch.from_numpy(((target - mean) / scale).astype(np.float32))
        random = np.random.default_rng(self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = siren(given.shape[1], width=self.width, depth=self.depth)
        optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=_DECAY)
        best, best_epoch = np.inf, 1
        for epoch in range(1, epochs + 1):
            order = random.permutation(len(given))
            for start in range(0, len(order), _BATCH):
                rows = order[start : start + _BATCH]
                loss = ((network(given[rows])[:, 0] - wanted[rows]) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if held_inputs is None or held_target is None:
                continue
            with torch.inference_mode():
                found = network(torch.from_numpy(held_inputs))[:, 0].double().numpy()
            error = float(((found * scale + mean - held_target) ** 2).mean())
            if error < best:
                best, best_epoch = error, epoch
            elif epoch - best_epoch >= _PATIENCE:
                break
        return network, best_epoch


def siren(inputs: int, *, width: int, depth: int) -> Any:
    """A network of sine layers with a linear one at the end, one output."""
    import torch

    class Sine(torch.nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return torch.sin(_W0 * values)

    sizes = [inputs, *[width] * depth, 1]
    layers: list[torch.nn.Module] = []
    for i, (n, m) in enumerate(itertools.pairwise(sizes)):
        linear = torch.nn.Linear(n, m)
        bound = 1 / n if i == 0 else np.sqrt(6 / n) / _W0
        for weights in (linear.weight, linear.bias):
            torch.nn.init.uniform_(weights, -bound, bound)
        layers += [linear, Sine()]
    return torch.nn.Sequential(*layers[:-1])


def _standard(target: NDArray[np.float64]) -> tuple[float, float]:
    spread = float(target.std())
    return float(target.mean()), spread if spread > 0 else 1.0
