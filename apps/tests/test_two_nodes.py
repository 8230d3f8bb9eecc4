"""Two machines, made of network namespaces on one: they train the model that one process trains,
and a signal to a process of either makes both save.

The launchers are started and signalled as ``apps/slurm/train.sbatch`` does it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from runs import APPS, events, finish, last_step, start

ADDRESSES = ("10.77.0.1", "10.77.0.2")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Names of two network namespaces that are joined by a cable."""
    if shutil.which("ip") is None:
        pytest.skip("needs the command ip (package iproute2) to make network namespaces")
    names = (f"slot{os.getpid()}-0", f"slot{os.getpid()}-1")  # of the network and of its card
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", names[0], "netns", names[0], "type", "veth", "peer", names[1],
           "netns", names[1])  # fmt: skip
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", name)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", name, "up")
    except subprocess.CalledProcessError as error:
        remove(names)
        pytest.skip(f"this machine allows no network namespaces ({error.stderr.strip()})")
    yield names
    remove(names)


def remove(names: tuple[str, str]) -> None:
    for name in names:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def launch(nodes: tuple[str, str], arguments: list[str]) -> list[subprocess.Popen[str]]:
    """One launcher per node, each of which starts one process."""
    started = []
    for number, name in enumerate(nodes):
        launcher = ["ip", "netns", "exec", name, sys.executable]
        launcher += ["-m", "accelerate.commands.launch"]
        launcher += ["--config_file", str(APPS / "launch" / "two_nodes.yaml")]
        launcher += ["--machine_rank", str(number), "--num_processes", "2"]
        launcher += ["--main_process_ip", ADDRESSES[0], "--main_process_port", "29511"]
        network = {"ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": name}
        started.append(start(arguments, launcher, network))
    return started


@pytest.mark.slow
def test_two_nodes_train_one_model_and_stop_and_go_on_together(tmp_path, tiny, nodes):
    out, alone = tmp_path / "two", tmp_path / "one"
    changes = {"train.num_steps": 150, "checkpoint.every": 150, "validation.every": 150}
    changes |= {"train.compare_ranks_every": 50}
    arguments = [*tiny(out, **changes), "--resume"]

    launchers = launch(nodes, arguments)
    deadline = time.monotonic() + 200
    while last_step(out) < 10:
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in launchers)
        time.sleep(0.05)
    script = (APPS / "slurm" / "train.sbatch").read_text()
    pattern = re.search(r"WORKERS='(.*)'", script)
    assert pattern is not None
    listed = subprocess.run(
        ["ip", "netns", "pids", nodes[1]], check=True, capture_output=True, text=True
    ).stdout.split()
    commands = {n: Path(f"/proc/{n}/cmdline").read_bytes().replace(b"\0", b" ") for n in listed}
    workers = [n for n in listed if re.search(pattern[1], commands[n].decode())]
    assert len(workers) == 1, commands  # and not the launcher
    subprocess.run(["kill", "-USR1", *workers], check=True)
    said = [process.communicate(timeout=120)[0] for process in launchers]
    assert "2 process(es) on cpu" in said[0]
    assert "stopped by a signal after step" in said[0]
    (saved,) = (out / "checkpoints").glob("step-*")
    assert 10 <= int(saved.name[5:]) < 150

    for process in launch(nodes, arguments):
        finish(process)
    finish(start(tiny(alone, **changes)))
    two, one = events(out, "train"), events(alone, "train")
    assert [event["sample_ids"] for event in two] == [event["sample_ids"] for event in one]
    for left, right in zip(two[:20], one[:20], strict=True):  # later, rounding has grown
        assert left["loss"] == pytest.approx(right["loss"], rel=1e-4)
    assert json.loads((out / "test" / "result.json").read_text())["num_samples"] == 24
