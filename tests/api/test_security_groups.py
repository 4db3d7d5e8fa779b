"""Security groups and their rules."""

import pytest

ANYWHERE = "0.0.0.0/0"


@pytest.fixture
def group(ec2):
    return ec2.create_security_group(GroupName="web", Description="of a test")["GroupId"]


def tcp(port, *ranges, **more):
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": r} for r in ranges]} | more


def shown(ec2, group):
    return ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]


def rules(ec2, group, egress=False):
    found = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    return [rule for rule in found if rule["IsEgress"] == egress]


def default_group(ec2):
    return ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]


# --- groups


def test_a_new_group_stands_in_the_default_vpc_and_lets_everything_out(ec2):
    made = ec2.create_security_group(GroupName="  web ", Description="what it is for", TagSpecifications=[
        {"ResourceType": "security-group", "Tags": [{"Key": "a", "Value": "b"}]}])
    group = shown(ec2, made["GroupId"])
    assert made["SecurityGroupArn"].endswith(f":security-group/{made['GroupId']}")
    assert made["Tags"] == group["Tags"] == [{"Key": "a", "Value": "b"}]
    assert group["GroupName"] == "web" and group["Description"] == "what it is for"
    assert group["VpcId"] == ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    assert group["IpPermissions"] == []
    [everything] = group["IpPermissionsEgress"]
    assert everything["IpProtocol"] == "-1" and everything["IpRanges"] == [{"CidrIp": ANYWHERE}]
    assert "FromPort" not in everything


def test_names_are_unique_in_a_vpc_whatever_their_case(ec2, group, fails):
    message = fails("InvalidGroup.Duplicate", ec2.create_security_group, GroupName="WEB", Description="d")
    assert message.startswith("The security group 'WEB' already exists for VPC 'vpc-")


@pytest.mark.parametrize("name", ["sg-web", "web~", "ä", "x" * 256, "default"])
def test_a_name_that_aws_refuses_is_refused(ec2, fails, name):
    fails("InvalidParameterValue", ec2.create_security_group, GroupName=name, Description="d")


@pytest.mark.parametrize("description", ["<web>", "ü", "x" * 256])
def test_a_description_that_aws_refuses_is_refused(ec2, fails, description):
    fails("InvalidParameterValue", ec2.create_security_group, GroupName="web", Description=description)


def test_names_and_descriptions_of_255_characters_are_taken(ec2):
    ec2.create_security_group(GroupName="x" * 255, Description="._-:/()#,@[]+=&;{}!$* " + "y" * 233)


def test_a_group_of_an_unknown_vpc_is_refused(ec2, fails):
    fails("InvalidVpcID.NotFound", ec2.create_security_group, GroupName="web", Description="d",
          VpcId="vpc-00000000000000000")


def test_a_dry_run_makes_nothing(ec2, fails):
    fails("DryRunOperation", ec2.create_security_group, GroupName="web", Description="d", DryRun=True)
    assert len(ec2.describe_security_groups()["SecurityGroups"]) == 1


def test_groups_of_the_default_vpc_are_found_by_name(ec2, group, fails):
    assert [g["GroupId"] for g in ec2.describe_security_groups(GroupNames=["web"])["SecurityGroups"]] == [group]
    message = fails("InvalidGroup.NotFound", ec2.describe_security_groups, GroupNames=["web", "other"])
    assert message.startswith("The security group 'other' does not exist")


def test_a_deleted_group_is_gone_with_its_rules(ec2, group, fails):
    rule = rules(ec2, group, egress=True)[0]["SecurityGroupRuleId"]
    assert ec2.delete_security_group(GroupName="web")["GroupId"] == group
    fails("InvalidGroup.NotFound", ec2.describe_security_groups, GroupIds=[group])
    fails("InvalidSecurityGroupRuleId.NotFound", ec2.describe_security_group_rules, SecurityGroupRuleIds=[rule])
    fails("InvalidGroup.NotFound", ec2.delete_security_group, GroupId=group)
    fails("MissingParameter", ec2.delete_security_group)


def test_the_default_group_stays(ec2, fails):
    group = default_group(ec2)["GroupId"]
    message = fails("CannotDelete", ec2.delete_security_group, GroupId=group)
    assert message == f'the specified group: "{group}" name: "default" cannot be deleted by a user'


