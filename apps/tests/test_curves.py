"""The picture of a run's curves: what it shows, and that it never stops a training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from runs import events

import curves
import train
from slot_core import InputError
from support.command_line import run
from support.curves import draw_curves
from support.expectations import Expectation
from support.logs import read_events


def line(kind, step, **values):
    return {"kind": kind, "step": step, **values}


DRAWN = {"log.curves": True}
LOG = [
    line("train", 1, loss=4.0, whole=4.0, part=1.5, learning_rate=0.1, sample_ids="ab"),
    line("train", 2, loss=2.0, whole=2.0, part=0.5, learning_rate=0.1, sample_ids="cd"),
    line("validation", 2, loss=3.0, fg_ari=0.25),
    line("test", 2, fg_ari=0.5),
]


@pytest.fixture
def panels(monkeypatch):
    """What was drawn: title -> the panel."""
    seen = {}

    def keep(self, path, **options):
        seen.update({axes.get_title(loc="left"): axes for axes in self.axes})
        real(self, path, **options)

    real = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", keep)
    return seen


def lines(axes: Axes) -> list[list[tuple[float, float]]]:
    return [[(x, y) for x, y in np.asarray(drawn.get_xydata())] for drawn in axes.lines]


def test_each_number_has_a_panel_and_the_loss_is_drawn_once(tmp_path, panels):
    draw_curves({"run": LOG}, tmp_path / "curves.png")
    assert list(panels) == ["loss", "fg_ari", "part"]
    assert lines(panels["loss"]) == [[(1, 4.0), (2, 2.0)], [(2, 3.0)]]
    assert lines(panels["fg_ari"]) == [[(2, 0.25)], [(2, 0.5)]]
    with Image.open(tmp_path / "curves.png") as picture:
        assert min(picture.size) > 200


def test_two_runs_have_a_colour_each_and_a_legend(tmp_path, panels):
    draw_curves({"one": LOG, "other": LOG[:2]}, tmp_path / "curves.png")
    colours = [drawn.get_color() for drawn in panels["loss"].lines]
    assert colours == ["C0", "C0", "C1"]
    (legend,) = panels["loss"].figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["one", "other", "train", "validation", "test"]


def test_what_is_expected_lies_behind(tmp_path, panels):
    curves = {"fg_ari": {2: (0.2, 0.3), 4: (0.4, 0.5)}}
    expected = Expectation(command="", options={}, metric="fg_ari", curves=curves)
    draw_curves({"run": LOG}, tmp_path / "curves.png", expected)
    (shade,) = panels["fg_ari"].collections
    edges = shade.get_paths()[0].vertices
    assert edges[:, 1].min() == pytest.approx(expected.band("fg_ari")[2][0])
    assert panels["fg_ari"].get_xlim() == (0, 4)
    assert not panels["loss"].collections


def test_a_loss_that_falls_far_has_a_logarithmic_scale(tmp_path, panels):
    steep = [line("train", step, loss=100.0 / step**2, part=1.0 / step**2) for step in range(1, 9)]
    draw_curves({"run": steep}, tmp_path / "curves.png")
    assert [panels[name].get_yscale() for name in ("loss", "part")] == ["log", "linear"]


def test_a_run_that_has_only_begun_is_drawn(tmp_path, panels):
    draw_curves({"run": []}, tmp_path / "curves.png")
    assert lines(panels["loss"]) == []


def test_a_training_leaves_its_curves(tmp_path, tiny, panels):
    with pytest.raises(SystemExit):
        run(train.main, tiny(tmp_path / "run", **DRAWN))
    assert (tmp_path / "run" / "curves.png").exists()
    scores = [(event["step"], event["fg_ari"]) for event in events(tmp_path / "run", "validation")]
    assert lines(panels["fg_ari"])[0] == scores
    assert len(lines(panels["fg_ari"])[1]) == 1  # of the test
    assert {"attention_entropy", "slots_in_use", "gradient_norm"} < panels.keys()


def test_curves_that_cannot_be_drawn_do_not_stop_training(tmp_path, tiny, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("no fonts here")

    monkeypatch.setattr("support.scoring.draw_curves", broken)
    with pytest.raises(SystemExit) as stopped:
        run(train.main, tiny(tmp_path / "run", **DRAWN))
    assert not stopped.value.code
    assert "could not draw curves.png" in capsys.readouterr().err


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(LOG[0]) + "\n" + '{"kind": "tra')
    assert read_events(tmp_path) == LOG[:1]


@pytest.mark.parametrize("content", [None, "no JSON\n", "[1, 2]\n", '{"loss": 1}\n'])
def test_what_is_no_log_of_a_run_is_one_sentence(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(InputError, match=r"metrics\.jsonl"):
        read_events(tmp_path)


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("notes/curves.png", "/notes is no folder"),
        ("notes/more/curves.png", "/notes/more is no folder"),
        ("curves.gif", "expected a name that ends with .png, .svg, .pdf"),
    ],
)
def test_a_place_for_no_picture_is_one_sentence(tmp_path, capsys, out, sentence):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(LOG[0]) + "\n")
    (tmp_path / "notes").write_text("a file")
    with pytest.raises(SystemExit) as stopped:
        run(curves.main, [str(tmp_path), "--out", str(tmp_path / out)])
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err
