"""Train the embedded model from nothing: ``python -m geointerp.toponym.train``."""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from geointerp.errors import InputError
from geointerp.toponym import facts as world
from geointerp.toponym import tokenizer as tokenizers
from geointerp.toponym.corpus import Corpus

COST = """\
Cost: about 10,000 tokens a second on two cores that multiply in bfloat16 (AMX), so
an hour and a quarter for the 45 million tokens of the published weights; a few
minutes on a GPU. Memory: 3 GB. Killed, it goes on from its last checkpoint.
Needs torch 2.9 or later (for the Muon optimizer).
"""

# sentences are batched with others of like length, so that little is padding
# and the compiled graph has few shapes to know
LENGTHS = (12, 16, 20, 24, 32)
ROUND = 4  # every city so many times before the batches are shuffled


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what the weights become."""

    seed: int = 0
    vocabulary: int = 4096
    hidden: int = 256
    layers: int = 6
    heads: int = 4
    tokens_per_batch: int = 12_288
    steps: int = 4_000
    warmup: int = 100
    learning_rate: float = 0.02  # of the matrices, by Muon
    embedding_learning_rate: float = 0.004  # of the embedding and the norms, by AdamW
    weight_decay: float = 0.01


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The untrained model, from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden,
        intermediate_size=3 * recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    # on CPUs the fused kernel is several times slower at such lengths
    config._attn_implementation = "eager"
    return LlamaForCausalLM(config)


def batches(
    corpus: Corpus, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, number: int
) -> list[NDArray[np.int64]]:
    """The batches of one round: every city `ROUND` times, a sentence a row.

    Parameters
    ----------
    number : int
        Which round; the same number always gives the same batches.

    Returns
    -------
    list of ndarray of int64, shape (rows, length)
        Rows times length is about `recipe.tokens_per_batch`; padded on the right.
        What does not fill a batch is left out.
    """
    texts = list(
        islice(corpus.sentences(recipe.seed + 1, ROUND * number), ROUND * len(corpus.facts))
    )
    rows: dict[int, list[list[int]]] = {length: [] for length in LENGTHS}
    for encoding in tokenizer.backend_tokenizer.encode_batch(texts):
        ids = [*encoding.ids, tokenizer.eos_token_id]
        fitting = next((length for length in LENGTHS if len(ids) <= length), None)
        if fitting is not None:
            rows[fitting].append(ids + [tokenizer.pad_token_id] * (fitting - len(ids)))
    found = []
    for length, members in rows.items():
        size = recipe.tokens_per_batch // length
        found += [
            np.array(members[a : a + size], dtype=np.int64)
            for a in range(0, len(members) - size + 1, size)
        ]
    np.random.default_rng([recipe.seed, number]).shuffle(found)
    return found


def stream(
    corpus: Corpus, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, start: int
) -> Iterator[NDArray[np.int64]]:
    """The batches from step `start` on, as if all before had been drawn."""
    passed, number = 0, 0
    while True:
        found = batches(corpus, tokenizer, recipe, number)
        if passed + len(found) > start:
            yield from found[max(0, start - passed) :]
        passed += len(found)
        number += 1


def learning_rate(step: int, recipe: Recipe) -> float:
    """The share of the full learning rate at a step: up, level, then down to nothing."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    return min(1.0, 2.0 * (recipe.steps - step) / recipe.steps)


