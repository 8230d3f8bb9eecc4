"""The cache of what frozen parts make: it changes how long a run takes, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_diffusion import (
    BACKBONE,
    DENOISER,
    SMALL_DATA,
    TOKENIZER,
    lines,
    tiny_arguments,
    train_tiny,
)
from torch import nn

import train
from slot_core import ConfigError, InputError
from slot_data import collate, load_dataset_by_name
from slot_decoders.models import SlotAutoencoder, build_model, presets
from support.command_line import run
from support.frozen_outputs import open_cache
from support.options import RunOptions, load_options

PICTURES = {"name": "shapes", "image_size": 32, "num_samples": 4}
VIT = {"type": "vit", "hidden_dim": 8, "num_layers": 1, "num_heads": 2, "image_size": 32}
TRANSFORMER = {
    "type": "transformer",
    "tokenizer": {"vocab_size": 7, "hidden_dim": 8},
    "num_layers": 1,
    "num_heads": 2,
    "dropout": 0,
}
DIFFUSION = {
    "type": "diffusion",
    "tokenizer": {"type": "vqvae", **TOKENIZER},
    "denoiser": DENOISER,
}


@pytest.fixture(scope="module")
def first_stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny("vqvae/shapes", tmp_path_factory.mktemp("vqvae") / "run")


def options(cache: Path, **data: Any) -> RunOptions:
    told = {"cache": str(cache), "mixed_precision": data.pop("mixed_precision", "no")}
    return RunOptions.parse(
        {"recipe": "test", "model": None, "data": PICTURES | data, "train": told}, source="test"
    )


def model_of(decoder: dict[str, Any], backbone: dict[str, Any] | None = None) -> SlotAutoencoder:
    changes = {
        "num_slots": 2,
        "slot_dim": 8,
        "preprocessing": {"image_size": [16, 16]},
        "encoder": {"backbone": backbone or BACKBONE, "corrector": {"hidden_dim": 8}},
        "decoder": decoder,
    }
    return build_model(presets.configure("slot_attention", changes, source="test"))


def dataset(**changes: Any) -> Any:
    return load_dataset_by_name(**{**PICTURES, **changes}, split="train")


@pytest.mark.slow
def test_a_run_with_it_has_the_same_losses(
    first_stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two epochs and a half, without, with an empty one and with a full one."""
    changes: dict[str, Any] = {
        "train.num_steps": 10,
        "validation.every": 10,
        "checkpoint.every": 10,
        "data.splits.test": None,
        "start.tokenizer": str(first_stage),
    }
    plain = train_tiny("slot_diffusion/shapes", tmp_path / "plain", **changes)
    changes["train.cache"] = str(tmp_path / "cache")
    filling = train_tiny("slot_diffusion/shapes", tmp_path / "filling", **changes)
    files = sorted((tmp_path / "cache").rglob("*.npy"))
    assert len(files) == SMALL_DATA["num_samples"]
    written = [path.stat().st_mtime_ns for path in files]

    def never(*_: Any) -> None:
        raise AssertionError("everything is known")

    monkeypatch.setattr(SlotAutoencoder, "look_ahead", never)
    reading = train_tiny("slot_diffusion/shapes", tmp_path / "reading", **changes)
    assert [path.stat().st_mtime_ns for path in files] == written
    losses = [
        [line["denoising"] for line in lines(one) if line["kind"] == "train"]
        for one in (plain, filling, reading)
    ]
    assert losses[0] == losses[1] == losses[2]
    assert len(losses[0]) == 10


@pytest.mark.slow
def test_a_run_in_mixed_precision_has_the_same_losses_with_it(tmp_path: Path):
    """What a frozen backbone sees in lower precision is kept as it sees it."""
    changes: dict[str, Any] = {
        "train.num_steps": 6,
        "train.mixed_precision": "bf16",
        "model.encoder.backbone": VIT,
        "validation.every": 6,
        "checkpoint.every": 6,
        "data.splits.test": None,
    }
    words = tiny_arguments("slot_diffusion/shapes", tmp_path, **changes)
    build_model(load_options(words[0], words[4::2]).model).save_pretrained(tmp_path / "start")
    changes["start.weights"] = str(tmp_path / "start")
    runs = [train_tiny("slot_diffusion/shapes", tmp_path / "plain", **changes)]
    changes["train.cache"] = str(tmp_path / "cache")
    runs += [train_tiny("slot_diffusion/shapes", tmp_path / name, **changes) for name in "ab"]
    losses = [[line["denoising"] for line in lines(one) if line["kind"] == "train"] for one in runs]
    assert losses[0] == losses[1] == losses[2]
    assert len(losses[0]) == 6
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 2 * SMALL_DATA["num_samples"]


