"""A machine whose start hangs holds nobody up: not the server's end, not its own."""

import json
import os
import pathlib
import signal
import threading
import time

import pytest

from haar import Server, new_account
from machine import Machine, stat_of, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="native machines: needs root")


def children(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            pass
    return found


def is_itself(pid):
    """It has become its program: until then it has its parent's memory, and the parent waits for it in the kernel."""
    stat = stat_of(pid)
    return stat and (stat[0] == "haar-monitor" or stat[0].isdigit())


class Catcher:
    """Stops every new monitor of a server, or its child, as soon as it is there: before it has done much."""

    def __init__(self, parent, grandchildren):
        self.parent, self.grandchildren = parent, grandchildren
        self.known = set(children(parent))
        self.caught, self.ending = [], False
        self.thread = threading.Thread(target=self._catch)
        self.thread.start()

    def _catch(self):
        while not self.ending:
            for child in set(children(self.parent)) - self.known:
                for pid in children(child) if self.grandchildren else filter(is_itself, [child]):
                    try:
                        os.kill(pid, signal.SIGSTOP)
                    except ProcessLookupError:
                        continue
                    self.known.add(child)
                    self.caught.append(pid)

    def end(self):
        self.ending = True
        self.thread.join()


def hanging(server, who):
    """A pending machine, and the process of it that was stopped. A start is quick: some get away."""
    ec2 = server.client("ec2", account=new_account())
    for _ in range(20):
        catcher = Catcher(server.process.pid, grandchildren=who == "child")
        try:
            machine = Machine.launch(server, ec2)  # answers after half a second at most
        finally:
            catcher.end()
        if catcher.caught and machine.state() == "pending":
            return machine, catcher.caught
        for pid in catcher.caught:
            if stat_of(pid):
                os.kill(pid, signal.SIGCONT)
        machine.terminate()
    pytest.skip("no start could be caught on its way")


def start(binary, *arguments):
    server = Server(binary, "--backend", "auto", *arguments, env={"HAAR_EC2_IMAGE": "tiny"})
    backend = json.loads(server.get("/_haar/health")[1])["backends"]["ec2"]
    if backend != "native":
        server.stop()
        pytest.skip(f"native machines: this host has backend {backend}")
    return server


def all_gone(pids):
    return not any(stat_of(pid) for pid in pids)


@pytest.mark.parametrize("who", ["monitor", "child"])
def test_the_servers_end_does_not_wait_for_it_and_leaves_nothing(binary, who):
    with start(binary) as server:
        machine, caught = hanging(server, who)
        begun = time.monotonic()
        server.stop()
    assert time.monotonic() - begun < 5
    assert all_gone(caught) and machine.groups() == []
    assert not machine.disk().exists() and not machine.run_folder().exists()


@pytest.mark.parametrize("who", ["monitor", "child"])
def test_with_a_data_folder_the_next_server_boots_it(binary, who, tmp_path):
    with start(binary, "--data", tmp_path) as server:
        machine, caught = hanging(server, who)
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < 5
        assert all_gone(caught)
    with start(binary, "--data", tmp_path, "--remove-on-exit") as server:
        again = Machine(server, server.client("ec2", account=machine.ec2._request_signer._credentials.access_key), machine.id)
        again.reach("running")


@pytest.mark.parametrize("who", ["monitor", "child"])
def test_terminate_gives_it_up(binary, who):
    with start(binary) as server:
        machine, caught = hanging(server, who)
        begun = time.monotonic()
        machine.terminate()
        assert time.monotonic() - begun < 5
        until(lambda: all_gone(caught), "its processes go", 2)
        assert machine.groups() == [] and not machine.disk().exists()
