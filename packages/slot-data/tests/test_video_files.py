"""Frame t of a video file is the frame that was written as the t-th, wherever reading begins."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from slot_data import DataError
from slot_data.video_files import VideoFile, frame_times

OPEN = {"bf": "3", "flags": "-cgop", "x264-params": "open-gop=1"}
HIDING = {"auto-alt-ref": "1", "lag-in-frames": "8", "deadline": "realtime"}
LOSSY = {  # files that keep times, key frames or the order of frames in other ways
    "reordered.mp4": ("libx264", "yuv420p", {"bf": "3"}),
    "reordered.mkv": ("libx264", "yuv420p", OPEN),
    "reordered.avi": ("libx264", "yuv420p", {"bf": "3"}),
    "packed.avi": ("mpeg4", "yuv420p", {"bf": "2", "b": "4M"}),
    "pictures.avi": ("mjpeg", "yuvj420p", {}),
    "hidden.webm": ("libvpx", "yuv420p", HIDING),
}


def indexed(path):
    return VideoFile(path, frame_times(path))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_frame_read_is_the_frame_written(tmp_path, suffix, write_video, moving_noise):
    frames = moving_noise(24)
    write_video(tmp_path / f"video{suffix}", frames, key_every=8)
    video = indexed(tmp_path / f"video{suffix}")
    assert frame_times(video.path).count == 24
    for start in (0, 1, 7, 8, 13, 20):
        taken = range(start, start + 4, 2)
        assert np.array_equal(video.read(taken), frames[start : start + 4 : 2])
    assert np.array_equal(VideoFile(video.path).read(range(3)), frames[:3]), "without its times"


@pytest.mark.parametrize("name", LOSSY)
def test_wherever_reading_begins_the_frames_are_the_same(tmp_path, name, write_video, moving_noise):
    frames = moving_noise(24)
    write_video(tmp_path / name, frames, LOSSY[name], key_every=8)
    with av.open(str(tmp_path / name)) as container:
        played = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    numbers = [round(float(frame[20:].mean()) / 8) for frame in played]
    assert numbers == list(range(24)), "the player shows all frames in the order written"
    video = indexed(tmp_path / name)
    assert frame_times(video.path).count == 24
    for start in range(24):
        assert np.array_equal(video.read(range(start, start + 1))[0], played[start])


def spoil(path, first, last):
    """Zeros for the packets of these frames."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        places = [(packet.pos, packet.size) for packet in packets[first : last + 1]]
    data = bytearray(path.read_bytes())
    for position, size in places:
        assert position is not None
        data[position : position + size] = bytes(size)
    path.write_bytes(data)


def test_reading_begins_at_the_key_frame_before(tmp_path, write_video, moving_noise):
    path, frames = tmp_path / "video.mp4", moving_noise(30)
    write_video(path, frames)
    spoil(path, 0, 19)
    video = indexed(path)
    assert np.array_equal(video.read(range(25, 28)), frames[25:28]), "what lies before is not read"
    with pytest.raises(DataError, match=r"video\.mp4"):
        video.read(range(12, 15))


def test_a_video_is_turned_as_it_is_to_be_shown(tmp_path, write_video, moving_noise):
    path, frames = tmp_path / "telephone.mp4", moving_noise(3)
    write_video(path, frames)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    clockwise = [0, 1 << 16, 0, -1 << 16, 0, 0, 32 << 16, 0, 1 << 30]
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, signed=True) for value in clockwise)
    path.write_bytes(data)
    assert np.array_equal(VideoFile(path).read(range(3)), np.rot90(frames, -1, axes=(1, 2)))


def test_a_broken_file_is_named(tmp_path, write_video, moving_noise):
    (tmp_path / "text.mp4").write_text("no video")
    write_video(tmp_path / "cut.mp4", moving_noise(30))
    data = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    for name in ("text.mp4", "cut.mp4", "missing.mp4"):
        for read in (frame_times, lambda path: VideoFile(path).read(range(2))):
            with pytest.raises(DataError, match=rf"{name} cannot be read as a video: \w+"):
                read(tmp_path / name)


