"""A disk that is really full: a small tmpfs below --data."""

import contextlib
import os
import subprocess
import threading
import time

import pytest
from botocore.exceptions import ClientError

from haar import Server, new_account
from machine import Machine, an_image, stat_of

PATIENCE = 60  # seconds in which everything has to come about; the server's own bound is two


@contextlib.contextmanager
def small_disk(folder):
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "haar-test", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(path):
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


class Counter:
    """A VPC whose tag counts up; `said` is what the last answer that was a success stood for."""

    def __init__(self, server, account=None):
        self.account = account or new_account()
        self.connect(server)
        self.vpc = self.ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        self.said = self.next = 0

    def connect(self, server):
        self.ec2 = server.client("ec2", account=self.account, read_timeout=PATIENCE)

    def up(self):
        self.next += 1
        self.ec2.create_tags(Resources=[self.vpc], Tags=[{"Key": "n", "Value": str(self.next)}])
        self.said = self.next

    def shown(self):
        tags = self.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [self.vpc]}])["Tags"]
        return int({tag["Key"]: tag["Value"] for tag in tags}.get("n", "0"))


def count_until_refused(counter):
    with pytest.raises(ClientError) as refused:
        for n in range(450):  # records that stay: a journal that only overwrites would find room in its own file
            counter.ec2.create_security_group(GroupName=f"g-{n}", Description="x" * 255, VpcId=counter.vpc)
            counter.up()
    return refused.value.response


def until(done):
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_refused(change):
    """Also on a full disk a small change may find a little room."""
    try:
        change()
        return False
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        return True


def can_count(counter):
    return not is_refused(counter.up)


def test_a_full_disk_refuses_changes_and_shows_what_is_kept_until_it_has_room_again(binary, tmp_path):
    with small_disk(tmp_path / "disk") as disk, contextlib.ExitStack() as stack:
        server = Server(binary, "--backend", "none", "--data", disk / "data")
        stack.callback(server.kill)
        ours, theirs = Counter(server), Counter(server)
        for counter in ours, theirs, ours:
            counter.up()
        fill(disk / "filler")

        refused = []
        thread = threading.Thread(target=lambda: refused.append(count_until_refused(ours)))
        thread.start()
        until(lambda: "cannot be written" in server.errors())
        assert theirs.shown() == theirs.said == 1  # also while it is not yet known what becomes of the other's
        thread.join(PATIENCE)
        assert refused and refused[0]["Error"]["Code"] == "InternalError"
        assert refused[0]["ResponseMetadata"]["HTTPStatusCode"] == 503

        for _ in range(20):
            assert not can_count(theirs) or theirs.shown() == theirs.next
            assert ours.shown() == ours.said and theirs.shown() == theirs.said
        assert server.errors().count("the journal cannot be written") == 1
        assert "full" in server.errors()

        os.unlink(disk / "filler")
        until(lambda: can_count(ours))
        assert can_count(theirs)
        server.kill()
        with Server(binary, "--backend", "none", "--data", disk / "data") as server:
            for counter in ours, theirs:
                counter.connect(server)
                assert counter.shown() == counter.said


def test_what_machines_do_meanwhile_is_known_once_there_is_room_again(binary, native_server, tmp_path):
    del native_server  # there are machines on this host
    with small_disk(tmp_path / "disk") as disk, contextlib.ExitStack() as stack:
        arguments = ("--backend", "native", "--data", disk / "data", "--remove-on-exit")
        server = Server(binary, *arguments, env={"HAAR_EC2_IMAGE": "tiny"})
        stack.callback(server.stop)  # also after a failure: nobody else comes for machines whose folder is gone
        ec2 = server.client("ec2", account=new_account(), read_timeout=PATIENCE)
        ends, stays, starts = (Machine.launch(server, ec2) for _ in range(3))
        for machine in ends, stays, starts:
            machine.reach("running")
        starts.stop()
        counter = Counter(server)
        fill(disk / "filler")
        count_until_refused(counter)

        init = ends.init()
        ends.run("(sleep 0.1; poweroff) >/dev/null 2>&1 </dev/null &")
        until(lambda: stat_of(init) is None)
        with pytest.raises(ClientError) as refused:
            ec2.run_instances(ImageId=an_image(), InstanceType="t3.nano", MinCount=20, MaxCount=20)
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        if is_refused(lambda: ec2.start_instances(InstanceIds=[starts.id])):
            assert starts.state() == "stopped"
        if is_refused(lambda: ec2.stop_instances(InstanceIds=[stays.id])):
            assert stays.state() == "running" and stays.run("echo here").strip() == "here"
        assert len(server.errors().splitlines()) < 30, server.errors()

        os.unlink(disk / "filler")
        ends.reach("stopped", PATIENCE)
        assert len(ec2.describe_instances()["Reservations"]) == 3
        starts.start()
        stays.stop()
