"""``slot-eval score`` of painted pictures, and reports of what files hold."""

import json
import struct

import numpy as np
import pytest
import torch

from slot_eval import protocols
from slot_eval.picture_files import open_pictures

PICTURES = ("--protocol", "reconstruction")


@pytest.fixture
def painted():
    """Four clips of two frames, and the truth, uint8."""
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(0, 256, (4, 2, 3, 16, 20), generator=generator, dtype=torch.uint8)
    noise = torch.randint(-40, 40, true.shape, generator=generator)
    return (true + noise).clamp(0, 255).to(torch.uint8), true


@pytest.fixture
def files(tmp_path, painted):
    """Both as .npz files."""
    for name, values in zip(("painted", "true"), painted, strict=True):
        ids = np.array([f"clip{number}" for number in range(4)])
        np.savez(tmp_path / f"{name}.npz", ids=ids, pictures=values.numpy())
    return tmp_path / "painted.npz", tmp_path / "true.npz"


def test_pictures_are_scored_as_the_protocol_scores_videos(cli, files, painted, tmp_path):
    predicted, true = files
    arguments = ("score", predicted, "--truth", true, *PICTURES, "--rows", "--report")
    code, shown, _ = cli(*arguments, "--out", tmp_path / "out")
    assert code == 0
    expected = protocols.RECONSTRUCTION.score(*(video.float() / 255 for video in painted))
    rows = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").read_text().splitlines()]
    for name, values in expected.items():
        assert [row[name] for row in rows] == pytest.approx(values.tolist())
        assert name in shown
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert (result["protocol"], result["num_samples"]) == ("reconstruction", 4)
    assert (tmp_path / "out/report.html").read_text().count("<img") == 2 * 4


def test_folders_of_pictures_and_of_clips_say_the_same_as_arrays(cli, files, painted, tmp_path):
    image = pytest.importorskip("PIL.Image")
    for side, clips in zip(("a", "b"), painted, strict=True):
        for number, clip in enumerate(clips):
            (tmp_path / side / f"clip{number}").mkdir(parents=True)
            for time, frame in enumerate(clip):
                place = tmp_path / side / f"clip{number}" / f"{time}.png"
                image.fromarray(frame.permute(1, 2, 0).numpy()).save(place)
    sides = ("score", tmp_path / "a", "--truth", tmp_path / "b", *PICTURES)
    assert cli("score", files[0], "--truth", files[1], *PICTURES, "--out", tmp_path / "npz")[0] == 0
    assert cli(*sides, "--clips", "--out", tmp_path / "clips")[0] == 0
    assert cli(*sides, "--out", tmp_path / "pictures")[0] == 0
    of_arrays, of_clips, of_pictures = (
        json.loads((tmp_path / name / "result.json").read_text())
        for name in ("npz", "clips", "pictures")
    )
    assert of_arrays["metrics"] == of_clips["metrics"]
    assert of_pictures["num_samples"] == 8
    assert of_pictures["metrics"]["mse"]["mean"] == pytest.approx(
        of_clips["metrics"]["mse"]["mean"]
    )


def test_pictures_are_read_as_a_data_set_of_pictures_reads_them(tmp_path):
    image = pytest.importorskip("PIL.Image")
    from PIL.PngImagePlugin import PngInfo

    grey = np.arange(0, 240, 20, dtype=np.uint8).reshape(3, 4)
    image.fromarray(grey.astype(np.uint16) * 256 + 77).save(tmp_path / "deep.png")
    half = np.full((3, 4), 128, np.uint8)
    image.fromarray(np.stack([grey, grey, grey, half], axis=2)).save(tmp_path / "clear.png")
    image.fromarray(np.stack([grey, half], axis=2)).save(tmp_path / "clear_grey.png")
    palette = image.fromarray(grey).convert("P")
    palette.save(tmp_path / "palette.png", transparency=int(np.array(palette)[0, 1]))
    exif = image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns, right to left
    image.fromarray(grey).save(tmp_path / "turned.png", exif=exif)
    # The same, and a resolution that is a text; and EXIF that is no hexadecimal number.
    odd = struct.pack("<HHIIHHI4s", 0x0112, 3, 1, 6, 0x011A, 2, 3, b"72")
    odd = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + odd + bytes(4)
    image.fromarray(grey).save(tmp_path / "turned_oddly.png", exif=odd)
    damaged = PngInfo()
    damaged.add_text("Raw profile type exif", "\nexif\n2\nzz")
    image.fromarray(grey).save(tmp_path / "damaged.png", pnginfo=damaged)
    over_white = np.round((grey * 128.0 + 255 * 127) / 255)
    with_hole = grey.copy()
    with_hole[0, 1] = 255
    pictures = open_pictures(tmp_path)
    for name, expected in {
        "deep": grey,
        "clear": over_white,
        "clear_grey": over_white,
        "palette": with_hole,
        "turned": grey.T[:, ::-1],
        "turned_oddly": grey.T[:, ::-1],
        "damaged": grey,
    }.items():
        found = pictures.load(name)
        assert found.dtype == torch.uint8
        assert found.tolist() == [[expected.astype(int).tolist()] * 3]


