"""Starts the planner on an arm whose driver, camera and controllers run already.

    ros2 launch vjepa_planner planner.launch.py mode:=shadow config:=/path/to/my_arm.yaml

Arguments that are left empty keep what the parameter file says. `--show-args` lists them all.
"""

from dataclasses import dataclass
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("vjepa_planner")
SHIPPED = Path(__file__).resolve().parent.parent / "config"
# What rviz/planner.rviz shows of the node.
SHOWN = ("plan", "elites", "model_view/compressed")


@dataclass(frozen=True)
class Setting:
    """A launch argument that sets a parameter of the node, unless it is empty."""

    parameter: str
    meaning: str
    choices: list[str] | None = None
    kind: type = str
    default: str = ""


SETTINGS = {
    "mode": Setting("mode", "shadow plans and reports; active moves the arm", ["", "shadow", "active"]),
    "model": Setting("model", "model directory, with manifest.yaml"),
    "robot": Setting("urdf", "description of the arm, a URDF file"),
    "task": Setting("task_file", "task to start with"),
    "camera": Setting(
        "camera.source",
        "where pictures come from: a topic, a device, a pipeline or a recording",
        ["", "ros", "v4l2", "gstreamer", "replay"],
    ),
    "image_topic": Setting("camera.topic", "topic of the camera's sensor_msgs/Image"),
    "joint_states_topic": Setting("robot.joint_states_topic", "topic of the arm's sensor_msgs/JointState"),
    "controller": Setting(
        "command.output",
        "what moves the arm: joint_trajectory_controller, forward_command_controller or MoveIt Servo",
        ["", "joint_trajectory", "forward_command", "servo_twist"],
    ),
    "arm_topic": Setting("command.arm_topic", "topic of the arm's controller"),
    "gripper_topic": Setting("command.gripper_topic", "topic of the gripper's controller"),
    "goal_image": Setting("goal.image", "picture of what is to be reached"),
    "record": Setting("recording.enabled", "record as MCAP", ["", "true", "false"], bool),
    "record_to": Setting("recording.directory", "where recordings are made, each in a folder of its own"),
    "use_sim_time": Setting("use_sim_time", "ROS time from /clock", ["", "true", "false"], bool),
    "realtime_priority": Setting(
        "execution.realtime_priority", "SCHED_FIFO priority of what brings commands out, 0 to 99", kind=int
    ),
    "autostart": Setting(
        "autostart",
        "configure and activate at the start, without ros2 lifecycle",
        ["true", "false"],
        bool,
        "true",
    ),
}


def arguments() -> list[DeclareLaunchArgument]:
    """Every argument with what it means."""
    of_parameters = [
        DeclareLaunchArgument(
            name,
            default_value=setting.default,
            description=setting.meaning + ("" if setting.default else "; empty: as in config"),
            choices=setting.choices,
        )
        for name, setting in SETTINGS.items()
    ]
    return [
        DeclareLaunchArgument(
            "config",
            default_value=PathJoinSubstitution([SHARE, "config", "planner.yaml"]),
            description="parameter file of the node: a path, or a name in the package's config",
        ),
        *of_parameters,
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the node"),
        DeclareLaunchArgument("name", default_value="vjepa_planner", description="name of the node"),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            description="what the node logs",
            choices=["debug", "info", "warn", "error", "fatal"],
        ),
        DeclareLaunchArgument(
            "adapter",
            default_value="",
            description="way into ROS: r2r (installed middleware) or dds (its own); empty: r2r where built",
            choices=["", "r2r", "dds"],
        ),
        DeclareLaunchArgument(
            "rviz",
            default_value="false",
            description="show arm, plan, camera and model view in rviz",
            choices=["true", "false"],
        ),
    ]


def parameter_file(config: str) -> str:
    """The file that is meant; launch would go on without one that does not exist."""
    for path in (Path(config).expanduser(), SHIPPED / config):
        if path.is_file():
            return str(path)
    shipped = ", ".join(sorted(path.name for path in SHIPPED.glob("*.yaml")))
    raise RuntimeError(f"config:={config}: there is no such file, nor is it one of {SHIPPED}: {shipped}")


def nodes(context: LaunchContext) -> list[Node]:
    """The planner, with the parameters that arguments were given for, and rviz if wanted."""

    def given(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    overrides = {
        setting.parameter: ParameterValue(LaunchConfiguration(name), value_type=setting.kind)
        for name, setting in SETTINGS.items()
        if given(name)
    }
    planner = Node(
        package="vjepa_planner",
        executable="planner_node",
        name=given("name"),
        namespace=given("namespace"),
        parameters=[parameter_file(given("config")), overrides],
        arguments=["--adapter", given("adapter")] if given("adapter") else [],
        ros_arguments=["--log-level", given("log_level")],
        output="screen",
    )
    if given("rviz") != "true":
        return [planner]
    own = "/".join(["", *filter(None, given("namespace").split("/")), given("name")])
    remappings = [(f"/vjepa_planner/{topic}", f"{own}/{topic}") for topic in SHOWN]
    if given("image_topic"):
        remappings.append(("/camera/image_raw", given("image_topic")))
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", PathJoinSubstitution([SHARE, "rviz", "planner.rviz"])],
        remappings=remappings,
    )
    return [planner, rviz]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` starts."""
    return LaunchDescription([*arguments(), OpaqueFunction(function=nodes)])
