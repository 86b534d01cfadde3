"""A made-up run: the pictures and figures of an arm that approaches its goals."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw

from demo.film import Frame
from demo.results import Episode, NodeTotals, Run, Sample, judge

GOALS = {
    "reach": ["target"],
    "pick_place": ["before_grasp", "grasped", "lifted", "carried", "above_place", "placed", "retreated"],
}
STEP_S = 0.35
STEPS = 5


def picture(x: float, y: float) -> Image.Image:
    """A table, a shadow and a "hand" at (x, y), both 0..1."""
    image = Image.new("RGB", (320, 240), (196, 200, 205))
    draw = ImageDraw.Draw(image)
    draw.polygon([(20, 230), (300, 230), (250, 90), (70, 90)], fill=(120, 96, 78))
    u, v = 50 + 220 * x, 80 + 120 * y
    draw.ellipse([u - 22, 176, u + 22, 190], fill=(70, 58, 50))
    draw.rectangle([u - 14, v - 26, u + 14, v], fill=(235, 130, 40))
    draw.rectangle([u - 14, v, u - 8, v + 18], fill=(40, 80, 220))
    draw.rectangle([u + 8, v, u + 14, v + 18], fill=(40, 80, 220))
    return image


def at(goal: int) -> tuple[float, float]:
    """Where the hand is when a goal is reached."""
    return 0.5 + 0.4 * math.sin(1.3 * goal + 1), 0.5 + 0.35 * math.cos(1.7 * goal)


def episode(task: str = "pick_place", index: int = 0, *, success: bool = True) -> tuple[Episode, list[Frame]]:
    """An episode with its film frames (three per step; none after the first episode)."""
    goals = GOALS[task]
    result = Episode(index, 100 + index, task, list(goals))
    frames = []
    plan, t = 1000 * index, 0.0
    before = (0.1, 0.1)
    for number, name in enumerate(goals):
        after = at(number)
        for step in range(STEPS):
            plan += 1
            energy = 0.18 + 0.6 * math.exp(-0.7 * step) + 0.01 * ((plan * 7) % 5)
            planning = 140.0 + (plan * 37) % 60
            result.add(Sample(t, number, name, step, energy, plan, planning, 33, "active"))
            for part in range(3 if index == 0 else 0):
                way = (step + part / 3) / STEPS
                where = [a + (b - a) * way for a, b in zip(before, after, strict=True)]
                rgb = picture(*where).tobytes()
                frames.append(Frame.of(t + part * STEP_S / 3, 320, 240, rgb))
            t += STEP_S
        before = after
    result.duration_s = t
    result.task_state = "succeeded" if success else "failed"
    state = {"error_cm": 0.7 if success else 9.1, "lifted": success, "released": True}
    result.verdict = judge(task, state)
    return result, frames


def run(task: str = "pick_place", episodes: int = 1, failures: int = 0) -> tuple[Run, list[Frame]]:
    """A run whose last `failures` episodes failed, and the frames of its first one."""
    made = [episode(task, index, success=index < episodes - failures) for index in range(episodes)]
    totals = NodeTotals(620, 3, 1, "demo", "cem")
    return Run(task, 100, [each for each, _ in made], totals), made[0][1]


def leave_files(folder: Path, task: str = "pick_place", episodes: int = 1, failures: int = 0) -> Run:
    """What the runner leaves in its folder, except film and report."""
    result, _ = run(task, episodes, failures)
    for each in result.episodes:
        its = folder / "episodes" / f"{each.index:03d}"
        its.mkdir(parents=True)
        (its / f"{task}.yaml").write_text(f"name: {task}\nswitch: {{energy_below: 0.30}}\n")
        for number, name in enumerate(each.goals):
            picture(*at(number)).save(its / f"{name}.png")
            picture(*at(number)).save(its / f"camera_{number}.jpg", quality=90)
        picture(*at(len(each.goals) - 1)).save(its / "camera_final.jpg", quality=90)
    result.save(folder / "record.json")
    return result
