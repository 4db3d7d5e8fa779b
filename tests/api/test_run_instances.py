"""RunInstances: its parameters, what it refuses and what it fills in."""

import base64
import ipaddress
import re

import pytest

from haar import Server, error_of

NOBODY = "00000000000000000"


def shown(ec2, instance):
    return ec2.describe_instances(InstanceIds=[instance["InstanceId"]])["Reservations"][0]["Instances"][0]


def ids(instances):
    return [i["InstanceId"] for i in instances]


def count(ec2):
    return sum(len(r["Instances"]) for r in ec2.describe_instances()["Reservations"])


def encoded(data):
    return base64.b64encode(data).decode()


# --- what is filled in

# Sources: RunInstances and Instance in the API reference; what its examples answer.
ID = re.compile("[a-z]+(-attach)?-[0-9a-f]{17}$")
DEFAULTS = {
    "AmiLaunchIndex": 0, "Architecture": "x86_64", "BlockDeviceMappings": list, "BootMode": "uefi-preferred", "CapacityReservationSpecification":
    {"CapacityReservationPreference": "open"}, "ClientToken": str, "CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 2},
    "CurrentInstanceBootMode": "uefi", "EbsOptimized": False, "EnaSupport": True, "EnclaveOptions": {"Enabled": False},
    "HibernationOptions": {"Configured": False}, "Hypervisor": "xen", "MaintenanceOptions": {"AutoRecovery": "default", "RebootMigration": "default"},
    "MetadataOptions": {"State": "pending", "HttpTokens": "required", "HttpPutResponseHopLimit": 2, "HttpEndpoint": "enabled", "HttpProtocolIpv6":
                        "disabled", "InstanceMetadataTags": "disabled"},
    "Monitoring": {"State": "disabled"}, "NetworkPerformanceOptions": {"BandwidthWeighting": "default"}, "Operator": {"Managed": False},
    "Placement": {"GroupName": "", "Tenancy": "default"}, "PlatformDetails": "Linux/UNIX",
    "PrivateDnsNameOptions": {"HostnameType": "ip-name", "EnableResourceNameDnsARecord": False, "EnableResourceNameDnsAAAARecord": False},
    "ProductCodes": [], "PublicDnsName": "", "RootDeviceName": "/dev/xvda", "RootDeviceType": "ebs", "SourceDestCheck": True,
    "State": {"Code": 0, "Name": "pending"}, "StateReason": {"Code": "pending", "Message": "pending"}, "StateTransitionReason": "",
    "UsageOperation": "RunInstances", "VirtualizationType": "hvm", "InstanceType": "t3.micro",
}
OF_THIS_ONE = {"InstanceId", "ImageId", "LaunchTime", "PrivateDnsName", "PrivateIpAddress", "SubnetId", "VpcId", "SecurityGroups", "NetworkInterfaces",
               "UsageOperationUpdateTime"}


def differences(table, found):
    for name, value in table.items():
        if name not in found:
            yield f"{name} is missing"
        elif isinstance(value, dict):
            yield from (f"{name}.{d}" for d in differences(value, found[name]))
        elif isinstance(value, type):
            if not isinstance(found[name], value):
                yield f"{name} is {found[name]!r}"
        elif found[name] != value:
            yield f"{name} is {found[name]!r}, not {value!r}"


def test_every_member_that_a_request_leaves_open_is_filled_in_as_aws_does(launch):
    [instance] = launch()
    assert list(differences(DEFAULTS, instance)) == []
    assert set(instance) == set(DEFAULTS) | OF_THIS_ONE


def test_a_moment_later_it_has_its_volume_and_address(ec2, launch):
    found = shown(ec2, launch()[0])
    [mapping] = found["BlockDeviceMappings"]
    assert mapping["DeviceName"] == found["RootDeviceName"]
    assert mapping["Ebs"].items() >= {"DeleteOnTermination": True, "Status": "attached"}.items() and ID.match(mapping["Ebs"]["VolumeId"])
    assert found["State"] == {"Code": 16, "Name": "running"} and "StateReason" not in found
    assert found["MetadataOptions"]["State"] == "applied"
    [volume] = ec2.describe_volumes(VolumeIds=[mapping["Ebs"]["VolumeId"]])["Volumes"]
    assert (volume["VolumeType"], volume["Size"], volume["Iops"], volume["Throughput"]) == ("gp3", 8, 3000, 125)
    assert volume["State"] == "in-use" and volume["AvailabilityZone"] == found["Placement"]["AvailabilityZone"]


