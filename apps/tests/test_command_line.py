"""How scripts end: in one sentence and a code, or loudly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from slot_core import ConfigError
from slot_data import DataError
from slot_eval import EvalError
from support.command_line import run


def greet(name: str, times: int = 1) -> None:
    """Greet somebody."""
    if name in ERRORS:
        raise ERRORS[name]
    print(" ".join(["hello"] * times), name)


ERRORS: dict[str, BaseException] = {
    "config": ConfigError("run.yaml: unknown key 'a'"),
    "data": DataError("a.png cannot be read"),
    "eval": EvalError("there is no protocol 'x'"),
    "bug": ValueError("shapes differ"),
    "interrupt": KeyboardInterrupt(),
}


def ending(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        run(greet, arguments)
    code = exit_info.value.code
    return 0 if code is None else int(code)


def test_success_exits_with_0(capsys: pytest.CaptureFixture[str]):
    assert ending("Ada", "--times", "2") == 0
    assert capsys.readouterr().out == "hello hello Ada\n"


def test_help_exits_with_0_and_shows_the_docstring(capsys: pytest.CaptureFixture[str]):
    assert ending("--help") == 0
    assert "Greet somebody." in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["config", "data", "eval"])
def test_wrong_input_is_one_sentence_and_code_2(kind: str, capsys: pytest.CaptureFixture[str]):
    assert ending(kind) == 2
    assert capsys.readouterr().err == f"error: {ERRORS[kind]}\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "'name'"),
        (["Ada", "--times", "x"], "'--times'"),
        (["Ada", "--tims", "2"], "--tims"),
        (["Ada", "Grace"], "Grace"),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
):
    assert ending(*arguments) == 2
    sentence = capsys.readouterr().err
    assert sentence.startswith("error: ")
    assert sentence.count("\n") == 1
    assert named in sentence


def test_a_bug_stays_loud():
    with pytest.raises(ValueError, match="shapes differ"):
        run(greet, ["bug"])


FULL = {
    "GPU": torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has a capacity of 10 GiB."
    ),
    "CPU": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
    ),
    "Python": MemoryError(),
}


@pytest.mark.parametrize("kind", FULL)
def test_too_little_memory_is_one_sentence_that_names_the_page(
    kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(ERRORS, kind, FULL[kind])
    assert ending(kind) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: not enough memory (")
    assert said.endswith("'Out of memory' in apps/troubleshooting.md says what to change\n")
    assert said.count("\n") == 1
    page = Path(__file__).parents[1] / "troubleshooting.md"
    assert "\n### Out of memory\n" in page.read_text(encoding="utf-8")


def test_an_interrupt_is_one_word_and_130(capsys: pytest.CaptureFixture[str]):
    assert ending("interrupt") == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_each_of_several_processes_says_its_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RANK", "1")
    assert ending("data") == 2
    assert capsys.readouterr().err == "error in process 1: a.png cannot be read\n"


LEAVES = """
import atexit, sys
import typer
from support.command_line import run_and_leave
from slot_core import ConfigError

class Last:
    def __del__(self):
        print("the interpreter was taken down")

def main(code: int) -> None:
    if code == 2:
        raise ConfigError("nothing is there")
    print("done", end="")
    raise typer.Exit(code)

last = Last()
atexit.register(print, ", and put away")
run_and_leave(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "printed"),
    [(0, "done, and put away\n"), (75, "done, and put away\n"), (2, ", and put away\n")],
)
def test_one_of_several_processes_leaves_without_taking_the_interpreter_down(code, printed):
    command = [sys.executable, "-c", LEAVES, str(code)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    left = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (left.returncode, left.stdout) == (code, printed)
    assert left.stderr == ("error: nothing is there\n" if code == 2 else "")
