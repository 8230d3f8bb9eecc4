"""A run that is killed and resumed is the run that was never killed, bit by bit."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import assert_equal_runs, events, finish, kill_after, last_step, start

import slot_data
import train
from support.command_line import run

MODELS = {
    "learned": {"train.ema_decay": 0.9, "optimizer.clip_norm": 1.0},
    "gaussian": {"model.encoder.initializer.type": "gaussian", "train.accumulation": 2},
    "video": {
        "data.num_frames": 3,
        "model.encoder.slot_noise": 0.1,
        "model.encoder.predictor": {"type": "transformer", "hidden_dim": 8, "recurrent_dim": 8},
        "optimizer.clip_norm": 0.05,
    },
}


class GoneError(Exception):
    """What no command knows a sentence for, as there is nobody left to say it."""


class Stops:
    """A dataset that dies at its n-th sample, as a process does."""

    def __init__(self, dataset, count):
        self.dataset, self.left = dataset, count

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            raise GoneError
        return self.dataset[index]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(changes, id=name, marks=[pytest.mark.slow] * (name == "gaussian"))
        for name, changes in MODELS.items()
    ],
)
def test_two_interruptions_change_nothing(tmp_path, tiny, monkeypatch, changes):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with pytest.raises(SystemExit) as stopped:
        run(train.main, tiny(whole, **changes))
    assert not stopped.value.code
    for samples in (4 * 3, 4 * 4):  # dies in step 4, after the checkpoint of step 2; then in step 7
        with monkeypatch.context() as patch:
            patch.setattr(
                train,
                "load_dataset",
                lambda *a, count=samples, **k: (
                    Stops(slot_data.load_dataset_by_name(*a, **k), count)
                    if k["split"] == "train"
                    else slot_data.load_dataset_by_name(*a, **k)
                ),
            )
            with pytest.raises(GoneError):
                run(train.main, [*tiny(broken, **changes), "--resume"])
    assert 0 < last_step(broken) < 8
    with pytest.raises(SystemExit):
        run(train.main, [*tiny(broken, **changes), "--resume"])
    assert_equal_runs(whole, broken)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("model", ["learned", "video"])
def test_kill_9_twice(tmp_path: Path, tiny, model, workers):
    changes = {**MODELS[model], "data.num_workers": workers, "train.num_steps": 40}
    changes |= {"validation.every": 20, "checkpoint.every": 4}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with pytest.raises(SystemExit) as stopped:
        run(train.main, tiny(whole, **changes))
    assert not stopped.value.code
    kill_after(start(tiny(broken, **changes)), broken, 11)
    kill_after(start([*tiny(broken, **changes), "--resume"]), broken, 27)
    output = finish(start([*tiny(broken, **changes), "--resume"]))
    assert "resumed" in output
    assert [event["step"] for event in events(broken, "train")] == list(range(1, 41))
    assert_equal_runs(whole, broken)
