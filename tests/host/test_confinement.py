"""What a machine's processes may not do: each held against a list, and the known ways out, tried from inside as root."""

import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import textwrap
import threading

import pytest

from haar import new_account
from machines import DRIVERS, answer_of, banner_server, cloud_of, rule, start_with, until, usr_is_an_overlay

CAPABILITIES = {"chown": 0, "dac_override": 1, "fowner": 3, "fsetid": 4, "kill": 5, "setgid": 6, "setuid": 7, "setpcap": 8,
                "net_bind_service": 10, "net_admin": 12, "net_raw": 13, "sys_chroot": 18, "sys_boot": 22, "mknod": 27,
                "audit_write": 29, "setfcap": 31}
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
DEV = set(DEVICES) | {"console", "fd", "stdin", "stdout", "stderr", "ptmx", "pts", "shm"}

# name → (number on x86_64, arguments, errno that it must end with)
EPERM, ENOSYS = 1, 38
CALLS = {
    "mount": (165, (b"proc", b"/mnt", b"proc", 0, 0), EPERM), "umount2": (166, (b"/proc", 2), EPERM),
    "pivot_root": (155, (b"/", b"/"), EPERM), "open_tree": (428, (-100, b"/", 1), EPERM), "move_mount": (429, (-100, b"/", -100, b"/", 0), EPERM),
    "fsopen": (430, (b"ext4", 0), EPERM), "fsmount": (432, (0, 0, 0), EPERM), "mount_setattr": (442, (-100, b"/", 0, 0, 0), EPERM),
    "setns": (308, (0, 0), EPERM), "unshare": (272, (0x10000000,), EPERM), "clone of a user namespace": (56, (0x10000000 | 17, 0, 0, 0, 0), EPERM),
    "clone3": (435, (0, 0), ENOSYS), "kexec_load": (246, (0, 0, 0, 0), EPERM), "kexec_file_load": (320, (0, 0, 0, 0, 0), EPERM),
    "init_module": (175, (0, 0, 0), EPERM), "finit_module": (313, (0, 0, 0), EPERM), "delete_module": (176, (b"loop", 0), EPERM),
    "open_by_handle_at": (304, (-100, 0, 0), EPERM), "bpf": (321, (0, 0, 0), EPERM), "perf_event_open": (298, (0, 0, -1, -1, 0), EPERM),
    "userfaultfd": (323, (0,), EPERM), "keyctl": (250, (0, 0), EPERM), "add_key": (248, (b"user", b"x", b"x", 1, -3), EPERM),
    "request_key": (249, (b"user", b"x", 0, 0), EPERM), "io_uring_setup": (425, (1, 0), EPERM), "ioperm": (173, (0, 1, 1), EPERM),
    "iopl": (172, (3,), EPERM), "swapon": (167, (b"/x", 0), EPERM), "settimeofday": (164, (0, 0), EPERM), "clock_settime": (227, (0, 0), EPERM),
    "adjtimex": (159, (0,), EPERM), "acct": (163, (b"/x",), EPERM), "quotactl": (179, (0, 0, 0, 0), EPERM), "kcmp": (312, (1, 1, 0, 0, 0), EPERM),
    "vhangup": (153, (), EPERM), "fanotify_init": (300, (0, 0), EPERM), "lookup_dcookie": (212, (0, 0, 0), EPERM), "syslog": (103, (3, 0, 0), EPERM),
    "vmsplice": (278, (0, 0, 0, 0), EPERM), "a call of the future": (500, (), ENOSYS),
}
# What a register may hold above an int, which is all that the kernel reads of some arguments.
HIGH = [0, 1, 0x80000000, 0xffffffff]
EXEC = """
import ctypes, json, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    arguments = [a if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
    ctypes.set_errno(0)
    r = libc.syscall(ctypes.c_long(number), *arguments)
    return ctypes.get_errno() if r < 0 else 0
def tried(run):
    try:
        return run() or "done"
    except OSError as e:
        return e.errno
"""


