import copy
import json
import shutil

import geopandas as gpd
import numpy as np
import pandas as pd
import peft
import pytest
import torch
from conftest import tiny
from sklearn.model_selection import cross_val_predict

import geointerp as gi
from geointerp.errors import InputError
from geointerp.geollm.finetuning import finetuned, training
from geointerp.geollm.ratings.distribution import log_scores
from geointerp.geollm.ratings.encoding import encode
from geointerp.probes import RandomKFold

COUNTRIES = ["France", "Japan", "Brazil", "Kenya", "Canada", "India"]
VALUES = dict(zip(COUNTRIES, [300.0, 1.0, 20.0, 5000.0, 80.0, 1200.0], strict=True))


def planted(n, seed):
    """Prompts whose country decides the truth, and whose other words say nothing."""
    draw = np.random.default_rng(seed)
    country = draw.choice(COUNTRIES, n)
    words = draw.choice(["Ab", "Lora", "Mi Sun", "Ra"], n)
    index = [f"s{seed}.{i}" for i in range(n)]
    pairs = zip(words, country, strict=True)
    prompts = pd.Series([f"{word}, {name}\nRate: " for word, name in pairs], index)
    return prompts, pd.Series([VALUES[name] for name in country], index)


PROMPTS, TRUTH = planted(72, 0)
HELD, HELD_TRUTH = planted(36, 1)
QUICK = {"epochs": 2, "batch_size": 16}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def llama(toponym):
    return tiny("llama", toponym.tokenizer)


def lively(kind, tokenizer):
    """A tiny model of random weights that are large enough for frozen ones to be of use."""
    model = tiny(kind, tokenizer)
    with torch.no_grad():
        for weight in model.model.parameters():
            if weight.ndim == 2:
                weight.mul_(50 if weight.shape[0] == len(tokenizer) else 10)
    return model


def spearman(model, prompts, truth):
    return gi.geollm.score(gi.geollm.predict(model, prompts, batch_size=16), truth)["spearman"]


# learning


@pytest.mark.parametrize(
    ("kind", "method", "rate", "least"),
    [("llama", "lora", 1e-2, 0.9), ("gpt2", "lora", 1e-2, 0.8), ("llama", "full", 3e-3, 0.9)],
)
def test_a_model_learns_what_only_the_prompt_tells(toponym, kind, method, rate, least):
    model = lively(kind, toponym.tokenizer)
    options = {"epochs": 12, "batch_size": 8, "learning_rate": rate}
    tuned = gi.geollm.finetune(model, PROMPTS, TRUTH, method=method, **options)
    assert tuned.losses[-1] < 3 < tuned.losses[0]
    assert spearman(tuned, HELD, HELD_TRUTH) > least
    assert abs(spearman(model, HELD, HELD_TRUTH)) < 0.5


@pytest.mark.parametrize(
    # biases shift every layer by as much for all prompts, and turn a small model less surely
    ("kind", "method", "rate", "least"),
    [("llama", "prompt", 3e-2, 0.8), ("gpt2", "bitfit", 1e-2, 0.6)],
)
def test_what_leaves_the_weights_alone_finds_a_skill_that_they_have(
    toponym, kind, method, rate, least
):
    # taught to rate up or down as the first word says; without one it goes up
    ways = pd.concat([PROMPTS.radd("Up: "), PROMPTS.radd("Down: ").rename("{}d".format)])
    truth = pd.concat([TRUTH, (1 / TRUTH).rename("{}d".format)])
    options = {"epochs": 15, "batch_size": 8}
    skilled = gi.geollm.finetune(
        lively(kind, toponym.tokenizer), ways, truth, method="full", learning_rate=3e-3, **options
    )
    down = 1 / HELD_TRUTH
    assert spearman(skilled, HELD, down) < -0.3
    tuned = gi.geollm.finetune(
        skilled, PROMPTS, 1 / TRUTH, method=method, learning_rate=rate, **options
    )
    assert spearman(tuned, HELD, down) > least


def test_what_the_prompt_does_not_tell_is_not_learnt(llama):
    draw = np.random.default_rng(2)
    shuffled = pd.Series(draw.permutation(TRUTH), TRUTH.index)
    tuned = gi.geollm.finetune(
        llama, PROMPTS, shuffled, method="full", epochs=8, batch_size=8, learning_rate=3e-3
    )
    assert abs(spearman(tuned, HELD, HELD_TRUTH)) < 0.6


