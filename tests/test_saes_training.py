import itertools
from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import synthetic_acts
from safetensors.torch import load_file
from scipy import sparse

import geointerp as gi
from geointerp.errors import InputError
from geointerp.saes import supply as supplies
from geointerp.saes import trainer as trainers
from geointerp.saes import training
from geointerp.saes.architectures import ARCHITECTURES
from geointerp.saes.rows import Rows
from geointerp.saes.split import split
from geointerp.saes.stopping import Stopping
from geointerp.saes.supply import Supply
from geointerp.saes.trainer import Recipe, Trainer

CPU = torch.device("cpu")
QUICK = {"width": 16, "k": 2, "steps": 40, "batch": 64}


def dictionary(n=20_000, d=64, width=256, active=4, seed=0):
    """Vectors that are sums of a few of known directions, far from the origin."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(width, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    codes = np.zeros((n, width))
    for row in codes:
        row[random.choice(width, active, replace=False)] = random.uniform(1, 2, active)
    return (codes @ directions + 5).astype(np.float32), directions


def mean_max_cosine(sae, directions):
    found = sae.W_dec.detach().numpy()
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    return (directions @ found.T).max(axis=1).mean()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_known_dictionary_is_recovered(architecture):
    values, directions = dictionary()
    options = {"width": 320, "k": 4, "steps": 1000, "batch": 512}
    sae = gi.saes.train(values, architecture=architecture, **options)
    assert mean_max_cosine(sae, directions) > 0.95
    found = gi.saes.quality(sae, values[gi.saes.held_out(values)])
    assert found["l0"] == pytest.approx(4, rel=0.15)
    # an L1 penalty shrinks what it finds
    assert found["explained_variance"] > (0.4 if architecture == "standard" else 0.85)
    # directions drawn at random do not match
    other = np.random.default_rng(9).normal(size=directions.shape)
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    assert mean_max_cosine(sae, other) < 0.6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_opened_gives_what_was_trained(architecture, tmp_path):
    values, _ = dictionary(n=2000)
    recipe = Recipe(architecture, 96, 4, 60, 256)
    mean = values.mean(0, dtype=np.float64)
    trainer = Trainer(recipe, mean=mean, scale=0.5, places=2000, device=CPU, about={})
    for step in range(60):
        trainer.step(step, torch.from_numpy(values[(step * 256) % 1500 :][:256]))
    some = torch.from_numpy(values[:300])
    with torch.no_grad():
        # on scaled activations, before the scale is folded into the weights
        raw = trainer._autoencoder
        length = raw.W_dec.norm(dim=1)
        pre = (some * 0.5 - raw.b_dec) @ raw.W_enc
        if architecture == "gated":
            gate = pre + raw.b_gate > 0
            values_ = torch.relu(pre * raw.r_mag.exp() + raw.b_mag) * gate
        else:
            pre = pre + raw.b_enc
            values_ = torch.relu(pre)
            if architecture == "topk":
                least = (pre * length).topk(4, dim=1).values[:, -1:]
                values_ = values_ * (pre * length >= least)
            elif architecture in ("batchtopk", "matryoshka"):
                values_ = values_ * (pre * length > raw.topk_threshold)
            elif architecture == "jumprelu":
                values_ = values_ * (pre > raw.threshold)
        output = (values_ @ raw.W_dec + raw.b_dec) / 0.5
    trainer.finished().save_inference_model(tmp_path / "sae")
    opened = gi.saes.load(tmp_path / "sae")
    with torch.no_grad():
        features = opened.encode(some)
    assert ((features > 0) == (values_ > 0)).float().mean() > 0.9999
    torch.testing.assert_close(opened(some), output, rtol=1e-3, atol=1e-3)
    # latents are measured by what they add, of whatever architecture
    torch.testing.assert_close(opened.W_dec.norm(dim=1), torch.ones(96))
    torch.testing.assert_close(features, values_ * length / 0.5, rtol=1e-3, atol=1e-3)


def counted(monkeypatch):
    """Numbers of the steps that are made from now on."""
    made = []
    step = Trainer.step
    monkeypatch.setattr(
        Trainer,
        "step",
        lambda self, number, batch: (made.append(number), step(self, number, batch)),
    )
    return made


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_run_that_broke_off_goes_on_to_the_same_bits(architecture, tmp_path, monkeypatch, caplog):
    values, _ = dictionary(n=700)
    monkeypatch.setattr(training, "_CHECKPOINT", 10)
    options = {"architecture": architecture, "patience": 30, **QUICK}
    gi.saes.train(values, out=tmp_path / "whole", **options)
    step = Trainer.step

    def breaks(self, number, batch):
        if number == 27:
            raise KeyboardInterrupt
        step(self, number, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", breaks)
        with pytest.raises(KeyboardInterrupt):
            gi.saes.train(values, out=tmp_path / "sae", **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sae.checkpoint", "whole"]
    made = counted(monkeypatch)
    gi.saes.train(values, out=tmp_path / "sae", **options)
    assert made == list(range(20, 40))
    assert "sae.checkpoint: going on from step 20" in caplog.text
    for name in ("sae_weights.safetensors", "cfg.json", "card.json"):
        one, other = ((tmp_path / out / name).read_bytes() for out in ("whole", "sae"))
        assert one == other
    # nothing is left but the autoencoders
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sae", "whole"]


def test_a_checkpoint_is_of_one_run_alone(tmp_path, monkeypatch):
    values, _ = dictionary(n=300)
    monkeypatch.setattr(training, "_CHECKPOINT", 10)
    step = Trainer.step

    def breaks(self, number, batch):
        if number == 15:
            raise KeyboardInterrupt
        step(self, number, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", breaks)
        with pytest.raises(KeyboardInterrupt):
            gi.saes.train(values, out=tmp_path / "sae", **QUICK)
    before = (tmp_path / "sae.checkpoint").read_bytes()
    for changed, said in [
        ({"width": 17}, "width 16, here 17"),
        ({"patience": 3}, "patience None, here 3"),
        ({"seed": 1}, "seed 0, here 1"),
        ({"precision": "bfloat16"}, "precision 'float32', here 'bfloat16'"),
    ]:
        with pytest.raises(InputError, match=rf"the checkpoint of another run \({said}"):
            gi.saes.train(values, out=tmp_path / "sae", **{**QUICK, **changed})
    with pytest.raises(InputError, match=r"another run \(activations"):
        gi.saes.train(values + 1e-3, out=tmp_path / "sae", **QUICK)
    monkeypatch.setattr(gi.cards, "versions", lambda: {"torch": "2.6"})
    with pytest.raises(InputError, match=r"another run \(versions"):
        gi.saes.train(values, out=tmp_path / "sae", **QUICK)
    monkeypatch.undo()
    assert (tmp_path / "sae.checkpoint").read_bytes() == before
    assert not (tmp_path / "sae").exists()
    (tmp_path / "sae.checkpoint").write_bytes(before[:100])
    with pytest.raises(InputError, match="not a readable checkpoint; delete it"):
        gi.saes.train(values, out=tmp_path / "sae", **QUICK)


@pytest.mark.parametrize("fits", [True, False])
def test_a_supply_gives_every_row_once_a_round(fits, monkeypatch):
    if not fits:
        monkeypatch.setattr(supplies, "_FITS", 0)
        monkeypatch.setattr(supplies, "_WINDOW", 8 * 4 * 3 * 7)  # stretches of seven rows
    values = np.arange(300, dtype=np.float32).reshape(100, 3)
    chosen = np.flatnonzero(np.arange(100) % 5 != 2)
    rows = Rows(values, chosen=chosen)
    batches = Supply(rows, batch=16, seed=3, device=CPU).from_step(0)
    drawn = torch.cat([next(batches) for _ in range(10)]).numpy()
    np.testing.assert_array_equal(drawn[:, 1], drawn[:, 0] + 1)
    number = (drawn[:, 0] / 3).astype(int)
    # two rounds, each with all rows, in different orders
    one, two = number[:80], number[80:]
    assert sorted(one) == sorted(two) == chosen.tolist()
    assert one.tolist() != two.tolist()
    assert np.abs(np.diff(one)).mean() > 10
    # from any step on as from the first
    for step in (1, 4, 5, 9):
        later = next(Supply(rows, batch=16, seed=3, device=CPU).from_step(step))
        np.testing.assert_array_equal(later, drawn[16 * step : 16 * step + 16])
    other = next(Supply(rows, batch=16, seed=4, device=CPU).from_step(0))
    assert not np.array_equal(other, drawn[:16])


def test_what_does_not_fit_is_read_in_long_stretches(monkeypatch):
    values = np.random.default_rng(0).normal(size=(4000, 8)).astype(np.float32)
    monkeypatch.setattr(supplies, "_FITS", 0)
    monkeypatch.setattr(supplies, "_WINDOW", 4 * 8 * 2000)

    class OnDisk:
        shape, dtype = values.shape, values.dtype
        read: ClassVar[list[int]] = []

        def __getitem__(self, rows):
            self.read.append(rows.stop - rows.start)
            return values[rows]

    supply = Supply(Rows(OnDisk()), batch=100, seed=0, device=CPU).from_step(0)
    for _ in range(40):
        next(supply)
    assert sum(OnDisk.read) == 4000
    assert set(OnDisk.read) == {250}


def test_a_sweep_trains_what_would_be_trained_alone(tmp_path):
    values, _ = dictionary(n=700)
    table = gi.saes.sweep(
        values,
        out=tmp_path / "sweep",
        architectures=["topk", "standard"],
        widths=[16, 24],
        ks=(k for k in [2]),
        seeds=[0, 5],
        steps=40,
        batch=64,
    )
    assert len(table) == 8
    assert table.loc["topk-24-2-seed5", "width"] == 24
    written = sorted(p.name for p in (tmp_path / "sweep").iterdir())
    assert written == sorted([*table.index, "sweep.csv"])
    for architecture in ("topk", "standard"):
        alone = gi.saes.train(values, architecture=architecture, **QUICK)
        swept = load_file(
            tmp_path / "sweep" / f"{architecture}-16-2-seed0" / "sae_weights.safetensors"
        )
        assert all(torch.equal(swept[name], alone.state_dict()[name]) for name in swept)
        found = gi.saes.quality(alone, values[gi.saes.held_out(values)])
        for name, value in found.items():
            assert table.loc[f"{architecture}-16-2-seed0", name] == value
    card = gi.cards.read(tmp_path / "sweep" / "topk-16-2-seed5")["made by"]
    assert (card["seed"], card["seed of the split"]) == (5, 0)
    # the seeds make weights, and all are judged on the same places
    figures = table.loc[["topk-16-2-seed0", "topk-16-2-seed5"], "explained_variance"]
    assert figures.nunique() == 2
    with pytest.raises(InputError, match="k is 99"):
        gi.saes.sweep(values, out=tmp_path / "no", widths=[16], ks=[2, 99])
    with pytest.raises(InputError, match="asked for twice"):
        gi.saes.sweep(values, out=tmp_path / "no", widths=[16, 16], ks=[2])
    with pytest.raises(InputError, match=r"width is 2\.5"):
        gi.saes.sweep(values, out=tmp_path / "no", widths=[16, 2.5], ks=[2])
    with pytest.raises(InputError, match="nothing to train"):
        gi.saes.sweep(values, out=tmp_path / "no", widths=[])
    assert not (tmp_path / "no").exists()


def test_the_best_weights_are_kept_when_patience_runs_out(monkeypatch):
    values, _ = dictionary(n=700)
    errors = iter([5.0, 3.0, 4.0, 3.5, 1.0])
    monkeypatch.setattr(Trainer, "squared_error", lambda self, batch: next(errors))
    taken = []
    weights = Trainer.weights
    monkeypatch.setattr(
        Trainer, "weights", lambda self: (taken.append(weights(self)), taken[-1])[1]
    )
    made = counted(monkeypatch)
    options = {**QUICK, "steps": 500}
    sae = gi.saes.train(values, patience=2, **options)
    # every fiftieth of the steps, two looks after the least of them
    assert made == list(range(40))
    assert len(taken) == 2
    direction = taken[1]["W_dec"] / taken[1]["W_dec"].norm(dim=1, keepdim=True)
    torch.testing.assert_close(sae.W_dec.detach(), direction)


@pytest.mark.parametrize("architecture", ["standard", "gated", "jumprelu"])
def test_what_becomes_sparse_is_not_stopped_before_it_is(architecture):
    values, _ = dictionary(n=3000, d=32, width=64)
    options = {"width": 80, "k": 4, "steps": 600, "batch": 256, "patience": 3}
    sae = gi.saes.train(values, architecture=architecture, **options)
    assert gi.saes.quality(sae, values)["l0"] < 1.4 * 4


def test_validation_places_are_of_their_own():
    acts = synthetic_acts(n=400).sel(layer=1)
    names = [f"p{i // 2}" for i in range(400)]
    acts = acts.assign_coords(name=("place", names)).assign_attrs(template="{name}")
    parts = split(acts, 0, validation=True)
    assert [len(part) for part in parts] == [340, 20, 40]
    sides = [{names[i] for i in part} for part in parts]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(sides, 2))
    assert sorted(np.concatenate(parts)) == list(range(400))
    # what is held out does not depend on it
    np.testing.assert_array_equal(parts.held_out, np.flatnonzero(gi.saes.held_out(acts)))


def test_stopping_counts_looks_since_the_least():
    stopping = Stopping(2)
    for error, stopped in [(3, False), (4, False), (2, False), (2, False), (5, True)]:
        stopping.see(error, lambda e=error: {"w": torch.tensor(float(e))})
        assert stopping.stopped == stopped
    assert float(stopping.best["w"]) == 2
    other = Stopping(2)
    other.restore(stopping.state())
    assert other.stopped
    assert float(other.best["w"]) == 2
    endless = Stopping(None)
    for error in range(100):
        endless.see(error, dict)
    assert not endless.stopped


def test_half_precision_is_nearly_as_good():
    values, _ = dictionary(n=5000, d=32, width=64)
    options = {"width": 80, "k": 4, "steps": 400, "batch": 256}
    for architecture in ("topk", "jumprelu"):
        one, other = (
            gi.saes.train(values, architecture=architecture, precision=precision, **options)
            for precision in ("float32", "bfloat16")
        )
        assert not torch.equal(one.W_enc, other.W_enc)
        assert other.W_enc.dtype == torch.float32
        found = [gi.saes.quality(sae, values)["explained_variance"] for sae in (one, other)]
        assert found[0] > 0.8
        assert abs(found[1] - found[0]) < 0.03


def test_dead_latents_are_revived(monkeypatch):
    # all latents are needed
    values, _ = dictionary(n=2000, d=32, width=64, active=2)
    mean = values.mean(0, dtype=np.float64)
    options = {"mean": mean, "scale": 1.0, "device": CPU, "about": {}}
    alive = []
    for silent in (0.1, 2):  # of all samples: with so many, none is ever taken for dead
        monkeypatch.setattr(trainers, "_SILENT", silent)
        trainer = Trainer(Recipe("topk", 64, 2, 400, 128), places=10**9, **options)
        # half of them so far off that they never fire
        with torch.no_grad():
            trainer._autoencoder.b_enc[32:] = -0.3
        for step in range(400):
            at = step * 128 % 1800
            trainer.step(step, torch.from_numpy(values[at : at + 128]))
        sae = trainer.finished()
        alive.append(int((sae.encode(torch.from_numpy(values))[:, 32:] > 0).any(0).sum()))
    assert alive[0] > 10
    assert alive[1] == 0


def test_a_sweep_that_broke_off_goes_on(tmp_path, monkeypatch):
    values, _ = dictionary(n=700)
    monkeypatch.setattr(training, "_CHECKPOINT", 10)
    options = {"architectures": ["topk", "gated"], "widths": [16], "ks": [2], "batch": 64}
    gi.saes.sweep(values, out=tmp_path / "whole", steps=40, patience=8, **options)
    step = Trainer.step

    def breaks(self, number, batch):
        if number == 33 and self.recipe.architecture == "gated":
            raise KeyboardInterrupt
        step(self, number, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", breaks)
        with pytest.raises(KeyboardInterrupt):
            gi.saes.sweep(values, out=tmp_path / "sweep", steps=40, patience=8, **options)
    made = counted(monkeypatch)
    gi.saes.sweep(values, out=tmp_path / "sweep", steps=40, patience=8, **options)
    assert set(made) == set(range(30, 40))
    files = [p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*.*")]
    assert len(files) == 9
    for file in files:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "sweep" / file).read_bytes()


def test_a_run_that_diverged_leaves_no_checkpoint_in_the_way(tmp_path, monkeypatch):
    values, _ = dictionary(n=300)
    monkeypatch.setattr(training, "_CHECKPOINT", 10)
    step = Trainer.step

    def diverges(self, number, batch):
        step(self, number, batch * (np.nan if number == 15 else 1))

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", diverges)
        with pytest.raises(InputError, match="the training diverged: weights of topk-16-2-seed0"):
            gi.saes.train(values, out=tmp_path / "sae", **QUICK)
    assert list(tmp_path.iterdir()) == []
    gi.saes.train(values, out=tmp_path / "sae", **QUICK, learning_rate=1e-3)


def test_bad_rows_are_found_before_the_training(monkeypatch):
    acts = synthetic_acts(n=200).sel(layer=1)
    names = [f"p{i}" for i in range(200)]
    acts = acts.assign_coords(name=("place", names)).assign_attrs(template="{name}")
    row = int(np.flatnonzero(gi.saes.held_out(acts))[3])
    acts[row, 2] = np.inf
    made = counted(monkeypatch)
    with pytest.raises(InputError, match=f"row {row} of the activations is not finite"):
        gi.saes.train(acts, **QUICK)
    assert made == []


def test_numbers_of_any_kind_are_taken_and_other_things_are_not():
    values, _ = dictionary(n=200)
    one = gi.saes.train(values, **QUICK)
    same = gi.saes.train(
        torch.from_numpy(values), width=np.int64(16), k=2.0, steps=40, batch=np.int32(64)
    )
    assert torch.equal(one.W_enc, same.W_enc)
    for options, said in [
        ({"width": 16.5}, "width is 16.5; it must be a whole number"),
        ({"width": "16"}, "width is '16'"),
        ({"batch": True}, "batch is True"),
        ({"learning_rate": "a"}, "learning_rate is 'a'; it must be a number"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**70}, "seed is 1180591620717411303424"),
    ]:
        with pytest.raises(InputError, match=said):
            gi.saes.train(values, **{**QUICK, **options})
    with pytest.raises(InputError, match="sparse matrix"):
        gi.saes.train(sparse.csr_matrix(values), **QUICK)
    with pytest.raises(InputError, match="activations are of complex64"):
        gi.saes.train(values.astype(np.complex64), **QUICK)
    with pytest.raises(InputError, match="activations are of <U"):
        gi.saes.train(values.astype(str), **QUICK)
    with pytest.raises(InputError, match="seed is -1"):
        gi.saes.held_out(values, -1)
    with pytest.raises(InputError, match="do not say of which places they are"):
        gi.saes.encode(one, values)


def test_few_rows_are_encoded_at_once_by_a_wide_autoencoder(monkeypatch):
    read = Rows(np.ones((5000, 4), np.float32))
    assert [len(block) for block in read.blocks()] == [4096, 904]
    assert {len(block) for block in read.blocks(2**20)} == {64, 5000 % 64}


def test_rows_far_apart_are_not_read_together():
    values = np.arange(100_000, dtype=np.float32).reshape(50_000, 2)

    class OnDisk:
        shape, dtype = values.shape, values.dtype
        spans: ClassVar[list[int]] = []

        def __getitem__(self, rows):
            self.spans.append(rows.stop - rows.start)
            return values[rows]

    chosen = np.arange(0, 50_000, 100)
    found = Rows(OnDisk(), chosen=chosen)[:]
    np.testing.assert_array_equal(found, values[chosen])
    assert max(OnDisk.spans) <= 16_384
    assert len(OnDisk.spans) == 4


def test_rows_say_where_they_are_bad():
    values = np.zeros((9000, 2))
    values[8123, 1] = np.nan
    with pytest.raises(InputError, match="row 8123 of the activations is not finite"):
        list(Rows(values).blocks())
    assert len(list(Rows(values, chosen=np.arange(8000)).blocks())) == 2
    with pytest.raises(InputError, match=r"\(place, hidden\); these have the shape \(3,\)"):
        Rows([1, 2, 3])
    nested = Rows(np.arange(20).reshape(10, 2)).of(np.array([1, 3, 5, 7])).of(np.array([0, 3]))
    assert nested[:].tolist() == [[2, 3], [14, 15]]


@pytest.mark.long
def test_the_embedded_model_is_explained_by_few_latents(toponym, tmp_path):
    from sae_lens import SAE

    places = gi.places.load("geonames", min_population=15_000)
    options = {"template": "{name} is near", "pool": "prompt_last", "layers": 3}
    acts = gi.activations.capture(toponym, places, **options).sel(layer=3)
    gi.saes.train(acts, width=1024, k=32, out=tmp_path / "sae")
    # by sae-lens and NumPy alone
    opened = SAE.load_from_disk(tmp_path / "sae")
    x = acts.values[gi.saes.held_out(acts)].astype(np.float64)
    with torch.no_grad():
        latents = opened.encode(torch.from_numpy(x).float())
        output = opened.decode(latents).double().numpy()
    explained = 1 - ((x - output) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    active = (latents > 0).numpy()
    figures = gi.cards.read(tmp_path / "sae")["figures"]
    assert figures["held-out explained_variance"] == pytest.approx(explained, abs=1e-6)
    assert figures["held-out l0"] == pytest.approx(active.sum(1).mean())
    assert figures["held-out alive"] == pytest.approx(active.any(0).mean())
    assert explained > 0.9
    assert active.sum(1).mean() <= 32
    assert active.any(0).mean() > 0.9


def test_an_output_in_a_folder_that_is_not_there_yet(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_CHECKPOINT", 10)
    gi.saes.train(synthetic_acts().sel(layer=0), out=tmp_path / "new" / "deep" / "sae", **QUICK)
    assert gi.saes.load(tmp_path / "new" / "deep" / "sae").cfg.d_sae == QUICK["width"]
    assert [path.name for path in (tmp_path / "new" / "deep").iterdir()] == ["sae"]
