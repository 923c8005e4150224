"""The ways to read one vector per layer that benchmarks/capture.py sets side by side.

Each takes a `Task` and returns vectors of shape (place, layer, hidden); `bare` returns nothing.
"""

import copy
import tempfile
import time
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

import geointerp as gi

TEMPLATE = "{name}, {country} is near"


class Task:
    """A model, as each tool wraps it, and the prompts."""

    def __init__(self, model, places, device, dtype, pool, batch_tokens):

        self.kind, self.device, self.dtype = model, device, dtype
        self.pool, self.batch_tokens = pool, batch_tokens
        self.hf = self.random_model()
        self.model = gi.models.wrap(self.hf, gi.models.load("toponym", device="cpu").tokenizer)
        # equal prompts would be computed once by capture, but again by the others
        table = gi.places.load("geonames", limit=2 * places).drop_duplicates(["name", "country"])
        self.places = table.head(places)
        self.folder = tempfile.TemporaryDirectory()

    def random_model(self):
        import transformers

        torch.manual_seed(0)
        if self.kind == "gpt2-small":
            model = transformers.GPT2LMHeadModel(transformers.GPT2Config())
        else:
            sizes = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16}
            heads = {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256}
            model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads))
        return model.to(self.device, getattr(torch, self.dtype)).eval()

    @cached_property
    def lens(self):
        """The same weights in TransformerLens; its from_pretrained asks the Hub for a config."""
        from transformer_lens import HookedTransformer, HookedTransformerConfig
        from transformer_lens.pretrained import weight_conversions

        c = self.hf.config
        d_head = c.hidden_size // c.num_attention_heads
        own = {"d_model": c.hidden_size, "n_layers": c.num_hidden_layers, "d_head": d_head}
        own |= {"n_heads": c.num_attention_heads, "d_vocab": c.vocab_size, "n_ctx": 1024}
        if self.kind == "gpt2-small":
            own |= {"act_fn": "gelu_new", "normalization_type": "LN", "eps": c.layer_norm_epsilon}
            convert = weight_conversions.convert_gpt2_weights
        else:
            own |= {"act_fn": "silu", "normalization_type": "RMS", "eps": c.rms_norm_eps}
            own |= {"n_key_value_heads": c.num_key_value_heads, "d_mlp": c.intermediate_size}
            own |= {"positional_embedding_type": "rotary", "rotary_dim": d_head}
            own |= {"rotary_base": c.rope_parameters["rope_theta"], "rotary_adjacent_pairs": False}
            own |= {"gated_mlp": True, "final_rms": True}
            convert = weight_conversions.convert_llama_weights
        own |= {"device": self.device, "dtype": self.hf.dtype}
        lens = HookedTransformer(HookedTransformerConfig(**own))
        steps = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")
        lens.load_and_process_state_dict(convert(self.hf, lens.cfg), **dict.fromkeys(steps, False))
        return lens

    @cached_property
    def traced(self):
        """A model of its own for nnsight, which leaves something on every module."""
        import nnsight

        return nnsight.NNsight(self.random_model())

    def of(self, n):
        """The same with fewer places."""
        few = copy.copy(self)
        few.places = self.places.head(n)
        few.__dict__.pop("prepared", None)
        return few

    @cached_property
    def prepared(self):
        """For the bare forward pass: nothing but it is timed."""
        return list(self.batches(best=True))

    def batches(self, best=False):
        """Rows, ids, mask and the vector's position: 32 in order, or as capture makes batches."""
        pairs = zip(self.places["name"], self.places["country"], strict=True)
        texts = [TEMPLATE.format(name=name, country=country) for name, country in pairs]
        encoded = self.model.tokenizer(texts, return_offsets_mapping=True)
        ids, last = encoded["input_ids"], []
        for offsets, name in zip(encoded["offset_mapping"], self.places["name"], strict=True):
            end = len(name) if self.pool == "last" else None
            last.append(max(t for t, (a, b) in enumerate(offsets) if b > 0 and a < (end or b)))
        for batch in self.by_length(ids) if best else self.in_order(len(ids)):
            lengths = torch.tensor([len(ids[i]) for i in batch])
            longest = int(lengths.max())
            padded = torch.tensor([ids[i] + [0] * (longest - len(ids[i])) for i in batch])
            mask = (torch.arange(longest) < lengths[:, None]).long().to(self.device)
            ends = torch.tensor([last[i] for i in batch], device=self.device)
            yield batch, padded.to(self.device), None if mask.all() else mask, ends

    def in_order(self, n):
        return [list(range(i, min(i + 32, n))) for i in range(0, n, 32)]

    def by_length(self, ids):
        rows = [[]]
        for i in sorted(range(len(ids)), key=lambda i: len(ids[i])):
            if len(ids[i]) * (len(rows[-1]) + 1) > self.batch_tokens:
                rows.append([])
            rows[-1].append(i)
        return rows

    def empty(self):
        shape = (len(self.places), self.hf.config.num_hidden_layers, self.hf.config.hidden_size)
        return np.full(shape, np.nan, np.float32)


def pooled(values, last):
    values = values[0] if isinstance(values, tuple) else values
    return values[torch.arange(len(last), device=last.device), last].float()


def bare(task):
    """The backbone over capture's batches, whole prompts, made beforehand; nothing is kept."""
    for _, ids, mask, _ in task.prepared:
        states = task.hf.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    states[0].flatten()[0].item()


def captured(task, **options):
    """geointerp, to a store on disk."""
    out = Path(task.folder.name) / f"{time.monotonic_ns()}.zarr"
    options = {"batch_tokens": task.batch_tokens, "out": out} | options
    return gi.activations.capture(
        task.model, task.places, template=TEMPLATE, pool=task.pool, **options
    )


def run_with_cache(task, best=False):
    """TransformerLens; at its best without logits and in capture's batches."""
    found = task.empty()
    names = [f"blocks.{layer}.hook_resid_post" for layer in range(found.shape[1])]
    options = {"return_type": None} if best else {}
    for rows, ids, _, last in task.batches(best):
        _, cache = task.lens.run_with_cache(ids, names_filter=names, **options)
        found[rows] = torch.stack([pooled(cache[n], last) for n in names], 1).cpu().numpy()
    return found


def trace(task, best=False):
    """nnsight; at its best stopped after the last block, and in capture's batches."""
    import nnsight

    found = task.empty()
    backbone = task.traced.transformer if task.kind == "gpt2-small" else task.traced.model
    blocks = backbone.h if task.kind == "gpt2-small" else backbone.layers
    for rows, ids, mask, last in task.batches(best):
        with task.traced.trace(input_ids=ids, attention_mask=mask, use_cache=False) as tracer:
            kept = nnsight.save([pooled(block.output, last) for block in blocks])
            if best:
                tracer.stop()
        found[rows] = torch.stack(kept, 1).cpu().numpy()
    return found


def plain_loop(task, best=False):
    """transformers alone; at its best without the vocabulary, and in capture's batches."""
    found = task.empty()
    model = task.hf.base_model if best else task.hf
    for rows, ids, mask, last in task.batches(best):
        states = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        kept = [pooled(state, last) for state in states.hidden_states[1:]]
        found[rows] = torch.stack(kept, 1).cpu().numpy()
    return found
