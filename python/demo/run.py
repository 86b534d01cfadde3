"""Runs episodes of the demonstration or an evaluation, from two processes started to a report written."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from PIL import Image

from demo import film, report, results
from demo.console import Progress
from demo.film import Frame
from demo.link import Link, free_domain
from demo.processes import Child, Children, ProcessDied, log_tail
from demo.results import Episode, NodeTotals, Run, Sample
from demo.status import NodeStatus

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("pick_place", "reach")
START_LIMIT_S = 90.0
SCENE_LIMIT_S = 90.0
LOAD_LIMIT_S = 10.0
EPISODE_LIMIT_S: Mapping[str, float] = {"reach": 60.0, "pick_place": 150.0}
SETTLE_S = 1.0
FRAME_PERIOD_S = 0.1
POLL_S = 0.02
FILM_LIMIT_S = 180.0
OK, NOT_GOOD_ENOUGH, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130


class RunError(RuntimeError):
    """The run cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Options:
    """The command line."""

    task: str
    seed: int
    episodes: int
    optimizer: str | None
    out: Path
    evaluate: bool
    node: Path
    params_file: Path
    model: Path | None
    tasks: Path
    simulator: Sequence[str]
    time_limit_s: float
    node_arguments: Sequence[str] = ()
    first: int = 0


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="An arm that acts by goal images.")
    parser.add_argument("--task", choices=TASKS, default="pick_place")
    parser.add_argument("--seed", type=int, default=1, help="draws the scenes; same seed, same scenes")
    parser.add_argument("--episodes", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first episode's scene")
    parser.add_argument("--optimizer", default="", help="default: what the node's parameters say")
    parser.add_argument("--out", type=Path, help="default: out/demo, or out/eval/TASK-SEED with --evaluate")
    parser.add_argument("--evaluate", action="store_true", help="many episodes, no film; judges the rate")
    parser.add_argument("--node", type=Path, default=ROOT / "target/release/planner_node")
    parser.add_argument("--params-file", type=Path, default=ROOT / "config/demo.yaml")
    parser.add_argument("--model", type=Path, help="model directory; default: what the parameters say")
    parser.add_argument("--tasks", type=Path, default=ROOT / "config/tasks", help="folder with TASK.yaml")
    parser.add_argument("--simulator", metavar="COMMAND", help="default: python -m sim")
    parser.add_argument("--time-limit", type=float, help="seconds per episode")
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME:=VALUE", help="one more node parameter"
    )
    given = parser.parse_args(arguments)
    if given.episodes < 1:
        parser.error("--episodes must be at least 1")
    if given.seed < 0 or given.first < 0:
        parser.error("--seed and --first must not be negative")
    default_out = ROOT / (f"out/eval/{given.task}-{given.seed}" if given.evaluate else "out/demo")
    return Options(
        task=given.task,
        seed=given.seed,
        episodes=given.episodes,
        optimizer=given.optimizer or None,
        out=(given.out or default_out).resolve(),
        evaluate=given.evaluate,
        node=given.node.resolve(),
        params_file=given.params_file.resolve(),
        model=given.model.resolve() if given.model else None,
        tasks=given.tasks.resolve(),
        simulator=shlex.split(given.simulator) if given.simulator else (sys.executable, "-m", "sim"),
        time_limit_s=given.time_limit or EPISODE_LIMIT_S[given.task],
        node_arguments=given.param,
        first=given.first,
    )


def scene_seed(seed: int, index: int) -> int:
    """The seed of an episode's scene; different runs share no scene (below 1000 episodes)."""
    return 1000 * seed + index


def onnx_runtime() -> Path | None:
    """The ONNX Runtime library inside this Python's onnxruntime package, found without importing it."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        return None
    found = sorted(Path(spec.submodule_search_locations[0], "capi").glob("libonnxruntime.so.*"))
    return found[-1] if found else None


def isolate(domain: int) -> None:
    """Puts this process and all that it starts into a domain, on the loopback interface only."""
    for name in ("ROS_STATIC_PEERS", "ROS_AUTOMATIC_DISCOVERY_RANGE", "CYCLONEDDS_URI"):
        os.environ.pop(name, None)
    os.environ.update(ROS_DOMAIN_ID=str(domain), ROS_LOCALHOST_ONLY="1")


def environment() -> dict[str, str]:
    """The environment of simulator and node: this process's, and what they need to be found and to render."""
    result = {**os.environ, "PYTHONUNBUFFERED": "1"}
    result["PYTHONPATH"] = os.pathsep.join([str(ROOT / "python"), *filter(None, [result.get("PYTHONPATH")])])
    result.setdefault("MUJOCO_GL", "egl")
    result.setdefault("LIBGL_ALWAYS_SOFTWARE", "1")  # with which the model was trained
    library = onnx_runtime()
    if library is not None:
        result.setdefault("ORT_DYLIB_PATH", str(library))
    return result


