"""Fine-tuning: a language model taught to rate, on a sample of places with known truth."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

from geointerp import artefacts, cards, fingerprint
from geointerp.errors import InputError
from geointerp.geollm.finetuning import adapters
from geointerp.geollm.finetuning.training import Example, train
from geointerp.geollm.ratings.chat import Chat
from geointerp.geollm.ratings.encoding import ask, texts_of
from geointerp.geollm.ratings.predict import predict
from geointerp.geollm.ratings.scale import RATINGS
from geointerp.geollm.scoring.pairs import paired
from geointerp.geollm.truth.labels import Labels
from geointerp.models import Model

# a step that suits each; of models of a billion weights and more, a third of it is wiser
LEARNING_RATES = {"lora": 1e-3, "prompt": 3e-2, "bitfit": 3e-3, "full": 1e-4}
_SAMPLE = "labels.safetensors"


@dataclass(repr=False)
class Finetuned(Model):
    """A language model that was taught to rate, and the way back from its ratings.

    It is used wherever a `geointerp.models.Model` is.

    Attributes
    ----------
    labels : Labels
        Fitted to the sample: ``labels.inverse_transform(ratings["rating"])`` is in the
        truth's unit.
    losses : list of float
        The mean loss of each epoch, in nats per rating. A model that knows the form of a
        rating and nothing else has ln 100 ≈ 4.6.
    """

    labels: Labels = field(default_factory=Labels)
    losses: list[float] = field(default_factory=list)

    def __repr__(self) -> str:
        losses = ", ".join(f"{loss:.3g}" for loss in self.losses)
        return f"Finetuned({self.name!r}, labels={self.labels}, losses=[{losses}])"


def finetune(
    model: Model,
    prompts: pd.DataFrame | pd.Series,
    truth: pd.Series,
    *,
    method: str = "lora",
    labels: Literal["quantile", "magnitude"] | Labels = "quantile",
    out: str | Path | None = None,
    epochs: int = 3,
    batch_size: int = 8,
    learning_rate: float | None = None,
    chat: Chat | None = None,
    seed: int = 0,
) -> Finetuned:
    """Teach a causal language model to rate, on places whose truth is known.

    Parameters
    ----------
    model : geointerp.models.Model
        It stays as it was: a copy is trained.
    prompts : DataFrame or Series
        A DataFrame with a column `prompt`, or the prompts themselves: those to train on.
    truth : Series
        Numbers, aligned with the prompts by their index; it may hold more places. Where it
        is missing the prompt is left out.
    method : {"lora", "prompt", "bitfit", "full"}
        ``"lora"``: matrices of rank 16 beside every linear layer but the output's (Hu et
        al. 2022). ``"prompt"``: 20 learned tokens before every prompt (Lester et al. 2021).
        ``"bitfit"``: the biases the model has (Ben Zaken et al. 2022); Llama and its kin have
        none. ``"full"``: all weights.
    labels : {"quantile", "magnitude"} or Labels
        How the truth becomes ratings; it is learnt from this sample alone.
    out : path, optional
        A new folder for what was trained and its card. While it is trained a checkpoint
        stands beside it, from which a training that was killed goes on after its last
        whole epoch, to the same weights.
    epochs : int
        Passes over the sample.
    batch_size : int
    learning_rate : float, optional
        The greatest one: it rises over the first tenth of the steps, and falls to 0 along a
        cosine. If not given, 1e-3 for LoRA, 3e-2 for prompts, 3e-3 for biases and 1e-4 for
        all weights; large models want less.
    chat : Chat, optional
        As for `predict`, which must then be given the same; not for learned prompts.
    seed : int
        Of the adapter's first weights, the order of the sample, and dropout.

    Returns
    -------
    Finetuned

    Raises
    ------
    InputError
        A method that is unknown or has nothing to train; what `distribution` refuses of a
        model or prompts; fewer than two distinct truths; an `out` that exists, or beside
        which stands the checkpoint of another run; a loss that is no number.

    Notes
    -----
    The loss is -log P(t₁ … tₖ | prompt), with tᵢ the tokens of the label as `distribution`
    scores them and nothing else of the text, by AdamW (Loshchilov & Hutter 2019) with weight
    decay 0.01 and gradients clipped at norm 1. What is trained is what is scored.

    References
    ----------
    Hu, E. J. et al. (2022). LoRA. ICLR. arXiv:2106.09685.
    Lester, B., Al-Rfou, R., & Constant, N. (2021). The power of scale for parameter-efficient
    prompt tuning. EMNLP. arXiv:2104.08691.
    Ben Zaken, E., Ravfogel, S., & Goldberg, Y. (2022). BitFit. ACL. arXiv:2106.10199.
    Manvi, R. et al. (2024). GeoLLM. ICLR. arXiv:2310.06213, section 3.3.
    """
    import torch

    adapters.check(model.model, model.tokenizer, method)
    if chat is not None and method == "prompt":
        raise InputError("learned prompt tokens stand before a plain prompt; leave the chat out.")
    rate = LEARNING_RATES[method] if learning_rate is None else learning_rate
    for name, count in (("epochs", epochs), ("batch_size", batch_size)):
        if count < 1:
            raise InputError(f"{name} is {count}; it must be 1 or more.")
    if not (np.isfinite(rate) and rate > 0):
        raise InputError(f"learning_rate is {rate}; it must be above 0.")
    folder = None if out is None else Path(out)
    if folder is not None:
        artefacts.refuse_existing(folder)
    scale = clone(labels) if isinstance(labels, Labels) else Labels(labels)
    asked = pd.Series(0.0, index=texts_of(prompts).index)
    steps = (10 * scale.fit_transform(paired(asked, truth)[1])).round()
    before = adapters.LEARNED_TOKENS if method == "prompt" else 0
    _, encoded = ask(model, prompts, chat, lambda one: before + max(map(len, one.tails)))
    examples = [
        Example(one.prefix, one.tails[int(step)])
        for one, step in zip(encoded, steps, strict=True)
        if not np.isnan(step)
    ]
    made = {
        "function": "geointerp.geollm.finetune",
        "method": method,
        "labels": scale.kind,
        "log10": scale.log10,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": rate,
        "chat": None if chat is None else repr(chat),
        "seed": seed,
        "n": len(examples),
        "sample_sha256": _digest(examples),
    }
    base = _base(model)
    checkpoint = None
    if folder is not None:
        from geointerp.saes.checkpoint import Checkpoint

        checkpoint = Checkpoint(
            Path(f"{folder}.checkpoint"), {**made, **base, "versions": cards.versions()}
        )
    device = model.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        trained = adapters.attach(copy.deepcopy(model.model), method)
        losses = train(
            trained,
            examples,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=rate,
            seed=seed,
            checkpoint=checkpoint,
            device=device,
        )
    if folder is not None:
        with artefacts.whole(folder) as part:
            part.mkdir()
            adapters.save(trained, model.tokenizer, method, part)
            _write_labels(scale, part)
            cards.write(
                part,
                "Language model taught to rate",
                {
                    "made by": made,
                    "base model": base,
                    "truth of a rating": _back(scale),
                    "mean loss in nats by epoch": {str(i): v for i, v in enumerate(losses, 1)},
                },
            )
    if checkpoint is not None:
        checkpoint.remove()
    return _as_model(model, *adapters.plain(trained, model.tokenizer, method), scale, losses)


def load_finetuned(model: Model, out: str | Path) -> Finetuned:
    """Read back what `finetune` wrote, on the model that it was made from.

    Parameters
    ----------
    model : geointerp.models.Model
        The base model. It stays as it was.
    out : path

    Returns
    -------
    Finetuned
        It rates as the model that `finetune` returned.

    Raises
    ------
    InputError
        A folder that holds no fine-tuning, or a damaged one; one of another base model.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(out)
    card = cards.read(folder)
    try:
        made, base = card["made by"], card["base model"]
        method, known = made["method"], base["weights_sha256"]
        scale = Labels(made["labels"], log10=made["log10"])
        scale.sample_ = load_file(folder / _SAMPLE)["sample"]
        losses = [float(value) for value in card["mean loss in nats by epoch"].values()]
    except (OSError, KeyError, SafetensorError) as error:
        raise InputError(
            f"{folder}: there is no fine-tuned model here, or a damaged one."
        ) from error
    adapters.check(model.model, model.tokenizer, method)
    if known != model.fingerprint:
        raise InputError(
            f"{folder}: it was made from {base['name']} with weights {known[:12]}…; "
            f"{model.name} has {model.fingerprint[:12]}…."
        )
    return _as_model(
        model, *adapters.load(model.model, model.tokenizer, method, folder), scale, losses
    )


