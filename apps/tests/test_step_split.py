"""What a step's time is spent on, as the benchmark tells it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "bench" / "scaling.py"


@pytest.mark.slow
def test_the_parts_of_a_step_are_its_time(tmp_path):
    """Twice on one prepared folder: it is made, then found."""
    command = [sys.executable, str(TOOL), "--split", "--steps", "4", "--image-size", "32"]
    command += ["--samples", "12", "--frames", "2", "--recipe", "savi/shapes", "--workers", "1"]
    command += ["--prepared", str(tmp_path / "prepared"), "--set", "train.batch_size=2"]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        table = done.stdout.partition("| share |")[2].splitlines()[2:]
        rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in table]
        names = ["data wait", "to the device", "forward", "backward", "optimizer", "rest"]
        assert [name for name, _, _ in rows] == names
        assert all(float(ms) > 0 for _, ms, _ in rows)
        shares = [float(share.rstrip("%")) for _, _, share in rows]
        assert sum(shares) == pytest.approx(100, abs=0.5)
    assert (tmp_path / "prepared" / "prepared.json").exists()
