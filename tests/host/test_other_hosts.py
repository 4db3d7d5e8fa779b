"""Hosts that lack something: what is missing is named once in the log and by introspection, and machines run without it.
HAAR_PRETEND_MISSING calls missing what this host has; rights are taken away for real.
"""

import json
import os
import pathlib
import shutil

import pytest

from haar import Server, new_account
from machines import Cloud, answer_of, banner_server, cloud_of, rule, start_with, until

LIMITS = ["memory-limits", "process-limits", "cpu-limits"]
FEATURES = [*LIMITS, "user-namespaces", "mapped-mounts", "lasting-disks", "disk-limits", "packet-filter"]
NAMESPACES = ["user-namespaces", "mapped-mounts"]


def health(server):
    return json.loads(server.get("/_haar/health")[1])


def lacks(server):
    """What introspection names, once a machine runs."""
    return {lack["feature"]: lack for lack in health(server)["lacks"]}


@pytest.fixture(scope="module")
def truly(binary):
    """What this host really lacks."""
    with start_with(binary, "native") as server, cloud_of(server, binary, new_account()) as cloud:
        cloud.run()
        return set(lacks(server))


@pytest.fixture(params=[*([feature] for feature in FEATURES), LIMITS, FEATURES], ids=lambda features: "+".join(features) if len(features) < 3 else f"{len(features)} of them")
def without(request, binary):
    with start_with(binary, "native", env={"HAAR_PRETEND_MISSING": ",".join(request.param)}) as server:
        with cloud_of(server, binary, new_account()) as cloud:
            yield request.param, cloud


def limit_of(cloud, ident, name):
    """From the host: what the file of a machine's cgroup says, or None."""
    found = [open(f"{at}/{name}").read().strip() for at, _, files in os.walk("/sys/fs/cgroup")
             if at.endswith((f"/{ident}", f"/{ident}/guest")) and name in files]
    return min(found, key="max".__eq__, default=None)


def test_a_machine_runs_without_it_and_it_is_named(without, truly):
    called, cloud = without
    missing = {*called, *truly} - ({"mapped-mounts"} if "user-namespaces" in {*called, *truly} else set())
    one = cloud.run(banner_server("here"), SecurityGroupIds=[cloud.group(None, rule())])
    ident = one["InstanceId"]
    cloud.booted(ident)
    assert cloud.answer_inside(cloud.run()["InstanceId"], one["PrivateIpAddress"])[0] == "here"
    if "packet-filter" in missing:
        assert "PublicIpAddress" not in one
    else:
        assert answer_of(one["PublicIpAddress"])[0] == "here"

    named, log = lacks(cloud.server), cloud.server.errors()
    for feature in FEATURES:
        said = log.count(f"this host lacks {feature}:")
        assert (feature in named, said) == (feature in missing, int(feature in missing)), (feature, log)
    assert all(lack["reason"] and lack["effect"] for lack in named.values())

    mapped = not set(NAMESPACES) & missing
    assert (cloud.execute(ident, "cat", "/proc/self/uid_map").split()[1] != "0") == mapped
    assert (limit_of(cloud, ident, "pids.max") in (None, "max")) == ("process-limits" in missing)
    [network] = [n for n in json.loads(cloud.server.get("/_haar/ec2/instance-networks")[1])["instances"] if n["instanceId"] == ident]
    assert network["enforcementActive"] == ("packet-filter" not in missing)
    if "packet-filter" in called:
        assert "HAAR_PRETEND_MISSING" in network["degradedReason"]


def test_stop_start_and_the_end_leave_nothing_without_them(binary):
    with start_with(binary, "native", env={"HAAR_PRETEND_MISSING": ",".join(FEATURES)}) as server:
        with cloud_of(server, binary, new_account()) as cloud:
            ident = cloud.run()["InstanceId"]
            cloud.execute(ident, "sh", "-c", "echo kept > /root/kept")
            cloud.ec2.stop_instances(InstanceIds=[ident])
            until(lambda: cloud.in_state(ident, "stopped"), what="it stops")
            cloud.ec2.start_instances(InstanceIds=[ident])
            until(lambda: cloud.in_state(ident, "running"), what="it starts")
            assert cloud.execute(ident, "cat", "/root/kept") == "kept\n"
            owner = health(server)["owner"]
    assert {at for at, _, _ in os.walk("/sys/fs/cgroup") if owner in at} == set()


def test_disks_in_memory_outlive_the_server_and_go_with_their_owner(binary, tmp_path):
    env = {"HAAR_PRETEND_MISSING": "lasting-disks"}
    server = start_with(binary, "native", "--data", tmp_path / "data", env=env)
    account, owner = new_account(), health(server)["owner"]
    ident = Cloud(server, binary, account).run()["InstanceId"]
    Cloud(server, binary, account).execute(ident, "sh", "-c", "echo kept > /root/kept")
    assert f"/var/lib/haar/{owner}/machines tmpfs" in pathlib.Path("/proc/self/mounts").read_text()
    server.kill()
    with start_with(binary, "native", "--data", tmp_path / "data", "--remove-on-exit") as server:  # nobody says it any more
        cloud = Cloud(server, binary, account)
        assert until(lambda: cloud.execute(ident, "cat", "/root/kept", status=None), what="it is adopted") == "kept\n"
        assert "lasting-disks" in lacks(server)
        cloud.ec2.stop_instances(InstanceIds=[ident])
        until(lambda: cloud.in_state(ident, "stopped"), what="it stops")
        cloud.ec2.start_instances(InstanceIds=[ident])
        until(lambda: cloud.in_state(ident, "running"), what="it starts")
        assert cloud.execute(ident, "cat", "/root/kept") == "kept\n"
    assert not os.path.exists(f"/var/lib/haar/{owner}")
    assert owner not in pathlib.Path("/proc/self/mounts").read_text()


def test_disks_in_memory_of_a_dead_server_are_removed_by_the_next(binary):
    server = start_with(binary, "native", env={"HAAR_PRETEND_MISSING": "lasting-disks"})
    owner = health(server)["owner"]
    Cloud(server, binary, new_account()).run()
    server.kill()
    with start_with(binary, "native"):
        until(lambda: not os.path.exists(f"/var/lib/haar/{owner}"), what="it is removed")
    assert owner not in pathlib.Path("/proc/self/mounts").read_text()


def test_a_feature_that_is_none_is_refused(binary):
    with pytest.raises(RuntimeError, match="HAAR_PRETEND_MISSING: 'flux-capacitor'"):
        Server(binary, env={"HAAR_PRETEND_MISSING": "flux-capacitor"})


@pytest.mark.parametrize("right", ["sys_admin", "net_admin", "mknod"])
def test_without_the_rights_every_call_is_answered_and_it_is_said_once(binary, right):
    if os.getuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("rights to take away: needs root and setpriv")
    under = ["setpriv", f"--bounding-set=-{right}", f"--inh-caps=-{right}", "--"]
    with Server(binary, under=under) as server:
        ec2 = server.client("ec2", account=new_account())
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        ident = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
        ec2.get_waiter("instance_running").wait(InstanceIds=[ident])
        assert health(server)["backends"]["ec2"] == "none"
        assert f"CAP_{right.upper()}" in health(server)["backendReason"]
        [network] = json.loads(server.get("/_haar/ec2/instance-networks")[1])["instances"]
        assert network["enforcementActive"] is False and f"CAP_{right.upper()}" in network["degradedReason"]
        assert server.errors().count(f"CAP_{right.upper()}") == 1, server.errors()
    with pytest.raises(RuntimeError, match=f"CAP_{right.upper()}"):
        Server(binary, "--backend", "native", under=under)
