"""What is no video of floats in [0, 1] is told in one sentence that says what would make it one."""

import numpy as np
import pytest
import torch

from slot_core import InputError
from slot_core.video_input import check_colours

VIDEO = torch.rand(1, 2, 3, 4, 5)
SHAPE = "expected [batch time 3 height width]"


@pytest.mark.parametrize(
    ("video", "sentence"),
    [
        (np.zeros((4, 5, 3), np.uint8), "is of the type ndarray, expected a tensor [batch time 3"),
        ([VIDEO], "is of the type list, expected a tensor"),
        (VIDEO[0], f"[2, 3, 4, 5], {SHAPE}; pictures are videos of one frame, pictures[:, None]"),
        (VIDEO[0, 0], f"[3, 4, 5], {SHAPE}; a picture is a video of one frame: picture[None, None"),
        (VIDEO.movedim(2, -1), f"{SHAPE}; colours come before height and width: video.movedim(-1"),
        (VIDEO[0, 0].movedim(0, -1), f"[4, 5, 3], {SHAPE}; colours come before height and width"),
        (torch.rand(1, 2, 4, 4, 5), f"the video has the shape [1, 2, 4, 4, 5], {SHAPE}"),
        (VIDEO[:0], "the video has the shape [0, 2, 3, 4, 5], expected at least one of each"),
        (VIDEO[..., :0], "the video has the shape [1, 2, 3, 4, 0], expected at least one of each"),
        ((VIDEO * 255).byte(), "torch.uint8, expected floats in [0, 1]; video / 255 makes them"),
        (VIDEO.long(), "the video is torch.int64, expected floats in [0, 1]"),
        (torch.full_like(VIDEO, 200), "from 200 to 200, expected floats in [0, 1]; the model norm"),
        (VIDEO * 2 - 1.5, "expected floats in [0, 1]; the model normalises them itself"),
        (VIDEO * torch.nan, "the colours of the video reach from nan to nan, expected floats"),
    ],
)
def test_what_is_no_video_is_told_what_would_be_one(video: object, sentence: str):
    with pytest.raises(InputError) as caught:
        check_colours(video)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_floats_that_resizing_brought_a_little_beyond_are_fine(dtype: torch.dtype):
    check_colours((VIDEO * 1.3 - 0.1).to(dtype))


def test_the_advice_is_right():
    array = (VIDEO[0, 0] * 255).byte().movedim(0, -1).numpy()
    check_colours(torch.from_numpy(array).permute(2, 0, 1)[None, None] / 255)
    check_colours(VIDEO.movedim(2, -1).movedim(-1, -3))
    check_colours(VIDEO[0][:, None])
    check_colours(VIDEO[0][None])
