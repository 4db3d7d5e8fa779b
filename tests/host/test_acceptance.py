"""What a person relies on, with real packets: one suite, whatever runs the machines (conftest.py: DRIVERS)."""

import json
import os
import pathlib
import re
import socket
import subprocess
import time

import pytest

from haar import new_account
from machines import ANYWHERE, Cloud, answer_of, banner_server, cloud_of, rule, start_with, traces, until

ROOT = pathlib.Path(__file__).resolve().parents[2]
HELLO = "#!/bin/sh\necho \"hello from $(hostname)\"\necho done > /root/mark\n"


# --- boot


def test_a_launch_by_the_aws_cli_is_a_machine_with_the_address_that_is_said(cloud, driver_server, tmp_path):
    boot = tmp_path / "boot.sh"
    boot.write_text(HELLO)
    aws = lambda *arguments: driver_server.aws("ec2", *arguments, account=cloud.account)
    answer = aws("run-instances", "--image-id", cloud.image, "--instance-type", "t3.micro", "--user-data", f"file://{boot}")
    ident = answer["Instances"][0]["InstanceId"]
    cloud.made.append(ident)
    assert answer["Instances"][0]["State"]["Name"] == "pending"
    aws("wait", "instance-status-ok", "--instance-ids", ident)
    shown = aws("describe-instances", "--instance-ids", ident)["Reservations"][0]["Instances"][0]
    assert shown["State"]["Name"] == "running"

    name = "ip-" + shown["PrivateIpAddress"].replace(".", "-")
    assert f"hello from {name}" in cloud.console(ident)
    assert cloud.execute(ident, "cat", "/root/mark") == "done\n"
    assert cloud.execute(ident, "hostname").strip() == name
    links = json.loads(cloud.execute(ident, "ip", "-json", "addr"))
    addresses = {a["local"]: link for link in links for a in link["addr_info"] if a["family"] == "inet"}
    assert set(addresses) == {"127.0.0.1", shown["PrivateIpAddress"]}, "private addresses only"
    assert addresses[shown["PrivateIpAddress"]]["address"] == shown["NetworkInterfaces"][0]["MacAddress"]

    aws("terminate-instances", "--instance-ids", ident)
    aws("wait", "instance-terminated", "--instance-ids", ident)
    until(lambda: not traces(ident), 5, f"nothing is left: {traces(ident)}")
    gone = aws("describe-instances", "--instance-ids", ident)["Reservations"][0]["Instances"][0]
    assert "PrivateIpAddress" not in gone and "PublicIpAddress" not in gone
    cloud.made.remove(ident)


def test_exec_gives_the_status_of_its_command(cloud):
    ident = cloud.run()["InstanceId"]
    cloud.execute(ident, "sh", "-c", "exit 7", status=7)
    assert cloud.execute(ident, "sh", "-c", "echo out; echo err >&2") == "out\n"
    cloud.execute(ident, "no-such-command", status=127)


def test_a_launch_of_many_has_machines_with_addresses_of_their_own(cloud):
    answer = cloud.ec2.run_instances(ImageId=cloud.image, InstanceType="t3.micro", MinCount=5, MaxCount=5)
    ids = [i["InstanceId"] for i in answer["Instances"]]
    cloud.made += ids
    cloud.ec2.get_waiter("instance_running").wait(InstanceIds=ids)
    said = {cloud.show(i)["PrivateIpAddress"] for i in ids}
    inside = {cloud.execute(i, "hostname", "-I").strip() for i in ids}
    assert len(said) == 5 and said == inside


def first_steps():
    text = (ROOT / "README.md").read_text().split("## First steps")[1]
    return re.search(r"```\n(.*?)```", text, re.S)[1]


