"""Models: load one from a folder or a hub, and find its blocks."""

from __future__ import annotations

import copy
import inspect
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geointerp import fingerprint
from geointerp.errors import InputError

if TYPE_CHECKING:
    import torch

    from geointerp.anatomy import Anatomy


@dataclass
class Model:
    """A language model, its tokenizer, and where its blocks are.

    Attributes
    ----------
    model : transformers.PreTrainedModel
        In evaluation mode.
    tokenizer : transformers.PreTrainedTokenizerBase
    name : str
        What it was loaded by; the class name for a model that was in memory.
    revision : str or None
        The commit on the Hub that it is.
    in_memory : bool
        Whether it was given as an object, so that no name finds it again.
    untrained_seed : int or None
        The seed of its random weights, for a control made by `untrained`.
    """

    model: Any
    tokenizer: Any
    name: str
    revision: str | None = None
    in_memory: bool = False
    untrained_seed: int | None = None
    _hashed: tuple[Any, str] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def backbone(self) -> torch.nn.Module:
        """What turns tokens into the residual stream: no vocabulary projection, no decoder.

        Of an encoder-decoder it is the encoder.
        """
        config = getattr(self.model, "config", None)
        if getattr(config, "is_encoder_decoder", False):
            encoder = self.model.get_encoder()
            if "input_ids" in inspect.signature(encoder.forward).parameters:
                return encoder
        return getattr(self.model, "base_model", self.model)

    @cached_property
    def anatomy(self) -> Anatomy:
        """Where its blocks and their parts are."""
        from geointerp.anatomy import watch

        configs = [getattr(self.model, "config", None), getattr(self.backbone, "config", None)]
        special = {
            value
            for config in configs
            if config is not None
            for key, value in vars(config).items()
            if key.endswith("token_id") and isinstance(value, int)
        }
        return watch(self.backbone, self._vocabulary, self.name, avoid=special, device=self.device)

    @property
    def blocks(self) -> list[torch.nn.Module]:
        """Its blocks, in the order in which the residual stream passes them.

        Empty for the few models that have none to hook; of those the model's own
        `hidden_states` are read.
        """
        return self.anatomy.blocks

    @property
    def depth(self) -> int:
        """The number of layers."""
        return self.anatomy.depth

    @property
    def hidden(self) -> int:
        """The size of the residual stream."""
        return self.anatomy.width

    @property
    def device(self) -> torch.device:
        """Where its inputs go."""
        import torch

        hooks: Any = (getattr(module, "_hf_hook", None) for module in self.backbone.modules())
        given = next((h.execution_device for h in hooks if hasattr(h, "execution_device")), None)
        if given is not None:
            return torch.device(given)
        return next(self.backbone.parameters()).device

    @property
    def dtype(self) -> str:
        """What it computes in, such as "float32"."""
        import torch

        kinds = [p.dtype for p in self.backbone.parameters() if p.is_floating_point()]
        return str(kinds[0] if kinds else torch.get_default_dtype()).removeprefix("torch.")

    @property
    def _vocabulary(self) -> int:
        import torch

        config = getattr(self.backbone, "config", None) or getattr(self.model, "config", None)
        if config is not None:
            size = getattr(config.get_text_config(), "vocab_size", None)
            if size is not None:
                return int(size)
        tables = [m for m in self.backbone.modules() if isinstance(m, torch.nn.Embedding)]
        return max((table.num_embeddings for table in tables), default=2)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names, shapes and bytes of the weights, in hexadecimal."""
        seen = fingerprint.trace(self.model)
        # hashing is slow, and a notebook may have trained the model since
        if seen is None or self._hashed is None or self._hashed[0] != seen:
            self._hashed = seen, fingerprint.of_weights(self.model)
        return self._hashed[1]

    def untrained(self, seed: int = 0) -> Model:
        """The same architecture with the random weights it would start training from.

        Parameters
        ----------
        seed : int

        Returns
        -------
        Model
        """
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = type(self.model)(copy.deepcopy(self.model.config))
        model = model.to(self.model.device, self.model.dtype).eval()
        return Model(
            model,
            self.tokenizer,
            self.name,
            revision=self.revision,
            in_memory=self.in_memory,
            untrained_seed=seed,
        )


def load(
    name: str | Path,
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: str = "float32",
    trust_remote_code: bool = False,
) -> Model:
    """Load a model and its tokenizer.

    Parameters
    ----------
    name : str or Path
        ``"toponym"``, the embedded model; a local directory; or the id of a model on
        the Hugging Face Hub, which is downloaded if it is not in the cache.
    revision : str, optional
        Branch, tag or commit on the Hub.
    device : str, optional
        ``"cuda"`` if there is one, else ``"cpu"``; under ``accelerate launch`` each process
        has a GPU of its own. ``"auto"`` spreads a model over all GPUs, as accelerate's
        ``device_map="auto"`` does.
    dtype : {"float32", "bfloat16", "float16"}
    trust_remote_code : bool
        Whether to run Python code that comes with the model.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        A directory without a model; an id that is neither in the cache nor on the Hub;
        weights that are not safetensors, cannot be read or don't fill the model; a device
        that is not there.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    where = _locate(name)
    target = None if device == "auto" else chosen_device(device)
    if dtype not in ("float32", "bfloat16", "float16"):
        raise InputError(f"dtype is {dtype!r}; it must be float32, bfloat16 or float16.")
    local = Path(where).is_dir()
    spread = {"device_map": "auto"} if target is None else {}
    options: dict[str, Any] = {
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "local_files_only": local,
    }
    try:
        config = transformers.AutoConfig.from_pretrained(where, **options)
        # the tokenizer and the weights are of the commit that the config is of
        commit = None if local else _commit(where, revision)
        options["revision"] = commit or revision
        loader = _loader(config)
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
        # weights that come as a pickle are refused
        loaded: Any = loader.from_pretrained(
            where,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            output_loading_info=True,
            **spread,
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        looked = "" if local else "there is no such folder, and as an id on the Hub: "
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"model {name}: {looked}{said}") from error
    model, filled = loaded
    # an encoder's pooler stands outside the residual stream
    missing = sorted(key for key in filled["missing_keys"] if "pooler" not in key.split("."))
    if missing:
        raise InputError(
            f"model {name}: its files hold no weights for {missing[0]} "
            f"({len(missing)} such); they would be random."
        )
    if target is not None:
        # as the torch module that it is: the method of transformers is typed too narrowly
        torch.nn.Module.to(model, target)
    if not tokenizer("Paris")["input_ids"]:
        raise InputError(f"model {name}: it comes without a tokenizer's files, or with empty ones.")
    called = str(Path(where).resolve()) if local and str(name) != "toponym" else str(name)
    return Model(model.eval(), tokenizer, called, commit)