def test_what_is_trained_is_what_is_scored(llama):
    # prompts of several lengths side by side, with a rate too small to move anything
    longer = PROMPTS + pd.Series(["" if i % 3 else "again: " for i in range(72)], PROMPTS.index)
    options = {"epochs": 1, "batch_size": 7, "learning_rate": 1e-12}
    tuned = gi.geollm.finetune(llama, longer, TRUTH, method="full", **options)
    labels = gi.geollm.Labels().fit_transform(TRUTH)
    logs = log_scores(llama, longer, batch_size=4, chat=None)
    own = [logs.loc[row, label] for row, label in labels.items()]
    assert tuned.losses == pytest.approx([-np.mean(own)], rel=1e-5)


@pytest.mark.parametrize("labels", ["quantile", gi.geollm.Labels("magnitude", log10=True)])
def test_labels_are_learnt_from_the_sample_and_lead_back_to_the_truth(llama, labels):
    tuned = gi.geollm.finetune(llama, PROMPTS, TRUTH, labels=labels, **QUICK)
    np.testing.assert_allclose(
        10**tuned.labels.sample_ if tuned.labels.log10 else tuned.labels.sample_, np.sort(TRUTH)
    )
    back = tuned.labels.inverse_transform(tuned.labels.transform(TRUTH))
    assert np.abs(np.log10(back / TRUTH)).max() < 0.05


# the base model


@pytest.mark.parametrize("method", ["lora", "prompt", "bitfit", "full"])
def test_the_base_model_stays_as_it_was(gpt2, method):
    before, needed = gpt2.fingerprint, [w.requires_grad for w in gpt2.model.parameters()]
    ids = gpt2.tokenizer("Rome")["input_ids"]
    state = torch.get_rng_state()
    tuned = gi.geollm.finetune(gpt2, PROMPTS, TRUTH, method=method, **QUICK)
    assert torch.equal(torch.get_rng_state(), state)
    assert gpt2.fingerprint == before != tuned.fingerprint
    assert [w.requires_grad for w in gpt2.model.parameters()] == needed
    assert gpt2.tokenizer("Rome")["input_ids"] == ids
    assert not gpt2.model.training
    assert not tuned.model.training


@pytest.mark.parametrize("method", ["lora", "bitfit", "full"])
def test_each_method_moves_its_own_weights_and_no_others(gpt2, method):
    tuned = gi.geollm.finetune(gpt2, PROMPTS, TRUTH, method=method, **QUICK)
    before, after = gpt2.model.state_dict(), tuned.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    linear = {
        name for name in before if name.endswith("weight") and ".h." in name and "ln_" not in name
    }
    biases = {name for name in before if name.endswith(".bias")}
    assert moved == {"lora": linear, "bitfit": biases, "full": set(before)}[method]


def test_the_same_seed_gives_the_same_weights(gpt2):
    one, two, other = (
        gi.geollm.finetune(gpt2, PROMPTS, TRUTH, seed=seed, **QUICK) for seed in (3, 3, 4)
    )
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert one.losses == two.losses


# learned tokens, against peft's own


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("method", ["prompt", "lora"])
def test_the_distribution_is_that_of_pefts_own_model(toponym, kind, method, tmp_path):
    model = tiny(kind, toponym.tokenizer)
    tuned = gi.geollm.finetune(
        model, PROMPTS, TRUTH, method=method, out=tmp_path / "tuned", learning_rate=3e-2, **QUICK
    )
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(model.model), tmp_path / "tuned").eval()
    few = HELD.iloc[:3]
    found = gi.geollm.distribution(tuned, few)
    for row, text in few.items():
        prefix, tails = encode(model.tokenizer, text, row)
        logs = []
        for tail in tails:
            ids = torch.tensor([prefix + tail])
            with torch.inference_mode():
                # learned tokens stand before, so that positions count from the end
                steps = theirs(input_ids=ids).logits[0, -len(tail) - 1 : -1].log_softmax(-1)
            logs.append(float(steps[range(len(tail)), list(tail)].sum()))
        expected = np.exp(logs - np.logaddexp.reduce(logs))
        np.testing.assert_allclose(found.loc[row], expected, atol=1e-5)
    plain = gi.geollm.distribution(model, few)
    assert np.abs(found - plain).to_numpy().max() > 1e-3


