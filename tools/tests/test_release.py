"""The release command on a tiny workspace: what it writes, and what it refuses to touch."""

import subprocess
import sys
from pathlib import Path

RELEASE = Path(__file__).parents[1] / "release.py"


def release(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RELEASE), "--workspace", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def git(root: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def refused(root: Path, *arguments: str) -> str:
    """The one sentence of a release that is refused and leaves everything as it was."""
    before = git(root, "status", "--porcelain"), git(root, "rev-parse", "HEAD"), git(root, "tag")
    done = release(root, *arguments)
    after = git(root, "status", "--porcelain"), git(root, "rev-parse", "HEAD"), git(root, "tag")
    assert done.returncode == 2
    assert before == after
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def add_changelog(root: Path, name: str, version: str) -> None:
    path = root / "packages" / name / "CHANGELOG.md"
    path.write_text(path.read_text() + f"\n## {version}\n\nMore.\n")
    git(root, "commit", "--quiet", "--all", "-m", f"Write the changelog of {name} {version}")


def test_a_release_bumps_builds_commits_and_tags(tiny_repository: Path, tmp_path: Path):
    add_changelog(tiny_repository, "alpha", "0.1.1")
    done = release(tiny_repository, "alpha", "--bump", "patch", "--index", str(tmp_path / "index"))
    assert done.returncode == 0, done.stderr
    assert git(tiny_repository, "tag").split() == ["alpha-v0.1.1"]
    assert git(tiny_repository, "rev-parse", "alpha-v0.1.1^{}") == git(
        tiny_repository, "rev-parse", "HEAD"
    )
    assert git(tiny_repository, "log", "-1", "--format=%s").strip() == "Release alpha 0.1.1"
    assert git(tiny_repository, "status", "--porcelain") == ""
    assert 'version = "0.1.1"' in (tiny_repository / "packages/alpha/pyproject.toml").read_text()
    built = {file.name for file in (tmp_path / "index").iterdir()}
    assert built == {"alpha-0.1.1-py3-none-any.whl", "alpha-0.1.1.tar.gz"}


def test_without_a_bump_the_version_as_it_stands_is_tagged_once(tiny_repository: Path):
    head = git(tiny_repository, "rev-parse", "HEAD")
    assert release(tiny_repository, "alpha").returncode == 0
    assert git(tiny_repository, "rev-parse", "alpha-v0.1.0^{}") == head
    assert "alpha-v0.1.0 exists" in refused(tiny_repository, "alpha")


def test_a_dry_run_writes_nothing(tiny_repository: Path):
    add_changelog(tiny_repository, "alpha", "0.1.1")
    head = git(tiny_repository, "rev-parse", "HEAD")
    done = release(tiny_repository, "alpha", "--bump", "patch", "--dry-run")
    assert done.returncode == 0
    assert "would release alpha 0.1.1" in done.stdout
    assert git(tiny_repository, "status", "--porcelain", "--ignored") == ""
    assert git(tiny_repository, "rev-parse", "HEAD") == head


def test_no_tag_commits_only(tiny_repository: Path):
    add_changelog(tiny_repository, "alpha", "0.1.1")
    assert release(tiny_repository, "alpha", "--bump", "patch", "--no-tag").returncode == 0
    assert git(tiny_repository, "log", "-1", "--format=%s").strip() == "Release alpha 0.1.1"
    assert git(tiny_repository, "tag") == ""


def test_a_tag_that_is_there_is_built_without_a_commit(tiny_repository: Path):
    assert release(tiny_repository, "alpha").returncode == 0
    head = git(tiny_repository, "rev-parse", "HEAD")
    done = release(tiny_repository, "--from-tag", "alpha-v0.1.0")
    assert done.returncode == 0, done.stderr
    assert git(tiny_repository, "rev-parse", "HEAD") == head
    assert "alpha-v0.9.0" in refused(tiny_repository, "--from-tag", "alpha-v0.9.0")


def test_a_version_that_breaks_a_sibling_is_refused(tiny_repository: Path):
    add_changelog(tiny_repository, "alpha", "0.2.0")
    sentence = refused(tiny_repository, "alpha", "--bump", "minor")
    assert "packages/beta/pyproject.toml" in sentence
    assert "alpha 0.2.0" in sentence


def test_a_dirty_tree_is_refused_by_file(tiny_repository: Path):
    (tiny_repository / "packages/alpha/src/alpha/stray.py").write_text("")
    assert "packages/alpha/src/alpha/stray.py" in refused(tiny_repository, "alpha")


def test_a_missing_changelog_entry_is_refused(tiny_repository: Path):
    sentence = refused(tiny_repository, "alpha", "--bump", "patch")
    assert "CHANGELOG.md has no entry under the heading '## 0.1.1'" in sentence


def test_a_sibling_that_is_not_released_yet_is_named(tiny_repository: Path):
    assert "release alpha first" in refused(tiny_repository, "beta")
    assert release(tiny_repository, "alpha").returncode == 0
    assert release(tiny_repository, "beta").returncode == 0


def test_a_version_in_the_index_is_never_replaced(tiny_repository: Path, tmp_path: Path):
    (tmp_path / "alpha-0.1.0.tar.gz").write_text("")
    sentence = refused(tiny_repository, "alpha", "--index", str(tmp_path))
    assert "alpha-0.1.0.tar.gz" in sentence


def test_a_failing_build_leaves_the_tree_as_it_was(tiny_repository: Path):
    pyproject = tiny_repository / "packages/alpha/pyproject.toml"
    pyproject.write_text(
        pyproject.read_text().replace('requires-python = ">=3.11"', 'readme = "x"')
    )
    add_changelog(tiny_repository, "alpha", "0.1.1")
    assert "uv build" in refused(tiny_repository, "alpha", "--bump", "patch")


def test_an_unknown_package_lists_the_known_ones(tiny_repository: Path):
    assert "expected one of alpha, beta" in refused(tiny_repository, "gamma")


def test_check_reports_every_broken_range(tiny_repository: Path):
    assert release(tiny_repository, "--check").returncode == 0
    pyproject = tiny_repository / "packages/beta/pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("alpha>=0.1,<0.2", "alpha"))
    assert "without a lower and an upper bound" in refused(tiny_repository, "--check")
