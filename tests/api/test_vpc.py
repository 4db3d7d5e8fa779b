"""VPCs, subnets, gateways, route tables and Elastic IPs, as records: what they answer and what they refuse."""

import pytest

NOBODY = "00000000000000000"
ANYWHERE = "0.0.0.0/0"


@pytest.fixture
def vpc(ec2):
    return ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]


@pytest.fixture
def subnet(ec2, vpc):
    return ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone="us-east-1a")["Subnet"]["SubnetId"]


@pytest.fixture
def gateway(ec2, vpc):
    made = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=made, VpcId=vpc)
    return made


@pytest.fixture
def table(ec2, vpc):
    return ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]


def main_table(ec2, vpc):
    return ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}])["RouteTables"][0]


def routes(ec2, table):
    return {r["DestinationCidrBlock"]: r for r in ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]}


# --- VPCs


def test_a_new_vpc_has_its_parts(ec2, fresh_account):
    made = ec2.create_vpc(CidrBlock="10.1.2.3/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": [{"Key": "a", "Value": "b"}]}])["Vpc"]
    assert made["CidrBlock"] == "10.1.0.0/16", "host bits are cleared"
    assert made["State"] == "pending" and made["IsDefault"] is False and made["InstanceTenancy"] == "default" and made["OwnerId"] == fresh_account
    [found] = ec2.describe_vpcs(VpcIds=[made["VpcId"]])["Vpcs"]
    assert found["State"] == "available" and found["Tags"] == [{"Key": "a", "Value": "b"}]
    assert found["CidrBlockAssociationSet"][0]["CidrBlockState"] == {"State": "associated"}
    of_it = [{"Name": "vpc-id", "Values": [made["VpcId"]]}]
    [group] = ec2.describe_security_groups(Filters=of_it)["SecurityGroups"]
    assert group["GroupName"] == "default"
    [acl] = ec2.describe_network_acls(Filters=of_it)["NetworkAcls"]
    assert acl["IsDefault"] and len(acl["Entries"]) == 4
    table = main_table(ec2, made["VpcId"])
    assert list(routes(ec2, table["RouteTableId"])) == ["10.1.0.0/16"] and table["Associations"][0]["Main"] is True
    assert ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [made["VpcId"]]}])["InternetGateways"] == []


@pytest.mark.parametrize("cidr", ["0.0.0.0/16", "0.1.0.0/28", "127.0.0.0/16", "127.255.255.240/28", "169.254.0.0/16", "169.254.169.240/28", "224.0.0.0/16",
                                  "239.255.0.0/16", "240.0.0.0/16", "255.255.255.240/28"])
def test_addresses_that_no_machine_can_have_are_no_vpc(ec2, fails, cidr):
    before = ec2.describe_vpcs()["Vpcs"]
    assert cidr in fails("InvalidVpc.Range", ec2.create_vpc, CidrBlock=cidr)
    assert ec2.describe_vpcs()["Vpcs"] == before


@pytest.mark.parametrize("cidr", ["1.0.0.0/16", "100.64.0.0/16", "126.255.0.0/16", "128.0.0.0/16", "169.253.0.0/16", "169.255.0.0/16", "223.255.255.240/28"])
def test_any_other_block_may_be_a_vpc(ec2, cidr):
    assert ec2.create_vpc(CidrBlock=cidr)["Vpc"]["CidrBlock"] == cidr


@pytest.mark.parametrize("code, cidr", [("InvalidVpc.Range", "10.0.0.0/15"), ("InvalidVpc.Range", "10.0.0.0/29"), ("InvalidParameterValue", "10.0.0.0"),
                                        ("InvalidParameterValue", "10.0.0.256/16"), ("InvalidParameterValue", "nonsense")])
def test_ranges_that_are_refused(ec2, fails, code, cidr):
    fails(code, ec2.create_vpc, CidrBlock=cidr)


def test_vpcs_that_are_refused(ec2, fails):
    fails("MissingParameter", ec2.create_vpc)
    fails("InvalidParameterValue", ec2.create_vpc, CidrBlock="10.0.0.0/16", InstanceTenancy="host")


