"""What published pipelines do with a dataset, as named sets of its options.

`preset: slotdiffusion` sets exactly what that code sets; options that are given beside a preset
win over it and stay visible beside its name in a run's or a result's options. Labels are exactly
the reference's. Pictures are within 1/255 of its: samples are bytes, while some transforms work on
floats, and OpenCV rounds in steps of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slot_data.sample import DataError


@dataclass(frozen=True)
class Preset:
    """One pipeline on one dataset.

    description: whose it is, and what is no option of the dataset, such as the split it reports.
    options: in every split. by_split: those of single splits, over the former.
    augmentations: of training samples, by their names in `augmentations`.
    """

    description: str
    options: Mapping[str, Any]
    by_split: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    augmentations: tuple[str, ...] = ()

    def options_of(self, split: str) -> dict[str, Any]:
        return {**self.options, **self.by_split.get(split, {})}


_TORCH_WITHOUT_ANTIALIAS = {
    "antialias": False,
    "label_resize": "nearest",
    "relabel": "from_zero",
}
_SLOTDIFFUSION_224 = {
    **_TORCH_WITHOUT_ANTIALIAS,
    "image_size": 224,
    "fit": "resize_first",
    "interpolation": "bilinear",
    "label_resize": "opencv",
    "rounding": "nearest",
}
_DINOSAUR_224 = {
    "image_size": 224,
    "fit": "resize_first",
    "interpolation": "bicubic",
    "antialias": False,
    "label_resize": "nearest-exact",
    "rounding": "torchvision",
    "relabel": True,
}
_SLOTDIFFUSION = "SlotDiffusion (Wu et al. 2023)"
_DINOSAUR = "DINOSAUR (Seitzer et al. 2023)"

_PICTURES_FOR_RANDOM_SQUARES = {"masks": False, "fit": "shorter_side"}

_VIDEOS_AT_128 = {
    **_TORCH_WITHOUT_ANTIALIAS,
    "image_size": 128,
    "fit": "stretch",
    "num_frames": 24,
    "stride": 1,
    "clips": "first",
}
_MOVI = {
    "slotdiffusion": Preset(
        f"{_SLOTDIFFUSION}: clips of 3 frames, every one for training, without masks, those that "
        "have no common frame for validation; scores on whole videos of test",
        _VIDEOS_AT_128,
        {
            "train": {"num_frames": 3, "clips": "every", "masks": False},
            "validation": {"num_frames": 3, "clips": "apart"},
        },
    ),
    "slotdiffusion_tokenizer": Preset(
        f"{_SLOTDIFFUSION}: what its VQ-VAE and dVAE learn from: every frame, no masks",
        {**_VIDEOS_AT_128, "num_frames": 1, "clips": "every", "masks": False},
    ),
    "steve": Preset(
        "STEVE (Singh et al. 2022): clips of 3 frames for training, of 6 for scores, which are on "
        "validation; no frame is in two of them",
        {
            "image_size": 128,
            "fit": "stretch",
            "interpolation": "bicubic",
            "num_frames": 6,
            "stride": 1,
            "clips": "apart",
        },
        {"train": {"num_frames": 3, "masks": False}},
    ),
}
_DINOSAUR_FRAMES = Preset(
    f"{_DINOSAUR}: every frame a picture of its own, at 128x128, which the model enlarges to 224; "
    "scores on every frame of validation",
    {"image_size": 128, "label_resize": "nearest-exact", "num_frames": 1, "clips": "every"},
    {"train": {"masks": False}},
)
_SAVI = Preset(
    "SAVi-S (Kipf et al. 2022): clips of 6 frames for training, no frame in two of them, whole "
    "videos else; scores on validation; it predicts the flow backward",
    {
        "image_size": 64,
        "antialias": False,
        "label_resize": "nearest-exact",
        "relabel": False,
        "num_frames": 24,
        "stride": 1,
        "clips": "first",
    },
    {"train": {"num_frames": 6, "clips": "apart"}},
)

_PHYSION_AT_128 = {
    "image_size": 128,
    "fit": "stretch",
    "antialias": False,
    "max_frames": 150,
    "stride": 1,
    "bad_stimuli": "keep",
}
_PHYSION = {
    "slotdiffusion": Preset(
        f"{_SLOTDIFFUSION}: every 3 frames in a row for training, apart for the rest; its division "
        "of training and readout needs split_lists, and its frames went through JPEG",
        {**_PHYSION_AT_128, "num_frames": 3, "clips": "apart"},
        {"train": {"clips": "every"}},
    ),
    "slotformer": Preset(
        f"{_SLOTDIFFUSION}, its SlotFormer: 15 frames and 10 to predict, every third; its division "
        "needs split_lists",
        {**_PHYSION_AT_128, "num_frames": 25, "stride": 3, "clips": "apart"},
        {"train": {"clips": "every"}},
    ),
    "slotdiffusion_vqa": Preset(
        f"{_SLOTDIFFUSION}, its questions: 75 frames of each readout video; trains on readout, "
        "scores on test without the 26 faulty videos that its filter finds",
        {
            **_PHYSION_AT_128,
            "subset": "readout",
            "num_frames": 75,
            "clips": "first",
            "bad_stimuli": "slotdiffusion",
        },
    ),
}

PRESETS: dict[str, dict[str, Preset]] = {
    "clevr": {
        "slot_attention": Preset(
            "Slot Attention (Locatello et al. 2020), CLEVR6: 192 of 320x240 pixels to 128, at most "
            "6 objects; scores on the 320 pictures after those for training",
            {
                "crop": "slot_attention",
                "max_objects": 6,
                "image_size": 128,
                "fit": "crop_first",
                "antialias": False,
            },
        ),
    },
    "physion": _PHYSION,
    "celeba": {
        "slotdiffusion": Preset(
            f"{_SLOTDIFFUSION}: the whole picture to 128x128, aspect lost; scores on test",
            {"image_size": 128, "fit": "stretch", "antialias": False},
        ),
    },
    "voc": {
        "slotdiffusion": Preset(
            f"{_SLOTDIFFUSION}: trains on trainaug, scores on validation with void as overlap",
            {**_SLOTDIFFUSION_224, "void": "overlap"},
            {"trainaug": _PICTURES_FOR_RANDOM_SQUARES},
            ("horizontal_flip", "random_square"),
        ),
        "dinosaur": Preset(
            f"{_DINOSAUR}: trains on trainaug, scores on validation where nothing is void",
            {**_DINOSAUR_224, "agree": True, "void": "mark"},
            {"trainaug": _PICTURES_FOR_RANDOM_SQUARES},
            ("random_square", "horizontal_flip"),
        ),
    },
    "coco": {
        "slotdiffusion": Preset(
            f"{_SLOTDIFFUSION}: train without masks and without pictures that have no annotation",
            {**_SLOTDIFFUSION_224, "crowd": "drop", "overlap": "last"},
            {"train": {"masks": False, "empty": "drop_unannotated"}},
            ("horizontal_flip",),
        ),
        "dinosaur": Preset(
            f"{_DINOSAUR}: train without masks; scores leave out where objects overlap",
            {**_DINOSAUR_224, "crowd": "drop", "overlap": "highest_class"},
            {"train": {"masks": False}},
            ("horizontal_flip",),
        ),
    },
    **{f"movi_{level}": {**_MOVI, "savi": _SAVI} for level in "abd"},
    **{f"movi_{level}": {**_MOVI, "savi": _SAVI, "dinosaur": _DINOSAUR_FRAMES} for level in "ce"},
    **{f"movi_{kind}": _MOVI for kind in ("solid", "tex")},
    "clevrtex": {
        "slotdiffusion": Preset(
            f"{_SLOTDIFFUSION}: 192 of 320x240 pixels to 128; scores on test",
            {**_TORCH_WITHOUT_ANTIALIAS, "image_size": 128, "centre_crop": 192},
        ),
    },
}


def preset_of(dataset: str, name: str) -> Preset:
    """Raises DataError for a name that the dataset does not have."""
    known = PRESETS.get(dataset, {})
    if name not in known:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise DataError(f"dataset {dataset!r} has no preset {name!r}; {has}")
    return known[name]
