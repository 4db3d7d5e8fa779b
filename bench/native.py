"""Native machines: RunInstances to the first packet that the private address answers, from inside its VPC's namespace."""

import ctypes
import json
import os
import re
import select
import socket
import statistics
import struct
import time

from haar import Raw, Server, new_account, values_of

CLONE_NEWNET = 0x40000000
ONE, MANY, RUNS_OF_ONE, RUNS_OF_MANY = 1, 50, 20, 5


def image(raw):
    """A public image of Amazon's; natively each boots a built-in one."""
    body = raw.call("DescribeImages", **{"Owner.1": "amazon", "Filter.1.Name": "architecture", "Filter.1.Value.1": "x86_64"})[1]
    return values_of(body, "imageId")[0]


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def echo_request(number):
    head = struct.pack("!BBHHH", 8, 0, 0, 0x4841, number)
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
        raw.call("TerminateInstances", **{"InstanceId.1": ids[0]})
        gone(raw, ids)
        raw.close()
