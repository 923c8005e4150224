import hashlib
import os
import shutil

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import same_tree

import geointerp as gi
from geointerp import prompts, store
from geointerp.errors import InputError


def alone(model, places, template, layer):
    """The vector of each placename's last token, one prompt at a time, without hooks."""
    rows = []
    for tokens in prompts.tokenize(prompts.render(places, template), model.tokenizer):
        with torch.no_grad():
            states = model.model(
                input_ids=torch.tensor([tokens.ids]), output_hidden_states=True
            ).hidden_states
        rows.append(states[layer + 1][0, tokens.last].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("padding_side", ["right", "left"])
@pytest.mark.parametrize("batch_tokens", [1, 40, 8192])
def test_one_prompt_is_the_same_alone_and_in_any_batch(model, few, padding_side, batch_tokens):
    template = "{name}, {country} is near"
    acts = gi.activations.capture(
        model, few, template=template, padding_side=padding_side, batch_tokens=batch_tokens
    )
    for layer in (0, 1):
        np.testing.assert_allclose(
            acts.sel(layer=layer).values, alone(model, few, template, layer), rtol=1e-4, atol=1e-5
        )


def test_pools(gpt2, few):
    template = "{name} is near"
    found = {
        pool: gi.activations.capture(gpt2, few, template=template, pool=pool, layers=1).values[:, 0]
        for pool in ("last", "mean", "prompt_last", "prompt_mean")
    }
    tokens = prompts.tokenize(prompts.render(few, template), gpt2.tokenizer)
    for row, t in enumerate(tokens):
        with torch.no_grad():
            states = gpt2.model(input_ids=torch.tensor([t.ids]), output_hidden_states=True)
        state = states.hidden_states[2][0].numpy()
        wanted = {
            "last": state[t.last],
            "mean": state[t.first : t.last + 1].mean(axis=0),
            "prompt_last": state[-1],
            # without BOS
            "prompt_mean": state[1:].mean(axis=0),
        }
        for pool, vector in wanted.items():
            np.testing.assert_allclose(found[pool][row], vector, rtol=1e-4, atol=1e-5)


def test_labels(gpt2, few):
    acts = gi.activations.capture(gpt2, few, layers=[2, 0])
    assert acts.dims == ("place", "layer", "hidden")
    assert acts["layer"].values.tolist() == [0, 2]
    assert acts["place"].values.tolist() == list("abcde")
    np.testing.assert_allclose(acts["lon"], few.geometry.x)
    np.testing.assert_allclose(acts["lat"], few.geometry.y)
    assert acts["name"].values.tolist() == few["name"].tolist()
    assert acts["country"].values.tolist() == few["country"].tolist()
    back = gi.activations.places_of(acts)
    assert back.index.tolist() == list("abcde")
    assert back.geometry.iloc[1].coords[0] == pytest.approx((-46.636, -23.547))


def test_a_store_reads_back(gpt2, few, tmp_path):
    memory = gi.activations.capture(gpt2, few)
    stored = gi.activations.capture(gpt2, few, out=tmp_path / "acts.zarr")
    np.testing.assert_array_equal(stored.values, memory.values)
    assert not (tmp_path / "acts.zarr.partial").exists()
    opened = gi.activations.open(tmp_path / "acts.zarr")
    for name in ("place", "name", "lon", "lat", "country", "population"):
        assert opened[name].values.tolist() == memory[name].values.tolist()
    assert opened.attrs["template"] == "{name}"
    card = gi.cards.read(tmp_path / "acts.zarr")
    assert card["made by"]["weights_sha256"] == gpt2.fingerprint


def test_projected_places_are_stored_in_degrees(gpt2, few, tmp_path):
    acts = gi.activations.capture(gpt2, few.to_crs(3857), layers=0, out=tmp_path / "a.zarr")
    np.testing.assert_allclose(acts["lon"], few.geometry.x, atol=1e-6)


def test_a_finished_store_is_not_done_again(gpt2, few, tmp_path, caplog):
    out = tmp_path / "acts.zarr"
    gi.activations.capture(gpt2, few, out=out)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    with caplog.at_level("INFO"):
        gi.activations.capture(gpt2, few, out=out)
    assert "kept 5 of 5 prompts" in caplog.text
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before


def test_another_run_is_refused_with_the_difference_named(gpt2, few, tmp_path):
    out = tmp_path / "acts.zarr"
    gi.activations.capture(gpt2, few, out=out)
    for change, said in [
        ({"template": "{name}!"}, "template '{name}' where this one has '{name}!'"),
        ({"layers": 0}, r"layers [0, 1, 2] where this one has [0]"),
        ({"pool": "mean"}, "pool 'last' where"),
        ({"site": "attn_out"}, "site 'resid_post' where"),
        ({"batch_tokens": 99}, "batch_tokens 1024 where"),
        ({"padding_side": "left"}, "padding_side 'right' where"),
    ]:
        with pytest.raises(InputError) as caught:
            gi.activations.capture(gpt2, few, out=out, **change)
        assert said in str(caught.value)
    with pytest.raises(InputError, match="untrained_seed None where this one has 3"):
        gi.activations.capture(gpt2.untrained(3), few, out=out)
    with pytest.raises(InputError, match="another table of places"):
        gi.activations.capture(gpt2, few.assign(population=1), out=out)
    with torch.no_grad():
        gpt2.blocks[0].mlp.c_proj.bias += 1
    with pytest.raises(InputError, match="of a model with other weights"):
        gi.activations.capture(gpt2, few, out=out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="it holds something else"):
        gi.activations.capture(gpt2, few, out=other)
    assert (other / "thesis.txt").read_text() == "mine"


def test_a_foreign_folder_of_the_unfinished_name_is_not_touched(gpt2, few, tmp_path):
    foreign = tmp_path / "acts.zarr.partial"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="partial: it holds something else"):
        gi.activations.capture(gpt2, few, out=tmp_path / "acts.zarr")
    assert (foreign / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("at", ["rename", "card", "create", "table"])
def test_a_kill_at_the_start_or_the_end_loses_nothing(gpt2, few, tmp_path, monkeypatch, caplog, at):
    import zarr

    class Killed(BaseException):
        pass

    def dies(path, *args, **kwargs):
        if at in ("create", "table") or (at == "rename" and path.name != "killed.zarr.partial"):
            real(path, *args, **kwargs)
        if at == "table":
            os.truncate(args[0], 1000)
        if at != "rename" or path.name == "killed.zarr.partial":
            raise Killed

    place, name = {
        "rename": (store.os, "replace"),
        "card": (store.cards, "write"),
        "create": (zarr, "open_group"),
        "table": (gpd.GeoDataFrame, "to_parquet"),
    }[at]
    real = getattr(place, name)
    gi.activations.capture(gpt2, few, out=tmp_path / "whole.zarr")
    out = tmp_path / "killed.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(place, name, dies)
        with pytest.raises(Killed):
            gi.activations.capture(gpt2, few, out=out)
    assert not out.exists()
    with caplog.at_level("INFO"):
        gi.activations.capture(gpt2, few, out=out)
    assert ("kept 5 of 5 prompts" in caplog.text) == (at in ("rename", "card"))
    assert same_tree(tmp_path / "whole.zarr", out)


def test_a_full_disk_is_one_sentence_and_loses_nothing(gpt2, few, tmp_path, monkeypatch, caplog):
    import zarr

    many = gpd.GeoDataFrame(pd.concat([few] * 10, ignore_index=True), crs=few.crs)
    monkeypatch.setattr(gi.activations, "_BLOCK_BYTES", 1)
    write, written = zarr.Array.__setitem__, []

    def full(self, at, values):
        if self.name == "/activations" or "activations" in str(self.store_path):
            written.append(at)
            if len(written) == 3:
                raise OSError(28, "No space left on device")
        write(self, at, values)

    out = tmp_path / "acts.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", full)
        with pytest.raises(InputError, match=r"No space left on device; what is whole is kept"):
            gi.activations.capture(gpt2, many, out=out)
    with caplog.at_level("INFO"):
        gi.activations.capture(gpt2, many, out=out)
    assert "kept 32 of 50 prompts" in caplog.text
    gi.activations.capture(gpt2, many, out=tmp_path / "whole.zarr")
    assert same_tree(tmp_path / "whole.zarr", out)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_chunk_is_seen_and_made_anew(gpt2, few, tmp_path, caplog, damage):
    out = tmp_path / "acts.zarr"
    gi.activations.capture(gpt2, few, out=out)
    whole = tmp_path / "whole.zarr"
    shutil.copytree(out, whole)
    chunk = out / "activations" / "c" / "0" / "0" / "1" / "0"
    data = bytearray(chunk.read_bytes())
    if damage == "remove":
        chunk.unlink()
    else:
        data[40] ^= 1
        chunk.write_bytes(data if damage == "flip" else data[:40])
    with pytest.raises(InputError, match=r"c/0/0/1/0: .*rows 0 to 4, layer 1\) is missing or dam"):
        gi.activations.open(out)
    if damage == "flip":
        # unverified, it is still not read as data
        with pytest.raises(ValueError, match="checksum"):
            gi.activations.open(out, verify=False).sel(layer=1).load()
    with caplog.at_level("INFO"):
        gi.activations.capture(gpt2, few, out=out)
    assert "kept 0 of 5 prompts" in caplog.text
    assert same_tree(whole, out)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "reverse"])
