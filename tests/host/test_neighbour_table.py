"""The kernel's neighbour table is one for the whole host: no machine may fill it for the others.

A flood of ARP and of neighbour solicitations under ever new names, and of packets to every neighbour, while machines of
another account meet for the first time.
"""

import contextlib
import json
import os
import pathlib
import subprocess

import pytest

from haar import new_account
from machine import owner_of
from machines import banner_server, cloud_of, rule, start_with, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="native machines: needs root")
MEETINGS = 10

FLOOD = """
import os, socket, struct, sys, time
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", 0))
mac = link.getsockname()[4]
network = int.from_bytes(socket.inet_aton(sys.argv[2]), "big") & ~0xfff
plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

def arp(n):
    sender = struct.pack("!I", 0x0a000000 | n * 2654435761 >> 8 & 0xffffff)
    link.send(b"\\xff" * 6 + mac + b"\\x08\\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + sender + bytes(6) + struct.pack("!I", network + 1))

def solicitation(n):
    sender, to = bytes.fromhex("fe80") + bytes(6) + struct.pack("!Q", n), bytes.fromhex("ff0200000000000000000001ff000001")
    asked = bytes.fromhex("fe80") + bytes(13) + b"\\x01"
    message = asked + b"\\x01\\x01" + mac
    total = sum(struct.unpack("!36H", sender + to + struct.pack("!II", 32, 58) + struct.pack("!BBHI", 135, 0, 0, 0) + message))
    total = (total & 0xffff) + (total >> 16)
    total = (total & 0xffff) + (total >> 16)
    head = struct.pack("!IHBB", 0x60000000, 32, 58, 255) + sender + to
    link.send(b"\\x33\\x33\\xff\\x00\\x00\\x01" + mac + b"\\x86\\xdd" + head + struct.pack("!BBHI", 135, 0, ~total & 0xffff, 0) + message)

def neighbours(n):
    try:
        plain.sendto(b"x", (socket.inet_ntoa(struct.pack("!I", network + 2 + n % 4090)), 9))
    except OSError:
        pass

send = {"arp": arp, "solicitation": solicitation, "neighbours": neighbours}[sys.argv[1]]
n = 0
while True:
    for _ in range(50):
        n += 1
        send(n)
    open("/root/sent", "w").write(str(n))
    time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def server(binary):
    with start_with(binary, "native") as server:
        yield server


@pytest.fixture(scope="module")
def met(server, binary):
    """Machines of one account that have not spoken to each other yet, and the addresses that nobody has asked for."""
    with cloud_of(server, binary, new_account()) as cloud:
        group = cloud.group(None, rule())
        asks = cloud.run(SecurityGroupIds=[group])["InstanceId"]
        answer = cloud.ec2.run_instances(ImageId=cloud.image, InstanceType="t3.micro", MinCount=3 * MEETINGS, MaxCount=3 * MEETINGS,
                                         SecurityGroupIds=[group], UserData=banner_server("met"))
        cloud.made += [one["InstanceId"] for one in answer["Instances"]]
        for one in answer["Instances"]:
            until(lambda ident=one["InstanceId"]: cloud.in_state(ident, "running"), 60, "they run")
            cloud.booted(one["InstanceId"])
        yield cloud, asks, [one["PrivateIpAddress"] for one in answer["Instances"]]


@contextlib.contextmanager
def flooded(server, binary, how):
    """A machine of another account that sends, as long as this lasts: (its cloud, its id)."""
    with cloud_of(server, binary, new_account()) as cloud:
        shown = cloud.run()
        ident = shown["InstanceId"]
        cloud.execute(ident, "sh", "-c", 'printf "%s" "$1" > /root/flood.py; setsid python3 /root/flood.py "$2" "$3" > /root/log 2>&1 < /dev/null &',
                      "sh", FLOOD, how, shown["PrivateIpAddress"])
        # more than the table has places (gc_thresh3), however many those are
        places = int(pathlib.Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3").read_text())
        sent = lambda: int(cloud.execute(ident, "cat", "/root/sent", status=None) or 0)
        until(lambda: sent() > 2 * min(places, 4096), 60, lambda: "it floods: " + cloud.execute(ident, "cat", "/root/log"))
        before = sent()
        yield cloud, shown
        until(lambda: sent() > before, 10, "it has flooded all the while")


def neighbours_of(space):
    shown = subprocess.run(["nsenter", f"--net={space}", "ip", "-json", "neigh", "show", "nud", "all"], capture_output=True, text=True, check=True)
    return json.loads(shown.stdout or "[]")


@pytest.mark.parametrize("number, how", list(enumerate(["arp", "solicitation", "neighbours"])))
def test_machines_of_another_account_meet_while_one_floods_the_neighbour_table(server, binary, met, number, how):
    cloud, asks, addresses = met
    with flooded(server, binary, how) as (other, shown):
        fresh = addresses[number * MEETINGS:][:MEETINGS]
        assert [cloud.answer_inside(asks, address)[0] for address in fresh] == ["met"] * MEETINGS
        [space] = pathlib.Path("/run/netns").glob(f"haar-{owner_of(server)}-{shown['VpcId']}")
        learned = [n for n in neighbours_of(space) if n["state"] != ["PERMANENT"] and n["dev"] != "lo"]
        assert not learned, "the VPC has learned a neighbour"
        inside = other.execute(shown["InstanceId"], "ip", "-4", "neigh", "show", "nud", "all")
        assert [line for line in inside.splitlines() if "dev eth0" in line and "PERMANENT" not in line] == []


def test_a_machine_that_asks_by_arp_is_answered_about_its_neighbours(met):
    """As a network answers that has no broadcast: for every address of the VPC that somebody has."""
    cloud, asks, addresses = met
    heard = cloud.python(asks, f"""
import json, socket, struct
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x806))
link.bind(("eth0", 0x806))
link.settimeout(5)
mac, own, asked = link.getsockname()[4], socket.inet_aton("{cloud.show(asks)['PrivateIpAddress']}"), socket.inet_aton("{addresses[0]}")
link.send(b"\\xff" * 6 + mac + b"\\x08\\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + own + bytes(6) + asked)
frame = link.recv(100)
print(json.dumps([frame[20:22].hex(), socket.inet_ntoa(frame[28:32])]))
""")
    assert heard == ["0002", addresses[0]]
