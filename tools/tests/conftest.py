"""Workspaces to release from: tiny ones without dependencies, and a copy of this one."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from environments import Environment, commit_everything, copy_workspace

ROOT_PYPROJECT = """
[project]
name = "tiny"
version = "0.0.0"
requires-python = ">=3.11"
dependencies = ["alpha", "beta"]

[tool.uv]
package = false

[tool.uv.workspace]
members = ["packages/*"]

[tool.uv.sources]
alpha = { workspace = true }
beta = { workspace = true }
"""

MEMBER_PYPROJECT = """
[project]
name = "{name}"
version = "{version}"
requires-python = ">=3.11"
dependencies = {dependencies}

[build-system]
requires = ["uv_build>=0.9,<1"]
build-backend = "uv_build"
"""


@pytest.fixture
def tiny_workspace(tmp_path: Path) -> Callable[..., Path]:
    """Make a workspace of `alpha` and of `beta`, which requires alpha as the test says."""

    def make(beta_requires: str = "alpha>=0.1,<0.2", alpha_version: str = "0.1.0") -> Path:
        root = tmp_path / "tiny"
        root.mkdir()
        (root / "pyproject.toml").write_text(ROOT_PYPROJECT)
        (root / ".gitignore").write_text("dist/\n")
        _write_member(root, "alpha", alpha_version, [])
        _write_member(root, "beta", "0.1.0", [beta_requires])
        return root

    return make


@pytest.fixture
def tiny_repository(tiny_workspace: Callable[..., Path]) -> Path:
    """A locked and committed tiny workspace, ready for a release."""
    root = tiny_workspace()
    subprocess.run(["uv", "lock", "--quiet"], cwd=root, check=True)
    commit_everything(root)
    return root


@pytest.fixture(scope="module")
def workspace_copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """This workspace's own files in another place, gone after the module's tests."""
    root = tmp_path_factory.mktemp("copy")
    copy_workspace(root)
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """An empty environment outside any workspace, gone after the module's tests."""
    folder = tmp_path_factory.mktemp("environment")
    yield Environment(folder)
    shutil.rmtree(folder)


def _write_member(root: Path, name: str, version: str, dependencies: list[str]) -> None:
    folder = root / "packages" / name
    source = folder / "src" / name
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("")
    text = MEMBER_PYPROJECT.format(name=name, version=version, dependencies=dependencies)
    (folder / "pyproject.toml").write_text(text)
    (folder / "CHANGELOG.md").write_text(f"# {name}\n\n## {version}\n\nFirst version.\n")
