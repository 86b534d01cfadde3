"""Closed loop without ROS, to judge a model quickly: `python -m sim.offline_eval MODEL TASK …`.

The same scenes, goal images, steps and switching of goals as in the demo, with a small planner of its own
over the exported graphs; frames are taken at rest. It says how good the model is, not how good the node is.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import yaml

from vjepa_ac.preprocess import preprocess

from .demonstration import MAX_STEP, Mover, demonstrate
from .scene import CUBE_HALF, FINGER_STROKE, IMAGE_HEIGHT, IMAGE_WIDTH, TASKS, Camera, Scene, draw_scene

TASK_FILES = Path(__file__).parents[2] / "config/tasks"
DESIGN_RADII = (0.7, 0.35, 0.12)
"""Half width of the design of each round, as a share of the box."""


class Model:
    """An exported model directory on ONNX Runtime."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.manifest = yaml.safe_load((folder / "manifest.yaml").read_text())
        self._encoder = onnxruntime.InferenceSession(str(folder / "encoder.onnx"), options)
        self._rollout = onnxruntime.InferenceSession(str(folder / "rollout_t1_h1.onnx"), options)
        self.calls = 0

    def encode(self, picture: np.ndarray) -> np.ndarray:
        """Picture u8 [H,W,3] → latents [1,N,D], by the run-time path: centre crop, resize, encoder."""
        frame = preprocess(picture, self.manifest["image_size"], self.manifest["resize_filter"])
        return self._encoder.run(["latents"], {"frames": frame[None]})[0]

    def evaluate(
        self, latents: np.ndarray, state: np.ndarray, points: np.ndarray, goal: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Energies [B] and predicted latents [B,N·D] of actions [B,4] (dx, dy, dz, closedness target)."""
        batch = len(points)
        actions = np.zeros((batch, 1, 7), np.float32)
        actions[:, 0, :3] = points[:, :3]
        actions[:, 0, 6] = points[:, 3] - state[6]
        states = np.broadcast_to(state.astype(np.float32), (batch, 1, 7))
        feed = {
            "context": latents[:, None],
            "context_states": states[:1],
            "actions": actions,
            "states": np.ascontiguousarray(states),
            "goal": goal,
        }
        wanted = {put.name for put in self._rollout.get_inputs()}
        feed = {name: value for name, value in feed.items() if name in wanted}
        energy, final = self._rollout.run(["energy_l1", "final"], feed)
        self.calls += batch
        return energy, final.reshape(batch, -1)


def _from_unit(points: np.ndarray) -> np.ndarray:
    """Search coordinates in ±1 → dx, dy, dz (m) and closedness target 0…1."""
    return np.concatenate((points[:, :3] * MAX_STEP, (points[:, 3:] + 1) / 2), 1)


def _features(points: np.ndarray) -> np.ndarray:
    i, j = np.triu_indices(4)
    return np.concatenate((np.ones((len(points), 1)), points, points[:, i] * points[:, j]), 1)


def plan_surface(
    model: Model, latents: np.ndarray, state: np.ndarray, goal: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """The action [4] of least energy by a quadratic fit of every latent element, 33 predictor calls."""
    points, energies, finals = np.zeros((0, 4)), np.zeros(0), np.zeros((0, goal.size), np.float32)
    centre = np.array((0.0, 0.0, 0.0, 2 * state[6] - 1))
    centre[3] = np.clip(centre[3], -0.3, 0.3)
    for turn, radius in enumerate(DESIGN_RADII):
        if turn == 0:
            axes = np.concatenate((np.eye(4), -np.eye(4))) * radius
            new = np.concatenate((centre[None], centre + axes, rng.uniform(-0.9, 0.9, (2, 4))))
        else:
            new = np.concatenate((centre[None], centre + rng.normal(0, radius / 1.5, (10, 4))))
        new = np.clip(new, -1, 1)
        energy, final = model.evaluate(latents, state, _from_unit(new), goal)
        points, energies = np.concatenate((points, new)), np.concatenate((energies, energy))
        finals = np.concatenate((finals, final))
        if turn + 1 == len(DESIGN_RADII):
            break
        best = points[energies.argmin()]
        reach = (2.0, 0.9)[turn]
        weight = np.exp(-((points - best) ** 2).sum(1) / reach**2)
        phi = _features(points)
        ridge = np.diag([1e-6] + [1e-4] * 4 + [3e-3] * 10)
        fit = np.linalg.solve((phi * weight[:, None]).T @ phi + ridge, (phi * weight[:, None]).T @ finals)
        subset = rng.choice(goal.size, min(512, goal.size), replace=False)
        fit, aim = fit[:, subset], goal.reshape(-1)[subset]
        centre, spread = best, np.full(4, (1.0, 0.5)[turn])
        for _ in range(5):
            tries = np.clip(centre + spread * rng.normal(size=(96, 4)), -1, 1)
            cost = np.abs(_features(tries) @ fit - aim).mean(1)
            elite = tries[cost.argsort()[:10]]
            centre, spread = elite.mean(0), elite.std(0) + 1e-3
    index = int(energies.argmin())
    return _from_unit(points[index : index + 1])[0], float(energies[index])


def plan_cem(
    model: Model,
    latents: np.ndarray,
    state: np.ndarray,
    goal: np.ndarray,
    rng: np.random.Generator,
    samples: int = 128,
    rounds: int = 6,
) -> tuple[np.ndarray, float]:
    """The action [4] of least energy found with the cross-entropy method."""
    mean, std, best, least = np.zeros(4), np.ones(4), np.zeros(4), np.inf
    for _ in range(rounds):
        points = np.clip(mean + std * rng.normal(size=(samples, 4)), -1, 1)
        energy, _ = model.evaluate(latents, state, _from_unit(points), goal)
        order = energy.argsort()[:10]
        if energy[order[0]] < least:
            best, least = points[order[0]], float(energy[order[0]])
        mean, std = points[order].mean(0), points[order].std(0) + 1e-3
    return _from_unit(best[None])[0], least


PLANNERS = {"response_surface": plan_surface, "cem": plan_cem}


@dataclass(frozen=True)
class Pursuit:
    """How long a goal is pursued and when it counts as reached, as a task file says it."""

    max_steps: int
    energy_below: float = 0.30
    settle_steps: int = 2
    settle_change: float = 0.01

    def reached(self, energies: list[float]) -> bool:
        """Whether the energies of the steps so far are low and settled."""
        last = energies[-self.settle_steps - 1 :]
        return (
            len(last) > self.settle_steps
            and last[-1] < self.energy_below
            and (self.settle_steps == 0 or max(last) - min(last) < self.settle_change)
        )


def read_task(path: Path) -> dict[str, Pursuit]:
    """The goals of a task file by their names."""
    task = yaml.safe_load(path.read_text())
    common = task.get("switch", {})
    return {
        goal["name"]: Pursuit(goal["max_steps"], **{**common, **goal.get("switch", {})})
        for goal in task["goals"]
    }


@dataclass
class Episode:
    """Outcome of one episode; lengths in cm."""

    seed: int
    error_cm: float
    lifted: bool
    steps: dict[str, int]
    energies: dict[str, list[float]]
    """Energy of the present frame before each step, per goal."""
    trace: list[str]


def run_episode(
    model: Model,
    mover: Mover,
    task: str,
    seed: int,
    planner: str,
    goals: dict[str, Pursuit],
    squeeze: float,
    grip_noise: float = 0.0,
) -> Episode:
    """Demonstrate the task in a scene, put the scene back, and pursue the goal images."""
    spec = draw_scene(task, seed)
    views = demonstrate(mover, spec)
    mover.begin(spec)
    scene = mover.scene
    rng = np.random.default_rng((seed, 7))
    lifted, steps, history, trace = False, {}, {}, []
    for view in views:
        goal = model.encode(view.image)
        energies: list[float] = []
        pursuit = goals[view.name]
        for step in range(pursuit.max_steps + 1):
            latents, state = model.encode(mover.camera.render()), scene.state()
            energies.append(float(np.abs(latents - goal).mean()))
            tip_gap = np.round((state[:3] - view.state[:3]) * 100, 1)
            cube_gap = np.round((scene.cube_position() - view.cube) * 100, 1)
            trace.append(
                f"{view.name:13s} E {energies[-1]:.3f} tip-goal {tip_gap} grip {state[6]:.2f}"
                f" cube-goal {cube_gap}"
            )
            if pursuit.reached(energies) or step == pursuit.max_steps:
                break
            action, planned = PLANNERS[planner](model, latents, state, goal, rng)
            target = action[3] + grip_noise * rng.normal()
            trace[-1] += f" → {np.round(action[:3] * 100, 1)} grip {target:.2f} planned E {planned:.3f}"
            # The commanded position follows the planned one, from where the tip really is.
            mover.step(state[:3] + action[:3], target * (1 + squeeze / FINGER_STROKE))
            lifted |= bool(scene.cube_position()[2] > CUBE_HALF + 0.03)
        steps[view.name], history[view.name] = len(energies) - 1, energies
    end = views[-1]
    gap = scene.tip_position() - end.state[:3] if task == "reach" else scene.cube_position() - end.cube
    return Episode(seed, float(np.linalg.norm(gap)) * 100, lifted, steps, history, trace)


def main() -> None:
    parser = argparse.ArgumentParser(description="Closed-loop test of a model without ROS.")
    parser.add_argument("model", type=Path, help="model directory")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--planner", choices=PLANNERS, default="response_surface")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--task-file", type=Path, help="default: the task's in config/tasks")
    parser.add_argument("--squeeze", type=float, default=0.008, help="the node's gripper.squeeze, m")
    parser.add_argument("--grip-noise", type=float, default=0.0, help="noise on the closedness target")
    parser.add_argument("--trace", action="store_true", help="print every step of failed episodes")
    args = parser.parse_args()
    model = Model(args.model, args.threads)
    scene = Scene()
    mover = Mover(scene, Camera(scene, IMAGE_WIDTH, IMAGE_HEIGHT))
    goals = read_task(args.task_file or TASK_FILES / f"{args.task}.yaml")
    limit = 2.0 if args.task == "reach" else 5.0
    episodes, begin = [], time.monotonic()
    for seed in range(args.seed, args.seed + args.episodes):
        episode = run_episode(
            model, mover, args.task, seed, args.planner, goals, args.squeeze, args.grip_noise
        )
        episodes.append(episode)
        good = episode.error_cm < limit and (args.task == "reach" or episode.lifted)
        print(
            f"seed {seed}: error {episode.error_cm:.2f} cm lifted {episode.lifted} steps {episode.steps}",
            flush=True,
        )
        if args.trace and not good:
            print("\n".join("    " + line for line in episode.trace))
    errors = np.array([e.error_cm for e in episodes])
    ends = {
        name: np.round(np.quantile([e.energies[name][-1] for e in episodes], (0.1, 0.5, 0.9)), 3).tolist()
        for name in episodes[0].energies
    }
    starts = {
        name: np.round(np.quantile([e.energies[name][0] for e in episodes], (0.1, 0.5, 0.9)), 3).tolist()
        for name in episodes[0].energies
    }
    summary = {
        "task": args.task,
        "episodes": len(episodes),
        "within_limit": int((errors < limit).sum()),
        "lifted": sum(e.lifted for e in episodes),
        "median_cm": round(float(np.median(errors)), 2),
        "mean_cm": round(float(errors.mean()), 2),
        "max_cm": round(float(errors.max()), 2),
        "steps": round(float(np.mean([sum(e.steps.values()) for e in episodes])), 1),
        "energy_at_goal_start_p10_p50_p90": starts,
        "energy_at_goal_end_p10_p50_p90": ends,
        "seconds": round(time.monotonic() - begin, 1),
    }
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
