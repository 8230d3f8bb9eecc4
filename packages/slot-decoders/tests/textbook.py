"""SlotDiffusion's published models, written down with plain functions from the foreign names.

Position by position and frame by frame, with nothing of ours: what our models are compared with.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


def textbook(
    weights: Weights, arguments: dict, img: Tensor, first: Tensor | None = None
) -> Weights:
    """The model of pictures in [-1, 1]."""
    w = {name: value.to(img.dtype) for name, value in weights.items()}
    made = textbook_features(w, arguments, img)
    slots = w["init_latents"].repeat(len(img), 1, 1) if first is None else first
    made["slots"] = textbook_attention(w, arguments, made["encoder_out"], slots)
    return made | textbook_decoder(w, arguments, made["slots"], img)


def textbook_video(weights: Weights, arguments: dict, img: Tensor) -> Weights:
    """The model of videos in [-1, 1]: each frame starts from what the predictor expects."""
    w = {name: value.to(img.dtype) for name, value in weights.items()}
    slots, memory, all_slots = w["init_latents"].repeat(len(img), 1, 1), None, []
    for time, frame in enumerate(img.unbind(1)):
        if time:
            slots, memory = textbook_predictor(w, arguments, slots, memory)
        features = textbook_features(w, arguments, frame)["encoder_out"]
        slots = textbook_attention(w, arguments, features, slots)
        all_slots.append(slots)
    decoded = textbook_decoder(w, arguments, torch.cat(all_slots), torch.cat(img.unbind(1)))
    loss = decoded.pop("img_recon_loss")
    videos = {
        name: value.unflatten(0, (img.shape[1], len(img))).transpose(0, 1)
        for name, value in decoded.items()
    }
    return {**videos, "slots": torch.stack(all_slots, 1), "img_recon_loss": loss}


def textbook_features(w: Weights, arguments: dict, img: Tensor) -> Weights:
    """What the backbone gives, and what Slot Attention is given."""
    encoder = arguments["enc_dict"]
    if "resnet" in encoder:
        features = textbook_resnet(w, img)
    else:
        features = img
        for i in range(len(encoder["enc_channels"]) - 1):
            features = features.relu() if i else features
            stride = 2 if i == 0 and img.shape[-2] > 64 else 1
            kernel, bias = w[f"encoder.{i}.0.weight"], w[f"encoder.{i}.0.bias"]
            features = F.conv2d(features, kernel, bias, stride, padding=encoder["enc_ks"] // 2)
    made = {"encoder_feat": features}
    features = with_positions(w, "encoder_pos_embedding", features).flatten(2).mT
    features = normalised(w, "encoder_out_layer.0", features)
    features = linear(w, "encoder_out_layer.1", features).relu()
    made["encoder_out"] = linear(w, "encoder_out_layer.3", features)
    return made


def textbook_predictor(
    w: Weights, arguments: dict, slots: Tensor, memory: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """Slots of a frame to where the next one starts."""
    options = arguments["pred_dict"]
    name = "predictor.base_predictor" if options["pred_rnn"] else "predictor"
    if options["pred_type"] == "mlp":
        normed = normalised(w, f"{name}.ln", slots)
        hidden = linear(w, f"{name}.mlp.0", normed).relu()
        residual = normed if options["pred_norm_first"] else slots
        slots = residual + linear(w, f"{name}.mlp.2", hidden)
    else:
        for layer in range(options["pred_num_layers"]):
            slots = textbook_layer(w, f"{name}.transformer_encoder.layers.{layer}", options, slots)
    if not options["pred_rnn"]:
        return slots, None
    empty = slots.new_zeros(*slots.shape[:2], arguments["slot_dict"]["slot_mlp_size"])
    hidden, cell = (empty, empty) if memory is None else memory
    gates = F.linear(slots, w["predictor.rnn.weight_ih_l0"], w["predictor.rnn.bias_ih_l0"])
    gates = gates + F.linear(hidden, w["predictor.rnn.weight_hh_l0"], w["predictor.rnn.bias_hh_l0"])
    enter, keep, new, leave = gates.chunk(4, -1)
    cell = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
    hidden = leave.sigmoid() * cell.tanh()
    return linear(w, "predictor.out_projector", hidden), (hidden, cell)


def textbook_layer(w: Weights, name: str, options: dict, x: Tensor) -> Tensor:
    """Vaswani et al. (2017), with the norms before the sublayers or after the sums."""

    def attend(x: Tensor) -> Tensor:
        heads = options["pred_num_heads"]
        mixed = F.linear(
            x, w[f"{name}.self_attn.in_proj_weight"], w[f"{name}.self_attn.in_proj_bias"]
        )
        queries, keys, values = (
            part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in mixed.chunk(3, -1)
        )
        weights = (queries @ keys.mT / queries.shape[-1] ** 0.5).softmax(-1)
        return linear(
            w, f"{name}.self_attn.out_proj", (weights @ values).transpose(1, 2).flatten(2)
        )

    def feed(x: Tensor) -> Tensor:
        return linear(w, f"{name}.linear2", linear(w, f"{name}.linear1", x).relu())

    if options["pred_norm_first"]:
        x = x + attend(normalised(w, f"{name}.norm1", x))
        return x + feed(normalised(w, f"{name}.norm2", x))
    x = normalised(w, f"{name}.norm1", x + attend(x))
    return normalised(w, f"{name}.norm2", x + feed(x))


def textbook_resnet(w: Weights, img: Tensor) -> Tensor:
    """He et al. (2016) with torchvision's names, group norms and a small-input stem."""

    def norm(name: str, x: Tensor) -> Tensor:
        return F.group_norm(x, 32, w[f"{name}.weight"], w[f"{name}.bias"])

    x = norm("encoder.bn1", F.conv2d(img, w["encoder.conv1.weight"], padding=1)).relu()
    blocks = dict.fromkeys(name.rsplit(".", 2)[0] for name in w if ".conv1." in name)
    for block in (name for name in blocks if "layer" in name):
        stride = 2 if f"{block}.downsample.0.weight" in w else 1
        shortcut = x
        if stride == 2:
            shortcut = F.conv2d(x, w[f"{block}.downsample.0.weight"], stride=2)
            shortcut = norm(f"{block}.downsample.1", shortcut)
        y = F.conv2d(x, w[f"{block}.conv1.weight"], stride=stride, padding=1)
        y = F.conv2d(norm(f"{block}.bn1", y).relu(), w[f"{block}.conv2.weight"], padding=1)
        x = (norm(f"{block}.bn2", y) + shortcut).relu()
    return x


