"""The mixture, the transformer and the diffusion decoder behind one encoder, on textured shapes.

    uv run --with matplotlib python tools/bench/three_decoders.py --out runs/three
    uv run --with matplotlib python tools/bench/three_decoders.py --out runs/three-128 \\
        --image-size 128 --batch-size 32 --steps 3500 3000 1800 --together --workers 4

Trains the two tokenizers, then slot_attention/shapes_textured, slate/shapes and
slot_diffusion/shapes, which share encoder, slots and batches, by apps/train.py; the numbers of
steps are those of the recipes, which take about the same time of the processor, or those that are
told. ``--seconds`` stops each model that long after its start, with what it has learned.
At 128x128 the encoder has one more layer of stride 2, and 64x64 pixels are painted.
Runs that are there already are taken as they are. Prints the scores, and draws the curves of
validation (``curves.png``) and what each decoder's encoder finds in test pictures (``found.png``).
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from slot_data import Shapes, collate
from slot_decoders.models import load_model

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "apps"))

from support.colours import matching_colours  # noqa: E402  (the path to it is set above)
from support.pictures import colour, enlarged, overlay, pixels, sheet  # noqa: E402

PICTURES = 6  # that are drawn
REQUEUE = 75  # exit code of a run that was stopped and saved
TOKENIZERS = {"dvae": "dvae/shapes", "vqvae": "vqvae/shapes"}
MODELS = {
    "mixture": ("slot_attention/shapes_textured", None),
    "transformer": ("slate/shapes", "dvae"),
    "diffusion": ("slot_diffusion/shapes", "vqvae"),
}
SCORES = ("fg_ari", "ari", "miou", "mbo")
LARGE = {  # what differs at 128x128
    "data.image_size": 128,
    "model.preprocessing.image_size": [64, 64],
    "model.encoder.preprocessing.image_size": [128, 128],
    "model.encoder.backbone.channels": [64, 64, 64, 64],
    "model.encoder.backbone.strides": [2, 2, 2],
}
LARGE_MIXTURE = {"model.decoder.output_stride": 4}


def start(recipe: str, out: Path, changes: dict[str, Any]) -> subprocess.Popen[bytes]:
    """A training run whose words go to a file beside it."""
    command = [sys.executable, str(ROOT / "apps" / "train.py"), recipe, "--out", str(out)]
    for key, value in changes.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[bytes], out: Path, until: float | None) -> None:
    """Wait for a run; at ``until`` it is told to stop, and saves."""
    try:
        process.wait(None if until is None else max(until - time.time(), 0))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        process.wait()
    if process.returncode not in (0, REQUEUE):
        raise SystemExit(f"{out} failed:\n{out.with_suffix('.log').read_text()[-2000:]}")


def events(out: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind of a run's log."""
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


def main() -> None:
    parser = argparse.ArgumentParser(description="Three decoders behind one encoder.")
    parser.add_argument("--image-size", type=int, default=64, choices=(64, 128))
    parser.add_argument("--out", type=Path, default=Path("runs", "three"))
    parser.add_argument("--steps", type=int, nargs=3, help="of mixture, transformer, diffusion")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, help="after which a model is stopped")
    parser.add_argument("--together", action="store_true", help="run what can run side by side")
    parser.add_argument("--workers", type=int, default=0, help="of each run, to draw its data")
    parser.add_argument("--tokenizer-steps", type=int, help="instead of the recipes'")
    parser.add_argument("--tokenizers-only", action="store_true")
    told = parser.parse_args()
    large = told.image_size == 128
    usual = {"data.num_workers": told.workers}

    waiting = []
    for name, recipe in TOKENIZERS.items():
        out = told.out / name
        if (out / "checkpoints").exists():
            continue
        changes = {k: v for k, v in LARGE.items() if large and "encoder" not in k}
        if told.tokenizer_steps:
            changes["train.num_steps"] = told.tokenizer_steps
        waiting.append((start(recipe, out, {**usual, **changes}), out, None))
        if not told.together:
            finish(*waiting.pop())
    for run in waiting:
        finish(*run)
    waiting.clear()
    if told.tokenizers_only:
        return

    for seed in told.seeds:
        for number, (name, (recipe, tokenizer)) in enumerate(MODELS.items()):
            out = told.out / f"{name}-{seed}"
            if (out / "checkpoints").exists():
                continue
            changes: dict[str, Any] = {**usual, "train.seed": seed}
            changes["train.batch_size"] = told.batch_size
            if large:
                changes |= LARGE | (LARGE_MIXTURE if name == "mixture" else {})
            if told.steps:
                changes["train.num_steps"] = told.steps[number]
            if tokenizer:
                changes["start.tokenizer"] = str(told.out / tokenizer)
            if tokenizer == "vqvae":
                spread = events(told.out / tokenizer, "train")[-1]["latent_spread"]
                changes["model.decoder.latent_scale"] = round(spread, 3)
            until = time.time() + told.seconds if told.seconds else None
            waiting.append((start(recipe, out, changes), out, until))
            if not told.together:
                finish(*waiting.pop())
    for run in waiting:
        finish(*run)
    table(told.out, told.seeds)
    draw_curves(told.out, told.seeds)
    draw_found(told.out, told.seeds[0], told.image_size)


