"""How fast the token transformer decodes with its cache, and how fast it trains.

    uv run python tools/bench/decoding.py

Decoding at the sizes of SLATE on CLEVRTex (8 layers of width 192, 4,096 tokens), the most likely
tokens of 256 or 1,024 patches, one picture and eight at once: with the key/value cache, and by the
same model that is shown the whole prefix again for every token, as the original code does, with the
same attention. The second takes minutes, so it is timed at some lengths of the prefix
(``--lengths``) and summed up between them by trapezoids. A single picture's step is so short that
the calls from layer to layer count, so with the cache it is timed compiled, too. The tokens are
checked: shown them, the model without a cache finds each of them the most likely.

Training, forward and backward, against PyTorch's own ``nn.TransformerDecoder`` of the same shape,
dropout included. The two take turns; medians of the turns are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slot_decoders import DVAE, TransformerDecoder

LAYERS, HEADS, DIM, SLOTS, VOCAB, DROPOUT = 8, 4, 192, 11, 4096, 0.1
TRAINED = 4  # pictures in a training step
NEEDED = {1: 20, 8: 40}  # times as fast, by pictures at once


class Plain(nn.Module):
    """The same transformer made of PyTorch's layers."""

    def __init__(self, num_positions: int) -> None:
        super().__init__()
        self.project = nn.Linear(DIM, DIM)
        self.embed = nn.Embedding(VOCAB + 1, DIM)
        self.places = nn.Parameter(torch.randn(num_positions, DIM))
        layer = nn.TransformerDecoderLayer(
            DIM, HEADS, 4 * DIM, DROPOUT, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, LAYERS, nn.LayerNorm(DIM))
        self.head = nn.Linear(DIM, VOCAB, bias=False)
        mask = nn.Transformer.generate_square_subsequent_mask(num_positions)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, slots: Tensor, tokens: Tensor) -> Tensor:
        begin = torch.full_like(tokens[:, :1], VOCAB)
        patches = self.embed(torch.cat([begin, tokens[:, :-1]], dim=1)) + self.places
        made = self.layers(
            F.dropout(patches, DROPOUT),
            self.project(slots),
            tgt_mask=self.mask,
            tgt_is_causal=True,
        )
        return F.cross_entropy(self.head(made).flatten(0, 1), tokens.flatten())


def seconds(call: Callable[[], object]) -> float:
    """Processor time of all threads: other work on the machine counts less than on the wall."""
    start = time.process_time()
    call()
    return time.process_time() - start


@torch.no_grad()
def decoding(size: int, pictures: int, lengths: int) -> tuple[float, float, float]:
    """Seconds with the cache, with the cache and compiled, and with every prefix anew."""
    decoder = TransformerDecoder(
        DVAE(vocab_size=VOCAB), DIM, (size, size), num_layers=LAYERS, num_heads=HEADS
    ).eval()
    slots = torch.randn(pictures, SLOTS, DIM)
    tokens = decoder.generate(slots)
    assert torch.equal(decoder.logits(slots, tokens).argmax(-1), tokens), "the cache errs"
    cached = [seconds(lambda: decoder.generate(slots))]
    stops = [round(1 + i * (decoder.num_positions - 1) / lengths) for i in range(lengths + 1)]
    times = [
        seconds(lambda stop=stop: next_logits(decoder, slots, tokens[:, :stop])) for stop in stops
    ]
    cached.append(seconds(lambda: decoder.generate(slots)))
    steps = zip(stops, stops[1:], times, times[1:], strict=False)
    whole = sum((last - first) * (a + b) / 2 for first, last, a, b in steps)
    decoder.compile()
    assert torch.equal(decoder.generate(slots), tokens), "the compiled step errs"
    compiled = [seconds(lambda: decoder.generate(slots)) for _ in range(2)]
    whole += (times[0] + times[-1]) / 2
    return statistics.mean(cached), statistics.mean(compiled), whole


def next_logits(decoder: TransformerDecoder, slots: Tensor, prefix: Tensor) -> Tensor:
    """What follows ``prefix``, by the layers that training runs."""
    begin = torch.full_like(prefix[:, :1], VOCAB)
    before = torch.cat([begin, prefix[:, :-1]], dim=1)
    patches = decoder.token_embedding(before) + decoder.position_embedding[: prefix.shape[1]]
    projected = decoder.slot_projection(slots)
    for block in decoder.blocks:
        patches = block(patches, projected)
    return decoder.head(decoder.norm(patches))[:, -1]


def training(turns: int) -> list[tuple[float, float]]:
    """Seconds of a step of ours, and of PyTorch's layers, turn by turn."""
    tokenizer = DVAE(vocab_size=VOCAB)
    ours = TransformerDecoder(tokenizer, DIM, (128, 128), dropout=DROPOUT)
    plain = Plain(ours.num_positions)
    slots = torch.randn(TRAINED, SLOTS, DIM)
    tokens = torch.randint(VOCAB, (TRAINED, ours.num_positions))

    def own() -> None:
        logits = ours.logits(slots, tokens)
        F.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()

    def theirs() -> None:
        plain(slots, tokens).backward()

    own()
    theirs()
    return [(seconds(own), seconds(theirs)) for _ in range(turns)]


def main() -> None:
    parser = argparse.ArgumentParser(description="The token transformer, decoding and training.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lengths", type=int, default=8, help="of the prefix that are timed")
    parser.add_argument("--turns", type=int, default=3, help="of the training steps")
    parser.add_argument("--pictures", type=int, nargs="+", default=[*NEEDED], choices=[*NEEDED])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    print(f"{LAYERS} layers of width {DIM}, {VOCAB} tokens, {options.threads} thread(s)")
    for pictures in options.pictures:
        found = {}
        for size in (64, 128):
            found[size] = cached, compiled, whole = decoding(size, pictures, options.lengths)
            print(
                f"{pictures} picture(s), {(size // 4) ** 2:4} tokens: {whole:6.1f} s without the "
                f"cache; {cached:5.1f} s with it, {whole / cached:.0f} times as fast; "
                f"{compiled:5.1f} s compiled, {whole / compiled:.0f} times"
            )
        growth = [large / small for small, large in zip(found[64], found[128], strict=True)]
        print(
            f"    from 256 to 1,024 tokens: {growth[2]:.1f} times as long without the cache, "
            f"{growth[0]:.1f} with it, {growth[1]:.1f} compiled; needed at 1,024 is a ratio of "
            f"{NEEDED[pictures]}"
        )
    turns = training(options.turns)
    own, theirs = (statistics.median(turn[i] for turn in turns) for i in range(2))
    ratio = statistics.median(theirs / own for own, theirs in turns)
    print(
        f"a training step of {TRAINED} pictures: {own:.1f} s, nn.TransformerDecoder "
        f"{theirs:.1f} s, {ratio:.2f} times as fast"
    )


if __name__ == "__main__":
    main()
