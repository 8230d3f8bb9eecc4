"""Each member is tested alone: in an environment of what it declares and nothing else.

In the workspace's own environment an undeclared import passes, because a sibling brought the
package along. Here it fails. The members are tried with the locked versions, and once more
with the lowest versions that their pyproject.toml allows.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from environments import ROOT, Environment, uv
from members import read_members

MEMBERS = list(read_members(ROOT))

pytestmark = pytest.mark.slow


def locked(workspace: Path, name: str) -> str:
    """The member, its tests' needs and all they require, at the versions of uv.lock."""
    return uv(workspace, "export", "--quiet", "--locked", "--no-hashes", "--package", name)


def lowest(workspace: Path, name: str) -> str:
    """The same at the lowest versions allowed for whatever the member names itself."""
    pyproject = f"packages/{name}/pyproject.toml"
    pinned = uv(
        workspace, "pip", "compile", "--quiet", "--resolution", "lowest-direct",
        "--python-version", "3.11", "--no-header", "--no-annotate",
        "--group", f"{pyproject}:dev", pyproject,
    )  # fmt: skip
    return f"{pinned}\n-e ./packages/{name}\n"


def run_tests(
    environment: Environment, workspace: Path, name: str, *options: str
) -> subprocess.CompletedProcess[str]:
    package = f"packages/{name}"
    return environment.run(workspace, "-m", "pytest", "-q", "--tb=short", *options, package)


@contextmanager
def planted_import(workspace: Path, name: str, module: str) -> Iterator[None]:
    """The copy's package imports `module` first thing, until the block ends."""
    source = workspace / "packages" / name / "src" / name.replace("-", "_") / "__init__.py"
    text = source.read_text()
    source.write_text(f"{text}\nimport {module}\n")
    try:
        yield
    finally:
        source.write_text(text)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_passes_with_what_it_declares(
    environment: Environment, workspace_copy: Path, name: str
):
    environment.sync(workspace_copy, locked(workspace_copy, name))
    done = run_tests(environment, workspace_copy, name)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize(
    ("name", "module"), [("slot-core", "accelerate"), ("slot-data", "slot_core")]
)
def test_an_undeclared_import_fails(
    environment: Environment, workspace_copy: Path, name: str, module: str
):
    environment.sync(workspace_copy, locked(workspace_copy, name))
    with planted_import(workspace_copy, name, module):
        done = run_tests(environment, workspace_copy, name, "-x")
    assert done.returncode != 0
    assert f"No module named '{module}'" in done.stdout + done.stderr


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the oldest Python's lowest versions")
@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_passes_with_the_lowest_versions(
    environment: Environment, workspace_copy: Path, name: str
):
    environment.sync(workspace_copy, lowest(workspace_copy, name))
    done = run_tests(environment, workspace_copy, name)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
