import architectures
import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

import geointerp as gi
from geointerp import forward, hooks
from geointerp.errors import InputError
from geointerp.forward import Job, Reader


def tiny(kind, model_type, toponym):
    model = architectures.tiny(kind, model_type)
    # RoBERTa and its kin count positions from the padding's id
    pad = getattr(model.config, "pad_token_id", None) or 0
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=toponym.tokenizer.backend_tokenizer)
    tokenizer.pad_token_id = pad
    return gi.models.wrap(model, tokenizer, name=model_type)


def some_jobs(count=12, prefix=(), seed=0):
    """Prompts of 3 to 9 tokens after the prefix, each with a span that ends among them."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        ids = (*prefix, *random.integers(20, 100, random.integers(3, 10)).tolist())
        first = int(random.integers(0, len(ids)))
        last = int(random.integers(max(first, len(prefix)), len(ids)))
        found.append(Job(ids, first, last))
    return found


def alone(model, job, layers, site="resid_post"):
    """The mean over a job's span, by one pass of its own without padding."""
    inputs = {"input_ids": torch.tensor([job.ids])}
    with torch.inference_mode():
        seen = hooks.read(
            model, inputs, layers, site, lambda _, t: t[0, job.first : job.last + 1].mean(dim=0)
        )
    return torch.stack([seen[layer] for layer in layers]).numpy()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    ("kind", "model_type"),
    [
        # rotary, absolute, ALiBi, none; sliding windows; experts
        *[("causal", t) for t in ("llama", "gpt2", "bloom", "opt", "gemma3_text", "mixtral")],
        # recurrent, and a hybrid
        *[("causal", t) for t in ("mamba", "rwkv", "bamba", "recurrent_gemma")],
        # encoders: absolute, positions that count from the padding, relative, no mask at all
        *[
            ("masked", t)
            for t in ("bert", "roberta", "deberta-v2", "fnet", "convbert", "mobilebert")
        ],
        ("seq2seq", "t5"),
        # blocks that keep tokens before prompts
        ("causal", "xlnet"),
    ],
)
def test_a_prompt_is_the_same_alone_and_in_a_batch(kind, model_type, side, toponym):
    model = tiny(kind, model_type, toponym)
    jobs, layers = some_jobs(), list(range(model.depth))
    reader = Reader(model, layers, "resid_post", prompts=jobs, batch_tokens=40, padding_side=side)
    found = reader.read(jobs)
    for row, job in enumerate(jobs):
        np.testing.assert_allclose(found[row], alone(model, job, layers), rtol=2e-3, atol=2e-3)


def test_padding_that_would_be_read_is_not_used(toponym):
    jobs = some_jobs()
    for kind, model_type, asked, taken in [
        ("causal", "llama", "left", "left"),
        ("masked", "roberta", "left", "right"),
        ("masked", "fnet", "right", "none"),
    ]:
        model = tiny(kind, model_type, toponym)
        reader = Reader(model, [0], "resid_post", prompts=jobs, batch_tokens=99, padding_side=asked)
        assert reader._side == taken, model_type


PREFIX = tuple(range(30, 50))


