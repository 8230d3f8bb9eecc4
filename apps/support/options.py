"""A training run's options: a recipe's YAML with ``--set a.b=c`` laid over it, all typed.

A recipe is named ``<model>/<dataset>`` and lives in ``apps/recipes``; it states only where it
differs from its preset and from the defaults below. An unknown key is an error wherever it
stands, and the resolved options are written into the run's folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from slot_core import ConfigError, StrictConfig
from slot_core.config import merge
from slot_core.errors import printable
from slot_decoders.models import ModelConfig, presets
from support.schedules import Schedule
from support.yaml_values import DEEPEST, LONGEST, parse_yaml

RECIPES = Path(__file__).parents[1] / "recipes"
DEFAULT_RECIPE = "slot_attention/shapes"
# What changes nothing that a run learns, beyond rounding: what suits a machine, and what is told
# and kept of the run.
FREE_PARTS = ("log", "checkpoint")
FREE = {
    "train": (
        "accumulation",
        "num_threads",
        "timeout",
        "compare_ranks_every",
        "cache",
        "gradient_checkpointing",
    ),
    "validation": ("num_pictures", "batch_size"),
    "data": ("num_workers",),
}
SHOWN_CHANGES = 3
LONGEST_NAME = 100  # longer ones resemble no recipe, and to compare them takes long


class SplitOptions(StrictConfig):
    """Which split of the dataset serves which purpose."""

    train: str = "train"
    validation: str = "validation"
    test: str | None = Field(
        default="test", description="scored once, at the end; None: not at all"
    )


class DataOptions(StrictConfig):
    """The dataset. Keys beside these are the dataset's own options, which it checks itself."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = "shapes"
    splits: SplitOptions = SplitOptions()
    evaluation: dict[str, Any] = Field(
        default={}, description="where validation and test differ, such as whole videos"
    )
    augmentations: tuple[str | dict[str, dict[str, Any]], ...] = ()
    num_workers: NonNegativeInt = 0

    @model_validator(mode="after")
    def _splits_have_keys_of_their_own(self) -> DataOptions:
        if "split" in {**(self.model_extra or {}), **self.evaluation}:
            raise ValueError("split is no option here; set splits.train, .validation or .test")
        return self

    def dataset_options(self, *, training: bool) -> dict[str, Any]:
        """What goes to ``support.datasets.load_dataset`` besides name and split."""
        options = dict(self.model_extra or {})
        return options if training else options | self.evaluation


class StartOptions(StrictConfig):
    """Weights that a new run begins with; the checkpoints of a run hold all of its own."""

    weights: str | None = None  # folder, or repository on the Hub, of a model of ours
    fresh: tuple[str, ...] = ()  # parts that begin anew, such as encoder.predictor
    tokenizer: str | None = None  # folder, run, or repository on the Hub, of a first stage
    decoder: str | None = None  # of predicted slots: that of the model that found them
    backbone: str | None = None  # folder, or repository on the Hub, of a pre-trained ViT


class OptimizerOptions(StrictConfig):
    """Adam and its learning rate; quirks of the reference are named arguments."""

    learning_rate: PositiveFloat = 4e-4
    decoder_learning_rate: PositiveFloat | None = None  # None: the same
    weight_decay: NonNegativeFloat = 0.0  # decoupled (AdamW) where above 0
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Schedule = "cosine"
    warmup_fraction: float = Field(default=0.025, ge=0, le=1)
    final_fraction: float = Field(default=0.01, ge=0, le=1)  # of the peak, at the last step
    clip_norm: PositiveFloat | None = None

    @model_validator(mode="after")
    def _falls_to_something(self) -> OptimizerOptions:
        if self.schedule == "exponential" and not self.final_fraction:
            raise ValueError("an exponential schedule falls to a final_fraction above 0")
        return self


class TrainOptions(StrictConfig):
    """Length, precision and reproducibility. ``batch_size`` counts all processes together."""

    num_steps: PositiveInt = 10_000
    batch_size: PositiveInt = 64
    accumulation: PositiveInt = 1  # micro-batches a step
    seed: NonNegativeInt = 0
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    compile: bool = False
    gradient_checkpointing: bool = False  # less memory for a further forward pass in each step
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    num_threads: NonNegativeInt = 0  # of one process on the CPU; 0: the cores, shared fairly
    frozen: tuple[str, ...] = ()  # parts that keep the weights they begin with, such as encoder
    cache: str | None = None  # folder for what frozen parts make of the data; none unless told
    skips_in_a_row: NonNegativeInt = 3  # that are not finite; one more stops the run
    timeout: PositiveInt = 1_800  # seconds that processes wait for one another before they give up
    compare_ranks_every: NonNegativeInt = 0  # steps between two comparisons of weights; 0: never


class ValidationOptions(StrictConfig):
    """Scoring on held-out data. Without labels there are the loss and the pictures."""

    every: PositiveInt = 1_000
    num_samples: PositiveInt = 256
    batch_size: PositiveInt = 32
    protocol: str = "slotdiffusion"
    num_pictures: PositiveInt = 8


class CheckpointOptions(StrictConfig):
    """When to save, and how many checkpoints stay."""

    every: PositiveInt = 1_000
    keep: PositiveInt = 2


class LogOptions(StrictConfig):
    """Metrics always go to ``metrics.jsonl``; ``trackers`` are any that Accelerate knows."""

    every: PositiveInt = 50
    trackers: tuple[str, ...] = ()
    curves: bool = True  # whether curves.png is drawn anew at each validation and at the end


