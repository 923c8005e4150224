import pytest

from geointerp import artefacts
from geointerp.errors import InputError


@pytest.mark.parametrize("name", ["table.csv", "a.b.parquet", "folder"])
def test_it_appears_when_it_is_whole(tmp_path, name):
    out = tmp_path / "deep" / name
    with artefacts.whole(out) as part:
        assert part.name == out.name
        part.write_text("half")
        assert not out.exists()
    assert out.read_text() == "half"
    assert [p.name for p in out.parent.iterdir()] == [name]


def test_nothing_is_left_of_a_failure(tmp_path):
    def fails():
        with artefacts.whole(tmp_path / "run") as part:
            part.mkdir()
            (part / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert list(tmp_path.iterdir()) == []


def test_what_stands_there_stays(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("x")
    with pytest.raises(InputError, match="mine: it exists already"), artefacts.whole(mine):
        pass
    below = mine / "run"
    with pytest.raises(InputError, match=r"mine is a file; choose an output in a folder"):
        artefacts.refuse_existing(below)
    assert mine.read_text() == "x"


@pytest.mark.parametrize("breaks", ["writer", "card"])
def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch, breaks):
    def fail(*_, **__):
        raise OSError("disk full")

    def writer(path):
        path.write_text("half")
        if breaks == "writer":
            fail()

    if breaks == "card":
        monkeypatch.setattr(artefacts.cards, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        artefacts.write_file(tmp_path / "x.csv", writer, "X", {})
    assert list(tmp_path.iterdir()) == []


def test_what_came_meanwhile_is_not_overwritten(tmp_path):
    out = tmp_path / "x.csv"

    def writer(path):
        path.write_text("theirs")
        out.write_text("mine")

    with pytest.raises(InputError, match="exists already"):
        artefacts.write_file(out, writer, "X", {})
    assert out.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]


def test_a_file_has_its_card_beside_it(tmp_path):
    out = tmp_path / "x.csv"
    artefacts.write_file(out, lambda path: path.write_text("1"), "X", {"seed": 3})
    assert out.read_text() == "1"
    assert artefacts.read_card(out)["made by"] == {"seed": 3}
    assert artefacts.read_card(tmp_path / "y.csv") == {}


def test_an_artefact_comes_after_its_card(tmp_path, monkeypatch):
    moved = []
    monkeypatch.setattr(artefacts.os, "replace", lambda _, to: moved.append(to.name))
    artefacts.write_file(tmp_path / "x.csv", lambda path: path.write_text(""), "X", {})
    assert sorted(moved[:2]) == ["x.csv.card.json", "x.csv.card.md"]
    assert moved[2:] == ["x.csv"]
