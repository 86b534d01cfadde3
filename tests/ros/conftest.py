"""The node, started as a process, and ROS's own command-line tools (`make test-ros`)."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0


def ask(*words: str) -> subprocess.CompletedProcess:
    """`ros2 WORDS`, whether it succeeds or not."""
    return subprocess.run(
        ["ros2", *words], capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=ROOT
    )


def ros2(*words: str) -> str:
    """The output of `ros2 WORDS`. Fails the test when it fails."""
    done = ask(*words)
    assert done.returncode == 0, f"ros2 {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def until_ros2_says(what: str, *words: str) -> str:
    """Repeats `ros2 WORDS` until its output holds `what`: discovery takes its time."""
    until = time.monotonic() + PATIENCE_S
    while True:
        done = ask(*words)
        if what in done.stdout:
            return done.stdout
        said = done.stdout + done.stderr
        assert time.monotonic() < until, f"ros2 {' '.join(words)} does not say {what!r} but {said!r}"
        time.sleep(0.5)


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen]:
    """A process that has to end well when it is interrupted."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stderr=output, stdout=output, cwd=ROOT)
    try:
        yield process
        assert process.poll() is None, f"it ended by itself: {log.read_text()}"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        process.kill()


@pytest.fixture(scope="session")
def adapter() -> str:
    """The adapter under test."""
    return os.environ["VJEPA_ADAPTER"]


@pytest.fixture(scope="session")
def node(adapter: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen]:
    """The planner in shadow mode, as `/cell/planner`, not configured yet."""
    log = tmp_path_factory.mktemp(adapter) / "planner.log"
    command = [os.environ["VJEPA_NODE"], "--adapter", adapter, "--ros-args", "-r", "__node:=planner"]
    command += ["-r", "__ns:=/cell", "--params-file", str(ROOT / "config/planner.yaml")]
    with running(command, log) as process:
        until_ros2_says("/cell/planner", "node", "list")
        yield process


@pytest.fixture(scope="session")
def active(node: subprocess.Popen) -> subprocess.Popen:
    """The same, active."""
    until_ros2_says("unconfigured [1]", "lifecycle", "get", "/cell/planner")
    for transition, state in (("configure", "inactive [2]"), ("activate", "active [3]")):
        assert "Transitioning successful" in ros2("lifecycle", "set", "/cell/planner", transition)
        assert state in ros2("lifecycle", "get", "/cell/planner")
    return node
