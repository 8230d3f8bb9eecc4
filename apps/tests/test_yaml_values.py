"""Recipes and ``--set`` of which nobody knows who wrote them: plain values, or one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from slot_core import ConfigError
from support.command_line import run
from support.options import load_options, parse_change

LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
)
CASES = {
    "code": ("a: !!python/object/apply:os.system ['touch exploded']", "the tag .* is not read"),
    "name": ("a: !!python/name:os.system", "the tag .* is not read"),
    "a tag of YAML": ("a: !!set {b}", "the tag .* is not read"),
    "an own tag": ("a: !b c", "the tag '!b' is not read"),
    "no tag": ("a: ! c", "the tag '!' is not read"),
    "laughs": (LAUGHS, "anchors and aliases are not read"),
    "a loop": ("a: &a [*a]", "anchors and aliases are not read"),
    "an alias of nothing": ("a: *b", "anchors and aliases are not read"),
    "merged": ("<<: {a: 1}", "merge keys, <<, are not read"),
    "twice": ("a: 1\nb: 2\na: 3", "the key 'a' stands twice"),
    "twice, deep": ("a: {b: 1, b: 1}", "the key 'b' stands twice"),
    "no word": ("1: 2", "the key 1 is no word"),
    "a list as key": ("? [a]\n: b", "the key .* is no word"),
    "deep lists": ("a: " + "[" * 100_000, "has more than 65,536 characters"),
    "rather deep lists": ("a: " + "[" * 1_000, "more than 32 lists and mappings"),
    "deep mappings": ("a: " + "{b: " * 1_000, "more than 32 lists and mappings"),
    "deep lines": ("- " * 1_000, "more than 32 lists and mappings"),
    "long": ("#" * 100_000, "has more than 65,536 characters"),
    "not finite": ("a: .inf", "a number is not finite"),
    "no number": ("a: .NaN", "a number is not finite"),
    "too large": ("a: 1.0e+999", "a number is not finite"),
    "long number": ("a: " + "9" * 5_000, "a number of 5000 digits is not read"),
    "empty number": ("a: 0b_", "is not readable YAML"),
    "no letter": ('a: "\\ud800"', "is not readable YAML"),
    "beyond Unicode": ('a: "\\U00110000"', "is not readable YAML"),
    "a control letter": ("a: \x00", "is not readable YAML"),
    "two documents": ("a: 1\n---\nb: 2", "is not readable YAML"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_recipe_is_refused_in_one_sentence(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """As a command shows it: the sentence, and code 2."""
    monkeypatch.chdir(tmp_path)
    text, words = CASES[case]
    Path("mine.yaml").write_text(text)

    def command(recipe: str) -> None:
        load_options(recipe)

    with pytest.raises(SystemExit) as stopped:
        run(command, ["mine.yaml"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: mine.yaml: ")
    assert said.count("\n") == 1
    assert len(said) < 600
    assert not Path("exploded").exists()
    with pytest.raises(ConfigError, match=words):
        load_options("mine.yaml")


@pytest.mark.parametrize("case", sorted(CASES.keys() - {"deep lists", "long"}))
def test_the_value_of_a_change_is_read_likewise(case: str):
    text, words = CASES[case]
    with pytest.raises(ConfigError, match=words) as caught:
        parse_change(f"data.x={text}")
    assert str(caught.value).startswith("--set data.x=")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("a." * 100_000 + "a=1", "has 100001 keys, expected at most 32"),
        ("a\nb=1", "expected the form key.key=value"),
        ("\udcff=1", "expected the form key.key=value"),
        ("a=\udcff", "is not readable YAML"),
        ("a=" + "x" * 100_000, "has more than 65,536 characters"),
        ("model=[1]", "key 'model' is"),
        ("model.preset=[1]", "key 'model.preset' is"),
        ("train.num_steps=nan", "train.num_steps"),
        ("optimizer.learning_rate=inf", "optimizer.learning_rate"),
        ("optimizer.learning_rate='nan'", "optimizer.learning_rate"),
        ("model.num_slots=1000000000", "num_slots' has the value 1000000000: .* less than or eq"),
        ("model.slot_dim=100000000", "slot_dim' has the value 100000000: .* less than or equal"),
        ("model.preprocessing.image_size=[100000, 100000]", "image_size.0' has the value 100000"),
    ],
)
def test_a_change_is_refused_in_one_sentence(change: str, words: str):
    with pytest.raises(ConfigError, match=words) as caught:
        load_options("slot_attention/shapes", [change])
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2001-99-99", "2001-99-99"),
        ("2001-01-01", "2001-01-01"),
        ("=", "="),
        ("nan", "nan"),
        ("inf", "inf"),
        ("no", "no"),
        ("0x1f", 31),
        ("[[[[1]]]]", [[[[1]]]]),
        ("ä", "ä"),
    ],
)
def test_what_looks_like_more_is_a_word(text: str, value: object):
    assert parse_change(f"a={text}") == {"a": value}


def test_a_recipe_that_is_no_file_is_refused(tmp_path: Path):
    (tmp_path / "latin.yaml").write_bytes("a: ö".encode("latin1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml: cannot be read"):
        load_options(str(tmp_path / "latin.yaml"))
    with pytest.raises(ConfigError, match="there is no recipe"):
        load_options("../" * 40 + "etc/passwd\nx")
