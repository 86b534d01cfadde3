"""Child processes that never outlive the runner."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
LOG_LINES_SHOWN = 12


class ProcessDied(RuntimeError):
    """A child ended although it is still needed; the message carries the end of its log."""


def _die_with_parent() -> None:
    """In the child: ask the kernel for SIGTERM when the runner is killed in a way it cannot handle."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def log_tail(path: Path, lines: int = LOG_LINES_SHOWN) -> str:
    """The last non-empty lines of a log, indented; a remark when there are none."""
    with contextlib.suppress(OSError):
        kept = [line for line in path.read_text(errors="replace").splitlines() if line.strip()][-lines:]
        if kept:
            return "\n".join(f"    {line}" for line in kept)
    return "    (its log is empty)"


class Child:
    """One process in a process group of its own, its output in a log file."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path
    ) -> None:
        """Starts `command` in `folder`. Raises `FileNotFoundError` when its program does not exist."""
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
                # Safe: children start before the DDS participant, so that no thread exists yet.
                preexec_fn=_die_with_parent,  # noqa: PLW1509
            )

    @property
    def pid(self) -> int:
        """Process id, which is the id of its group too."""
        return self._process.pid

    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def exit_code(self, limit_s: float) -> int | None:
        """Waits for the end of the process; `None` when it still runs after `limit_s`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(limit_s)
        return None

    def check(self) -> None:
        """Raises `ProcessDied` with the last log lines when the process has ended."""
        code = self._process.poll()
        if code is None:
            return
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise ProcessDied(f"{self.name} {how}; the end of {self.log}:\n{log_tail(self.log)}")

    def signal_group(self, number: signal.Signals) -> None:
        """Sends a signal to the process and its descendants; nothing when they are gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def group_alive(self) -> bool:
        """Whether any process of the group is left (the child itself is reaped here)."""
        self._process.poll()
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


class Children:
    """Context manager that ends all children, whatever happens in the block."""

    def __init__(self, grace_s: float = 4.0, folder: Path = Path()) -> None:
        """`grace_s`: seconds that a child may take to end after SIGTERM; `folder`: where they run."""
        self._children: list[Child] = []
        self._grace_s = grace_s
        self._folder = folder

    def start(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Child:
        """Starts a child that this manager will end."""
        child = Child(name, command, log, environment, self._folder)
        self._children.append(child)
        return child

    def check(self) -> None:
        """Raises `ProcessDied` when any child has ended."""
        for child in self._children:
            child.check()

    def stop(self, *chosen: Child) -> None:
        """Ends the chosen children (default: all): SIGTERM, then SIGKILL for what is left of their groups."""
        ending = list(chosen or reversed(self._children))
        for number, limit_s in ((signal.SIGTERM, self._grace_s), (signal.SIGKILL, 2.0)):
            for child in ending:
                child.signal_group(number)
            until = time.monotonic() + limit_s
            while time.monotonic() < until and any(child.group_alive() for child in ending):
                time.sleep(0.02)
        self._children = [child for child in self._children if child not in ending]

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        # A second Ctrl-C must not leave processes behind.
        handlers = {
            number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            self.stop()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
