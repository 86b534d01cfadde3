"""Writes a rosbag2 recording as a robot of somebody else would have made it, with the package `rosbags`.

`make_rosbag.py FOLDER mcap|sqlite3 [SECONDS]`: raw pictures at 20 Hz, joint states at 100 Hz and some
other topic; an arm whose first joint turns. No planner had a part in it.
"""

import math
import sys
from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

BEGIN_NS = 1_700_000_000_000_000_000
JOINTS = [f"panda_joint{number}" for number in range(1, 8)] + ["panda_finger_joint1"]
WIDTH, HEIGHT = 160, 120


def picture(angle: float) -> np.ndarray:
    """A light disc on a dark ground, where the arm points."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    x, y = WIDTH / 2 + 60 * math.sin(angle), HEIGHT / 2 - 30 * math.cos(angle)
    disc = np.hypot(columns - x, rows - y) < 12
    return np.where(disc[..., None], [230, 200, 40], [30, 40, 60]).astype(np.uint8)


def main() -> None:
    """Writes the recording named on the command line."""
    folder, storage = Path(sys.argv[1]), StoragePlugin[sys.argv[2].upper()]
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 3.0
    types = get_typestore(Stores.ROS2_HUMBLE)
    kinds = types.types
    with Writer(folder, version=9, storage_plugin=storage) as writer:

        def topic(name: str, kind: str):
            return writer.add_connection(name, kind, typestore=types)

        images = topic("/somebodys/camera/color/image_raw", "sensor_msgs/msg/Image")
        joints = topic("/joint_states", "sensor_msgs/msg/JointState")
        other = topic("/rosout", "rcl_interfaces/msg/Log")

        def put(connection, at: int, message) -> None:
            writer.write(connection, at, types.serialize_cdr(message, connection.msgtype))

        def stamp(at: int):
            return kinds["builtin_interfaces/msg/Time"](sec=at // 10**9, nanosec=at % 10**9)

        for number in range(int(seconds * 100)):
            at = BEGIN_NS + number * 10_000_000
            angle = 0.2 * number / 100
            header = kinds["std_msgs/msg/Header"](stamp=stamp(at), frame_id="camera")
            positions = np.array([angle, -0.5, 0.0, -2.3, 0.0, 1.8, 0.785, 0.04])
            none = np.array([], dtype=np.float64)
            state = kinds["sensor_msgs/msg/JointState"](header, JOINTS, positions, none, none)
            put(joints, at, state)
            if number % 5 == 0:
                data = picture(angle).reshape(-1)
                image = kinds["sensor_msgs/msg/Image"](header, HEIGHT, WIDTH, "rgb8", 0, 3 * WIDTH, data)
                # As it arrives: some milliseconds after it was taken.
                put(images, at + 8_000_000, image)
            if number % 50 == 0:
                log = kinds["rcl_interfaces/msg/Log"](
                    stamp(at), 20, "driver", "alive", "driver.cpp", "main", 1
                )
                put(other, at, log)


if __name__ == "__main__":
    main()