def table(folder: Path, seeds: list[int]) -> None:
    """Mean and standard error over the seeds, of the test where a run came to its end."""
    print(f"{'decoder':14}{'steps':>7}" + "".join(f"{score:>17}" for score in SCORES))
    for name in MODELS:
        runs = [folder / f"{name}-{seed}" for seed in seeds]
        last = [(events(run, "test") or events(run, "validation"))[-1] for run in runs]
        cells = []
        for score in SCORES:
            values = [line[score] for line in last]
            error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
            cells.append(f"{statistics.mean(values):.3f}" + (f" ({error:.3f})" if error else ""))
        steps = events(runs[0], "train")[-1]["step"]
        print(f"{name:14}{steps:7}" + "".join(f"{cell:>17}" for cell in cells))


def draw_curves(folder: Path, seeds: list[int]) -> None:
    """Curves of validation over the steps' share of the training."""
    pyplot = importlib.import_module("matplotlib.pyplot")  # not among the project's own needs

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2))
    for name in MODELS:
        for number, seed in enumerate(seeds):
            lines = events(folder / f"{name}-{seed}", "validation")
            end = events(folder / f"{name}-{seed}", "train")[-1]["step"]
            for axis, score in zip(axes, ("fg_ari", "miou"), strict=True):
                axis.plot(
                    [line["step"] / end for line in lines],
                    [line[score] for line in lines],
                    color=f"C{list(MODELS).index(name)}",
                    label=name if number == 0 else None,
                )
    for axis, title in zip(axes, ("FG-ARI", "mIoU"), strict=True):
        axis.set(title=title, xlabel="share of the training", ylim=(0, None))
        axis.legend()
    figure.tight_layout()
    figure.savefig(folder / "curves.png", dpi=100)


@torch.no_grad()
def draw_found(folder: Path, seed: int, image_size: int) -> None:
    """Test pictures, their objects, and the segments of each decoder's encoder over them."""
    dataset = Shapes("test", num_samples=PICTURES, level="textured", image_size=image_size)
    batch: Any = collate([dataset[index] for index in range(PICTURES)])
    pictures, truth = pixels(batch["video"])[:, 0], batch["labels"][:, 0].numpy()
    columns = {"picture": list(pictures), "truth": [colour(labels) for labels in truth]}
    for name in MODELS:
        model = load_model(folder / f"{name}-{seed}")
        found = model.segment(batch["video"], source="encoder").argmax(2).numpy()
        columns[name] = []
        for picture, labels, own in zip(pictures, truth, found, strict=True):
            colours = matching_colours(own, labels[None], model.num_slots)[own[0]]
            columns[name].append(overlay(enlarged(picture), enlarged(colours)))
    sheet(columns).save(folder / "found.png")


if __name__ == "__main__":
    main()
