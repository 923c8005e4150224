"""One autoencoder in training."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geointerp import processes
from geointerp.errors import InputError
from geointerp.saes.architectures import ARCHITECTURES, PENALISED, build
from geointerp.saes.losses import loss

# of the steps: the learning rate rises over the first, and falls to nothing over the last
_WARM_UP, _DECAY = 0.05, 0.3
# by the name that is asked for
_RANKED = ("topk", "batchtopk", "matryoshka")
# by what share of its distance from the wanted sparsity a penalty moves at each step
_STEERING = 0.02
# over what share of the steps such autoencoders become as sparse as is wanted
_SPARSER = 0.5
# times the wanted sparsity, at which it is taken for reached
_NEAR = 1.25
# of all samples, without which a latent is dead
_SILENT = 0.1


@dataclass(frozen=True)
class Recipe:
    """What autoencoder to train, and how.

    Parameters
    ----------
    architecture : str
        One of `geointerp.saes.architectures.ARCHITECTURES`.
    width : int
        Number of latents.
    k : float
        Latents active at once; on average but for TopK.
    steps, batch : int
        Updates, and places in each.
    learning_rate : float
        Of Adam.
    seed : int
        Of the weights.
    precision : {"float32", "bfloat16"}
        What products are computed in; weights are float32.

    Raises
    ------
    InputError
        A number out of its range, or an architecture that there is not.
    """

    architecture: str = "topk"
    width: int = 1024
    k: float = 16
    steps: int = 1000
    batch: int = 1024
    learning_rate: float = 4e-3
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("width", "steps", "batch", "seed"):
            given = getattr(self, name)
            if isinstance(given, bool) or not isinstance(given, int | np.integer):
                raise InputError(f"{name} is {given!r}; it must be a whole number.")
            object.__setattr__(self, name, int(given))
        for name in ("k", "learning_rate"):
            given = getattr(self, name)
            if isinstance(given, bool) or not isinstance(given, int | float | np.number):
                raise InputError(f"{name} is {given!r}; it must be a number.")
            object.__setattr__(self, name, float(given))
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}; it must be from 0 to 2³² - 1.")
        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise InputError(f"architecture is {self.architecture!r}; it must be one of {known}.")
        if self.width < 1 or not 1 <= self.k <= self.width:
            raise InputError(f"width is {self.width} and k is {self.k}; it must be 1 ≤ k ≤ width.")
        if self.architecture == "topk" and self.k != int(self.k):
            raise InputError(f"k is {self.k}; of a TopK autoencoder it must be a whole number.")
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be 1 or more.")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate is {self.learning_rate}; it must be above 0.")
        if self.precision not in ("float32", "bfloat16"):
            raise InputError(f"precision is {self.precision!r}; it must be float32 or bfloat16.")

    @property
    def name(self) -> str:
        """Short and distinct, for a folder."""
        return f"{self.architecture}-{self.width}-{self.k:g}-seed{self.seed}"

    def about(self) -> dict[str, Any]:
        """For a card."""
        return asdict(self)


class Trainer:
    """An autoencoder, its optimiser and what else a step changes.

    Parameters
    ----------
    recipe : Recipe
    mean : ndarray of float64, shape (d,)
        Of the activations.
    scale : float
        They are multiplied by it, to have unit variance.
    places : int
        How many there are to train on. A latent that fires for none of so many is dead.
    device : torch.device
    about : dict
        sae-lens's metadata.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        mean: NDArray[np.float64],
        scale: float,
        places: int,
        device: torch.device,
        about: dict[str, Any],
    ) -> None:
        self.recipe, self._scale, self._places, self._device = recipe, scale, places, device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(recipe.seed)
            self._autoencoder = build(
                recipe.architecture,
                size=len(mean),
                width=recipe.width,
                k=recipe.k,
                device=device,
                about=about,
            )
        self._autoencoder.b_dec.data = torch.from_numpy((mean * scale).astype(np.float32)).to(
            device
        )
        self._optimizer = torch.optim.Adam(
            self._autoencoder.parameters(), lr=recipe.learning_rate, fused=True
        )
        self._silent = torch.zeros(recipe.width, dtype=torch.long, device=device)
        self._penalty = torch.tensor(1.0, dtype=torch.float64)
        self._l0 = torch.tensor(math.inf, dtype=torch.float64)

    def step(self, number: int, batch: torch.Tensor) -> None:
        """Update the weights by a batch of activations, shape (n, d), the same in each process."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * self._rate(number)
        found = self._loss(number, batch * self._scale)
        torch.nn.utils.clip_grad_norm_(self._autoencoder.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._silent = torch.where(found.fired, 0, self._silent + len(batch))
        self._l0 = (found.active.double() / len(batch)).cpu()
        self._steer(number, float(self._l0))

    def _rate(self, number: int) -> float:
        """Share of the learning rate."""
        rise, fall = max(1, _WARM_UP * self.recipe.steps), max(1, _DECAY * self.recipe.steps)
        return min((number + 1) / rise, 1.0, (self.recipe.steps - number) / fall)

    def _loss(self, number: int, inputs: torch.Tensor) -> Any:
        """Gradients and what was active, of all processes."""
        own = inputs[processes.part()]
        # in few steps of many places none would ever be dead
        samples = self.recipe.steps * len(inputs)
        dead = self._silent > min(self._places, _SILENT * samples)
        name = PENALISED.get(self.recipe.architecture)
        coefficients = dict(self._coefficients(number))
        if name is not None:
            coefficients[name] = float(self._penalty)
        with torch.autocast(
            self._device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"
        ):
            found = loss(self._autoencoder, own, dead=dead, step=number, coefficients=coefficients)
        # each process's mean counts by its rows
        (found.value * (len(own) / len(inputs))).backward()
        for parameter in self._autoencoder.parameters():
            if parameter.grad is not None:
                parameter.grad = processes.total(parameter.grad)
        return found._replace(
            fired=processes.total(found.fired.long()) > 0, active=processes.total(found.active)
        )

    def _coefficients(self, number: int) -> dict[str, float]:
        """sae-lens's penalties, with their warm-up."""
        found = {}
        for name, value in self._autoencoder.get_coefficients().items():
            found[name] = getattr(value, "value", value)
        # a penalty on latents that have learned nothing yet kills them
        grown = min(1.0, (number + 1) / max(1, _WARM_UP * self.recipe.steps))
        return {name: grown * value for name, value in found.items()}

    def _steer(self, number: int, l0: float) -> None:
        """Move the penalty, where one decides how many latents are active, towards `k`.

        By and by, from half of the latents on: most would never fire again after a sudden one.
        """
        if self.recipe.architecture in PENALISED:
            left = max(0.0, 1 - number / (_SPARSER * self.recipe.steps))
            wanted = self.recipe.k * max(1.0, self.recipe.width / 2 / self.recipe.k) ** left
            self._penalty *= math.exp(_STEERING * math.log(max(l0, 0.1) / wanted))

    def settled(self, number: int) -> bool:
        """Whether it is as sparse as it will be, so that errors can be compared."""
        if self.recipe.architecture in _RANKED:
            return True
        late = number >= _SPARSER * self.recipe.steps
        return late and float(self._l0) <= _NEAR * self.recipe.k

    def squared_error(self, batch: torch.Tensor) -> float:
        """Of the reconstruction, summed over a batch of activations."""
        inputs = batch * self._scale
        with torch.inference_mode():
            missed = self._autoencoder.decode(self._autoencoder.encode(inputs)) - inputs
            return float(missed.double().square().sum()) / self._scale**2

    def state(self) -> dict[str, torch.Tensor]:
        """All that a step changes, under distinct names."""
        found = {f"weights.{n}": v for n, v in self._autoencoder.state_dict().items()}
        for number, state in self._optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
        return found | {"silent": self._silent, "penalty": self._penalty, "l0": self._l0}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what `state` gave."""
        weights: dict[str, torch.Tensor] = {}
        optimizer: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in state.items():
            kind, _, name = key.partition(".")
            if kind == "weights":
                weights[name] = value
            elif kind == "optimizer":
                number, _, name = name.partition(".")
                optimizer.setdefault(int(number), {})[name] = value
        self._autoencoder.load_state_dict(weights)
        whole = self._optimizer.state_dict()
        self._optimizer.load_state_dict({**whole, "state": optimizer})
        self._silent = state["silent"].to(self._device)
        self._penalty, self._l0 = state["penalty"].clone(), state["l0"].clone()

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of the weights."""
        return {n: v.clone() for n, v in self._autoencoder.state_dict().items()}

    def check(self) -> None:
        """Raise `InputError` where the training has diverged."""
        if not all(bool(torch.isfinite(p).all()) for p in self._autoencoder.parameters()):
            raise InputError(
                f"the training diverged: weights of {self.recipe.name} are not finite; "
                f"learning_rate is {self.recipe.learning_rate}, make it smaller."
            )

    def finished(self, weights: dict[str, torch.Tensor] | None = None) -> Any:
        """The autoencoder of activations as they are; not to be trained any further.

        Latents are measured by what they add to the reconstruction: the decoder's rows have
        length 1.

        Raises
        ------
        InputError
            The training has diverged.
        """
        if weights is not None:
            self._autoencoder.load_state_dict(weights)
        self.check()
        self._autoencoder.fold_activation_norm_scaling_factor(self._scale)
        if self.recipe.architecture not in _RANKED:
            # of the others sae-lens does it when it saves them
            self._autoencoder.fold_W_dec_norm()
        return self._autoencoder
