"""CreateTags, DeleteTags, DescribeTags over every tagged kind."""

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def vpc(ec2):
    return ec2.describe_vpcs()["Vpcs"][0]["VpcId"]


@pytest.fixture
def subnets(ec2):
    return [s["SubnetId"] for s in ec2.describe_subnets()["Subnets"]]


def tag(key, value=""):
    return {"Key": key, "Value": value}


def tags_of(ec2, resource):
    found = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [resource]}])["Tags"]
    return {t["Key"]: t["Value"] for t in found}


def refused(call, **arguments):
    with pytest.raises(ClientError) as e:
        call(**arguments)
    return e.value.response["Error"]["Code"], e.value.response["Error"]["Message"]


def test_one_call_tags_resources_of_several_kinds(ec2, vpc, subnets):
    ec2.create_tags(Resources=[vpc, subnets[0], vpc], Tags=[tag("Name", "a"), tag("Stage", "")])
    assert ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["Tags"] == [tag("Name", "a"), tag("Stage")]
    assert ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["Tags"] == [tag("Name", "a"), tag("Stage")]
    found = ec2.describe_tags()["Tags"]
    assert {(t["ResourceType"], t["ResourceId"]) for t in found} == {("vpc", vpc), ("subnet", subnets[0])}
    assert len(found) == 4


def test_a_tag_that_is_there_gets_the_new_value(ec2, vpc):
    ec2.create_tags(Resources=[vpc], Tags=[tag("a", "1"), tag("b", "2")])
    ec2.create_tags(Resources=[vpc], Tags=[tag("a", "3"), tag("c", "4")])
    assert tags_of(ec2, vpc) == {"a": "3", "b": "2", "c": "4"}


@pytest.mark.parametrize("id", ["nonsense", "vpc-xyz", "nope-0123456789abcdef0", "vpc-", "-", "ami-zzz"])
def test_an_id_that_is_none_is_refused(ec2, id):
    expected = ("InvalidID", f"The ID '{id}' is not valid")
    assert refused(ec2.create_tags, Resources=[id], Tags=[tag("a")]) == expected
    assert refused(ec2.delete_tags, Resources=[id]) == expected


@pytest.mark.parametrize("id, code, message", [
    ("vpc-0123456789abcdef0", "InvalidVpcID.NotFound", "The vpc ID 'vpc-0123456789abcdef0' does not exist"),
    ("i-0123456789abcdef0", "InvalidInstanceID.NotFound", "The instance ID 'i-0123456789abcdef0' does not exist"),
    ("sg-01234567", "InvalidGroup.NotFound", "The security group 'sg-01234567' does not exist"),
])
def test_an_unknown_resource_is_refused_with_the_error_of_its_kind(ec2, id, code, message):
    assert refused(ec2.create_tags, Resources=[id], Tags=[tag("a")]) == (code, message)
    assert refused(ec2.delete_tags, Resources=[id], Tags=[tag("a")]) == (code, message)


def test_nothing_is_tagged_when_one_resource_is_refused(ec2, vpc):
    refused(ec2.create_tags, Resources=[vpc, "subnet-01234567"], Tags=[tag("a")])
    assert tags_of(ec2, vpc) == {}
    ec2.create_tags(Resources=[vpc], Tags=[tag("a")])
    refused(ec2.delete_tags, Resources=[vpc, "subnet-01234567"])
    assert tags_of(ec2, vpc) == {"a": ""}


def test_a_resource_has_at_most_fifty_tags(ec2, vpc, subnets):
    ec2.create_tags(Resources=[vpc], Tags=[tag(f"k{i}") for i in range(50)])
    assert len(tags_of(ec2, vpc)) == 50
    code, _ = refused(ec2.create_tags, Resources=[subnets[0], vpc], Tags=[tag("one-more")])
    assert code == "TagLimitExceeded"
    assert tags_of(ec2, subnets[0]) == {}
    ec2.create_tags(Resources=[vpc], Tags=[tag("k1", "new")])
    assert tags_of(ec2, vpc)["k1"] == "new"


@pytest.mark.parametrize("tags", [[tag("aws:x")], [tag("")], [tag("k" * 129)], [tag("k", "v" * 257)],
                                  [tag("k"), tag("k")]])
def test_tags_that_break_the_rules_are_refused(ec2, vpc, tags):
    assert refused(ec2.create_tags, Resources=[vpc], Tags=tags)[0] == "InvalidParameterValue"