def node_command(options: Options) -> list[str]:
    """The node's command line."""
    command = [str(options.node), "--ros-args", "--params-file", str(options.params_file)]
    parameters = [f"planner.seed:={options.seed}", *options.node_arguments]
    if options.optimizer:
        parameters.append(f"planner.optimizer:={options.optimizer}")
    if options.model:
        parameters.append(f"model:={options.model}")
    return command + [word for parameter in parameters for word in ("-p", parameter)]


def check_files(options: Options) -> None:
    """Raises `RunError` when a file that the run needs is missing."""
    needed = {
        options.node: "build the node with `make build`",
        options.params_file: "name another with --params-file",
        options.tasks / f"{options.task}.yaml": "name the folder of the task files with --tasks",
    }
    for path, advice in needed.items():
        if not path.exists():
            raise RunError(f"{path} does not exist: {advice}")


def goal_names(task_file: Path) -> list[str]:
    """Names of a task file's goals, in order. Raises `RunError` when it has none."""
    goals = (yaml.safe_load(task_file.read_text()) or {}).get("goals") or []
    names = [str(goal["name"]) for goal in goals if isinstance(goal, dict) and "name" in goal]
    if not names:
        raise RunError(f"{task_file} lists no goals")
    return names


class Stage:
    """Simulator and node, running, and the link to them."""

    def __init__(self, options: Options, children: Children, progress: Progress) -> None:
        """Starts both processes and waits until they are ready. Raises `RunError` or `ProcessDied`."""
        self._children = children
        domain = free_domain()
        isolate(domain)
        self._surroundings = environment()
        progress.say(f"ROS domain {domain}, loopback only; logs in {options.out}")
        self.simulator = self.start_simulator(options)
        self.node = children.start(
            "the node", node_command(options), options.out / "planner_node.log", self._surroundings
        )
        self.link = Link()
        self._await_both()

    def start_simulator(self, options: Options) -> Child:
        """Starts a simulator; its log replaces that of an earlier one."""
        log = options.out / "simulator.log"
        return self._children.start("the simulator", options.simulator, log, self._surroundings)

    def _await_both(self) -> None:
        def simulator_ready() -> bool:
            return self.link.state is not None and self.link.connected()[0]

        def node_ready() -> bool:
            return self.link.status is not None and self.link.connected()[1]

        self.wait(lambda: simulator_ready() and node_ready(), START_LIMIT_S)
        for ready, child in ((simulator_ready(), self.simulator), (node_ready(), self.node)):
            if not ready:
                raise RunError(f"{child.name} {_silent(child, START_LIMIT_S)}")

    def wait(self, condition: Callable[[], bool], limit_s: float) -> bool:
        """Polls until `condition` holds; false when it did not within `limit_s`. Raises `ProcessDied`."""
        until = time.monotonic() + limit_s
        while True:
            self.link.poll()
            if condition():
                return True
            self._children.check()
            if time.monotonic() > until:
                return False
            time.sleep(POLL_S)

    def poll(self) -> list[NodeStatus]:
        """The node's new statuses. Raises `ProcessDied`."""
        self._children.check()
        return self.link.poll()


def _silent(child: Child, limit_s: float) -> str:
    return f"was not ready after {limit_s:.0f} s; the end of {child.log}:\n{log_tail(child.log)}"


def new_scene(stage: Stage, task: str, seed: int, folder: Path) -> None:
    """Has the simulator draw a scene and write its goal images into `folder`. Raises `RunError`."""
    number = stage.link.command("new_episode", task=task, seed=seed, goal_directory=str(folder))

    def answered() -> bool:
        state = stage.link.state or {}
        return state.get("id") == number and (bool(state.get("ready")) or bool(state.get("error")))

    if not stage.wait(answered, SCENE_LIMIT_S):
        raise RunError(
            f"no scene within {SCENE_LIMIT_S:.0f} s: the simulator {_silent(stage.simulator, SCENE_LIMIT_S)}"
        )
    problem = (stage.link.state or {}).get("error")
    if problem:
        raise RunError(f"the simulator could not make scene {seed}: {problem}")


def load_task(stage: Stage, task_file: Path) -> float:
    """Gives the node a task; returns when (monotonic seconds). Raises `RunError` when it does not take it."""
    before = stage.link.status.task_id if stage.link.status else 0

    def taken() -> bool:
        return stage.link.status is not None and stage.link.status.task_id > before

    for _ in range(2):  # discovery may still be under way on the node's side
        started = time.monotonic()
        stage.link.load_task(task_file)
        if stage.wait(taken, LOAD_LIMIT_S / 2):
            break
    else:
        raise RunError(
            f"the node did not take the task within {LOAD_LIMIT_S:.0f} s; the end of {stage.node.log}:\n"
            f"{log_tail(stage.node.log)}"
        )
    status = stage.link.status
    if status is not None and status.error and status.task_state not in ("running", "succeeded"):
        raise RunError(f"the node refused {task_file}: {status.error}")
    return started


