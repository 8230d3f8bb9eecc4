"""What the command does before PyTorch is loaded: how threads wait, and Ctrl-C meanwhile."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from slot_eval import cli, starting

# In the place of torch: while it is imported, Ctrl-C is pressed.
PRESSED = """
import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
time.sleep(0.1)
raise SystemExit("the import went on")
"""


def hear():
    """Ctrl-C, also where the tests were started deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


# Likewise, for how threads wait.
ASKED = """
import os
print(os.environ.get("OMP_WAIT_POLICY"), end="")
raise SystemExit
"""


def pressed_in(folder, *command, torch=PRESSED, **told):
    (folder / "torch.py").write_text(torch)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [str(word) for word in command],
        env={**environment, "PYTHONPATH": str(folder), **told},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=hear,
    )
    return done.returncode, done.stdout, done.stderr


def test_ctrl_c_while_torch_is_imported_is_one_word(tmp_path):
    command = Path(sys.executable).with_name("slot-eval")
    assert pressed_in(tmp_path, command, "--help") == (130, "", "interrupted\n")


def test_threads_that_wait_sleep_unless_told_otherwise(tmp_path):
    command = Path(sys.executable).with_name("slot-eval")
    assert pressed_in(tmp_path, command, torch=ASKED)[1] == "PASSIVE"
    assert pressed_in(tmp_path, command, torch=ASKED, OMP_WAIT_POLICY="ACTIVE")[1] == "ACTIVE"
    importer = (sys.executable, "-c", "import slot_eval")
    assert pressed_in(tmp_path, *importer, torch=ASKED)[1] == "None"


def test_who_imports_the_package_keeps_what_ctrl_c_is(tmp_path):
    ended, _, told = pressed_in(tmp_path, sys.executable, "-c", "import slot_eval")
    assert ended != 130
    assert told.endswith("KeyboardInterrupt\n")


def test_once_everything_is_imported_ctrl_c_is_pythons(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["slot-eval", "--help"])
    before = signal.signal(signal.SIGINT, starting.stop)
    with pytest.raises(SystemExit):
        cli.main()
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
