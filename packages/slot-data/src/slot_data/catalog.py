"""The datasets by name, each with a card: what is in it, how it is divided, what it asks of a
model, and under which terms it may be used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from slot_data import multi_object
from slot_data.celeba import CelebA
from slot_data.clevrtex import SIZES, ClevrTex, numbers_of
from slot_data.coco import Coco
from slot_data.dataset_card import suggested_slots as suggested_slots_of
from slot_data.davis import Davis
from slot_data.folder import Folder
from slot_data.hub_folders import prepared_folder
from slot_data.movi import MoviA, MoviB, MoviC, MoviD, MoviE, MoviSolid, MoviTex
from slot_data.multi_object import Clevr, MultiDSprites, ObjectsRoom, Tetrominoes
from slot_data.options import all_options, check_options
from slot_data.options import parse_option as parse_option_of
from slot_data.physion import Physion
from slot_data.prepared import Prepared, load_prepared
from slot_data.presets import PRESETS, Preset, preset_of
from slot_data.sample import Configured, DataError, SampleDataset
from slot_data.shapes import SPLITS, Shapes
from slot_data.slots import Slots
from slot_data.voc import Voc
from slot_data.youtube_vis import HELD_OUT, YouTubeVis


@dataclass(frozen=True)
class Card:
    """splits: number of samples per split, None where the files decide it.
    objects: how many per picture, and whether that is computed or documented by the authors.
    num_slots: a suggestion: the most objects and one for the background, or what published models
        take where nobody can count them; None where the user knows better.
    """

    name: str
    description: str
    splits: Mapping[str, int | None]
    image_size: str
    objects: str
    num_slots: int | None
    preprocessing: str
    licence: str
    citation: str
    loader: Callable[..., SampleDataset]


_KUBRIC_SPLITS = {"train": None, "validation": None}
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


_CARDS = (
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
        name="physion",
        description=(
            "Videos of simulated physics in eight scenarios, and whether two marked things come to "
            "touch; no masks. 15,998 videos to train on, 8,005 to learn answers from (subset "
            "readout) and 1,200 to be tested on, 29 of them faulty. Needs the extra video."
        ),
        splits={"train": None, "validation": None, "test": 1_171, "all": None},
        image_size="256x256, 151 frames or more; samples are 128x128",
        objects="a few; nothing is annotated",
        num_slots=8,
        preprocessing="resized with antialiasing, the first 150 frames",
        licence="the data's is not stated; its code is MIT",
        citation=(
            "Bear et al.: Physion: Evaluating Physical Prediction from Vision in Humans and "
            "Machines. NeurIPS Datasets and Benchmarks 2021. "
            "https://github.com/cogtoolslab/physics-benchmarking-neurips2021"
        ),
        loader=Physion,
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
    Card(
        name="youtube_vis",
        description=(
            "YouTube-VIS 2019 or 2021: videos with the outlines of objects of 40 kinds, in every "
            "fifth frame. Truth is published for the training videos alone, 2,238 and 2,985; the "
            "last 300 of them are for validation, as in VideoSAUR. Frames are expected under "
            "ROOT/train/JPEGImages, annotations in ROOT/train/instances.json or ROOT/train.json."
        ),
        splits={"train": None, "validation": HELD_OUT, "test": None, "all": None},
        image_size="mostly 1280x720, up to 36 frames; samples are 224x224",
        objects="1 or more; VideoSAUR takes 7 slots",
        num_slots=7,
        preprocessing="shorter side to 224 with antialiasing, centred square",
        licence="that of its page, and the videos' own; check both before use",
        citation=(
            "Yang, Fan, Xu: Video Instance Segmentation. ICCV 2019. "
            "https://youtube-vos.org/dataset/vis/"
        ),
        loader=YouTubeVis,
    ),
    Card(
        name="davis",
        description=(
            "DAVIS 2017 (or 2016): short videos of moving things with a mask for every frame, of "
            "the semi-supervised or of the unsupervised task."
        ),
        splits={"train": 60, "validation": 30, "all": 90},
        image_size="mostly 854x480, 25 to 104 frames; samples are 224x224",
        objects="1 or more; DAVIS 2016 knows one",
        num_slots=None,
        preprocessing="shorter side to 224 with antialiasing, centred square",
        licence="that of its page; check it before use",
        citation=(
            "Pont-Tuset et al.: The 2017 DAVIS Challenge on Video Object Segmentation. 2017. "
            "Perazzi et al.: A Benchmark Dataset and Evaluation Methodology for Video Object "
            "Segmentation. CVPR 2016. https://davischallenge.org"
        ),
        loader=Davis,
    ),
    *(
        Card(
            name=f"movi_{kind.level}",
            description=(
                f"Kubric's MOVi-{kind.level.upper()}: rendered videos of {content}, 24 frames "
                "each, with masks and, in TFRecord files, flow and depth. Read as TFRecords, or "
                "as folders of frames as SlotDiffusion, SPOT or STEVE write them."
            ),
            splits=splits,
            image_size="128x128 or 256x256; samples are 128x128",
            objects=f"{objects} (documented); not all are visible in every frame",
            num_slots=num_slots,
            preprocessing="none at 128x128; from 256x256, resized with antialiasing",
            licence="the data's is not stated; the generator is Apache-2.0",
            citation=(
                "Greff et al.: Kubric: A scalable dataset generator. CVPR 2022. "
                "https://github.com/google-research/kubric/tree/main/challenges/movi"
            ),
            loader=kind,
        )
        for kind, content, objects, num_slots, splits in (
            (MoviA, "simple solids on grey", "3 to 10", 11, _KUBRIC_SPLITS),
            (MoviB, "simple shapes on a plain colour", "3 to 10", 11, _KUBRIC_SPLITS),
            (
                MoviC,
                "scanned objects thrown onto a real scene",
                "3 to 10",
                11,
                {"train": 9_737, "validation": 250, "test": None},
            ),
            (
                MoviD,
                "scanned objects, most of them at rest",
                "11 to 23; SlotDiffusion takes 15 slots all the same",
                24,
                {**_KUBRIC_SPLITS, "test": None},
            ),
            (
                MoviE,
                "scanned objects, most of them at rest, under a moving camera",
                "11 to 23; SlotDiffusion takes 15 slots all the same",
                24,
                {"train": 9_749, "validation": 250, "test": 999},
            ),
        )
    ),
    *(
        Card(
            name=name,
            description=(
                f"{kind.folder}: rendered videos of textured objects from the authors of STEVE, "
                "24 frames each, as folders of frames. There are no masks for validation."
            ),
            splits={"train": None, "validation": None, "test": None},
            image_size="of the files; samples are 128x128",
            objects="up to 10 (the masks of a frame); STEVE and SlotDiffusion take 12 slots",
            num_slots=11,
            preprocessing="largest centred square, resized with antialiasing",
            licence="not stated",
            citation=(
                "Singh, Wu, Ahn: Simple Unsupervised Object-Centric Learning for Complex and "
                "Naturalistic Videos. NeurIPS 2022. https://github.com/singhgautam/steve"
            ),
            loader=kind,
        )
        for name, kind in (("movi_solid", MoviSolid), ("movi_tex", MoviTex))
    ),
    Card(
        name="slots",
        description=(
            "What a model found in the videos of another dataset, as apps/extract_slots.py wrote "
            "it, a folder for each split. Needs the extra slots."
        ),
        splits={"train": None, "validation": None, "test": None},
        image_size="that of the dataset the slots are of",
        objects="as in the dataset the slots are of",
        num_slots=None,
        preprocessing="that of the model that found them",
        licence="that of the dataset the slots are of",
        citation="that of the dataset the slots are of",
        loader=Slots,
    ),
)
_BY_NAME = {card.name: card for card in _CARDS}


def names() -> list[str]:
    return list(_BY_NAME)


def card(name: str) -> Card:
    """Raises DataError for an unknown name."""
    if name not in _BY_NAME:
        raise DataError(f"dataset {name!r} is not one of {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def suggested_slots(name: str, dataset: SampleDataset) -> int | None:
    """The most objects that a sample may show, and one for the background: counted, of a prepared
    folder; as the option `max_objects` says; or else as the card does. None where nobody knows."""
    if isinstance(dataset, Prepared) and dataset.manifest.most_objects is not None:
        return suggested_slots_of(dataset.manifest)
    most = getattr(dataset, "max_objects", None)
    return card(name).num_slots if most is None else most + 1


def presets(name: str) -> Mapping[str, Preset]:
    """What published pipelines do with a dataset, by name."""
    return PRESETS.get(card(name).name, {})


def parse_option(name: str, text: str) -> tuple[str, Any]:
    """ "key=value" of a command line, as a keyword of `load_dataset_by_name`.

    Raises DataError where it is none.
    """
    key, sign, value = text.partition("=")
    if key == "preset" and sign:
        preset_of(name, value)
        return key, value
    return parse_option_of(name, card(name).loader, text)


def load_dataset_by_name(
    name: str, *, split: str, preset: str | None = None, **options: Any
) -> SampleDataset:
    """A map-style dataset of `Sample`s. The options are the parameters of the dataset's class;
    `slot-data info NAME` lists them. A preset sets those that a published pipeline sets; options
    given beside it win. A `root` that `slot-data prepare` has written, also on the Hugging Face Hub
    (hf://datasets/ORG/NAME), gives the same samples as the raw files it was made from.

    The dataset's `settings` are all of its options, for a run or a result to name them: also those
    that the preset or nobody set.

    Raises DataError for an unknown dataset, split, preset or option, a missing option, a value of
    the wrong kind, and whatever the dataset finds wrong with its files.
    """
    loader = card(name).loader
    given = options if preset is None else {**preset_of(name, preset).options_of(split), **options}
    check_options(name, loader, given)
    folder = prepared_folder(given.get("root"), split)
    if folder is not None:
        dataset = load_prepared(name, loader, folder, split, given)
    else:
        dataset = loader(split=split, **given)
    settings = {"name": name, "split": split, "preset": preset, **all_options(loader, given)}
    cast(Configured, dataset).settings = settings
    return dataset