def test_its_interface_says_what_it_says(ec2, launch):
    found = shown(ec2, launch()[0])
    [eni] = found["NetworkInterfaces"]
    assert eni["PrivateIpAddress"] == found["PrivateIpAddress"] and eni["PrivateDnsName"] == found["PrivateDnsName"]
    assert found["PrivateDnsName"] == "ip-" + found["PrivateIpAddress"].replace(".", "-") + ".ec2.internal"
    assert eni["Status"] == "in-use" and eni["SourceDestCheck"] is True and eni["InterfaceType"] == "interface" and eni["Description"] == ""
    assert eni["Attachment"].items() >= {"DeviceIndex": 0, "NetworkCardIndex": 0, "DeleteOnTermination": True, "Status": "attached"}.items()
    assert eni["Groups"] == found["SecurityGroups"] and found["SecurityGroups"][0]["GroupName"] == "default"
    assert re.fullmatch(r"[0-9a-f][26ae](:[0-9a-f]{2}){5}", eni["MacAddress"])
    [record] = ec2.describe_network_interfaces(NetworkInterfaceIds=[eni["NetworkInterfaceId"]])["NetworkInterfaces"]
    assert record["Attachment"]["InstanceId"] == found["InstanceId"] and record["PrivateIpAddresses"][0]["Primary"] is True


def test_the_reservation(ec2, image, fresh_account):
    answer = ec2.run_instances(ImageId=image, InstanceType="t3.nano", MinCount=3, MaxCount=3)
    assert answer["OwnerId"] == fresh_account and answer["ReservationId"].startswith("r-") and answer.get("Groups", []) == []
    assert [i["AmiLaunchIndex"] for i in answer["Instances"]] == [0, 1, 2]
    [reservation] = ec2.describe_instances()["Reservations"]
    assert reservation["ReservationId"] == answer["ReservationId"] and len(reservation["Instances"]) == 3


def test_without_a_type_it_is_m1_small(ec2, image):
    assert ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceType"] == "m1.small"


@pytest.mark.parametrize("kind, credits", [("t2.micro", "standard"), ("t3.micro", "unlimited")])
def test_credits_that_a_request_leaves_open(ec2, launch, kind, credits):
    ident = launch(InstanceType=kind)[0]["InstanceId"]
    [found] = ec2.describe_instance_credit_specifications(InstanceIds=[ident])["InstanceCreditSpecifications"]
    assert found == {"InstanceId": ident, "CpuCredits": credits}


