"""`haar serve`: settings, who may call, the server's own paths, and how it ends."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

from haar import Server, authorization, free_port, new_account
from machine import until

TOKEN = "a-token-for-tests"


def start_fails(binary, *arguments, env=None):
    """What it says when it does not start."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HAAR_", "FAKECLOUD_"))}
    run = subprocess.run([binary, "serve", *arguments], capture_output=True, text=True, timeout=10, env=kept | (env or {}))
    assert run.returncode == 1 and run.stdout == ""
    assert len(run.stderr.splitlines()) == 1, run.stderr
    return run.stderr


def body_of(server, path, method="GET", headers=None, status=200):
    got, body = server.get(path, method, headers)
    assert got == status, body
    return body


@pytest.mark.parametrize("flag", ["--listen=nowhere", "--backend=x", "--account-id=1", "--region=nowhere", "--internet=x",
                                  "--allow-host=10.0.0.1/8", "--log-level=x", "--nonsense", "--data="])
def test_a_bad_flag_stops_the_start_by_its_name(binary, flag):
    assert flag.split("=")[0] in start_fails(binary, flag)


@pytest.mark.parametrize("name", ["HAAR_REGION", "FAKECLOUD_REGION", "HAAR_K8S_SELF_URL", "FAKECLOUD_K8S_TOLERATIONS"])
def test_a_bad_variable_stops_the_start_by_its_name(binary, name):
    assert name in start_fails(binary, env={name: "not right"})


@pytest.mark.parametrize("backend", ["docker", "podman", "kubernetes", "k8s"])
def test_a_backend_that_is_not_built_stops_the_start_when_asked_for(binary, backend):
    assert "not built yet" in start_fails(binary, "--backend", backend)


def test_functions_may_be_left_open_only(binary):
    assert "functions are not built yet" in start_fails(binary, "--lambda-backend", "native")
    Server(binary, "--backend", "none", "--lambda-backend", "none").stop()


def test_a_busy_port_stops_the_start(binary, server):
    assert str(server.port) in start_fails(binary, "--backend", "none", "--listen", server.listen)


def test_port_0_takes_a_free_one_and_says_which(binary):
    with Server(binary, "--backend", "none", listen="127.0.0.1:0") as server:
        assert server.port != 0
        body_of(server, "/_haar/health")


def test_health_names_version_and_backends(server):
    health = json.loads(body_of(server, "/_haar/health"))
    assert health["status"] == "ok"
    assert health["backends"] == {"ec2": "none", "lambda": "none"}
    assert health["version"]
    assert json.loads(body_of(server, "/_fakecloud/health")) == health
    assert json.loads(body_of(server, "/_localstack/health"))["services"]["ec2"] == "running"


def test_without_machines_it_says_why_in_one_line_and_what_would_make_them(server):
    lines = [line for line in server.errors().splitlines() if "no machines" in line]
    assert len(lines) == 1 and "backend none was asked for; leave it out" in lines[0]


def test_a_variable_of_no_setting_is_a_warning(binary):
    with Server(binary, "--backend", "none", env={"HAAR_REGOIN": "x"}) as server:
        assert "HAAR_REGOIN" in server.errors()


def test_account_and_region_of_who_names_none(binary):
    with Server(binary, "--backend", "none", "--account-id", "111122223333", env={"FAKECLOUD_REGION": "eu-west-1"}) as server:
        assert server.client("sts").get_caller_identity()["Account"] == "111122223333"


def test_allowed_names_and_origins(binary):
    env = {"HAAR_ALLOWED_HOSTS": "haar.internal", "HAAR_ALLOWED_ORIGINS": "https://app.example.org"}
    with Server(binary, "--backend", "none", env=env) as server:
        body_of(server, "/_haar/health", headers={"Host": "haar.internal"})
        body_of(server, "/_haar/health", headers={"Host": "other.internal"}, status=403)
        body_of(server, "/_haar/health", headers={"Origin": "https://app.example.org"})
        body_of(server, "/_haar/health", headers={"Origin": "https://evil.example"}, status=403)


