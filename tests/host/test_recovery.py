"""The server dies, or ends, and what it made goes on, or goes: never half of it.

Two hundred `kill -9` at random moments of starts, stops, reboots, launches, terminations and changes of a group. After
each restart every write that was answered is there, the world settles, and what the host has is what the records say; all
the while one guest counts and one TCP connection to it stays open.
"""

import base64
import collections
import glob
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest

from haar import Raw, Server, new_account, values_of
from machine import Machine, an_image, owner_of, stat_of, until
from machines import a_machine, seen_by

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="native machines: needs root")

KILLS = int(os.environ.get("HAAR_KILLS", 200))
SEED = int(os.environ.get("HAAR_SEED", 20261126))
POPULATION = 6
LOST = (OSError, http.client.HTTPException)
UNSETTLED = {"pending", "stopping", "shutting-down"}
ECHO, GATE = 7000, 7001
COUNTING = f"""#!/bin/sh
nc -ll -p {ECHO} -e cat &
nc -ll -p {GATE} -e echo open &
(i=0; while :; do i=$((i+1)); echo "$i" > /root/next; mv /root/next /root/count; sleep 0.02; done) &
echo $! > /root/pid
"""
SLOW_TO_END = "#!/bin/sh\n(trap 'sleep 0.1; exit' TERM; while :; do sleep 0.02; done) &\n"


# What the host has

def host_of(owner):
    """Everything on this host that bears the owner's name, by kind."""
    found = collections.defaultdict(list)
    found["namespaces"] = glob.glob(f"/run/netns/haar-{owner}-*")
    found["cgroups"] = glob.glob(f"/sys/fs/cgroup/**/haar/{owner}", recursive=True)
    found["mounts"] = re.findall(rf"^.*{owner}.*$", pathlib.Path("/proc/self/mountinfo").read_text(), re.M)
    found["links"] = re.findall(rf"alias (haar:{owner}:\S+)", subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout)
    found["tables"] = re.findall(rf"haar_{owner}", subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout)
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            inside = owner in (process / "mountinfo").read_text() and os.readlink(process / "ns/mnt") != os.readlink("/proc/self/ns/mnt")
            if inside or any(f"/haar/{owner}/" in os.readlink(fd) for fd in (process / "fd").iterdir()):  # a monitor holds the console
                found["processes"].append(f"{process.name} {(process / 'comm').read_text().strip()}")
        except OSError:
            pass
    for folder in (f"/run/haar/{owner}", f"/var/lib/haar/{owner}"):
        found["files"] += [folder] * os.path.exists(folder) + glob.glob(f"{folder}/*")
    return {kind: things for kind, things in found.items() if things}


def nothing_left(owner):
    until(lambda: not host_of(owner), lambda: f"left on the host: {host_of(owner)}")


def states_of(body):
    """{instance: its state} of a DescribeInstances answer."""
    found = re.findall(rb"<instanceId>(i-[0-9a-f]+)</instanceId>.*?<instanceState><code>\d+</code><name>([a-z-]+)</name>", body, re.S)
    return {ident.decode(): state.decode() for ident, state in found}


# A guest that counts, and a connection to it

class Witness:
    def __init__(self, server, ec2):
        self.machine = Machine.launch(server, ec2, UserData=COUNTING)
        shown = self.machine.reach("running")
        self.group, self.address = shown["SecurityGroups"][0]["GroupId"], shown["PublicIpAddress"]
        ec2.authorize_security_group_ingress(GroupId=self.group, IpProtocol="tcp", FromPort=ECHO, ToPort=ECHO, CidrIp="0.0.0.0/0")
        root = self.machine.disk() / "upper/root"
        until(lambda: (root / "count").exists(), "the guest counts")
        self.count_file, self.pid = root / "count", (root / "pid").read_text()
        self.init = stat_of(self.machine.init())
        self.init_pid, self.last, self.said = self.machine.init(), 0, 0
        self.connection = until(self.connect, "the guest echoes")
        self.connection.settimeout(5)

    def connect(self):
        try:
            return socket.create_connection((self.address, ECHO), 1)
        except OSError:
            return None

    def speak(self):
        """One line there and back on the one connection."""
        self.said += 1
        line = b"%d\n" % self.said
        self.connection.sendall(line)
        back = b""
        while len(back) < len(line):
            got = self.connection.recv(100)
            assert got, "the connection ended"
            back += got
        assert back == line

    def look(self):
        assert stat_of(self.init_pid) == self.init, "its init is another"
        assert (self.count_file.parent / "pid").read_text() == self.pid, "the guest booted again"
        now = int(self.count_file.read_text())
        assert now >= self.last, f"it jumped back from {self.last} to {now}"
        self.last = now

    def gate_is_open(self):
        try:
            with socket.create_connection((self.address, GATE), 0.3) as s:
                return s.recv(10) == b"open\n"
        except OSError:
            return False


