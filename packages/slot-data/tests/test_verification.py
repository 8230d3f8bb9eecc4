"""`slot-data verify`: a copy that is whole, one that is not, and one with damaged files."""

import sys

import pytest
import torch
from PIL import Image

from slot_data import Sample, Shapes, catalog, cli
from slot_data.verification import open_split, read_all, splits_of, table, verdict


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["slot-data", "verify", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return call


def write(root, count=4):
    """Pictures of 8x8 pixels with 1, 2, ... objects."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (8, 8)).save(root / f"images/{number}.png")
        mask = Image.new("L", (8, 8))
        for label in range(number + 1):
            mask.putpixel((label, 0), label + 1)
        mask.save(root / f"masks/{number}.png")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_whole_copy(run, tmp_path, workers):
    write(tmp_path)
    option = ("--option", f"root={tmp_path}", "--option", "fit=file")
    code, text, _ = run("folder", "--split", "all", "--workers", workers, *option)
    assert code == 0
    assert text.split("\n") == [
        "split  samples  card  unreadable  objects",
        "all          4     -           0  1 to 4, 2.5 on average",
        "",
    ]


def test_damaged_files_are_counted_and_the_first_is_named(run, tmp_path):
    write(tmp_path)
    for number in (1, 3):
        (tmp_path / f"images/{number}.png").write_bytes(b"no picture")
    code, text, errors = run("folder", "--split", "all", "--option", f"root={tmp_path}")
    assert code == 2
    assert "all          4     -           2  1 to 3" in text
    (sentence,) = [line for line in errors.split("\n") if line.startswith("error: ")]
    assert "split 'all' of folder has 2 faults, the first: " in sentence
    assert "1.png cannot be read as a picture" in sentence


def test_a_split_that_cannot_be_opened(run, tmp_path):
    code, text, errors = run("clevrtex", "--option", f"root={tmp_path}", "--split", "test")
    assert code == 2
    assert "test         0  5,000         all  no labels" in text
    assert "split 'test' of clevrtex has one fault: root" in errors
    code, _, errors = run("clevr", "--option", "size=3")
    assert code == 2
    assert "dataset 'clevr' has no option 'size'" in errors


def test_numbers_are_compared_with_the_card():
    card = catalog.card("shapes")
    report, dataset = open_split(card, "test", {"image_size": 32})
    assert dataset is not None
    assert (report.samples, report.expected) == (512, 512)
    assert report.complete
    assert verdict(card, [report]) == ""
    report.samples -= 1
    assert verdict(card, [report]) == (
        "shapes is not what its card says: 'test' has 511 samples and not 512"
    )
    other, dataset = open_split(card, "test", {"num_samples": 3})
    assert (other.samples, other.expected) == (3, None)
    assert dataset is not None
    assert sum(1 for _ in read_all(dataset, other, 0)) == 3
    assert other.objects.total() == 3
    assert verdict(card, [other]) == ""
    assert table([other]).startswith("split  samples  card  unreadable  objects\ntest         3")


def test_labels_below_the_background_are_a_fault():
    class Wrong(Shapes):
        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            sample["labels"] = torch.full((1, 64, 64), -1)
            return sample

    report, _ = open_split(catalog.card("shapes"), "test", {"num_samples": 1})
    list(read_all(Wrong("test", num_samples=1), report, 0))
    assert report.faults == ["sample 'test-0-000000' has the label -1, below 0"]


def test_splits_that_are_unions_are_left_out():
    assert splits_of(catalog.card("voc")) == ["train", "validation", "trainaug"]
    assert splits_of(catalog.card("clevrtex")) == ["train", "validation", "test"]
