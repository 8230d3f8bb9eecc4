"""The mixture, the transformer and the diffusion decoder behind one encoder, on textured shapes.

    uv run python tools/bench/three_decoders.py --out runs/three
    uv run python tools/bench/three_decoders.py --out runs/three-128 \\
        --image-size 128 --batch-size 32 --tokenizer-steps 1200 --minutes-each 10 \\
        --together --workers 4

Trains the two tokenizers, then slot_attention/shapes_textured, slate/shapes and
slot_diffusion/shapes, which share encoder, slots and batches, by apps/train.py; the numbers of
steps are those of the recipes, which take about the same time of the processor, or those that are
told, or those that take ``--minutes-each`` by a short trial of each. With ``--minutes`` all of it
ends by then: models that still train are stopped, and save what they have learned. At 128x128 the
encoder has one more layer of stride 2, and 64x64 pixels are painted.

While the models train, and at the end, the scores so far are written (``scores.txt``) and drawn:
the curves of validation (``curves.png``) and what each decoder's encoder finds in test pictures
(``found.png``). Runs that are there already are taken as they are, so the same command also draws
what a killed one left.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from three_decoders_report import events, write_report

ROOT = Path(__file__).parents[2]
REQUEUE = 75  # exit code of a run that was stopped and saved
EVERY = 30.0  # seconds between two drawings while models train
TRIAL = 45.0  # seconds of training that tell how many steps take --minutes-each
RESERVE = 40.0  # seconds of --minutes for saving and the last drawing
SAVING = 20.0  # of these, after which a run is killed
TOKENIZERS = {"dvae": "dvae/shapes", "vqvae": "vqvae/shapes"}
MODELS = {
    "mixture": ("slot_attention/shapes_textured", None),
    "transformer": ("slate/shapes", "dvae"),
    "diffusion": ("slot_diffusion/shapes", "vqvae"),
}
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
    def is_there(self) -> bool:
        """Whether it has been, as far as it came."""
        return (self.out / "checkpoints").exists()

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
    missing = [one for one in wanted if not one.is_there]
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Three decoders behind one encoder.")
    parser.add_argument("--image-size", type=int, default=64, choices=(64, 128))
    parser.add_argument("--out", type=Path, default=Path("runs", "three"))
    steps = parser.add_mutually_exclusive_group()
    steps.add_argument("--steps", type=int, nargs=3, help="of mixture, transformer, diffusion")
    steps.add_argument("--minutes-each", type=float, help="of training; trials tell the steps")
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
    if told.minutes_each and not all(one.is_there for one in models(told)):
        told.steps = steps_of_trials(told)
    if until is not None and time.time() >= until:
        raise SystemExit("the tokenizers took all of --minutes; nothing else was trained")

    def report() -> None:
        write_report(told.out, list(MODELS), told.seeds, told.image_size)

    try:
        train(models(told), together=told.together, until=until, meanwhile=report)
    finally:
        report()
        print((told.out / "scores.txt").read_text(), end="")


def steps_of_trials(told: argparse.Namespace) -> list[int]:
    """How many of each model take --minutes-each, by how fast it trains, beside the others if all
    run together."""
    folder = told.out / "trial"
    shutil.rmtree(folder, ignore_errors=True)
    trials = [one._replace(out=folder / one.out.name) for one in models(told)[: len(MODELS)]]
    for group in [trials] if told.together else [[one] for one in trials]:
        train(group, together=True, until=time.time() + TRIAL)
    steps = []
    for one in trials:
        logged = events(one.out, "train")
        if not logged:
            sys.exit(f"error: {one.recipe} logged nothing within {TRIAL:.0f} s; tell --steps")
        rate = logged[-1]["samples_per_second"] / told.batch_size
        steps.append(max(round(60 * told.minutes_each * rate), 1))
    shutil.rmtree(folder)
    print(f"{told.minutes_each:g} minutes each: {' '.join(map(str, steps))} steps", flush=True)
    return steps


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


if __name__ == "__main__":
    main()
