"""Real models at tiny widths, and how near two tensors must be."""

import copy
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

from slot_decoders.models import SlotAutoencoder, SlotAutoencoderConfig, build_model
from slot_decoders.models.state_dicts import get_origin

sys.path.insert(0, str(Path(__file__).parent))  # for the helper modules beside the tests

TINY = {
    "num_slots": 3,
    "slot_dim": 8,
    "preprocessing": {"image_size": [16, 16]},
    "encoder": {
        "backbone": {"type": "cnn", "channels": [4, 8], "kernel_size": 3},
        "corrector": {"num_iterations": 2},
    },
    "decoder": {"type": "spatial_broadcast", "channels": [4], "kernel_size": 3},
}


# Constructor arguments of SlotDiffusion's "SA".
SLOTS = {"num_slots": 3, "slot_size": 8, "slot_mlp_size": 20, "num_iterations": 2}
PLAIN = {"enc_channels": [3, 4, 6], "enc_ks": 5, "enc_out_channels": 12, "enc_norm": ""}
MIXTURE = {"dec_channels": [8, 4, 6], "dec_resolution": [4, 4], "dec_ks": 5, "dec_norm": ""}
SMALL = {"resolution": [16, 16], "slot_dict": SLOTS, "enc_dict": PLAIN, "dec_dict": MIXTURE}


def resnet(name: str, *, use_layer4: bool) -> dict:
    return {"resnet": name, "use_layer4": use_layer4, "enc_out_channels": 8}


CASES: dict[str, dict] = {
    "plain": SMALL,
    "plain, halved": SMALL
    | {"resolution": [72, 40], "dec_dict": MIXTURE | {"dec_resolution": [18, 10]}},
    "64 rows are not halved": SMALL
    | {"resolution": [64, 16], "dec_dict": MIXTURE | {"dec_resolution": [16, 4]}},
    "layer that keeps the size": SMALL
    | {"dec_dict": MIXTURE | {"dec_channels": [8, 4, 4, 6], "dec_ks": 3}},
    "epsilon": SMALL | {"eps": 0.5, "loss_dict": {"use_img_recon_loss": True}},
    "resnet18": SMALL | {"enc_dict": resnet("resnet18", use_layer4=False)},
    "resnet34 with layer4": SMALL | {"enc_dict": resnet("resnet34", use_layer4=True)},
}


# Constructor arguments of its "SAVi".
TRANSFORMER = {
    "pred_type": "transformer",
    "pred_rnn": False,
    "pred_norm_first": True,
    "pred_num_layers": 2,
    "pred_num_heads": 2,
    "pred_ffn_dim": 12,
    "pred_sg_every": None,
}
SMALL_VIDEO = SMALL | {"clip_len": 3, "pred_dict": TRANSFORMER}
PREDICTORS: dict[str, dict] = {
    "transformer": TRANSFORMER,
    "transformer, norm last": TRANSFORMER | {"pred_norm_first": False, "pred_num_layers": 1},
    "transformer with LSTM": TRANSFORMER | {"pred_rnn": True, "pred_sg_every": 4},
    "mlp": {"pred_type": "mlp", "pred_rnn": False, "pred_norm_first": True},
    "mlp of the slot as it came": {"pred_type": "mlp", "pred_rnn": False, "pred_norm_first": False},
    "mlp with LSTM": {"pred_type": "mlp", "pred_rnn": True, "pred_norm_first": True},
}


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture
def unchecked_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns the type checks of the test run off: a user has none and needs the sentence."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def tiny_config() -> SlotAutoencoderConfig:
    """Three slots of width 8 on 16x16 pixels."""
    return SlotAutoencoderConfig.parse(TINY, source="tiny")


@pytest.fixture
def model(tiny_config: SlotAutoencoderConfig) -> SlotAutoencoder:
    return build_model(tiny_config)


@pytest.fixture
def video() -> Tensor:
    """Two videos of two frames at the tiny model's own size."""
    return torch.rand(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def assert_near() -> Callable[[Tensor, Tensor, float], None]:
    """Fail unless two tensors differ by less than a fraction of the largest reference value."""

    def check(actual: Tensor, reference: Tensor, fraction: float) -> None:
        limit = fraction * reference.abs().max().item()
        torch.testing.assert_close(actual, reference, atol=limit, rtol=0)

    return check


@pytest.fixture
def reference_data() -> Path:
    """The folder of full reference data, which is not part of the repository."""
    folder = os.environ.get("SLOT_REFERENCE_DATA")
    if folder is None:
        pytest.skip("SLOT_REFERENCE_DATA is not set")
    return Path(folder)


@pytest.fixture
def small() -> dict[str, Any]:
    """Arguments of the smallest model."""
    return copy.deepcopy(SMALL)


@pytest.fixture(params=CASES)
def arguments(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Arguments of each kind of model in turn."""
    return copy.deepcopy(CASES[request.param])


@pytest.fixture
def small_video() -> dict[str, Any]:
    """The class and the arguments of the smallest model of videos."""
    return copy.deepcopy({"cls": "slotdiffusion.video_based.models.savi.SAVi", "args": SMALL_VIDEO})


@pytest.fixture(params=PREDICTORS)
def video_arguments(request: pytest.FixtureRequest, small_video: dict) -> dict[str, Any]:
    """The same with each kind of predictor in turn."""
    small_video["args"]["pred_dict"] = copy.deepcopy(PREDICTORS[request.param])
    return small_video


@pytest.fixture
def foreign_weights() -> Callable[[dict[str, Any]], dict[str, Tensor]]:
    """Random weights under the foreign names, buffers included."""

    def make(arguments: dict) -> dict[str, Tensor]:
        origin = get_origin("slotdiffusion")
        config = origin.read_config(arguments, source="test")
        model = build_model(config)
        noise = {
            name: value + 0.1 * torch.randn_like(value)
            for name, value in model.state_dict().items()
        }
        names = origin.state_dict_map(config)
        grids = {n: torch.zeros(s) for n, s in names.implied.items() if isinstance(s, tuple)}
        return names.to_theirs(noise) | grids

    return make
