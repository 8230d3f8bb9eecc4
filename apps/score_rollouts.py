"""How well a model of dynamics foresees videos, frame by frame, against two that learn nothing.

    python apps/score_rollouts.py CHECKPOINT SLOTS --out DIR --frames 10

SLOTS is what ``apps/extract_slots.py`` wrote. Of each video the burn-in is seen and the frames
after it are predicted. Two predictors learn nothing: ``still`` lets the last frame stay, ``linear``
lets every slot go on as it did last. Where the model has a decoder and the videos can be read,
decoded frames are scored as well; ``found`` is no prediction but the slots of the future frames
themselves, decoded, whose error in pixels no prediction can avoid. Written are scores.json
(protocol ``prediction``: each future frame by itself, and their mean) and, of the first videos,
prediction.png and prediction.gif.
"""

from __future__ import annotations

import support.starting  # noqa: F401  (before the seconds that torch takes to import)

# isort: split

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from tqdm import tqdm

from slot_core import Generators, InputError
from slot_data import collate
from slot_decoders.models import SlotDynamicsModel, load_model
from slot_eval import Results
from slot_eval.commands.common import weights_of
from slot_eval.perceptual import lpips_of
from slot_eval.predicted_videos import at_size, score_prediction
from slot_eval.protocols import PREDICTION
from slot_eval.protocols.prediction import by_future_frame
from slot_eval.report import as_json
from support.checkpoints import replace_text
from support.command_line import run
from support.datasets import load_dataset
from support.findings import check_free
from support.slot_inputs import check_slots, precision
from support.slot_scoring import animation, divided, noise_of, strip, true_frames

Predictor = Callable[[Tensor, int], Tensor]
NUM_SHOWN = 4


def main(
    checkpoint: Annotated[str, typer.Argument(help="folder of a model or a run, or a Hub id")],
    slots: Annotated[Path, typer.Argument(help="folder that extract_slots.py wrote")],
    out: Annotated[Path, typer.Option(help="folder to write to; new or empty")],
    frames: Annotated[int, typer.Option(min=1, help="to predict")] = 10,
    split: Annotated[str, typer.Option(help="of the slots")] = "test",
    pixels: Annotated[
        bool, typer.Option("--pixels/--no-pixels", help="score decoded frames, too")
    ] = True,
    lpips: Annotated[
        str | None, typer.Option(help="also LPIPS of decoded frames: alex, vgg or squeeze")
    ] = None,
    lpips_weights: Annotated[
        Path | None, typer.Option(help="that network's weights, as torchvision publishes them")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="videos at once")] = 16,
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit on the Hub")] = None,
) -> None:
    """Score predictions of the future against the last frame and constant velocity."""
    check_free(out)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_model(checkpoint, revision=revision, device=device)
    if not isinstance(model, SlotDynamicsModel):
        raise InputError(f"{checkpoint}: holds a {type(model).__name__}, which predicts no slots")
    burn_in, stride = model.config.dynamics.burn_in, model.config.stride
    if model.decoder is None:
        pixels = False
    if lpips is not None and not pixels:
        raise InputError(
            "--lpips is of decoded frames: expected a model with a decoder, and pixels"
        )
    weights = weights_of(lpips, lpips_weights)
    clip = {"num_frames": burn_in + frames, "stride": stride}
    dataset = load_dataset("slots", split=split, root=slots, pixels=pixels, **clip)
    check_slots(model.config, dataset)
    predictors: dict[str, Predictor] = {
        "model": lambda past, steps: rolled_out(model, past.to(device), steps),
        "still": still,
        "linear": linear,
    }
    distance = None if lpips is None else lpips_of(lpips, weights)
    painter = Painter(model)
    results = {name: Results(PREDICTION) for name in (*predictors, "found")}
    for start in tqdm(range(0, len(dataset), batch_size), unit="batch", disable=None):
        numbers = range(start, min(start + batch_size, len(dataset)))
        batch: Any = collate([dataset[number] for number in numbers])
        past, future = divided(model, batch["slots"])
        predictions = {name: predict(past, frames) for name, predict in predictors.items()}
        predictions["found"] = future
        for name, predicted in predictions.items():
            true = true_frames(batch, frames)
            own = noise_of(batch["id"], device)  # the same for all predictors
            score_prediction(
                results[name], painter, batch["id"], predicted, true, lpips=distance, generator=own
            )
        if start == 0:
            out.mkdir(parents=True, exist_ok=True)
            show(painter, batch, predictions, out)
    scores = {name: scored(result) for name, result in results.items()}
    told = {
        "protocol": PREDICTION.id,
        "protocol_settings": PREDICTION.settings(),
        "model": checkpoint,
        "slots": str(dataset.folder),
        "num_videos": len(dataset),
        "burn_in": burn_in,
        "stride": stride,
        "predictors": scores,
    }
    replace_text(out / "scores.json", as_json(told))
    print(table(scores))
    print(f"{len(dataset)} videos, {frames} frames predicted; everything is in {out}")


