"""The token decoder: causality, the cache, drawing, orders, its frozen tokenizer, compilation."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slot_core import ConfigError, InputError
from slot_decoders import DVAE, TokenFeatures, TransformerDecoder, token_transformer
from slot_decoders.gumbel import gumbel_noise
from slot_decoders.token_blocks import SlotReading, TokenBlock
from slot_decoders.token_transformer import choose_token


def decoder(**options) -> TransformerDecoder:
    """Six patches, eleven tokens."""
    stated = {"num_layers": 2, "num_heads": 2, "dropout": 0.0, **options}
    tokenizer = DVAE(vocab_size=11, hidden_dim=8)
    slot_dim, size = stated.pop("slot_dim", 8), stated.pop("image_size", (8, 12))
    return TransformerDecoder(tokenizer, slot_dim, size, **stated)


@pytest.fixture
def slots() -> Tensor:
    """Of two videos of two frames."""
    return torch.randn(2, 2, 3, 8)


@pytest.fixture
def target() -> Tensor:
    return torch.rand(2, 2, 3, 8, 12) * 2 - 1


def uncached(made: TransformerDecoder, slots: Tensor) -> Tensor:
    """The most likely tokens, the whole prefix computed anew for each."""
    tokens = torch.zeros(len(slots), made.num_positions, dtype=torch.long)
    for position in range(made.num_positions):
        tokens[:, position] = made.logits(slots, tokens)[:, position].argmax(-1)
    return tokens


def test_the_loss_is_the_cross_entropy_of_the_frames_tokens(slots: Tensor, target: Tensor):
    made = decoder()
    losses = made(slots, target)
    tokens = made.tokenizer.encode(target.flatten(0, 1)).flatten(1)
    logits = made.logits(slots.flatten(0, 1), tokens)
    torch.testing.assert_close(losses.total, F.cross_entropy(logits.mT, tokens))
    assert losses.parts == {"cross_entropy": losses.total}


def test_a_token_depends_on_those_before_it_and_on_the_slots_alone():
    made = decoder().eval()
    slots, tokens = torch.randn(1, 3, 8), torch.randint(11, (1, 6))
    logits = made.logits(slots, tokens)
    for position in range(6):
        changed = tokens.clone()
        changed[:, position] = (changed[:, position] + 1) % 11
        same = (made.logits(slots, changed) == logits).all(-1)[0]
        assert same[: position + 1].all()
        assert not same[position + 1 :].any()
    assert torch.allclose(made.logits(slots[:, [2, 0, 1]], tokens), logits, atol=1e-5)
    assert not torch.allclose(made.logits(slots + 1, tokens), logits, atol=1e-2)


@pytest.mark.parametrize("block", [1, 4, 64])
def test_the_cache_gives_the_tokens_that_recomputing_gives(monkeypatch, block: int):
    monkeypatch.setattr(token_transformer, "CACHE_BLOCK", block)
    made = decoder().eval()
    torch.nn.init.normal_(made.head.weight)  # so that no two logits are near
    slots = torch.randn(5, 3, 8)
    assert torch.equal(made.generate(slots), uncached(made, slots))


def test_steps_give_the_logits_of_teacher_forcing():
    made = decoder(model_dim=12)
    slots, tokens = torch.randn(4, 3, 8), torch.randint(11, (4, 6))
    cache = made.empty_cache(slots)
    before = [cache.begin, *tokens.T[:-1]]
    logits = [made.step(token, torch.tensor([i]), cache) for i, token in enumerate(before)]
    torch.testing.assert_close(torch.stack(logits, 1), made.logits(slots, tokens))


def test_decoding_paints_the_most_likely_tokens_of_every_frame(slots: Tensor):
    made = decoder()
    decoded = made.decode(slots)
    tokens = made.generate(slots[1, 0][None])
    frame = made.tokenizer.decode(tokens.view(1, 2, 3))[0]
    torch.testing.assert_close(decoded.reconstruction[1, 0], frame)
    assert decoded.masks is None
    assert made.default_mask_source == "encoder"


def test_decoding_has_no_dropout_even_while_training():
    made = decoder(dropout=0.5).train()
    slots = torch.randn(5, 3, 8)
    assert torch.equal(made.generate(slots), made.eval().generate(slots))


def test_drawn_tokens_follow_the_generator_the_temperature_and_the_top_k():
    made, slots = decoder().eval(), torch.randn(40, 3, 8)

    def drawn(seed: int, temperature: float = 1.0, top_k: int | None = None) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return made.generate(slots, temperature=temperature, top_k=top_k, generator=generator)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    greedy = made.generate(slots)
    assert torch.equal(drawn(1, temperature=1e-6), greedy)
    assert torch.equal(drawn(1, top_k=1), greedy)


def test_a_token_is_drawn_from_the_softmax_of_the_top_k():
    """Of weights 1, 2, 3 and 4 the two largest, at temperature 1/2: 9 to 16."""
    logits = torch.tensor([1.0, 2.0, 3.0, 4.0]).log().expand(40_000, 4)
    shares = choose_token(logits, 0.5, 2).bincount(minlength=4) / len(logits)
    torch.testing.assert_close(shares, torch.tensor([0, 0, 9 / 25, 16 / 25]), atol=0.01, rtol=0)
    shares = choose_token(logits, 1.0, 9).bincount(minlength=4) / len(logits)
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.01, rtol=0)


def test_tokens_are_of_the_slots_of_single_frames(slots: Tensor, unchecked_types: None):
    made = decoder()
    with pytest.raises(InputError, match=r"of one frame each, .*; those of videos are slots\.flat"):
        made.generate(slots)
    with pytest.raises(InputError, match=r"expected \[batch time slots 8\]"):
        made.generate(slots[0, ..., 1:])
    assert made.generate(slots.flatten(0, 1)).shape == (4, 6)


def test_of_equally_likely_tokens_no_more_than_asked_for_are_drawn():
    logits = torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0]).expand(400, -1)
    drawn = choose_token(logits, 1.0, 2)
    assert len(drawn.unique()) == 2
    assert drawn.min() > 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": 0.0}, "temperature is 0.0, expected a positive number"),
        ({"top_k": 3}, "top_k is 3, expected a positive number, together with a temperature"),
        ({"temperature": 1.0, "top_k": 0}, "top_k is 0"),
        ({"order": 1}, "order is 1; this decoder was trained on 1, counted from 0"),
    ],
)
def test_impossible_draws_are_refused(options: dict, sentence: str):
    with pytest.raises(InputError, match=sentence):
        decoder().generate(torch.randn(1, 3, 8), **options)


def test_in_every_order_a_token_depends_on_those_painted_before_it():
    made = decoder(permuted_orders=True).eval()
    slots, tokens = torch.randn(9, 3, 8), torch.randint(11, (1, 6)).expand(9, -1)
    order = torch.arange(9)
    logits = made.logits(slots, tokens, order)
    for number, places in enumerate(made.order_table):
        changed = tokens.clone()
        changed[:, places[2]] = (changed[:, places[2]] + 1) % 11
        same = (made.logits(slots, changed, order) == logits).all(-1)[number]
        assert same.tolist() == [True] * 3 + [False] * 3


def test_an_order_paints_the_tokens_that_recomputing_in_it_gives():
    made = decoder(permuted_orders=True).eval()
    torch.nn.init.normal_(made.head.weight)
    slots = torch.randn(4, 3, 8)
    for number, places in enumerate(made.order_table):
        tokens = torch.zeros(4, 6, dtype=torch.long)
        order = torch.full((4,), number)
        for position, place in enumerate(places):
            tokens[:, place] = made.logits(slots, tokens, order)[:, position].argmax(-1)
        assert torch.equal(made.generate(slots, order=number), tokens)


def test_training_draws_orders_and_evaluation_does_not(slots: Tensor, target: Tensor):
    made = decoder(permuted_orders=True)
    assert len({made(slots, target).total.item() for _ in range(5)}) > 1
    made.eval()
    assert len({made(slots, target).total.item() for _ in range(5)}) == 1
    made.train()
    for _ in range(40):
        made(slots, target).total.backward()
    gradient = made.token_embedding.weight.grad
    assert gradient is not None
    assert gradient[11:].abs().sum(1).min() > 0  # every beginning has been used


def test_the_tokenizer_is_frozen_and_stays_in_eval(slots: Tensor, target: Tensor):
    made = decoder().train()
    assert made.training
    assert not any(module.training for module in made.tokenizer.modules())
    made(slots, target).total.backward()
    for name, parameter in made.named_parameters():
        assert (parameter.grad is None) == name.startswith("tokenizer."), name


def test_the_second_loss_is_the_error_of_softly_drawn_frames(slots: Tensor, target: Tensor):
    """Gradients pass the frozen tokenizer; with logits for the true tokens it paints them."""
    slots.requires_grad_()
    made = decoder(reconstruction_weight=2.0)
    losses = made(slots, target)
    assert losses.parts.keys() == {"cross_entropy", "reconstruction"}
    expected = losses.parts["cross_entropy"] + 2 * losses.parts["reconstruction"]
    torch.testing.assert_close(losses.total, expected)
    (gradient,) = torch.autograd.grad(losses.parts["reconstruction"], slots)
    assert gradient.abs().sum() > 0
    frames = target.flatten(0, 1)
    tokens = made.tokenizer.encode(frames)
    sure = 1e3 * F.one_hot(tokens.flatten(1), 11).float()
    loss = made._painting_loss(sure, torch.zeros(4, dtype=torch.long), frames, None)
    torch.testing.assert_close(loss, F.mse_loss(made.tokenizer.decode(tokens), frames))


def test_mixed_precision_changes_neither_tokens_nor_the_losses_precision(
    slots: Tensor, target: Tensor
):
    made = decoder()
    exact = made(slots, target).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = made(slots, target)
        made.decode(slots)
    assert losses.total.dtype == torch.float32
    torch.testing.assert_close(losses.total, exact, atol=0.05, rtol=0)


def test_half_precision_decodes(slots: Tensor, target: Tensor):
    made = decoder().to(torch.bfloat16)
    half = slots.to(torch.bfloat16)
    assert made.decode(half).reconstruction.dtype == torch.bfloat16
    assert made(half, target.to(torch.bfloat16)).total.dtype == torch.float32


COMPILED = """
import torch
from slot_core import sample_generators
from slot_decoders import DVAE, TransformerDecoder

