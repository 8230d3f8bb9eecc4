"""predict.py on video files and folders of frames: what it writes is what the model says."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
import torch
from av.video.stream import VideoStream
from PIL import Image
from predicting import (
    NUM_SLOTS,
    SCRIPT,
    SLOT_DIM,
    ending,
    files,
    noise,
    read,
    save,
    sentence,
    tiny_model,
    tiny_video_model,
)

from slot_data import Shapes
from slot_data.video_files import VideoFile, frame_times
from slot_decoders.models import SlotAutoencoder
from slot_eval.predictions import open_labels
from support.colours import slot_colours
from support.pictures import colour, enlarged, overlay
from support.videos import FileVideo, FolderVideo, chunks

EVEN = [Fraction(number, 25) for number in range(9)]
UNEVEN = [Fraction(time, 1000) for time in (0, 40, 60, 500, 501, 540, 1540, 1600, 1601)]


@pytest.fixture(scope="module")
def model() -> SlotAutoencoder:
    return tiny_video_model()


@pytest.fixture(scope="module")
def checkpoint(model: SlotAutoencoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def scene(num_frames: int = 9, height: int = 36, width: int = 45, index: int = 0) -> np.ndarray:
    """uint8 [T H W 3]: moving shapes, of an odd width."""
    video = Shapes("test", image_size=48, num_frames=num_frames)[index]["video"]
    return np.ascontiguousarray(video.movedim(1, -1).numpy()[:, :height, :width])


def write_video(path: Path, frames: np.ndarray, times: Sequence[Fraction] = EVEN) -> np.ndarray:
    """A lossless file, .mkv or .mov, with each frame at its time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec, pixel_format = {".mkv": ("ffv1", "bgr0"), ".mov": ("png", "rgb24")}[path.suffix]
    with av.open(str(path), "w") as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=25))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = Fraction(1, 1000)
        container.start_encoding()  # and so the header is written even where there is no frame
        for frame, seconds in zip(frames, times, strict=False):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = picture.reformat(format=pixel_format)
            picture.pts, picture.time_base = int(seconds * 1000), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return frames


def write_frames(folder: Path, frames: np.ndarray, name: str = "{}.png") -> np.ndarray:
    for number, frame in enumerate(frames):
        save(frame, folder / name.format(number))
    return frames


def as_video(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).movedim(-1, 1)[None].float() / 255


def expected_labels(model: SlotAutoencoder, frames: np.ndarray, told=None) -> np.ndarray:
    return model.segment(as_video(frames), told)[0].argmax(1).numpy()


def labels_in(folder: Path) -> np.ndarray:
    return np.stack([read(path) for path in sorted(folder.iterdir())])


@pytest.mark.slow
def test_the_script_writes_everything_and_says_so(checkpoint: Path, tmp_path: Path, out: Path):
    for name in ("b.mkv", "deep/a.mkv", ".hidden/c.mkv"):
        write_video(tmp_path / "videos" / name, scene(3))
    (tmp_path / "videos" / "notes.txt").write_text("no video")
    command = [sys.executable, SCRIPT, checkpoint, tmp_path / "videos", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"2 videos, 6 frames in all, 5 slots each; in {out}:\n")
    assert files(out).keys() == {
        *(f"labels/{name}/00000{number}.png" for name in ("b", "deep/a") for number in range(3)),
        *(f"overlays/{name}.{kind}" for name in ("b", "deep/a") for kind in ("mp4", "gif")),
        "slots.npz",
        "overview.png",
    }


@pytest.mark.parametrize("batch_size", [16, 4])
def test_files_are_what_the_model_says(
    model: SlotAutoencoder, checkpoint: Path, tmp_path: Path, out: Path, batch_size: int
):
    frames = write_video(tmp_path / "a.mkv", scene(), UNEVEN)
    assert ending(checkpoint, tmp_path / "a.mkv", "--out", out, "--batch-size", batch_size) == 0
    labels = labels_in(out / "labels/a")
    expected = expected_labels(model, frames)
    assert labels.shape == expected.shape
    assert (labels == expected).mean() > (0.99 if batch_size == 4 else 0.999999)
    with np.load(out / "slots.npz") as saved:
        assert saved["ids"].tolist() == [f"a/{number:06d}" for number in range(9)]
        assert saved["seconds"].tolist() == [float(time) for time in UNEVEN]
        slots = model.encode(as_video(frames)).slots[0].numpy()
        assert saved["slots"].dtype == np.float32
        np.testing.assert_allclose(saved["slots"], slots, atol=1e-5)
    assert np.abs(slots[0] - slots[-1]).max() > 1e-2  # the frames differ to the model


