"""Bad input: AWS's own code, status and wording, and nothing is changed."""

import base64
import re
import socket

import pytest

from haar import Raw, Server, authorization, error_of, values_of

needs = pytest.mark.needs

DESCRIBES = ["DescribeVpcs", "DescribeSubnets", "DescribeSecurityGroups", "DescribeSecurityGroupRules",
             "DescribeRouteTables", "DescribeNetworkAcls", "DescribeInternetGateways", "DescribeDhcpOptions",
             "DescribeInstances", "DescribeVolumes", "DescribeNetworkInterfaces", "DescribeAddresses",
             "DescribeKeyPairs", "DescribeTags"]
NO_INSTANCE = "i-0123456789abcdef0"
NO_IMAGE = "ami-0123456789abcdef0"


def everything(raw):
    """All that the world shows, request ids aside."""
    bodies = [raw.call(action)[1] for action in DESCRIBES]
    return [re.sub(rb"<(requestId|RequestID)>[^<]*<", b"<", body) for body in bodies]


@pytest.fixture
def world(raw):
    """Our world with a key pair in it: what a refused request might spoil. Afterwards it is as it was."""
    raw.call("CreateKeyPair", KeyName="k", KeyType="ed25519")
    before = everything(raw)
    yield raw
    assert everything(raw) == before


def refused(answer, status, code, message=None):
    got = (answer[0], *error_of(answer[1]))
    assert got[:2] == (status, code), answer[1]
    if message:
        assert re.search(message, got[2].replace("&quot;", '"').replace("&apos;", "'")), got[2]
    return got


# --- ids ------------------------------------------------------------------------------------------------------------

BY_ID = [
    # operation, parameter, malformed, its code, well-formed but unknown, its code
    ("DescribeInstances", "InstanceId.1", "i-xyz", "InvalidInstanceID.Malformed", NO_INSTANCE, "InvalidInstanceID.NotFound"),
    ("DescribeInstanceStatus", "InstanceId.1", "foo", "InvalidInstanceID.Malformed", NO_INSTANCE, "InvalidInstanceID.NotFound"),
    ("StartInstances", "InstanceId.1", "foo", "InvalidInstanceID.Malformed", NO_INSTANCE, "InvalidInstanceID.NotFound"),
    ("StopInstances", "InstanceId.1", "foo", "InvalidInstanceID.Malformed", NO_INSTANCE, "InvalidInstanceID.NotFound"),
    ("RebootInstances", "InstanceId.1", "foo", "InvalidInstanceID.Malformed", NO_INSTANCE, "InvalidInstanceID.NotFound"),
    ("TerminateInstances", "InstanceId.1", "foo", "InvalidInstanceID.Malformed", NO_INSTANCE, "InvalidInstanceID.NotFound"),
    ("MonitorInstances", "InstanceId.1", "foo", "InvalidInstanceID.Malformed", NO_INSTANCE, "InvalidInstanceID.NotFound"),
    ("GetConsoleOutput", "InstanceId", "foo", "InvalidInstanceID.Malformed", NO_INSTANCE, "InvalidInstanceID.NotFound"),
    ("ModifyInstanceMetadataOptions", "InstanceId", "foo", "InvalidInstanceID.Malformed", NO_INSTANCE, "InvalidInstanceID.NotFound"),
    ("DescribeVolumes", "VolumeId.1", "foo", "InvalidParameterValue", "vol-0123456789abcdef0", "InvalidVolume.NotFound"),
    ("DescribeVpcs", "VpcId.1", "foo", "InvalidVpcID.NotFound", "vpc-0123456789abcdef0", "InvalidVpcID.NotFound"),
    ("DescribeSubnets", "SubnetId.1", "foo", "InvalidSubnetID.NotFound", "subnet-0123456789abcdef0", "InvalidSubnetID.NotFound"),
    ("DescribeSecurityGroups", "GroupId.1", "foo", "InvalidGroupId.Malformed", "sg-0123456789abcdef0", "InvalidGroup.NotFound"),
    ("DeleteSecurityGroup", "GroupId", "foo", "InvalidGroupId.Malformed", "sg-0123456789abcdef0", "InvalidGroup.NotFound"),
    ("DescribeInternetGateways", "InternetGatewayId.1", None, None, "igw-0123456789abcdef0", "InvalidInternetGatewayID.NotFound"),
    ("DescribeRouteTables", "RouteTableId.1", None, None, "rtb-0123456789abcdef0", "InvalidRouteTableID.NotFound"),
    ("DescribeNetworkAcls", "NetworkAclId.1", None, None, "acl-0123456789abcdef0", "InvalidNetworkAclID.NotFound"),
    ("DescribeDhcpOptions", "DhcpOptionsId.1", None, None, "dopt-0123456789abcdef0", "InvalidDhcpOptionID.NotFound"),
    ("DescribeNetworkInterfaces", "NetworkInterfaceId.1", None, None, "eni-0123456789abcdef0", "InvalidNetworkInterfaceID.NotFound"),
    ("DescribeAddresses", "AllocationId.1", None, None, "eipalloc-0123456789abcdef0", "InvalidAllocationID.NotFound"),
    ("DescribeKeyPairs", "KeyName.1", None, None, "nobody", "InvalidKeyPair.NotFound"),
    ("DescribeImages", "ImageId.1", "foo", "InvalidAMIID.Malformed", NO_IMAGE, "InvalidAMIID.NotFound"),
    ("CreateTags", "ResourceId.1", None, None, NO_INSTANCE, "InvalidInstanceID.NotFound"),
]
MORE = {"CreateTags": {"Tag__1__Key": "a", "Tag__1__Value": "b"}}


