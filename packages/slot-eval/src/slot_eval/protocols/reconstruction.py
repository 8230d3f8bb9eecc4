"""The protocol of reconstructions: MSE, PSNR and SSIM of every frame, the mean over a clip's frames
and then over samples, each once."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jaxtyping import Float, Float64
from torch import Tensor

from slot_eval.functional.reconstruction import METRICS, Reduction, mse, psnr, ssim

Video = Float[Tensor, "batch time channels height width"]
Perceptual = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ReconstructionProtocol:
    """One way to score reconstructed videos; every field but the first two is a switch."""

    id: str
    description: str
    mse_reduction: Reduction
    """Over the values of a frame."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names that ``score`` returns."""
        return tuple(METRICS)

    @property
    def clip_metrics(self) -> tuple[str, ...]:
        """The same: a clip's values are means over its frames."""
        return self.metrics

    @property
    def optional_metrics(self) -> tuple[str, ...]:
        """What is scored where it is asked for."""
        return ("lpips",)

    def row_ids(self, ids: Sequence[str], num_frames: int) -> list[str]:
        """One row per sample."""
        return list(ids)

    def score(
        self, predicted: Video, true: Video, *, lpips: Perceptual | None = None
    ) -> dict[str, Float64[Tensor, " batch"]]:
        """Score videos in [0, 1]: metric name -> one value per sample; LPIPS with ``lpips``, a
        function of ``slot_eval.perceptual``.

        Raises EvalError on videos that differ in shape, are not in [0, 1] or smaller than 11x11.
        """
        scores = {
            "mse": mse(predicted, true, reduction=self.mse_reduction),
            "psnr": psnr(predicted, true),
            "ssim": ssim(predicted, true),
        }
        return scores if lpips is None else scores | {"lpips": lpips(predicted, true)}

    def settings(self) -> dict[str, Any]:
        """Every field by name, for result files."""
        return asdict(self)


RECONSTRUCTION = ReconstructionProtocol(
    id="reconstruction",
    description=(
        "pixels in [0, 1], each frame by itself at the sample's size: mean squared error, PSNR of "
        "each frame (at most 100 dB), SSIM with Gaussian windows of 11 pixels"
    ),
    mse_reduction="mean",
)