def test_attributes_of_a_vpc(ec2, vpc, fails):
    ask = lambda name, member: ec2.describe_vpc_attribute(VpcId=vpc, Attribute=name)[member]["Value"]
    assert ask("enableDnsSupport", "EnableDnsSupport") is True and ask("enableDnsHostnames", "EnableDnsHostnames") is False
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    assert ask("enableDnsHostnames", "EnableDnsHostnames") is True
    fails("InvalidParameterCombination", ec2.modify_vpc_attribute, VpcId=vpc, EnableDnsHostnames={"Value": True}, EnableDnsSupport={"Value": True})
    fails("MissingParameter", ec2.modify_vpc_attribute, VpcId=vpc)
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": False})
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": False})
    fails("InvalidParameterValue", ec2.modify_vpc_attribute, VpcId=vpc, EnableDnsHostnames={"Value": True})
    fails("InvalidVpcID.NotFound", ec2.describe_vpc_attribute, VpcId="vpc-" + NOBODY, Attribute="enableDnsSupport")


def test_a_vpc_goes_with_what_came_with_it_and_not_before_the_rest(ec2, vpc, subnet, gateway, fails):
    fails("DependencyViolation", ec2.delete_vpc, VpcId=vpc)
    ec2.delete_subnet(SubnetId=subnet)
    fails("DependencyViolation", ec2.delete_vpc, VpcId=vpc)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    group = ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    fails("DependencyViolation", ec2.delete_vpc, VpcId=vpc)
    ec2.delete_security_group(GroupId=group)
    ec2.delete_vpc(VpcId=vpc)
    fails("InvalidVpcID.NotFound", ec2.describe_vpcs, VpcIds=[vpc])
    fails("InvalidVpcID.NotFound", ec2.delete_vpc, VpcId=vpc)
    assert ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"] == []


# --- subnets


def test_a_new_subnet(ec2, vpc):
    made = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.5.7/24", AvailabilityZone="us-east-1b")["Subnet"]
    assert made["CidrBlock"] == "10.0.5.0/24" and made["AvailableIpAddressCount"] == 251 and made["State"] == "available"
    assert made["MapPublicIpOnLaunch"] is False and made["DefaultForAz"] is False and made["AssignIpv6AddressOnCreation"] is False
    assert made["SubnetArn"].endswith(":subnet/" + made["SubnetId"])
    acl = ec2.describe_network_acls(Filters=[{"Name": "association.subnet-id", "Values": [made["SubnetId"]]}])["NetworkAcls"]
    assert len(acl) == 1 and acl[0]["IsDefault"]


@pytest.mark.parametrize("code, members", [
    ("InvalidSubnet.Range", {"CidrBlock": "10.1.0.0/24"}), ("InvalidSubnet.Range", {"CidrBlock": "10.0.0.0/15"}), ("InvalidSubnet.Range", {"CidrBlock": "10.0.0.0/29"}),
    ("InvalidSubnet.Conflict", {"CidrBlock": "10.0.1.128/25"}), ("InvalidSubnet.Conflict", {"CidrBlock": "10.0.0.0/16"}),
    ("InvalidParameterValue", {"CidrBlock": "x"}), ("InvalidVpcID.NotFound", {"CidrBlock": "10.0.2.0/24", "VpcId": "vpc-" + NOBODY}),
    ("InvalidParameterValue", {"CidrBlock": "10.0.2.0/24", "AvailabilityZone": "eu-west-1a"}), ("MissingParameter", {}),
])
def test_subnets_that_are_refused(ec2, vpc, subnet, fails, code, members):
    fails(code, ec2.create_subnet, **{"VpcId": vpc} | members)


def test_a_subnet_gives_public_addresses_where_it_says_so(ec2, launch, subnet, gateway):
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    assert ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["MapPublicIpOnLaunch"] is True


def test_a_subnet_changes_one_attribute_a_call(ec2, subnet, fails):
    fails("MissingParameter", ec2.modify_subnet_attribute, SubnetId=subnet)
    fails("InvalidParameterCombination", ec2.modify_subnet_attribute, SubnetId=subnet, MapPublicIpOnLaunch={"Value": True}, EnableResourceNameDnsARecordOnLaunch={"Value": True})


