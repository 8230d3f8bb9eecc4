"""The autoregressive decoder over tokens (SLATE, Singh et al. 2021, arXiv 2110.11405, section
3.2; of every frame of a video in STEVE, Singh et al. 2022, arXiv 2205.14065).

A frozen tokenizer turns a picture into tokens; a transformer predicts each from those before it
and from the slots. The loss is the cross-entropy of all tokens. A picture is decoded token by
token, with the keys and values of earlier ones kept in a cache: 1,024 short steps instead of
1,024 passes over a growing prefix.

Optional are the nine orders of painting of SPOT (arXiv 2312.00648, see ``token_orders.py``), each
with a beginning of its own. Here a patch is also told its place, which SPOT's features know.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from slot_core import ConfigError, DecoderOutput, Generators, InputError, LossOutput
from slot_core.compiling import compile_methods
from slot_core.protocols import MaskSource
from slot_core.recomputing import recompute_methods
from slot_core.slot_input import check_codes, check_slots, check_target
from slot_decoders.gumbel import gumbel_noise, gumbel_softmax
from slot_decoders.token_blocks import LayerCache, TokenBlock, empty_caches, linear, next_patch
from slot_decoders.token_orders import draw_orders, patch_orders

# Positions by which the part of the cache that a step looks at grows: few, as all of it is read in
# every step; not one, as a compiled step is made for one length.
CACHE_BLOCK = 64

# Of the mixtures of codes that the optional picture loss paints, as in SlotDiffusion's code.
MIXTURE_TEMPERATURE = 0.1


@dataclass(frozen=True)
class TokenCache:
    """What decoding keeps from step to step.

    Attributes:
        layers: keys and values.
        order: the places in the order of painting.
        begin: the token that stands before the first.
    """

    layers: tuple[LayerCache, ...]
    order: Int[Tensor, " positions"]
    begin: Int[Tensor, " batch"]

    def up_to(self, length: int) -> TokenCache:
        """The same memory, as far as ``length`` positions."""
        return replace(self, layers=tuple(layer.up_to(length) for layer in self.layers))


class TransformerDecoder(nn.Module):
    """Predicts a frozen tokenizer's tokens from the slots and the tokens before.

    Args:
        tokenizer: frames to tokens and back; has ``vocab_size`` and ``stride``. It is frozen and
            always in eval mode.
        slot_dim: width of the slots.
        image_size: height and width of the frames.
        model_dim: width of the transformer; None for that of the slots.
        num_layers: of the transformer.
        num_heads: of its attention.
        dropout: while training.
        permuted_orders: train each frame on one of nine orders of painting, drawn at random;
            otherwise, and always outside of training, rows from the top left.
        reconstruction_weight: of a further loss, the mean squared error of the frames that the
            predicted tokens, softly drawn, would give; 0 for none.

    Raises:
        ConfigError: if the tokenizer's patches do not fill ``image_size``.
        InputError: if ``num_heads`` does not divide the width.
    """

    default_mask_source: MaskSource = "encoder"
    makes_masks = False

    order_table: Tensor

    def __init__(
        self,
        tokenizer: Any,
        slot_dim: int,
        image_size: tuple[int, int],
        *,
        model_dim: int | None = None,
        num_layers: int = 8,
        num_heads: int = 4,
        dropout: float = 0.1,
        permuted_orders: bool = False,
        reconstruction_weight: float = 0.0,
    ) -> None:
        super().__init__()
        stride = tokenizer.stride
        if image_size[0] % stride or image_size[1] % stride:
            raise ConfigError(
                f"the decoder paints {image_size[0]}x{image_size[1]} pixels, expected multiples "
                f"of its tokenizer's stride, {stride}"
            )
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.image_size = image_size
        self.grid_size = (image_size[0] // stride, image_size[1] // stride)
        self.num_positions = self.grid_size[0] * self.grid_size[1]
        self.dropout = dropout
        self.permuted_orders = permuted_orders
        self.reconstruction_weight = reconstruction_weight
        table = patch_orders(*self.grid_size)
        table = table if permuted_orders else table[:1]
        # Not persistent: it follows from the size.
        self.register_buffer("order_table", table, persistent=False)
        dim = slot_dim if model_dim is None else model_dim
        self.slot_projection = nn.Linear(slot_dim, dim)
        # Behind the tokens stands one beginning for each order.
        self.token_embedding = nn.Embedding(tokenizer.vocab_size + len(table), dim)
        self.position_embedding = nn.Parameter(torch.empty(self.num_positions, dim))
        nn.init.trunc_normal_(self.position_embedding)
        gain = (3 * num_layers) ** -0.5
        self.blocks = nn.ModuleList(
            TokenBlock(dim, num_heads, dropout=dropout, gain=gain, first=layer == 0)
            for layer in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.head = linear(dim, tokenizer.vocab_size, bias=False)

    def train(self, mode: bool = True) -> TransformerDecoder:
        """The usual mode, but for the tokenizer, which stays in eval."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the layers for training, ``step`` for painting, and the tokenizer.

        All layers but the first share what is compiled, so making it ready takes no longer for more
        of them. A step has little to do, and is one graph, which is called once and not for every
        layer. ``options`` are those of ``torch.compile``.
        """
        for block in self.blocks:
            compile_methods(block, "forward", **options)
        compile_methods(self, "step", **options)
        self.tokenizer.compile(*args, **options)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute each layer, and the logits with their loss, some frames after the other; and
        what the tokenizer paints, where gradients pass it. See slot_core.recomputing.
        """
        for block in self.blocks:
            recompute_methods(block, "forward")
        recompute_methods(self, "_cross_entropies", batch_axes=1)
        if self.reconstruction_weight:
            recompute_methods(self.tokenizer, "decode_mixture", batch_axes=1)

    def forward(
        self,
        slots: Float[Tensor, "batch time slots dim"],
        target: Float[Tensor, "batch time channels height width"],
        codes: Int[Tensor, "batch time _ _"] | None = None,
        *,
        generator: Generators | None = None,
    ) -> LossOutput:
        """The cross-entropy of the tokens of ``target``, a normalised video, from all before.

        ``codes`` are the tokens, where they are known already; ``generator`` draws the orders of
        painting and, with a ``reconstruction_weight``, the tokens that are painted.

        Raises:
            InputError: as ``decode`` does, or if ``target`` or ``codes`` are not of the slots'
                frames and of ``image_size``.
        """
        self._check_slots(slots)
        check_target(target, slots, self.image_size)
        frames = target.flatten(0, 1)
        if codes is None:
            tokens = self.tokenizer.encode(frames).flatten(1)
        else:
            check_codes(codes, slots, self.grid_size)
            tokens = codes.flatten(0, 1).flatten(1)
        order = draw_orders(self.order_table, len(tokens), self.training, generator)
        patches = self._patches(slots.flatten(0, 1), tokens, order)
        wanted = tokens.gather(1, self.order_table[order])
        if not self.reconstruction_weight:
            loss = self._cross_entropies(patches, wanted).mean()
            return LossOutput(total=loss, parts={"cross_entropy": loss})
        logits = self._read(patches)
        loss = cross_entropies(logits, wanted).mean()
        painting = self._painting_loss(logits, order, frames, generator)
        return LossOutput(
            total=loss + self.reconstruction_weight * painting,
            parts={"cross_entropy": loss, "reconstruction": painting},
        )

    def logits(
        self,
        slots: Float[Tensor, "batch slots dim"],
        tokens: Int[Tensor, "batch positions"],
        order: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch positions vocab"]:
        """Of every token, given the true ones before it, in single precision at least.

        Args:
            slots: of one frame each.
            tokens: of the frame along its rows.
            order: number of the order of painting in which the logits come; None for the first,
                along the rows.
        """
        if order is None:
            order = tokens.new_zeros(len(tokens))
        return self._read(self._patches(slots, tokens, order))

    def _patches(
        self,
        slots: Float[Tensor, "batch slots dim"],
        tokens: Int[Tensor, "batch positions"],
        order: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch positions model_dim"]:
        """What the last layer gives for every token, in the order of painting."""
        places = self.order_table[order]
        begin = (self.tokenizer.vocab_size + order)[:, None]
        before = torch.cat([begin, tokens.gather(1, places)[:, :-1]], dim=1)
        patches = self.token_embedding(before) + self.position_embedding[places]
        patches = F.dropout(patches, self.dropout, self.training)
        slots = self.slot_projection(slots)
        for block in self.blocks:
            patches = block(patches, slots)
        return patches

    def _read(
        self, patches: Float[Tensor, "batch positions model_dim"]
    ) -> Float[Tensor, "batch positions vocab"]:
        """The logits that the last layer's patches stand for."""
        return _precise(self.head(self.norm(patches)))

    def _cross_entropies(
        self,
        patches: Float[Tensor, "batch positions model_dim"],
        wanted: Int[Tensor, "batch positions"],
    ) -> Float[Tensor, "batch positions"]:
        """Of every token; the logits of all, the largest tensor here, are not needed after."""
        return cross_entropies(self._read(patches), wanted)

    @torch.no_grad()
    def decode(
        self,
        slots: Float[Tensor, "batch time slots dim"],
        generator: Generators | None = None,
    ) -> DecoderOutput:
        """The frames of the most likely tokens; nothing is random, ``generator`` is unused.

        Raises:
            InputError: if the slots have another shape or kind of numbers.
        """
        self._check_slots(slots)
        tokens = self.generate(slots.flatten(0, 1))
        frames = self.tokenizer.decode(tokens.unflatten(1, self.grid_size))
        return DecoderOutput(frames.unflatten(0, slots.shape[:2]))

    @torch.no_grad()
    def generate(
        self,
        slots: Float[Tensor, "batch slots dim"],
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        order: int = 0,
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, "batch positions"]:
        """Tokens along the rows, each given those that were generated before it.

        Args:
            slots: of one frame each.
            temperature: draw the tokens, from logits divided by this; None for the most likely.
            top_k: draw among so many of the most likely; None for all.
            order: number of the order of painting.
            generator: draws the tokens.

        Raises:
            InputError: if the slots have another shape or kind of numbers, ``temperature`` or
                ``top_k`` is no positive number, ``top_k`` comes without ``temperature``, or there
                is no such order.
        """
        if slots.ndim != 3:
            raise InputError(
                f"the slots have the shape {list(slots.shape)}, expected those of one frame each, "
                "[batch slots dim]; those of videos are slots.flatten(0, 1)"
            )
        self._check_slots(slots[:, None])
        self._check_choice(temperature, top_k, order)
        cache = self.empty_cache(slots, order)
        token, tokens = cache.begin, []
        for block in torch.arange(self.num_positions, device=slots.device).split(CACHE_BLOCK):
            reached = cache.up_to(len(tokens) + len(block))
            for position in block.split(1):
                logits = self.step(token, position, reached)
                token = choose_token(logits, temperature, top_k, generator)
                tokens.append(token)
        return torch.stack(tokens, dim=1)[:, cache.order.argsort()]

    def empty_cache(self, slots: Float[Tensor, "batch slots dim"], order: int = 0) -> TokenCache:
        """What ``step`` needs before the first token."""
        layers = empty_caches(self.blocks, self.slot_projection(slots), self.num_positions)
        begin = torch.full((len(slots),), self.tokenizer.vocab_size + order, device=slots.device)
        return TokenCache(layers, self.order_table[order], begin)

    def step(
        self,
        token: Int[Tensor, " batch"],
        position: Int[Tensor, " 1"],
        cache: TokenCache,
    ) -> Float[Tensor, "batch vocab"]:
        """Logits of the token at ``position`` in the order of painting, without dropout.

        Shapes depend on the length of the cache alone, so that the step can be compiled.

        Args:
            token: the one before; ``cache.begin`` at position 0.
            position: 0, 1, 2 and so on.
            cache: of ``empty_cache``, as far as ``position`` or further; it is written into.
        """
        place = cache.order[position]
        patch = self.token_embedding(token) + self.position_embedding[place]
        patch = next_patch(self.blocks, patch, position, cache.layers)
        return _precise(self.head(self.norm(patch)))

    def _painting_loss(
        self,
        logits: Float[Tensor, "batch positions vocab"],
        order: Int[Tensor, " batch"],
        frames: Float[Tensor, "batch channels height width"],
        generator: Generators | None,
    ) -> Float[Tensor, ""]:
        """The squared error of the frames that a soft draw from the logits gives."""
        back = self.order_table[order].argsort(dim=1)[:, :, None].expand_as(logits)
        in_rows = logits.gather(1, back).transpose(1, 2).unflatten(2, self.grid_size).contiguous()
        drawn = gumbel_softmax(in_rows, gumbel_noise(in_rows, generator), MIXTURE_TEMPERATURE)
        painted = self.tokenizer.decode_mixture(drawn)
        return F.mse_loss(painted.to(logits.dtype), frames.to(logits.dtype))

    def _check_slots(self, slots: Tensor) -> None:
        weight = self.slot_projection.weight
        check_slots(slots, weight.shape[1], weight)

    def _check_choice(self, temperature: float | None, top_k: int | None, order: int) -> None:
        if temperature is not None and not temperature > 0:
            raise InputError(f"temperature is {temperature}, expected a positive number or None")
        if top_k is not None and (temperature is None or top_k < 1):
            raise InputError(
                f"top_k is {top_k}, expected a positive number, together with a temperature"
            )
        if not 0 <= order < len(self.order_table):
            raise InputError(
                f"order is {order}; this decoder was trained on {len(self.order_table)}, "
                f"counted from 0"
            )


def choose_token(
    logits: Float[Tensor, "batch vocab"],
    temperature: float | None = None,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " batch"]:
    """The most likely token, or one drawn from the ``top_k`` most likely at ``temperature``."""
    if temperature is None:
        return logits.argmax(dim=-1)
    if top_k is not None and top_k < logits.shape[-1]:
        # By their places: of equal logits, as half precision has many, no more than asked for.
        likely = logits.topk(top_k, dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, likely.indices, likely.values)
    return (logits / temperature + gumbel_noise(logits, generator)).argmax(dim=-1)


def cross_entropies(
    logits: Float[Tensor, "batch positions vocab"], wanted: Int[Tensor, "batch positions"]
) -> Float[Tensor, "batch positions"]:
    """Of each token that is wanted."""
    losses = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
    return losses.view_as(wanted)


def _precise(logits: Float[Tensor, ...]) -> Float[Tensor, ...]:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