class RunOptions(StrictConfig):
    """Everything that decides a run. Two runs with equal options see equal samples."""

    recipe: str
    model: Any  # a ModelConfig; of which model, its preset says
    data: DataOptions = DataOptions()
    start: StartOptions = StartOptions()
    train: TrainOptions = TrainOptions()
    optimizer: OptimizerOptions = OptimizerOptions()
    validation: ValidationOptions = ValidationOptions()
    checkpoint: CheckpointOptions = CheckpointOptions()
    log: LogOptions = LogOptions()


def with_newer_options(stated: Mapping[str, Any]) -> dict[str, Any]:
    """``stated``, all options of an earlier run, and the defaults of those that there were not yet.

    A new option's default is what was done before there was one.
    """
    defaults = RunOptions.model_construct().model_dump(mode="json")
    filled = dict(stated)
    if isinstance(stated.get("model"), Mapping):
        filled["model"] = _with_newer_options_of_models(stated["model"])
    for name, part in defaults.items():
        own = stated.get(name, {})
        filled[name] = (
            {**part, **own} if isinstance(own, Mapping) and isinstance(part, dict) else own
        )
    return filled


def what_is_learned(stated: Mapping[str, Any]) -> dict[str, Any]:
    """``stated``, all options of a run, without those that change nothing that it learns."""
    return {
        part: {key: own[key] for key in own if key not in FREE.get(part, ())}
        if isinstance(own, Mapping)
        else own
        for part, own in stated.items()
        if part not in FREE_PARTS
    }


def _with_newer_options_of_models(stated: Mapping[str, Any]) -> Mapping[str, Any]:
    """Likewise of a model's configuration, whichever it is of; unchanged if it is of none."""
    for kind in get_args(ModelConfig):
        try:
            return kind.parse(stated, source="").model_dump(mode="json")
        except ConfigError:
            continue
    return stated


def load_options(recipe: str, changes: Sequence[str] = ()) -> RunOptions:
    """The options of a recipe, ``changes`` (each ``a.b=c``) laid over them.

    Where a change names another dataset, the recipe's whole part ``data`` is left out: the splits
    and options of one dataset mean nothing to another.

    Raises:
        ConfigError: naming the file, key or change that cannot be used.
    """
    path = recipe_path(recipe)
    stated = read_yaml(path)
    parsed = [parse_change(change) for change in changes]
    named = [name for name in map(_dataset_in, parsed) if name is not None]
    if named and named[-1] != _dataset_in(stated):
        stated.pop("data", None)
    for change in parsed:
        stated = merge(stated, change)
    source = " ".join([str(path), *map(_source, changes)])
    if len(changes) > SHOWN_CHANGES:  # the key that is wrong is named, wherever it stands
        source = f"{path} with {len(changes)} changes by --set"
    model = stated.pop("model", None) or {}
    if not isinstance(model, Mapping):
        raise ConfigError(f"{source}: key 'model' is {printable(repr(model))}, expected a mapping")
    if "preset" not in model:
        raise ConfigError(f"{path}: key 'model.preset' is missing")
    preset, model = model["preset"], {key: model[key] for key in model if key != "preset"}
    if not isinstance(preset, str):
        raise ConfigError(
            f"{source}: key 'model.preset' is {printable(repr(preset))}, expected a name"
        )
    config = presets.configure(preset, model, source=f"{source}: model")
    return RunOptions.parse({"recipe": recipe, "model": config, **stated}, source=source)


def _dataset_in(stated: Mapping[str, Any]) -> Any:
    data = stated.get("data")
    return data.get("name") if isinstance(data, Mapping) else None


def recipe_path(recipe: str) -> Path:
    """The file of a recipe, given by name or as a path to a YAML file."""
    own = recipe.endswith((".yaml", ".yml"))
    path = Path(recipe) if own else RECIPES / f"{recipe}.yaml"
    if own and not path.is_file():
        what = "is a folder, expected a file" if path.is_dir() else "there is no such file"
        raise ConfigError(f"{printable(recipe, 200)}: {what}")
    if not path.is_file():
        names = sorted(str(p.relative_to(RECIPES).with_suffix("")) for p in RECIPES.rglob("*.yaml"))
        close = get_close_matches(recipe[:LONGEST_NAME], names, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(names)}"
        raise ConfigError(f"there is no recipe '{printable(recipe)}'; {hint}")
    return path


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST + 1)  # and no more of what is no recipe
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({printable(str(error))})") from None
    content = parse_yaml(text, str(path))
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping with keys such as 'model' and 'data'")
    return content


def parse_change(change: str) -> dict[str, Any]:
    """``a.b=c`` as a nested mapping; the value is read as YAML."""
    key, equals, value = change.partition("=")
    source, parts = _source(change), key.split(".")
    if not equals or not all(parts) or printable(key, len(key)) != key:
        raise ConfigError(f"{source}: expected the form key.key=value")
    if len(parts) > DEEPEST:
        raise ConfigError(f"{source}: has {len(parts)} keys, expected at most {DEEPEST}")
    nested = read_value(value, source)
    for part in reversed(parts):
        nested = {part: nested}
    return nested


def read_value(value: str, source: str) -> Any:
    """A YAML scalar, list or mapping; unlike YAML 1.1, ``1e-3`` is a number."""
    parsed = parse_yaml(value, source)
    if isinstance(parsed, str):
        try:
            number = float(parsed)
        except ValueError:
            return parsed
        return number if math.isfinite(number) else parsed
    return parsed


def flatten(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options as dotted keys with values that any tracker takes."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = (
                value if isinstance(value, int | float | str | bool) else str(value)
            )
    return flat


def _source(change: str) -> str:
    """What errors call a change."""
    return f"--set {printable(change, 200)}"
