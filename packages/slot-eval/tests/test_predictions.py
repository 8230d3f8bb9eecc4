"""Label files: what is written is read back, and every broken file is one clear sentence."""

import io

import numpy as np
import pytest
import torch

from slot_eval.errors import EvalError
from slot_eval.predictions import check_same_ids, open_labels, save_labels

IDS = np.array(["a", "b/c"])
LABELS = np.arange(2 * 3 * 4 * 5, dtype=np.int64).reshape(2, 3, 4, 5)


@pytest.fixture
def write(tmp_path):
    """Write arrays into an .npz and return its path."""

    def write_arrays(name="labels.npz", **arrays):
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return write_arrays


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64])
def test_npz_of_every_integer_type(write, dtype):
    labels = open_labels(write(ids=IDS, labels=LABELS.astype(dtype)))
    assert labels.ids == ("a", "b/c")
    assert labels.load("b/c").tolist() == LABELS[1].tolist()
    assert labels.overlap("a") is None


def test_npz_of_pictures_are_clips_of_one_frame(write):
    labels = open_labels(write(ids=IDS, labels=LABELS[:, 0], overlap=LABELS[:, 0] > 3))
    assert labels.load("a").shape == (1, 4, 5)
    overlap = labels.overlap("a")
    assert overlap is not None
    assert torch.equal(overlap, labels.load("a") > 3)


@pytest.mark.parametrize("largest", [3, 300, 70_000])
def test_saved_labels_are_read_back(tmp_path, largest):
    labels = torch.arange(largest - 7, largest + 1).view(2, 1, 2, 2)
    save_labels(tmp_path / "out.npz", ["x", "y"], labels)
    read = open_labels(tmp_path / "out.npz")
    assert read.ids == ("x", "y")
    assert read.load("y").tolist() == labels[1].tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["out.npz"]


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"ids": IDS}, "labels is missing"),
        ({"ids": IDS, "labels": LABELS, "masks": LABELS}, "found masks"),
        ({"ids": IDS, "labels": LABELS.astype(float)}, "labels must be integers, not float64"),
        ({"ids": IDS, "labels": LABELS - 60}, "the labels of 'a' are negative somewhere"),
        ({"ids": IDS, "labels": LABELS[:1]}, r"with N = 2, not \[1, 3, 4, 5\]"),
        ({"ids": IDS, "labels": LABELS[0, 0]}, r"\[N T H W\] or \[N H W\]"),
        ({"ids": np.array(["a", "a"]), "labels": LABELS}, "the id 'a' occurs more than once"),
        ({"ids": np.array([1, 2]), "labels": LABELS}, "ids must be a list of unicode strings"),
        ({"ids": IDS.astype(object), "labels": LABELS}, "holds pickled data"),
        ({"ids": IDS, "labels": LABELS, "overlap": LABELS > 0}, None),
        ({"ids": IDS, "labels": LABELS, "overlap": LABELS}, "overlap must be bool"),
    ],
)
def test_wrong_content_is_one_sentence(write, arrays, sentence):
    path = write(**arrays)
    if sentence is None:
        open_labels(path)
        return
    with pytest.raises(EvalError, match=sentence) as caught:
        open_labels(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_damaged_files_are_one_sentence(write, tmp_path):
    whole = write(ids=IDS, labels=LABELS).read_bytes()
    single = io.BytesIO()
    np.save(single, LABELS)
    damaged = {
        "half.npz": whole[: len(whole) // 2],
        "flipped.npz": whole[:200] + bytes(255 - b for b in whole[200:260]) + whole[260:],
        "text.npz": b"id,label\n",
        "empty.npz": b"",
        "single.npz": single.getvalue(),
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(EvalError, match=name) as caught:
            open_labels(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_paths_that_hold_no_labels(tmp_path):
    with pytest.raises(EvalError, match="no such file or folder"):
        open_labels(tmp_path / "nowhere.npz")
    with pytest.raises(EvalError, match=r"holds no \.png file"):
        open_labels(tmp_path)
    (tmp_path / "labels.pt").write_bytes(b"x")
    with pytest.raises(EvalError, match=r"expected an \.npz file or a folder of label PNGs"):
        open_labels(tmp_path / "labels.pt")


def test_ids_must_be_the_same(write):
    two = open_labels(write("two.npz", ids=IDS, labels=LABELS))
    one = open_labels(write("one.npz", ids=IDS[:1], labels=LABELS[:1]))
    check_same_ids(two, two)
    with pytest.raises(EvalError, match=r"one\.npz: lacks sample 'b/c' of .*two\.npz"):
        check_same_ids(one, two)
    with pytest.raises(EvalError, match=r"two\.npz: has sample 'b/c', unknown to .*one\.npz"):
        check_same_ids(two, one)


@pytest.fixture
def image():
    """Pillow's Image module."""
    return pytest.importorskip("PIL.Image")


def test_png_forms(tmp_path, image):
    (tmp_path / "deep").mkdir()
    labels = np.array([[0, 1, 2], [250, 4, 5]], dtype=np.uint8)
    image.fromarray(labels).save(tmp_path / "grey.png")
    palette = image.fromarray(labels)
    palette.putpalette(list(range(255, -1, -1)) * 3)
    palette.save(tmp_path / "deep" / "palette.v2.png")
    wide = labels.astype(np.uint16) * 200
    image.fromarray(wide).save(tmp_path / "deep" / "wide.png")
    read = open_labels(tmp_path)
    assert set(read.ids) == {"grey", "deep/palette.v2", "deep/wide"}
    assert read.load("grey").tolist() == [labels.tolist()]
    assert read.load("deep/palette.v2").tolist() == [labels.tolist()]
    assert read.load("deep/wide").tolist() == [wide.tolist()]
    assert read.overlap("grey") is None


def test_png_errors_name_the_file(tmp_path, image):
    image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(tmp_path / "colour.png")
    image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    labels = open_labels(tmp_path)
    with pytest.raises(EvalError, match=r"colour\.png: .* this one has mode RGB"):
        labels.load("colour")
    for name in ("cut", "text"):
        with pytest.raises(EvalError, match=rf"{name}\.png: cannot be read as a PNG"):
            labels.load(name)


def test_labels_beyond_the_largest_integer_of_torch_are_refused(tmp_path):
    labels = np.full((1, 2, 2), 2**63, dtype=np.uint64)
    np.savez(tmp_path / "wide.npz", ids=np.array(["a"]), labels=labels)
    with pytest.raises(EvalError, match="labels go up to 9223372036854775808, more than 64 bits"):
        open_labels(tmp_path / "wide.npz")
