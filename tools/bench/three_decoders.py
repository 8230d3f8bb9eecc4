"""The mixture, the transformer and the diffusion decoder behind one encoder, on textured shapes.

    uv run python tools/bench/three_decoders.py --out runs/three
    uv run python tools/bench/three_decoders.py --out runs/three-128 \\
        --image-size 128 --batch-size 32 --tokenizer-steps 1200 --steps 10000 8500 5200 \\
        --together --workers 4 --minutes 9.5

Trains the two tokenizers, then slot_attention/shapes_textured, slate/shapes and
slot_diffusion/shapes, which share encoder, slots and batches, by apps/train.py; the numbers of
steps are those of the recipes, which take about the same time of the processor, or those that are
told. With ``--minutes`` all of it ends by then: models that still train are stopped, and save what
they have learned. At 128x128 the encoder has one more layer of stride 2, and 64x64 pixels are
painted.

While the models train, and at the end, the scores so far are written (``scores.txt``) and drawn:
the curves of validation (``curves.png``) and what each decoder's encoder finds in test pictures
(``found.png``). Runs that are there already are taken as they are, so the same command also draws
what a killed one left.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib import pyplot

from slot_core import CheckpointError
from slot_data import Shapes, collate
from slot_decoders.models import load_model

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "apps"))

from support.colours import matching_colours  # noqa: E402  (the path to it is set above)
from support.pictures import colour, enlarged, overlay, pixels, sheet  # noqa: E402

PICTURES = 6  # that are drawn
REQUEUE = 75  # exit code of a run that was stopped and saved
EVERY = 30.0  # seconds between two drawings while models train
RESERVE = 40.0  # seconds of --minutes for saving and the last drawing
SAVING = 20.0  # of these, after which a run is killed
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


class Wanted(NamedTuple):
    """A training run: its recipe, its folder, and what differs from the recipe."""

    recipe: str
    out: Path
    changes: dict[str, Any]

    def start(self) -> subprocess.Popen[bytes]:
        """Its process, whose words go to a file beside the folder."""
        train = ROOT / "apps" / "train.py"
        command = [sys.executable, str(train), self.recipe, "--out", str(self.out)]
        for key, value in self.changes.items():
            command += ["--set", f"{key}={json.dumps(value)}"]
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def has_saved(self, code: int) -> bool:
        """Whether what it learned lies on the disk, by the code with which it ended.

        One that is stopped while it is tested, after its training, ends by the signal itself; one
        that did not save in time is killed, and may have an older checkpoint.
        """
        saved = (self.out / "checkpoints" / "last").exists()
        return code in (0, REQUEUE) or (code in (-signal.SIGTERM, -signal.SIGKILL) and saved)

    @property
    def log(self) -> Path:
        """What it said."""
        return self.out.with_suffix(".log")


def train(
    wanted: Sequence[Wanted],
    *,
    together: bool,
    until: float | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Those of the runs that are not there yet, until they end or are told to stop and save.

    Raises:
        SystemExit: if one fails; the others come to their end before.
    """
    missing = [one for one in wanted if not (one.out / "checkpoints").exists()]
    groups = [missing] if together else [[one] for one in missing]
    failed = []
    for group in groups:
        running = [(one, one.start()) for one in group]
        try:
            _wait([process for _, process in running], until, meanwhile)
        finally:
            _end([process for _, process in running])
        failed += [one for one, process in running if not one.has_saved(process.returncode)]
    for one in failed:
        print(f"{one.out} failed:\n{one.log.read_text()[-2000:]}", file=sys.stderr)
    if failed:
        raise SystemExit(1)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Have all save, side by side; one that takes too long is left with its last checkpoint."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    end = time.time() + SAVING
    for process in processes:
        try:
            process.wait(timeout=max(end - time.time(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(
    processes: Sequence[subprocess.Popen[bytes]],
    until: float | None,
    meanwhile: Callable[[], None] | None,
) -> None:
    drawn = time.time()
    while any(process.poll() is None for process in processes):
        if until is not None and time.time() >= until:
            return
        if meanwhile is not None and time.time() >= drawn + EVERY:
            meanwhile()
            drawn = time.time()
        time.sleep(0.2)


def events(out: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind of a run's log, as far as there are any."""
    log = out / "metrics.jsonl"
    text = log.read_text() if log.exists() else ""
    lines = map(json.loads, text.split("\n")[:-1])  # the last is empty, or being written
    return [line for line in lines if line["kind"] == kind]


def main() -> None:
    parser = argparse.ArgumentParser(description="Three decoders behind one encoder.")
    parser.add_argument("--image-size", type=int, default=64, choices=(64, 128))
    parser.add_argument("--out", type=Path, default=Path("runs", "three"))
    parser.add_argument("--steps", type=int, nargs=3, help="of mixture, transformer, diffusion")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, help="after which all has ended")
    parser.add_argument("--together", action="store_true", help="run what can run side by side")
    parser.add_argument("--workers", type=int, default=0, help="of each run, to draw its data")
    parser.add_argument("--tokenizer-steps", type=int, help="instead of the recipes'")
    parser.add_argument("--tokenizers-only", action="store_true")
    told = parser.parse_args()
    until = time.time() + 60 * told.minutes - RESERVE if told.minutes else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and stop the runs, above

    train(tokenizers(told), together=told.together, until=until)
    if told.tokenizers_only:
        return
    if until is not None and time.time() >= until:
        raise SystemExit("the tokenizers took all of --minutes; nothing else was trained")

    def report() -> None:
        table(told.out, told.seeds)
        draw_curves(told.out, told.seeds)
        draw_found(told.out, told.seeds[0], told.image_size)

    try:
        train(models(told), together=told.together, until=until, meanwhile=report)
    finally:
        report()
        print((told.out / "scores.txt").read_text(), end="")


def tokenizers(told: argparse.Namespace) -> list[Wanted]:
    """The first stages; both models' decoders take one over."""
    large = told.image_size == 128
    changes: dict[str, Any] = {"data.num_workers": told.workers}
    if large:
        changes |= {key: value for key, value in LARGE.items() if "encoder" not in key}
    if told.tokenizer_steps:
        changes["train.num_steps"] = told.tokenizer_steps
    return [Wanted(recipe, told.out / name, changes) for name, recipe in TOKENIZERS.items()]


def models(told: argparse.Namespace) -> list[Wanted]:
    """The second stages."""
    wanted = []
    for seed in told.seeds:
        for number, (name, (recipe, tokenizer)) in enumerate(MODELS.items()):
            changes: dict[str, Any] = {"data.num_workers": told.workers, "train.seed": seed}
            changes["train.batch_size"] = told.batch_size
            if told.image_size == 128:
                changes |= LARGE | (LARGE_MIXTURE if name == "mixture" else {})
            if told.steps:
                changes["train.num_steps"] = told.steps[number]
            if tokenizer:
                changes["start.tokenizer"] = str(told.out / tokenizer)
            if tokenizer == "vqvae":
                logged = events(told.out / tokenizer, "train")
                if not logged:
                    sys.exit(f"error: {told.out / tokenizer} was stopped too early; delete it")
                changes["model.decoder.latent_scale"] = round(logged[-1]["latent_spread"], 3)
            wanted.append(Wanted(recipe, told.out / f"{name}-{seed}", changes))
    return wanted


def table(folder: Path, seeds: list[int]) -> None:
    """Mean and standard error over the seeds, of the test where a run came to its end."""
    lines = [f"{'decoder':14}{'steps':>7}" + "".join(f"{score:>17}" for score in SCORES)]
    for name in MODELS:
        runs = [folder / f"{name}-{seed}" for seed in seeds]
        last = [events(run, "test") or events(run, "validation")[-1:] for run in runs]
        scored = [found[-1] for found in last if found]
        if not scored:
            continue
        cells = []
        for score in SCORES:
            values = [line[score] for line in scored]
            error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
            cells.append(f"{statistics.mean(values):.3f}" + (f" ({error:.3f})" if error else ""))
        lines.append(f"{name:14}{scored[0]['step']:7}" + "".join(f"{cell:>17}" for cell in cells))
    (folder / "scores.txt").write_text("\n".join(lines) + "\n")


def draw_curves(folder: Path, seeds: list[int]) -> None:
    """Curves of validation over the steps' share of the training."""
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2))
    for name in MODELS:
        for number, seed in enumerate(seeds):
            lines = events(folder / f"{name}-{seed}", "validation")
            if not lines:
                continue
            for axis, score in zip(axes, ("fg_ari", "miou"), strict=True):
                axis.plot(
                    [line["step"] / lines[-1]["step"] for line in lines],
                    [line[score] for line in lines],
                    color=f"C{list(MODELS).index(name)}",
                    marker=".",  # so that a single validation is seen, too
                    label=name if number == 0 else None,
                )
    for axis, title in zip(axes, ("FG-ARI", "mIoU"), strict=True):
        axis.set(title=title, xlabel="share of the training", ylim=(0, None))
        if axis.lines:
            axis.legend()
    figure.tight_layout()
    figure.savefig(folder / "curves.png", dpi=100)
    pyplot.close(figure)


@torch.no_grad()
def draw_found(folder: Path, seed: int, image_size: int) -> None:
    """Test pictures, their objects, and the segments of each decoder's encoder over them."""
    dataset = Shapes("test", num_samples=PICTURES, level="textured", image_size=image_size)
    batch: Any = collate([dataset[index] for index in range(PICTURES)])
    pictures, truth = pixels(batch["video"])[:, 0], batch["labels"][:, 0].numpy()
    columns = {"picture": list(pictures), "truth": [colour(labels) for labels in truth]}
    for name in MODELS:
        try:
            model = load_model(folder / f"{name}-{seed}")
        except (CheckpointError, OSError):  # none yet, or an older one is being replaced
            continue
        found = model.segment(batch["video"], source="encoder").argmax(2).numpy()
        columns[name] = []
        for picture, labels, own in zip(pictures, truth, found, strict=True):
            colours = matching_colours(own, labels[None], model.num_slots)[own[0]]
            columns[name].append(overlay(enlarged(picture), enlarged(colours)))
    sheet(columns).save(folder / "found.png")


if __name__ == "__main__":
    main()
