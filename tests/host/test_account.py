"""On whose account a machine's work is done: what a guest makes its monitor do is paid from its own share of the processors."""

import contextlib
import os
import pathlib
import re
import subprocess
import time

import pytest

from machine import stat_of, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="native machines: needs root")

FLOODS = {
    "console": "exec dd if=/dev/zero of=/dev/console bs=4k 2>/dev/null",
    "output of a command": "exec dd if=/dev/zero bs=1 2>/dev/null",
}
SHARE = 0.1  # of a processor


def group_of(pid, controller):
    """The path of its cgroup in the hierarchy that has the controller."""
    lines = [line.split(":", 2) for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    version_1 = [path for _, controllers, path in lines if controller in controllers.split(",")]
    return (version_1 or [path for number, _, path in lines if number == "0"])[0]


def seconds_of(pid):
    """Processor time that it has had."""
    try:
        words = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def children(pid):
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def limited(launch):
    """A machine with a tenth of a processor."""
    machine = launch()
    machine.answers()
    limit = machine.limit("cpu.cfs_quota_us", "cpu.max")
    if not limit:
        pytest.skip("this host lacks cpu-limits")
    limit.write_text(str(int(SHARE * 100000)) + (" 100000" if limit.name == "cpu.max" else ""))
    return machine


@contextlib.contextmanager
def flooding(machine, script):
    with subprocess.Popen([machine.server.command[0], "exec", machine.id, "--", "sh", "-c", f"echo on >&2; {script}"],
                          env=machine.env(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr.readline() == b"on\n"
            yield
        finally:
            process.kill()


@pytest.mark.parametrize("flood", FLOODS)
def test_what_a_guest_makes_its_monitor_do_is_paid_by_the_machine(limited, flood):
    monitor = limited.monitor()
    with flooding(limited, FLOODS[flood]):
        pids = {monitor, *children(monitor), *limited.pids()}
        begun, before = time.monotonic(), {pid: seconds_of(pid) for pid in pids}
        until(lambda: sum(map(seconds_of, pids)) - sum(before.values()) > 2 * SHARE, "it works", 30)
        until(lambda: time.monotonic() - begun > 3, "a while")
        had, passed = sum(seconds_of(pid) - before[pid] for pid in pids if stat_of(pid)), time.monotonic() - begun
    assert had < 1.1 * SHARE * passed + 0.05, (had, passed)


def test_the_monitor_and_who_serves_commands_are_in_the_machines_account_but_not_in_the_guests_limits(launch):
    machine = launch()
    machine.answers()
    monitor = machine.monitor()
    with flooding(machine, "exec sleep 1000"):
        [session] = [pid for pid in children(monitor) if stat_of(pid)[0] == "haar-exec"]
        for pid in (monitor, session):
            assert group_of(pid, "cpu").endswith(f"/haar/{machine.owner}/{machine.id}/monitor")
            for controller in ("memory", "pids"):
                assert not re.search(rf"/{machine.id}(/guest)?$", group_of(pid, controller))
        for pid in machine.pids():
            assert group_of(pid, "cpu").endswith(f"/haar/{machine.owner}/{machine.id}/guest")


def test_a_guest_that_takes_all_its_memory_and_processes_keeps_its_monitor(launch):
    machine = launch()
    machine.answers()
    monitor = machine.monitor()
    stat = stat_of(monitor)
    machine.limit("pids.max").write_text("20")
    machine.run("for i in $(seq 40); do sleep 1000 & done; true", check=False)
    machine.run("x=y; while :; do x=$x$x; done", check=False)
    assert stat_of(monitor) == stat and machine.state() == "running"
    machine.limit("pids.max").write_text("1000")
    machine.answers()