@pytest.mark.needs("DescribeImages")
def test_a_group_that_an_interface_has_cannot_be_deleted(ec2, group, fails):
    images = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "name", "Values": ["al2023-ami-2023.*-x86_64"]}])
    ec2.run_instances(ImageId=images["Images"][0]["ImageId"], MinCount=1, MaxCount=1, InstanceType="t3.micro",
                      SecurityGroupIds=[group])
    message = fails("DependencyViolation", ec2.delete_security_group, GroupId=group)
    assert message == f"resource {group} has a dependent object"


def test_a_group_that_anothers_rule_names_cannot_be_deleted_until_the_rule_is_gone(ec2, group, fails):
    other = ec2.create_security_group(GroupName="db", Description="d")["GroupId"]
    permission = tcp(5432, UserIdGroupPairs=[{"GroupId": group}])
    for to in (group, other):
        ec2.authorize_security_group_ingress(GroupId=to, IpPermissions=[permission])
    fails("DependencyViolation", ec2.delete_security_group, GroupId=group)
    ec2.revoke_security_group_ingress(GroupId=other, IpPermissions=[permission])
    ec2.delete_security_group(GroupId=group)


# --- authorize


def test_an_authorized_permission_is_shown_folded_and_as_rules(ec2, group, fresh_account):
    made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
        tcp(22, "10.0.0.0/8", "192.168.0.0/16", Ipv6Ranges=[{"CidrIpv6": "2001:db8::1/32", "Description": "six"}]),
        {"IpProtocol": "17", "FromPort": 1, "ToPort": 2, "UserIdGroupPairs": [{"GroupName": "default"}]}],
        TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": [{"Key": "a", "Value": "b"}]}])
    assert made["Return"] and len(made["SecurityGroupRules"]) == 4
    assert all(rule["Tags"] == [{"Key": "a", "Value": "b"}] for rule in made["SecurityGroupRules"])
    assert made["SecurityGroupRules"] == rules(ec2, group)
    ssh, udp = shown(ec2, group)["IpPermissions"]
    assert ssh["IpRanges"] == [{"CidrIp": "10.0.0.0/8"}, {"CidrIp": "192.168.0.0/16"}]
    assert ssh["Ipv6Ranges"] == [{"CidrIpv6": "2001:db8::/32", "Description": "six"}]
    assert (udp["IpProtocol"], udp["FromPort"], udp["ToPort"]) == ("udp", 1, 2)
    assert udp["UserIdGroupPairs"] == [{"GroupId": default_group(ec2)["GroupId"], "UserId": fresh_account}]


def test_flat_members_mean_one_permission(ec2, group):
    ec2.authorize_security_group_ingress(GroupName="web", IpProtocol="TCP", FromPort=80, ToPort=81, CidrIp="10.1.2.3/8")
    ec2.authorize_security_group_ingress(GroupId=group, SourceSecurityGroupName="web")
    flat, source = rules(ec2, group)
    assert (flat["IpProtocol"], flat["FromPort"], flat["ToPort"], flat["CidrIpv4"]) == ("tcp", 80, 81, "10.0.0.0/8")
    assert (source["IpProtocol"], source["ReferencedGroupInfo"]["GroupId"]) == ("-1", group)


def test_flat_members_beside_permissions_are_refused(ec2, group, fails):
    fails("InvalidParameterCombination", ec2.authorize_security_group_ingress, GroupId=group, CidrIp=ANYWHERE,
          IpPermissions=[tcp(1, ANYWHERE)])
    fails("MissingParameter", ec2.authorize_security_group_ingress, GroupId=group)


@pytest.mark.parametrize("given,stored", [("6", "tcp"), ("UDP", "udp"), ("1", "icmp"), ("58", "icmpv6"), ("all", "-1"),
                                          ("-1", "-1"), ("50", "50")])
def test_protocols_are_shown_by_the_name_that_aws_gives_them(ec2, group, given, stored):
    [rule] = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
        {"IpProtocol": given, "FromPort": 3, "ToPort": 4, "IpRanges": [{"CidrIp": ANYWHERE}]}])["SecurityGroupRules"]
    assert rule["IpProtocol"] == stored
    assert (rule["FromPort"], rule["ToPort"]) == ((-1, -1) if stored in ("-1", "50") else (3, 4))


