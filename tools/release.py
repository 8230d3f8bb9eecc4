"""Release one package of the workspace: bump, check, build, commit, tag.

    uv run python tools/release.py slot-core --bump minor     a new version
    uv run python tools/release.py slot-core                  the version as it stands
    uv run python tools/release.py --from-tag slot-core-v0.2.0    what CI does on a tag: no commit
    uv run python tools/release.py --check                    only the ranges between siblings

Everything that can be checked is checked before the first byte is written, and a failing
build leaves the tree as it was. Publishing is not done here: pushing the tag does it, see
RELEASING.md.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from members import (
    Member,
    WorkspaceError,
    changelog_entry,
    range_problems,
    read_members,
    short,
    wheel_problems,
)


def main() -> int:
    options = parse_options()
    root = options.workspace.resolve()
    try:
        members = read_members(root)
        if options.check:
            refuse(range_problems(members))
            print(f"the ranges between {', '.join(members)} hold")
        else:
            release(root, members, options)
    except WorkspaceError as error:
        for problem in error.args:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    return 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Release one package of the workspace.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("package", nargs="?", help="the member to release, for example slot-core")
    what.add_argument("--from-tag", metavar="TAG", help="build what an existing tag names")
    what.add_argument("--check", action="store_true", help="check the sibling ranges, no more")
    parser.add_argument("--bump", choices=["patch", "minor", "major"])
    parser.add_argument("--dry-run", action="store_true", help="check and say, write nothing")
    parser.add_argument("--no-tag", action="store_true", help="commit the version, do not tag it")
    parser.add_argument(
        "--index", type=Path, metavar="DIR", help="also copy the built files into this folder"
    )
    parser.add_argument(
        "--workspace", type=Path, default=Path(__file__).parent.parent, metavar="DIR"
    )
    options = parser.parse_args()
    if options.bump and not options.package:
        parser.error("--bump needs the name of a package")
    return options


def release(root: Path, members: dict[str, Member], options: argparse.Namespace) -> None:
    """Check everything, then write: version, build, index, commit, tag, in this order."""
    old = find_member(members, options)
    new = old.with_version(bumped(old.version, options.bump))
    tag = f"{new.name}-v{new.version}"
    on_tag = options.from_tag is not None

    refuse(range_problems({**members, new.name: new}))
    changelog_entry(new, new.version)
    if on_tag:
        check_tag_matches(options.from_tag, tag)
    else:
        check_tree_is_clean(root)
        check_tag_is_free(root, tag)
    check_siblings_are_released(root, new, members)
    if options.index:
        check_index_is_free(options.index, new)
    if options.dry_run:
        print(f"would release {new.name} {new.version} (now {old.version}) as {tag}")
        return

    with restored_on_failure(new.pyproject, root / "uv.lock"):
        if new.version != old.version:
            run(root, "uv", "version", "--package", new.name, str(new.version), "--no-sync")
        built = build(root, new, siblings=set(members))
        if new.version != old.version:
            commit(root, new)
    if not on_tag and not options.no_tag:
        run(root, "git", "tag", "-a", tag, "-m", f"{new.name} {new.version}")
        print(f"tagged {tag}; `git push origin HEAD {tag}` publishes it")
    for file in built:
        print(f"built {file.relative_to(root)}")
        if options.index:
            options.index.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, options.index)


def refuse(problems: list[str]) -> None:
    """All problems at once: a person would rather fix them in one go."""
    if problems:
        raise WorkspaceError(*problems)


def find_member(members: dict[str, Member], options: argparse.Namespace) -> Member:
    name = options.package
    if name is None:
        name = options.from_tag.rpartition("-v")[0] or options.from_tag
    member = members.get(canonicalize_name(name))
    if member is None:
        raise WorkspaceError(f"'{name}' is no package here, expected one of {', '.join(members)}")
    return member


def bumped(version: Version, part: str | None) -> Version:
    match part:
        case "major":
            return Version(f"{version.major + 1}.0.0")
        case "minor":
            return Version(f"{version.major}.{version.minor + 1}.0")
        case "patch":
            return Version(f"{version.major}.{version.minor}.{version.micro + 1}")
    return version


def check_tag_matches(given: str, expected: str) -> None:
    if given != expected:
        raise WorkspaceError(f"the tag is {given} but the files say {expected}")


def check_tree_is_clean(root: Path) -> None:
    changed = run(root, "git", "status", "--porcelain").splitlines()
    if changed:
        names = ", ".join(line[3:] for line in changed)
        raise WorkspaceError(f"the work tree has changes that are not committed: {names}")


def check_tag_is_free(root: Path, tag: str) -> None:
    if run(root, "git", "tag", "--list", tag).strip():
        raise WorkspaceError(f"the tag {tag} exists; a released version is never made again")


def check_siblings_are_released(root: Path, member: Member, members: dict[str, Member]) -> None:
    """A package whose sibling is not out yet could not be installed by anyone."""
    for requirement in member.requirements:
        sibling = canonicalize_name(requirement.name)
        if sibling not in members or sibling == member.name:
            continue
        tags = run(root, "git", "tag", "--list", f"{sibling}-v*").split()
        versions = [tag.removeprefix(f"{sibling}-v") for tag in tags]
        if not list(requirement.specifier.filter(versions, prereleases=True)):
            raise WorkspaceError(
                f"{member.name} requires '{requirement}', and no {sibling} in that range has "
                f"a tag; release {sibling} first"
            )


def check_index_is_free(index: Path, member: Member) -> None:
    stem = f"{member.name.replace('-', '_')}-{member.version}"
    held = [file.name for ending in ("-*.whl", ".tar.gz") for file in index.glob(stem + ending)]
    if held:
        raise WorkspaceError(f"{index} already holds {held[0]}; a version is never replaced")


def build(root: Path, member: Member, siblings: set[str]) -> list[Path]:
    """Build into an empty folder, look at the wheel, and only then move it to dist/."""
    with tempfile.TemporaryDirectory() as scratch:
        run(root, "uv", "build", "--package", member.name, "--out-dir", scratch)
        files = sorted(Path(scratch).glob("*.whl")) + sorted(Path(scratch).glob("*.tar.gz"))
        if len(files) != 2:
            raise WorkspaceError(f"expected a wheel and a source archive, uv built {files}")
        refuse(wheel_problems(files[0], member, siblings))
        (root / "dist").mkdir(exist_ok=True)
        return [Path(shutil.copy2(file, root / "dist")) for file in files]


def commit(root: Path, member: Member) -> None:
    files = [str(path.relative_to(root)) for path in (member.pyproject, root / "uv.lock")]
    message = f"Release {member.name} {member.version}"
    run(root, "git", "commit", "--quiet", "-m", message, "--", *files)
    print(f"committed {short(member.pyproject)} and uv.lock: {message}")


@contextmanager
def restored_on_failure(*paths: Path) -> Iterator[None]:
    """The tree was clean at the start, so the old bytes are all there is to restore."""
    before = {path: path.read_bytes() for path in paths if path.exists()}
    try:
        yield
    except BaseException:
        for path, content in before.items():
            path.write_bytes(content)
        raise


def run(root: Path, *command: str) -> str:
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise WorkspaceError(f"the program {command[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        reason = " ".join((error.stderr or error.stdout).split())
        raise WorkspaceError(f"`{' '.join(command)}` failed: {reason}") from error
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