def test_the_film_keeps_time_and_every_slot_its_colour(checkpoint: Path, tmp_path: Path, out: Path):
    frames = write_video(tmp_path / "a.mkv", scene(), UNEVEN)
    assert ending(checkpoint, tmp_path / "a.mkv", "--out", out) == 0
    labels = labels_in(out / "labels/a")
    assert len(np.unique(labels)) > 1
    film = out / "overlays/a.mp4"
    found = frame_times(film)
    assert [found.seconds(number) for number in range(9)] == UNEVEN
    colours = slot_colours(NUM_SLOTS)
    for shown, frame, slots in zip(VideoFile(film).frames(), frames, labels, strict=True):
        drawn = overlay(enlarged(frame, 256), colours[enlarged(slots, 256)]).astype(int)
        assert shown.shape == (216, 270, 3)
        # The film is lossy and halves the resolution of colours, so borders suffer; but slots of
        # other colours would be 60 away.
        inside = ~(drawn == 255).all(2)
        assert np.median(np.abs(shown - drawn)[inside]) <= 10
    with Image.open(out / "overlays/a.gif") as gif:
        assert gif.size == (270, 216)
        assert getattr(gif, "n_frames", 1) == 7  # no two within a 50th of a second
        first = np.array(gif.convert("RGB")).astype(int)
    drawn = overlay(enlarged(frames[0], 256), colours[enlarged(labels[0], 256)])
    assert np.abs(first - drawn).max() < 4
    for path in (out / "labels/a").iterdir():
        with Image.open(path) as image:
            assert image.mode == "P"
            painted = np.asarray(image.convert("RGB"))
            assert np.array_equal(painted, colour(1 + np.asarray(image)))


def test_a_folder_of_frames_is_a_video_when_told_so(
    model: SlotAutoencoder, checkpoint: Path, tmp_path: Path, out: Path
):
    frames = write_frames(tmp_path / "clips/one", scene(12), "frame_{}.png")
    write_frames(tmp_path / "clips/deep/two", scene(3, index=1))
    write_video(tmp_path / "clips/three.mkv", scene(2, index=2))
    assert ending(checkpoint, tmp_path / "clips", "--frames", "--fps", "10", "--out", out) == 0
    assert {path.name for path in (out / "labels/one").iterdir()} == {
        f"frame_{number}.png" for number in range(12)
    }
    labels = np.stack([read(out / f"labels/one/frame_{number}.png") for number in range(12)])
    assert (labels == expected_labels(model, frames)).mean() > 0.999999
    with np.load(out / "slots.npz") as saved:
        assert saved["ids"].tolist() == [
            *(f"deep/two/{number}" for number in range(3)),
            *(f"one/frame_{number}" for number in range(12)),  # 2 before 10
            *(f"three/00000{number}" for number in range(2)),
        ]
        np.testing.assert_allclose(saved["seconds"][3:15], np.arange(12) / 10)
    assert frame_times(out / "overlays/one.mp4").seconds(11) == Fraction(11, 10)
    clips = open_labels(out / "labels", clips=True)  # for slot-eval score --clips
    assert clips.ids == ("deep/two", "one", "three")
    assert np.array_equal(clips.load("one"), labels)


def test_the_same_folder_without_the_flag_is_one_of_pictures(
    model: SlotAutoencoder, checkpoint: Path, tmp_path: Path, out: Path
):
    frames = write_frames(tmp_path / "clip", scene(3))
    assert ending(checkpoint, tmp_path / "clip", "--frames", "--out", out / "video") == 0
    assert ending(checkpoint, tmp_path / "clip", "--out", out / "pictures") == 0
    assert (out / "video/overlays/clip.mp4").exists()
    assert (out / "pictures/overlays/2.png").exists()
    alone = expected_labels(model, frames[2:])[0]
    found = read(out / "pictures/labels/2.png")
    assert (found == alone).mean() > 0.99
    assert (read(out / "video/labels/clip/2.png") != alone).any()  # it was seen to come


def test_a_model_of_pictures_follows_a_video_too(tmp_path: Path, out: Path):
    model = tiny_model()
    model.save_pretrained(tmp_path / "model")
    frames = write_video(tmp_path / "a.mkv", scene(3))
    assert ending(tmp_path / "model", tmp_path / "a.mkv", "--out", out) == 0
    assert (labels_in(out / "labels/a") == expected_labels(model, frames)).mean() > 0.99


