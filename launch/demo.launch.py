"""Starts the demo's simulated arm and the planner, and has the planner carry out one task after the other.

    ros2 launch vjepa_planner demo.launch.py play:=pick_place python:=/path/to/.venv/bin/python

The simulator speaks DDS by itself; its Python packages (`sim` in python/pyproject.toml) need not be ROS's.
`make demo` does the same without ROS, and makes a film and a report.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("vjepa_planner"))


def arguments() -> list[DeclareLaunchArgument]:
    """The arguments of this file; those of planner.launch.py come with it."""
    return [
        DeclareLaunchArgument(
            "play",
            default_value="pick_place",
            description="what to do",
            choices=["reach", "pick_place", "nothing"],
        ),
        DeclareLaunchArgument(
            "seed", default_value="1", description="draws the scenes; same seed, same scenes"
        ),
        DeclareLaunchArgument(
            "episodes", default_value="0", description="how many scenes; 0: until it is stopped"
        ),
        DeclareLaunchArgument(
            "out",
            default_value="/tmp/vjepa_demo",
            description="folder for the goal images that the simulator takes",
        ),
        DeclareLaunchArgument(
            "python",
            default_value=EnvironmentVariable("VJEPA_PYTHON", default_value="python3"),
            description="Python with the simulator's packages; `make setup` makes one at .venv/bin/python",
        ),
    ]


def simulator(context: LaunchContext) -> list:
    """The simulated arm, and what gives it scenes and the planner tasks."""
    python = LaunchConfiguration("python").perform(context)
    # Not the Python packages of ROS, nor modules that lie where launch was called.
    surroundings = {"PYTHONPATH": str(SHARE / "python"), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    arm = ExecuteProcess(
        cmd=[python, "-m", "sim"],
        name="simulator",
        additional_env={"MUJOCO_GL": "egl", "LIBGL_ALWAYS_SOFTWARE": "1", **surroundings},
        output="screen",
    )
    actions = [
        arm,
        RegisterEventHandler(OnProcessExit(target_action=arm, on_exit=[EmitEvent(event=Shutdown())])),
    ]
    play = LaunchConfiguration("play").perform(context)
    if play != "nothing":
        options = [
            word for name in ("seed", "episodes", "out") for word in (f"--{name}", LaunchConfiguration(name))
        ]
        command = [python, "-m", "demo.play", play, "--tasks", str(SHARE / "config/tasks"), *options]
        actions.append(ExecuteProcess(cmd=command, name="play", additional_env=surroundings, output="screen"))
    return actions


def robot_state_publisher() -> Node:
    """The arm's frames, which a driver would publish, for rviz."""
    urdf = (SHARE / "config/robots/panda/panda.urdf").read_text()
    return Node(
        package="robot_state_publisher",
        executable="robot_state_publisher",
        parameters=[{"robot_description": urdf}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` starts."""
    planner = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch/planner.launch.py")),
        launch_arguments={"config": str(SHARE / "config/demo.yaml")}.items(),
    )
    return LaunchDescription(
        [*arguments(), planner, OpaqueFunction(function=simulator), robot_state_publisher()]
    )