def rows(table):
    """A row a test, each needing its operation."""
    return [pytest.param(*row, marks=needs(row[0])) for row in table]


@pytest.mark.parametrize("action,parameter,unknown,code", rows((a, p, u, c) for a, p, _, _, u, c in BY_ID))
def test_an_unknown_id_is_not_found(world, action, parameter, unknown, code):
    answer = world.call(action, **{parameter: unknown}, **MORE.get(action, {}))
    refused(answer, 400, code, "does not exist|do not exist")


@pytest.mark.parametrize("action,parameter,malformed,code", rows((a, p, m, c) for a, p, m, c, _, _ in BY_ID if m))
def test_a_malformed_id_is_refused(world, action, parameter, malformed, code):
    answer = world.call(action, **{parameter: malformed})
    assert answer[0] == 400
    assert error_of(answer[1])[0] in (code, code.replace("NotFound", "Malformed")), answer[1]


@needs("DescribeImages", "RunInstances", "TerminateInstances")
def test_one_unknown_id_among_good_ones_changes_none(raw, ec2):
    images = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "architecture", "Values": ["x86_64"]}])
    image = images["Images"][0]["ImageId"]
    good = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.nano")["Instances"][0]["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[good])
    before = everything(raw)
    answer = raw.call("TerminateInstances", **{"InstanceId.1": good, "InstanceId.2": NO_INSTANCE})
    refused(answer, 400, "InvalidInstanceID.NotFound", f"'{NO_INSTANCE}' does not exist")
    assert everything(raw) == before


# --- parameters -----------------------------------------------------------------------------------------------------

