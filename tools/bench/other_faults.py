"""One function for each fault that is no kill: it makes a run meet it, lets it go on, sees that it
ended with the same bits, and says what that cost; for faults.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from forked_runs import Attempt, Clock, Ended, at_steps, end, finish, fork, newest
from pieces import Writer, contents, draw_pictures, extraction, preparation
from runs import assert_equal_runs, events, last_step, poisoned

import train
from slot_core import HubModel
from slot_decoders.models import SlotAutoencoder

AT = 22  # the step of the fault, two after a checkpoint
APART = "SLOTS_FAULTS_APART"  # set where file systems may be mounted


@dataclass(frozen=True)
class Cost:
    """lost: what is computed again. said: by the program, on one line. seconds: from the next start
    to the next step or piece, or from the fault to it where nothing had to be started again."""

    lost: str
    said: str
    seconds: float | None


@dataclass
class Place:
    """A folder for the runs of one fault after another, and the runs that are left alone."""

    folder: Path
    _wholes: dict[str, Path] = field(default_factory=dict)

    def whole(self, world: int = 1, **changes: Any) -> Path:
        """A run that meets no fault."""
        name = json.dumps([world, changes])
        if name not in self._wholes:
            out = self.folder / f"whole-{len(self._wholes)}"
            succeed(Attempt(out, world, changes))
            self._wholes[name] = out
        return self._wholes[name]

    @cached_property
    def pictures(self) -> dict[str, Any]:
        """Options of a dataset of files."""
        root = self.folder / "pictures"
        for split, count in (("train", 24), ("validation", 6), ("test", 6)):
            draw_pictures(root / split, split, count, size=32)
        return {"data.name": "folder", "data.num_samples": None, "data.root": str(root)}


def succeed(attempt: Attempt) -> Ended:
    """An attempt that must get through."""
    ended = finish(attempt)
    if any(ended.codes):
        raise SystemExit(f"{attempt.out}: ended with {ended.codes}\n{ended.said[-2000:]}")
    return ended


def sentence(ended: Ended, pattern: str, codes: set[int]) -> str:
    """The part of what was said that fits ``pattern``; a failure unless every exit code is one of
    ``codes``."""
    found = re.search(pattern, ended.said)
    if found is None or not set(ended.codes) <= codes:
        raise SystemExit(f"ended with {ended.codes}, expected {codes}, saying\n{ended.said}")
    return found[0]


def steps_again(out: Path) -> str:
    """What the next attempt does once more."""
    return f"{last_step(out) - newest(out)} steps"


def goes_on(place: Place, out: Path, said: str, world: int = 1, **changes: Any) -> Cost:
    """The run goes on and ends as the one that was left alone."""
    lost = steps_again(out)
    ended = succeed(Attempt(out, world, changes, logs=place.folder))
    assert_equal_runs(place.whole(world, **changes), out)
    return Cost(lost, said, ended.seconds)


# ---------------------------------------------------------------------------- signals
def signal_to_the_process(place: Place) -> Cost:
    out = place.folder / "sigterm"
    fault = Attempt(
        out, patch=lambda _: at_steps({AT}, lambda: os.kill(os.getpid(), signal.SIGTERM))
    )
    said = sentence(finish(fault), "stopped by a signal after step .*", {75})
    return goes_on(place, out, said)


def signal_to_one_of_two(place: Place) -> Cost:
    out = place.folder / "sigusr1"
    said = sentence(finish(Attempt(out, 2, patch=signal_second)), "stopped by a signal .*", {75})
    return goes_on(place, out, said, 2)


def other_number_of_processes(place: Place) -> Cost:
    """The same samples; sums of another order round differently, so not the same bits."""
    out = place.folder / "fewer"
    sentence(finish(Attempt(out, 2, patch=signal_second)), "stopped by a signal", {75})
    lost = steps_again(out)
    ended = succeed(Attempt(out, 1))
    seen = [[e["sample_ids"] for e in events(r, "train")] for r in (place.whole(), out)]
    assert seen[0] == seen[1]
    return Cost(lost, sentence(ended, "resumed .*step-.*", {0}), ended.seconds)


def signal_second(rank: int) -> None:
    """SIGUSR1 to the second process."""
    if rank == 1:
        at_steps({AT}, lambda: os.kill(os.getpid(), signal.SIGUSR1))


# ---------------------------------------------------------------------------- what is computed
def loss_not_finite(place: Place) -> Cost:
    out, clock = place.folder / "nan", Clock()

    def poison(rank: int) -> None:
        SlotAutoencoder.forward = poisoned(SlotAutoencoder.forward, {AT})
        at_steps(set(), lambda: None, clock)

    ended = finish(Attempt(out, patch=poison))
    said = sentence(ended, "step .*: the loss is not finite.*", {0})
    assert [event["step"] for event in events(out, "skipped")] == [AT]
    return Cost("that step", said, clock.between(AT, AT + 1))


def weights_that_differ(place: Place) -> Cost:
    out, changes = place.folder / "differ", {"train.compare_ranks_every": 5}

    def disturb(rank: int) -> None:
        update = train.WeightAverage.update

        def disturbed(self: train.WeightAverage, model: HubModel) -> None:
            if self.num_updates == AT - 1 and rank == 1:
                next(model.parameters()).data.add_(1e-3)
            update(self, model)

        train.WeightAverage.update = disturbed

    ended = finish(Attempt(out, 2, changes, disturb))
    said = sentence(ended, "error: (.*)", {2, -signal.SIGKILL})
    return goes_on(place, out, said, 2, **changes)


def slow_process(place: Place) -> Cost:
    out, clock = place.folder / "slow", Clock()
    changes = {"log.every": 5}

    def slow(rank: int) -> None:
        delay(rank, {AT + 4, AT + 5, AT + 6}, 1.0)
        if rank == 0:
            at_steps(set(), lambda: None, clock)

    ended = succeed(Attempt(out, 2, changes, slow))
    pattern = r"warning: the others wait for process 1: of \S+ s it spent [3-9]\..*"
    said = sentence(ended, pattern, {0})
    assert_equal_runs(place.whole(2, **changes), out)
    return Cost("nothing", said, clock.between(AT + 6, AT + 7))


def process_that_hangs(place: Place) -> Cost:
    out, changes = place.folder / "hangs", {"train.timeout": 20}
    ended = finish(Attempt(out, 2, changes, lambda rank: delay(rank, {AT}, 3600.0)))
    said = sentence(ended, "RuntimeError: .*[Tt]imed out.*", {70, -signal.SIGKILL})
    return goes_on(place, out, said, 2, **changes)


def delay(rank: int, steps: set[int], seconds: float) -> None:
    """Let the second process sleep before it computes these steps."""
    if rank != 1:
        return
    honest, count = train.inputs_of, iter(range(1, 100))

    def slowly(*arguments: Any) -> Any:
        if next(count) in steps:
            time.sleep(seconds)
        return honest(*arguments)

    train.inputs_of = slowly


# ---------------------------------------------------------------------------- files
def flipped_bit(place: Place) -> Cost:
    out = place.folder / "flipped"
    finish(Attempt(out, patch=lambda _: at_steps({AT}, lambda: end([os.getpid()]))))
    damaged = max((out / "checkpoints").glob("step-*")) / "state" / "state.pt"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    done = last_step(out)
    ended = succeed(Attempt(out))
    said = sentence(ended, f"{damaged}: is damaged.*", {0})
    resumed = int(sentence(ended, "(?<=resumed ).*step-[0-9]+", {0})[-8:])
    assert_equal_runs(place.whole(), out)
    return Cost(f"{done - resumed} steps", said, ended.seconds)


def deleted_picture(place: Place) -> Cost:
    out, changes = place.folder / "deleted", place.pictures
    whole = place.whole(**changes)
    picture = Path(changes["data.root"]) / "train" / "images" / "0005.png"
    content = picture.read_bytes()
    ended = finish(Attempt(out, 1, changes, lambda _: at_steps({AT}, picture.unlink)))
    said = sentence(ended, f"error: {picture} cannot be read as a picture.*", {2})
    picture.write_bytes(content)
    assert whole == place.whole(**changes)
    return goes_on(place, out, said, **changes)


def second_run(place: Place) -> Cost:
    """The first waits at a step until the second was turned away."""
    out, flag = place.folder / "twice", place.folder / "go"

    def wait() -> None:
        while not flag.exists():
            time.sleep(0.01)

    def turned_away() -> None:
        ended = finish(Attempt(out))
        sys.stdout.write(sentence(ended, "error: .*is being written by another run.*", {2}))

    log = place.folder / "second.log"
    first = Attempt(out, patch=lambda _: at_steps({AT}, wait))
    (process,) = first.begin()
    while last_step(out) < AT - 1:
        time.sleep(0.01)
    _, status = os.waitpid(fork(turned_away, log), 0)
    flag.touch()
    _, of_first = os.waitpid(process, 0)
    if status or of_first:
        raise SystemExit(f"{out}: {log.read_text()}\n{first.said()}")
    assert_equal_runs(place.whole(), out)
    return Cost("nothing", log.read_text(), None)


# ---------------------------------------------------------------------------- disks
def disk_full_while_saving(place: Place) -> Cost:
    with disk(place, "full", "1200k") as (folder, more):
        out, changes = folder / "run-full", {"checkpoint.keep": 100}
        ended = finish(Attempt(out, 1, changes, logs=place.folder))
        said = sentence(ended, "error: .*", {2})
        if "space" not in said or not newest(out):
            raise SystemExit(f"the disk was not full after a checkpoint, but: {ended.said}")
        more()
        return goes_on(place, out, said, **changes)


def read_only_output(place: Place) -> Cost:
    with disk(place, "readonly", "64m") as (folder, _):
        mount("-o", "remount,ro", str(folder))
        out = folder / "run-readonly"
        ended = finish(Attempt(out, logs=place.folder))
        said = sentence(ended, "error: .*nothing can be written.*", {2})
        mount("-o", "remount,rw", str(folder))
        return goes_on(place, out, said)


def disk_full_while_preparing(place: Place) -> Cost:
    return disk_full_while_writing(place, preparation(place.folder / "to-prepare"), "120k")


def disk_full_while_extracting(place: Place) -> Cost:
    return disk_full_while_writing(place, extraction(place.folder / "to-extract"), "100k")


def disk_full_while_writing(place: Place, writer: Writer, size: str) -> Cost:
    """Finished pieces stay; with more room the same command ends with the same bytes."""
    name = writer.name.split()[-1]
    whole, log = place.folder / f"{name}-whole", place.folder / f"{name}.log"
    wait_for(fork(lambda: writer.write(whole), log), log, 0)
    with disk(place, name, size) as (folder, more):
        out, log = folder / "out", place.folder / f"{name}-full.log"
        told = wait_for(fork(lambda: until_full(writer, out), log), log, 2)
        kept = writer.finished(out)
        if not kept:
            raise SystemExit(f"{out}: the disk was full before the first piece: {told}")
        more()
        seconds, begun = None, time.monotonic()
        process = fork(lambda: writer.write(out), log)
        ended, status = 0, 0
        while not ended:
            ended, status = os.waitpid(process, os.WNOHANG)
            if seconds is None and len(writer.finished(out)) > len(kept):
                seconds = time.monotonic() - begun
            time.sleep(0.001)
        if status or seconds is None:
            raise SystemExit(f"{out}: no piece was missing, or {status}:\n{log.read_text()}")
        after = writer.finished(out)
        assert all(after[piece] == moment for piece, moment in kept.items())
        assert contents(out) == contents(whole)
        return Cost(f"1 piece; {len(kept)} finished ones stay", told, seconds)


def until_full(writer: Writer, out: Path) -> None:
    """Write, as a command does, although a look at the disk would say that it is too small."""
    honest = shutil.disk_usage
    shutil.disk_usage = lambda path: honest(path)._replace(free=2**40)
    try:
        writer.write(out)
    except ValueError as error:  # of slot-data, whose command line says it so
        print(f"error: {error}")
        raise SystemExit(2) from None


def wait_for(process: int, log: Path, code: int) -> str:
    """What it said last; a failure unless it ends with ``code``."""
    _, status = os.waitpid(process, 0)
    said = log.read_text()
    if os.waitstatus_to_exitcode(status) != code:
        raise SystemExit(f"ended with {os.waitstatus_to_exitcode(status)}, not {code}:\n{said}")
    found = re.findall("error: .*", said)
    return found[-1] if found else ""


@contextmanager
def disk(place: Place, name: str, size: str) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A small file system, and what gives it more room."""
    folder = place.folder / f"disk-{name}"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size}", "none", str(folder))
    try:
        yield folder, lambda: mount("-o", "remount,size=256m", str(folder))
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


