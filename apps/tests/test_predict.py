"""predict.py on pictures of every kind: what it writes is what the model says."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from predicting import (
    NUM_SLOTS,
    SCRIPT,
    SLOT_DIM,
    ending,
    files,
    noise,
    read,
    save,
    sentence,
    tiny_model,
)

import predict
from slot_core.protocols import MaskSource
from slot_data import Shapes
from slot_decoders.models import SlotAutoencoder
from slot_eval.predictions import check_same_ids, open_labels
from support import places
from support.pictures import colour


@pytest.fixture(scope="module")
def model() -> SlotAutoencoder:
    return tiny_model()


@pytest.fixture(scope="module")
def checkpoint(model: SlotAutoencoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def as_video(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).movedim(-1, 0)[None, None].float() / 255


def expected_labels(
    model: SlotAutoencoder, picture: np.ndarray, source: MaskSource | None = None
) -> np.ndarray:
    return model.segment(as_video(picture), source=source)[0, 0].argmax(0).numpy()


@pytest.mark.slow
def test_the_script_writes_everything_and_says_so(checkpoint: Path, pictures: Path, out: Path):
    for index, name in enumerate(["b.png", "a.jpeg", "deep/er/c.bmp"]):
        video = Shapes("test", image_size=48)[index]["video"]
        save(video[0].movedim(0, -1).numpy(), pictures / name)
    (pictures / "notes.txt").write_text("no picture")
    save(noise(8, 8), pictures / ".thumbnails" / "a.png")
    command = [sys.executable, SCRIPT, checkpoint, pictures, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"3 pictures, 5 slots each; in {out}:\n")
    written = files(out)
    cutouts = {name for name in written if name.startswith("slots/")}
    assert written.keys() - cutouts == {
        *(f"{kind}/{name}.png" for kind in ("labels", "overlays") for name in ("a", "b")),
        "labels/deep/er/c.png",
        "overlays/deep/er/c.png",
        "slots.npz",
        "overview.png",
    }
    assert {Path(name).parent.as_posix() for name in cutouts} == {
        "slots/a",
        "slots/b",
        "slots/deep/er/c",
    }


def kinds_of_pictures() -> dict[str, tuple[np.ndarray, dict[str, Any], np.ndarray]]:
    """Name -> pixels to save, how, and the colours that the model should see."""
    upright = noise(24, 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned clockwise by a quarter to be upright
    turned = np.ascontiguousarray(np.rot90(upright))
    grey, clear = noise(30, 30, 1), noise(33, 21, 4)
    deep = np.random.default_rng(0).integers(0, 2**16, (20, 28)).astype(np.uint16)
    on_white = Image.new("RGBA", (21, 33), "white")
    on_white.alpha_composite(Image.fromarray(clear))
    return {
        "wide.png": (noise(18, 70), {}, noise(18, 70)),
        "rotated.png": (turned, {"exif": exif}, upright),
        "grey.png": (grey, {}, np.repeat(grey[..., None], 3, 2)),
        "clear.webp": (clear, {"lossless": True, "exact": True}, np.array(on_white)[..., :3]),
        "deep.png": (deep, {}, np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, 2)),
        "tiny.bmp": (noise(1, 3), {}, noise(1, 3)),
    }


@pytest.mark.parametrize("name", kinds_of_pictures())
def test_files_are_what_the_model_says(
    name: str, model: SlotAutoencoder, checkpoint: Path, pictures: Path, out: Path
):
    stored, options, seen = kinds_of_pictures()[name]
    save(stored, pictures / name, **options)
    assert ending(checkpoint, pictures / name, "--out", out) == 0

    stem, labels = Path(name).stem, expected_labels(model, seen)
    image = Image.open(out / "labels" / f"{stem}.png")
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), labels)
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), colour(1 + labels))
    assert read(out / "overlays" / f"{stem}.png").shape == seen.shape

    pieces = {path.name: read(path) for path in (out / "slots" / stem).iterdir()}
    assert pieces.keys() == {f"slot_{slot:02d}.png" for slot in np.unique(labels)}
    for slot in np.unique(labels):
        piece = pieces[f"slot_{slot:02d}.png"]
        np.testing.assert_array_equal(piece[..., 3], np.where(labels == slot, 255, 0))
        np.testing.assert_array_equal(piece[labels == slot, :3], seen[labels == slot])

    with np.load(out / "slots.npz") as saved:
        assert saved["ids"].tolist() == [stem]
        expected = model.encode(as_video(seen)).slots[0].numpy()
        np.testing.assert_array_equal(saved["slots"], expected)


def test_more_than_one_slot_is_found(model: SlotAutoencoder):
    # Otherwise the tests above would compare constants.
    assert len(np.unique(expected_labels(model, noise(18, 70)))) > 1


def test_sizes_mix_and_batches_change_nothing(checkpoint: Path, pictures: Path, tmp_path: Path):
    sizes = [(20, 30), (30, 20), (20, 30), (20, 30), (16, 16)]
    for index, (height, width) in enumerate(sizes):
        save(noise(height, width, seed=index), pictures / f"{index}.png")
    for batch_size in (1, 2):
        folder = tmp_path / str(batch_size)
        assert ending(checkpoint, pictures, "--out", folder, "--batch-size", batch_size) == 0
    with np.load(tmp_path / "1" / "slots.npz") as one, np.load(tmp_path / "2" / "slots.npz") as two:
        assert one["ids"].tolist() == two["ids"].tolist() == ["0", "1", "2", "3", "4"]
        np.testing.assert_allclose(one["slots"], two["slots"], atol=1e-4)
    for index, size in enumerate(sizes):
        found = [read(tmp_path / str(batch) / f"labels/{index}.png") for batch in (1, 2)]
        assert found[0].shape == size
        assert (found[0] == found[1]).mean() > 0.99  # ties may fall either way


def test_no_picture_waits_for_ever_or_twice(pictures: Path, monkeypatch: pytest.MonkeyPatch):
    sizes = [(8, 8), (4, 8), (8, 8), (8, 4), (2, 2), (8, 8), (16, 16)]
    paths = {str(index): pictures / f"{index}.png" for index in range(len(sizes))}
    for (height, width), path in zip(sizes, paths.values(), strict=True):
        save(noise(height, width), path)
    monkeypatch.setattr(places, "MAX_WAITING_PIXELS", 96)
    found = [sorted(batch) for batch in places.batches(paths, batch_size=3, max_pixels=128)]
    # 0 and 2 fill a batch of 128 pixels; 1, 3 and 4 wait within the limit until 5 joins them,
    # and then the oldest goes; 6 is a batch of its own.
    assert found == [["0", "2"], ["1"], ["6"], ["3"], ["4"], ["5"]]


def test_source_chooses_the_masks(
    model: SlotAutoencoder, checkpoint: Path, pictures: Path, tmp_path: Path
):
    picture = save(noise(32, 32), pictures / "a.png")
    for source in get_args(MaskSource):
        folder = tmp_path / source
        assert ending(checkpoint, pictures, "--out", folder, "--source", source) == 0
        expected = expected_labels(model, picture, source=source)
        np.testing.assert_array_equal(read(folder / "labels/a.png"), expected)


def test_random_first_slots_are_drawn_alike(pictures: Path, tmp_path: Path):
    model = tiny_model(initializer="gaussian")
    model.save_pretrained(tmp_path / "model")
    picture = save(noise(32, 32), pictures / "a.png")
    for again in ("one", "two"):
        assert ending(tmp_path / "model", pictures, "--out", tmp_path / again) == 0
        torch.rand(1)  # the state of torch's own generator must not matter
    assert files(tmp_path / "one") == files(tmp_path / "two")
    drawn = torch.Generator().manual_seed(predict.SEED)
    slots = model.encode(as_video(picture), generator=drawn).slots[0].numpy()
    with np.load(tmp_path / "one" / "slots.npz") as saved:
        np.testing.assert_array_equal(saved["slots"], slots)


def test_more_slots_than_in_training(pictures: Path, tmp_path: Path):
    tiny_model(initializer="gaussian").save_pretrained(tmp_path / "model")
    save(noise(32, 32), pictures / "a.png")
    words = ["--out", tmp_path / "out", "--model-option", "num_slots=9"]
    assert ending(tmp_path / "model", pictures, *words) == 0
    with np.load(tmp_path / "out" / "slots.npz") as saved:
        assert saved["slots"].shape[1] == 9


def test_a_training_run_is_a_checkpoint(model: SlotAutoencoder, tmp_path: Path, pictures: Path):
    model.save_pretrained(tmp_path / "run/checkpoints/last/model")
    save(noise(8, 8), pictures / "a.png")
    assert ending(tmp_path / "run", pictures, "--out", tmp_path / "out") == 0


def test_labels_can_be_scored(checkpoint: Path, pictures: Path, tmp_path: Path, out: Path):
    for index, name in enumerate(["a.jpg", "deep/b.png"]):
        save(noise(20, 20, seed=index), pictures / name)
        save(noise(20, 20, 1) % 3, tmp_path / "truth" / Path(name).with_suffix(".png"))
    assert ending(checkpoint, pictures, "--out", out) == 0
    found = open_labels(out / "labels")
    check_same_ids(found, open_labels(tmp_path / "truth"))
    np.testing.assert_array_equal(found.load("deep/b")[0], read(out / "labels/deep/b.png"))


def test_the_overview_shows_the_first_eight(checkpoint: Path, pictures: Path, tmp_path: Path):
    for index in range(8):
        save(noise(16, 16, seed=index), pictures / f"{index}.png")
    assert ending(checkpoint, pictures, "--out", tmp_path / "eight") == 0
    save(noise(16, 16), pictures / "9.png")
    assert ending(checkpoint, pictures, "--out", tmp_path / "nine") == 0
    eight, nine = (read(tmp_path / name / "overview.png") for name in ("eight", "nine"))
    assert eight.shape == nine.shape
    assert eight.shape[0] > 8 * 128


# ---------------------------------------------------------------------- what users get wrong


def test_a_missing_checkpoint(tmp_path: Path, pictures: Path, out: Path, capsys):
    save(noise(8, 8), pictures / "a.png")
    assert ending(tmp_path / "none", pictures, "--out", out) == 2
    assert f"{tmp_path / 'none'}: there is no such folder" in sentence(capsys)
    assert not out.exists()


def test_missing_pictures(checkpoint: Path, tmp_path: Path, out: Path, capsys):
    assert ending(checkpoint, tmp_path / "none", "--out", out) == 2
    assert f"{tmp_path / 'none'}: there is no such picture, video or folder" in sentence(capsys)


def test_a_folder_without_pictures(checkpoint: Path, pictures: Path, out: Path, capsys):
    (pictures / "notes.txt").write_text("no picture")
    assert ending(checkpoint, pictures, "--out", out) == 2
    told = sentence(capsys)
    assert f"{pictures}: holds no picture and no video; expected files ending in .avi, .bmp" in told


def test_a_file_that_is_no_picture(checkpoint: Path, pictures: Path, out: Path, capsys):
    (pictures / "notes.txt").write_text("no picture")
    assert ending(checkpoint, pictures / "notes.txt", "--out", out) == 2
    assert "notes.txt: is no picture and no video; expected a file ending in .avi" in sentence(
        capsys
    )


def test_a_picture_of_a_kind_that_is_not_read(checkpoint: Path, pictures: Path, out: Path, capsys):
    save(noise(8, 8), pictures / "a.png")
    save(noise(8, 8), pictures / "b.gif")
    assert ending(checkpoint, pictures, "--out", out) == 2
    assert f"{pictures / 'b.gif'} is a picture of a kind that is not read" in sentence(capsys)


def test_two_pictures_of_one_name(checkpoint: Path, pictures: Path, out: Path, capsys):
    save(noise(8, 8), pictures / "a.png")
    save(noise(8, 8), pictures / "a.bmp")
    assert ending(checkpoint, pictures, "--out", out) == 2
    assert "a.png: would be written to the same files as a.bmp" in sentence(capsys)


def test_a_truncated_picture_takes_nothing_from_those_before(
    checkpoint: Path, pictures: Path, out: Path, capsys
):
    for name in ("a.png", "b.png", "c.png"):
        save(noise(24, 24), pictures / name)
    broken = pictures / "b.png"
    broken.write_bytes(broken.read_bytes()[:900])
    assert ending(checkpoint, pictures, "--out", out, "--batch-size", 1) == 2
    assert str(broken) in sentence(capsys)
    assert [path.name for path in (out / "labels").iterdir()] == ["a.png"]
    with np.load(out / "slots.npz") as saved:
        assert saved["ids"].tolist() == ["a"]
    assert (out / "overview.png").exists()


def test_an_output_folder_in_use(checkpoint: Path, pictures: Path, out: Path, capsys):
    save(noise(8, 8), pictures / "a.png")
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    assert ending(checkpoint, pictures, "--out", out) == 2
    assert f"{out}: holds files already" in sentence(capsys)
    assert files(out) == {"mine.txt": b"keep"}


def test_an_output_folder_among_the_pictures(checkpoint: Path, pictures: Path, capsys):
    save(noise(8, 8), pictures / "a.png")
    assert ending(checkpoint, pictures, "--out", pictures / "out") == 2
    assert f"{pictures / 'out'}: lies in {pictures}" in sentence(capsys)


def test_an_output_folder_that_is_a_file(checkpoint: Path, pictures: Path, out: Path, capsys):
    save(noise(8, 8), pictures / "a.png")
    out.write_text("a file")
    assert ending(checkpoint, pictures, "--out", out) == 2
    assert f"{out}: is no folder to write to" in sentence(capsys)
    assert ending(checkpoint, pictures, "--out", out / "deeper") == 2
    assert "cannot be written" in sentence(capsys)


def test_a_full_disk(checkpoint: Path, pictures: Path, out: Path, capsys):
    save(noise(64, 64), pictures / "a.png")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        assert ending(checkpoint, pictures, "--out", out) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be written" in sentence(capsys)


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--device", "abacus", "abacus"),
        ("--source", "oracle", "'encoder', 'decoder'"),
        ("--batch-size", "0", "greater than or equal to 1"),
    ],
)
def test_an_impossible_option(
    option: str, value: str, named: str, checkpoint: Path, pictures: Path, out: Path, capsys
):
    save(noise(8, 8), pictures / "a.png")
    assert ending(checkpoint, pictures, "--out", out, option, value) == 2
    told = sentence(capsys)
    assert option in told
    assert named in told


def test_more_slots_than_a_label_file_holds(pictures: Path, tmp_path: Path, out: Path, capsys):
    tiny_model(num_slots=257).save_pretrained(tmp_path / "model")
    save(noise(8, 8), pictures / "a.png")
    assert ending(tmp_path / "model", pictures, "--out", out) == 2
    assert "has 257 slots; a label PNG tells 256 apart" in sentence(capsys)


def test_photos(checkpoint: Path, pictures: Path, out: Path):
    """Real photos, each of another size."""
    data = os.environ.get("SLOT_REFERENCE_DATA")
    if data is None:
        pytest.skip("SLOT_REFERENCE_DATA is not set")
    photos = sorted(Path(data, "samples/coco/images").rglob("*.jpg"))
    of_size = {Image.open(photo).size: photo for photo in photos}
    sizes = {photo.stem: size for size, photo in sorted(of_size.items())[:4]}
    assert len(sizes) == 4
    for photo in of_size.values():
        if photo.stem in sizes:
            (pictures / photo.name).symlink_to(photo)
    assert ending(checkpoint, pictures, "--out", out) == 0
    for name, size in sizes.items():
        labels = Image.open(out / "labels" / f"{name}.png")
        assert labels.size == size
        assert np.asarray(labels).max() < NUM_SLOTS
    with np.load(out / "slots.npz") as saved:
        assert saved["ids"].tolist() == sorted(sizes)
        assert saved["slots"].shape == (4, NUM_SLOTS, SLOT_DIM)