def test_activations_see_learned_tokens_and_are_of_the_prompts_own(llama):
    tuned = gi.geollm.finetune(llama, PROMPTS, TRUTH, method="prompt", learning_rate=3e-2, **QUICK)
    where = gpd.GeoDataFrame(
        {"name": ["Rome", "Oslo"]}, geometry=gpd.points_from_xy([1, 2], [3, 4]), crs="EPSG:4326"
    )
    (before, after) = (gi.activations.capture(m, where, pool="prompt_mean") for m in (llama, tuned))
    assert np.abs(before - after).max() > 1e-3
    ids = tuned.tokenizer("Rome")["input_ids"]
    own = llama.tokenizer("Rome")["input_ids"]
    # BOS and the learned ones are special, and in no mean
    assert ids[20:] == own
    first = llama.model.get_input_embeddings().num_embeddings
    assert ids[:20] == list(range(first, first + 20))
    with torch.inference_mode():
        states = tuned.backbone(torch.tensor([ids]), output_hidden_states=True).hidden_states
    np.testing.assert_allclose(after[0, 0], states[1][0, 21:].mean(0), atol=1e-5)


# on disk


@pytest.mark.parametrize("method", ["lora", "prompt", "bitfit", "full"])
def test_what_is_read_back_rates_the_same(gpt2, method, tmp_path):
    out = tmp_path / "tuned"
    tuned = gi.geollm.finetune(gpt2, PROMPTS, TRUTH, method=method, out=out, **QUICK)
    again = gi.geollm.load_finetuned(gpt2, out)
    assert again.fingerprint == tuned.fingerprint
    # the same weights at another address may round otherwise
    pd.testing.assert_frame_equal(
        gi.geollm.predict(again, HELD), gi.geollm.predict(tuned, HELD), rtol=1e-6
    )
    np.testing.assert_array_equal(again.labels.sample_, tuned.labels.sample_)
    assert again.losses == tuned.losses
    assert {path.suffix for path in out.iterdir()} <= {".safetensors", ".json", ".md"}
    assert [path.name for path in tmp_path.iterdir()] == ["tuned"]
    card = json.loads((out / "card.json").read_text())
    assert card["made by"]["method"] == method
    assert card["made by"]["n"] == 72
    assert card["base model"]["weights_sha256"] == gpt2.fingerprint
    assert list(card["truth of a rating"])[-1] == "9.9"
    assert card["truth of a rating"]["9.9"] == TRUTH.max()
    assert list(card["mean loss in nats by epoch"].values()) == tuned.losses


def test_an_adapter_of_another_model_is_refused(toponym, gpt2, tmp_path):
    gi.geollm.finetune(gpt2, PROMPTS, TRUTH, out=tmp_path / "tuned", **QUICK)
    other = copy.deepcopy(gpt2)
    with torch.no_grad():
        other.model.transformer.h[0].ln_1.bias[0] += 1e-3
    with pytest.raises(InputError, match="it was made from GPT2LMHeadModel with weights"):
        gi.geollm.load_finetuned(other, tmp_path / "tuned")


