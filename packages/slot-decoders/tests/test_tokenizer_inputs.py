"""What is no picture for a tokenizer, and what are no codes, is told by all of them alike."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from slot_core import InputError
from slot_decoders import DVAE, VQVAE, AutoencoderKL, AutoencoderTiny
from slot_decoders.models import presets

SMALL: dict[str, Any] = {"channels": (8, 8), "layers_per_block": 1, "num_groups": 4}
TOKENIZERS: dict[str, Callable[[], Any]] = {
    "dvae": lambda: DVAE(vocab_size=7, hidden_dim=8),
    "vqvae": lambda: VQVAE(**SMALL, vocab_size=5, perceptual_weight=0.0),
    "kl": lambda: AutoencoderKL(**SMALL, latent_channels=3),
    "tiny": lambda: AutoencoderTiny(
        channels=8, encoder_blocks=(1, 1), decoder_blocks=(1, 1), latent_channels=3
    ),
}
FRAMES = torch.rand(2, 3, 8, 12)


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return TOKENIZERS[request.param]()


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        (FRAMES[:, :1], r"the shape \[2, 1, 8, 12\], expected \[batch 3 height width\]"),
        (FRAMES[None], r"expected \[batch 3 .*; those of a video are video\.flatten\(0, 1\)$"),
        (FRAMES[:0], r"the shape \[0, 3, 8, 12\], expected .* at least one of each$"),
        ((FRAMES * 255).byte(), r"are torch\.uint8, expected normalised floats$"),
        (FRAMES[..., :9, :7], r"the pictures are 8x7; an? .* needs multiples of [24]$"),
    ],
    ids=["grey", "video", "none", "bytes", "size"],
)
def test_what_are_no_pictures_is_told(tokenizer: Any, frames: Tensor, sentence: str):
    calls = [tokenizer.encode, tokenizer.reconstruct]
    if type(tokenizer).forward is not torch.nn.Module.forward:
        calls += [tokenizer] * isinstance(tokenizer, DVAE | VQVAE)
    for call in calls:
        with pytest.raises(InputError, match=sentence):
            call(frames)


@pytest.mark.usefixtures("unchecked_types")
def test_what_are_no_codes_is_told(tokenizer: Any):
    codes = tokenizer.encode(FRAMES)
    wrong = [codes[0], codes.float()] if isinstance(tokenizer, DVAE) else [codes[:, :2], codes[0]]
    wrong += [] if isinstance(tokenizer, DVAE) else [codes.long()]
    for given in wrong:
        with pytest.raises(
            InputError, match=r"the (tokens|latents) are .* expected (ints|integ|fl)"
        ):
            tokenizer.decode(given)


@pytest.mark.parametrize("name", ["dvae", "vqvae"])
def test_frames_in_double_precision_are_as_good_as_any(name: str):
    tokenizer = TOKENIZERS[name]()
    torch.manual_seed(0)
    expected = tokenizer(FRAMES, generator=torch.Generator().manual_seed(1)).total
    made = tokenizer(FRAMES.double(), generator=torch.Generator().manual_seed(1)).total
    torch.testing.assert_close(made, expected)
    assert torch.equal(tokenizer.encode(FRAMES.double()), tokenizer.encode(FRAMES))


@pytest.mark.parametrize("make", [presets.dvae, presets.vqvae])
def test_a_model_whose_pictures_the_patches_do_not_fill_says_so(make: Callable[..., Any]):
    small = {"hidden_dim": 8} if make is presets.dvae else {**SMALL, "perceptual_weight": 0.0}
    model = make(preprocessing={"image_size": [9, 12]}, tokenizer={"vocab_size": 5, **small})
    for call in (model, model.reconstruct):
        with pytest.raises(
            InputError, match=r"the pictures are 9x12; a .* needs multiples of [24]$"
        ):
            call(torch.rand(1, 1, 3, 9, 12))
