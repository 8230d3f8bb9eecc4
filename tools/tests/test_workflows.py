"""The workflows and .ci/run agree with the members and with what people are told to type."""

from fnmatch import fnmatch
from pathlib import Path

import yaml

from members import read_members

ROOT = Path(__file__).parents[2]


def workflow(name: str) -> dict:
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())


def test_ci_runs_the_one_script():
    [job] = workflow("ci.yml")["jobs"].values()
    assert "bash .ci/run" in [step.get("run") for step in job["steps"]]


def test_each_member_has_a_tag_that_publishes_it():
    # YAML 1.1 reads the key `on` as true.
    patterns = workflow("release.yml")[True]["push"]["tags"]
    for member in read_members(ROOT).values():
        tag = f"{member.name}-v{member.version}"
        assert len([pattern for pattern in patterns if fnmatch(tag, pattern)]) == 1
    assert len(patterns) == len(read_members(ROOT))


def test_ci_types_the_test_command_of_the_contributing_guide():
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    script = (ROOT / ".ci" / "run").read_text()
    for command in ("uv run pytest\n", "uv run pytest -m slow"):
        assert command in script
        assert command.strip() in guide