@pytest.fixture(scope="module", params=[*DRIVERS, "native without user-namespaces"])
def driver_server(request, binary):
    """Also as on a host whose machines have no ids of their own: there the list is all that holds them."""
    driver, _, missing = request.param.partition(" without ")
    with start_with(binary, driver, env={"HAAR_PRETEND_MISSING": missing} if missing else None) as server:
        yield server


@pytest.fixture(scope="module")
def mapped(driver_server):
    """Whether its ids are its own."""
    lacks = json.loads(driver_server.get("/_haar/health")[1])["lacks"]
    return not {lack["feature"] for lack in lacks} & {"user-namespaces", "mapped-mounts"}


@pytest.fixture(scope="module")
def cloud(driver_server, binary):
    with cloud_of(driver_server, binary, new_account()) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def machine(cloud):
    found = cloud.run(InstanceType="t3.nano")
    cloud.booted(found["InstanceId"])
    return found


@pytest.fixture(scope="module")
def inside(cloud, machine):
    """inside(script): what a Python script prints in the machine, as root."""
    def inside(script, **more):
        return json.loads(cloud.execute(machine["InstanceId"], "python3", "-c", EXEC + textwrap.dedent(script), **more))
    return inside


@pytest.fixture(scope="module")
def shell(cloud, machine):
    """shell(line): what it prints in the machine."""
    return lambda line, **how: cloud.execute(machine["InstanceId"], "sh", "-c", line, **how)


# --- rights


@pytest.mark.parametrize("process", ["self", "1"])
def test_capabilities_are_these(shell, mapped, process):
    status = dict(re.findall(r"^(\w+):\s*(\S+)", shell(f"cat /proc/{process}/status"), re.M))
    wanted = sum(1 << number for name, number in CAPABILITIES.items() if mapped or name != "mknod")
    for kind in ("CapBnd", "CapEff", "CapPrm"):
        assert int(status[kind], 16) == wanted, kind
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert status["Seccomp"] == "2"


def test_it_is_nobody_on_the_host(shell, mapped):
    inside, outside, count = map(int, shell("cat /proc/self/uid_map").split())
    assert inside == 0 and (outside >= 65536 and count == 65536) == mapped


def test_calls_that_reach_into_the_kernel_are_refused(inside):
    calls = {name: (number, *arguments) for name, (number, arguments, _) in CALLS.items()}
    said = inside(f"print(json.dumps({{name: call(*c) for name, c in {calls!r}.items()}}))")
    assert said == {name: errno for name, (_, _, errno) in CALLS.items()}


def test_calls_of_other_architectures_are_refused(inside):
    """32-bit calls by int 0x80 would pass a filter that looks at numbers only."""
    said = inside("""
        import mmap
        page = mmap.mmap(-1, 4096, prot=7)
        page.write(bytes.fromhex("53 b8 14000000 cd 80 5b c3"))  # getpid
        run = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        child = os.fork()
        if child == 0:
            os._exit(0 if run() == -38 else 1)
        print(json.dumps(os.waitpid(child, 0)[1]))
    """)
    assert said == 0 or os.WIFSIGNALED(said)


@pytest.mark.parametrize("family", ["AF_VSOCK", "AF_ALG", "AF_QIPCRTR"])
@pytest.mark.parametrize("call", ["socket", "socketpair"])
def test_sockets_past_network_namespaces_are_refused(inside, call, family):
    number, kind = {"socket": 41, "socketpair": 53}[call], {"AF_VSOCK": 1, "AF_ALG": 5, "AF_QIPCRTR": 2}[family]
    said = inside(f"print(json.dumps([call({number}, {getattr(socket, family)} | high << 32, {kind}, 0, 0) for high in {HIGH}]))")
    assert said == [EPERM] * len(HIGH)


def test_clone_makes_no_namespace_whatever_stands_above_its_flags(inside):
    """The kernel reads the lower half of a register only."""
    spaces = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]
    said = inside(f"print(json.dumps([call(56, space | 17 | high << 32, 0, 0, 0, 0) for space in {spaces} for high in {HIGH}]))")
    assert said == [EPERM] * len(spaces) * len(HIGH)


