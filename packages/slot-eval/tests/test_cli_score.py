"""``slot-eval score`` and ``compare``: files to files, one sentence for each wrong input."""

import csv
import errno
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from slot_eval import protocols
from slot_eval.functional import CLIP_METRICS, METRICS


@pytest.fixture
def files(tmp_path, draw):
    """Predictions and truth of five clips on disk, in different order; one has no object."""
    predicted, true = draw(5, 2, 12, 10)
    true[3] = 0
    ids = [f"clip{i}" for i in range(5)]
    np.savez(tmp_path / "predicted.npz", ids=np.array(ids), labels=predicted.numpy())
    np.savez(
        tmp_path / "true.npz", ids=np.array(ids[::-1]), labels=true.flip(0).numpy().astype("uint8")
    )
    expected = protocols.get("slotdiffusion").score(predicted, true)
    return tmp_path / "predicted.npz", tmp_path / "true.npz", expected


def test_score_writes_result_and_rows(cli, files, tmp_path):
    predicted, true, expected = files
    out = tmp_path / "out" / "deep"
    code, shown, _ = cli("score", predicted, "--truth", true, "--out", out, "--rows")
    assert code == 0
    result = json.loads((out / "result.json").read_text())
    assert result["protocol"] == "slotdiffusion"
    assert result["protocol_settings"]["absent_ids"] == "zero"
    assert (result["model"], result["data"]) == (str(predicted), str(true))
    assert result["num_samples"] == 5
    for name, values in expected.items():
        entry = result["metrics"][name]
        assert entry["mean"] == pytest.approx(values.nanmean().item(), abs=1e-12)
        assert entry["undefined"] == int(values.isnan().sum())
        assert entry["n"] + entry["undefined"] == 5
        assert f"{entry['mean']:.4f}" in shown
    assert result["metrics"]["mbo"]["undefined"] == 1
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"clip{i}" for i in range(5)]
    assert rows[3]["mbo"] is None
    assert [row["ari"] for row in rows] == pytest.approx(expected["ari"].tolist())
    assert sorted(path.name for path in out.iterdir()) == ["result.json", "rows.jsonl"]


def test_rows_as_csv_and_on_the_screen(cli, files, tmp_path):
    predicted, true, expected = files
    arguments = ("score", predicted, "--truth", true, "--rows")
    code, _, _ = cli(*arguments, "--rows-format", "csv", "--out", tmp_path / "out")
    assert code == 0
    with (tmp_path / "out" / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["fg_ari"]) for row in rows] == pytest.approx(expected["fg_ari"].tolist())
    assert rows[3]["fg_miou"] == ""
    code, shown, _ = cli(*arguments)
    assert code == 0
    line = next(line for line in shown.splitlines() if line.startswith("clip3"))
    assert line.split()[1:] == [
        "-" if values[3].isnan() else f"{values[3]:.4f}" for values in expected.values()
    ]
    assert (line.split()[2], line.split()[5]) == ("1.0000", "-")


def test_score_of_label_pngs(cli, tmp_path, draw):
    image = pytest.importorskip("PIL.Image")
    predicted, true = draw(3, 9, 7)
    for folder, labels in (("predicted", predicted), ("true", true)):
        (tmp_path / folder / "sub").mkdir(parents=True)
        for i, picture in enumerate(labels):
            name = tmp_path / folder / "sub" / f"{i}.png"
            image.fromarray(picture.numpy().astype(np.uint8)).save(name)
    out = tmp_path / "out"
    code, _, _ = cli("score", tmp_path / "predicted", "--truth", tmp_path / "true", "--out", out)
    assert code == 0
    expected = protocols.get("slotdiffusion").score(predicted[:, None], true[:, None])
    metrics = json.loads((out / "result.json").read_text())["metrics"]
    for name, values in expected.items():
        assert metrics[name]["mean"] == pytest.approx(values.mean().item(), abs=1e-12)


def test_gaps_in_the_numbers_of_true_labels_are_told_where_they_count(cli, tmp_path):
    ids = np.array(["a", "b"])
    labels = np.array([[[0, 0, 1, 2]], [[0, 1, 9, 9]]])
    np.savez(tmp_path / "true.npz", ids=ids, labels=labels)
    files = (tmp_path / "true.npz", "--truth", tmp_path / "true.npz")
    code, shown, _ = cli("score", *files)
    assert code == 0
    assert "but       the truth's labels have gaps: up to 7 below the largest" in shown
    assert "have gaps" not in cli("score", *files, "--protocol", "dinosaur")[1]
    np.savez(tmp_path / "true.npz", ids=ids, labels=labels.clip(max=2))
    assert "have gaps" not in cli("score", *files)[1]


