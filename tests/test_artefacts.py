import pytest

from geointerp import artefacts
from geointerp.errors import InputError


@pytest.mark.parametrize("name", ["table.csv", "a.b.parquet", "folder"])
def test_it_appears_when_it_is_whole(tmp_path, name):
    out = tmp_path / "deep" / name
    with artefacts.whole(out) as part:
        assert part.name.endswith(out.suffix)
        part.write_text("half")
        assert not out.exists()
    assert out.read_text() == "half"
    assert [p.name for p in out.parent.iterdir()] == [name]


def test_nothing_is_left_of_a_failure(tmp_path):
    with pytest.raises(RuntimeError), artefacts.whole(tmp_path / "run") as part:
        part.mkdir()
        (part / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_stands_there_stays(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("x")
    with pytest.raises(InputError, match="mine: it exists already"), artefacts.whole(mine):
        pass
    below = mine / "run"
    with pytest.raises(InputError, match="nothing can be written in .*mine"):
        artefacts.refuse_existing(below)
    assert mine.read_text() == "x"


def test_what_a_kill_left_is_overwritten(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt), artefacts.whole(out) as part:
        part.mkdir()
        raise KeyboardInterrupt
    part.mkdir()
    (part / "stale").write_text("x")
    with artefacts.whole(out) as part:
        part.mkdir()
    assert list(out.iterdir()) == []