@pytest.mark.parametrize("site", ["resid_post", "mlp_in"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma2", "gpt_neox"])
def test_a_shared_prefix_is_computed_once_and_changes_nothing(model_type, side, site, toponym):
    model = tiny("causal", model_type, toponym)
    jobs, layers = some_jobs(prefix=PREFIX), [0, 2]
    # spans across the end of the prefix, and after it
    assert any(job.first < len(PREFIX) <= job.last for job in jobs)
    assert any(len(PREFIX) <= job.first for job in jobs)
    lengths = []
    model.backbone.register_forward_pre_hook(
        lambda _, args, kwargs: lengths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    reader = Reader(model, layers, site, prompts=jobs, batch_tokens=99, padding_side=side)
    lengths.clear()
    found = reader.read(jobs)
    assert max(lengths) <= 9
    for row, job in enumerate(jobs):
        wanted = alone(model, job, layers, site)
        np.testing.assert_allclose(found[row], wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("kind", "model_type"), [("masked", "bert"), ("causal", "mamba")])
def test_a_model_that_cannot_go_on_from_a_prefix_reads_it_anew(kind, model_type, toponym):
    model = tiny(kind, model_type, toponym)
    jobs = some_jobs(prefix=PREFIX)
    reader = Reader(model, [1], "resid_post", prompts=jobs, batch_tokens=99)
    found = reader.read(jobs)
    for row, job in enumerate(jobs):
        wanted = alone(model, job, [1])
        np.testing.assert_allclose(found[row], wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("kind", "model_type", "read"),
    [
        *[("causal", t, 6) for t in ("llama", "gpt2", "bloom", "gemma3_text", "mamba")],
        *[("masked", "bert", 9), ("seq2seq", "t5", 9)],
    ],
)
def test_what_follows_is_left_out_where_the_model_does_not_look_ahead(
    kind, model_type, read, toponym
):
    model = tiny(kind, model_type, toponym)
    jobs = [Job(tuple(range(20 + i, 29 + i)), 3, 5) for i in range(4)]
    layers, widths = list(range(model.depth)), []
    reader = Reader(model, layers, "resid_post", prompts=jobs, batch_tokens=99)
    watch = model.backbone.register_forward_pre_hook(
        lambda _, args, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    found = reader.read(jobs)
    watch.remove()
    assert widths == [read]
    for row, job in enumerate(jobs):
        np.testing.assert_allclose(found[row], alone(model, job, layers), rtol=1e-4, atol=1e-5)


def test_a_model_that_looks_ahead_ever_so_little_reads_the_whole_prompt(toponym):
    model = tiny("causal", "gpt2", toponym)
    jobs = [Job(tuple(range(20 + i, 29 + i)), 3, 5) for i in range(4)]

    def glance(module, args, out):
        tensor = out[0] if isinstance(out, tuple) else out
        tensor = tensor + 1e-5 * tensor.flip(1).cumsum(1).flip(1)
        return (tensor, *out[1:]) if isinstance(out, tuple) else tensor

    model.blocks[0].register_forward_hook(glance)
    reader = Reader(model, [0, 1], "resid_post", prompts=jobs, batch_tokens=40)
    assert reader._looks_ahead
    found = reader.read(jobs)
    for row, job in enumerate(jobs):
        np.testing.assert_allclose(found[row], alone(model, job, [0, 1]), rtol=1e-5, atol=1e-6)


def test_equal_prompts_are_read_once_and_give_the_same_bytes(toponym):
    model = tiny("causal", "llama", toponym)
    jobs = some_jobs(5) * 3
    reader = Reader(model, [1], "resid_post", prompts=jobs, batch_tokens=30)
    rows = []
    model.backbone.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    found = reader.read(jobs)
    assert sum(rows) == 5
    assert found[:5].tobytes() == found[5:10].tobytes() == found[10:].tobytes()


def test_only_what_is_wanted_is_computed(toponym):
    model = tiny("causal", "llama", toponym)
    ran = []
    for name, module in model.model.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    jobs = some_jobs(3)
    reader = Reader(model, [1], "resid_post", prompts=jobs, batch_tokens=99)
    ran.clear()
    reader.read(jobs)
    assert "model.layers.1" in ran
    assert not {"model.layers.2", "model.norm", "lm_head"} & set(ran)
    # what a block does after the site is left out too
    reader = Reader(model, [1], "resid_mid", prompts=jobs, batch_tokens=99)
    ran.clear()
    reader.read(jobs)
    assert "model.layers.1.self_attn" in ran
    assert "model.layers.1.mlp" not in ran


def test_batches_grow_smaller_when_memory_runs_out(toponym, caplog):
    model = tiny("causal", "llama", toponym)
    jobs = some_jobs(40)
    reader = Reader(model, [1], "resid_post", prompts=jobs, batch_tokens=10_000)
    wanted = Reader(model, [1], "resid_post", prompts=jobs, batch_tokens=9).read(jobs)
    sizes = []

    def full(module, args, kwargs):
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > 7:
            raise torch.OutOfMemoryError("out of memory")

    handle = model.backbone.register_forward_pre_hook(full, with_kwargs=True)
    found = reader.read(jobs)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert "out of memory: 5000 tokens at once from here" in caplog.text
    assert reader.batch_tokens < 10_000
    handle.remove()

    def never(module, args, kwargs):
        raise torch.OutOfMemoryError("out of memory")

    # one prompt that does not fit is an error
    model.backbone.register_forward_pre_hook(never, with_kwargs=True)
    with pytest.raises(torch.OutOfMemoryError):
        reader.read(jobs)


def test_a_padding_that_is_not_finite_stays_out(gpt2):
    jobs = some_jobs()
    wanted = Reader(gpt2, [0], "resid_post", prompts=jobs, batch_tokens=99).read(jobs)
    masks = []

    def spoil(module, args, output):
        output = output[0] if isinstance(output, tuple) else output
        if masks[-1] is not None:
            output[masks[-1] == 0] = float("inf")

    gpt2.blocks[0].register_forward_hook(spoil)
    gpt2.backbone.register_forward_pre_hook(
        lambda _, args, kwargs: masks.append(kwargs.get("attention_mask")), with_kwargs=True
    )
    found = Reader(gpt2, [0], "resid_post", prompts=jobs, batch_tokens=99).read(jobs)
    assert any(mask is not None and (mask == 0).any() for mask in masks)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_vectors_that_are_no_tokens_are_refused(toponym):
    model = tiny("causal", "llama", toponym)
    pool = forward._Pool(some_jobs(2), np.zeros(2, dtype=np.int64), 0, 9)
    with pytest.raises(InputError, match="layer 4 gives 12 vectors for 9 tokens"):
        pool.of(4, torch.zeros(2, 12, model.hidden))


def test_prompts_that_change_each_other_are_read_one_by_one(toponym, caplog):
    import copy

    from torch.ao.quantization import quantize_dynamic

    # what it rounds to depends on the largest value in the batch
    small = quantize_dynamic(copy.deepcopy(toponym.model), {torch.nn.Linear}, dtype=torch.qint8)
    model = gi.models.wrap(small, toponym.tokenizer)
    jobs, layers = some_jobs(), list(range(model.depth))
    with caplog.at_level("INFO"):
        reader = Reader(model, layers, "resid_post", prompts=jobs, batch_tokens=99)
    assert "every prompt goes alone" in caplog.text
    together = reader.read(jobs)
    for row, job in enumerate(jobs):
        np.testing.assert_array_equal(together[row], reader.read([job])[0])


@pytest.mark.parametrize("leak", [1e-2, 1e-3])
def test_a_small_leak_between_prompts_is_seen(toponym, leak):
    model, jobs = tiny("causal", "gpt2", toponym), some_jobs()

    def mixed(module, args, out):
        tensor = out[0] if isinstance(out, tuple) else out
        tensor = tensor + leak * tensor.mean(0, keepdim=True)
        return (tensor, *out[1:]) if isinstance(out, tuple) else tensor

    model.blocks[0].register_forward_hook(mixed)
    assert Reader(model, [1], "resid_post", prompts=jobs, batch_tokens=99)._side == "alone"