def test_setuid_programs_still_work(shell):
    """No no_new_privs: sudo and su do what they do on a server."""
    assert "NoNewPrivs:\t0" in shell("cat /proc/self/status")
    assert shell("su -s /bin/sh nobody -c id").startswith("uid=65534")


def test_everyone_may_use_the_plain_devices(shell):
    assert shell("su -s /bin/sh nobody -c 'echo x > /dev/null && head -c 1 /dev/zero | wc -c'").strip() == "1"


# --- what it sees


def test_devices_are_exactly_these(inside):
    said = inside("""
        import stat
        print(json.dumps({n: [os.lstat("/dev/" + n).st_mode, os.major(os.lstat("/dev/" + n).st_rdev), os.minor(os.lstat("/dev/" + n).st_rdev)]
                          for n in os.listdir("/dev")}))
    """)
    assert set(said) == DEV
    for name, numbers in DEVICES.items():
        assert tuple(said[name][1:]) == numbers and said[name][0] == 0o20666


@pytest.mark.parametrize("kind, major, minor", [("S_IFBLK", 8, 0), ("S_IFBLK", 7, 0), ("S_IFCHR", 1, 1), ("S_IFCHR", 10, 229), ("S_IFCHR", 5, 1)])
@pytest.mark.parametrize("folder", ["/tmp", "/dev", "/dev/shm", "/run", "/root"])
def test_a_device_that_it_makes_is_of_no_use(inside, kind, major, minor, folder):
    said = inside(f"""
        import stat
        path = "{folder}/made"
        def run():
            os.mknod(path, stat.{kind} | 0o666, os.makedev({major}, {minor}))
            try:
                os.close(os.open(path, os.O_RDWR))
            finally:
                os.unlink(path)
        print(json.dumps(tried(run)))
    """)
    assert said in (1, 13)


def test_mounts_are_nodev_but_its_dev(shell):
    for line in shell("cat /proc/self/mounts").splitlines():
        source, where, kind, options, *_ = line.split()
        flags = options.split(",")
        prepared = where in ("/dev", "/dev/pts", "/dev/console") or source == "dev" and where.startswith("/proc/")
        assert prepared or "nodev" in flags, line
        if kind in ("proc", "sysfs", "devpts") or source == "dev":
            assert "nosuid" in flags and "noexec" in flags, line
        if kind == "sysfs" or where.startswith(("/proc/", "/sys/")) and source != "dev":
            assert "ro" in flags, line


@pytest.mark.parametrize("path", ["kcore", "keys", "latency_stats", "timer_list", "sched_debug", "sysrq-trigger"])
def test_masked_files_are_empty(inside, path):
    said = inside(f"""
        def run():
            with open("/proc/{path}", "rb") as f:
                return "%d bytes" % len(f.read(16))
        print(json.dumps(tried(run)))
    """)
    assert said in ("0 bytes", 1, 2, 13)


@pytest.mark.parametrize("path", ["/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"])
def test_masked_folders_are_empty(inside, path):
    assert inside(f"print(json.dumps(tried(lambda: os.listdir('{path}'))))") in ("done", 2)


@pytest.mark.parametrize("path", ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory",
                                  "/proc/sys/fs/file-max", "/proc/sys/kernel/panic", "/proc/irq/default_smp_affinity", "/sys/kernel/uevent_helper",
                                  "/sys/kernel/mm/transparent_hugepage/enabled", "/proc/1/oom_score_adj"])
def test_the_hosts_settings_are_not_written(shell, path):
    before = pathlib.Path(path).read_bytes() if os.access(path, os.R_OK) and not path.endswith("trigger") else b""
    text = "-1000" if "oom" in path else "b"  # less than it has needs SYS_RESOURCE
    shell(f"echo {text} > {path}", status=None)
    if before and not path.startswith("/proc/1/"):
        assert pathlib.Path(path).read_bytes() == before
    if not path.endswith("sysrq-trigger"):
        assert text not in shell(f"cat {path} 2>/dev/null", status=None).split()