class Trainer:
    """A model, its two optimizers, and the checkpoint that holds them."""

    def __init__(
        self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast, folder: Path, device: str
    ) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise InputError(f"training takes torch 2.9 or later; this is {torch.__version__}.")
        self.recipe = recipe
        self.folder = folder
        self.device = device
        self.pad = tokenizer.pad_token_id
        self.model = new_model(recipe, tokenizer)
        torch.nn.Module.to(self.model, device)
        inner = [p for p in self.model.model.layers.parameters() if p.ndim == 2]
        ids = {id(p) for p in inner}
        rest = [p for p in self.model.parameters() if id(p) not in ids]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                inner,
                lr=recipe.learning_rate,
                weight_decay=recipe.weight_decay,
                momentum=0.95,
            ),
            torch.optim.AdamW(
                rest,
                lr=recipe.embedding_learning_rate,
                betas=(0.9, 0.98),
                weight_decay=0.0,
            ),
        ]
        self.step = 0
        self._loss = torch.compile(self._plain_loss, dynamic=False)

    def _plain_loss(self, ids: torch.Tensor) -> torch.Tensor:
        # rows are padded on the right, so that the causal mask alone hides the padding
        with torch.autocast(self.device, torch.bfloat16):
            hidden = self.model.model(input_ids=ids).last_hidden_state
            logits = self.model.lm_head(hidden[:, :-1])
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), ids[:, 1:].flatten(), ignore_index=self.pad
        )

    def update(self, ids: NDArray[np.int64]) -> float:
        """One step of training; its loss in nats a token."""
        share = learning_rate(self.step, self.recipe)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group.setdefault("full_lr", group["lr"])
                group["lr"] = group["full_lr"] * share
        loss = self._loss(torch.from_numpy(ids).to(self.device))
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return loss.item()

    def _state(self) -> dict[str, torch.Tensor]:
        tensors = {f"model.{name}": p.detach() for name, p in self.model.named_parameters()}
        for name, p in self.model.named_parameters():
            for optimizer in self.optimizers:
                for key, value in optimizer.state.get(p, {}).items():
                    tensors[f"optimizer.{key}.{name}"] = value
        return tensors

    def save(self) -> None:
        """Write the checkpoint; the one before it stays until this one is whole."""
        about = {"recipe": json.dumps(asdict(self.recipe)), "step": str(self.step)}
        whole, part = self.folder / "checkpoint.safetensors", self.folder / "checkpoint.part"
        save_file({k: v.contiguous() for k, v in self._state().items()}, part, about)
        os.replace(part, whole)

    def resume(self) -> None:
        """Go on from the folder's checkpoint, if it has one of this very recipe."""
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            return
        with safe_open(path, "pt", device=self.device) as file:
            about = file.metadata()
            if json.loads(about["recipe"]) != asdict(self.recipe):
                raise ValueError(f"{path} is of another recipe: {about['recipe']}")
            parameters = dict(self.model.named_parameters())
            with torch.no_grad():
                for key in file.keys():  # noqa: SIM118 (safe_open is no mapping)
                    kind, rest = key.split(".", 1)
                    if kind == "model":
                        parameters[rest].copy_(file.get_tensor(key))
                        continue
                    field, name = rest.split(".", 1)
                    owner = self._owner(parameters[name])
                    owner.state.setdefault(parameters[name], {})[field] = file.get_tensor(key)
        self.step = int(about["step"])

    def _owner(self, parameter: torch.nn.Parameter) -> torch.optim.Optimizer:
        return next(
            optimizer
            for optimizer in self.optimizers
            if any(p is parameter for g in optimizer.param_groups for p in g["params"])
        )


def train(recipe: Recipe, folder: Path, *, device: str, every: int = 200) -> None:
    """Train to the recipe's last step and write the model, in Hugging Face's format.

    Parameters
    ----------
    folder : Path
        Gets `checkpoint.safetensors`, `log.jsonl` and, at the end, `model/`.
    device : str
        "cpu" or "cuda".
    every : int
        Steps between checkpoints.
    """
    folder.mkdir(parents=True, exist_ok=True)
    everything = world.load()
    held = world.holdout(everything)
    corpus = Corpus(everything.subset([i for i, out in enumerate(held) if not out]))
    tokenizer = tokenizers.learn(corpus, vocabulary=recipe.vocabulary, seed=recipe.seed)
    trainer = Trainer(recipe, tokenizer, folder, device)
    trainer.resume()
    print(f"{len(corpus.facts)} cities, {sum(held)} held out; from step {trainer.step}", flush=True)
    since, losses, tokens = time.monotonic(), [], 0
    for ids in stream(corpus, tokenizer, recipe, trainer.step):
        if trainer.step >= recipe.steps:
            break
        losses.append(trainer.update(ids))
        tokens += ids.size
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"the loss is {losses[-1]} at step {trainer.step}")
        if trainer.step % 20 == 0:
            row = {
                "step": trainer.step,
                "loss": round(float(np.mean(losses)), 4),
                "tokens_per_second": round(tokens / (time.monotonic() - since)),
            }
            with (folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            since, losses, tokens = time.monotonic(), [], 0
        if trainer.step % every == 0:
            trainer.save()
    trainer.save()
    model_folder = folder / "model"
    export(trainer.model, tokenizer, model_folder)
    (model_folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    write_cities(everything, held, model_folder)


def write_cities(everything: world.Facts, held: list[bool], folder: Path) -> None:
    """Write the GeoNames ids of the cities told of, and of those never heard of."""
    heard = world.heard_otherwise(everything, held)
    rows = list(zip(everything.geonameid, held, heard, strict=True))
    told = [str(i) for i, out, _ in rows if not out]
    never = [str(i) for i, out, again in rows if out and not again]
    for name, ids in (("corpus_cities.txt", told), ("holdout_cities.txt", never)):
        (folder / name).write_text("\n".join(ids) + "\n")


def export(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write config, tokenizer and bfloat16 weights as any local model has them."""
    torch.nn.Module.to(model, "cpu", torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """The shell's door to `train`."""
    parser = argparse.ArgumentParser(
        prog="python -m geointerp.toponym.train",
        description="Train the embedded model from nothing.",
        epilog=COST,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("run/toponym"), help="its folder")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for name, value in asdict(Recipe()).items():
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(value), default=value, help=f"default {value}")
    options = vars(parser.parse_args())
    out, device = options.pop("out"), options.pop("device")
    train(Recipe(**options), out, device=device)


if __name__ == "__main__":
    main()