def test_folders_of_label_pngs_are_clips_when_asked(cli, tmp_path, draw):
    image = pytest.importorskip("PIL.Image")
    predicted, true = draw(2, 11, 9, 7, agree=0.1)
    # the truth's names are not padded: frame 2 comes before frame 10
    for side, labels, name in (("predicted", predicted, "{:06d}"), ("true", true, "mask_{}")):
        for clip, frames in zip(("a", "deep/b"), labels, strict=True):
            (tmp_path / side / clip).mkdir(parents=True)
            for time, frame in enumerate(frames):
                path = tmp_path / side / clip / f"{name.format(time)}.png"
                image.fromarray(frame.numpy().astype(np.uint8)).save(path)
    paths = (tmp_path / "predicted", "--truth", tmp_path / "true", "--clips")
    code, _, _ = cli("score", *paths, "--out", tmp_path / "out", "--rows")
    assert code == 0
    expected = protocols.get("slotdiffusion").score(predicted, true)
    rows = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["a", "deep/b"]
    for name, values in expected.items():
        assert [row[name] for row in rows] == pytest.approx(values.tolist(), abs=1e-15)
    assert sum(row["identity_switches"] for row in rows) > 0

    (tmp_path / "true/a/mask_10.png").unlink()
    code, _, message = cli("score", *paths)
    assert code == 2
    assert "sample 'a' is 11 frames of 9x7, in" in message
    image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "true/a/mask_10.png")
    code, _, message = cli("score", *paths)
    assert code == 2
    assert "mask_10.png: is 3x3, but mask_0.png of the same clip is 9x7" in message
    image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "true/stray.png")
    code, _, message = cli("score", *paths)
    assert code == 2
    assert "stray.png: lies in no folder; a clip is a folder of label PNGs" in message


def test_overlap_in_the_truth_is_scored_by_the_protocol(cli, tmp_path, draw):
    predicted, true = draw(2, 1, 8, 8)
    overlap = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.3
    ids = np.array(["a", "b"])
    np.savez(tmp_path / "p.npz", ids=ids, labels=predicted.numpy())
    np.savez(tmp_path / "t.npz", ids=ids, labels=true.numpy(), overlap=overlap.numpy())
    cli("score", tmp_path / "p.npz", "--truth", tmp_path / "t.npz", "--out", tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "result.json").read_text())["metrics"]
    expected = protocols.get("slotdiffusion").score(predicted, true, overlap)
    assert metrics["ari"]["mean"] == pytest.approx(expected["ari"].mean().item(), abs=1e-12)


def test_a_mean_over_nothing_is_null_and_a_dash(cli, tmp_path):
    labels = np.zeros((1, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "one.npz", ids=np.array(["a"]), labels=labels)
    one = tmp_path / "one.npz"
    code, shown, _ = cli("score", one, "--truth", one, "--out", tmp_path / "out")
    assert code == 0
    metrics = json.loads((tmp_path / "out" / "result.json").read_text())["metrics"]
    assert metrics["mbo"] == {"mean": None, "n": 0, "undefined": 1}
    assert metrics["fg_ari"] == {"mean": 1.0, "n": 1, "undefined": 0}
    assert next(line for line in shown.splitlines() if line.startswith("mbo")).split()[1] == "-"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda ids, labels: (ids[:-1], labels[:-1]), "lacks sample 'clip4' of"),
        (lambda ids, labels: (["a", "b", *ids[2:]], labels), "lacks 2 samples ('clip0', 'clip1')"),
        (
            lambda ids, labels: ([*ids, "new"], np.concatenate([labels, labels[:1]])),
            "has sample 'new', unknown to",
        ),
        (lambda ids, labels: (["clip1", *ids[1:]], labels), "the id 'clip1' occurs more than once"),
        (lambda ids, labels: (ids, labels.astype(np.float32)), "labels must be integers"),
        (lambda ids, labels: (ids, labels - 3), "negative somewhere"),
        (
            lambda ids, labels: (ids, labels[..., :-1]),
            "sample 'clip4' is 2 frames of 12x9, in",
        ),
        (lambda ids, labels: (ids, labels[:, :1]), "sample 'clip4' is 1 frame of 12x10, in"),
    ],
)
def test_wrong_predictions_are_one_sentence(cli, files, tmp_path, change, sentence):
    predicted, true, _ = files
    with np.load(predicted) as file:
        ids, labels = change(file["ids"].tolist(), file["labels"])
    np.savez(tmp_path / "wrong.npz", ids=np.array(ids), labels=labels)
    out = tmp_path / "out"
    code, _, message = cli("score", tmp_path / "wrong.npz", "--truth", true, "--out", out)
    assert code == 2
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert sentence in message
    assert not out.exists()


