"""The autoregressive decoder over features against PyTorch's own layers, and inside the model."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slot_core import InputError
from slot_decoders import FeatureTransformerDecoder, feature_transformer
from slot_decoders.models import SlotAutoencoder, load_model, presets
from slot_decoders.token_blocks import TokenBlock

VIT = {"patch_size": 4, "hidden_dim": 12, "num_layers": 1, "num_heads": 2, "image_size": 8}
TINY: dict[str, Any] = {
    "num_slots": 3,
    "slot_dim": 8,
    "encoder": {
        "backbone": VIT,
        "projection_hidden_dim": 12,
        "corrector": {"hidden_dim": 16},
    },
    "decoder": {"type": "feature_transformer", "num_layers": 2, "num_heads": 2},
}


def decoder(**options: Any) -> FeatureTransformerDecoder:
    """Of six places."""
    torch.manual_seed(0)
    stated = {"num_layers": 2, "num_heads": 2, **options}
    made = FeatureTransformerDecoder(5, 8, (2, 3), **stated)
    with torch.no_grad():  # also where it begins at zero
        for parameter in made.parameters():
            parameter.normal_(std=0.5)
    return made


@pytest.fixture
def slots() -> Tensor:
    """Of two videos of two frames."""
    return torch.randn(2, 2, 3, 5, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def maps() -> Tensor:
    return torch.randn(2, 2, 8, 2, 3, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def model() -> SlotAutoencoder:
    torch.manual_seed(2)
    return presets.dinosaur(image_size=16, **TINY)


def in_rows(maps: Tensor) -> Tensor:
    """Maps as the features of frames."""
    return maps.flatten(0, 1).flatten(2).mT


def theirs(block: nn.Module, dim: int, num_heads: int) -> nn.TransformerDecoderLayer:
    """PyTorch's layer with the weights of ours; the biases of keys, which ours has not, are any."""
    assert isinstance(block, TokenBlock)
    layer = nn.TransformerDecoderLayer(
        dim, num_heads, 4 * dim, dropout=0.0, batch_first=True, norm_first=True
    )
    attentions = (
        (block.patch_attention, layer.self_attn),
        (block.slot_reading, layer.multihead_attn),
    )
    for ours, other in attentions:
        parts = (ours.to_query, ours.to_key, ours.to_value)
        with torch.no_grad():
            other.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
            biases = [ours.to_query.bias, torch.randn(dim), ours.to_value.bias]
            other.in_proj_bias.copy_(torch.cat(biases))
        other.out_proj.load_state_dict(ours.output.state_dict())
    hidden, _, last = block.mlp
    for ours, other in (
        (block.norm_patches, layer.norm1),
        (block.norm_queries, layer.norm2),
        (block.norm_mlp, layer.norm3),
        (hidden, layer.linear1),
        (last, layer.linear2),
    ):
        other.load_state_dict(ours.state_dict())
    return layer