def run_episode(
    stage: Stage, options: Options, index: int, progress: Progress
) -> tuple[Episode, list[Frame]]:
    """One scene from goal images to verdict; the camera's pictures when the link watches it."""
    folder = options.out / "episodes" / f"{index:03d}"
    folder.mkdir(parents=True, exist_ok=True)
    task_file = folder / f"{options.task}.yaml"
    shutil.copyfile(options.tasks / f"{options.task}.yaml", task_file)
    label = f"episode {index + 1} of {options.episodes}"
    scene = scene_seed(options.seed, options.first + index)
    episode = Episode(index, scene, options.task, goal_names(task_file))
    new_scene(stage, options.task, episode.seed, folder)
    missing = [name for name in episode.goals if not (folder / f"{name}.png").exists()]
    if missing:
        raise RunError(f"the simulator wrote no goal image for {', '.join(missing)} into {folder}")

    episode.plan_before = stage.link.status.plan_id if stage.link.status else 0
    started = load_task(stage, task_file)
    frames: list[Frame] = []
    at_goal: dict[int, Frame] = {}
    ended_at: float | None = None
    next_frame = 0.0
    fresh = [stage.link.status] if stage.link.status else []
    while True:
        elapsed = time.monotonic() - started
        if ended_at is None:
            for status in fresh:
                episode.add(_sample(elapsed, status))
                episode.task_state = status.task_state
                if status.task_ended or status.state == "faulted":
                    ended_at = elapsed
                    break
            if stage.link.status is not None:
                progress.show(label, stage.link.status, elapsed)
            if ended_at is None and elapsed > options.time_limit_s:
                break
        elif elapsed > ended_at + SETTLE_S:
            break
        if elapsed >= next_frame:
            picture = stage.link.picture()
            if picture is not None:
                frames.append(Frame.of(elapsed, *picture))
                next_frame = max(next_frame + FRAME_PERIOD_S, elapsed)
                if ended_at is None and episode.samples:
                    at_goal[episode.samples[-1].goal_index] = frames[-1]
        time.sleep(POLL_S)
        fresh = stage.poll()

    episode.duration_s = round(ended_at if ended_at is not None else options.time_limit_s, 3)
    episode.verdict = results.judge(options.task, stage.link.state or {}, ended=ended_at is not None)
    episode.failure = _failure(episode, stage.link.status, ended_at is not None)
    if frames:
        at_goal[max(at_goal, default=0)] = frames[-1]
        (folder / "camera_final.jpg").write_bytes(frames[-1].jpeg)
        for number, frame in at_goal.items():
            (folder / f"camera_{number}.jpg").write_bytes(frame.jpeg)
    progress.say(f"{label}: {_outcome(episode)}")
    return episode, frames


def _sample(t: float, status: NodeStatus) -> Sample:
    return Sample(
        t=round(t, 3),
        goal_index=status.goal_index,
        goal=status.goal,
        goal_step=status.goal_step,
        energy=status.energy,
        plan_id=status.plan_id,
        planning_ms=status.planning_ms,
        predictor_calls=status.predictor_calls,
        state=status.state,
    )


def _failure(episode: Episode, status: NodeStatus | None, ended: bool) -> str:
    if episode.verdict.success:
        return ""
    if not ended:
        return f"The task had not ended after {episode.duration_s:.0f} s."
    if status is not None and status.error:
        return f"The node reported: {status.error}"
    if episode.task == "reach":
        return "The hand is not within 2 cm of the goal."
    return "The cube was not placed within 5 cm." if episode.verdict.lifted else "The cube was not lifted."


def _outcome(episode: Episode) -> str:
    verdict = episode.verdict
    error = "" if verdict.error_cm is None else f", {verdict.error_cm:.1f} cm from the goal"
    word = "reached" if episode.task == "reach" else "lifted and placed"
    result = word if verdict.success else f"FAILED: {episode.failure.rstrip('.')}"
    return f"{result}{error}, {episode.duration_s:.1f} s, {len(episode.plans())} plans"


def totals(status: NodeStatus | None, options: Options) -> NodeTotals:
    """The node's counters so far."""
    if status is None:
        return NodeTotals(optimizer=options.optimizer or "")
    return NodeTotals(
        status.frames_received,
        status.frames_dropped,
        status.deadline_misses,
        status.model,
        status.optimizer or options.optimizer or "",
    )


