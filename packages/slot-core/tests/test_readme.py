"""Every snippet of the README runs, in the order in which it stands there."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the snippets have defined after all of them ran, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for snippet in SNIPPETS:
        exec(snippet, names)
    return names


def lines_of_code(snippet: str) -> int:
    return sum(bool(line) for line in snippet.splitlines())


def test_the_snippets_run_and_give_what_the_text_says(namespace: dict):
    assert len(SNIPPETS) == 7
    assert namespace["attention"].shape == (8, 5, 1024)
    assert namespace["output"].slots.shape == (2, 6, 5, 32)
    assert namespace["output"].attention.shape == (2, 6, 5, 1024)
    assert namespace["slots"].shape == (2, 5, 32)  # the stream's
    assert not namespace["state"].slots.requires_grad  # or it would keep the graph of every frame
    assert namespace["followed"].slots.shape == (1, 6, 5, 32)
    assert namespace["patches"].shape == (2, 384, 4, 6)
    assert Path("readout/model.safetensors").is_file()
    assert type(namespace["model"]).__name__ == "Readout"


def test_the_headings_count_right():
    headings = re.findall(r"^## .* in (\w+) lines$", README, flags=re.MULTILINE)
    assert headings == ["three", "five"]
    assert lines_of_code(SNIPPETS[1]) == 3
    assert lines_of_code(SNIPPETS[2]) == 5


def test_the_file_map_names_every_module():
    source = Path(__file__).parents[1] / "src" / "slot_core"
    modules = {path.name for path in source.glob("*.py")} - {"__init__.py"}
    named = set(re.findall(r"`(\w+\.py)`", README))
    assert named == modules