def test_it_sees_its_own_processes_only(shell):
    pids = [int(line) for line in shell("ls /proc | grep -E '^[0-9]+$'").split()]
    assert 1 in pids and len(pids) < 10


@pytest.mark.parametrize("path", ["/home", "/root", "/var/lib/haar", "/run/haar", "/etc/ssh", "/srv", "/boot"])
def test_nothing_of_the_hosts_own_folders_is_there(shell, path):
    assert shell(f"ls -A {path} 2>/dev/null | grep -v -e '^\\.bashrc$' -e '^\\.profile$'", status=None) == ""


def test_secrets_of_the_host_are_not_there(shell):
    shadow = shell("cat /etc/shadow")
    for line in pathlib.Path("/etc/shadow").read_text().splitlines():
        if len(line.split(":")[1]) > 4:
            assert line.split(":")[1] not in shadow


@pytest.fixture
def usr():
    """A folder of the host's /usr, for a while."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="haar-test-", dir="/usr/lib"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def put(path, text, mode=0o644):
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def viewed(driver_server):
    """In a container, and on Linux 5.10, what is private is looked for when the image is made: test_container.py."""
    if usr_is_an_overlay() or "what becomes so later is not" in driver_server.errors():
        pytest.skip("no view of /usr: what becomes private later is not hidden")


def refused(shell, path):
    """What `cat`, a copy, a change and a link of it say: nothing of it, and no success."""
    tries = [f"cat {path}", f"cp {path} /tmp/taken", f"sh -c 'echo x >> {path}'", f"chmod 644 {path}", f"ln {path} /usr/lib/linked", f"mv {path} /usr/lib/moved"]
    return [shell(f"{line} 2>/dev/null; echo $?", status=None) for line in tries] == ["1\n"] * 2 + ["2\n"] + ["1\n"] * 3


@pytest.mark.usefixtures("viewed")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o4700])
def test_a_file_of_usr_that_not_everybody_reads_is_not_read(shell, usr, mode):
    """Made after the machine was born, too."""
    path = put(usr / "private", "secret", mode)
    assert refused(shell, path)
    os.link(path, usr / "another-name")
    assert refused(shell, usr / "another-name")
    assert shell(f"cat {put(usr / 'open', 'everybody')}") == "everybody"


@pytest.mark.usefixtures("viewed")
def test_what_is_in_a_private_folder_of_usr_is_not_read(shell, usr):
    (usr / "folder").mkdir()
    path = put(usr / "folder" / "file", "secret")
    assert shell(f"cat {path}; ls {usr}/folder") == "secretfile\n"
    (usr / "folder").chmod(0o700)
    assert refused(shell, path)
    assert shell(f"ls {usr}/folder 2>/dev/null", status=2) == ""


@pytest.mark.usefixtures("viewed")
def test_a_file_of_usr_that_becomes_private_is_not_read_again(shell, usr):
    path = put(usr / "file", "open")
    assert shell(f"cat {path}") == "open"
    put(path, "secret", 0o600)
    assert refused(shell, path)


@pytest.mark.usefixtures("viewed")
def test_who_else_may_read_a_file_of_usr_is_nothing_to_it(shell, usr):
    """An access control list that lets nobody's like in, who is not everybody."""
    path = put(usr / "listed", "secret", 0o600)
    entries = [(1, 6, 2**32 - 1), (2, 4, 65534), (4, 0, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1)]
    try:
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries))
    except OSError as e:
        pytest.skip(f"no access control lists here: {e}")
    assert refused(shell, path)


