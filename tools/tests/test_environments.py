"""The environments in which members are tested alone."""

import os
import py_compile
from pathlib import Path

from environments import take_bytecode


def test_bytecode_is_taken_of_files_that_are_the_same(tmp_path: Path):
    theirs, own = tmp_path / "theirs", tmp_path / "own"
    for folder in (theirs, own):
        (folder / "package").mkdir(parents=True)
    for name in ("same", "other", "theirs_alone"):
        source = theirs / "package" / f"{name}.py"
        source.write_text("value = 1\n")
        py_compile.compile(str(source))
    (own / "package" / "same.py").hardlink_to(theirs / "package" / "same.py")
    copy = own / "package" / "other.py"
    copy.write_text("value = 2\n")
    stat = (theirs / "package" / "other.py").stat()  # Python itself would compare no more
    os.utime(copy, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    for _ in range(2):
        take_bytecode(theirs, own)
        [taken] = own.rglob("*.pyc")
        assert taken.name.startswith("same.")
        assert taken.samefile(theirs / "package" / "__pycache__" / taken.name)
