"""The contingency table: how many pixels carry true label i and predicted label j.

ARI (Hubert and Arabie, 1985) and every overlap score here are functions of this small table
alone, so the pixels are read once: one joint histogram for the whole batch, by a ``bincount``
over ``(sample, true label, predicted label)``.

Two things make that fast and safe. The time goes into moving the joint index through memory, so
it is built in the smallest integer type that holds it, and on a CPU in blocks of samples that
stay in the cache between the first look at the labels (how large are they?) and the counting.
And labels that would make a wide, nearly empty table (ids packed from colours, ids unique over a
data set) are first renumbered within each sample, so memory follows the number of segments and
not the size of the ids.

A clip has one table per frame, with the same rows and columns in all of them. Their sum is the
table of the whole clip, and one after the other they say how a segment is followed through time.
"""

from dataclasses import dataclass
from typing import overload

import torch
from jaxtyping import Bool, Int64, Integer
from torch import Tensor

from slot_eval.errors import EvalError

# A table is used as it is while it has at most this many cells, or fewer cells than there are
# pixels: beyond that, renumbering costs less than the table would.
SMALL_TABLE = 1 << 16
# Pixels per bincount on a CPU: from 32 Ki to 256 Ki take the same time within a tenth; beyond the
# cache it grows.
BLOCK_PIXELS = 1 << 16
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
    set. Pixels in ``ignore`` are not counted. Raises EvalError when the shapes differ, there is no
    batch, a label is negative or not an integer.
    """
    check_labels(predicted, true)
    check_dimensions(true, "[batch height width]", "picture")
    flat = None if ignore is None else ignore.flatten(1)[:, None]
    return count(predicted.flatten(1)[:, None], true.flatten(1)[:, None], flat).whole


def whole_clip_contingency(
    predicted: Integer[Tensor, "batch time *space"], true: Integer[Tensor, "batch time *space"]
) -> Contingency:
    """``contingency`` of clips, all frames of one being one point set. Raises EvalError as it."""
    check_labels(predicted, true)
    check_dimensions(true, "[batch time height width]", "clip")
    return contingency(predicted, true)


def clip_contingency(
    predicted: Integer[Tensor, "batch time *space"],
    true: Integer[Tensor, "batch time *space"],
    *,
    ignore: Bool[Tensor, "batch time *space"] | None = None,
) -> ClipContingency:
    """``contingency`` of each frame, in one numbering per clip. Raises EvalError as it."""
    check_labels(predicted, true)
    check_dimensions(true, "[batch time height width]", "clip")
    flat = None if ignore is None else ignore.flatten(2)
    return count(predicted.flatten(2), true.flatten(2), flat)


def count(
    predicted: Integer[Tensor, "batch time points"],
    true: Integer[Tensor, "batch time points"],
    ignore: Bool[Tensor, "batch time points"] | None = None,
) -> ClipContingency:
    """``clip_contingency`` of labels that are known to be such."""
    predicted, true = countable(predicted), countable(true)
    if ignore is not None and true.numel():
        return without_ignored(predicted, true, ignore)
    batch, time, _ = true.shape
    if true.numel() == 0:
        return ClipContingency(
            torch.zeros(batch, time, 1, 1, dtype=torch.int64), torch.zeros(batch, 1).long()
        )
    limit = max(SMALL_TABLE, true.numel())
    counts = joint_histogram(predicted.flatten(0, 1), true.flatten(0, 1), limit)
    if counts is None:
        true, true_ids = renumber(true)
        predicted, _ = renumber(predicted)
        counts = joint_histogram(predicted.flatten(0, 1), true.flatten(0, 1))
    else:
        true_ids = torch.arange(counts.shape[1]).expand(batch, -1)
    return ClipContingency(counts.unflatten(0, (batch, time)), true_ids.cpu())


def without_ignored(
    predicted: Integer[Tensor, "batch time points"],
    true: Integer[Tensor, "batch time points"],
    ignore: Bool[Tensor, "batch time points"],
) -> ClipContingency:
    """Count the ignored pixels as one more true segment, and forget it."""
    extra = width(true, "true")
    tables = count(predicted, torch.where(ignore, extra, true.long()))
    ignored = tables.true_ids == extra
    return ClipContingency(
        tables.counts.masked_fill(ignored[:, None, :, None], 0),
        tables.true_ids.masked_fill(ignored, -1),
    )


@overload
def joint_histogram(predicted: Tensor, true: Tensor) -> Tensor: ...
@overload
def joint_histogram(predicted: Tensor, true: Tensor, limit: int) -> Tensor | None: ...
def joint_histogram(
    predicted: Integer[Tensor, "batch points"],
    true: Integer[Tensor, "batch points"],
    limit: int | None = None,
) -> Int64[Tensor, "batch true predicted"] | None:
    """The tables of a batch, as wide as its largest labels; None beyond ``limit`` cells."""
    batch, points = true.shape
    block = max(1, BLOCK_PIXELS // points) if true.device.type == "cpu" else batch
    tables, num_true, num_predicted = [], 0, 0
    for p, t in zip(predicted.split(block), true.split(block), strict=True):
        widths = width(t, "true"), width(p, "predicted")
        num_true, num_predicted = max(num_true, widths[0]), max(num_predicted, widths[1])
        if limit is not None and batch * num_true * num_predicted > limit:
            return None
        tables.append(block_histogram(p, t, *widths))
    counts = torch.zeros(batch, num_true, num_predicted, dtype=torch.int64)
    for table, out in zip(tables, counts.split(block), strict=True):
        out[:, : table.shape[1], : table.shape[2]] = table
    return counts


def block_histogram(
    predicted: Integer[Tensor, "batch points"],
    true: Integer[Tensor, "batch points"],
    num_true: int,
    num_predicted: int,
) -> Int64[Tensor, "batch true predicted"]:
    """The tables of a few samples by one bincount; labels lie below the given widths."""
    batch, cells = len(true), num_true * num_predicted
    cell_type, index_type = smallest_type(cells), smallest_type(batch * cells)
    cell = torch.add(predicted.to(cell_type), true.to(cell_type), alpha=num_predicted)
    first_cell = torch.arange(0, batch * cells, cells, dtype=index_type, device=true.device)
    index = cell + first_cell[:, None]
    counts = torch.bincount(index.reshape(-1), minlength=batch * cells)
    return counts.view(batch, num_true, num_predicted)


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
        if not isinstance(labels, Tensor):
            raise EvalError(
                f"{name} labels are a {type(labels).__name__}, expected a tensor: "
                "torch.from_numpy makes one of an array"
            )
        if labels.is_floating_point() or labels.is_complex():
            raise EvalError(
                f"{name} labels must be integers, not {labels.dtype}; soft masks become labels by "
                "protocols.get(NAME).labels(masks, height, width)"
            )
    if predicted.shape != true.shape:
        raise EvalError(
            f"predicted labels have shape {tuple(predicted.shape)}, "
            f"true labels have shape {tuple(true.shape)}: they must be equal"
        )


def check_dimensions(labels: Tensor, expected: str, what: str) -> None:
    """Raise EvalError if there is no batch: the rows of a picture would be taken for pictures."""
    if labels.ndim < len(expected.split()):
        raise EvalError(
            f"labels have the shape {list(labels.shape)}, expected {expected}; one {what} is "
            "labels[None]"
        )


def countable(labels: Tensor) -> Tensor:
    """The labels in a type that bincount takes."""
    return labels if labels.dtype in COUNTED_TYPES else labels.long()


def width(labels: Integer[Tensor, "*shape"], name: str) -> int:
    """The largest label plus one; raises EvalError on a negative label."""
    smallest, largest = extremes(labels)
    if smallest < 0:
        raise EvalError(f"{name} labels must not be negative, the smallest is {smallest}")
    return largest + 1


def extremes(labels: Integer[Tensor, "*shape"]) -> tuple[int, int]:
    """The smallest and the largest label, read at the speed of memory.

    NumPy's minimum and maximum of int64 use vector instructions, ``torch.aminmax`` on a CPU does
    not and takes twice as long as both together.
    """
    if labels.device.type == "cpu":
        array = labels.numpy()
        return int(array.min()), int(array.max())
    smallest, largest = torch.aminmax(labels)
    return int(smallest), int(largest)


def smallest_type(size: int) -> torch.dtype:
    """The smallest integer type that holds 0 .. size."""
    for dtype in (torch.uint8, torch.int16, torch.int32):
        if size <= torch.iinfo(dtype).max:
            return dtype
    return torch.int64