@pytest.mark.parametrize("shown", ["false", "true"])
def test_the_administrators_own_folder_is_shown_where_it_was_asked_for(binary, shown):
    local = pathlib.Path(tempfile.mkdtemp(prefix="haar-test-", dir="/usr/local"))
    try:
        local.chmod(0o755)
        put(local / "open", "everybody")
        put(local / "private", "secret", 0o600)
        with start_with(binary, "native", env={"HAAR_HOST_IMAGE_LOCAL": shown}) as server, cloud_of(server, binary, new_account()) as cloud:
            ident = cloud.run()["InstanceId"]
            said = cloud.execute(ident, "sh", "-c", f"cat {local}/* 2>/dev/null; ls -d /usr/local/bin; echo mine > /usr/local/bin/mine && cat /usr/local/bin/mine")
        assert said == ("everybody" if shown == "true" else "") + "/usr/local/bin\nmine\n"
        assert not os.path.exists("/usr/local/bin/mine")
    finally:
        shutil.rmtree(local)


def test_what_a_mount_below_usr_covers_stays_covered(binary, usr):
    (usr / "covered").mkdir()
    put(usr / "covered" / "file", "nobody sees this")
    put(usr / "beside", "everybody")
    subprocess.run(["mount", "-t", "tmpfs", "haar-test", usr / "covered"], check=True)
    try:
        with start_with(binary, "native") as server, cloud_of(server, binary, new_account()) as cloud:
            said = cloud.execute(cloud.run()["InstanceId"], "sh", "-c", f"cat {usr}/beside {usr}/covered/file 2>/dev/null; ls {usr}", status=None)
        assert said == "everybodybeside\n"
    finally:
        subprocess.run(["umount", usr / "covered"], check=True)


def test_what_it_writes_to_usr_is_its_own(shell):
    shell("echo mine > /usr/bin/haar-test-mine && echo x >> /usr/bin/env")
    assert not os.path.exists("/usr/bin/haar-test-mine")
    assert not pathlib.Path("/usr/bin/env").read_bytes().endswith(b"x\n")


# --- limits


def test_memory_is_limited_by_the_type(shell, cloud, machine):
    """t3.nano: 512 MiB."""
    script = "python3 -c 'x = bytearray(900 << 20); print(sum(x[::4096]))'"
    cloud.execute(machine["InstanceId"], "sh", "-c", script, status=None)
    assert shell(f"{script} > /dev/null 2>&1; echo $?").strip() in ("137", "1")
    assert shell("echo alive") == "alive\n"


def test_a_fork_bomb_ends_nobody_else(cloud, machine):
    """Bounded by pids.max, or by memory where a type has little; the machine can still be ended."""
    ident = cloud.run(InstanceType="t3.nano")["InstanceId"]
    limits = [pathlib.Path(at) / "pids.max" for at, _, files in os.walk("/sys/fs/cgroup") if at.endswith((f"/{ident}", f"/{ident}/guest")) and "pids.max" in files]
    assert any(0 < int(limit.read_text()) <= 32768 for limit in limits if limit.read_text() != "max\n")
    cloud.execute(ident, "timeout", "-s", "KILL", "2", "bash", "-c", "bomb() { bomb | bomb & }; bomb; sleep 2", status=None)
    assert cloud.execute(machine["InstanceId"], "echo", "alive") == "alive\n"
    cloud.terminate(ident)
    cloud.made.remove(ident)


def test_its_temporary_file_systems_are_bounded(inside):
    said = inside("""
        def run():
            with open("/dev/shm/big", "wb") as f:
                for _ in range(200):
                    f.write(bytes(1 << 20))
        said = tried(run)
        os.unlink("/dev/shm/big")
        print(json.dumps(said))
    """)
    assert said == 28


# --- ways out


def test_haars_programs_cannot_be_rewritten(inside):
    """As CVE-2019-5736: /proc/self/exe of what the host's side runs inside."""
    said = inside("""
        import os
        def write(path, flags=os.O_WRONLY):
            return tried(lambda: os.close(os.open(path, flags)))
        print(json.dumps([write("/proc/1/exe"), write("/proc/1/exe", os.O_RDWR), tried(lambda: os.truncate("/proc/1/exe", 0))]))
    """)
    assert all(errno in (1, 13, 26) for errno in said), said