def test_what_is_given_stands(ec2, launch):
    ec2.create_key_pair(KeyName="k")
    [given] = launch(
        KeyName="k", InstanceType="m5.large", CpuOptions={"CoreCount": 1, "ThreadsPerCore": 1}, DisableApiTermination=True, DisableApiStop=True,
        InstanceInitiatedShutdownBehavior="terminate", Monitoring={"Enabled": True}, EbsOptimized=True,
        MetadataOptions={"HttpTokens": "optional", "HttpPutResponseHopLimit": 5, "InstanceMetadataTags": "enabled"},
        PrivateDnsNameOptions={"HostnameType": "resource-name", "EnableResourceNameDnsARecord": True},
        Placement={"AvailabilityZone": "us-east-1b", "Tenancy": "dedicated"}, MaintenanceOptions={"AutoRecovery": "disabled"})
    found = shown(ec2, given)
    assert found["KeyName"] == "k" and found["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 1}
    assert found["MetadataOptions"].items() >= {"HttpTokens": "optional", "HttpPutResponseHopLimit": 5, "InstanceMetadataTags": "enabled"}.items()
    assert found["Placement"].items() >= {"AvailabilityZone": "us-east-1b", "Tenancy": "dedicated"}.items()
    assert found["EbsOptimized"] is True and found["Monitoring"]["State"] == "enabled"
    assert found["PrivateDnsNameOptions"]["HostnameType"] == "resource-name" and found["MaintenanceOptions"]["AutoRecovery"] == "disabled"
    for name, value in (("disableApiTermination", True), ("disableApiStop", True), ("instanceInitiatedShutdownBehavior", "terminate")):
        answer = ec2.describe_instance_attribute(InstanceId=found["InstanceId"], Attribute=name)
        assert answer[name[0].upper() + name[1:]]["Value"] == value


def test_user_data_comes_back_as_it_was(ec2, launch):
    ident = launch(UserData="#!/bin/sh\necho ü\n")[0]["InstanceId"]
    data = ec2.describe_instance_attribute(InstanceId=ident, Attribute="userData")["UserData"]["Value"]
    assert base64.b64decode(data).decode() == "#!/bin/sh\necho ü\n"


def test_tags_go_to_the_kinds_that_they_name(ec2, launch):
    specifications = [{"ResourceType": kind, "Tags": [{"Key": "kind", "Value": kind}]} for kind in ("instance", "volume", "network-interface")]
    found = shown(ec2, launch(TagSpecifications=specifications)[0])
    assert found["Tags"] == [{"Key": "kind", "Value": "instance"}]
    volume = ec2.describe_volumes(VolumeIds=[found["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]])["Volumes"][0]
    eni = ec2.describe_network_interfaces(NetworkInterfaceIds=[found["NetworkInterfaces"][0]["NetworkInterfaceId"]])["NetworkInterfaces"][0]
    assert volume["Tags"] == [{"Key": "kind", "Value": "volume"}] and eni["TagSet"] == [{"Key": "kind", "Value": "network-interface"}]


# --- what is refused


@pytest.mark.parametrize("code, members", [
    ("InvalidParameterValue", {"MinCount": 2, "MaxCount": 1}), ("InvalidParameterValue", {"MinCount": 0}), ("InvalidParameterValue", {"MinCount": -1}),
    ("InstanceLimitExceeded", {"MinCount": 1001, "MaxCount": 1001}),
    ("InvalidAMIID.NotFound", {"ImageId": "ami-" + NOBODY}), ("InvalidAMIID.Malformed", {"ImageId": "ami-x"}), ("InvalidAMIID.Malformed", {"ImageId": "debian"}),
    ("InvalidParameterValue", {"ImageId": "resolve:ssm:/nowhere"}), ("InvalidParameterValue", {"InstanceType": "t9.huge"}),
    ("InvalidParameterValue", {"InstanceType": "t4g.micro"}), ("InvalidKeyPair.NotFound", {"KeyName": "nobody's"}),
    ("InvalidGroup.NotFound", {"SecurityGroupIds": ["sg-" + NOBODY]}), ("InvalidGroup.NotFound", {"SecurityGroups": ["nobody's"]}),
    ("InvalidSubnetID.NotFound", {"SubnetId": "subnet-" + NOBODY}), ("InvalidParameterValue", {"Placement": {"AvailabilityZone": "eu-west-1a"}}),
    ("Unsupported", {"Placement": {"AvailabilityZone": "us-east-1e"}}), ("InvalidPlacementGroup.Unknown", {"Placement": {"GroupName": "nobody's"}}),
    ("InvalidHostID.NotFound", {"Placement": {"HostId": "h-" + NOBODY}}), ("InsufficientInstanceCapacity", {"Placement": {"Tenancy": "host"}}),
    ("InvalidParameterCombination", {"Placement": {"PartitionNumber": 1}}),
    ("InvalidLaunchTemplateId.NotFound", {"LaunchTemplate": {"LaunchTemplateId": "lt-" + NOBODY}}),
    ("InvalidLaunchTemplateName.NotFoundException", {"LaunchTemplate": {"LaunchTemplateName": "nobody's"}}),
    ("InvalidParameterValue", {"IamInstanceProfile": {"Name": "nobody's"}}),
    ("InvalidParameterValue", {"IamInstanceProfile": {"Arn": "arn:aws:iam::123456789012:instance-profile/x"}}),
    ("InvalidCapacityReservationId.NotFound", {"CapacityReservationSpecification": {"CapacityReservationTarget": {"CapacityReservationId": "cr-" + NOBODY}}}),
    ("InvalidParameterCombination", {"InstanceType": "m5.large", "CreditSpecification": {"CpuCredits": "unlimited"}}),
    ("InvalidParameterValue", {"CreditSpecification": {"CpuCredits": "infinite"}}),
    ("InvalidParameterCombination", {"CpuOptions": {"CoreCount": 1}}), ("InvalidParameterValue", {"CpuOptions": {"CoreCount": 7, "ThreadsPerCore": 1}}),
    ("InvalidParameterValue", {"CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 4}}),
    ("UnsupportedHibernationConfiguration", {"HibernationOptions": {"Configured": True}}), ("Unsupported", {"EnclaveOptions": {"Enabled": True}}),
    ("InvalidParameterValue", {"MetadataOptions": {"HttpPutResponseHopLimit": 65}}), ("InvalidParameterValue", {"MetadataOptions": {"HttpTokens": "maybe"}}),
    ("InvalidParameterValue", {"InstanceInitiatedShutdownBehavior": "explode"}), ("InvalidParameterValue", {"UserData": "x" * 16385}),
    ("InvalidParameterValue", {"PrivateIpAddress": "10.0.0.1"}), ("InvalidParameterCombination", {"MinCount": 2, "MaxCount": 2, "PrivateIpAddress": "172.31.0.9"}),
    ("InvalidNetworkInterfaceID.NotFound", {"NetworkInterfaces": [{"DeviceIndex": 0, "NetworkInterfaceId": "eni-" + NOBODY}]}),
    ("InvalidParameterValue", {"NetworkInterfaces": [{"DeviceIndex": 0, "SecondaryPrivateIpAddressCount": -1}]}),
    ("InvalidParameterValue", {"NetworkInterfaces": [{"DeviceIndex": 0}, {"DeviceIndex": -7}]}), ("InvalidParameterValue", {"MinCount": -2**31}),
    ("InvalidParameterValue", {"NetworkInterfaces": [{"DeviceIndex": 0, "NetworkCardIndex": -1}]}), ("InvalidParameterValue", {"MaxCount": 0}),
    ("InvalidBlockDeviceMapping", {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": -2**31}}]}),
    ("InvalidParameterValue", {"CpuOptions": {"CoreCount": -1, "ThreadsPerCore": 1}}), ("InvalidParameterValue", {"Placement": {"PartitionNumber": -1}}),
    ("MissingParameter", {"NetworkInterfaces": [{"Description": "d"}]}), ("InvalidParameterValue", {"NetworkInterfaces": [{"DeviceIndex": 1}]}),
    ("InvalidParameterCombination", {"NetworkInterfaces": [{"DeviceIndex": 0}, {"DeviceIndex": 0}]}),
    ("AttachmentLimitExceeded", {"NetworkInterfaces": [{"DeviceIndex": n} for n in range(3)]}),
    ("AttachmentLimitExceeded", {"NetworkInterfaces": [{"DeviceIndex": 0}, {"DeviceIndex": 1, "NetworkCardIndex": 1}]}),
    ("PrivateIpAddressLimitExceeded", {"NetworkInterfaces": [{"DeviceIndex": 0, "SecondaryPrivateIpAddressCount": 2}]}),
    ("InvalidParameterCombination", {"NetworkInterfaces": [{"DeviceIndex": 0}], "SecurityGroupIds": ["sg-" + NOBODY]}),
    ("InvalidParameterCombination", {"NetworkInterfaces": [{"DeviceIndex": 0, "SecondaryPrivateIpAddressCount": 1,
                                                        "PrivateIpAddresses": [{"PrivateIpAddress": "172.31.0.9", "Primary": False}]}]}),
    ("InvalidParameterValue", {"TagSpecifications": [{"ResourceType": "vpc", "Tags": [{"Key": "a", "Value": "b"}]}]}),
    ("InvalidParameterValue", {"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "aws:a", "Value": "b"}]}]}),
    ("NotImplemented", {"InstanceMarketOptions": {"MarketType": "spot"}}), ("NotImplemented", {"Ipv6AddressCount": 1}),
])
def test_what_is_refused_changes_nothing(ec2, launch, fails, code, members):
    fails(code, launch, **members)
    assert count(ec2) == 0 and ec2.describe_volumes()["Volumes"] == [] and ec2.describe_network_interfaces()["NetworkInterfaces"] == []


@pytest.mark.parametrize("code, device", [
    ("InvalidBlockDeviceMapping", {"Ebs": {"VolumeSize": 1}}), ("MissingParameter", {"Ebs": {"VolumeType": "io1"}}),
    ("InvalidParameterCombination", {"Ebs": {"VolumeType": "gp2", "Iops": 200}}), ("InvalidParameterValue", {"Ebs": {"VolumeType": "io1", "Iops": 99}}),
    ("InvalidParameterValue", {"Ebs": {"VolumeType": "io1", "Iops": 401}}), ("InvalidParameterValue", {"Ebs": {"Iops": 2999}}),
    ("InvalidParameterValue", {"Ebs": {"Throughput": 2001}}), ("InvalidParameterCombination", {"Ebs": {"VolumeType": "gp2", "Throughput": 125}}),
    ("InvalidParameterValue", {"Ebs": {"VolumeType": "floppy"}}), ("InvalidParameterValue", {"Ebs": {"VolumeSize": 70000}}),
    ("InvalidSnapshot.NotFound", {"Ebs": {"SnapshotId": "snap-" + NOBODY}}), ("InvalidParameterDependency", {"Ebs": {"KmsKeyId": "k"}}),
    ("InvalidBlockDeviceMapping", {"NoDevice": ""}), ("InvalidBlockDeviceMapping", {"VirtualName": "ephemeral0", "Ebs": {"VolumeSize": 9}}),
    ("MissingParameter", {"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": True}}), ("MissingParameter", {"DeviceName": "", "Ebs": {"VolumeSize": 8}}),
])
def test_mappings_that_are_refused(launch, fails, code, device):
    fails(code, launch, BlockDeviceMappings=[{"DeviceName": "/dev/xvda"} | device])


def test_a_device_is_mapped_once(launch, fails):
    fails("InvalidBlockDeviceMapping", launch, BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}] * 2)


def test_volumes_as_mapped(ec2, launch):
    found = shown(ec2, launch(BlockDeviceMappings=[
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "DeleteOnTermination": False}},
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 10, "VolumeType": "io1", "Iops": 200, "Encrypted": True}}])[0])
    volumes = {v["Attachments"][0]["Device"]: v for v in ec2.describe_volumes()["Volumes"]}
    assert set(volumes) == {"/dev/xvda", "/dev/sdf"} == {m["DeviceName"] for m in found["BlockDeviceMappings"]}
    assert (volumes["/dev/xvda"]["Size"], volumes["/dev/xvda"]["Attachments"][0]["DeleteOnTermination"]) == (20, False)
    assert (volumes["/dev/sdf"]["VolumeType"], volumes["/dev/sdf"]["Iops"], volumes["/dev/sdf"]["Encrypted"]) == ("io1", 200, True)
    ec2.terminate_instances(InstanceIds=[found["InstanceId"]])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[found["InstanceId"]])
    [left] = [v for v in ec2.describe_volumes()["Volumes"]]
    assert left["Size"] == 20 and left["State"] == "available"


def test_user_data_that_is_not_base64(raw, image):
    status, body = raw.call("RunInstances", ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.micro", UserData="not base64!")
    assert status == 400 and error_of(body)[0] == "InvalidUserData.Malformed"


def test_missing_members(raw, image):
    for missing in ("MinCount", "MaxCount", "ImageId"):
        given = {"ImageId": image, "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.micro"}
        del given[missing]
        status, body = raw.call("RunInstances", **given)
        assert status == 400 and error_of(body)[0] == "MissingParameter", missing


def test_a_group_of_another_vpc(ec2, launch, fails):
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    fails("InvalidParameter", launch, SecurityGroupIds=[group])


def test_more_groups_than_an_interface_takes(ec2, launch, fails):
    groups = [ec2.create_security_group(GroupName=f"g{n}", Description="d")["GroupId"] for n in range(6)]
    assert len(launch(SecurityGroupIds=groups[:5])[0]["SecurityGroups"]) == 5
    fails("SecurityGroupsPerInterfaceLimitExceeded", launch, SecurityGroupIds=groups)


def test_a_subnet_of_another_zone(ec2, launch, fails):
    [subnet] = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["us-east-1a"]}])["Subnets"]
    assert launch(SubnetId=subnet["SubnetId"])[0]["Placement"]["AvailabilityZone"] == "us-east-1a"
    fails("InvalidParameterValue", launch, SubnetId=subnet["SubnetId"], Placement={"AvailabilityZone": "us-east-1b"})
    [nitro_less] = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["us-east-1e"]}])["Subnets"]
    fails("Unsupported", launch, SubnetId=nitro_less["SubnetId"])


