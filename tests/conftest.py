"""Fixtures of all tests. `ec2`, `sts` and `aws` act in a world of their own, so tests need not clean up."""

import functools
import json
import os
import pathlib
import types

import botocore.waiter
import operations
import pytest

from haar import Raw, Server, new_account

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def build():
    """The build under test: tools/test says which."""
    return pathlib.Path(os.environ.get("HAAR_BUILD", ROOT / "build"))


@pytest.fixture(scope="session")
def binary(build):
    return build / "haar"


@pytest.fixture(scope="session")
def server(binary):
    """One server for many tests: records only, in memory. Ends by SIGTERM, cleanly."""
    with Server(binary, "--backend", "none") as server:
        yield server


@pytest.fixture(scope="session")
def native_server(binary):
    """One with machines; skips where they cannot run."""
    if os.getuid() != 0:
        pytest.skip("native machines: needs root")
    with Server(binary, "--backend", "auto") as server:
        backend = json.loads(server.get("/_haar/health")[1])["backends"]["ec2"]
        if backend != "native":
            pytest.skip(f"native machines: this host has backend {backend}")
        yield server


@pytest.fixture
def fresh_account():
    """Twelve digits: an account, and so a world, that only this test knows."""
    return new_account()


@pytest.fixture
def client(server):
    """client(service, region="us-east-1", account=None)"""
    return server.client


@pytest.fixture
def ec2(server, fresh_account):
    return server.client("ec2", account=fresh_account)


@pytest.fixture
def sts(server, fresh_account):
    return server.client("sts", account=fresh_account)


@pytest.fixture
def aws(server, fresh_account):
    """aws("ec2", "describe-vpcs", …): the AWS CLI, in the same world as `ec2`."""
    return functools.partial(server.aws, account=fresh_account)


@pytest.fixture
def raw(server, fresh_account):
    """Requests as no SDK would send them, in the same world as `ec2`."""
    raw = Raw(server.port, fresh_account)
    yield raw
    raw.close()


@pytest.fixture
def no_second_poll(monkeypatch):
    """A waiter that would sleep fails its test."""

    def refuse(seconds):
        pytest.fail(f"the first poll did not settle it: the waiter would sleep {seconds} s")

    monkeypatch.setattr(botocore.waiter, "time", types.SimpleNamespace(sleep=refuse))


def pytest_collection_modifyitems(config, items):
    """Tests of operations that are not built yet are no tests yet."""
    built = {name for name, state in operations.states("ec2").items() if state != "not built"}
    kept, waiting = [], []
    for item in items:
        needed = {name for mark in item.iter_markers("needs") for name in mark.args}
        (kept if needed <= built else waiting).append(item)
    config.hook.pytest_deselected(items=waiting)
    items[:] = kept
