"""What is found in a user's pictures, and painted again: in little memory, from one noise."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from predicting import NUM_SLOTS, SLOT_DIM
from tiny_diffusion import tiny_video_diffusion

import edit
import generate
from slot_data import Shapes
from slot_decoders.models import Chunk, SlotAutoencoder
from support import scenes
from support.pictures import LARGEST_TILE, Picture, sheet
from support.scenes import Painter, Scene


@pytest.fixture
def model() -> SlotAutoencoder:
    return tiny_video_diffusion().eval()


def frames(count: int, size: int = 32) -> list[Picture]:
    clip = Shapes(image_size=size, num_frames=count)[0]["video"]
    return list(clip.movedim(1, -1).numpy())


def test_a_video_is_looked_at_in_the_memory_of_a_few_frames(
    model: SlotAutoencoder, monkeypatch: pytest.MonkeyPatch
):
    video = frames(7)
    slots, labels = scenes._find(model, video, 16, seed=0)
    seen: list[tuple[int, int]] = []

    def note(_: object, inputs: tuple[torch.Tensor, ...]) -> None:
        held = sum(type(one) is Chunk for one in gc.get_objects())
        seen.append((inputs[0].shape[1], held))

    model.encoder.register_forward_pre_hook(note)
    monkeypatch.setattr(scenes, "MAX_BATCH_PIXELS", 2 * 32 * 32)
    few_slots, few_labels = scenes._find(model, video, 16, seed=0)
    assert [count for count, _ in seen] == [2, 2, 2, 1]
    assert max(held for _, held in seen) <= 1  # the last one's soft masks, and none before
    torch.testing.assert_close(few_slots, slots)
    assert (few_labels == labels).mean() > 0.99  # rounding decides where two slots nearly tie
    assert few_labels.shape == (7, 32, 32)
    assert few_labels.itemsize <= 2


def test_an_overview_holds_no_photos(model: SlotAutoencoder, tmp_path: Path):
    photo = frames(1, 400)
    slots = torch.rand(1, NUM_SLOTS, SLOT_DIM)
    scene = Scene("a.png", photo, slots, np.zeros((1, 400, 400), np.int16))
    row = edit.overview_row(scene, 0, photo[0], photo[0])
    assert {tile.shape for tile in row.values()} == {(LARGEST_TILE, LARGEST_TILE, 3)}
    drawn, whole = (sheet({"picture": [tile]}) for tile in (row["picture"], photo[0]))
    assert drawn == whole
    painter = Painter(model, num_steps=2)
    columns = generate.from_scenes(painter, [scene], "reconstruct", tmp_path)
    assert all(tile.base is None for column in columns.values() for tile in column)
    assert columns["picture"][0].shape == (LARGEST_TILE, LARGEST_TILE, 3)


@pytest.mark.parametrize("scheduler", ["dpm_solver", "ddpm", "EulerAncestralDiscreteScheduler"])
def test_a_still_video_does_not_flicker(model: SlotAutoencoder, scheduler: str):
    torch.manual_seed(0)
    still = torch.randn(1, 1, NUM_SLOTS, SLOT_DIM).expand(2, 2, -1, -1)
    made, few = (
        Painter(model, scheduler, num_steps=4, batch_size=size).paint(still) for size in (4, 3)
    )
    assert made.std() > 0.01
    for frames in (made.flatten(0, 1), few.flatten(0, 1)):
        torch.testing.assert_close(frames, made[0, :1].expand(4, -1, -1, -1), rtol=0, atol=1e-4)
    other = Painter(model, scheduler, num_steps=4, seed=1).paint(still)
    assert (other - made).abs().max() > 0.01
