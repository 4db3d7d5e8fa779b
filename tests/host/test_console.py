"""`haar logs -f`: every byte that a machine's console has ever had, to the last, or the number of those that are lost."""

import os
import re
import signal
import struct
import subprocess
import threading
import time

import pytest

from machine import until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="native machines: needs root")

RING = (1 << 20) - 16
LOST = re.compile(rb"\nhaar: (\d+) bytes were overwritten before they could be read\n")
# Numbered lines: a hundred; when it is told to go on, as fast as it can until there are so many; slowly from then on, so
# that whoever stops it stops it while it writes.
WRITER = """#!/bin/sh
i=0
while :; do
  i=$((i+1))
  echo line-$i-of-the-console
  [ $i -ne 100 ] || while [ ! -e /go-on ]; do usleep 10000; done
  [ $i -lt %d ] || usleep 2000
done
"""


class Ring:
    """The console's file, held open: what it had in the end can be told after it has been removed."""

    def __init__(self, machine):
        path = machine.disk() / "console"
        until(path.exists, "a console")
        self.file = open(path, "rb")

    def total(self):
        return struct.unpack("<8sQ", os.pread(self.file.fileno(), 16, 0))[1]


class Follower:
    """`haar logs -f` and what it has printed so far."""

    def __init__(self, machine):
        """Returns when it has begun."""
        self.process = subprocess.Popen([machine.server.binary, "logs", "-f", machine.id], stdout=subprocess.PIPE,
                                        env=machine.env())
        self.seen = bytearray()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        until(lambda: b"line-100-" in self.seen, "a hundred lines")

    def _read(self):
        while piece := os.read(self.process.stdout.fileno(), 65536):
            self.seen += piece

    def end(self, seconds=20):
        """All that it printed; it must have ended by itself."""
        try:
            assert self.process.wait(seconds) == 0
        finally:
            self.process.kill()
            self.reader.join()
            self.process.stdout.close()
        return bytes(self.seen)


def go_on(machine):
    machine.run("touch /go-on")


def lines_of(text):
    return [int(number) for number in re.findall(rb"line-(\d+)-of-the-console\r?\n", text)]


def test_the_last_bytes_of_a_terminated_machine_are_printed(launch):
    for _ in range(5):
        machine = launch(UserData=WRITER % 0)
        ring, follower = Ring(machine), Follower(machine)
        go_on(machine)
        until(lambda: b"line-120-" in follower.seen, "more lines")
        machine.terminate()
        seen = follower.end()
        assert len(seen) == ring.total()
        assert lines_of(seen) == list(range(1, len(lines_of(seen)) + 1))


def test_a_stop_is_followed_to_its_last_byte_and_over_the_next_boot(launch):
    machine = launch(UserData=WRITER % 0)
    ring, follower = Ring(machine), Follower(machine)
    go_on(machine)
    until(lambda: b"line-120-" in follower.seen, "more lines")
    machine.stop()
    until(lambda: len(follower.seen) == ring.total(), lambda: f"{len(follower.seen)} of {ring.total()} bytes", 5)
    stopped = ring.total()
    assert follower.process.poll() is None
    machine.start()
    until(lambda: len(follower.seen) > stopped, "more of the next boot")
    machine.terminate()
    assert len(follower.end()) == ring.total()


def test_several_are_followed_at_once_each_to_its_own_end(launch):
    machines = [launch(UserData=WRITER % 2000) for _ in range(4)]
    rings = [Ring(machine) for machine in machines]
    followers = [Follower(machine) for machine in machines for _ in range(3)]
    for machine in machines:
        go_on(machine)
    until(lambda: all(b"line-2000-" in f.seen for f in followers), "all lines of all")
    for machine in machines:
        machine.terminate()
    for i, follower in enumerate(followers):
        assert len(follower.end()) == rings[i // 3].total()


def test_one_command_follows_several_and_names_each_line(launch):
    machines = [launch(UserData=WRITER % 500) for _ in range(2)]
    process = subprocess.Popen([machines[0].server.binary, "logs", "-f", *(m.id for m in machines)],
                               stdout=subprocess.PIPE, env=machines[0].env())
    for machine in machines:
        go_on(machine)
    time.sleep(0.5)
    for machine in machines:
        machine.terminate()
    seen, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    for machine in machines:
        own = [line for line in seen.split(b"\n") if line.startswith(machine.id.encode() + b": line-")]
        assert lines_of(b"\n".join(own) + b"\n") == list(range(1, len(own) + 1)) and len(own) >= 500
    assert all(line.startswith(b"i-") for line in seen.splitlines())


def test_output_over_a_mebibyte_keeps_its_end(launch):
    machine = launch(UserData=WRITER % 100000)  # 2.6 MB
    ring = Ring(machine)
    go_on(machine)
    until(lambda: ring.total() > 2.5e6, lambda: f"{ring.total()} bytes", 60)
    machine.stop()
    kept = subprocess.run([machine.server.binary, "logs", machine.id], capture_output=True, env=machine.env(),
                          timeout=30, check=True).stdout
    numbers = lines_of(kept)
    assert RING - 70000 < len(kept) <= RING
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert lines_of(ring_end(ring))[-1] == numbers[-1]


def ring_end(ring):
    """Its last 200 bytes."""
    total = ring.total()
    return b"".join(os.pread(ring.file.fileno(), 1, 16 + at % RING) for at in range(total - 200, total))


def test_a_reader_that_falls_behind_is_told_how_much_it_has_lost(launch):
    machine = launch(UserData=WRITER % 600000)  # 16 MB: more than its sockets hold
    ring, follower = Ring(machine), Follower(machine)
    follower.process.send_signal(signal.SIGSTOP)
    go_on(machine)
    until(lambda: ring.total() > 16e6, lambda: f"{ring.total()} bytes", 60)
    time.sleep(0.5)
    follower.process.send_signal(signal.SIGCONT)
    machine.terminate()
    seen = follower.end()
    lost = [int(number) for number in LOST.findall(seen)]
    assert lost and min(lost) > 0
    assert len(LOST.sub(b"", seen)) + sum(lost) == ring.total()
    numbers = lines_of(LOST.sub(b"\n", seen))
    assert numbers == sorted(set(numbers))


def test_a_fast_writer_is_followed_without_a_gap_that_is_not_told(launch):
    machine = launch(UserData=WRITER % 150000)  # 4 MB
    ring, follower = Ring(machine), Follower(machine)
    go_on(machine)
    until(lambda: ring.total() > 3.9e6, lambda: f"{ring.total()} bytes", 60)
    machine.terminate()
    seen = follower.end()
    lost = sum(int(number) for number in LOST.findall(seen))
    assert len(LOST.sub(b"", seen)) + lost == ring.total()
