"""Regions, zones, account attributes, images, instance types and offerings: what stands in the catalogue."""

import pytest

AMAZON, CANONICAL, DEBIAN = "amazon", "099720109477", "136693071363"


def names(answer, kind, member):
    return [item[member] for item in answer[kind]]


# --- places


def test_the_regions_that_an_account_has(ec2):
    regions = ec2.describe_regions()["Regions"]
    found = {r["RegionName"]: r for r in regions}
    assert {"us-east-1", "eu-central-1", "ap-southeast-2", "sa-east-1"} <= set(found)
    assert found["eu-central-1"] == found["eu-central-1"] | {"Endpoint": "ec2.eu-central-1.amazonaws.com", "OptInStatus": "opt-in-not-required"}
    assert found["af-south-1"]["OptInStatus"] == "opted-in", "every account has opted in everywhere"
    assert {r["OptInStatus"] for r in regions} == {"opt-in-not-required", "opted-in"}


def test_regions_by_name_and_filter(ec2, fails):
    assert names(ec2.describe_regions(RegionNames=["eu-west-1"]), "Regions", "RegionName") == ["eu-west-1"]
    assert set(names(ec2.describe_regions(Filters=[{"Name": "region-name", "Values": ["eu-*"]}]), "Regions", "RegionName")) > {"eu-west-1", "eu-north-1"}
    fails("InvalidParameterValue", ec2.describe_regions, RegionNames=["mars-1"])
    fails("InvalidParameterValue", ec2.describe_regions, Filters=[{"Name": "colour", "Values": ["red"]}])


def test_zones_of_the_callers_region(ec2, server, fresh_account):
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    assert [z["ZoneName"] for z in zones] == [f"us-east-1{c}" for c in "abcdef"]
    assert all(z["State"] == "available" and z["RegionName"] == "us-east-1" and z["ZoneType"] == "availability-zone" for z in zones)
    assert {z["ZoneId"] for z in zones} == {f"use1-az{n}" for n in range(1, 7)}
    other = server.client("ec2", region="eu-central-1", account=fresh_account)
    assert names(other.describe_availability_zones(), "AvailabilityZones", "ZoneName") == [f"eu-central-1{c}" for c in "abc"]


def test_zones_by_name_id_and_filter(ec2, fails):
    ask = lambda **how: names(ec2.describe_availability_zones(**how), "AvailabilityZones", "ZoneName")
    assert ask(ZoneNames=["us-east-1b"]) == ["us-east-1b"]
    zone = ec2.describe_availability_zones(ZoneNames=["us-east-1b"])["AvailabilityZones"][0]
    assert ask(ZoneIds=[zone["ZoneId"]]) == ["us-east-1b"]
    assert ask(Filters=[{"Name": "zone-name", "Values": ["us-east-1[ab]", "us-east-1c"]}]) == ["us-east-1c"]
    assert ask(Filters=[{"Name": "state", "Values": ["impaired"]}]) == []
    fails("InvalidParameterValue", ec2.describe_availability_zones, ZoneNames=["eu-west-1a"])
    fails("InvalidParameterValue", ec2.describe_availability_zones, ZoneIds=["use1-az9"])


def test_account_attributes(ec2, fails):
    found = {a["AttributeName"]: [v["AttributeValue"] for v in a["AttributeValues"]] for a in ec2.describe_account_attributes()["AccountAttributes"]}
    assert found["supported-platforms"] == ["VPC"]
    assert found["default-vpc"] == [ec2.describe_vpcs()["Vpcs"][0]["VpcId"]]
    assert set(found) == {"supported-platforms", "default-vpc", "max-instances", "vpc-max-security-groups-per-interface", "max-elastic-ips", "vpc-max-elastic-ips"}
    [one] = ec2.describe_account_attributes(AttributeNames=["max-instances"])["AccountAttributes"]
    assert one["AttributeName"] == "max-instances"
    fails("InvalidParameterValue", ec2.describe_account_attributes, AttributeNames=["colour"])


# --- images


