"""Train sparse autoencoders on the activations of one layer, several in one pass over them."""

from __future__ import annotations

import hashlib
import itertools
import logging
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp import artefacts, cards, processes, progress
from geointerp.errors import InputError
from geointerp.models import chosen_device
from geointerp.saes.card import describe
from geointerp.saes.files import load, save
from geointerp.saes.quality import quality
from geointerp.saes.rows import Rows, origin
from geointerp.saes.split import Split, split

if TYPE_CHECKING:
    import torch

    from geointerp.saes.trainer import Recipe, Trainer

log = logging.getLogger(__name__)

# of training places, below which the figures of a latent are of a few places alone
_FEW_FIRINGS = 10
# from the wanted number of active latents
_OFF = 0.5
# how often validation places are looked at, how many, and every how many steps a checkpoint is made
_CHECKS, _VALIDATION = 50, 8192
_CHECKPOINT = 500


def train(
    acts: Any,
    *,
    architecture: str = "topk",
    width: int = 1024,
    k: float = 16,
    out: str | Path | None = None,
    steps: int = 1000,
    batch: int = 1024,
    learning_rate: float = 4e-3,
    patience: int | None = None,
    seed: int = 0,
    device: str | None = None,
    precision: str | None = None,
) -> Any:
    """Train a sparse autoencoder with sae-lens's models and losses.

    A tenth of the places, drawn by the seed, is held out and decides nothing but the
    figures on the card; places with the same prompt, such as namesakes, are on one side.
    Activations are scaled to unit variance for training and the scale is folded into the
    weights. Latents of TopK's kin that have not fired for as many places as there are in the
    training set get the auxiliary loss that revives them. With `out`, a checkpoint beside it
    lets a run that was killed go on, to the same bits; processes that `accelerate launch` started
    share each batch.

    Parameters
    ----------
    acts : DataArray or array_like, shape (place, hidden)
        Of one layer. What is on disk and does not fit is read in long stretches.
    architecture : str
        ``"topk"`` (Gao et al. 2024), ``"batchtopk"`` (Bussmann et al. 2024), ``"matryoshka"``
        (Bussmann et al. 2025), ``"jumprelu"`` (Rajamanoharan et al. 2024b), ``"gated"``
        (Rajamanoharan et al. 2024a) or ``"standard"`` (Bricken et al. 2023).
    width : int
        Number of latents.
    k : float
        Latents active at once, on average. Penalties are steered towards it where it cannot be
        set.
    out : path, optional
        A new folder for `cfg.json`, `sae_weights.safetensors` (sae-lens's format) and the
        card.
    steps, batch : int
        Updates, and places in each.
    learning_rate : float
        Of Adam; warmed up over the first 5% of the steps, to nothing over the last 30%.
    patience : int, optional
        Stop when the error on a twentieth of the places, not trained on, has not become less
        for so many fiftieths of the steps, and take the weights of when it was least. What a
        penalty makes sparse is looked at from when it is as sparse as is wanted.
    seed : int
    device : str, optional
        ``"cuda"`` if there is one, else ``"cpu"``.
    precision : {"float32", "bfloat16"}, optional
        What products are computed in; ``"bfloat16"`` on a GPU if not given, else
        ``"float32"``.

    Returns
    -------
    sae_lens.SAE
        As `load` reads it back from `out`.

    Raises
    ------
    InputError
        `k` or `width` out of range, activations that are not finite or all alike, fewer
        than 20 places, an `out` that exists, the checkpoint of another run, a device that is
        not there, or a training that diverged.

    References
    ----------
    Gao et al. 2024, Scaling and evaluating sparse autoencoders, arXiv 2406.04093.
    """
    from geointerp.saes.trainer import Recipe

    target, products = _where(device, precision)
    recipe = Recipe(architecture, width, k, steps, batch, learning_rate, seed, products)
    with ExitStack() as stack:
        if out is None:
            scratch = stack.enter_context(tempfile.TemporaryDirectory())
            folder, checkpoint = Path(processes.gather([scratch])[0]) / "sae", None
        else:
            folder, checkpoint = Path(out), Path(f"{Path(out)}.checkpoint")
            artefacts.refuse_existing(folder)
        _run(acts, [recipe], [folder], checkpoint, patience=patience, seed=seed, device=target)
        found = load(folder)
        processes.wait()
        return found


