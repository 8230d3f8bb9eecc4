"""SlotDiffusion's dVAE and token decoder, written down with plain functions from the foreign names,
as ``textbook.py`` does for the rest: attention step by step, the whole prefix for every token."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from textbook import Weights, linear, normalised
from torch import Tensor


def textbook_tokenize(w: Weights, name: str, img: Tensor) -> Tensor:
    """Logits of every patch over the vocabulary."""
    x = img
    for i in range(7):
        kernel = w[f"{name}encoder.{i}.m.weight"]
        x = textbook_block(w, f"{name}encoder.{i}", F.conv2d(x, kernel, stride=kernel.shape[-1]))
    return F.conv2d(x, w[f"{name}encoder.7.weight"], w[f"{name}encoder.7.bias"])


def textbook_detokenize(w: Weights, name: str, mixture: Tensor) -> Tensor:
    """The picture for weights over the vocabulary in every patch."""
    x = mixture
    for i in range(11):
        if i in (5, 10):
            x = F.pixel_shuffle(x, 2)
            continue
        kernel = w[f"{name}decoder.{i}.m.weight"]
        convolved = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
        x = textbook_block(w, f"{name}decoder.{i}", convolved)
    return F.conv2d(x, w[f"{name}decoder.11.weight"], w[f"{name}decoder.11.bias"])


def textbook_block(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.group_norm(x, 1, w[f"{name}.weight"], w[f"{name}.bias"]).relu()


def textbook_token_logits(w: Weights, arguments: dict, slots: Tensor, tokens: Tensor) -> Tensor:
    """Logits of the token after each of ``tokens``, and of the first one."""
    begin = torch.full((len(slots), 1), arguments["dvae_dict"]["vocab_size"])
    known = torch.cat([begin, tokens], 1)
    x = (
        w["trans_decoder.tok_emb.weight"][known]
        + w["trans_decoder.pos_emb.pe"][:, : known.shape[1]]
    )
    slots = linear(w, "trans_decoder.in_proj", slots)
    future = torch.ones(known.shape[1], known.shape[1], dtype=torch.bool).triu(1)
    heads = arguments["dec_dict"]["dec_num_heads"]
    for layer in range(arguments["dec_dict"]["dec_num_layers"]):
        name = f"trans_decoder.tf_dec.blocks.{layer}"
        normed = normalised(w, f"{name}.self_attn_layer_norm", x)
        x = normed if layer == 0 else x
        x = x + textbook_attend(w, f"{name}.self_attn", heads, normed, normed, future)
        normed = normalised(w, f"{name}.encoder_decoder_attn_layer_norm", x)
        x = x + textbook_attend(w, f"{name}.encoder_decoder_attn", heads, normed, slots)
        normed = normalised(w, f"{name}.ffn_layer_norm", x)
        x = x + linear(w, f"{name}.ffn.2", linear(w, f"{name}.ffn.0", normed).relu())
    return linear(w, "trans_decoder.head", normalised(w, "trans_decoder.tf_dec.layer_norm", x))


def textbook_attend(
    w: Weights, name: str, heads: int, x: Tensor, seen: Tensor, hidden: Tensor | None = None
) -> Tensor:
    queries, keys, values = (
        linear(w, f"{name}.proj_{letter}", inputs).unflatten(-1, (heads, -1)).transpose(1, 2)
        for letter, inputs in (("q", x), ("k", seen), ("v", seen))
    )
    logits = queries @ keys.mT / queries.shape[-1] ** 0.5
    if hidden is not None:
        logits = logits.masked_fill(hidden, -torch.inf)
    found = (logits.softmax(-1) @ values).transpose(1, 2).flatten(2)
    return linear(w, f"{name}.proj_o", found)


def textbook_generate(w: Weights, arguments: dict, slots: Tensor, count: int) -> Tensor:
    """The most likely tokens one after the other."""
    tokens = torch.zeros(len(slots), 0, dtype=torch.long)
    for _ in range(count):
        logits = textbook_token_logits(w, arguments, slots, tokens)[:, -1]
        tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], 1)
    return tokens
