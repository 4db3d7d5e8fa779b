"""Instances after their launch: states and reasons, attributes, options, what finds them."""

import base64
import json
import pathlib

import pytest

from haar import error_of

MODELS = pathlib.Path(__file__).resolve().parents[2] / "models"
UNKNOWN = "i-00000000000000000"


@pytest.fixture
def instance(launch):
    return launch()[0]["InstanceId"]


@pytest.fixture
def stopped(ec2, instance):
    ec2.stop_instances(InstanceIds=[instance])
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance])
    return instance


def shown(ec2, ident):
    return ec2.describe_instances(InstanceIds=[ident])["Reservations"][0]["Instances"][0]


def found(ec2, **how):
    return {i["InstanceId"] for r in ec2.describe_instances(**how)["Reservations"] for i in r["Instances"]}


def changes(answer, kind):
    return [(c["PreviousState"]["Name"], c["CurrentState"]["Name"]) for c in answer[kind]]


# --- states


def test_a_life(ec2, instance):
    assert shown(ec2, instance)["State"] == {"Code": 16, "Name": "running"}
    assert changes(ec2.stop_instances(InstanceIds=[instance]), "StoppingInstances") == [("running", "stopping")]
    now = shown(ec2, instance)
    assert now["State"] == {"Code": 80, "Name": "stopped"}
    assert now["StateReason"] == {"Code": "Client.UserInitiatedShutdown", "Message": "Client.UserInitiatedShutdown: User initiated shutdown"}
    assert now["StateTransitionReason"].startswith("User initiated (20") and now["StateTransitionReason"].endswith(" GMT)")
    assert changes(ec2.stop_instances(InstanceIds=[instance]), "StoppingInstances") == [("stopped", "stopped")]
    assert changes(ec2.start_instances(InstanceIds=[instance]), "StartingInstances") == [("stopped", "pending")]
    now = shown(ec2, instance)
    assert now["State"]["Name"] == "running" and "StateReason" not in now and now["StateTransitionReason"] == ""
    assert changes(ec2.start_instances(InstanceIds=[instance]), "StartingInstances") == [("running", "running")]
    ec2.reboot_instances(InstanceIds=[instance])
    assert shown(ec2, instance)["State"]["Name"] == "running"
    assert changes(ec2.terminate_instances(InstanceIds=[instance]), "TerminatingInstances") == [("running", "shutting-down")]
    assert changes(ec2.terminate_instances(InstanceIds=[instance]), "TerminatingInstances") == [("terminated", "terminated")]
    now = shown(ec2, instance)
    assert now["State"] == {"Code": 48, "Name": "terminated"} and now["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert now["NetworkInterfaces"] == now["BlockDeviceMappings"] == now["SecurityGroups"] == []
    for gone in ("PrivateIpAddress", "PublicIpAddress", "SubnetId", "VpcId"):
        assert gone not in now


def test_a_terminated_one_keeps_its_tags(ec2, instance):
    ec2.create_tags(Resources=[instance], Tags=[{"Key": "a", "Value": "b"}])
    ec2.terminate_instances(InstanceIds=[instance])
    assert shown(ec2, instance)["Tags"] == [{"Key": "a", "Value": "b"}]


@pytest.mark.parametrize("call", ["start_instances", "stop_instances", "reboot_instances"])
def test_a_terminated_one_stays_so(ec2, instance, fails, call):
    ec2.terminate_instances(InstanceIds=[instance])
    fails("IncorrectInstanceState", getattr(ec2, call), InstanceIds=[instance])


@pytest.mark.parametrize("call", ["start_instances", "stop_instances", "reboot_instances", "terminate_instances", "monitor_instances", "describe_instances",
                                  "describe_instance_status", "describe_instance_credit_specifications"])
def test_unknown_and_malformed_ids_change_nothing(ec2, instance, fails, call):
    message = fails("InvalidInstanceID.NotFound", getattr(ec2, call), InstanceIds=[instance, UNKNOWN])
    assert message == f"The instance ID '{UNKNOWN}' does not exist"
    fails("InvalidInstanceID.Malformed", getattr(ec2, call), InstanceIds=["i-x"])
    assert shown(ec2, instance)["State"]["Name"] == "running"


def test_several_unknown_ones_are_all_named(ec2, fails):
    message = fails("InvalidInstanceID.NotFound", ec2.terminate_instances, InstanceIds=[UNKNOWN, UNKNOWN[:-1] + "1"])
    assert message == f"The instance IDs '{UNKNOWN}, {UNKNOWN[:-1]}1' do not exist"


def test_protection(ec2, instance, fails):
    ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
    ec2.modify_instance_attribute(InstanceId=instance, DisableApiStop={"Value": True})
    fails("OperationNotPermitted", ec2.terminate_instances, InstanceIds=[instance])
    fails("OperationNotPermitted", ec2.stop_instances, InstanceIds=[instance])
    assert shown(ec2, instance)["State"]["Name"] == "running"
    ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=[instance])