# ---------------------------------------------------------------------------- the table
FAULTS: dict[str, Callable[[Place], Cost]] = {
    "SIGTERM to the process": signal_to_the_process,
    "SIGUSR1 to one of two processes": signal_to_one_of_two,
    "it goes on with one process instead of two": other_number_of_processes,
    "loss not finite": loss_not_finite,
    "weights of two processes differ": weights_that_differ,
    "a slow process (one second late, three times)": slow_process,
    "a process that hangs, `train.timeout=20`": process_that_hangs,
    "one bit of a checkpoint flipped": flipped_bit,
    "a picture deleted in the middle of an epoch": deleted_picture,
    "a second run started into the folder": second_run,
}
ON_DISKS: dict[str, Callable[[Place], Cost]] = {
    "disk full while training": disk_full_while_saving,
    "nothing can be written in the output": read_only_output,
    "disk full during `slot-data prepare`": disk_full_while_preparing,
    "disk full during `apps/extract_slots.py`": disk_full_while_extracting,
}


def print_table() -> None:
    """Make every fault happen and print what it cost."""
    apart = ["unshare", "-rm", sys.executable, *sys.argv]
    if APART not in os.environ and not subprocess.run(["unshare", "-rm", "true"]).returncode:
        os.execvpe(apart[0], apart, {**os.environ, APART: "1"})
    print("| fault | lost | what is said | seconds |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        place = Place(Path(name))
        for fault, meet in {**FAULTS, **(ON_DISKS if APART in os.environ else {})}.items():
            cost = meet(place)
            said = re.sub(rf"{re.escape(name)}\S*/", ".../", cost.said).replace("|", "/")
            seconds = "-" if cost.seconds is None else f"{cost.seconds:.1f}"
            print(f"| {fault} | {cost.lost} | `{said}` | {seconds} |", flush=True)
    if APART not in os.environ:
        print("This machine allows no mounts of its own (unshare -rm): nothing of full disks.")
