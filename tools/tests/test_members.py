"""The sibling ranges, the changelog entry and the wheel's metadata, on tiny workspaces."""

from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.version import Version

from members import (
    WorkspaceError,
    changelog_entry,
    range_problems,
    read_members,
    wheel_problems,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "requirement", ["alpha>=0.1,<0.2", "Alpha>=0.1.0,<1", "alpha~=0.1.0", "alpha==0.1.0"]
)
def test_ranges_that_hold_are_accepted(tiny_workspace: Callable[..., Path], requirement: str):
    assert range_problems(read_members(tiny_workspace(beta_requires=requirement))) == []


@pytest.mark.parametrize("version", ["0.2.0", "0.0.9"])
def test_a_sibling_outside_the_range_is_named(tiny_workspace: Callable[..., Path], version: str):
    [problem] = range_problems(read_members(tiny_workspace(alpha_version=version)))
    assert "packages/beta/pyproject.toml" in problem
    assert f"alpha {version}" in problem


@pytest.mark.parametrize("requirement", ["alpha", "alpha>=0.1", "alpha<0.2", "alpha!=0.3"])
def test_a_bare_or_open_requirement_is_refused(
    tiny_workspace: Callable[..., Path], requirement: str
):
    [problem] = range_problems(read_members(tiny_workspace(beta_requires=requirement)))
    assert "without a lower and an upper bound" in problem


def test_a_sibling_in_an_extra_is_checked_too(tiny_workspace: Callable[..., Path]):
    root = tiny_workspace()
    pyproject = root / "packages/alpha/pyproject.toml"
    extra = '\n[project.optional-dependencies]\nmore = ["beta>=2,<3"]\n'
    pyproject.write_text(pyproject.read_text() + extra)
    [problem] = range_problems(read_members(root))
    assert "packages/alpha/pyproject.toml requires" in problem


def test_the_workspace_holds_its_own_ranges():
    members = read_members(ROOT)
    assert set(members) == {"slot-core", "slot-decoders", "slot-data", "slot-eval"}
    assert range_problems(members) == []


def test_a_broken_pyproject_is_named(tiny_workspace: Callable[..., Path]):
    root = tiny_workspace()
    (root / "packages/alpha/pyproject.toml").write_text("[project\n")
    with pytest.raises(WorkspaceError, match=r"packages/alpha/pyproject\.toml is not valid TOML"):
        read_members(root)


def test_the_changelog_entry_of_one_version(tiny_workspace: Callable[..., Path]):
    member = read_members(tiny_workspace())["alpha"]
    member.changelog.write_text("# alpha\n\n## 0.2.0 (May)\n\nNew door.\n\n## 0.1.0\n\nFirst.\n")
    assert changelog_entry(member, Version("0.2.0")) == "New door."
    assert changelog_entry(member, Version("0.1.0")) == "First."


@pytest.mark.parametrize("text", ["# alpha\n", "## 0.2.0\n\n## 0.1.0\n\nx\n", "## 0.2.0.1\n\nx\n"])
def test_a_missing_or_empty_changelog_entry(tiny_workspace: Callable[..., Path], text: str):
    member = read_members(tiny_workspace())["alpha"]
    member.changelog.write_text(text)
    with pytest.raises(WorkspaceError, match=r"packages/alpha/CHANGELOG\.md has no entry"):
        changelog_entry(member, Version("0.2.0"))


@pytest.mark.parametrize(
    ("required", "problems"), [("alpha>=0.1,<0.2", 0), ("alpha", 1), ("numpy", 0)]
)
def test_a_wheel_that_requires_a_bare_sibling(
    tiny_workspace: Callable[..., Path], tmp_path: Path, required: str, problems: int
):
    wheel = tmp_path / "beta-0.1.0-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.3\nName: beta\nVersion: 0.1.0\nRequires-Dist: {required}\n"
    with ZipFile(wheel, "w") as archive:
        archive.writestr("beta-0.1.0.dist-info/METADATA", metadata)
    member = read_members(tiny_workspace())["beta"]
    assert len(wheel_problems(wheel, member, {"alpha", "beta"})) == problems