def test_a_damaged_or_pickled_adapter_is_refused(gpt2, tmp_path):
    out = tmp_path / "tuned"
    gi.geollm.finetune(gpt2, PROMPTS, TRUTH, out=out, **QUICK)
    with pytest.raises(InputError, match="no fine-tuned model here"):
        gi.geollm.load_finetuned(gpt2, tmp_path)
    weights = out / "adapter_model.safetensors"
    shutil.copy(weights, tmp_path / "kept")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="its weights cannot be read"):
        gi.geollm.load_finetuned(gpt2, out)
    # peft would take a pickle where there is no safetensors file
    weights.unlink()
    torch.save({}, out / "adapter_model.bin")
    with pytest.raises(InputError, match="its weights cannot be read"):
        gi.geollm.load_finetuned(gpt2, out)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_killed_training_goes_on_to_the_same_weights(gpt2, method, tmp_path, monkeypatch):
    # gpt2's dropout draws random numbers too
    options = {"method": method, "epochs": 3, "batch_size": 16}
    whole = gi.geollm.finetune(gpt2, PROMPTS, TRUTH, **options)
    steps, true_loss = [], training._loss

    def counted(*given, last=7):
        if len(steps) == last:
            raise KeyboardInterrupt
        steps.append(1)
        return true_loss(*given)

    monkeypatch.setattr(training, "_loss", counted)
    out = tmp_path / "tuned"
    with pytest.raises(KeyboardInterrupt):
        gi.geollm.finetune(gpt2, PROMPTS, TRUTH, out=out, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["tuned.checkpoint"]
    with pytest.raises(InputError, match="the checkpoint of another run"):
        gi.geollm.finetune(gpt2, PROMPTS, TRUTH, out=out, seed=9, **options)
    steps.clear()
    monkeypatch.setattr(training, "_loss", lambda *given: counted(*given, last=99))
    again = gi.geollm.finetune(gpt2, PROMPTS, TRUTH, out=out, **options)
    # five steps to an epoch: one was whole
    assert len(steps) == 10
    assert again.fingerprint == whole.fingerprint
    assert again.losses == whole.losses
    assert [path.name for path in tmp_path.iterdir()] == ["tuned"]


# as an estimator


def test_out_of_fold_nothing_of_the_fold_is_seen(llama):
    tuned = gi.geollm.FinetunedRegressor(llama, epochs=2, batch_size=16)
    (train, test), *_ = RandomKFold(4).split(PROMPTS)
    changed = TRUTH.to_numpy().copy()
    changed[test] = 1e9 + np.arange(len(test))
    texts = PROMPTS.to_numpy()
    cv = [(train, test), (test, train)]
    one, other = (cross_val_predict(tuned, texts, y, cv=cv) for y in (TRUTH.to_numpy(), changed))
    np.testing.assert_array_equal(one[test], other[test])
    assert one.min() >= TRUTH.min()
    assert one.max() <= TRUTH.max()
    assert other[train].min() >= 1e9


def test_a_fit_that_is_kept_is_not_done_again(llama, tmp_path, monkeypatch):
    options = {"out": tmp_path, "epochs": 1, "batch_size": 16, "sample": 20}
    texts, truth = PROMPTS.to_numpy(), TRUTH.to_numpy()
    first = gi.geollm.FinetunedRegressor(llama, **options).fit(texts, truth)
    assert len(first.model_.labels.sample_) == 20
    monkeypatch.setattr(training, "_loss", None)
    again = gi.geollm.FinetunedRegressor(llama, **options).fit(texts, truth)
    np.testing.assert_array_equal(again.predict(texts[:4]), first.predict(texts[:4]))
    with pytest.raises(TypeError):
        gi.geollm.FinetunedRegressor(llama, **options, seed=1).fit(texts, truth)


@pytest.fixture
def asked(monkeypatch):
    """What `finetune` is given by the estimator, instead of a training."""
    calls = []
    monkeypatch.setattr(
        finetuned, "finetune", lambda *given, **options: calls.append((given, options))
    )
    return calls


CHANGES = {
    "epochs": 2,
    "method": "bitfit",
    "labels": "magnitude",
    "batch_size": 4,
    "learning_rate": 0.5,
    "seed": 1,
}


def test_a_fit_is_kept_under_the_name_of_all_that_decides_it(gpt2, tmp_path, asked):
    texts, truth = PROMPTS.to_numpy(), TRUTH.to_numpy()
    other = copy.deepcopy(gpt2)
    other.model.transformer.h[0].ln_1.bias.data[0] += 1
    fits = [({}, gpt2, texts, truth), ({}, gpt2, texts, truth)]
    fits += [({name: value}, gpt2, texts, truth) for name, value in CHANGES.items()]
    fits += [({"labels": gi.geollm.Labels(log10=True)}, gpt2, texts, truth)]
    # one place's own
    fits += [({}, gpt2, texts, np.append(truth[:-1], 7.0))]
    fits += [({}, gpt2, np.append(texts[:-1], "Rate: "), truth), ({}, other, texts, truth)]
    for options, model, x, y in fits:
        gi.geollm.FinetunedRegressor(model, out=tmp_path, **options).fit(x, y)
    folders = [options["out"] for _, options in asked]
    assert folders[0] == folders[1]
    assert len(set(folders)) == len(fits) - 1
    assert {folder.parent for folder in folders} == {tmp_path}
    for (options, *_), (_, passed) in zip(fits, asked, strict=True):
        assert {name: passed[name] for name in options} == options


def test_a_sample_is_drawn_by_its_seed(gpt2, asked):
    texts, truth = np.array([f"Rate {i}: " for i in range(50)], object), np.arange(50.0)
    for seed in (0, 0, 1):
        gi.geollm.FinetunedRegressor(gpt2, sample=12, seed=seed).fit(texts, truth)
    rows = []
    for (_, prompts, known), _ in asked:
        assert prompts.index.equals(known.index)
        assert [f"Rate {value:.0f}: " for value in known] == prompts.tolist()
        rows.append(sorted(known))
    assert len(set(rows[0])) == 12
    assert rows[0] == rows[1] != rows[2]
    assert max(rows[0]) > 30
    assert min(rows[0]) < 20


def test_a_sample_of_all_or_more_leaves_them_as_they_are(gpt2, asked):
    gi.geollm.FinetunedRegressor(gpt2, sample=72).fit(PROMPTS.to_numpy(), TRUTH.to_numpy())
    (((_, prompts, known), _),) = asked
    assert prompts.tolist() == PROMPTS.tolist()
    assert known.tolist() == TRUTH.tolist()


def test_it_is_shown_in_a_line(llama):
    tuned = finetuned.Finetuned(
        llama.model,
        llama.tokenizer,
        "tiny",
        labels=gi.geollm.Labels("magnitude"),
        losses=[4.6, 2.25],
    )
    assert repr(tuned) == "Finetuned('tiny', labels=Labels(kind='magnitude'), losses=[4.6, 2.25])"


# bad input


@pytest.mark.parametrize("spare", [19, 20])
def test_learned_tokens_need_room_among_the_positions(gpt2, spare):
    # GPT-2 has 128 positions
    text, answer = "Rate:", max(map(len, encode(gpt2.tokenizer, "Rate:", 0).tails))
    while len(encode(gpt2.tokenizer, text, 0).prefix) + answer + spare < 128:
        text = "a " + text
    assert len(encode(gpt2.tokenizer, text, 0).prefix) + answer + spare == 128
    given = pd.Series([text, "Rate:"]), pd.Series([1.0, 2.0])
    gi.geollm.finetune(gpt2, *given, epochs=1)
    if spare == 20:
        tuned = gi.geollm.finetune(gpt2, *given, method="prompt", epochs=1)
        assert np.isfinite(gi.geollm.predict(tuned, given[0])["rating"]).all()
    else:
        with pytest.raises(InputError, match=r"row 0 has 129 tokens .* the model takes 128"):
            gi.geollm.finetune(gpt2, *given, method="prompt", epochs=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "bitfit"}, "LlamaForCausalLM has no biases to train"),
        ({"labels": "ranks"}, "kind is 'ranks'"),
        ({"truth": TRUTH.iloc[1:]}, "the index has no 's0.0'"),
        ({"truth": TRUTH * 0}, "1 distinct value"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_read(
    llama, monkeypatch, options, message
):
    monkeypatch.setattr(finetuned, "ask", None)
    monkeypatch.setattr(finetuned, "_base", None)
    with pytest.raises(InputError, match=message):
        gi.geollm.finetune(llama, PROMPTS, **{"truth": TRUTH, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "qlora"}, "method is 'qlora'"),
        ({"method": "bitfit"}, "LlamaForCausalLM has no biases to train"),
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"labels": "ranks"}, "kind is 'ranks'"),
        ({"truth": TRUTH.iloc[1:]}, "the index has no 's0.0'"),
        ({"truth": TRUTH * 0}, "1 distinct value"),
        ({"learning_rate": 1e30}, "the loss of step"),
        ({"method": "prompt", "chat": gi.geollm.Chat()}, "leave the chat out"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(llama, tmp_path, options, message):
    truth = options.pop("truth", TRUTH)
    with pytest.raises(InputError, match=message):
        gi.geollm.finetune(llama, PROMPTS, truth, out=tmp_path / "tuned", **{**QUICK, **options})
    assert list(tmp_path.iterdir()) == []


def test_prompts_without_truth_are_left_out_and_a_folder_that_exists_is_kept(llama, tmp_path):
    truth = TRUTH.copy()
    truth.iloc[:30] = np.nan
    tuned = gi.geollm.finetune(llama, PROMPTS, truth, **QUICK)
    assert len(tuned.labels.sample_) == 42
    with pytest.raises(InputError, match="it exists already"):
        gi.geollm.finetune(llama, PROMPTS, truth, out=tmp_path, **QUICK)