def textbook_attention(w: Weights, arguments: dict, features: Tensor, slots: Tensor) -> Tensor:
    """Algorithm 1 of Locatello et al. (2020), keys and values of every position in full."""
    features = normalised(w, "slot_attention.norm_inputs", features)
    keys, values = (linear(w, f"slot_attention.project_{x}", features) for x in "kv")
    gru = [w[f"slot_attention.gru.{x}"] for x in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    for _ in range(arguments["slot_dict"]["num_iterations"]):
        queries = normalised(w, "slot_attention.project_q.0", slots)
        queries = linear(w, "slot_attention.project_q.1", queries)
        logits = torch.einsum("bnd,bkd->bnk", keys, queries) / slots.shape[-1] ** 0.5
        attention = logits.softmax(-1) + arguments.get("eps", 1e-6)
        attention = attention / attention.sum(1, keepdim=True)
        updates = torch.einsum("bnk,bnd->bkd", attention, values)
        slots = textbook_gru(gru, updates, slots)
        hidden = normalised(w, "slot_attention.mlp.0", slots)
        hidden = linear(w, "slot_attention.mlp.1", hidden).relu()
        slots = slots + linear(w, "slot_attention.mlp.3", hidden)
    return slots


def textbook_gru(weights: list[Tensor], inputs: Tensor, state: Tensor) -> Tensor:
    """Cho et al. (2014), in the order reset, update, new."""
    of_input, of_state, input_bias, state_bias = weights
    ir, iz, new = (inputs @ of_input.T + input_bias).chunk(3, -1)
    hr, hz, old = (state @ of_state.T + state_bias).chunk(3, -1)
    update = (iz + hz).sigmoid()
    return (1 - update) * (new + (ir + hr).sigmoid() * old).tanh() + update * state


def textbook_decoder(w: Weights, arguments: dict, slots: Tensor, img: Tensor) -> Weights:
    """Spatial broadcast: stride 2 until the picture's size, then 1; a softmax over the slots."""
    height, width = arguments["dec_dict"]["dec_resolution"]
    grid = slots.flatten(0, 1)[:, :, None, None].repeat(1, 1, height, width)
    grid = with_positions(w, "decoder_pos_embedding", grid)
    layers = len(arguments["dec_dict"]["dec_channels"]) - 1
    for i in range(layers):
        stride = 1 if grid.shape[-2:] == img.shape[-2:] else 2
        kernel, bias = w[f"decoder.{i}.0.weight"], w[f"decoder.{i}.0.bias"]
        padding = kernel.shape[-1] // 2
        grid = F.conv_transpose2d(grid, kernel, bias, stride, padding, stride - 1).relu()
    out = F.conv2d(grid, w[f"decoder.{layers}.weight"], w[f"decoder.{layers}.bias"])
    out = out.unflatten(0, slots.shape[:2])
    masks = out[:, :, 3:].softmax(1)
    mixed = (out[:, :, :3] * masks).sum(1)
    loss = (mixed - img).square().mean()
    return {"recons": out[:, :, :3], "masks": masks, "recon_img": mixed, "img_recon_loss": loss}


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def normalised(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def with_positions(w: Weights, name: str, x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    rows, columns = (torch.linspace(0, 1, size) for size in (height, width))
    y, x_ = torch.meshgrid(rows, columns, indexing="ij")
    grid = torch.stack([y, x_, 1 - y, 1 - x_], -1).to(x.dtype)
    return x + linear(w, f"{name}.dense", grid).permute(2, 0, 1)
