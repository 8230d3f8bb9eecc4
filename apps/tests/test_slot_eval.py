"""``slot-eval`` on our own models, saved and found through its entry points, on ``shapes``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from predicting import NUM_SLOTS, SLOT_DIM, tiny_model, tiny_video_model

import convert_checkpoint
from slot_data import catalog
from slot_decoders.models import presets
from slot_eval import protocols
from slot_eval.cli import main
from support.command_line import run

Command = Callable[..., tuple[int, str]]
SHAPES = ("--data", "shapes", "--limit", 6, "--batch-size", 4, "--threads", 1)
IMAGES = (*SHAPES, "--option", "image_size=32")
VIDEOS = (*IMAGES, "--option", "num_frames=8")


@pytest.fixture
def slot_eval(capsys: pytest.CaptureFixture) -> Command:
    """The command line: exit code, and what it said on stderr."""

    def call(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        return int(ended.value.code or 0), capsys.readouterr().err

    return call


def result_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def dynamics(tmp_path: Path, **changes: Any) -> Path:
    """A tiny SlotFormer of the tiny video model's slots, with its decoder."""
    config = tiny_video_model().config
    sizes = {"model_dim": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 8}
    torch.manual_seed(0)
    model = presets.slot_former(
        **{
            "num_slots": NUM_SLOTS,
            "slot_dim": SLOT_DIM,
            "stride": 2,
            "dynamics": {"burn_in": 2, **sizes},
            "preprocessing": config.preprocessing.model_dump(),
            "decoder": config.decoder.model_dump(),
            **changes,
        }
    )
    model.save_pretrained(tmp_path / "dynamics")
    return tmp_path / "dynamics"


def extractor(tmp_path: Path) -> Path:
    """A tiny network of pictures, in a file."""
    network = torch.nn.Sequential(torch.nn.AvgPool2d(16), torch.nn.Flatten())
    torch.jit.save(torch.jit.trace(network, torch.rand(2, 3, 32, 32)), tmp_path / "features.pt")
    return tmp_path / "features.pt"


def test_compose(slot_eval: Command, tmp_path: Path):
    tiny_model().save_pretrained(tmp_path / "model")
    words = ("compose", "--model", tmp_path / "model", *IMAGES, "--features", extractor(tmp_path))
    code, said = slot_eval(*words, "--out", tmp_path / "out")
    assert code == 0, said
    result = result_in(tmp_path / "out")
    assert result["metrics"]["frechet_distance"]["mean"] > 0
    assert result["num_samples"] == 6
    assert len(result["model_hash"]) == 16
    assert (tmp_path / "out" / "composed.png").is_file()


def test_predict_video(slot_eval: Command, tmp_path: Path):
    tiny_video_model().save_pretrained(tmp_path / "model")
    words = ("predict-video", "--model", dynamics(tmp_path), "--encoder", tmp_path / "model")
    code, said = slot_eval(*words, *VIDEOS, "--report", "--out", tmp_path / "out")
    assert code == 0, said
    result = result_in(tmp_path / "out")
    assert result["protocol"] == "prediction"
    assert result["settings"]["burn_in"] == 4  # every second frame of as many
    assert result["num_samples"] == 6 * 4
    assert set(result["metrics"]) == {"slot_error", "mse", "psnr", "ssim", "fg_ari", "miou"}
    assert list(result["by_frame"]) == ["1", "2", "3", "4"]
    assert "Worst by psnr" in (tmp_path / "out" / "report.html").read_text()


def test_a_model_without_a_decoder_is_scored_by_its_slots(slot_eval: Command, tmp_path: Path):
    tiny_video_model().save_pretrained(tmp_path / "model")
    predictor = dynamics(tmp_path, decoder=None)
    words = ("predict-video", "--model", predictor, "--encoder", tmp_path / "model", *VIDEOS)
    code, said = slot_eval(*words, "--out", tmp_path / "out")
    assert code == 0, said
    assert set(result_in(tmp_path / "out")["metrics"]) == {"slot_error"}


def test_what_does_not_fit_is_one_sentence(slot_eval: Command, tmp_path: Path):
    tiny_video_model().save_pretrained(tmp_path / "model")
    tiny_model(num_slots=3).save_pretrained(tmp_path / "three")
    predictor = dynamics(tmp_path)
    predict = ("predict-video", "--model", predictor)
    video = (*SHAPES, "--option", "image_size=32", "--option", "num_frames=4")
    for words, sentence in (
        ((*predict, *VIDEOS), "makes no slots of frames; give the one that does as --encoder"),
        ((*predict, "--encoder", tmp_path / "three", *VIDEOS), "three makes 3 slots, "),
        ((*predict, "--encoder", tmp_path / "model", *video), "after the 4 that the model sees"),
        (
            ("predict-video", "--model", tmp_path / "model", *VIDEOS),
            "model has no method rollout, so it cannot do this",
        ),
        (
            ("run", "--model", tmp_path / "three", *IMAGES, "--num-slots", 7),
            "three has 3 slots, not 7",
        ),
        (
            ("compose", "--model", predictor, *IMAGES, "--features", extractor(tmp_path)),
            "has no method encode, so it cannot do this",
        ),
    ):
        code, said = slot_eval(*words)
        assert code == 2
        assert said.splitlines()[-1].startswith("error: ")
        assert sentence in said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sa_a", "savi_a", "slate_a", "sa_ldm_a"])
def test_a_converted_checkpoint_scores_the_same_bytes_again_and_on_two_processes(
    slot_eval: Command, tmp_path: Path, name: str
):
    """Checkpoints of the original code, with random weights."""
    if "SLOT_REFERENCE_DATA" not in os.environ:
        pytest.skip("SLOT_REFERENCE_DATA is not set")
    folder = Path(os.environ["SLOT_REFERENCE_DATA"], "golden", name)
    files = [f"--weights={folder}/state_dict.safetensors", f"--config={folder}/config.json"]
    with pytest.raises(SystemExit) as ended:
        run(convert_checkpoint.convert_checkpoint, [*files, f"--out={tmp_path / 'model'}"])
    assert not ended.value.code
    data = (*SHAPES, "--option", "image_size=64")
    if name == "savi_a":
        data += ("--option", "num_frames=4")
    words = ("run", "--model", tmp_path / "model", *data, "--rows", "--also", "all")
    ways = {"one": (), "again": (), "two": ("--processes", 2)}
    for way, more in ways.items():
        code, said = slot_eval(*words, *more, "--out", tmp_path / way)
        assert code == 0, said
    for file in ("result.json", "rows.jsonl"):
        assert len({(tmp_path / way / file).read_bytes() for way in ways}) == 1
    result = result_in(tmp_path / "one")
    assert result["num_samples"] == 6
    assert result["metrics"]["miou"]["mean"] > 0


def test_protocols_name_data_as_the_catalog_does():
    """A result would be told to depart from its protocol where only the names do."""
    for data in (one for name in protocols.names() for one in protocols.get(name).data):
        assert data.name in catalog.names()
        assert data.split in catalog.card(data.name).splits
        assert data.preset is None or data.preset in catalog.presets(data.name)
