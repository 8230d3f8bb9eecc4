"""Physion: the layout, clips, outcomes, and which faulty videos are left out."""

# pyright: reportTypedDictNotRequiredAccess=false

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from slot_data import DataError, catalog, collate, load_dataset_by_name
from slot_data.physion import SCENARIOS, read_outcomes
from slot_data.physion_glitches import LISTED, is_dropped, stimulus_of
from slot_data.raw_bits import key_of

TRAIN, TEST = "PhysionTrainMP4s", "PhysionTestMP4s"
VIDEOS = {
    "training": {"Drop": ["drop_a_0000", "drop_a_0001"], "Roll": ["roll_collision_0000"]},
    "readout": {"Drop": ["drop_a_0000"], "Roll": ["roll_collision_0003"]},
    "test": {"Drop": ["drop_b-redyellow_0002"], "Roll": ["test10-redyellow_0014"]},
}
SHORT = {"max_frames": 12, "fit": "file"}


def place_of(subset, scenario, stimulus):
    if subset == "test":
        return f"{TEST}/{scenario}/mp4s-redyellow/{stimulus}_img"
    return f"{TRAIN}/{scenario}_{subset}_MP4s/{stimulus}_img"


PATHS = [
    place_of(subset, scenario, stimulus)
    for subset, scenarios in VIDEOS.items()
    for scenario, stimuli in scenarios.items()
    for stimulus in stimuli
]


@pytest.fixture(scope="module")
def written(tmp_path_factory, write_video, moving_noise):
    """Seven videos of 14 frames, and the outcomes of four."""
    root = tmp_path_factory.mktemp("physion")
    for seed, path in enumerate(PATHS):
        write_video(root / f"{path}.mp4", moving_noise(14, 32, 32, seed))
    for path in (f"{TRAIN}/Drop_training_MP4s/._x_img.txt", f"{TEST}/Drop/maps/a_map.png"):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(b"")
    header = ",ground truth outcome\n"
    rows = "drop_a_0000,True\nroll_collision_0003,False\n"
    (root / f"{TRAIN}/readout_labels.csv").write_text(header + rows)
    rows = "drop_b_0002_img,False\ntest10_0014_img,True\n"
    (root / f"{TEST}/labels.csv").write_text(header + rows)
    return root


@pytest.fixture
def root(written, tmp_path):
    """A copy to break."""
    return shutil.copytree(written, tmp_path / "physion")


def load(root, split, **options):
    return load_dataset_by_name("physion", split=split, root=root, **options)


def ids_of(dataset):
    return [sample["id"] for sample in dataset]


def test_paths_not_names_tell_videos_apart(written):
    training = load(written, "all", **SHORT)
    readout = load(written, "all", subset="readout", **SHORT)
    test = load(written, "test", bad_stimuli="keep", **SHORT)
    assert ids_of(training) + ids_of(readout) + ids_of(test) == [f"{path}/0" for path in PATHS]
    assert [sample["scenario"] for sample in training] == ["Drop", "Drop", "Roll"]
    assert ids_of(load(written, "all", scenario="Roll", **SHORT)) == [f"{PATHS[2]}/0"]
    assert not torch.equal(training[0]["video"], readout[0]["video"])


def test_frames_are_those_of_the_file(written, moving_noise):
    dataset = load(written, "all", num_frames=3, stride=2, clips="every", **SHORT)
    assert len(dataset) == 3 * 8
    for index in (0, 7, 8, 23):
        video, start = divmod(index, 8)
        frames = moving_noise(14, 32, 32, video)[start : start + 5 : 2]
        sample = dataset[index]
        assert sample["id"] == f"{PATHS[video]}/{start}"
        assert np.array_equal(sample["video"].permute(0, 2, 3, 1).numpy(), frames)
    apart = load(written, "all", num_frames=3, stride=2, clips="apart", **SHORT)
    assert [int(name.rpartition("/")[2]) for name in ids_of(apart)[:4]] == [0, 1, 6, 7]
    assert len(apart) == 3 * 4


def test_outcomes(written):
    readout = load(written, "all", subset="readout", **SHORT)
    assert [sample["outcome"] for sample in readout] == [True, False]
    batch = collate([readout[0], readout[1]])
    assert batch["outcome"].tolist() == [True, False]
    assert batch["scenario"] == ["Drop", "Roll"]
    test = load(written, "test", bad_stimuli="keep", **SHORT)
    assert [sample["outcome"] for sample in test] == [False, True]
    assert "outcome" not in load(written, "all", **SHORT)[0]
    assert "outcome" not in load(written, "test", outcomes=False, **SHORT)[0]