def test_the_overview_shows_first_middle_and_last_frames_of_the_first_videos(
    checkpoint: Path, tmp_path: Path
):
    for count in (3, 4):
        folder = tmp_path / f"{count}"
        for index in range(count):
            write_video(folder / f"{index}.mkv", scene(5, index=index))
        assert ending(checkpoint, folder, "--out", tmp_path / f"out{count}") == 0
    three, four = (read(tmp_path / f"out{count}/overview.png") for count in (3, 4))
    assert three.shape == four.shape  # nine rows: as many videos as it takes to have eight
    assert three.shape[0] > 9 * 100


def test_chunks_are_smaller_where_frames_are_large(tmp_path: Path):
    write_frames(tmp_path / "a", noise(7 * 4, 6).reshape(7, 4, 6, 3))
    video = FolderVideo([tmp_path / f"a/{number}.png" for number in range(7)], Fraction(12))
    assert [len(chunk) for chunk in chunks(video.frames(), 3, 10**6)] == [3, 3, 1]
    assert [len(chunk) for chunk in chunks(video.frames(), 3, 2 * 24)] == [2, 2, 2, 1]
    assert [len(chunk) for chunk in chunks(video.frames(), 3, 5)] == [1] * 7


@pytest.mark.parametrize("kind", ["boxes", "points", "masks"])
def test_a_conditioned_model_follows_what_it_is_told(kind, tmp_path: Path, out: Path):
    model = tiny_video_model(conditioning=kind)
    model.save_pretrained(tmp_path / "model")
    frames = write_video(tmp_path / "a.mkv", scene(4))
    boxes = [[4, 5, 20, 25], [0, 0, 36, 45]]
    path = tmp_path / "told.json"
    if kind == "masks":
        path = tmp_path / "told.png"
        mask = np.zeros((36, 45), np.uint8)
        mask[20:], mask[4:20, 5:25] = 7, 3
        save(mask, path)
        told = torch.from_numpy(np.stack([mask == 3, mask == 7]))[None]
    elif kind == "boxes":
        path.write_text(json.dumps(boxes))
        told = torch.tensor([boxes]) / torch.tensor([36, 45, 36, 45])
    else:
        path.write_text(json.dumps([box[:2] for box in boxes]))
        told = torch.tensor([boxes])[..., :2] / torch.tensor([36, 45])
    arguments = (tmp_path / "a.mkv", f"--{kind}", path, "--out", out)
    assert ending(tmp_path / "model", *arguments) == 0
    with np.load(out / "slots.npz") as saved:
        expected = model.encode(as_video(frames), told).slots[0].numpy()
        np.testing.assert_allclose(saved["slots"], expected, atol=1e-5)
    save(frames[0], tmp_path / "first.png")
    arguments = (tmp_path / "first.png", f"--{kind}", path, "--out", tmp_path / "picture")
    assert ending(tmp_path / "model", *arguments) == 0
    with np.load(tmp_path / "picture/slots.npz") as saved:
        np.testing.assert_allclose(saved["slots"][0], expected[0], atol=1e-5)


# ---------------------------------------------------------------------- what users get wrong


def test_a_video_that_ends_early(checkpoint: Path, tmp_path: Path, out: Path, capsys):
    path = tmp_path / "cut.mkv"
    write_video(
        path, noise(60 * 24, 24).reshape(60, 24, 24, 3), [Fraction(n, 25) for n in range(60)]
    )
    path.write_bytes(path.read_bytes()[:40_000])
    assert ending(checkpoint, path, "--out", out) == 2
    assert f"video {path} ends early: its last frame is shown at" in sentence(capsys)
    assert not out.exists()


def spoil(path: Path) -> None:
    """Zeros for the last frame."""
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][-1]
        assert packet.pos is not None
        place, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    data[place : place + size] = bytes(size)
    path.write_bytes(data)


def test_a_damaged_frame_takes_nothing_from_those_before(
    checkpoint: Path, tmp_path: Path, out: Path, capsys
):
    write_video(tmp_path / "videos/a.mkv", scene(4))
    write_video(tmp_path / "videos/b.mov", scene(5))
    spoil(tmp_path / "videos/b.mov")
    write_video(tmp_path / "videos/c.mkv", scene(3))
    assert ending(checkpoint, tmp_path / "videos", "--out", out, "--batch-size", 2) == 2
    assert "b.mov" in sentence(capsys)
    assert len(list((out / "labels/b").iterdir())) == 4
    assert frame_times(out / "overlays/b.mp4").count == 4
    assert (out / "overlays/b.gif").exists()
    with np.load(out / "slots.npz") as saved:
        assert saved["slots"].shape == (8, NUM_SLOTS, SLOT_DIM)
    assert not (out / "labels/c").exists()


