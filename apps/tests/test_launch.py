"""Accelerate's configuration files: those of apps/launch start the training app, those that divide
a model among processes are refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig
from runs import APPS, finish, start

import train
from support.command_line import run

REFUSED = Path(__file__).parent / "data" / "launch"
OURS = sorted((APPS / "launch").glob("*.yaml"))
LAUNCHER = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]


def test_the_files_are_those_that_the_readme_names():
    readme = (APPS.parent / "README.md").read_text()
    assert [path.name for path in OURS] == ["multi_gpu.yaml", "two_nodes.yaml"]
    assert all(f"apps/launch/{path.name}" in readme for path in OURS)


@pytest.mark.parametrize("path", [*OURS, *sorted(REFUSED.glob("*.yaml"))], ids=lambda p: p.stem)
def test_accelerate_understands_the_file(path: Path):
    """Accelerate refuses a file with an unknown key."""
    config = ClusterConfig.from_yaml_file(str(path))
    assert config.num_machines == (2 if path.stem == "two_nodes" else 1)
    assert config.num_processes % config.num_machines == 0
    assert not config.use_cpu


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("ACCELERATE_USE_FSDP", "FSDP"),
        ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"),
        ("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM"),
    ],
)
def test_what_divides_a_model_is_refused_before_anything_is_written(
    tmp_path, tiny, monkeypatch, capsys, variable, name
):
    monkeypatch.setenv(variable, "true")
    with pytest.raises(SystemExit) as ended:
        run(train.main, tiny(tmp_path / "run"))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: the launcher asks for {name}, which divides")
    assert "apps/launch/multi_gpu.yaml" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_file_of_ours_starts_two_processes(tmp_path, tiny):
    launcher = [*LAUNCHER, str(APPS / "launch" / "multi_gpu.yaml"), "--num_processes", "2"]
    arguments = tiny(tmp_path / "run", **{"train.num_steps": 2})
    said = finish(start(arguments, launcher, {"ACCELERATE_USE_CPU": "true"}))
    assert "2 process(es) on cpu" in said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fsdp2", "deepspeed_zero2"])
def test_a_file_that_divides_a_model_starts_nothing(tmp_path, tiny, name):
    """FSDP2 is refused by the app, which on a CPU would be given plain DDP without a word; without
    DeepSpeed, the launcher itself says that it is not installed."""
    process = start(tiny(tmp_path / "run"), [*LAUNCHER, str(REFUSED / f"{name}.yaml")])
    said, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "asks for" in said or "DeepSpeed is not installed" in said, said
    assert not (tmp_path / "run").exists()
