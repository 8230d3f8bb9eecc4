"""The denoising U-Net: what it begins with, and that slots have no order for it."""

from typing import Any

import pytest
import torch

from slot_core import ConfigError
from slot_decoders import DenoiserUNet

TINY: dict[str, Any] = {
    "channels": (8, 16),
    "layers_per_block": 1,
    "attention_levels": (1,),
    "head_dim": 8,
    "num_groups": 4,
}


def moved(unet: DenoiserUNet) -> DenoiserUNet:
    """With weights that are not zero any more, as after some training."""
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return unet.eval()


def test_an_untrained_network_predicts_zero():
    made = DenoiserUNet(3, 6, **TINY)(torch.randn(2, 3, 8, 4), torch.ones(2), torch.randn(2, 5, 6))
    assert torch.equal(made, torch.zeros(2, 3, 8, 4))


def test_slots_matter_and_their_order_does_not():
    unet = moved(DenoiserUNet(3, 6, **TINY))
    latents, times, slots = (
        torch.randn(2, 3, 4, 4),
        torch.tensor([3.0, 999.0]),
        torch.randn(2, 5, 6),
    )
    with torch.no_grad():
        made = unet(latents, times, slots)
        torch.testing.assert_close(unet(latents, times, slots[:, [3, 1, 0, 4, 2]]), made)
        assert not torch.allclose(unet(latents, times, slots + 1), made)
        assert not torch.allclose(unet(latents, times + 0.5, slots), made)  # between two steps


def test_attention_is_where_it_is_asked_for():
    names = {name for name, _ in DenoiserUNet(3, 6, **TINY).network.named_modules()}
    assert "down_blocks.1.attentions.0" in names
    assert "mid_block.attentions.0" in names
    assert "up_blocks.0.attentions.1" in names
    assert not any(name.startswith(("down_blocks.0.att", "up_blocks.1.att")) for name in names)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"channels": (8, 18)}, "channels 8, 18 of a U-Net are not all multiples of num_groups, 4"),
        ({"attention_levels": (2,)}, "names the level 2 of a U-Net, which has the levels 0 to 1"),
        (
            {"head_dim": 12},
            "level 1 of a U-Net has 16 channels, expected a multiple of head_d",
        ),
    ],
    ids=str,
)
def test_numbers_that_do_not_fit_are_refused(changes: dict, sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        DenoiserUNet(3, 6, **{**TINY, **changes})


def test_heads_have_one_width_and_dropout_is_in_the_residual_blocks_alone():
    unet = DenoiserUNet(3, 6, **{**TINY, "channels": (8, 16)}, dropout=0.3).network
    heads = {m.heads for m in unet.modules() if type(m).__name__ == "Attention"}
    assert heads == {2}  # of 16 channels in heads of 8
    norms = [m for m in unet.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert {norm.num_groups for norm in norms} == {4}
    rates: dict[str, set[float]] = {}
    for name, module in unet.named_modules():
        if isinstance(module, torch.nn.Dropout):
            rates.setdefault("resnets" if ".resnets." in name else "others", set()).add(module.p)
    assert rates == {"resnets": {0.3}, "others": {0.0}}
