"""Fixtures of tests with machines. `cloud` acts in an account of its own and ends the machines that it made."""

import pytest

from haar import new_account
from machines import DRIVERS, cloud_of, start_with


@pytest.fixture(scope="module", params=DRIVERS)
def driver_server(request, binary):
    """One server with machines, for each driver that this host has."""
    with start_with(binary, request.param) as server:
        yield server


@pytest.fixture
def cloud(driver_server, binary):
    with cloud_of(driver_server, binary, new_account()) as cloud:
        yield cloud