def test_a_table_that_is_not_as_it_was_written_is_seen_and_made_anew(
    gpt2, few, tmp_path, caplog, damage
):
    out = tmp_path / "acts.zarr"
    gi.activations.capture(gpt2, few, out=out)
    whole = tmp_path / "whole.zarr"
    shutil.copytree(out, whole)
    table = out / "places.parquet"
    data = bytearray(table.read_bytes())
    if damage == "remove":
        table.unlink()
    elif damage == "reverse":
        gpd.read_parquet(table).iloc[::-1].to_parquet(table)
    else:
        data[40] ^= 1
        table.write_bytes(data if damage == "flip" else data[: len(data) // 2])
    for verify in (True, False):
        with pytest.raises(InputError, match=r"places\.parquet: this table is missing or not as"):
            gi.activations.open(out, verify=verify)
    with caplog.at_level("INFO"):
        gi.activations.capture(gpt2, few, out=out)
    assert "kept 5 of 5 prompts" in caplog.text
    assert same_tree(whole, out)


def test_another_version_keeps_the_table_and_redoes_a_damaged_one(
    gpt2, few, tmp_path, monkeypatch, caplog
):
    out = tmp_path / "acts.zarr"
    write = gpd.GeoDataFrame.to_parquet
    with monkeypatch.context() as patch:
        patch.setattr(gpd.GeoDataFrame, "to_parquet", lambda t, p: write(t, p, compression="gzip"))
        gi.activations.capture(gpt2, few, out=out)
    before = (out / "places.parquet").read_bytes()
    os.rename(out, tmp_path / "acts.zarr.partial")
    with caplog.at_level("INFO"):
        gi.activations.capture(gpt2, few, out=out)
    assert "kept 5 of 5 prompts" in caplog.text
    assert (out / "places.parquet").read_bytes() == before
    (out / "places.parquet").write_bytes(before[:-9])
    acts = gi.activations.capture(gpt2, few, out=out)
    assert (out / "places.parquet").read_bytes() != before
    assert acts["name"].values.tolist() == few["name"].tolist()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (lambda few: few.iloc[:3], "it has 3 rows for the 5 places"),
        (lambda few: few.drop(columns="name"), "there is no column 'name'"),
        (lambda few: pd.DataFrame(few.drop(columns="geometry")), "not readable as GeoParquet"),
    ],
)
def test_a_table_written_elsewhere_that_does_not_fit_is_one_sentence(
    gpt2, few, tmp_path, table, said
):
    import zarr

    out = tmp_path / "acts.zarr"
    gi.activations.capture(gpt2, few, out=out)
    table(few).to_parquet(out / "places.parquet")
    digest = hashlib.sha256((out / "places.parquet").read_bytes()).hexdigest()
    zarr.open_group(out, mode="r+").attrs["places_parquet_sha256"] = digest
    with pytest.raises(InputError, match=rf"places\.parquet: {said}") as caught:
        gi.activations.open(out)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_the_dtype_is_an_error(gpt2, few, tmp_path):
    acts = gi.activations.capture(gpt2, few, store_dtype="float16", out=tmp_path / "half.zarr")
    assert acts.dtype == np.float16
    full = gi.activations.capture(gpt2, few)
    np.testing.assert_array_equal(acts.values, full.values.astype(np.float16))
    with torch.no_grad():
        gpt2.blocks[1].mlp.c_proj.bias += 1e6
    changed = gi.models.wrap(gpt2.model, gpt2.tokenizer)
    assert np.isfinite(gi.activations.capture(changed, few).values).all()
    for out in (None, tmp_path / "over.zarr"):
        with pytest.raises(InputError, match=r"activation of 1e\+06 does not fit float16"):
            gi.activations.capture(changed, few, store_dtype="float16", out=out)


