"""The README's snippet runs as it stands, and its file map names every file."""

import contextlib
import io
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]
README = (PACKAGE / "README.md").read_text()


def test_snippet_runs():
    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(snippets) == 2
    printed, names = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        exec(compile(snippets[0], "README.md", "exec"), names)
    lines = printed.getvalue().splitlines()
    # of the foreground pixels 1, 2, 2 the pair 2, 2 is parted: TP 0, FP 0
    assert lines[0] == "tensor([0.], dtype=torch.float64)"
    # object 1 is found, half of object 2 is
    assert lines[1] == "tensor([0.7500], dtype=torch.float64)"
    # the protocol adds 1e-8 to the unions
    assert re.fullmatch(r"\{'mean': 0\.7499999\d+, 'n': 1, 'undefined': 0\}", lines[-1])
    pytest.importorskip("evaluate", reason="its snippet needs the extra")
    exec(compile(snippets[1], "README.md", "exec"), names)
    assert names["found"] == {"fg_ari": 0.0, "n": 1, "undefined": 0}


def test_file_map_is_complete():
    source = PACKAGE / "src" / "slot_eval"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
    files = {name for name in files if not name.endswith("__init__.py")} - {"errors.py"}
    assert set(re.findall(r"^([a-z_/]+\.py)(?: |$)", README, re.MULTILINE)) == files
