"""A monitor that stands still, or has as much to do as it takes on: whoever asks something of it hears so within seconds,
nobody else is held up, and its machine can still be ended.
"""

import concurrent.futures
import os
import signal
import socket
import subprocess

import pytest

from haar import Server, new_account
from machine import Machine, stat_of, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="native machines: needs root")
COMMANDS_MAX = 64
MANY = 24  # more than a monitor's socket holds unread, and than it lets wait to be connected


def command(machine, *words):
    """`haar exec`: (status, what it printed, what it complained of)."""
    run = subprocess.run([machine.server.binary, "exec", machine.id, "--", *words], capture_output=True, text=True,
                         env=machine.env(), timeout=60, stdin=subprocess.DEVNULL)
    return run.returncode, run.stdout, run.stderr


def many_commands(machine):
    with concurrent.futures.ThreadPoolExecutor(MANY) as pool:
        return list(pool.map(lambda _: command(machine, "echo", "said"), range(MANY)))


def is_told(ended):
    status, printed, complaint = ended
    return status == 125 and not printed and ("has not answered within" in complaint or "takes no messages" in complaint)


@pytest.fixture
def stand_still():
    """stand_still(machine): its monitor; goes on at the end, where it still is."""
    stopped = []

    def stand_still(machine):
        stopped.append((machine.monitor(), stat_of(machine.monitor())))
        os.kill(stopped[-1][0], signal.SIGSTOP)
        return stopped[-1][0]

    yield stand_still
    for pid, stat in stopped:
        if stat_of(pid) == stat:
            os.kill(pid, signal.SIGCONT)


def test_one_command_more_than_a_machine_takes_at_once_is_refused_with_the_reason(launch):
    machine = launch()
    running = []
    try:
        for _ in range(COMMANDS_MAX):
            running.append(subprocess.Popen([machine.server.binary, "exec", machine.id, "--", "sh", "-c", "echo on; exec sleep 1000"],
                                            stdout=subprocess.PIPE, env=machine.env(), stdin=subprocess.DEVNULL))
        assert [process.stdout.readline() for process in running] == [b"on\n"] * COMMANDS_MAX
        status, _, complaint = command(machine, "true")
        assert status == 125 and f"{COMMANDS_MAX} commands run in it already" in complaint
        running.pop().kill()
        until(lambda: command(machine, "echo", "said") == (0, "said\n", ""), "there is room again")
    finally:
        for process in running:
            process.kill()
            process.wait()


def test_a_machine_that_may_have_no_more_processes_says_so_to_a_command(launch):
    machine = launch()
    limit = machine.limit("pids.max")
    limit.write_text("1")
    status, _, complaint = command(machine, "true")
    assert status not in (0, None) and "Resource temporarily unavailable" in complaint
    limit.write_text("100")
    assert command(machine, "echo", "said") == (0, "said\n", "")


def test_commands_at_a_monitor_that_stands_still_fail_within_seconds_and_hold_nobody_up(launch, stand_still):
    machine, other = launch(), launch()
    monitor = stand_still(machine)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ended = pool.submit(many_commands, machine)
        for _ in range(20):
            assert other.run("echo well") == "well"
            assert machine.state() == "running"
        launch()
        assert machine.ec2.get_console_output(InstanceId=machine.id)["InstanceId"] == machine.id
        assert all(map(is_told, ended.result())), ended.result()
    os.kill(monitor, signal.SIGCONT)
    until(lambda: command(machine, "echo", "said") == (0, "said\n", ""), "it goes on")


@pytest.mark.parametrize("how", ["stop", "stop, then terminate", "terminate", "reboot"])
def test_a_machine_whose_monitor_stands_still_and_has_been_told_too_much_can_be_ended(launch, stand_still, how):
    machine = launch()
    first = machine.init()
    monitor = stand_still(machine)
    many_commands(machine)
    if how == "stop":
        machine.ec2.stop_instances(InstanceIds=[machine.id], Force=True)
        machine.reach("stopped", 40)
    elif how == "stop, then terminate":  # the one waits twenty seconds for the guest, the other takes that away
        machine.ec2.stop_instances(InstanceIds=[machine.id])
        machine.ec2.terminate_instances(InstanceIds=[machine.id])
        machine.reach("terminated", 20)
    elif how == "terminate":
        machine.ec2.terminate_instances(InstanceIds=[machine.id])
        machine.reach("terminated", 40)
    else:
        machine.ec2.reboot_instances(InstanceIds=[machine.id])
        until(lambda: machine.init() not in (None, first), "it boots again", 60)
        machine.answers()
    assert stat_of(first) is None and stat_of(monitor) is None
    assert f"{machine.id}: its monitor has not ended it" in machine.server.errors()


def test_monitors_that_stand_still_do_not_hold_up_a_start_nor_each_other(binary, tmp_path, stand_still):
    server = Server(binary, "--data", tmp_path, env={"HAAR_EC2_IMAGE": "tiny"})
    waiting = []
    try:
        account = new_account()
        well, *silent = [Machine.launch(server, server.client("ec2", account=account)) for _ in range(10)]
        for machine in (well, *silent):
            machine.reach("running")
            machine.answers()
        init, old = stat_of(well.init()), {machine.id: (machine.init(), stand_still(machine)) for machine in silent}
        for _ in range(MANY):  # connections to its socket, as of servers that came and went
            waiting.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK))
            waiting[-1].connect_ex(str(silent[0].run_folder() / "sock"))
    finally:
        server.kill()
    with Server(binary, "--data", tmp_path, "--remove-on-exit", env={"HAAR_EC2_IMAGE": "tiny"}) as server:
        for ident, processes in old.items():
            machine = Machine(server, server.client("ec2", account=account), ident)
            until(lambda machine=machine, processes=processes: machine.init() not in (None, *processes), f"{ident} boots again", 60)
            assert not any(map(stat_of, processes))
        assert stat_of(well.init()) == init
        for end in waiting:
            end.close()
