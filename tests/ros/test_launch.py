"""The launch files, read and planned by launch itself; nothing is started."""

from pathlib import Path

import pytest
from conftest import ask, ros2, running, until_ros2_says

launch = pytest.importorskip("launch")
launch_ros = pytest.importorskip("launch_ros")

from launch.actions import DeclareLaunchArgument, OpaqueFunction  # noqa: E402
from launch.launch_description_sources import get_launch_description_from_python_launch_file  # noqa: E402

INSTALLED = ask("pkg", "prefix", "vjepa_planner").returncode == 0
FOLDER = Path(__file__).resolve().parents[2] / "launch"


def planned(**given: str) -> tuple[list, "launch.LaunchContext"]:
    """The nodes that planner.launch.py would start with these arguments."""
    description = get_launch_description_from_python_launch_file(str(FOLDER / "planner.launch.py"))
    context = launch.LaunchContext()
    context.launch_configurations.update({"config": "planner.yaml", **given})
    nodes = []
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.execute(context)
        elif isinstance(entity, OpaqueFunction):
            nodes += entity.execute(context)
    return nodes, context


def command_line(node: "launch_ros.actions.Node") -> list[str]:
    """The plain words; executable and parameter files are known only when the node is started."""
    return ["".join(getattr(part, "text", "") for part in word) for word in node.cmd]


def overridden(node: "launch_ros.actions.Node") -> set[str]:
    """Names of the parameters that go over those of the file."""
    _file, overrides = node._Node__parameters
    return {key[0].text for key in overrides}


def test_without_arguments_the_parameter_file_counts_and_the_node_starts_by_itself() -> None:
    (planner,), _context = planned()
    assert planner.node_package == "vjepa_planner"
    words = command_line(planner)
    assert "--adapter" not in words and "--log-level" in words
    assert overridden(planner) == {"autostart"}


def test_arguments_become_parameters_and_a_way_into_ros() -> None:
    (planner,), _context = planned(mode="active", arm_topic="/arm/joint_trajectory", adapter="dds")
    words = command_line(planner)
    assert words[words.index("--adapter") + 1] == "dds"
    assert words.index("--adapter") < words.index("--ros-args")
    assert overridden(planner) == {"mode", "command.arm_topic", "autostart"}


def test_a_parameter_file_is_found_by_path_or_by_the_name_of_a_shipped_one(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("/**: {ros__parameters: {}}")
    for given, found in {str(mine): mine, "demo.yaml": FOLDER.parent / "config/demo.yaml"}.items():
        (planner,), context = planned(config=given)
        file, _overrides = planner._Node__parameters
        assert Path(file.evaluate(context)) == found
    with pytest.raises(RuntimeError, match=r"config:=other\.yaml: .*demo\.yaml, planner\.yaml"):
        planned(config="other.yaml")


def test_controller_and_camera_are_chosen_by_name() -> None:
    (planner,), _context = planned(controller="servo_twist", camera="v4l2", realtime_priority="20")
    assert overridden(planner) == {
        "command.output",
        "camera.source",
        "execution.realtime_priority",
        "autostart",
    }
    for wrong in ({"controller": "moveit"}, {"camera": "usb"}):
        with pytest.raises(RuntimeError, match=next(iter(wrong.values()))):
            planned(**wrong)


def test_rviz_looks_at_the_node_by_its_name() -> None:
    (_, rviz), context = planned(rviz="true", namespace="cell", name="left", image_topic="/camera/color")
    remappings = {
        tuple("".join(part.perform(context) for part in side) for side in rule)
        for rule in rviz._Node__remappings
    }
    assert ("/vjepa_planner/plan", "/cell/left/plan") in remappings
    assert ("/camera/image_raw", "/camera/color") in remappings


def test_a_choice_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RuntimeError, match="loud"):
        planned(log_level="loud")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.launch.py")), ids=lambda path: path.name)
def test_every_argument_is_described(path: Path) -> None:
    try:
        description = get_launch_description_from_python_launch_file(str(path))
    except Exception as error:  # the package is not installed in this environment
        pytest.skip(f"{error}")
    for argument in description.get_launch_arguments():
        assert argument.description and argument.description != "no description given", argument.name


@pytest.mark.skipif(
    ask("pkg", "prefix", "vjepa_planner").returncode != 0, reason="the package is not installed"
)
@pytest.mark.parametrize("file", ["planner.launch.py", "shadow.launch.py"])
def test_the_installed_package_launches(file: str, adapter: str, tmp_path: Path) -> None:
    assert "vjepa_planner planner_node" in ros2("pkg", "executables", "vjepa_planner")
    arguments = ["namespace:=launched", "autostart:=false", f"adapter:={adapter}"]
    with running(["ros2", "launch", "vjepa_planner", file, *arguments], tmp_path / "launch.log"):
        until_ros2_says("/launched/vjepa_planner", "node", "list")
        until_ros2_says("unconfigured", "lifecycle", "get", "/launched/vjepa_planner")
        assert "shadow" in ros2("param", "get", "/launched/vjepa_planner", "mode")
