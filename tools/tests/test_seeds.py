"""Seeds that are trained already: what is read of them, and what is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import seeds
from support.checkpoints import RunFolder
from support.command_line import run
from support.options import load_options


def trained(out: Path, seed: int, changes: list[str], **means: float) -> None:
    """What the run of one seed leaves."""
    folder = out / f"seed-{seed}"
    (folder / "test").mkdir(parents=True)
    row = {"seed": seed, "cpu_seconds": 7.0, "recipe": "slot_attention/shapes", "changes": changes}
    (folder / "seed.json").write_text(json.dumps(row))
    result = {
        "format": 1,
        "protocol": "p",
        "protocol_settings": {},
        "model": str(folder),
        "data": "d",
        "num_samples": 3,
        "metrics": {name: {"mean": mean} for name, mean in means.items()},
    }
    (folder / "test" / "result.json").write_text(json.dumps(result))
    told = load_options("slot_attention/shapes", [f"train.seed={seed}", *changes])
    (folder / "options.json").write_text(told.model_dump_json())
    log = [{"kind": kind, "step": 5, **means} for kind in ("validation", "test")]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))


def call(out: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run(seeds.main, ["slot_attention/shapes", "--out", str(out), "--seeds", "2", *words])
    return int(ended.value.code or 0)


def test_each_metric_is_read_from_the_results(tmp_path: Path, capsys: pytest.CaptureFixture):
    changes = ["start.weights=runs/{seed}"]
    for seed, (fg_ari, miou) in enumerate([(0.9, 0.5), (0.8, 0.7)]):
        trained(tmp_path, seed, [f"start.weights=runs/{seed}"], fg_ari=fg_ari, miou=miou)
    for metric, mean in (("fg_ari", "0.8500"), ("miou", "0.6000")):
        assert call(tmp_path, "--metric", metric, "--set", changes[0]) == 0
        assert f"{metric} on the test split, 2 seeds: mean {mean}" in capsys.readouterr().out
        expected = json.loads((tmp_path / "expected.json").read_text())
        assert expected["metric"] == metric
        assert expected["curves"]["fg_ari"] == {"5": [0.9, 0.8]}
        assert expected["test"]["miou"] == [0.5, 0.7]
        assert (tmp_path / "curves.png").stat().st_size > 1000
    assert call(tmp_path, "--metric", "mota", "--set", changes[0]) == 2
    assert "result.json: has no mota" in capsys.readouterr().err


def test_seeds_of_other_changes_are_not_pooled(tmp_path: Path, capsys: pytest.CaptureFixture):
    trained(tmp_path, 0, ["train.num_steps=9"], fg_ari=0.9)
    assert call(tmp_path, "--set", "train.num_steps=8") == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'seed-0'}: was trained with the changes ['train.num_steps=9'], not "
        "with ['train.num_steps=8']; choose another --out\n"
    )


@pytest.mark.parametrize("change", ["train.seed=7", "train={seed: 7}", "train.seed={seed}"])
def test_a_change_of_the_seed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, change: str
):
    assert call(tmp_path, "--set", change) == 2
    assert capsys.readouterr().err == (
        f"error: --set {change}: seeds are counted from 0, and --seeds says how many\n"
    )


def test_the_seconds_of_calls_that_were_stopped_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    codes, clock = iter([75, 0]), iter([0.0, 5.0, 100.0, 107.0])
    monkeypatch.setattr(
        subprocess, "run", lambda command: subprocess.CompletedProcess(command, next(codes))
    )
    monkeypatch.setattr(seeds, "child_seconds", lambda: next(clock))
    with pytest.raises(SystemExit) as stopped:
        seeds.run_seed("slot_attention/shapes", 0, tmp_path / "seed-0", [])
    assert stopped.value.code == 75
    RunFolder(tmp_path / "seed-0", {}, resume=True)  # not "is not empty"
    assert seeds.run_seed("slot_attention/shapes", 0, tmp_path / "seed-0", []) == 12.0