PARAMETERS = [
    ("DescribeVpcs", {"Foo": "1"}, "UnknownParameter", "The parameter Foo is not recognized"),
    ("DescribeVpcs", {"Filter.1.Foo": "1"}, "UnknownParameter", "Filter.1.Foo"),
    ("DescribeVpcs", {"VpcId.0": "vpc-1"}, "UnknownParameter", "VpcId.0"),
    ("DescribeVpcs", {"VpcId.x": "vpc-1"}, "UnknownParameter", "VpcId.x"),
    ("DescribeVpcs", {"VpcId": "vpc-1"}, "UnknownParameter", "VpcId"),
    ("DescribeVpcs", {"VpcId.1.2": "vpc-1"}, "UnknownParameter", "VpcId.1.2"),
    ("DescribeVpcs", {"." * 40: "1"}, "UnknownParameter", None),
    ("DescribeVpcs", {"Filter.1.Name": "nonsense", "Filter.1.Value.1": "x"}, "InvalidParameterValue", "nonsense"),
    ("DescribeVpcs", {"MaxResults": "x"}, "InvalidParameterValue", "MaxResults"),
    ("DescribeVpcs", {"MaxResults": "1"}, "InvalidParameterValue", "maxResults|MaxResults"),
    ("DescribeVpcs", {"MaxResults": "99999999999999999999"}, "InvalidParameterValue", None),
    ("DescribeVpcs", {"DryRun": "maybe"}, "InvalidParameterValue", "DryRun"),
    ("DescribeVpcs", {"NextToken": "nonsense"}, "InvalidPaginationToken|InvalidParameterValue|InvalidNextToken", None),
    ("RunInstances", {"ImageId": NO_IMAGE, "MinCount": "1"}, "MissingParameter", "maxCount|MaxCount"),
    ("RunInstances", {"ImageId": NO_IMAGE, "MinCount": "1", "MaxCount": "one"}, "InvalidParameterValue", "MaxCount"),
    ("RunInstances", {"ImageId": NO_IMAGE, "MinCount": "2", "MaxCount": "1"}, "InvalidParameterValue", None),
    ("RunInstances", {"ImageId": NO_IMAGE, "MinCount": "0", "MaxCount": "1"}, "InvalidParameterValue", None),
    ("RunInstances", {"ImageId": NO_IMAGE, "MinCount": "1", "MaxCount": "1"}, "InvalidAMIID.NotFound", "does not exist"),
    ("RunInstances", {"ImageId": "nonsense", "MinCount": "1", "MaxCount": "1"}, "InvalidAMIID.Malformed", "Invalid id"),
    ("RunInstances", {"ImageId": NO_IMAGE, "MinCount": "1", "MaxCount": "1", "InstanceType": "t3.huge"},
     "InvalidParameterValue", "t3.huge"),
    ("RunInstances", {"ImageId": NO_IMAGE, "MinCount": "1", "MaxCount": "1", "Monitoring.Enabled": "perhaps"},
     "InvalidParameterValue", "Monitoring.Enabled"),
    ("RunInstances", {"ImageId": NO_IMAGE, "MinCount": "1", "MaxCount": "1", "MetadataOptions.HttpTokens": "maybe"},
     "InvalidParameterValue", "maybe"),
    ("TerminateInstances", {}, "MissingParameter", "InstanceIds?|instanceIds?|InstanceId"),
    ("CreateTags", {"ResourceId.1": NO_INSTANCE}, "MissingParameter", "[tT]ag"),
    ("CreateKeyPair", {}, "MissingParameter", "[kK]eyName"),
    ("CreateKeyPair", {"KeyName": "n", "KeyType": "dsa"}, "InvalidParameterValue", "dsa"),
    ("CreateKeyPair", {"KeyName": "k"}, "InvalidKeyPair.Duplicate", "already exists"),
    ("CreateKeyPair", {"KeyName": "n" * 256}, "InvalidParameterValue", None),
    ("ImportKeyPair", {"KeyName": "n", "PublicKeyMaterial": "!"}, "InvalidParameterValue", "PublicKeyMaterial"),
    ("ImportKeyPair", {"KeyName": "n", "PublicKeyMaterial": base64.b64encode(b"nonsense").decode()}, "InvalidKey.Format", None),
    ("CreateSecurityGroup", {"GroupName": "g"}, "MissingParameter", "[dD]escription"),
    ("CreateSecurityGroup", {"GroupName": "default", "GroupDescription": "d"},
     "InvalidParameterValue|InvalidGroup.Reserved|InvalidGroup.Duplicate", None),
]


@pytest.mark.parametrize("action,parameters,code,message", rows(PARAMETERS))
def test_a_bad_parameter_is_refused(world, action, parameters, code, message):
    answer = world.call(action, **parameters)
    assert answer[0] == 400, answer
    got, text = error_of(answer[1])
    assert re.fullmatch(code, got), answer[1]
    assert not message or re.search(message, text), text


@needs("CreateKeyPair")
def test_a_dry_run_says_that_it_would_have_worked_and_does_nothing(world):
    refused(world.call("CreateKeyPair", KeyName="dry", DryRun="true"), 412, "DryRunOperation",
            "Request would have succeeded, but DryRun flag is set.")


def test_a_message_shows_what_was_sent_as_text_only(world):
    status, body = world.call("DescribeVpcs", **{"<b>&\x01": "1"})
    assert status == 400
    assert b"&lt;b&gt;&amp;" in body and b"<b>" not in body and b"\x01" not in body


# --- actions, versions, services --------------------------------------------------------------------------------------


def test_an_unknown_action_is_invalid(world):
    refused(world.call("MakeCoffee"), 400, "InvalidAction", "The action MakeCoffee is not valid for this web service.")


def test_a_missing_action_is_said(world):
    refused(world.send(b"Version=2016-11-15"), 400, "MissingAction")


def test_an_empty_request_is_refused(world):
    refused(world.send(b""), 400, "MissingAction")


def test_an_unknown_version_is_refused(world):
    refused(world.call("DescribeVpcs", Version="2000-01-01"), 400, "NoSuchVersion", "2000-01-01")


def test_a_missing_version_is_said(world):
    refused(world.send(b"Action=DescribeVpcs"), 400, "MissingParameter", "Version")


def test_an_operation_of_the_model_that_is_not_built_says_so(world):
    for name in ("AcceptReservedInstancesExchangeQuote", "GetIpamDiscoveredPublicAddresses"):
        refused(world.call(name), 501, "NotImplemented", name)


def test_the_action_of_another_service_is_invalid(server, world, fresh_account):
    sts = Raw(server.port, fresh_account, service="sts")
    refused(sts.call("DescribeVpcs"), 400, "InvalidAction")
    refused(world.call("GetCallerIdentity"), 400, "InvalidAction")
    sts.close()


