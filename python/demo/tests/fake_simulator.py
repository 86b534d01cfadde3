"""Speaks the simulator's topics without physics: `python -m demo.tests.fake_simulator [die]`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from demo.tests.synthetic import GOALS, at, picture
from sim.dds import RELIABLE, SENSOR, Header, Image, Node, String, Time


def main() -> None:
    """Answers new_episode, shows a hand that moves along its goals, and always judges well."""
    mode = sys.argv[1] if len(sys.argv) > 1 else ""
    print("fake simulator", mode, flush=True)
    if mode == "die":
        sys.exit("no display found")
    node = Node()
    commands = node.reader("/simulator/command", String, RELIABLE)
    states = node.writer("/simulator/state", String, RELIABLE)
    camera = node.writer("/camera/image_raw", Image, SENSOR)
    state = {"id": 0, "ready": False}
    started = time.monotonic()
    count = 0
    while True:
        for command in commands.take(10):
            asked = json.loads(command.data)
            started = time.monotonic()
            for number, name in enumerate(GOALS[asked["task"]]):
                picture(*at(number)).save(Path(asked["goal_directory"], f"{name}.png"))
            state.update(
                id=asked["id"], ready=True, task=asked["task"], error_cm=0.8, lifted=True, released=True
            )
        if count % 5 == 0:
            states.write(String(json.dumps(state)))
        x = min((time.monotonic() - started) / 3.0, 1.0)
        rgb = list(picture(x, 0.5).tobytes())
        camera.write(Image(Header(Time(0, 0), "camera"), 240, 320, "rgb8", 0, 960, rgb))
        count += 1
        time.sleep(0.05)


if __name__ == "__main__":
    main()