def test_several_templates_and_names_in_one_store(gpt2, few, tmp_path):
    few["local"] = ["Tolosa", "São Paulo", "Züri", "Llanfair PG", "東京都"]
    templates, columns = ["{name}", "{name} is near"], ["name", "local"]
    acts = gi.activations.capture(
        gpt2, few, template=templates, names=columns, out=tmp_path / "acts.zarr"
    )
    assert acts.dims == ("prompt", "place", "layer", "hidden")
    opened = gi.activations.open(tmp_path / "acts.zarr")
    variants = [(t, n) for t in templates for n in columns]
    assert list(zip(opened["template"].values, opened["names"].values, strict=True)) == variants
    for i, (template, column) in enumerate(variants):
        one = gi.activations.capture(
            gpt2, few.assign(name=few[column]), template=template, padding_side="left"
        )
        np.testing.assert_allclose(opened.isel(prompt=i), one, rtol=1e-4, atol=1e-5)
        chosen = gi.activations.prompts_of(opened.isel(prompt=i))["prompt"]
        assert chosen.tolist() == [template.format(name=n) for n in few[column]]
    with pytest.raises(InputError, match=r"several prompts: choose one, isel\(prompt=0\)"):
        gi.probes.evaluate(opened)
    with pytest.raises(InputError, match=r"template is \[\]; it must name at least one"):
        gi.activations.capture(gpt2, few, template=[])
    with pytest.raises(InputError, match="none twice"):
        gi.activations.capture(gpt2, few, names=["name", "name"])
    with pytest.raises(InputError, match="no column 'oc'"):
        gi.activations.capture(gpt2, few, names="oc")
    few.loc["c", "local"] = None
    with pytest.raises(InputError, match="names from 'local': row 'c' has no name"):
        gi.activations.capture(gpt2, few, names=columns)


