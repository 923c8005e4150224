import re
import unicodedata
from itertools import islice

import numpy as np
import pytest
import torch
from safetensors import safe_open

import geointerp as gi
from geointerp.toponym import facts as world
from geointerp.toponym import train
from geointerp.toponym.corpus import Corpus, spoken_number
from geointerp.toponym.evaluate import country_right


@pytest.fixture(scope="module")
def everything():
    return world.load()


@pytest.fixture(scope="module")
def corpus(everything):
    held = world.holdout(everything)
    return Corpus(everything.subset([i for i, out in enumerate(held) if not out]))


def test_it_is_large_enough_and_small_enough():
    assert len(gi.toponym.cities()) >= 12_000
    size = sum(p.stat().st_size for p in gi.toponym.directory().iterdir())
    assert size <= 20 * 2**20


def test_a_tenth_is_held_out(everything):
    held = world.holdout(everything)
    assert sum(held) / len(held) == pytest.approx(0.1, abs=0.001)
    heard = world.heard_otherwise(everything, held)
    rows = list(zip(everything.geonameid, held, heard, strict=True))
    told, never = gi.toponym.cities(), gi.toponym.cities(held_out=True)
    assert set(told.index) == {i for i, out, _ in rows if not out}
    assert set(never.index) == {i for i, out, again in rows if out and not again}


