"""Publishing to the Hub and loading from it, against a server here that speaks its endpoints."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_client import CARD, REPOSITORY
from tiny_hub_model import fingerprint, make_tiny_model

from hub_server import Hub, play, running_hub

CLIENT = Path(__file__).with_name("hub_client.py")


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hf_home")


@pytest.fixture(scope="module")
def told(hub: Hub, home: Path) -> dict[str, Any]:
    return play(CLIENT, "online", hub=hub, home=home)


def test_what_is_pushed_loads_by_id_bit_for_bit(told: dict[str, Any]):
    model = make_tiny_model(seed=1)
    assert told["first"]["weights"] == fingerprint(model)
    assert told["first"]["config"] == model.config.model_dump(mode="json")
    assert told["first"]["training"] is False


def test_the_repository_holds_the_three_files(told: dict[str, Any], hub: Hub):
    commit = told["first_address"].rpartition("/")[2]
    files = hub.repositories[REPOSITORY].commits[commit]
    assert files.keys() == {"config.json", "model.safetensors", "README.md"}
    for stated in (CARD.data, CARD.command, "| fg_ari | 0.9100 |"):
        assert stated in files["README.md"].decode()


def test_a_second_push_updates(told: dict[str, Any], hub: Hub):
    assert told["second"]["weights"] == fingerprint(make_tiny_model(seed=2, dim=6))
    assert told["second"]["config"]["dim"] == 6
    assert hub.repositories[REPOSITORY].messages == ["Upload model", "A wider one"]


def test_a_revision_loads_what_was_then(told: dict[str, Any]):
    assert told["first_again"] == told["first"] != told["second"]


def test_mistakes_are_told_in_one_sentence(told: dict[str, Any]):
    nowhere = "there is no such folder, and no such repository on the Hub that you may read"
    assert told["before"] == f"{REPOSITORY}: {nowhere}"
    assert told["no_revision"] == f"{REPOSITORY}: has no revision 'v9'"
    assert told["no_token"].startswith("cannot push to someone/else: ")
    assert "401" in told["no_token"]
    assert told["no_token"].endswith("; hf auth login, or the variable HF_TOKEN, says who you are")
    assert told["bad_name"].startswith("cannot push to a/b/c: Repo id must be in the form")
    for key in ("before", "no_revision", "no_token", "bad_name"):
        assert "\n" not in told[key]


@pytest.mark.slow
def test_offline_the_cache_serves_and_the_rest_is_told(told: dict[str, Any], hub: Hub, home: Path):
    offline = play(CLIENT, "offline", hub=hub, home=home, HF_HUB_OFFLINE="1")
    assert offline["cached"] == told["second"]
    assert offline["missing"].startswith(
        "someone/new: there is no such folder, and the Hub gave no such repository"
    )
    assert offline["push"].startswith(f"cannot push to {REPOSITORY}: ")
    assert not any("\n" in sentence for sentence in (offline["missing"], offline["push"]))
