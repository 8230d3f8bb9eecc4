"""The snippets of README.md run, and its table names the files that there are."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_runs_and_its_shapes_are_true(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(SNIPPETS[number], f"README.md, snippet {number + 1}", "exec"), names)
    stated = re.findall(r"^(\w+) = .*# \[([\d ]+)\]", SNIPPETS[number], flags=re.MULTILINE)
    for name, shape in stated:
        assert list(names[name].shape) == [int(size) for size in shape.split()], name
    assert len(stated) == (3, 1, 0, 2, 1, 1, 1)[number]
    if "state" in names:  # of a stream, where it would keep the graph of every frame
        assert not names["state"].slots.requires_grad


def test_the_snippets_are_found():
    assert len(SNIPPETS) == 7


def test_the_table_names_every_file():
    source = PACKAGE / "src" / "slot_decoders"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
    files = {file for file in files if not file.endswith("__init__.py")}
    files = {re.sub(r"(state_dicts/).*", r"\1", file) for file in files}
    named = set(re.findall(r"^\| `([\w./]+)` \|", README, flags=re.MULTILINE))
    assert named == files