def launch(server, account):
    ec2 = server.client("ec2", account=account)
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    return ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]


def listed(server, path="/_haar/ec2/instances"):
    return {one["instanceId"]: one for one in json.loads(body_of(server, path))["instances"]}


@pytest.fixture
def own_server(binary):
    with Server(binary, "--backend", "none", env={"HAAR_TOKEN": TOKEN}) as server:
        yield server


def test_instances_and_their_networks_are_listed_over_accounts(own_server):
    ids = [launch(own_server, account) for account in ("111111111111", "222222222222")]
    instances, networks = listed(own_server), listed(own_server, "/_fakecloud/ec2/instance-networks")
    assert set(instances) == set(networks) == set(ids)
    for id in ids:
        assert instances[id]["rootImage"] is None and instances[id]["backend"] == "none"
        assert set(networks[id]) == {"instanceId", "vpcId", "subnetId", "privateIp", "backingNetwork", "isolationBackend",
                                     "securityGroupEnforcement", "enforcementActive", "degradedReason"}
        assert networks[id]["privateIp"] == instances[id]["privateIp"]
        assert networks[id]["enforcementActive"] is False and networks[id]["degradedReason"]
    assert set(listed(own_server, f"/_haar/ec2/instances?id={ids[0]}")) == {ids[0]}


@pytest.mark.parametrize("path", ["/_haar/reset", "/_fakecloud/reset", "/_reset", "/_localstack/state/reset",
                                  "/moto-api/reset"])
def test_a_reset_empties_all_accounts(own_server, path):
    launch(own_server, "111111111111")
    body_of(own_server, path, "POST")
    assert listed(own_server) == {}


def test_a_reset_of_one_account_leaves_the_others(own_server):
    first, second = (launch(own_server, account) for account in ("111111111111", "222222222222"))
    body_of(own_server, "/_haar/reset?account=111111111111", "POST")
    assert set(listed(own_server)) == {second}
    body_of(own_server, "/_haar/reset?account=1", "POST", status=400)
    body_of(own_server, "/_haar/reset", "GET", status=405)


def test_resets_side_by_side_are_all_answered(binary, tmp_path):
    with Server(binary, "--backend", "none", "--data", tmp_path / "d") as server:
        launch(server, "111111111111")
        sockets = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(8)]
        for s in sockets:
            s.sendall(b"POST /_haar/reset HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert all(s.recv(100).startswith(b"HTTP/1.1 200") for s in sockets)
        assert listed(server) == {}


def test_metrics_count_calls_and_records(own_server):
    launch(own_server, "111111111111")
    text = body_of(own_server, "/_haar/metrics").decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert int(values["haar_api_calls_total"]) == 2
    assert int(values['haar_records{kind="instance"}']) == 1
    assert int(values["process_resident_memory_bytes"]) > 1 << 20
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ", "haar_", "process_")), line


def test_console_and_exec_need_the_token(own_server):
    id = launch(own_server, "111111111111")
    for method, verb in (("GET", "console"), ("POST", "exec")):
        path = f"/_haar/ec2/instances/{id}/{verb}"
        body_of(own_server, path, method, status=403)
        body_of(own_server, path, method, {"Haar-Token": "wrong-token"}, status=403)
        assert b"backend none" in body_of(own_server, path, method, {"Haar-Token": TOKEN}, status=501)
        assert b"InvalidInstanceID.NotFound" in body_of(own_server, f"/_haar/ec2/instances/i-0/{verb}", method,
                                                       {"Haar-Token": TOKEN}, status=404)


ENDINGS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU]
FAULTS = [signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGSYS]
NEVER_CAUGHT = [signal.SIGKILL, signal.SIGSTOP]
STOPPING = [signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU]