def test_a_subnet_with_an_instance_stays(ec2, launch, subnet, fails):
    ident = launch(SubnetId=subnet)[0]["InstanceId"]
    assert ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"] == 250
    fails("DependencyViolation", ec2.delete_subnet, SubnetId=subnet)
    ec2.terminate_instances(InstanceIds=[ident])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[ident])
    ec2.delete_subnet(SubnetId=subnet)
    fails("InvalidSubnetID.NotFound", ec2.describe_subnets, SubnetIds=[subnet])


# --- internet gateways


def test_a_gateway_is_attached_once(ec2, vpc, gateway, fails):
    [found] = ec2.describe_internet_gateways(InternetGatewayIds=[gateway])["InternetGateways"]
    assert found["Attachments"] == [{"State": "available", "VpcId": vpc}]
    fails("Resource.AlreadyAssociated", ec2.attach_internet_gateway, InternetGatewayId=gateway, VpcId=vpc)
    other = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    fails("InvalidParameterValue", ec2.attach_internet_gateway, InternetGatewayId=other, VpcId=vpc)
    fails("Gateway.NotAttached", ec2.detach_internet_gateway, InternetGatewayId=other, VpcId=vpc)
    fails("DependencyViolation", ec2.delete_internet_gateway, InternetGatewayId=gateway)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    fails("InvalidInternetGatewayID.NotFound", ec2.delete_internet_gateway, InternetGatewayId=gateway)
    fails("InvalidVpcID.NotFound", ec2.attach_internet_gateway, InternetGatewayId=other, VpcId="vpc-" + NOBODY)


# --- route tables


def test_routes(ec2, vpc, gateway, table, fails):
    assert routes(ec2, table)["10.0.0.0/16"] == {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "Origin": "CreateRouteTable", "State": "active"}
    assert ec2.create_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, GatewayId=gateway)["Return"] is True
    assert routes(ec2, table)[ANYWHERE] == {"DestinationCidrBlock": ANYWHERE, "GatewayId": gateway, "Origin": "CreateRoute", "State": "active"}
    fails("RouteAlreadyExists", ec2.create_route, RouteTableId=table, DestinationCidrBlock="10.0.0.0/16", GatewayId=gateway)
    fails("InvalidParameterValue", ec2.create_route, RouteTableId=table, DestinationCidrBlock="10.0.1.0/24", GatewayId=gateway)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    assert routes(ec2, table)[ANYWHERE]["State"] == "blackhole"
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    assert routes(ec2, table)[ANYWHERE]["State"] == "active"
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    assert ANYWHERE not in routes(ec2, table)
    fails("InvalidRoute.NotFound", ec2.delete_route, RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    fails("InvalidParameterValue", ec2.delete_route, RouteTableId=table, DestinationCidrBlock="10.0.0.0/16")


@pytest.mark.parametrize("code, members", [
    ("InvalidInternetGatewayID.NotFound", {"GatewayId": "igw-" + NOBODY}), ("MissingParameter", {}), ("InvalidParameterValue", {"DestinationCidrBlock": "x"}),
    ("InvalidRouteTableID.NotFound", {"RouteTableId": "rtb-" + NOBODY}), ("InvalidNatGatewayID.NotFound", {"NatGatewayId": "nat-" + NOBODY}),
    ("InvalidVpcPeeringConnectionID.NotFound", {"VpcPeeringConnectionId": "pcx-" + NOBODY}), ("InvalidTransitGatewayID.NotFound", {"TransitGatewayId": "tgw-" + NOBODY}),
])
def test_routes_that_are_refused(ec2, table, fails, code, members):
    fails(code, ec2.create_route, **{"RouteTableId": table, "DestinationCidrBlock": "192.168.0.0/16"} | members)


def test_a_gateway_of_another_vpc_is_no_target(ec2, table, fails):
    other = ec2.describe_internet_gateways()["InternetGateways"][0]["InternetGatewayId"]
    fails("InvalidParameterValue", ec2.create_route, RouteTableId=table, DestinationCidrBlock=ANYWHERE, GatewayId=other)


def test_a_route_is_replaced(ec2, table, gateway, fails):
    fails("InvalidParameterValue", ec2.replace_route, RouteTableId=table, DestinationCidrBlock=ANYWHERE, GatewayId=gateway)
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="192.168.0.0/16", GatewayId=gateway)
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock="192.168.0.0/16", GatewayId=gateway)


