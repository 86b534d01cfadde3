"""The node's status message, read into numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

LEVEL_ERROR = 2


def _number(values: Mapping[str, str], key: str) -> float | None:
    """The finite number under `key`; `None` when it is absent, empty, not a number or not finite."""
    try:
        number = float(values.get(key, ""))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _count(values: Mapping[str, str], key: str) -> int:
    number = _number(values, key)
    return 0 if number is None else int(number)


@dataclass(frozen=True)
class NodeStatus:
    """One message of /vjepa_planner/status. Energies have no unit; `None` means not known yet."""

    level: int = 0
    message: str = ""
    lifecycle: str = ""
    state: str = ""
    task: str = ""
    task_state: str = "none"
    task_id: int = 0
    error: str = ""
    goal: str = ""
    goal_index: int = 0
    goal_count: int = 0
    goal_step: int = 0
    energy: float | None = None
    planned_energy: float | None = None
    plan_id: int = 0
    planning_ms: float | None = None
    predictor_calls: int = 0
    deadline_misses: int = 0
    frames_received: int = 0
    frames_dropped: int = 0
    optimizer: str = ""
    model: str = ""
    provider: str = ""
    provider_fallback: str = ""

    @property
    def task_ended(self) -> bool:
        """Whether the node has finished its task, well or badly."""
        return self.task_state in ("succeeded", "failed")

    @classmethod
    def parse(cls, level: int, message: str, values: Mapping[str, str]) -> NodeStatus:
        """From level, text and key-value pairs of a DiagnosticStatus; unknown keys are ignored."""
        texts = (
            "lifecycle",
            "state",
            "task",
            "error",
            "goal",
            "optimizer",
            "model",
            "provider",
            "provider_fallback",
        )
        counts = (
            "task_id",
            "goal_index",
            "goal_count",
            "goal_step",
            "plan_id",
            "predictor_calls",
            "deadline_misses",
            "frames_received",
            "frames_dropped",
        )
        numbers = ("energy", "planned_energy", "planning_ms")
        return cls(
            level=level,
            message=message,
            task_state=values.get("task_state") or "none",
            **{key: values.get(key, "") for key in texts},
            **{key: _count(values, key) for key in counts},
            **{key: _number(values, key) for key in numbers},
        )
