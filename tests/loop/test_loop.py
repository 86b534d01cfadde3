"""The whole loop with the simulator: over DDS, in real time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from demo.processes import Children
from robot import ROOT, PlannerNode, Robot, wait_for, write_task
from sim.dds import RELIABLE, DiagnosticStatus, JointTrajectory, Node, String


def test_the_arm_reaches_what_a_picture_shows(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "demo", "--task", "reach", "--episodes", "2", "--seed", "5"]
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "python"))
    run = subprocess.run(
        [*command, "--out", str(tmp_path)],
        cwd=ROOT,
        env=environment,
        timeout=180,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["reached"] == 2
    assert max(summary["final_error_cm"]) < 2.0
    assert summary["deadline_misses"] == 0
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_the_node_survives_the_simulator_stopping_and_coming_back(tmp_path: Path) -> None:
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "python"))
    simulator = [sys.executable, "-m", "sim", "--max-seconds", "120"]
    node_side = Node()
    statuses = node_side.reader("/vjepa_planner/status", DiagnosticStatus, RELIABLE)
    commands = node_side.reader("/panda_arm_controller/joint_trajectory", JointTrajectory, RELIABLE)
    tasks = node_side.writer("/vjepa_planner/load_task", String, RELIABLE)
    seen = {"state": "", "error": "", "commands": 0}

    def look() -> dict:
        for message in statuses.take(100):
            if isinstance(message, DiagnosticStatus):
                values = {pair.key: pair.value for pair in message.values}
                seen.update(state=values["state"], error=values["error"])
        seen["commands"] += sum(isinstance(m, JointTrajectory) for m in commands.take(100))
        return seen

    def moves() -> bool:
        before = look()["commands"]
        time.sleep(0.5)
        return look()["commands"] > before and seen["state"] == "active"

    from robot import scenery

    with Children() as children, PlannerNode(tmp_path / "node.log") as node:
        first = children.start("simulator", simulator, tmp_path / "sim1.log", environment)
        wait_for(lambda: look()["state"] == "active", 30, "inputs are there")
        wait_for(lambda: bool(tasks.get_matched_subscriptions()), 20, "the node listens")
        tasks.write(String(str(write_task(tmp_path, scenery(1)))))
        wait_for(moves, 30, "the arm moves")

        first.signal_group(signal.SIGKILL)
        wait_for(lambda: look()["state"] == "holding", 5, f"the node holds: {seen}")
        assert "joint" in seen["error"] or "camera" in seen["error"]
        time.sleep(0.5)
        sent = look()["commands"]
        time.sleep(2.0)
        assert look()["commands"] == sent, "nothing is sent while it holds"
        assert node.process.poll() is None

        children.start("simulator", simulator, tmp_path / "sim2.log", environment)
        wait_for(moves, 30, "the arm moves again")


def test_the_node_ends_cleanly_when_asked(tmp_path: Path) -> None:
    with Robot() as robot, PlannerNode(tmp_path / "node.log") as node:
        wait_for(lambda: robot.status.state == "active", 30, "the node is ready")
        node.process.send_signal(signal.SIGINT)
        assert node.process.wait(5) == 0