def test_wrong_arguments_are_one_sentence(cli, files, tmp_path):
    predicted, true, _ = files
    occupied = tmp_path / "occupied"
    cli("score", predicted, "--truth", true, "--out", occupied)
    before = (occupied / "result.json").read_text()
    wrong = {
        ("--truth", true, "--out", occupied): "exists already; choose another --out",
        ("--truth", true, "--out", true): "is a file, expected a folder",
        ("--truth", true, "--out", true / "below"): f"{true}: is a file, expected a folder",
        ("--truth", true, "--protocol", "coco"): "no protocol 'coco'; known: slotdiffusion",
        ("--truth", true, "--option", "a=1"): "--option and --limit belong to --data",
        ("--truth", tmp_path / "none.npz"): "there is no such file or folder",
        (): "either as --truth PATH or as --data NAME",
        ("--truth", true, "--colour"): "--colour",
        ("--truth", true, "--rows-format", "xml"): "xml",
    }
    for arguments, sentence in wrong.items():
        code, _, message = cli("score", predicted, *arguments)
        assert (code, message.count("\n")) == (2, 1), message
        assert message.startswith("error: ")
        assert sentence in message
    assert (occupied / "result.json").read_text() == before


def test_a_place_without_rights_is_told_before_the_work(cli, tmp_path, monkeypatch):
    """Root, as which tests may run, has them everywhere."""
    asked = []
    monkeypatch.setattr(os, "access", lambda place, mode: asked.append((place, mode)))
    code, _, message = cli("score", "nowhere", "--truth", "nowhere", "--out", tmp_path / "a" / "b")
    assert code == 2
    assert message == (
        f"error: {tmp_path}/a/b: cannot be written: this user has no right to write in {tmp_path}\n"
    )
    assert asked == [(tmp_path, os.W_OK | os.X_OK)]
    saved = ("--save-predictions", tmp_path / "masks.npz")
    code, _, message = cli("run", "--model", "nowhere", "--data", "nothing", *saved)
    assert "this user has no right" in message


