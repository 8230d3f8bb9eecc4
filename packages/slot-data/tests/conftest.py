"""Tiny video files for the tests, without loss where the codec allows it; and helper modules beside
the tests become importable."""

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

LOSSLESS = {  # suffix: codec, pixel format, options
    ".mp4": ("libx264rgb", "rgb24", {"qp": "0"}),
    ".mkv": ("ffv1", "bgr0", {}),
    ".mov": ("png", "rgb24", {}),
}


def _write_video(path, frames, codec=None, key_every=10, options=None, milliseconds=None):
    """frames: uint8 [T H W 3]; codec: (name, pixel format, options) if not the lossless one;
    options: of the container; milliseconds: when each frame is shown, if not every 40."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name, pixel_format, settings = codec or LOSSLESS[path.suffix]
    with av.open(str(path), "w", container_options=options or {}) as container:
        stream = container.add_stream(name, rate=25, options=settings)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        stream.gop_size = key_every
        if milliseconds:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = picture.reformat(format=pixel_format)
            if milliseconds:
                picture.pts, picture.time_base = milliseconds[number], Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _moving_noise(num_frames, height=32, width=48, seed=0):
    """uint8 [T H W 3]: still noise, a bright square that moves over it, and below both the frame's
    number, as a grey of 8 times as much: no two frames are alike, even after loss."""
    ground = np.random.default_rng(seed).integers(60, size=(height, width, 3), dtype=np.uint8)
    frames = np.repeat(ground[None], num_frames, axis=0)
    for number, frame in enumerate(frames):
        frame[height // 2 :] = number * 8 % 256
        left = number % (width - 8)
        frame[4:12, left : left + 8] = 220
    return frames


@pytest.fixture(scope="session")
def write_video():
    return _write_video


@pytest.fixture(scope="session")
def moving_noise():
    return _moving_noise


@pytest.fixture
def arrow_cache(tmp_path_factory, monkeypatch):
    """Where `datasets` copies prepared folders to while a test runs."""
    import datasets
    import datasets.config

    folder = tmp_path_factory.mktemp("arrow")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    datasets.disable_progress_bars()
    return folder
