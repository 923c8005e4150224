import pytest

from geointerp import cli
from geointerp.cli import _COMMANDS, helping


def stopped(capsys, *arguments):
    """What is said on standard error, and the exit code."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    return capsys.readouterr(), stop.value.code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["captur"], "`geointerp` has no command 'captur'; did you mean capture?"),
        (["sae", "trian"], "`geointerp sae` has no command 'trian'; did you mean train?"),
        (["sae", "zzz"], "`geointerp sae` has no command 'zzz'; it must be one of train, sweep, "),
        (["sae"], "`geointerp sae` needs a command: train, sweep, encode."),
        (["sae", "train"], "ACTS and --layer are required."),
        (["places", "a.csv", "fr"], "'fr' is more than `geointerp places` takes; `--help` lists"),
        (["places", "a.csv", "--lmit", "3"], "has no option --lmit; did you mean --limit?"),
        (["places", "a.csv", "--lmit=3"], "has no option --lmit; did you mean --limit?"),
        (["places", "a.csv", "--min-populaton", "3"], "did you mean --min-population?"),
        (["places", "a.csv", "--zzzz", "3"], "has no option --zzzz; `--help` lists its options."),
        (["places", "a.csv", "--limit", "x"], "--limit is 'x'; it must be a whole number."),
        (["moran", "a.h5ad", "--km", "far"], "--km is 'far'; it must be a number."),
        (["places", "a.csv", "--limit"], "--limit needs a value."),
        (["--limit", "3", "places"], "'3' comes before `geointerp places`; its options come after"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_nearest_word(capsys, arguments, said):
    told, code = stopped(capsys, *arguments)
    assert code == 2
    assert said in told.err
    assert told.err.startswith("geointerp: ")
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_a_mistake_in_a_yaml_file(tmp_path, capsys):
    settings = tmp_path / "s.yaml"
    settings.write_text("places: a.csv\nlimt: 3\n")
    told, code = stopped(capsys, "places", "--config", str(settings))
    assert code == 2
    assert "`geointerp places` has no option --limt; did you mean --limit?" in told.err


def test_without_a_word_there_is_help_with_the_whole_line(capsys):
    told, code = stopped(capsys)
    assert code == 0
    line = [row.split()[1] for row in told.out.splitlines() if row.startswith("  geointerp ")]
    assert line == ["capture", "probe", "sae", "sae", "moran", "atlas"]


@pytest.mark.parametrize("words", [name for name, _ in helping.functions(_COMMANDS)])
def test_help_tells_every_option_in_words_as_it_is_typed(capsys, words):
    told, code = stopped(capsys, *words.split(), "--help")
    assert code == 0
    assert "As for" not in told.out
    assert not [part for part in told.out.split() if part.startswith("--") and "_" in part]
    assert "type:" not in told.out
    assert "{true,false}" not in told.out
