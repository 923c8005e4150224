"""One function for each way to train a TopK autoencoder on given batches.

Each takes a `Task`, trains, and returns seconds and a function that reconstructs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from geointerp.saes.rows import Rows
from geointerp.saes.supply import Supply

WARM_UP, DECAY = 0.05, 0.3
Trained = tuple[float, Callable[[torch.Tensor], torch.Tensor]]


@dataclass
class Task:
    """What to train on, and what.

    `values` have unit variance, float32, shape (place, hidden).
    """

    values: np.ndarray
    width: int
    k: int
    batch: int
    steps: int
    learning_rate: float
    device: str
    architecture: str = "topk"

    @property
    def silent(self) -> int:
        """Places without which a latent is dead, as this library has it."""
        return min(len(self.values), self.steps * self.batch // 10)

    def batches(self) -> Iterator[torch.Tensor]:
        """The same for all."""
        device = torch.device(self.device)
        return Supply(Rows(self.values), batch=self.batch, seed=0, device=device).from_step(0)


def synchronised(device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def geointerp(task: Task) -> Trained:
    """What `geointerp.saes.train` does between reading and writing."""
    from geointerp.saes.trainer import Recipe, Trainer

    recipe = Recipe(
        task.architecture,
        task.width,
        task.k,
        task.steps,
        task.batch,
        task.learning_rate,
        0,
        "bfloat16" if task.device != "cpu" else "float32",
    )
    mean = np.zeros(task.values.shape[1])
    trainer = Trainer(
        recipe,
        mean=mean,
        scale=1.0,
        places=len(task.values),
        device=torch.device(task.device),
        about={},
    )
    batches = task.batches()
    start = synchronised(task.device)
    for step in range(task.steps):
        trainer.step(step, next(batches))
    taken = synchronised(task.device) - start
    return taken, trainer.finished()


def sae_lens(task: Task) -> Trained:
    """SAETrainer.fit()."""
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    from geointerp.saes.architectures import build

    torch.manual_seed(0)
    sae = build(
        task.architecture,
        size=task.values.shape[1],
        width=task.width,
        k=task.k,
        device=torch.device(task.device),
        about={},
    )
    config = SAETrainerConfig(
        total_training_samples=task.steps * task.batch,
        train_batch_size_samples=task.batch,
        lr=task.learning_rate,
        lr_end=0.0,
        lr_warm_up_steps=int(WARM_UP * task.steps),
        lr_decay_steps=int(DECAY * task.steps),
        device=task.device,
        autocast=task.device != "cpu",
        dead_feature_window=max(1, task.silent // task.batch),
        logger=LoggingConfig(log_to_wandb=False),
    )
    trainer = SAETrainer(config, sae, task.batches())
    start = synchronised(task.device)
    trainer.fit()
    return synchronised(task.device) - start, sae


def sparsify(task: Task) -> Trained:
    """Its SparseCoder, stepped as its Trainer does, which reads only from language models."""
    from sparsify import SparseCoder, SparseCoderConfig
    from transformers import get_linear_schedule_with_warmup

    torch.manual_seed(0)
    config = SparseCoderConfig(num_latents=task.width, k=task.k)
    sae = SparseCoder(task.values.shape[1], config, task.device, dtype=torch.float32)
    optimizer = torch.optim.Adam(sae.parameters(), lr=task.learning_rate)
    schedule = get_linear_schedule_with_warmup(optimizer, int(WARM_UP * task.steps), task.steps)
    silent = torch.zeros(task.width, dtype=torch.long, device=task.device)
    batches = task.batches()
    start = synchronised(task.device)
    for _ in range(task.steps):
        inputs = next(batches)
        sae.set_decoder_norm_to_unit_norm()
        out = sae(inputs, dead_mask=silent > task.silent)
        (out.fvu + out.auxk_loss / 32).backward()
        silent += len(inputs)
        silent[out.latent_indices.flatten()] = 0
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return synchronised(task.device) - start, lambda x: sae(x).sae_out


def dictionary_learning(task: Task) -> Trained:
    """trainSAE() with its TopKTrainer."""
    from dictionary_learning.trainers.top_k import TopKTrainer
    from dictionary_learning.training import trainSAE

    config = {
        "trainer": TopKTrainer,
        "steps": task.steps,
        "activation_dim": task.values.shape[1],
        "dict_size": task.width,
        "k": task.k,
        "layer": 0,
        "lm_name": "none",
        "lr": task.learning_rate,
        "warmup_steps": int(WARM_UP * task.steps),
        "decay_start": int((1 - DECAY) * task.steps),
        "threshold_start_step": task.steps // 2,
        "seed": 0,
        "device": task.device,
    }
    made = []

    class Kept(TopKTrainer):
        # trainSAE gives nothing back
        def __init__(self, **given):
            super().__init__(**given)
            self.dead_feature_threshold = task.silent
            made.append(self)

    config["trainer"] = Kept
    batches = task.batches()
    dtype = torch.float32 if task.device == "cpu" else torch.bfloat16
    start = synchronised(task.device)
    trainSAE(batches, [config], task.steps, device=task.device, autocast_dtype=dtype)
    return synchronised(task.device) - start, made[0].ae


def floor(task: Task) -> Trained:
    """The one product that TopK cannot do without: all latents of every batch."""
    dtype = torch.float32 if task.device == "cpu" else torch.bfloat16
    encoder = torch.randn(task.values.shape[1], task.width, device=task.device, dtype=dtype)
    batches = (batch.to(dtype) for batch in task.batches())
    start = synchronised(task.device)
    for _ in range(task.steps):
        next(batches) @ encoder
    return synchronised(task.device) - start, lambda x: torch.zeros_like(x)
