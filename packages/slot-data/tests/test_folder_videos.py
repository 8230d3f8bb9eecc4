"""The user's own video files: clips, masks, splits, and every fault named."""

# pyright: reportTypedDictNotRequiredAccess=false
# (the samples asked for labels here have them)

import sys
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from typer.testing import CliRunner

import slot_data.folder_videos
from slot_data import AugmentedDataset, DataError, collate, load_dataset_by_name
from slot_data.cli import app
from slot_data.video_files import frame_times

SIZE = 32


def load(root, split="all", **options: Any):
    options = {"image_size": SIZE, "centre_crop": SIZE, **options}
    return load_dataset_by_name("folder", split=split, root=root, **options)


def ids(dataset):
    return [dataset[index]["id"] for index in range(len(dataset))]


def as_sample(frames):
    """[T H W 3] as `load` crops it, [T 3 H W]."""
    return torch.from_numpy(frames[:, :, 8:40].transpose(0, 3, 1, 2).copy())


def write_masks(folder, number, first=0, size=(SIZE, 48)):
    """The mask of frame t is one object, 7, as many rows high as t + 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(number):
        mask = np.zeros(size, np.uint8)
        mask[: place + 1] = 7
        Image.fromarray(mask).save(folder / f"{place + first}.png")


def test_first_frames_and_first_clips(tmp_path, write_video, moving_noise):
    films = {"b/10.mkv": moving_noise(5), "b/2.mp4": moving_noise(7, seed=1)}
    for name, frames in films.items():
        write_video(tmp_path / "videos" / name, frames)
    assert ids(load(tmp_path)) == ["videos/b/2.mp4/0", "videos/b/10.mkv/0"]
    clips = load(tmp_path, num_frames=3, stride=2)
    assert len(clips) == 2
    assert torch.equal(clips[0]["video"], as_sample(films["b/2.mp4"][0:5:2]))
    assert torch.equal(clips[1]["video"], as_sample(films["b/10.mkv"][0:5:2]))
    assert "labels" not in clips[0]


def test_every_clip_with_its_masks(tmp_path, write_video, moving_noise):
    frames = moving_noise(12)
    write_video(tmp_path / "videos/a/film.mp4", frames, key_every=4)
    write_masks(tmp_path / "masks/a/film", 12, first=1)
    dataset = load(tmp_path, num_frames=2, stride=3, clips="every")
    assert ids(dataset) == [f"videos/a/film.mp4/{start}" for start in range(9)]
    for start in range(9):
        sample = dataset[start]
        assert torch.equal(sample["video"], as_sample(frames[start : start + 4 : 3]))
        heights = (sample["labels"] == 1).any(dim=2).sum(dim=1)
        assert heights.tolist() == [start + 1, start + 4], "masks go by the order of their names"
    assert len(load(tmp_path, clips="every")) == 12
    apart = load(tmp_path, num_frames=2, stride=2, clips="apart")
    starts = [0, 1, 4, 5, 8, 9]
    assert ids(apart) == [f"videos/a/film.mp4/{start}" for start in starts]
    assert torch.equal(apart[2]["video"], as_sample(frames[4:7:2]))


def test_a_clip_counts_frames_whatever_the_time_between_them(tmp_path, write_video, moving_noise):
    """As phones film: the frame rate varies, and some frames are dropped."""
    frames = moving_noise(8)
    times = [0, 33, 67, 100, 400, 401, 450, 2000]
    path = tmp_path / "videos/phone.mkv"
    write_video(path, frames, key_every=3, milliseconds=times)
    shown = frame_times(path)
    assert [shown.seconds(number) * 1000 for number in range(8)] == times
    dataset = load(tmp_path, num_frames=3, stride=2, clips="every")
    assert len(dataset) == 4
    for start in range(4):
        assert torch.equal(dataset[start]["video"], as_sample(frames[start : start + 5 : 2]))


def test_loader_workers_read_the_same(tmp_path, write_video, moving_noise):
    write_video(tmp_path / "videos/film.mp4", moving_noise(8), key_every=4)
    dataset = load(tmp_path, num_frames=2, clips="every")
    loader = DataLoader(
        AugmentedDataset(dataset, [], seed=0),
        sampler=[(0, index) for index in range(7)],
        batch_size=4,
        collate_fn=collate,
        num_workers=1,
        multiprocessing_context="fork",
    )
    read = torch.cat([batch["video"] for batch in loader])
    assert torch.equal(read, collate([dataset[index] for index in range(7)])["video"])


def test_a_video_is_never_torn_by_the_hash(tmp_path, write_video, moving_noise):
    for number in range(20):
        write_video(tmp_path / f"videos/{number}.mkv", moving_noise(3))
    parts = {split: ids(load(tmp_path, split, clips="every")) for split in ("train", "validation")}
    files = {split: {name.rpartition("/")[0] for name in part} for split, part in parts.items()}
    assert files["train"]
    assert not files["train"] & files["validation"]
    assert all(len(parts[split]) == 3 * len(files[split]) for split in parts)


def test_folders_divide(tmp_path, write_video, moving_noise):
    for split, number in (("train", 2), ("test", 1)):
        for film in range(number):
            write_video(tmp_path / f"{split}/videos/{film}.mkv", moving_noise(3))
    assert ids(load(tmp_path, "test", num_frames=2)) == ["test/videos/0.mkv/0"]
    assert len(load(tmp_path, num_frames=2)) == 3


def test_show_draws_videos(tmp_path, write_video, moving_noise):
    write_video(tmp_path / "videos/film.mkv", moving_noise(6))
    write_masks(tmp_path / "masks/film", 6)
    out = tmp_path / "sheet.png"
    options = [f"--option={text}" for text in (f"root={tmp_path}", "num_frames=4", "image_size=16")]
    done = CliRunner().invoke(app, ["show", "folder", "--out", str(out), "--split=all", *options])
    assert done.exit_code == 0, done.output
    assert Image.open(out).size == (4 * 16 + 4, 2 * 16 + 4), "four frames and below them the masks"


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("text", "1.mkv cannot be read as a video: "),
        ("short", "1.mkv has 6 frames; a clip of 4 frames 2 apart needs 7"),
        ("no videos", "no videos found in "),
        ("in images", "images/film.mp4 is a video file; "),
        ("both kinds", "holds both of images and videos; expected one of them"),
        ("no masks", "2.mkv has no masks: expected one .png per frame in "),
        ("too few masks", "masks/2 holds 5 masks, but video "),
        ("too many masks", "masks/2 holds 7 masks, but video "),
        ("stray mask", "masks/3/0.png belongs to no video in "),
        ("shared masks", "would share the masks "),
    ],
)
def test_faults_are_named(tmp_path, write_video, moving_noise, case, words):
    for film in "12":
        write_video(tmp_path / f"videos/{film}.mkv", moving_noise(6))
    options: dict[str, Any] = {"num_frames": 2}
    if "mask" in case:
        write_masks(tmp_path / "masks/1", 6)
    if case in ("stray mask", "shared masks", "too few masks", "too many masks"):
        number = {"too few masks": 5, "too many masks": 7}.get(case, 6)
        write_masks(tmp_path / "masks/2", number)
    if case == "text":
        (tmp_path / "videos/1.mkv").write_text("no video")
        options["clips"] = "every"
    elif case == "short":
        options = {"num_frames": 4, "stride": 2, "clips": "every"}
    elif case == "no videos":
        for path in (tmp_path / "videos").iterdir():
            path.unlink()
    elif case == "in images":
        (tmp_path / "videos").rename(tmp_path / "images")
        (tmp_path / "images/1.mkv").rename(tmp_path / "images/film.mp4")
        (tmp_path / "images/2.mkv").unlink()
    elif case == "both kinds":
        (tmp_path / "images").mkdir()
    elif case == "stray mask":
        write_masks(tmp_path / "masks/3", 1)
    elif case == "shared masks":
        write_video(tmp_path / "videos/2.mp4", moving_noise(6))
    with pytest.raises(DataError) as error:
        load(tmp_path, **options)
    assert words in str(error.value)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".webm"])
def test_a_short_video_is_told_when_the_folder_is_opened(
    tmp_path, write_video, moving_noise, monkeypatch, suffix
):
    codecs = {".avi": ("mpeg4", "yuv420p", {}), ".webm": ("libvpx-vp9", "yuv420p", {})}
    for name, frames in (("a", 7), ("b", 6)):
        path = tmp_path / "videos" / f"{name}{suffix}"
        write_video(path, moving_noise(frames), codec=codecs.get(suffix))
    looked_through = []
    monkeypatch.setattr(
        slot_data.folder_videos,
        "frame_times",
        lambda path: looked_through.append(path.name) or frame_times(path),
    )
    words = rf"b\{suffix} has 6 frames; a clip of 4 frames 2 apart needs 7; lower num_frames or str"
    with pytest.raises(DataError, match=words):
        load(tmp_path, num_frames=4, stride=2)
    assert looked_through[-1] == f"b{suffix}"
    looked_through.clear()
    assert load(tmp_path, num_frames=3, stride=2)[1]["video"].shape[0] == 3
    assert len(load(tmp_path)) == 2
    assert not looked_through, "long enough by the header alone"


def test_a_header_that_counts_too_few_frames_is_not_believed(
    tmp_path, write_video, moving_noise, monkeypatch
):
    write_video(tmp_path / "videos/a.mp4", moving_noise(6))
    monkeypatch.setattr(slot_data.folder_videos, "may_be_shorter", lambda path, length: True)
    assert load(tmp_path, num_frames=3, stride=2)[0]["video"].shape[0] == 3


def test_what_only_reading_shows_is_named(tmp_path, write_video, moving_noise):
    write_video(tmp_path / "videos/1.mkv", moving_noise(6))
    write_masks(tmp_path / "masks/1", 6, size=(4, 9))
    with pytest.raises(
        DataError, match=r"mask .*1/0\.png is 9x4 .* frame 0 of .*1\.mkv is 48x32 pixels"
    ):
        load(tmp_path)[0]


def test_without_pyav_the_extra_is_named(tmp_path, write_video, moving_noise, monkeypatch):
    write_video(tmp_path / "videos/1.mkv", moving_noise(2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"pip install 'slot-data\[video\]'"):
        load(tmp_path)
