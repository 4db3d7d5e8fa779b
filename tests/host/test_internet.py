"""`--internet on`: the host's sysctls are afterwards what they were. In a network namespace of the test's own, as its host."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess

import pytest

from haar import Server, new_account
from machine import Machine, owner_of, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="native machines: needs root")

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def host():
    """This thread, and what it starts, in a network namespace with a loopback and hardened sysctls."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    assert LIBC.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        write("all/forwarding", 0)
        write("all/accept_redirects", 0)
        write("lo/forwarding", 1)
        yield
    finally:
        assert LIBC.setns(home, CLONE_NEWNET) == 0
        os.close(home)


def write(name, value):
    with open(f"/proc/sys/net/ipv4/conf/{name}", "w") as file:
        file.write(str(value))


def sysctls():
    """All of net, but what the kernel counts or draws by itself."""
    names = subprocess.run(["find", "/proc/sys/net", "-type", "f", "-readable"], capture_output=True, text=True).stdout.split()
    found = {}
    for name in names:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found[name] = open(name).read()
    return {name: value for name, value in found.items() if not name.endswith(("nf_conntrack_count", "/random"))}


def forwards():
    return open("/proc/sys/net/ipv4/ip_forward").read().strip() == "1"


def start(binary, *arguments):
    return Server(binary, "--backend", "native", "--internet", "on", *arguments, env={"HAAR_EC2_IMAGE": "tiny"})


def machine_of(server):
    machine = Machine.launch(server, server.client("ec2", account=new_account()))
    machine.reach("running")
    return machine


@pytest.mark.parametrize("kept", [False, True])
def test_a_clean_exit_without_machines_restores_what_was(binary, host, tmp_path, kept):
    before = sysctls()
    with start(binary, *(["--data", tmp_path] if kept else [])) as server:
        machine = machine_of(server)
        assert forwards()
        machine.terminate()
    after = sysctls()
    assert {name: after[name] for name in before} == before
    assert kept or after.keys() == before.keys()  # with --data the hub's link stays


def test_machines_that_stay_keep_it_and_a_later_end_restores(binary, host, tmp_path):
    before = sysctls()
    with start(binary, "--data", tmp_path) as server:
        machine_of(server)
    assert forwards()
    start(binary, "--data", tmp_path, "--remove-on-exit").stop()
    assert sysctls() == before


def test_a_start_without_it_lets_go_of_what_an_earlier_one_had(binary, host, tmp_path):
    before = sysctls()
    server = start(binary, "--data", tmp_path)
    machine_of(server)
    server.kill()
    assert forwards()
    with Server(binary, "--backend", "native", "--data", tmp_path, "--remove-on-exit", env={"HAAR_EC2_IMAGE": "tiny"}) as server:
        assert json.loads(server.get("/_haar/ec2/instances")[1])
        until(lambda: not forwards(), "forwarding is off")
    assert sysctls() == before


def test_the_last_of_two_servers_restores(binary, host):
    before = sysctls()
    with start(binary) as first:
        machine_of(first)
        second = start(binary)
        machine_of(second)
        second.stop()
        assert forwards()
        third = start(binary)
        machine_of(third)
    assert forwards()
    third.stop()
    assert sysctls() == before


def test_what_a_dead_server_had_turned_on_is_restored_by_who_removes_it(binary, host):
    before = sysctls()
    dead = start(binary)
    machine_of(dead)
    owner = owner_of(dead)
    dead.process.send_signal(signal.SIGKILL)
    dead.process.wait()
    dead.process.stdout.close()
    assert forwards()
    with Server(binary, "--backend", "native", env={"HAAR_EC2_IMAGE": "tiny"}) as server:
        machine_of(server)
    assert not os.path.exists(f"/run/haar/{owner}")
    assert sysctls() == before
