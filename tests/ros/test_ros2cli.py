"""`ros2 …` sees the node and what it offers, whichever adapter it runs on."""

import subprocess

import yaml
from conftest import ros2, until_ros2_says


def test_the_node_and_its_endpoints_are_listed(node: subprocess.Popen) -> None:
    info = until_ros2_says("/cell/planner/stop", "node", "info", "/cell/planner")
    subscribers, rest = info.split("Publishers:")
    assert "/camera/image_raw: sensor_msgs/msg/Image" in subscribers
    assert "/joint_states: sensor_msgs/msg/JointState" in subscribers
    publishers, services = rest.split("Service Servers:")
    assert "/cell/planner/status: diagnostic_msgs/msg/DiagnosticStatus" in publishers
    assert "/cell/planner/stop: std_srvs/srv/Trigger" in services
    assert "/cell/planner/enable: std_srvs/srv/SetBool" in services


def test_topics_have_their_types_and_quality_of_service(node: subprocess.Popen) -> None:
    info = until_ros2_says("Node name: planner", "topic", "info", "--verbose", "/camera/image_raw")
    assert "Type: sensor_msgs/msg/Image" in info
    assert "Node namespace: /cell" in info
    assert "Reliability: BEST_EFFORT" in info


def test_status_can_be_echoed(node: subprocess.Popen) -> None:
    status = yaml.safe_load(ros2("topic", "echo", "--once", "/cell/planner/status").split("---")[0])
    assert status["hardware_id"]
    assert {"state", "model"} <= {pair["key"] for pair in status["values"]}


def test_services_answer(node: subprocess.Popen) -> None:
    said = ros2("service", "call", "/cell/planner/stop", "std_srvs/srv/Trigger")
    assert "success=True" in said
    said = ros2("service", "call", "/cell/planner/enable", "std_srvs/srv/SetBool", "{data: true}")
    assert "success=" in said and "message=" in said


def test_a_message_from_ros2_reaches_the_node(node: subprocess.Popen) -> None:
    ros2("topic", "pub", "--once", "/cell/planner/load_task", "std_msgs/msg/String", "{data: /nowhere.yaml}")
    until_ros2_says("/nowhere.yaml", "topic", "echo", "--once", "/cell/planner/status")