class Load:
    """Writes, in one account, over many lives of the server; what each may have become."""

    def __init__(self, account, witness, chance):
        self.account, self.chance = account, chance
        self.witness, self.group = (witness.machine.id, witness.group) if witness else (None, None)
        self.allowed = {}  # instance → states that it may settle in
        self.gate = {False}  # whether the rule for GATE may be there
        self.tag_sent = self.tag_answered = 0
        self.wrong = []
        self.lock = threading.Lock()

    def send(self, server, action, then=None, **parameters):
        """On a thread of its own; then(body) when it was answered."""
        def run():
            raw = Raw(server.port, self.account)
            try:
                status, body = raw.call(action, **parameters)
                if status != 200:
                    self.wrong.append((action, parameters, body))
                elif then:
                    with self.lock:
                        then(body)
            except LOST:
                pass
            raw.close()
        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def change(self, server, ident):
        """One of what may be asked of it now."""
        state, = self.allowed[ident]
        action, target = self.chance.choice({
            "running": [("StopInstances", "stopped"), ("StopInstances", "stopped"), ("RebootInstances", "running"), ("TerminateInstances", "terminated")],
            "stopped": [("StartInstances", "running"), ("StartInstances", "running"), ("StartInstances", "running"), ("TerminateInstances", "terminated")]}[state])
        self.allowed[ident] = {state, target}
        return self.send(server, action, lambda body: self.allowed.update({ident: {target}}), **{"InstanceId.1": ident})

    def launch(self, server):
        data = base64.b64encode(SLOW_TO_END.encode()).decode()
        return self.send(server, "RunInstances",
                         lambda body: self.allowed.update({i: {"running"} for i in values_of(body, "instanceId")}),
                         ImageId=an_image(), MinCount=1, MaxCount=1, InstanceType="t3.nano", UserData=data)

    def turn_gate(self, server):
        there, = self.gate
        self.gate = {there, not there}
        action = "RevokeSecurityGroupIngress" if there else "AuthorizeSecurityGroupIngress"
        return self.send(server, action, lambda body: setattr(self, "gate", {not there}), GroupId=self.group,
                         IpProtocol="tcp", FromPort=GATE, ToPort=GATE, CidrIp="0.0.0.0/0")

    def tag(self, server):
        self.tag_sent += 1
        number = self.tag_sent
        return self.send(server, "CreateTags", lambda body: setattr(self, "tag_answered", max(number, self.tag_answered)),
                         **{"ResourceId.1": self.group, "Tag.1.Key": "n", "Tag.1.Value": number})

    def round(self, server):
        alive = sorted(ident for ident, states in self.allowed.items() if states != {"terminated"})
        threads = [self.change(server, ident) for ident in self.chance.sample(alive, min(len(alive), 2))]
        if len(alive) < POPULATION:
            threads.append(self.launch(server))
        threads.append(self.chance.choice([self.turn_gate, self.tag])(server))
        time.sleep(self.chance.uniform(0.001, 0.02))
        server.kill()
        for thread in threads:
            thread.join(30)
        assert not self.wrong, self.wrong

    def check(self, server):
        """Right after a start: what it loaded; then what that settles in. The states at first."""
        raw = Raw(server.port, self.account)
        first = states_of(raw.call("DescribeInstances")[1])
        missing = set(self.allowed) - set(first)
        assert not missing, f"answered and not there: {missing}"
        until(lambda: not UNSETTLED & set(states_of(raw.call("DescribeInstances")[1]).values()),
              lambda: f"{raw.call('DescribeInstances')}\n{server.errors()}")
        now = states_of(raw.call("DescribeInstances")[1])
        assert now.pop(self.witness) == "running"
        for ident, state in now.items():
            assert state in self.allowed.get(ident, {"running"}), (ident, state, self.allowed[ident], server.errors())
            self.allowed[ident] = {state}
        tags = values_of(raw.call("DescribeTags")[1], "value")
        number = int(tags[0]) if tags else 0
        assert self.tag_answered <= number <= self.tag_sent
        rules = raw.call("DescribeSecurityGroupRules")[1]
        there = b"<fromPort>%d</fromPort>" % GATE in rules
        assert there in self.gate, f"the rule's presence is {there}, may be {self.gate}"
        self.gate = {there}
        raw.close()
        return first