def test_a_route_that_leads_nowhere_is_replaced_by_one_that_leads_on(ec2, vpc, table, gateway):
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, GatewayId=gateway)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    other = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=other, VpcId=vpc)
    assert routes(ec2, table)[ANYWHERE]["State"] == "blackhole"
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, GatewayId=other)
    assert routes(ec2, table)[ANYWHERE] == {"DestinationCidrBlock": ANYWHERE, "GatewayId": other, "Origin": "CreateRoute", "State": "active"}


def test_subnets_are_found_by_the_other_names_of_their_filters(ec2):
    found = lambda name, value: ec2.describe_subnets(Filters=[{"Name": name, "Values": [value]}])["Subnets"]
    [one] = found("availabilityZone", "us-east-1b")
    assert found("cidrBlock", one["CidrBlock"]) == found("availabilityZoneId", one["AvailabilityZoneId"]) == [one]
    assert one in found("defaultForAz", "true") and not found("defaultForAz", "false")


def test_associations(ec2, vpc, subnet, table, fails):
    association = ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    assert association["AssociationState"] == {"State": "associated"}
    fails("Resource.AlreadyAssociated", ec2.associate_route_table, RouteTableId=table, SubnetId=subnet)
    fails("DependencyViolation", ec2.delete_route_table, RouteTableId=table)
    other = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    moved = ec2.replace_route_table_association(AssociationId=association["AssociationId"], RouteTableId=other)["NewAssociationId"]
    fails("InvalidAssociationID.NotFound", ec2.disassociate_route_table, AssociationId=association["AssociationId"])
    ec2.disassociate_route_table(AssociationId=moved)
    ec2.delete_route_table(RouteTableId=table)
    fails("InvalidRouteTableID.NotFound", ec2.describe_route_tables, RouteTableIds=[table])
    main = main_table(ec2, vpc)
    fails("InvalidParameterValue", ec2.disassociate_route_table, AssociationId=main["Associations"][0]["RouteTableAssociationId"])
    fails("DependencyViolation", ec2.delete_route_table, RouteTableId=main["RouteTableId"])
    ec2.replace_route_table_association(AssociationId=main["Associations"][0]["RouteTableAssociationId"], RouteTableId=other)
    assert main_table(ec2, vpc)["RouteTableId"] == other


# --- Elastic IPs (a server without machines has no pool of its own host's: what it says then is no secret)


def test_a_pool_that_is_not_there_is_named(ec2, fails):
    try:
        made = ec2.allocate_address(Domain="vpc")
    except ec2.exceptions.ClientError as e:
        assert e.response["Error"]["Code"] == "InsufficientAddressCapacity"
    else:
        assert made["Domain"] == "vpc" and made["AllocationId"].startswith("eipalloc-")


@pytest.fixture
def address(ec2):
    try:
        return ec2.allocate_address(Domain="vpc")
    except ec2.exceptions.ClientError:
        pytest.skip("public addresses: this server has no pool")


def test_an_address_is_associated_and_moves(ec2, launch, address, fails):
    one, two = launch(2)
    where = {"AllocationId": address["AllocationId"]}
    first = ec2.associate_address(InstanceId=one["InstanceId"], **where)["AssociationId"]
    [found] = ec2.describe_addresses(AllocationIds=[address["AllocationId"]])["Addresses"]
    assert found["InstanceId"] == one["InstanceId"] and found["AssociationId"] == first and found["PrivateIpAddress"] == one["PrivateIpAddress"]
    fails("Resource.AlreadyAssociated", ec2.associate_address, InstanceId=two["InstanceId"], AllowReassociation=False, **where)
    second = ec2.associate_address(InstanceId=two["InstanceId"], **where)["AssociationId"]
    assert second != first
    ec2.disassociate_address(AssociationId=second)
    fails("InvalidAssociationID.NotFound", ec2.disassociate_address, AssociationId=second)
    ec2.release_address(**where)
    fails("InvalidAllocationID.NotFound", ec2.release_address, **where)


