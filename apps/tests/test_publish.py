"""Publishing a checkpoint, against a Hub on this machine, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from predicting import tiny_video_model
from runs import APPS

import publish as publish_app
from hub_server import Hub, running_hub
from slot_core import ModelCard
from support.command_line import run

REPOSITORY = "someone/tiny"


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


def publish(*words: object, hub: Hub, home: Path) -> subprocess.CompletedProcess[str]:
    """The app in a process of its own: where the Hub is, is read when it is imported."""
    settings = {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "HF_TOKEN": "hf_of_nobody",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    command = [sys.executable, str(APPS / "publish.py"), *map(str, words)]
    environment = {**os.environ, **settings}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_a_runs_newest_checkpoint_is_published_as_it_is(tmp_path: Path, hub: Hub):
    folder = tmp_path / "run" / "checkpoints" / "last" / "model"
    card = ModelCard(data="ten videos", command="train.py --seed 3", license="cc-by-4.0")
    tiny_video_model().save_pretrained(folder, card=card)
    (folder / "notes.txt").write_text("mine")
    done = publish(tmp_path / "run", REPOSITORY, "--message", "First", hub=hub, home=tmp_path)
    assert done.returncode == 0, done.stderr
    repository = hub.repositories[REPOSITORY]
    assert repository.messages == ["First"]
    (files,) = repository.commits.values()
    names = ("config.json", "model.safetensors", "README.md")
    assert files == {name: (folder / name).read_bytes() for name in names}
    assert b"train.py --seed 3" in files["README.md"]
    address = done.stdout.split()[-1]
    assert done.stdout == f"{REPOSITORY}: SlotAutoencoder, {address}\n"
    assert address.startswith(hub.endpoint)


@pytest.mark.slow
def test_a_licence_goes_into_the_card_that_is_uploaded(tmp_path: Path, hub: Hub):
    folder = tmp_path / "model"
    tiny_video_model().save_pretrained(folder)
    before = (folder / "README.md").read_bytes()
    done = publish(folder, "someone/free", "--license", "MIT", hub=hub, home=tmp_path)
    assert done.returncode == 0, done.stderr
    (files,) = hub.repositories["someone/free"].commits.values()
    assert set(files) == {"config.json", "model.safetensors", "README.md"}
    assert files["README.md"] == before.replace(b"license: unknown", b"license: mit")
    assert (folder / "README.md").read_bytes() == before
    done = publish(folder, "someone/free", "--license", "not-known-there", hub=hub, home=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        'error: cannot push to someone/free: Invalid metadata in README.md. - "license" must be '
        "one of apache-2.0, cc-by-4.0, mit, other, unknown\n"
    )


def test_a_licence_that_cannot_be_one_is_told_first(tmp_path: Path, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as ended:
        run(publish_app.main, [str(tmp_path / "no"), "a/b", "--license", "my licence"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: 'my licence' is no identifier of a licence")


@pytest.mark.parametrize(
    ("spoil", "repository", "sentence"),
    [
        ("nothing there", "someone/new", "model: there is no such folder"),
        ("no card", "someone/new", "has no README.md that says where the model is from"),
        ("damaged", "someone/new", "model.safetensors: is damaged or truncated"),
        ("", "a/b/c", "cannot push to a/b/c: "),  # told before anything is sent
    ],
)
def test_what_cannot_be_published_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture, spoil: str, repository: str, sentence: str
):
    folder = tmp_path / "model"
    if spoil != "nothing there":
        tiny_video_model().save_pretrained(folder)
    if spoil == "no card":
        (folder / "README.md").unlink()
    if spoil == "damaged":
        (folder / "model.safetensors").write_bytes(b"no")
    with pytest.raises(SystemExit) as ended:
        run(publish_app.main, [str(folder), repository])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1
