"""What the README shows runs as it stands there."""

import re
from pathlib import Path

from PIL import Image

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