def test_a_video_without_frames(checkpoint: Path, tmp_path: Path, out: Path, capsys):
    write_video(tmp_path / "empty.mkv", scene(1)[:0])
    assert ending(checkpoint, tmp_path / "empty.mkv", "--out", out) == 2
    assert "empty.mkv has no frames: it ends before the first" in sentence(capsys)


def test_no_video_at_all(checkpoint: Path, tmp_path: Path, out: Path, capsys):
    (tmp_path / "text.mp4").write_text("no video")
    assert ending(checkpoint, tmp_path / "text.mp4", "--out", out) == 2
    assert "text.mp4 cannot be read as a video" in sentence(capsys)


def test_a_frame_of_another_size(checkpoint: Path, tmp_path: Path, out: Path, capsys):
    write_frames(tmp_path / "clip", scene(3))
    save(noise(40, 45), tmp_path / "clip/3.png")
    assert ending(checkpoint, tmp_path / "clip", "--frames", "--out", out) == 2
    told = sentence(capsys)
    assert f"frame {tmp_path / 'clip/3.png'} is 45x40 pixels (width x height), but 0.png" in told
    assert "45x36" in told
    with av.open(str(tmp_path / "two.mkv"), "w") as container:
        stream = cast(VideoStream, container.add_stream("mjpeg", rate=25))
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuvj420p"
        for number, height in enumerate((32, 32, 48)):
            jpeg = BytesIO()
            Image.fromarray(noise(height, 48)).save(jpeg, "jpeg")
            packet = av.Packet(jpeg.getvalue())
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.time_base, packet.is_keyframe = Fraction(1, 25), True
            container.mux(packet)
    assert ending(checkpoint, tmp_path / "two.mkv", "--out", tmp_path / "out2") == 2
    assert "two.mkv is 48x48 pixels (width x height), but those before it are 48x32" in sentence(
        capsys
    )


@pytest.mark.parametrize(
    ("names", "arguments", "told"),
    [
        (["a.png", "b.mkv"], [], "holds pictures (a) and videos (b); give them one after the"),
        (["a.png", "a.jpg"], ["--frames"], "a.png: would be written to the same file as a.jpg"),
        (["x/a.png", "x.mkv"], ["--frames"], "x: would be written to the same files as x.mkv"),
        (["a.mkv", "a.mov"], [], "a.mov: would be written to the same files as a.mkv"),
        (["a.mkv"], ["--fps", "3"], "--fps is of folders of frames; give it with --frames"),
        (["notes.txt"], ["--frames"], "holds no picture and no video; expected files ending in"),
    ],
)
def test_what_cannot_be_told_apart(
    names: list[str], arguments: list[str], told: str, checkpoint: Path, tmp_path: Path, capsys
):
    for name in names:
        path = tmp_path / "place" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".jpg"):
            save(noise(8, 8), path)
        else:
            path.write_text("is not read")
    place, out = tmp_path / "place", tmp_path / "out"
    assert ending(checkpoint, place, "--out", out, *arguments) == 2
    assert told in sentence(capsys)
    assert not out.exists()


def test_a_file_is_no_folder_of_frames(checkpoint: Path, tmp_path: Path, out: Path, capsys):
    save(noise(8, 8), tmp_path / "a.png")
    assert ending(checkpoint, tmp_path / "a.png", "--frames", "--out", out) == 2
    assert "a.png: is a file; --frames is for a folder of frames" in sentence(capsys)


def test_wrong_hints(checkpoint: Path, tmp_path: Path, out: Path, capsys):
    tiny_video_model(conditioning="boxes").save_pretrained(tmp_path / "boxes")
    write_video(tmp_path / "videos/a.mkv", scene(2))
    boxes = {
        "good": [[0, 0, 10, 10]],
        "outside": [[0, 0, 10, 10], [0, 0, 37, 45]],
        "many": [[0, 0, 10, 10]] * (NUM_SLOTS + 1),
    }
    for name, rows in boxes.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    video = tmp_path / "videos/a.mkv"

    def told(model: Path, *arguments: object) -> str:
        assert ending(model, *arguments, "--out", out) == 2
        assert not out.exists()
        return sentence(capsys)

    conditioned = tmp_path / "boxes"
    assert f"{conditioned}: expects --boxes of the first frame's objects, but none" in told(
        conditioned, video
    )
    assert "expects --boxes of the first frame's objects, but --points was given" in told(
        conditioned, video, "--points", write_points(tmp_path)
    )
    assert f"{checkpoint}: is told of no objects, but --boxes was given" in told(
        checkpoint, video, "--boxes", tmp_path / "good.json"
    )
    assert (
        "outside.json: box 1 (top 0, left 0, bottom 37, right 45) lies outside the first frame, "
        "which is 45x36 pixels (width x height)"
    ) in told(conditioned, video, "--boxes", tmp_path / "outside.json")
    assert (
        f"many.json: holds 6 boxes, but {conditioned} has 5 slots; expected at most one for each"
    ) in told(conditioned, video, "--boxes", tmp_path / "many.json")
    write_video(tmp_path / "videos/b.mkv", scene(2))
    assert "good.json: is of one first frame, but there are 2" in told(
        conditioned, tmp_path / "videos", "--boxes", tmp_path / "good.json"
    )


