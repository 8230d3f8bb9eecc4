"""The model card states data, metrics and command, and says so where they are not known."""

from pathlib import Path

from tiny_hub_model import make_tiny_model

from slot_core import ModelCard

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
