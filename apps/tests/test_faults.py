"""Runs that are told to stop, meet a loss that is not finite, find a damaged checkpoint, or share a
folder: what is said, and that nothing is lost."""

from __future__ import annotations

import errno
import fcntl
import gc
import json
import math
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from runs import assert_equal_runs, events, finish, last_step, poisoned, process_of_rank, start
from safetensors import safe_open
from torch.utils.data import DataLoader, TensorDataset

import slot_data
import train
from slot_core import ConfigError, InputError
from slot_decoders.models import SlotAutoencoder
from slot_eval.provenance import model_hash
from support import interruption
from support.checkpoints import RunFolder, damage_of
from support.command_line import run
from support.interruption import ECHO, Interruption, end_workers, leave_signals_to_parent
from support.options import load_options
from support.waiting import slowest

TOOLS = Path(__file__).parents[2] / "tools"
LAUNCHER = [sys.executable, "-m", "accelerate.commands.launch"]
TWO = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
TWO += ["--dynamo_backend", "no", "--main_process_port", "0"]


def call(arguments):
    with pytest.raises(SystemExit) as stopped:
        run(train.main, arguments)
    return stopped.value.code or 0


class Signals:
    """A dataset that sends its process a signal with the n-th sample."""

    def __init__(self, dataset, count, number):
        self.dataset, self.left, self.number = dataset, count, number

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        return self.dataset[index]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 75),
        pytest.param(signal.SIGUSR1, 75, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_at_the_end_of_the_step_and_asks_for_a_new_start(
    tmp_path, tiny, monkeypatch, capfd, number, code
):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert call(tiny(whole)) == 0
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(
            train,
            "load_dataset",
            lambda *a, **k: (
                Signals(slot_data.load_dataset_by_name(*a, **k), 1 + 4 * 4 + 1, number)
                if k["split"] == "train"
                else slot_data.load_dataset_by_name(*a, **k)
            ),
        )
        assert call(tiny(stopped)) == code
    told = capfd.readouterr()
    assert "stopped by a signal after step 5" in told.out
    assert ("Ctrl-C again stops at once" in told.err) == (number == signal.SIGINT)
    assert (stopped / "checkpoints" / "last").resolve().name == "step-00000005"
    assert not (stopped / "test").exists()
    assert call([*tiny(stopped), "--resume"]) == 0
    assert signal.getsignal(number) == before
    assert_equal_runs(whole, stopped)


def test_the_second_signal_of_a_kind_is_what_it_was_before():
    # Whoever starts the tests in the background of a script starts them deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    interruption = Interruption()
    interruption.listen()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # a launcher sends on what it hears
        os.kill(os.getpid(), signal.SIGTERM)
        assert (interruption.requested, interruption.code) == (True, 130)
        time.sleep(2 * ECHO[signal.SIGINT])
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        interruption.restore()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_launcher_that_sends_a_signal_on_ends_nobody_before_he_has_saved(monkeypatch):
    """A cluster tells the whole job at once, and a launcher its processes once more."""
    heard = []
    signal.signal(signal.SIGTERM, lambda *_: heard.append(time.monotonic()))
    monkeypatch.setitem(ECHO, signal.SIGTERM, 0.2)
    interruption = Interruption()
    interruption.listen()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (interruption.requested, interruption.code) == (True, 75)
        assert not heard
        time.sleep(0.4)
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(heard) == 1
    finally:
        interruption.restore()


def poison(patch, steps):
    patch.setattr(SlotAutoencoder, "forward", poisoned(SlotAutoencoder.forward, steps))


def test_a_loss_that_is_not_finite_is_passed_over_counted_and_its_batch_kept(
    tmp_path, tiny, monkeypatch, capsys
):
    out = tmp_path / "run"
    poison(monkeypatch, {3, 6})
    assert call(tiny(out, **{"train.ema_decay": 0.9})) == 0
    assert [event["step"] for event in events(out, "skipped")] == [3, 6]
    assert [event["step"] for event in events(out, "train")] == [1, 2, 4, 5, 7, 8]
    path = out / "faults" / "step-00000003-process-0.safetensors"
    assert f"the batch is in {path}" in capsys.readouterr().out
    with safe_open(path, "pt") as file:
        ids = json.loads(file.metadata()["ids"])
        video = file.get_tensor("video")
    shapes = slot_data.Shapes("train", num_samples=24, image_size=32)
    byname = {shapes[index]["id"]: shapes[index]["video"] for index in range(24)}
    assert len(ids) == 4
    for one, name in zip(video, ids, strict=True):
        assert torch.equal((one * 255).round().byte(), byname[name])
    state = torch.load(out / "checkpoints" / "last" / "state" / "state.pt", weights_only=True)
    assert all(torch.isfinite(weights).all() for weights in state["weights"].values())


def test_a_skipped_step_leaves_the_weights_as_they_were(tmp_path, tiny, monkeypatch):
    poison(monkeypatch, {3})
    assert call(tiny(tmp_path / "run", **{"checkpoint.every": 1, "checkpoint.keep": 8})) == 0
    weights = [
        (tmp_path / "run" / "checkpoints" / f"step-0000000{n}" / "model" / "model.safetensors")
        for n in (2, 3, 4)
    ]
    two, three, four = (path.read_bytes() for path in weights)
    assert two == three != four


@pytest.mark.parametrize("clipped", [None, 1.0])
def test_a_gradient_that_is_not_finite_is_passed_over_though_the_loss_is(
    tmp_path, tiny, monkeypatch, capsys, clipped
):
    honest, seen = train.inputs_of, iter(range(1, 100))

    def hooked(model, *arguments):
        """The third step loses the gradient of one weight."""
        (video, *rest), weight = honest(model, *arguments), next(model.parameters())
        if next(seen) == 3:
            hook = weight.register_hook(lambda gradient: (hook.remove(), gradient / 0)[1])
        return (video, *rest)

    monkeypatch.setattr(train, "inputs_of", hooked)
    out = tmp_path / "run"
    changes = {"checkpoint.every": 1, "checkpoint.keep": 8, "optimizer.clip_norm": clipped}
    assert call(tiny(out, **changes)) == 0
    assert "step 3: the gradient is not finite" in capsys.readouterr().out
    (skipped,) = events(out, "skipped")
    assert skipped["step"] == 3
    assert math.isfinite(float(skipped["loss"]))
    assert not math.isfinite(float(skipped["gradient_norm"]))
    assert all(event["gradient_norm"] > 0 for event in events(out, "train"))
    weights = out / "checkpoints" / "step-0000000{}" / "model" / "model.safetensors"
    two, three, four = (Path(str(weights).format(n)).read_bytes() for n in (2, 3, 4))
    assert two == three != four


def test_too_many_of_them_in_a_row_stop_the_run(tmp_path, tiny, monkeypatch, capsys):
    out = tmp_path / "run"
    poison(monkeypatch, {3, 5, 6, 7})
    assert call(tiny(out, **{"train.skips_in_a_row": 2})) == 2
    error = capsys.readouterr().err
    assert "the loss is not finite at step 7, where the loss is nan" in error
    assert "step-00000006" in error  # the last good checkpoint
    assert "optimizer.learning_rate" in error


class HalfPrecision(Accelerator):
    """What Accelerate does for fp16, on the CPU, where it has no scaler: this one begins with 4."""

    def __init__(self, **options):
        super().__init__(**options)
        self.native_amp = True
        self.scaler = torch.amp.GradScaler("cpu", init_scale=4)

    @property
    def mixed_precision(self):
        return "fp16"


def lose_gradients(patch, steps):
    """Let the first ``steps`` training steps lose the gradient of one weight."""
    honest, seen = train.inputs_of, iter(range(1, 100))

    def hooked(model, *arguments):
        if next(seen) <= steps:
            weight = next(model.parameters())
            hook = weight.register_hook(lambda gradient: (hook.remove(), gradient * math.nan)[1])
        return honest(model, *arguments)

    patch.setattr(train, "inputs_of", hooked)


def test_in_half_precision_the_scale_falls_before_a_gradient_is_to_blame(
    tmp_path, tiny, monkeypatch, capsys
):
    monkeypatch.setattr(train, "Accelerator", HalfPrecision)
    with monkeypatch.context() as patch:
        lose_gradients(patch, 4)  # at scales of 4, 2, 1 and 1/2
        assert call(tiny(tmp_path / "lost")) == 0
    assert [event["step"] for event in events(tmp_path / "lost", "skipped")] == [4]
    trained = events(tmp_path / "lost", "train")
    assert [math.isfinite(event["gradient_norm"]) for event in trained] == [False] * 3 + [True] * 4
    lose_gradients(monkeypatch, 8)
    assert call(tiny(tmp_path / "never", **{"train.skips_in_a_row": 1})) == 2
    assert "the gradient is not finite at step 5" in capsys.readouterr().err


def test_one_flipped_bit_sends_the_run_to_the_checkpoint_before(tmp_path, tiny, capsys):
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert call(tiny(whole)) == 0
    assert call(tiny(out)) == 0
    damaged = out / "checkpoints" / "step-00000008" / "state" / "state.pt"
    flip_a_bit(damaged)
    capsys.readouterr()
    assert call([*tiny(out), "--resume"]) == 0
    said = capsys.readouterr().out
    assert f"{damaged}: is damaged" in said
    assert re.search("resumed .*step-00000006", said)
    assert_equal_runs(whole, out)
    assert (out / "checkpoints" / "damaged-step-00000008").exists()  # whoever wants to look at it


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_what_a_kill_or_a_failing_disk_left_is_no_obstacle(tmp_path):
    """A link that was not renamed yet, and a step that is damaged for the second time."""
    checkpoints = tmp_path / "checkpoints"
    for name in ("step-00000001", "step-00000002", "damaged-step-00000002", ".step-00000003"):
        (checkpoints / name).mkdir(parents=True)
        (checkpoints / name / "file").write_text(name)
    (checkpoints / "step-00000002" / "checksums.json").write_text('{"file": "another"}')
    (checkpoints / ".last").symlink_to("step-00000002")
    options = load_options("slot_attention/shapes").model_dump(mode="json")
    (tmp_path / "options.json").write_text(json.dumps(options))
    folder = RunFolder(tmp_path, options, resume=True)
    newest, (damage,) = folder.newest_undamaged()
    assert newest == checkpoints / "step-00000001"
    assert "step-00000002/file: is damaged" in damage
    folder.create(options)
    left = {path.name: (path / "file").read_text() for path in checkpoints.iterdir()}
    assert left == {
        "step-00000001": "step-00000001",
        "damaged-step-00000002": "damaged-step-00000002",
        "damaged-step-00000002-2": "step-00000002",
    }


def test_processes_that_would_go_on_from_different_steps_are_told(tmp_path, monkeypatch):
    """As where one node reads an old listing of a folder that both see."""
    interruption.check_agreement(tmp_path, 2000)
    monkeypatch.setattr(interruption, "gather_object", lambda own: [*own, 1000])
    with pytest.raises(ConfigError, match="go on from the steps 2000, 1000; expected one, so look"):
        interruption.check_agreement(tmp_path, 2000)


def test_half_precision_without_a_scaler_is_refused(tmp_path, tiny, capsys):
    """Accelerate takes it on a CPU, and computes in float32."""
    assert call(tiny(tmp_path / "run", **{"train.mixed_precision": "fp16"})) == 2
    assert "fp16, which does not train on cpu; expected no or bf16" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_only_damaged_checkpoints_are_an_error(tmp_path, tiny, capsys):
    out = tmp_path / "run"
    assert call(tiny(out)) == 0
    for checkpoint in (out / "checkpoints").glob("step-*"):
        (checkpoint / "state" / "state.pt").write_bytes(b"half of it")
    assert call([*tiny(out), "--resume"]) == 2
    error = capsys.readouterr().err
    assert "step-00000008/state/state.pt: is damaged" in error
    assert "there is no undamaged checkpoint before it" in error


def test_every_file_of_a_checkpoint_has_a_checksum(tmp_path, tiny):
    assert call(tiny(tmp_path / "run", **{"train.num_steps": 2})) == 0
    checkpoint = (tmp_path / "run" / "checkpoints" / "last").resolve()
    assert damage_of(checkpoint) is None
    for name in ("model/config.json", "model/model.safetensors", "model/README.md"):
        flip_a_bit(checkpoint / name)
        assert f"{checkpoint / name}: is damaged" in str(damage_of(checkpoint))
        flip_a_bit(checkpoint / name)
    (checkpoint / "state" / "state.pt").unlink()
    assert damage_of(checkpoint) == f"{checkpoint}/state/state.pt: is missing"


def test_two_runs_in_one_folder_are_told(tmp_path, tiny, capsys):
    out = tmp_path / "run"
    assert call(tiny(out)) == 0
    before = (out / "metrics.jsonl").read_bytes()
    with (out / ".lock").open("r") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert call([*tiny(out), "--resume"]) == 2
    error = capsys.readouterr().err
    assert f"is being written by another run (process {os.getpid()} on" in error
    assert (out / "metrics.jsonl").read_bytes() == before


def test_a_run_that_died_before_it_stated_its_options_can_be_started_again(tmp_path, tiny):
    out = tmp_path / "run"
    out.mkdir()
    (out / ".lock").write_text("process 1 on a machine that is gone\n")
    RunFolder(out, {}, resume=False)  # not "is not empty"


def test_an_output_where_nothing_can_be_written_is_told(tmp_path, tiny, capsys):
    (tmp_path / "file").write_text("not a folder")
    assert call(tiny(tmp_path / "file" / "run")) == 2
    assert "nothing can be written there" in capsys.readouterr().err


def test_a_run_killed_while_it_was_tested_is_tested_once_more(tmp_path, tiny):
    out = tmp_path / "run"
    drawn = {"model.encoder.initializer.type": "gaussian"}  # so that scores depend on noise
    assert call(tiny(out, **drawn)) == 0
    tested = events(out, "test")
    (out / "test" / "result.json").rename(out / "test" / "result.json.partial")
    assert call([*tiny(out, **drawn), "--resume"]) == 0
    assert events(out, "test") == tested
    assert len(tested) == 1
    assert (out / "test" / "result.json").exists()


def test_weights_that_differ_between_processes_are_told(monkeypatch):
    model = torch.nn.Linear(2, 2)
    other = torch.nn.Linear(2, 2)
    hashes = [model_hash(model), model_hash(other)]
    monkeypatch.setattr(interruption, "gather_object", lambda own: own + hashes[:1])
    interruption.compare_ranks(Accelerator(), model, 7)
    monkeypatch.setattr(interruption, "gather_object", lambda own: own + hashes[1:])
    with pytest.raises(InputError, match="after step 7 the weights of process 1 differ"):
        interruption.compare_ranks(Accelerator(), model, 7)


def test_a_full_disk_is_one_sentence_wherever_it_is_met(tmp_path, tiny, monkeypatch, capsys):
    """Here when a line of the log is written; checkpoints before it stay."""
    out, write = tmp_path / "run", train.MetricsLog.write

    def full(self, kind, step, **values):
        if step == 7:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        write(self, kind, step, **values)

    with monkeypatch.context() as patch:
        patch.setattr(train.MetricsLog, "write", full)
        assert call(tiny(out)) == 2
    error = capsys.readouterr().err
    assert f"error: {out}/metrics.jsonl: cannot be written: No space left on device" in error
    assert (out / "checkpoints" / "last").resolve().name == "step-00000006"
    gc.collect()  # the error keeps the run's lock as long as it is there
    assert call([*tiny(out), "--resume"]) == 0
    assert call(tiny(tmp_path / "whole")) == 0
    assert_equal_runs(tmp_path / "whole", out)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_place_without_rights_is_one_sentence(number, capsys):
    def forbidden() -> None:
        raise OSError(number, os.strerror(number), "/somewhere/notes")

    with pytest.raises(SystemExit) as ended:
        run(forbidden, [])
    assert ended.value.code == 2
    told = f"error: /somewhere/notes: {os.strerror(number)}; this user may not read or write it\n"
    assert capsys.readouterr().err == told


def test_other_errors_of_the_disk_keep_their_traceback():
    def broken() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        run(broken, [])


def test_workers_that_take_no_notice_of_signals_end_with_an_erring_process():
    handler = signal.getsignal(signal.SIGCHLD)
    loader = DataLoader(
        TensorDataset(torch.arange(100)),
        num_workers=1,
        worker_init_fn=leave_signals_to_parent,
    )
    batches = iter(loader)
    next(batches)
    (worker,) = multiprocessing.active_children()
    worker.terminate()
    worker.join(timeout=0.5)
    assert worker.is_alive()
    end_workers()
    worker.join(timeout=20)
    assert worker.exitcode == -signal.SIGKILL
    del batches
    signal.signal(signal.SIGCHLD, handler)


def test_the_process_that_others_wait_for_is_named():
    assert slowest([0.1, 0.2, 0.1], whole=10.0) == ""
    assert slowest([5.0, 5.1, 5.0], whole=10.0) == ""  # all are slow
    said = slowest([0.1, 5.0, 0.2], whole=10.0)
    assert "wait for process 1: of 10.0 s it spent 5.0 s" in said
    assert "process 0" in slowest([5.0, 0.1], whole=10.0)


@pytest.mark.slow
def test_a_deleted_file_ends_a_run_with_workers_too(tmp_path, tiny):
    """The worker that met it, and another, are still there when the run leaves."""
    pictures = tmp_path / "pictures"
    for split in ("train", "validation", "test"):
        shapes = slot_data.Shapes("train", num_samples=24, image_size=32)
        for number in range(len(shapes)):
            path = pictures / split / "images" / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            frame = shapes[number]["video"][0].numpy().transpose(1, 2, 0)
            Image.fromarray(frame).save(path)
    changes = {"data.name": "folder", "data.root": str(pictures), "data.num_workers": 2}
    changes |= {"train.num_steps": 100_000, "data.splits.test": None}
    out = tmp_path / "run"
    process = start(tiny(out, without=["data.num_samples"], **changes))
    while last_step(out) < 5:
        assert process.poll() is None, process.communicate()[0]
    gone = pictures / "train" / "images" / "03.png"
    gone.unlink()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    assert f"error: {gone} cannot be read as a picture" in output
    assert "Traceback" not in output
    assert (out / "checkpoints" / "last" / "state" / "state.pt").exists()


@pytest.mark.slow
def test_what_every_other_fault_costs():
    """A run meets each of them, goes on, and ends with the same bits, or the tool fails."""
    command = [sys.executable, str(TOOLS / "bench" / "faults.py"), "--others"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines()[2:] if line.startswith("| ")]
    assert len(rows) == 10 or len(rows) == 14, done.stdout
    if len(rows) == 10:
        assert subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode
        pytest.skip("this machine allows no mounts of its own: all but full disks were met")


@pytest.mark.slow
@pytest.mark.parametrize("of", ["prepare", "extract_slots"])
def test_kills_of_what_writes_pieces_change_nothing(of):
    command = [sys.executable, str(TOOLS / "bench" / "faults.py"), "--points", "4", "--of", of]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ended bitwise equal to the run that was left alone" in done.stdout
    rows = [line.split("|") for line in done.stdout.splitlines()[3:]]
    assert sum(int(row[2]) for row in rows) == 4
    assert all(int(row[3]) == 0 for row in rows)  # no finished piece was written again


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_kills_at_random_moments_change_nothing(processes):
    command = [sys.executable, str(TOOLS / "bench" / "faults.py"), "--points", "5"]
    command += ["--processes", str(processes), "--seed", str(processes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ended bitwise equal to the run that was left alone" in done.stdout
    kills = [int(line.split("|")[2]) for line in done.stdout.splitlines()[3:]]
    assert sum(kills) == 5


@pytest.mark.slow
def test_a_signal_to_any_process_stops_all_and_one_process_goes_on(tmp_path, tiny):
    """The second process is told; later a single one takes over, with the same samples."""
    out, changes = tmp_path / "run", {"train.num_steps": 200, "data.num_workers": 1}
    changes |= {"checkpoint.every": 200, "validation.every": 200}
    process = start(tiny(out, **changes), [*LAUNCHER, *TWO], {"ACCELERATE_USE_CPU": "true"})
    while last_step(out) < 10:
        assert process.poll() is None, process.communicate()[0]
    os.kill(process_of_rank(process.pid, 1), signal.SIGUSR1)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "stopped by a signal" in output
    saved = max((out / "checkpoints").glob("step-*"))
    assert 10 <= int(saved.name[5:]) < 200
    finish(start([*tiny(out, **changes), "--resume"]))
    finish(start(tiny(tmp_path / "one", **changes)))
    seen = [[e["sample_ids"] for e in events(run, "train")] for run in (out, tmp_path / "one")]
    assert seen[0] == seen[1]
    assert len(seen[0]) == 200