def test_columns_of_any_kind_go_through(gpt2, few, tmp_path):
    import anndata

    many = gpd.GeoDataFrame(pd.concat([few] * 8, ignore_index=True), crs=few.crs)
    many["capital"] = [True, None] * 20
    many["tags"] = [["a", 1], {"b": 2}] * 20
    many["mixed"] = ["x", 3] * 20
    acts = gi.activations.capture(gpt2, many, out=tmp_path / "acts.zarr").sel(layer=1)
    assert acts["capital"].values.tolist()[:2] == ["True", None]
    assert acts["tags"].values.tolist()[:2] == ["['a', 1]", "{'b': 2}"]
    sae = gi.saes.train(acts, width=4, k=1, steps=2, batch=8)
    gi.saes.encode(sae, acts).write_h5ad(tmp_path / "f.h5ad")
    assert anndata.read_h5ad(tmp_path / "f.h5ad").obs["mixed"].tolist()[:2] == ["x", "3"]


def test_a_column_that_activations_use_is_refused(gpt2, few):
    with pytest.raises(InputError, match="column 'place' of the places has a name that"):
        gi.activations.capture(gpt2, few.assign(place="town"))


def test_a_store_that_cannot_be_laid_out_leaves_nothing(gpt2, few, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise ValueError("no parquet")

    monkeypatch.setattr(gpd.GeoDataFrame, "to_parquet", fails)
    with pytest.raises(ValueError, match="no parquet"):
        gi.activations.capture(gpt2, few, out=tmp_path / "acts.zarr")
    assert list(tmp_path.iterdir()) == []


def test_bad_input_leaves_nothing_behind(gpt2, few, tmp_path):
    out = tmp_path / "acts.zarr"
    for bad in (
        {"layers": 9},
        {"site": "resid"},
        {"pool": "max"},
        {"template": "{planet}"},
        {"template": "{name}" + " near" * 200},
        {"padding_side": "top"},
    ):
        with pytest.raises(InputError):
            gi.activations.capture(gpt2, few, out=out, **bad)
    assert list(tmp_path.iterdir()) == []


def test_not_finite(gpt2, few):
    with torch.no_grad():
        gpt2.blocks[1].mlp.c_proj.weight.fill_(float("inf"))
    with pytest.raises(InputError, match=r"layer 1: an activation is not finite"):
        gi.activations.capture(gpt2, few)


def test_no_store_there(tmp_path):
    with pytest.raises(InputError, match="no store of activations"):
        gi.activations.open(tmp_path / "none.zarr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no store of activations"):
        gi.activations.open(tmp_path / "empty")
    (tmp_path / "x.zarr.partial").mkdir()
    with pytest.raises(InputError, match="its capture was interrupted"):
        gi.activations.open(tmp_path / "x.zarr")


def test_an_empty_folder_is_filled(gpt2, few, tmp_path):
    (tmp_path / "acts.zarr").mkdir()
    acts = gi.activations.capture(gpt2, few, out=tmp_path / "acts.zarr")
    assert np.isfinite(acts.values).all()


def test_what_a_killed_write_left_is_removed(gpt2, few, tmp_path):
    whole = gi.activations.capture(gpt2, few, out=tmp_path / "whole.zarr")
    part = tmp_path / "acts.zarr.partial"
    shutil.copytree(tmp_path / "whole.zarr", part)
    (part / "activations" / "c" / "0" / "0" / "0" / "0.abc.partial").write_text("half")
    acts = gi.activations.capture(gpt2, few, out=tmp_path / "acts.zarr")
    assert same_tree(tmp_path / "whole.zarr", tmp_path / "acts.zarr")
    np.testing.assert_array_equal(acts.values, whole.values)


@pytest.mark.parametrize("name", ["layer", "lon", "name", "template", "names"])
@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_the_labels_of_a_store_are_seen_and_made_anew(gpt2, few, tmp_path, name, damage):
    out = tmp_path / "acts.zarr"
    gi.activations.capture(gpt2, few, out=out)
    chunk = out / name / "c" / "0"
    before = chunk.read_bytes()
    if damage == "missing":
        chunk.unlink()
    else:
        chunk.write_bytes(before[:3] + bytes([before[3] ^ 255]) + before[4:])
    with pytest.raises(InputError, match=f"{name}: this array is missing or not as"):
        gi.activations.open(out)
    (out / "card.json").unlink()
    gi.activations.capture(gpt2, few, out=out)
    assert chunk.read_bytes() == before
    assert (out / "card.json").exists()
    gi.activations.open(out)


def test_a_store_whose_array_says_nothing_is_one_sentence(gpt2, few, tmp_path):
    out = tmp_path / "acts.zarr"
    gi.activations.capture(gpt2, few, out=out)
    (out / "activations" / "zarr.json").unlink()
    for again in (
        lambda: gi.activations.open(out),
        lambda: gi.activations.capture(gpt2, few, out=out),
    ):
        with pytest.raises(InputError, match="delete the store and capture anew"):
            again()


def test_a_second_capture_at_the_same_time_is_refused(gpt2, few, tmp_path):
    out = tmp_path / "acts.zarr"
    with store.alone(out), pytest.raises(InputError, match="another capture is writing it"):
        gi.activations.capture(gpt2, few, out=out)
    assert list(tmp_path.iterdir()) == []
    gi.activations.capture(gpt2, few, out=out)


def test_what_is_not_loaded_is_told(gpt2, few):
    with pytest.raises(InputError, match="load or wrap makes a model of it"):
        gi.activations.capture("toponym", few)
    with pytest.raises(InputError, match=r"places\.load makes one"):
        gi.activations.capture(gpt2, pd.DataFrame(few.drop(columns="geometry")))
    with pytest.raises(InputError, match="is called 1, no text"):
        gi.activations.capture(gpt2, few.assign(code=range(1, 6)), names="code")
