"""Native machines: RunInstances to the first packet that the private address answers, from inside its VPC's namespace; a
group's change; what a terminate leaves; many at once."""

import ctypes
import itertools
import json
import os
import re
import select
import socket
import statistics
import struct
import tempfile
import time

from haar import Raw, Server, new_account, values_of

CLONE_NEWNET = 0x40000000
ONE, MANY, RUNS_OF_ONE, RUNS_OF_MANY, MACHINES = 1, 50, 20, 5, 500


def image(raw):
    """A public image of Amazon's; natively each boots a built-in one."""
    body = raw.call("DescribeImages", **{"Owner.1": "amazon", "Filter.1.Name": "architecture", "Filter.1.Value.1": "x86_64"})[1]
    return values_of(body, "imageId")[0]


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def echo_request(number, flow=0x4841):
    head = struct.pack("!BBHHH", 8, 0, 0, flow, number)
    return head[:2] + struct.pack("!H", checksum(head)) + head[4:]


def socket_in(namespace):
    """A raw ICMP socket that was opened inside a network namespace; the process comes back."""
    libc = ctypes.CDLL(None, use_errno=True)
    mine, theirs = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(namespace, os.O_RDONLY)
    try:
        if libc.setns(theirs, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            return socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
        finally:
            libc.setns(mine, CLONE_NEWNET)
    finally:
        os.close(mine)
        os.close(theirs)


def wait_for_echo(pings, addresses, deadline):
    """Asks each every millisecond until all have answered."""
    waiting, number = set(addresses), 0
    while waiting:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no answer from {len(waiting)} of {len(addresses)}")
        for address in waiting:
            try:
                pings.sendto(echo_request(number & 0xFFFF), (address, 0))
            except OSError:
                pass  # no route yet
        number += 1
        until = time.monotonic() + 0.001
        while waiting and select.select([pings], [], [], max(0, until - time.monotonic()))[0]:
            packet, (source, _) = pings.recvfrom(256)
            if packet[20] == 0:
                waiting.discard(source)


def open_wide(raw, account):
    """The default security group lets pings in."""
    group = values_of(raw.call("DescribeSecurityGroups")[1], "groupId")[0]
    raw.call("AuthorizeSecurityGroupIngress", **{"GroupId": group, "IpPermissions.1.IpProtocol": "icmp", "IpPermissions.1.FromPort": -1,
                                                 "IpPermissions.1.ToPort": -1, "IpPermissions.1.IpRanges.1.CidrIp": "0.0.0.0/0"})


def namespace_of(vpc):
    """The server's folder under /run/netns: haar-<owner>-<vpc>; a default VPC's id is the same for every server, so the newest."""
    found = [e for e in os.scandir("/run/netns") if e.name.startswith("haar-") and e.name.endswith(f"-{vpc}")]
    return max(found, key=lambda e: e.stat(follow_symlinks=False).st_ctime).path


def launch(raw, ami, count):
    body = raw.call("RunInstances", ImageId=ami, InstanceType="t3.nano", MinCount=count, MaxCount=count)[1]
    instances = body.split(b"<instancesSet>")[1]
    ids = sorted(set(re.findall(rb"<instanceId>(i-[0-9a-f]+)<", instances)))
    return [i.decode() for i in ids], sorted(set(values_of(instances, "privateIpAddress")))


def measure(raw, ami, pings, count):
    started = time.monotonic()
    ids, addresses = launch(raw, ami, count)
    assert len(ids) == len(addresses) == count, (ids, addresses)
    try:
        wait_for_echo(pings, addresses, started + 30)
        return (time.monotonic() - started) * 1000
    finally:
        raw.call("TerminateInstances", **{f"InstanceId.{n}": ident for n, ident in enumerate(ids, 1)})
        gone(raw, ids)


def gone(raw, ids):
    for _ in range(100):
        body = raw.call("DescribeInstances", **{f"InstanceId.{n}": ident for n, ident in enumerate(ids, 1)})[1]
        if body.count(b"<name>terminated</name>") == len(ids):
            return
        time.sleep(0.05)
    raise TimeoutError("not terminated")


# --- a group's change


ALL_PINGS = {"IpPermissions.1.IpProtocol": "icmp", "IpPermissions.1.FromPort": -1, "IpPermissions.1.ToPort": -1,
             "IpPermissions.1.IpRanges.1.CidrIp": "0.0.0.0/0"}
flows = itertools.count(1)


def answered(pings, address, seconds):
    """Asks every 0.2 ms, each time as a new flow: how long until the first answer, or None."""
    asked, started = set(), time.monotonic()
    while time.monotonic() < started + seconds:
        flow = next(flows) & 0xFFFF
        asked.add(flow)
        pings.sendto(echo_request(1, flow), (address, 0))
        until = time.monotonic() + 0.0002
        while select.select([pings], [], [], max(0, until - time.monotonic()))[0]:
            packet, (source, _) = pings.recvfrom(256)
            if source == address and packet[20] == 0 and struct.unpack("!H", packet[24:26])[0] in asked:
                return (time.monotonic() - started) * 1000
    return None


def bench_group_change(raw, ami, table):
    """From the host, to a public address: how long after its answer a change is obeyed. Loud when one is not."""
    group = re.search(rb"sg-[0-9a-f]{17}", raw.call("CreateSecurityGroup", GroupName="bench", GroupDescription="bench")[1])[0].decode()
    body = raw.call("RunInstances", ImageId=ami, InstanceType="t3.nano", MinCount=1, MaxCount=1, **{"SecurityGroupId.1": group})[1]
    ident = values_of(body, "instanceId")[0]
    address = values_of(raw.call("DescribeInstances", **{"InstanceId.1": ident})[1], "ipAddress")[0]
    granted, left = [], 0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP) as pings:
        for _ in range(RUNS_OF_ONE):
            raw.call("AuthorizeSecurityGroupIngress", GroupId=group, **ALL_PINGS)
            granted.append(answered(pings, address, 1) or 1000)
            raw.call("RevokeSecurityGroupIngress", GroupId=group, **ALL_PINGS)
            left += answered(pings, address, 0.02) is not None
    table.row("a grant, from its answer to the first packet", statistics.median(granted), "ms", 5)
    table.row("  revocations that a later packet has passed", left, "", 0)
    raw.call("TerminateInstances", **{"InstanceId.1": ident})
    gone(raw, [ident])


