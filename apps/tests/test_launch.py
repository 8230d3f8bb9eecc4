"""Accelerate's configuration files: those of apps/launch start the training app, others are refused
where they ask for what the loop does not do."""

from __future__ import annotations

import sys
from collections.abc import Callable
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
    assert [path.name for path in OURS] == ["fsdp2.yaml", "multi_gpu.yaml", "two_nodes.yaml"]
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
        ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"),
        ("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM"),
    ],
)
def test_another_way_to_divide_a_model_is_refused(refusal, monkeypatch, variable, name):
    monkeypatch.setenv(variable, "true")
    said = refusal()
    assert said.startswith(f"error: the launcher asks for {name}, which the training app does not")
    assert "fsdp2.yaml" in said


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("FSDP_VERSION", None, "fsdp_version=1, expected 2"),
        ("FSDP_VERSION", "1", "fsdp_version=1, expected 2"),
        ("FSDP_AUTO_WRAP_POLICY", "SIZE_BASED_WRAP", "SIZE_BASED_WRAP, expected NO_WRAP"),
        ("FSDP_OFFLOAD_PARAMS", "true", "fsdp_offload_params=true, expected false"),
        ("FSDP_CPU_RAM_EFFICIENT_LOADING", "True", "loading=True, expected false"),
    ],
)
def test_other_settings_of_fsdp_are_refused(refusal, monkeypatch, variable, value, expected):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    monkeypatch.delenv(variable) if value is None else monkeypatch.setenv(variable, value)
    said = refusal()
    assert said.startswith("error: the launcher asks for FSDP with ")
    assert expected in said
    assert "apps/launch/fsdp2.yaml" in said


def test_fsdp_is_not_silently_something_else(refusal, monkeypatch):
    """To one process on a CPU Accelerate gives none, and says nothing."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert "a GPU each; here are 1 process(es) on cpu" in refusal()


@pytest.fixture
def refusal(tmp_path, tiny, capsys) -> Callable[[], str]:
    """Start a run that must be refused before it writes anything; what it says."""

    def refused() -> str:
        with pytest.raises(SystemExit) as ended:
            run(train.main, tiny(tmp_path / "run"))
        assert ended.value.code == 2
        assert not (tmp_path / "run").exists()
        return capsys.readouterr().err

    return refused


@pytest.mark.slow
def test_a_file_of_ours_starts_two_processes(tmp_path, tiny):
    launcher = [*LAUNCHER, str(APPS / "launch" / "multi_gpu.yaml"), "--num_processes", "2"]
    arguments = tiny(tmp_path / "run", **{"train.num_steps": 2})
    said = finish(start(arguments, launcher, {"ACCELERATE_USE_CPU": "true"}))
    assert "2 process(es) on cpu" in said


@pytest.mark.slow
def test_two_processes_wait_for_no_weights_that_implicit_gradients_miss(tmp_path, tiny):
    launcher = [*LAUNCHER, str(APPS / "launch" / "multi_gpu.yaml"), "--num_processes", "2"]
    changes = {"model.encoder.corrector.differentiation": "implicit", "train.num_steps": 3}
    arguments = tiny(tmp_path / "run", **changes)
    said = finish(start(arguments, launcher, {"ACCELERATE_USE_CPU": "true"}))
    assert "2 process(es) on cpu" in said


@pytest.mark.slow
def test_the_file_of_fsdp_starts_shards(tmp_path, tiny):
    """Its settings are those that the app expects; the CPU is what is wrong here."""
    launcher = [*LAUNCHER, str(APPS / "launch" / "fsdp2.yaml"), "--num_processes", "2"]
    process = start(tiny(tmp_path / "run"), launcher, {"ACCELERATE_USE_CPU": "true"})
    said, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "here are 2 process(es) on cpu" in said, said
    sharded = (str(Path(__file__).with_name("sharded.py")),)
    process = start(tiny(tmp_path / "run"), launcher, {"ACCELERATE_USE_CPU": "true"}, sharded)
    assert "keeps 5042 of 10084 moments" in finish(process)


@pytest.mark.slow
def test_deepspeed_starts_nothing(tmp_path, tiny):
    """Where it is not installed, the launcher itself says so."""
    process = start(tiny(tmp_path / "run"), [*LAUNCHER, str(REFUSED / "deepspeed_zero2.yaml")])
    said, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "asks for DeepSpeed" in said or "DeepSpeed is not installed" in said, said
    assert not (tmp_path / "run").exists()