def test_hibernation_is_refused(ec2, instance, fails):
    fails("UnsupportedHibernationConfiguration", ec2.stop_instances, InstanceIds=[instance], Hibernate=True)


def test_a_dry_run_of_each(ec2, instance, fails):
    for call in ("stop_instances", "reboot_instances", "terminate_instances", "monitor_instances"):
        fails("DryRunOperation", getattr(ec2, call), InstanceIds=[instance], DryRun=True)
    assert shown(ec2, instance)["State"]["Name"] == "running"


def test_monitoring(ec2, instance):
    assert ec2.monitor_instances(InstanceIds=[instance])["InstanceMonitorings"] == [{"InstanceId": instance, "Monitoring": {"State": "pending"}}]
    assert shown(ec2, instance)["Monitoring"] == {"State": "enabled"}
    assert ec2.unmonitor_instances(InstanceIds=[instance])["InstanceMonitorings"][0]["Monitoring"]["State"] == "disabling"
    assert shown(ec2, instance)["Monitoring"] == {"State": "disabled"}


def test_status(ec2, instance, stopped):
    assert ec2.describe_instance_status()["InstanceStatuses"] == []
    [status] = ec2.describe_instance_status(IncludeAllInstances=True)["InstanceStatuses"]
    assert status["InstanceState"]["Name"] == "stopped" and status["InstanceStatus"] == {"Status": "not-applicable"}
    ec2.start_instances(InstanceIds=[instance])
    [status] = ec2.describe_instance_status()["InstanceStatuses"]
    assert status["InstanceStatus"]["Status"] == status["SystemStatus"]["Status"] == "ok"
    assert status["InstanceStatus"]["Details"][0].items() >= {"Name": "reachability", "Status": "passed"}.items()


def test_console_output_without_machines(ec2, instance, fails):
    answer = ec2.get_console_output(InstanceId=instance)
    assert answer["InstanceId"] == instance and answer.get("Output", "") == ""
    fails("InvalidInstanceID.NotFound", ec2.get_console_output, InstanceId=UNKNOWN)


# --- attributes: (name, what ModifyInstanceAttribute takes, what is described then, only when stopped)

GROUPS = "groupSet"
ATTRIBUTES = [
    ("instanceType", {"InstanceType": {"Value": "t3.small"}}, {"InstanceType": {"Value": "t3.small"}}, True),
    ("userData", {"UserData": {"Value": b"#!/bin/sh\n"}}, {"UserData": {"Value": base64.b64encode(b"#!/bin/sh\n").decode()}}, True),
    ("enaSupport", {"EnaSupport": {"Value": True}}, {"EnaSupport": {"Value": True}}, True),
    ("ebsOptimized", {"EbsOptimized": {"Value": True}}, {"EbsOptimized": {"Value": True}}, True),
    ("sriovNetSupport", {"SriovNetSupport": {"Value": "simple"}}, {"SriovNetSupport": {"Value": "simple"}}, True),
    ("disableApiTermination", {"DisableApiTermination": {"Value": True}}, {"DisableApiTermination": {"Value": True}}, False),
    ("disableApiStop", {"DisableApiStop": {"Value": True}}, {"DisableApiStop": {"Value": True}}, False),
    ("instanceInitiatedShutdownBehavior", {"InstanceInitiatedShutdownBehavior": {"Value": "terminate"}},
     {"InstanceInitiatedShutdownBehavior": {"Value": "terminate"}}, False),
    ("sourceDestCheck", {"SourceDestCheck": {"Value": False}}, {"SourceDestCheck": {"Value": False}}, False),
]


@pytest.mark.parametrize("name, change, then, stopped_only", ATTRIBUTES, ids=[a[0] for a in ATTRIBUTES])
def test_attributes_are_modified_and_described(ec2, instance, fails, name, change, then, stopped_only):
    if stopped_only:
        fails("IncorrectInstanceState", ec2.modify_instance_attribute, InstanceId=instance, **change)
        ec2.stop_instances(InstanceIds=[instance])
    ec2.modify_instance_attribute(InstanceId=instance, **change)
    answer = ec2.describe_instance_attribute(InstanceId=instance, Attribute=name)
    assert answer["InstanceId"] == instance and answer.items() >= then.items()