@pytest.mark.parametrize("owner, name, architecture", [
    (AMAZON, "al2023-ami-2023.*-x86_64", "x86_64"), (AMAZON, "al2023-ami-2023.*-arm64", "arm64"), (AMAZON, "amzn2-ami-hvm-*-x86_64-gp2", "x86_64"),
    (CANONICAL, "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*", "x86_64"),
    (CANONICAL, "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-*", "x86_64"),
    (CANONICAL, "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-*", "arm64"),
    (DEBIAN, "debian-12-amd64-*", "x86_64"), (DEBIAN, "debian-12-arm64-*", "arm64"),
])
def test_the_filters_of_guides_find_their_images(ec2, owner, name, architecture):
    images = ec2.describe_images(Owners=[owner], Filters=[
        {"Name": "name", "Values": [name]}, {"Name": "state", "Values": ["available"]}, {"Name": "virtualization-type", "Values": ["hvm"]},
        {"Name": "root-device-type", "Values": ["ebs"]}, {"Name": "architecture", "Values": [architecture]}])["Images"]
    assert images
    for image in images:
        assert image["Architecture"] == architecture and image["State"] == "available" and image["Public"] is True
        assert image["ImageType"] == "machine" and image["Hypervisor"] == "xen" and image["RootDeviceType"] == "ebs"
        root = [m for m in image["BlockDeviceMappings"] if m["DeviceName"] == image["RootDeviceName"]]
        assert len(root) == 1 and root[0]["Ebs"]["SnapshotId"].startswith("snap-") and root[0]["Ebs"]["VolumeSize"] >= 2
        assert image["CreationDate"].endswith(".000Z") and image["ImageLocation"].endswith("/" + image["Name"])


def test_image_ids_are_a_regions_own(ec2, server, fresh_account, fails):
    here = names(ec2.describe_images(Owners=[DEBIAN]), "Images", "ImageId")
    other = server.client("ec2", region="eu-west-1", account=fresh_account)
    there = names(other.describe_images(Owners=[DEBIAN]), "Images", "ImageId")
    assert len(here) == len(there) and not set(here) & set(there)
    fails("InvalidAMIID.NotFound", other.describe_images, ImageIds=here[:1])


def test_an_account_has_no_images_of_its_own(ec2):
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    assert ec2.describe_images(ExecutableUsers=["self"])["Images"] == []


def test_images_by_id(ec2, image, fails):
    assert names(ec2.describe_images(ImageIds=[image]), "Images", "ImageId") == [image]
    fails("InvalidAMIID.NotFound", ec2.describe_images, ImageIds=[image, "ami-00000000000000000"])
    fails("InvalidAMIID.Malformed", ec2.describe_images, ImageIds=["ami-x"])
    fails("InvalidAMIID.Malformed", ec2.describe_images, ImageIds=["nonsense"])


@pytest.mark.parametrize("name, values", [("description", ["*"]), ("is-public", ["true"]), ("owner-alias", ["amazon"]), ("root-device-name", ["/dev/xvda"]),
                                          ("image-type", ["machine"]), ("hypervisor", ["xen"]), ("ena-support", ["true"])])
def test_other_filters_of_images(ec2, name, values):
    assert ec2.describe_images(Owners=[AMAZON], Filters=[{"Name": name, "Values": values}])["Images"]


def test_an_unknown_filter_of_images_is_refused(ec2, fails):
    assert "colour" in fails("InvalidParameterValue", ec2.describe_images, Filters=[{"Name": "colour", "Values": ["red"]}])


def test_pages_of_images(ec2):
    every = names(ec2.describe_images(), "Images", "ImageId")
    pages = list(ec2.get_paginator("describe_images").paginate(PaginationConfig={"PageSize": 7}))
    assert all(len(page["Images"]) == 7 for page in pages[:-1])
    assert [i["ImageId"] for page in pages for i in page["Images"]] == every


def test_an_image_by_the_parameter_that_guides_resolve(launch, ec2):
    [instance] = launch(ImageId="resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64")
    [image] = ec2.describe_images(ImageIds=[instance["ImageId"]])["Images"]
    assert image["Name"].startswith("al2023-ami-2023.")


# --- instance types