def test_exec_brings_no_descriptor_but_its_three(cloud, machine):
    said = cloud.execute(machine["InstanceId"], "python3", "-c",
                         "import os; print(sorted(int(f) for f in os.listdir('/proc/self/fd'))[:-1])")
    assert said == "[0, 1, 2]\n"


def test_init_has_its_console_and_the_socket_to_its_monitor(shell):
    said = dict(re.findall(r"(\d+) -> (\S+)", shell("ls -l /proc/1/fd")))
    assert set(said) == {"0", "1", "2", "3"}
    assert all(said[fd] == "/dev/console" for fd in "012") and said["3"].startswith("socket:")


def test_init_ends_no_host_whatever_is_sent_to_its_monitor(cloud):
    """The machine's root may take init's socket: nonsense through it ends at most that machine."""
    other = cloud.run()["InstanceId"]
    ident = cloud.run()["InstanceId"]
    cloud.execute(ident, "python3", "-c", EXEC + textwrap.dedent("""
        import socket, time
        fd = libc.syscall(438, libc.syscall(434, 1, 0), 3, 0)
        if fd >= 0:
            s = socket.socket(fileno=fd)
            for what in (b"", b"x", bytes(4096), b"\\xff" * 200, bytes(range(256))):
                tried(lambda: s.send(what, socket.MSG_DONTWAIT))
            time.sleep(0.2)
    """), status=None)
    assert cloud.execute(other, "echo", "alive") == "alive\n"
    until(lambda: cloud.show(ident)["State"]["Name"] in ("running", "stopped"), 15)


@pytest.mark.parametrize("link", ["root", "cwd"])
def test_its_processes_lead_to_its_own_root_only(inside, link):
    said = inside(f"""
        said = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            def run():
                at = "/proc/%s/{link}" % pid
                found = os.stat(at + "/../../../../..")
                return "own" if (found.st_dev, found.st_ino) == (os.stat("/").st_dev, os.stat("/").st_ino) else os.listdir(at)
            said.append(tried(run))
        print(json.dumps(said))
    """)
    assert "own" in said
    assert all(what in ("own", 2, 3, 13) for what in said), said


def test_chroot_leads_nowhere(inside, shell):
    said = inside("""
        def run():
            os.makedirs("/tmp/jail", exist_ok=True)
            at = os.open("/", os.O_RDONLY)
            os.chroot("/tmp/jail")
            os.fchdir(at)
            for _ in range(64):
                os.chdir("..")
            os.chroot(".")
            return sorted(os.listdir("/"))
        print(json.dumps(tried(run)))
    """)
    assert said == sorted(shell("ls -A /").split()), "it stands in its own root"


def test_the_cgroup_tree_is_not_written(shell):
    """As CVE-2022-0492: a release agent."""
    shell("mkdir -p /tmp/cg; mount -t cgroup -o memory cgroup /tmp/cg", status=None)
    assert shell("ls /tmp/cg") == ""
    assert shell("find /sys/fs/cgroup -writable -type f 2>/dev/null | while read f; do echo 1 2>/dev/null > $f && echo $f; done; true") == ""


# --- ways out by the network


@pytest.fixture(scope="module")
def public(cloud):
    """With a public address: what leaves its VPC may reach the hub."""
    found = cloud.run(banner_server("one"), SecurityGroupIds=[cloud.group(None, rule())])
    cloud.booted(found["InstanceId"])
    return found


def host_addresses():
    links = json.loads(subprocess.check_output(["ip", "-json", "-4", "addr"]))
    return [a["local"] for link in links for a in link["addr_info"]]


