"""On whose account a machine's work is done: what a guest makes its monitor do is paid from its own share of the processors."""

import contextlib
import os
import pathlib
import re
import subprocess
import time

import pytest

from haar import new_account
from machine import Machine, stat_of, until
from machines import start_with

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
    with subprocess.Popen([machine.server.binary, "exec", machine.id, "--", "sh", "-c", f"echo on >&2; {script}"],
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


# --- how many processes all machines have together

def pids_root():
    """The first folder of the hierarchy that limits processes."""
    first = pathlib.Path("/sys/fs/cgroup/pids")
    return first if first.is_dir() else pathlib.Path("/sys/fs/cgroup")


def all_machines(machine):
    """The folder of all machines, in the hierarchy that limits processes."""
    return machine.limit("pids.max").parent.parents[1 if machine.limit("pids.max").parent.name == machine.id else 2]


def number(path):
    return int(pathlib.Path(path).read_text())


@pytest.fixture
def crowded(binary):
    """A server that may have but 400 processes, with all that it starts."""
    group = pids_root() / f"haar-test-{os.getpid()}"
    group.mkdir()
    (group / "pids.max").write_text("400")
    join = f"echo 0 > {group / ('tasks' if (group / 'tasks').exists() else 'cgroup.procs')}; exec \"$@\""
    try:
        with start_with(binary, "native", env={"HAAR_EC2_IMAGE": "tiny"}, under=["sh", "-c", join, "sh"]) as server:
            yield server
    finally:
        until(lambda: not [folder for folder, _, _ in os.walk(group, topdown=False) if not try_rmdir(folder)], "its cgroup goes", 10)


def try_rmdir(folder):
    try:
        os.rmdir(folder)
        return True
    except OSError:
        return False


def test_all_machines_together_have_half_of_what_the_kernel_takes(launch):
    machine = launch()
    together, above = all_machines(machine), all_machines(machine).parent
    assert together.name == "haar"
    limits = [number("/proc/sys/kernel/pid_max"), number("/proc/sys/kernel/threads-max")]
    while above.is_relative_to(pids_root()):
        said = (above / "pids.max").read_text().strip() if (above / "pids.max").exists() else "max"
        limits += [] if said == "max" else [int(said)]
        above = above.parent
    assert number(together / "pids.max") == min(limits) // 2
    assert number(machine.limit("pids.max")) <= min(limits) // 4


def test_fork_bombs_in_three_machines_leave_the_server_able_to_start_processes(crowded):
    machines = [Machine.launch(crowded, crowded.client("ec2", account=new_account())) for _ in range(3)]
    for machine in machines:
        machine.reach("running")
        machine.answers()
    together = all_machines(machines[0])
    assert number(together / "pids.max") == 200 and number(machines[0].limit("pids.max")) == 100
    bombs = [subprocess.Popen([crowded.binary, "exec", machine.id, "--", "sh", "-c", "for i in $(seq 200); do sleep 1000 & done; wait"],
                              env=machine.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for machine in machines]
    until(lambda: number(together / "pids.current") > 190, "they have taken what they may")
    last = Machine.launch(crowded, crowded.client("ec2", account=new_account()))
    until(lambda: last.id in crowded.errors() or last.state() == "running", "a start is tried")  # the monitor itself is no machine's
    assert number(together / "pids.current") <= 210 and number(together.parent / "pids.current") < 300  # who joins may be one too many
    for machine in (*machines, last):
        machine.terminate()
    for bomb in bombs:
        bomb.wait()