def test_an_unknown_service_is_refused(server, world):
    raw = Raw(server.port, service="ec2")
    status, body = raw.send(raw.form("DescribeVpcs"), headers={"Authorization": authorization(service="coffee")})
    assert status in (400, 403, 404, 501) and error_of(body)[0], body
    assert "coffee" in error_of(body)[1]
    raw.close()


def test_an_unknown_region_is_refused(server, world):
    raw = Raw(server.port, region="eu-nowhere-1")
    status, body = raw.call("DescribeVpcs")
    assert status in (401, 403) and error_of(body)[0] in ("AuthFailure", "SignatureDoesNotMatch"), body
    raw.close()


# --- credentials ------------------------------------------------------------------------------------------------------


def test_a_request_without_credentials_is_refused(world):
    status, body = world.send(world.form("CreateKeyPair", KeyName="n"), headers={"Authorization": None})
    assert (status, error_of(body)[0]) == (403, "MissingAuthenticationToken")


@pytest.mark.parametrize("header", [
    "", "nonsense", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=, SignedHeaders=host, Signature=0",
    "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=0",
    "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/ec2/nonsense, SignedHeaders=host, Signature=0",
    "AWS4-HMAC-SHA256 Credential=/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0",
    "Basic dGVzdDp0ZXN0", "AWS4-HMAC-SHA256 " + "Credential=" * 200,
])
def test_malformed_credentials_are_refused(world, header):
    status, body = world.send(world.form("CreateKeyPair", KeyName="n"), headers={"Authorization": header})
    assert status in (400, 403), body
    assert error_of(body)[0] in ("IncompleteSignature", "MissingAuthenticationToken"), body


# --- the wire -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"KeyName=%ff", b"KeyName=\xff\xfe", b"KeyName=%c0%af", b"KeyName=%ed%a0%80", b"%ff=1"])
def test_invalid_utf8_is_refused(world, body):
    answer = world.send(b"Action=CreateKeyPair&Version=2016-11-15&" + body)
    refused(answer, 400, "MalformedQueryString")


@pytest.mark.parametrize("body", [b"KeyName=%", b"KeyName=%4", b"KeyName=%zz"])
def test_a_broken_escape_is_refused(world, body):
    refused(world.send(b"Action=CreateKeyPair&Version=2016-11-15&" + body), 400, "MalformedQueryString")


def test_too_many_parameters_are_refused(world):
    pairs = b"&".join(b"VpcId.%d=vpc-1" % i for i in range(1, 40_000))
    answer = world.send(b"Action=DescribeVpcs&Version=2016-11-15&" + pairs)
    assert answer[0] in (400, 413), answer


def test_an_overlong_request_is_refused_before_it_is_read(server, world):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n")
        assert s.recv(64).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_is_cut_off_changes_nothing(server, world, fresh_account):
    body = world.form("CreateKeyPair", KeyName="cut").encode()
    head = (f"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization(fresh_account)}\r\n"
            f"Content-Length: {len(body) + 1}\r\n\r\n").encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
        s.sendall(head + body)
        s.shutdown(socket.SHUT_WR)
        answer = s.recv(4096)
        assert not answer.startswith(b"HTTP/1.1 200"), answer


def test_a_client_that_sends_no_more_gets_the_answer_that_it_waits_for(binary, tmp_path, image):
    with Server(binary, "--backend", "none", "--data", tmp_path / "data") as server:  # answers when it is durable
        raw = Raw(server.port)
        body = raw.form("RunInstances", ImageId=image, MinCount=1, MaxCount=1).encode()
        head = f"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization()}\r\nContent-Length: {len(body)}\r\n\r\n"
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
                s.sendall(head.encode() + body)
                s.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: s.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 200 ") and b"<instanceId>i-" in answer, answer


def test_a_head_that_is_cut_off_changes_nothing(server, world):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: local")


def test_framing_that_smuggles_is_a_400_and_the_end(server, world):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET ")
        answer = b""
        while piece := s.recv(4096):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_another_method_is_refused(world, method):
    assert world.send(world.form("CreateKeyPair", KeyName="n"), method=method)[0] == 405


@pytest.mark.parametrize("path", ["/nowhere", "//", "/..", "/%2e%2e", "/_haar", "/_haar/nowhere"])
def test_another_path_is_not_found(world, path):
    assert world.send(world.form("CreateKeyPair", KeyName="n"), path=path)[0] == 404


def test_get_with_a_query_string_is_an_api_call(world):
    status, body = world.send(method="GET", path="/?" + world.form("DescribeVpcs"))
    assert status == 200 and values_of(body, "isDefault") == ["true"]


def test_every_answer_bears_its_request_id(world):
    connection = world.connection
    connection.request("POST", "/", world.form("DescribeVpcs"), world.headers)
    answer = connection.getresponse()
    ident = answer.getheader("x-amzn-RequestId")
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", ident)
    assert ident.encode() in answer.read()
