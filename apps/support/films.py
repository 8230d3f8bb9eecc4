"""Overlays of a video's frames, written one by one as an mp4 and as a GIF.

The mp4 has every frame at its own time, so a video of variable frame rate stays one: the clock
ticks 60,000 times a second, which the usual rates divide (30,000/1001 as well) and which MPEG-4
still allows. It is H.264 where PyAV brings an encoder for it, else MPEG-4 part 2. Colours are
stored at half the resolution, as players expect, and the sides are even: an odd one repeats its
last row or column.

A GIF is for a web page, so it is kept small: at most 300 frames, evenly spread over the time, of
at most 320 pixels. All frames share one palette and are not dithered. Pillow would collect them
all before it writes the first, so they are written here, each as Pillow encodes it.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import IO, cast

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from jaxtyping import Integer, UInt8
from PIL import Image
from PIL.GifImagePlugin import getdata, getheader

from support.pictures import Picture, overlay_in_palette

TICK = Fraction(1, 60_000)
# No lookahead: it would hold back dozens of frames in memory. Constant quality, whatever the size.
ENCODERS = {
    "libx264": {"crf": "18", "preset": "fast", "tune": "zerolatency"},
    "mpeg4": {"flags": "+qscale", "global_quality": "354"},  # 3 of 31, in units of 118
}
BT_601 = 6  # ITU-T H.273: how the colours were converted, for players that guess by size
MAX_GIF_FRAMES, MAX_GIF_SIDE = 300, 320
SHORTEST = Fraction(1, 50)  # that browsers show a GIF's frame, in seconds
CENTISECONDS = 100  # a GIF counts in
ALONE = Fraction(1, 10)  # how long a GIF's only frame says it is shown


class Mp4:
    """A video file, frame by frame.

    Args:
        path: to write.
        encoder: of ENCODERS; the first that PyAV has when left out.

    Raises:
        OSError: if the file cannot be written.
    """

    def __init__(self, path: Path, encoder: str | None = None) -> None:
        self.path = path
        self.encoder = encoder or best_encoder()
        self._open: tuple[OutputContainer, VideoStream] | None = None
        self._last = -1

    def add(self, pixels: Picture, seconds: Fraction) -> None:
        """Append a frame that is shown from ``seconds`` on; all frames have one size."""
        height, width = pixels.shape[:2]
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        # Two frames of one tick would be one: a video cannot be shown that fast.
        self._last = max(self._last + 1, round(seconds / TICK))
        frame.pts, frame.time_base = self._last, TICK
        try:
            container, stream = self._open or self._start(frame.width, frame.height)
            container.mux(stream.encode(frame))
        except FFmpegError as error:
            raise OSError(error.errno, error.strerror) from error

    def close(self) -> None:
        """Write what is left; without it the file cannot be played."""
        if self._open is None:
            return
        container, stream = self._open
        self._open = None
        try:
            container.mux(stream.encode(None))
            container.close()
        except FFmpegError as error:
            raise OSError(error.errno, error.strerror) from error

    def _start(self, width: int, height: int) -> tuple[OutputContainer, VideoStream]:
        container = av.open(str(self.path), "w", format="mp4")
        added = container.add_stream(self.encoder, options=ENCODERS[self.encoder])
        stream = cast(VideoStream, added)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = TICK
        stream.codec_context.colorspace = BT_601
        self._open = container, stream
        return container, stream


def best_encoder() -> str:
    """The first of ENCODERS that PyAV has; it never lacks the last one, its own."""
    return next(name for name in ENCODERS if name in av.codecs_available)


class Gif:
    """An animated picture of the overlays, frame by frame.

    Args:
        path: to write.
        num_slots: that have a colour.
        seconds: from the first frame to the last.

    Raises:
        OSError: if the file cannot be written.
    """

    def __init__(self, path: Path, num_slots: int, seconds: Fraction) -> None:
        self.path, self.num_slots = path, num_slots
        self._apart = max(SHORTEST, seconds / MAX_GIF_FRAMES)
        self._file: IO[bytes] | None = None
        self._waiting: Image.Image | None = None  # until the next one says how long it is shown
        self._begin, self._since, self._lasting = Fraction(0), Fraction(0), ALONE

    def add(
        self, picture: Picture, slots: Integer[np.ndarray, "height width"], seconds: Fraction
    ) -> None:
        """Append a frame that is shown from ``seconds`` on, unless the last one is too new."""
        if self._waiting is not None and seconds - self._since < self._apart:
            return
        image = overlay_in_palette(*reduced(picture, slots), self.num_slots)
        if self._file is None:
            self._file = self.path.open("wb")
            header, _ = getheader(image, info={"loop": 0})
            self._file.write(b"".join(header))
            self._begin = seconds
        else:
            self._write(seconds)
        self._waiting, self._since = image, seconds

    def close(self) -> None:
        """Write the last frame, shown as long as the one before, and the end of the file."""
        if self._file is None:
            return
        with self._file:
            self._write(self._since + self._lasting)
            self._file.write(b";")
        self._file = None

    def _write(self, until: Fraction) -> None:
        assert self._file is not None
        assert self._waiting is not None
        self._lasting = until - self._since
        # Rounded times, not rounded durations: those would add up to another speed.
        ticks = [round((time - self._begin) * CENTISECONDS) for time in (self._since, until)]
        data = getdata(self._waiting, duration=10 * (ticks[1] - ticks[0]))
        self._file.write(b"".join(data))


def reduced(
    picture: Picture, slots: Integer[np.ndarray, "height width"]
) -> tuple[
    UInt8[np.ndarray, "new_height new_width 3"], Integer[np.ndarray, "new_height new_width"]
]:
    """Both at a size for a GIF: as they are up to MAX_GIF_SIDE, else that large."""
    height, width = slots.shape
    scale = MAX_GIF_SIDE / max(height, width)
    if scale >= 1:
        return picture, slots
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
    rows = ((np.arange(size[1]) + 0.5) * height / size[1]).astype(int)
    columns = ((np.arange(size[0]) + 0.5) * width / size[0]).astype(int)
    return np.asarray(small), slots[rows[:, None], columns]