@pytest.mark.parametrize("name", ["kernel", "ramdisk", "rootDeviceName", "blockDeviceMapping", "productCodes", "enclaveOptions", "groupSet"])
def test_other_attributes_are_described(ec2, instance, name):
    answer = ec2.describe_instance_attribute(InstanceId=instance, Attribute=name)
    wanted = {"rootDeviceName": {"RootDeviceName": {"Value": "/dev/xvda"}}, "productCodes": {"ProductCodes": []},
              "enclaveOptions": {"EnclaveOptions": {"Enabled": False}}}.get(name, {})
    assert {member: answer[member] for member in wanted} == wanted
    if name == "groupSet":
        assert [g["GroupId"] for g in answer["Groups"]] == [g["GroupId"] for g in shown(ec2, instance)["SecurityGroups"]]


@pytest.mark.parametrize("code, change", [
    ("InvalidParameterCombination", {}), ("InvalidParameterCombination", {"DisableApiStop": {"Value": True}, "SourceDestCheck": {"Value": True}}),
    ("InvalidInstanceAttributeValue", {"InstanceType": {"Value": "t9.huge"}}), ("InvalidParameterCombination", {"InstanceType": {"Value": "t4g.micro"}}),
    ("InvalidParameterValue", {"InstanceInitiatedShutdownBehavior": {"Value": "explode"}}), ("InvalidParameterValue", {"UserData": {"Value": b"x" * 16385}}),
    ("InvalidGroup.NotFound", {"Groups": ["sg-00000000000000000"]}), ("InvalidParameterValue", {"Attribute": "colour", "Value": "red"}),
    ("InvalidInstanceAttributeValue", {"BlockDeviceMappings": [{"DeviceName": "/dev/sdz", "Ebs": {"DeleteOnTermination": False}}]}),
])
def test_attributes_that_are_refused(ec2, stopped, fails, code, change):
    fails(code, ec2.modify_instance_attribute, InstanceId=stopped, **change)


def test_by_name_and_value(ec2, instance):
    ec2.modify_instance_attribute(InstanceId=instance, Attribute="disableApiStop", Value="true")
    assert ec2.describe_instance_attribute(InstanceId=instance, Attribute="disableApiStop")["DisableApiStop"]["Value"] is True


@pytest.mark.parametrize("code, change", [
    ("InvalidParameterCombination", {"Attribute": "groupSet", "Value": "sg-00000000000000000"}),
    ("InvalidParameterCombination", {"Attribute": "blockDeviceMapping", "Value": "/dev/xvda"}),
    ("InvalidParameterCombination", {"Attribute": "enclaveOptions", "Value": "true"}),
    ("IncorrectInstanceState", {"Attribute": "kernel", "Value": "aki-1"}), ("InvalidParameterValue", {"Attribute": "rootDeviceName", "Value": "/dev/sdb"}), ("InvalidParameterValue", {"Attribute": "nonsense", "Value": "x"}),
])
def test_what_no_value_can_say_is_not_changed_by_value(ec2, instance, fails, code, change):
    before = shown(ec2, instance)
    fails(code, ec2.modify_instance_attribute, InstanceId=instance, **change)
    assert shown(ec2, instance) == before and before["SecurityGroups"]


