"""Every decoder tells what is wrong with the slots and the video that it is given, and models with
the colours that they are to learn from."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slot_core import InputError
from slot_decoders import (
    DVAE,
    VQVAE,
    DenoiserUNet,
    DiffusionDecoder,
    SpatialBroadcastDecoder,
    TransformerDecoder,
)
from slot_decoders.models import SlotAutoencoder, presets
from slot_decoders.models.slot_dynamics_model import SlotDynamicsModel

SIZE = (8, 16)
UNET: dict[str, Any] = {
    "channels": (8,),
    "layers_per_block": 1,
    "attention_levels": (0,),
    "head_dim": 8,
    "num_groups": 4,
}
VQ: dict[str, Any] = {"channels": (8, 8), "layers_per_block": 1, "vocab_size": 5, "num_groups": 4}
DECODERS: dict[str, Callable[[], Any]] = {
    "mixture": lambda: SpatialBroadcastDecoder(
        6, SIZE, channels=(4,), broadcast_size=(4, 8), kernel_size=3
    ),
    "tokens": lambda: TransformerDecoder(
        DVAE(vocab_size=7, hidden_dim=8), 6, SIZE, num_layers=1, num_heads=2
    ),
    "latents": lambda: DiffusionDecoder(DenoiserUNet(3, 6, **UNET), VQVAE(**VQ), SIZE),
    "pixels": lambda: DiffusionDecoder(DenoiserUNet(3, 6, **UNET), None, SIZE),
}
SLOTS = torch.rand(2, 3, 4, 6)
VIDEO = torch.rand(2, 3, 3, *SIZE)


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest) -> nn.Module:
    return DECODERS[request.param]()


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("slots", "sentence"),
    [
        (SLOTS[:, 0], r"\[2, 4, 6\], expected \[batch time slots 6\]; those of pictures are of"),
        (torch.rand(2, 3, 4, 8), r"\[2, 3, 4, 8\], expected \[batch time slots 6\]$"),
        (SLOTS.double(), r"the slots are torch\.float64, expected torch\.float32 as the weights"),
        (SLOTS.long(), r"the slots are torch\.int64, expected floats$"),
    ],
    ids=["no time", "width", "double", "integers"],
)
def test_what_are_no_slots_is_told(decoder: Any, slots: Tensor, sentence: str):
    for take in (decoder.decode, lambda given: decoder(given, VIDEO)):
        with pytest.raises(InputError, match=sentence):
            take(slots)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "video",
    [
        VIDEO[:1],
        VIDEO[:, :1],
        VIDEO.transpose(0, 1),
        VIDEO.mT,
        torch.rand(2, 3, 3, 16, 32),
        VIDEO[:, :, :1],
        VIDEO[:, 0],
    ],
    ids=lambda video: str(list(video.shape)),
)
def test_the_video_of_other_slots_is_told(decoder: Any, video: Tensor):
    with pytest.raises(InputError, match=r"expected \[2, 3, 3, 8, 16\]: a frame of the decoder's"):
        decoder(SLOTS, video)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("name", ["tokens", "latents"])
def test_the_codes_of_other_frames_are_told(name: str):
    decoder = DECODERS[name]()
    codes = decoder.tokenizer.encode(VIDEO.flatten(0, 1)).unflatten(0, (2, 3))
    assert decoder(SLOTS, VIDEO, codes=codes).total > 0
    for wrong in (codes[:1], codes.transpose(0, 1), codes.mT):
        with pytest.raises(InputError, match=r"the codes have the shape .*, expected \[2, 3, "):
            decoder(SLOTS, VIDEO, codes=wrong.contiguous())


def test_a_video_in_double_precision_is_as_good_as_any(decoder: Any):
    decoder.eval()
    torch.manual_seed(0)
    expected = decoder(SLOTS, VIDEO).total.item()
    torch.manual_seed(0)
    assert decoder(SLOTS, VIDEO.double()).total.item() == pytest.approx(expected, rel=1e-5)


def test_autocast_makes_slots_of_another_type_fit(decoder: Any):
    with torch.autocast("cpu", torch.bfloat16):
        assert decoder(SLOTS.bfloat16(), VIDEO).total.isfinite()


NO_COLOURS = {
    "bytes": lambda video: video * 255,
    "normalised": lambda video: video * 4 - 2,
    "nan": lambda video: video * torch.nan,
}


@pytest.mark.parametrize("wrong", NO_COLOURS)
def test_nothing_is_learned_from_colours_that_are_none(
    model: SlotAutoencoder, video: Tensor, wrong: str
):
    tokens = presets.dvae(
        preprocessing={"image_size": [16, 16]}, tokenizer={"vocab_size": 7, "hidden_dim": 8}
    )
    config = model.config.model_dump(include={"num_slots", "slot_dim", "preprocessing", "decoder"})
    dynamics = {"burn_in": 1, "model_dim": 8, "num_layers": 1, "num_heads": 2}
    former = presets.slot_former(dynamics=dynamics, image_loss_weight=1.0, stride=1, **config)
    assert isinstance(former, SlotDynamicsModel)
    slots = torch.rand(2, 2, 3, 8)
    for learn in (model, tokens, lambda video: former(slots, video)):
        assert learn(video).total.isfinite()
        with pytest.raises(InputError, match=r"colours of the video reach from .*in \[0, 1\]"):
            learn(NO_COLOURS[wrong](video))