# --- the block ----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_it_computes_what_pytorchs_layers_do(slots: Tensor, maps: Tensor, num_heads: int):
    made = decoder(num_layers=3, num_heads=num_heads)
    frames, features = slots.flatten(0, 1), in_rows(maps)
    before = torch.cat([made.begin.expand(4, 1, 8), features[:, :-1]], dim=1)
    patches, read = made.feature_projection(before), made.slot_projection(frames)
    layers = [theirs(block, 8, num_heads) for block in made.blocks]
    looked: list[Tensor] = []

    def look(attention: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        looked.append(attention.forward(*inputs)[1])

    layers[-1].multihead_attn.register_forward_hook(look)
    for layer in layers:
        future = nn.Transformer.generate_square_subsequent_mask(6)
        patches = layer(patches, read, tgt_mask=future)
    decoded = made.decode(slots, maps=maps)
    assert decoded.masks is not None
    torch.testing.assert_close(in_rows(decoded.reconstruction), patches, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(in_rows(decoded.masks), looked[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(decoded.masks.sum(2), torch.ones(2, 2, 2, 3))


@pytest.mark.parametrize("permuted_orders", [False, True])
def test_the_loss_is_the_squared_error_of_the_features(
    slots: Tensor, maps: Tensor, permuted_orders: bool
):
    """And what was decoded on the way is, outside of training, what ``decode`` gives."""
    made = decoder(permuted_orders=permuted_orders)
    losses = made(slots, maps)
    assert losses.decoded is not None
    assert losses.parts.keys() == {"features"}
    expected = (losses.decoded.reconstruction - maps).square().mean()
    torch.testing.assert_close(losses.total, expected)
    made.eval()
    losses, decoded = made(slots, maps), made.decode(slots, maps=maps)
    assert losses.decoded is not None
    torch.testing.assert_close(losses.decoded.reconstruction, decoded.reconstruction)
    torch.testing.assert_close(losses.decoded.masks, decoded.masks)


def test_a_feature_depends_on_those_before_it_and_on_the_slots_alone():
    made = decoder()
    slots, features = torch.randn(1, 3, 5), torch.randn(1, 6, 8)
    predicted, attention = made.predict(slots, features)
    for position in range(6):
        changed = features.clone()
        changed[:, position] += 1
        again, looked = made.predict(slots, changed)
        for one, other in ((again, predicted), (looked, attention)):
            same = (one == other).all(-1)[0]
            assert same[: position + 1].all()
            assert not same[position + 1 :].any()
    turned, looked = made.predict(slots[:, [2, 0, 1]], features)
    torch.testing.assert_close(turned, predicted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(looked, attention[..., [2, 0, 1]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("block", [1, 4, 64])
@pytest.mark.parametrize("permuted_orders", [False, True])
def test_without_maps_each_feature_is_given_those_that_were_generated(
    monkeypatch: pytest.MonkeyPatch, slots: Tensor, block: int, permuted_orders: bool
):
    """With the cache as with the whole prefix computed anew; of these are the masks, too."""
    monkeypatch.setattr(feature_transformer, "CACHE_BLOCK", block)
    made = decoder(permuted_orders=permuted_orders)
    frames, features = slots.flatten(0, 1), torch.zeros(4, 6, 8)
    for position in range(6):
        features[:, position] = made.predict(frames, features)[0][:, position].detach()
    torch.testing.assert_close(made.generate(frames), features, atol=1e-5, rtol=1e-5)
    decoded = made.decode(slots)
    assert decoded.masks is not None
    torch.testing.assert_close(in_rows(decoded.reconstruction), features, atol=1e-5, rtol=1e-5)
    attention = made.predict(frames, features)[1]
    torch.testing.assert_close(in_rows(decoded.masks), attention, atol=1e-5, rtol=1e-5)


def test_in_every_order_a_feature_depends_on_those_painted_before_it(maps: Tensor):
    made = decoder(permuted_orders=True)
    slots = torch.randn(1, 1, 3, 5)
    features = in_rows(maps)[:1]
    found = []
    for number, places in enumerate(made.order_table):
        order = torch.tensor([number])
        changed = features.clone()
        changed[:, places[2]] += 1
        predicted = made.predict(slots[0], features[:, places], order)[0]
        again = made.predict(slots[0], changed[:, places], order)[0]
        assert (again == predicted).all(-1)[0].tolist() == [True] * 3 + [False] * 3
        found.append((predicted - features[:, places]).square().mean().item())
    assert len(set(found)) == 9
    drawn = {made(slots, maps[:1, :1]).total.item() for _ in range(100)}
    assert sorted(drawn) == pytest.approx(sorted(found))
    assert made.eval()(slots, maps[:1, :1]).total.item() == pytest.approx(found[0])


def test_what_is_drawn_follows_the_generators_and_comes_back_in_rows(slots: Tensor, maps: Tensor):
    """Masks and predictions of a frame lie at their places, whatever the order."""
    made = decoder(permuted_orders=True)
    own = [torch.Generator().manual_seed(seed) for seed in range(2)]
    losses = made(slots, maps, generator=own)
    again = made(slots, maps, generator=[torch.Generator().manual_seed(seed) for seed in range(2)])
    assert torch.equal(losses.total, again.total)
    assert losses.decoded is not None
    found = in_rows(losses.decoded.reconstruction)
    for frame, features in enumerate(in_rows(maps)):
        alike = []
        for number, places in enumerate(made.order_table):
            predicted, _ = made.predict(
                slots.flatten(0, 1)[[frame]], features[None, places], torch.tensor([number])
            )
            alike.append(torch.allclose(found[frame, places], predicted[0], atol=1e-5))
        assert sum(alike) == 1


def test_the_first_weights_are_those_of_pytorchs_layer():
    torch.manual_seed(0)
    made = FeatureTransformerDecoder(32, 96, (8, 8), num_layers=2, permuted_orders=True)
    block = made.blocks[1]
    assert isinstance(block, TokenBlock)
    layer = nn.TransformerDecoderLayer(96, 8, 384)
    pairs = [
        (block.patch_attention.to_key.weight, layer.self_attn.in_proj_weight),
        (block.slot_reading.to_value.weight, layer.multihead_attn.in_proj_weight),
        (block.slot_reading.output.weight, layer.multihead_attn.out_proj.weight),
        (block.mlp.get_parameter("0.weight"), layer.linear1.weight),
        (block.mlp.get_parameter("2.weight"), layer.linear2.weight),
        (block.mlp.get_parameter("2.bias"), layer.linear2.bias),
    ]
    for ours, other in pairs:
        assert ours.abs().max().item() == pytest.approx(other.abs().max().item(), rel=0.05)
    assert not block.patch_attention.output.bias.any()
    assert not block.slot_reading.to_query.bias.any()
    assert made.begin.std().item() == pytest.approx(96**-0.5, rel=0.1)


def test_half_precision_gives_masks_that_sum_to_one(slots: Tensor, maps: Tensor):
    made = decoder()
    exact = made(slots, maps)
    with torch.autocast("cpu", torch.bfloat16):
        losses = made(slots, maps)
        generated = made.decode(slots)
    assert losses.decoded is not None
    assert losses.total.dtype == torch.float32
    torch.testing.assert_close(losses.total, exact.total, rtol=0.05, atol=0)
    half = made.to(torch.bfloat16).decode(slots.to(torch.bfloat16))
    for decoded in (losses.decoded, generated, half):
        assert decoded.masks is not None
        assert decoded.masks.dtype == torch.float32
        torch.testing.assert_close(decoded.masks.sum(2), torch.ones(2, 2, 2, 3))


def test_what_does_not_fit_is_refused(slots: Tensor, maps: Tensor):
    with pytest.raises(InputError, match="width 8 cannot be split among 3 heads"):
        decoder(num_heads=3)
    with pytest.raises(InputError, match=r"the slots have the shape \[2, 2, 3, 4\], expected"):
        decoder().decode(slots[..., 1:])
    for call in (decoder(), lambda slots, maps: decoder().decode(slots, maps=maps)):
        with pytest.raises(InputError, match=r"\[2, 2, 8, 3, 2\], expected \[2, 2, 8, 2, 3\]"):
            call(slots, maps.mT)


COMPILED = """
import torch
from slot_decoders import FeatureTransformerDecoder

decoder = FeatureTransformerDecoder(5, 8, (2, 3), num_layers=3, num_heads=2, permuted_orders=True)
slots, maps = torch.randn(2, 2, 3, 5), torch.randn(2, 2, 8, 2, 3)
expected = decoder.decode(slots), decoder.decode(slots, maps=maps)
graphs = []
backend = lambda graph, _: (graphs.append(graph), graph)[1]
decoder.compile(fullgraph=True, backend=backend)
decoder(slots, maps).total.backward()
assert len(graphs) == 2, len(graphs)  # the first layers share one
assert decoder.begin.grad is not None
for one, other in zip(expected, (decoder.decode(slots), decoder.decode(slots, maps=maps))):
    assert torch.equal(one.reconstruction, other.reconstruction)
    assert torch.equal(one.masks, other.masks)
"""


@pytest.mark.slow
def test_layers_and_a_step_compile_as_one_graph_each():
    """In a process of its own: the hook that checks shapes in tests does not compile."""
    subprocess.run([sys.executable, "-c", COMPILED], check=True)


# --- the model ----------------------------------------------------------------------------------


def test_the_backbone_looks_once_at_a_frame(model: SlotAutoencoder, video: Tensor):
    """For encoder, target and masks, and not at all where its maps are known."""
    calls: list[int] = []
    model.encoder.backbone.register_forward_hook(lambda *_: calls.append(1))

    def own() -> torch.Generator:
        return torch.Generator().manual_seed(3)

    losses = model(video, generator=own())
    assert len(calls) == 1
    masks = model.segment(video, generator=own())
    assert len(calls) == 2
    (chunk,) = model.stream([video], generator=own())
    assert len(calls) == 3
    torch.testing.assert_close(chunk.masks, masks)
    known = model.look_ahead(video)
    assert known.keys() == {"maps"}
    calls.clear()
    again = model(video, generator=own(), known=known)
    assert not calls
    torch.testing.assert_close(again.total, losses.total)


def test_it_segments_by_where_the_last_layer_looked_given_the_true_features(
    model: SlotAutoencoder, video: Tensor
):
    own = torch.Generator
    masks = model.segment(video, generator=own().manual_seed(3))
    slots = model.encode(video, generator=own().manual_seed(3)).slots
    looked = model.decoder.decode(slots, maps=model.encoder.maps(video)).masks
    assert looked.shape == (*video.shape[:2], 3, 4, 4)
    expected = nn.functional.interpolate(
        looked.flatten(0, 1), video.shape[-2:], mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(masks.flatten(0, 1), expected)
    torch.testing.assert_close(masks.sum(2), torch.ones_like(masks[:, :, 0]))
    assert not torch.allclose(model.decoder.decode(slots).masks, looked)
    with pytest.raises(InputError, match="FeatureTransformerDecoder makes features of each"):
        model.reconstruct(video)


def test_gradients_reach_every_weight_but_the_backbones(model: SlotAutoencoder, video: Tensor):
    model(video).total.backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        assert reached != name.startswith("encoder.backbone."), name


def test_a_checkpoint_computes_the_same(model: SlotAutoencoder, video: Tensor, tmp_path: Path):
    model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    own = torch.Generator
    masks = model.segment(video, generator=own().manual_seed(3))
    assert torch.equal(loaded.segment(video, generator=own().manual_seed(3)), masks)


def test_heads_that_do_not_divide_the_features_are_refused():
    with pytest.raises(InputError, match="width 12 cannot be split among 5 heads"):
        presets.dinosaur(image_size=16, **TINY | {"decoder": {**TINY["decoder"], "num_heads": 5}})


def test_some_steps_of_training_lower_the_loss(model: SlotAutoencoder):
    video = torch.zeros(2, 1, 3, 16, 16)
    video[0, :, :, :, 8:], video[1, :, 0, 8:] = 1.0, 1.0
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = model(video, generator=torch.Generator().manual_seed(1)).total
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