def clear(folder: Path) -> None:
    """Removes what an earlier run left in `folder`, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("summary.json", "record.json", "report.html", "film.gif", "still.png", "table.md"):
        (folder / name).unlink(missing_ok=True)
    for log in ("simulator.log", "planner_node.log"):
        (folder / log).unlink(missing_ok=True)
    shutil.rmtree(folder / "episodes", ignore_errors=True)


def carry_out(options: Options, progress: Progress) -> tuple[Run, list[Frame], str]:
    """Runs all episodes; returns the run, the first one's pictures and what cut it short (mostly nothing)."""
    run = Run(options.task, options.seed)
    first_frames: list[Frame] = []
    stage: Stage | None = None
    problem = ""
    with Children(folder=ROOT) as children:
        try:
            stage = Stage(options, children, progress)
            if not options.evaluate:
                stage.link.watch_camera()
            for index in range(options.episodes):
                episode, frames = run_episode(stage, options, index, progress)
                run.episodes.append(episode)
                if index == 0:
                    first_frames = [frame for frame in frames if frame.t < FILM_LIMIT_S]
        except (RunError, ProcessDied, FileNotFoundError) as error:
            if stage is None:
                raise
            problem = str(error)
        if stage is not None:
            run.totals = totals(stage.link.status, options)
    return run, first_frames, problem


def write_results(options: Options, run: Run, frames: Sequence[Frame], progress: Progress) -> None:
    """Summary and record; for a demonstration film, still and report, for an evaluation the table."""
    run.save(options.out / "record.json")
    (options.out / "summary.json").write_text(json.dumps(run.summary(), indent=2) + "\n")
    if options.evaluate:
        (options.out / "table.md").write_text(
            "\n".join((*results.TABLE_HEAD, results.table_line(run))) + "\n"
        )
        return
    if frames:
        progress.say("drawing the film and the report …")
        episode = run.episodes[0]
        folder = options.out / "episodes" / f"{episode.index:03d}"
        goals = [Image.open(folder / f"{name}.png") for name in episode.goals]
        threshold = results.switch_threshold((folder / f"{options.task}.yaml").read_text())
        headline = f"model {run.totals.model}, {run.totals.optimizer}, scene {episode.seed}"
        painter = film.Painter(episode, goals, threshold, headline)
        film.film(options.out / "film.gif", painter, frames)
        film.still(options.out / "still.png", painter, frames)
    report.write_from_folder(options.out)


def show_results(options: Options, run: Run, progress: Progress) -> None:
    """Prints the summary."""
    summary = run.summary()
    count = len(run.episodes)
    low, high = results.wilson(run.successes(), count)
    aim = "reached (under 2 cm)" if run.task == "reach" else "lifted and placed (under 5 cm)"
    lines = ["", f"{aim}: {run.successes()} of {count}"]
    if options.evaluate:
        lines[-1] += f" = {100 * run.successes() / max(count, 1):.1f} %"
        lines[-1] += f", 95 % interval {100 * low:.1f}–{100 * high:.1f} %"
        lines[-1] += f"; asked for: {100 * results.rate_required(run.task):.0f} %"
        if summary["lifted"] is not None:
            lines.append(f"lifted: {summary['lifted']} of {count}")
    times = summary["planning_ms"]
    if times["p50"] is not None:
        lines.append(
            f"planning: p50 {times['p50']:.0f} ms, p99 {times['p99']:.0f} ms, max {times['max']:.0f} ms; "
            f"missed deadlines: {summary['deadline_misses']}; "
            f"predictor calls per plan: {summary['predictor_calls_per_plan']:g}"
        )
    lines.append(f"frames: {summary['frames_received']} received, {summary['frames_dropped']} dropped")
    if options.evaluate:
        lines += ["", *results.TABLE_HEAD, results.table_line(run)]
    else:
        lines.append(f"look at {options.out / 'report.html'} and {options.out / 'film.gif'}")
    progress.say("\n".join(lines))


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 only when every episode (evaluation: enough of them) succeeded."""
    options = parse(arguments)
    # SIGINT too: a shell that starts a background job has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    progress = Progress()
    try:
        check_files(options)
        clear(options.out)
        run, frames, problem = carry_out(options, progress)
        if run.episodes:
            write_results(options, run, frames, progress)
            show_results(options, run, progress)
    except KeyboardInterrupt:
        progress.say("interrupted")
        return INTERRUPTED
    except (RunError, ProcessDied, OSError, RuntimeError) as error:
        problem = str(error)
    if problem:
        progress.say(f"demo: {problem}")
        return COULD_NOT_RUN
    required = results.rate_required(options.task) if options.evaluate else 1.0
    return OK if results.passes(run, required) else NOT_GOOD_ENOUGH