decoder = TransformerDecoder(
    DVAE(vocab_size=11, hidden_dim=8), 8, (8, 12), num_layers=2, num_heads=2,
    permuted_orders=True, reconstruction_weight=1.0,
)
slots = torch.randn(2, 2, 3, 8)
expected = decoder.generate(slots[0])
decoder.compile(fullgraph=True, backend="aot_eager")
own = sample_generators(0, 0, ["a", "b"])
decoder(slots, torch.rand(2, 2, 3, 8, 12), generator=own).total.backward()
assert decoder.head.weight.grad is not None
assert torch.equal(decoder.generate(slots[0]), expected)
"""


@pytest.mark.slow
def test_a_training_step_and_a_decoding_step_compile_as_one_graph_each():
    """In a process of its own: the hook that checks shapes in tests does not compile."""
    subprocess.run([sys.executable, "-c", COMPILED], check=True)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="paints 8x10 pixels, expected multiples"):
        decoder(image_size=(8, 10))
    with pytest.raises(InputError, match="width 8 cannot be split among 3 heads"):
        decoder(num_heads=3)


def test_dropout_is_of_the_input_of_attention_and_of_what_each_part_adds():
    """At a rate of 1 nothing is left of what is dropped."""
    patches, read = torch.randn(2, 6, 8), torch.randn(2, 3, 8)
    block = TokenBlock(8, 2, dropout=1.0, gain=1.0, first=False).train()
    assert torch.equal(block(patches, read), patches)
    assert not torch.equal(block.eval()(patches, read), patches)
    assert not block.patch_attention(patches, dropout=1.0).any()
    memory = block.slot_reading.memory(read)
    assert not block.slot_reading(patches, memory, dropout=1.0).any()
    made = decoder(dropout=1.0).train()
    logits = made.logits(read[:, :, :], torch.randint(11, (2, 6)))
    assert torch.equal(logits, logits[:, :1].expand_as(logits))  # neither tokens nor places


@pytest.mark.parametrize("part", ["patch_attention", "slot_reading", "mlp"])
def test_what_each_part_adds_is_dropped_as_a_whole(part: str, monkeypatch: pytest.MonkeyPatch):
    """Beside what is dropped within it: a quarter of what is left is dropped once more."""
    block = TokenBlock(8, 2, dropout=0.25, gain=1.0, first=False).train()
    for name in ("patch_attention", "slot_reading", "mlp"):
        filled = torch.full((16, 6, 8), float(name == part))
        monkeypatch.setattr(
            block.get_submodule(name), "forward", lambda *_, made=filled, **__: made
        )
    added = block(torch.zeros(16, 6, 8), torch.randn(16, 3, 8))
    assert torch.equal(added.unique(), torch.tensor([0, 4 / 3]))
    assert (added == 0).float().mean().item() == pytest.approx(0.25, abs=0.08)
    assert block.eval()(torch.zeros(16, 6, 8), torch.randn(16, 3, 8)).unique().tolist() == [1]


def test_the_first_weights_are_those_of_slate():
    torch.manual_seed(0)
    made = decoder(num_layers=3, slot_dim=96)
    block = made.blocks[1]
    assert isinstance(block, TokenBlock)
    assert made.position_embedding.std().item() == pytest.approx(0.88, abs=0.1)  # 1, cut at 2
    for attention in (block.patch_attention, block.slot_reading):
        assert largest(attention.to_query) == pytest.approx((6 / 192) ** 0.5, rel=0.01)
        assert largest(attention.output) == pytest.approx((6 / 192) ** 0.5 / 3, rel=0.01)
    hidden, _, last = block.mlp
    assert largest(hidden) == pytest.approx((6 / 96) ** 0.5, rel=0.01)
    assert largest(last) == pytest.approx((6 / 480) ** 0.5 / 3, rel=0.01)
    assert not list(hidden.parameters())[1].any()


def largest(layer: torch.nn.Module) -> float:
    assert isinstance(layer, torch.nn.Linear)
    return layer.weight.abs().max().item()


@pytest.mark.parametrize("order", [0, 5, 8])
def test_softly_drawn_frames_are_painted_from_any_order(target: Tensor, order: int):
    made = decoder(permuted_orders=True, reconstruction_weight=1.0)
    frames = target.flatten(0, 1)
    tokens = made.tokenizer.encode(frames)
    logits = torch.randn(4, 6, 11)
    sure = 1e3 * F.one_hot(tokens.flatten(1)[:, made.order_table[order]], 11).float()
    number = torch.full((4,), order)
    painted = made._painting_loss(sure, number, frames, None)
    torch.testing.assert_close(painted, F.mse_loss(made.tokenizer.decode(tokens), frames))
    own = torch.Generator().manual_seed(3)
    in_rows = torch.empty_like(logits)
    in_rows[:, made.order_table[order]] = logits
    in_rows = in_rows.mT.unflatten(2, (2, 3))
    noise = gumbel_noise(in_rows.contiguous(), torch.Generator().manual_seed(3))
    mixture = ((in_rows + noise) / 0.1).softmax(1)
    expected = F.mse_loss(made.tokenizer.decode_mixture(mixture), frames)
    torch.testing.assert_close(made._painting_loss(logits, number, frames, own), expected)


def test_logits_are_scaled_by_the_width_of_a_head():
    reading = SlotReading(8, 2, gain=1.0)
    patches, read = torch.randn(1, 5, 8), torch.randn(1, 3, 8)
    query, key, value = (
        layer(x).unflatten(-1, (2, 4)).transpose(1, 2)
        for layer, x in (
            (reading.to_query, patches),
            (reading.to_key, read),
            (reading.to_value, read),
        )
    )
    found = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    got = reading(patches, reading.memory(read))
    torch.testing.assert_close(got, reading.output(found), atol=1e-5, rtol=1e-4)


def test_features_of_tokens_lie_where_their_patches_do(target: Tensor):
    made = TokenFeatures(DVAE(vocab_size=11, hidden_dim=8), 5, (8, 12))
    frames = target[0]
    tokens, places = made.tokenizer.encode(frames), made.places.unflatten(0, (2, 3))
    expected = (made.embedding(tokens) + places).permute(0, 3, 1, 2)
    torch.testing.assert_close(made(frames), expected)
