"""Slots on disk: clips of them at any offset and stride, read lazily, told apart and checked."""

# pyright: reportTypedDictNotRequiredAccess=false
# (samples of slots have slots; those of shapes have labels)

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch.utils.data import DataLoader

from slot_data import AugmentedDataset, DataError, Shapes, collate, load_dataset_by_name
from slot_data.augmentations import Augmentation, HorizontalFlip, RandomCrop
from slot_data.clips import RandomClip
from slot_data.slot_files import SlotDescription, part_path, write_description, write_part
from slot_data.slots import Slots

FRAMES, SLOTS, DIM = 6, 3, 4
SHAPES: dict[str, Any] = {
    "num_samples": 5,
    "num_frames": FRAMES,
    "image_size": 32,
    "max_objects": 3,
}


def write(folder: Path, *, outcomes: list[bool] | None = None, num_parts: int = 3, **changes):
    """Five videos in three parts: frame t of video v is filled with 10 v + t."""
    described = {
        "model": "runs/video",
        "fingerprint": "a" * 64,
        "data": "shapes",
        "split": "test",
        "options": SHAPES,
        "num_videos": 5,
        "videos_per_part": 2,
        "num_slots": SLOTS,
        "slot_dim": DIM,
    }
    description = SlotDescription(**{**described, **changes})
    write_description(folder, description)
    ids = [sample["id"] for sample in (Shapes("test", **SHAPES)[n] for n in range(5))]
    for part in range(num_parts):
        videos = description.videos_of(part)
        slots = {
            ids[video]: torch.arange(FRAMES).float()[:, None, None].expand(-1, SLOTS, DIM)
            + 10 * video
            for video in videos
        }
        answers = None if outcomes is None else [outcomes[video] for video in videos]
        write_part(folder, part, slots, answers, description.fingerprint)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "test", outcomes=[True, False, True, False, False])
    return tmp_path


def numbers(sample) -> list[int]:
    """The number that each frame is filled with."""
    assert (sample["slots"] == sample["slots"][:, :1, :1]).all()
    return sample["slots"][:, 0, 0].int().tolist()


@pytest.mark.parametrize("augmentation", [HorizontalFlip(), RandomCrop(), RandomClip(2)])
@pytest.mark.parametrize("pixels", [False, True])
def test_augmentations_are_refused_as_slots_are_those_of_the_video_as_it_is(
    folder: Path, augmentation: Augmentation, pixels: bool
):
    slots = Slots("test", folder, num_frames=4, pixels=pixels)
    assert numbers(AugmentedDataset(slots, [], seed=0)[0, 1]) == [10, 11, 12, 13]
    name = slots[1]["id"]
    with pytest.raises(
        DataError, match=f"^augmentations change pixels, but sample '{name}' has slots; leave them"
    ):
        AugmentedDataset(slots, [augmentation], seed=0)[0, 1]


def test_whole_videos(folder: Path):
    dataset = Slots("test", folder)
    assert len(dataset) == 5
    assert [numbers(dataset[video]) for video in range(5)] == [
        [10 * video + time for time in range(FRAMES)] for video in range(5)
    ]
    assert dataset[3]["id"] == "test-0-000003"
    assert dataset[3]["slots"].shape == (FRAMES, SLOTS, DIM)
    assert dataset[3]["slots"].dtype == torch.float32
    assert dataset[3].keys() == {"id", "slots"}


def test_clips_at_any_offset_and_stride(folder: Path):
    dataset = Slots("test", folder, num_frames=2, stride=3, clips="every")
    assert len(dataset) == 5 * 3
    assert numbers(dataset[3]) == [10, 13]
    assert numbers(dataset[14]) == [42, 45]
    assert [dataset[index]["id"] for index in (3, 14)] == ["test-0-000001/0", "test-0-000004/2"]
    first = Slots("test", folder, num_frames=2)
    assert (len(first), first[4]["id"]) == (5, "test-0-000004")


def test_pixels_of_the_same_frames(folder: Path):
    dataset = Slots("test", folder, num_frames=2, stride=2, clips="every", pixels=True)
    sample, video = dataset[5], Shapes("test", **SHAPES)[1]
    assert numbers(sample) == [11, 13]
    assert torch.equal(sample["video"], video["video"][1:4:2])
    assert torch.equal(sample["labels"], video["labels"][1:4:2])
    assert sample["id"] == "test-0-000001/1"