def test_the_first_steps_of_the_readme_work_as_they_stand(cloud, driver_server, tmp_path):
    steps = first_steps()
    settings = re.search(r"^export .*$", steps, re.M)[0]
    mine = (f"export AWS_ACCESS_KEY_ID={cloud.account} AWS_SECRET_ACCESS_KEY=x AWS_DEFAULT_REGION=us-east-1 "
            f"AWS_ENDPOINT_URL={driver_server.endpoint}")
    assert set(re.findall(r"AWS_\w+(?==)", settings)) == set(re.findall(r"AWS_\w+(?==)", mine))
    env = {"PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}", "HOME": str(tmp_path), "AWS_PAGER": ""}
    run = subprocess.run(["sh", "-e"], input=steps.replace(settings, mine), capture_output=True, text=True, env=env, cwd=tmp_path, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
    ident, state, address = run.stdout.strip().splitlines()[-1].split()
    cloud.made.append(ident)
    assert state == "running" and cloud.show(ident)["PrivateIpAddress"] == address
    cloud.booted(ident)

    def haar(*arguments):
        return subprocess.run([cloud.binary, *arguments], capture_output=True, text=True, timeout=30,
                              env={"HAAR_ENDPOINT": driver_server.endpoint, "PATH": os.environ["PATH"]}).stdout
    assert ident in haar("ps")
    assert "hello from ip-" + address.replace(".", "-") in haar("logs", ident)
    assert haar("exec", ident, "--", "bash", "-c", "hostname -I").strip() == address


# --- network


def public_machine(cloud, *groups, name="one"):
    """In the default VPC, which has an internet gateway: it has a public address."""
    found = cloud.run(banner_server(name), SecurityGroupIds=list(groups))
    cloud.booted(found["InstanceId"])
    return found


def test_the_host_reaches_a_public_address_while_the_group_allows_it(cloud):
    group = cloud.group()
    machine = public_machine(cloud, group)
    address = machine["PublicIpAddress"]
    assert answer_of(address) is None, "no rule yet"
    cloud.allow(group, rule())
    banner, caller = answer_of(address)
    assert banner == "one"
    assert re.search(rf"\b{re.escape(caller)}/", subprocess.check_output(["ip", "-4", "addr"], text=True)), "the caller's own address"
    assert answer_of(address, 81) is None, "another port"
    cloud.revoke(group, rule())
    assert answer_of(address) is None, "revoked"


def test_the_guest_sees_the_callers_own_address_and_rules_by_it_hold(cloud):
    group = cloud.group(None, rule())
    machine = public_machine(cloud, group)
    _, caller = answer_of(machine["PublicIpAddress"])
    cloud.revoke(group, rule())
    cloud.allow(group, rule(cidr="203.0.113.0/24"))
    assert answer_of(machine["PublicIpAddress"]) is None, "somebody else's"
    cloud.allow(group, rule(cidr=f"{caller}/32"))
    assert answer_of(machine["PublicIpAddress"]) == ["one", caller]


def test_a_rule_is_obeyed_at_once(cloud):
    group = cloud.group()
    address = public_machine(cloud, group)["PublicIpAddress"]
    took = []
    for _ in range(10):
        cloud.allow(group, rule())
        answered = time.monotonic()
        assert answer_of(address, timeout=0.9)
        took.append(time.monotonic() - answered)
        cloud.revoke(group, rule())
        assert answer_of(address, timeout=0.05) is None
    assert sorted(took)[5] < 0.25, "a lost first packet is sent again after a second"


def test_a_connection_that_stands_outlives_its_rule_and_no_new_one_does(cloud):
    """As AWS with tracked connections."""
    group = cloud.group(None, rule())
    script = ("#!/usr/bin/python3\nimport os, socket\nif os.fork() == 0:\n os.setsid()\n s = socket.create_server(('', 80))\n"
              " while True:\n  c, _ = s.accept()\n  while (b := c.recv(100)): c.sendall(b)\n")
    machine = cloud.run(script, SecurityGroupIds=[group])
    cloud.booted(machine["InstanceId"])
    with socket.create_connection((machine["PublicIpAddress"], 80), timeout=3) as s:
        s.sendall(b"a")
        assert s.recv(1) == b"a"
        cloud.revoke(group, rule())
        with pytest.raises(OSError):
            socket.create_connection((machine["PublicIpAddress"], 80), timeout=0.3)
        s.sendall(b"b")
        assert s.recv(1) == b"b"


def test_changed_groups_of_an_instance_change_its_packets(cloud):
    closed, opened = cloud.group(), cloud.group(None, rule())
    machine = public_machine(cloud, closed)
    ident, address = machine["InstanceId"], machine["PublicIpAddress"]
    assert answer_of(address) is None
    cloud.ec2.modify_instance_attribute(InstanceId=ident, Groups=[closed, opened])
    assert answer_of(address)
    cloud.ec2.modify_instance_attribute(InstanceId=ident, Groups=[closed])
    assert answer_of(address) is None


def test_instances_in_two_subnets_reach_each_other_as_groups_allow(cloud):
    vpc, (left, right) = cloud.network("10.20.0.0/16", "10.20.1.0/24", "10.20.2.0/24")
    client, serving = cloud.group(vpc), cloud.group(vpc)
    server = cloud.run(banner_server("server"), SubnetId=left, SecurityGroupIds=[serving])
    caller = cloud.run(SubnetId=right, SecurityGroupIds=[client])
    cloud.booted(server["InstanceId"])
    ask = lambda: cloud.answer_inside(caller["InstanceId"], server["PrivateIpAddress"])
    expected = ["server", caller["PrivateIpAddress"]]
    assert ask() is None, "no rule"
    for permission in (rule(cidr="10.20.2.0/24"), rule(group=client)):
        cloud.allow(serving, permission)
        assert ask() == expected
        cloud.revoke(serving, permission)
        assert ask() is None
    cloud.allow(serving, rule(cidr="10.20.1.0/24"))
    assert ask() is None, "another subnet's range"
    cloud.allow(serving, rule(group=client))
    cloud.ec2.revoke_security_group_egress(GroupId=client, IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": ANYWHERE}]}])
    assert ask() is None, "nothing may leave the caller"


def test_members_of_a_group_change_with_their_instances(cloud):
    vpc, (subnet,) = cloud.network("10.21.0.0/16", "10.21.0.0/24")
    client, other = cloud.group(vpc), cloud.group(vpc)
    serving = cloud.group(vpc, rule(group=client))
    server = cloud.run(banner_server("server"), SubnetId=subnet, SecurityGroupIds=[serving])
    caller = cloud.run(SubnetId=subnet, SecurityGroupIds=[other])["InstanceId"]
    cloud.booted(server["InstanceId"])
    assert cloud.answer_inside(caller, server["PrivateIpAddress"]) is None
    cloud.ec2.modify_instance_attribute(InstanceId=caller, Groups=[client])
    assert cloud.answer_inside(caller, server["PrivateIpAddress"])
    cloud.ec2.modify_instance_attribute(InstanceId=caller, Groups=[other])
    assert cloud.answer_inside(caller, server["PrivateIpAddress"]) is None


def test_the_same_private_address_in_two_vpcs_answers_with_each_ones_banner(cloud):
    seen = {}
    for name in ("first", "second"):
        vpc, (subnet,) = cloud.network("10.30.0.0/16", "10.30.0.0/24")
        group = cloud.group(vpc, rule())
        server = cloud.run(banner_server(name), SubnetId=subnet, SecurityGroupIds=[group], PrivateIpAddress="10.30.0.10")
        caller = cloud.run(SubnetId=subnet, SecurityGroupIds=[group], PrivateIpAddress="10.30.0.11")
        cloud.booted(server["InstanceId"])
        seen[name] = caller["InstanceId"]
    for name, caller in seen.items():
        assert cloud.answer_inside(caller, "10.30.0.10") == [name, "10.30.0.11"]


def test_an_elastic_address_goes_where_it_is_associated(cloud):
    vpc, (subnet,) = cloud.network("10.40.0.0/16", "10.40.0.0/24", internet=True)
    group = cloud.group(vpc, rule())
    machines = [cloud.run(banner_server(name), SubnetId=subnet, SecurityGroupIds=[group])["InstanceId"] for name in ("one", "two")]
    for ident in machines:
        cloud.booted(ident)
        assert "PublicIpAddress" not in cloud.show(ident), "this subnet gives none"
    address = cloud.ec2.allocate_address(Domain="vpc")
    where = address["PublicIp"]
    assert answer_of(where) is None
    for name, ident in zip(("one", "two"), machines):
        association = cloud.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=ident)["AssociationId"]
        assert answer_of(where)[0] == name
        assert cloud.show(ident)["PublicIpAddress"] == where
    cloud.ec2.disassociate_address(AssociationId=association)
    assert answer_of(where) is None
    assert "PublicIpAddress" not in cloud.show(machines[1])
    cloud.ec2.release_address(AllocationId=address["AllocationId"])


def test_without_a_route_to_the_gateway_nobody_comes_in(cloud):
    vpc, (subnet,) = cloud.network("10.50.0.0/16", "10.50.0.0/24", internet=True)
    machine = cloud.run(banner_server("one"), SubnetId=subnet, SecurityGroupIds=[cloud.group(vpc, rule())])
    cloud.booted(machine["InstanceId"])
    address = cloud.ec2.allocate_address(Domain="vpc")
    cloud.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=machine["InstanceId"])
    assert answer_of(address["PublicIp"])
    lonely = cloud.ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    association = cloud.ec2.associate_route_table(RouteTableId=lonely, SubnetId=subnet)["AssociationId"]
    assert answer_of(address["PublicIp"]) is None
    cloud.ec2.disassociate_route_table(AssociationId=association)
    assert answer_of(address["PublicIp"])


