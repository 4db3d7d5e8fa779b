"""Presigned requests: who calls stands in the query string."""

import base64
import re
import urllib.parse
import urllib.request

import botocore.session
import pytest
from botocore.signers import RequestSigner


def eks_token(endpoint, account, region="us-east-1"):
    """As `aws eks get-token` makes it: GetCallerIdentity presigned with the cluster's name as a signed header."""
    session = botocore.session.get_session()
    session.set_credentials(account, "secret")
    client = session.create_client("sts", region_name=region)
    signer = RequestSigner(client.meta.service_model.service_id, region, "sts", "v4", session.get_credentials(),
                           session.get_component("event_emitter"))
    url = signer.generate_presigned_url(
        {"method": "GET", "url": f"{endpoint}/?Action=GetCallerIdentity&Version=2011-06-15", "body": {},
         "headers": {"x-k8s-aws-id": "cluster"}, "context": {}},
        region_name=region, expires_in=60, operation_name="")
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def fetch(url, headers=None):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=10) as answer:
        return answer.status, answer.read().decode()


def test_an_eks_token_names_its_caller(server, fresh_account):
    token = eks_token(server.endpoint, fresh_account).removeprefix("k8s-aws-v1.")
    url = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    assert "X-Amz-SignedHeaders=host%3Bx-k8s-aws-id" in url
    status, body = fetch(url, {"x-k8s-aws-id": "cluster"})
    assert status == 200
    assert f"<Account>{fresh_account}</Account>" in body


def test_the_cli_makes_a_token_of_the_same_form(aws):
    token = aws("eks", "get-token", "--cluster-name", "cluster")["status"]["token"].removeprefix("k8s-aws-v1.")
    url = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    assert "Action=GetCallerIdentity" in url
    query = urllib.parse.urlsplit(url).query
    assert re.search("X-Amz-Credential=", query)


def test_a_presigned_describe_works(server, ec2):
    status, body = fetch(ec2.generate_presigned_url("describe_vpcs"))
    assert status == 200 and ec2.describe_vpcs()["Vpcs"][0]["VpcId"] in body


def test_sts_says_who_calls(client, fresh_account):
    identity = client("sts", account=fresh_account).get_caller_identity()
    assert identity["Account"] == fresh_account
    assert identity["Arn"].startswith(f"arn:aws:iam::{fresh_account}:")
    assert identity["UserId"]


def test_sts_by_the_cli(aws, fresh_account):
    assert aws("sts", "get-caller-identity")["Account"] == fresh_account


@pytest.mark.parametrize("region, partition", [("us-east-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")])
def test_arns_name_the_partition_of_their_region(client, fresh_account, region, partition):
    ec2 = client("ec2", region=region, account=fresh_account)
    group = ec2.create_security_group(GroupName="g", Description="d")
    [rule] = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group["GroupId"]]}])["SecurityGroupRules"]
    arns = [client("sts", region=region, account=fresh_account).get_caller_identity()["Arn"], group["SecurityGroupArn"], rule["SecurityGroupRuleArn"],
            ec2.describe_subnets()["Subnets"][0]["SubnetArn"]]
    assert [arn.split(":")[1] for arn in arns] == [partition] * 4