class FinetunedRegressor(RegressorMixin, BaseEstimator):
    """Fine-tuning as a scikit-learn estimator, from prompts to the truth's unit.

    Parameters
    ----------
    model : geointerp.models.Model
    out : path, optional
        A folder in which every fit's adapter is kept, under a name that the model, the
        sample and the options decide: a fit that was done before is read back, and one that
        was killed goes on.
    sample : int, optional
        Train on so many rows at most, drawn at random from those given to `fit`.
    method, labels, epochs, batch_size, learning_rate, seed
        As for `finetune`.

    Attributes
    ----------
    model_ : Finetuned
    """

    def __init__(
        self,
        model: Model,
        *,
        out: str | Path | None = None,
        sample: int | None = None,
        method: str = "lora",
        labels: Literal["quantile", "magnitude"] | Labels = "quantile",
        epochs: int = 3,
        batch_size: int = 8,
        learning_rate: float | None = None,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.out = out
        self.sample = sample
        self.method = method
        self.labels = labels
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.seed = seed

    def fit(self, X: Any, y: Any) -> FinetunedRegressor:
        """Fine-tune on prompts, shape (n,), and truths, shape (n,)."""
        prompts, truth = pd.Series(np.asarray(X, object)), pd.Series(np.asarray(y, float))
        if self.sample is not None and self.sample < len(prompts):
            chosen = np.random.default_rng(self.seed).permutation(len(prompts))[: self.sample]
            prompts, truth = prompts.iloc[chosen], truth.iloc[chosen]
        options: dict[str, Any] = {
            "method": self.method,
            "labels": self.labels,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
        }
        folder = None
        if self.out is not None:
            told = [options, _base(self.model), prompts.tolist(), truth.tolist()]
            name = hashlib.sha256(json.dumps(told, default=repr).encode()).hexdigest()[:16]
            folder = Path(self.out) / name
        if folder is not None and folder.exists():
            self.model_ = load_finetuned(self.model, folder)
        else:
            self.model_ = finetune(self.model, prompts, truth, out=folder, **options)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The expected rating of every prompt, brought back to the truth's unit, shape (n,)."""
        check_is_fitted(self)
        ratings = predict(self.model_, pd.Series(np.asarray(X, object)))
        return self.model_.labels.inverse_transform(ratings["rating"]).to_numpy()


def _as_model(
    base: Model, hf: Any, tokenizer: Any, scale: Labels, losses: list[float]
) -> Finetuned:
    return Finetuned(
        hf, tokenizer, f"{base.name}, fine-tuned", in_memory=True, labels=scale, losses=losses
    )


def _base(model: Model) -> dict[str, str]:
    return {
        "name": model.name,
        "weights_sha256": model.fingerprint,
        "config_sha256": fingerprint.of_config(model.model),
    }


def _digest(examples: list[Example]) -> str:
    return hashlib.sha256(json.dumps(examples).encode()).hexdigest()


def _back(scale: Labels) -> dict[str, float]:
    shown = np.append(RATINGS[::10], RATINGS[-1])
    values = scale.inverse_transform(shown)
    return {f"{rating:.1f}": float(value) for rating, value in zip(shown, values, strict=True)}


def _write_labels(scale: Labels, folder: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"sample": scale.sample_}, folder / _SAMPLE)
