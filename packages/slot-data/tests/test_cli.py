"""The command line: cards, contact sheets, and one sentence on bad input."""

# pyright: reportTypedDictNotRequiredAccess=false
# (a sample of `shapes` always has labels)

import errno
import os
import sys

import numpy as np
import pytest
import test_slots
import torch
from PIL import Image

from slot_data import Sample, Shapes, catalog, cli
from slot_data.contact_sheet import contact_sheet


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the program; returns its exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["slot-data", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return call


def test_an_interrupt_is_one_word_and_130(run, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog, "names", interrupted)
    assert run("info") == (130, "", "interrupted\n")


@pytest.mark.parametrize(("place", "named"), [("pictures", "pictures"), (None, "a file")])
def test_a_place_without_rights_is_one_sentence(run, monkeypatch, place, named):
    def forbidden():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), place)

    monkeypatch.setattr(catalog, "names", forbidden)
    told = f"error: {named}: Permission denied; this user may not read or write it\n"
    assert run("info") == (2, "", told)


def test_info_prints_every_card_or_one(run):
    code, text, _ = run("info")
    assert code == 0
    assert [line for line in text.split("\n") if line in catalog.names()] == catalog.names()
    code, text, _ = run("info", "clevrtex")
    assert code == 0
    assert "train 40,000, validation 5,000, test 5,000" in text
    assert "slots          11" in text
    assert "root (a text or a path, required)" in text
    assert "presets        slotdiffusion: SlotDiffusion (Wu et al. 2023)" in text
    assert max(map(len, text.split("\n"))) <= 100


def test_show_draws_pictures_over_their_masks(run, tmp_path):
    out = tmp_path / "sheet.png"
    code, text, _ = run("show", "shapes", "--out", out, "--split", "test", "--count", 5)
    assert code == 0
    assert text == f"{out}: 5 of 512 samples of shapes, split test\n"
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (2 * 64 + 4, 5 * 66 + 2, 3)
    sample = Shapes("test")[1]
    picture = sample["video"][0].permute(1, 2, 0).numpy()
    assert np.array_equal(sheet[2:66, 68:132], picture)
    ground = sample["labels"][0].numpy() == 0
    mask = sheet[66:130, 68:132]
    assert (mask[ground] == 0).all()
    assert (mask[~ground].max(1) == 255).all()


def test_show_draws_clips_in_rows(run, tmp_path):
    out = tmp_path / "sheet.png"
    options = (
        "--option",
        "num_frames=20",
        "--option",
        "image_size=32",
        "--option",
        "level=textured",
    )
    code, *_ = run("show", "shapes", "--out", out, "--count", 3, "--columns", 2, *options)
    assert code == 0
    assert Image.open(out).size == (2 * (8 * 32 + 2) + 2, 2 * (2 * 32 + 2) + 2)


def test_show_draws_pictures_without_masks(run, tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (50, 30), "red").save(tmp_path / "images/a.png")
    options = ("--option", f"root={tmp_path}", "--option", "image_size=16")
    out = tmp_path / "sheet.png"
    code, *_ = run("show", "folder", "--split", "all", "--out", out, *options)
    assert code == 0
    assert Image.open(out).size == (20, 20)
    assert Image.open(out).getpixel((5, 5)) == (255, 0, 0)


def test_slots_are_shown_with_their_pixels_alone(run, tmp_path):
    test_slots.write(tmp_path / "test")
    out = tmp_path / "sheet.png"
    arguments = ("show", "slots", "--split", "test", "--out", out, "--option", f"root={tmp_path}")
    code, text, errors = run(*arguments)
    assert (code, text) == (2, "")
    assert errors == (
        "error: sample 'test-0-000000' has no pixels; the option pixels=true of slots adds them\n"
    )
    assert run(*arguments, "--option", "pixels=true")[0] == 0
    assert Image.open(out).size == (5 * (6 * 32 + 2) + 2, 2 * 32 + 4)


def test_classes_are_shown_where_objects_are_not_and_void_is_white():
    class Classes(Shapes):
        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            sample["class_labels"] = sample.pop("labels")
            sample["void"] = sample["class_labels"] == 1
            return sample

    sheet = np.asarray(contact_sheet(Classes(), 1, 1))
    kinds = Classes()[0]["class_labels"][0].numpy()
    mask = sheet[66:130, 2:66]
    assert (mask[kinds == 0] == 0).all()
    assert (mask[kinds == 1] == 255).all()
    assert (mask[kinds == 2].min(1) < 255).all()


def test_a_label_of_any_size_has_a_colour_and_small_ones_keep_theirs():
    class Large(Shapes):
        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            sample["labels"] = torch.arange(4).repeat(1, 64, 16)
            sample["labels"][sample["labels"] == 3] = 2**62 + 1  # no table can go as far
            return sample

    mask = np.asarray(contact_sheet(Large(), 1, 1))[66:130, 2:66]
    assert mask[0, :3].tolist() == [[0, 0, 0], [64, 120, 255], [207, 255, 140]]
    assert mask[0, 3].max() == 255
    assert (mask == np.tile(mask[:1, :4], (64, 16, 1))).all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["info", "mnist"], "dataset 'mnist' is not one of shapes, folder, clevrtex"),
        (["show", "mnist", "--out", "a.png"], "dataset 'mnist' is not one of"),
        (["info", "foldr"], "; did you mean 'folder'?"),
        (["info", "no/folder"], "no/folder is not there, and no dataset has that name"),
        (["verify", "."], ". is no folder that slot-data prepare has written, and no dataset has"),
        (["infos"], "No such command 'infos'"),
        (["show", "shapes"], "Missing option '--out'; --help shows what is expected"),
        (["show", "shapes", "--out", "a.png", "--count", "no"], "'--count'"),
        (["show", "clevrtex", "--out", "a.png", "--option", "root=no"], "root no is not a folder"),
        (
            ["show", "shapes", "--out", "a.png", "--option", "num_frame=1"],
            "; did you mean 'num_frames'?",
        ),
        (["show", "shapes", "--out", "a.jpg"], "--out a.jpg does not end in .png"),
        (["show", "shapes", "--out", "no/a.png"], "--out no/a.png cannot be written: No such file"),
        (["show", "shapes", "--out", "a.png", "--split", "val"], "split 'val' of shapes is not"),
        (["show", "shapes", "--out", "a.png", "--option", "x=1"], "has no option 'x'"),
        (["show", "folder", "--out", "a.png"], "dataset 'folder' needs the option root"),
        (["show", "folder", "--out", "a.png", "--option", "root=no"], "root no is not a folder"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(run, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    code, text, errors = run(*arguments)
    assert code == 2
    assert text == ""
    assert errors.startswith("error: ")
    assert sentence in errors
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_wrong_flag_ends_with_code_2(run):
    code, _, errors = run("show", "shapes", "--colour", "red")
    assert code == 2
    assert errors.startswith("error: No such option")  # the rest depends on typer's version
    assert "--colour" in errors
    assert errors.endswith("; --help shows what is expected\n")
    assert errors.count("\n") == 1


def test_without_a_command_the_help_is_shown(run):
    code, text, errors = run()
    assert (code, errors) == (0, "")
    assert "prepare" in text
    assert run("--help") == (0, text, "")