@pytest.mark.parametrize("code,text,permission", [
    ("InvalidParameterValue", "Unknown protocol", {"IpProtocol": "xyz"}),
    ("InvalidParameterValue", "Unknown protocol", {"IpProtocol": "256"}),
    ("MissingParameter", "ipProtocol", {}),
    ("InvalidParameterValue", "Must specify both from and to ports with TCP/UDP", {"IpProtocol": "tcp"}),
    ("InvalidPermission.Malformed", "TCP/UDP port (-1) out of range", {"IpProtocol": "tcp", "FromPort": 22}),
    ("InvalidPermission.Malformed", "TCP/UDP port (65536) out of range", {"IpProtocol": "udp", "FromPort": 1, "ToPort": 65536}),
    ("InvalidParameterValue", "Invalid TCP/UDP port range (9:8)", {"IpProtocol": "tcp", "FromPort": 9, "ToPort": 8}),
    ("InvalidParameterValue", "Must specify both from and to ports with ICMP", {"IpProtocol": "icmp"}),
    ("InvalidParameterValue", "ICMP code (256) out of range", {"IpProtocol": "icmp", "FromPort": 8, "ToPort": 256}),
    ("InvalidParameterValue", "ICMP type (256) out of range", {"IpProtocol": "icmp", "FromPort": 256, "ToPort": 0}),
    ("InvalidPermission.Malformed", "ICMP", {"IpProtocol": "icmp", "FromPort": -1, "ToPort": 0}),
    ("InvalidPermission.Malformed", "must name", tcp(22)),
    ("InvalidParameterValue", "CIDR block 10.0.0.0/33 is malformed", tcp(22, "10.0.0.0/33")),
    ("InvalidParameterValue", "CIDR block 10.0.0.1 is malformed", tcp(22, "10.0.0.1")),
    ("InvalidParameterValue", "CIDR block ::/129 is malformed", tcp(22, Ipv6Ranges=[{"CidrIpv6": "::/129"}])),
    ("InvalidPrefixListID.NotFound", "pl-1", tcp(22, PrefixListIds=[{"PrefixListId": "pl-1"}])),
    ("InvalidGroup.NotFound", "does not exist", tcp(22, UserIdGroupPairs=[{"GroupName": "nobody"}])),
    ("InvalidGroup.NotFound", "does not exist", tcp(22, UserIdGroupPairs=[{"GroupId": "sg-00000000", "UserId": "1"}])),
    ("InvalidGroupId.Malformed", "", tcp(22, UserIdGroupPairs=[{"GroupId": "nobody"}])),
    ("InvalidParameterValue", "Invalid rule description", tcp(22, IpRanges=[{"CidrIp": ANYWHERE, "Description": "<>"}])),
    ("InvalidParameterValue", "The same permission", tcp(22, "10.0.0.0/8", "10.0.0.1/8")),
])
def test_a_wrong_permission_changes_nothing(ec2, group, fails, code, text, permission):
    good = tcp(443, ANYWHERE)
    if permission.get("IpProtocol") in ("xyz", "256", "tcp", "udp", "icmp", None) and not any(
            k in permission for k in ("IpRanges", "Ipv6Ranges", "UserIdGroupPairs", "PrefixListIds")):
        permission = permission | {"IpRanges": [{"CidrIp": ANYWHERE}]}
    assert text in fails(code, ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[good, permission])
    assert rules(ec2, group) == []


@pytest.mark.parametrize("given, stored", [
    ("2001:db8:c000::/33", "2001:db8:8000::/33"), ("2001:db8:4000::/33", "2001:db8::/33"), ("::1/128", "::1/128"), ("::1/127", "::/127"), ("ffff::/0", "::/0"),
])
def test_of_an_ipv6_block_the_host_bits_are_cleared(ec2, group, given, stored):
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(22, Ipv6Ranges=[{"CidrIpv6": given}])])
    assert [rule["CidrIpv6"] for rule in rules(ec2, group)] == [stored]


