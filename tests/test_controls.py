import gc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import synthetic_acts

import geointerp as gi
from geointerp.errors import InputError
from geointerp.probes import controls, scores


def test_the_model_beats_its_controls_only_when_it_knows(toponym, cities):
    acts = gi.activations.capture(toponym, cities, template="{name} is near", pool="prompt_last")
    report = gi.probes.evaluate(acts, model=toponym)
    best = {source: report.best(source=source)["r2"] for source in report.table["source"].unique()}
    # the template holds nothing but the name
    assert set(best) == {"model", *controls.ALL} - {controls.REST}
    assert best["model"] > 0.6
    assert best["untrained"] < 0.3
    assert max(best[c] for c in (controls.TOKENS, controls.NGRAMS, controls.EMBEDDINGS)) < 0.5
    assert best["shuffled targets"] < 0.05
    row = report.summary.iloc[0]
    assert row["best_control"] == max(set(best) - {"model"}, key=best.get)
    assert row["uplift"] == pytest.approx(best["model"] - best[row["best_control"]])
    assert 0 < row["uplift_low"] < row["uplift"] < row["uplift_high"]
    # the untrained model's own control is itself
    random = toponym.untrained(0)
    empty = gi.activations.capture(random, cities, template="{name} is near", pool="prompt_last")
    again = gi.probes.evaluate(empty, model=random, seed=0)
    assert again.best(source="model")["r2"] == again.best(source="untrained")["r2"]


def test_controls_find_the_model_by_its_name(toponym, few):
    acts = gi.activations.capture(toponym, few)
    assert controls.model_of(acts).fingerprint == toponym.fingerprint
    acts.attrs["weights_sha256"] = "0"
    with pytest.raises(InputError, match="are not those"):
        controls.model_of(acts)


def test_controls_need_to_know_what_they_are_controls_of(toponym, few):
    acts = gi.activations.capture(toponym, few)
    assert controls.model_of(acts, toponym) is toponym
    with pytest.raises(InputError, match="weights of toponym are not those"):
        controls.model_of(acts, toponym.untrained(1))
    for key in ("template", "site", "pool", "model", "weights_sha256"):
        partial = acts.assign_attrs({})
        del partial.attrs[key]
        with pytest.raises(InputError, match=f"do not say of which {key}"):
            controls.model_of(partial, toponym)


def test_controls_compute_as_the_activations_did(few):
    half = gi.models.load("toponym", device="cpu", dtype="bfloat16")
    acts = gi.activations.capture(half, few, layers=0)
    assert controls.model_of(acts).fingerprint == half.fingerprint


def test_bag_of_tokens_counts(toponym, few):
    acts = gi.activations.capture(toponym, few, template="{name} {name}")
    counts = controls.bag_of_tokens(acts, toponym)
    assert counts.shape[0] == 5
    lengths = [len(toponym.tokenizer(f"{n} {n}")["input_ids"]) for n in few["name"]]
    assert counts.sum(axis=1).ravel().tolist() == lengths


def test_the_prompt_without_the_name_tells_what_the_rest_gives_away(toponym):
    places = gi.places.load("geonames", limit=300)
    places = places[places.groupby("country")["country"].transform("size") > 9]
    template = "{country}: {name}"
    acts = gi.activations.capture(toponym, places, template=template, layers=[1, 2])
    rest = controls.without_the_name(acts, toponym)
    # two places of one country have the same prompt
    one, two = np.flatnonzero(places["country"].to_numpy() == "IN")[:2]
    np.testing.assert_array_equal(rest.values[one], rest.values[two])
    report = gi.probes.evaluate(acts, controls=[controls.REST], model=toponym)
    assert report.best(source=controls.REST)["r2"] > 0.5
    assert report.summary["best_control"][0] == controls.REST
    bare = gi.activations.capture(toponym, places[:5], template="{name}", layers=1)
    assert controls.without_the_name(bare, toponym) is None


def test_input_embeddings_are_the_mean_over_the_name(toponym, few):
    acts = gi.activations.capture(toponym, few, template="in {name} now")
    found = controls.input_embeddings(acts, toponym)
    (tokens, *_) = gi.prompts.tokenize(gi.prompts.render(few, "in {name} now"), toponym.tokenizer)
    table = toponym.model.get_input_embeddings().weight.detach().numpy()
    wanted = table[tokens.ids[tokens.first : tokens.last + 1]].mean(0)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-6)


def test_character_ngrams_are_counted():
    acts = synthetic_acts(n=4).assign_coords(name=("place", ["Aba", "Abo", "Zug", "zug"]))
    counts = controls.character_ngrams(acts)
    # " ", " a", " ab", "a", "ab", "b" of the first; the whole of the last two is one
    assert (counts.toarray()[2] == counts.toarray()[3]).all()
    assert counts[[0]].multiply(counts[[1]]).sum() > 0
    assert counts[[0]].multiply(counts[[2]]).nnz == 1  # the space before the name
    assert counts.toarray()[0].max() >= 2  # two a


