"""The contingency table counts every pixel once, in any type and for any ids."""

import subprocess
import sys

import pytest
import torch

from slot_eval.errors import EvalError
from slot_eval.functional.contingency import BLOCK_PIXELS, contingency


def counted_by_hand(predicted, true):
    """{(true id, predicted id): pixels} of one sample."""
    pairs: dict[tuple[int, int], int] = {}
    for pair in zip(true.flatten().tolist(), predicted.flatten().tolist(), strict=True):
        pairs[pair] = pairs.get(pair, 0) + 1
    return pairs


def test_two_by_two_worked_by_hand():
    true = torch.tensor([[[0, 0], [2, 2]]])
    predicted = torch.tensor([[[1, 1], [1, 0]]])
    table = contingency(predicted, true)
    assert table.counts.tolist() == [[[0, 2], [0, 0], [1, 1]]]
    assert table.true_ids.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64]
)
def test_every_integer_type_gives_the_same_table(draw, dtype):
    predicted, true = draw(3, 9, 7)
    table = contingency(predicted.to(dtype), true.to(dtype))
    assert torch.equal(table.counts, contingency(predicted, true).counts)
    assert table.counts.dtype == torch.int64


def test_labels_may_lie_in_memory_in_any_order(draw):
    """A stack of pictures along its last axis, turned, has the strides of another shape."""
    predicted, true = draw(3, 9, 7)
    turned = predicted.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert not turned.is_contiguous()
    for pair in ((turned, true), (predicted, turned), (turned, turned)):
        expected = contingency(*(one.contiguous() for one in pair))
        assert torch.equal(contingency(*pair).counts, expected.counts)


@pytest.mark.parametrize("spread", [1, 50, 70_001, 1 << 40])
def test_wide_ids_are_renumbered_without_losing_a_pixel(draw, spread):
    predicted, true = draw(4, 8, 8)
    # ids of their own in every sample, as where a data set numbers all its objects
    shift = torch.arange(4)[:, None, None] * 7 * spread
    wide_true = true * spread + shift
    wide_predicted = predicted * spread + 3
    table = contingency(wide_predicted, wide_true)
    assert table.counts.numel() <= 1 << 16
    for sample in range(4):
        expected = counted_by_hand(wide_predicted[sample], wide_true[sample])
        rows = dict(zip(table.true_ids[sample].tolist(), table.counts[sample], strict=True))
        for true_id, row in rows.items():
            wanted = sorted(n for (i, _), n in expected.items() if i == true_id)
            assert sorted(row[row > 0].tolist()) == wanted
        assert table.counts[sample].sum() == 64


def test_blocks_of_samples_join_without_a_seam(draw):
    predicted, true = draw(7, 256, 192, true=3, predicted=3)
    assert true.numel() > 2 * BLOCK_PIXELS
    table = contingency(predicted, true)
    for sample in range(7):
        expected = counted_by_hand(predicted[sample], true[sample])
        found = {(i, j): int(table.counts[sample, i, j]) for i in range(3) for j in range(3)}
        assert found == expected


def test_no_samples_and_no_pixels():
    nothing = torch.zeros(0, 4, 4, dtype=torch.long)
    assert contingency(nothing, nothing).counts.shape[0] == 0
    no_pixel = torch.zeros(2, 0, 4, dtype=torch.long)
    assert contingency(no_pixel, no_pixel).counts.sum() == 0


def test_negative_labels_are_refused():
    true = torch.zeros(1, 2, 2, dtype=torch.long)
    with pytest.raises(EvalError, match="true labels must not be negative, the smallest is -1"):
        contingency(true, true - 1)
    with pytest.raises(EvalError, match="predicted labels must not be negative"):
        contingency(true - 1, true)


@pytest.mark.slow
def test_without_the_type_checker_wrong_labels_raise_an_eval_error():
    """The hook of this test run refuses these before the function can; users have no hook."""
    code = (
        "import torch\n"
        "from slot_eval import EvalError, ari, fg_ari, functional, miou\n"
        "whole = torch.zeros(1, 2, 2, dtype=torch.long)\n"
        "for bad in (whole.numpy(), whole.float(), whole[:, :1]):\n"
        "    try:\n"
        "        ari(bad, whole)\n"
        "    except EvalError as error:\n"
        "        print(error)\n"
        "for name in ('ari', 'fg_ari', 'miou', 'fg_miou', 'mbo'):\n"
        "    for kind, labels in (('', whole[0]), ('video_', whole)):\n"
        "        try:\n"
        "            getattr(functional, kind + name)(labels, labels)\n"
        "        except EvalError as error:\n"
        "            print(error)\n"
        "for function, options in ((miou, {'absent_ids': 'maybe'}), (fg_ari, {'empty': 'no'})):\n"
        "    try:\n"
        "        function(whole, whole, **options)\n"
        "    except EvalError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "predicted labels are a ndarray, expected a tensor: torch.from_numpy makes one of an array",
        "predicted labels must be integers, not torch.float32; soft masks become labels by "
        "protocols.get(NAME).labels(masks, height, width)",
        "predicted labels have shape (1, 1, 2), true labels have shape (1, 2, 2): "
        "they must be equal",
        # The rows of a picture are not taken for pictures, nor frames for clips.
        *5
        * [
            "labels have the shape [2, 2], expected [batch height width]; "
            "one picture is labels[None]",
            "labels have the shape [1, 2, 2], expected [batch time height width]; "
            "one clip is labels[None]",
        ],
        "absent_ids must be skip or zero, not 'maybe'",
        "empty must be one of one, nan, zero, not 'no'",
    ]


@pytest.mark.parametrize("numbers", [(12, 25), (16, 16), (181, 181), (255, 1)])
def test_tables_at_the_borders_of_the_integer_types(numbers):
    """25 slots and 12 objects have 300 cells, which do not fit a byte as either does."""
    generator = torch.Generator().manual_seed(0)
    true, predicted = (torch.randint(n, (2, 40, 40), generator=generator) for n in numbers)
    true[:, 0, 0], predicted[:, 0, 0] = numbers[0] - 1, numbers[1] - 1
    for one, other in ((predicted, true), (true, predicted)):
        table = contingency(one.to(torch.uint8), other.to(torch.uint8))
        for sample in range(2):
            found = {
                (i, j): int(table.counts[sample, i, j])
                for i, j in table.counts[sample].nonzero().tolist()
            }
            assert found == counted_by_hand(one[sample], other[sample])
