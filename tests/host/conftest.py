"""Fixtures of tests with machines. `cloud` acts in an account of its own and ends the machines that it made."""

import pytest

from haar import new_account
from machine import Machine
from machines import DRIVERS, cloud_of, start_with


@pytest.fixture(scope="module", params=DRIVERS)
def driver(request):
    return request.param


@pytest.fixture(scope="module")
def driver_server(driver, binary):
    """One server with machines, for each driver that this host has."""
    with start_with(binary, driver) as server:
        yield server


@pytest.fixture
def cloud(driver_server, binary):
    with cloud_of(driver_server, binary, new_account()) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def tiny_server(binary):
    """Machines of busybox alone, by the native driver: what boots fastest."""
    with start_with(binary, "native", env={"HAAR_EC2_IMAGE": "tiny"}) as server:
        yield server


@pytest.fixture
def launch(tiny_server):
    """launch(...): a machine of a world of its own, in this state; terminated at the end."""
    machines = []
    ec2 = tiny_server.client("ec2", account=new_account())

    def launch(state="running", **arguments):
        machines.append(Machine.launch(tiny_server, ec2, **arguments))
        machines[-1].reach(state)
        return machines[-1]

    yield launch
    for machine in machines:
        machine.terminate()
