"""The report of a run: one HTML file that needs nothing else.

`python -m demo.report out/demo` draws it again from record.json and the pictures beside it.
"""

from __future__ import annotations

import base64
import html
import io
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from demo.results import Episode, Run, percentile, switch_threshold

DEADLINE_MS = 250.0
PLOT_WIDTH, PLOT_HEIGHT = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 22, 34


@dataclass
class EpisodePictures:
    """Files of an episode: goal images and the camera at the end of each goal, in the goals' order."""

    goals: list[Path] = field(default_factory=list)
    reached: list[Path | None] = field(default_factory=list)
    final: Path | None = None
    threshold: float | None = None

    @classmethod
    def find(cls, folder: Path, episode: Episode) -> EpisodePictures:
        """By the names under which the runner leaves them in the episode's folder."""
        reached = [folder / f"camera_{index}.jpg" for index in range(len(episode.goals))]
        final = folder / "camera_final.jpg"
        task_file = folder / f"{episode.task}.yaml"
        return cls(
            goals=[folder / f"{name}.png" for name in episode.goals],
            reached=[path if path.exists() else None for path in reached],
            final=final if final.exists() else None,
            threshold=switch_threshold(task_file.read_text()) if task_file.exists() else None,
        )


def _data_url(path: Path) -> str:
    kind = {".png": "png", ".gif": "gif"}.get(path.suffix, "jpeg")
    data = path.read_bytes()
    if kind == "png":  # goal images: a good JPEG is a fifth of the size
        buffer = io.BytesIO()
        Image.open(path).convert("RGB").save(buffer, "JPEG", quality=90)
        kind, data = "jpeg", buffer.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _text(value: object) -> str:
    return html.escape(str(value))


