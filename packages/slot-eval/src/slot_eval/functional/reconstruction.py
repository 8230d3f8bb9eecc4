"""How close one video is to another, pixel by pixel: MSE, PSNR and SSIM.

Videos are float in [0, 1]. Each frame is a picture that is judged by itself, and a clip's value is
the mean over its frames. SSIM is that of Wang, Bovik, Sheikh and Simoncelli (IEEE TIP 2004,
section III.B, equation 13 with its constants): Gaussian windows of 11 x 11 pixels with a spread of
1.5, only where the whole window lies in the picture, biased variances, the mean over channels.

Departures. Published code takes SSIM on pixels times 255, which is the same number, and MSE as the
sum over the values of a picture (``reduction="sum"``; SlotDiffusion) or as their mean. PSNR of
equal pictures is infinite and would make every mean infinite: it stops at ``MAX_PSNR``.
"""

from typing import Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from slot_eval.errors import EvalError

Videos = Float[Tensor, "batch *time channels height width"]
Clips = Float64[Tensor, "batch frames channels height width"]
Pictures = Float64[Tensor, "pictures channels height width"]
Reduction = Literal["mean", "sum"]

MAX_PSNR = 100.0
WINDOW, SPREAD = 11, 1.5
# (K L)^2 for K = 0.01 and 0.03 and pixels that reach from 0 to L = 1
C1, C2 = 0.01**2, 0.03**2
# Of pictures whose windows are compared at once, which takes 130 bytes for each.
BLOCK_VALUES = 2**22
# What resizing may overshoot by rounding; more is another range, such as [-1, 1] or [0, 255].
OVERSHOOT = 1e-3


def mse(
    predicted: Videos, true: Videos, *, reduction: Reduction = "mean"
) -> Float64[Tensor, " batch"]:
    """Squared error of pictures [B C H W] or clips [B T C H W], the mean over frames.

    ``reduction`` over the values of a frame. Raises EvalError on videos that differ in shape, and
    on values outside [0, 1].
    """
    if reduction not in ("mean", "sum"):
        raise EvalError(f"reduction must be mean or sum, not {reduction!r}")
    errors = squared_errors(predicted, true)
    per_frame = errors.mean((2, 3, 4)) if reduction == "mean" else errors.sum((2, 3, 4))
    return per_frame.mean(1)


def psnr(predicted: Videos, true: Videos) -> Float64[Tensor, " batch"]:
    """Peak signal-to-noise ratio in dB, the mean over frames; at most 100, higher is better.

    Raises EvalError as ``mse``.
    """
    errors = squared_errors(predicted, true)
    ratio = -10 * torch.log10(errors.mean((2, 3, 4)))
    return ratio.clamp(max=MAX_PSNR).mean(1)


def ssim(predicted: Videos, true: Videos) -> Float64[Tensor, " batch"]:
    """Structural similarity, the mean over frames, channels and windows; 1 is perfect.

    Raises EvalError as ``mse``, and on pictures smaller than the window of 11 pixels.
    """
    x, y = both_as_clips(predicted, true)
    if min(x.shape[-2:]) < WINDOW:
        raise EvalError(
            f"SSIM needs pictures of at least {WINDOW}x{WINDOW} pixels, "
            f"not {x.shape[-2]}x{x.shape[-1]}"
        )
    block = max(1, BLOCK_VALUES // x.shape[2:].numel())
    parts = zip(*(video.flatten(0, 1).split(block) for video in (x, y)), strict=True)
    return torch.cat([ssim_of_pictures(*part) for part in parts]).view(x.shape[:2]).mean(1)


def ssim_of_pictures(x: Pictures, y: Pictures) -> Float64[Tensor, " pictures"]:
    """The mean over the channels and windows of each picture."""
    mean_x, mean_y = blurred(x), blurred(y)
    variance_x = blurred(x * x) - mean_x**2
    variance_y = blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (variance_x + variance_y + C2)
    return (luminance * structure).mean((1, 2, 3))


def reconstruction_metrics(predicted: Videos, true: Videos) -> dict[str, Float64[Tensor, " batch"]]:
    """``mse``, ``psnr`` and ``ssim`` by name."""
    return {name: metric(predicted, true) for name, metric in METRICS.items()}


METRICS = {"mse": mse, "psnr": psnr, "ssim": ssim}


def squared_errors(predicted: Videos, true: Videos) -> Clips:
    """Of every value; raises EvalError unless both fit."""
    x, y = both_as_clips(predicted, true)
    return (x - y).square()


def both_as_clips(predicted: Videos, true: Videos) -> tuple[Clips, Clips]:
    """Pictures and clips alike as clips in float64; raises EvalError unless both fit."""
    if predicted.shape != true.shape:
        raise EvalError(
            f"the predicted video has shape {tuple(predicted.shape)}, the true one "
            f"{tuple(true.shape)}: they must be equal"
        )
    for video in (predicted, true):
        # NaN is outside too
        if video.numel() and not (video.min() >= -OVERSHOOT and video.max() <= 1 + OVERSHOOT):
            raise EvalError(
                f"a video is float in [0, 1]; this one holds {float(video.min()):.3g} to "
                f"{float(video.max()):.3g}"
            )
    channels, height, width = true.shape[-3:]
    shape = (len(true), -1, channels, height, width)
    return predicted.double().reshape(shape), true.double().reshape(shape)


def blurred(
    pictures: Pictures,
) -> Float64[Tensor, "pictures channels blurred_height blurred_width"]:
    """The weighted mean in each window that lies in the picture, rows and columns in turn."""
    places = torch.arange(WINDOW, dtype=torch.float64, device=pictures.device) - WINDOW // 2
    weights = torch.exp(-0.5 * (places / SPREAD) ** 2)
    weights /= weights.sum()
    flat = pictures.flatten(0, 1)[:, None]
    flat = torch.nn.functional.conv2d(flat, weights.view(1, 1, -1, 1))
    flat = torch.nn.functional.conv2d(flat, weights.view(1, 1, 1, -1))
    return flat[:, 0].unflatten(0, pictures.shape[:2])