def test_lpips_of_pictures(cli, tmp_path):
    pytest.importorskip("torchmetrics")
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path / "squeezenet.pth")
    values = np.random.default_rng(0).integers(0, 256, (2, 2, 3, 64, 64), dtype=np.uint8)
    for name, pictures in zip(("painted", "true"), values, strict=True):
        np.savez(tmp_path / f"{name}.npz", ids=np.array(["a", "b"]), pictures=pictures)
    files = (tmp_path / "painted.npz", "--truth", tmp_path / "true.npz")
    lpips = ("--lpips", "squeeze", "--lpips-weights", tmp_path / "squeezenet.pth")
    code, _, _ = cli("score", *files, *PICTURES, *lpips, "--out", tmp_path / "out")
    assert code == 0
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert result["metrics"]["lpips"]["n"] == 2
    assert result["metrics"]["lpips"]["mean"] > 0
    assert result["settings"]["lpips"] == "squeeze"


def test_a_report_of_labels_gives_matched_segments_one_colour(cli, tmp_path, draw):
    from slot_eval.exhibits import renumbered

    predicted, true = draw(5, 2, 12, 10, agree=0.9)
    for name, labels in (("predicted", predicted), ("true", true)):
        ids = np.array([f"clip{number}" for number in range(5)])
        np.savez(tmp_path / f"{name}.npz", ids=ids, labels=labels.numpy())
    files = (tmp_path / "predicted.npz", "--truth", tmp_path / "true.npz")
    code, _, _ = cli("score", *files, "--report", "--out", tmp_path / "out")
    assert code == 0
    text = (tmp_path / "out/report.html").read_text()
    assert "Worst by fg_ari" in text
    assert text.count("<img") == 2 * 5  # files say nothing of pictures
    exact = torch.tensor([[[4, 4, 9], [4, 9, 7]]])
    truth = torch.tensor([[[0, 0, 2], [0, 2, 2]]])
    assert renumbered(exact, truth).tolist() == [[[0, 0, 2], [0, 2, 4]]]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        ({"pictures": np.zeros((2, 3, 16, 16))}, "pictures must be uint8, not float64"),
        ({"pictures": np.zeros((2, 16, 16, 3), np.uint8)}, "pictures must be [N T 3 H W] or"),
        ({"labels": np.zeros((2, 16, 16), np.uint8)}, "expected the arrays ids and pictures"),
        ({"ids": np.array(["a", "a"])}, "the id 'a' occurs more than once"),
        ({"ids": np.array(["a", "c"])}, "lacks sample 'b' of"),
        ({"pictures": np.zeros((2, 3, 16, 15), np.uint8)}, "sample 'a' is 1 frame of 16x15, in"),
    ],
)
def test_wrong_pictures_are_one_sentence(cli, tmp_path, spoil, sentence):
    good = {"ids": np.array(["a", "b"]), "pictures": np.zeros((2, 3, 16, 16), np.uint8)}
    np.savez(tmp_path / "true.npz", **good)
    np.savez(tmp_path / "painted.npz", **(good | spoil))
    files = (tmp_path / "painted.npz", "--truth", tmp_path / "true.npz")
    code, _, message = cli("score", *files, *PICTURES)
    assert code == 2
    assert message.count("\n") == 1
    assert sentence in message


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--lpips", "alex"), "--lpips compares pictures, which needs --protocol reconstruction"),
        ((*PICTURES, "--also", "idf1"), "--also is of labels"),
        ((*PICTURES, "--lpips", "resnet"), "LPIPS has the networks alex, vgg, squeeze"),
        ((*PICTURES, "--lpips-weights", "alex.pth"), "--lpips-weights belongs to --lpips"),
        (("--report",), "--report needs a folder"),
    ],
)
def test_options_that_do_not_go_together(cli, files, options, sentence):
    code, _, message = cli("score", files[0], "--truth", files[1], *options)
    assert code == 2
    assert sentence in message