def test_private_addresses(ec2, launch, fails):
    subnet = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["us-east-1a"]}])["Subnets"][0]
    first = subnet["CidrBlock"].rsplit(".", 1)[0]
    where = {"SubnetId": subnet["SubnetId"]}
    assert launch(PrivateIpAddress=f"{first}.77", **where)[0]["PrivateIpAddress"] == f"{first}.77"
    fails("InvalidIPAddress.InUse", launch, PrivateIpAddress=f"{first}.77", **where)
    for reserved in range(4):
        assert "reserved" in fails("InvalidParameterValue", launch, PrivateIpAddress=f"{first}.{reserved}", **where)
    fails("InvalidParameterValue", launch, PrivateIpAddress="10.9.9.9", **where)
    block = ipaddress.ip_network(subnet["CidrBlock"])
    fails("InvalidParameterValue", launch, PrivateIpAddress=str(block[-1]), **where)
    assert launch(PrivateIpAddress=str(block[-2]), **where)[0]["PrivateIpAddress"] == str(block[-2])
    [instance] = launch(NetworkInterfaces=[{"DeviceIndex": 0, **where, "PrivateIpAddresses": [
        {"PrivateIpAddress": f"{first}.80", "Primary": True}, {"PrivateIpAddress": f"{first}.81", "Primary": False}]}])
    assert [(a["PrivateIpAddress"], a["Primary"]) for a in instance["NetworkInterfaces"][0]["PrivateIpAddresses"]] == [(f"{first}.80", True), (f"{first}.81", False)]


