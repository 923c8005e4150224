"""Adapters: what of a model is trained, and how it is kept and put back."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from geointerp.errors import InputError

METHODS = ("lora", "prompt", "bitfit", "full")
RANK = 16
LEARNED_TOKENS = 20

_PEFT = "adapter_model.safetensors"
_BIASES = "biases.safetensors"


def attach(hf: Any, method: str) -> Any:
    """The model with what a method trains, and everything else frozen.

    Parameters
    ----------
    hf : transformers.PreTrainedModel
        It is changed.
    method : {"lora", "prompt", "bitfit", "full"}

    Returns
    -------
    torch.nn.Module
        Called as the model is.

    Raises
    ------
    InputError
        A model that has nothing for peft to train.
    """
    if method in ("lora", "prompt"):
        import peft

        config: Any
        if method == "lora":
            # every linear layer but the output's, found by its class
            config = peft.LoraConfig(
                r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"
            )
        else:
            # from embeddings of the vocabulary, as Lester et al. advise
            config = peft.PromptTuningConfig(
                num_virtual_tokens=LEARNED_TOKENS,
                prompt_tuning_init="SAMPLE_VOCAB",
                task_type="CAUSAL_LM",
            )
        try:
            return peft.get_peft_model(hf, config)
        except ValueError as error:
            said = str(error).strip().splitlines()[0]
            raise InputError(
                f"{type(hf).__name__}: peft cannot train it by {method!r}: {said}"
            ) from error
    for name, weight in hf.named_parameters():
        weight.requires_grad_(method == "full" or _is_bias(name))
    return hf


def plain(trained: Any, tokenizer: Any, method: str) -> tuple[Any, Any]:
    """What was trained as a plain model, in evaluation mode, and its tokenizer.

    LoRA's matrices are added to the weights. Learned prompt tokens become tokens of the
    model's, which the tokenizer puts before every text, so that whatever reads the model
    (a key-value cache, a hook) sees them as it sees BOS.
    """
    if method == "lora":
        hf = trained.merge_and_unload()
    elif method == "prompt":
        hf = trained.get_base_model()
        tokenizer = _before(tokenizer, _embed(hf, trained.get_prompt_embedding_to_save("default")))
    else:
        hf = trained
    for weight in hf.parameters():
        weight.requires_grad_(False)
    return hf.eval(), tokenizer


def check(hf: Any, tokenizer: Any, method: str) -> None:
    """Raise `InputError` for a method that is unknown, or a model that it cannot be used on."""
    if method not in METHODS:
        raise InputError(f"method is {method!r}; it must be one of {', '.join(METHODS)}.")
    if method == "prompt" and not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"{type(tokenizer).__name__} is written in Python and takes no learned tokens; "
            "load a fast tokenizer, or use method='lora'."
        )
    if hasattr(hf, "peft_config"):
        raise InputError(
            f"{type(hf).__name__} has an adapter already; merge it first (merge_and_unload)."
        )
    if method == "bitfit" and not any(_is_bias(name) for name, _ in hf.named_parameters()):
        raise InputError(
            f"{type(hf).__name__} has no biases to train, as Llama and its kin have none; "
            "method='lora' trains it."
        )


def _is_bias(name: str) -> bool:
    return name.rpartition(".")[2] == "bias"


def save(trained: Any, tokenizer: Any, method: str, folder: Path) -> None:
    """Write what was trained to a folder that is there, as safetensors.

    LoRA and learned prompts are in peft's own format, a full model in transformers'.
    """
    from safetensors.torch import save_file

    if method in ("lora", "prompt"):
        trained.save_pretrained(folder, save_embedding_layers=False)
        # a model card of peft's, with nothing filled in
        (folder / "README.md").unlink(missing_ok=True)
    elif method == "bitfit":
        weights = {n: w.detach().contiguous() for n, w in trained.named_parameters()}
        save_file({n: w for n, w in weights.items() if _is_bias(n)}, folder / _BIASES)
    else:
        trained.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def load(hf: Any, tokenizer: Any, method: str, folder: Path) -> tuple[Any, Any]:
    """A copy of the base model with what `save` wrote, and its tokenizer.

    Raises
    ------
    InputError
        Files that are absent, no safetensors, or don't fit the model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if method == "full":
            import transformers

            own: Any = type(hf).from_pretrained(folder, dtype=hf.dtype, use_safetensors=True)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            return own.to(hf.device).eval(), tokenizer
        own = copy.deepcopy(hf)
        if method == "bitfit":
            found = own.load_state_dict(load_file(folder / _BIASES), strict=False)
            if found.unexpected_keys:
                raise KeyError(found.unexpected_keys[0])
            return own.eval(), tokenizer
        import peft

        # peft would look for a pickle next
        if not (folder / _PEFT).exists():
            raise FileNotFoundError(folder / _PEFT)
        return plain(peft.PeftModel.from_pretrained(own, folder), tokenizer, method)
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{folder}: its weights cannot be read: {said}") from error


def _embed(hf: Any, rows: Any) -> range:
    """Give a model learned tokens; their numbers, which follow all of its vocabulary's."""
    import torch

    class WithLearned(torch.nn.Module):
        """An embedding of some more tokens, which no output layer knows."""

        def __init__(self, embedding: Any) -> None:
            super().__init__()
            self.embedding = embedding
            self.learned = torch.nn.Parameter(rows.to(embedding.weight))

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            first = self.embedding.num_embeddings
            known = self.embedding(ids.clamp(max=first - 1))
            own = self.learned[(ids - first).clamp(min=0)].to(known.dtype)
            return torch.where((ids >= first)[..., None], own, known)

    first = hf.get_input_embeddings().num_embeddings
    hf.set_input_embeddings(WithLearned(hf.get_input_embeddings()))
    return range(first, first + len(rows))


def _before(tokenizer: Any, ids: range) -> Any:
    """A copy of a fast tokenizer that puts tokens before every text, before its BOS too."""
    from tokenizers import processors

    own = copy.deepcopy(tokenizer)
    # in a chat the template says which special tokens there are, and it knows none of these
    own.chat_template = None
    names = {f"<learned{i}>": i for i in ids}
    learned = " ".join(names)
    template = processors.TemplateProcessing(
        single=f"{learned} $A", pair=f"{learned} $A $B", special_tokens=list(names.items())
    )
    before = own.backend_tokenizer.post_processor
    own.backend_tokenizer.post_processor = (
        template if before is None else processors.Sequence([before, template])
    )
    return own