def host_agrees(server, ec2, load, witness):
    """The host has what the records say."""
    for ident, (state,) in load.allowed.items():
        machine = Machine(server, ec2, ident)
        if state == "running":
            until(machine.init, lambda: f"{ident} runs")
            assert len(machine.links()) == 1
        else:
            until(lambda: not machine.groups(), lambda: f"{ident} is {state}: {machine.groups()}")
            assert not machine.pids() and not machine.run_folder().exists()
            assert machine.disk().exists() == (state == "stopped"), (ident, state)
    there, = load.gate
    until(lambda: witness.gate_is_open() == there, f"the group's rule is {'there' if there else 'gone'} and not obeyed", 5)


@pytest.fixture
def start(binary, tmp_path, native_server):
    """start(...): a server with machines and, unless data=None, a data folder. Those that still run at the end are ended
    together with all that they made.
    """
    del native_server  # there are machines on this host
    servers = []

    def start(*arguments, data="data"):
        kept = ["--data", tmp_path / data] if data else []
        servers.append(Server(binary, "--backend", "native", *kept, *arguments, env={"HAAR_EC2_IMAGE": "tiny"}))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.kill()
    for folder in tmp_path.glob("*/owner"):
        if (pathlib.Path("/run/haar") / folder.read_text().strip()).exists():
            start("--remove-on-exit", data=folder.parent.name).stop()