@pytest.mark.parametrize("number", ENDINGS, ids=lambda number: number.name)
def test_a_signal_that_asks_for_it_ends_it_cleanly_with_status_0(binary, number):
    server = Server(binary, "--backend", "none", under=["env", "--default-signal"])  # whatever runs these ignores
    with contextlib.ExitStack() as stack:
        stack.callback(server.process.kill)
        stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))  # an idle client is no reason to stay
        server.process.send_signal(number)
        assert server.process.wait(10) == 0
        assert f"{number.name}: ending" in server.errors()
        server.process.stdout.close()


@pytest.mark.parametrize("number", sorted(signal.valid_signals() - {*ENDINGS, *FAULTS, *NEVER_CAUGHT, *STOPPING}), ids=int)
def test_any_other_signal_changes_nothing(own_server, number):
    own_server.process.send_signal(number)
    body_of(own_server, "/_haar/health")
    assert own_server.process.poll() is None


def test_under_nohup_it_outlives_its_terminal(binary):
    with Server(binary, "--backend", "none", under=["nohup"]) as server:
        server.process.send_signal(signal.SIGHUP)
        body_of(server, "/_haar/health")


def test_a_second_signal_ends_it_at_once(binary):
    server = Server(binary, "--backend", "none")
    slow = socket.create_connection(("127.0.0.1", server.port))
    slow.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")  # holds the end up
    time.sleep(0.1)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert server.process.poll() is None
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(1) == -signal.SIGTERM
    server.process.stdout.close()
    slow.close()


def test_data_is_found_again_and_belongs_to_one_server_at_a_time(binary, tmp_path):
    data = tmp_path / "deep" / "data"
    with Server(binary, "--backend", "none", "--data", data) as server:
        id = launch(server, "111111111111")
        assert start_fails(binary, "--backend", "none", "--data", str(data), "--listen", f"127.0.0.1:{free_port()}")
    with Server(binary, "--backend", "none", env={"HAAR_DATA": str(data)}) as server:
        assert id in listed(server)


@pytest.mark.skipif(os.getuid() != 0, reason="/run/haar needs root")
def test_what_it_made_outside_its_data_folder_is_gone_at_the_end(binary):
    with Server(binary, "--backend", "none") as server:
        owner = json.loads(body_of(server, "/_haar/health"))["owner"]
        run = pathlib.Path("/run/haar") / owner
        assert (run / "token").stat().st_mode & 0o777 == 0o600
        assert (run / "listen").read_text() == server.listen
    assert not run.exists() and not (pathlib.Path("/var/lib/haar") / owner).exists()


def leftovers(owner):
    """What of an owner this host still has."""
    places = [pathlib.Path("/var/lib/haar") / owner / name for name in ("m", "machines")]
    names = [path for path in pathlib.Path("/run/netns").glob(f"haar-{owner}-*")]
    groups = [path for path in pathlib.Path("/sys/fs/cgroup").glob(f"**/haar/{owner}")]
    return [path for path in places if path.exists() and any(path.iterdir())] + names + groups


@pytest.mark.parametrize("keep", [[], ["--data", "d"], ["--data", "d", "--remove-on-exit"]])
def test_machines_end_with_the_server_unless_it_has_a_data_folder(binary, native_server, tmp_path, keep):
    arguments = [str(tmp_path / one) if one == "d" else one for one in keep]
    with Server(binary, *arguments) as server:
        owner = json.loads(body_of(server, "/_haar/health"))["owner"]
        env = {"HAAR_ENDPOINT": server.endpoint, "PATH": os.environ["PATH"]}
        id = subprocess.run([binary, "run"], capture_output=True, text=True, env=env, check=True, timeout=30).stdout.strip()
        assert leftovers(owner)
    if len(keep) != 2:
        assert leftovers(owner) == []
        return
    with Server(binary, *arguments, "--remove-on-exit") as server:
        env["HAAR_ENDPOINT"] = server.endpoint
        for _ in range(100):  # it is adopted behind the listening line
            run = subprocess.run([binary, "exec", id, "true"], capture_output=True, env=env, timeout=30)
            if run.returncode == 0:
                break
            time.sleep(0.05)
        assert run.returncode == 0, run.stderr
    assert leftovers(owner) == []


