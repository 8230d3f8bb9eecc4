"""The members of the workspace, and whether the ranges between them still hold.

A member requires a sibling with a range (`slot-core>=0.1,<0.2`), because that range is what
its wheel tells the world. Inside the workspace uv takes whatever version lies beside it and
never looks at the range, so `uv lock --check` is content while the published packages could
not be installed together. The functions here look.
"""

import re
import tomllib
from dataclasses import dataclass, replace
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version


class WorkspaceError(ValueError):
    """Sentences for the person at the keyboard, one an argument: what is wrong, and where."""


@dataclass(frozen=True)
class Member:
    """One package of the workspace, as its pyproject.toml describes it."""

    name: str
    folder: Path
    version: Version
    requirements: tuple[Requirement, ...]

    @property
    def pyproject(self) -> Path:
        return self.folder / "pyproject.toml"

    @property
    def changelog(self) -> Path:
        return self.folder / "CHANGELOG.md"

    def with_version(self, version: Version) -> "Member":
        return replace(self, version=version)


def read_members(root: Path) -> dict[str, Member]:
    """The members under `root`, by canonical name; WorkspaceError names an unreadable file."""
    workspace = _read_toml(root / "pyproject.toml").get("tool", {}).get("uv", {}).get("workspace")
    if workspace is None:
        raise WorkspaceError(f"{root}/pyproject.toml has no [tool.uv.workspace] table")
    folders = sorted(
        folder
        for pattern in workspace.get("members", [])
        for folder in root.glob(pattern)
        if (folder / "pyproject.toml").is_file()
    )
    members = [_read_member(folder) for folder in folders]
    return {member.name: member for member in members}


def range_problems(members: dict[str, Member]) -> list[str]:
    """One sentence for each requirement on a sibling that is bare, open-ended or not met."""
    return [
        problem
        for member in members.values()
        for requirement in member.requirements
        if (sibling := members.get(canonicalize_name(requirement.name))) is not None
        if (problem := _range_problem(member, requirement, sibling)) is not None
    ]


def changelog_entry(member: Member, version: Version) -> str:
    """The text under the heading `## <version>`; WorkspaceError where there is none."""
    text = _read_text(member.changelog)
    heading = rf"^## \[?{re.escape(str(version))}\]?(?![\w.]).*$"
    found = re.search(heading + r"(?P<body>(?:\n(?!## ).*)*)", text, flags=re.MULTILINE)
    if found is None or not found["body"].strip():
        raise WorkspaceError(
            f"{short(member.changelog)} has no entry under the heading '## {version}'; "
            "say what changed and commit it before the release"
        )
    return found["body"].strip()


def wheel_problems(wheel: Path, member: Member, siblings: set[str]) -> list[str]:
    """What is wrong with a built wheel: its version, or a sibling it requires without a range."""
    with ZipFile(wheel) as archive:
        [name] = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = message_from_bytes(archive.read(name))
    problems = []
    if metadata["Version"] != str(member.version):
        problems.append(
            f"{wheel.name} says version {metadata['Version']}, expected {member.version}"
        )
    for text in metadata.get_all("Requires-Dist", []):
        requirement = Requirement(text)
        if canonicalize_name(requirement.name) in siblings and not _is_bounded(requirement):
            problems.append(f"{wheel.name} requires '{text}' without a lower and an upper bound")
    return problems


def short(path: Path) -> str:
    """The end of a member's path, enough to find the file: packages/slot-core/CHANGELOG.md."""
    return "/".join(path.parts[-3:])


def _range_problem(member: Member, requirement: Requirement, sibling: Member) -> str | None:
    where = f"{short(member.pyproject)} requires '{requirement}'"
    if not _is_bounded(requirement):
        return f"{where} without a lower and an upper bound, expected a range such as >=0.1,<0.2"
    if not requirement.specifier.contains(sibling.version, prereleases=True):
        return (
            f"{where}, which leaves out the workspace's {sibling.name} {sibling.version}; "
            "change the range together with the version"
        )
    return None


def _is_bounded(requirement: Requirement) -> bool:
    operators = {specifier.operator for specifier in requirement.specifier}
    exact = operators & {"==", "~="}
    return bool(exact) or bool(operators & {">", ">="} and operators & {"<", "<="})


def _read_member(folder: Path) -> Member:
    path = folder / "pyproject.toml"
    project = _read_toml(path).get("project", {})
    missing = [key for key in ("name", "version") if key not in project]
    if missing:
        raise WorkspaceError(f"{short(path)} has no project.{missing[0]}")
    extras = project.get("optional-dependencies", {}).values()
    texts = [*project.get("dependencies", []), *(text for extra in extras for text in extra)]
    try:
        requirements = tuple(Requirement(text) for text in texts)
        version = Version(project["version"])
    except (InvalidRequirement, InvalidVersion) as error:
        raise WorkspaceError(f"{short(path)} cannot be read: {error}") from error
    return Member(canonicalize_name(project["name"]), folder, version, requirements)


def _read_toml(path: Path) -> dict:
    try:
        return tomllib.loads(_read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise WorkspaceError(f"{short(path)} is not valid TOML: {error}") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise WorkspaceError(f"{short(path)} cannot be read: {error.strerror}") from error
