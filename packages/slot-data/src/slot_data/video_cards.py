"""The cards of datasets of videos, and of the slots of videos. Numbers in them are documentation,
to be compared with a copy (see `verification`); no reader takes one from here."""

from slot_data.card import Card
from slot_data.davis import Davis
from slot_data.movi import MoviA, MoviB, MoviC, MoviD, MoviE, MoviSolid, MoviTex
from slot_data.physion import Physion
from slot_data.slots import Slots
from slot_data.youtube_vis import HELD_OUT, YouTubeVis

_KUBRIC_SPLITS = {"train": None, "validation": None}

VIDEOS = (
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
