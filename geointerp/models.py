"""Models: load one from a folder or a hub, and find its blocks."""

from __future__ import annotations

import copy
import hashlib
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geointerp.errors import InputError

if TYPE_CHECKING:
    import torch


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
    untrained_seed : int or None
        The seed of its random weights, for a control made by `untrained`.
    """

    model: Any
    tokenizer: Any
    name: str
    untrained_seed: int | None = None

    @cached_property
    def blocks(self) -> torch.nn.ModuleList:
        """The transformer's blocks: the one list of modules as long as the model is deep."""
        import torch

        depth = self.model.config.get_text_config().num_hidden_layers
        lists = [
            (name.count("."), name, module)
            for name, module in self.model.named_modules()
            if isinstance(module, torch.nn.ModuleList) and len(module) == depth
        ]
        if not lists:
            raise InputError(f"{self.name}: no list of {depth} blocks is found in the model.")
        return min(lists, key=lambda found: found[:2])[2]

    @property
    def depth(self) -> int:
        """The number of blocks."""
        return len(self.blocks)

    @property
    def hidden(self) -> int:
        """The size of the residual stream."""
        return int(self.model.config.get_text_config().hidden_size)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, shapes and bytes of the weights, in hexadecimal."""
        import torch

        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy())
        return digest.hexdigest()

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
        return Model(model, self.tokenizer, self.name, untrained_seed=seed)


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
        ``"cuda"`` if there is one, else ``"cpu"``.
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

    where, target = _locate(name), chosen_device(device)
    if dtype not in ("float32", "bfloat16", "float16"):
        raise InputError(f"dtype is {dtype!r}; it must be float32, bfloat16 or float16.")
    local = Path(where).is_dir()
    options: dict[str, Any] = {
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "local_files_only": local,
    }
    # it tells of every retry; the error at the end says enough
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        config = transformers.AutoConfig.from_pretrained(where, **options)
        kinds = config.architectures or []
        generates = any(kind.endswith(("ForCausalLM", "LMHeadModel")) for kind in kinds)
        loader = transformers.AutoModelForCausalLM if generates else transformers.AutoModel
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
        # weights that come as a pickle are refused
        loaded: Any = loader.from_pretrained(
            where,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            output_loading_info=True,
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
    # moved as the torch module that it is: the method of transformers is typed too narrowly
    return Model(torch.nn.Module.to(model, target).eval(), tokenizer, str(name))


def chosen_device(device: str | None) -> torch.device:
    """The device of a name; a GPU if there is one, when none is named.

    Raises
    ------
    InputError
        A device that torch does not know or that this machine does not have.
    """
    import torch

    try:
        found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
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
        Is put into evaluation mode.
    tokenizer : transformers.PreTrainedTokenizerBase
    name : str, optional
        What cards and stores call it; the class name if not given.

    Returns
    -------
    Model
    """
    return Model(model.eval(), tokenizer, name or type(model).__name__)


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