def test_the_scores_are_shown_though_they_cannot_be_written(cli, files, tmp_path, monkeypatch):
    predicted, true, _ = files

    def full(self, *given, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    code, shown, message = cli("score", predicted, "--truth", true, "--out", tmp_path / "out")
    assert code == 2
    assert f"{tmp_path / 'out'}: cannot be written: No space left on device" in message
    assert "fg_ari" in shown


def test_without_a_command_the_help_is_shown(cli):
    code, shown, message = cli()
    assert (code, message) == (0, "")
    assert "predict-video" in shown
    assert cli("--help") == (0, shown, "")


@pytest.mark.slow
def test_the_installed_command_ends_with_one_sentence_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "slot_eval.cli", "score", str(tmp_path / "no.npz")]
    done = subprocess.run([*command, "--truth", "x.npz"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path / 'no.npz'}: there is no such file or folder\n"


@pytest.fixture
def two_results(cli, files, tmp_path):
    """The result folders of two scorings under one protocol."""
    predicted, true, _ = files
    cli("score", predicted, "--truth", true, "--out", tmp_path / "first")
    cli("score", true, "--truth", true, "--out", tmp_path / "second")
    return tmp_path / "first", tmp_path / "second"


def test_compare_puts_results_side_by_side(cli, two_results):
    first, second = two_results
    code, shown, _ = cli("compare", first, second / "result.json")
    assert code == 0
    lines = shown.splitlines()
    assert lines[0] == "protocol  slotdiffusion"
    assert lines[2].split() == ["model", "data", "samples", *CLIP_METRICS]
    assert lines[4].split()[2:] == ["5", *["1.0000"] * 10, "0.0000", "0.0000"]
    mean = json.loads((first / "result.json").read_text())["metrics"]["miou"]["mean"]
    assert lines[3].split()[5] == f"{mean:.4f}"
    assert not math.isclose(mean, 1.0)


def test_results_of_one_model_are_told_apart_by_their_paths(cli, two_results):
    first, second = two_results
    (second / "result.json").write_text((first / "result.json").read_text())
    for command in ("compare", "seeds"):
        code, shown, _ = cli(command, first, second / "result.json")
        assert code == 0
        named = [
            line.split()[0] for line in shown.splitlines() if line.startswith(str(first.parent))
        ]
        assert named == [str(first), str(second / "result.json")]


def test_compare_shows_the_metrics_asked_for(cli, two_results):
    code, shown, _ = cli("compare", *two_results, "--metric", "mbo", "--metric", "frame_ari")
    assert code == 0
    lines = shown.splitlines()
    assert lines[2].split()[3:] == ["mbo", "frame_ari"]
    metrics = json.loads((two_results[0] / "result.json").read_text())["metrics"]
    expected = [f"{metrics[name]['mean']:.4f}" for name in ("mbo", "frame_ari")]
    assert lines[3].split()[3:] == expected
    code, _, message = cli("compare", *two_results, "--metric", "mota")
    assert code == 2
    assert "no result has the metric mota; they have ari, fg_ari," in message


def test_pictures_and_clips_side_by_side(cli, tmp_path, draw):
    predicted, true = draw(2, 3, 6, 6)
    for name, cut in (("clips", slice(None)), ("pictures", slice(1))):
        for side, labels in (("p", predicted), ("t", true)):
            ids = np.array(["a", "b"])
            np.savez(tmp_path / f"{name}.{side}.npz", ids=ids, labels=labels[:, cut].numpy())
        files = (tmp_path / f"{name}.p.npz", "--truth", tmp_path / f"{name}.t.npz")
        cli("score", *files, "--out", tmp_path / name)
    code, shown, _ = cli("compare", tmp_path / "clips", tmp_path / "pictures")
    assert code == 0
    clips, pictures = (line.split()[3:] for line in shown.splitlines()[3:])
    assert "-" not in clips
    assert pictures[5:] == ["-"] * 7
    assert list(json.loads((tmp_path / "pictures/result.json").read_text())["metrics"]) == [
        *METRICS
    ]


def test_compare_never_mixes_protocols_in_a_column(cli, two_results):
    first, second = two_results
    result = json.loads((second / "result.json").read_text())
    result["protocol"] = result["protocol_settings"]["id"] = "other"
    (second / "result.json").write_text(json.dumps(result))
    code, shown, message = cli("compare", first, second)
    assert (code, shown) == (2, "")
    assert "2 different protocols (slotdiffusion; other)" in message
    code, shown, _ = cli("compare", first, second, "--mixed")
    assert code == 0
    head, one, two = (line.split() for line in shown.replace(" (", "(").splitlines())
    assert head[3:] == [
        f"{metric}({name})" for name in ("slotdiffusion", "other") for metric in CLIP_METRICS
    ]
    assert one[15:] == two[3:15] == ["-"] * 12
    assert two[15:25] == ["1.0000"] * 10


def test_compare_sees_a_changed_switch_under_the_same_name(cli, two_results):
    first, second = two_results
    result = json.loads((second / "result.json").read_text())
    result["protocol_settings"]["epsilon"] = 0.0
    (second / "result.json").write_text(json.dumps(result))
    code, _, message = cli("compare", first, second)
    assert code == 2
    assert "(slotdiffusion, epsilon=1e-08; slotdiffusion, epsilon=0.0)" in message


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({}, {"chunk": None}, "(slotdiffusion, without chunk; slotdiffusion, chunk=None)"),
        ({"chunk": None}, {"chunk": "None"}, "chunk=None; slotdiffusion, chunk='None')"),
        ({"a": 1}, {"b": 1}, "(slotdiffusion, a=1, without b; slotdiffusion, without a, b=1)"),
    ],
)
def test_compare_keeps_protocols_apart_whatever_their_switches(cli, two_results, one, other, told):
    for folder, switches in zip(two_results, (one, other), strict=True):
        result = json.loads((folder / "result.json").read_text())
        result["protocol_settings"] |= switches
        (folder / "result.json").write_text(json.dumps(result))
    code, _, message = cli("compare", *two_results)
    assert code == 2
    assert told in message
    code, shown, _ = cli("compare", *two_results, "--mixed", "--metric", "mbo")
    assert code == 0
    scores = [line.split()[3:] for line in shown.splitlines()[1:]]
    assert [[score == "-" for score in line] for line in scores] == [[False, True], [True, False]]


def test_compare_refuses_what_is_no_result(cli, two_results, tmp_path):
    first, _ = two_results
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "cut.json").write_text('{"format": 1')
    (tmp_path / "lacking.json").write_text('{"format": 1, "protocol": "x"}')
    for name, sentence in {
        "none.json": "No such file",
        "list.json": "is not a result of slot-eval",
        "cut.json": "is not JSON",
        "lacking.json": "lacks the key protocol_settings",
    }.items():
        code, _, message = cli("compare", first, tmp_path / name)
        assert (code, message.count("\n")) == (2, 1)
        assert name in message
        assert sentence in message
