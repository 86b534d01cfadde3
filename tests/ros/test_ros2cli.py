"""`ros2 …` sees the node and what it offers, whichever adapter it runs on."""

import subprocess

import yaml
from conftest import ask, ros2, until_ros2_says

# pytest knows fixtures by the names of arguments.
Process = subprocess.Popen


def test_a_managed_node_is_listed_with_its_transitions(node: Process) -> None:
    until_ros2_says("/cell/planner", "lifecycle", "nodes")
    assert "configure [1]" in ros2("lifecycle", "list", "/cell/planner")


def test_a_transition_that_does_not_exist_here_is_refused(node: Process) -> None:
    assert "Unknown transition" in ask("lifecycle", "set", "/cell/planner", "deactivate").stderr


def test_the_node_and_its_endpoints_are_listed(active: Process) -> None:
    info = until_ros2_says("/joint_states", "node", "info", "/cell/planner")
    subscribers, rest = info.split("Publishers:")
    assert "/camera/image_raw: sensor_msgs/msg/Image" in subscribers
    assert "/joint_states: sensor_msgs/msg/JointState" in subscribers
    publishers, services = rest.split("Service Servers:")
    assert "/cell/planner/status: diagnostic_msgs/msg/DiagnosticStatus" in publishers
    assert "/cell/planner/stop: std_srvs/srv/Trigger" in services
    assert "/cell/planner/enable: std_srvs/srv/SetBool" in services
    assert "/cell/planner/get_state: lifecycle_msgs/srv/GetState" in services


def test_topics_have_their_types_and_quality_of_service(active: Process) -> None:
    info = until_ros2_says("Node name: planner", "topic", "info", "--verbose", "/camera/image_raw")
    assert "Type: sensor_msgs/msg/Image" in info
    assert "Node namespace: /cell" in info
    assert "Reliability: BEST_EFFORT" in info


def test_status_can_be_echoed(active: Process) -> None:
    said = ros2("topic", "echo", "--once", "--full-length", "/cell/planner/status")
    status = yaml.safe_load(said.split("---")[0])
    values = {pair["key"]: pair["value"] for pair in status["values"]}
    assert values["state"] == "shadow"
    assert values["model"] == "demo"


def test_services_answer(active: Process) -> None:
    said = ros2("service", "call", "/cell/planner/stop", "std_srvs/srv/Trigger")
    assert "success=True" in said
    said = ros2("service", "call", "/cell/planner/enable", "std_srvs/srv/SetBool", "{data: true}")
    assert "success=False" in said and "message='" in said


def test_a_message_from_ros2_reaches_the_node(active: Process) -> None:
    ros2("topic", "pub", "--once", "/cell/planner/load_task", "std_msgs/msg/String", "{data: /nowhere.yaml}")
    until_ros2_says("/nowhere.yaml", "topic", "echo", "--once", "--full-length", "/cell/planner/status")


def test_parameters_are_listed_described_and_read(active: Process) -> None:
    names = ros2("param", "list", "/cell/planner").split()
    assert {"mode", "planner.horizon", "execution.deadline_ms", "use_sim_time"} <= set(names)
    assert "250.0" in ros2("param", "get", "/cell/planner", "execution.deadline_ms")
    described = ros2("param", "describe", "/cell/planner", "execution.deadline_ms")
    assert "Type: double" in described and "600000" in described


def test_a_parameter_is_set_and_a_bad_value_is_refused_with_a_reason(active: Process) -> None:
    name = ("/cell/planner", "execution.deadline_ms")
    assert "successful" in ros2("param", "set", *name, "200.0")
    assert "200.0" in ros2("param", "get", *name)
    refused = ask("param", "set", *name, "0.0")
    assert "successful" not in refused.stdout and "deadline_ms" in refused.stdout + refused.stderr
    refused = ask("param", "set", "/cell/planner", "mode", "active")
    assert "successful" not in refused.stdout
    assert "200.0" in ros2("param", "get", *name)