def test_help_names_every_setting(binary):
    text = subprocess.run([binary, "serve", "--help"], capture_output=True, text=True, check=True).stdout
    for name in ("--listen", "HAAR_LISTEN", "--allow-host", "HAAR_TOKEN", "HAAR_LAMBDA_K8S_ANNOTATIONS"):
        assert name in text
    assert max(map(len, text.splitlines())) <= 120


def killed(binary, data):
    """A data folder as kill -9 leaves it, in the middle of changes; the tag that counts up, and how far it was answered."""
    with contextlib.ExitStack() as stack:
        server = Server(binary, "--backend", "none", "--data", data)
        stack.callback(server.kill)
        ec2 = server.client("ec2")
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        for n in range(1, 41):
            ec2.create_tags(Resources=[vpc], Tags=[{"Key": "n", "Value": str(n)}])
    return vpc, n


@pytest.mark.parametrize("kept", ["state.db-wal", "state.mark", "owner"])
@pytest.mark.parametrize("lose", [pathlib.Path.unlink, lambda path: path.write_bytes(b"")], ids=["missing", "empty"])
def test_a_database_that_is_gone_stops_the_start_and_says_how_to_go_on(binary, tmp_path, lose, kept):
    data = tmp_path / "data"
    killed(binary, data)
    lose(data / "state.db")
    for path in data.iterdir():
        if path.name not in (kept, "state.db"):
            path.unlink()
    said = start_fails(binary, "--backend", "none", "--data", str(data))
    assert "state.db is missing or empty" in said and kept in said and "put it back" in said and "remove" in said
    assert (data / kept).stat().st_size > 0
    (data / kept).unlink()
    Server(binary, "--backend", "none", "--data", data).stop()


def test_a_bit_that_flips_in_what_was_written_last_never_loses_it_in_silence(binary, tmp_path):
    losses = 0
    for round in range(10):  # one is enough; but an idle writer may have moved all to the database before the kill
        data = tmp_path / str(round)
        vpc, said = killed(binary, data)
        with open(data / "state.db-wal", "r+b") as wal:
            wal.seek(32 + 24 + 1000)
            byte = wal.read(1)[0]
            wal.seek(-1, os.SEEK_CUR)
            wal.write(bytes([byte ^ 4]))
        with Server(binary, "--backend", "none", "--data", data) as server:
            tags = server.client("ec2").describe_tags(Filters=[{"Name": "resource-id", "Values": [vpc]}])["Tags"]
            lost = [tag["Value"] for tag in tags if tag["Key"] == "n"] != [str(said)]
            assert lost == ("state.db has lost changes: those from number" in server.errors())
        losses += lost
        if lost:
            break
    assert losses


def resident_kib(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def send_all_but_the_end(server, size):
    """A connection whose body is held but for its last byte."""
    client = socket.create_connection(("127.0.0.1", server.port), 60)
    body = b"Action=DescribeVpcs&Version=2016-11-15&x=" + b"a" * (size - 42)
    client.sendall(f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                   f"Authorization: {authorization()}\r\nContent-Length: {size}\r\n\r\n".encode() + body)
    return client


def test_memory_of_many_large_bodies_goes_back(binary, own_server):
    if b"__asan_init" in pathlib.Path(binary).read_bytes():
        pytest.skip("memory that goes back: the sanitizers' allocator keeps it")
    before, size, count = resident_kib(own_server), 5 << 20, 40
    many = [send_all_but_the_end(own_server, size) for _ in range(count)]
    until(lambda: resident_kib(own_server) > before + count * size // 1024, "they are held", 60)
    with send_all_but_the_end(own_server, 1 << 20):  # what lies above them stays
        for client in many:
            with client:
                client.sendall(b"a")
                assert client.recv(12) == b"HTTP/1.1 400"
        until(lambda: resident_kib(own_server) < before + 16 * 1024, "it has gone back", 60)
