"""Protocols: what exactly a score means, as an object with a name that every result carries.

Nobody in this field computes quite the same metric: what a picture without objects counts, whether
labels that do not occur count, what happens where annotations overlap. A protocol fixes each such
choice by a named switch, and says what is the data's business or the model's: which masks, on which
split, at which size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import torch
from jaxtyping import Bool, Float, Float64, Int64, Integer
from torch import Tensor
from torch.nn.functional import interpolate

from slot_eval.errors import EvalError
from slot_eval.functional import CLIP_METRICS, METRICS, clip_metrics, segmentation_metrics
from slot_eval.functional.ari import Empty
from slot_eval.functional.contingency import check_dimensions, contingency
from slot_eval.functional.iou import AbsentIds, mbo_of
from slot_eval.protocols.further import FURTHER_METRICS, further_metrics
from slot_eval.protocols.marks import Marks

Labels = Integer[Tensor, "batch time height width"]
Mark = Bool[Tensor, "batch time height width"]

CLASS_METRICS = ("mbo_class",)


@dataclass(frozen=True)
class DataSet:
    """What a protocol's authors score: one split at one size.

    ``size`` is the side of the labels in pixels, None where they do not say; ``preset`` is the one
    of slot-data that prepares it as they do, None where there is none.
    """

    name: str
    split: str
    size: int | None
    preset: str | None


@dataclass(frozen=True)
class Protocol:
    """One way to score segmentations; every field but the first two is a switch, with what
    ``explain`` says of it.

    Of clips of more than one frame that are one sample each, ``score`` also gives the five for
    single frames (``frame_*``, means over the clip's frames) and the identity switches. The
    switches hold for single frames too, except ``absent_ids``: an object out of sight is no error,
    so a frame is judged by the objects that are in it.
    """

    id: Annotated[str, "the name that results carry"]
    description: Annotated[str, "whose evaluation this is"]
    reported: Annotated[tuple[str, ...], "the metrics that its authors report"]
    masks: Annotated[
        Literal["model", "encoder", "decoder"],
        "whose masks: the encoder's attention, the decoder's, or as the model's own papers",
    ]
    frames: Annotated[
        Literal["all", "after_first"],
        "which frames of a clip count; after_first leaves out the one that a model may be told of",
    ]
    sample: Annotated[
        Literal["clip", "frame"],
        "a clip is one point set, in which ids must hold still, or each frame a sample of its own",
    ]
    chunk_frames: Annotated[
        int | None,
        "clips are cut into samples of so many frames, a shorter rest is left out; none: whole",
    ]
    empty_ari: Annotated[Empty, "FG-ARI of a sample without foreground"]
    empty_iou: Annotated[
        Empty, "FG-mIoU and mBO of a sample without foreground; nan is undefined, left out of means"
    ]
    absent_ids: Annotated[
        AbsentIds,
        "whether labels between 0 and the sample's largest that do not occur count as IoU 0 (zero)",
    ]
    epsilon: Annotated[float, "added to the union of every IoU"]
    mbo_background: Annotated[bool, "whether mBO averages over the background too"]
    overlap: Annotated[
        Literal["new_segment", "ignore", "as_labelled"],
        "pixels of several objects: background in the truth and one segment of their own in the "
        "prediction, left out, or what the data labels them",
    ]
    void: Annotated[
        Literal["new_segment", "ignore", "background"],
        "pixels that nobody decided on: as overlap's new_segment, left out, or background",
    ]
    crowd: Annotated[
        Literal["drop", "object", "void"],
        "regions of many things (COCO; the data does it): background, one object each, or void",
    ]
    upsampling: Annotated[
        Literal["bilinear"],
        "how soft masks reach the labels' size, before each pixel takes its largest mask",
    ]
    averaging: Annotated[
        Literal["samples"], "the mean over samples, each once, whatever the batches"
    ]
    data: Annotated[tuple[DataSet, ...], "what its authors score: data set, split, size, preset"]

    def __post_init__(self) -> None:
        """Raise EvalError on a switch that is set to another word than those that it knows."""
        for name, kind in get_type_hints(Protocol).items():
            value = getattr(self, name)
            if get_origin(kind) is Literal and value not in get_args(kind):
                words = " or ".join(map(repr, get_args(kind)))
                raise EvalError(f"protocol {self.id!r}: {name} is {value!r}, expected {words}")

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names that ``score`` returns for pictures, and clips of one frame."""
        return METRICS

    @property
    def clip_metrics(self) -> tuple[str, ...]:
        """The names that ``score`` returns for longer clips; they begin with ``metrics``."""
        return METRICS if self.sample == "frame" else CLIP_METRICS

    @property
    def optional_metrics(self) -> tuple[str, ...]:
        """``mbo_class``, of samples that have labels of classes too, and what is asked for."""
        return (*CLASS_METRICS, *FURTHER_METRICS)

    def row_ids(self, ids: Sequence[str], num_frames: int) -> list[str]:
        """One row per sample, which may be a frame or a chunk of a clip: ``ID/FRAME``."""
        first = self._first(num_frames)
        if self.sample == "frame" and num_frames > 1:
            return [f"{name}/{frame}" for name in ids for frame in range(first, num_frames)]
        if self.chunk_frames and num_frames - first != self.chunk_frames:
            return [f"{name}/{start}" for name in ids for start in self._starts(num_frames)]
        return list(ids)

    def score(
        self,
        predicted: Labels,
        true: Labels,
        overlap: Mark | None = None,
        void: Mark | None = None,
        class_labels: Labels | None = None,
        also: Sequence[str] = (),
    ) -> dict[str, Float64[Tensor, " rows"]]:
        """Score clips (pictures have one frame): metric name -> one value per row, on the CPU.

        ``overlap`` marks pixels where several annotated objects lie on top of one another, ``void``
        those that nobody decided on. ``class_labels`` adds ``mbo_class``, the mBO against classes
        (mBO^c), ``also`` those of ``FURTHER_METRICS``. Raises EvalError on labels that differ in
        shape, are negative or not integers.
        """
        check_dimensions(predicted, "[batch time height width]", "clip")
        marks = Marks.under(self.overlap, self.void, overlap, void)
        inputs = {
            "predicted": marks.predicted(predicted),
            "true": marks.true(true),
            "classes": None if class_labels is None else marks.true(class_labels),
            "ignore": marks.ignore,
        }
        is_clip = predicted.shape[1] > 1 and self.sample == "clip"
        parts = [self._score(part, is_clip, also) for part in self._samples(inputs)]
        if not parts:  # shorter than a chunk
            return {name: torch.empty(0, dtype=torch.float64) for name in self.clip_metrics}
        return {
            name: torch.stack([part[name] for part in parts], dim=1).flatten() for name in parts[0]
        }

    def labels(
        self, masks: Float[Tensor, "batch time slots height0 width0"], height: int, width: int
    ) -> Int64[Tensor, "batch time {height} {width}"]:
        """Hard labels of soft masks at the size of the truth: upsample, then take the largest.

        In this order, as the borders differ: an argmax at the features' size, enlarged, is blocky.
        """
        batch, time, _, height0, width0 = masks.shape
        if (height0, width0) != (height, width):
            # half precision would make ties between slots
            flat = masks.flatten(0, 1).float()
            flat = interpolate(flat, (height, width), mode=self.upsampling, align_corners=False)
            masks = flat.unflatten(0, (batch, time))
        return masks.argmax(2)

    def settings(self) -> dict[str, Any]:
        """Every field by name, for result files."""
        return asdict(self)

    def _first(self, num_frames: int) -> int:
        """The first frame that counts; a picture has no other."""
        return 1 if self.frames == "after_first" and num_frames > 1 else 0

    def _starts(self, num_frames: int) -> range:
        """The first frame of each sample that a clip is cut into."""
        first = self._first(num_frames)
        if self.chunk_frames is None:
            return range(first, first + 1)
        return range(first, num_frames - self.chunk_frames + 1, self.chunk_frames)

    def _samples(self, inputs: Mapping[str, Tensor | None]) -> list[dict[str, Tensor | None]]:
        """The labels and marks cut into this protocol's samples; one entry per chunk."""
        time = next(one.shape[1] for one in inputs.values() if one is not None)
        first = self._first(time)
        if self.sample == "frame":
            return [
                {
                    name: None if one is None else one[:, first:].flatten(0, 1)[:, None]
                    for name, one in inputs.items()
                }
            ]
        length = self.chunk_frames or max(1, time - first)
        return [
            {
                name: None if one is None else one[:, start : start + length]
                for name, one in inputs.items()
            }
            for start in self._starts(time)
        ]

    def _score(
        self, part: Mapping[str, Any], is_clip: bool, also: Sequence[str]
    ) -> dict[str, Tensor]:
        """Every metric of one entry of ``_samples``."""
        switches = {
            "absent_ids": self.absent_ids,
            "epsilon": self.epsilon,
        }
        scores = (clip_metrics if is_clip else segmentation_metrics)(
            part["predicted"],
            part["true"],
            ignore=part["ignore"],
            empty_ari=self.empty_ari,
            empty_iou=self.empty_iou,
            mbo_background=self.mbo_background,
            **switches,
        )
        if part["classes"] is not None:
            table = contingency(part["predicted"], part["classes"], ignore=part["ignore"])
            scores["mbo_class"] = mbo_of(
                table, background=self.mbo_background, empty=self.empty_iou, **switches
            )
        if also:
            labels = part["predicted"], part["true"]
            scores |= further_metrics(also, *labels, part["ignore"], self.empty_iou)
        return scores


def switches(protocol: Protocol) -> list[tuple[str, str, Any]]:
    """Every field of a protocol: name, what it says, and the value."""
    kinds = get_type_hints(Protocol, include_extras=True)
    return [(name, kinds[name].__metadata__[0], value) for name, value in vars(protocol).items()]


def differences(one: Protocol, other: Protocol) -> list[tuple[str, str, Any, Any]]:
    """The switches in which two protocols differ: name, what it says, and both values."""
    return [
        (name, says, mine, theirs)
        for (name, says, mine), (_, _, theirs) in zip(switches(one), switches(other), strict=True)
        if mine != theirs
    ]
