"""What a machine keeps on its disk: no more than its root volume's size, whatever it does, and what it kept goes with it."""

import json
import os
import pathlib
import shutil

import pytest

from haar import Server, new_account
from machines import cloud_of, start_with, until

GIB = 1 << 30
MINIMAL = "al2023-ami-minimal-2023.*-x86_64"  # the smallest root there is: 2 GiB
EDQUOT, ENOSPC, EOPNOTSUPP = 122, 28, 95

# What takes blocks without writing them: fallocate's modes, and the calls that XFS had before it.
ALLOCATE = """
import ctypes, fcntl, json, os, struct
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open("/root/allocated", os.O_RDWR | os.O_CREAT)
tried = {}
for mode in (0, 1, 0x10, 0x11, 0x40):
    for high in (0, 1 << 32):
        ctypes.set_errno(0)
        r = libc.syscall(ctypes.c_long(285), ctypes.c_long(fd), ctypes.c_long(mode | high), ctypes.c_long(0), ctypes.c_long(100 << 30))
        tried["fallocate %d %d" % (mode, high)] = ctypes.get_errno() if r < 0 else 0
for name, call in {"RESVSP": 0x40305828, "RESVSP64": 0x4030582a, "ZERO_RANGE": 0x40305839}.items():
    try:
        fcntl.ioctl(fd, call, struct.pack("hhxxxxqqiI16x", 0, 0, 0, 100 << 30, 0, 0))
        tried[name] = 0
    except OSError as e:
        tried[name] = e.errno
print(json.dumps([tried, os.fstat(fd).st_blocks]))
"""


def machines_folder(server):
    owner = json.loads(server.get("/_haar/health")[1])["owner"]
    return pathlib.Path(f"/var/lib/haar/{owner}/machines")


def kept(folder):
    return sum(os.lstat(f"{at}/{name}").st_blocks * 512 for at, _, files in os.walk(folder) for name in files)


@pytest.fixture(scope="module")
def server(binary):
    with start_with(binary, "native") as server:
        yield server


@pytest.fixture
def cloud(server, binary):
    with cloud_of(server, binary, new_account()) as cloud:
        yield cloud


@pytest.fixture
def smallest(cloud):
    """smallest(): a machine with the smallest root volume that there is."""
    images = cloud.ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "name", "Values": [MINIMAL]}])["Images"]
    assert images[0]["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 2
    return lambda **how: cloud.run(ImageId=images[0]["ImageId"], InstanceType="t3.nano", **how)


@pytest.fixture
def looked_at(server):
    """Skips where the host's file system does by itself what is tested: the guest is told that its disk is full."""
    if any(" prjquota" in line or ",prjquota" in line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()):
        pytest.skip("machines that are looked at: this host may have project quotas")


def test_a_machine_that_outgrows_its_root_volume_stops_and_others_go_on(cloud, smallest, looked_at):
    ident, other = smallest()["InstanceId"], smallest()["InstanceId"]
    folder = machines_folder(cloud.server)
    cloud.execute(ident, "sh", "-c", "head -c 2300M /dev/zero > /root/large", status=None, timeout=120)
    stopped = until(lambda: cloud.in_state(ident, "stopped"), 30, f"{ident} stops")
    assert stopped["StateReason"]["Code"] == "Client.VolumeLimitExceeded"
    assert stopped["StateReason"]["Message"].startswith("Client.VolumeLimitExceeded: ")
    assert stopped["StateReason"]["Message"].endswith("Started again it runs until it has grown by 64 MiB more.")
    said = cloud.console(ident).splitlines()[-1]
    assert said.startswith(f"haar: {ident} is stopped: what it keeps, 2.") and "its disk's 2.0 GiB" in said
    assert said.endswith("Started again it runs until it has grown by 64 MiB more")
    assert cloud.execute(other, "echo", "here") == "here\n"

    cloud.run()  # … meanwhile nothing has started it
    assert cloud.in_state(ident, "stopped") and cloud.in_state(other, "running")
    cloud.ec2.start_instances(InstanceIds=[ident])
    started = until(lambda: cloud.in_state(ident, "running"), what="it starts")
    assert "StateReason" not in started
    assert cloud.execute(ident, "sh", "-c", "rm /root/large && echo removed") == "removed\n"
    cloud.booted(ident)

    before = kept(folder)
    cloud.execute(ident, "sh", "-c", "head -c 500M /dev/zero > /root/large")
    assert kept(folder) >= before + 500 * 1000 * 1000
    cloud.terminate()
    assert kept(folder) < 16 << 20


def test_nothing_is_allocated_without_being_written(cloud, smallest):
    tried, blocks = json.loads(cloud.execute(smallest()["InstanceId"], "python3", "-c", ALLOCATE))
    assert {name: error for name, error in tried.items() if error not in (EOPNOTSUPP, ENOSPC, EDQUOT)} == {}
    assert blocks * 512 < 3 * GIB


def test_what_writes_in_place_of_allocating_works(cloud, smallest):
    """posix_fallocate, as databases call it: the C library writes where the file system cannot."""
    script = "import json, os; fd = os.open('/root/x', os.O_RDWR | os.O_CREAT); os.posix_fallocate(fd, 0, 8 << 20); print(json.dumps(os.fstat(fd).st_size))"
    assert cloud.python(smallest()["InstanceId"], script) == 8 << 20


def test_without_limits_it_is_said_and_a_machine_may_allocate(binary):
    with start_with(binary, "native", env={"HAAR_PRETEND_MISSING": "disk-limits"}) as server, cloud_of(server, binary, new_account()) as cloud:
        ident = cloud.run()["InstanceId"]
        [lack] = [lack for lack in json.loads(server.get("/_haar/health")[1])["lacks"] if lack["feature"] == "disk-limits"]
        assert lack["effect"] and lack["reason"]
        script = "import json, os; fd = os.open('/root/x', os.O_RDWR | os.O_CREAT); os.posix_fallocate(fd, 0, 8 << 20); print(json.dumps(os.fstat(fd).st_blocks))"
        assert cloud.python(ident, script) * 512 >= 8 << 20


def test_without_the_right_to_see_what_is_open_it_is_said(binary, looked_at):
    if os.getuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("rights to take away: needs root and setpriv")
    under = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", "--"]
    with Server(binary, "--backend", "native", under=under) as server, cloud_of(server, binary, new_account()) as cloud:
        cloud.run()
        [lack] = [lack for lack in json.loads(server.get("/_haar/health")[1])["lacks"] if lack["feature"] == "disk-limits"]
        assert "CAP_SYS_PTRACE" in lack["reason"]
