"""Checkpoints: saved, found, opened without knowing what is inside, and refused when damaged."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from slot_core import CheckpointError, ConfigError, InputError
from slot_core.config import merge
from slot_decoders.models import (
    SlotAutoencoder,
    SlotAutoencoderConfig,
    build_model,
    load_model,
    start_from,
)

# Run without the jaxtyping hook of these tests, as a user runs it.
FRESH = """
import sys
import torch
from slot_core import InputError
from slot_decoders.models import load_model

model = load_model(sys.argv[1])
assert "torch._dynamo" not in sys.modules  # its compiler, which takes seconds to import
video = torch.load(sys.argv[2], weights_only=True)
made = [model.segment(video), model.reconstruct(video), model(video).total.detach()]
torch.save(made, sys.argv[3])
for wrong in (
    lambda: model.segment(video[0]),
    lambda: model(video[:, :, :2]),
    lambda: model.reconstruct((video * 255).byte()),
    lambda: model.encode(video[:, :0]),
    lambda: model.segment(video, source="attention"),
):
    try:
        wrong()
    except InputError as error:
        print(error)
"""


@pytest.fixture
def saved(model: SlotAutoencoder, tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_fresh_process_computes_the_same_and_refuses_wrong_input(
    model: SlotAutoencoder, video: Tensor, saved: Path, tmp_path: Path
):
    torch.save(video, tmp_path / "video.pt")
    made = tmp_path / "made.pt"
    run = subprocess.run(
        [sys.executable, "-c", FRESH, saved, tmp_path / "video.pt", made],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    here = [model.segment(video), model.reconstruct(video), model(video).total.detach()]
    # Not bit for bit: the processes may use another number of threads.
    for ours, theirs in zip(here, torch.load(made, weights_only=True), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert run.stdout.splitlines() == [
        "the video has the shape [2, 3, 16, 16], expected [batch time 3 height width]; "
        "pictures are videos of one frame, pictures[:, None], and one video is video[None]",
        "the video has the shape [2, 2, 2, 16, 16], expected [batch time 3 height width]",
        "the video is torch.uint8, expected floats in [0, 1]; video / 255 makes them of bytes",
        "the video has no frames; expected at least 1",
        "the mask source is 'attention'; expected 'encoder' or 'decoder'",
    ]


def test_a_loaded_model_is_the_saved_one_in_eval_mode(model: SlotAutoencoder, saved: Path):
    loaded = load_model(saved)
    assert not loaded.training
    assert loaded.config == model.config
    for (name, ours), (_, theirs) in zip(
        model.state_dict().items(), loaded.state_dict().items(), strict=True
    ):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_is_loaded_in_another_precision(saved: Path, video: Tensor, dtype: torch.dtype):
    loaded = load_model(saved, dtype=dtype)
    assert {parameter.dtype for parameter in loaded.parameters()} == {dtype}
    assert loaded(video).total.isfinite()
    masks = loaded.segment(video)
    torch.testing.assert_close(masks.sum(2), torch.ones_like(masks[:, :, 0]))
    assert loaded.reconstruct(video).shape == video.shape


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_model_that_was_saved_in_another_precision_runs_in_it(
    saved: Path, video: Tensor, dtype: torch.dtype, tmp_path: Path
):
    load_model(saved, dtype=dtype).save_pretrained(tmp_path / "again")
    loaded = load_model(tmp_path / "again")
    assert {parameter.dtype for parameter in loaded.parameters()} == {dtype}
    larger = torch.rand(1, 2, 3, 20, 24)  # resized, which is not done in half
    assert loaded.segment(larger.to(dtype)).isfinite().all()
    assert loaded.reconstruct(larger).shape == larger.shape
    assert loaded(video).total.isfinite()


@pytest.mark.parametrize(
    ("inside", "opened"),
    [
        ("", ""),
        ("model", ""),
        ("last/model", ""),
        ("checkpoints/last/model", ""),
        ("checkpoints/last/model", "checkpoints"),
        ("checkpoints/last/model", "checkpoints/last"),
        ("checkpoints/last/model", "checkpoints/last/model"),
    ],
)
def test_a_training_run_opens_at_its_newest_checkpoint(
    saved: Path, tmp_path: Path, inside: str, opened: str
):
    run = tmp_path / "run"
    shutil.copytree(saved, run / inside)
    assert load_model(run / opened).num_slots == 3
    assert load_model(str(run / opened)).num_slots == 3


def test_what_is_missing_is_named(saved: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match="no/such/folder: there is no such folder"):
        load_model(tmp_path / "no/such/folder")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"empty: is no checkpoint, config.json is missing"):
        load_model(tmp_path / "empty")
    (saved / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors: the weights file is missing"):
        load_model(saved)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated_weights_are_refused(saved: Path, kept: int):
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"model.safetensors: is damaged or truncated"):
        load_model(saved)


def change_config(saved: Path, **changes: object) -> None:
    path = saved / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_unknown_class_is_refused(saved: Path):
    change_config(saved, model_class="SlotWizard")
    with pytest.raises(CheckpointError, match="model_class is 'SlotWizard', expected SlotAuto"):
        load_model(saved)


def test_a_changed_configuration_is_refused(saved: Path, model: SlotAutoencoder):
    described = model.config.model_dump(mode="json")
    change_config(saved, config=described | {"num_slot": 2})
    with pytest.raises(ConfigError, match=r"config.json: unknown key 'num_slot'"):
        load_model(saved)
    change_config(saved, config=described | {"num_slots": 4})
    with pytest.raises(CheckpointError, match=r"slots has the shape \[3, 8\], .* \[4, 8\]"):
        load_model(saved)


@pytest.mark.parametrize("initializer", ["gaussian", "clustered"])
def test_a_model_looks_for_another_number_of_objects(
    model: SlotAutoencoder, video: Tensor, tmp_path: Path, initializer: str
):
    """As Locatello et al. 2020 do: more slots and more iterations than in training."""
    encoder = {"initializer": {"type": initializer}, "corrector": {"num_iterations": 1}}
    stated = merge(model.config.model_dump(), {"encoder": encoder})
    trained = build_model(SlotAutoencoderConfig.parse(stated, source="test"))
    trained.save_pretrained(tmp_path / "trained")
    changes = {"num_slots": 5, "encoder": {"corrector": {"num_iterations": 4}}}
    changed = load_model(tmp_path / "trained", changes=changes)
    assert changed.segment(video).shape[2] == changed.num_slots == 5
    assert changed.encoder.corrector.num_iterations == 4
    assert changed.config.encoder.backbone == trained.config.encoder.backbone
    for name, value in trained.state_dict().items():
        assert torch.equal(changed.state_dict()[name], value), name
    changed.save_pretrained(tmp_path / "changed")
    assert load_model(tmp_path / "changed").config == changed.config


def test_changes_that_do_not_fit_are_told(saved: Path):
    with pytest.raises(CheckpointError, match=r"with {'num_slots': 5}: .*\[3, 8\], .* \[5, 8\]"):
        load_model(saved, changes={"num_slots": 5})  # they are learned one by one
    with pytest.raises(ConfigError, match=r"with {'num_slot': 5}: unknown key 'num_slot'"):
        load_model(saved, changes={"num_slot": 5})


def test_weights_are_strict_both_ways(saved: Path):
    path = saved / "model.safetensors"
    weights = load_file(path)
    save_file({**weights, "extra": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="has the unknown weights extra"):
        load_model(saved)
    first = weights.pop("decoder.output.bias")
    save_file(weights, path)
    with pytest.raises(CheckpointError, match=r"lacks weights decoder\.output\.bias"):
        load_model(saved)
    save_file({**weights, "decoder.output.bias": first}, path)
    assert load_model(saved).num_slots == 3


def video_model(
    config: SlotAutoencoderConfig, initializer: str = "learned", **changes: object
) -> SlotAutoencoder:
    """Of the tiny model's sizes, with a predictor."""
    torch.manual_seed(5)
    predictor = {"type": "residual_mlp", "hidden_dim": 4}
    encoder = {"predictor": predictor, "initializer": {"type": initializer}}
    merged = merge(config.model_dump(), {"encoder": encoder, **changes})
    return build_model(SlotAutoencoderConfig.parse(merged, source="test"))