def _commit(name: str, revision: str | None) -> str | None:
    """The commit that a revision in the cache is at, by the folder that its config is in."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(config).parent.name if isinstance(config, str) else None


def _loader(config: Any) -> Any:
    """What loads the part of a model that its files hold."""
    import transformers

    kinds = config.architectures or []
    if any(kind.endswith(("ForCausalLM", "LMHeadModel")) for kind in kinds):
        return transformers.AutoModelForCausalLM
    # an encoder that was saved without its decoder, such as T5EncoderModel
    alone = [
        kind for kind in kinds if kind.endswith("EncoderModel") and hasattr(transformers, kind)
    ]
    return getattr(transformers, alone[0]) if alone else transformers.AutoModel


def chosen_device(device: str | None) -> torch.device:
    """The device of a name; a GPU if there is one, when none is named.

    Raises
    ------
    InputError
        A device that torch does not know or that this machine does not have.
    """
    import torch

    try:
        if device is None:
            local = os.environ.get("LOCAL_RANK", "0")
            device = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"device {device!r} is not there; cpu is, and cuda where torch sees a GPU."
        ) from error
    return found


def wrap(model: Any, tokenizer: Any, *, name: str | None = None) -> Model:
    """Take a model and a tokenizer that are in memory already.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        In evaluation mode.
    tokenizer : transformers.PreTrainedTokenizerBase
    name : str, optional
        What cards and stores call it; the class name if not given.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        A model in training mode; one with learned prompt tokens, which its blocks are given
        from outside.
    """
    if model.training:
        raise InputError(
            f"{type(model).__name__} is in training mode, with dropout: call its eval() first."
        )
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise InputError(
            f"{type(model).__name__}: it puts learned tokens before every prompt, and these would "
            "be left out; merge them or wrap the model without them."
        )
    # parts that were put in later, such as quantised ones, may still stand in training mode
    return Model(model.eval(), tokenizer, name or type(model).__name__, in_memory=True)


def _locate(name: str | Path) -> str:
    if str(name) == "toponym":
        from geointerp import toponym

        return str(toponym.directory())
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            raise InputError(f"{path}: there is no model in it (no config.json).")
        return str(path)
    text = str(name)
    if path.is_absolute() or text.startswith((".", "~")) or text.count("/") > 1 or path.exists():
        raise InputError(f"{text}: there is no such directory.")
    return text
