"""The autoregressive decoder over features (Seitzer et al. 2023, DINOSAUR, arXiv 2209.14860,
section 3.2): the one of its results on PASCAL VOC, and of the better masks on COCO.

A transformer predicts what a frozen backbone makes of each patch from the true features of the
patches before it and from the slots. The loss is the mean squared error. Its masks say by how much
each patch looked at each slot in the last layer, on average over the heads. So they are of a
picture whose features are given; where only slots are, the features are generated first, each
from those that were generated before.

As in the authors' code, the layers are PyTorch's (normalised first, ReLU), neither places nor a
last layer norm are added, and the last layer's patches are the prediction. Two departures: each
layer begins with weights of its own, while theirs are copies of one; and what a layer reads of the
slots is computed as token_blocks.py says, which gives the same.

Optional are the nine orders of SPOT (arXiv 2312.00648, see ``token_orders.py``), each with a
beginning of its own.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from slot_core import DecoderOutput, Generators, LossOutput
from slot_core.compiling import compile_methods
from slot_core.protocols import MaskSource
from slot_core.recomputing import recompute_methods
from slot_core.slot_input import check_slots, check_target
from slot_decoders.token_blocks import LayerCache, TokenBlock, empty_caches, linear, next_patch
from slot_decoders.token_orders import draw_orders, patch_orders
from slot_decoders.token_transformer import CACHE_BLOCK

Maps = Float[Tensor, "batch time channels height width"]


class FeatureTransformerDecoder(nn.Module):
    """Predicts a backbone's features from the slots and the features of the patches before.

    Args:
        slot_dim: width of the slots.
        feature_dim: width of the features, and of the transformer.
        grid_size: height and width of their map.
        num_layers: of the transformer.
        num_heads: of its attention.
        permuted_orders: train each frame on one of nine orders, drawn at random; otherwise, and
            always outside of training, rows from the top left.

    Raises:
        InputError: if ``num_heads`` does not divide ``feature_dim``.
    """

    default_mask_source: MaskSource = "decoder"
    paints = False
    wants_maps = True

    order_table: Tensor

    def __init__(
        self,
        slot_dim: int,
        feature_dim: int,
        grid_size: tuple[int, int],
        *,
        num_layers: int = 4,
        num_heads: int = 8,
        permuted_orders: bool = False,
    ) -> None:
        super().__init__()
        self.slot_dim = slot_dim
        self.feature_dim = feature_dim
        self.grid_size = grid_size
        table = patch_orders(*grid_size)
        table = table if permuted_orders else table[:1]
        # Not persistent: it follows from the size.
        self.register_buffer("order_table", table, persistent=False)
        self.begin = nn.Parameter(feature_dim**-0.5 * torch.randn(len(table), feature_dim))
        self.slot_projection = _projection(slot_dim, feature_dim)
        self.feature_projection = _projection(feature_dim, feature_dim)
        self.blocks = nn.ModuleList(
            TokenBlock(feature_dim, num_heads, dropout=0.0, gain=1.0, first=False, bias=True)
            for _ in range(num_layers)
        )
        for block in self.blocks:
            assert isinstance(block, TokenBlock)
            _begin_as_pytorch_does(block)

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the layers, and ``step``, which is one graph; see TransformerDecoder.compile.

        ``options`` are those of ``torch.compile``.
        """
        for block, name in self._layers():
            compile_methods(block, name, **options)
        compile_methods(self, "step", **options)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute each layer; see slot_core.recomputing."""
        for block, name in self._layers():
            recompute_methods(block, name)

    def _layers(self) -> list[tuple[TokenBlock, str]]:
        """Each layer, and which of its methods is called: of the last one, that which tells
        where it looked."""
        blocks = [block for block in self.blocks if isinstance(block, TokenBlock)]
        return [(block, "forward") for block in blocks[:-1]] + [(blocks[-1], "attend")]

    def forward(
        self,
        slots: Float[Tensor, "batch time slots dim"],
        target: Maps,
        *,
        generator: Generators | None = None,
    ) -> LossOutput:
        """The mean squared error of predicting ``target``, a backbone's maps, patch by patch.

        ``generator`` draws the orders.

        Raises:
            InputError: as ``decode`` does.
        """
        self._check(slots, target)
        count = slots.shape[0] * slots.shape[1]
        order = draw_orders(self.order_table, count, self.training, generator)
        places = self.order_table[order][..., None]
        features = target.flatten(0, 1).flatten(2).mT.take_along_dim(places, dim=1)
        predicted, attention = self.predict(slots.flatten(0, 1), features, order)
        precision = torch.promote_types(features.dtype, torch.float32)
        loss = F.mse_loss(predicted.to(precision), features.to(precision))
        in_rows = places.argsort(dim=1)
        decoded = DecoderOutput(
            self._as_maps(predicted.take_along_dim(in_rows, dim=1), slots),
            self._as_maps(attention.take_along_dim(in_rows, dim=1), slots),
        )
        return LossOutput(total=loss, parts={"features": loss}, decoded=decoded)

    @torch.no_grad()
    def decode(
        self,
        slots: Float[Tensor, "batch time slots dim"],
        generator: Generators | None = None,
        maps: Maps | None = None,
    ) -> DecoderOutput:
        """Predicted features and masks; nothing is random, ``generator`` is unused.

        Args:
            slots: of a batch of videos.
            generator: unused.
            maps: the true features, from which each patch is given those before it; None for
                generated ones.

        Raises:
            InputError: if the slots have another shape or kind of numbers, or maps are not of their
                frames, of ``grid_size`` and ``feature_dim``.
        """
        self._check(slots, maps)
        frames = slots.flatten(0, 1)
        features = self.generate(frames) if maps is None else maps.flatten(0, 1).flatten(2).mT
        predicted, attention = self.predict(frames, features)
        return DecoderOutput(self._as_maps(predicted, slots), self._as_maps(attention, slots))

    def predict(
        self,
        slots: Float[Tensor, "batch slots dim"],
        features: Float[Tensor, "batch positions feature_dim"],
        order: Int[Tensor, " batch"] | None = None,
    ) -> tuple[
        Float[Tensor, "batch positions feature_dim"], Float[Tensor, "batch positions slots"]
    ]:
        """Every feature given those before it, and by how much it was looked for in each slot.

        Args:
            slots: of one frame each.
            features: of the frame, in the order of painting.
            order: the number of that; None for the first, along the rows.
        """
        begin = self.begin[:1].expand(len(slots), -1) if order is None else self.begin[order]
        begin = begin.to(features.dtype)[:, None]
        patches = self.feature_projection(torch.cat([begin, features[:, :-1]], dim=1))
        read = self.slot_projection(slots)
        *layers, last = self.blocks
        for block in layers:
            patches = block(patches, read)
        assert isinstance(last, TokenBlock)
        return last.attend(patches, read)

    @torch.no_grad()
    def generate(
        self, slots: Float[Tensor, "batch slots dim"]
    ) -> Float[Tensor, "batch positions feature_dim"]:
        """Features along the rows, of one frame each, given those that were generated before."""
        num_positions = self.order_table.shape[1]
        layers = empty_caches(self.blocks, self.slot_projection(slots), num_positions)
        feature, features = self.begin[:1].expand(len(slots), -1), []
        for block in torch.arange(num_positions, device=slots.device).split(CACHE_BLOCK):
            reached = tuple(layer.up_to(len(features) + len(block)) for layer in layers)
            for position in block.split(1):
                feature = self.step(feature, position, reached)
                features.append(feature)
        return torch.stack(features, dim=1)

    def step(
        self,
        feature: Float[Tensor, "batch feature_dim"],
        position: Int[Tensor, " 1"],
        layers: tuple[LayerCache, ...],
    ) -> Float[Tensor, "batch feature_dim"]:
        """The feature at ``position``, given the one before; see ``token_blocks.next_patch``."""
        return next_patch(self.blocks, self.feature_projection(feature), position, layers)

    def _as_maps(
        self, values: Float[Tensor, "frames positions channels"], slots: Tensor
    ) -> Float[Tensor, "batch time channels height width"]:
        return values.mT.unflatten(2, self.grid_size).unflatten(0, slots.shape[:2])

    def _check(self, slots: Tensor, maps: Tensor | None) -> None:
        weight = self.slot_projection.get_parameter("0.weight")
        check_slots(slots, self.slot_dim, weight)
        if maps is not None:
            check_target(maps, slots, self.grid_size, channels=self.feature_dim)


def _projection(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(linear(before, after, bias=False), nn.LayerNorm(after))


def _begin_as_pytorch_does(block: TokenBlock) -> None:
    """The first weights of PyTorch's layer of the same kind."""
    for attention in (block.patch_attention, block.slot_reading):
        for layer in (attention.to_query, attention.to_key, attention.to_value):
            # Which has all three in one matrix, of three times as many rows.
            nn.init.xavier_uniform_(layer.weight, gain=2**-0.5)
        attention.output.reset_parameters()
        nn.init.zeros_(attention.output.bias)
    for layer in block.mlp:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
