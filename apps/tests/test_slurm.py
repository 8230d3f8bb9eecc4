"""The Slurm script, with small commands in the place of Slurm's: a signal to it reaches the
training of its own job, and of no other on the node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import APPS

SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
SCONTROL = """#!/bin/bash
[ "$1" = show ] && echo here || echo "$@" > requeued
"""
UV = f"""#!/bin/bash
exec {sys.executable} -u apps/train.py
"""
TRAINING = """
import os, pathlib, signal
told = pathlib.Path("told-" + os.environ["SLURM_JOB_ID"])
signal.signal(signal.SIGUSR1, lambda *_: told.touch() or os._exit(75))
pathlib.Path("began-" + os.environ["SLURM_JOB_ID"]).touch()
signal.pause()
"""


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A folder with a training that waits to be told, and the commands of a node."""
    files = {"bin/srun": SRUN, "bin/scontrol": SCONTROL, "bin/uv": UV, "apps/train.py": TRAINING}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return tmp_path


def submit(node: Path, job: int) -> subprocess.Popen[bytes]:
    """A job whose training has begun."""
    variables = {"SLURM_JOB_ID": str(job), "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0"}
    variables |= {"SLURM_GPUS_ON_NODE": "1", "SLURM_JOB_NODELIST": "here"}
    started = subprocess.Popen(
        ["bash", str(APPS / "slurm" / "train.sbatch"), "RECIPE"],
        cwd=node,
        env={**os.environ, **variables, "PATH": f"{node / 'bin'}:{os.environ['PATH']}"},
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (node / f"began-{job}").exists():
        assert started.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return started


def test_a_signal_reaches_the_training_of_its_own_job_alone(node: Path):
    own, other = os.getpid() * 10, os.getpid() * 10 + 1  # beside other calls of this test
    jobs = [submit(node, number) for number in (own, other)]
    try:
        jobs[0].send_signal(signal.SIGUSR1)
        jobs[0].wait(60)
        assert (node / f"told-{own}").exists()
        assert (node / "requeued").read_text() == f"requeue {own}\n"
        assert not (node / f"told-{other}").exists()
        assert jobs[1].poll() is None
    finally:
        for started in jobs:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)
                started.wait()