def test_vpcs_reach_each_other_by_public_addresses_only(cloud):
    server = public_machine(cloud, cloud.group(None, rule()), name="far")
    vpc, (subnet,) = cloud.network("10.60.0.0/16", "10.60.0.0/24", internet=True)
    caller = cloud.run(SubnetId=subnet, SecurityGroupIds=[cloud.group(vpc)])["InstanceId"]
    assert cloud.answer_inside(caller, server["PublicIpAddress"]) is None, "it has no public address of its own"
    address = cloud.ec2.allocate_address(Domain="vpc")
    cloud.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=caller)
    assert cloud.answer_inside(caller, server["PublicIpAddress"]) == ["far", address["PublicIp"]]
    assert cloud.answer_inside(caller, server["PrivateIpAddress"]) is None


# --- lifecycle


def test_a_stopped_machine_has_no_process_and_no_public_address_and_keeps_its_disk(cloud):
    machine = cloud.run("#!/bin/sh\necho once >> /root/count\n", SecurityGroupIds=[cloud.group(None, rule())])
    ident = machine["InstanceId"]
    cloud.booted(ident)
    cloud.execute(ident, "sh", "-c", "echo kept > /root/kept")
    cloud.ec2.stop_instances(InstanceIds=[ident])
    stopped = until(lambda: cloud.in_state(ident, "stopped"), 15, "stops")
    assert "PublicIpAddress" not in stopped and stopped["PrivateIpAddress"] == machine["PrivateIpAddress"]
    cloud.execute(ident, "true", status=None)
    cloud.ec2.start_instances(InstanceIds=[ident])
    again = until(lambda: cloud.in_state(ident, "running"), 15, "starts")
    cloud.booted(ident)
    assert again["PrivateIpAddress"] == machine["PrivateIpAddress"]
    assert again["PublicIpAddress"]
    assert cloud.execute(ident, "cat", "/root/kept", "/root/count") == "kept\nonce\n", "user data runs once"


