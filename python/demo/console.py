"""The live progress line."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from demo.status import NodeStatus

PLAIN_PERIOD_S = 2.0


def progress_text(episode: str, status: NodeStatus, elapsed_s: float) -> str:
    """One line: which goal, its energy, what the last plan cost."""
    goal = f"goal {status.goal_index + 1} of {status.goal_count}" if status.goal_count else "no goal yet"
    energy = "    –" if status.energy is None else f"{status.energy:5.3f}"
    planning = "  –" if status.planning_ms is None else f"{status.planning_ms:3.0f}"
    return (
        f"{episode}  {goal} {status.goal:<12}  energy {energy}  planning {planning} ms"
        f"  predictor calls {status.predictor_calls:3d}  {elapsed_s:5.1f} s"
    )


class Progress:
    """Rewrites one line on a terminal; elsewhere prints one when the goal changes and every two seconds."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()
        self._open = False
        self._last_printed = -PLAIN_PERIOD_S
        self._last_goal: tuple[str, int] | None = None

    def show(self, episode: str, status: NodeStatus, elapsed_s: float) -> None:
        """Shows the newest status of an episode."""
        text = progress_text(episode, status, elapsed_s)
        if self._live:
            self._stream.write(f"\r\x1b[K{text}")
            self._open = True
        else:
            now = time.monotonic()
            goal = (episode, status.goal_index)
            if goal == self._last_goal and now - self._last_printed < PLAIN_PERIOD_S:
                return
            self._last_goal, self._last_printed = goal, now
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def say(self, text: str) -> None:
        """Prints a line of its own; a live line above it stays."""
        if self._open:
            self._stream.write("\n")
            self._open = False
        self._stream.write(f"{text}\n")
        self._stream.flush()
