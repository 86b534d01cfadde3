"""Starts the planner beside whatever moves the arm now: it plans and reports, and cannot send commands.

    ros2 launch vjepa_planner shadow.launch.py config:=/path/to/my_arm.yaml

Takes every argument of planner.launch.py but `mode`.
"""

from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution, ThisLaunchFileDir


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` starts."""
    planner = PythonLaunchDescriptionSource(PathJoinSubstitution([ThisLaunchFileDir(), "planner.launch.py"]))
    return LaunchDescription([IncludeLaunchDescription(planner, launch_arguments={"mode": "shadow"}.items())])