def test_the_guests_own_poweroff_stops_the_instance(cloud):
    ident = cloud.run()["InstanceId"]
    cloud.execute(ident, "poweroff", status=None)  # it may end before the command does
    stopped = until(lambda: cloud.in_state(ident, "stopped"), 15, "stops")
    assert stopped["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_a_reboot_keeps_the_address_and_starts_processes_anew(cloud):
    machine = cloud.run()
    ident = machine["InstanceId"]
    cloud.execute(ident, "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &")
    cloud.ec2.reboot_instances(InstanceIds=[ident])
    # The machine may be between two lives: exec fails for a moment.
    until(lambda: cloud.execute(ident, "sh", "-c", "pgrep -x sleep || echo none", status=None) == "none\n", 15, "boots anew")
    assert cloud.show(ident)["PrivateIpAddress"] == machine["PrivateIpAddress"]


# --- nobody else's


def test_accounts_are_apart_also_by_packets(cloud, driver_server, binary):
    server = public_machine(cloud, cloud.group(None, rule()))
    with cloud_of(driver_server, binary, new_account()) as other:
        caller = other.run()["InstanceId"]
        assert other.answer_inside(caller, server["PrivateIpAddress"]) is None
        with pytest.raises(Exception, match="InvalidInstanceID.NotFound"):
            other.ec2.terminate_instances(InstanceIds=[server["InstanceId"]])


# --- recovery


COUNTER = """#!/bin/sh
(i=0; while :; do i=$((i + 1)); echo "$$ $i" > /root/count.new; mv /root/count.new /root/count; sleep 0.05; done) > /dev/null 2>&1 &
"""


@pytest.fixture
def restarted(driver, binary, tmp_path):
    """restarted(*arguments): a Cloud of the one account, by a server of the same data folder; the one before is killed."""
    servers, account = [], new_account()

    def start(*arguments):
        if servers:
            servers[-1].kill()
        servers.append(start_with(binary, driver, "--data", tmp_path / "data", *arguments))
        return Cloud(servers[-1], binary, account)

    yield start
    servers[-1].stop()
    start("--remove-on-exit").server.stop()


def test_the_next_server_adopts_what_runs_and_does_what_was_asked(restarted):
    cloud = restarted()
    group = cloud.group(None, rule())
    machine, counting = public_machine(cloud, group), cloud.run(COUNTER)["InstanceId"]
    kept, asked = cloud.run()["InstanceId"], cloud.run()["InstanceId"]
    cloud.booted(counting)
    before = cloud.execute(counting, "cat", "/root/count").split()
    cloud.ec2.stop_instances(InstanceIds=[kept])
    cloud.ec2.terminate_instances(InstanceIds=[asked])

    cloud = restarted()
    until(lambda: cloud.in_state(kept, "stopped") and cloud.in_state(asked, "terminated"), 30, "what was asked is done")
    assert cloud.show(machine["InstanceId"])["PublicIpAddress"] == machine["PublicIpAddress"]
    assert answer_of(machine["PublicIpAddress"]) is not None
    after = cloud.execute(counting, "cat", "/root/count").split()
    assert after[0] == before[0] and int(after[1]) > int(before[1]), "the same process counts on"
    until(lambda: not traces(asked), 5, f"nothing is left: {traces(asked)}")

    cloud.revoke(group, rule())  # rules are obeyed by who adopted
    assert answer_of(machine["PublicIpAddress"]) is None
    cloud.ec2.start_instances(InstanceIds=[kept])
    until(lambda: cloud.in_state(kept, "running"), what="what was stopped starts")


def test_a_clean_end_keeps_machines_where_there_is_a_data_folder_until_they_are_to_go(restarted):
    cloud = restarted()
    ident = cloud.run(COUNTER)["InstanceId"]
    cloud.booted(ident)
    pid = cloud.execute(ident, "cut", "-d ", "-f1", "/root/count")
    cloud.server.stop()
    cloud = restarted("--remove-on-exit")
    assert cloud.execute(ident, "cut", "-d ", "-f1", "/root/count") == pid
    cloud.server.stop()
    until(lambda: not traces(ident), 5, f"nothing is left: {traces(ident)}")
