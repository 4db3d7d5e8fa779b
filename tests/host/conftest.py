"""Fixtures of tests with machines. `cloud` acts in an account of its own and ends the machines that it made."""

import json
import os

import pytest

from haar import Server, new_account
from machines import cloud_of

# What runs machines. Each is a parameter of the acceptance suite; docker and kubernetes become two more rows.
DRIVERS = ["native"]


def start_with(binary, driver, *arguments, env=None):
    """A server whose machines this driver runs; skips where it cannot."""
    if driver == "native" and os.getuid() != 0:
        pytest.skip("native machines: needs root")
    server = Server(binary, "--backend", "auto" if driver == "native" else driver, *arguments, env=env)
    backend = json.loads(server.get("/_haar/health")[1])["backends"]["ec2"]
    if backend != driver:
        server.stop()
        pytest.skip(f"{driver} machines: this host has backend {backend}")
    return server


@pytest.fixture(scope="module", params=DRIVERS)
def driver_server(request, binary):
    """One server with machines, for each driver that this host has."""
    with start_with(binary, request.param) as server:
        yield server


@pytest.fixture
def cloud(driver_server, binary):
    with cloud_of(driver_server, binary, new_account()) as cloud:
        yield cloud
