"""``slot-eval run`` with a real model and data set that register as a package would.

A distribution with entry points is written to a folder on ``sys.path``: what follows is what an
installed package goes through. Its name stands before the colon, as other packages may offer
models and data sets here too.
"""

import json
import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from slot_eval import plugins
from slot_eval.cli import main
from slot_eval.errors import EvalError

PACKAGE = '''
"""A model that segments by brightness, and a data set of bright squares on black."""

import torch


class WrongInput(ValueError):
    """What the model says about its input."""


class Brightness(torch.nn.Module):
    default_mask_source = "decoder"

    def segment(self, video, source=None):
        assert video.dtype == torch.float32 and video.max() <= 1
        if source == "encoder":
            raise WrongInput("this model has no encoder masks")
        if video.shape[-1] == 13:
            raise ValueError("a bug")
        levels = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 3, 1, 1)
        return torch.softmax(-50 * (video.mean(2, keepdim=True) - levels).abs(), dim=2)


class Squares:
    def __init__(self, count, size, broken, labels, sizes, wrong):
        self.count, self.size, self.broken, self.wrong = count, size, broken, wrong
        self.labels, self.sizes = labels, sizes

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index == self.broken:
            raise OSError(f"picture {index} is truncated")
        size = self.size + (index if self.sizes else 0)
        labels = torch.zeros(1, size, size, dtype=torch.uint8)
        labels[:, :4, :4], labels[:, 5:8, index : index + 3] = 1, 2
        grey = labels.float() * 127
        video = grey[:, None].expand(-1, 3, -1, -1).to(torch.uint8)
        sample = {"video": video, "id": f"square/{index}"}
        sample = sample | ({"labels": labels} if self.labels else {})
        wrong = {
            "floats": {"video": video / 255},
            "no time": {"video": video[0]},
            "array": {"video": video.numpy()},
            "soft": {"labels": labels.float()},
            "small": {"labels": labels[:, :4]},
            "number": {"id": index},
        }
        if self.wrong == "no pixels":
            del sample["video"]
        return sample | wrong.get(self.wrong, {})


def load_model(path):
    if path != "brightness":
        raise ValueError(f"{path}: there is no config.json")
    return Brightness()


def load_dataset_by_name(
    name,
    *,
    split,
    count=5,
    size=12,
    broken=None,
    labels=True,
    sizes=False,
    wrong=None,
    year="2017",
):
    if year not in ("2017", "2016"):
        raise ValueError(f"option year is {year!r}; expected '2017' or '2016'")
    if (name, split) != ("squares", "test"):
        raise ValueError(f"{name} has no split {split}")
    return Squares(count, size, broken, labels, sizes, wrong)
'''


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """The package above, installed under the name ``brightsquares`` while these tests run."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "brightsquares-1.0.dist-info"
    info.mkdir()
    (folder / "brightsquares.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brightsquares\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{plugins.MODELS}]\nbrightsquares = brightsquares:load_model\n"
        f"[{plugins.DATASETS}]\nbrightsquares = brightsquares:load_dataset_by_name\n"
    )
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("brightsquares", None)


MODEL = ("--model", "brightsquares:brightness")
DATA = ("--data", "brightsquares:squares")


def test_run_scores_saves_and_can_be_scored_again(cli, tmp_path):
    saved, first, second = tmp_path / "masks.npz", tmp_path / "first", tmp_path / "second"
    code, shown, _ = cli(
        *("run", *MODEL, *DATA, "--option", "count=7", "--limit", 6, "--batch-size", 4),
        *("--save-predictions", saved, "--out", first, "--rows"),
    )
    assert code == 0
    result = json.loads((first / "result.json").read_text())
    assert (result["model"], result["data"]) == (MODEL[1], "brightsquares:squares/test")
    assert result["settings"] == {
        "command": "run",
        "split": "test",
        "options": {"count": 7},
        "model_options": {},
        "limit": 6,
        "source": "decoder",
        "batch_size": 4,
        "device": "cpu",
        "seed": 0,
        "also": [],
    }
    assert result["num_samples"] == 6
    # brightness tells the two squares and the background apart
    means = [entry["mean"] for entry in result["metrics"].values()]
    assert means == pytest.approx([1] * 5, abs=1e-8)  # the protocol adds 1e-8 to unions
    assert "fg_ari" in shown
    with np.load(saved) as file:
        assert file["ids"].tolist() == [f"square/{i}" for i in range(6)]
        assert file["labels"].shape == (6, 1, 12, 12)
        assert file["labels"].dtype == np.uint8
    score = ("score", saved, *DATA, "--option", "count=7", "--limit", 6, "--out", second, "--rows")
    code, _, _ = cli(*score)
    assert code == 0
    assert (first / "rows.jsonl").read_text() == (second / "rows.jsonl").read_text()
    # of a part of the samples the other predictions are not asked for; of all they are wrong
    more = ("score", saved, *DATA, "--option", "count=7", "--limit", 4, "--out", tmp_path / "four")
    assert cli(*more)[0] == 0
    assert json.loads((tmp_path / "four" / "result.json").read_text())["num_samples"] == 4
    code, _, message = cli("score", saved, *DATA, "--option", "count=4")
    assert code == 2
    assert "has 2 samples ('square/4', 'square/5'), unknown to brightsquares:squares" in message


def test_samples_of_different_size_are_scored_but_not_saved_as_one_array(cli, tmp_path):
    saved, out = tmp_path / "masks.npz", tmp_path / "out"
    arguments = ("--option", "sizes=true", "--option", "size=14")
    code, _, message = cli(
        "run", *MODEL, *DATA, *arguments, "--save-predictions", saved, "--out", out
    )
    assert code == 2
    assert "not written, as an .npz needs samples of one size" in message
    assert not saved.exists()
    assert json.loads((out / "result.json").read_text())["num_samples"] == 5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--model", "brightsquares:none", *DATA), "cannot load the model none: none: there is no"),
        ((*MODEL, *DATA, "--split", "val"), "cannot load the data set squares: squares has no"),
        ((*MODEL, *DATA, "--option", "broken=1"), "cannot read sample 1 of brightsquares:squares"),
        ((*MODEL, *DATA, "--option", "labels=false"), "'square/0' of brightsquares:squares has no"),
        (
            (*MODEL, *DATA, "--option", "wrong=floats"),
            "sample 0 of brightsquares:squares: the v",
        ),
        (
            (*MODEL, *DATA, "--option", "wrong=no time"),
            "torch.uint8 [3, 12, 12], expected a",
        ),
        ((*MODEL, *DATA, "--option", "wrong=array"), "a ndarray of uint8 [1, 3, 12, 12], expected"),
        ((*MODEL, *DATA, "--option", "wrong=soft"), "labels are a Tensor of torch.float32 [1, 12"),
        (
            (*MODEL, *DATA, "--option", "wrong=small"),
            "labels of [1, 4, 12] do not fit the video",
        ),
        ((*MODEL, *DATA, "--option", "wrong=number"), "is no mapping with a text as its 'id'"),
        (
            (*MODEL, *DATA, "--option", "wrong=no pixels"),
            "'square/0' of brightsquares:squares has no pixels; a data set",
        ),
        ((*MODEL, "--data", "circles:all"), "no installed package offers data sets as 'circles'"),
        ((*MODEL, *DATA, "--option", "size"), "--option size: expected KEY=VALUE"),
        ((*MODEL, *DATA, "--option", "colour=red"), "argument 'colour'; its options are "),
        ((*MODEL, *DATA, "--option", "size=8", "--option", "size=9"), "size is given already"),
        ((*MODEL, *DATA, "--source", "encoder"), "cannot segment 'square/0': this model has no"),
        ((*MODEL, *DATA, "--source", "middle"), "--source must be encoder or decoder"),
        ((*MODEL, *DATA, "--device", "gpu"), "--device gpu: "),
        ((*MODEL, *DATA, "--save-predictions", "masks.pt"), "writes an .npz file"),
        ((*MODEL, *DATA, "--save-predictions", "no/where.npz"), "no such folder"),
        ((*MODEL, *DATA, "--batch-size", "0"), "--batch-size"),
    ],
)
def test_wrong_input_is_one_sentence(cli, arguments, sentence):
    code, _, message = cli("run", *arguments)
    *_, last = message.splitlines()
    assert code == 2
    assert last.startswith("error: ")
    assert sentence in last


def test_pictures_cannot_be_scored_against_samples_without_pixels(cli, tmp_path):
    pictures = np.zeros((1, 3, 12, 12), np.uint8)
    np.savez(tmp_path / "painted.npz", ids=np.array(["square/0"]), pictures=pictures)
    arguments = (*DATA, "--option", "wrong=no pixels", "--protocol", "reconstruction")
    code, _, message = cli("score", tmp_path / "painted.npz", *arguments)
    assert code == 2
    assert message == (
        "error: sample 'square/0' of brightsquares:squares has no pixels; a data set of "
        "slots gives them with --option pixels=true\n"
    )


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("number", "sample 0 of brightsquares:squares is no mapping with a text as its 'id'"),
        ("soft", "sample 0 of brightsquares:squares: labels are a Tensor of torch.float32 [1, 12"),
    ],
)
def test_files_are_not_scored_against_what_is_no_sample(cli, tmp_path, wrong, sentence):
    np.savez(tmp_path / "found.npz", ids=np.array(["square/0"]), labels=np.zeros((1, 12, 12), int))
    code, _, message = cli("score", tmp_path / "found.npz", *DATA, "--option", f"wrong={wrong}")
    assert code == 2
    assert message.startswith(f"error: {sentence}")


@pytest.mark.parametrize(
    ("given", "end"),
    [
        ("2016", "; the text is given as --option year='\"2016\"'"),
        ("2015", ""),
        ("late", ""),
    ],
)
def test_a_refused_number_says_how_a_text_is_given(cli, given, end):
    code, _, message = cli("run", *MODEL, *DATA, "--option", f"year={given}")
    assert code == 2
    assert message.splitlines()[-1].endswith(f"; expected '2017' or '2016'{end}")
    assert cli("run", *MODEL, *DATA, "--option", 'year="2016"')[0] == 0


def test_bugs_stay_loud():
    """A bare ValueError while segmenting is no message to the user."""
    with pytest.raises(ValueError, match="a bug"):
        main(["run", *MODEL, *DATA, "--option", "size=13"])


def test_which_package_serves_an_argument():
    one = EntryPoint("one", "package_one:load", plugins.MODELS)
    two = EntryPoint("two", "package_two:load", plugins.MODELS)
    assert plugins.choose(plugins.MODELS, "org/name", {"one": one}) == (one, "org/name")
    assert plugins.choose(plugins.MODELS, "two:x:y", {"one": one, "two": two}) == (two, "x:y")
    with pytest.raises(EvalError, match=r"several packages offer models: write one:m or two:m$"):
        plugins.choose(plugins.MODELS, "m", {"one": one, "two": two})
    with pytest.raises(EvalError, match="no installed package offers models: pip install slot-dec"):
        plugins.choose(plugins.MODELS, "m", {})
    with pytest.raises(EvalError, match="no installed package offers data sets: pip install slot-"):
        plugins.choose(plugins.DATASETS, "shapes", {})