def test_addresses_that_are_refused(ec2, launch, address, subnet, fails):
    fails("MissingParameter", ec2.associate_address, AllocationId=address["AllocationId"])
    fails("InvalidInstanceID.NotFound", ec2.associate_address, AllocationId=address["AllocationId"], InstanceId="i-" + NOBODY)
    fails("InvalidAddress.NotFound", ec2.describe_addresses, PublicIps=["192.0.2.77"])
    ident = launch(SubnetId=subnet)[0]["InstanceId"]
    fails("Gateway.NotAttached", ec2.associate_address, AllocationId=address["AllocationId"], InstanceId=ident)


def public_ip(ec2, ident):
    return ec2.describe_instances(InstanceIds=[ident])["Reservations"][0]["Instances"][0].get("PublicIpAddress")


def test_who_gives_an_elastic_ip_away_receives_a_new_public_address(ec2, launch, address):
    one, two = (i["InstanceId"] for i in launch(2))
    given = public_ip(ec2, one)
    ec2.associate_address(InstanceId=one, AllocationId=address["AllocationId"])
    assert public_ip(ec2, one) == address["PublicIp"]
    ec2.associate_address(InstanceId=two, AllocationId=address["AllocationId"])
    assert public_ip(ec2, one) not in (None, given, address["PublicIp"]), "it moved on"
    ec2.disassociate_address(PublicIp=address["PublicIp"])
    assert public_ip(ec2, two) not in (None, address["PublicIp"])


def test_who_was_given_no_public_address_has_none_after_an_elastic_ip(ec2, launch, address):
    [made] = launch(NetworkInterfaces=[{"DeviceIndex": 0, "AssociatePublicIpAddress": False}])
    ec2.associate_address(InstanceId=made["InstanceId"], AllocationId=address["AllocationId"])
    ec2.disassociate_address(PublicIp=address["PublicIp"])
    assert public_ip(ec2, made["InstanceId"]) is None


def test_attributes_of_addresses(ec2, address, fails):
    asked = ec2.describe_addresses_attribute(AllocationIds=[address["AllocationId"]], Attribute="domain-name")["Addresses"]
    assert asked == [{"PublicIp": address["PublicIp"], "AllocationId": address["AllocationId"]}], "no name in reverse DNS"
    fails("InvalidAllocationID.NotFound", ec2.describe_addresses_attribute, AllocationIds=["eipalloc-" + NOBODY])


def test_an_address_in_use_is_released_in_a_default_vpc_only(ec2, launch, subnet, gateway, address, fails):
    [mine], [default] = launch(SubnetId=subnet), launch()
    where = {"AllocationId": address["AllocationId"]}
    ec2.associate_address(InstanceId=mine["InstanceId"], **where)
    fails("InvalidIPAddress.InUse", ec2.release_address, **where)
    ec2.associate_address(InstanceId=default["InstanceId"], **where)
    ec2.release_address(**where)
    assert public_ip(ec2, default["InstanceId"]) not in (None, address["PublicIp"])
    assert not ec2.describe_addresses()["Addresses"]


def test_public_names_follow_what_the_vpc_says(ec2, launch, vpc, subnet, gateway, address):
    [made] = launch(SubnetId=subnet)
    ec2.associate_address(InstanceId=made["InstanceId"], AllocationId=address["AllocationId"])
    name = lambda: ec2.describe_instances(InstanceIds=[made["InstanceId"]])["Reservations"][0]["Instances"][0]["PublicDnsName"]
    assert name() == ""
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    assert name() == f"ec2-{address['PublicIp'].replace('.', '-')}.compute-1.amazonaws.com"
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": False})
    assert name() == ""


def test_a_gateway_stays_while_a_secondary_address_is_public(ec2, launch, vpc, subnet, gateway, address, fails):
    [made] = launch(NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet, "SecondaryPrivateIpAddressCount": 1}])
    second = made["NetworkInterfaces"][0]["PrivateIpAddresses"][1]["PrivateIpAddress"]
    found = ec2.associate_address(InstanceId=made["InstanceId"], AllocationId=address["AllocationId"], PrivateIpAddress=second)
    fails("DependencyViolation", ec2.detach_internet_gateway, InternetGatewayId=gateway, VpcId=vpc)
    ec2.disassociate_address(AssociationId=found["AssociationId"])
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