@pytest.mark.parametrize("permission,text", [
    (tcp(22, ANYWHERE), "peer: 0.0.0.0/0, TCP, from port: 22, to port: 22, ALLOW"),
    ({"IpProtocol": "-1", "IpRanges": [{"CidrIp": ANYWHERE}]}, "peer: 0.0.0.0/0, ALL, ALLOW"),
    ({"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "IpRanges": [{"CidrIp": ANYWHERE}]},
     "peer: 0.0.0.0/0, ICMP, type: 8, code: ALL, ALLOW"),
])
def test_a_rule_that_is_there_is_a_duplicate(ec2, group, fails, permission, text):
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    message = fails("InvalidPermission.Duplicate", ec2.authorize_security_group_ingress, GroupId=group,
                    IpPermissions=[tcp(1, ANYWHERE), permission])
    assert message == f'the specified rule "{text}" already exists'
    assert len(rules(ec2, group)) == 1


def test_egress_is_apart_from_ingress(ec2, group, fails):
    permission = tcp(22, ANYWHERE)
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    [rule] = ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[permission])["SecurityGroupRules"]
    assert rule["IsEgress"]
    fails("InvalidPermission.Duplicate", ec2.authorize_security_group_egress, GroupId=group, IpPermissions=[
        {"IpProtocol": "-1", "IpRanges": [{"CidrIp": ANYWHERE}]}])


def test_a_group_has_60_rules_a_direction_and_family(ec2, group, fails):
    sixty = [tcp(port, ANYWHERE, Ipv6Ranges=[{"CidrIpv6": "::/0"}]) for port in range(60)]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=sixty)
    for more in (tcp(60, ANYWHERE), tcp(60, Ipv6Ranges=[{"CidrIpv6": "::/0"}])):
        fails("RulesPerSecurityGroupLimitExceeded", ec2.authorize_security_group_ingress, GroupId=group,
              IpPermissions=[more])
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[tcp(60, ANYWHERE)])


# --- revoke


def test_a_permission_is_revoked_whatever_its_description(ec2, group):
    described = tcp(22, IpRanges=[{"CidrIp": "10.0.0.0/8", "Description": "ours"}])
    made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[described])["SecurityGroupRules"][0]
    answer = ec2.revoke_security_group_ingress(GroupId=group, IpProtocol="6", FromPort=22, ToPort=22, CidrIp="10.0.0.0/8")
    assert answer["Return"] and answer.get("UnknownIpPermissions", []) == []
    assert answer["RevokedSecurityGroupRules"] == [
        {"SecurityGroupRuleId": made["SecurityGroupRuleId"], "GroupId": group, "IsEgress": False, "IpProtocol": "tcp",
         "FromPort": 22, "ToPort": 22, "CidrIpv4": "10.0.0.0/8", "Description": "ours"}]
    assert shown(ec2, group)["IpPermissions"] == []


def test_rules_are_revoked_by_id_in_their_own_direction(ec2, group, fails):
    [out] = [rule["SecurityGroupRuleId"] for rule in rules(ec2, group, egress=True)]
    fails("InvalidSecurityGroupRuleId.NotFound", ec2.revoke_security_group_ingress, GroupId=group, SecurityGroupRuleIds=[out])
    fails("InvalidSecurityGroupRuleId.Malformed", ec2.revoke_security_group_egress, GroupId=group, SecurityGroupRuleIds=["x"])
    fails("InvalidParameterCombination", ec2.revoke_security_group_egress, GroupId=group, SecurityGroupRuleIds=[out],
          IpPermissions=[tcp(22, ANYWHERE)])
    ec2.revoke_security_group_egress(GroupId=group, SecurityGroupRuleIds=[out, out])
    assert shown(ec2, group)["IpPermissionsEgress"] == []


def test_in_the_default_vpc_permissions_that_are_not_there_are_told(ec2, group):
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(22, ANYWHERE)])
    answer = ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[tcp(22, ANYWHERE), tcp(23, ANYWHERE)])
    assert len(answer["RevokedSecurityGroupRules"]) == 1
    [unknown] = answer["UnknownIpPermissions"]
    assert unknown["FromPort"] == 23 and unknown["IpRanges"] == [{"CidrIp": ANYWHERE}]


@pytest.mark.needs("CreateVpc")
def test_elsewhere_a_permission_that_is_not_there_is_an_error(ec2, fails):
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="web", Description="d", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(22, ANYWHERE)])
    fails("InvalidPermission.NotFound", ec2.revoke_security_group_ingress, GroupId=group,
          IpPermissions=[tcp(22, ANYWHERE), tcp(23, ANYWHERE)])
    assert len(rules(ec2, group)) == 1
    fails("InvalidGroup.NotFound", ec2.authorize_security_group_ingress, GroupId=group,
          IpPermissions=[tcp(22, UserIdGroupPairs=[{"GroupId": default_group(ec2)["GroupId"]}])])


# --- modify


