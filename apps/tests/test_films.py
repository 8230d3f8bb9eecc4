"""Films of overlays: what was drawn comes back, at the time it was given, and stays small."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from slot_data import Shapes
from slot_data.video_files import VideoFile, frame_times
from support import films
from support.colours import slot_colours
from support.films import ENCODERS, Gif, Mp4, best_encoder
from support.pictures import overlay

RATE = Fraction(30_000, 1001)


def scenes(count: int, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Frames and labels of a video, at four times its size."""
    sample = Shapes("test", image_size=size, num_frames=count)[0]
    pictures = sample["video"].movedim(1, -1).numpy().repeat(4, 1).repeat(4, 2)
    labels = sample.get("labels")
    assert labels is not None
    return pictures, labels.numpy().astype(int).repeat(4, 1).repeat(4, 2)


def overlays(pictures: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    colours = slot_colours(7)
    return [overlay(p, colours[one]) for p, one in zip(pictures, labels, strict=True)]


def write(path: Path, frames: list[np.ndarray], times: list[Fraction], encoder=None) -> None:
    film = Mp4(path, encoder)
    for frame, seconds in zip(frames, times, strict=True):
        film.add(frame, seconds)
    film.close()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_an_mp4_shows_what_was_drawn_when_it_was_drawn(tmp_path: Path, encoder: str):
    drawn = [frame[:-1, :-3] for frame in overlays(*scenes(9))]  # odd sides
    times = [number / RATE for number in (0, 1, 2, 10, 11, 12, 13, 200, 201)]
    write(tmp_path / "film.mp4", drawn, times, encoder)
    found = frame_times(tmp_path / "film.mp4")
    assert [found.seconds(number) for number in range(9)] == times
    frames = list(VideoFile(tmp_path / "film.mp4").frames())
    assert len(frames) == 9
    for frame, expected in zip(frames, drawn, strict=True):
        assert frame.shape == (256, 254, 3)
        assert np.abs(frame[:-1, :-1].astype(int) - expected).mean() < 4
        assert np.abs(frame[-1, :-1].astype(int) - expected[-1]).mean() < 6  # its last row again


def test_an_mp4_can_be_played_everywhere(tmp_path: Path):
    assert best_encoder() in ENCODERS
    write(tmp_path / "film.mp4", overlays(*scenes(2)), [Fraction(0), Fraction(1, 12)])
    with av.open(str(tmp_path / "film.mp4")) as container:
        video = container.streams.video[0]
        assert video.codec_context.name == {"libx264": "h264"}.get(best_encoder(), "mpeg4")
        assert video.codec_context.pix_fmt == "yuv420p"
        assert video.frames == 2


def test_frames_closer_than_a_tick_are_kept_apart(tmp_path: Path):
    times = [Fraction(number, 10**6) for number in range(5)]
    write(tmp_path / "film.mp4", overlays(*scenes(5)), times)
    assert frame_times(tmp_path / "film.mp4").count == 5


def test_a_film_without_frames_is_no_file(tmp_path: Path):
    Mp4(tmp_path / "film.mp4").close()
    Gif(tmp_path / "film.gif", 7, Fraction(0)).close()
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_an_os_error(tmp_path: Path):
    with pytest.raises(OSError, match="No such file"):
        write(tmp_path / "none" / "film.mp4", overlays(*scenes(1)), [Fraction(0)])


def read_gif(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """Its frames and for how many milliseconds each is shown."""
    with Image.open(path) as image:
        frames, durations = [], []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frames.append(np.array(image.convert("RGB")))
            durations.append(image.info["duration"])
    return frames, durations


@pytest.mark.slow
def test_a_gif_shows_what_was_drawn_for_as_long(tmp_path: Path):
    pictures, labels = scenes(24)
    times = [number / RATE for number in range(24)]
    gif = Gif(tmp_path / "film.gif", 7, times[-1])
    for picture, one, seconds in zip(pictures, labels, times, strict=True):
        gif.add(picture, one, seconds)
    gif.close()
    frames, durations = read_gif(tmp_path / "film.gif")
    for frame, expected in zip(frames, overlays(pictures, labels), strict=True):
        # 36 greys under each colour
        assert np.abs(frame.astype(int) - expected).max() <= 0.4 * 255 / 35 / 2 + 1
    assert set(durations) == {30, 40}
    assert sum(durations) == 800  # 24 frames of 33.37 ms
    colours = np.unique(np.concatenate(frames).reshape(-1, 3), axis=0)
    assert len(colours) <= 256  # of all frames together
    with Image.open(tmp_path / "film.gif") as image:
        assert image.info["loop"] == 0


def test_a_gif_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(films, "MAX_GIF_FRAMES", 10)
    pictures, labels = scenes(2, size=128)
    times = [Fraction(number, 25) for number in range(95)]
    gif = Gif(tmp_path / "film.gif", 7, times[-1])
    for number, seconds in enumerate(times):
        gif.add(pictures[number % 2], labels[number % 2], seconds)
    gif.close()
    frames, durations = read_gif(tmp_path / "film.gif")
    assert frames[0].shape == (320, 320, 3)
    assert len(frames) == 10  # every tenth of 95
    assert set(durations) == {400}


def test_a_gif_is_no_faster_than_browsers_show_it(tmp_path: Path):
    pictures, labels = scenes(8)
    gif = Gif(tmp_path / "film.gif", 7, Fraction(7, 120))
    for number in range(8):
        gif.add(pictures[number], labels[number], Fraction(number, 120))
    gif.close()
    frames, durations = read_gif(tmp_path / "film.gif")
    assert len(frames) == 3  # at 0, 3/120 and 6/120
    assert min(durations) >= 20


def test_a_gif_of_one_frame(tmp_path: Path):
    pictures, labels = scenes(1)
    gif = Gif(tmp_path / "film.gif", 7, Fraction(0))
    gif.add(pictures[0], labels[0], Fraction(0))
    gif.close()
    frames, durations = read_gif(tmp_path / "film.gif")
    assert (len(frames), durations) == (1, [100])


def test_wide_frames_are_reduced_with_their_labels():
    picture = np.zeros((100, 1000, 3), np.uint8)
    picture[:, 500:] = 255
    labels = (picture[..., 0] > 0).astype(int)
    small, reduced = films.reduced(picture, labels)
    assert small.shape == (32, 320, 3)
    assert reduced.shape == (32, 320)
    assert np.array_equal(reduced, np.repeat([[0] * 160 + [1] * 160], 32, 0))
    same, _ = films.reduced(picture[:9, :9], labels[:9, :9])
    assert same.shape == (9, 9, 3)