@pytest.mark.parametrize("decoder", [DIFFUSION, TRANSFORMER], ids=["latents", "tokens"])
@pytest.mark.parametrize("frozen", [False, True], ids=["codes", "codes and maps"])
@pytest.mark.parametrize("mixed", [False, True], ids=["single", "mixed precision"])
def test_the_loss_of_what_is_known_is_the_same(
    decoder: dict, frozen: bool, mixed: bool, tmp_path: Path
):
    model = model_of(decoder, VIT if frozen else None)
    data = dataset()
    video = collate([data[1], data[3]])["video"]
    cache = open_cache(options(tmp_path, mixed_precision="bf16" if mixed else "no"), model, data)
    assert cache is not None
    keys = [(0, 1), (0, 3)]
    cast = torch.autocast("cpu", torch.bfloat16, enabled=mixed)
    with cast:
        made, read = cache.of(keys, video), cache.of(keys, video)
    assert (
        made["known"].keys() == read["known"].keys() == ({"codes", "maps"} if frozen else {"codes"})
    )
    losses = []
    for given in ({}, made, read):
        model.zero_grad()
        torch.manual_seed(0)
        with cast:
            loss = model(video, **given).total
        loss.backward()
        losses.append([loss, *(p.grad for p in model.parameters() if p.grad is not None)])
    for other in losses[1:]:
        assert all(torch.equal(a, b) for a, b in zip(losses[0], other, strict=True))


def test_samples_are_not_taken_for_one_another(tmp_path: Path):
    model, data = model_of(DIFFUSION), dataset()
    cache = open_cache(options(tmp_path), model, data)
    assert cache is not None
    video = collate([data[index] for index in range(3)])["video"]
    cache.of([(0, 0), (0, 2)], video[[0, 2]])
    known = cache.of([(5, 2), (5, 1), (5, 0)], video[[2, 1, 0]])["known"]["codes"]
    torch.testing.assert_close(known, model.look_ahead(video[[2, 1, 0]])["codes"])


def test_whatever_it_follows_from_has_a_place_of_its_own(tmp_path: Path):
    def place(model: SlotAutoencoder, data: Any) -> str:
        cache = open_cache(options(tmp_path), model, data)
        assert cache is not None
        return cache.folders["codes"].name

    model = model_of(DIFFUSION)
    places = [place(model, dataset()), place(model, dataset(level="textured"))]
    places.append(place(model, dataset(num_samples=3)))
    first = next(model.decoder.tokenizer.parameters())
    kept = first.detach().clone()
    first.data.flatten()[0] += 1
    places.append(place(model, dataset()))
    first.data.copy_(kept)
    assert len(set(places)) == 4
    seeing = model_of(DIFFUSION, VIT)
    told = [options(tmp_path, mixed_precision=kind) for kind in ("no", "bf16")]
    caches = [open_cache(each, seeing, dataset()) for each in told]
    single, mixed = (cache.folders for cache in caches if cache is not None)
    assert single["maps"] != mixed["maps"]
    assert single["codes"] == mixed["codes"]
    assert place(model, dataset()) == places[0]
    nn.init.zeros_(next(model.encoder.parameters()))  # what trains plays no part
    assert place(model, dataset()) == places[0]


def test_what_cannot_be_kept_is_refused(tmp_path: Path):
    kl = {"type": "autoencoder_kl", "channels": [8, 8], "num_groups": 4, "posterior": "sample"}
    for decoder, changes, sentence in (
        (DIFFUSION, {"augmentations": ["horizontal_flip"]}, r"\(horizontal_flip\) change it in ev"),
        ({"channels": [8]}, {}, "this SlotAutoencoder trains all of its parts"),
        ({**DIFFUSION, "tokenizer": kl}, {}, "the codes are drawn anew each time; set model.deco"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            open_cache(options(tmp_path, **changes), model_of(decoder), dataset())
    assert not list(tmp_path.iterdir())


def test_damage_is_told(tmp_path: Path):
    model, data = model_of(DIFFUSION), dataset()
    cache = open_cache(options(tmp_path / "cache"), model, data)
    assert cache is not None
    video = collate([data[0]])["video"]
    cache.of([(0, 0)], video)
    (path,) = (tmp_path / "cache").rglob("*.npy")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match=r"000\.npy: is damaged; delete it, it is made again"):
        cache.of([(0, 0)], video)


def test_it_is_refused_before_anything_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture):
    words = ["slot_attention/shapes", "--set", f"train.cache={tmp_path / 'cache'}"]
    with pytest.raises(SystemExit) as stopped:
        run(train.main, [*words, "--out", str(tmp_path / "run")])
    assert stopped.value.code == 2
    assert "error: train.cache keeps what frozen parts make" in capsys.readouterr().err
