"""From the slots of past frames to those of future frames (SlotFormer, arXiv 2210.05861, sec. 3).

A transformer looks at all slots of the last ``burn_in`` frames at once (equations 2 and 3) and
gives the slots of the next frame; then the window moves on by that frame, and so forth. The
encoding of time says how old a frame of the window is, and is the same for all its slots, so slots
stay a set: permuted alike in every frame, they give permuted predictions.

The positions are counted in the window, not in the video. So a frame that stays in it is one step
older at the next prediction, all tokens of it change, and with them the keys and values of every
layer: no cache of these gives the same numbers. What can be kept is each frame before its age is
added, projected once; the last layer is computed for the newest frame's slots alone, since nobody
reads the others; and interleaved rollouts share one batch.

As in SlotFormer's code, which SlotDiffusion uses: prediction is a projection of the newest frame's
tokens; the sine encoding is of the age in frames, sines first and then cosines; dropout is 0.1.
``residual`` is not in that code: the projection is added to the newest slots. Slots change little
from one frame to the next, and without it the model has to learn first how to copy them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from slot_core.compiling import compile_methods
from slot_core.errors import InputError
from slot_core.recomputing import recompute_methods
from slot_core.slot_input import check_slots

Encoding = Literal["sine", "learned"]
LONGEST_WAVE = 10_000  # of the sine encoding, in frames, as in Vaswani et al. 2017


class SlotFormer(nn.Module):
    """Slots of future frames, one frame after the other, each from the ``burn_in`` before it.

    Args:
        slot_dim: width of the slots.
        burn_in: how many frames it looks at.
        model_dim: width of the transformer.
        num_layers: self-attention and MLP, so many times.
        num_heads: of the self-attention.
        hidden_dim: width of the MLPs; None for four times ``model_dim``.
        norm_first: True normalises what goes into attention and MLP, False the sums.
        dropout: of the attention and the MLPs while training; SlotFormer's code fixes 0.1.
        time_encoding: of a frame's age: fixed waves, or learned from zero.
        slot_encoding: of a slot's number, if it is to have a meaning; None keeps slots a set.
        num_slots: needed for ``slot_encoding`` alone.
        residual: predict how slots change; before it has learned anything, they stay.

    Raises:
        InputError: if ``num_heads`` does not divide ``model_dim``, waves do not fit its width, an
            encoding is another word, or ``slot_encoding`` is given without ``num_slots``.
    """

    time_encoding: Tensor
    slot_encoding: Tensor | None

    def __init__(
        self,
        slot_dim: int,
        *,
        burn_in: int = 15,
        model_dim: int = 256,
        num_layers: int = 12,
        num_heads: int = 8,
        hidden_dim: int | None = None,
        norm_first: bool = True,
        dropout: float = 0.1,
        time_encoding: Encoding = "sine",
        slot_encoding: Encoding | None = None,
        num_slots: int | None = None,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if model_dim % num_heads:
            raise InputError(f"a width of {model_dim} cannot be split among {num_heads} heads")
        if slot_encoding is not None and num_slots is None:
            raise InputError("the encoding of slots needs num_slots, how many there are")
        self.burn_in = burn_in
        self.residual = residual
        self.input = nn.Linear(slot_dim, model_dim)
        self.layers = nn.ModuleList(
            DynamicsLayer(
                model_dim,
                num_heads,
                4 * model_dim if hidden_dim is None else hidden_dim,
                dropout=dropout,
                norm_first=norm_first,
            )
            for _ in range(num_layers)
        )
        self.output = nn.Linear(model_dim, slot_dim)
        if residual:
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)
        self._encode("time_encoding", time_encoding, burn_in, model_dim)
        if slot_encoding is not None and num_slots is not None:
            self._encode("slot_encoding", slot_encoding, num_slots, model_dim)
        else:
            self.slot_encoding = None

    def _encode(self, name: str, kind: Encoding, length: int, dim: int) -> None:
        """Keep the encoding of ``length`` positions under ``name``."""
        if kind not in get_args(Encoding):
            raise InputError(f"{name} is '{kind}'; expected {' or '.join(get_args(Encoding))}")
        if kind == "learned":
            self.register_parameter(name, nn.Parameter(torch.zeros(length, dim)))
        else:  # not persistent: it follows from the configuration
            self.register_buffer(name, sine_encoding(length, dim), persistent=False)

    def forward(
        self, slots: Float[Tensor, "batch past slots dim"], num_steps: int, stride: int = 1
    ) -> Float[Tensor, "batch {num_steps} slots dim"]:
        """The slots of the ``num_steps`` frames after ``slots``.

        Args:
            slots: of at least ``burn_in`` frames; the last of them are looked at.
            num_steps: any number of frames.
            stride: how many frames apart two frames of a window are. Above 1, so many interleaved
                rollouts run as one batch, each with every ``stride``-th frame.

        Raises:
            InputError: if the slots have another shape or kind of numbers, there are fewer than
                ``burn_in * stride`` frames, or ``stride`` or ``num_steps`` is below 1.
        """
        self._check(slots)
        for name, number in (("num_steps", num_steps), ("stride", stride)):
            if number < 1:
                raise InputError(f"{name} is {number}, expected at least 1")
        past = self.burn_in * stride
        if slots.shape[1] < past:
            words = f" frames {stride} apart" if stride > 1 else ""
            raise InputError(
                f"the slots are of {slots.shape[1]} frames; a prediction needs {past}, the "
                f"burn-in of {self.burn_in}{words}"
            )
        if stride == 1:
            return self._roll_out(slots[:, -past:], num_steps)
        apart = slots[:, -past:].unflatten(1, (self.burn_in, stride)).transpose(1, 2)
        predicted = self._roll_out(apart.flatten(0, 1), -(-num_steps // stride))
        together = predicted.unflatten(0, (-1, stride)).transpose(1, 2).flatten(1, 2)
        return together[:, :num_steps]

    def _check(self, slots: Float[Tensor, "batch past slots dim"]) -> None:
        check_slots(slots, self.input.in_features, self.input.weight)
        if self.slot_encoding is not None and slots.shape[2] != len(self.slot_encoding):
            raise InputError(
                f"there are {slots.shape[2]} slots in a frame; slots that are encoded by their "
                f"number are always {len(self.slot_encoding)}"
            )

    def _roll_out(
        self, slots: Float[Tensor, "batch burn_in slots dim"], num_steps: int
    ) -> Float[Tensor, "batch {num_steps} slots dim"]:
        window, newest, predicted = self.input(slots), slots[:, -1], []
        for step in range(num_steps):
            if step:
                window = torch.cat([window[:, 1:], self.input(newest)[:, None]], 1)
            projected = self.next_frame(window)
            newest = newest + projected if self.residual else projected
            predicted.append(newest)
        return torch.stack(predicted, 1)

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile ``next_frame``, which serves rollouts of any length.

        ``options`` are those of ``torch.compile``.
        """
        compile_methods(self, "next_frame", **options)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute each layer of each predicted frame; see recomputing.py."""
        for layer in self.layers:
            recompute_methods(layer, "newest")

    def next_frame(
        self, window: Float[Tensor, "batch burn_in slots model_dim"]
    ) -> Float[Tensor, "batch slots dim"]:
        """The slots of the frame after a window of slots that passed ``input``, or their change.

        Of all that a rollout does this alone takes time, and always has the same shapes.
        """
        num_slots = window.shape[2]
        window = window + self.time_encoding[:, None]
        if self.slot_encoding is not None:
            window = window + self.slot_encoding
        tokens = window.flatten(1, 2)
        for layer in self.layers[:-1]:
            tokens = layer(tokens)
        last = self.layers[-1]
        assert isinstance(last, DynamicsLayer)
        return self.output(last.newest(tokens, num_slots))


class DynamicsLayer(nn.Module):
    """A transformer layer that can also be asked for its last tokens alone.

    It computes what ``nn.TransformerEncoderLayer`` does and has its names of weights. That one
    copies queries, keys and values for every head on its way without gradients; here they are views
    of one product, which the fused attention reads where they are.

    Args:
        dim: width of the tokens.
        num_heads: of the attention.
        hidden_dim: width of the MLP.
        dropout: of the attention's weights, of what it gives, and in and behind the MLP.
        norm_first: whether to normalise what goes in, or the sums.
    """

    def __init__(
        self, dim: int, num_heads: int, hidden_dim: int, *, dropout: float, norm_first: bool
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        # Never called: it holds the weights, and says how they begin.
        self.self_attn = nn.MultiheadAttention(dim, num_heads, dropout=dropout, batch_first=True)
        self.linear1 = nn.Linear(dim, hidden_dim)
        self.linear2 = nn.Linear(hidden_dim, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch _ dim"]:
        """All tokens, looking at one another."""
        return self.newest(tokens, tokens.shape[1])

    def newest(
        self, tokens: Float[Tensor, "batch tokens dim"], count: int
    ) -> Float[Tensor, "batch {count} dim"]:
        """What ``forward`` gives for the last ``count`` tokens, which attend to all."""
        newest = tokens[:, -count:]
        if self.norm_first:
            newest = newest + self._look(self.norm1(tokens), count)
            return newest + self._think(self.norm2(newest))
        newest = self.norm1(newest + self._look(tokens, count))
        return self.norm2(newest + self._think(newest))

    def _look(self, tokens: Tensor, count: int) -> Tensor:
        weights = self.self_attn
        parts = self._projected(tokens, count)
        queries, keys, values = (
            part.unflatten(-1, (weights.num_heads, -1)).transpose(1, 2) for part in parts
        )
        seen = F.scaled_dot_product_attention(
            queries, keys, values, dropout_p=weights.dropout if self.training else 0.0
        )
        return self.dropout(weights.out_proj(seen.transpose(1, 2).flatten(2)))

    def _projected(self, tokens: Tensor, count: int) -> Sequence[Tensor]:
        """Queries of the last ``count`` tokens; keys and values of all."""
        weight, bias = self.self_attn.in_proj_weight, self.self_attn.in_proj_bias
        if count == tokens.shape[1]:
            return F.linear(tokens, weight, bias).chunk(3, -1)
        dim = tokens.shape[-1]
        queries = F.linear(tokens[:, -count:], weight[:dim], bias[:dim])
        return queries, *F.linear(tokens, weight[dim:], bias[dim:]).chunk(2, -1)

    def _think(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.linear2(self.dropout(self.linear1(tokens).relu_())))


def sine_encoding(length: int, dim: int) -> Float[Tensor, "{length} {dim}"]:
    """Waves of each position's distance to the last one: first all sines, then all cosines.

    Raises:
        InputError: if ``dim`` is odd.
    """
    if dim % 2:
        raise InputError(f"a width of {dim} is odd; sine encodings need as many sines as cosines")
    frequencies = LONGEST_WAVE ** -(torch.arange(0, dim, 2) / dim)
    ages = torch.arange(length - 1, -1, -1, dtype=torch.float32)
    phases = torch.outer(ages, frequencies)
    return torch.cat([phases.sin(), phases.cos()], -1)


def prediction_losses(
    predicted: Float[Tensor, "batch future slots dim"],
    target: Float[Tensor, "batch future slots dim"],
    *,
    decay: float = 1.0,
    num_valid: Int[Tensor, " batch"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, " future"]]:
    """The squared error of predicted slots, as SlotFormer's code weighs it.

    Args:
        predicted: slots of future frames.
        target: what they are to be.
        decay: each frame weighs so much as the one before; the weights are 1 on average, so that
            the loss stays of one size. Below 1, early frames matter more.
        num_valid: how many of each sample's frames there are; later ones are left out. The sum
            over the frames that are there is divided by their number, whatever they weigh.

    Returns:
        The loss, and the plain mean squared error of each future frame.

    Raises:
        InputError: if the two are not of one shape.
    """
    if predicted.shape != target.shape:
        raise InputError(
            f"the predicted slots have the shape {list(predicted.shape)}, those that they are to "
            f"be {list(target.shape)}; expected one shape"
        )
    errors = F.mse_loss(predicted, target, reduction="none").mean((2, 3))
    future = errors.shape[1]
    weights = decay ** torch.arange(future, device=errors.device)
    weighted = errors * weights * (future / weights.sum())
    if num_valid is None:
        return weighted.mean(), errors.mean(0)
    valid = torch.arange(future, device=errors.device) < num_valid[:, None]
    return (weighted * valid).sum() / valid.sum(), errors.mean(0)