def test_groups_and_mappings_of_an_instance_change(ec2, instance):
    group = ec2.create_security_group(GroupName="g", Description="d")["GroupId"]
    ec2.modify_instance_attribute(InstanceId=instance, Groups=[group])
    assert [g["GroupId"] for g in shown(ec2, instance)["SecurityGroups"]] == [group]
    ec2.modify_instance_attribute(InstanceId=instance, BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}])
    assert shown(ec2, instance)["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] is False


def test_attributes_are_reset(ec2, instance, fails):
    ec2.modify_instance_attribute(InstanceId=instance, SourceDestCheck={"Value": False})
    ec2.reset_instance_attribute(InstanceId=instance, Attribute="sourceDestCheck")
    assert ec2.describe_instance_attribute(InstanceId=instance, Attribute="sourceDestCheck")["SourceDestCheck"]["Value"] is True
    fails("InvalidParameterValue", ec2.reset_instance_attribute, InstanceId=instance, Attribute="userData")


def test_credits_are_modified(ec2, launch, instance):
    other = launch(InstanceType="m5.large")[0]["InstanceId"]
    answer = ec2.modify_instance_credit_specification(InstanceCreditSpecifications=[
        {"InstanceId": instance, "CpuCredits": "standard"}, {"InstanceId": other, "CpuCredits": "standard"}, {"InstanceId": UNKNOWN, "CpuCredits": "standard"}])
    assert [s["InstanceId"] for s in answer["SuccessfulInstanceCreditSpecifications"]] == [instance]
    assert {f["InstanceId"]: f["Error"]["Code"] for f in answer["UnsuccessfulInstanceCreditSpecifications"]} == {
        other: "InstanceCreditSpecification.NotSupported", UNKNOWN: "InvalidInstanceID.NotFound"}
    [found] = ec2.describe_instance_credit_specifications(InstanceIds=[instance])["InstanceCreditSpecifications"]
    assert found["CpuCredits"] == "standard"


def test_metadata_options_are_modified(ec2, instance, fails):
    answer = ec2.modify_instance_metadata_options(InstanceId=instance, HttpTokens="optional", HttpPutResponseHopLimit=3, HttpEndpoint="disabled")
    assert answer["InstanceMetadataOptions"].items() >= {"State": "pending", "HttpTokens": "optional", "HttpPutResponseHopLimit": 3, "HttpEndpoint": "disabled"}.items()
    assert shown(ec2, instance)["MetadataOptions"].items() >= {"State": "applied", "HttpTokens": "optional", "InstanceMetadataTags": "disabled"}.items()
    fails("InvalidParameterValue", ec2.modify_instance_metadata_options, InstanceId=instance, HttpPutResponseHopLimit=65)
    fails("MissingParameter", ec2.modify_instance_metadata_options, InstanceId=instance)


def test_maintenance_options_are_modified(ec2, instance):
    assert ec2.modify_instance_maintenance_options(InstanceId=instance, AutoRecovery="disabled")["AutoRecovery"] == "disabled"
    assert shown(ec2, instance)["MaintenanceOptions"]["AutoRecovery"] == "disabled"


# --- what finds them

DOCUMENTED = json.loads((MODELS / "ec2-filters.json").read_text())["DescribeInstances"]


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_a_documented_filter_is_taken(ec2, instance, name):
    name = name.replace("<key>", "key").replace("tag:key", "tag:k")
    assert found(ec2, Filters=[{"Name": name, "Values": ["nothing has this"]}]) == set()


FILTERS = {
    "architecture": "x86_64", "availability-zone": "us-east-1?", "block-device-mapping.delete-on-termination": "true",
    "block-device-mapping.device-name": "/dev/xvda", "block-device-mapping.status": "attached", "client-token": "token", "hypervisor": "xen",
    "image-id": "ami-*", "instance-id": "i-*", "instance-state-code": "16", "instance-state-name": "running", "instance-type": "t3.micro",
    "instance.group-name": "default", "launch-index": "0", "metadata-options.http-tokens": "required", "monitoring-state": "enabled",
    "network-interface.status": "in-use", "network-interface.attachment.device-index": "0", "network-interface.addresses.primary": "true",
    "network-interface.description": "", "owner-id": None, "private-dns-name": "ip-172-31-*", "private-ip-address": "172.31.*", "reservation-id": "r-*",
    "root-device-name": "/dev/xvda", "root-device-type": "ebs", "source-dest-check": "true", "subnet-id": "subnet-*", "tag-key": "k*", "tag:key": "value",
    "tenancy": "default", "virtualization-type": "hvm", "vpc-id": "vpc-*",
}


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_a_filter_finds_what_is_so(ec2, launch, fresh_account, name):
    ident = launch(ClientToken="token", Monitoring={"Enabled": True}, TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "key", "Value": "value"}]}])[0]["InstanceId"]
    value = FILTERS[name] if FILTERS[name] is not None else fresh_account
    assert found(ec2, Filters=[{"Name": name, "Values": ["x", value]}]) == {ident}
    assert found(ec2, Filters=[{"Name": name, "Values": ["not this"]}]) == set()


def test_filters_are_joined_by_and_their_values_by_or(ec2, launch):
    [small], [nano] = launch(InstanceType="t3.small"), launch(InstanceType="t3.nano")
    launch(InstanceType="t3.micro")
    both = [{"Name": "instance-type", "Values": ["t3.small", "t3.nano"]}]
    assert found(ec2, Filters=both) == {small["InstanceId"], nano["InstanceId"]}
    assert found(ec2, Filters=both + [{"Name": "private-ip-address", "Values": [nano["PrivateIpAddress"]]}]) == {nano["InstanceId"]}