def test_one_batch_and_loader_workers(folder: Path):
    dataset = Slots("test", folder, num_frames=2, outcomes=True)
    batch = collate([dataset[0], dataset[3]])
    assert batch["slots"].shape == (2, 2, SLOTS, DIM)
    assert batch["outcome"].tolist() == [True, False]
    assert "video" not in batch
    loader = DataLoader(cast(Any, dataset), batch_size=5, num_workers=1, collate_fn=collate)
    (there,) = list(loader)
    assert torch.equal(there["slots"], collate([dataset[n] for n in range(5)])["slots"])
    assert numbers(pickle.loads(pickle.dumps(dataset))[2]) == [20, 21]
    with pytest.raises(DataError, match=r"differ in size: \(2, 3, 4\) and \(6, 3, 4\)"):
        collate([dataset[0], Slots("test", folder)[1]])


def test_by_name_and_with_outcomes_of_ones_own(folder: Path, tmp_path: Path):
    answers = tmp_path / "answers.json"
    stated = {f"test-0-{number:06d}": number == 1 for number in range(5)}
    answers.write_text(json.dumps(stated))
    dataset = load_dataset_by_name("slots", split="test", root=str(folder), outcomes=str(answers))
    assert [dataset[video]["outcome"] for video in range(5)] == [False, True, False, False, False]
    answers.write_text(json.dumps(stated | {"test-0-000007": True}))
    with pytest.raises(DataError, match="name the video 'test-0-000007', of which there are no sl"):
        Slots("test", folder, outcomes=answers)
    del stated["test-0-000002"]
    answers.write_text(json.dumps(stated))
    with pytest.raises(DataError, match=r"video 'test-0-000002' has no outcome in .*answers.json"):
        Slots("test", folder, outcomes=answers)


def test_one_answer_alone_is_told(tmp_path: Path):
    write(tmp_path / "test", outcomes=[True] * 5)
    assert len(Slots("test", tmp_path)) == 5
    with pytest.raises(
        DataError, match=r"the outcome of all 5 videos of .* is true; expected some"
    ):
        Slots("test", tmp_path, outcomes=True)


def test_no_outcomes_are_told(tmp_path: Path):
    write(tmp_path / "test")
    with pytest.raises(DataError, match="have no outcomes, as shapes had none; expected a JSON"):
        Slots("test", tmp_path, outcomes=True)


def test_a_video_shorter_than_a_clip_is_told(folder: Path):
    with pytest.raises(DataError, match=r"video 'test-0-000000' of .* has 6 frames; a clip of 7"):
        Slots("test", folder, num_frames=7)


def test_missing_parts_are_told(tmp_path: Path):
    with pytest.raises(DataError, match=r"slots\.json is missing; .* with --split test$"):
        Slots("test", tmp_path)
    write(tmp_path / "test", num_parts=1)
    with pytest.raises(
        DataError, match=r"parts .* are missing, slots-00001\.safetensors first of 3; the"
    ):
        Slots("test", tmp_path)


def test_damaged_and_foreign_parts_are_told(folder: Path, tmp_path: Path):
    part = part_path(folder / "test", 1)
    whole = part.read_bytes()
    part.write_bytes(whole[:-7])
    with pytest.raises(DataError, match=r"slots-00001\.safetensors: is damaged"):
        Slots("test", folder)
    write(tmp_path / "other" / "test", fingerprint="b" * 64)
    part.write_bytes(part_path(tmp_path / "other" / "test", 1).read_bytes())
    with pytest.raises(DataError, match=r"holds slots of another model than slots\.json beside it"):
        Slots("test", folder)


def test_a_changed_dataset_is_told(tmp_path: Path):
    write(tmp_path / "test", options={**SHAPES, "seed": 1})
    with pytest.raises(DataError, match=r"'test-1-000000', but .* 'test-0-000000': the dataset"):
        Slots("test", tmp_path, pixels=True)[0]


READ_A_CLIP = """
import sys
from pathlib import Path
from slot_data.slots import Slots

def resident():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])

dataset = Slots("test", sys.argv[1], num_frames=2)
dataset[0]
before = resident()
dataset[1]
print(resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_part_is_not_read_whole(tmp_path: Path):
    """Of two videos of 32 MB each, a clip of 2 frames is read."""
    frames, slot_dim = 64, 2**15
    slots = {name: torch.zeros(frames, SLOTS + 1, slot_dim) for name in ("one", "two")}
    write_description(
        tmp_path / "test",
        SlotDescription("", "a" * 64, "shapes", "test", {}, 2, 2, SLOTS + 1, slot_dim),
    )
    write_part(tmp_path / "test", 0, slots, None, "a" * 64)
    command = [sys.executable, "-c", READ_A_CLIP, str(tmp_path)]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < 4 * 1024  # kilobytes


def test_the_same_slots_are_the_same_bytes(tmp_path: Path):
    for name in ("one", "two"):
        write(tmp_path / name / "test")
    for part in range(3):
        one, two = (part_path(tmp_path / name / "test", part) for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
