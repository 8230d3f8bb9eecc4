"""A prepared folder on the Hub, against a server here that speaks its endpoints: pushed, loaded by
id through plain `datasets` and through the one door, whole, streamed and divided between
processes."""

from pathlib import Path

import pytest
from hub_folder_client import ADDRESS, REPOSITORY, digest
from scenes import prepared, write_scene

from hub_server import Repository, play, running_hub
from slot_data import load_dataset_by_name

pytestmark = pytest.mark.slow  # each process imports torch, datasets and the Hub's client
CLIENT = Path(__file__).with_name("hub_folder_client.py")
TEST = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven pictures for testing in several files, and one for validation."""
    root = tmp_path_factory.mktemp("scenes")
    for number in (*range(TEST), 5000):
        write_scene(root / "raw", number)
    prepared("clevrtex", root / "raw", root / "made", ("validation", "test"), shard_bytes=3_000,
             options={"image_size": 32}, cache=True)  # fmt: skip
    (root / "made/notes.txt").write_text("mine")
    return root / "made"


@pytest.fixture(scope="module")
def hub():
    with running_hub() as hub:
        other = hub.repositories["datasets/someone/else"] = Repository()
        other.commit("main", {"README.md": b"pictures"}, "start")
        yield hub


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def told(hub, home, folder):
    return play(CLIENT, "everything", folder, hub=hub, home=home)


@pytest.fixture(scope="module")
def expected(folder):
    return [
        digest(sample) for sample in load_dataset_by_name("clevrtex", split="test", root=folder)
    ]


def test_pushing_names_the_licence_and_the_address(told):
    assert told["pushed"].startswith("clevrtex, licence: ")
    assert told["pushed"].endswith(f"to be read with root={ADDRESS}\n")
    assert told["again"].endswith(f"to be read with root={ADDRESS}\n")


def test_the_repository_holds_the_folder_and_nothing_else(told, hub, folder):
    repository = hub.repositories[f"datasets/{REPOSITORY}"]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    tree = repository.commits[repository.branches["main"]]
    assert set(tree) == files - {"notes.txt"}
    assert all(content == (folder / path).read_bytes() for path, content in tree.items())
    assert repository.private
    assert told["described"] in repository.messages[0]


@pytest.mark.parametrize("how", ["datasets", "datasets, streamed"])
def test_plain_datasets_loads_it_by_id(told, expected, how):
    assert told[how]["rows"] == expected
    first, second = told[how]["ranks"]
    assert first
    assert second
    assert sorted(first + second) == [name for name, _ in expected]


def test_it_is_a_root_like_the_folder(told, expected):
    assert told["by name"] == expected
    assert told["settings"] == ADDRESS


def test_it_streams_in_parts_and_each_process_gets_its_own(told, expected, hub):
    assert told["streamed"] == expected
    first, second = told["streamed by two"]
    assert first
    assert second
    assert sorted(first + second) == expected
    assert hub.parts > 0


def test_info_and_verify_know_it(told):
    assert told["info"].startswith(f"{ADDRESS}: clevrtex, preset none\nvalidation: 1 pictures")
    assert "files fit their checksums" in told["verify"]


def test_what_was_fetched_is_there_without_a_network(told, hub, home, expected):
    found = play(CLIENT, "offline", hub=hub, home=home, HF_HUB_OFFLINE="1")
    assert found["by name"] == expected
    assert "cannot be read" in found["validation"]


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("empty", f"root {ADDRESS}: there is no such repository on the Hub that you may read"),
        ("no name", "error: cannot push"),
        ("no split", "split 'train' is not in"),
        ("no revision", f"root {ADDRESS}@v9: there is no such revision"),
        ("no repository", "root hf://datasets/some/thing: there is no such repository on the Hub"),
        ("no address", "root hf://some/thing is no address; expected hf://datasets/ORG/NAME"),
        ("not prepared", "root hf://datasets/someone/else holds no prepared.json"),
        ("no stream", "hf://datasets/some/thing/prepared.json cannot be read"),
    ],
)
def test_what_the_hub_does_not_hold_is_one_sentence(told, what, sentence):
    assert sentence in told[what]