def sweep(
    acts: Any,
    *,
    out: str | Path,
    architectures: Iterable[str] = ("topk",),
    widths: Iterable[int] = (1024,),
    ks: Iterable[float] = (16,),
    seeds: Iterable[int] = (0,),
    steps: int = 1000,
    batch: int = 1024,
    learning_rate: float = 4e-3,
    patience: int | None = None,
    device: str | None = None,
    precision: str | None = None,
) -> pd.DataFrame:
    """Train one autoencoder for each architecture, width, sparsity and seed, on the same batches.

    The activations are read once for all. Held-out places and batches are those of the first
    seed; the seeds make the weights.

    Parameters
    ----------
    acts, steps, batch, learning_rate, patience, device, precision
        As for `train`.
    out : path
        A new folder, with a folder for each autoencoder and ``sweep.csv``.
    architectures, widths, ks, seeds : iterable
        As for `train`, each with each.

    Returns
    -------
    DataFrame
        A row for each autoencoder, indexed by its folder's name: what it is and its figures
        on held-out places.

    Raises
    ------
    InputError
        As for `train`; a combination that cannot be, before anything is trained.
    """
    from geointerp.saes.trainer import Recipe

    target, products = _where(device, precision)
    kinds = {"architectures": architectures, "widths": widths, "ks": ks, "seeds": seeds}
    for name, given in kinds.items():
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise InputError(f"{name} is {given!r}; it must be a list, [{given!r}].")
    numbers = list(seeds)
    recipes = [
        Recipe(architecture, width, k, steps, batch, learning_rate, seed, products)
        for architecture, width, k, seed in itertools.product(architectures, widths, ks, numbers)
    ]
    if not recipes:
        raise InputError(
            "there is nothing to train: give a width, a k, a seed and an architecture."
        )
    if len({recipe.name for recipe in recipes}) < len(recipes):
        raise InputError("an autoencoder is asked for twice: name each width, k and seed once.")
    target_folder = Path(out)
    artefacts.refuse_existing(target_folder)
    with ExitStack() as stack:
        part = target_folder
        if processes.is_first():
            part = stack.enter_context(artefacts.whole(target_folder))
            part.mkdir()
        folders = [part / recipe.name for recipe in recipes]
        checkpoint = Path(f"{target_folder}.checkpoint")
        figures = _run(
            acts, recipes, folders, checkpoint, patience=patience, seed=numbers[0], device=target
        )
        rows = [
            {"architecture": r.architecture, "width": r.width, "k": r.k, "seed": r.seed, **found}
            for r, found in zip(recipes, figures, strict=True)
        ]
        names = pd.Index([recipe.name for recipe in recipes], name="sae")
        table = pd.DataFrame(rows, index=names)
        if processes.is_first():
            table.to_csv(part / "sweep.csv")
    processes.wait()
    return table


def _where(device: str | None, precision: str | None) -> tuple[torch.device, str]:
    """The device, and what its products are computed in."""
    import torch

    target = torch.device(chosen_device(device))
    return target, precision or ("bfloat16" if target.type == "cuda" else "float32")


def _run(
    acts: Any,
    recipes: list[Recipe],
    folders: list[Path],
    checkpoint: Path | None,
    *,
    patience: int | None,
    seed: int,
    device: torch.device,
) -> list[dict[str, float]]:
    """Train, write and judge; the figures of each."""
    from geointerp.saes.checkpoint import Checkpoint
    from geointerp.saes.trainer import Trainer

    if patience is not None and patience < 1:
        raise InputError(f"patience is {patience}; it must be 1 or more.")
    if recipes[0].batch < processes.count():
        raise InputError(f"batch is {recipes[0].batch}, for {processes.count()} processes.")
    rows = Rows(acts)
    parts = split(acts, seed, validation=patience is not None)
    training = rows.of(parts.training)
    if len(training) < 20:
        raise InputError(
            f"there are {len(training)} places to train on, and {len(parts.held_out)} held out; "
            "an autoencoder needs 20 at the least."
        )
    found = _survey(training)
    others = [_digest(rows.of(part)) for part in (parts.validation, parts.held_out)]
    for recipe in recipes:
        _warn_of_width(recipe, len(training))
    trainers = [
        Trainer(
            recipe,
            mean=found.mean,
            scale=1 / found.spread,
            places=len(training),
            device=device,
            about=origin(acts),
        )
        for recipe in recipes
    ]
    state = None
    if checkpoint is not None:
        about: dict[str, Any] = {"autoencoders": len(recipes)}
        for number, recipe in enumerate(recipes, 1):
            prefix = f"autoencoder {number}: " if len(recipes) > 1 else ""
            about |= {prefix + name: value for name, value in recipe.about().items()}
        about |= {"patience": patience, "seed of the split": seed, "device": device.type}
        about |= {"processes": processes.count(), "versions": cards.versions()}
        about |= {"activations": [found.digest, *others]}
        state = Checkpoint(checkpoint, about)
    weights = _train(trainers, rows, parts, state, patience=patience, seed=seed, device=device)
    run = {"seed of the split": seed, "patience": patience}
    figures = [
        _write(folder, trainer, weight, acts, rows, parts, run)
        for folder, trainer, weight in zip(folders, trainers, weights, strict=True)
    ]
    if state is not None and processes.is_first():
        state.remove()
    return figures


class _Survey(NamedTuple):
    mean: NDArray[np.float64]
    spread: float
    digest: str


