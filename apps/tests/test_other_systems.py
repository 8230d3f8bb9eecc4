"""Apps where the system is not Linux: without the calls that only Linux has, and with workers that
are started anew instead of forked, as on macOS, and from Python 3.14 on also on Linux."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from runs import APPS, assert_equal_runs, finish, start

from slot_data import load_dataset_by_name

# For a script and its arguments; its workers import this file as well, and lack the calls, too.
ELSEWHERE = """
import multiprocessing, os, runpy, sys

for call in ("sched_getaffinity", "posix_fallocate", "posix_fadvise", "copy_file_range",
             "memfd_create", "pidfd_open", "eventfd", "getrandom", "splice"):
    if hasattr(os, call):
        delattr(os, call)
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    del sys.argv[0]
    sys.path.insert(0, os.path.dirname(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_elsewhere(folder: Path, script: Path, *arguments: str) -> None:
    started = folder / "elsewhere.py"
    started.write_text(ELSEWHERE)
    done = subprocess.run(
        [sys.executable, str(started), str(script), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_training_with_workers_is_the_same(tmp_path: Path, tiny):
    cores = {"train.num_threads": 0}  # as many as there are
    words = tiny(tmp_path / "elsewhere", **cores, **{"data.num_workers": 2})
    run_elsewhere(tmp_path, APPS / "train.py", *words)
    finish(start(tiny(tmp_path / "here", **cores)))
    assert_equal_runs(tmp_path / "elsewhere", tmp_path / "here")


@pytest.mark.slow
def test_a_dataset_is_prepared_by_several_processes(tmp_path: Path):
    (tmp_path / "source" / "images").mkdir(parents=True)
    for number in range(6):
        picture = Image.new("RGB", (16, 16), (40 * number, 0, 0))
        picture.save(tmp_path / "source" / "images" / f"{number}.png")
    script = Path(sys.executable).with_name("slot-data")
    words = ["--source", str(tmp_path / "source"), "--out", str(tmp_path / "prepared")]
    run_elsewhere(
        tmp_path, script, "prepare", "folder", *words, "--split", "all", "--workers", "-1"
    )
    found = load_dataset_by_name("folder", split="all", root=tmp_path / "prepared")
    assert [int(sample["video"].max()) for sample in found] == [0, 40, 80, 120, 160, 200]
