"""Every waiter of botocore over what is built: unmodified, right after its call, it succeeds on its first poll. So no
client ever sleeps for nothing (SDKs wait 15 s between two polls)."""

import time

import pytest

needs = pytest.mark.needs
pytestmark = pytest.mark.usefixtures("no_second_poll")


@pytest.fixture
def image(ec2):
    images = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "name", "Values": ["al2023-ami-2023.*-x86_64"]}])
    return max(images["Images"], key=lambda image: image["CreationDate"])["ImageId"]


@pytest.fixture
def launch(ec2, image):
    def launch(count=1):
        answer = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=count, MaxCount=count)
        assert {i["State"]["Name"] for i in answer["Instances"]} == {"pending"}
        return [i["InstanceId"] for i in answer["Instances"]]

    return launch


@needs("DescribeImages", "RunInstances", "DescribeInstances", "DescribeInstanceStatus")
@pytest.mark.parametrize("name", ["instance_exists", "instance_running", "instance_status_ok", "system_status_ok"])
def test_instance_waiters_after_a_launch(ec2, launch, name):
    ec2.get_waiter(name).wait(InstanceIds=launch(2))


@needs("DescribeImages", "RunInstances", "DescribeInstances", "DescribeInstanceStatus", "StopInstances")
def test_instance_stopped(ec2, launch):
    ids = launch()
    ec2.get_waiter("instance_running").wait(InstanceIds=ids)
    answer = ec2.stop_instances(InstanceIds=ids)
    assert answer["StoppingInstances"][0]["CurrentState"]["Name"] == "stopping"
    ec2.get_waiter("instance_stopped").wait(InstanceIds=ids)


@needs("DescribeImages", "RunInstances", "DescribeInstances", "DescribeInstanceStatus", "StopInstances", "StartInstances")
def test_instance_running_after_a_start(ec2, launch):
    ids = launch()
    ec2.stop_instances(InstanceIds=ids)
    ec2.get_waiter("instance_stopped").wait(InstanceIds=ids)
    answer = ec2.start_instances(InstanceIds=ids)
    assert answer["StartingInstances"][0]["CurrentState"]["Name"] == "pending"
    ec2.get_waiter("instance_running").wait(InstanceIds=ids)


@needs("DescribeImages", "RunInstances", "DescribeInstances", "DescribeInstanceStatus", "TerminateInstances")
def test_instance_terminated(ec2, launch):
    ids = launch(2)
    answer = ec2.terminate_instances(InstanceIds=ids)
    assert {i["CurrentState"]["Name"] for i in answer["TerminatingInstances"]} == {"shutting-down"}
    ec2.get_waiter("instance_terminated").wait(InstanceIds=ids)


@needs("DescribeImages", "RunInstances", "DescribeInstances", "DescribeInstanceStatus", "TerminateInstances")
def test_instance_waiters_by_the_aws_cli(aws, launch):
    ids, start = launch(), time.monotonic()
    aws("ec2", "wait", "instance-running", "--instance-ids", *ids)
    aws("ec2", "terminate-instances", "--instance-ids", *ids)
    aws("ec2", "wait", "instance-terminated", "--instance-ids", *ids)
    assert time.monotonic() - start < 14, "one of them has slept"


@needs("DescribeImages")
@pytest.mark.parametrize("name", ["image_exists", "image_available"])
def test_image_waiters(ec2, image, name):
    ec2.get_waiter(name).wait(ImageIds=[image])


@needs("DescribeImages", "RunInstances", "DescribeInstances", "DescribeInstanceStatus", "DescribeVolumes")
def test_volume_in_use(ec2, launch):
    instance = ec2.describe_instances(InstanceIds=launch())["Reservations"][0]["Instances"][0]
    volumes = [mapping["Ebs"]["VolumeId"] for mapping in instance["BlockDeviceMappings"]]
    assert volumes
    ec2.get_waiter("volume_in_use").wait(VolumeIds=volumes)


@needs("DescribeImages", "RunInstances", "DescribeInstances", "DescribeInstanceStatus", "DescribeVolumes", "TerminateInstances")
def test_volume_deleted_after_its_instance(ec2, launch):
    ids = launch()
    instance = ec2.describe_instances(InstanceIds=ids)["Reservations"][0]["Instances"][0]
    volumes = [mapping["Ebs"]["VolumeId"] for mapping in instance["BlockDeviceMappings"]]
    ec2.terminate_instances(InstanceIds=ids)
    ec2.get_waiter("volume_deleted").wait(VolumeIds=volumes)


@needs("CreateVolume", "DeleteVolume", "DescribeVolumes")
def test_volume_available(ec2):
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    ec2.get_waiter("volume_available").wait(VolumeIds=[volume])
    ec2.delete_volume(VolumeId=volume)
    ec2.get_waiter("volume_deleted").wait(VolumeIds=[volume])


@needs("CreateKeyPair", "DescribeKeyPairs")
@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_key_pair_exists(ec2, kind):
    ec2.create_key_pair(KeyName="k", KeyType=kind)
    ec2.get_waiter("key_pair_exists").wait(KeyNames=["k"])


@needs("CreateSecurityGroup", "DescribeSecurityGroups")
def test_security_group_exists(ec2):
    group = ec2.create_security_group(GroupName="g", Description="d")["GroupId"]
    ec2.get_waiter("security_group_exists").wait(GroupIds=[group])


@pytest.mark.parametrize("name", ["vpc_exists", "vpc_available"])
def test_vpc_waiters(ec2, name):
    ec2.get_waiter(name).wait(VpcIds=[ec2.describe_vpcs()["Vpcs"][0]["VpcId"]])


@needs("CreateVpc")
@pytest.mark.parametrize("name", ["vpc_exists", "vpc_available"])
def test_vpc_waiters_after_a_create(ec2, name):
    ec2.get_waiter(name).wait(VpcIds=[ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]])


def test_subnet_available(ec2):
    ec2.get_waiter("subnet_available").wait(SubnetIds=[s["SubnetId"] for s in ec2.describe_subnets()["Subnets"]])


def test_internet_gateway_exists(ec2):
    gateway = ec2.describe_internet_gateways()["InternetGateways"][0]["InternetGatewayId"]
    ec2.get_waiter("internet_gateway_exists").wait(InternetGatewayIds=[gateway])


@needs("CreateNetworkInterface")
def test_network_interface_available(ec2):
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    interface = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    ec2.get_waiter("network_interface_available").wait(NetworkInterfaceIds=[interface])
