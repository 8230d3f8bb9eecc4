"""The training app as its user meets it: what a run leaves, and what mistakes are told."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
from PIL import Image
from runs import events, finish, last_step, start

import slot_data
import train
from slot_decoders.models import load_model
from support.command_line import run


def call(arguments):
    with pytest.raises(SystemExit) as stopped:
        run(train.main, arguments)
    return stopped.value.code or 0


def test_a_run_leaves_log_pictures_result_and_a_checkpoint_that_loads(tmp_path, tiny):
    out = tmp_path / "run"
    assert call(tiny(out)) == 0
    assert [event["step"] for event in events(out, "train")] == list(range(1, 9))
    assert [event["step"] for event in events(out, "validation")] == [4, 8]
    warning = events(out, "train")[-1]
    assert 0 < warning["attention_entropy"] <= 1
    assert 1 <= warning["slots_in_use"] <= 4
    assert -1 <= warning["partition_similarity"] <= 1
    result = json.loads((out / "test" / "result.json").read_text())
    assert (result["protocol"], result["num_samples"]) == ("slotdiffusion", 24)
    assert result["settings"]["source"] == "encoder"
    assert len(result["model_structure"]) == 16
    assert result["model_config"]["num_slots"] == 4
    assert set(result["metrics"]) == {"ari", "fg_ari", "miou", "fg_miou", "mbo"}
    with Image.open(out / "pictures" / "validation-00000008.png") as picture:
        assert picture.size[0] > 300
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == [
        "last",
        "step-00000006",
        "step-00000008",
    ]
    model = load_model(out)
    masks = model.segment(torch.rand(1, 1, 3, 32, 32))
    assert masks.shape == (1, 1, 4, 32, 32)
    card = (out / "checkpoints" / "last" / "model" / "README.md").read_text()
    assert "shapes" in card
    assert "fg_ari" in card
    unscored = out / "checkpoints" / "step-00000006" / "model" / "README.md"
    assert "fg_ari" not in unscored.read_text()  # only the weights of steps 4 and 8 were


def test_the_loss_falls(tmp_path, tiny):
    out = tmp_path / "run"
    changes = {"train.num_steps": 60, "data.splits.test": None, "optimizer.learning_rate": 3e-3}
    # Centred far from the ground's colour, which is then what a model learns first.
    centre = {"model.preprocessing.mean": [0.5] * 3, "model.preprocessing.std": [0.5] * 3}
    assert call(tiny(out, **changes, **centre, **{"validation.every": 60})) == 0
    losses = [event["loss"] for event in events(out, "train")]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_one_step_of_two_micro_batches_is_one_step_of_the_whole_batch(tmp_path, tiny):
    for accumulation in (1, 2):
        changes = {"train.accumulation": accumulation, "train.num_steps": 3}
        assert call(tiny(tmp_path / str(accumulation), **changes)) == 0
    one, two = (events(tmp_path / name, "train") for name in ("1", "2"))
    assert [event["sample_ids"] for event in one] == [event["sample_ids"] for event in two]
    for left, right in zip(one, two, strict=True):
        assert left["loss"] == pytest.approx(right["loss"], rel=1e-4)


def test_bf16_and_average_and_augmentation(tmp_path, tiny):
    changes = {
        "train.mixed_precision": "bf16",
        "train.ema_decay": 0.99,
        "data.augmentations": ["horizontal_flip"],
    }
    assert call(tiny(tmp_path / "run", **changes)) == 0
    state = torch.load(tmp_path / "run/checkpoints/last/state/state.pt", weights_only=True)
    assert state["average_updates"] == 8
    published = load_model(tmp_path / "run").state_dict()
    assert any(not torch.equal(published[name], state["weights"][name]) for name in published)


def test_pictures_never_stop_training(tmp_path, tiny, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("no fonts here")

    monkeypatch.setattr("support.scoring.comparison", broken)
    assert call(tiny(tmp_path / "run")) == 0
    assert "could not draw validation-00000008.png" in capsys.readouterr().err


def test_of_a_busy_machine_a_run_says_so(tmp_path, tiny, capsys, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (1000.0, 0.0, 0.0))
    changes = {"train.num_steps": 1, "train.num_threads": 2, "data.splits.test": None}
    before = torch.get_num_threads()
    assert call(tiny(tmp_path / "run", **changes)) == 0
    torch.set_num_threads(before)
    assert "warning: others compute on this machine (load 1000.0 on" in capsys.readouterr().out


def test_a_dataset_without_labels_trains_and_is_drawn(tmp_path, tiny, capsys, monkeypatch):
    photos = tmp_path / "photos" / "images"
    photos.mkdir(parents=True)
    shapes = slot_data.Shapes(num_samples=12, image_size=48)
    for index in range(12):
        pixels = shapes[index]["video"][0].permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(photos / f"{index}.png")
    changes = {
        "data.name": "folder",
        "data.root": str(tmp_path / "photos"),
        "data.splits": {"train": "all", "validation": "all", "test": "all"},
    }
    arguments = tiny(tmp_path / "run", without=["data.num_samples"], **changes)
    monkeypatch.setattr("sys.argv", ["apps/train.py", *arguments])
    assert call(arguments) == 0
    card = (tmp_path / "run" / "checkpoints" / "last" / "model" / "README.md").read_text()
    assert str(tmp_path) not in card
    assert "root=photos, " in card
    assert "\naccelerate launch apps/train.py slot_attention/shapes --out run --set " in card
    scored = events(tmp_path / "run", "validation")
    assert all(event.keys() == {"kind", "step", "loss"} for event in scored)
    said = f"step 8: loss {scored[-1]['loss']:.4g}; no labels to score against"
    told = capsys.readouterr().out
    assert said in told
    assert "\ntest: no labels to score against\n" in told
    assert not (tmp_path / "run" / "test").exists()
    assert (tmp_path / "run" / "pictures" / "validation-00000008.png").exists()


def test_a_run_whose_test_set_is_not_there_says_how_to_go_without(tmp_path, tiny, capsys):
    for split in ("train", "validation"):
        place = tmp_path / "photos" / split / "images"
        place.mkdir(parents=True)
        Image.new("RGB", (48, 48)).save(place / "a.png")
    changes = {"data.name": "folder", "data.root": str(tmp_path / "photos")}
    assert call(tiny(tmp_path / "run", without=["data.num_samples"], **changes)) == 2
    assert (
        f"error: data.splits.test: {tmp_path / 'photos'} has no folder test; it is divided and has "
        "train; null goes without a test\n" in capsys.readouterr().err
    )


MISTAKES = {
    "unknown split": (["--set", "data.splits.train=learn"], "error: data.splits.train: split "),
    "no test split": (
        ["--set", "data.splits.test=exam"],
        "; null goes without a test",
    ),
    "unknown key": (["--set", "model.slot_dims=3"], "slot_dims"),
    "unknown dataset": (["--set", "data.name=shape"], "shape"),
    "unknown dataset option": (["--set", "data.levels=plain"], "levels"),
    "unknown recipe": (["nothing/here"], "nothing/here"),
    "misspelt recipe": (["slot_attention/shapez"], "did you mean 'slot_attention/shapes'?"),
    "unknown tracker": (["--set", "log.trackers=[nothing]"], "nothing"),
    "unknown protocol": (["--set", "validation.protocol=mine"], "mine"),
    "unknown augmentation": (["--set", "data.augmentations=[blur]"], "blur"),
    "indivisible batch": (["--set", "train.accumulation=3"], "batch_size 4"),
    "layers that do not arrive": (["--set", "model.decoder.channels=[8]"], "expected 32x32"),
    "a predictor without videos": (
        ["--set", "model.encoder.predictor={type: transformer}"],
        "set data.num_frames",
    ),
    "a predictor of clips that are cut to one frame": (
        [
            *("--set", "data.num_frames=4", "--set", "model.encoder.predictor={type: transformer}"),
            *("--set", "data.augmentations=[{random_clip: {num_frames: 1}}]"),
        ],
        "a sample has one frame",
    ),
    "unknown option": (["--sett", "a=b"], "--sett"),
}


@pytest.mark.parametrize(("extra", "word"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_sentence_and_exit_2(tmp_path, tiny, capsys, extra, word):
    arguments = tiny(tmp_path / "run")
    if not extra[0].startswith("--"):
        arguments[0] = extra[0]
        extra = []
    assert call([*arguments, *extra]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert word in said[0]


def test_another_run_in_the_folder_is_refused_and_kept(tmp_path, tiny, capsys):
    out = tmp_path / "run"
    assert call(tiny(out)) == 0
    before = (out / "metrics.jsonl").read_bytes()
    assert call(tiny(out)) == 2
    assert "--resume" in capsys.readouterr().err
    assert call([*tiny(out, **{"train.seed": 5}), "--resume"]) == 2
    told = capsys.readouterr().err
    assert "its train.seed is 0, this one's is 5" in told
    assert f"its own command stands in {out}/checkpoints/last/model/README.md" in told
    assert (out / "metrics.jsonl").read_bytes() == before


def test_a_file_is_no_folder_for_a_run(tmp_path, tiny, capsys):
    (tmp_path / "run").write_text("a file")
    assert call(tiny(tmp_path / "run")) == 2
    told = capsys.readouterr().err
    assert (
        told == f"error: {tmp_path / 'run'}: is a file, expected a folder; choose another --out\n"
    )


def test_a_folder_with_other_files_is_refused(tmp_path, tiny, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert call(tiny(tmp_path)) == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_resuming_a_finished_run_changes_nothing(tmp_path, tiny):
    out = tmp_path / "run"
    assert call(tiny(out)) == 0
    before = (out / "metrics.jsonl").read_bytes()
    assert call([*tiny(out), "--resume"]) == 0
    assert (out / "metrics.jsonl").read_bytes() == before


def test_a_run_goes_on_with_what_suits_another_machine(tmp_path, tiny):
    """The same weights, for it takes as many samples at once."""
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert call(tiny(whole)) == 0
    assert call(tiny(parted, **{"checkpoint.keep": 4})) == 0
    for newer in parted.glob("checkpoints/step-0000000[68]"):
        shutil.rmtree(newer)
    (parted / "checkpoints" / "last").unlink()
    other = {"data.num_workers": 1, "log.every": 2, "checkpoint.every": 4, "train.timeout": 60}
    assert call([*tiny(parted, **other), "--resume"]) == 0
    told = [json.loads((run / "options.json").read_text()) for run in (whole, parted)]
    assert [one["train"]["timeout"] for one in told] == [1800, 60]
    assert events(parted, "validation") == events(whole, "validation")
    assert events(parted, "test") == events(whole, "test")
    in_parts = {"train.accumulation": 2, "train.num_threads": 2}
    assert call([*tiny(parted, **in_parts), "--resume"]) == 0


def test_weights_that_no_gradient_reaches_are_told_at_the_first_step(tmp_path, tiny, capsys):
    changes = {"num_iterations": 1, "final_mlp": False}
    changes = {f"model.encoder.corrector.{key}": value for key, value in changes.items()}
    assert call(tiny(tmp_path / "run", **changes)) == 2
    assert "error: no gradient reaches encoder.corrector.mlp.0.weight, " in capsys.readouterr().err


def test_a_run_goes_on_that_began_before_there_was_an_option(tmp_path, tiny, capsys):
    out = tmp_path / "run"
    assert call(tiny(out)) == 0
    options = json.loads((out / "options.json").read_text())
    of_now = dict(options["train"])
    of_now_model = json.loads(json.dumps(options["model"]))
    del options["train"]["ema_decay"], options["train"]["skips_in_a_row"]
    del (
        options["model"]["encoder"]["corrector"]["final_mlp"],
        options["model"]["encoder"]["inertia"],
    )
    (out / "options.json").write_text(json.dumps(options))
    changed = {"train.skips_in_a_row": 60}  # not what it did then
    assert call([*tiny(out, **changed), "--resume"]) == 2
    assert "train.skips_in_a_row" in capsys.readouterr().err
    assert call([*tiny(out), "--resume"]) == 0
    assert json.loads((out / "options.json").read_text())["train"] == of_now
    assert json.loads((out / "options.json").read_text())["model"] == of_now_model


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.path.insert(0, sys.argv.pop(1))
import train
from support.command_line import run
save = train.RunFolder.save
def limited(self, step, *rest):
    if step >= 4:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))
    save(self, step, *rest)
train.RunFolder.save = limited
run(train.main)
"""