# --- what a terminate leaves


def traces(ident):
    """What the host has of a machine: its paths, and its processes as folders of /proc."""
    found = []
    for folder in ("/run/netns", "/sys/fs/cgroup", "/var/lib/haar", "/run/haar"):
        for at, folders, files in os.walk(folder):
            found += [f"{at}/{name}" for name in folders + files if ident in name]
    for at in [path for path in found if os.path.exists(f"{path}/cgroup.procs")]:
        with open(f"{at}/cgroup.procs") as processes:
            found += {f"/proc/{pid}" for pid in processes.read().split()} - set(found)
    return found


def bench_terminate(raw, ami, table):
    took = []
    for _ in range(RUNS_OF_ONE):
        ids, _ = launch(raw, ami, 1)
        left = traces(ids[0])
        assert left, "a machine has traces"
        started = time.monotonic()
        raw.call("TerminateInstances", **{"InstanceId.1": ids[0]})
        while left and time.monotonic() < started + 10:
            left = [path for path in left if os.path.lexists(path)]
        took.append((time.monotonic() - started) * 1000)
    table.row("TerminateInstances, until nothing is left", statistics.median(took), "ms", 20)


# --- many at once


def available_mib():
    with open("/proc/sys/vm/drop_caches", "w") as caches:
        caches.write("3")
    with open("/proc/meminfo") as f:
        return int(re.search(r"MemAvailable:\s+(\d+)", f.read())[1]) / 1024


def cpu_ms(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1000


def running(raw):
    return raw.call("DescribeInstances", **{"Filter.1.Name": "instance-state-name", "Filter.1.Value.1": "running"})[1].count(b"<instanceId>")


def bench_density(binary, table, folder):
    """Slow, and it drops the host's caches: only where BENCH_DENSITY asks."""
    server = Server(binary, "--data", folder, env={"HAAR_EC2_IMAGE": "tiny"})
    account = new_account()
    try:
        raw = Raw(server.port, account)
        ami = image(raw)
        before = available_mib()
        for _ in range(MACHINES // MANY):
            launch(raw, ami, MANY)
        deadline = time.monotonic() + 60
        while running(raw) < MACHINES and time.monotonic() < deadline:
            time.sleep(0.2)
        assert running(raw) == MACHINES, running(raw)
        time.sleep(2)
        table.row(f"memory of each of {MACHINES} machines", (before - available_mib()) / MACHINES, "MiB", 0.8)
        used = cpu_ms(server.process.pid)
        for _ in range(50):
            raw.call("DescribeInstances")
        table.row(f"DescribeInstances of {MACHINES} that run", (cpu_ms(server.process.pid) - used) / 50, "ms", 10)
        raw.close()
        server.kill()
        started = time.monotonic()
        server = Server(binary, "--data", folder, env={"HAAR_EC2_IMAGE": "tiny"})
        adopted(server, account)
        table.row(f"adoption of {MACHINES} after kill -9", (time.monotonic() - started) * 1000, "ms", 1000)
    finally:
        server.get("/_haar/reset", "POST")
        server.stop()


def adopted(server, account):
    """A machine's end is seen to only when all have been adopted: a stop tells."""
    raw = Raw(server.port, account)
    ident = values_of(raw.call("DescribeInstances", MaxResults=5)[1], "instanceId")[0]
    while True:
        raw.call("StopInstances", **{"InstanceId.1": ident, "Force": "true"})
        if b"<name>stopped</name>" in raw.call("DescribeInstances", **{"InstanceId.1": ident})[1]:
            return raw.close()


def bench(binary, table):
    if os.getuid() != 0:
        print("native machines: skipped, needs root")
        return
    with Server(binary, "--backend", "auto") as server:
        backend = json.loads(server.get("/_haar/health")[1])["backends"]["ec2"]
        if backend != "native":
            print(f"native machines: skipped, this host has backend {backend}")
            return
        account = new_account()
        raw = Raw(server.port, account)
        ami = image(raw)
        open_wide(raw, account)
        vpc = values_of(raw.call("DescribeVpcs")[1], "vpcId")[0]
        ids, _ = launch(raw, ami, 1)  # the first makes the VPC's namespace and the image; it is not measured
        time.sleep(1)
        with socket_in(namespace_of(vpc)) as pings:
            for count, runs, target in ((ONE, RUNS_OF_ONE, 25), (MANY, RUNS_OF_MANY, 400)):
                figures = [measure(raw, ami, pings, count) for _ in range(runs)]
                table.row(f"RunInstances to first packet, native, {count}", statistics.median(figures), "ms", target)
        bench_group_change(raw, ami, table)
        bench_terminate(raw, ami, table)
        raw.call("TerminateInstances", **{"InstanceId.1": ids[0]})
        gone(raw, ids)
        raw.close()
    if os.environ.get("BENCH_DENSITY"):
        with tempfile.TemporaryDirectory(prefix="haar-bench-") as folder:
            bench_density(binary, table, folder)
    else:
        print("500 machines at once: skipped, BENCH_DENSITY=1 asks for it")
