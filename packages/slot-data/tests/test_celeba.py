"""CelebA in both nestings; its real pictures may not be passed on, so these are made here."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from slot_data import DataError, catalog, load_dataset_by_name
from slot_data.celeba import SPLITS, read_partition

FLAT = ("img_align_celeba", "list_eval_partition.txt")
PUBLISHED = ("Img/img_align_celeba", "Eval/list_eval_partition.txt")
NUMBERS = {1: 0, 2: 0, 162770: 0, 162771: 1, 182637: 1, 182638: 2, 202599: 2}


def write(root, layout=FLAT, end="\r\n"):
    folder, partition = (root / place for place in layout)
    folder.mkdir(parents=True)
    partition.parent.mkdir(parents=True, exist_ok=True)
    for number in NUMBERS:
        pixels = np.random.default_rng(number).integers(256, size=(218, 178, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:06d}.jpg")
    lines = [f"{number:06d}.jpg {split}{end}" for number, split in NUMBERS.items()]
    partition.write_bytes("".join(lines).encode())
    return folder


def load(root, split="train", **options):
    return load_dataset_by_name("celeba", split=split, root=root, **options)


def numbers_of(dataset):
    return [int(sample["id"]) for sample in dataset]


@pytest.mark.parametrize("layout", [FLAT, PUBLISHED])
@pytest.mark.parametrize("below", ["", "celeba", "CelebA"])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_both_nestings_and_both_line_ends(tmp_path, layout, below, end):
    write(tmp_path / below, layout, end)
    for split, number in (("train", 0), ("validation", 1), ("test", 2)):
        expected = [name for name, part in NUMBERS.items() if part == number]
        assert numbers_of(load(tmp_path, split)) == expected
    assert numbers_of(load(tmp_path, "all")) == list(NUMBERS)


def test_the_published_list_divides_as_the_card_says(tmp_path):
    """The list is so regular that it can be written here; the hash is torchvision's, of the file
    that is downloaded."""
    path = tmp_path / "list_eval_partition.txt"
    bounds = ((1, 0), (162_771, 1), (182_638, 2), (202_600, 3))
    path.write_bytes(
        b"".join(
            f"{number:06d}.jpg {split}\r\n".encode()
            for (start, split), (stop, _) in pairwise(bounds)
            for number in range(start, stop)
        )
    )
    assert hashlib.md5(path.read_bytes()).hexdigest() == "d32c9cbf5e040fd4025c592c306e6668"
    names, numbers = read_partition(path)
    card = catalog.card("celeba")
    for split, number in SPLITS.items():
        assert (numbers == number).sum() == card.splits[split]
    assert len(names) == len(set(names)) == card.splits["all"]


def test_pixels_are_those_of_the_files(tmp_path):
    folder = write(tmp_path)
    sample = load(tmp_path, fit="file")[1]
    pixels = np.asarray(Image.open(folder / "000002.jpg"))
    assert set(sample) == {"video", "id"}
    assert sample["id"] == "000002"
    assert np.array_equal(sample["video"][0].permute(1, 2, 0).numpy(), pixels)


def test_slotdiffusion_stretches_without_antialiasing(tmp_path):
    folder = write(tmp_path)
    sample = load(tmp_path, preset="slotdiffusion")[0]
    pixels = torch.from_numpy(np.array(Image.open(folder / "000001.jpg"))).permute(2, 0, 1)
    expected = F.interpolate(pixels[None].double(), (128, 128), mode="bilinear")
    assert (sample["video"] - expected).abs().max() <= 0.5 + 1e-3
    assert not torch.equal(sample["video"], load(tmp_path)[0]["video"])


def test_faults_are_named(tmp_path):
    with pytest.raises(DataError, match=r"celeba holds none of img_align_celeba, Img/img_align_c"):
        load(tmp_path)
    folder = write(tmp_path)
    partition = tmp_path / "list_eval_partition.txt"
    with pytest.raises(DataError, match="split 'val' of celeba is not one of train, validation"):
        load(tmp_path, "val")
    with pytest.raises(IndexError):
        load(tmp_path)[3]
    (folder / "000002.jpg").write_bytes((folder / "000002.jpg").read_bytes()[:900])
    with pytest.raises(DataError, match=r"000002.jpg cannot be read as a picture"):
        load(tmp_path)[1]
    (folder / "000002.jpg").unlink()
    with pytest.raises(
        DataError, match=r"1 of the 3 pictures of split 'train' are missing in .*; 000002.jpg is"
    ):
        load(tmp_path)
    assert len(load(tmp_path, "test")) == 2
    partition.write_text("<html>Quota exceeded</html>\n")
    with pytest.raises(DataError, match=r"line 1 of .* is '<html>Quota exceeded</html>'; expected"):
        load(tmp_path)
    partition.write_text("000001.jpg 2\n")
    with pytest.raises(DataError, match="names no picture of split 'train'"):
        load(tmp_path)
    partition.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"list .* of celeba cannot be read"):
        load(tmp_path)
    partition.unlink()
    with pytest.raises(DataError, match=r"holds none of list_eval_partition.txt, Eval/list_eval_p"):
        load(tmp_path)