def test_the_hosts_addresses_are_not_reached(cloud, public):
    server = socket.create_server(("0.0.0.0", 0))
    accepted = []

    def accept():
        try:
            while True:
                accepted.append(server.accept())
        except OSError:
            pass
    threading.Thread(target=accept, daemon=True).start()
    port = server.getsockname()[1]
    assert answer_of(public["PublicIpAddress"]), "it is reached, so its way out leads here"
    for address in host_addresses() + ["169.254.169.254", "169.254.100.1", "169.254.100.2", "198.18.0.1", "127.0.0.2"]:
        assert cloud.answer_inside(public["InstanceId"], address, port) is None, address
    assert not accepted, accepted
    server.close()


def test_the_api_is_not_reached_by_the_hosts_loopback(cloud, public, driver_server):
    script = f"timeout 1 bash -c 'exec 3<>/dev/tcp/{{}}/{driver_server.port}' && echo open"
    for address in host_addresses():
        assert cloud.execute(public["InstanceId"], "sh", "-c", script.format(address) + "; true") == "", address


def test_a_route_of_its_own_through_the_hub_reaches_no_neighbours_private_address(cloud, public):
    vpc, (subnet,) = cloud.network("10.70.0.0/16", "10.70.0.0/24", internet=True)
    neighbour = cloud.run(banner_server("neighbour"), SubnetId=subnet, SecurityGroupIds=[cloud.group(vpc, rule())])
    cloud.booted(neighbour["InstanceId"])
    ident = public["InstanceId"]
    gateway = cloud.execute(ident, "sh", "-c", "ip route show default | cut -d' ' -f3").strip()
    cloud.execute(ident, "sh", "-c", f"ip route replace 10.70.0.0/16 via {gateway} onlink dev eth0; ip route replace 169.254.0.0/16 via {gateway} onlink dev eth0")
    assert cloud.answer_inside(ident, neighbour["PrivateIpAddress"]) is None


def test_it_cannot_speak_for_another_address(cloud):
    vpc, (subnet,) = cloud.network("10.71.0.0/16", "10.71.0.0/24")
    group = cloud.group(vpc, rule(cidr="10.71.0.99/32"))
    server = cloud.run(banner_server("one"), SubnetId=subnet, SecurityGroupIds=[group])
    liar = cloud.run(SubnetId=subnet, SecurityGroupIds=[group])["InstanceId"]
    cloud.booted(server["InstanceId"])
    cloud.execute(liar, "ip", "addr", "add", "10.71.0.99/24", "dev", "eth0")
    cloud.execute(liar, "ip", "link", "set", "dev", "eth0", "address", "0a:00:00:00:00:99", status=None)
    said = cloud.execute(liar, "python3", "-c", textwrap.dedent(f"""
        import socket
        s = socket.socket()
        s.settimeout(1)
        s.bind(("10.71.0.99", 0))
        s.connect(("{server['PrivateIpAddress']}", 80))
        print("open")
    """), status=None)
    assert said == ""


# --- what a server's owner does inside


def test_its_network_is_its_own_to_change(shell, mapped):
    shell("echo 1 > /proc/sys/net/ipv4/ip_forward", status=0 if mapped else 2)
    assert shell("cat /proc/sys/net/ipv4/ip_forward").strip() == str(int(mapped))
    if mapped and shell("test -e /proc/sys/net/core/somaxconn && echo there", status=None):  # older kernels keep it from user namespaces
        assert shell("echo 1000 > /proc/sys/net/core/somaxconn && cat /proc/sys/net/core/somaxconn").strip() == "1000"
    shell("ip link add dummy0 type dummy 2>/dev/null || ip link add v0 type veth peer name v1; ip rule add pref 500 table 7; ip route add 10.250.0.0/16 dev lo table 7")
    if shell("which nft", status=None):
        shell("nft add table inet t && nft 'add chain inet t c { type filter hook input priority 0; }' && nft add rule inet t c tcp dport 99 drop")
        assert "dport 99" in shell("nft list ruleset")
    if shell("which iptables", status=None):
        shell("iptables -A INPUT -p tcp --dport 98 -j DROP")
        assert "dport 98" in shell("iptables -S").replace("--dport", "dport")
    shell("ping -c 1 -W 1 127.0.0.1 >/dev/null 2>&1 || true")