def test_what_t3_micro_is(ec2):
    [t3] = ec2.describe_instance_types(InstanceTypes=["t3.micro"])["InstanceTypes"]
    assert t3["VCpuInfo"] == {"DefaultVCpus": 2, "DefaultCores": 1, "DefaultThreadsPerCore": 2, "ValidCores": [1], "ValidThreadsPerCore": [1, 2]}
    assert t3["MemoryInfo"]["SizeInMiB"] == 1024
    assert t3["ProcessorInfo"]["SupportedArchitectures"] == ["x86_64"] and t3["ProcessorInfo"]["SustainedClockSpeedInGhz"] == 2.5
    assert t3["CurrentGeneration"] and t3["FreeTierEligible"] and t3["BurstablePerformanceSupported"]
    assert t3["Hypervisor"] == "nitro" and t3["BareMetal"] is False and t3["InstanceStorageSupported"] is False
    network = t3["NetworkInfo"]
    assert (network["MaximumNetworkInterfaces"], network["Ipv4AddressesPerInterface"]) == (2, 2)
    assert network["EnaSupport"] == "required" and network["NetworkPerformance"] == "Up to 5 Gigabit"
    assert t3["EbsInfo"]["EbsOptimizedSupport"] == "default" and t3["SupportedVirtualizationTypes"] == ["hvm"]


@pytest.mark.parametrize("name, values, some, never", [
    ("instance-type", ["t3.*"], "t3.micro", "m5.large"), ("bare-metal", ["true"], "m5.metal", "t3.micro"),
    ("burstable-performance-supported", ["true"], "t3.micro", "m5.large"), ("current-generation", ["false"], "m1.small", "t3.micro"),
    ("free-tier-eligible", ["true"], "t3.micro", "m5.large"), ("hypervisor", ["xen"], "t2.micro", "t3.micro"),
    ("memory-info.size-in-mib", ["1024"], "t3.micro", "t3.small"), ("vcpu-info.default-vcpus", ["4"], "t3.xlarge", "t3.micro"),
    ("processor-info.supported-architecture", ["arm64"], "t4g.micro", "t3.micro"), ("instance-storage-supported", ["true"], "m5d.large", "m5.large"),
    ("network-info.ena-support", ["required"], "t3.micro", "t2.micro"), ("ebs-info.ebs-optimized-support", ["default"], "t3.micro", "t2.micro"),
])
def test_filters_of_instance_types(ec2, name, values, some, never):
    pages = ec2.get_paginator("describe_instance_types").paginate(Filters=[{"Name": name, "Values": values}])
    found = {t["InstanceType"] for page in pages for t in page["InstanceTypes"]}
    assert some in found and never not in found


def test_instance_types_come_in_pages_of_100(ec2):
    first = ec2.describe_instance_types()
    assert len(first["InstanceTypes"]) == 100 and first["NextToken"]
    pages = list(ec2.get_paginator("describe_instance_types").paginate())
    every = [t["InstanceType"] for page in pages for t in page["InstanceTypes"]]
    assert len(every) == len(set(every)) > 500


def test_instance_types_that_are_refused(ec2, fails):
    message = fails("InvalidInstanceType", ec2.describe_instance_types, InstanceTypes=["t3.micro", "t9.huge"])
    assert "t9.huge" in message
    fails("InvalidParameterValue", ec2.describe_instance_types, Filters=[{"Name": "colour", "Values": ["red"]}])
    fails("InvalidPaginationToken", ec2.describe_instance_types, NextToken="nonsense")


def test_offerings_by_region_and_zone(ec2, fails):
    [here] = ec2.describe_instance_type_offerings(Filters=[{"Name": "instance-type", "Values": ["t3.micro"]}])["InstanceTypeOfferings"]
    assert here == {"InstanceType": "t3.micro", "LocationType": "region", "Location": "us-east-1"}
    zones = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["t3.micro"]}])
    assert set(names(zones, "InstanceTypeOfferings", "Location")) == {f"us-east-1{c}" for c in "abcdf"}
    ids = ec2.describe_instance_type_offerings(LocationType="availability-zone-id", Filters=[{"Name": "instance-type", "Values": ["t3.micro"]}])
    assert all(where.startswith("use1-az") for where in names(ids, "InstanceTypeOfferings", "Location"))
    only = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=[{"Name": "location", "Values": ["us-east-1e"]}])
    assert set(names(only, "InstanceTypeOfferings", "Location")) == {"us-east-1e"}
    fails("InvalidParameterValue", ec2.describe_instance_type_offerings, LocationType="planet")
