"""extract_slots.py: what the model finds, whole or after a kill, on one process or two."""

# pyright: reportTypedDictNotRequiredAccess=false
# (samples of slots have slots, those with a question an outcome)

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from predicting import NUM_SLOTS, SLOT_DIM, tiny_video_model
from runs import APPS, finish, start

import extract_slots
from slot_core import fingerprint
from slot_data import DataError, Shapes
from slot_data.slot_files import part_path, read_description
from slot_data.slots import Slots
from support import slot_folders
from support.command_line import run

SCRIPT = (str(APPS / "extract_slots.py"),)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_video_model().save_pretrained(folder)
    return folder


def words(checkpoint: Path, out: Path, videos: int = 10, frames: int = 3, **more: int) -> list[str]:
    options = {"num_samples": videos, "num_frames": frames, "image_size": 32, **more}
    words = [str(checkpoint), "shapes", "--out", str(out), "--videos-per-part", "4"]
    for key, value in options.items():
        words += ["--option", f"{key}={value}"]
    return words


def extract(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        run(extract_slots.main, list(arguments))
    assert not ended.value.code


def sentence(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        run(extract_slots.main, list(arguments))
    assert ended.value.code == 2
    return capsys.readouterr().err.strip()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("slots-*")}


def test_the_slots_are_those_of_the_model(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    extract(*words(checkpoint, tmp_path / "slots", outcome_from=1), "--split", "test")
    told = capsys.readouterr().out
    size = 10 * 3 * NUM_SLOTS * SLOT_DIM * 4 / 1000
    slots = f"{NUM_SLOTS} slots of width {SLOT_DIM}"
    assert f"10 videos of 3 frames with {slots}, {size:.3g} kB in 3 parts" in told
    assert "there are slots of test; " in told
    assert "once there is a --split validation, too" in told
    found = Slots("test", tmp_path / "slots", outcomes=True)
    videos = Shapes("test", num_samples=10, num_frames=3, image_size=32, outcome_from=1)
    model = tiny_video_model().eval()
    for number in (0, 5, 9):
        video = videos[number]["video"][None].float() / 255
        expected = model.encode(video).slots[0]
        torch.testing.assert_close(found[number]["slots"], expected, rtol=0, atol=1e-5)
        assert found[number]["id"] == videos[number]["id"]
        assert found[number]["outcome"] == videos[number]["outcome"]
    assert found.description.fingerprint == fingerprint(checkpoint)


def test_long_videos_are_encoded_piece_by_piece(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    extract(*words(checkpoint, tmp_path / "whole", frames=5))
    monkeypatch.setattr(extract_slots, "FRAMES_AT_ONCE", 2)
    extract(*words(checkpoint, tmp_path / "pieces", frames=5))
    whole, pieces = (Slots("train", tmp_path / name)[7]["slots"] for name in ("whole", "pieces"))
    torch.testing.assert_close(whole, pieces, rtol=0, atol=1e-5)


def test_it_goes_on_where_it_was(checkpoint: Path, tmp_path: Path):
    extract(*words(checkpoint, tmp_path / "once"))
    whole = contents(tmp_path / "once" / "train")
    assert len(whole) == 3
    kept = part_path(tmp_path / "once" / "train", 0)
    before = kept.stat().st_mtime_ns
    for part in (1, 2):
        part_path(kept.parent, part).unlink()
    with pytest.raises(DataError, match=r"slots-00001\.safetensors first of 3"):
        Slots("train", tmp_path / "once")
    extract(*words(checkpoint, tmp_path / "once"))
    assert contents(kept.parent) == whole
    assert kept.stat().st_mtime_ns == before


def test_other_slots_are_told(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "slots"
    extract(*words(checkpoint, out))
    told = sentence(capsys, *words(checkpoint, out, frames=2))
    assert "train: holds other slots; their options is {'num_samples': 10, 'num_frames': 3" in told
    other = tiny_video_model()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    other.save_pretrained(tmp_path / "other")
    told = sentence(capsys, *words(tmp_path / "other", out))
    assert (
        f"holds other slots; their fingerprint is '{fingerprint(checkpoint)}', these have" in told
    )
    (tmp_path / "full" / "train").mkdir(parents=True)
    (tmp_path / "full" / "train" / "a").touch()
    told = sentence(capsys, *words(checkpoint, tmp_path / "full"))
    assert told.endswith("is not empty and holds no slots; choose another --out")


def test_a_small_disk_is_told_before_anything_is_computed(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    free = type("Usage", (), {"free": 100})
    monkeypatch.setattr(slot_folders.shutil, "disk_usage", lambda place: free)
    told = sentence(capsys, *words(checkpoint, tmp_path / "slots"))
    assert told.endswith("kB, but only 100 bytes are free")
    assert not (tmp_path / "slots").exists()


def test_what_cannot_be_extracted_is_told(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert "dataset 'cats' is not one of" in sentence(
        capsys, str(checkpoint), "cats", "--out", str(tmp_path / "a")
    )
    assert "there is no such folder" in sentence(
        capsys, str(tmp_path / "none"), "shapes", "--out", str(tmp_path / "a")
    )


@pytest.mark.slow
def test_killed_while_extracting_200_clips_it_resumes_to_the_same_bytes(
    checkpoint: Path, tmp_path: Path
):
    finish(start(words(checkpoint, tmp_path / "whole", videos=200), script=SCRIPT))
    killed = tmp_path / "killed" / "train"
    for parts in (5, 20):
        process = start(words(checkpoint, tmp_path / "killed", videos=200), script=SCRIPT)
        deadline = time.monotonic() + 120
        while len(list(killed.glob("slots-*"))) < parts:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "it writes no parts"
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert len(contents(killed)) < read_description(killed).num_parts
    launcher = [sys.executable, "-m", "accelerate.commands.launch"]
    launcher += ["--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    two = words(checkpoint, tmp_path / "killed", videos=200)
    finish(start(two, launcher, {"ACCELERATE_USE_CPU": "true"}, SCRIPT))
    whole = contents(tmp_path / "whole" / "train")
    assert len(whole) == 50
    assert contents(killed) == whole
    assert len(Slots("train", tmp_path / "killed")) == 200