@pytest.mark.slow
def test_a_full_disk_while_saving_keeps_the_last_good_checkpoint(tmp_path, tiny):
    out = tmp_path / "run"
    script = tmp_path / "full_disk.py"
    script.write_text(FULL_DISK)
    launcher = [sys.executable, str(script), str(train.__file__).removesuffix("/train.py")]
    process = start(tiny(out), launcher=launcher, script=())
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    assert "cannot save checkpoint" in output
    assert "Traceback" not in output
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == [
        "last",
        "step-00000002",
    ]
    assert load_model(out).num_slots == 4


@pytest.mark.slow
def test_two_processes_train_the_model_that_one_trains(tmp_path, tiny):
    launcher = [sys.executable, "-m", "accelerate.commands.launch"]
    two = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    two += ["--dynamo_backend", "no", "--main_process_port", "0"]
    output = finish(
        start(tiny(tmp_path / "two"), [*launcher, *two], {"ACCELERATE_USE_CPU": "true"})
    )
    assert "2 process(es) on cpu" in output
    assert call(tiny(tmp_path / "one")) == 0
    for kind, close in (("train", 1e-4), ("validation", 0.01), ("test", 0.01)):
        pairs = zip(events(tmp_path / "two", kind), events(tmp_path / "one", kind), strict=True)
        for left, right in pairs:
            for name in ("kind", "step", "sample_ids"):
                assert left.pop(name, None) == right.pop(name, None)
            for event in (left, right):  # compares the samples that lie in one process
                event.pop("partition_similarity", None)
            # A mean over samples, while scores jump with a pixel.
            assert left.pop("loss", 0) == pytest.approx(right.pop("loss", 0), rel=1e-4)
            assert left == pytest.approx(right, rel=close, abs=close)
    assert last_step(tmp_path / "two") == 8
