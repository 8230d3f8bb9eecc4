"""The README's commands and snippets run, in order, as a reader would type them.

Only what a reader fills in is filled in (folders in capitals), and training is cut to one step.
The two commands at the top are run in full by whoever runs the tests and the quickstart. The first
of all is started by Accelerate's launcher; the others run what it starts (typed_commands.py).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import slot_data
from slot_decoders.models import build_model, presets
from slot_decoders.models.state_dicts import get_origin
from support.options import load_options

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PARTS = ("apps", "packages", "tools")
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for part in PARTS for page in ROOT.glob(f"{part}/**/*.md"))]
)
TYPED = Path(__file__).with_name("typed_commands.py")
SHORT = {
    "train.num_steps": "1",
    "validation.num_samples": "2",
    "validation.num_pictures": "2",
    "data.splits.test": "null",
    "log.curves": "false",
}


def blocks(language: str) -> list[str]:
    """The README's code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    """Every command line of the README, without its comment."""
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


def test_the_two_commands_are_what_ci_and_the_recipes_mean():
    assert commands()[:2] == ["uv run accelerate launch apps/train.py", "uv run pytest"]
    assert "uv run pytest\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_place_that_a_page_links_to_exists(page):
    links = re.findall(r"\]\(((?!https?:)[^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        place, _, anchor = link.partition("#")
        path = (page.parent / place).resolve() if place else page
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(path / "README.md" if path.is_dir() else path), link
    assert links or page != ROOT / "README.md"


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them."""
    lines = page.read_text(encoding="utf-8").splitlines()
    heads = [line.lstrip("#").strip().lower() for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w -]", "", head).replace(" ", "-") for head in heads}


@pytest.mark.slow
def test_every_command_and_snippet_runs(tmp_path):
    fill_in(tmp_path)
    typed = []
    for command in commands():
        if command == "uv run pytest":
            continue
        words = shlex.split(command)
        assert words[:2] == ["uv", "run"], command
        typed.append(shortened(words[2:]))
    assert len(typed) >= 20
    first, *others = typed
    call(tmp_path, [str(Path(sys.executable).with_name(first[0])), *first[1:]])
    launched = ["accelerate", "launch"]
    others = [["python", *words[2:]] if words[:2] == launched else words for words in others]
    file = tmp_path / "commands.json"
    file.write_text(json.dumps(others))
    call(tmp_path, [sys.executable, str(TYPED), str(tmp_path), str(file)])
    for block in blocks("python"):
        call(tmp_path, [sys.executable, "-c", block])
    assert (tmp_path / "found" / "overview.png").exists()
    assert list((tmp_path / "tracked").rglob("*.gif"))
    assert (tmp_path / "scores" / "mine" / "result.json").exists()


def fill_in(folder: Path) -> None:
    """What the README asks its reader to have: pictures, their masks, a dataset, weights."""
    shapes = slot_data.Shapes(num_samples=10, image_size=64)
    for index in range(10):
        sample = shapes[index]
        pixels = sample["video"][0].permute(1, 2, 0).numpy()
        labels = sample["labels"][0].numpy().astype(np.uint8)  # pyright: ignore[reportTypedDictNotRequiredAccess]
        save(pixels, folder / "PICTURES" / "images" / f"{index}.png")
        save(labels, folder / "PICTURES" / "masks" / f"{index}.png")
    save(pixels, folder / "PICTURE.png")
    clip = slot_data.Shapes(num_samples=1, image_size=64, num_frames=5)[0]["video"]
    for time, frame in enumerate(clip):
        save(frame.permute(1, 2, 0).numpy(), folder / "FRAMES" / f"{time:03d}.png")
    for number in (*range(8), *range(5_000, 5_008), *range(10_000, 10_070)):
        scene = f"clevrtex_full/{number // 1000}/CLEVRTEX_full_{number:06d}"
        save(np.full((240, 320, 4), 255, np.uint8), folder / "DATA/clevrtex" / f"{scene}.png")
        save(np.zeros((240, 320), np.uint8), folder / "DATA/clevrtex" / f"{scene}_flat.png")
    config = load_options("slot_attention/clevrtex").model
    names = get_origin("slotdiffusion").state_dict_map(config)
    torch.save(names.to_theirs(build_model(config).state_dict()), folder / "FILE.pth")
    fill_in_what_is_scored(folder)


def fill_in_what_is_scored(folder: Path) -> None:
    """A network that sees pictures, answers about videos, and what apps/tiny_pipeline.sh makes."""
    network = torch.nn.Sequential(torch.nn.AvgPool2d(16), torch.nn.Flatten())
    torch.jit.save(torch.jit.trace(network, torch.rand(2, 3, 64, 64)), folder / "NETWORK.pt")
    np.savez(
        folder / "ANSWERS.npz",
        ids=np.array(["a", "b"]),
        logits=np.array([1.0, -1.0]),
        outcomes=np.array([True, False]),
        seed=np.array(0),
        step=np.array(10),
    )
    pipeline = folder / "runs" / "tiny-pipeline"
    video = load_options("savi/shapes", ["model.num_slots=4"]).model
    build_model(video).save_pretrained(pipeline / "savi")
    presets.slot_former(
        num_slots=video.num_slots,
        slot_dim=video.slot_dim,
        dynamics={"burn_in": 4, "model_dim": 32, "num_layers": 1, "hidden_dim": 32},
        stride=1,
        preprocessing=video.preprocessing.model_dump(),
        decoder=video.decoder.model_dump(),
    ).save_pretrained(pipeline / "slot_former-0")


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if path.name.endswith("_flat.png"):
        image.putpalette([0, 0, 0, 255, 0, 0])
    image.save(path)


def shortened(words: list[str]) -> list[str]:
    """The command with absolute scripts, and one step if it trains."""
    words = [str(ROOT / word) if word.startswith(("apps/", "tools/")) else word for word in words]
    if any(word.endswith("apps/train.py") for word in words):
        batch = {"train.batch_size": "2"}
        for key, value in {**SHORT, **batch}.items():
            words += ["--set", f"{key}={value}"]
    return words


def call(folder: Path, words: list[str]) -> None:
    ended = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, f"{words}\n{ended.stdout}\n{ended.stderr}"