def test_the_faulty_test_videos(written):
    assert ids_of(load(written, "test", **SHORT)) == [f"{PATHS[5]}/0"]
    assert ids_of(load(written, "test", bad_stimuli="slotdiffusion", **SHORT)) == [f"{PATHS[5]}/0"]
    assert len(LISTED) == len(set(map(stimulus_of, LISTED))) == 29
    ledge = "pilot_it2_rollingSliding_simple_ledge_box_1_dis_1_occ"
    path = f"{TEST}/Roll/mp4s-redyellow/{ledge}-redyellow_0001_img"
    assert is_dropped(path, "drop")
    assert not is_dropped(path, "slotdiffusion")
    assert not is_dropped(path, "keep")
    assert not is_dropped(path.replace("0001", "0003"), "drop")


def test_a_hash_or_the_published_lists_divide(written, tmp_path):
    whole = ids_of(load(written, "all", **SHORT))
    held_back = [name for name in whole if key_of(name.rpartition("/")[0]) % 20 == 0]
    assert ids_of(load(written, "train", **SHORT)) == [n for n in whole if n not in held_back]
    lists = {"Roll": [f"{PATHS[2]}.mp4"], "Drop": [f"{PATHS[1]}.mp4"]}
    (tmp_path / "training_val.json").write_text(json.dumps(lists))
    validation = load(written, "validation", split_lists=tmp_path, **SHORT)
    assert ids_of(validation) == [f"{PATHS[2]}/0", f"{PATHS[1]}/0"]
    one = load(written, "validation", split_lists=tmp_path, scenario="Drop", **SHORT)
    assert ids_of(one) == [f"{PATHS[1]}/0"]
    lists = {"Roll": [f"{PATHS[6]}.mp4"], "Drop": [f"{PATHS[5]}.mp4"]}
    (tmp_path / "test_test.json").write_text(json.dumps(lists))
    options = {"split_lists": tmp_path, **SHORT}
    whole = load(written, "test", bad_stimuli="keep", **options)
    assert ids_of(whole) == [f"{PATHS[6]}/0", f"{PATHS[5]}/0"]
    assert [sample["outcome"] for sample in whole] == [True, False]
    assert len(load(written, "test", **options)) == 1, "one of them is faulty"


def test_pictures_that_slotdiffusion_extracts(root):
    for path in PATHS[:3]:
        (root / path).mkdir()
        for number in range(12):
            frame = Image.new("RGB", (32, 32), (number, 0, 0))
            frame.save(root / path / f"{number:06d}.jpg", quality=100)
    shutil.rmtree(root / PATHS[2])
    dataset = load(root, "all", pictures=True, num_frames=4, clips="every", **SHORT)
    assert len(dataset) == 2 * 9
    assert dataset[10]["id"] == f"{PATHS[1]}/1"
    for place in (0, 3):
        pixels = np.asarray(Image.open(root / PATHS[1] / f"{1 + place:06d}.jpg"))
        assert np.array_equal(dataset[10]["video"][place].permute(1, 2, 0).numpy(), pixels)
    (root / PATHS[1] / "000003.jpg").unlink()
    with pytest.raises(DataError, match=r"000003.jpg cannot be read as a picture"):
        dataset[10]


def test_presets(written, moving_noise):
    sample = load(written, "all", preset="slotdiffusion", max_frames=12)[0]
    frames = torch.from_numpy(moving_noise(14, 32, 32, 0)[:3]).permute(0, 3, 1, 2)
    expected = F.interpolate(frames.double(), (128, 128), mode="bilinear")
    assert (sample["video"] - expected).abs().max() <= 0.5 + 1e-3
    options = catalog.presets("physion")["slotformer"].options_of("train")
    assert options["stride"] * (options["num_frames"] - 1) < options["max_frames"]
    test = load(written, "test", preset="slotdiffusion_vqa", max_frames=75)
    assert len(test) == 1


@pytest.mark.parametrize(
    ("damage", "options", "words"),
    [
        (
            lambda root: shutil.rmtree(root / TEST),
            {"split": "test"},
            r"PhysionTestMP4s holds no videos \(\*_img.mp4\) of test .* as .*/mp4s-redyellow",
        ),
        (
            lambda root: None,
            {"pictures": True},
            r"PhysionTrainMP4s holds no folders of frames \(\*_img\) of training",
        ),
        (
            lambda root: (root / f"{TRAIN}/readout_labels.csv").unlink(),
            {"subset": "readout"},
            r"labels .*readout_labels.csv of physion cannot be read: .*No such file",
        ),
        (
            lambda root: (root / f"{TRAIN}/readout_labels.csv").write_text("<html>\nquota\n"),
            {"subset": "readout"},
            r"line 2 of .*readout_labels.csv is 'quota'; expected a name and True or False",
        ),
        (
            lambda root: (root / f"{TRAIN}/readout_labels.csv").write_text(",o\ndrop_a_0000,True"),
            {"subset": "readout"},
            r"video .*/roll_collision_0003_img of physion has no outcome in .*readout_labels.csv",
        ),
        (
            lambda root: (root / f"{PATHS[0]}.mp4").write_bytes(b"<html>"),
            {},
            r"drop_a_0000_img.mp4 cannot be read as a video",
        ),
        (lambda root: None, {"max_frames": 20, "num_frames": 16}, r"has 14 frames; a clip of 16"),
        (lambda root: None, {"max_frames": 3, "num_frames": 9}, "max_frames has 3 frames; a clip"),
        (
            lambda root: None,
            {"split": "train", "split_lists": "nowhere"},
            r"split list nowhere/training_train.json of physion cannot be read: .*No such file",
        ),
        (lambda root: None, {"split": "val"}, "split 'val' of physion is not one of train, valid"),
    ],
)
def test_faults_are_named(root, damage, options, words):
    damage(root)
    with pytest.raises(DataError, match=words):
        load(root, **{"split": "all", **SHORT, **options})[0]


