"""The streaming forms of the reconstruction metrics, of pictures [B C H W] or clips [B T C H W]."""

from functools import partial

from slot_eval.functional.reconstruction import Reduction, mse, psnr, ssim
from slot_eval.streaming.metric import StreamingMetric


class MSE(StreamingMetric):
    """Streaming ``functional.mse``."""

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__(partial(mse, reduction=reduction))


class PSNR(StreamingMetric):
    """Streaming ``functional.psnr``."""

    def __init__(self) -> None:
        super().__init__(psnr)


class SSIM(StreamingMetric):
    """Streaming ``functional.ssim``."""

    def __init__(self) -> None:
        super().__init__(ssim)
