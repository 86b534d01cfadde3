"""Every test of the loop runs in a ROS domain of its own, on the loopback interface."""

import pytest

from robot import isolated_environment


@pytest.fixture(autouse=True)
def own_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the domain for this process and the children it starts."""
    for name, value in isolated_environment().items():
        monkeypatch.setenv(name, value)
