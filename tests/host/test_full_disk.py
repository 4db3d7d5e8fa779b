"""A disk that is really full: a small tmpfs below --data."""

import contextlib
import os
import subprocess
import threading
import time

import pytest
from botocore.exceptions import ClientError

from haar import Server, new_account

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

    def __init__(self, server, account):
        self.account = account
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


def can_count(counter):
    try:
        counter.up()
        return True
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        return False


def test_a_full_disk_refuses_changes_and_shows_what_is_kept_until_it_has_room_again(binary, tmp_path):
    with small_disk(tmp_path / "disk") as disk, contextlib.ExitStack() as stack:
        server = Server(binary, "--backend", "none", "--data", disk / "data")
        stack.callback(server.kill)
        ours, theirs = Counter(server, new_account()), Counter(server, new_account())
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