def test_wildcards(ec2, launch):
    ident = launch(TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "k", "Value": "a*b?c"}]}])[0]["InstanceId"]
    for pattern, finds in (("a*", True), ("a\\*b\\?c", True), ("a\\*b?c", True), ("?*c", True), ("a?c", False), ("A*", False), ("*", True), ("", False)):
        assert found(ec2, Filters=[{"Name": "tag:k", "Values": [pattern]}]) == ({ident} if finds else set()), pattern


def test_filters_that_are_refused(ec2, fails):
    fails("InvalidParameterValue", ec2.describe_instances, Filters=[{"Name": "colour", "Values": ["red"]}])
    fails("FilterLimitExceeded", ec2.describe_instances, Filters=[{"Name": "instance-type", "Values": [str(n) for n in range(201)]}])


def test_a_call_has_up_to_200_values_of_filters(ec2, launch, fails):
    [instance] = launch()
    zones = {"Name": "availability-zone", "Values": ["*"] + [f"z{n}" for n in range(99)]}
    types = {"Name": "instance-type", "Values": ["*"] + [f"t{n}" for n in range(99)]}
    assert found(ec2, Filters=[zones, types]) == {instance["InstanceId"]}
    message = fails("FilterLimitExceeded", ec2.describe_instances, Filters=[zones, types | {"Values": types["Values"] + ["t100"]}])
    assert message == "The maximum number of filter values specified on a single call is 200"


def test_pages(ec2, launch, fails):
    made = {i["InstanceId"] for _ in range(4) for i in launch(3)}
    pages = list(ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5}))
    sizes = [sum(len(r["Instances"]) for r in page["Reservations"]) for page in pages]
    assert sum(sizes) == 12 and max(sizes) <= 5
    assert {i["InstanceId"] for page in pages for r in page["Reservations"] for i in r["Instances"]} == made
    fails("InvalidPaginationToken", ec2.describe_instances, NextToken="nonsense")
    fails("InvalidParameterCombination", ec2.describe_instances, InstanceIds=list(made)[:1], MaxResults=5)
    for size in (4, 1001):
        fails("InvalidParameterValue", ec2.describe_instances, MaxResults=size)


def test_reservations(ec2, launch):
    first, second = launch(2), launch(3)
    answer = ec2.describe_instances()["Reservations"]
    assert sorted(len(r["Instances"]) for r in answer) == [2, 3]
    ident = second[0]["InstanceId"]
    [reservation] = ec2.describe_instances(InstanceIds=[ident])["Reservations"]
    assert len(reservation["Instances"]) == 1 and len({i["InstanceId"] for i in first}) == 2


def test_wrong_types(raw, image):
    for name, value in (("MaxResults", "many"), ("DryRun", "perhaps"), ("Filter.1.Name", "\x00")):
        status, body = raw.call("DescribeInstances", **{name.replace(".", "__"): value})
        assert status == 400 and error_of(body)[0] in ("InvalidParameterValue", "InvalidParameter", "MalformedQueryString"), (name, body)


def test_an_instance_is_named_by_its_address_or_by_its_id(ec2, launch, fails):
    [made] = launch(PrivateDnsNameOptions={"HostnameType": "resource-name", "EnableResourceNameDnsARecord": True})
    ident, address = made["InstanceId"], made["PrivateIpAddress"].replace(".", "-")
    shown = lambda: ec2.describe_instances(InstanceIds=[ident])["Reservations"][0]["Instances"][0]
    assert shown()["PrivateDnsName"] == f"{ident}.ec2.internal"
    ec2.modify_private_dns_name_options(InstanceId=ident, PrivateDnsHostnameType="ip-name", EnableResourceNameDnsARecord=False)
    assert shown()["PrivateDnsName"] == shown()["NetworkInterfaces"][0]["PrivateDnsName"] == f"ip-{address}.ec2.internal"
    assert shown()["PrivateDnsNameOptions"] == {"HostnameType": "ip-name", "EnableResourceNameDnsARecord": False, "EnableResourceNameDnsAAAARecord": False}
    fails("MissingParameter", ec2.modify_private_dns_name_options, InstanceId=ident)


def test_a_subnet_says_how_its_instances_are_named(ec2, launch):
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    ec2.modify_subnet_attribute(SubnetId=subnet, PrivateDnsHostnameTypeOnLaunch="resource-name")
    ec2.modify_subnet_attribute(SubnetId=subnet, EnableResourceNameDnsARecordOnLaunch={"Value": True})
    [made] = launch(SubnetId=subnet)
    assert made["PrivateDnsName"] == f"{made['InstanceId']}.ec2.internal" and made["PrivateDnsNameOptions"]["EnableResourceNameDnsARecord"] is True
