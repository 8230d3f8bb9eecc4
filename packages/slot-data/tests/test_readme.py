"""What the README shows runs as it stands there."""

import re
from pathlib import Path

from PIL import Image

from slot_data import catalog
from slot_data.options import allowed_options

README = Path(__file__).parents[1] / "README.md"


def test_the_python_snippets_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_pictures/images").mkdir(parents=True)
    Image.new("RGB", (160, 120), "green").save("my_pictures/images/one.jpg")
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})


def test_the_file_map_names_every_module():
    modules = {path.name for path in (README.parent / "src/slot_data").glob("[a-z]*.py")}
    assert modules == set(re.findall(r"^\| `(\w+\.py)`", README.read_text(), re.MULTILINE))


def test_the_table_of_datasets_is_complete():
    rows = re.findall(r"^\| (`[^|]*) \|[^|]*\| ([^|]*) \|$", README.read_text(), re.MULTILINE)
    options: dict[str, set[str]] = {}
    for names, cell in rows:
        for name in _names(names):
            options.setdefault(name, set(cell.strip("`").split()))
    assert set(options) >= set(catalog.names())
    shared = set(allowed_options(catalog.card("celeba").loader)) - {"root"}
    for name in catalog.names():
        own = set(allowed_options(catalog.card(name).loader)) - (
            shared if name != "shapes" else set()
        )
        assert options[name] == own, name


def _names(cell: str) -> list[str]:
    """ "`movi_a` to `movi_e`" are five."""
    names = re.findall(r"`(\w+)`", cell)
    return [f"movi_{level}" for level in "abcde"] if names == ["movi_a", "movi_e"] else names
