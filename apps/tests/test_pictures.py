"""Colours, overlays, cut-outs and sheets, down to the pixel."""

import numpy as np
import pytest
import torch
from PIL import Image

from slot_data import Shapes
from support.colours import colour_table, matching_colours, oklab, slot_colours
from support.pictures import (
    GAP,
    HEADING,
    MARGIN,
    PAPER,
    colour,
    comparison,
    cutout,
    moments,
    overlay,
    overlay_in_palette,
    palette_image,
    sheet,
    spotlight,
)

TILE = 128  # what a picture of 32 or 64 pixels is enlarged to


@pytest.fixture
def labels() -> np.ndarray:
    """A background with a square and a column."""
    labels = np.zeros((12, 16), int)
    labels[2:6, 2:6] = 1
    labels[:, 12:] = 2
    return labels


def batch_of_shapes(num_frames: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Video, labels, and masks of 7 slots that found the labels, in another order."""
    dataset = Shapes("test", num_frames=num_frames)
    samples = [dataset[index] for index in range(2)]
    video = torch.stack([sample["video"] for sample in samples]).float() / 255
    labels = torch.stack([sample["labels"] for sample in samples if "labels" in sample]).long()
    masks = torch.nn.functional.one_hot(labels, 7).movedim(-1, 2).float()
    return video, labels, masks[:, :, [3, 1, 6, 0, 2, 5, 4]]


def tile(image: Image.Image, row: int, column: int) -> np.ndarray:
    """The pixels of one tile of a sheet of TILE x TILE pixels."""
    left, top = MARGIN + column * (TILE + GAP), MARGIN + HEADING + row * (TILE + GAP)
    return np.asarray(image)[top : top + TILE, left : left + TILE]


def test_all_colours_differ_and_the_first_differ_clearly():
    table = colour_table()
    assert len(np.unique(table, axis=0)) == len(table) == 256
    places = oklab(table[:12])
    distances = np.linalg.norm(places[:, None] - places, axis=2) + np.eye(12)
    assert distances.min() > 0.09  # about five times what an eye can just tell apart


def test_oklab_of_white_and_of_red():
    # The values that the definition's author gives for white, and for sRGB red in CSS Color 4.
    found = oklab(np.array([[255, 255, 255], [255, 0, 0]], np.uint8))
    expected = [[1, 0, 0], [0.62796, 0.22486, 0.12585]]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_labels_get_their_colours_and_large_ones_start_again():
    table = colour_table()
    drawn = colour(np.array([[0, 1, 255], [256, 510, 511]]))
    np.testing.assert_array_equal(drawn, table[np.array([[0, 1, 255], [1, 255, 1]])])
    assert drawn[0, 0].max() < 60  # the background is dark


def test_unsigned_background_stays_the_background():
    np.testing.assert_array_equal(colour(np.zeros((1, 1), np.uint8))[0, 0], colour_table()[0])


def test_a_slot_has_the_colour_of_the_object_it_found(labels: np.ndarray):
    slot_of_label = np.array([4, 0, 2])
    colours = matching_colours(slot_of_label[labels], labels, num_slots=5)
    np.testing.assert_array_equal(colours[slot_of_label], [0, 1, 2])
    assert len(set(colours)) == 5  # slots without an object share no colour with one


def test_the_larger_share_of_an_object_has_its_colour(labels: np.ndarray):
    found = labels.copy()
    found[2, 2:6] = 3  # a quarter of object 1 went to another slot
    colours = matching_colours(found, labels, num_slots=4)
    assert list(colours[:3]) == [0, 1, 2]
    assert colours[3] > 2


def test_slots_outnumbered_by_objects_each_have_a_colour():
    true = np.arange(6).reshape(2, 3)
    assert sorted(matching_colours(np.zeros((2, 3), int), true, num_slots=1)) == [0]


def test_overlay_is_grey_under_colour_with_white_borders(labels: np.ndarray):
    picture = np.zeros((12, 16, 3), np.uint8)
    picture[..., 0] = 200  # all red: nothing of the red may stay
    drawn = overlay(picture, labels, opacity=0.5)
    inside = 0.5 * 200 * 0.299 + 0.5 * colour_table()[1].astype(float)
    np.testing.assert_allclose(drawn[4, 4], inside, atol=0.51)
    assert (drawn[4, 2] == 255).all()  # the border, on the inner side at the left
    assert (drawn[4, 6] == 255).all()  # and on the outer side at the right
    assert (drawn[4, 12] == 255).all()
    assert not (drawn[4, 8] == 255).all()


def test_overlay_of_one_segment_has_no_border():
    picture = np.full((8, 8, 3), 100, np.uint8)
    assert len(np.unique(overlay(picture, np.ones((8, 8), int)).reshape(-1, 3), axis=0)) == 1


def test_borders_widen_with_the_picture():
    labels = np.zeros((768, 800), int)
    labels[:, 400:] = 1
    drawn = overlay(np.zeros((768, 800, 3), np.uint8), labels)
    assert (drawn[300] == 255).all(1).sum() == 3


@pytest.mark.parametrize(("num_slots", "num_greys"), [(7, 36), (120, 2), (255, 1), (256, 1)])
def test_overlays_in_one_palette(num_slots: int, num_greys: int):
    slots = np.arange(240).reshape(12, 20).repeat(4, 0).repeat(4, 1) % num_slots
    picture = np.random.default_rng(0).integers(256, size=(*slots.shape, 3), dtype=np.uint8)
    image = overlay_in_palette(picture, slots, num_slots)
    assert image.mode == "P"
    exact = overlay(picture, slot_colours(num_slots)[slots]).astype(int)
    error = np.abs(np.array(image.convert("RGB")) - exact).max()
    nearest = 127.5 / (num_greys - 1) if num_greys > 1 else 128
    assert 0.4 * nearest - 3 < error <= 0.4 * nearest + 1  # the grey has the opacity 0.4
    other = overlay_in_palette(picture[::-1], slots[::-1] // 2, num_slots)
    assert other.getpalette() == image.getpalette()


def test_cutout_keeps_the_pixels_under_the_mask_only(labels: np.ndarray):
    picture = np.random.default_rng(0).integers(1, 256, (12, 16, 3), dtype=np.uint8)
    piece = cutout(picture, labels == 1)
    assert piece.dtype == np.uint8
    np.testing.assert_array_equal(piece[2:6, 2:6, :3], picture[2:6, 2:6])
    np.testing.assert_array_equal(piece[..., 3], np.where(labels == 1, 255, 0))
    assert not piece[labels != 1].any()


def test_spotlight_fades_to_light_grey():
    picture = np.zeros((1, 3, 3), np.uint8)
    np.testing.assert_array_equal(
        spotlight(picture, np.array([[1.0, 0.5, 0.0]]))[0, :, 0], [0, 118, 236]
    )


def test_palette_image_holds_slots_in_their_colours(tmp_path):
    slots = np.arange(256).reshape(16, 16)
    palette_image(slots).save(tmp_path / "labels.png", bits=8)
    image = Image.open(tmp_path / "labels.png")
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), slots)
    drawn = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(drawn, colour_table()[slot_colours(256)[slots]])


def test_a_sheet_has_room_for_its_tiles_and_headings():
    small, wide = np.zeros((32, 32, 3), np.uint8), np.zeros((300, 600, 3), np.uint8)
    image = sheet({"a": [small, small], "b": [wide, small]})
    assert image.size == (2 * MARGIN + 128 + GAP + 192, 2 * MARGIN + HEADING + 128 + GAP + 128)
    array = np.asarray(image)
    for edge in (array[:MARGIN], array[-MARGIN:], array[:, :MARGIN], array[:, -MARGIN:]):
        assert (edge == PAPER).all()
    heading = array[MARGIN : MARGIN + HEADING]
    assert (heading < 255).any()
    # The wide tile, reduced to 192 x 96, is centred in a row of 128 pixels.
    middle = array[MARGIN + HEADING : MARGIN + HEADING + 128, MARGIN + 128 + GAP + 96]
    assert (middle[16:112] == 0).all()
    assert (middle[:16] == 255).all()


def test_columns_of_different_length_are_a_bug():
    tile = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="zip"):
        sheet({"a": [tile], "b": [tile, tile]})


def test_a_comparison_paints_found_objects_as_the_true_ones():
    video, labels, masks = batch_of_shapes()
    image = comparison(video, labels, masks, video)
    columns, rows = 5 + 7, 2
    assert image.size == (
        2 * MARGIN + columns * TILE + (columns - 1) * GAP,
        2 * MARGIN + HEADING + rows * TILE + (rows - 1) * GAP,
    )
    for row in range(rows):
        picture = (video[row, 0] * 255).round().byte().movedim(0, -1).numpy()
        np.testing.assert_array_equal(tile(image, row, 0)[::2, ::2], picture)
        np.testing.assert_array_equal(tile(image, row, 2), tile(image, row, 1))
        np.testing.assert_array_equal(tile(image, row, 4), tile(image, row, 0))
        alone = spotlight(picture, (labels[row, 0] == 1).float().numpy())
        np.testing.assert_array_equal(tile(image, row, 5 + 1)[::2, ::2], alone)


def test_without_truth_and_reconstruction_their_columns_are_left_out():
    video, _, masks = batch_of_shapes()
    image = comparison(video, None, masks.bfloat16(), show_slots=False)
    assert image.size[0] == 2 * MARGIN + 3 * TILE + 2 * GAP
    expected = colour(1 + masks[0, 0].argmax(0).numpy())
    np.testing.assert_array_equal(tile(image, 0, 1)[::2, ::2], expected)


def test_of_a_clip_three_frames_are_drawn_in_the_same_colours():
    video, labels, masks = batch_of_shapes(num_frames=6)
    image = comparison(video, labels, masks, show_slots=False)
    assert image.size[1] == 2 * MARGIN + HEADING + 6 * TILE + 5 * GAP
    for row in range(6):
        np.testing.assert_array_equal(tile(image, row, 2), tile(image, row, 1))
    last = colour(labels[0, 5].numpy())
    np.testing.assert_array_equal(tile(image, 2, 1)[::2, ::2], last)


@pytest.mark.parametrize(("num_frames", "drawn"), [(1, [0]), (2, [0, 1]), (24, [0, 12, 23])])
def test_first_middle_and_last_frame(num_frames: int, drawn: list[int]):
    assert moments(num_frames) == drawn
