"""What a new run begins with, and what a conditional model is told."""

from __future__ import annotations

import shutil

import pytest
import torch
from runs import events
from safetensors.torch import load_file

import train
from slot_core import ConfigError
from slot_decoders.models import load_model, presets
from support.beginnings import begin
from support.command_line import run
from support.options import StartOptions

VIDEO = {
    "data.num_frames": 3,
    "data.min_objects": 2,
    "data.max_objects": 3,
    "model.encoder.predictor": {"type": "transformer", "num_layers": 1, "hidden_dim": 8},
}
VIT = {"type": "vit", "hidden_dim": 8, "num_layers": 1, "num_heads": 2, "image_size": 32}


def call(arguments):
    with pytest.raises(SystemExit) as stopped:
        run(train.main, arguments)
    return stopped.value.code or 0


@pytest.mark.slow
def test_a_video_model_begins_with_a_picture_models_weights(tmp_path, tiny):
    pictures, videos = tmp_path / "pictures", tmp_path / "videos"
    assert call(tiny(pictures, **{"train.num_steps": 2})) == 0
    beginning = {"start.weights": str(pictures), "start.fresh": ["encoder.predictor"]}
    rate = {"optimizer.learning_rate": 1e-30, "train.num_steps": 1}
    assert call(tiny(videos, **VIDEO, **beginning, **rate)) == 0
    before, after = load_model(pictures).state_dict(), load_model(videos).state_dict()
    assert any(name.startswith("encoder.predictor.") for name in after)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value)


def test_a_frozen_part_keeps_its_weights_also_when_the_run_goes_on(tmp_path, tiny, capsys):
    before, out = tmp_path / "before", tmp_path / "after"
    assert call(tiny(before, **{"train.num_steps": 1})) == 0
    changes = {"start.weights": str(before), "train.frozen": ["encoder"], "train.seed": 1}
    changes |= {"train.num_steps": 4, "optimizer.clip_norm": 1.0, "checkpoint.keep": 4}
    assert call(tiny(out, **changes)) == 0
    for checkpoint in sorted((out / "checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(checkpoint)
    assert call([*tiny(out, **changes), "--resume"]) == 0
    one, other = load_model(before).state_dict(), load_model(out).state_dict()
    for name, value in one.items():
        same = torch.equal(value, other[name])
        assert same == name.startswith("encoder.") or "position" in name, name
    nothing = {**changes, "train.frozen": ["encoder", "decoder"]}
    assert call(tiny(tmp_path / "nothing", **nothing)) == 2
    assert "train.frozen=encoder, decoder leaves nothing to train" in capsys.readouterr().err
    overlap = {**changes, "start.fresh": ["encoder.initializer"]}
    assert call(tiny(tmp_path / "overlap", **overlap)) == 2
    assert "'encoder' would keep random weights" in capsys.readouterr().err


@pytest.mark.parametrize("same", [True, False])
def test_an_encoder_of_tokens_begins_with_its_decoders_tokenizer(tmp_path, same):
    dvae = {"vocab_size": 16, "hidden_dim": 8}
    presets.dvae(image_size=16, tokenizer=dvae).save_pretrained(tmp_path)
    seen = {"type": "tokens", "tokenizer": {**dvae, "hidden_dim": 8 if same else 4}}
    model = presets.slate(
        image_size=16,
        num_slots=2,
        slot_dim=8,
        encoder={"backbone": {**seen, "feature_dim": 8}},
        decoder={"tokenizer": dvae, "num_layers": 1, "num_heads": 2},
    )
    if same:
        begin(model, StartOptions(tokenizer=str(tmp_path)))
    else:
        with pytest.raises(ConfigError, match=r"model\.encoder\.backbone would keep its random"):
            begin(model, StartOptions(tokenizer=str(tmp_path)))


def test_parts_that_begin_anew_must_be_named(tmp_path, tiny, capsys):
    pictures = tmp_path / "pictures"
    assert call(tiny(pictures, **{"train.num_steps": 1})) == 0
    capsys.readouterr()
    assert call(tiny(tmp_path / "videos", **VIDEO, **{"start.weights": str(pictures)})) == 2
    assert "encoder.predictor" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start.fresh": ["encoder.predictor"]}, "start.weights is not set"),
        ({"start.backbone": "facebook/dino-vits8"}, "model.encoder.backbone.type=vit"),
        ({"start.weights": "no/such/folder"}, "no/such/folder"),
        ({"start.tokenizer": "no/such/folder"}, "has no tokenizer"),
        ({"start.decoder": "no/such/folder"}, "start.decoder is of a model that predicts slots"),
        ({"model.encoder.backbone": VIT}, "start.backbone"),
        ({"train.frozen": ["encodr"]}, "no part 'encodr'; it has encoder, decoder"),
        ({"train.frozen": ["encoder"]}, "'encoder' would keep random weights; set start.weights"),
    ],
)
def test_a_beginning_that_cannot_be_is_one_sentence(tmp_path, tiny, capsys, changes, words):
    assert call(tiny(tmp_path / "run", **changes)) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_a_pretrained_backbone_comes_from_where_it_is_told(tmp_path, tiny):
    from transformers import ViTConfig as ViTNetworkConfig  # slow to import
    from transformers import ViTModel

    saved = tmp_path / "vit"
    torch.manual_seed(0)
    config = ViTNetworkConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8,
    )  # fmt: skip
    ViTModel(config, add_pooling_layer=False).save_pretrained(saved)
    out = tmp_path / "run"
    changes = {"model.encoder.backbone": VIT, "start.backbone": str(saved), "train.num_steps": 1}
    assert call(tiny(out, **changes)) == 0
    weights = load_model(out).encoder.backbone.state_dict()
    saved_weights = load_file(saved / "model.safetensors")
    found = [name for name in saved_weights if "patch_embeddings.projection.weight" in name]
    ours = next(value for name, value in weights.items() if "projection.weight" in name)
    torch.testing.assert_close(ours, saved_weights[found[0]])


@pytest.mark.parametrize("kind", ["boxes", "points", "masks"])
def test_a_conditional_model_is_told_the_first_frames_objects(tmp_path, tiny, kind):
    told = {"model.encoder.initializer": {"type": "conditioned", "on": kind, "hidden_dim": 8}}
    out = tmp_path / "run"
    assert call(tiny(out, **VIDEO, **told)) == 0
    assert len(events(out, "validation")) == 2
    assert (out / "pictures" / "validation-00000008.png").exists()
    assert load_model(out).conditioned_on == kind


def test_too_many_objects_to_tell_of(tmp_path, tiny, capsys):
    told = {"model.encoder.initializer": {"type": "conditioned"}, "model.num_slots": 2}
    assert call(tiny(tmp_path / "run", **told)) == 2
    assert "objects" in capsys.readouterr().err
