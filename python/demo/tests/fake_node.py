"""Speaks the node's topics without planning: `… [-p fail:=1|refuse:=1|die:=1|hang:=1]`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import yaml

from sim.dds import RELIABLE, DiagnosticStatus, KeyValue, Node, String

STEPS, STEP_S = 3, 0.06


def main() -> None:
    """Walks through the goals of each task with falling energy, three steps each."""
    behaviour = {word.split(":=")[0] for word in sys.argv if ":=" in word}
    print("fake node", sys.argv[1:], flush=True)
    node = Node()
    tasks = node.reader("/vjepa_planner/load_task", String, RELIABLE)
    writer = node.writer("/vjepa_planner/status", DiagnosticStatus, RELIABLE)
    values: dict[str, object] = {"state": "inactive", "task_state": "none", "task_id": 0, "plan_id": 0}
    values |= {"model": "fake", "optimizer": "cem", "frames_received": 0, "frames_dropped": 0}
    goals: list[str] = []
    step = 0
    while True:
        for task in tasks.take(10):
            goals = [goal["name"] for goal in yaml.safe_load(Path(task.data).read_text())["goals"]]
            step = 0
            values |= {"task_id": values["task_id"] + 1, "task_state": "running", "state": "active"}
            if "refuse" in behaviour:
                values |= {"task_state": "failed", "error": "target.png: not an image"}
            if "die" in behaviour:
                sys.exit("a made-up end")
        if values["task_state"] == "running":
            if step < STEPS * len(goals):
                index = step // STEPS
                values |= {"goal": goals[index], "goal_index": index, "goal_count": len(goals)}
                values |= {
                    "goal_step": step % STEPS,
                    "energy": 0.8 / (1 + step % STEPS),
                    "planning_ms": 120 + step,
                }
                values |= {"plan_id": values["plan_id"] + 1, "predictor_calls": 33}
                step += 1
            elif "hang" not in behaviour:
                values["task_state"] = "failed" if "fail" in behaviour else "succeeded"
        values["frames_received"] += 1
        pairs = [KeyValue(key, str(value)) for key, value in values.items()]
        writer.write(DiagnosticStatus(0, "vjepa_planner", "fine", "", pairs))
        time.sleep(STEP_S)


if __name__ == "__main__":
    main()
