"""What becomes of a machine, seen from the API, from inside and from the host: stop, start, reboot, its own end, and ends
that nobody asked for.
"""

import os
import pathlib
import re
import signal
import time

import pytest

from machine import owner_of, stat_of, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="native machines: needs root")

COUNTER = "#!/bin/sh\necho ran >> /runs\necho user data was here\n"


def nothing_runs(machine):
    assert machine.pids() == set()
    assert machine.groups() == []
    assert machine.links() == []
    assert not machine.run_folder().exists()


def test_a_stopped_instance_has_no_process_link_or_public_address_and_its_disk(launch):
    machine = launch(UserData=COUNTER)
    before, init = machine.shown(), machine.init()
    machine.run("echo kept > /root/kept; (sleep 1000 &) ")
    assert machine.links() and machine.run_folder().exists() and before["PublicIpAddress"]
    after = machine.stop()
    assert "PublicIpAddress" not in after and after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert after["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert stat_of(init) is None
    nothing_runs(machine)
    assert machine.disk().exists()


def test_after_a_start_the_address_is_the_same_the_public_one_another_and_user_data_does_not_run_again(launch):
    machine = launch(UserData=COUNTER)
    until(lambda: "finished with status 0" in machine.console(), machine.console)
    before = machine.shown()
    machine.run("echo kept > /root/kept")
    machine.stop()
    after = machine.start()
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert after["PublicIpAddress"] != before["PublicIpAddress"]
    assert "StateReason" not in after
    machine.answers()
    assert before["PrivateIpAddress"] in machine.run("ip addr")
    assert machine.run("cat /root/kept /runs") == "kept\nran"


def test_a_stop_lets_processes_end_and_a_forced_one_does_not(launch):
    machine = launch()
    machine.run("(trap 'echo ended > /root/ended; exit' TERM; while :; do sleep 0.1; done) >/dev/null 2>&1 </dev/null &")
    time.sleep(0.3)
    machine.stop()
    machine.start()
    machine.answers()
    assert machine.run("cat /root/ended") == "ended"
    machine.run("rm /root/ended; (trap '' TERM; while :; do sleep 0.1; done) >/dev/null 2>&1 </dev/null &")
    began = time.monotonic()
    machine.stop(Force=True)
    assert time.monotonic() - began < 10
    nothing_runs(machine)


def test_a_forced_stop_overtakes_one_that_waits(launch):
    machine = launch()
    machine.run("(trap '' TERM; while :; do sleep 0.1; done) >/dev/null 2>&1 </dev/null &")
    time.sleep(0.2)
    machine.ec2.stop_instances(InstanceIds=[machine.id])
    assert machine.state() == "stopping"
    began = time.monotonic()
    machine.stop(Force=True)
    assert time.monotonic() - began < 10


def test_a_terminate_overtakes_a_stop_that_waits(launch):
    machine = launch()
    machine.run("(trap '' TERM; while :; do sleep 0.1; done) >/dev/null 2>&1 </dev/null &")
    time.sleep(0.2)
    machine.ec2.stop_instances(InstanceIds=[machine.id])
    began = time.monotonic()
    machine.terminate()
    assert time.monotonic() - began < 10
    nothing_runs(machine)
    assert not machine.disk().exists()


def test_a_reboot_is_a_new_boot_on_the_same_disk_with_the_same_addresses(launch):
    machine = launch(UserData=COUNTER)
    until(lambda: "finished with status 0" in machine.console(), machine.console)
    before, init = machine.shown(), machine.init()
    machine.run("echo kept > /root/kept; touch /tmp/x")
    machine.ec2.reboot_instances(InstanceIds=[machine.id])
    until(lambda: machine.init() not in (None, init), "another init")
    machine.answers()
    after = machine.shown()
    assert after["State"]["Name"] == "running" and machine.run("cat /root/kept /runs") == "kept\nran"
    for key in ("PrivateIpAddress", "PublicIpAddress", "LaunchTime"):
        assert after[key] == before[key]
    assert len(machine.links()) == 1


@pytest.mark.parametrize("command", ["poweroff", "kill -USR2 1", "halt"])
def test_the_guests_own_poweroff_stops_the_instance(launch, command):
    machine = launch()
    machine.run("echo kept > /root/kept")
    machine.run(command, check=False)
    after = machine.reach("stopped")
    assert after["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert "PublicIpAddress" not in after
    nothing_runs(machine)
    machine.start()
    machine.answers()
    assert machine.run("cat /root/kept") == "kept"


def test_the_guests_own_poweroff_terminates_where_the_attribute_says_so(launch):
    machine = launch(InstanceInitiatedShutdownBehavior="terminate")
    machine.run("poweroff", check=False)
    after = machine.reach("terminated")
    assert after["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    until(lambda: not machine.disk().exists(), "its disk is gone")
    assert machine.groups() == [] and not machine.run_folder().exists()


def boots_again(machine, end, why):
    """After end() the same machine boots anew from its disk, and its console says why."""
    machine.run("echo kept > /root/kept")
    before, init = machine.shown(), machine.init()
    end(machine)
    until(lambda: machine.init() not in (None, init), lambda: f"another init: {machine.server.errors()[-2000:]}")
    machine.answers()
    after = machine.reach("running")
    assert machine.run("cat /root/kept") == "kept"
    assert after["PublicIpAddress"] == before["PublicIpAddress"] and after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert len(machine.links()) == 1
    console = machine.console()
    assert re.search(why, console), console


def test_the_guests_own_reboot(launch):
    boots_again(launch(), lambda machine: machine.run("reboot", check=False), "haar: .* again: the machine rebooted")


def test_init_killed_from_outside(launch):
    boots_again(launch(), lambda machine: os.kill(machine.init(), signal.SIGKILL), "again: its init was killed by signal 9")


def test_a_monitor_killed_by_hand(launch):
    boots_again(launch(), lambda machine: os.kill(machine.monitor(), signal.SIGKILL), "again: its monitor was killed")


def test_out_of_memory_of_the_whole_machine(launch):
    machine = launch()
    if not any("/memory/" in group or pathlib.Path(group, "memory.max").exists() for group in machine.groups()):
        pytest.skip("this host limits no memory")

    def exhaust(machine):
        """Init is what the kernel ends first when the memory is gone, and all else with it."""
        pathlib.Path(f"/proc/{machine.init()}/oom_score_adj").write_text("1000")
        eater = """awk 'BEGIN { s = "haarhaar"; while (length(s) < 160000000) s = s s; while (1) system("sleep 1") }'"""
        machine.run(" & ".join([eater] * 4) + "; wait", check=False)

    boots_again(machine, exhaust, "again: it ran out of memory")


def test_a_machine_that_keeps_dying_is_started_ever_more_slowly(launch):
    machine = launch()
    starts, init, until_time = 0, None, time.monotonic() + 6
    while time.monotonic() < until_time:
        now = machine.init()
        if now and now != init:
            machine.answers()  # it has reported: this is no start that fails
            starts, init = starts + 1, now
            try:
                os.kill(now, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.005)
    assert 3 <= starts <= 8, starts
    assert machine.state() == "running"
    machine.ec2.stop_instances(InstanceIds=[machine.id])  # does not wait for what was to be started
    machine.reach("stopped", 5)
    machine.start()
    machine.answers()


def test_a_start_that_fails_goes_back_to_stopped_with_its_disk_and_says_why(launch):
    machine = launch()
    machine.run("echo kept > /root/kept")
    machine.stop()
    work, aside = machine.disk() / "work", machine.disk() / "work.aside"
    work.rename(aside)
    work.write_text("no folder")
    machine.ec2.start_instances(InstanceIds=[machine.id])
    after = machine.reach("stopped")
    assert after["StateReason"]["Code"] == "Server.InternalError"
    assert re.search("overlay|mount|work", after["StateReason"]["Message"]), after["StateReason"]
    assert "PublicIpAddress" not in after
    nothing_runs(machine)
    work.unlink()
    aside.rename(work)
    assert "StateReason" not in machine.start()
    machine.answers()
    assert machine.run("cat /root/kept") == "kept"


def test_a_launch_that_fails_ends_terminated_and_says_why(tiny_server, launch):
    machines = pathlib.Path(f"/var/lib/haar/{owner_of(tiny_server)}/machines")
    aside = machines.with_name("machines.aside")
    machines.rename(aside)
    machines.write_text("no folder")
    try:
        machine = launch(state="terminated")
        reason = machine.shown()["StateReason"]
    finally:
        machines.unlink()
        aside.rename(machines)
    assert reason["Code"] == "Server.InternalError" and "machines/" in reason["Message"], reason
    assert machine.groups() == [] and not machine.run_folder().exists()


def test_a_terminate_leaves_nothing_soon(launch):
    took = []
    for _ in range(5):
        machine = launch()
        machine.answers()
        enis = machine.links()
        began = time.monotonic()
        machine.ec2.terminate_instances(InstanceIds=[machine.id])
        machine.reach("terminated")
        took.append(time.monotonic() - began)
        assert enis and machine.groups() == [] and not machine.run_folder().exists() and not machine.disk().exists()
    print(f"terminate: {[round(1000 * t, 1) for t in took]} ms")
    assert sorted(took)[2] < 1
