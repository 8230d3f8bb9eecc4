"""The formulas of SLATE's and STEVE's own code, written out for tensors under its names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class Textbook:
    """The parts of which the code of SLATE and STEVE is made, for weights by name."""

    heads, blocks = 2, 2

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def conv(self, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.conv2d(x, weight, bias, stride, padding)

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias)

    def mlp(self, name: str, x: Tensor) -> Tensor:
        return self.linear(f"{name}.2", self.linear(f"{name}.0", x).relu())

    def attend(self, name: str, x: Tensor, to: Tensor, *, causal: bool) -> Tensor:
        query, key, value = (
            self.linear(f"{name}.proj_{part}", of).unflatten(-1, (self.heads, -1)).transpose(-2, -3)
            for part, of in (("q", x), ("k", to), ("v", to))
        )
        logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        if causal:
            later = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
            logits = logits.masked_fill(later, -torch.inf)
        found = logits.softmax(-1) @ value
        return self.linear(f"{name}.proj_o", found.transpose(-2, -3).flatten(-2))

    def slot_attention(
        self, name: str, features: Tensor, slots: Tensor, *, count: int, final_mlp: bool
    ) -> tuple[Tensor, Tensor]:
        """Slots, and the attention [batch slots positions] of the last of ``count`` iterations."""
        parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        gru = [self.weights[f"{name}.gru.{part}"] for part in parts]
        inputs = self.norm(f"{name}.norm_inputs", features)
        key, value = (self.linear(f"{name}.project_{part}", inputs) for part in "kv")
        attention = torch.empty(0)
        for iteration in range(count):
            query = self.linear(f"{name}.project_q", self.norm(f"{name}.norm_slots", slots))
            attention = (key @ query.mT / query.shape[-1] ** 0.5).softmax(-1)
            weights = attention + 1e-8
            updates = (weights / weights.sum(1, keepdim=True)).mT @ value
            flat = torch.gru_cell(updates.flatten(0, 1), slots.flatten(0, 1), *gru)
            slots = flat.view_as(updates)
            if final_mlp or iteration < count - 1:
                slots = slots + self.mlp(f"{name}.mlp", self.norm(f"{name}.norm_mlp", slots))
        return slots, attention.mT

    def transformer(self, name: str, x: Tensor, memory: Tensor) -> Tensor:
        """Patches that see those before them, and the slots."""
        for block in range(self.blocks):
            inside = f"{name}.blocks.{block}"
            normed = self.norm(f"{inside}.self_attn_layer_norm", x)
            x = normed if block == 0 else x
            x = x + self.attend(f"{inside}.self_attn", normed, normed, causal=True)
            normed = self.norm(f"{inside}.encoder_decoder_attn_layer_norm", x)
            x = x + self.attend(f"{inside}.encoder_decoder_attn", normed, memory, causal=False)
            x = x + self.mlp(f"{inside}.ffn", self.norm(f"{inside}.ffn_layer_norm", x))
        return self.norm(f"{name}.layer_norm", x)


def near(made: Tensor, expected: Tensor) -> None:
    limit = 1e-5 * expected.abs().max().item()
    torch.testing.assert_close(made, expected, atol=limit, rtol=0)
