"""The jobs that ask a model: to segment, to reconstruct, and to predict videos."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from slot_eval import plugins, protocols
from slot_eval.errors import EvalError
from slot_eval.jobs import Block, Job, OpenJob, Sample, on_device
from slot_eval.perceptual import lpips_of
from slot_eval.predicted_videos import can_paint, score_prediction
from slot_eval.streaming import Results
from slot_eval.truth import without_labels

MARKS = ("overlap", "void", "class_labels")


@dataclass(frozen=True)
class SegmentJob(Job):
    """Segment every sample and score it under a protocol.

    ``source``: whose masks, "encoder" or "decoder"; None for the protocol's choice. ``also``:
    further metrics. ``keep``: hard labels [T H W] of each sample.
    """

    protocol: str = "slotdiffusion"
    source: str | None = None
    also: tuple[str, ...] = ()
    keep: bool = False

    needs: ClassVar[tuple[str, ...]] = ("segment",)

    @property
    def masks(self) -> str | None:
        """The source that the model is asked for; None is its own choice."""
        chosen = protocols.get(self.protocol).masks
        return self.source or (None if chosen == "model" else chosen)

    def batch(self, opened: OpenJob, samples: list[Sample]) -> Block:
        """Segment and score a batch."""
        for sample in samples:
            if "labels" not in sample:
                raise EvalError(without_labels(sample["id"], self.data))
        true = torch.stack([sample["labels"] for sample in samples])
        results = Results(protocols.get(self.protocol))
        told = opened.conditioning(samples)
        with model_errors("segment", samples):
            masks = opened.model.segment(opened.video(samples), source=self.masks, **told)
        predicted = results.protocol.labels(masks, *true.shape[-2:]).cpu()
        marks: dict[str, Any] = {
            name: torch.stack([sample[name] for sample in samples])
            for name in MARKS
            if name in samples[0]
        }
        ids = [sample["id"] for sample in samples]
        results.update(ids, predicted, true, **marks, also=self.also)
        return Block(ids, results.rows, list(predicted) if self.keep else [])


@dataclass(frozen=True)
class ReconstructJob(Job):
    """Reconstruct every sample and compare. ``lpips``: also LPIPS, with this network."""

    lpips: str | None = None
    lpips_weights: str | None = None
    keep: bool = False

    needs: ClassVar[tuple[str, ...]] = ("reconstruct",)

    def batch(self, opened: OpenJob, samples: list[Sample]) -> Block:
        """Reconstruct and compare a batch."""
        true, told = opened.video(samples), opened.conditioning(samples)
        with model_errors("reconstruct", samples):
            predicted = opened.model.reconstruct(true, **told)
        predicted, true = predicted.cpu().float(), true.cpu()
        ids = [sample["id"] for sample in samples]
        results = Results(protocols.RECONSTRUCTION)
        perceptual = None if self.lpips is None else lpips_of(self.lpips, self.lpips_weights)
        results.update(ids, predicted, true, lpips=perceptual)
        return Block(ids, results.rows, list(predicted) if self.keep else [])


@dataclass(frozen=True)
class PredictJob(Job):
    """Give a model the slots of the first ``burn_in`` frames, let it roll out those of the others,
    paint them where it can, and compare with what the frames hold.

    ``burn_in``: None for as many as the model says. ``encoder``: the saved model that makes slots
    of frames; the model itself where it can. ``lpips``: also LPIPS, with this network.
    """

    burn_in: int | None = None
    encoder: str | None = None
    lpips: str | None = None
    lpips_weights: str | None = None
    keep: bool = False

    needs: ClassVar[tuple[str, ...]] = ("rollout",)

    def open(self) -> OpenJob:
        """Load both models and the data."""
        opened = super().open()
        if self.burn_in is None and getattr(opened.model, "burn_in", None) is None:
            raise EvalError(
                f"the model {self.model} does not say how many frames it must see; give --burn-in"
            )
        encoder = opened.model
        if self.encoder is not None:
            encoder = on_device(plugins.load_model(self.encoder), self.device)
        if not callable(getattr(encoder, "encode", None)):
            raise EvalError(
                f"the model {self.encoder or self.model} makes no slots of frames; give the one "
                "that does as --encoder"
            )
        if self.lpips is not None and not can_paint(opened.model):
            raise EvalError(
                f"the model {self.model} has no decoder that would paint what --lpips compares"
            )
        made, taken = (getattr(one, "num_slots", None) for one in (encoder, opened.model))
        if None not in (made, taken) and made != taken:
            raise EvalError(
                f"the model {self.encoder} makes {made} slots, {self.model} predicts {taken}"
            )
        return opened if self.encoder is None else replace(opened, encoder=encoder)

    def batch(self, opened: OpenJob, samples: list[Sample]) -> Block:
        """Predict and compare a batch."""
        video, burn_in = opened.video(samples), opened.burn_in
        num_steps = video.shape[1] - burn_in
        if num_steps < 1:
            raise EvalError(
                f"sample {samples[0]['id']!r} of {self.data} has {video.shape[1]} frames; "
                f"after the {burn_in} that the model sees there is none to predict"
            )
        results = Results(protocols.PREDICTION)
        ids = [sample["id"] for sample in samples]
        told = opened.conditioning(samples)
        lpips = None if self.lpips is None else lpips_of(self.lpips, self.lpips_weights)
        with model_errors("predict", samples):
            slots = (opened.encoder or opened.model).encode(video, **told).slots
            predicted = opened.model.rollout(slots[:, :burn_in], num_steps)
            true = {"slots": slots[:, burn_in:], "video": video[:, burn_in:]}
            if all("labels" in sample for sample in samples):
                true["labels"] = torch.stack([sample["labels"][burn_in:] for sample in samples])
            painted = score_prediction(results, opened.model, ids, predicted, true, lpips=lpips)
        kept = list(painted) if self.keep and painted is not None else []
        return Block(ids, results.rows, kept)


@contextmanager
def model_errors(doing: str, samples: list[Sample]) -> Iterator[None]:
    """What a model says about its input, as a ValueError of its own class, is an EvalError."""
    try:
        yield
    except ValueError as error:
        if type(error).__module__ == "builtins" or isinstance(error, EvalError):
            raise
        first = samples[0]["id"]
        raise EvalError(f"the model cannot {doing} {first!r}: {error}") from error
