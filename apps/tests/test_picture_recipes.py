"""The recipes of pictures have the reference's settings and train on files in their layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import train
from slot_data import Shapes
from support.command_line import run


def write_clevrtex(root: Path) -> None:
    """A scene of each split."""
    for number in (0, 5_000, 10_000):
        folder = root / "clevrtex_full" / str(number // 1000)
        folder.mkdir(parents=True, exist_ok=True)
        sample = Shapes(image_size=256)[number]
        stem = folder / f"CLEVRTEX_full_{number:06d}"
        picture = Image.fromarray(sample["video"][0].permute(1, 2, 0).numpy()).convert("RGBA")
        picture.resize((320, 240)).save(f"{stem}.png")
        mask = Image.fromarray(sample["labels"][0].numpy())  # pyright: ignore[reportTypedDictNotRequiredAccess] (shapes has labels)
        mask.putpalette(bytes(range(42)))
        mask.resize((320, 240)).save(f"{stem}_flat.png")


def write_celeba(root: Path) -> None:
    """Two pictures of each split."""
    (root / "img_align_celeba").mkdir()
    for number in range(6):
        pixels = Shapes(image_size=256)[number]["video"][0].permute(1, 2, 0).numpy()
        picture = Image.fromarray(pixels).resize((178, 218))
        picture.save(root / f"img_align_celeba/{number + 1:06d}.jpg")
    lines = "".join(f"{number + 1:06d}.jpg {number // 2}\r\n" for number in range(6))
    (root / "list_eval_partition.txt").write_bytes(lines.encode())


@pytest.mark.parametrize(
    ("name", "write"), [("clevrtex", write_clevrtex), ("celeba", write_celeba)]
)
def test_pictures_train_two_steps_on_files_in_their_layout(tmp_path, tiny, name, write):
    write(tmp_path)
    arguments = tiny(
        tmp_path / "run",
        recipe=f"slot_attention/{name}",
        without=("data.name", "data.num_samples"),
        **{
            "data.root": str(tmp_path),
            "data.num_workers": 0,
            "train.num_steps": 2,
            "validation.num_pictures": 1,
        },
    )
    with pytest.raises(SystemExit) as stopped:
        run(train.main, arguments)
    assert not stopped.value.code
    assert (tmp_path / "run" / "pictures" / "validation-00000002.png").exists()
    result = tmp_path / "run" / "test" / "result.json"
    assert result.exists() == (name == "clevrtex"), "faces have no masks to score against"
    if name == "clevrtex":
        settings = json.loads(result.read_text())["settings"]
        assert (settings["preset"], settings["split"]) == ("slotdiffusion", "test")
        assert settings["label_resize"] == "nearest", "what the preset sets stands beside its name"