@dataclass(frozen=True)
class Painter:
    """Paints slots in single precision, whatever the model's own."""

    model: SlotDynamicsModel

    @property
    def decoder(self) -> Any:
        """None where there is nothing to paint with."""
        return self.model.decoder

    def decode(
        self, slots: Tensor, generator: Generators | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """As of the model; on its device."""
        return self.model.decode(slots.to(self.device, precision(self.model)), generator)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device


def rolled_out(model: SlotDynamicsModel, past: Tensor, num_steps: int) -> Tensor:
    """What the model expects, in single precision whatever its own."""
    return model.rollout(past.to(precision(model)), num_steps, stride=1).float().cpu()


def still(past: Tensor, num_steps: int) -> Tensor:
    """The last frame stays."""
    return past[:, -1:].expand(-1, num_steps, -1, -1)


def linear(past: Tensor, num_steps: int) -> Tensor:
    """Every slot goes on with the velocity it had last."""
    if past.shape[1] < 2:
        raise InputError("a velocity needs a burn-in of at least 2 frames")
    steps = torch.arange(1, num_steps + 1, dtype=past.dtype)[None, :, None, None]
    return past[:, -1:] + steps * (past[:, -1:] - past[:, -2:-1])


def scored(results: Results[Any]) -> dict[str, Any]:
    """Means over everything, and over the samples of each future frame."""
    overall = {name: entry["mean"] for name, entry in results.summary().items()}
    return {"mean": overall, "frames": by_future_frame(results.rows)}


def table(scores: dict[str, dict[str, Any]]) -> str:
    """Each metric of each predictor: the mean, and the first and the last frame."""
    last = max(scores["model"]["frames"])
    lines = [f"{'metric':12}{'predictor':12}{'mean':>10}{'+1':>10}{f'+{last}':>10}"]
    for metric in scores["model"]["mean"]:
        for name, entry in scores.items():
            values = (entry["mean"][metric], *(entry["frames"][n][metric] for n in (1, last)))
            lines.append(f"{metric:12}{name:12}" + "".join(f"{value:10.4f}" for value in values))
    return "\n".join(lines)


def show(painter: Painter, batch: Any, predictions: dict[str, Tensor], out: Path) -> None:
    """Draw truth and predictions of the first videos where there are pixels."""
    if painter.decoder is None or "video" not in batch:
        return
    steps = predictions["model"].shape[1]
    made = {}
    for name, predicted in predictions.items():
        own = noise_of(batch["id"][:NUM_SHOWN], painter.device)
        made[name] = painter.decode(predicted[:NUM_SHOWN], own)[0].float().cpu()
    rows = {"truth": at_size(batch["video"][:NUM_SHOWN, -steps:], made["model"]), **made}
    strip(rows).save(out / "prediction.png")
    animation(rows, out / "prediction.gif")


if __name__ == "__main__":
    run(main)