def write_points(folder: Path) -> Path:
    path = folder / "points.json"
    path.write_text("[[1, 2]]")
    return path


@pytest.mark.parametrize("limit", [200, 3_000])
def test_a_full_disk(checkpoint: Path, tmp_path: Path, out: Path, capsys, limit: int):
    write_video(tmp_path / "a.mkv", noise(40 * 64, 64).reshape(40, 64, 64, 3), [*EVEN])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        assert ending(checkpoint, tmp_path / "a.mkv", "--out", out) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be written" in sentence(capsys)


def test_frames_are_read_as_their_file_shows_them(tmp_path: Path):
    frames = write_video(tmp_path / "a.mkv", scene(), UNEVEN)
    video = FileVideo(tmp_path / "a.mkv")
    assert len(video) == 9
    assert np.array_equal(list(video.frames()), frames)
    assert [video.seconds(number) for number in range(9)] == UNEVEN


def samples(*parts: str) -> Path:
    """Real files in their published layouts; skips the test where there are none."""
    if "SLOT_REFERENCE_DATA" not in os.environ:
        pytest.skip("SLOT_REFERENCE_DATA is not set")
    return Path(os.environ["SLOT_REFERENCE_DATA"]).joinpath("samples", *parts)


def test_real_frames(checkpoint: Path, tmp_path: Path, out: Path):
    (tmp_path / "clip").mkdir()
    for frame in samples("movi_folder_slotdiffusion/MOVi-D/test/00000578").glob("*.jpg"):
        (tmp_path / "clip" / frame.name).symlink_to(frame)
    assert ending(checkpoint, tmp_path / "clip", "--frames", "--out", out) == 0
    assert frame_times(out / "overlays/clip.mp4").seconds(23) == Fraction(23, 12)
    assert labels_in(out / "labels/clip").shape[0] == 24


@pytest.mark.slow
def test_a_real_video_file(checkpoint: Path, tmp_path: Path, out: Path):
    (video, *_) = sorted(samples("physion").rglob("*.mp4"))
    assert ending(checkpoint, video, "--out", out) == 0
    times, found = frame_times(video), frame_times(out / f"overlays/{video.stem}.mp4")
    assert found.count == times.count > 100
    assert all(found.seconds(n) == times.seconds(n) for n in range(found.count))
    with np.load(out / "slots.npz") as saved:
        assert saved["slots"].shape == (times.count, NUM_SLOTS, SLOT_DIM)


LONG = """
import sys
from pathlib import Path
import predict
from support.findings import Film

add, taken = Film.add, []


def memory():  # the most at any time, in MB; ru_maxrss begins with that of whoever started us
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def counted(self, *arguments):
    add(self, *arguments)
    taken.append(memory())


Film.add = counted
try:
    predict.run(predict.main, sys.argv[1:])
except SystemExit as exit:
    assert not exit.code
print(len(taken), memory() - taken[23])
"""


@pytest.mark.slow
def test_500_frames_take_no_more_memory_than_24(checkpoint: Path, tmp_path: Path, out: Path):
    """Of 128x128, to the end of the films; in a process without the tests' type checker."""
    frames = scene(20, 128, 128)
    path = tmp_path / "long.mkv"
    long = np.concatenate([frames] * 25)
    write_video(path, long, [Fraction(number, 25) for number in range(500)])
    command = [sys.executable, "-c", LONG, checkpoint, path, "--out", out, "--batch-size", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SCRIPT.parent)
    assert done.returncode == 0, done.stderr
    count, grown = done.stdout.split()[-2:]
    assert count == "500"
    assert float(grown) < 8  # MB
    assert frame_times(out / "overlays/long.mp4").count == 500
