import pytest
from atlas_helpers import (
    FEATURES,
    everything,
    make_features,
    make_report,
    make_table,
    read,
)

import geointerp as gi
from geointerp.atlas import folders, pages
from geointerp.errors import InputError


@pytest.fixture(scope="module")
def feats():
    return make_features()


@pytest.mark.parametrize(
    "files",
    [
        {"results.csv": "a,b\n"},
        {"index.html": "<p>my homepage</p>"},
        {"card.json": '{"made by": {"function": "geointerp.saes.train"}}', "index.html": ""},
        {"card.json": "[not json", "index.html": ""},
        {"card.json": "[1]", "index.html": ""},
    ],
)
def test_another_run_is_refused_and_left_alone(feats, tmp_path, files):
    out = tmp_path / "out"
    out.mkdir()
    for name, text in files.items():
        (out / name).write_text(text)
    before = everything(tmp_path)
    with pytest.raises(InputError, match="other than an atlas"):
        gi.atlas.write(feats, make_table(feats), out=out)
    assert everything(tmp_path) == before


def test_an_atlas_is_replaced_unless_something_lies_beside_it(feats, tmp_path):
    out = tmp_path / "deep" / "atlas"
    gi.atlas.write(feats, make_table(feats), out=out, title="first")
    gi.atlas.write(feats, make_table(feats), out=out, title="second")
    assert read(out)["overview"]["title"] == "second"
    assert [path.name for path in out.parent.iterdir()] == ["atlas"]
    for path in ("notes.txt", "data/Notes.js"):
        (out / path).write_text("mine")
        before = everything(tmp_path)
        with pytest.raises(InputError, match=f"{path}, which would be lost"):
            gi.atlas.write(feats, make_table(feats), out=out, title="third")
        assert everything(tmp_path) == before
        (out / path).unlink()
    (out / "notes.txt").write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        gi.atlas.write(feats, make_table(feats), out=out / "notes.txt")
    assert everything(tmp_path) == before


def test_an_empty_folder_is_filled(feats, tmp_path):
    gi.atlas.write(feats, make_table(feats), out=tmp_path)
    assert read(tmp_path)["features"]["id"] == FEATURES


@pytest.mark.parametrize("breaks", ["cards.write", "os.replace"])
def test_a_failure_midway_leaves_the_former_atlas(feats, tmp_path, monkeypatch, breaks):
    out = tmp_path / "atlas"
    gi.atlas.write(feats, make_table(feats), out=out, title="first")
    before = everything(tmp_path)
    real = folders.os.replace

    def fail(*arguments):
        if breaks == "os.replace" and ".partial" not in str(arguments[0]):
            return real(*arguments)
        raise OSError("no space left on device")

    where = pages.card_files if "cards" in breaks else folders.os
    monkeypatch.setattr(where, breaks.split(".")[1], fail)
    with pytest.raises(OSError, match="no space"):
        gi.atlas.write(feats, make_table(feats), out=out, title="second")
    assert everything(tmp_path) == before


def test_the_same_input_gives_the_same_bytes(feats, tmp_path):
    for name in "ab":
        gi.atlas.write(feats, make_table(feats), out=tmp_path / name, report=make_report(feats))
    assert everything(tmp_path / "a") == everything(tmp_path / "b")
