"""Gives a running simulator scenes and a running planner their tasks: `python -m demo.play pick_place`."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from demo.link import Link

TASKS = ("pick_place", "reach")
START_LIMIT_S = 120.0
SCENE_LIMIT_S = 90.0
TASK_LIMIT_S = 150.0
PAUSE_S = 2.0


class Late(RuntimeError):
    """Something did not happen in time."""


def wait(link: Link, what: str, condition: Callable[[], bool], limit_s: float) -> None:
    """Polls until `condition` holds. Raises `Late`."""
    until = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > until:
            raise Late(f"{what}: not within {limit_s:.0f} s")
        time.sleep(0.05)
        link.poll()


def episode(link: Link, task_file: Path, seed: int, folder: Path) -> str:
    """One scene, from its goal images to the end of the task; returns how that ended. Raises `Late`."""
    folder.mkdir(parents=True, exist_ok=True)
    task_file = Path(shutil.copy(task_file, folder))
    number = link.command("new_episode", task=task_file.stem, seed=seed, goal_directory=str(folder))

    def scene_ready() -> bool:
        state = link.state or {}
        return state.get("id") == number and bool(state.get("ready") or state.get("error"))

    wait(link, f"scene {seed}", scene_ready, SCENE_LIMIT_S)
    if (link.state or {}).get("error"):
        return str((link.state or {})["error"])
    before = link.status.task_id if link.status else 0
    link.load_task(task_file)
    wait(
        link,
        "the planner takes the task",
        lambda: link.status is not None and link.status.task_id > before,
        10,
    )
    wait(link, "the task ends", lambda: link.status is not None and link.status.task_ended, TASK_LIMIT_S)
    return link.status.task_state if link.status else ""


def main(arguments: list[str] | None = None) -> int:
    """Plays episode after episode; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.play", description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seed", type=int, default=1, help="draws the scenes; same seed, same scenes")
    parser.add_argument("--episodes", type=int, default=0, help="how many; 0: until it is stopped")
    parser.add_argument("--tasks", type=Path, required=True, help="folder with TASK.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder for the goal images")
    given = parser.parse_args(arguments)
    task_file = given.tasks / f"{given.task}.yaml"
    link = Link()
    done = 0
    try:
        wait(link, "simulator and planner are there", lambda: all(link.connected()), START_LIMIT_S)
        while given.episodes == 0 or done < given.episodes:
            outcome = episode(link, task_file, 1000 * given.seed + done, given.out / f"{done:03d}")
            done += 1
            print(f"episode {done}: {outcome}", flush=True)
            time.sleep(PAUSE_S)
    except Late as error:
        print(f"play: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
