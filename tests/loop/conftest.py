"""Every test of the loop runs in a ROS domain of its own, on the loopback interface."""

import sys

import pytest

from robot import ROOT, isolated_environment

sys.path.insert(0, str(ROOT / "tests/python"))  # the peers that tests of other kinds use, too


@pytest.fixture(autouse=True)
def own_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the domain for this process and the children it starts."""
    for name, value in isolated_environment().items():
        monkeypatch.setenv(name, value)
