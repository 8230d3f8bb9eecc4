"""The cards of datasets of pictures. Numbers in them are documentation, to be compared with a copy
(see `verification`); no reader takes one from here."""

from slot_data import multi_object
from slot_data.card import Card
from slot_data.celeba import CelebA
from slot_data.clevrtex import SIZES, ClevrTex, numbers_of
from slot_data.coco import Coco
from slot_data.folder import Folder
from slot_data.multi_object import Clevr, MultiDSprites, ObjectsRoom, Tetrominoes
from slot_data.shapes import SPLITS, Shapes
from slot_data.voc import Voc

_MULTI_OBJECT_LICENCE = "the data's is not stated; its code is Apache-2.0"
_MULTI_OBJECT_CITATION = (
    "Kabra et al.: Multi-Object Datasets. 2019. "
    "https://github.com/google-deepmind/multi_object_datasets"
)
_READ_IN_ORDER = "One compressed file that can only be read in order: prepare it before training."


def _shares(count: int) -> dict[str, int | None]:
    """How the records of the Multi-Object Datasets are divided."""
    return {
        split: count * stop // 100 - count * start // 100
        for split, (start, stop) in multi_object.SPLITS.items()
    }


PICTURES = (
    Card(
        name="shapes",
        description=(
            "Flat shapes that hide one another, drawn on demand, the same on every machine. "
            "Pictures (num_frames 1) or videos with bounces off the borders. Level plain has "
            "uniform colours on a dark ground; level textured shares its colours between objects "
            "and ground, so that clustering colours fails."
        ),
        splits=SPLITS,
        image_size="64x64 (any from 32 to 1024)",
        objects="3 to 6, each equally often (by construction; min_objects, max_objects)",
        num_slots=7,
        preprocessing="none",
        licence="MIT, as this package",
        citation="none: it comes with this package",
        loader=Shapes,
    ),
    Card(
        name="folder",
        description=(
            "Your own pictures or folders of frames under ROOT/images, or video files under "
            "ROOT/videos, with or without masks under ROOT/masks."
        ),
        splits={"train": None, "validation": None, "test": None, "all": None},
        image_size="of the files; samples are 128x128",
        objects="unknown",
        num_slots=None,
        preprocessing="largest centred square, resized with antialiasing, labels numbered 1..K",
        licence="that of your files",
        citation="none",
        loader=Folder,
    ),
    Card(
        name="clevrtex",
        description=(
            "Rendered scenes of textured objects on textured grounds, with masks. Variants: "
            + ", ".join(f"{variant} ({size:,})" for variant, size in SIZES.items())
            + "; outd, with unseen shapes and materials, is for testing alone."
        ),
        splits={s: len(numbers_of("full", s)) for s in ("train", "validation", "test", "all")},
        image_size="320x240; samples are 128x128",
        objects="3 to 10 (documented); fewer may be left after the crop",
        num_slots=11,
        preprocessing=(
            "centre crop 192, resize 128, as its authors do with Pillow; see the presets for others"
        ),
        licence=(
            "the data's is not stated; the generator is BSD-3-Clause, and the terms of its "
            "Poliigon textures have changed since: check them before use"
        ),
        citation=(
            "Karazija, Laina, Rupprecht: ClevrTex: A Texture-Rich Benchmark for Unsupervised "
            "Multi-Object Segmentation. NeurIPS Datasets and Benchmarks 2021. "
            "https://www.robots.ox.ac.uk/~vgg/data/clevrtex/"
        ),
        loader=ClevrTex,
    ),
    Card(
        name="celeba",
        description=(
            "Faces of celebrities, aligned; without masks. In the layout of torchvision or as "
            "published (Img, Eval)."
        ),
        splits={"train": 162_770, "validation": 19_867, "test": 19_962, "all": 202_599},
        image_size="178x218; samples are 128x128",
        objects="one face; nothing is annotated",
        num_slots=4,
        preprocessing="largest centred square, resized with antialiasing",
        licence="non-commercial research only; no part of it may be copied on or published",
        citation=(
            "Liu, Luo, Wang, Tang: Deep Learning Face Attributes in the Wild. ICCV 2015. "
            "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
        ),
        loader=CelebA,
    ),
    Card(
        name="clevr",
        description=(
            "CLEVR with masks: rendered scenes of simple objects, not the pictures of CLEVR v1.0. "
            + _READ_IN_ORDER
        ),
        splits=_shares(100_000),
        image_size="320x240; samples are 128x128",
        objects="3 to 10 (documented); max_objects 6 is CLEVR6",
        num_slots=11,
        preprocessing="the 192x192 pixels that Slot Attention takes, resized with antialiasing",
        licence=_MULTI_OBJECT_LICENCE,
        citation=_MULTI_OBJECT_CITATION,
        loader=Clevr,
    ),
    Card(
        name="multi_dsprites",
        description=(
            "Flat shapes that may hide one another, on grey or coloured grounds, or binarized. "
            + _READ_IN_ORDER
        ),
        splits=_shares(1_000_000),
        image_size="64x64",
        objects="2 to 5 (documented); 4 at most on colour, 3 binarized",
        num_slots=6,
        preprocessing="none",
        licence=_MULTI_OBJECT_LICENCE,
        citation=_MULTI_OBJECT_CITATION,
        loader=MultiDSprites,
    ),
    Card(
        name="objects_room",
        description=(
            "Objects in a room whose floor, walls and sky have masks too; three more sets of 922 "
            "pictures for tests alone. " + _READ_IN_ORDER
        ),
        splits=_shares(1_000_000),
        image_size="64x64",
        objects="1 to 3, and 4 parts of the room (documented); up to 6 in the sets for tests",
        num_slots=7,
        preprocessing="none",
        licence=_MULTI_OBJECT_LICENCE,
        citation=_MULTI_OBJECT_CITATION,
        loader=ObjectsRoom,
    ),
    Card(
        name="tetrominoes",
        description="Three pieces of tetris each on a black ground. " + _READ_IN_ORDER,
        splits=_shares(1_000_000),
        image_size="35x35",
        objects="3 (documented)",
        num_slots=4,
        preprocessing="none",
        licence=_MULTI_OBJECT_LICENCE,
        citation=_MULTI_OBJECT_CITATION,
        loader=Tetrominoes,
    ),
    Card(
        name="voc",
        description=(
            "PASCAL VOC 2012: photographs with masks of objects and of 20 classes, in the layout "
            "of VOCdevkit or of SlotDiffusion. trainaug adds the pictures of SBD, with masks of "
            "classes alone. Void pixels are treated as the options say."
        ),
        splits={"train": 1_464, "validation": 1_449, "trainval": 2_913, "trainaug": 10_582},
        image_size="up to 500x500; samples are 224x224",
        objects="1 or more (documented)",
        num_slots=6,
        preprocessing="shorter side to 224 with antialiasing, centred square",
        licence=(
            "photographs under the terms of Flickr and VOC; the annotations of SBD are for research"
        ),
        citation=(
            "Everingham et al.: The PASCAL Visual Object Classes Challenge: A Retrospective. IJCV "
            "2015. http://host.robots.ox.ac.uk/pascal/VOC/voc2012/. Hariharan et al.: Semantic "
            "Contours from Inverse Detectors. ICCV 2011 (SBD)."
        ),
        loader=Voc,
    ),
    Card(
        name="coco",
        description=(
            "COCO 2017: photographs with the outlines of 80 kinds of things. Pictures under "
            "ROOT/images/train2017 or ROOT/train2017, annotations under ROOT/annotations. "
            "Overlaps, crowds and pictures without annotation are treated as the options say."
        ),
        splits={"train": 118_287, "validation": 5_000},
        image_size="up to 640x640; samples are 224x224",
        objects="0 to 90 and more, 7.3 on average (documented)",
        num_slots=7,
        preprocessing="shorter side to 224 with antialiasing, centred square",
        licence=(
            "annotations CC BY 4.0; each photograph has the licence its photographer chose on "
            "Flickr"
        ),
        citation=(
            "Lin et al.: Microsoft COCO: Common Objects in Context. ECCV 2014. "
            "https://cocodataset.org"
        ),
        loader=Coco,
    ),
)
