"""What a model found, drawn: labels as colours, laid over the picture, cut out, side by side.

Everything here is arrays of pixels [height width channels] and Pillow; training draws a
``comparison`` at each validation, ``predict.py`` draws the user's pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from support.colours import colour_table, matching_colours, slot_colours, wrapped

Picture = UInt8[np.ndarray, "height width 3"]
Labels = Integer[np.ndarray, "height width"]

MAX_SLOTS = 256  # that a palette image of 8 bits tells apart
SMALLEST_TILE, LARGEST_TILE = 128, 192
MARGIN, GAP, HEADING = 16, 8, 26
PAPER, INK = (255, 255, 255), (60, 60, 66)
BRIGHTNESS = np.array([0.299, 0.587, 0.114])  # of red, green and blue, ITU-R BT.601
EMPTY = 236  # grey behind what a slot does not see
OPACITY = 0.6  # of the colours laid over a picture


def colour(labels: Labels) -> Picture:
    """Each label in its colour; 0 is dark grey."""
    return colour_table()[wrapped(labels)]


def overlay(picture: Picture, labels: Labels, opacity: float = OPACITY) -> Picture:
    """The picture in grey under the colours of its labels, with white borders between them.

    In grey, because a tint over a coloured object is neither its colour nor the label's.
    """
    drawn = tinted(picture @ BRIGHTNESS, colour(labels), opacity)
    drawn[borders(labels)] = 255
    return drawn


def tinted(
    grey: Float[np.ndarray, "*space"], colours: UInt8[np.ndarray, "*space 3"], opacity: float
) -> UInt8[np.ndarray, "*space 3"]:
    """Grey pixels of brightness 0 to 255 under colours."""
    return ((1 - opacity) * grey[..., None] + opacity * colours).round().astype(np.uint8)


def overlay_in_palette(picture: Picture, slots: Labels, num_slots: int) -> Image.Image:
    """``overlay`` in slots' colours as a palette image, the palette alike for all frames.

    The palette holds each colour over as many greys as it has room for, and white. So nothing
    flickers between frames, as it does when each is given the palette that suits it best.
    """
    num_colours = min(num_slots, MAX_SLOTS - 1)
    num_greys = (MAX_SLOTS - 1) // num_colours
    greys = np.linspace(0, 255, num_greys) if num_greys > 1 else np.array([128.0])
    nearest = (picture @ BRIGHTNESS * (num_greys - 1) / 255).round().astype(int)
    indices = (slots % num_colours) * num_greys + nearest
    indices[borders(slots)] = MAX_SLOTS - 1
    colours = np.repeat(colour_table()[slot_colours(num_colours)], num_greys, axis=0)
    palette = np.full((MAX_SLOTS, 3), 255, np.uint8)
    palette[: len(colours)] = tinted(np.tile(greys, num_colours), colours, OPACITY)
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette(palette.tobytes())
    return image


def borders(labels: Labels) -> Bool[np.ndarray, "height width"]:
    """Where two segments meet: lines one pixel wide per 256 of the picture's shorter side."""
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:, :] |= labels[1:, :] != labels[:-1, :]
    for _ in range(round(min(labels.shape) / 256) - 1):
        wider = edge.copy()
        wider[:, :-1] |= edge[:, 1:]
        wider[:-1, :] |= edge[1:, :]
        edge = wider
    return edge


