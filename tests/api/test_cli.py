"""The other commands, as a person or a script uses them. Those that need a machine run where machines can."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time

import pytest

from haar import Server, free_port

ID = re.compile(r"i-[0-9a-f]{17}\n")
COMMANDS = ["serve", "run", "ps", "logs", "exec", "reset", "version"]


class Haar:
    """haar COMMAND… against one server."""

    def __init__(self, binary, server):
        self.binary, self.server = str(binary), server
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("HAAR_")} | {"HAAR_ENDPOINT": server.endpoint}

    def run(self, *arguments, status=0, **how):
        run = subprocess.run([self.binary, *arguments], capture_output=True, text=True, env=self.env, timeout=60, **how)
        assert run.returncode == status, run.stdout + run.stderr
        return run.stdout if status == 0 else run.stdout + run.stderr

    def start(self, *arguments, **how):
        return subprocess.Popen([self.binary, *arguments], env=self.env, **how)


@pytest.fixture
def haar(binary):
    with Server(binary, "--backend", "none") as server:
        yield Haar(binary, server)


@pytest.fixture
def native(binary, native_server):
    return Haar(binary, native_server)


@pytest.fixture
def machine(native):
    id = native.run("run").strip()
    yield id
    native.server.client("ec2").terminate_instances(InstanceIds=[id])


class Terminal:
    """A command on a terminal of 100 × 30."""

    def __init__(self, haar, *arguments):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = haar.start(*arguments, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        self.seen = ""

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, pattern, timeout=15):
        end = time.monotonic() + timeout
        while not re.search(pattern, self.seen):
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            assert ready, f"no {pattern!r} in {self.seen!r}"
            self.seen += os.read(self.master, 4096).decode(errors="replace")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(binary, command):
    text = subprocess.run([binary, command, "--help"], capture_output=True, text=True, check=True).stdout
    assert text.startswith(f"Usage: haar {command}")
    assert command in subprocess.run([binary, "--help"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["ps", "more"], ["ps", "--nope"], ["logs"], ["exec", "i-1"],
                                       ["exec", "i-1", "--"], ["run", "--type"], ["logs", "../x"]])
def test_wrong_words_are_status_2_and_say_so(binary, arguments):
    run = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=10)
    assert run.returncode == 2 and run.stderr and run.stdout == ""


def test_version(binary):
    assert re.fullmatch(r"haar \d+\.\d+\.\d+\n", subprocess.run([binary, "version"], capture_output=True, text=True).stdout)


def test_no_server_is_said_plainly(binary):
    endpoint = f"http://127.0.0.1:{free_port()}"
    run = subprocess.run([binary, "ps", "--endpoint", endpoint], capture_output=True, text=True)
    assert run.returncode == 1 and f"nothing answers at {endpoint}" in run.stderr


def test_run_prints_an_id_and_ps_lists_it(haar):
    id = haar.run("run", "--type", "t3.small")
    assert ID.fullmatch(id)
    haar.server.client("ec2").create_tags(Resources=[id.strip()], Tags=[{"Key": "Name", "Value": "a\x1b[31mb"}])
    head, row = haar.run("ps").splitlines()
    assert head.split() == ["ID", "NAME", "TYPE", "STATE", "ADDRESS", "BOOTS", "UPTIME"]
    assert row.split()[:4] == [id.strip(), r"a\x1b[31mb", "t3.small", "running"]


def test_what_the_api_refuses_is_told_as_it_says(haar):
    assert "(InvalidAMIID.NotFound)" in haar.run("run", "--image", "ami-0123456789abcdef0", status=1)
    assert haar.run("ps").count("\n") == 1


def test_reset(haar):
    haar.run("run")
    haar.run("reset", "--account", "111111111111")
    assert haar.run("ps").count("\n") == 2
    haar.run("reset")
    assert haar.run("ps").count("\n") == 1


def test_without_machines_exec_and_logs_say_why(haar):
    id = haar.run("run").strip()
    assert "backend none" in haar.run("logs", id, status=1)
    assert "backend none" in haar.run("exec", id, "--", "true", status=125)
    assert "InvalidInstanceID.NotFound" in haar.run("exec", "i-0", "--", "true", status=125)
    text = haar.run("run", "-it", status=125)
    assert "backend none" in text and "terminated" in haar.run("ps")


def test_exec_gives_output_errors_and_status(native, machine):
    run = subprocess.run([native.binary, "exec", machine, "--", "sh", "-c", "echo out; echo err >&2; exit 7"],
                         capture_output=True, text=True, env=native.env, timeout=20)
    assert (run.stdout, run.stderr, run.returncode) == ("out\n", "err\n", 7)
    assert native.run("exec", machine, "true") == ""
    native.run("exec", machine, "--", "no-such-program", status=127)
    native.run("exec", machine, "--", "sh", "-c", "kill -9 $$", status=137)


def test_exec_passes_a_megabyte_through(native, machine):
    data = os.urandom(1 << 20)
    run = subprocess.run([native.binary, "exec", "-i", machine, "--", "cat"], input=data, capture_output=True,
                         env=native.env, timeout=60)
    assert run.returncode == 0 and run.stdout == data


def test_exec_without_i_has_no_input(native, machine):
    assert native.run("exec", machine, "--", "cat", input="never read") == ""


def feed(pipe, data):
    try:
        pipe.write(data)
        pipe.close()
    except OSError:
        pass


def test_exec_survives_a_command_that_reads_nothing_and_writes_much(native, machine):
    text = native.run("exec", "-i", machine, "--", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x", input="y" * (1 << 20))
    assert len(text) == 3000000


def test_exec_gives_a_slow_reader_all_that_a_command_said_before_it_ended(native, machine):
    size = 12000000
    for _ in range(3):
        process = native.start("exec", "-i", machine, "--", "sh", "-c", f"head -c {size} /dev/zero; exit 7", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=feed, args=(process.stdin, b"y" * (1 << 20)), daemon=True).start()  # nobody takes it
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        time.sleep(0.3)
        got = 0
        while part := process.stdout.read1(65536):
            got += len(part)
            time.sleep(0.001)
        assert (got, process.wait(10)) == (size, 7)
        watchdog.cancel()
        process.stdout.close()


def test_exec_passes_signals_on(native, machine):
    process = native.start("exec", machine, "--", "sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done",
                           stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 5
    process.stdout.close()


def test_exec_on_a_terminal_knows_its_size_and_leaves_it_as_it_was(native, machine):
    terminal = Terminal(native, "exec", "-it", machine, "--", "sh")
    terminal.type("stty size\n")
    terminal.expect("30 100")
    fcntl.ioctl(terminal.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 41, 99, 0, 0))
    os.kill(terminal.process.pid, signal.SIGWINCH)
    time.sleep(0.3)
    terminal.type("stty size\n")
    terminal.expect("41 99")
    terminal.type("sleep 30\n")
    time.sleep(0.3)
    terminal.type("\x03")  # ends the sleep, not the shell
    terminal.type("exit 3\n")
    assert terminal.process.wait(10) == 3
    assert termios.tcgetattr(terminal.slave) == terminal.before
    terminal.close()


def test_run_it_opens_a_shell_and_terminates_the_machine(native):
    terminal = Terminal(native, "run", "-it")
    terminal.expect(r"[#$] ?$")
    terminal.type("echo $((6 * 7))-$(hostname)\n")
    terminal.expect("42-ip-172-31-")
    terminal.type("exit 4\n")
    assert terminal.process.wait(20) == 4
    host = re.search(r"42-ip-([0-9-]+)", terminal.seen)[1]
    address = host.replace("-", ".")
    terminal.close()
    assert address not in native.run("ps")  # its address has been given back


def test_logs_show_the_console_and_follow_it(native, tmp_path):
    script = tmp_path / "boot.sh"
    script.write_text("#!/bin/sh\nfor i in 1 2 3; do echo line-$i; sleep 0.2; done\n")
    id = native.run("run", "--user-data", str(script)).strip()
    process = native.start("logs", "-f", id, stdout=subprocess.PIPE, text=True)
    seen = ""
    while "line-3" not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    assert "boots the built-in image" in seen.splitlines()[0]
    assert process.poll() is None
    assert "line-3" in native.run("logs", id)
    native.server.client("ec2").terminate_instances(InstanceIds=[id])
    process.wait(10)  # it ends with the machine
    process.stdout.close()


def test_sessions_do_not_hold_the_servers_end_up(binary, native_server):
    with Server(binary, "--backend", "native") as server:
        haar = Haar(binary, server)
        id = haar.run("run").strip()
        processes = [haar.start("logs", "-f", id, stdout=subprocess.DEVNULL),
                     haar.start("exec", id, "--", "sleep", "100", stderr=subprocess.DEVNULL)]
        time.sleep(0.5)
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < 3
        assert processes[1].wait(5) != 0
        processes[0].wait(5)