def _nice_step(span: float, about: int) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides `span` into roughly `about` parts."""
    rough = max(span, 1e-9) / about
    power = 10.0 ** math.floor(math.log10(rough))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)


def _axis(
    x_end: float, y_end: float, x_title: str, y_step: float | None = None
) -> tuple[list[str], float, float]:
    """Grid and labels of a plot whose axes start at zero; then the pixels per unit of both axes."""
    x_scale = (PLOT_WIDTH - LEFT - RIGHT) / x_end
    y_scale = (PLOT_HEIGHT - TOP - BOTTOM) / y_end
    base = PLOT_HEIGHT - BOTTOM
    parts = []
    step = y_step or _nice_step(y_end, 5)
    for number in range(int(y_end / step + 1e-9) + 1):
        y = base - number * step * y_scale
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{PLOT_WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{number * step:g}</text>')
    step = _nice_step(x_end, 8)
    for number in range(int(x_end / step + 1e-9) + 1):
        x = LEFT + number * step * x_scale
        if x < PLOT_WIDTH - RIGHT - 72:  # the last label is the title with the unit
            parts.append(f'<text x="{x:.1f}" y="{base + 21}" text-anchor="middle">{number * step:g}</text>')
    parts.append(f'<text x="{PLOT_WIDTH - RIGHT}" y="{base + 21}" text-anchor="end">{_text(x_title)}</text>')
    return parts, x_scale, y_scale


def _svg(parts: Sequence[str], label: str) -> str:
    box = f"0 0 {PLOT_WIDTH} {PLOT_HEIGHT}"
    return f'<svg viewBox="{box}" role="img" aria-label="{_text(label)}">{"".join(parts)}</svg>'


def energy_chart(episode: Episode, threshold: float | None) -> str:
    """Energy over time as SVG; a vertical line and a number where a goal became the current one."""
    curve = [(sample.t, sample.energy) for sample in episode.samples if sample.energy is not None]
    if not curve:
        return '<p class="note">No energy was reported.</p>'
    x_end = max(episode.duration_s, curve[-1][0], 0.5)
    y_end = 1.08 * max([energy for _, energy in curve] + [threshold or 0.0, 0.1])
    parts, x_scale, y_scale = _axis(x_end, y_end, "seconds")
    base = PLOT_HEIGHT - BOTTOM

    def at(t: float, energy: float) -> str:
        return f"{LEFT + t * x_scale:.1f},{base - energy * y_scale:.1f}"

    starts = episode.goal_starts()
    if threshold is not None:
        y = base - threshold * y_scale
        parts.append(
            f'<line class="threshold" x1="{LEFT}" x2="{PLOT_WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
    for number, (start, index, name) in enumerate(starts):
        after = starts[number + 1][0] if number + 1 < len(starts) else math.inf
        x = LEFT + start * x_scale
        if number:
            parts.append(f'<line class="switch" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{base}"/>')
        if (min(after, x_end) - start) * x_scale > 16:  # else it would run into the next number
            label = f"{index + 1}<title>{_text(name)}</title>"
            parts.append(f'<text x="{x + 4:.1f}" y="{TOP - 6}">{label}</text>')
        points = " ".join(at(t, energy) for t, energy in curve if start <= t < after)
        parts.append(f'<polyline class="energy" points="{points}"/>')
    return _svg(parts, "energy over time")


def planning_chart(times: Sequence[float]) -> str:
    """Histogram of planning times as SVG with the deadline; a note when no plan was made."""
    if not times:
        return '<p class="note">No plan was made.</p>'
    x_end = max(1.1 * max(times), 1.1 * DEADLINE_MS)
    bins = 44
    counts = [0] * bins
    for time_ms in times:
        counts[min(int(time_ms / x_end * bins), bins - 1)] += 1
    highest = 1.1 * max(counts)
    parts, x_scale, y_scale = _axis(x_end, highest, "ms", max(1.0, _nice_step(highest, 4)))
    base = PLOT_HEIGHT - BOTTOM
    width = x_end / bins * x_scale
    for number, count in enumerate(counts):
        if count:
            x, height = LEFT + number * width, count * y_scale
            place = f'x="{x + 1:.1f}" y="{base - height:.1f}" width="{width - 2:.1f}" height="{height:.1f}"'
            low, high = number * x_end / bins, (number + 1) * x_end / bins
            title = f"<title>{low:.0f} to {high:.0f} ms: {count} plans</title>"
            parts.append(f'<rect class="bar" {place}>{title}</rect>')
    x = LEFT + DEADLINE_MS * x_scale
    parts.append(f'<line class="deadline" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{base}"/>')
    label = f"deadline {DEADLINE_MS:.0f} ms"
    parts.append(f'<text x="{x - 5:.1f}" y="{TOP + 6}" text-anchor="end">{label}</text>')
    return _svg(parts, "planning time per plan")


STYLE = Path(__file__).with_name("report.css")


def _figures(run: Run) -> str:
    summary = run.summary()
    times = summary["planning_ms"]

    def shown(value: object) -> str:
        if isinstance(value, float):
            return f"{value:g}"
        return "–" if value in (None, "") else str(value)

    def whole(value: float | None) -> str:
        return "–" if value is None else f"{value:.0f}"

    errors = [error for error in summary["final_error_cm"] if error is not None]
    count = summary["episodes"]
    cells = [("Episodes", count)]
    if run.task == "reach":
        cells.append(("Reached, under 2 cm", f"{summary['reached']} of {count}"))
    else:
        cells.append(("Lifted", f"{summary['lifted']} of {count}"))
        cells.append(("Placed, under 5 cm", f"{summary['placed']} of {count}"))
    median = percentile(errors, 50)
    cells += [
        (
            "Final error" if count == 1 else "Final error, median",
            "–" if median is None else f"{median:.1f} cm",
        ),
        (
            "Planning p50 / p99 / max, ms",
            f"{whole(times['p50'])} / {whole(times['p99'])} / {whole(times['max'])}",
        ),
        ("Missed deadlines", summary["deadline_misses"]),
        ("Predictor calls per plan", shown(summary["predictor_calls_per_plan"])),
        ("Frames received / dropped", f"{summary['frames_received']} / {summary['frames_dropped']}"),
        ("Model", shown(summary["model"])),
        ("Optimizer", shown(summary["optimizer"])),
        ("Seed", summary["seed"]),
    ]
    items = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in cells)
    return f'<dl class="figures">{items}</dl>'


def _badge(episode: Episode) -> str:
    verdict = episode.verdict
    if episode.task == "reach":
        word = "reached" if verdict.reached else "not reached"
    else:
        word = (
            "lifted and placed"
            if verdict.placed
            else "lifted, not placed"
            if verdict.lifted
            else "not lifted"
        )
    return f'<span class="badge{" good" if verdict.success else ""}">{word}</span>'


def _figure(pictures: Sequence[tuple[Path | None, str]], caption: str) -> str:
    """Pictures (file, what it shows) above each other over a caption, which is HTML."""
    images = "".join(
        f'<img src="{_data_url(path)}" alt="{_text(shown)}">'
        for path, shown in pictures
        if path is not None and path.exists()
    )
    return f"<figure>{images}<figcaption>{caption}</figcaption></figure>"


def _goals(episode: Episode, pictures: EpisodePictures) -> str:
    starts = episode.goal_starts()
    plans = episode.plans()
    figures = []
    for index, (name, goal, seen) in enumerate(
        zip(episode.goals, pictures.goals, pictures.reached, strict=True)
    ):
        took = "never the current goal"
        for number, (start, its_index, _) in enumerate(starts):
            if its_index == index:
                end = starts[number + 1][0] if number + 1 < len(starts) else episode.duration_s
                count = sum(plan.goal_index == index for plan in plans)
                took = f"{end - start:.1f} s, {count} {'plan' if count == 1 else 'plans'}"
        title = name.replace("_", " ")
        shown = [(goal, f"goal image {title}"), (seen, f"camera at the end of {title}")]
        figures.append(_figure(shown, f"{index + 1}. {_text(title)}<br><span>{took}</span>"))
    return f'<div class="goals">{"".join(figures)}</div>'


def _episode(episode: Episode, pictures: EpisodePictures) -> str:
    error = "" if episode.verdict.error_cm is None else f"{episode.verdict.error_cm:.1f} cm from the goal, "
    energy_note = "Numbers: goals, where each became the current one."
    if pictures.threshold is not None:
        energy_note += (
            f" Dashed: a goal counts as reached when the energy settles below {pictures.threshold:g}."
        )
    parts = [
        f'<section id="episode-{episode.index + 1}"><h2>Episode {episode.index + 1} {_badge(episode)}</h2>',
        f'<p class="note">Scene {episode.seed}: {error}{episode.duration_s:.1f} s, '
        f"{len(episode.plans())} plans. The node says: {_text(episode.task_state)}.</p>",
        f"<p>{_text(episode.failure)}</p>" if episode.failure else "",
        "<h3>Energy of the camera picture against the current goal image</h3>",
        energy_chart(episode, pictures.threshold),
        f'<p class="note">{energy_note}</p>',
        '<h3>Goals</h3><p class="note">Above: the goal image. Below: the camera when the goal was left.</p>',
        _goals(episode, pictures),
    ]
    if pictures.final is not None and pictures.goals:
        parts += [
            '<h3>At the end</h3><div class="goals pair">',
            _figure([(pictures.final, "camera at the end")], "camera"),
            _figure([(pictures.goals[-1], "last goal image")], "last goal image"),
            "</div>",
        ]
    return "".join((*parts, "</section>"))


def _table(run: Run) -> str:
    head = ("Episode", "Scene", "Result", "Final error", "Time", "Plans", "Planning p50")
    rows = []
    for episode in run.episodes:
        error = episode.verdict.error_cm
        times = [plan.planning_ms for plan in episode.plans()]
        middle = percentile(times, 50)
        cells = (
            f'<a href="#episode-{episode.index + 1}">{episode.index + 1}</a>',
            str(episode.seed),
            _badge(episode),
            "–" if error is None else f"{error:.1f} cm",
            f"{episode.duration_s:.1f} s",
            str(len(times)),
            "–" if middle is None else f"{middle:.0f} ms",
        )
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heading = "".join(f"<th>{name}</th>" for name in head)
    return (
        f'<div class="scroll"><table><thead><tr>{heading}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def write(path: Path, run: Run, pictures: Sequence[EpisodePictures], film: Path | None) -> None:
    """Writes the report; `pictures`: one entry per episode; the `film` is embedded when it exists."""
    successes, count = run.successes(), len(run.episodes)
    badge = "badge good" if count > 0 and successes == count else "badge"
    title = ("Reach" if run.task == "reach" else "Pick and place") + " by goal images"
    aim = (
        "The arm moves its hand to where a goal image shows it."
        if run.task == "reach"
        else "The arm picks up a cube and places it, shown nothing but a sequence of goal images."
    )
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{title}</title><style>{STYLE.read_text()}</style></head><body><main>",
        f'<h1>{title}</h1><p><span class="{badge}">{successes} of {count} succeeded</span></p>',
        f"<p>{aim} Simulator and planner are separate processes that exchange ROS 2 messages: the planner "
        "gets camera pictures and joint states, and sends joint trajectories and gripper commands.</p>",
    ]
    if film is not None and film.exists():
        shown = "film of the first episode: camera, goal image and energy"
        parts.append(f'<img class="film" src="{_data_url(film)}" alt="{shown}">')
    parts += [
        _figures(run),
        _table(run) if count > 1 else "",
        "<h2>Planning time per plan</h2>",
        planning_chart(run.planning_ms()),
        '<p class="note">From the camera picture to the chosen action, encoding included.</p>',
        *(_episode(episode, its) for episode, its in zip(run.episodes, pictures, strict=True)),
        "</main></body></html>\n",
    ]
    path.write_text("".join(parts))


def write_from_folder(folder: Path) -> Path:
    """Draws report.html from what the runner left in `folder`. Raises `OSError` without record.json."""
    run = Run.load(folder / "record.json")
    pictures = [
        EpisodePictures.find(folder / "episodes" / f"{episode.index:03d}", episode)
        for episode in run.episodes
    ]
    path = folder / "report.html"
    write(path, run, pictures, folder / "film.gif")
    return path


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m demo.report FOLDER")
    print(write_from_folder(Path(sys.argv[1])))