def test_a_file_cut_off_in_its_pictures_is_named(tmp_path, write_video, moving_noise):
    path = tmp_path / "cut.mp4"
    write_video(path, moving_noise(30), options={"movflags": "faststart"})
    with av.open(str(path), "r") as container:
        whole = container.streams.video[0].frames
    path.write_bytes(path.read_bytes()[:-200])
    assert whole == 30
    with pytest.raises(DataError, match=r"cut\.mp4 is damaged or cut off"):
        frame_times(path)


def test_sound_alone_and_no_frames_are_named(tmp_path):
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(DataError, match=r"sound\.mkv holds no video"):
        frame_times(tmp_path / "sound.mkv")
    with av.open(str(tmp_path / "empty.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(DataError, match=r"empty\.mkv has no frames"):
        frame_times(tmp_path / "empty.mkv")


def test_a_clip_beyond_the_end_names_the_video(tmp_path, write_video, moving_noise):
    write_video(tmp_path / "short.mkv", moving_noise(5))
    with pytest.raises(DataError, match=r"short\.mkv has 5 frames; a clip of 3 .* 3 apart needs 7"):
        VideoFile(tmp_path / "short.mkv").read(range(0, 9, 3))


def test_all_frames_one_after_the_other(tmp_path, write_video, moving_noise):
    frames = moving_noise(24)
    write_video(tmp_path / "video.mkv", frames, key_every=8)
    for video in (indexed(tmp_path / "video.mkv"), VideoFile(tmp_path / "video.mkv")):
        assert np.array_equal(list(video.frames()), frames)
    write_video(tmp_path / "reordered.avi", frames, LOSSY["reordered.avi"])
    assert len(list(indexed(tmp_path / "reordered.avi").frames())) == 24


def test_a_damaged_frame_ends_the_frames(tmp_path, write_video, moving_noise):
    path, frames = tmp_path / "video.mov", moving_noise(9)
    write_video(path, frames)
    video = indexed(path)
    spoil(path, 5, 5)
    taken = []
    with pytest.raises(DataError, match=r"video\.mov"):
        taken.extend(video.frames())
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"video\.mov cannot be read as a video"):
        next(video.frames())


def test_a_file_that_ends_before_its_last_frame(tmp_path, write_video, moving_noise):
    path = tmp_path / "video.mkv"
    write_video(path, moving_noise(9))
    longer = replace(frame_times(path), count=12)
    taken = []
    with pytest.raises(DataError, match=r"video\.mkv ends after 9 of its 12 frames"):
        taken.extend(VideoFile(path, longer).frames())
    assert len(taken) == 9


def test_matroska_cut_off_is_told_by_its_duration(tmp_path, write_video, moving_noise):
    path = tmp_path / "cut.mkv"
    write_video(path, moving_noise(60))
    assert frame_times(path).count == 60
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"cut\.mkv ends early: .* of the 2\.40 seconds"):
        frame_times(path)


def test_frames_of_two_sizes_are_refused(tmp_path, write_video, moving_noise):
    """Two streams of raw H.264 after one another: the second brings its own size."""
    both = b""
    for height in (32, 48):
        write_video(tmp_path / "raw.h264", moving_noise(3, height), ("libx264", "yuv420p", {}))
        both += (tmp_path / "raw.h264").read_bytes()
    path = tmp_path / "two.h264"
    path.write_bytes(both)
    taken = []
    with pytest.raises(DataError, match=r"frame 3 of .* is 48x48 .*, but those before .* 48x32"):
        taken.extend(frame.shape for frame in VideoFile(path).frames())
    assert taken == [(32, 48, 3)] * 3


def test_frames_keep_the_time_at_which_they_are_shown(tmp_path, write_video, moving_noise):
    write_video(tmp_path / "even.mp4", moving_noise(4))
    assert [frame_times(tmp_path / "even.mp4").seconds(n) for n in range(4)] == [
        Fraction(n, 25) for n in range(4)
    ]
    write_video(tmp_path / "reordered.avi", moving_noise(4), LOSSY["reordered.avi"])
    assert frame_times(tmp_path / "reordered.avi").seconds(3) == Fraction(3, 25)
    milliseconds = [500, 540, 1500, 1501, 2000]
    path = tmp_path / "uneven.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        for frame, time in zip(moving_noise(5), milliseconds, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")
            picture.pts, picture.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    found = [frame_times(path).seconds(number) for number in range(5)]
    assert found == [Fraction(time - 500, 1000) for time in milliseconds]
