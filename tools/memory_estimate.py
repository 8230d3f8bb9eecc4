"""How much GPU memory a training step takes, found out without a GPU and without data.

The model, its optimizer and the steps are those of ``apps/train.py``, on a device without numbers
(fake_gpu.py): the batch has the shapes that the options of the dataset state, the weights are none.
What is counted is what ``torch.cuda.max_memory_allocated`` of one process is. A step is estimated
when the optimizer has its state and the results of the step before are still there.

Validation, compiled steps (``train.compile``) and divided weights (FSDP2) are not estimated.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from fake_gpu import DEVICE, FakeGPU, Generator, rounded
from graph_walk import backward
from slot_core import ConfigError
from slot_data import StepBatches, catalog
from slot_data.options import all_options, allowed_options, check_options
from slot_data.presets import preset_of
from slot_decoders.models import RelationReadoutModel, SlotDynamicsModel, build_model
from slot_decoders.tokenizers import perceptual

sys.path.insert(0, str(Path(__file__).parents[1] / "apps"))
from support.beginnings import freeze
from support.inputs import inputs_of, training_frames
from support.optimizers import WeightAverage, build_optimizer
from support.options import RunOptions

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Memory:
    """What one process holds; bytes where nothing else is said.

    Attributes:
        parameters: how many there are.
        weights: parameters, those that do not train included, and buffers.
        gradients: of the parameters that train; of several processes also their copy, in which
            they are summed up.
        optimizer: what it remembers.
        average: the second model of ``train.ema_decay``.
        kept: by the forward pass, for the backward pass.
        peak: the most that is held at once. Not the sum: gradients come as what is kept goes.
    """

    parameters: int
    weights: int
    gradients: int
    optimizer: int
    average: int
    kept: int
    peak: int


def estimate(options: RunOptions, processes: int = 1) -> Memory:
    """The memory of one of ``processes``, which share ``train.batch_size``.

    Raises:
        ConfigError: if a part cannot be frozen, the step is to be compiled, or nothing states the
            shape of a sample.
        DataError: if there is no such dataset, preset or option of it, or the batch cannot be
            shared.
    """
    if options.train.compile:
        raise ConfigError(
            "train.compile: what a compiled step takes cannot be told without a GPU; leave it out"
        )
    with torch.device("meta"):
        model = build_model(options.model)
    told = {"weights": options.start.weights or "not read"}
    freeze(model, options.train.frozen, options.start.model_copy(update=told))
    decay = options.train.ema_decay
    average = WeightAverage(model, decay) if decay else None
    samples = samples_at_once(options, processes)
    shapes = sample_shapes(model, options)
    judge = functools.cache(untrained_judge)
    with FakeGPU() as gpu, patch.object(perceptual, "_network", judge):
        training = Training(model, average, options, gpu, several=processes > 1)
        training.earlier_step(batch_of(shapes, samples))
        gpu.forget_peak()
        # Micro-batches after the second take as much as it does.
        parts = min(options.train.accumulation, 2)
        training.step([batch_of(shapes, samples) for _ in range(parts)])
        return training.memory()


def samples_at_once(options: RunOptions, processes: int) -> int:
    """Of a micro-batch of one process.

    Raises:
        DataError: if the batch cannot be shared evenly.
    """
    return StepBatches(
        num_samples=1,
        batch_size=options.train.batch_size,
        seed=0,
        rank=0,
        world_size=processes,
        start_step=0,
        num_steps=1,
        accumulation=options.train.accumulation,
    ).samples_at_once


def frames_of(options: RunOptions) -> int:
    """How many a sample has; raises as ``dataset_shape``."""
    return dataset_shape(options)[0]


def dataset_shape(options: RunOptions) -> tuple[int, int | None]:
    """The number of frames of a sample, and their height and width if that is stated.

    Raises:
        ConfigError: if the number of frames is left open, or a size is wrong.
        DataError: if there is no such dataset, preset or option.
    """
    stated = dataset_options(options)
    frames, size = stated.get("num_frames", 1), stated.get("image_size")
    if frames is None:
        raise ConfigError(
            "data.num_frames is not set: samples are whole videos, and only their files tell how "
            "long they are"
        )
    return positive("num_frames", frames), None if size is None else positive("image_size", size)


def sample_shapes(model: Any, options: RunOptions) -> dict[str, tuple[int, ...]]:
    """The shapes of what a model is trained on, as far as they can matter.

    Pictures whose size no option states are taken to have the model's.

    Raises:
        ConfigError: as ``dataset_shape``, or if the model cannot learn from so few frames.
        DataError: as ``dataset_shape``.
    """
    frames, size = dataset_shape(options)
    shapes: dict[str, tuple[int, ...]] = {"outcome": ()}
    if isinstance(model, SlotDynamicsModel | RelationReadoutModel):
        shapes["slots"] = (frames, model.config.num_slots, model.config.slot_dim)
    preprocessing = getattr(model.config, "preprocessing", None)
    if preprocessing is not None:
        height, width = (size, size) if size else preprocessing.image_size
        shapes |= {"video": (frames, 3, height, width), "labels": (frames, height, width)}
    training_frames(model, {name: torch.empty(shape) for name, shape in shapes.items()})
    return shapes


def positive(name: str, value: Any) -> int:
    """An option of a dataset.

    Raises:
        ConfigError: if it is none.
    """
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"data.{name} is {value!r}, expected a number of at least 1")
    return value


def dataset_options(options: RunOptions) -> dict[str, Any]:
    """All options of the dataset for training, without its files.

    Raises:
        DataError: if there is no such dataset, preset or option. Another package's may be any.
    """
    name, stated = options.data.name, options.data.dataset_options(training=True)
    if ":" in name:
        return stated
    loader, preset = catalog.card(name).loader, stated.pop("preset", None)
    if preset is not None:
        stated = {**preset_of(name, preset).options_of(options.data.splits.train), **stated}
    required = {key for key, one in allowed_options(loader).items() if one.default is one.empty}
    check_options(name, loader, {**dict.fromkeys(required, Path()), **stated})
    return all_options(loader, stated)


def batch_of(shapes: Mapping[str, tuple[int, ...]], samples: int) -> dict[str, Any]:
    """What ``slot_data.collate`` makes of that many samples."""
    types = {"labels": torch.int64, "outcome": torch.bool}
    batch: dict[str, Any] = {
        name: torch.zeros(samples, *shape, dtype=types.get(name)) for name, shape in shapes.items()
    }
    return {**batch, "id": [str(number) for number in range(samples)]}


class Training:
    """Model, optimizer and steps of a run, on a device without numbers.

    Args:
        model: on "meta".
        average: the same, if there is one.
        options: of the run.
        gpu: that is entered.
        several: whether it is one of several processes.
    """

    def __init__(
        self,
        model: Any,
        average: WeightAverage | None,
        options: RunOptions,
        gpu: FakeGPU,
        *,
        several: bool,
    ) -> None:
        self.average, self.options, self.gpu, self.kept = average, options, gpu, 0
        self.model = model.to_empty(device=DEVICE).train()
        self.weights = gpu.held
        if options.train.gradient_checkpointing:
            model.enable_gradient_checkpointing()
        self.optimizer = build_optimizer(model, options.optimizer)
        for group in self.optimizer.param_groups:
            group["foreach"] = True  # as Adam decides on a GPU by itself, but of no fake tensors
        if self.average is not None:
            self.average.model.to_empty(device=DEVICE)
        self.average_size = gpu.held - self.weights
        self.learned = [one for one in model.parameters() if one.requires_grad]
        # DistributedDataParallel sums gradients up in buckets, which stay.
        self.buckets = [torch.empty_like(one) for one in self.learned] if several else []
        self.gradients = sum(size_of(one) for one in [*self.learned, *self.buckets])
        self.last: list[Any] = []  # what the loop still holds of the micro-batch before

    def earlier_step(self, batch: Mapping[str, Any]) -> None:
        """What a step leaves: its results, and the optimizer's state."""
        with torch.no_grad():
            self.forward(batch)
        for one in self.learned:
            one.grad = torch.empty_like(one)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def step(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """As the loop of ``apps/train.py`` does it."""
        for batch in parts:
            backward(self.forward(batch))
        limit = self.options.optimizer.clip_norm or math.inf
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model)
        self.optimizer.zero_grad()

    def forward(self, batch: Mapping[str, Any]) -> list[Tensor]:
        """The loss, whose graph nobody else holds."""
        inputs = inputs_of(self.model, batch, DEVICE)
        precision = self.options.train.mixed_precision
        own = [Generator()] * len(batch["id"])
        before = self.gpu.held
        with torch.autocast(DEVICE.type, DTYPES[precision], enabled=precision != "no"):
            losses = self.model(*inputs, generator=own, progress=0.0)
        self.kept = self.gpu.held - before
        self.last = [inputs, *(one.detach() for one in tensors_in(losses))]
        return [losses.total]

    def memory(self) -> Memory:
        """Of the steps so far."""
        states = self.optimizer.state.values()
        return Memory(
            parameters=sum(one.numel() for one in self.model.parameters()),
            weights=self.weights,
            gradients=self.gradients,
            optimizer=sum(size_of(one) for state in states for one in state.values()),
            average=self.average_size,
            kept=self.kept,
            peak=self.gpu.peak,
        )


def untrained_judge(device: torch.device) -> torch.nn.Module:
    """The network of the perceptual loss, without the weights that it would download."""
    from torchmetrics.functional.image.lpips import _LPIPS

    with torch.device(device):
        network = _LPIPS(pretrained=False, pnet_rand=True, net="vgg")
    network.scaling_layer.to(device)  # whose numbers are made on the CPU
    return network.requires_grad_(False).eval()


def size_of(tensor: Tensor) -> int:
    """On the device; what lies elsewhere takes nothing of it."""
    return rounded(tensor.untyped_storage().nbytes()) if tensor.device == DEVICE else 0


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All that a result of a model holds."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_in(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors_in(getattr(value, field.name))
