"""Starts the planner beside whatever moves the arm now: it plans and reports, and cannot send commands.

    ros2 launch vjepa_planner shadow.launch.py config:=/path/to/my_arm.yaml record_to:=/data/shadow

What it sees and plans, and what the arm does, is recorded. Takes every argument of planner.launch.py but
`mode`.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import (
    EnvironmentVariable,
    LaunchConfiguration,
    PathJoinSubstitution,
    ThisLaunchFileDir,
)


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` starts."""
    planner = PythonLaunchDescriptionSource(PathJoinSubstitution([ThisLaunchFileDir(), "planner.launch.py"]))
    arguments = {
        "mode": "shadow",
        "record": LaunchConfiguration("record"),
        "record_to": LaunchConfiguration("record_to"),
    }
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "record",
                default_value="true",
                description="record as MCAP",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument(
                "record_to",
                default_value=PathJoinSubstitution(
                    [EnvironmentVariable("HOME", default_value="/tmp"), "vjepa_recordings"]
                ),
                description="where recordings are made, each in a folder of its own",
            ),
            IncludeLaunchDescription(planner, launch_arguments=arguments.items()),
        ]
    )
