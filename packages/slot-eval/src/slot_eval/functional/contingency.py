"""The contingency table: how many pixels carry true label i and predicted label j.

ARI (Hubert and Arabie, 1985) and every overlap score here are functions of this small table
alone, so the pixels are read once: one joint histogram for the whole batch, by a ``bincount``
over ``(sample, true label, predicted label)``.

Two things make that fast and safe. The time goes into moving the joint index through memory, so
it is built in the smallest integer type that holds it, and on a CPU in blocks of samples that
stay in the cache. And labels that would make a wide, nearly empty table (ids packed from colours,
ids unique over a data set) are first renumbered within each sample, so memory follows the number
of segments and not the size of the ids.

A clip has one table per frame, with the same rows and columns in all of them. Their sum is the
table of the whole clip, and one after the other they say how a segment is followed through time.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64, Integer
from torch import Tensor

from slot_eval.errors import EvalError

# A table is used as it is while it has at most this many cells, or fewer cells than there are
# pixels: beyond that, renumbering costs less than the table would.
SMALL_TABLE = 1 << 16
# Pixels per bincount on a CPU: from 64 Ki to 512 Ki make no difference, 8 Mi take three times as
# long for each pixel.
BLOCK_PIXELS = 1 << 17
# bincount and most arithmetic know these types only; the other integer types are widened first.
COUNTED_TYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True)
class Contingency:
    """Joint pixel counts of a batch, on the CPU.

    ``counts[b, i, j]`` pixels of sample b lie in its true segment i and its predicted segment j;
    ``true_ids[b, i]`` is the label of that true segment, or -1 where the row stands for nothing
    (samples with fewer segments than the widest one). A row may be empty without being -1.
    """

    counts: Int64[Tensor, "batch true predicted"]
    true_ids: Int64[Tensor, "batch true"]


@dataclass(frozen=True)
class ClipContingency:
    """Joint pixel counts of every frame of a batch of clips, on the CPU.

    ``counts[b, t]`` is the table of frame t of clip b; a row or a column is the same segment in
    all frames of the clip. ``true_ids`` as in ``Contingency``.
    """

    counts: Int64[Tensor, "batch time true predicted"]
    true_ids: Int64[Tensor, "batch true"]

    @property
    def whole(self) -> Contingency:
        """The clips with all their frames as one point set."""
        return Contingency(self.counts.sum(1), self.true_ids)

    @property
    def frames(self) -> Contingency:
        """Every frame as a sample of its own, those of one clip next to one another."""
        return Contingency(
            self.counts.flatten(0, 1), self.true_ids.repeat_interleave(self.counts.shape[1], dim=0)
        )


def contingency(
    predicted: Integer[Tensor, "batch *space"],
    true: Integer[Tensor, "batch *space"],
    *,
    ignore: Bool[Tensor, "batch *space"] | None = None,
) -> Contingency:
    """Count the pixels of every pair (true label, predicted label) in each sample.

    Labels are integers >= 0 of any integer type; all dimensions after the batch are one point
    set. Pixels in ``ignore`` are not counted. Raises EvalError when the shapes differ, a label is
    negative or not an integer.
    """
    check_labels(predicted, true)
    flat = None if ignore is None else ignore.flatten(1)[:, None]
    return clip_contingency(
        predicted.flatten(1)[:, None], true.flatten(1)[:, None], ignore=flat
    ).whole


def clip_contingency(
    predicted: Integer[Tensor, "batch time *space"],
    true: Integer[Tensor, "batch time *space"],
    *,
    ignore: Bool[Tensor, "batch time *space"] | None = None,
) -> ClipContingency:
    """``contingency`` of each frame, in one numbering per clip. Raises EvalError as it."""
    check_labels(predicted, true)
    predicted, true = countable(predicted).flatten(2), countable(true).flatten(2)
    if ignore is not None and true.numel():
        return without_ignored(predicted, true, ignore.flatten(2))
    batch, time, _ = true.shape
    if true.numel() == 0:
        return ClipContingency(
            torch.zeros(batch, time, 1, 1, dtype=torch.int64), torch.zeros(batch, 1).long()
        )
    predicted_width, true_width = width(predicted, "predicted"), width(true, "true")

    limit = max(SMALL_TABLE, true.numel())
    true_ids = torch.arange(true_width).expand(batch, true_width) if true_width <= limit else None
    if true_ids is None or batch * time * true_width * predicted_width > limit:
        true, true_ids = renumber(true)
        predicted, predicted_ids = renumber(predicted)
        true_width, predicted_width = true_ids.shape[1], predicted_ids.shape[1]
    counts = joint_histogram(
        predicted.flatten(0, 1), true.flatten(0, 1), predicted_width, true_width
    )
    return ClipContingency(counts.cpu().unflatten(0, (batch, time)), true_ids.cpu())


def without_ignored(
    predicted: Integer[Tensor, "batch time points"],
    true: Integer[Tensor, "batch time points"],
    ignore: Bool[Tensor, "batch time points"],
) -> ClipContingency:
    """Count the ignored pixels as one more true segment, and forget it."""
    extra = width(true, "true")
    tables = clip_contingency(predicted, torch.where(ignore, extra, true.long()))
    ignored = tables.true_ids == extra
    return ClipContingency(
        tables.counts.masked_fill(ignored[:, None, :, None], 0),
        tables.true_ids.masked_fill(ignored, -1),
    )


def joint_histogram(
    predicted: Integer[Tensor, "batch points"],
    true: Integer[Tensor, "batch points"],
    predicted_width: int,
    true_width: int,
) -> Int64[Tensor, "batch true predicted"]:
    """One bincount per block of samples; labels lie below the given widths."""
    batch, points = true.shape
    cells = true_width * predicted_width
    block = max(1, BLOCK_PIXELS // points) if true.device.type == "cpu" else batch
    block = min(block, batch)
    cell_type, index_type = smallest_type(cells), smallest_type(block * cells)
    first_cell = torch.arange(0, block * cells, cells, dtype=index_type, device=true.device)
    counts = torch.empty(batch, cells, dtype=torch.int64, device=true.device)
    for p, t, out in zip(
        predicted.split(block), true.split(block), counts.split(block), strict=True
    ):
        cell = torch.add(p.to(cell_type), t.to(cell_type), alpha=predicted_width)
        index = cell + first_cell[: len(cell), None]
        out.copy_(torch.bincount(index.view(-1), minlength=out.numel()).view_as(out))
    return counts.view(batch, true_width, predicted_width)


def renumber(
    labels: Integer[Tensor, "batch *space"],
) -> tuple[Int64[Tensor, "batch *space"], Int64[Tensor, "batch segments"]]:
    """Number the labels that occur in each sample 0, 1, ... in rising order of the label.

    Returns the renumbered labels and, per sample, the label each number stood for (-1 beyond the
    sample's last). Sorting sample by sample keeps labels up to 2**63 - 1 from overflowing a key.
    """
    found = [torch.unique(sample, return_inverse=True) for sample in labels.long()]
    ids = torch.nn.utils.rnn.pad_sequence(
        [values for values, _ in found], batch_first=True, padding_value=-1
    )
    return torch.stack([inverse for _, inverse in found]), ids


def check_labels(predicted: Tensor, true: Tensor) -> None:
    """Raise EvalError unless both are integer labels of one shape."""
    for name, labels in (("predicted", predicted), ("true", true)):
        if labels.is_floating_point() or labels.is_complex():
            raise EvalError(f"{name} labels must be integers, not {labels.dtype}")
    if predicted.shape != true.shape:
        raise EvalError(
            f"predicted labels have shape {tuple(predicted.shape)}, "
            f"true labels have shape {tuple(true.shape)}: they must be equal"
        )


def countable(labels: Tensor) -> Tensor:
    """The labels in a type that bincount takes."""
    return labels if labels.dtype in COUNTED_TYPES else labels.long()


def width(labels: Integer[Tensor, "*shape"], name: str) -> int:
    """The largest label plus one; raises EvalError on a negative label."""
    smallest, largest = torch.aminmax(labels)
    if int(smallest) < 0:
        raise EvalError(f"{name} labels must not be negative, the smallest is {int(smallest)}")
    return int(largest) + 1


def smallest_type(size: int) -> torch.dtype:
    """The smallest integer type that holds 0 .. size."""
    for dtype in (torch.uint8, torch.int16, torch.int32):
        if size <= torch.iinfo(dtype).max:
            return dtype
    return torch.int64