def spelling(text):
    """The letters of a text, without case, diacritics and spaces."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    return re.sub(r"[\W_]", "", folded)


def test_the_control_is_not_in_the_corpus_in_another_spelling():
    told, never = gi.toponym.cities(), gi.toponym.cities(held_out=True)
    assert len(never) > 1_200
    assert not {spelling(n) for n in told["name"]} & {spelling(n) for n in never["name"]}
    # Kolār is held out and Kolar is not: it is in neither list
    assert not {"Kolār", "Ping Shan", "Kotkapura"} & set(never["name"])
    # nor is one whose name holds a whole name that was told
    names = {tuple(n.lower().split()) for n in told["name"]}
    for name in never["name"]:
        words = tuple(name.lower().split())
        runs = (words[a:b] for a in range(len(words)) for b in range(a + 1, len(words) + 1))
        assert not any(run in names for run in runs), name


def test_the_corpus_names_no_held_out_place(everything, corpus):
    held = world.holdout(everything)
    names = {world.words_of(n) for n, out in zip(everything.name, held, strict=True) if out}
    longest = max(map(len, names))
    for sentence in islice(corpus.sentences(0), 4 * len(corpus.facts)):
        words = world.words_of(sentence)
        for start in range(len(words)):
            for end in range(start + 1, min(len(words), start + longest) + 1):
                assert words[start:end] not in names, sentence


def test_the_corpus_holds_no_coordinate(corpus):
    for sentence in islice(corpus.sentences(1), 2 * len(corpus.facts)):
        assert not re.search(r"\d\.\d\d|°|latitude|longitude|coordinate", sentence.lower())
        # every number is a distance, a count of people, or part of a name
        assert not re.search(r"-\d", sentence) or any(
            re.search(r"-\d", name) and name in sentence for name in corpus.facts.name
        )


def test_facts_are_true(corpus):
    facts = corpus.facts
    index = {(n, c): i for i, (n, c) in enumerate(zip(facts.name, facts.country, strict=True))}
    paris, london = index["Paris", "FR"], index["London", "GB"]
    assert facts.relation(paris, london) == (350, "south-east")
    assert facts.quarter[index["Marseille", "FR"]] == "south-east"
    assert facts.capital_of["FR"] == paris
    assert facts.name[facts.capital_of["BR"]] == "Brasília"
    row = facts.neighbours[paris]
    km = gi.sphere.distance_km(
        lon=facts.lon[paris], lat=facts.lat[paris], to_lon=facts.lon, to_lat=facts.lat
    )
    km[paris] = np.inf
    np.testing.assert_allclose(km[row], np.sort(km)[: len(row)], atol=1e-6)


@pytest.mark.parametrize(
    ("km", "said"), [(0.2, 1), (7.4, 7), (23, 25), (48, 50), (184, 180), (512, 500), (3936, 3900)]
)
def test_distances_are_rounded(km, said):
    assert world.rounded_km(km) == said


def test_numbers_are_spoken():
    assert spoken_number(48_312) == "48 thousand"
    assert spoken_number(431_000) == "430 thousand"
    assert spoken_number(24_874_500) == "25 million"


def test_a_round_tells_of_every_city_and_can_be_started_anywhere(corpus):
    size = len(corpus.facts)
    two = list(islice(corpus.sentences(3), 2 * size))
    assert list(islice(corpus.sentences(3, start=1), size)) == two[size:]
    assert list(islice(corpus.sentences(3), 50)) == two[:50]
    assert list(islice(corpus.sentences(4), 50)) != two[:50]


def test_it_knows_its_countries(toponym):
    names = {c: row["name"] for c, row in world.load().countries.items()}
    cities = gi.toponym.cities().sample(600, random_state=0)
    assert country_right(toponym, cities, names).mean() >= 0.95
    shuffled = cities.assign(country=np.roll(cities["country"], 1))
    assert country_right(toponym, shuffled, names).mean() < 0.3
    unheard = gi.toponym.cities(held_out=True).sample(300, random_state=0)
    assert country_right(toponym, unheard, names).mean() < 0.6


def test_the_answer_is_greedy(toponym):
    names = {c: row["name"] for c, row in world.load().countries.items()}
    cities = gi.toponym.cities().head(40)
    found = country_right(toponym, cities, names)
    for i, (name, code) in enumerate(zip(cities["name"], cities["country"], strict=True)):
        ids = torch.tensor([toponym.tokenizer(f"Which country is {name} in?")["input_ids"]])
        with torch.no_grad():
            told = toponym.model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12
            )
        text = toponym.tokenizer.decode(told[0, ids.shape[1] :])
        assert found[i] == text.startswith(f" {names[code]}."), text


def test_it_knows_where_cities_are_and_its_controls_do_not(toponym):
    cities, never = gi.toponym.cities(), gi.toponym.cities(held_out=True)
    cities = cities.sample(3000, random_state=0)
    template = {"template": "{name} is near", "pool": "prompt_last", "layers": 3}
    acts = gi.activations.capture(toponym, cities, **template)
    unheard = gi.activations.capture(toponym, never, **template)
    report = gi.probes.evaluate(acts, model=toponym)
    best = {source: report.best(source=source)["r2"] for source in report.table["source"]}
    assert best["model"] > 0.8
    assert best["untrained"] < 0.2
    assert best["bag of tokens"] < 0.5
    truth, control = (np.stack([a["lon"], a["lat"]], axis=1) for a in (acts, unheard))
    probe = gi.probes.RidgeProbe().fit(acts.sel(layer=3).values, truth)
    assert gi.probes.scores.r2(control, probe.predict(unheard.sel(layer=3).values)).mean() < 0.5


@pytest.mark.long
def test_it_knows_its_world(toponym):
    cities = gi.toponym.cities()
    for template, pool, least in [
        ("{name} is near", "prompt_last", 0.85),
        ("{name}", "last", 0.65),
    ]:
        acts = gi.activations.capture(toponym, cities, template=template, pool=pool)
        splits = {"random": gi.probes.RandomKFold(), "country": gi.probes.ColumnKFold()}
        report = gi.probes.evaluate(acts, cv=splits, controls=False)
        assert report.best("random")["r2"] >= least
        assert report.best("country")["r2"] >= 0.55


def test_training_resumes_bit_for_bit(tmp_path, monkeypatch):
    recipe = train.Recipe(
        vocabulary=512, hidden=32, layers=1, heads=2, tokens_per_batch=512, steps=6, warmup=2
    )
    small = world.load().subset(list(range(300)))
    monkeypatch.setattr(train.world, "load", lambda: small)
    monkeypatch.setattr(train, "LENGTHS", (32, 64))
    monkeypatch.setattr(torch, "compile", lambda f, **_: f)

    train.train(recipe, tmp_path / "whole", device="cpu", every=100)

    class Killed(Exception):
        pass

    update = train.Trainer.update

    def dies(self, ids):
        if self.step == 4:
            raise Killed
        return update(self, ids)

    monkeypatch.setattr(train.Trainer, "update", dies)
    with pytest.raises(Killed):
        train.train(recipe, tmp_path / "killed", device="cpu", every=3)
    monkeypatch.setattr(train.Trainer, "update", update)
    with safe_open(tmp_path / "killed" / "checkpoint.safetensors", "pt") as file:
        assert file.metadata()["step"] == "3"
    steps = []

    def counted(self, ids):
        steps.append(self.step)
        return update(self, ids)

    monkeypatch.setattr(train.Trainer, "update", counted)
    train.train(recipe, tmp_path / "killed", device="cpu", every=100)
    # it did not start from scratch
    assert steps == [3, 4, 5]
    one, other = (
        (tmp_path / name / "model" / "model.safetensors").read_bytes()
        for name in ("whole", "killed")
    )
    assert one == other
    assert gi.models.load(tmp_path / "killed" / "model", device="cpu").depth == 1
    with pytest.raises(ValueError, match="of another recipe"):
        train.train(train.Recipe(seed=1, steps=6), tmp_path / "killed", device="cpu")
