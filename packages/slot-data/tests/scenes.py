"""A little of CLEVRTex, and ways to compare samples, for the tests of prepared folders."""

import numpy as np
import torch
from PIL import Image

from slot_data.prepare import Plan, Preparation


def write_scene(root, number, objects=3):
    """RGBA 320x240 and its palette mask; noise in the ground, so that no two are alike."""
    folder = root / "clevrtex_full" / str(number // 1000)
    folder.mkdir(parents=True, exist_ok=True)
    bits = np.random.default_rng(number)
    pixels = np.full((240, 320, 4), 255, np.uint8)
    pixels[::8, ::8, :3] = bits.integers(256, size=(30, 40, 3))
    ids = np.zeros((240, 320), np.uint8)
    for thing in range(1, objects + 1):
        top, left = bits.integers(30, 170), bits.integers(70, 210)
        ids[top : top + 40, left : left + 40] = 2 * thing  # gaps, for relabelling to close
        pixels[top : top + 40, left : left + 40, :3] = bits.integers(256, size=3)
    stem = folder / f"CLEVRTEX_full_{number:06d}"
    Image.fromarray(pixels).save(f"{stem}.png")
    mask = Image.fromarray(ids)
    mask.putpalette(bits.integers(256, size=14 * 3, dtype=np.uint8).tolist())
    mask.save(f"{stem}_flat.png")
    return stem


def prepared(name, source, out, splits, **plan):
    """Prepares, and returns the manifest."""
    preparation = Preparation(Plan(name, source, out, splits, **plan))
    for _ in preparation.run():
        pass
    return preparation.finish()


def assert_same(one, other):
    """Two samples agree in every entry, kinds of numbers included."""
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == other[key].dtype, key
            assert torch.equal(value, other[key]), key
        else:
            assert value == other[key], key


def assert_all_same(one, other):
    assert len(one) == len(other)
    for index in range(len(one)):
        assert_same(one[index], other[index])
