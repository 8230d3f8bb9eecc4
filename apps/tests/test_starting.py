"""What every app does before PyTorch is loaded: it tells OpenMP, which reads it then, how to wait,
and ends with one word on Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import starting
from support.command_line import run

APPS = Path(__file__).parents[1]
# Run an app until it, or what it imports, asks for torch.
UNTIL_TORCH = """
import os, runpy, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"))
            sys.exit(0)

sys.meta_path.insert(0, Watch())
sys.path.insert(0, os.path.dirname(sys.argv[1]))
runpy.run_path(sys.argv[1])
print("torch is not imported")
"""


@pytest.mark.parametrize("stated", [None, "ACTIVE"])
@pytest.mark.parametrize("app", sorted(APPS.glob("*.py")), ids=lambda app: app.stem)
def test_threads_that_wait_sleep_unless_told_otherwise(app: Path, stated: str | None):
    told = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    told |= {} if stated is None else {"OMP_WAIT_POLICY": stated}
    command = [sys.executable, "-c", UNTIL_TORCH, str(app)]
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (stated or "PASSIVE")


@pytest.mark.slow
def test_a_mistake_is_told_before_what_a_training_alone_needs_is_imported():
    code = "import sys, train; print([name for name in sys.argv[1:] if name in sys.modules])"
    heavy = ["torch._dynamo", "torch.distributed.tensor", "sympy", "matplotlib", "diffusers"]
    environment = {**os.environ, "PYTHONPATH": str(APPS)}
    done = subprocess.run(
        [sys.executable, "-c", code, "torch", *heavy],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "['torch']\n"


# In the place of torch: while it is imported, Ctrl-C is pressed.
PRESSED = """
import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
time.sleep(0.1)
raise SystemExit("the import went on")
"""


@pytest.fixture(scope="module")
def pressed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which that happens to whoever imports torch."""
    folder = tmp_path_factory.mktemp("pressed")
    (folder / "torch.py").write_text(PRESSED)
    return {**os.environ, "PYTHONPATH": str(folder)}


def hear() -> None:
    """Ctrl-C, also where the tests were started deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def pressed_in(environment: dict[str, str], *command: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=hear,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("app", sorted(APPS.glob("*.py")), ids=lambda app: app.stem)
def test_ctrl_c_while_torch_is_imported_is_one_word(app: Path, pressed: dict[str, str]):
    assert pressed_in(pressed, str(app)) == (130, "", "interrupted\n")


def test_of_several_processes_one_says_it(pressed: dict[str, str]):
    assert pressed_in({**pressed, "RANK": "1"}, str(APPS / "train.py")) == (130, "", "")


def test_who_imports_an_app_keeps_what_ctrl_c_is(pressed: dict[str, str]):
    code = f"import sys; sys.path.insert(0, {str(APPS)!r}); import train"
    ended, _, told = pressed_in(pressed, "-c", code)
    assert ended != 130
    assert told.endswith("KeyboardInterrupt\n")


def test_once_everything_is_imported_ctrl_c_is_pythons():
    signal.signal(signal.SIGINT, starting.stop)  # the fixture puts back what was there
    with pytest.raises(SystemExit):
        run(lambda: None, [])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