def test_a_rule_is_modified_in_place(ec2, group):
    made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(22, ANYWHERE)])["SecurityGroupRules"][0]
    id = made["SecurityGroupRuleId"]
    ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[{"SecurityGroupRuleId": id, "SecurityGroupRule": {
        "IpProtocol": "17", "FromPort": 53, "ToPort": 53, "CidrIpv4": "10.9.9.9/8", "Description": "names"}}])
    assert rules(ec2, group) == [made | {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "CidrIpv4": "10.0.0.0/8",
                                         "Description": "names"}]


def test_two_rules_may_change_places_but_not_become_the_same(ec2, group, fails):
    made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(1, ANYWHERE), tcp(2, ANYWHERE)])
    one, two = [rule["SecurityGroupRuleId"] for rule in made["SecurityGroupRules"]]

    def to(id, port):
        return {"SecurityGroupRuleId": id, "SecurityGroupRule": {"IpProtocol": "tcp", "FromPort": port, "ToPort": port,
                                                                 "CidrIpv4": ANYWHERE}}
    ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[to(one, 2), to(two, 1)])
    assert [rule["FromPort"] for rule in rules(ec2, group)] == [2, 1]
    fails("InvalidPermission.Duplicate", ec2.modify_security_group_rules, GroupId=group, SecurityGroupRules=[to(one, 1)])
    fails("InvalidParameterValue", ec2.modify_security_group_rules, GroupId=group,
          SecurityGroupRules=[to(one, 5), to(one, 6)])
    fails("InvalidSecurityGroupRuleId.NotFound", ec2.modify_security_group_rules,
          GroupId=default_group(ec2)["GroupId"], SecurityGroupRules=[to(one, 5)])


def test_modified_rules_keep_to_the_limit_of_their_family(ec2, group, fails):
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(port, ANYWHERE) for port in range(60)])
    made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(60, Ipv6Ranges=[{"CidrIpv6": "::/0"}])])
    fails("RulesPerSecurityGroupLimitExceeded", ec2.modify_security_group_rules, GroupId=group, SecurityGroupRules=[
        {"SecurityGroupRuleId": made["SecurityGroupRules"][0]["SecurityGroupRuleId"],
         "SecurityGroupRule": {"IpProtocol": "tcp", "FromPort": 60, "ToPort": 60, "CidrIpv4": ANYWHERE}}])


def test_descriptions_are_updated_and_removed(ec2, group, fails):
    permission = tcp(22, IpRanges=[{"CidrIp": ANYWHERE, "Description": "new"}])
    fails("InvalidPermission.NotFound", ec2.update_security_group_rule_descriptions_ingress, GroupId=group,
          IpPermissions=[permission])
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(22, ANYWHERE)])
    ec2.update_security_group_rule_descriptions_ingress(GroupName="web", IpPermissions=[permission])
    [rule] = rules(ec2, group)
    assert rule["Description"] == "new"
    ec2.update_security_group_rule_descriptions_ingress(GroupId=group, SecurityGroupRuleDescriptions=[
        {"SecurityGroupRuleId": rule["SecurityGroupRuleId"]}])
    assert "Description" not in rules(ec2, group)[0]


def test_descriptions_of_egress_are_updated_by_id(ec2, group, fails):
    [rule] = [rule["SecurityGroupRuleId"] for rule in rules(ec2, group, egress=True)]
    described = [{"SecurityGroupRuleId": rule, "Description": "out"}]
    ec2.update_security_group_rule_descriptions_egress(GroupId=group, SecurityGroupRuleDescriptions=described)
    assert rules(ec2, group, egress=True)[0]["Description"] == "out"
    fails("InvalidSecurityGroupRuleId.NotFound", ec2.update_security_group_rule_descriptions_ingress, GroupId=group,
          SecurityGroupRuleDescriptions=described)


def test_groups_are_filtered_by_what_their_permissions_say(ec2, group):
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
        tcp(22, "10.0.0.0/8", UserIdGroupPairs=[{"GroupId": group}])])
    for name, value in (("ip-permission.cidr", "10.0.0.0/8"), ("ip-permission.from-port", "22"),
                        ("ip-permission.protocol", "tcp"), ("ip-permission.group-name", "web")):
        found = ec2.describe_security_groups(Filters=[{"Name": name, "Values": [value]}])["SecurityGroups"]
        assert [g["GroupId"] for g in found] == [group], name