def assert_started(
    started: SlotAutoencoder, untouched: SlotAutoencoder, source: SlotAutoencoder, *fresh: str
) -> None:
    """Fresh parts are as they were, all others as in the checkpoint."""
    own, theirs = untouched.state_dict(), source.state_dict()
    for name, value in started.state_dict().items():
        expected = own[name] if name.startswith(fresh) else theirs[name]
        assert torch.equal(value, expected), name


def test_a_video_model_starts_from_a_picture_model(
    model: SlotAutoencoder, saved: Path, video: Tensor
):
    started = video_model(model.config)
    start_from(started, saved)
    assert_started(started, video_model(model.config), model, "encoder.predictor.")
    first = video[:, :1]
    torch.testing.assert_close(started.segment(first), model.segment(first))
    assert (started.segment(video)[:, 1] - model.segment(video)[:, 1]).abs().max() > 1e-4


def test_several_parts_may_start_fresh(model: SlotAutoencoder, saved: Path):
    fresh = ("encoder.predictor", "encoder.initializer")
    started = video_model(model.config, "conditioned")
    start_from(started, saved, fresh=fresh)
    assert_started(started, video_model(model.config, "conditioned"), model, *fresh)


def test_what_the_checkpoint_has_of_a_fresh_part_is_left_out(
    model: SlotAutoencoder, tmp_path: Path
):
    source = video_model(model.config)
    assert source.encoder.predictor is not None
    for parameter in source.encoder.predictor.parameters():
        parameter.data.fill_(7)
    source.save_pretrained(tmp_path / "source")
    started = video_model(model.config)
    start_from(started, tmp_path / "source")
    assert_started(started, video_model(model.config), source, "encoder.predictor.")
    start_from(started, tmp_path / "source", fresh=())
    assert_started(started, started, source, "nothing")


