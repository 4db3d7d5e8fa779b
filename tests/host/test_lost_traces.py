"""What says that a server or a machine lives is taken away, a piece at a time: there is never a second of either.

A cleaner of /run, an administrator's rm, a restart of half the host. Machines are found by more than one trace (their
monitors' sockets, their cgroups) before anything is started, and a disk is locked by who uses it.
"""

import fcntl
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess

import pytest

from haar import Server
from machine import owner_of, stat_of, until
from machines import a_machine, rule, seen_by

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="native machines: needs root")
COUNTING = "#!/bin/sh\n(while :; do date +%s%N > /root/now; sleep 0.02; done) &\necho $! > /root/pid\n"


@pytest.fixture
def start(binary, tmp_path):
    """start(...): a server on one data folder, with machines that boot fast; what still lives at the end goes with what it made."""
    servers = []

    def start(*arguments):
        servers.append(Server(binary, "--data", str(tmp_path / "data"), *arguments, env={"HAAR_EC2_IMAGE": "tiny"}))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.kill()
    start("--remove-on-exit").stop()


def inits(machine):
    """Every first process of a machine on this disk, in whatever cgroup: the console that its monitor holds says whose it is."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parent = int(re.search(r"^PPid:\s+(\d+)", (process / "status").read_text(), re.M)[1])
            numbers = re.search(r"^NSpid:\s+(.*)$", (process / "status").read_text(), re.M)[1].split()
            if numbers[1:] == ["1"] and str(machine.disk() / "console") in [os.readlink(fd) for fd in pathlib.Path(f"/proc/{parent}/fd").iterdir()]:
                found.append(int(process.name))
        except OSError:
            pass
    return found


def is_locked(folder):
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def says_no(address):
    """Whether a machine at this address is reached: nothing listens there, which its own kernel says."""
    try:
        socket.create_connection((address, 80), timeout=0.5).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        pass
    return False


def lose(*paths):
    for path in paths:
        shutil.rmtree(path, ignore_errors=True) if pathlib.Path(path).is_dir() else pathlib.Path(path).unlink(missing_ok=True)


def test_machines_go_on_when_the_servers_folder_in_run_was_lost(start):
    server = start()
    machine, owner = a_machine(server, UserData=COUNTING), owner_of(server)
    init, pid = stat_of(machine.init()), machine.run("until cat /root/pid; do sleep 0.05; done 2>/dev/null")
    server.kill()
    lose(f"/run/haar/{owner}")
    server = start()
    machine = seen_by(machine, server)
    machine.answers()
    assert inits(machine) == [machine.init()] and stat_of(machine.init()) == init
    assert machine.run(f"cat /root/pid; kill -0 {pid} && echo counts").split() == [pid, "counts"]
    assert len(machine.links()) == 1
    machine.terminate()
    assert not inits(machine) and not machine.disk().exists()


@pytest.mark.parametrize("what", ["socket", "record", "folder", "all"])
def test_a_machine_that_nobody_can_speak_to_is_ended_before_it_boots_again(start, what):
    server = start()
    machine, owner = a_machine(server), owner_of(server)
    machine.run("echo kept > /root/kept; sync")
    init, monitor = stat_of(machine.init()), machine.monitor()
    first = machine.init()
    server.kill()
    folder = machine.run_folder()
    lose(*{"socket": [folder / "sock"], "record": [folder / "record"], "folder": [folder], "all": [folder, f"/run/haar/{owner}"]}[what])
    server = start()
    machine = seen_by(machine, server)
    until(lambda: machine.init() not in (None, first), lambda: f"it boots again: {server.errors()[-2000:]}")
    machine.answers()
    assert stat_of(first) != init and stat_of(monitor) is None
    assert inits(machine) == [machine.init()]
    assert machine.run("cat /root/kept") == "kept"
    assert "boots again: its monitor was killed" in machine.console()
    assert re.search(rf"{machine.id}.*(cannot be reached|does not answer)", server.errors())
    assert len(machine.links()) == 1


def test_a_monitor_that_stands_still_is_ended_and_its_machine_boots_again(start):
    server = start()
    machine = a_machine(server)
    first, monitor = machine.init(), machine.monitor()
    server.kill()
    os.kill(monitor, signal.SIGSTOP)
    machine = seen_by(machine, start())
    until(lambda: machine.init() not in (None, first), "it boots again", 30)
    machine.answers()
    assert stat_of(first) is None and stat_of(monitor) is None
    assert inits(machine) == [machine.init()]


@pytest.mark.parametrize("what", ["name", "name of one in use", "link"])
def test_a_machine_whose_link_was_taken_away_is_linked_again_and_its_processes_go_on(start, what):
    server = start()
    machine, owner = a_machine(server), owner_of(server)
    shown = machine.shown()
    address, eni = shown["PublicIpAddress"], shown["NetworkInterfaces"][0]["NetworkInterfaceId"]
    machine.ec2.authorize_security_group_ingress(GroupId=shown["SecurityGroups"][0]["GroupId"], IpPermissions=rule())
    until(lambda: says_no(address), "it answers")
    first, space = machine.init(), f"haar-{owner}-{shown['VpcId']}"
    server.kill()
    held = os.open(f"/run/netns/{space}", os.O_RDONLY) if what == "name of one in use" else None
    if what == "link":
        subprocess.run(["nsenter", f"--net=/run/netns/{space}", "ip", "link", "delete", "e" + eni[-14:]], check=True)
    else:
        subprocess.run(["ip", "netns", "delete", space], check=True)
    server = start()
    machine = seen_by(machine, server)
    until(lambda: f"{machine.id}: the link of {eni} was gone: it is attached again" in server.errors(), lambda: f"it is linked: {server.errors()[-2000:]}")
    until(lambda: says_no(address), "it is reached again")
    assert machine.init() == first and machine.links() == [eni]
    if held is not None:
        os.close(held)
    fresh = machine.launch(server, machine.ec2)
    fresh.reach("running")
    until(lambda: says_no(fresh.shown()["PublicIpAddress"]), "a new one in the VPC answers")
    machine.terminate()


def test_a_machine_that_cannot_be_linked_again_boots_with_its_link(start):
    server = start()
    machine, owner = a_machine(server), owner_of(server)
    first, shown = machine.init(), machine.shown()
    machine.run("ip link add eth0x type veth peer name eth0y && echo kept > /root/kept && sync")
    server.kill()
    space = f"haar-{owner}-{shown['VpcId']}"
    subprocess.run(["ip", "netns", "delete", space], check=True)
    inside = ["nsenter", "-t", str(first), "-n"]
    until(lambda: "eth0@if" not in subprocess.run([*inside, "ip", "link"], capture_output=True, text=True).stdout, "its end is gone")
    subprocess.run([*inside, "ip", "link", "set", "eth0x", "name", "eth0"], check=True)
    server = start()
    machine = seen_by(machine, server)
    until(lambda: machine.init() not in (None, first), lambda: f"it boots again: {server.errors()[-2000:]}")
    machine.answers()
    assert stat_of(first) is None and inits(machine) == [machine.init()]
    assert len(machine.links()) == 1 and machine.run("cat /root/kept") == "kept"
    assert "boots again: its links to its network were taken away" in machine.console()
    assert re.search(rf"{machine.id}: its links are gone: .*it is ended", server.errors())


def test_a_disk_is_locked_as_long_as_a_machine_uses_it_and_no_start_passes_the_lock(start):
    server = start()
    machine = a_machine(server)
    assert is_locked(machine.disk())
    server.kill()
    assert is_locked(machine.disk())
    machine = seen_by(machine, start())
    machine.stop()
    assert not is_locked(machine.disk())
    disk = os.open(machine.disk(), os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(disk, fcntl.LOCK_EX)
    machine.ec2.start_instances(InstanceIds=[machine.id])
    until(lambda: "its disk is in use" in machine.server.errors(), "it says so", 30)
    machine.reach("stopped")
    assert not inits(machine)
    os.close(disk)
    machine.start()
    assert len(inits(machine)) == 1


@pytest.mark.parametrize("what", ["run", "lock", "owner", "state and run"])
def test_a_second_server_on_the_same_data_folder_is_refused_whatever_trace_of_the_first_is_gone(start, tmp_path, what):
    server = start("--backend", "none")
    owner = owner_of(server)
    run, state = pathlib.Path("/run/haar") / owner, pathlib.Path("/var/lib/haar") / owner
    lose(*{"run": [run], "lock": [run / "lock"], "owner": [tmp_path / "data/owner"], "state and run": [run, state]}[what])
    with pytest.raises(RuntimeError, match="another haar serves this data folder"):
        start("--backend", "none")
    assert server.process.poll() is None
    (tmp_path / "data/owner").write_text(owner)


def test_a_living_servers_folder_in_run_is_made_anew(start):
    server = start()
    machine, owner = a_machine(server), owner_of(server)
    run = pathlib.Path("/run/haar") / owner
    token = (run / "token").read_text()
    for gone in ([run], [run / "lock"], [run / "token"], [run / "listen"], [run]):
        lose(*gone)
        until(lambda: all((run / name).exists() for name in ("lock", "token", "listen")), "it is there again")
        assert (run / "token").read_text() == token and (run / "listen").read_text() == server.listen
        assert subprocess.run(["flock", "-n", run / "lock", "true"]).returncode == 1
        assert machine.run("echo well") == "well"
    fresh = a_machine(server)
    assert len(inits(fresh)) == 1
