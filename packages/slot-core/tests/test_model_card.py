"""The model card states data, metrics and command, and says so where they are not known."""

from pathlib import Path

import pytest
from tiny_hub_model import make_tiny_model

from slot_core import InputError, ModelCard
from slot_core.model_card import license_id, public_command, public_place, with_license

CARD = ModelCard(
    data="clevrtex, split train, 40,000 pictures at 128x128",
    metrics={"clevrtex val: fg_ari (slotdiffusion)": 0.67890123, "samples": 5000},
    command="accelerate launch apps/train.py --seed 3",
    license="cc-by-4.0",
)


def saved_card(folder: Path, card: ModelCard | None) -> str:
    make_tiny_model().save_pretrained(folder, card=card)
    return (folder / "README.md").read_text()


def test_the_card_states_data_metrics_and_command(tmp_path: Path):
    text = saved_card(tmp_path, CARD)
    assert f"## Data\n\n{CARD.data}\n" in text
    assert "| clevrtex val: fg_ari (slotdiffusion) | 0.6789 |" in text
    assert "| samples | 5000 |" in text
    assert f"```\n{CARD.command}\n```" in text


def test_the_card_begins_with_the_front_matter_that_the_hub_reads(tmp_path: Path):
    front_matter = saved_card(tmp_path, CARD).split("---\n")[1]
    assert "license: cc-by-4.0\n" in front_matter
    assert "library_name: slot-core\n" in front_matter


def test_the_card_tells_class_size_and_configuration(tmp_path: Path):
    text = saved_card(tmp_path, None)
    assert "# TinyModel\n" in text
    assert "35 parameters" in text  # 4 x 5 + 5 of the linear map, 5 + 5 of the norm
    assert '"width": 5' in text


def test_what_is_not_stated_is_said_to_be_so(tmp_path: Path):
    text = saved_card(tmp_path, None)
    assert "## Data\n\nnot stated\n" in text
    assert "Metrics: not stated." in text
    assert "```\nnot stated\n```" in text
    assert "license: unknown\n" in text


@pytest.mark.parametrize(
    "text", ["mit", "CC-BY-4.0", "openrail++", "bigscience-bloom-rail-1.0", "cc0-1.0", "other"]
)
def test_identifiers_of_licences_are_taken_in_lower_case(text: str):
    assert license_id(text) == text.lower()


@pytest.mark.parametrize("text", ["", "Apache 2.0", "mit\nx: y", "-mit", "LICENSE/MIT", "a" * 61])
def test_what_cannot_be_a_licence_is_one_sentence(text: str):
    with pytest.raises(InputError, match="is no identifier of a licence; expected one of") as told:
        license_id(text)
    assert "\n" not in str(told.value)


def test_another_licence_changes_its_line_and_nothing_else(tmp_path: Path):
    text = saved_card(tmp_path, CARD)
    changed = with_license(text, "mit")
    assert changed.splitlines()[:2] == ["---", "license: mit"]
    assert changed == text.replace("license: cc-by-4.0", "license: mit")


def test_a_card_of_somebody_else_gets_a_licence():
    assert with_license("# Mine\n", "mit") == "---\nlicense: mit\n---\n\n# Mine\n"
    listed = "---\ntags:\n- a\nlicense:\n- other\nlicense_name: x\n---\n# Mine\n"
    assert with_license(listed, "mit") == (
        "---\nlicense: mit\ntags:\n- a\nlicense_name: x\n---\n# Mine\n"
    )


def test_a_command_loses_the_folders_of_its_machine(monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    words = [
        f"{tmp_path}/apps/train.py",
        "/data/ann/recipes/mine.yaml",
        "slot_attention/shapes",
        "--out",
        f"{tmp_path}/runs/mine",
        "data.root=/data/ann/My Pictures",
        "data={name: folder, root: /data/ann/photos, weights: '/data/ann/w'}",
        "--weights=/data/ann/model.pth",
        "start.weights=../runs/first",
        "data.root=hf://datasets/ann/photos",
        "optimizer.betas=[0.9, 0.99]",
    ]
    assert public_command(words) == (
        "apps/train.py mine.yaml slot_attention/shapes --out runs/mine 'data.root=My Pictures' "
        "'data={name: folder, root: photos, weights: '\"'\"'w'\"'\"'}' --weights=model.pth "
        "start.weights=../runs/first data.root=hf://datasets/ann/photos "
        "'optimizer.betas=[0.9, 0.99]'"
    )
    assert public_place(str(tmp_path)) == "."
    assert public_place("/") == "/"
