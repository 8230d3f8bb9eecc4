"""A run's folder: its options, its log, and checkpoints in two halves, written atomically.

    RUN/options.json                    resolved options; a run that learns otherwise is an error
    RUN/metrics.jsonl                   one line for each logged step, validation and test
    RUN/pictures/                       drawn at each validation
    RUN/checkpoints/step-00001000/model   publishable: config.json, model.safetensors, README.md
    RUN/checkpoints/step-00001000/state   resumable: optimizer, average, scaler, position
    RUN/checkpoints/step-00001000/checksums.json   SHA-256 of each of its files
    RUN/checkpoints/last                  a link to the newest complete checkpoint
    RUN/faults/                           batches whose loss was not finite
    RUN/.lock                             held by the process that writes here

A checkpoint is written under another name and renamed when it is complete, so a folder called
``step-*`` is always whole, unless the disk damages it afterwards: then its checksums tell, and the
one before it takes its place. Randomness needs no saving: each step seeds its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from slot_core import CheckpointError, ConfigError, HubModel, ModelCard
from slot_core.errors import printable
from slot_core.hub import CARD, WEIGHTS, load_weights
from slot_core.json_files import read_json
from slot_core.pickled_weights import read_pickled
from slot_decoders.models.load import first_difference
from support.options import what_is_learned, with_newer_options

STATE = "state.pt"
CHECKSUMS = "checksums.json"


class RunFolder:
    """One run's place on disk.

    Args:
        path: of the run.
        options: the resolved options, as JSON values.
        resume: go on with the run that is there, if any; what suits a machine may be another.

    Raises:
        ConfigError: if the folder holds another run, or one and ``resume`` is not set.
    """

    def __init__(self, path: Path, options: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self._damaged: list[Path] = []
        stated = path / "options.json"
        if stated.exists():
            _check_same_run(stated, options, resume=resume)
        elif path.exists() and not path.is_dir():
            raise ConfigError(f"{path}: is a file, expected a folder; choose another --out")
        elif path.exists() and any(not inner.name.startswith(".") for inner in path.iterdir()):
            raise ConfigError(f"{path}: is not empty and holds no run; choose another --out")

    def create(self, options: Mapping[str, Any]) -> None:
        """Make the folder, state its options and hold it; call it in one process.

        Raises:
            ConfigError: if another run holds it, or nothing can be written there.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("a+")
            self._hold()
            replace_text(self.path / "options.json", json.dumps(options, indent=2) + "\n")
            (self.path / "pictures").mkdir(exist_ok=True)
            self.checkpoints.mkdir(exist_ok=True)
            for unfinished in self.checkpoints.glob(".*"):
                is_folder = unfinished.is_dir() and not unfinished.is_symlink()
                shutil.rmtree(unfinished) if is_folder else unfinished.unlink()
            for checkpoint in self._damaged:  # out of the way of those to come
                checkpoint.replace(_free_name(checkpoint.with_name(f"damaged-{checkpoint.name}")))
        except OSError as error:
            raise ConfigError(f"{self.path}: nothing can be written there ({error})") from None

    def _hold(self) -> None:
        """Keep every other run out of the folder until this process ends, however it ends."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            raise ConfigError(
                f"{self.path}: is being written by another run ({self._lock.read().strip()}); "
                "wait for it or choose another --out"
            ) from None
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {platform.node()}\n")
        self._lock.flush()

    def newest(self) -> Path | None:
        """The newest complete checkpoint."""
        return max(self.checkpoints.glob("step-*"), default=None)

    def newest_undamaged(self) -> tuple[Path | None, list[str]]:
        """The newest checkpoint whose files are those that were saved, and one sentence about
        each newer one that is damaged.

        Raises:
            CheckpointError: if there are checkpoints and all of them are damaged.
        """
        sentences: list[str] = []
        for checkpoint in sorted(self.checkpoints.glob("step-*"), reverse=True):
            damage = damage_of(checkpoint)
            if damage is None:
                return checkpoint, sentences
            self._damaged.append(checkpoint)
            sentences.append(damage)
        if sentences:
            raise CheckpointError(f"{sentences[0]}; there is no undamaged checkpoint before it")
        return None, []

    def save(
        self, step: int, model: HubModel, card: ModelCard, state: Mapping[str, Any], keep: int
    ) -> None:
        """Save both halves of step ``step`` and drop all but the newest ``keep`` checkpoints.

        Raises:
            CheckpointError: if it cannot be written; the checkpoints before it stay.
        """
        final = self.checkpoints / f"step-{step:08d}"
        temporary = self.checkpoints / f".{final.name}"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            model.save_pretrained(temporary / "model", card=card)
            (temporary / "state").mkdir()
            with (temporary / "state" / STATE).open("wb") as file:
                torch.save({"step": step, **state}, file)
                file.flush()
                os.fsync(file.fileno())
            sums = {name: sha256(temporary / name) for name in _files(temporary)}
            replace_text(temporary / CHECKSUMS, json.dumps(sums, indent=2) + "\n")
            shutil.rmtree(final, ignore_errors=True)
            temporary.replace(final)
            link = self.checkpoints / ".last"
            link.unlink(missing_ok=True)
            link.symlink_to(final.name)
            link.replace(self.checkpoints / "last")
        except (OSError, RuntimeError, CheckpointError) as error:
            # torch.save hides a full disk behind a RuntimeError of its own stream.
            shutil.rmtree(temporary, ignore_errors=True)
            kept = self.newest()
            where = f"the last good one is {kept}" if kept else "there is none before it"
            raise CheckpointError(
                f"cannot save checkpoint {final}: {_of_the_disk(error) or error}; {where}"
            ) from error
        for old in sorted(self.checkpoints.glob("step-*"))[:-keep]:
            shutil.rmtree(old)


def restore_model(checkpoint: Path, model: HubModel) -> None:
    """Load the published half into ``model``.

    Raises:
        CheckpointError: if it is damaged or not this model's.
    """
    load_weights(model, checkpoint / "model" / WEIGHTS)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The resumable half.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    return read_pickled(checkpoint / "state" / STATE)


def damage_of(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files, in one sentence; None if nothing is."""
    path = checkpoint / CHECKSUMS
    if not path.exists():  # saved before there were any; what is renamed into place is whole
        return None
    try:
        sums = read_json(path)
        there = set(_files(checkpoint))
        for name, expected in sums.items():
            if name not in there:
                return f"{checkpoint / printable(name)}: is missing"
            if sha256(checkpoint / name) != expected:
                return f"{checkpoint / name}: is damaged, it is not the file that was saved"
    except (OSError, ValueError, AttributeError) as error:
        return f"{path}: cannot be read ({_first_line(error)})"
    return None


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _free_name(path: Path) -> Path:
    """The path, or with the first number behind it under which nothing lies yet."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([path], numbered) if not one.exists())


def _files(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def replace_text(path: Path, text: str) -> None:
    """Write a small file so that it is either the old or the new one, never half."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _check_same_run(stated: Path, options: Mapping[str, Any], *, resume: bool) -> None:
    if not resume:
        raise ConfigError(
            f"{stated.parent}: holds a run already; go on with --resume or choose another --out"
        )
    try:
        before = read_json(stated)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{stated}: is not readable JSON ({error})") from None
    ours: Any = json.loads(json.dumps(options))
    if isinstance(before, Mapping):
        before, ours = what_is_learned(with_newer_options(before)), what_is_learned(ours)
    difference = first_difference(before, ours, other="this one's")
    if difference:
        card = stated.parent / "checkpoints" / "last" / "model" / CARD
        command = f"its own command stands in {card}; " if card.is_file() else ""
        raise ConfigError(
            f"{stated.parent}: holds another run; {difference}; {command}a run in a folder of its "
            f"own may begin with its weights (start.weights={stated.parent})"
        )


def _of_the_disk(error: BaseException) -> str | None:
    """What the system said, of the error of the disk that led to this one; None without one."""
    cause = error.__cause__ or error.__context__
    if isinstance(error, OSError):
        return error.strerror
    return _of_the_disk(cause) if cause else None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
