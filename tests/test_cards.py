import json

import pytest

from geointerp import cards
from geointerp.errors import InputError


def test_a_card_is_written_twice_the_same(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        cards.write(tmp_path / folder, "Thing", {"made by": {"seed": 0}, "figures": {"x": 0.5}})
    for name in ("card.json", "card.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    card = cards.read(tmp_path / "a")
    assert card["figures"] == {"x": 0.5}
    assert card["versions"]["torch"].startswith("2.")
    assert json.loads((tmp_path / "a" / "card.json").read_text()) == card


def test_no_value_breaks_the_table(tmp_path):
    cards.write(tmp_path, "T", {"made by": {"template": "{name} | <b>\n| x"}})
    (row,) = [r for r in (tmp_path / "card.md").read_text().splitlines() if "template" in r]
    assert row == "| template | {name} \\| &lt;b> \\| x |"


def test_no_card(tmp_path):
    assert cards.read(tmp_path) == {}


def test_the_card_of_a_single_file_lies_beside_it(tmp_path):
    cards.write(tmp_path, "Table", {"made by": {"seed": 3}}, stem="a.csv.card")
    assert {p.name for p in tmp_path.iterdir()} == {"a.csv.card.json", "a.csv.card.md"}
    assert cards.read(tmp_path, stem="a.csv.card")["made by"] == {"seed": 3}
    assert cards.read(tmp_path) == {}


@pytest.mark.parametrize(("text", "said"), [("{", "not a readable card"), ("[1]", "not a card")])
def test_what_is_no_card_is_said(tmp_path, text, said):
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(InputError, match=said):
        cards.read(tmp_path)
