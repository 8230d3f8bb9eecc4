"""What every member must carry, and what no committed file may say."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from members import changelog_entry, read_members

ROOT = Path(__file__).parents[2]
MEMBERS = read_members(ROOT)

# Folders of one machine and hosts of package registries mean nothing elsewhere. uv.lock must
# name the registry and is left out. The brackets keep this pattern from matching itself.
FOREIGN = re.compile(
    r"(?<![\w.$}])/(w[o]rk|t[m]p|r[o]ot|h[o]me|U[s]ers)/|python[h]osted|pypi\.[o]rg|npm[j]s\."
)


def tracked_files() -> list[Path]:
    """What is committed or about to be: everything that git does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_is_complete(name: str):
    member = MEMBERS[name]
    module = name.replace("-", "_")
    assert (member.folder / "README.md").read_text().startswith(f"# {name}")
    assert changelog_entry(member, member.version)
    assert (member.folder / "src" / module / "py.typed").is_file()
    assert list((member.folder / "tests").glob("test_*.py"))


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_states_its_licence(name: str):
    member = MEMBERS[name]
    project = tomllib.loads(member.pyproject.read_text())["project"]
    assert project["license"] == "MIT"
    assert project["license-files"] == ["LICENSE"]
    assert (member.folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_no_file_names_a_machine_or_a_registry():
    found = []
    for path in tracked_files():
        if path.name == "uv.lock":
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or an array: no path of ours is written there
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in FOREIGN.finditer(text)]
    assert found == []


@pytest.mark.parametrize("folder", ["home", "tmp", "Users"])
def test_the_pattern_sees_an_absolute_path_only(folder: str):
    assert FOREIGN.search(f"cd /{folder}/ann")
    assert not FOREIGN.search(f"runs/{folder}/ann")
    assert not FOREIGN.search(f"$OUT/{folder}/ann")
