"""A fingerprint tells checkpoints apart, and only checkpoints."""

from pathlib import Path

import pytest
import torch
from tiny_hub_model import make_tiny_model

from slot_core import CheckpointError, ModelCard, fingerprint


def test_it_is_of_weights_and_configuration_alone(tmp_path: Path):
    model = make_tiny_model()
    model.save_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "two", card=ModelCard(data="other words"))
    first = fingerprint(tmp_path / "one")
    assert len(first) == 64
    assert fingerprint(tmp_path / "two") == first
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    model.save_pretrained(tmp_path / "two")
    assert fingerprint(tmp_path / "two") != first


def test_the_configuration_counts(tmp_path: Path):
    make_tiny_model().save_pretrained(tmp_path)
    first = fingerprint(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("2.0", "3.0"))
    assert fingerprint(tmp_path) != first


def test_no_checkpoint_is_told(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        fingerprint(tmp_path)
    make_tiny_model().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: the weights file is missing"):
        fingerprint(tmp_path)
