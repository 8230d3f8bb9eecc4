"""The protocol of predicted videos: every future frame is judged by itself and has a row of its
own, so that it can be seen how the error grows with time.

The mean over rows is that over samples and their frames. Frames are told apart by ``+n`` behind
their sample's id, where the first frame after the last one seen is 1.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jaxtyping import Float, Float64, Integer
from torch import Tensor

from slot_eval.functional.ari import Empty, fg_ari
from slot_eval.functional.iou import miou
from slot_eval.functional.reconstruction import METRICS
from slot_eval.streaming.metric import mean_of_defined

Slots = Float[Tensor, "batch time slots dim"]
Video = Float[Tensor, "batch time channels height width"]
Labels = Integer[Tensor, "batch time height width"]
Distance = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class PredictionProtocol:
    """One way to score predicted videos."""

    id: str
    description: str
    empty_ari: Empty
    """FG-ARI of a frame without foreground; "nan" leaves it out of means."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """What every row has."""
        return ("slot_error",)

    @property
    def clip_metrics(self) -> tuple[str, ...]:
        """The same: a row is of one frame."""
        return self.metrics

    @property
    def optional_metrics(self) -> tuple[str, ...]:
        """What is scored where the slots are decoded, asked for, and where there are labels."""
        return (*METRICS, "lpips", "fg_ari", "miou")

    def row_ids(self, ids: Sequence[str], num_frames: int) -> list[str]:
        """One row for each future frame."""
        return [f"{name}+{step:03d}" for name in ids for step in range(1, num_frames + 1)]

    def score(
        self,
        predicted: Slots,
        true: Slots,
        *,
        videos: tuple[Video, Video] | None = None,
        labels: tuple[Labels, Labels] | None = None,
        lpips: Distance | None = None,
    ) -> dict[str, Float64[Tensor, " rows"]]:
        """Metric name -> one value for each frame of each sample.

        ``predicted`` and ``true`` are slots; ``slot_error`` is the mean of their squared
        differences. ``videos`` and ``labels`` are each predicted and true, in [0, 1] and hard.
        ``lpips`` also compares the videos, with the network that ``perceptual.lpips_of`` gave.
        """
        errors = (predicted.double() - true.double()).square().mean((2, 3))
        scores = {"slot_error": errors.flatten()}
        if videos is not None:
            seen, real = (video.flatten(0, 1) for video in videos)
            scores |= {name: metric(seen, real) for name, metric in METRICS.items()}
            if lpips is not None:
                scores["lpips"] = lpips(seen, real)
        if labels is not None:
            found, real = (each.flatten(0, 1) for each in labels)
            scores["fg_ari"] = fg_ari(found, real, empty=self.empty_ari)
            scores["miou"] = miou(found, real)
        return scores

    def settings(self) -> dict[str, Any]:
        """Every field by name, for result files."""
        return asdict(self)


PREDICTION = PredictionProtocol(
    id="prediction",
    description=(
        "each future frame by itself: mean squared difference of slots; pixels in [0, 1] at the "
        "model's size; FG-ARI where there is foreground and Hungarian mIoU with background, of the "
        "labels present in the frame"
    ),
    empty_ari="nan",
)


def by_future_frame(rows: Iterable[Mapping[str, Any]]) -> dict[int, dict[str, float]]:
    """Future frame -> mean of each metric over the samples where it is defined."""
    frames: dict[int, dict[str, list[float]]] = {}
    for row in rows:
        step = int(row["id"].rpartition("+")[2])
        for name, value in row.items():
            if name != "id":
                frames.setdefault(step, {}).setdefault(name, []).append(value)
    return {
        step: {name: mean_of_defined(values)[0] for name, values in frames[step].items()}
        for step in sorted(frames)
    }
