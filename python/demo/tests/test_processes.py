"""Nothing that the runner started outlives it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.processes import Children, ProcessDied, log_tail

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]]) if len(sys.argv) > 1 else None
print("ready", child.pid if child else 0, flush=True)
time.sleep(60)
"""


def _wait_for(path: Path, text: str, limit_s: float = 10.0) -> str:
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if path.exists() and text in path.read_text():
            return path.read_text()
        time.sleep(0.01)
    raise AssertionError(f"{text!r} never appeared in {path}")


def _alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected by its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_child_that_ignores_sigterm_is_killed_with_its_own_child(tmp_path):
    log = tmp_path / "log"
    with Children(grace_s=0.3) as children:
        command = [sys.executable, "-c", STUBBORN, STUBBORN]
        child = children.start("stubborn", command, log, os.environ)
        grandchild = int(_wait_for(log, "ready").split()[1])
        assert _alive(child.pid)
        assert _alive(grandchild)
    assert not _alive(child.pid)
    assert not _alive(grandchild)


def test_an_error_in_the_block_ends_the_children(tmp_path):
    started = time.monotonic()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Children() as children:
        child = children.start("sleeper", ["sleep", "60"], tmp_path / "log", os.environ)
        raise KeyboardInterrupt
    assert not _alive(child.pid)
    assert time.monotonic() - started < 3.0
    assert signal.getsignal(signal.SIGINT) is before


def test_a_dead_child_is_named_with_the_end_of_its_log(tmp_path):
    log = tmp_path / "log"
    with Children() as children:
        child = children.start("the node", ["sh", "-c", "echo no such model; exit 3"], log, os.environ)
        until = time.monotonic() + 5.0
        while child.running() and time.monotonic() < until:
            time.sleep(0.01)
        with pytest.raises(ProcessDied, match=r"the node ended with exit code 3(.|\n)*no such model"):
            children.check()


def test_children_end_when_the_runner_is_killed(tmp_path):
    program = (
        "import os, sys, time; from pathlib import Path; from demo.processes import Children\n"
        "with Children() as children:\n"
        "    child = children.start('sleeper', ['sleep', '60'], Path(sys.argv[1]), os.environ)\n"
        "    print(child.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    runner = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "log"], stdout=subprocess.PIPE, text=True
    )
    child = int(runner.stdout.readline())
    assert _alive(child)
    runner.kill()
    runner.communicate()
    until = time.monotonic() + 5.0
    while _alive(child) and time.monotonic() < until:
        time.sleep(0.01)
    assert not _alive(child)


def test_log_tail_copes_with_missing_and_binary_logs(tmp_path):
    assert "empty" in log_tail(tmp_path / "absent")
    (tmp_path / "log").write_bytes(b"one\n\n\xff\xfe two\n")
    assert log_tail(tmp_path / "log", 1).endswith("two")