def test_a_start_keeps_the_precision_of_the_model(model: SlotAutoencoder, saved: Path):
    started = video_model(model.config).double()
    start_from(started, saved)
    assert {parameter.dtype for parameter in started.parameters()} == {torch.float64}


def test_a_start_is_strict_about_everything_else(
    model: SlotAutoencoder, saved: Path, tmp_path: Path
):
    started = video_model(model.config)
    before = {name: value.clone() for name, value in started.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"lacks weights encoder\.predictor\.mlp\.0\.bias"):
        start_from(started, saved, fresh=())
    with pytest.raises(InputError, match=r"the model has no weights in 'encoder\.predicter'"):
        start_from(started, saved, fresh=("encoder.predicter",))
    with pytest.raises(CheckpointError, match="nowhere: there is no such folder"):
        start_from(started, tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"slots has the shape \[3, 8\], .* \[4, 8\]"):
        start_from(video_model(model.config, num_slots=4), saved)
    with pytest.raises(CheckpointError, match=r"has the unknown weights encoder\.initializer"):
        start_from(video_model(model.config, "clustered"), saved)
    (saved / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"is no checkpoint, config\.json is missing"):
        start_from(started, saved)
    assert all(torch.equal(value, before[n]) for n, value in started.state_dict().items())


def test_slot_eval_finds_the_models_by_entry_point():
    (found,) = entry_points(group="slot_eval.models", name="slot-decoders")
    # Loading imports the module anew only if it is not imported; the function is ours.
    assert found.load() is load_model