def test_word_vectors_are_one_more_control():
    acts = synthetic_acts(n=200)
    truth = np.stack([acts["lon"].values, acts["lat"].values], axis=1)
    vectors = pd.DataFrame(truth, index=[str(name).upper() for name in acts["name"].values])
    named = acts.assign_coords(name=("place", [f"{n.upper()}" for n in acts["name"].values]))
    report = gi.probes.evaluate(named, controls=[], word_vectors=vectors)
    assert report.best(source=controls.VECTORS)["r2"] > 0.99
    two = acts.assign_coords(name=("place", ["Saint-Paul", "SAINT x", *acts["name"].values[2:]]))
    pair = pd.DataFrame([[1.0, 2], [3, 4]], index=["saint", "Paul"])
    assert controls.word_vectors(two, pair)[:3].tolist() == [[2, 3], [1, 2], [0, 0]]
    with pytest.raises(InputError, match="no word of any name"):
        controls.word_vectors(acts, pair)


def test_the_untrained_control_is_read_as_the_activations_were(toponym, few):
    options = {"site": "attn_out", "pool": "mean", "template": "in {name}", "batch_tokens": 64}
    acts = gi.activations.capture(toponym, few, layers=[1, 4], **options)
    control = controls.untrained(acts, toponym, 3)
    assert control.attrs["untrained_seed"] == 3
    assert {key: control.attrs[key] for key in options} == options
    wanted = gi.activations.capture(toponym.untrained(3), few, layers=[1, 4], **options)
    np.testing.assert_array_equal(control.values, wanted.values)


def test_a_model_in_memory_is_not_looked_up(gpt2, few):
    acts = gi.activations.capture(gpt2, few)
    with pytest.raises(InputError, match="was in memory: give model="):
        controls.model_of(acts)
    assert controls.model_of(acts, gpt2) is gpt2


def test_the_nearest_controls_predictions_stand_beside(tmp_path):
    acts = synthetic_acts()
    # names that tell on which side of Greenwich a place is
    names = np.where(acts["lon"].values < 0, "west", "eastern")
    acts = acts.assign_coords(name=("place", names))
    asked = ["character n-grams", "shuffled targets"]
    report = gi.probes.evaluate(acts, controls=asked)
    assert report.nearest_control() == "character n-grams"
    r2 = scores.r2(report.control[["lon"]], report.control[["predicted_lon"]])[0]
    assert r2 == pytest.approx(report.best(source="character n-grams")["r2_lon"])
    assert report.control.index.equals(report.predictions.index)
    report.save(tmp_path / "probe")
    back = gi.probes.Report.read(tmp_path / "probe")
    pd.testing.assert_frame_equal(back.control, report.control)
    alone = gi.probes.evaluate(acts, controls=False)
    assert alone.control is None
    alone.save(tmp_path / "alone")
    assert gi.probes.Report.read(tmp_path / "alone").control is None


def test_names_of_a_control_are_those_of_the_prompt():
    acts = synthetic_acts()
    acts.attrs |= {"names": "local"}
    acts = acts.assign_coords(local=("place", [f"{'uvw'[i % 3] * 4}" for i in range(300)]))
    assert controls.character_ngrams(acts).shape[1] < 40
    vectors = pd.DataFrame({"a": [1.0, 2.0]}, index=["uuuu", "vvvv"])
    assert controls.word_vectors(acts, vectors)[:3, 0].tolist() == [1, 2, 0]


def test_word_vectors_are_checked():
    acts = synthetic_acts(n=20)
    good = pd.DataFrame({"a": [1.0, 2.0]}, index=["p1", "p2"])
    for bad, said in (
        (good.replace(2.0, np.nan), "finite"),
        (good.astype(str), "finite"),
        (pd.concat([good, good]), "once"),
        ({"p1": [1.0]}, "DataFrame"),
    ):
        with pytest.raises(InputError, match=said):
            controls.word_vectors(acts, bad)
    with pytest.raises(InputError, match="needs the option word_vectors"):
        gi.probes.evaluate(acts, controls=["word vectors"])
    named = gi.probes.evaluate(acts, controls=["word vectors"], word_vectors=good)
    assert named.nearest_control() == "word vectors"


def test_a_large_control_lies_on_disk_and_tells_the_same(toponym, cities, monkeypatch):
    acts = gi.activations.capture(toponym, cities.iloc[:60], layers=[1, 3])
    in_memory = controls.untrained(acts, toponym, 0)
    monkeypatch.setattr(controls, "_IN_MEMORY", 0)
    on_disk = controls.untrained(acts, toponym, 0)
    folder = Path(on_disk.attrs["folder"].name)
    assert (folder / "activations.zarr").exists()
    np.testing.assert_array_equal(on_disk.sel(layer=3).values, in_memory.sel(layer=3).values)
    del on_disk
    gc.collect()
    assert not folder.exists()
