"""The training's loss on held-out samples: what the saved model says of them, however batched."""

from __future__ import annotations

import math

import families
import pytest
import torch
from runs import events

import train
from slot_core import sample_generators
from slot_data import AugmentedDataset, Shapes, StepBatches, collate
from slot_data.augmentations import augmentations_by_name
from slot_decoders.models import build_model, load_model, presets
from support.command_line import run
from support.held_out_loss import HeldOutLoss
from support.inputs import training_frames

CPU = torch.device("cpu")


def forward(model, batch, progress=1.0):
    with torch.no_grad():
        own = sample_generators(0, 0, batch["id"])
        return float(model(batch["video"], generator=own, progress=progress).total)


@pytest.fixture(scope="module")
def video_model():
    config = presets.configure(
        "savi",
        {
            "num_slots": 3,
            "slot_dim": 8,
            "preprocessing": {"image_size": [32, 32]},
            "encoder": {"backbone": {"type": "cnn", "channels": [8], "strides": [2]}},
            "decoder": {"channels": [8], "broadcast_size": [8, 8], "output_stride": 4},
        },
        source="a test",
    )
    torch.manual_seed(0)
    return build_model(config)


def clips(count, frames):
    dataset = Shapes(num_samples=count, image_size=32, num_frames=frames)
    return collate([dataset[index] for index in range(count)])


def test_clips_that_an_augmentation_cuts_are_as_short_for_it(video_model):
    cut = augmentations_by_name([{"random_clip": {"num_frames": 2}}])
    dataset = Shapes(num_samples=2, image_size=32, num_frames=6)
    assert training_frames(video_model, AugmentedDataset(dataset, cut, 0)[0, 0]) == 2
    assert training_frames(video_model, AugmentedDataset(dataset, [], 0)[0, 0]) == 6


def test_a_run_logs_what_its_saved_model_says_of_the_validation_samples(tmp_path, tiny):
    out = tmp_path / "run"
    with pytest.raises(SystemExit):
        run(train.main, tiny(out, **{"train.num_steps": 4, "train.accumulation": 2}))
    dataset = Shapes(split="validation", num_samples=24, image_size=32)
    said = forward(load_model(out), collate([dataset[index] for index in range(6)]))
    (event,) = events(out, "validation")
    assert event["loss"] == pytest.approx(said, rel=1e-5)
    assert event["loss"] != pytest.approx(events(out, "train")[-1]["loss"], rel=1e-3)


def test_of_longer_clips_the_frames_of_the_training_are_taken(video_model):
    video_model.train()
    batch = clips(3, frames=4)
    loss = HeldOutLoss(video_model, num_frames=2, batch_size=8, progress=1.0)
    loss.update(batch, CPU)
    assert all(module.training for module in video_model.modules())
    video_model.eval()
    short = {**batch, "video": batch["video"][:, :2]}
    assert loss.mean() == pytest.approx(forward(video_model, short), rel=1e-6)
    assert loss.mean() != pytest.approx(forward(video_model, batch), rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_it_is_a_mean_over_samples_however_they_are_batched(video_model, batch_size):
    video_model.eval()
    loss = HeldOutLoss(video_model, num_frames=2, batch_size=batch_size, progress=1.0)
    whole = clips(5, frames=2)
    for part in (slice(0, 2), slice(2, 5)):
        loss.update({"id": whole["id"][part], "video": whole["video"][part]}, CPU)
    assert loss.mean() == pytest.approx(forward(video_model, whole), rel=1e-5)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_of_every_family_it_is_the_same_however_many_samples_are_taken_at_once(family):
    """As on several processes, and with several micro-batches."""
    model = families.prepared(family)
    keys = ("slots",) if family.startswith(("slot_former", "relation")) else ("video",)
    keys += ("outcome" if family.startswith("relation") else "video",)
    ids = [f"sample {row}" for row in range(families.BATCH)]
    batch = {"id": ids, **dict(zip(keys, families.inputs(family), strict=False))}
    means = []
    for batch_size in (4, 2, 3, 1):
        loss = HeldOutLoss(model, num_frames=4, batch_size=batch_size, progress=0.5)
        loss.update(batch, CPU)
        means.append(loss.mean())
    assert means[1:] == pytest.approx([means[0]] * 3, rel=1e-5)


def test_a_process_takes_as_many_samples_at_once_as_it_trains_on(tmp_path, tiny, monkeypatch):
    class Batches(StepBatches):
        @property
        def samples_at_once(self) -> int:
            return 3  # as of one of more processes than a test has

    class Loss(HeldOutLoss):
        def __init__(self, model, *, batch_size, **more):
            taken.append(batch_size)
            super().__init__(model, batch_size=batch_size, **more)

    taken = []
    monkeypatch.setattr(train, "HeldOutLoss", Loss)
    for batches, expected in ((StepBatches, 2), (Batches, 3)):
        monkeypatch.setattr(train, "StepBatches", batches)
        changes = {"train.num_steps": 1, "train.accumulation": 2, "data.splits.test": None}
        with pytest.raises(SystemExit):
            run(train.main, tiny(tmp_path / str(expected), **changes))
        assert taken.pop() == expected
        assert not taken


def test_of_no_samples_it_is_not_a_number(video_model):
    assert math.isnan(HeldOutLoss(video_model, num_frames=2, batch_size=2, progress=0.0).mean())
