"""``slot-eval run | reconstruct | compose | predict-video`` with a model that does everything, in
one process and in several, and what their result files say."""

import errno
import json
import os
import re
import sys

import pytest
import torch

from slot_eval import EvalError, plugins
from slot_eval.commands.common import parse_model_options
from slot_eval.jobs import chosen_device, device_of
from slot_eval.predictions import open_labels
from slot_eval.provenance import model_structure

PACKAGE = '''
"""A model whose slots are the rows of a grid of colours, and moving squares to see."""

from types import SimpleNamespace

import torch


class Rows(torch.nn.Module):
    """Slot k is the mean colour of the k-th row of a frame, from top to bottom."""

    default_mask_source = "encoder"

    def __init__(self, num_slots=4):
        super().__init__()
        self.num_slots = num_slots
        self.weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))

    def segment(self, video, source=None):
        batch, time, _, height, width = video.shape
        count = self.num_slots
        noise = 1e-3 * torch.rand(batch, time, count, height, width)  # from torch's generator
        row = torch.arange(height).view(-1, 1).expand(height, width) * count // height
        rows = torch.nn.functional.one_hot(row, count).permute(2, 0, 1)
        return torch.softmax(rows + noise, dim=2)

    def encode(self, video, conditioning=None):
        return SimpleNamespace(slots=video.unflatten(3, (4, -1)).mean((4, 5)).transpose(2, 3))

    def sample(self, slots):
        return slots.transpose(2, 3).repeat_interleave(3, 3)[..., None].expand(-1, -1, -1, -1, 12)

    def decode(self, slots):
        return self.sample(slots), self.segment(self.sample(slots))

    def reconstruct(self, video):
        return self.sample(self.encode(video).slots)

    def rollout(self, slots, num_steps):
        return slots[:, -1:].expand(-1, num_steps, -1, -1)


class Squares:
    def __init__(self, count, frames):
        self.count, self.frames = count, frames

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        labels = torch.zeros(self.frames, 12, 12, dtype=torch.uint8)
        for frame in range(self.frames):
            top = (index + frame) % 9
            labels[frame, top : top + 3, 2 : 5 + index % 3] = 1
        video = (labels * (90 + 10 * index))[:, None].expand(-1, 3, -1, -1)
        void = torch.zeros_like(labels, dtype=torch.bool)
        return {"video": video, "labels": labels, "id": f"clip{index}", "void": void}


class Mixed(Squares):
    """One of the frames of the first clip is another sample."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        if index != 5:
            return sample
        return {name: one[:1] for name, one in sample.items() if name != "id"} | {"id": "clip0/1"}


class Leaving(Squares):
    """Nothing is left in the last frame."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        sample["labels"][-1] = 0
        return sample


def load_model(path, changes=None):
    model = Rows(**changes or {})
    if path == "blind":
        model.decoder = None
    return model


def load_as_it_is(path):
    return Rows()


def load_dataset_by_name(name, *, split, count=7, frames=3):
    return {"mixed": Mixed, "leaving": Leaving}.get(name, Squares)(count, frames)


def describe(name, *, split, **options):
    return {"name": name, "preset": None, "hash": "0123456789abcdef", "options": options}
'''
MODEL, DATA = ("--model", "rows:any"), ("--data", "rows:squares", "--batch-size", 3)


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """The package above, installed under the name ``rows`` while these tests run."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "rows-1.0.dist-info"
    info.mkdir()
    (folder / "rowsmodel.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rows\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{plugins.MODELS}]\nrows = rowsmodel:load_model\nfixed = rowsmodel:load_as_it_is\n"
        f"[{plugins.DATASETS}]\nrows = rowsmodel:load_dataset_by_name\n"
        f"[{plugins.CARDS}]\nrows = rowsmodel:describe\n"
    )
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("rowsmodel", None)


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def test_a_result_says_where_it_comes_from(cli, tmp_path):
    pictures = ("--option", "frames=1")
    code, shown, _ = cli("run", *MODEL, *DATA, *pictures, "--also", "all", "--out", tmp_path / "a")
    assert code == 0
    result = result_of(tmp_path / "a")
    assert result["data_card"]["hash"] == "0123456789abcdef"
    assert result["data_card"]["options"] == {"frames": 1}
    assert len(result["model_hash"]) == 16
    assert result["model_config"] is None  # it has none
    assert result["departures"] == ["slotdiffusion is not published on squares"]
    assert "but       slotdiffusion is not published on squares" in shown
    assert result["metrics"]["panoptic_quality"]["n"] == 7
    assert "idf1" not in result["metrics"]


def test_protocols_choose_masks_and_samples(cli, tmp_path):
    code, _, _ = cli("run", *MODEL, *DATA, "--protocol", "spot", "--out", tmp_path / "spot")
    assert code == 0
    result = result_of(tmp_path / "spot")
    assert result["settings"]["source"] == "decoder"
    assert result["num_samples"] == 21
    code, _, _ = cli("run", *MODEL, *DATA, "--protocol", "dinosaur", "--out", tmp_path / "dinosaur")
    assert result_of(tmp_path / "dinosaur")["num_samples"] == 7
    code, _, message = cli("compare", tmp_path / "spot", tmp_path / "dinosaur")
    assert code == 2
    assert "follow 2 different protocols (spot; dinosaur)" in message


def test_saved_labels_depart_from_the_protocol_as_the_run_did(cli, tmp_path):
    data = ("--data", "rows:movi_c", "--protocol", "spot")
    saved = ("--save-predictions", tmp_path / "a.npz")
    assert cli("run", *MODEL, *data, *saved, "--out", tmp_path / "run")[0] == 0
    code, _, _ = cli("score", tmp_path / "a.npz", *data, "--report", "--out", tmp_path / "score")
    assert code == 0
    expected = [
        "movi_c test, spot scores validation",
        "labels of 12x12, spot scores movi_c at 128x128",
    ]
    found = [result_of(tmp_path / name)["departures"][:2] for name in ("run", "score")]
    assert found == [expected, expected]
    assert "<b>departures</b>: movi_c test" in (tmp_path / "score" / "report.html").read_text()


def test_a_model_is_changed_and_the_result_says_so(cli, tmp_path):
    given = (*MODEL, *DATA, "--model-option", "num_slots=6", "--save-predictions")
    code, _, _ = cli("run", *given, tmp_path / "a.npz", "--out", tmp_path / "a")
    assert code == 0
    assert result_of(tmp_path / "a")["settings"]["model_options"] == {"num_slots": 6}
    found = open_labels(tmp_path / "a.npz")
    assert {int(found.load(name).max()) for name in found.ids} == {5}


def test_model_options_are_nested():
    pairs = ("num_slots=9", "encoder.corrector.num_iterations=5", "encoder.kind=soft k")
    assert parse_model_options(pairs) == {
        "num_slots": 9,
        "encoder": {"corrector": {"num_iterations": 5}, "kind": "soft k"},
    }
    assert parse_model_options(None) == {}


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (["num_slots"], "--model-option num_slots: expected KEY=VALUE or KEY.KEY=VALUE"),
        (["encoder..noise=1"], "--model-option encoder..noise=1: expected KEY=VALUE"),
        (["a=1", "a=2"], "--model-option a=2: a is given already"),
        (["a=1", "a.b=2"], "--model-option a.b=2: a is given already"),
        (["a.b=1", "a=2"], "--model-option a=2: a is given already"),
    ],
)
def test_model_options_that_cannot_be_meant(pairs, sentence):
    with pytest.raises(EvalError, match=re.escape(sentence)):
        parse_model_options(pairs)


def test_reconstruct(cli, tmp_path):
    code, shown, _ = cli("reconstruct", *MODEL, *DATA, "--rows", "--report", "--out", tmp_path)
    assert code == 0
    result = result_of(tmp_path)
    assert list(result["metrics"]) == ["mse", "psnr", "ssim"]
    assert result["protocol"] == "reconstruction"
    assert "psnr" in shown
    assert (tmp_path / "report.html").read_text().count("<img") == 2 * 7


def test_predict_video_judges_every_future_frame(cli, tmp_path):
    code, _, _ = cli("predict-video", *MODEL, *DATA, "--burn-in", 1, "--report", "--out", tmp_path)
    assert code == 0
    result = result_of(tmp_path)
    assert result["num_samples"] == 7 * 2
    assert set(result["metrics"]) == {"slot_error", "mse", "psnr", "ssim", "fg_ari", "miou"}
    first, second = result["by_frame"]["1"], result["by_frame"]["2"]
    assert first["slot_error"] < second["slot_error"]  # it says that nothing moves


def test_a_future_frame_without_objects_has_no_score_and_is_json(cli, tmp_path):
    data = ("--data", "rows:leaving", "--burn-in", 1, "--out", tmp_path)
    code, _, _ = cli("predict-video", *MODEL, *data)
    assert code == 0
    text = (tmp_path / "result.json").read_text()
    by_frame = json.loads(text, parse_constant=pytest.fail)["by_frame"]
    assert by_frame["1"]["fg_ari"] is not None
    assert by_frame["2"]["fg_ari"] is None


def test_compose_with_an_extractor_from_a_file(cli, tmp_path):
    saved = tmp_path / "extractor.pt"
    network = torch.nn.Sequential(torch.nn.AvgPool2d(6), torch.nn.Flatten())
    torch.jit.save(torch.jit.trace(network, torch.rand(2, 3, 12, 12)), saved)
    arguments = ("--option", "frames=1", "--features", saved, "--pictures", 5)
    code, shown, _ = cli("compose", *MODEL, *DATA, *arguments, "--out", tmp_path / "out")
    assert code == 0
    assert "frechet_distance" in shown
    result = result_of(tmp_path / "out")
    assert result["num_samples"] == 7
    assert result["metrics"]["frechet_distance"]["mean"] > 0
    assert (tmp_path / "out" / "composed.png").is_file()


@pytest.mark.slow
def test_two_runs_and_two_processes_give_the_same_bytes(cli, tmp_path):
    """The model draws at random, so each block has to be seeded by itself."""
    ways = {"one": (), "again": (), "two": ("--processes", 2)}
    for name, processes in ways.items():
        code, _, _ = cli(
            *("run", *MODEL, *DATA, *processes, "--threads", 1, "--rows", "--also", "idf1"),
            *("--save-predictions", tmp_path / f"{name}.npz", "--out", tmp_path / name),
        )
        assert code == 0
    for file in ("result.json", "rows.jsonl"):
        texts = {(tmp_path / name / file).read_text() for name in ways}
        assert len(texts) == 1
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_report_shows_the_best_and_the_worst(cli, tmp_path):
    code, _, _ = cli("run", *MODEL, *DATA, "--report", "--out", tmp_path)
    assert code == 0
    text = (tmp_path / "report.html").read_text()
    assert "Best by fg_ari" in text
    assert "Worst by fg_ari" in text
    assert "0123456789abcdef" in text
    assert text.count("<img") == 3 * 7  # 4 worst and the 3 others
    assert "<svg" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", *MODEL, *DATA, "--num-slots", 7), "the model rows:any has 4 slots, not 7"),
        (
            ("run", "--model", "fixed:any", *DATA, "--model-option", "num_slots=7"),
            "the models of fixed take no changes; leave out --model-option",
        ),
        (("run", *MODEL, *DATA, "--also", "hota"), "no further metric 'hota'; known: panoptic"),
        (
            ("run", *MODEL, "--data", "rows:mixed", "--protocol", "spot", "--batch-size", 1),
            "the row 'clip0/1' would be of two samples of rows:mixed",
        ),
        (("run", *MODEL, *DATA, "--report"), "--report needs a folder"),
        (
            ("predict-video", *MODEL, *DATA, "--burn-in", 3),
            "the 3 that the model sees there is none",
        ),
        (
            ("predict-video", "--model", "rows:blind", *DATA, "--burn-in", 1, "--lpips", "alex"),
            "the model rows:blind has no decoder that would paint what --lpips compares",
        ),
        (
            ("reconstruct", *MODEL, *DATA, "--lpips-weights", "alex.pth"),
            "--lpips-weights belongs to --lpips, which is not given",
        ),
        (("compose", *MODEL, *DATA, "--features", "no.pt"), "no.pt: there is no such file"),
        (
            ("compose", *MODEL, *DATA, "--features", "no.pt", "--device", "gpu"),
            "--device gpu: Expected one of cpu",
        ),
        (("explain", "dino"), "there is no protocol 'dino'; known: slotdiffusion"),
        (("seeds", "nowhere"), "nowhere: cannot be read as a result"),
    ],
)
def test_wrong_input_is_one_sentence(cli, arguments, sentence):
    code, _, message = cli(*arguments)
    assert code == 2
    assert message.splitlines()[-1].startswith("error: ")
    assert sentence in message.splitlines()[-1]


def test_processes_take_gpus_in_turn(monkeypatch):
    assert chosen_device(None) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [chosen_device(name) for name in (None, "cpu", "cuda:1")] == ["cuda", "cpu", "cuda:1"]
    assert [device_of("cuda", turn) for turn in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert [device_of(name, 1) for name in ("cpu", "cuda:0")] == ["cpu", "cuda:0"]


def test_an_interrupt_is_one_word_and_130(cli, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("slot_eval.commands.results.read_result", interrupted)
    assert cli("seeds", "anywhere") == (130, "", "interrupted\n")


@pytest.mark.parametrize(("place", "named"), [("scores", "scores"), (None, "a file")])
def test_a_place_without_rights_is_one_sentence(cli, monkeypatch, place, named):
    def forbidden(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), place)

    monkeypatch.setattr("slot_eval.commands.results.read_result", forbidden)
    told = f"error: {named}: Permission denied; this user may not read or write it\n"
    assert cli("seeds", "anywhere") == (2, "", told)


def test_too_little_memory_is_one_sentence(cli, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nGPU 0 has 1.")

    monkeypatch.setattr("slot_eval.model_jobs.SegmentJob.open", full)
    told = "error: not enough memory (CUDA out of memory); a smaller --batch-size needs less\n"
    assert cli("run", *MODEL, *DATA) == (2, "", told)


def test_explain(cli):
    code, shown, _ = cli("explain", "dinosaur", "spot")
    assert code == 0
    assert "    dinosaur: clip\n    spot: frame\n" in shown
    assert "    dinosaur: ignore\n    spot: background\n" in shown
    assert "movi_c validation at 128" in cli("explain", "spot")[1]
    assert cli("explain", "spot", "spot")[1] == "spot and spot are the same\n"


def write_seed(folder, mean, **changes):
    """A result of one seed, and its folder."""
    result = {
        "format": 1,
        "protocol": "p",
        "protocol_settings": {"empty_ari": "one"},
        "model": folder.name,
        "model_hash": folder.name * 16,
        "model_structure": "s",
        "model_config": {"num_slots": 5, "encoder": {"gru": True, "iterations": 3}},
        "data": "d",
        "data_card": {"hash": "h"},
        "num_samples": 3,
        "metrics": {"fg_ari": {"mean": mean}},
        "settings": {"seed": 0, "source": "encoder"},
    }
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps({**result, **changes}))
    return folder


def test_seeds_by_hand(cli, tmp_path):
    a, b, c = (write_seed(tmp_path / n, m) for n, m in (("a", 0.8), ("b", 0.9), ("c", 1.0)))
    code, shown, message = cli("seeds", a, b, c)
    assert (code, message) == (0, "")
    assert shown.splitlines()[-1] == (
        "fg_ari, 3 seeds: mean 0.9000, standard error 0.0577, minimum 0.8000, maximum 1.0000; "
        "2 of 3 reach 0.9"
    )
    code, _, message = cli("seeds", a, "--metric", "mbo")
    assert code == 2
    assert "has no mbo" in message


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"protocol": "q"}, "protocol is 'p' in the first and 'q' in the second"),
        (
            {"protocol_settings": {"empty_ari": "nan"}},
            "empty_ari of the protocol is 'one' in the first and 'nan' in the second",
        ),
        ({"data": "e"}, "data is 'd' in the first and 'e' in the second"),
        ({"num_samples": 4}, "num_samples is 3 in the first and 4 in the second"),
        (
            {"data_card": {"hash": "i"}},
            "the hash of the data's card is 'h' in the first and 'i' in the second",
        ),
        ({"model_structure": "t"}, "model_structure is 's' in the first and 't' in the second"),
        (
            {"model_config": {"num_slots": 5, "encoder": {"gru": False, "iterations": 3}}},
            "encoder.gru of the model is True in the first and False in the second",
        ),
    ],
)
def test_results_that_are_not_seeds_of_one_recipe_are_not_pooled(cli, tmp_path, changes, sentence):
    first, other = write_seed(tmp_path / "a", 0.8), write_seed(tmp_path / "b", 0.9, **changes)
    code, shown, message = cli("seeds", first, other)
    assert (code, shown) == (2, "")
    assert message == (
        f"error: {first} and {other} are not of two seeds of one recipe: {sentence}; slot-eval "
        "compare shows them in rows\n"
    )


def test_the_number_of_slots_is_part_of_a_models_structure_though_no_weight_shows_it():
    def structure(seed, num_slots, width=2):
        torch.manual_seed(seed)
        model = torch.nn.Linear(width, 3)
        if num_slots is not None:
            model.num_slots = num_slots
        return model_structure(model)

    assert structure(0, 5) == structure(1, 5)  # two seeds of one recipe
    assert len({structure(0, count) for count in (5, 7, None)}) == 3
    assert structure(0, 5) != structure(0, 5, width=4)
    assert model_structure(object()) is None


def test_one_model_is_not_two_seeds(cli, tmp_path):
    first = write_seed(tmp_path / "a", 0.8)
    second = write_seed(tmp_path / "b", 0.8)
    again = write_seed(tmp_path / "c", 0.8, model_hash="a" * 16)
    code, _, message = cli("seeds", first, second, again)
    assert code == 2
    assert message == f"error: {first} and {again} are of one model, model_hash {'a' * 16}\n"
    code, _, message = cli("seeds", first, second, first / "result.json")
    assert code == 2
    assert message == f"error: {first} and {first / 'result.json'} are one result; give each once\n"


def test_another_setting_is_told_and_one_that_changes_nothing_is_not(cli, tmp_path):
    first = write_seed(tmp_path / "a", 0.8)
    other = write_seed(tmp_path / "b", 0.9, settings={"seed": 1, "source": "decoder", "more": 1})
    code, shown, message = cli("seeds", first, other)
    assert code == 0
    assert "2 seeds" in shown
    assert message == (
        f"warning: {first} and {other}: the setting source is 'encoder' in the first and 'decoder' "
        "in the second\n"
    )


def test_each_seed_may_learn_from_slots_of_its_own(cli, tmp_path):
    a, b = (
        write_seed(tmp_path / name, 0.8, model_config={"num_slots": 5, "slots_of": name})
        for name in ("a", "b")
    )
    code, _, message = cli("seeds", a, b)
    assert (code, message) == (0, "")


def test_scores_of_unknown_models_are_pooled_on_trust(cli, tmp_path):
    unknown = {"model_hash": None, "model_structure": None, "model_config": None}
    first = write_seed(tmp_path / "a", 0.8)
    other = write_seed(tmp_path / "b", 0.9, **unknown)
    code, shown, message = cli("seeds", first, other)
    assert code == 0
    assert "2 seeds" in shown
    assert message == (
        f"warning: {other} does not say what its model is, so whether it is of the same recipe as "
        "the others is taken on trust\n"
    )
    assert cli("seeds", other)[2] == ""


def test_compare_tells_of_other_data_under_one_name(cli, tmp_path):
    easy, hard = ({"options": {"level": level}, "source": level} for level in ("plain", "textured"))
    a = write_seed(tmp_path / "a", 0.8, settings=easy)
    b = write_seed(tmp_path / "b", 0.7, settings=hard)
    c = write_seed(tmp_path / "c", 0.7, settings=easy, data_card={"hash": "i"})
    d = write_seed(tmp_path / "d", 0.7, settings=hard, data="e", model_structure="t")
    code, shown, message = cli("compare", a, b, c, d)
    assert code == 0
    assert [line.split()[1] for line in shown.splitlines()[3:]] == ["d", "d", "d", "e"]
    assert message == (
        f"warning: {a} and {b} are of d, but the setting options is {{'level': 'plain'}} in the "
        "first and {'level': 'textured'} in the second\n"
        f"warning: {a} and {c} are of d, but the hash of the data's card is 'h' in the first and "
        "'i' in the second\n"
    )