def test_two_hundred_kills_lose_nothing_leak_nothing_and_disturb_no_guest(start):
    chance, account, began = random.Random(SEED), new_account(), time.monotonic()
    server = start()
    owner = owner_of(server)
    witness = Witness(server, server.client("ec2", account=account))
    load = Load(account, witness, chance)
    where, restarts = collections.Counter(), []
    for number in range(KILLS):
        load.round(server)
        witness.speak()
        t = time.monotonic()
        server = start()
        restarts.append(time.monotonic() - t)
        first = load.check(server)
        busy = UNSETTLED & set(first.values())
        where["+".join(sorted(busy)) or "at rest"] += 1
        witness.machine.server = server
        witness.look()
        witness.speak()
        if number % 20 == 19:
            host_agrees(server, server.client("ec2", account=account), load, witness)
    print(json.dumps({"kills": KILLS, "seed": SEED, "where": dict(where), "restart ms, median": round(1000 * sorted(restarts)[KILLS // 2]),
                      "instances": len(load.allowed), "counted": witness.last, "lines": witness.said, "s": round(time.monotonic() - began, 1)}))
    server.stop()
    server = start("--remove-on-exit")
    load.check(server)
    witness.look()
    witness.speak()
    server.stop()
    nothing_left(owner)
    hit = sum(n for kind, n in where.items() if "pending" in kind or "stopping" in kind)
    assert hit * 2 >= KILLS, f"only {hit} kills came while one was pending or stopping"


def test_a_guest_that_powers_itself_off_while_no_server_runs_is_found_stopped(start):
    server = start()
    stops, ends = a_machine(server), a_machine(server, InstanceInitiatedShutdownBehavior="terminate")
    for machine in (stops, ends):
        machine.run("(sleep 0.5; poweroff) >/dev/null 2>&1 </dev/null &")
    monitors = [machine.monitor() for machine in (stops, ends)]
    server.kill()
    until(lambda: not any(map(stat_of, monitors)), "both have ended")
    server = start()
    after = seen_by(stops, server).reach("stopped")
    assert after["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown" and "PublicIpAddress" not in after
    assert seen_by(ends, server).reach("terminated")["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


@pytest.mark.parametrize("who", ["monitor", "init"])
def test_what_is_killed_while_no_server_runs_boots_again_and_says_why(start, who):
    server = start()
    machine = a_machine(server)
    machine.run("echo kept > /root/kept")
    victim, init = getattr(machine, who)(), machine.init()
    server.kill()
    os.kill(victim, 9)
    until(lambda: stat_of(init) is None and stat_of(victim) is None, "it has ended")
    machine = seen_by(machine, start())
    until(lambda: machine.init() not in (None, init), "it boots again")
    machine.answers()
    assert machine.run("cat /root/kept") == "kept"
    assert re.search(r"boots again: (its init was killed by signal 9|it ended while no server watched it)", machine.console())
    assert len(machine.links()) == 1


def test_after_a_restart_of_the_host_what_should_run_is_started_again(start, tmp_path):
    """As far as a test can: processes, cgroups, namespaces and all of /run are gone, disks and data are there."""
    server = start()
    machine, owner = a_machine(server), owner_of(server)
    machine.run("echo kept > /root/kept; sync")
    init = machine.init()
    monitor = machine.monitor()
    server.kill()
    os.kill(monitor, 9)
    until(lambda: stat_of(init) is None, "it has ended")
    until(lambda: not machine.pids(), "all of it has ended")
    for space in pathlib.Path("/run/netns").glob(f"haar-{owner}-*"):
        subprocess.run(["ip", "netns", "delete", space.name], check=True)
    shutil.rmtree(f"/run/haar/{owner}")
    machine = seen_by(machine, start())
    machine.answers()
    assert machine.run("cat /root/kept") == "kept"
    assert "the host was restarted" in machine.console()


def test_machines_that_no_record_knows_are_ended_and_their_disks_kept_where_records_were_lost(start, tmp_path):
    records = tmp_path / "data/state.db"
    start().stop()
    before = records.read_bytes()
    server = start()
    machine, owner = a_machine(server), owner_of(server)
    machine.run("printf precious > /root/mine")
    init = machine.init()
    server.stop()
    assert stat_of(init)
    records.write_bytes(before)
    server = start()
    assert "has lost changes" in server.errors()
    until(lambda: stat_of(init) is None and not machine.disk().exists(), "it is removed")
    [kept] = machine.disk().parents[1].glob(f"lost/{machine.id}.*")
    assert (kept / "upper/root/mine").read_text() == "precious" and f"{machine.id}: its disk is kept as {kept}" in server.errors()
    until(lambda: not machine.groups() and not list(pathlib.Path("/run/netns").glob(f"haar-{owner}-vpc-*")), lambda: host_of(owner))


def test_a_reboot_that_the_server_did_not_survive_is_done_once(start):
    server = start()
    machine = a_machine(server)
    machine.run("(trap '' TERM; while :; do sleep 0.1; done) >/dev/null 2>&1 </dev/null &")
    time.sleep(0.2)
    init = machine.init()
    machine.ec2.reboot_instances(InstanceIds=[machine.id])
    server.kill()
    os.kill(init, 9)  # what it was asked to do it has done
    until(lambda: stat_of(init) is None, "it has ended")
    server = start()
    machine = seen_by(machine, server)
    machine.answers()
    second = machine.init()
    server.kill()
    machine = seen_by(machine, start())
    machine.answers()
    time.sleep(0.5)
    assert machine.init() == second


def test_what_servers_without_a_data_folder_left_half_made_is_removed_by_the_next(start):
    owners, chance = [], random.Random(SEED)
    for _ in range(8):
        server = start(data=None)
        owners.append(owner_of(server))
        load = Load(new_account(), None, chance)
        threads = [load.launch(server) for _ in range(3)]
        time.sleep(chance.uniform(0.002, 0.03))
        server.kill()
        for thread in threads:
            thread.join(30)
    start(data=None)
    for owner in owners:
        nothing_left(owner)


def test_a_copied_data_folder_is_refused_and_harms_nobody(start, tmp_path, binary):
    server = start()
    machine = a_machine(server)
    init = stat_of(machine.init())
    shutil.copytree(tmp_path / "data", tmp_path / "copy")

    def refused():
        with pytest.raises(RuntimeError, match="another haar serves|is a copy of"):
            start(data="copy")
        assert stat_of(machine.init()) == init

    refused()
    server.kill()
    refused()
    machine = seen_by(machine, start())
    machine.answers()
    assert stat_of(machine.init()) == init
    machine.server.kill()
    (tmp_path / "data").rename(tmp_path / "moved")  # the only one of its name: the same server at another place
    shutil.rmtree(tmp_path / "copy")
    machine = seen_by(machine, start(data="moved"))
    machine.answers()
    assert stat_of(machine.init()) == init


def test_what_a_dead_server_had_goes_once_its_data_folder_is_deleted_and_no_sooner(start, tmp_path):
    server = start()
    machine, owner = a_machine(server), owner_of(server)
    init = machine.init()
    server.kill()
    (tmp_path / "data").rename(tmp_path / "moved")
    start(data=None).stop()
    assert stat_of(init) and machine.disk().exists()  # somebody may come back for it
    shutil.rmtree(tmp_path / "moved")
    start(data=None)
    until(lambda: not machine.disk().exists(), "its disk is removed")
    assert stat_of(init) is None
    nothing_left(owner)


def test_two_servers_on_one_host_do_not_touch_each_other(start):
    one, two, three = start(), start(data="other"), start(data=None)
    machines = [a_machine(server) for server in (one, two, three)]
    inits = [stat_of(machine.init()) for machine in machines]
    owner = owner_of(three)
    three.kill()  # without a data folder: the next start removes what it left
    one.kill()
    one = start()
    machines[0] = seen_by(machines[0], one)
    machines[0].answers()
    nothing_left(owner)
    assert [stat_of(machine.init()) for machine in machines[:2]] == inits[:2]
    two.kill()
    start(data="other", *["--remove-on-exit"]).stop()
    machines[0].answers()
    assert stat_of(machines[0].init()) == inits[0]
    assert len(machines[0].links()) == 1


def dump():
    """What the host has of rules, routes, links and settings of its network, but for what bears haar's name."""
    def said(*command):
        return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()

    lines = said("ip", "-o", "addr") + said("ip", "rule") + said("ip", "-o", "route", "show", "table", "all")
    lines += [re.sub("@.*", "", line) for line in said("ip", "-o", "-br", "link")]
    for table in said("nft", "list", "tables"):
        if "haar_" not in table:
            lines += [f"{table}: {line}" for line in said("nft", "list", *table.split())]
    for path in pathlib.Path("/proc/sys/net").glob("**/*"):
        try:
            if path.is_file() and path.name not in MOVING:
                lines.append(f"{path} {path.read_text().strip()}")
        except OSError:
            pass
    return {line for line in lines if "haar" not in line}


# Settings of the kernel's own that count or are drawn anew at each look.
MOVING = {"nf_conntrack_count", "uuid", "random"}


def test_the_hosts_rules_routes_and_settings_differ_only_by_haars_own_names(start):
    before = dump()
    server = start(data=None)
    machine = a_machine(server)
    machine.ec2.authorize_security_group_ingress(GroupId=machine.shown()["SecurityGroups"][0]["GroupId"], IpProtocol="-1", CidrIp="0.0.0.0/0")
    during = dump()
    server.stop()
    after = dump()
    assert during ^ before == set(), "during"
    assert after ^ before == set(), "after"


def test_a_clean_end_leaves_nothing_and_the_host_as_it_was(start):
    for arguments, data in (((), None), (("--remove-on-exit",), "data")):
        server = start(*arguments, data=data)
        owner = owner_of(server)
        for _ in range(3):
            machine = a_machine(server)
        machine.stop()
        began = time.monotonic()
        server.stop()
        took = time.monotonic() - began
        nothing_left(owner)
        print(f"end with machines: {round(1000 * took)} ms")
        assert took < 5


@pytest.mark.parametrize("data", [None, "data"])
def test_a_server_that_is_ended_while_machines_start_and_stop_leaves_what_it_should(start, data):
    server = start(data=data)
    owner, account = owner_of(server), new_account()
    stubborn = Machine.launch(server, server.client("ec2", account=account))
    stubborn.reach("running")
    stubborn.answers()
    stubborn.run("(trap '' TERM; while :; do sleep 0.1; done) >/dev/null 2>&1 </dev/null &")
    time.sleep(0.2)
    stubborn.ec2.stop_instances(InstanceIds=[stubborn.id])
    raw = Raw(server.port, account)
    raw.connection.request("POST", "/", body=raw.form("RunInstances", ImageId=an_image(), MinCount=5, MaxCount=5), headers=raw.headers)
    time.sleep(0.02)
    server.stop()
    raw.close()
    if not data:
        nothing_left(owner)
        return
    server = start("--remove-on-exit")
    raw = Raw(server.port, account)
    until(lambda: not UNSETTLED & set(states_of(raw.call("DescribeInstances")[1]).values()), "settled", 30)
    raw.close()
    server.stop()
    nothing_left(owner)


def test_an_end_right_after_the_start_waits_for_nothing(start):
    took = []
    for _ in range(3):
        server = start(data=None)
        owner, began = owner_of(server), time.monotonic()
        server.stop()
        took.append(time.monotonic() - began)
        nothing_left(owner)
    print(f"end right after the start: {[round(1000 * t) for t in took]} ms")
    assert min(took) < 1