def test_bad_split_lists_are_named(root, tmp_path):
    path = tmp_path / "training_train.json"
    for content, words in (
        (
            '{"Roll": ["x/y_img.mp4"]}',
            r"1 of the 1 videos that .* lists are missing in .*; x/y_img",
        ),
        ('["x"]', "is no JSON of scenarios and their videos"),
        ('{"Roll": [', "cannot be read"),
        ('{"Roll": []}', "split 'train' of physion holds no video"),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=words):
            load(root, "train", split_lists=tmp_path, **SHORT)


def reference():
    folder = os.environ.get("SLOT_REFERENCE_DATA")
    if folder is None:
        pytest.skip("SLOT_REFERENCE_DATA names no folder of reference data")
    return Path(folder) / "samples" / "physion"


def test_the_published_labels_count_as_the_card_says(tmp_path):
    """Every stimulus of the real lists of labels, as an empty file."""
    labels = reference() / "labels"
    with (labels / "stimulus_names_and_labels.csv").open(newline="") as file:
        rows = {row["stim_ID"]: row for row in csv.DictReader(file)}
    for name, row in rows.items():
        stem, _, number = name.rpartition("_")
        folder = tmp_path / f"{TEST}/{row['scenario'].capitalize()}/mp4s-redyellow"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{stem}-redyellow_{number}_img.mp4").touch()
    lines = [f"{name}_img,{row['label']}\n" for name, row in rows.items()]
    (tmp_path / f"{TEST}/labels.csv").write_text(",ground truth outcome\n" + "".join(lines))
    counts = {
        policy: len(load(tmp_path, "test", bad_stimuli=policy))
        for policy in ("keep", "drop", "slotdiffusion")
    }
    assert counts == {"keep": 1200, "drop": 1171, "slotdiffusion": 1174}
    assert counts["drop"] == catalog.card("physion").splits["test"]
    assert {s: len(load(tmp_path, "test", bad_stimuli="keep", scenario=s)) for s in SCENARIOS} == (
        dict.fromkeys(SCENARIOS, 150)
    )
    assert sorted(read_outcomes(tmp_path / f"{TEST}/labels.csv").values()).count(True) == 600

    readout = read_outcomes(labels / "readout_labels.csv")
    assert (len(readout), sum(readout.values())) == (8005, 4171)


def test_real_files_agree_with_an_independent_reading(tmp_path):
    import av

    root = reference() / "Physion"
    lists = json.loads((root / "tiny_splits.json").read_text())
    for name, content in lists.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    for name, content in lists.items():
        subset, _, split = name.partition("_")
        options = {} if subset == "test" else {"subset": subset, "split_lists": tmp_path}
        dataset = load(
            root,
            "validation" if split == "val" else split,
            num_frames=2,
            stride=60,
            clips="apart",
            fit="file",
            **options,
        )
        videos = [video for paths in content.values() for video in paths]
        assert len(dataset) == len(videos) * 60
        for place, video in enumerate(videos):
            sample = dataset[place * 60 + 29]
            assert sample["id"] == f"{video.removesuffix('.mp4')}/29"
            assert sample["scenario"] == next(s for s, p in content.items() if video in p)
            with av.open(str(root / video)) as container:
                frames = [
                    frame.to_ndarray(format="rgb24")
                    for number, frame in enumerate(container.decode(video=0))
                    if number in (29, 89)
                ]
            assert np.array_equal(sample["video"].permute(0, 2, 3, 1).numpy(), np.stack(frames))
        if subset != "training":
            file = f"{TEST}/labels.csv" if subset == "test" else f"{TRAIN}/readout_labels.csv"
            lines = dict(line.split(",") for line in (root / file).read_text().splitlines()[1:])
            for place, video in enumerate(videos):
                stem = Path(video).stem.replace("-redyellow", "")
                key = stem if subset == "test" else stem.removesuffix("_img")
                assert dataset[place * 60]["outcome"] == {"True": True, "False": False}[lines[key]]
