"""The node, started as a process, and ROS's own command-line tools (`make test-ros`)."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0


def ros2(*words: str, timeout: float = PATIENCE_S) -> str:
    """The output of `ros2 WORDS`. Fails the test when it fails."""
    done = subprocess.run(
        ["ros2", *words], capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT
    )
    assert done.returncode == 0, f"ros2 {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def until_ros2_says(what: str, *words: str) -> str:
    """Repeats `ros2 WORDS` until its output holds `what`: discovery takes its time."""
    until = time.monotonic() + PATIENCE_S
    while True:
        said = ros2(*words)
        if what in said:
            return said
        assert time.monotonic() < until, f"ros2 {' '.join(words)} does not say {what!r} but {said!r}"
        time.sleep(0.5)


@pytest.fixture(scope="session")
def adapter() -> str:
    """The adapter under test."""
    return os.environ["VJEPA_ADAPTER"]


@pytest.fixture(scope="module")
def node(adapter: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen]:
    """The planner in shadow mode, as `/cell/planner`."""
    log = tmp_path_factory.mktemp(adapter) / "planner.log"
    command = [os.environ["VJEPA_NODE"], "--adapter", adapter, "--ros-args", "-r", "__node:=planner"]
    command += ["-r", "__ns:=/cell", "--params-file", str(ROOT / "config/planner.yaml")]
    with log.open("w") as output:
        process = subprocess.Popen(command, stderr=output, stdout=output, cwd=ROOT)
    until_ros2_says("/cell/planner", "node", "list")
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0, log.read_text()