def test_dry_run_tags_nothing(ec2, vpc):
    assert refused(ec2.create_tags, Resources=[vpc], Tags=[tag("a")], DryRun=True)[0] == "DryRunOperation"
    assert tags_of(ec2, vpc) == {}


def test_a_key_without_value_deletes_whatever_the_value_is(ec2, vpc):
    ec2.create_tags(Resources=[vpc], Tags=[tag("a", "1"), tag("b", "2")])
    ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "a"}, {"Key": "absent"}])
    assert tags_of(ec2, vpc) == {"b": "2"}


def test_a_key_with_value_deletes_only_that_value(ec2, vpc):
    ec2.create_tags(Resources=[vpc], Tags=[tag("a", "1"), tag("b", ""), tag("c", "3")])
    ec2.delete_tags(Resources=[vpc], Tags=[tag("a", "other"), tag("b", ""), tag("c", "")])
    assert tags_of(ec2, vpc) == {"a": "1", "c": "3"}


def test_without_tags_all_are_deleted(ec2, vpc, subnets):
    ec2.create_tags(Resources=[vpc, subnets[0]], Tags=[tag("a", "1"), tag("b")])
    ec2.delete_tags(Resources=[vpc, subnets[0]])
    assert ec2.describe_tags()["Tags"] == []
    assert "Tags" not in ec2.describe_vpcs()["Vpcs"][0] or not ec2.describe_vpcs()["Vpcs"][0]["Tags"]


@pytest.mark.parametrize("name, values, count", [
    ("key", ["a"], 2), ("value", ["1"], 2), ("value", ["nope"], 0), ("resource-type", ["subnet"], 2),
    ("tag:a", ["1"], 1), ("tag:a", ["2"], 1), ("tag:b", ["*"], 2), ("resource-id", ["subnet-*"], 2),
    ("key", ["a", "b"], 4),
])
def test_filters(ec2, vpc, subnets, name, values, count):
    ec2.create_tags(Resources=[vpc], Tags=[tag("a", "1"), tag("b", "1")])
    ec2.create_tags(Resources=[subnets[0]], Tags=[tag("a", "2"), tag("b", "3")])
    assert len(ec2.describe_tags(Filters=[{"Name": name, "Values": values}])["Tags"]) == count


def test_filters_by_several_ids_show_each_tag_once(ec2, vpc, subnets):
    ec2.create_tags(Resources=[vpc, *subnets], Tags=[tag("a", "1"), tag("b", "1")])
    ids = [subnets[1], vpc, "nonsense", "vpc-01234567", subnets[1], subnets[0]]
    found = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": ids}, {"Name": "key", "Values": ["b"]}])["Tags"]
    assert sorted(t["ResourceId"] for t in found) == sorted([vpc, *subnets[:2]])


def test_an_unknown_filter_is_refused(ec2):
    assert refused(ec2.describe_tags, Filters=[{"Name": "colour", "Values": ["red"]}]) == (
        "InvalidParameterValue", "The filter 'colour' is invalid")


@pytest.mark.parametrize("by_id", [False, True])
def test_pages_hold_every_tag_once(ec2, vpc, subnets, by_id):
    ec2.create_tags(Resources=[vpc, subnets[0], subnets[2]], Tags=[tag(f"k{i}") for i in range(7)])
    filters = [{"Name": "resource-id", "Values": [vpc, *subnets]}] if by_id else []
    pages = [p["Tags"] for p in ec2.get_paginator("describe_tags").paginate(
        Filters=filters, PaginationConfig={"PageSize": 5})]
    assert [len(p) for p in pages] == [5, 5, 5, 5, 1]
    assert len({(t["ResourceId"], t["Key"]) for p in pages for t in p}) == 21


def test_the_next_page_begins_rightly_when_the_record_between_is_untagged(ec2, vpc, subnets):
    ec2.create_tags(Resources=subnets[:3], Tags=[tag(f"k{i}") for i in range(7)])
    first = ec2.describe_tags(MaxResults=5)
    ec2.delete_tags(Resources=[first["Tags"][0]["ResourceId"]])
    rest = ec2.describe_tags(NextToken=first["NextToken"])["Tags"]
    assert len(rest) == 14


def test_a_page_has_at_least_five(ec2):
    assert refused(ec2.describe_tags, MaxResults=4)[0] == "InvalidParameterValue"