def test_a_subnet_that_is_full(ec2, launch, fails):
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/28", AvailabilityZone="us-east-1a")["Subnet"]["SubnetId"]
    fails("InsufficientFreeAddressesInSubnet", launch, count=12, SubnetId=subnet)
    assert len({i["PrivateIpAddress"] for i in launch(11, SubnetId=subnet)}) == 11
    assert ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"] == 0
    fails("InsufficientFreeAddressesInSubnet", launch, SubnetId=subnet)


def test_a_count_between_min_and_max(ec2, launch):
    assert len(launch(MinCount=1, MaxCount=4)) == 4


def test_an_unknown_image_boots_where_a_setting_says_so(binary, fails):
    with Server(binary, "--backend", "none", env={"HAAR_EC2_IMAGE": "tiny"}) as server:
        ec2 = server.client("ec2")
        how = {"InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
        assert ec2.run_instances(ImageId="ami-" + NOBODY, **how)["Instances"][0]["Architecture"] == "x86_64"
        assert ec2.run_instances(ImageId="ami-12345678", **how | {"InstanceType": "t4g.micro"})["Instances"][0]["Architecture"] == "arm64"
        fails("InvalidAMIID.Malformed", ec2.run_instances, ImageId="nonsense", **how)


# --- asked twice, or only for a look


def test_a_client_token_answers_again_what_it_answered(ec2, launch, fails):
    first = launch(ClientToken="t")
    assert ids(launch(ClientToken="t")) == ids(first) and count(ec2) == 1
    fails("IdempotentParameterMismatch", launch, ClientToken="t", InstanceType="t3.small")
    assert shown(ec2, first[0])["ClientToken"] == "t"
    assert ids(launch(ClientToken="u")) != ids(first)


def test_a_dry_run(ec2, launch, fails):
    fails("DryRunOperation", launch, DryRun=True)
    fails("InvalidAMIID.NotFound", launch, DryRun=True, ImageId="ami-" + NOBODY)
    assert count(ec2) == 0