def cutout(
    picture: Picture, mask: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 4"]:
    """The pixels under the mask, opaque; all others are transparent black."""
    return np.dstack([picture, np.full(mask.shape, 255, np.uint8)]) * mask[..., None]


def spotlight(picture: Picture, mask: Float[np.ndarray, "height width"]) -> Picture:
    """The picture where a soft mask is 1, light grey where it is 0."""
    weight = mask[..., None].clip(0, 1)
    return (weight * picture + (1 - weight) * EMPTY).round().astype(np.uint8)


def palette_image(labels: Labels) -> Image.Image:
    """Slot numbers below MAX_SLOTS as a palette image: index = slot, one colour per slot."""
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(colour_table()[slot_colours(MAX_SLOTS)].tobytes())
    return image


def comparison(
    video: Float[Tensor, "batch time 3 height width"],
    labels: Integer[Tensor, "batch time height width"] | None,
    masks: Float[Tensor, "batch time slots height width"],
    reconstruction: Float[Tensor, "batch time 3 height width"] | None = None,
    *,
    show_slots: bool = True,
) -> Image.Image:
    """One row per sample: picture, truth, found segments, overlay, reconstruction, each slot.

    A found segment has the colour of the true one that it matches. Of a clip the first, middle
    and last frame are drawn, a row each, in the same colours.
    """
    pictures, soft = pixels(video), masks.detach().float().cpu().numpy()
    again = None if reconstruction is None else pixels(reconstruction)
    truth = None if labels is None else labels.cpu().numpy()
    num_slots = soft.shape[2]
    columns: dict[str, list[np.ndarray]] = {}
    for sample, found in enumerate(soft.argmax(2)):
        colours = slot_colours(num_slots)
        if truth is not None:
            colours = matching_colours(found, truth[sample], num_slots)
        for time in moments(found.shape[0]):
            row = tiles(
                pictures[sample, time],
                colours[found[time]],
                truth=None if truth is None else truth[sample, time],
                reconstruction=None if again is None else again[sample, time],
                masks=soft[sample, time] if show_slots else None,
            )
            for heading, tile in row.items():
                columns.setdefault(heading, []).append(tile)
    return sheet(columns)


def repainted(
    video: Float[Tensor, "batch time 3 height width"],
    reconstruction: Float[Tensor, "batch time 3 height width"],
) -> Image.Image:
    """One row per sample: picture and reconstruction; of a clip three frames, a row each."""
    pairs = zip(pixels(video), pixels(reconstruction), strict=True)
    columns: dict[str, list[np.ndarray]] = {"picture": [], "reconstruction": []}
    for clip, again in pairs:
        for time in moments(len(clip)):
            columns["picture"].append(clip[time])
            columns["reconstruction"].append(again[time])
    return sheet(columns)


def tiles(
    picture: Picture,
    found: Labels,
    *,
    truth: Labels | None = None,
    reconstruction: Picture | None = None,
    masks: Float[np.ndarray, "slots height width"] | None = None,
) -> dict[str, Picture]:
    """One row of a sheet, by heading; ``found`` and ``truth`` are numbers of colours."""
    row = {"picture": picture}
    if truth is not None:
        row["truth"] = colour(truth)
    row["found"] = colour(found)
    row["overlay"] = overlay(enlarged(picture), enlarged(found))
    if reconstruction is not None:
        row["reconstruction"] = reconstruction
    for slot, mask in enumerate(() if masks is None else masks):
        row[f"slot {slot}"] = spotlight(picture, mask)
    return row


def moments(num_frames: int) -> Sequence[int]:
    """The first, middle and last frame, each once."""
    return sorted({0, num_frames // 2, num_frames - 1})


def pixels(
    video: Float[Tensor, "batch time 3 height width"],
) -> UInt8[np.ndarray, "batch time height width 3"]:
    """Video in [0, 1] as pixels."""
    scaled = (video.detach().float().clamp(0, 1) * 255).round().byte()
    return scaled.movedim(2, -1).cpu().numpy()


def enlarged(image: np.ndarray, smallest: int = SMALLEST_TILE) -> np.ndarray:
    """Each pixel repeated until the longer side has at least ``smallest``."""
    factor = -(-smallest // max(image.shape[:2]))
    return image.repeat(factor, 0).repeat(factor, 1)


def fitted(tile: UInt8[np.ndarray, "height width channels"]) -> Image.Image:
    """A tile as an image of a size that can be looked at."""
    image = Image.fromarray(enlarged(tile))
    image.thumbnail((LARGEST_TILE, LARGEST_TILE), Image.Resampling.LANCZOS)
    return image


def sheet(columns: dict[str, list[np.ndarray]]) -> Image.Image:
    """Tiles in a grid on white paper, each column under its heading.

    Args:
        columns: heading to tiles [height width 3], uint8, from top to bottom; the columns are
            equally long. Small tiles are enlarged, large ones reduced.
    """
    shown = [[fitted(tile) for tile in column] for column in columns.values()]
    rows = list(zip(*shown, strict=True))
    font = ImageFont.load_default(size=14)
    widths = [
        max([*(row[column].width for row in rows), round(font.getlength(heading))])
        for column, heading in enumerate(columns)
    ]
    heights = [max(tile.height for tile in row) for row in rows]
    width = 2 * MARGIN + sum(widths) + GAP * (len(widths) - 1)
    height = 2 * MARGIN + HEADING + sum(heights) + GAP * (len(heights) - 1)
    paper = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(paper)
    left = MARGIN
    for column, heading in enumerate(columns):
        middle = left + widths[column] / 2
        draw.text((middle, MARGIN + HEADING / 2 - 4), heading, fill=INK, font=font, anchor="mm")
        top = MARGIN + HEADING
        for row, row_height in zip(rows, heights, strict=True):
            tile = row[column]
            place = (
                left + (widths[column] - tile.width) // 2,
                top + (row_height - tile.height) // 2,
            )
            paper.paste(tile, place)
            top += row_height + GAP
        left += widths[column] + GAP
    return paper
