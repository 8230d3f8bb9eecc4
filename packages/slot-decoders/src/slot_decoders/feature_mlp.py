"""The mixture decoder over features (Seitzer et al. 2023, DINOSAUR, arXiv 2209.14860, section 3.2).

It decodes towards what a frozen backbone makes of the frames, not towards their colours: features
of networks that were trained without labels are alike within an object, so slots that explain
them part real pictures into things. Each slot is repeated over the grid of the features, gets an
embedding of the place, which is learned freely, and one MLP turns each pair of slot and place into
features and one mask logit. A softmax over the slots turns the logits into masks, and the features
are summed weighted by them. The loss is the mean squared error.

One departure in the order of operations, none in the result. The first layer is linear in the sum
of slot and place, so both go through it apart: a slot once and not once for each place.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slot_core import ConfigError, DecoderOutput, Generators, LossOutput
from slot_core.compiling import compile_methods
from slot_core.protocols import MaskSource
from slot_core.recomputing import recompute_methods
from slot_core.slot_input import check_slots, check_target


class FeatureMLPDecoder(nn.Module):
    """Decodes each slot to features and a mask, place by place, and mixes them.

    Args:
        slot_dim: width of the slots.
        feature_dim: width of the features.
        grid_size: height and width of their map.
        hidden_dim: of the MLP.
        num_layers: of the MLP, the last one included.

    Raises:
        ConfigError: if there are fewer than two layers.
    """

    default_mask_source: MaskSource = "decoder"
    paints = False
    wants_maps = True

    def __init__(
        self,
        slot_dim: int,
        feature_dim: int,
        grid_size: tuple[int, int],
        *,
        hidden_dim: int = 1024,
        num_layers: int = 4,
    ) -> None:
        super().__init__()
        if num_layers < 2:
            raise ConfigError(f"num_layers is {num_layers}, expected at least 2")
        self.slot_dim = slot_dim
        self.feature_dim = feature_dim
        self.grid_size = grid_size
        # As in the authors' code: small, and no biases at the start.
        self.places = nn.Parameter(0.02 * torch.randn(grid_size[0] * grid_size[1], slot_dim))
        self.first = nn.Linear(slot_dim, hidden_dim)
        layers: list[nn.Module] = [nn.ReLU()]
        for _ in range(num_layers - 2):
            layers += [nn.Linear(hidden_dim, hidden_dim), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden_dim, feature_dim + 1))
        for layer in (self.first, *self.layers):
            if isinstance(layer, nn.Linear):
                nn.init.zeros_(layer.bias)

    def forward(
        self,
        slots: Float[Tensor, "batch time slots dim"],
        target: Float[Tensor, "batch time channels height width"],
        *,
        generator: Generators | None = None,
    ) -> LossOutput:
        """The mean squared error between the decoded slots and ``target``, a backbone's maps.

        Nothing is random, ``generator`` is unused.

        Raises:
            InputError: as ``decode`` does, or if ``target`` is not of the slots' frames, of
                ``grid_size`` and ``feature_dim``.
        """
        decoded = self.decode(slots)
        check_target(target, slots, self.grid_size, channels=self.feature_dim)
        precision = torch.promote_types(target.dtype, torch.float32)
        loss = F.mse_loss(decoded.reconstruction.to(precision), target.to(precision))
        return LossOutput(total=loss, parts={"features": loss}, decoded=decoded)

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile all of ``decode`` but its checks; ``options`` are those of ``torch.compile``."""
        compile_methods(self, "mixed", **options)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute some frames after the other; see slot_core.recomputing."""
        recompute_methods(self, "mixed", batch_axes=2)

    def decode(
        self,
        slots: Float[Tensor, "batch time slots dim"],
        generator: Generators | None = None,
        maps: Float[Tensor, "batch time channels height width"] | None = None,
    ) -> DecoderOutput:
        """Mixed features and masks, of the slots alone: ``generator`` and ``maps`` are unused.

        Raises:
            InputError: if the slots have another shape or kind of numbers.
        """
        check_slots(slots, self.slot_dim, self.first.weight)
        return DecoderOutput(*self.mixed(slots))

    def mixed(
        self, slots: Float[Tensor, "batch time slots dim"]
    ) -> tuple[
        Float[Tensor, "batch time channels height width"],
        Float[Tensor, "batch time slots height width"],
    ]:
        """The features and the masks of slots."""
        placed = self.first(slots)[..., None, :] + F.linear(self.places, self.first.weight)
        decoded = self.layers(placed)  # [batch time slots positions feature_dim + 1]
        features, logits = decoded[..., :-1], decoded[..., -1]
        # In single precision at least, so that the masks of a half-precision model sum to 1.
        masks = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=2)
        mixed = torch.einsum("btkpc,btkp->btcp", features, masks.to(features.dtype))
        return mixed.unflatten(-1, self.grid_size), masks.unflatten(-1, self.grid_size)
