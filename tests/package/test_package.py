"""The ROS package without ROS: its files are in order as far as can be seen without launching anything."""

import ast
import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    """Every call of a function of this name."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in found if isinstance(call.func, ast.Name) and call.func.id == name]


def test_there_are_launch_files() -> None:
    assert [path.name for path in LAUNCH_FILES] == [
        "demo.launch.py",
        "planner.launch.py",
        "shadow.launch.py",
    ]


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_a_launch_file_describes_every_argument_and_itself(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert "ros2 launch vjepa_planner " + path.name in (ast.get_docstring(tree) or "")
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert "generate_launch_description" in functions
    for call in calls(tree, "DeclareLaunchArgument"):
        given = {keyword.arg for keyword in call.keywords}
        assert {"default_value", "description"} <= given, ast.unparse(call)


def test_arguments_of_the_planner_name_parameters_that_exist() -> None:
    tree = ast.parse((ROOT / "launch/planner.launch.py").read_text())
    file = yaml.safe_load((ROOT / "config/planner.yaml").read_text())
    for call in calls(tree, "Setting"):
        parameter = ast.literal_eval(call.args[0])
        section = file["/**"]["ros__parameters"]
        for key in parameter.split("."):
            assert key in section, parameter
            section = section[key]


def test_the_manifest_agrees_with_cargo() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    cargo = (ROOT / "Cargo.toml").read_text()
    for tag in ("name", "version"):
        (value,) = re.findall(rf'^{tag} = "(.+)"$', cargo.split("[dependencies]")[0], flags=re.MULTILINE)
        assert package.findtext(tag) == value
    assert package.get("format") == "3"


def test_every_message_package_is_depended_on_and_has_bindings() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    depended = {element.text for element in package.findall("depend")}
    sources = "".join(path.read_text() for path in (ROOT / "src").rglob("*.rs"))
    spoken = set(re.findall(r'"([a-z_0-9]+)/(?:msg|srv)/[A-Z]\w*"', sources)) - {"rmw_dds_common"}
    assert spoken <= depended, spoken - depended
    settings = tomllib.loads((ROOT / ".cargo/config.toml").read_text())
    bound = set(settings["env"]["IDL_PACKAGE_FILTER"].split(";"))
    assert spoken <= bound, spoken - bound


def test_rviz_shows_what_the_planner_publishes() -> None:
    displays = yaml.safe_load((ROOT / "rviz/planner.rviz").read_text())["Visualization Manager"]["Displays"]
    topics = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    assert {"/vjepa_planner/plan", "/vjepa_planner/elites", "/vjepa_planner/model_view/compressed"} <= topics
    kinds = {display["Class"].split("/")[-1] for display in displays}
    assert {"RobotModel", "TF", "Path", "MarkerArray", "Image"} <= kinds