def _survey(rows: Rows) -> _Survey:
    """Mean, standard deviation over all numbers about it, and a hash, in one pass."""
    digest = hashlib.blake2b(digest_size=16)
    shift = rows[:1][0].astype(np.float64)
    total, squares = np.zeros_like(shift), 0.0
    for block in rows.blocks():
        digest.update(block.data)
        moved = block - shift
        total += moved.sum(axis=0)
        squares += float(np.vdot(moved, moved))
    mean = total / len(rows)
    variance = (squares / len(rows) - float(mean @ mean)) / len(mean)
    if squares == 0 or variance <= 0:
        raise InputError("all activations are the same; there is nothing to learn.")
    return _Survey(mean + shift, float(np.sqrt(variance)), digest.hexdigest())


def _digest(rows: Rows) -> str:
    """A hash of rows, which are seen to be finite."""
    digest = hashlib.blake2b(digest_size=16)
    for block in rows.blocks():
        digest.update(block.data)
    return digest.hexdigest()


def _warn_of_width(recipe: Recipe, places: int) -> None:
    firings = places * recipe.k / recipe.width
    if recipe.width > places or firings < _FEW_FIRINGS:
        log.warning(
            "width %d with %g active at once, for %d places to train on: a latent fires for %.1f "
            "of them on average; they can't fill it",
            recipe.width,
            recipe.k,
            places,
            firings,
        )


def _train(
    trainers: list[Trainer],
    rows: Rows,
    parts: Split,
    checkpoint: Any,
    *,
    patience: int | None,
    seed: int,
    device: torch.device,
) -> list[dict[str, torch.Tensor] | None]:
    """Steps of all autoencoders over the same batches; the weights to keep, if not the last."""
    import torch

    from geointerp.saes.stopping import Stopping
    from geointerp.saes.supply import Supply

    recipe = trainers[0].recipe
    stoppings = [Stopping(patience) for _ in trainers]
    start = 0
    saved = checkpoint.load() if checkpoint is not None else None
    if saved is not None:
        start, state = saved
        log.warning("%s: going on from step %d", checkpoint.path, start)
        for number, (trainer, stopping) in enumerate(zip(trainers, stoppings, strict=True)):
            trainer.restore(_under(f"{number}.trainer.", state))
            stopping.restore(_under(f"{number}.stopping.", state))
    training = rows.of(parts.training)
    supply = Supply(training, batch=recipe.batch, seed=seed, device=device)
    batches = supply.from_step(start)
    # read once, and no more of them than tell a lesser error from a greater one
    few = parts.validation[:: max(1, len(parts.validation) // _VALIDATION)]
    held = torch.from_numpy(rows.of(few)[:]).to(device)
    between = max(1, recipe.steps // _CHECKS)
    for step in progress.track(range(start, recipe.steps), "train", total=recipe.steps, done=start):
        running = [pair for pair in zip(trainers, stoppings, strict=True) if not pair[1].stopped]
        if not running:
            break
        batch = next(batches)
        for trainer, stopping in running:
            trainer.step(step, batch)
            if len(held) and (step + 1) % between == 0 and trainer.settled(step):
                stopping.see(trainer.squared_error(held), trainer.weights)
        if (step + 1) % _CHECKPOINT == 0 or step + 1 == recipe.steps:
            _save(checkpoint, step + 1, trainers, stoppings, last=step + 1 == recipe.steps)
    return [stopping.best for stopping in stoppings]


def _save(
    checkpoint: Any, step: int, trainers: list[Trainer], stoppings: list[Any], *, last: bool
) -> None:
    """Save the state, unless one has diverged or all are done."""
    try:
        for trainer in trainers:
            trainer.check()
    except InputError:
        # from here nothing can go on
        if checkpoint is not None and processes.is_first():
            checkpoint.remove()
        raise
    if checkpoint is None or last or not processes.is_first():
        return
    state: dict[str, torch.Tensor] = {}
    for number, (trainer, stopping) in enumerate(zip(trainers, stoppings, strict=True)):
        state |= {f"{number}.trainer.{k}": v for k, v in trainer.state().items()}
        state |= {f"{number}.stopping.{k}": v for k, v in stopping.state().items()}
    checkpoint.save(step, state)


def _under(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _write(
    folder: Path,
    trainer: Trainer,
    weights: dict[str, torch.Tensor] | None,
    acts: Any,
    rows: Rows,
    parts: Split,
    run: dict[str, Any],
) -> dict[str, float]:
    """Save an autoencoder with its card; its figures on held-out places."""
    autoencoder = trainer.finished(weights)
    figures: dict[str, float] = {}
    if processes.is_first():
        with artefacts.whole(folder) as part:
            save(autoencoder, part)
            figures = quality(load(part), rows.of(parts.held_out))
            about = describe(trainer.recipe, acts, parts, figures, run)
            cards.write(part, "Sparse autoencoder", about)
    processes.wait()
    figures = processes.gather([figures])[0]
    if figures["explained_variance"] < 0:
        log.warning(
            "on held-out places the autoencoder explains less than their mean does: train longer, "
            "on more places, or with fewer latents"
        )
    if trainer.recipe.architecture != "topk" and abs(figures["l0"] / trainer.recipe.k - 1) > _OFF:
        log.warning(
            "%s: on held-out places %.1f latents are active at once, where k is %g: train longer",
            trainer.recipe.name,
            figures["l0"],
            trainer.recipe.k,
        )
    return figures
